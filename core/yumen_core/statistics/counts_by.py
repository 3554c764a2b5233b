"""Rows by level and group: tables of counts whose released cells are exact.

A cell is released where enough nodes have the threshold of its rows, and every other node none of
them or not too few (`DisclosureRules.few`): unlike the groups of a query, a released cell leaves
out no node, so that shares and tests may be made of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from yumen_core.canonical import Json
from yumen_core.disclosure import DisclosureRules
from yumen_core.privacy.noise import Summed
from yumen_core.statistics import arguments as read
from yumen_core.statistics.kinds import Arguments, Inputs, Local, Rule, Variables
from yumen_core.statistics.layout import Counts, Layout, count
from yumen_core.statistics.rows import Rows

MAX_TABLES = 500
MAX_LEVELS = 10_000
_NONE = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Tabled:
    """One table: `groups` levels of `by` (1 where `by` is empty), `levels` levels of `of`."""

    of: str
    levels: int
    by: str
    groups: int

    @property
    def cells(self) -> int:
        """For each group, the levels of `of` and then a missing `of`."""
        return self.groups * (self.levels + 1)


class CountsBy:
    """`tables` lists [`of`, number of its levels, `by`, number of its levels], `by` empty for none.
    The cells of a table are, for each level of `by`, the levels of `of` and then a missing `of`;
    rows without `by` have no cell.

    A lone cell held back would be found by subtraction wherever the totals of its group or level
    are known. So a node that has few rows in a cell holds back other cells of its group and its
    level as well (complementary suppression; Hundepool et al., "Statistical Disclosure Control",
    2012, chapter 4). How many rows lack a level is not covered: it tells of no value.
    """

    name = "counts_by"
    rule: Rule = Rule.PARTITION

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        tables = _tables(arguments)
        for table in tables:
            _check_levels(table.of, table.levels, variables)
            if table.by:
                _check_levels(table.by, table.groups, variables)
            elif table.groups != 1:
                raise read.bad(f"expected one group without `by`, got {table.groups}")
        cells = sum(table.cells for table in tables)
        return Layout(cells, ("rows",), (count(),), trees=cells, lines=tuple(_lines(tables)))

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        counted = [_counted(rows, table) for table in _tables(arguments)]
        supports = [_shown(cells, rules.few) for cells in counted]
        values = np.concatenate([cells.reshape(-1) for cells in counted])
        behind = np.concatenate([cells.reshape(-1) for cells in supports])
        return Local(behind.reshape(-1, 1), values.astype(np.float64).reshape(-1, 1))

    def moved(self, arguments: Arguments, layout: Layout) -> tuple[Summed, ...]:
        """A row is in one cell of each table, or in none."""
        (value,) = layout.values
        return (Summed(value.bits, value.signed, 1, cells=len(_tables(arguments))),)

    def integers(self, rows: Rows, arguments: Arguments) -> list[list[int]]:
        counted = [_counted(rows, table).reshape(-1) for table in _tables(arguments)]
        return [[int(one)] for one in np.concatenate(counted).tolist()]


def _lines(tables: Sequence[Tabled]) -> Iterator[npt.NDArray[np.int64]]:
    """Each group's levels, and each level's groups: their sums may be known besides. Cells of
    missing values stand apart: one that is thin is told as few or none, and hides a level's."""
    start = 0
    for table in tables:
        wide = table.levels + 1
        cells = np.arange(start, start + table.cells).reshape(table.groups, wide)
        yield from cells[:, :-1]
        if table.groups > 1:
            yield from cells[:, :-1].T
        start += table.cells


def _tables(arguments: Arguments) -> list[Tabled]:
    read.only(arguments, "tables")
    entries = arguments.get("tables")
    if not isinstance(entries, list | tuple) or not 1 <= len(entries) <= MAX_TABLES:
        raise read.bad(f"expected `tables` to be a list of 1 to {MAX_TABLES} tables")
    return [_table(entry) for entry in entries]


def _table(entry: Json) -> Tabled:
    match entry:
        case [str(of), int(levels), str(by), int(groups)]:
            if 1 <= levels <= MAX_LEVELS and 1 <= groups <= MAX_LEVELS:
                return Tabled(of, levels, by, groups)
    raise read.bad("expected a table as column, number of levels, group column, number of groups")


def _check_levels(name: str, expected: int, variables: Variables) -> None:
    found = len(read.level_variable(variables, name))
    if found != expected:
        raise read.bad(f"expected the {found} levels of `{name}`, got {expected}")


def _counted(rows: Rows, table: Tabled) -> Counts:
    """Rows by group and level, int64[groups, levels + 1], the last for a missing level."""
    wide = table.levels + 1
    at = rows.level(table.of).astype(np.int64)
    at = np.where(at < 0, table.levels, at)
    if table.by:
        group = rows.level(table.by)
        grouped = group >= 0
        at = group[grouped].astype(np.int64) * wide + at[grouped]
    return np.bincount(at, minlength=table.cells).reshape(table.groups, wide).astype(np.int64)


def _shown(counted: Counts, threshold: int) -> Counts:
    """The rows behind each cell, int64 as `counted`; 1 in place of a large cell held back to cover
    thin ones: those with fewer rows than `threshold`.

    A line of the table (a group's cells, or a level's over the groups) covers what it holds back
    where that is two cells or more, and rows enough together. Lines that do not hold back their
    least large cell besides, until all cover or have none left.
    """
    known = counted[:, :-1]
    hidden = (known > 0) & (known < threshold)
    before = -1
    while before != (before := int(hidden.sum())):
        for axis in (1, 0):
            rows, cells = np.where(hidden, known, 0).sum(axis=axis), hidden.sum(axis=axis)
            bare = (cells == 1) | ((cells > 1) & (rows < threshold))
            large = np.where(hidden | (known < threshold), _NONE, known)
            line = np.flatnonzero(bare & (large < _NONE).any(axis=axis))
            least = large.argmin(axis=axis)[line]
            hidden[(line, least) if axis else (least, line)] = True
    shown = counted.copy()
    shown[:, :-1] = np.where(hidden, np.minimum(known, 1), known)
    return shown
