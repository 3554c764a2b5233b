"""Rows that a ready model takes, leaves out and refuses; predictions from a frame."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from yumen import models
from yumen.models import Category, Number
from yumen_core.errors import CallError
from yumen_core.training.models import evaluate, fit, initial
from yumen_core.training.models.learning import Holdout
from yumen_core.training.models.rows import read_examples, split

SECRET = 424242


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on busy cores take many times longer."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


MODEL = models.logistic([Number("n", 10, 2), Category("c", ["p", "q"])], "y", classes=["no", "yes"])
GOOD: dict[str, list[Any]] = {"n": [8, 12, 14], "c": ["p", "q", "p"], "y": ["no", "yes", "no"]}


def test_numbers_of_a_row() -> None:
    examples = read_examples(MODEL, pa.table({**GOOD, "other": [None, None, None]}))
    assert examples.numbers.tolist() == [[-1, 1, 0], [1, 0, 1], [2, 1, 0]]
    assert examples.numbers.dtype == np.float32
    assert examples.target is not None
    assert examples.target.tolist() == [0, 1, 0]
    assert examples.complete.tolist() == [True, True, True]


@pytest.mark.parametrize("column", ["n", "c", "y"])
def test_rows_with_a_missing_value_are_left_out(column: str) -> None:
    values = [GOOD[column][0], None, GOOD[column][2]]
    examples = read_examples(MODEL, pa.table({**GOOD, column: values}))
    assert examples.complete.tolist() == [True, False, True]
    assert examples.numbers.tolist() == [[-1, 1, 0], [2, 1, 0]]
    table = pa.table({**GOOD, column: values})
    assert fit(MODEL, initial(MODEL), table, {})[1]["num-examples"] == 2
    assert evaluate(MODEL, initial(MODEL), table, {})["num-examples"] == 2


@pytest.mark.parametrize(
    "table",
    [
        pa.table({name: pa.array(v).slice(0, 0) for name, v in GOOD.items()}),
        pa.table({name: pa.chunked_array([], pa.array(v).type) for name, v in GOOD.items()}),
        pa.table({**GOOD, "c": pa.nulls(3)}),
        pa.table({**GOOD, "n": pa.nulls(3)}),
        pa.table({**GOOD, "y": pa.nulls(3, pa.string())}),
    ],
)
def test_without_rows_the_weights_stay(table: pa.Table) -> None:
    start = {name: values + 1 for name, values in initial(MODEL).items()}
    weights, metrics = fit(MODEL, start, table, {})
    assert metrics == {"num-examples": 0}
    assert all((weights[name] == start[name]).all() for name in start)
    assert evaluate(MODEL, start, table, {}) == {"num-examples": 0}


@pytest.mark.parametrize(
    ("levels", "column"),
    [
        ((0, 1), pa.array([0, 1, 1], pa.int8())),
        ((0, 1), pa.array([0.0, 1.0, 1.0])),
        ((0, 1), pa.array([False, True, True])),
        ((False, True), pa.array([0, 1, 1])),
        ((0, 1), pa.array([Decimal(0), Decimal(1), Decimal(1)])),
        (("a", "b"), pa.array(["a", "b", "b"]).dictionary_encode()),
        (("a", "b"), pa.array(["a", "b", "b"], pa.large_string())),
        (("a", "b"), pa.chunked_array([["a"], ["b", "b"]])),
    ],
)
def test_a_class_matches_in_any_storage(levels: tuple[Any, ...], column: pa.Array) -> None:
    model = models.logistic(["n"], "y", classes=levels)
    examples = read_examples(model, pa.table({"n": [1, 2, 3], "y": column}))
    assert examples.target is not None
    assert examples.target.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 0, 2**40], pa.int64()),
        pa.array([1.0, 0.0, 2.0**40]),
        pa.array([Decimal("1.0"), Decimal("0.0"), Decimal(2**40)]),
        pa.array([1, 0, 2**40]).dictionary_encode(),
    ],
)
def test_numbers_in_any_storage(column: pa.Array) -> None:
    model = models.linear(["n"], "y")
    examples = read_examples(model, pa.table({"n": column, "y": [1, 2, 3]}))
    assert examples.numbers[:, 0].tolist() == [1, 0, 2**40]


UNUSABLE: list[dict[str, list[Any]]] = [
    {"c": ["p", "z", "p"]},
    {"c": pa.array([b"p", b"\xff\xfe", b"q"]).cast(pa.binary()).view(pa.string())},
    {"y": ["no", "maybe", "no"]},
    {"n": [1.0, float("nan"), 3.0]},
    {"n": [1.0, float("-inf"), 3.0]},
    {"n": [1.0, 1e300, 3.0]},
]


@pytest.mark.parametrize("changed", UNUSABLE)
def test_a_value_that_cannot_be_used_is_as_one_that_is_missing(
    changed: dict[str, list[Any]],
) -> None:
    """An error, or another answer than for a missing value, would tell of the one row."""
    table = pa.table({**GOOD, **changed})
    (name, values) = next(iter(changed.items()))
    missing = pa.table({**GOOD, **changed, name: pa.array([values[0], None, values[2]])})
    examples = read_examples(MODEL, table)
    assert examples.complete.tolist() == [True, False, True]
    start = initial(MODEL)
    (one, metrics), (two, others) = (fit(MODEL, start, rows, {}) for rows in (table, missing))
    assert metrics == others
    assert metrics["num-examples"] == 2
    assert all((one[key] == two[key]).all() for key in start)
    assert evaluate(MODEL, start, table, {}) == evaluate(MODEL, start, missing, {})


def test_unusable_and_missing_values_together() -> None:
    table = pa.table({"n": [None, 2.0, 3.0, 4.0], "c": ["p", "q", "z", None], "y": ["no"] * 4})
    assert read_examples(MODEL, table).complete.tolist() == [False, True, False, False]
    table = pa.table({"n": [float("nan")], "c": ["p"], "y": ["no"]})
    start = {name: values + 1 for name, values in initial(MODEL).items()}
    weights, metrics = fit(MODEL, start, table, {})
    assert metrics == {"num-examples": 0}
    assert all((weights[name] == start[name]).all() for name in start)
    assert evaluate(MODEL, start, table, {}) == {"num-examples": 0}


BAD = [
    ({"n": ["1", "2", f"{SECRET}"]}, "expected numbers in `n`, got a column of another type"),
    ({"n": [datetime.date(2020, 1, 1)] * 3}, "expected numbers in `n`, got a column of another"),
    ({"c": [SECRET, 1, 2]}, "names, got a column of another type"),
    ({"y": [SECRET, 1, 2]}, "expected the classes of `y` that the model names, got a column"),
    ({"c": [datetime.date(2020, 1, 1)] * 3}, "expected the levels of `c` that the model names"),
    ({"c": [[SECRET], [1], [2]]}, "expected the levels of `c` that the model names"),
    ({"n": None}, "expected the column `n` once, got a table without it"),
]


@pytest.mark.parametrize(("changed", "message"), BAD)
def test_bad_columns_are_refused_without_their_values(
    changed: dict[str, list[Any] | None], message: str
) -> None:
    table = pa.table({k: v for k, v in {**GOOD, **changed}.items() if v is not None})
    for work in (fit, evaluate):
        with pytest.raises(ValueError, match=message) as raised:
            work(MODEL, initial(MODEL), table, {})
        assert str(SECRET) not in str(raised.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"lr": float("nan")}, "expected `lr` from 0 to 1e6"),
        ({"lr": -1}, "expected `lr` from 0 to 1e6"),
        ({"lr": "1"}, "expected `lr` from 0 to 1e6"),
        ({"proximal-mu": True}, "expected `proximal-mu` from 0 to 1e6"),
        ({"proximal-mu": [1.0]}, "expected `proximal-mu` from 0 to 1e6"),
        ({"server-round": 1.5}, "expected `server-round` as a count"),
        ({"server-round": -1}, "expected `server-round` as a count"),
    ],
)
def test_bad_settings(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(MODEL, initial(MODEL), pa.table(GOOD), config)


def test_bad_weights() -> None:
    start = initial(MODEL)
    table = [
        ({"weight": start["weight"]}, "expected the arrays of the model by name, got others"),
        ({**start, "bias": np.zeros(2, np.float32)}, r"expected `bias` of float32 \(1,\), got fl"),
        ({**start, "bias": np.zeros(1)}, r"expected `bias` of float32 \(1,\), got float64 \(1,\)"),
        ({**start, "bias": np.full(1, np.nan, np.float32)}, "expected finite values in `bias`"),
    ]
    for weights, message in table:
        for work in (fit, evaluate):
            with pytest.raises(ValueError, match=message):
                work(MODEL, weights, pa.table(GOOD), {})


def test_what_stops_being_finite_counts_for_nothing() -> None:
    model = models.linear(["n"], "y", learning_rate=1e6, epochs=100)
    rows = pa.table({"n": [1e6, 2e6], "y": [1, 2]})
    start = {name: values + 1 for name, values in initial(model).items()}
    weights, metrics = fit(model, start, rows, {})
    assert metrics == {"num-examples": 0}
    assert list(weights) == list(start)
    assert all((weights[name] == start[name]).all() for name in start)
    assert weights["bias"] is not start["bias"]
    huge = {name: np.full_like(values, 3e38) for name, values in start.items()}
    assert evaluate(model, huge, rows, {}) == {"num-examples": 0}
    weights, metrics = fit(model, huge, rows, {})
    assert metrics == {"num-examples": 0}
    assert all((weights[name] == huge[name]).all() for name in huge)


def test_finite_weights_of_a_loss_that_is_not() -> None:
    """The square of an error leaves the range before its slope does."""
    model = models.linear(["n"], "y", learning_rate=1e-12, batch_size=0)
    start = {"weight": np.full((1, 1), 1e20, np.float32), "bias": np.zeros(1, np.float32)}
    _, metrics = fit(model, start, pa.table({"n": [1.0, 2.0], "y": [1, 2]}), {})
    assert metrics == {"num-examples": 0}


def test_weights_that_are_not_finite_of_a_loss_that_is() -> None:
    """The loss is that before the last step."""
    model = models.linear(["n"], "y", learning_rate=1e6, batch_size=0)
    rows = pa.table({"n": [1e25, 1e25], "y": [1e10, 1e10]})
    weights, metrics = fit(model, initial(model), rows, {})
    assert metrics == {"num-examples": 0}
    assert not weights["weight"].any()


def test_rows_kept_apart() -> None:
    y = np.repeat([0, 1, 2], [60, 39, 1])
    model = models.logistic(["n"], "y", classes=3)
    examples = read_examples(model, pa.table({"n": np.arange(100.0), "y": y}))
    train, kept = split(examples, 3, Holdout(0.25, seed=7))
    assert sorted([*train, *kept]) == list(range(100))
    assert len(kept) == 25
    # Written down: nodes that split otherwise after an update would evaluate on trained rows.
    assert kept[:6].tolist() == [1, 2, 4, 10, 16, 19]
    again = split(examples, 3, Holdout(0.25, seed=7))
    assert (again[1] == kept).all()
    assert not np.array_equal(split(examples, 3, Holdout(0.25, seed=8))[1], kept)
    _, by_class = split(examples, 3, Holdout(0.25, by_class=True))
    assert np.bincount(y[by_class], minlength=3).tolist() == [15, 10, 0]
    every = split(examples, 3, Holdout())
    assert (every[0] == every[1]).all()
    assert len(every[0]) == 100


def test_kept_rows_are_not_trained_on() -> None:
    x, y = np.arange(40.0), np.arange(40) % 2
    model = models.logistic([Number("n", 20, 10)], "y", holdout=0.5, split_seed=3)
    rows = pa.table({"n": x, "y": y})
    _, kept = split(read_examples(model, rows), 2, model.holdout)
    turned = y.copy()
    turned[kept] = 1 - turned[kept]
    other = pa.table({"n": x, "y": turned})
    start = initial(model)
    one, two = fit(model, start, rows, {})[0], fit(model, start, other, {})[0]
    assert (one["weight"] == two["weight"]).all()
    assert evaluate(model, one, rows, {})["eval_acc"] == pytest.approx(
        1 - evaluate(model, one, other, {})["eval_acc"]
    )


def test_predictions_of_a_frame() -> None:
    frame = pd.DataFrame({"c": ["q", "p", None, "q"], "n": [8, None, 12, 12]}, index=[5, 6, 7, 9])
    state = {"weight": torch.tensor([[1.0, 0.0, 0.5]]), "bias": torch.tensor([0.25])}
    shares = models.probabilities(MODEL, state, frame)
    assert list(shares.columns) == ["no", "yes"]
    assert shares.loc[5, "yes"] == pytest.approx(1 / (1 + np.exp(0.25)), abs=1e-6)
    assert shares.loc[9, "yes"] == pytest.approx(1 / (1 + np.exp(-1.75)), abs=1e-6)
    assert shares.loc[[6, 7]].isna().all(axis=None)
    found = models.predict(MODEL, state, frame)
    assert found.name == "y"
    assert found.to_dict() == {5: "no", 6: None, 7: None, 9: "yes"}
    linear = models.linear(["n"], "y", center=100, scale=10)
    state = {"weight": torch.tensor([[0.5]]), "bias": torch.tensor([1.0])}
    numbers = models.predict(linear, state, frame)
    assert numbers[5] == pytest.approx(150)
    assert np.isnan(numbers[6])
    assert models.predict(linear, state, frame.iloc[:0]).empty


def test_predictions_that_cannot_be() -> None:
    state = initial(MODEL)
    with pytest.raises(CallError, match="expected the column `n` once, got a table without it"):
        models.predict(MODEL, state, pd.DataFrame({"c": ["p"]}))
    with pytest.raises(CallError, match="expected values of `c` that the model can use, got"):
        models.predict(MODEL, state, pd.DataFrame({"c": ["z"], "n": [1]}))
    with pytest.raises(CallError, match="expected the arrays of the model by name, got others"):
        models.module(MODEL, {})
    linear = models.linear(["n"], "y")
    with pytest.raises(CallError, match="expected a model of classes, got one of numbers"):
        models.probabilities(linear, initial(linear), pd.DataFrame({"n": [1]}))
