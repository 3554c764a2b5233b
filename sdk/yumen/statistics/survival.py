"""What the survival methods share: their rows, and time cut into the cells that are released."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from yumen_core.errors import CallError
from yumen_core.sql import RowVariable, TableSchema, parse_rows
from yumen_core.sql.expression import Kind
from yumen_core.sql.schema import DomainValue
from yumen_core.statistics.kinds import Totals
from yumen_core.statistics.layout import Counts, Reals
from yumen_core.statistics.statistic import Round, Statistic
from yumen_core.statistics.time_grid import MAX_STEPS, TimeGrid

from yumen.display import counted
from yumen.statistics.source import Provenance
from yumen.statistics.table import Table, quoted

_Levels = tuple[DomainValue, ...]


@dataclass(frozen=True)
class SurvivalRows:
    """The signed statement of the rows, and its variables by name."""

    sql: str
    variables: Mapping[str, RowVariable]


def survival_rows(
    table: Table, duration: str, event: str, more: Mapping[str, str] | None = None
) -> SurvivalRows:
    """`duration` and `event` are columns or SQL expressions, which name their variable; `more` are
    further variables. Raises `CallError` for what is no number."""
    named = {**(more or {})}
    for text in (duration, event):
        named[text] = expression(table, text)
    sql = table.rows(named)
    columns = [table.column(name) for name in table.columns]
    schema = TableSchema(table.name, tuple(c for c in columns if c is not None))
    plan = parse_rows(sql, {table.name: schema})
    found = {variable.name: variable for variable in plan.variables}
    for name in (duration, event):
        if not found[name].numeric:
            raise CallError(
                "argument",
                f"expected `{name}` to be a number or a condition, got levels",
                remedy="write a condition, such as \"status = 'dead'\"",
            )
    return SurvivalRows(sql, found)


def expression(table: Table, text: str) -> str:
    """A column's name as SQL; other text is SQL already."""
    return quoted(text) if text in table.columns else text


def levels_of(rows: SurvivalRows, name: str) -> _Levels:
    """The levels of a variable. Raises `CallError` (`argument`) where they are not known."""
    levels = rows.variables[name].levels
    if not levels:
        raise CallError(
            "argument",
            f"expected `{name}` to have a declared domain, got values not known beforehand",
            remedy='write a condition, such as "age >= 60", or a CASE of such',
        )
    return levels


def time_grid(
    rows: SurvivalRows,
    duration: str,
    resolution: float | None,
    horizon: float | None,
    *,
    most: int = MAX_STEPS,
) -> TimeGrid:
    """Time from 0, or the duration's declared lower bound, to `horizon`, or its upper bound, in
    steps of `resolution`: by default 1 for whole numbers, or the least whole step with which at
    most `most` steps are left. Raises `CallError` (`argument`) that says what would pass."""
    shown = rows.variables[duration].expr
    asked = resolution is not None
    if resolution is None:
        if shown.kind is not Kind.INTEGER:
            raise CallError(
                "argument",
                f"expected `resolution` for `{duration}`, whose values are not whole numbers",
                remedy="give the step of time that durations are rounded up to, in its own unit",
            )
        resolution = 1.0
    if not (math.isfinite(resolution) and resolution > 0):
        raise CallError("argument", f"expected a `resolution` above 0, got `{resolution}`")
    if shown.bounds is None:
        raise CallError(
            "argument",
            f"expected `{duration}` to have declared bounds, got none",
            remedy="ask the table's owners to declare lower and upper bounds of the column",
        )
    start, end = max(0.0, float(shown.bounds.low)), float(shown.bounds.high)
    if horizon is not None:
        if not start < horizon <= end:
            raise CallError(
                "argument",
                f"expected `horizon` above {start:g} and at most {end:g}, the bounds of "
                f"`{duration}`, got `{horizon}`",
            )
        end = float(horizon)
    if not asked:
        resolution = max(1.0, math.ceil((end - start) / max(1, most - 1)))
    steps = max(1, math.ceil((end - start) / resolution - 1e-9) + 1)
    if steps > most:
        least = math.ceil((end - start) / max(1, most - 1) * 1e3) / 1e3
        raise CallError(
            "argument",
            f"expected at most {most} steps of time up to {end:g}, got {steps}",
            remedy=f"choose a resolution of {least:g} or more, or an earlier horizon",
        )
    return TimeGrid(start, float(resolution), steps)


