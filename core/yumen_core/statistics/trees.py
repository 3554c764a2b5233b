"""Secure histograms: rows below the splits of binary trees, as fine as disclosure allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from yumen_core.canonical import Json
from yumen_core.disclosure import DisclosureRules
from yumen_core.disclosure.rounds import CHAIN, safe_splits
from yumen_core.errors import CallError, StateError
from yumen_core.statistics import arguments as read
from yumen_core.statistics.grid import MAX_DEPTH, Cell, Splits, read_cells, splits
from yumen_core.statistics.kinds import Arguments, Inputs, Local, Rule, Variables
from yumen_core.statistics.layout import Counts, Layout, Reals, count
from yumen_core.statistics.rows import MAX_FLOAT, Rows, usable_numbers

MAX_TREES = 1_000
MAX_GROUPS = 100
SIDES = ("rows left of a split", "rows right of it", "all rows below it", "all rows above it")
MARKS = ("the tree goes on to the left", "the tree goes on to the right")


@dataclass(frozen=True)
class TreeArguments:
    """`by` may be empty; `groups` is then 1. `start` are, for each variable, the cells at which its
    trees start, of one number for all."""

    variables: tuple[str, ...]
    by: str
    groups: int
    joint: bool
    depth: int
    start: tuple[tuple[Cell, ...], ...]

    @property
    def each(self) -> int:
        """Trees of one variable and group."""
        return len(self.start[0])

    @property
    def apart(self) -> int:
        """Groups with trees of their own."""
        return 1 if self.joint else self.groups

    @property
    def together(self) -> int:
        """Groups in one tree."""
        return self.groups if self.joint else 1

    @property
    def trees(self) -> int:
        return len(self.variables) * self.apart * self.each

    @property
    def splits(self) -> int:
        """Splits of one tree."""
        return CHAIN + (1 << self.depth) - 1

    def cells(self) -> tuple[Cell, ...]:
        """The cell of each tree at the start."""
        return tuple(cell for cells in self.start for cell in cells * self.apart)


class Trees:
    """Rows below the splits of trees over the grid (`grid`), for each variable and group.

    Arguments: `variables`, numbers; `by`, a variable with known levels, or empty; `groups`, its
    number of levels (1 without); `joint`, whether one partition must be safe in every group;
    `depth`, the levels of splits in a tree, 1 to 12; `start`, for each variable a list of
    [exponent, index], the cells at which its trees start. The trees come by variable, then by group
    (all groups together with `joint`), then as in `start`. The input `cells`, float64[trees, 2] of
    exponents and indices, takes the place of `start`. Rows whose variable or group is missing have
    no part; infinite numbers count as missing.

    One cell of the round is one split, with the rows below it as values, one for each group of the
    tree. Whatever the inputs, splits told of one variable are splits of one partition
    (`disclosure.rounds.split_keep`). Other nodes see how many flag a side of a split. So a node
    flags nothing at a split that its own rows make unsafe, such as every split of a cell with a
    few of its rows: nobody learns where in the cell they are, or how many.
    """

    name = "tree"
    rule: Rule = Rule.SPLITS

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        asked = read_arguments(arguments)
        for name in asked.variables:
            read.number_variable(variables, name)
        if asked.by and len(read.level_variable(variables, asked.by)) != asked.groups:
            raise read.bad(
                f"expected the {len(read.level_variable(variables, asked.by))} levels of "
                f"`{asked.by}`, got {asked.groups}"
            )
        return tree_layout(asked)

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        asked = read_arguments(arguments)
        ordered = [
            rows.kept(
                ("tree", name, asked.by, asked.groups), partial(_ordered, rows, name, asked, rules)
            )
            for name in asked.variables
        ]
        return counted(ordered, asked, inputs, rules)


def read_arguments(arguments: Arguments) -> TreeArguments:
    """Raises `CallError` (`statistic`)."""
    read.only(arguments, "by", "depth", "groups", "joint", "start", "variables")
    names, by = read.texts(arguments, "variables"), read.text(arguments, "by")
    if not names or len(set(names)) != len(names):
        raise read.bad("expected one variable or more, each once")
    joint = arguments.get("joint")
    if not isinstance(joint, bool):
        raise read.bad(f"expected `joint` to be true or false, got `{joint}`")
    groups = read.whole(arguments, "groups", 1, MAX_GROUPS if by else 1)
    depth = read.whole(arguments, "depth", 1, MAX_DEPTH)
    start = tuple(read_start(entry) for entry in _list(arguments.get("start")))
    if len(start) != len(names) or len({len(cells) for cells in start}) != 1:
        raise read.bad("expected `start` to be a list of cells for each variable, of one length")
    return TreeArguments(names, by, groups, joint, depth, start)


def read_start(given: Json) -> tuple[Cell, ...]:
    """The cells at which one variable's trees start. Raises `CallError` (`statistic`)."""
    found = []
    for entry in _list(given):
        match entry:
            case [int() as exponent, int() as index]:
                try:
                    found.append(Cell(exponent, index))
                except CallError as fault:
                    raise read.bad(fault.message) from None
            case _:
                raise read.bad("expected a cell of `start` as its exponent and its index")
    return tuple(found)


