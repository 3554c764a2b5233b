"""A period's report as one HTML page: no script, nothing from elsewhere, prints on A4. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from yumen_core.audit.spelling import spelled
from yumen_core.audit.summary import Budget, Listed, Summary
from yumen_core.log.verify import LogReport

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 "Segoe UI", "Noto Sans", "Noto Sans SC", "Noto Sans CJK SC", sans-serif;
  color: #1c2430; background: #fff; margin: 2.5rem auto; max-width: 60rem; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .4rem; padding-top: .8rem; border-top: 2px solid #1f4e79; }
h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; color: #1f4e79; }
p { margin: .3rem 0; }
.note { color: #55606e; }
.facts { display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; margin: .8rem 0; }
.facts div { min-width: 6rem; }
.facts b { display: block; font-size: 1.5rem; font-weight: 600; line-height: 1.2; }
table { border-collapse: collapse; width: 100%; margin: .3rem 0; }
caption { text-align: left; color: #55606e; padding-bottom: .2rem; }
th, td { text-align: left; padding: .28rem .7rem .28rem 0; border-bottom: 1px solid #dde3ea;
  vertical-align: top; overflow-wrap: anywhere; }
th { font-weight: 600; white-space: nowrap; overflow-wrap: normal; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.t { white-space: nowrap; }
td.bar { width: 30%; padding-right: 0; }
.bar svg { display: block; width: 100%; height: .8rem; }
code { font: .85em/1.4 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
@page { size: A4; margin: 18mm 16mm; }
@media print {
  body { margin: 0; padding: 0; max-width: none; font-size: 10pt; }
  h2, h3, caption { break-after: avoid; }
  tr { break-inside: avoid; }
  thead { display: table-header-group; }
}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
Cell = str | int


def page(found: Sequence[tuple[LogReport, Summary]], period: str) -> Iterator[str]:
    """The page of these verified logs, in pieces; `period` in words."""
    title = f"Audit of {len(found)} {'log' if len(found) == 1 else 'logs'}"
    yield (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{_safe(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{_safe(title)}</h1>\n<p>{_safe(period)}</p>\n"
        '<p class="note">Each log was recomputed whole and its checkpoint verified before it was '
        "counted. Costs are in millionths of rho (zero-concentrated differential privacy).</p>\n"
    )
    for report, summary in found:
        yield from _log(report, summary)
    yield "</body>\n</html>\n"


def _log(report: LogReport, found: Summary) -> Iterator[str]:
    accepted = sum(one.accepted for one in found.purposes.values())
    denied = sum(one.denied for one in found.purposes.values())
    yield f"<section>\n<h2>{_safe(found.origin)}</h2>\n"
    source = "given by the auditor" if report.key_source == "given" else "the one beside the log"
    yield (
        f'<p class="note">{report.size:,} entries in all, root <code>{report.root.hex()}</code>, '
        f"key {source}: <code>{_safe(report.key)}</code></p>\n"
    )
    facts = [
        ("entries in the period", found.entries),
        ("jobs accepted", accepted),
        ("jobs denied", denied),
        ("refused while running", sum(found.stopped.values())),
        ("not verifiable", sum(found.refusals.values())),
        ("sums released", sum(found.releases.values())),
        ("contributions", found.contributions),
    ]
    told = "".join(f"<div><b>{value:,}</b>{_safe(name)}</div>" for name, value in facts)
    yield f'<div class="facts">{told}</div>\n'
    yield from _table(
        "Jobs by purpose",
        ("purpose", "accepted", "denied", "dry runs"),
        [
            (name, one.accepted, one.denied, one.dry_runs)
            for name, one in sorted(found.purposes.items())
        ],
        bar=1,
    )
    yield from _table("Denials by reason", ("reason", "jobs"), _common(found.denials), bar=1)
    yield from _table("Refused while running", ("reason", "jobs"), _common(found.stopped), bar=1)
    yield from _table(
        "Refused before verification", ("reason", "times"), _common(found.refusals), bar=1
    )
    yield from _table(
        "Accepted jobs by requester", ("requester", "jobs"), _common(found.requesters)
    )
    yield from _budgets(found)
    yield from _table("Released to", ("requester", "sums"), _common(found.releases))
    yield from _table(
        "Acts of operators",
        ("who", "act", "times"),
        [(*act, count) for act, count in sorted(found.operators.items())],
    )
    for title, header, listed in (
        ("Jobs with reviewed code", ("job", "approved by", "decision"), found.reviews),
        ("Policies put in force", ("by", "SHA-256 of the policies"), found.activations),
        ("Tables published", ("node", "tables", "grade"), found.tables),
    ):
        yield from _table(title, ("entry", "time", *header), [_cells(one) for one in listed])
    if found.left_out:
        yield f'<p class="note">{found.left_out:,} more entries of these lists are left out.</p>\n'
    yield "</section>\n"


def _budgets(found: Summary) -> Iterator[str]:
    rows: list[tuple[Cell, ...]] = []
    for (table, project), one in sorted(found.budgets.items()):
        rows.append(
            (
                table,
                project,
                one.spent,
                _open(one),
                _left(found.left.get(table)),
                _left(one.project_left),
            )
        )
    header = ("table", "project", "spent", "reserved", "left of the table", "left of the project")
    yield from _table("Privacy budgets, in micro-rho (zCDP)", header, rows)
    limits = [(table, *both) for table, both in sorted(found.limits.items())]
    yield from _table(
        "Budgets set in the period, in micro-rho", ("table", "in all", "for one project"), limits
    )


def _open(one: Budget) -> int:
    """Reserved in the period and neither spent nor given back in it."""
    return max(0, one.reserved - one.given_back - one.spent)


def _left(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _common(counted: Mapping[str, int]) -> list[tuple[Cell, ...]]:
    """The most frequent first."""
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return [(name, count) for name, count in ordered]


def _cells(one: Listed) -> tuple[Cell, ...]:
    return (one.index, one.time, *one.cells)


def _table(
    title: str, header: Sequence[str], rows: Sequence[tuple[Cell, ...]], *, bar: int | None = None
) -> Iterator[str]:
    """Nothing where there is no row. `bar` is the column that is also drawn."""
    if not rows:
        return
    numeric = [isinstance(value, int) or "left" in header[at] for at, value in enumerate(rows[0])]
    classes = [
        ' class="n"' if is_number else ' class="t"' if name == "time" else ""
        for name, is_number in zip(header, numeric, strict=True)
    ]
    heads = "".join(
        f'<th scope="col"{kind}>{_safe(name)}</th>'
        for name, kind in zip(header, classes, strict=True)
    )
    heads += "" if bar is None else "<th></th>"
    yield f"<h3>{_safe(title)}</h3>\n<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n"
    most = 1 if bar is None else max([1, *(int(row[bar]) for row in rows)])
    for row in rows:
        cells = "".join(
            f"<td{kind}>{_shown(value)}</td>" for value, kind in zip(row, classes, strict=True)
        )
        cells += "" if bar is None else f'<td class="bar">{_drawn(int(row[bar]), most)}</td>'
        yield f"<tr>{cells}</tr>\n"
    yield "</tbody>\n</table>\n"


def _drawn(value: int, most: int) -> str:
    return (
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{100 * value / most:.1f}" height="10" fill="#1f4e79"/></svg>'
    )


def _shown(value: Cell) -> str:
    return f"{value:,}" if isinstance(value, int) else _safe(value)


def _safe(text: str) -> str:
    """As HTML text; what cannot be seen or turns the direction of reading is spelled out."""
    return escape(spelled(text))
