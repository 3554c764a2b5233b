"""The first table of a paper: who the groups are, side by side. One job."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from yumen_core.errors import CallError
from yumen_core.sql.schema import DomainValue
from yumen_core.statistics.layout import Counts, Reals

from yumen.display import Grid
from yumen.statistics.cells import HIDDEN, Cells, CountTable, Question, ask
from yumen.statistics.crosstab import Chi2Result, Crosstab
from yumen.statistics.describe import (
    MAX_LEVEL_LINES,
    Columns,
    can_be_missing,
    column_names,
    cut_note,
    dates_note,
    dates_of,
    estimate_text,
    missing_by_group,
    missing_name,
    shown_levels,
    sort_columns,
)
from yumen.statistics.effect_sizes import standardised_difference
from yumen.statistics.moments_table import Moments, label_of, pooled_moments, unit_of, written
from yumen.statistics.quantiles import Quantiles
from yumen.statistics.released import Released
from yumen.statistics.source import Provenance
from yumen.statistics.table import Table
from yumen.statistics.tests_of_means import anova_pvalue, p_text, welch_pvalue

if TYPE_CHECKING:
    import pandas as pd

_HELD = "held back"
_INDENT = "\u2003"
_SHARES = (0.25, 0.5, 0.75)
_UNKNOWN = "?: nothing is known of the quantile beyond the column's declared bounds"


@dataclass(frozen=True)
class Line:
    """One line: texts of all groups together and of each group; a p-value and a standardised
    difference on a variable's first line, NaN where there is none."""

    label: str
    overall: str
    cells: tuple[str, ...]
    pvalue: float = math.nan
    smd: float = math.nan


class TableOne(Released):
    """Texts of the table in `lines`; the numbers behind them in `moments` (by number column, one
    for each group), `counts` (by column with levels, int64[groups, levels], -1 where held back) and
    `quantiles`."""

    def __init__(
        self,
        cells: Cells,
        lines: Sequence[Line],
        *,
        by: str,
        groups: Sequence[DomainValue | None],
        counts: Mapping[str, Counts],
        notes: Sequence[str],
    ) -> None:
        super().__init__(cells.provenance)
        self.by = by
        self.groups = tuple(groups)
        self.lines = tuple(lines)
        self.moments = dict(cells.moments)
        self.counts = dict(counts)
        self.quantiles: Quantiles | None = cells.quantiles
        self._notes = tuple(notes)

    def to_pandas(self) -> pd.DataFrame:
        """The table's texts, with `p` and `SMD` as numbers."""
        import pandas as pd

        headers, rows = self._texts()
        frame = pd.DataFrame(rows, columns=list(headers)).set_index(headers[0])
        if self.by:
            frame["p"] = [line.pvalue for line in self.lines]
            frame["SMD"] = [line.smd for line in self.lines]
        return frame

    def to_markdown(self) -> str:
        """The table in Markdown."""
        headers, rows = self._texts()
        right = ["---", *["---:"] * (len(headers) - 1)]
        lines = [headers, tuple(right), *rows]
        texts = (" | ".join(_markdown(text) for text in line) for line in lines)
        return "\n".join(f"| {text} |" for text in texts)

    def to_latex(self) -> str:
        """The table as a LaTeX `tabular` with booktabs' rules."""
        headers, rows = self._texts()
        body = [" & ".join(_latex(text) for text in row) + r" \\" for row in (headers, *rows)]
        start = rf"\begin{{tabular}}{{l{'r' * (len(headers) - 1)}}}"
        parts = [start, r"\toprule", body[0], r"\midrule", *body[1:], r"\bottomrule"]
        return "\n".join([*parts, r"\end{tabular}"])

    def grids(self) -> Sequence[Grid]:
        headers, rows = self._texts()
        right = (False, *[True] * (len(headers) - 1))
        return [Grid(headers, rows, right, self._notes)]

    def _texts(self) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        names = tuple(label_of(group) for group in self.groups) if self.by else ()
        tests = ("p", "SMD") if self.by else ()
        rows = []
        for line in self.lines:
            smd = "" if math.isnan(line.smd) else f"{line.smd:.3f}"
            p = "" if math.isnan(line.pvalue) else p_text(line.pvalue)
            groups = line.cells if self.by else ()
            rows.append((line.label, line.overall, *groups, *((p, smd) if self.by else ())))
        return (self.by, "overall", *names, *tests), tuple(rows)


