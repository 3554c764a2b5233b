"""Rounds of trees: what they ask of nodes, where they start, and where to look next."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from yumen_core.canonical import Json
from yumen_core.disclosure.rounds import CHAIN
from yumen_core.errors import CallError
from yumen_core.sql import RowVariable, parse_rows
from yumen_core.sql.expression import Kind
from yumen_core.sql.schema import DomainValue
from yumen_core.statistics.grid import MAX_INDEX, NARROWEST, WIDEST, Cell, cell_at, covering, splits
from yumen_core.statistics.kinds import Totals
from yumen_core.statistics.layout import MAX_VALUES, Reals
from yumen_core.statistics.statistic import Round

from yumen.statistics.moments_table import written
from yumen.statistics.partitions import Leaves, Support, joined, no_leaves, told
from yumen.statistics.source import Computation
from yumen.statistics.table import Table

START_DEPTH, ZOOM_DEPTH = 10, 8
MOST_LOOKS = 3
_MOST_PIECES = 400
_LADDER = Cell(NARROWEST, 0), Cell(NARROWEST, -1)
"""On the way down to the least cells beside 0 lie all powers of two: edges for skewed values."""


@dataclass(frozen=True)
class Asked:
    """Columns or expressions by the name that messages use, the groups, and the statement."""

    names: tuple[str, ...]
    by: str
    levels: tuple[DomainValue | None, ...]
    supports: tuple[Support, ...]
    statement: str


def ask(table: Table, columns: Sequence[str], by: str | None) -> Asked:
    """Raises `CallError` for columns that are not numbers and groups without known levels."""
    if not columns or len(set(columns)) != len(columns):
        raise CallError("argument", f"expected one column or more, each once, got `{columns}`")
    if by in columns:
        raise CallError("argument", f"expected groups by another column, got `{by}`")
    texts = {text: written(table, text) for text in columns}
    if by is not None:
        texts[by] = written(table, by)
    statement = table.rows(texts)
    schema = table._source.schema
    plan = parse_rows(statement, {schema.name: schema})
    known = {variable.name: variable for variable in plan.variables}
    for text in columns:
        if not known[text].numeric:
            raise CallError("argument", f"expected a column of numbers, got `{text}`")
    levels: tuple[DomainValue | None, ...] = (None,)
    if by is not None:
        found = known[by].levels
        if found is None:
            raise CallError(
                "argument", f"expected groups with known values, got `{by}`, which has no domain"
            )
        levels = found
    return Asked(
        tuple(columns), by or "", levels, tuple(_support(known[t]) for t in columns), statement
    )


def _support(variable: RowVariable) -> Support:
    expr = variable.expr
    if expr.kind is Kind.BOOLEAN:
        return Support(Fraction(0), Fraction(1), Fraction(1))
    grain = None if expr.kind is Kind.FLOAT else Fraction(1, 10**expr.scale)
    if expr.bounds is None:
        return Support(grain=grain)
    return Support(expr.bounds.low, expr.bounds.high, grain)


def start_cells(support: Support) -> tuple[Cell, Cell]:
    """Where the first trees of a variable start: over its declared bounds."""
    if support.low is None or support.high is None:
        return _LADDER
    cells = covering(support.low, support.high)
    return (cells[0], cells[1] if len(cells) > 1 else _LADDER[support.high <= 0])


def tree_round(
    name: str,
    asked: Asked,
    start: Sequence[Sequence[Cell]],
    depth: int,
    *,
    joint: bool = False,
    at_most: int = 1,
) -> Round:
    arguments: dict[str, Json] = {
        "by": asked.by,
        "depth": depth,
        "groups": len(asked.levels),
        "joint": joint,
        "start": [[[cell.exponent, cell.index] for cell in cells] for cells in start],
        "variables": list(asked.names),
    }
    return Round(name, "tree", arguments, at_most)


def depth_for(trees: int, groups: int, wanted: int) -> int:
    """The depth, at most `wanted`, at which a round of so many trees of `groups` groups each
    fits. Raises `CallError` (`argument`)."""
    for depth in range(wanted, 1, -1):
        if trees * groups * 5 * (CHAIN + (1 << depth)) <= MAX_VALUES:
            return depth
    raise CallError("argument", "expected fewer columns, groups or quantiles, got too many at once")


def cell_inputs(cells: Sequence[Cell]) -> dict[str, Reals]:
    return {"cells": np.array([(c.exponent, c.index) for c in cells], dtype=np.float64)}


@dataclass
class Search:
    """What is known of one variable in one group (or of groups jointly), and what was tried."""

    support: Support
    groups: int = 1
    guessed: bool = False
    leaves: Leaves = field(init=False)
    _tried: set[float] = field(default_factory=set)
    _looks: dict[tuple[float, float], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.leaves = no_leaves(self.groups)

    @property
    def blind(self) -> bool:
        """There are rows, and no edge among them is known."""
        return bool(self.leaves.rows.any()) and not len(self.leaves.edges)

    def learn(self, cells: Sequence[Cell], depth: int, found: Sequence[Leaves]) -> None:
        """Take in what trees at `cells` told."""
        for cell in cells:
            self._tried.update(splits(cell, depth).at.tolist())
        self.leaves = joined([self.leaves, *found])

    def guess(self, mean: float | None) -> list[Cell]:
        """Cells to try while blind: the way down to the mean passes edges on either side of it."""
        self.guessed = True
        found = []
        if mean is not None and math.isfinite(mean) and abs(mean) < 2.0**WIDEST:
            exponent = max(NARROWEST, math.frexp(mean)[1] - 36)
            found.append(Cell(exponent, math.floor(math.ldexp(mean, -exponent))))
        return [*found, *_LADDER]

    def next_cells(self, leaf: int, most: int) -> list[Cell]:
        """Cells of a leaf that were not looked into, none after MOST_LOOKS in vain: in turn the
        nearest to each edge of the leaf that is known, and the widest."""
        edges = self.leaves.edges
        low, high = self._ends(leaf)
        looks = self._looks.get((low, high), 0)
        if not len(edges) or looks >= MOST_LOOKS:
            return []
        self._looks[low, high] = looks + 1
        open_cells = self._untried(low, high)
        orders = [sorted(open_cells, key=lambda cell: -cell.exponent)]
        if leaf < len(edges):
            orders.insert(0, sorted(open_cells, key=lambda cell: -cell.high))
        if leaf:
            orders.insert(0, sorted(open_cells, key=lambda cell: cell.low))
        return list(dict.fromkeys(cell for turn in zip(*orders, strict=True) for cell in turn))[
            :most
        ]

    def _untried(self, low: float, high: float) -> list[Cell]:
        """The widest cells of [low, high) whose splits were not looked at."""
        found: list[Cell] = []
        waiting = deque(_pieces(low, high))
        while waiting and len(found) + len(waiting) < _MOST_PIECES:
            cell = waiting.popleft()
            if math.ldexp(2 * cell.index + 1, cell.exponent - 1) not in self._tried:
                found.append(cell)
            elif cell.exponent > NARROWEST and abs(cell.index) < MAX_INDEX // 4:
                place = 2 * cell.index
                waiting += (Cell(cell.exponent - 1, place), Cell(cell.exponent - 1, place + 1))
        return found

    def _ends(self, leaf: int) -> tuple[float, float]:
        """A leaf's ends; those of the outermost leaves where the variable's bounds are."""
        edges, most = self.leaves.edges, math.ldexp(1.0, WIDEST)
        low = float(edges[leaf - 1]) if leaf else max(-most, self.support.least)
        high = float(edges[leaf]) if leaf < len(edges) else min(most, self.support.greatest)
        # Bounds need not lie on the grid: the least power of two that reaches them does.
        if not leaf:
            low = high - _reach(high - low)
        if leaf == len(edges):
            high = low + _reach(high - low)
        return max(low, -most), min(high, most)


def _reach(width: float) -> float:
    return math.ldexp(1.0, math.frexp(max(width, 2.0**NARROWEST))[1])


def _pieces(low: float, high: float) -> list[Cell]:
    """[low, high) as cells of the grid, each as wide as can be, the widest first."""
    found: list[Cell] = []
    while low < high and len(found) < _MOST_PIECES:
        width = math.ldexp(1.0, math.frexp(high - low)[1] - 1)
        if low:
            width = min(width, _alignment(low))
        cell = cell_at(low, width)
        if cell is not None:
            found.append(cell)
        low += width
    return sorted(found, key=lambda cell: -cell.exponent)


def _alignment(x: float) -> float:
    """The greatest power of two of which x is a multiple."""
    numerator, denominator = x.as_integer_ratio()
    return (numerator & -numerator) / denominator


def learn_round(
    totals: Totals, searches: Sequence[Search], cells: Sequence[Sequence[Cell]], depth: int
) -> None:
    """Give each search what its own trees told: `cells` by search."""
    every = told(totals, [cell for own in cells for cell in own], depth)
    at = 0
    for search, own in zip(searches, cells, strict=True):
        search.learn(own, depth, every[at : at + len(own)])
        at += len(own)


def zoomed(
    job: Computation,
    searches: Sequence[Search],
    wanted: Sequence[Sequence[Cell]],
    each: int,
    depth: int,
) -> bool:
    """One run of the round `zoom`, of `each` trees a search, at the cells that are wanted; or False
    where none is."""
    if not any(wanted):
        return False
    cells = [
        distinct(own, each, start_cells(search.support)[0])
        for own, search in zip(wanted, searches, strict=True)
    ]
    totals = job.run("zoom", cell_inputs([cell for own in cells for cell in own]))
    learn_round(totals, searches, cells, depth)
    return True


def mean_round(asked: Asked) -> Round:
    """Means, for variables of which the first trees told no edge."""
    arguments: dict[str, Json] = {
        "by": asked.by,
        "groups": len(asked.levels),
        "squares": 0,
        "variables": list(asked.names),
    }
    return Round("means", "moments_by", arguments)


def means_of(totals: Totals, names: int) -> list[float | None]:
    """By variable, then by group; None where held back."""
    count, total = totals.values[:, 0::2], totals.values[:, 1::2]
    return [
        float(total[group, name] / count[group, name]) if count[group, name] > 0 else None
        for name in range(names)
        for group in range(len(count))
    ]


def distinct(cells: Sequence[Cell], most: int, filler: Cell) -> list[Cell]:
    """Exactly `most` cells: the first distinct ones, and `filler` in the places left."""
    found = list(dict.fromkeys(cells))[:most]
    return [*found, *[filler] * (most - len(found))]
