"""Margins: no difference of released cells tells of few rows or few nodes."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.disclosure import (
    DisclosureRules,
    Margins,
    margin_flags,
    margin_keep,
)
from yumen_core.errors import CallError

RULES = DisclosureRules(threshold=3, min_nodes=3)
SHAPES = [
    (2, (2,)),
    (3, (3,)),
    (4, (2, 2)),
    (6, (3, 2)),
    (4, (2,)),
    (8, (2, 2, 2)),
    (2, (1, 2)),
    (2, (2, 1)),
]
MIXES = [[0, 0, 1, 2, 3, 4, 5, 5, 5], [0, 5, 5, 5, 5, 5, 5, 5, 2], [0, 5, 5, 2, 2]]
Counts = npt.NDArray[np.int64]


def rollup(details: Counts, margins: Margins) -> Counts:
    """Rows of all cells from those of the details, [cells, supports]."""
    tables, level = [details], details
    for fold in margins.folds:
        level = level.reshape(len(level) // fold, fold, -1).sum(axis=1)
        tables.append(level)
    return np.concatenate(tables).astype(np.int64)


def kept(nodes: list[Counts], margins: Margins) -> list[npt.NDArray[np.bool_]]:
    flags = [margin_flags(node, RULES, margins) for node in nodes]
    totals = np.stack(flags).sum(axis=0, dtype=np.uint8)
    return [
        margin_keep(totals, own, margins, participants=len(nodes), min_nodes=3) for own in flags
    ]


def covered(margins: Margins) -> list[set[int]]:
    """Of each cell the details that it holds."""
    sets: list[set[int]] = [{at} for at in range(margins.details)]
    level = list(sets)
    for fold in margins.folds:
        level = [set().union(*level[at : at + fold]) for at in range(0, len(level), fold)]
        sets += level
    return sets


def check(nodes: list[Counts], margins: Margins, support: int = 0) -> None:
    """Every rest of a released cell is empty, or of enough nodes with enough rows each; and who
    stands behind a cell stands behind all released cells around it."""
    keeps = [keep[:, support] for keep in kept(nodes, margins)]
    details = covered(margins)
    behind = {
        cell: {at for at, keep in enumerate(keeps) if keep[cell]} for cell in range(len(details))
    }
    released = [cell for cell, who in behind.items() if who]
    for cell in released:
        assert len(behind[cell]) >= 3
        below = [other for other in released if details[other] < details[cell]]
        # A margin of one cell holds the same details as it.
        below += [o for o in released if o < cell and details[o] == details[cell]]
        rests = []
        for at in behind[cell]:
            inside = set().union(*(details[o] for o in below if at in behind[o]))
            rests.append(sum(int(nodes[at][d, support]) for d in details[cell] - inside))
        assert all(rest == 0 or rest >= RULES.threshold for rest in rests)
        assert sum(rest > 0 for rest in rests) in (0, *range(3, len(nodes) + 1))
        assert all(behind[other] <= behind[cell] for other in below)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SHAPES), st.integers(3, 6), st.data())
def test_a_rest_is_a_cell_of_its_own_or_nothing(
    shape: tuple[int, tuple[int, ...]], count: int, data: st.DataObject
) -> None:
    details, folds = shape
    margins = Margins(details, folds, frozenset({0}), frozenset({0}))
    rows = st.sampled_from(data.draw(st.sampled_from(MIXES)))
    nodes = [
        rollup(
            np.array(data.draw(st.lists(rows, min_size=details, max_size=details))).reshape(-1, 1),
            margins,
        )
        for _ in range(count)
    ]
    check(nodes, margins)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SHAPES), st.integers(3, 5), st.booleans(), st.data())
def test_the_same_holds_for_each_support(
    shape: tuple[int, tuple[int, ...]], count: int, tight: bool, data: st.DataObject
) -> None:
    details, folds = shape
    margins = Margins(
        details, folds, frozenset({0, 1}), frozenset({0, 1}) if tight else frozenset({0})
    )
    pair = st.tuples(st.sampled_from([0, 3, 4, 5, 6]), st.sampled_from([0, 1, 2, 3, 4, 5]))
    nodes = []
    for _ in range(count):
        drawn = data.draw(st.lists(pair, min_size=details, max_size=details))
        nodes.append(rollup(np.array([(rows, min(rows, has)) for rows, has in drawn]), margins))
    for support in (0, 1):
        check(nodes, margins, support)


FOUR = Margins(4, (2, 2), frozenset({0}), frozenset({0}))


@pytest.mark.parametrize(
    ("name", "nodes", "released"),
    [
        ("all full", [[5, 5, 5, 5]] * 3, [1, 1, 1, 1, 1, 1, 1]),
        ("empty cells are no rest", [[5, 5, 5, 0]] * 3, [1, 1, 1, 0, 1, 1, 1]),
        # One thin cell at one node would be its margin less the other cell.
        ("one thin cell", [[5, 5, 5, 1], [5, 5, 5, 5], [5, 5, 5, 5], [5, 5, 5, 5]],
         [1, 1, 1, 1, 1, 0, 0]),
        ("thin at every node", [[5, 5, 5, 1]] * 3, [1, 1, 1, 0, 1, 0, 0]),
        # The cell is one node's: margin less the other cell would be its share.
        ("a cell of one node", [[5, 5, 5, 5], [5, 5, 5, 0], [5, 5, 5, 0]],
         [1, 1, 1, 0, 1, 0, 0]),
        # Two thin cells together are enough rows at each of three nodes.
        ("a rest that stands", [[5, 5, 2, 2]] * 3, [1, 1, 0, 0, 1, 1, 1]),
        # The one node's rest, of a margin that is not released, is in the total too.
        ("a rest below of one node", [[2, 2, 5, 5], [0, 0, 5, 5], [0, 0, 5, 5]],
         [0, 0, 1, 1, 0, 1, 0]),
        ("a rest below of three nodes", [[2, 2, 5, 5], [2, 2, 5, 5], [2, 2, 5, 5]],
         [0, 0, 1, 1, 1, 1, 1]),
        ("a rest of two nodes", [[5, 5, 2, 2], [5, 5, 2, 2], [5, 5, 0, 0], [5, 5, 5, 5]],
         [1, 1, 0, 0, 1, 0, 0]),
    ],
)  # fmt: skip
def test_what_is_released(name: str, nodes: list[list[int]], released: list[int]) -> None:
    tables = [rollup(np.array(node).reshape(-1, 1), FOUR) for node in nodes]
    found = np.any(kept(tables, FOUR), axis=0)[:, 0]
    assert found.astype(int).tolist() == released, name
    check(tables, FOUR)


def test_what_carries_no_value_needs_no_rest() -> None:
    margins = Margins(2, (2,), frozenset({0}), frozenset({0}))
    table = rollup(np.array([[5, 1], [5, 5]]), margins)
    assert np.any(kept([table] * 3, margins), axis=0).tolist() == [
        [True, False], [True, True], [True, True],
    ]  # fmt: skip


def test_a_wrong_number_of_cells_is_refused() -> None:
    with pytest.raises(CallError, match="expected 7 cells, got 4"):
        margin_flags(np.zeros((4, 1), dtype=np.int64), RULES, FOUR)


def test_every_combination_of_two_nodes_rows_stays_hidden() -> None:
    """Small enough to try all: two cells, one margin, three nodes."""
    margins = Margins(2, (2,), frozenset({0}), frozenset({0}))
    for counts in itertools.product((0, 2, 4), repeat=6):
        table = np.array(counts).reshape(3, 2, 1)
        check([rollup(node, margins) for node in table], margins)
