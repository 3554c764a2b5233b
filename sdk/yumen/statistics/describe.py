"""A table described: counts, means, deviations, quantiles; shares of levels. One job."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from yumen_core.errors import CallError
from yumen_core.sql import ColumnType
from yumen_core.sql.schema import DomainValue
from yumen_core.statistics.rows import Variable

from yumen.display import Grid, format_numbers
from yumen.statistics.cells import HIDDEN, Cells, CountTable, Question, ask, variables_of
from yumen.statistics.moments_table import (
    Moments,
    declared,
    label_of,
    left_out,
    titled,
    unit_of,
    written,
)
from yumen.statistics.partitions import Bracket
from yumen.statistics.quantiles import Quantiles
from yumen.statistics.released import Released
from yumen.statistics.source import Provenance
from yumen.statistics.table import Table

if TYPE_CHECKING:
    import pandas as pd

MAX_SHOWN_LEVELS = 30
FEW = "few or none"
_HELD = "held back"


@dataclass(frozen=True)
class Columns:
    """Columns sorted by how they are described, and the columns whose missing rows are counted
    apart (they can be missing, and have no levels to count)."""

    numbers: tuple[str, ...]
    levels: tuple[str, ...]
    counted: tuple[str, ...]


@dataclass(frozen=True)
class NumberSummary:
    """A number column in one group. `moments` is None where held back; `missing` is None where no
    row or just a few at some node lack a value, which are not told apart."""

    column: str
    group: DomainValue | None
    moments: Moments | None
    missing: int | None
    quantiles: tuple[Bracket, ...] = ()


class Description(Released):
    """`numbers` are the summaries of number columns by column and group; `levels` the counts of
    columns with levels, int64[groups, levels + 1], the last for missing rows, -1 where held back;
    `quantiles` has the quantiles with their bounds, where asked."""

    def __init__(
        self,
        provenance: Provenance,
        *,
        by: str | None,
        q: Sequence[float],
        numbers: Sequence[NumberSummary],
        levels: Mapping[str, CountTable],
        quantiles: Quantiles | None,
        units: Mapping[str, str],
    ) -> None:
        super().__init__(provenance)
        self.by, self.q = by, tuple(q)
        self.numbers = tuple(numbers)
        self.levels = dict(levels)
        self.quantiles = quantiles
        self.units = dict(units)

    def to_pandas(self) -> pd.DataFrame:
        """As pandas' `describe`, transposed: a line for each number column (and group), with count,
        missing, mean, std, the quantiles (`25%`, ...) and the nodes behind them."""
        import pandas as pd

        lines = []
        for entry in self.numbers:
            part = entry.moments
            line: dict[str, object] = {"column": entry.column}
            if self.by is not None:
                line[self.by] = entry.group
            line["count"] = None if part is None else part.count
            line["missing"] = entry.missing
            line["mean"] = np.nan if part is None else part.mean
            line["std"] = np.nan if part is None else part.standard_deviation
            for share, bracket in zip(self.q, entry.quantiles, strict=False):
                line[_percent(share)] = bracket.estimate
            line["nodes"] = 0 if part is None else part.nodes
            lines.append(line)
        frame = pd.DataFrame(lines)
        if lines:
            frame = frame.astype({"count": "Int64", "missing": "Int64"})
            frame = frame.set_index(["column", *([] if self.by is None else [self.by])])
        return frame

    def levels_frame(self) -> pd.DataFrame:
        """A line for each column, group and level: count (missing where held back) and the share of
        the rows with a level (NaN where one is held back). A level of None: rows without one."""
        import pandas as pd

        lines = [
            {"column": column, "group": group, "level": level, "count": count, "share": share}
            for column, table in self.levels.items()
            for group, level, count, share in _level_lines(table)
        ]
        names = ["column", "group", "level", "count", "share"]
        frame = pd.DataFrame(lines, columns=names).astype({"count": "Int64"})
        return frame.drop(columns="group") if self.by is None else frame

    def grids(self) -> Sequence[Grid]:
        grids = []
        if self.numbers:
            grids.append(self._numbers_grid())
        if self.levels:
            grids.append(self._levels_grid())
        return grids

    def _numbers_grid(self) -> Grid:
        everyone = len(self.provenance.participants)
        rows, notes = [], []
        for entry in self.numbers:
            name = titled(entry.column, self.units.get(entry.column, ""))
            group = [] if self.by is None else [label_of(entry.group)]
            missing = FEW if entry.missing is None else f"{entry.missing:,}"
            part = entry.moments
            if part is None:
                shown = [_HELD, missing, "", ""]
            else:
                values = format_numbers([part.mean, part.standard_deviation])
                shown = [f"{part.count:,}", missing, *values]
                if part.nodes < everyone:
                    what = " ".join([entry.column, *group])
                    notes.append(left_out(what, part.nodes, everyone))
            shown += [estimate_text(bracket) for bracket in entry.quantiles]
            rows.append((name, *group, *shown))
        if any(entry.missing is None for entry in self.numbers):
            notes.append(f"{FEW}: no row without a value, or too few at a node or too few nodes")
        if self.q:
            notes.append(
                "quantiles are estimates, or their bounds where these are far apart (`quantiles` has both)"
            )
        by = [] if self.by is None else [self.by]
        headers = ("column", *by, "count", "missing", "mean", "SD", *map(_percent, self.q))
        right = (False, *[False] * len(by), *[True] * (len(headers) - 1 - len(by)))
        return Grid(headers, tuple(rows), right, tuple(notes))

    def _levels_grid(self) -> Grid:
        rows: list[tuple[str, ...]] = []
        for column, table in self.levels.items():
            rows += _level_rows(column, table, self.by is not None)
        by = [] if self.by is None else [self.by]
        headers = ("column", *by, "level", "count", "share")
        notes: tuple[str, ...] = ()
        if any(_HELD in row for row in rows):
            notes = (
                f"{_HELD}: no rows, or too few at a node, or at too few nodes, or least beside "
                "such a level",
            )
        right = (*[False] * (2 + len(by)), True, True)
        return Grid(headers, tuple(rows), right, notes)


def describe(
    table: Table,
    columns: Sequence[str] | None = None,
    *,
    by: str | None = None,
    quantiles: Sequence[float] = (0.25, 0.5, 0.75),
) -> Description:
    """Describe columns (by default all that can be), in all rows or by the levels of `by`.

    Number columns: count, missing, mean, standard deviation and quantiles. Boolean columns and
    columns with a declared domain: rows and share of each level. One job.

    Precision: counts exact; means and deviations to 1e-12; quantiles as `quantile`. What leaves
    each node: per group count, sum and centred sum of squares where it has rows enough (and not
    just a few that differ from all others); rows by level where no node has few of them; the trees
    of `quantile`. How many rows lack a value is a count like any other: where few do at a node it
    is held back, and not told apart from none.

    Raises `CallError` (`argument`, `sql_unknown_column`, `sql_type`) for columns that cannot be
    described.
    """
    wrong = [share for share in quantiles if not 0 <= share <= 1]
    if wrong or len(set(quantiles)) != len(quantiles):
        raise CallError(
            "argument", f"expected quantiles from 0 to 1, each once, got `{list(quantiles)}`"
        )
    names = column_names(table, columns, by)
    found, variables = sort_columns(table, names, by)
    texts = {name: name for name in names}
    if by is not None:
        texts[by] = by
        if variables[by].levels is None:
            raise CallError(
                "argument", f"expected `by` to have a declared domain or be a condition, got `{by}`"
            )
    texts |= {missing_name(name): f"({written(table, name)}) IS NULL" for name in found.counted}
    question = Question(
        "describe",
        texts,
        [(name, by or "") for name in (*found.levels, *map(missing_name, found.counted))],
        found.numbers,
        by or "",
        found.numbers,
        tuple(quantiles),
    )
    cells = ask(table, question)
    return Description(
        cells.provenance,
        by=by,
        q=quantiles if found.numbers else (),
        numbers=_summaries(found, cells, by, quantiles),
        levels={name: cells.counts[name, by or ""] for name in found.levels},
        quantiles=cells.quantiles,
        units={name: unit_of(table, name) for name in names},
    )


def sort_columns(
    table: Table, names: Sequence[str], by: str | None
) -> tuple[Columns, dict[str, Variable]]:
    """How each column is described: booleans, text and few declared integers by level."""
    texts = {name: written(table, name) for name in names}
    if by is not None:
        texts[by] = written(table, by)
    variables = variables_of(table, table.rows(texts))
    levels = tuple(name for name in names if _by_level(variables[name]))
    numbers = tuple(name for name in names if name not in levels)
    counted = tuple(name for name in numbers if can_be_missing(table, name))
    return Columns(numbers, levels, counted), variables


def missing_name(column: str) -> str:
    """What the rows without a value of a column are called in a job."""
    return f"{column} is missing"


def missing_by_group(cells: Cells, columns: Columns, name: str, by: str | None) -> list[int | None]:
    """Rows without a value by group, None where none or few."""
    if name not in columns.counted:
        return [0] * len(cells.groups)
    table = cells.counts[missing_name(name), by or ""]
    at = table.levels.index(True)
    return [None if count == HIDDEN else count for count in table.known[:, at].tolist()]


WIDE_SHARE = 0.1
"""Of an estimate: beyond this its bounds are shown in its place."""


def estimate_text(bracket: Bracket) -> str:
    """A quantile with as many decimals as its bounds warrant, both bounds where they are far
    apart; empty where there is none."""
    if math.isnan(bracket.estimate):
        return ""
    if bracket.error > WIDE_SHARE * abs(bracket.estimate):
        return "–".join(format_numbers([bracket.lower, bracket.upper]))
    if not (math.isfinite(bracket.error) and bracket.error > 1e-6 * abs(bracket.estimate)):
        return format_numbers([bracket.estimate])[0]
    return f"{bracket.estimate:.{max(0, -math.floor(math.log10(bracket.error)))}f}"


def _summaries(
    columns: Columns, cells: Cells, by: str | None, q: Sequence[float]
) -> list[NumberSummary]:
    found = []
    for name in columns.numbers:
        missing = missing_by_group(cells, columns, name, by)
        for at, group in enumerate(cells.groups):
            brackets: tuple[Bracket, ...] = ()
            if cells.quantiles is not None:
                brackets = tuple(cells.quantiles.at(name, float(share), group) for share in q)
            part = cells.moments[name][at]
            found.append(NumberSummary(name, group, part, missing[at], brackets))
    return found


def column_names(table: Table, columns: Sequence[str] | None, by: str | None) -> list[str]:
    """The columns to describe, by default all that can be. Raises `CallError` (`argument`)."""
    if isinstance(columns, str):
        raise CallError("argument", f"expected a list of columns, got the text `{columns}`")
    if columns is None:
        columns = [name for name in table.columns if name != by and _describable(table, name)]
    if not columns or len(set(columns)) != len(columns):
        raise CallError("argument", "expected one column or more, each once")
    if by in columns:
        raise CallError("argument", f"expected groups by another column, got `{by}`")
    return list(columns)


def _describable(table: Table, name: str) -> bool:
    column = declared(table, name)
    return column is None or column.type is not ColumnType.TEXT or column.domain is not None


def _by_level(variable: Variable) -> bool:
    if variable.levels is None:
        return False
    return not variable.numeric or len(variable.levels) <= MAX_SHOWN_LEVELS


def can_be_missing(table: Table, name: str) -> bool:
    """Whether a column's declaration, where it has one, allows rows without a value."""
    column = declared(table, name)
    return column is None or column.nullable


def _level_lines(
    table: CountTable,
) -> list[tuple[DomainValue | None, DomainValue | None, int | None, float]]:
    lines = []
    for group, counts, known in zip(table.groups, table.counts, table.known, strict=True):
        total = int(known.sum()) if (known != HIDDEN).all() else 0
        levels: tuple[DomainValue | None, ...] = (*table.levels, None)
        for level, count in zip(levels, counts.tolist(), strict=True):
            shared = total and level is not None
            share = count / total if shared else float("nan")
            lines.append((group, level, None if count == HIDDEN else count, share))
    return lines


def _level_rows(column: str, table: CountTable, grouped: bool) -> list[tuple[str, ...]]:
    rows = []
    for group, level, count, share in _level_lines(table):
        if level is None and count is None:
            continue
        where = [label_of(group)] if grouped else []
        shown = _HELD if count is None else f"{count:,}"
        percent = "" if np.isnan(share) else f"{100 * share:.1f}%"
        name = "missing" if level is None else label_of(level)
        rows.append((column, *where, name, shown, percent))
    return rows


def _percent(share: float) -> str:
    return f"{100 * share:g}%"
