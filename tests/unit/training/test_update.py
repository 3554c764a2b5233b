"""What local work answered, before it may be contributed: believed in nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from builders.trainings import training
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.errors import StateError
from yumen_core.training.records import DTYPES, Action, Arrays, Config, Metrics, Record, Values
from yumen_core.training.shape import MAX_EXAMPLES, LocalUpdate
from yumen_core.training.spec import TensorShape, TrainingSpec
from yumen_core.training.update import base_of, checked_update

SECRET = "patient-4711"
"""Stands for rows: no message may have it."""
SPEC = training()
BASE = {"w": np.ones((2, 3), np.float32), "b": np.array(2.0)}
NEW = {"w": np.full((2, 3), 1.5, np.float32), "b": np.array(1.0)}
ASKED: dict[str, Record] = {"arrays": Arrays(BASE), "config": Config({"lr": 0.1})}


def answer(tensors: dict[str, Values] | None = None, **metrics: Any) -> dict[str, Record]:
    found = {"num-examples": 10, "loss": 0.5, **metrics}
    kept = {name: value for name, value in found.items() if value is not None}
    return {"arrays": Arrays(NEW if tensors is None else tensors), "metrics": Metrics(kept)}


def weighing(value: Any) -> dict[str, Record]:
    more: dict[str, Any] = {"num-examples": value}
    return answer(None, **more)


def check(
    answered: dict[str, Record],
    *,
    spec: TrainingSpec = SPEC,
    action: Action = Action.TRAIN,
    asked: dict[str, Record] = ASKED,
    max_norm: float = 1e6,
) -> LocalUpdate:
    return checked_update(spec, action, asked=asked, answered=answered, max_norm=max_norm)


def refusal(answered: dict[str, Record], **more: Any) -> str:
    with pytest.raises(StateError) as caught:
        check(answered, **more)
    assert caught.value.code == "training"
    assert SECRET not in str(caught.value) + caught.value.message + caught.value.remedy
    assert caught.value.__cause__ is None
    return caught.value.message


# What passes --------------------------------------------------------------------------------------


def test_a_good_answer() -> None:
    found = check(answer())
    assert (found.examples, found.metrics, found.clipped) == (10, {"loss": 0.5}, False)
    assert found.changes["w"].tolist() == [[0.5] * 3] * 2
    assert found.changes["b"].tolist() == -1.0
    assert [c.dtype.name for c in found.changes.values()] == ["float32", "float64"]
    assert NEW["w"][0, 0] == 1.5  # what was answered stays as it was


@pytest.mark.parametrize("action", [Action.EVALUATE, Action.QUERY])
def test_no_arrays_leave_but_those_of_train(action: Action) -> None:
    found = check(answer({SECRET: np.zeros(3)}), action=action)
    assert found == LocalUpdate(10, {}, {"loss": 0.5})


def test_what_the_job_does_not_name_stays_here() -> None:
    found = check(answer(accuracy=0.9, patient=1.0))
    assert found.metrics == {"loss": 0.5}
    assert check(answer(loss=None)).metrics == {}
    assert check(answer(loss=[0.5])).metrics == {}
    assert check(answer(loss=3)).metrics == {"loss": 3.0}


def test_answers_of_clients_from_before_message_apps() -> None:
    spec = training(weight="num_examples", metrics=("loss", "accuracy"))
    legacy: dict[str, Record] = {
        "fitres.parameters": Arrays(NEW),
        "fitres.num_examples": Config({"num_examples": 7}),
        "fitres.metrics": Config({"accuracy": 0.5, "note": SECRET}),
        "fitres.status": Config({"code": 0, "message": SECRET}),
    }
    found = check(legacy, spec=spec)
    assert (found.examples, found.metrics) == (7, {"accuracy": 0.5})


def test_a_name_that_stands_twice_counts_for_nothing() -> None:
    twice = {**answer(), "more": Metrics({"loss": 9.0})}
    assert check(twice).metrics == {}
    thrice = {**twice, "most": Config({"loss": 9.0})}
    assert check(thrice).metrics == {}
    spec = training(metrics=("loss", "accuracy"))
    other = {**twice, "most": Metrics({"accuracy": 1.0})}
    assert check(other, spec=spec).metrics == {"accuracy": 1.0}
    assert refusal({**answer(), "more": Metrics({"num-examples": 10})}) == WEIGHT_MISSING


# The weight ---------------------------------------------------------------------------------------

WEIGHT_MISSING = "expected one metric `num-examples` in the answer, got none or several"
WEIGHT_WRONG = f"expected `num-examples` from 0 to {MAX_EXAMPLES}, a whole number, got another"


@pytest.mark.parametrize("value", [None, True, SECRET, b"10", [10], [10.0], ["10"]])
def test_no_single_number_for_a_weight(value: Any) -> None:
    assert (
        refusal(
            {"arrays": Arrays(NEW), "config": Config({"num-examples": value})}
            if value is not None
            else weighing(None)
        )
        == WEIGHT_MISSING
    )


@pytest.mark.parametrize(
    "value",
    [-1, -1.0, 0.5, 1e-300, math.nan, math.inf, -math.inf, 1e300, MAX_EXAMPLES + 1, 1 << 62],
)
def test_a_weight_out_of_range(value: float) -> None:
    assert refusal(weighing(value)) == WEIGHT_WRONG
    assert refusal(weighing(value), action=Action.QUERY) == WEIGHT_WRONG


@pytest.mark.parametrize("value", [0, -0.0, 10.0, MAX_EXAMPLES, float(MAX_EXAMPLES)])
def test_a_weight_in_range(value: float) -> None:
    found = check(weighing(value)).examples
    assert (found, type(found)) == (int(value), int)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite(value: float) -> None:
    assert refusal(answer(loss=value)) == "expected a finite metric `loss`, got one that is not"
    check(answer(other=value))  # not the job's


# Arrays -------------------------------------------------------------------------------------------

ONE_RECORD = "expected one record of arrays from `train`, got none or several"
OTHER_NAMES = "expected the 2 arrays that the job names, got others"
W_SHAPE = "expected `w` as float32 of the shape (2, 3), got another type or shape"


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"w": NEW["w"]},
        {**NEW, SECRET: np.zeros(1)},
        {"w": NEW["w"], SECRET: NEW["b"]},
        {"W": NEW["w"], "b": NEW["b"]},
    ],
    ids=["none", "one", "one more", "renamed", "another case"],
)
def test_arrays_of_other_names(tensors: dict[str, Values]) -> None:
    assert refusal(answer(tensors)) == OTHER_NAMES


@pytest.mark.parametrize(
    "w",
    [
        np.zeros((3, 2), np.float32),
        np.zeros(6, np.float32),
        np.zeros((2, 3, 1), np.float32),
        np.zeros((0, 3), np.float32),
        np.zeros(4711, np.float32),
        np.zeros((2, 3), np.float64),
        np.zeros((2, 3), np.int32),
        np.zeros((2, 3), np.float16),
    ],
    ids=str,
)
def test_arrays_of_other_shapes_and_types(w: Values) -> None:
    found = refusal(answer({**NEW, "w": w}))
    assert found == W_SHAPE
    assert "4711" not in found


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["w", "b"])
def test_values_that_are_not_finite(name: str, value: float) -> None:
    tensors = {key: array.copy() for key, array in NEW.items()}
    tensors[name].flat[-1] = value
    assert refusal(answer(tensors)) == (
        f"expected finite values in `{name}`, got some that are not"
    )


def test_several_records_of_arrays_or_none() -> None:
    assert refusal({**answer(), SECRET: Arrays({})}) == ONE_RECORD
    assert refusal({"metrics": Metrics({"num-examples": 1})}) == ONE_RECORD
    assert refusal({"arrays": Config({}), "metrics": Metrics({"num-examples": 1})}) == ONE_RECORD


def test_a_change_that_leaves_its_type() -> None:
    """Both ends are finite, their difference is not."""
    base = {**BASE, "w": np.full((2, 3), -3e38, np.float32)}
    new = {**NEW, "w": np.full((2, 3), 3e38, np.float32)}
    assert refusal(answer(new), asked={"arrays": Arrays(base)}) == (
        "expected finite values in `w`, got some that are not"
    )


def test_a_base_that_is_not_finite_is_the_requesters_doing_and_refused_too() -> None:
    base = {**BASE, "b": np.array(np.nan)}
    assert refusal(answer(), asked={"arrays": Arrays(base)}) == (
        "expected finite values in `b`, got some that are not"
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_has_a_change(dtype: str) -> None:
    spec = training(arrays=(TensorShape("t", dtype, (2,)),))
    base = np.array([1, 0]).astype(dtype)
    new = np.array([0, 1]).astype(dtype)
    found = check(answer({"t": new}), spec=spec, asked={"a": Arrays({"t": base})})
    wide = "float32" if dtype in ("float16", "float32") else "float64"
    assert found.changes["t"].dtype.name == wide
    assert found.changes["t"].tolist() == [-1.0, 1.0]


# The base -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "w", "b"),
    [
        ({"a": Arrays(BASE)}, 1.0, 2.0),
        ({"a": Arrays({"w": BASE["w"]})}, 1.0, 0.0),
        ({"a": Arrays({**BASE, "w": np.ones((3, 2), np.float32)})}, 0.0, 2.0),
        ({"a": Arrays(BASE), "other": Arrays(BASE)}, 0.0, 0.0),
        ({}, 0.0, 0.0),
        ({"a": Arrays({**BASE, "w": np.ones((2, 3), np.int64)})}, 1.0, 2.0),
    ],
    ids=["whole", "one missing", "another shape", "two records", "none", "another type"],
)
def test_node_and_requester_measure_from_the_same(
    asked: dict[str, Record], w: float, b: float
) -> None:
    found = check(answer(), asked=asked)
    base = base_of(SPEC, asked)
    assert (base["w"] == w).all()
    assert (base["b"] == b).all()
    for name, new in NEW.items():
        assert np.array_equal(base[name] + found.changes[name], new)


# The clip -----------------------------------------------------------------------------------------


def norm(update: LocalUpdate) -> float:
    return math.sqrt(
        math.fsum(float(v) ** 2 for c in update.changes.values() for v in c.reshape(-1))
    )


@pytest.mark.parametrize(
    ("own", "jobs", "limit"),
    [(1e6, None, None), (0.5, None, 0.5), (1e6, 0.25, 0.25), (0.5, 0.25, 0.25), (0.25, 0.5, 0.25)],
)
def test_the_lower_limit_counts(own: float, jobs: float | None, limit: float | None) -> None:
    found = check(answer(), spec=training(clip_norm=jobs), max_norm=own)
    whole = check(answer())
    assert found.clipped is (limit is not None)
    assert norm(found) == pytest.approx(limit or norm(whole), rel=1e-6)
    ratio = norm(found) / norm(whole)
    for name, change in found.changes.items():
        assert np.allclose(change, whole.changes[name] * ratio, rtol=1e-6)


def test_a_norm_of_exactly_the_limit_stays() -> None:
    spec = training(arrays=(TensorShape("t", "float64", (2,)),), clip_norm=5.0)
    found = check(answer({"t": np.array([3.0, 4.0])}), spec=spec, asked={})
    assert not found.clipped
    assert found.changes["t"].tolist() == [3.0, 4.0]


@settings(max_examples=100, deadline=None)
@given(
    powers=st.lists(st.integers(-60, 120), min_size=1, max_size=3),
    limit=st.sampled_from([1e-12, 1.0, 3.5, 1e6]),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 999),
)
def test_no_change_is_longer_than_the_limit(
    powers: list[int], limit: float, dtype: str, seed: int
) -> None:
    random = np.random.default_rng(seed)
    layout = tuple(TensorShape(f"t{i}", dtype, (5, i)) for i in range(len(powers)))
    new = {
        t.name: np.asarray(random.normal(size=t.shape) * 2.0**p, dtype=dtype)
        for t, p in zip(layout, powers, strict=True)
    }
    spec = training(arrays=layout, clip_norm=limit)
    before = norm(LocalUpdate(0, new, {}))
    found = check(answer(new), spec=spec, asked={}, max_norm=1e300)
    assert norm(found) <= limit * (1 + 1e-6)
    if before > limit * (1 + 1e-9):
        assert found.clipped
        assert norm(found) >= limit * (1 - 1e-4)
    elif before < limit * (1 - 1e-9):
        assert not found.clipped


@pytest.mark.parametrize(
    ("dtype", "value"), [("float32", 3e38), ("float32", 1e25), ("float64", 1.7e308)]
)
def test_squares_past_the_range_of_the_type(dtype: str, value: float) -> None:
    spec = training(arrays=(TensorShape("t", dtype, (50,)),), clip_norm=1.0)
    found = check(answer({"t": np.full(50, value, dtype)}), spec=spec, asked={})
    assert found.clipped
    assert norm(found) == pytest.approx(1.0, rel=1e-5)


def test_squares_below_the_range_of_the_type_count() -> None:
    spec = training(arrays=(TensorShape("t", "float32", (4,)),), clip_norm=1e-30)
    found = check(answer({"t": np.full(4, 1e-29, np.float32)}), spec=spec, asked={})
    assert found.clipped
    assert norm(found) == pytest.approx(1e-30, rel=1e-5)


def test_a_long_vector_has_its_norm_to_more_than_float32() -> None:
    """Summed in float32 the small ones would be lost beside the large one."""
    size = 300_000
    spec = training(arrays=(TensorShape("t", "float32", (size,)),), clip_norm=1.0)
    new = np.full(size, 1e-4, np.float32)
    new[0] = 1.0
    found = check(answer({"t": new}), spec=spec, asked={})
    exact = float(np.linalg.norm(new.astype(np.float64)))
    assert found.clipped
    assert float(found.changes["t"][0]) == pytest.approx(1 / exact, rel=1e-7)


def test_no_change_at_all_is_not_clipped() -> None:
    spec = training(arrays=(TensorShape("t", "float32", (0, 9)), TensorShape("u", "bool", (2,))))
    new = {"t": np.zeros((0, 9), np.float32), "u": np.array([True, False])}
    found = check(answer(new), spec=spec, asked={"a": Arrays(new)}, max_norm=1e-300)
    assert not found.clipped
    assert not found.changes["u"].any()


def test_a_single_value_is_clipped_like_the_others() -> None:
    """Also where it came as numpy's scalar, which no operation changes in its place."""
    spec = training(arrays=(TensorShape("t", "float64", ()),), clip_norm=2.0)
    for new in (np.array(-6.0), np.float64(-6.0)):
        found = check(answer({"t": new}), spec=spec, asked={"a": Arrays({"t": np.array(1.0)})})
        assert found.clipped
        assert found.changes["t"].shape == ()
        assert float(found.changes["t"]) == -2.0