def table_one(
    table: Table,
    *,
    by: str | None = None,
    columns: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    medians: Sequence[str] = (),
    missing: bool = False,
) -> TableOne:
    """The usual first table of a paper, overall and by the groups of `by`.

    Number columns as mean (SD), those of `medians` as median [quartiles]; columns with levels as
    n (%) of rows with a level (of more than 20 the largest), a condition by its true rows alone;
    dates and timestamps only where they are named. `labels` rename columns.
    `missing` adds how many rows lack a value. p: Welch's t-test for two groups, analysis of
    variance for more, chi-squared (Yates' correction for two by two) for levels. SMD: standardised
    mean difference, for levels as Yang and Dalton 2012, for more than two groups the mean over
    pairs. Medians have no p: a test of means is none of them; look at the rank tests.

    Overall is the sum of the groups shown: rows without `by`, and a group held back, are not in it.
    A held-back cell leaves percentages, p and SMD of its variable out. What leaves each node: as
    `describe`, and the rows of each group; one job. Medians are of groups only (overall where there
    is no `by`). Counts exact, all else to 1e-9. Raises `CallError` as `describe`.
    """
    names = column_names(table, columns, by)
    found, variables = sort_columns(table, names, by)
    unknown = [name for name in medians if name not in found.numbers]
    if unknown:
        raise CallError(
            "argument", f"expected medians of number columns of the table, got `{unknown[0]}`"
        )
    texts = {name: name for name in names}
    counted = found.counted if missing else ()
    texts |= {missing_name(name): f"({written(table, name)}) IS NULL" for name in counted}
    tables = [(name, by or "") for name in (*found.levels, *map(missing_name, counted))]
    if by is not None:
        texts[by] = by
        if variables[by].levels is None:
            raise CallError(
                "argument", f"expected `by` to have a declared domain or be a condition, got `{by}`"
            )
        tables.append((by, ""))
    question = Question(
        "table_one", texts, tables, found.numbers, by or "", tuple(medians), _SHARES
    )
    cells = ask(table, question)
    builder = _Builder(table, cells, found, by, labels or {}, tuple(medians), missing)
    return builder.build(names, dates_of(table, by) if columns is None else ())