@dataclass(frozen=True)
class TimeCells:
    """A partition of time, cell by cell: `times` is the step that a cell's durations are rounded up
    to, `starts` its first step, and `widths` how many steps it holds; each [cells]."""

    cells: Counts
    starts: Reals
    times: Reals
    widths: Counts
    resolution: float

    @property
    def exact(self) -> bool:
        """Whether no two steps of time were taken together."""
        return bool((self.widths == 1).all())

    def notes(self) -> list[str]:
        """What the partition does to the result, in words."""
        steps = f"times in steps of {self.resolution:g}"
        if self.exact:
            return [steps]
        return [
            f"{steps}; {self.merged()} for too few rows at a node: times within a cell count as "
            "tied at its end; where the last one is wide, horizon= ends the follow-up before it"
        ]

    def merged(self) -> str:
        """How many cells are wide, and the widest, in words; empty where every cell is exact."""
        if self.exact:
            return ""
        wide = int((self.widths > 1).sum())
        at = int(self.widths.argmax())
        return (
            f"{counted(wide, 'cell')} of {len(self.widths)} took several steps together, the "
            f"widest from {self.starts[at]:g} to {self.times[at]:g}"
        )


def time_cells(grid: TimeGrid, totals: Totals, tree: int = 0) -> TimeCells:
    """The released partition of one tree.

    Raises `CallError` (`too_few_rows`) where nothing was released, or all times as one.
    """
    nodes = totals.nodes[tree * grid.cells : (tree + 1) * grid.cells, 0]
    found = list(grid.partition(nodes))
    if not found:
        raise CallError(
            "too_few_rows",
            "expected enough rows of each group at every node that has some, got too few to "
            "release any cell of time",
            remedy="leave out rare groups with where=, or choose other nodes",
        )
    cells, first, last = (np.array(part, dtype=np.int64) for part in zip(*found, strict=True))
    starts = np.array([grid.time(step) for step in first.tolist()])
    times = np.array([grid.time(step) for step in last.tolist()])
    widths = last - first + 1
    if len(widths) == 1 and widths[0] > 1:
        raise CallError(
            "too_few_rows",
            f"expected rows enough to leave in several cells of time, got one from {starts[0]:g} "
            f"to {times[0]:g}",
            remedy="end the follow-up earlier with horizon=, give a coarser resolution=, or, for "
            'tests and models, compare within nodes with strata="node"',
        )
    return TimeCells(cells + tree * grid.cells, starts, times, widths, grid.resolution)


@dataclass(frozen=True)
class LifeTable:
    """Rows that leave in each cell of time and the events among them, int64[cells, groups]."""

    cells: TimeCells
    removed: Counts
    observed: Counts
    groups: _Levels
    provenance: Provenance

    @property
    def at_risk(self) -> Counts:
        """Rows at risk at each cell, int64[cells, groups]."""
        return np.cumsum(self.removed[::-1], axis=0)[::-1]


def life_table(
    table: Table,
    method: str,
    duration: str,
    event: str,
    *,
    by: str | None,
    resolution: float | None,
    horizon: float | None,
) -> LifeTable:
    """One round: the rows that leave and the events, over the finest safe partition of time."""
    more = {} if by is None else {by: expression(table, by)}
    rows = survival_rows(table, duration, event, more)
    groups: _Levels = () if by is None else levels_of(rows, by)
    # Cells times groups are sent: the more groups, the fewer steps of time.
    most = min(MAX_STEPS, 1 << (60_000 // max(1, len(groups))).bit_length() - 1)
    grid = time_grid(rows, duration, resolution, horizon, most=most)
    arguments = {
        "by": by or "",
        "duration": duration,
        "event": event,
        "groups": max(1, len(groups)),
        **grid.to_arguments(),
    }
    statistic = Statistic(method, rows.sql, (Round("life_table", "life_table", arguments),))
    with table.compute(statistic) as job:
        totals = job.run("life_table")
        provenance = job.provenance
    cells = time_cells(grid, totals)
    values = np.rint(totals.values[cells.cells]).astype(np.int64)
    return LifeTable(cells, values[:, 0::2], values[:, 1::2], groups, provenance)


def check_alpha(alpha: float) -> None:
    """Raise `CallError` (`argument`) for an `alpha` outside 0 to 1."""
    if not 0.0 < alpha < 1.0:
        raise CallError("argument", f"expected `alpha` between 0 and 1, got `{alpha}`")


def quantile_normal(alpha: float) -> float:
    """The two-sided quantile of the normal distribution."""
    from scipy.stats import norm  # scipy takes a while, and few calls need it

    return float(norm.ppf(1 - alpha / 2))


def texts(values: Sequence[object]) -> list[str]:
    """Labels as people read them."""
    return [str(value) for value in values]
