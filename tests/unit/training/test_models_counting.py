"""Which rows count at a node with a threshold, and what a requester then cannot learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from yumen import models
from yumen.models import Category, ReadyModel
from yumen_core.training.models import evaluate, fit, initial
from yumen_core.training.models.counting import counted
from yumen_core.training.models.rows import Examples, read_examples, split


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on busy cores take many times longer."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def examples(levels: Sequence[Sequence[int]], target: Sequence[int]) -> Examples:
    rows = len(target)
    codes = np.array(levels, dtype=np.int64).reshape(len(levels), rows).T
    return Examples(np.zeros((rows, 1)), codes, np.array(target, np.int64), np.ones(rows, bool))


def counts(levels: Sequence[Sequence[int]], target: Sequence[int], threshold: int) -> list[int]:
    rows = np.arange(len(target))
    found = counted(examples(levels, target), rows, by_class=True, threshold=threshold)
    return [int(row) for row in found]


@pytest.mark.parametrize(
    ("levels", "target", "threshold", "expected"),
    [
        # A level needs the threshold, and exactly it is enough.
        ([[0, 0, 0, 0, 1, 1, 1]], [0] * 7, 4, [0, 1, 2, 3]),
        ([[0, 0, 0, 0, 1, 1, 1]], [0] * 7, 3, [0, 1, 2, 3, 4, 5, 6]),
        # Every category is asked.
        ([[0] * 7, [1, 1, 1, 1, 0, 0, 0]], [0] * 7, 4, [0, 1, 2, 3]),
        # A class needs 3 rows at most, or the threshold where that is lower.
        ([], [0] * 6 + [1, 1], 5, [0, 1, 2, 3, 4, 5]),
        ([], [0] * 6 + [1, 1, 1], 5, list(range(9))),
        ([], [0] * 6 + [1, 1], 2, list(range(8))),
        ([], [0] * 6 + [1], 2, list(range(6))),
        # A row that goes makes another level, then a class, then the first level too rare.
        ([[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0]], [0, 1, 1, 1, 1, 0, 0], 4, []),
        ([[0, 0, 1, 1, 1, 1, 1], [2, 3, 3, 3, 2, 2, 2]], [0] * 7, 3, [4, 5, 6]),
        # All together need the threshold.
        ([], [0] * 9, 10, []),
        ([], [0] * 10, 10, list(range(10))),
        ([], [], 1, []),
        ([[0, 1]], [0, 1], 1, [0, 1]),
    ],
)
def test_rows_that_count(
    levels: list[list[int]], target: list[int], threshold: int, expected: list[int]
) -> None:
    assert counts(levels, target, threshold) == expected


ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2)), max_size=25)


@given(ROWS, st.integers(1, 6))
def test_what_counts_is_the_largest_set_that_is_safe(
    rows: list[tuple[int, int, int]], threshold: int
) -> None:
    """Taken out one at a time, in another order, the same rows stay."""
    found = counts([[r[0] for r in rows], [r[1] for r in rows]], [r[2] for r in rows], threshold)
    left = list(range(len(rows)))
    needs = (threshold, threshold, min(3, threshold))

    def rare(row: int) -> bool:
        return any(
            sum(rows[other][at] == rows[row][at] for other in left) < need
            for at, need in enumerate(needs)
        )

    while rares := [row for row in left if rare(row)]:
        left.remove(rares[-1])
    assert found == (left if len(left) >= threshold else [])


@pytest.mark.parametrize("threshold", [0, -1])
def test_no_threshold_is_no_setting(threshold: int) -> None:
    model = models.linear(["x"], "y")
    rows = pa.table({"x": [1.0], "y": [1.0]})
    for work in (fit, evaluate):
        with pytest.raises(ValueError, match=f"expected a threshold from 1, got {threshold}"):
            work(model, initial(model), rows, {}, threshold=threshold)


def by_person(ids: Sequence[int]) -> ReadyModel:
    return models.linear(
        [Category("pid", ids)], "age", batch_size=0, learning_rate=0.5, dtype="float64"
    )


def test_one_input_a_person_gives_no_persons_value() -> None:
    age = np.random.default_rng(7).uniform(20, 95, 60)
    rows = pa.table({"pid": np.arange(60), "age": age})
    model = by_person(range(60))
    # Without a threshold one round is a group by: each weight is that row's age.
    weights, _ = fit(model, initial(model), rows, {})
    assert np.allclose(weights["weight"][0] * 60, age)
    weights, metrics = fit(model, initial(model), rows, {}, threshold=10)
    assert metrics == {"num-examples": 0}
    assert not weights["weight"].any()
    assert not weights["bias"].any()
    assert evaluate(model, initial(model), rows, {}, threshold=10) == {"num-examples": 0}


def test_a_persons_level_beside_a_crowds() -> None:
    age = np.random.default_rng(8).uniform(20, 95, 60)
    crowd = np.minimum(np.arange(60), 30)
    rows = pa.table({"pid": crowd, "age": age})
    for drop_first in (False, True):
        model = models.linear(
            [Category("pid", range(31), drop_first=drop_first)], "age", batch_size=0,
            learning_rate=0.5, dtype="float64",
        )  # fmt: skip
        weights, metrics = fit(model, initial(model), rows, {}, threshold=10)
        assert metrics["num-examples"] == 30
        assert np.flatnonzero(weights["weight"]).tolist() == [30 - drop_first]
        assert weights["bias"] == pytest.approx(age[30:].mean())
        found = evaluate(model, initial(model), rows, {}, threshold=10)
        assert found["num-examples"] == 30
        assert found["eval_mae"] == pytest.approx(age[30:].mean())


def test_embedded_levels_count_too() -> None:
    rows = pa.table({"c": ["p"] * 12 + ["q"] * 9, "y": [0, 1, 2] * 7})
    model = models.tabular([Category("c", ["p", "q"])], "y", classes=3, hidden=[2])
    start = initial(model)
    weights, metrics = fit(model, start, rows, {}, threshold=10)
    assert metrics["num-examples"] == 12
    changed = weights["embeddings.0.weight"] != start["embeddings.0.weight"]
    assert changed.any(axis=1).tolist() == [True, False]


def test_a_class_of_two_rows_is_left_out() -> None:
    rows = pa.table({"x": np.arange(20.0), "y": [0] * 18 + [1] * 2})
    model = models.logistic(["x"], "y")
    assert fit(model, initial(model), rows, {}, threshold=10)[1]["num-examples"] == 18
    assert evaluate(model, initial(model), rows, {}, threshold=10)["num-examples"] == 18
    assert fit(model, initial(model), rows, {})[1]["num-examples"] == 20


def test_a_column_with_one_value_gives_nothing() -> None:
    rows = pa.table({"rare": pa.array([None] * 59 + [57.0]), "age": np.arange(60.0)})
    model = models.linear(["rare"], "age", batch_size=0)
    weights, metrics = fit(model, initial(model), rows, {}, threshold=10)
    assert metrics == {"num-examples": 0}
    assert not weights["weight"].any()


def test_trained_and_kept_rows_each_count_alone() -> None:
    level = np.tile([0, 0, 1], 20)
    rows = pa.table({"c": level, "n": np.arange(60.0), "y": np.arange(60) % 2})
    model = models.logistic([Category("c", [0, 1]), "n"], "y", holdout=0.3, split_seed=5)
    train, kept = split(read_examples(model, rows), 2, model.holdout)
    sizes = np.bincount(level[train]).tolist(), np.bincount(level[kept]).tolist()
    # Of all rows both levels have 20 or more.
    assert sizes == ([30, 12], [10, 8])
    start = initial(model)
    assert fit(model, start, rows, {}, threshold=12)[1]["num-examples"] == 42
    assert fit(model, start, rows, {}, threshold=13)[1]["num-examples"] == 30
    assert evaluate(model, start, rows, {}, threshold=8)["num-examples"] == 18
    assert evaluate(model, start, rows, {}, threshold=9)["num-examples"] == 10
    assert evaluate(model, start, rows, {}, threshold=11) == {"num-examples": 0}


@pytest.mark.parametrize(("holdout", "trains", "evaluates"), [(0.9, 0, 54), (0.1, 54, 0)])
def test_too_few_rows_on_one_side(holdout: float, trains: int, evaluates: int) -> None:
    rows = pa.table({"x": np.arange(60.0) / 60, "y": np.arange(60.0)})
    model = models.linear(["x"], "y", holdout=holdout)
    assert fit(model, initial(model), rows, {}, threshold=10)[1]["num-examples"] == trains
    assert evaluate(model, initial(model), rows, {}, threshold=10)["num-examples"] == evaluates


@pytest.mark.parametrize(
    ("steps", "batch_size", "used"), [(1, 1, 0), (3, 3, 0), (5, 2, 60), (1, 0, 60), (None, 1, 60)]
)
def test_steps_that_meet_too_few_rows(steps: int | None, batch_size: int, used: int) -> None:
    rows = pa.table({"x": np.arange(60.0) / 60, "y": np.arange(60.0)})
    model = models.linear(["x"], "y", steps=steps, batch_size=batch_size)
    weights, metrics = fit(model, initial(model), rows, {}, threshold=10)
    assert metrics["num-examples"] == used
    assert bool(weights["bias"].any()) == bool(used)