class _Builder:
    """From a job's cells to the lines."""

    def __init__(
        self,
        table: Table,
        cells: Cells,
        columns: Columns,
        by: str | None,
        labels: Mapping[str, str],
        medians: Sequence[str],
        missing: bool,
    ) -> None:
        self._table, self._cells, self._columns, self._by = table, cells, columns, by
        self._labels, self._medians, self._missing = labels, medians, missing
        self._sizes = [HIDDEN]
        if by is not None:
            self._sizes = cells.counts[by, ""].known[0].tolist()
        groups = cells.groups
        shown = [at for at, size in enumerate(self._sizes) if by is None or size != HIDDEN]
        self._shown = shown
        self._groups = tuple(groups[at] for at in shown)
        self._counts: dict[str, Counts] = {}
        self._notes: list[str] = []
        self._out = [label_of(groups[at]) for at in range(len(self._sizes)) if at not in shown]

    def build(self, names: Sequence[str], dates: Sequence[str]) -> TableOne:
        if not self._shown:
            raise CallError(
                "too_few_rows",
                f"expected a group of `{self._by}` with rows enough at every node, got none",
                remedy="group by fewer levels",
            )
        lines = self._size_lines()
        for name in names:
            lines += self._number(name) if name in self._columns.numbers else self._levels(name)
            if self._missing:
                lines += self._missing_line(name)
        if dates:
            self._notes.append(dates_note(dates))
        if self._out:
            self._notes.append(f"left out, no rows or held back: {', '.join(self._out)}")
        if any(_HELD in (line.overall, *line.cells) for line in lines):
            self._notes.append(
                f"{_HELD}: no rows, or too few at a node, or at too few nodes, or least beside "
                "such a level"
            )
        return TableOne(
            self._cells,
            lines,
            by=self._by or "",
            groups=self._groups,
            counts=self._counts,
            notes=self._notes,
        )

    def _size_lines(self) -> list[Line]:
        if self._by is None:
            return []
        sizes = [self._sizes[at] for at in self._shown]
        return [Line("n", f"{sum(sizes):,}", tuple(f"{size:,}" for size in sizes))]

    def _label(self, name: str, unit: bool = True) -> str:
        text = self._labels.get(name, name)
        shown = unit_of(self._table, name) if unit and name not in self._labels else ""
        return f"{text} ({shown})" if shown else text

    def _number(self, name: str) -> list[Line]:
        parts = [self._cells.moments[name][at] for at in self._shown]
        kept = [part for part in parts if part is not None and part.count > 1]
        p = smd = math.nan
        if len(kept) == len(parts) > 1:
            p = welch_pvalue(*kept) if len(kept) == 2 else anova_pvalue(kept)
            smd = _mean_smd([abs(standardised_difference(a, b)) for a, b in combinations(kept, 2)])
        if name in self._medians:
            return [self._median(name, smd)]
        everyone = pooled_moments(kept)
        self._note_nodes(name, parts)
        cells = tuple(_mean_text(part) for part in parts)
        overall = _mean_text(everyone if kept else None)
        return [Line(f"{self._label(name)}, mean (SD)", overall, cells, p, smd)]

    def _median(self, name: str, smd: float) -> Line:
        found = self._cells.quantiles
        assert found is not None
        cells = []
        for group in self._groups:
            brackets = [found.at(name, share, group) for share in _SHARES]
            if math.isnan(brackets[1].estimate):
                cells.append(_HELD)
                continue
            low, middle, high = (estimate_text(bracket) or "?" for bracket in brackets)
            cells.append(f"{middle} [{low}, {high}]")
        if any("?" in cell for cell in cells) and _UNKNOWN not in self._notes:
            self._notes.append(_UNKNOWN)
        overall = cells[0] if self._by is None else ""
        label = f"{self._label(name)}, median [IQR]"
        return Line(label, overall, tuple(cells), smd=smd)

    def _levels(self, name: str) -> list[Line]:
        found = self._cells.counts[name, self._by or ""]
        counts = self._known(found)
        self._counts[name] = counts
        p, smd = self._compared(name, found.levels, counts)
        if set(found.levels) == {False, True} and isinstance(found.levels[0], bool):
            at = found.levels.index(True)
            label = f"{self._label(name)}, n (%)"
            return [Line(label, *self._count_texts(counts, at), p, smd)]
        blank = ("",) * len(self._groups)
        lines = [Line(f"{self._label(name)}, n (%)", "", blank, p, smd)]
        if len(found.levels) > MAX_LEVEL_LINES:
            self._notes.append(f"{cut_note(name, found)}; `counts` has all")
        for at in shown_levels(found):
            level = found.levels[at]
            if (counts[:, at] == 0).all():
                continue
            texts = self._count_texts(counts, at)
            lines.append(Line(f"{_INDENT}{label_of(level)}", *texts))
        return lines

    def _known(self, found: CountTable) -> Counts:
        """The counts of the groups shown, int64[groups, levels]: 0 for levels held back where all
        of the group's rows are in others."""
        counts = found.known[self._shown].copy()
        if self._by is None:
            return counts
        for line, at in zip(counts, self._shown, strict=True):
            missing = max(0, found.missing[at])
            if line[line != HIDDEN].sum() + missing == self._sizes[at]:
                line[line == HIDDEN] = 0
        return counts

    def _count_texts(self, counts: Counts, at: int) -> tuple[str, tuple[str, ...]]:
        whole = counts.sum(axis=0) if (counts != HIDDEN).all() else None
        if whole is not None:
            overall = _count_text(int(whole[at]), int(whole.sum()))
        else:
            column = counts[:, at]
            overall = _HELD if (column == HIDDEN).any() else f"{int(column.sum()):,}"
        cells = []
        for line in counts:
            total = int(line.sum()) if (line != HIDDEN).all() else 0
            cells.append(_count_text(int(line[at]), total))
        return overall, tuple(cells)

    def _compared(
        self, name: str, levels: Sequence[DomainValue], counts: Counts
    ) -> tuple[float, float]:
        if len(counts) < 2 or (counts == HIDDEN).any():
            return math.nan, math.nan
        used = np.flatnonzero(counts.sum(axis=0))
        kept = counts[:, used]
        if kept.shape[1] < 2 or not kept.any(axis=1).all():
            return math.nan, math.nan
        names = [levels[at] for at in used.tolist()]
        whole = Crosstab((name, self._by or ""), (names, self._groups), kept.T, _NOWHERE)
        p = Chi2Result(whole, correction=True).pvalue
        shares = kept / kept.sum(axis=1, keepdims=True)
        return p, _mean_smd([level_difference(a, b) for a, b in combinations(shares, 2)])

    def _missing_line(self, name: str) -> list[Line]:
        if not can_be_missing(self._table, name):
            return []
        if name in self._columns.levels:
            every = self._cells.counts[name, self._by or ""].missing
            missing = [None if count == HIDDEN else count for count in every]
        else:
            missing = missing_by_group(self._cells, self._columns, name, self._by)
        kept = [missing[at] for at in self._shown]
        texts = tuple("few or none" if count is None else f"{count:,}" for count in kept)
        total = [count for count in kept if count is not None]
        overall = f"{sum(total):,}" if len(total) == len(kept) else ""
        return [Line(f"{_INDENT}missing", overall, texts)]

    def _note_nodes(self, name: str, parts: Sequence[Moments | None]) -> None:
        everyone = len(self._cells.provenance.participants)
        fewer = [
            f"{label_of(group)} ({part.nodes})"
            for group, part in zip(self._groups, parts, strict=True)
            if part is not None and part.nodes < everyone
        ]
        if fewer:
            self._notes.append(f"{name} stands on fewer nodes than {everyone}: {', '.join(fewer)}")


