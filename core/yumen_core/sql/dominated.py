"""A node's part of a query under the dominance rules: which cells a few values make up.

The pass over the rows that gives the sums gives the greatest absolute value and the sum of all
besides (`local_sql` with `peaks`). Only where these leave it open whether a cell fails does a
second pass ask for the greatest few (`tops_sql`).

A requester could drown a dominating value in what is added to it, so the terms and branches of an
expression are tested, not it alone (`peaks.parts_of`); and squares where squares are summed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from yumen_core.disclosure.dominance import Dominance, Number, needed
from yumen_core.disclosure.thinning import Magnitude, merged, thinned
from yumen_core.errors import StateError
from yumen_core.sql.joined_rows import joined_rows
from yumen_core.sql.local import LocalCells, numbering, peak_columns
from yumen_core.sql.peaks import peaks_of
from yumen_core.sql.plan import Plan
from yumen_core.sql.render import render, render_key

Rows = Iterable[Sequence[object]]
Cells = Mapping[int, tuple[Sequence[Number], Number]]


def open_peaks(
    plan: Plan,
    cells: LocalCells,
    rows: Rows,
    rules: Sequence[Dominance],
    threshold: int,
    *,
    centred: bool = False,
) -> list[int]:
    """The numbers of the `peaks_of` the plan of which some cell may fail, from the rows of
    `local_sql` with `peaks`: those for `tops_sql`."""
    found = []
    for at, magnitude in enumerate(_magnitudes(plan, rows, needed(rules), centred)):
        least = thinned(cells.supports, [magnitude], rules, threshold, plan.layout.margins)
        if (least != cells.supports).any():
            found.append(at)
    return found


def tops_sql(
    plan: Plan,
    relation: str,
    joined: Sequence[str],
    asked: Sequence[int],
    rules: Sequence[Dominance],
) -> str:
    """DuckDB SQL as `local_sql`: by group the greatest absolute values behind the peaks `asked`."""
    keys = [render_key(key) for key in plan.keys]
    peaks, many = peaks_of(plan), needed(rules)
    tops = [f"max({peaks[at].size}, {many})" for at in asked]
    where = "" if plan.where is None else f" WHERE {render(plan.where)}"
    group = f" GROUP BY {', '.join(str(at + 1) for at in range(len(keys)))}" if keys else ""
    source = joined_rows(plan, relation, joined)
    return f"SELECT {', '.join([*keys, *tops])} FROM {source}{where}{group}"  # noqa: S608


def without_dominated(
    plan: Plan,
    cells: LocalCells,
    rows: Rows,
    tops: Rows,
    asked: Sequence[int],
    rules: Sequence[Dominance],
    threshold: int,
    *,
    centred: bool = False,
) -> LocalCells:
    """`cells` with one row at most behind a sum that fails, and behind a margin from which such a
    sum could be had. `tops` are the rows of `tops_sql` for the peaks `asked`, `rows` those of
    `local_sql` with `peaks`."""
    if not asked:
        return cells
    many = needed(rules)
    known = _magnitudes(plan, rows, many, centred)
    peaks, cell_of, width = peaks_of(plan), numbering(plan), len(plan.keys)
    listed: list[dict[int, list[Number]]] = [{} for _ in asked]
    for row in tops:
        cell = cell_of(row[:width])
        if cell is None:
            continue
        for place, (at, raw) in enumerate(zip(asked, row[width:], strict=True)):
            found = [_number(entry) for entry in raw] if isinstance(raw, list) else []
            listed[place][cell] = [x * x for x in found] if peaks[at].squared else found
    magnitudes = []
    for at, by_cell in zip(asked, listed, strict=True):
        details = {
            cell: (by_cell.get(cell, []), total)
            for cell, (_, total) in known[at].cells.items()
            if cell < plan.layout.details
        }
        magnitudes.append(Magnitude(peaks[at].supports, _with_margins(plan, details, many)))
    supports = thinned(cells.supports, magnitudes, rules, threshold, plan.layout.margins)
    return replace(cells, supports=supports)


def _magnitudes(plan: Plan, rows: Rows, many: int, centred: bool) -> list[Magnitude]:
    """Each peak's cells as if all its greatest values were as great as the first."""
    peaks, cell_of, width = peaks_of(plan), numbering(plan), len(plan.keys)
    columns = peak_columns(plan, centred=centred)
    found: list[dict[int, tuple[Sequence[Number], Number]]] = [{} for _ in peaks]
    for row in rows:
        cell = cell_of(row[:width])
        if cell is None:
            continue
        raw = row[width:]
        for peak, by_cell, (greatest, total) in zip(peaks, found, columns, strict=True):
            first = _number(raw[greatest])
            if first:
                size = first * first if peak.squared else first
                by_cell[cell] = [size] * many, _number(raw[total])
    return [
        Magnitude(peak.supports, _with_margins(plan, by_cell, many))
        for peak, by_cell in zip(peaks, found, strict=True)
    ]


def _with_margins(plan: Plan, details: Cells, many: int) -> Cells:
    """The same with the margins' own."""
    found, level = dict(details), dict(details)
    start, size = 0, plan.layout.details
    for fold in plan.layout.folds:
        after = start + size
        above: dict[int, tuple[Sequence[Number], Number]] = {}
        for cell, (tops, total) in level.items():
            margin = after + (cell - start) // fold
            others, rest = above.get(margin, ((), 0))
            above[margin] = merged(tops, others, many), total + rest
        found.update(above)
        start, size, level = after, size // fold, above
    return found


def _number(raw: object) -> Number:
    """A number from the database. Beyond range, it dominates. Raises `StateError`
    ("data_source")."""
    if raw is None:
        return 0
    if isinstance(raw, int | float):
        return raw if not math.isnan(raw) else math.inf
    raise StateError("data_source", "the database gave a value that is no number")