def tree_layout(asked: TreeArguments, **inputs: tuple[int, ...]) -> Layout:
    """The round's shape; `inputs` are what the requester sends besides cells."""
    supports = tuple(
        side if asked.together == 1 else f"{side} (group {group + 1})"
        for group in range(asked.together)
        for side in SIDES
    )
    return Layout(
        asked.trees * asked.splits,
        (*supports, *MARKS),
        tuple(count(len(SIDES) * group) for group in range(asked.together)),
        inputs={"cells": (asked.trees, 2), **inputs},
        trees=asked.trees,
    )


def counted(
    ordered: Sequence[Sequence[Reals]], asked: TreeArguments, inputs: Inputs, rules: DisclosureRules
) -> Local:
    """One node's part, from its values in rising order by variable and group, float64[rows] each.

    Raises `StateError` (`data_values`) for inputs that name no cells of the grid.
    """
    sides, marks = [], []
    for tree, cell in enumerate(_cells(asked, inputs)):
        variable, group = divmod(tree // asked.each, asked.apart)
        edges = splits(cell, asked.depth)
        parts = ordered[variable][group : group + asked.together]
        sides.append(np.stack([_sides(part, edges) for part in parts], axis=1))
        marks.append(edges.marks)
    every = np.stack(sides)
    values = every[:, :, :, 2].astype(np.float64).reshape(-1, asked.together)
    return Local(_hushed(every, np.stack(marks), rules), values)


def in_order(numbers: Reals, codes: npt.NDArray[np.integer] | None, groups: int) -> list[Reals]:
    """The numbers that are not NaN in each group, in rising order; without `codes`, of all rows."""
    present = ~np.isnan(numbers)
    if codes is None:
        return [np.sort(numbers[present])]
    return [np.sort(numbers[present & (codes == group)]) for group in range(groups)]


def _ordered(rows: Rows, name: str, asked: TreeArguments, rules: DisclosureRules) -> list[Reals]:
    numbers = usable_numbers(rows, name, rules.threshold, most=MAX_FLOAT)
    return in_order(numbers, rows.level(asked.by) if asked.by else None, asked.groups)


def _sides(ordered: Reals, edges: Splits) -> Counts:
    """The four supports of each split, int64[splits, 4], in one group."""
    low, at, high = (
        np.searchsorted(ordered, edge, side="left").astype(np.int64)
        for edge in (edges.low, edges.at, edges.high)
    )
    rows = np.int64(len(ordered))
    found = np.stack([at - low, high - at, at, rows - at], axis=1)
    found[np.isinf(edges.at)] = rows  # stands for all rows, which nothing splits
    return found


def _hushed(sides: Counts, marks: npt.NDArray[np.bool_], rules: DisclosureRules) -> Counts:
    """Supports int64[trees * splits, 4 * groups + 2] from int64[trees, splits, groups, 4] and the
    marks bool[trees, splits, 2]: 1 in all four of a split that is not safe at this node."""
    halves = sides[..., :2]
    filled = halves >= rules.few
    safe = safe_splits(filled | (halves == 0), filled, marks)
    shown = np.where(safe[:, :, np.newaxis, np.newaxis], sides, np.int64(1))
    flat = shown.reshape(safe.size, -1)
    return np.concatenate([flat, np.where(marks, rules.threshold, 0).reshape(safe.size, 2)], axis=1)


def _cells(asked: TreeArguments, inputs: Inputs) -> tuple[Cell, ...]:
    if "cells" not in inputs:
        return asked.cells()
    try:
        return read_cells(inputs["cells"])
    except CallError as fault:
        raise StateError("data_values", fault.message, remedy="use the current SDK") from None


def _list(given: Json) -> Sequence[Json]:
    if not isinstance(given, list | tuple) or not 1 <= len(given) <= MAX_TREES:
        raise read.bad(f"expected `start` to be a list of 1 to {MAX_TREES} cells")
    return given