def level_difference(a: Reals, b: Reals) -> float:
    """Standardised difference of two distributions over levels, float64[levels] each (Yang and
    Dalton 2012, "A unified approach to measuring the effect size between two groups")."""
    difference = (a - b)[1:]
    spread = sum(np.diag(p[1:]) - np.outer(p[1:], p[1:]) for p in (a, b)) / 2
    try:
        squared = float(difference @ np.linalg.solve(spread, difference))
    except np.linalg.LinAlgError:
        return math.nan
    return math.sqrt(max(0.0, squared))


_NOWHERE = Provenance("")


def _mean_text(part: Moments | None) -> str:
    """Mean (SD) with three digits of the deviation."""
    if part is None or math.isnan(part.standard_deviation):
        return _HELD
    spread = part.standard_deviation
    decimals = 2 - math.floor(math.log10(spread)) if spread > 0 else 2
    decimals = min(max(0, decimals), 12)
    return f"{part.mean:,.{decimals}f} ({spread:,.{decimals}f})"


def _count_text(count: int, total: int) -> str:
    if count == HIDDEN:
        return _HELD
    return f"{count:,} ({100 * count / total:.1f}%)" if total else f"{count:,}"


def _mean_smd(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _markdown(text: str) -> str:
    return text.replace(_INDENT, "&emsp;").replace("|", r"\|")


def _latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    found = "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)
    return found.replace(_INDENT, r"\quad ")
