"""Disclosure rules: who flags what, what is released, what is withheld."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yumen_core.disclosure import DisclosureRules, local_flags, released, withhold
from yumen_core.errors import CallError


def counts(rows: list[list[int]]) -> np.ndarray:
    return np.array(rows, dtype=np.int64)


def flags(rows: list[list[int]]) -> np.ndarray:
    return np.array(rows, dtype=np.uint8)


def test_defaults() -> None:
    assert DisclosureRules() == DisclosureRules(threshold=10, min_nodes=3)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([10, 10], [1, 1]),
        ([9, 10], [0, 0]),  # support 0 fails, so the cell does
        ([10, 9], [1, 0]),
        ([3, 3], [0, 0]),
        ([0, 0], [0, 0]),
        ([2**62, 10], [1, 1]),
    ],
)
def test_local_flags(row: list[int], expected: list[int]) -> None:
    found = local_flags(counts([row]), DisclosureRules())
    assert found.dtype == np.uint8
    assert found.tolist() == [expected]


@pytest.mark.parametrize(
    ("total", "own", "expected"),
    [
        ([3, 3], [1, 1], [True, True]),
        ([4, 2], [1, 1], [True, False]),
        ([2, 3], [1, 1], [False, False]),  # support 0 has too few nodes
        ([4, 4], [0, 0], [False, False]),  # this node's own cell is too small
        ([4, 4], [1, 0], [True, False]),
        ([0, 0], [0, 0], [False, False]),
    ],
)
def test_released(total: list[int], own: list[int], expected: list[bool]) -> None:
    assert released(flags([total]), flags([own]), 3).tolist() == [expected]


def test_withhold() -> None:
    keep = np.array([[True, True], [True, False], [False, False]])
    values = [[11, -5, 3], [12, -6, 4], [2, -7, 5]]
    assert withhold(values, [0, 1, 1], keep) == [[11, -5, 3], [12, 0, 0], [0, 0, 0]]
    assert values[1] == [12, -6, 4]
    assert withhold([], [0], np.zeros((0, 1), dtype=np.bool_)) == []


ROWS = st.lists(st.tuples(*[st.integers(0, 20)] * 3).map(list), min_size=1, max_size=6)


@given(st.lists(ROWS, min_size=3, max_size=5), st.integers(3, 4))
def test_what_is_released_stands_on_enough_rows_at_enough_nodes(
    nodes: list[list[list[int]]], min_nodes: int
) -> None:
    cells = min(len(rows) for rows in nodes)
    tables = [counts(rows[:cells]) for rows in nodes]
    own = [local_flags(table, DisclosureRules()) for table in tables]
    total = np.sum(own, axis=0, dtype=np.uint8)
    keep = [released(total, each, min_nodes) for each in own]
    behind = np.sum(keep, axis=0)
    # Either min_nodes nodes or more give a support, each over its threshold, or none does.
    assert ((behind == 0) | (behind >= min_nodes)).all()
    for kept, table in zip(keep, tables, strict=True):
        assert (table[kept] >= 10).all()
        assert (table[:, 0][kept.any(axis=1)] >= 10).all()
    # Nothing is held back that could have gone.
    could = total * (total >= min_nodes) * (total[:, :1] >= min_nodes)
    assert (behind == could).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DisclosureRules(threshold=0), "expected a threshold from 1, got `0`"),
        (lambda: DisclosureRules(min_nodes=2), "expected 3 nodes or more behind a cell, got `2`"),
        (
            lambda: local_flags(np.zeros(3, dtype=np.int64), DisclosureRules()),
            "expected counts of int64 by cell and support, got the shape (3,) of int64",
        ),
        (
            lambda: local_flags(np.zeros((3, 1)), DisclosureRules()),
            "expected counts of int64 by cell and support, got the shape (3, 1) of float64",
        ),
        (
            lambda: local_flags(np.zeros((3, 0), dtype=np.int64), DisclosureRules()),
            "got the shape (3, 0) of int64",
        ),
        (
            lambda: local_flags(counts([[10, -1]]), DisclosureRules()),
            "expected counts from 0, got a negative one",
        ),
        (
            lambda: released(flags([[3]]), flags([[1, 1]]), 3),
            "expected flags of the shape (1, 1), got (1, 2)",
        ),
        (
            lambda: released(flags([[0]]), flags([[1]]), 3),
            "expected totals that count this node's flags of 0 and 1",
        ),
        (
            lambda: released(flags([[3]]), flags([[2]]), 3),
            "expected totals that count this node's flags of 0 and 1",
        ),
        (
            lambda: released(flags([[3]]), flags([[1]]), 1),
            "expected 3 nodes or more behind a cell, got `1`",
        ),
        (
            lambda: withhold([[1]], [0], np.ones((2, 1), dtype=np.bool_)),
            "expected 2 cells of 1 values, got other numbers",
        ),
        (
            lambda: withhold([[1, 2]], [0], np.ones((1, 1), dtype=np.bool_)),
            "expected 1 cells of 1 values, got other numbers",
        ),
        (
            lambda: withhold([[1]], [1], np.ones((1, 1), dtype=np.bool_)),
            "expected supports from 0 to 0, got `1`",
        ),
        (
            lambda: withhold([[1]], [-1], np.ones((1, 1), dtype=np.bool_)),
            "expected supports from 0 to 0, got `-1`",
        ),
    ],
)
def test_wrong_calls(call: object, message: str) -> None:
    with pytest.raises(CallError) as caught:
        call()
    assert caught.value.code == "argument"
    assert message in caught.value.message
