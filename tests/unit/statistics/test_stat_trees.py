"""The kind `tree` and its grid: shapes, refusals, and what a node computes."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yumen_core.canonical import Json
from yumen_core.disclosure import DisclosureRules
from yumen_core.disclosure.rounds import CHAIN
from yumen_core.errors import CallError, StateError
from yumen_core.statistics.grid import Cell, cell_at, covering, splits
from yumen_core.statistics.histogram import Bins
from yumen_core.statistics.rows import Rows, Variable
from yumen_core.statistics.trees import Trees

RULES = DisclosureRules(threshold=10, min_nodes=3)
VARIABLES = {
    "x": Variable("x", True),
    "y": Variable("y", True),
    "g": Variable("g", False, ("a", "b")),
    "n": Variable("n", False),
}
ARGUMENTS: dict[str, Json] = {
    "by": "",
    "depth": 3,
    "groups": 1,
    "joint": False,
    "start": [[[4, 0]]],
    "variables": ["x"],
}


def rows(x: list[float], g: list[int] | None = None) -> Rows:
    codes = np.array(g if g is not None else [0] * len(x), dtype=np.int32)
    return Rows(len(x), {"x": np.array(x), "y": -np.array(x)}, {"g": codes})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"variables": []}, "expected one variable or more, each once"),
        ({"variables": ["x", "x"], "start": [[[4, 0]]] * 2}, "one variable or more, each once"),
        ({"variables": ["z"]}, "expected a variable of the statement, got `z`"),
        ({"variables": ["n"]}, "expected `n` to be a number, got levels"),
        ({"by": "n"}, "expected `n` to have a declared domain"),
        ({"by": "g", "groups": 3}, "expected the 2 levels of `g`, got 3"),
        ({"groups": 2}, "expected `groups` from 1 to 1, got `2`"),
        ({"depth": 13}, "expected `depth` from 1 to 12, got `13`"),
        ({"depth": True}, "expected `depth` from 1 to 12, got `True`"),
        ({"joint": 1}, "expected `joint` to be true or false, got `1`"),
        ({"start": []}, "expected `start` to be a list of 1 to"),
        ({"start": [[[4, 0]], [[4, 0]]]}, "expected `start` to be a list of cells for each"),
        ({"start": [[[65, 0]]]}, "expected a cell of the grid with a width of 2\\*\\*-64 to"),
        ({"start": [[[64, 1]]]}, "expected a cell of the grid with a place within the grid"),
        ({"start": [[[-20, 1 << 41]]]}, "a place within the grid, got another"),
        ({"start": [[[4]]]}, "expected a cell of `start` as its exponent and its index"),
        ({"start": [[["4", 0]]]}, "expected a cell of `start` as its exponent and its index"),
        ({"start": [[[4, 0]] * 1000], "depth": 10}, "expected at most 400000 values in a round"),
        ({"more": 1}, "expected the arguments by, depth, groups, joint, start, variables"),
    ],
)
def test_other_arguments_are_refused(changed: dict[str, Json], message: str) -> None:
    with pytest.raises(CallError, match=message):
        Trees().layout({**ARGUMENTS, **changed}, VARIABLES)


def test_the_shape_follows_from_the_arguments() -> None:
    layout = Trees().layout(ARGUMENTS, VARIABLES)
    assert (layout.cells, len(layout.supports), len(layout.values)) == (CHAIN + 7, 6, 1)
    grouped = {**ARGUMENTS, "by": "g", "groups": 2, "start": [[[4, 0], [5, 1]]]}
    layout = Trees().layout(grouped, VARIABLES)
    assert (layout.trees, layout.cells, len(layout.values)) == (4, 4 * (CHAIN + 7), 1)
    assert layout.inputs == {"cells": (4, 2)}
    layout = Trees().layout({**grouped, "joint": True}, VARIABLES)
    assert (layout.trees, len(layout.supports), len(layout.values)) == (2, 10, 2)


@pytest.mark.parametrize(
    "cell",
    [
        (0.5, 0.0),
        (0.0, 0.5),
        (65.0, 0.0),
        (-65.0, 0.0),
        (1e300, 0.0),
        (0.0, 1e300),
        (0.0, -1e300),
        (64.0, -2.0),
        (5e-324, 0.0),
    ],
)
def test_inputs_off_the_grid_are_refused(cell: tuple[float, float]) -> None:
    with pytest.raises(StateError, match="expected a cell of the grid with") as refused:
        Trees().compute(rows([1.0] * 30), ARGUMENTS, {"cells": np.array([cell])}, RULES)
    assert refused.value.code == "data_values"


def test_infinite_values_count_as_missing_unless_there_are_many() -> None:
    few = Trees().compute(rows([1.0] * 30 + [math.inf] * 9), ARGUMENTS, {}, RULES)
    without = Trees().compute(rows([1.0] * 30), ARGUMENTS, {}, RULES)
    assert (few.supports == without.supports).all()
    with pytest.raises(StateError, match="expected finite numbers in `x`, got others"):
        Trees().compute(rows([1.0] * 30 + [math.inf] * 10), ARGUMENTS, {}, RULES)


def test_values_are_rows_below_each_split() -> None:
    values = [0.5] * 12 + [3.0] * 15 + [8.0] * 20 + [15.9] * 30 + [math.nan] * 5
    local = Trees().compute(rows(values), ARGUMENTS, {}, RULES)
    at = splits(Cell(4, 0), 3).at
    assert dict(zip(at[CHAIN:].tolist(), local.values[CHAIN:, 0], strict=True)) == {
        8.0: 27.0,
        4.0: 27.0,
        12.0: 47.0,
        2.0: 12.0,
        6.0: 27.0,
        10.0: 47.0,
        14.0: 47.0,
    }
    assert local.values[0, 0] == 77
    assert local.supports[CHAIN].tolist() == [27, 50, 27, 50, 0, 0]
    assert local.supports[0].tolist() == [77, 77, 77, 77, 0, 0]


def test_groups_and_variables_have_trees_of_their_own() -> None:
    arguments = {
        **ARGUMENTS,
        "by": "g",
        "groups": 2,
        "variables": ["x", "y"],
        "start": [[[4, 0]], [[4, -1]]],
    }
    values = [1.0] * 20 + [9.0] * 30 + [5.0] * 40
    codes = [0] * 20 + [1] * 30 + [-1] * 40
    local = Trees().compute(rows(values, codes), arguments, {}, RULES)
    size = CHAIN + 7
    assert [local.values[tree * size, 0] for tree in range(4)] == [20, 30, 20, 30]
    # x = 8 halves the cell from 0; y = -x is at -8 in the cell below 0.
    assert [local.values[tree * size + CHAIN, 0] for tree in range(4)] == [20, 0, 0, 30]
    joint = Trees().compute(rows(values, codes), {**arguments, "joint": True}, {}, RULES)
    assert joint.values[CHAIN].tolist() == [20, 0]


numbers = st.fractions(min_value=-(2**70), max_value=2**70, max_denominator=10**9) | st.floats(
    allow_nan=False, allow_infinity=False
).map(Fraction)


@given(numbers, numbers)
def test_cells_cover_every_range_on_the_grid(one: Fraction, other: Fraction) -> None:
    low, high = min(one, other), max(one, other)
    cells = covering(low, high)
    edge = Fraction(2) ** 64
    for x in (low, high):
        inside = max(-edge, min(x, edge - 1))
        assert any(Fraction(c.low) <= inside < Fraction(c.high) for c in cells), (cells, x)


@given(st.integers(-64, 64), st.integers(-(1 << 40), (1 << 40) - 1), st.integers(1, 12))
def test_each_split_is_of_a_half_of_one_above(exponent: int, index: int, depth: int) -> None:
    if not -(1 << (64 - exponent)) <= index < 1 << (64 - exponent):
        return
    cell = Cell(exponent, index)
    found = splits(cell, depth)
    assert len(found.at) == CHAIN + (1 << depth) - 1
    assert cell_at(cell.low, cell.high - cell.low) == cell or abs(index) >= (1 << 40) - 1
    above = {-math.inf, math.inf}
    for low, at, high in zip(found.low, found.at, found.high, strict=True):
        if not math.isfinite(at):
            continue
        assert low < at < high
        assert low in above
        assert high in above
        above.add(float(at))
    goes = found.marks[:CHAIN]
    assert (goes.sum(axis=1) == np.isfinite(found.at[:CHAIN])).all()


BINS: dict[str, Json] = {"by": "", "edges": ["0", "1", "2.5"], "groups": 1, "variable": "x"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"edges": ["0"]}, "expected two edges of bins or more, in rising order"),
        ({"edges": ["1", "0"]}, "in rising order"),
        ({"edges": ["0", "0"]}, "in rising order"),
        ({"edges": ["0", "nan"]}, "expected edges of bins as decimal texts, got `nan`"),
        ({"edges": ["0", "inf"]}, "got `inf`"),
        ({"edges": ["0", "1" * 41]}, "expected edges of bins as decimal texts, got `1"),
        ({"edges": [0, 1]}, "expected `edges` to be a list of texts"),
        ({"by": "g"}, "expected the 2 levels of `g`, got 1"),
        ({"variable": "n"}, "expected `n` to be a number"),
    ],
)
def test_other_bins_are_refused(changed: dict[str, Json], message: str) -> None:
    with pytest.raises(CallError, match=message):
        Bins().layout({**BINS, **changed}, VARIABLES)


def test_a_bin_is_held_back_to_cover_a_thin_one() -> None:
    local = Bins().compute(rows([0.5] * 20 + [1.5] * 12 + [1.0] * 3 + [7.0] * 2), BINS, {}, RULES)
    assert local.values[:, 0].tolist() == [20, 15]
    assert local.supports[:, 0].tolist() == [20, 1]  # two rows lie beyond the edges
    edges: Json = ["0", "1", "2", "3"]
    local = Bins().compute(
        rows([0.5] * 20 + [1.5] * 2 + [3.0] * 12), {**BINS, "edges": edges}, {}, RULES
    )
    assert local.supports[:, 0].tolist() == [20, 2, 1]
