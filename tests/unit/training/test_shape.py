"""A training run's contributions: any layout, any values, both suites, against the plain mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from builders.trainings import TENSORS, training
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.errors import CallError, PeerError, StateError
from yumen_core.securesum.modulus import Slots, T
from yumen_core.securesum.suite import Suite
from yumen_core.training.records import Action, Values
from yumen_core.training.shape import (
    LEVELS,
    LOWEST_POWER,
    MAX_EXAMPLES,
    MAX_METRIC,
    LocalUpdate,
    UpdateShape,
)
from yumen_core.training.spec import TensorShape

Updates = Sequence[LocalUpdate | None]
LARGEST = 4.0 ** (LEVELS - 1 + LOWEST_POWER)
SMALLEST = 4.0**LOWEST_POWER


def shape_of(
    tensors: Sequence[TensorShape], suite: Suite, nodes: int, metrics: Sequence[str] = ("loss",)
) -> UpdateShape:
    return UpdateShape(tuple(tensors), tuple(metrics), suite, nodes)


def agreed(shape: UpdateShape, updates: Updates) -> tuple[int, ...]:
    flags = [shape.flags_of(update) for update in updates]
    return shape.levels(np.sum(flags, axis=0, dtype=np.uint8))


def added(shape: UpdateShape, updates: Updates, levels: Sequence[int] | None = None) -> Slots:
    """As a coordinator adds them, modulo what the suite adds modulo."""
    levels = agreed(shape, updates) if levels is None else levels
    total = np.zeros(shape.payload_slots, dtype=np.uint64)
    for update in updates:
        total += shape.encode(update, levels, shape.metrics)
        if shape.suite is Suite.BFV:
            total %= np.uint64(T)
    return total


def one_weight(value: float, examples: int = 1, **more: Any) -> LocalUpdate:
    return LocalUpdate(examples, {"w": np.array([value])}, {}, **more)


WEIGHT = (TensorShape("w", "float64", (1,)),)

# Against the plain mean --------------------------------------------------------------------------

sides = st.lists(st.integers(0, 4), max_size=3).map(tuple)
magnitudes = st.sampled_from([0.0, 1e-30, 1e-12, 1e-3, 1.0, 1e4, 1e9])


@st.composite
def rounds(draw: st.DrawFn) -> tuple[UpdateShape, list[LocalUpdate | None]]:
    """A layout and what each of 3 to 7 nodes has for it: some nothing, some no examples."""
    layout = [
        TensorShape(f"t{i}", draw(st.sampled_from(["float32", "float64"])), shape)
        for i, shape in enumerate(draw(st.lists(sides, min_size=1, max_size=5)))
    ]
    metrics = draw(st.lists(st.sampled_from(["loss", "acc", "f1"]), unique=True, max_size=3))
    nodes = draw(st.integers(3, 7))
    suite = draw(st.sampled_from(Suite))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))

    def update() -> LocalUpdate | None:
        if draw(st.integers(0, 4)) == 0:
            return None
        changes: dict[str, Values] = {
            t.name: np.asarray(random.normal(size=t.shape) * draw(magnitudes), dtype=t.dtype)
            for t in layout
        }
        given = {
            name: float(random.normal() * draw(magnitudes))
            for name in metrics
            if draw(st.booleans())
        }
        count = draw(st.sampled_from([0, 1, 7, 1000, 123_456]))
        return LocalUpdate(count, changes, given, draw(st.booleans()))

    return shape_of(layout, suite, nodes, metrics), [update() for _ in range(nodes)]


@settings(max_examples=150, deadline=None)
@given(rounds())
def test_the_sum_says_the_plain_weighted_mean(
    case: tuple[UpdateShape, list[LocalUpdate | None]],
) -> None:
    shape, updates = case
    levels = agreed(shape, updates)
    found = shape.decode(added(shape, updates), len(updates))
    real = [update for update in updates if update is not None]
    examples = sum(update.examples for update in real)
    assert found.nodes == len(real)
    assert found.clipped == sum(update.clipped for update in real)
    assert found.examples == examples
    for name in shape.metrics:
        behind = [u for u in real if name in u.metrics and u.examples]
        if not behind:
            assert name not in found.metrics
            continue
        total = sum((Fraction(u.metrics[name]) * u.examples for u in behind), Fraction(0))
        most = sum(abs(u.metrics[name]) * u.examples for u in behind)
        weight = sum(u.examples for u in behind)
        bound = len(behind) * (2**-41 + most * 2**-52) / weight + abs(total / weight) * 2**-52
        assert abs(Fraction(found.metrics[name]) - total / weight) <= bound
    if not examples:
        assert found.changes == {}
        return
    for tensor, level in zip(shape.tensors, levels, strict=True):
        mean = sum(
            (u.changes[tensor.name].astype(np.float64) * u.examples for u in real),
            np.zeros(tensor.shape),
        )
        step = 4.0 ** (level + LOWEST_POWER) / shape._lanes.steps
        off = (len(updates) * (0.5 + 1e-6) * step + 1e-12 * np.abs(mean)) / examples
        assert found.changes[tensor.name].shape == tensor.shape
        assert (np.abs(found.changes[tensor.name] - mean / examples) <= off).all()


@settings(max_examples=300, deadline=None)
@given(
    value=st.one_of(
        st.floats(-LARGEST, LARGEST),
        st.integers(2 * LOWEST_POWER - 4, 2 * (LEVELS - 1 + LOWEST_POWER)).map(lambda p: 2.0**p),
        st.floats(-1.0, 1.0),
    ),
    examples=st.sampled_from([1, 2, 3, 1000, 10**6]),
    wide=st.booleans(),
)
def test_a_level_is_the_lowest_that_holds(value: float, examples: int, wide: bool) -> None:
    value /= examples
    change = np.array([value], dtype=np.float64 if wide else np.float32)
    largest = abs(float(change[0])) * examples
    if largest > LARGEST:
        return
    shape = shape_of([TensorShape("w", str(change.dtype), (1,))], Suite.STREAM, 3)
    (level,) = agreed(shape, [LocalUpdate(examples, {"w": change}, {})])
    assert largest <= 4.0 ** (level + LOWEST_POWER)
    assert level == 0 or largest > 4.0 ** (level - 1 + LOWEST_POWER)


@pytest.mark.parametrize("power", range(LOWEST_POWER, LOWEST_POWER + LEVELS))
def test_every_power_of_four_and_its_neighbours(power: int) -> None:
    shape = shape_of(WEIGHT, Suite.STREAM, 3)
    bound = 4.0**power
    (at,) = agreed(shape, [one_weight(bound)])
    assert at == power - LOWEST_POWER
    (below,) = agreed(shape, [one_weight(math.nextafter(bound, 0))])
    assert below == at
    if power < LOWEST_POWER + LEVELS - 1:
        (above,) = agreed(shape, [one_weight(-math.nextafter(bound, math.inf))])
        assert above == at + 1


@pytest.mark.parametrize(
    ("value", "examples"),
    [
        (math.nextafter(LARGEST, math.inf), 1),
        (LARGEST, 2),
        (1e308, 1),
        (-1e308, 1000),
        (1.7e308, MAX_EXAMPLES),
    ],
)
def test_a_change_beyond_the_highest_level(value: float, examples: int) -> None:
    with pytest.raises(StateError) as caught:
        shape_of(WEIGHT, Suite.STREAM, 3).flags_of(one_weight(value, examples))
    assert (caught.value.code, caught.value.message, caught.value.remedy) == (
        "training",
        "expected changes times examples of at most 3.02231e+23, got a larger one",
        "scale the inputs, or lower the learning rate",
    )


def test_the_level_is_the_highest_of_all_nodes() -> None:
    shape = shape_of(TENSORS, Suite.STREAM, 3)
    changes = {"w": np.zeros((2, 3), np.float32), "b": np.array(0.0)}
    large = {"w": np.full((2, 3), 5.0, np.float32), "b": np.array(1e-9)}
    updates = [LocalUpdate(1, changes, {}), LocalUpdate(1, large, {}), None]
    assert agreed(shape, updates) == (2 - LOWEST_POWER, -14 - LOWEST_POWER)


def test_a_node_without_rows_shows_nothing_but_zeros_and_the_common_levels() -> None:
    shape = shape_of(TENSORS, Suite.STREAM, 3)
    assert not shape.flags_of(None).any()
    nothing = shape.decode(added(shape, [None] * 3, (5, 0)), 3)
    assert (nothing.nodes, nothing.clipped, nothing.examples) == (0, 0, 0)
    assert (nothing.changes, nothing.metrics) == ({}, {})
    zero = LocalUpdate(0, {"w": np.ones((2, 3), np.float32), "b": np.array(9.0)}, {})
    assert (shape.encode(zero, (5, 0), ())[-3:] == shape.encode(None, (5, 0), ())[-3:]).all()


@pytest.mark.parametrize("suite", Suite)
def test_only_a_training_run_has_tensors(suite: Suite) -> None:
    spec = training()
    train = UpdateShape.of(spec, Action.TRAIN, suite, 4)
    evaluate = UpdateShape.of(spec, Action.EVALUATE, suite, 4)
    assert (train.cells, train.flags, evaluate.flags) == (1, 2 + 2 * (LEVELS - 1), 2)
    assert evaluate.tensors == ()
    assert train.slots > evaluate.slots > evaluate.payload_slots
    updates = [LocalUpdate(10, {}, {"loss": 0.5}), LocalUpdate(30, {}, {"loss": 0.25}), None]
    found = evaluate.decode(added(evaluate, updates), 3)
    assert (found.nodes, found.examples, found.metrics) == (2, 40, {"loss": 0.3125})
    assert found.changes == {}


@pytest.mark.parametrize("suite", Suite)
def test_two_thousand_tensors(suite: Suite) -> None:
    layout = [TensorShape(f"layer.{i}", "float32", (i % 7, 2)) for i in range(2000)]
    shape = shape_of(layout, suite, 5)
    random = np.random.default_rng(3)
    updates = [
        LocalUpdate(n, {t.name: random.normal(size=t.shape).astype(np.float32) for t in layout}, {})
        for n in (10, 20, 30)
    ]
    found = shape.decode(added(shape, updates), 3)
    for tensor in layout[::97]:
        mean = sum(u.changes[tensor.name].astype(float) * u.examples for u in updates) / 60
        assert np.allclose(found.changes[tensor.name], mean, atol=1e-3)


def test_as_many_nodes_as_a_job_can_have() -> None:
    for suite in Suite:
        shape = shape_of(WEIGHT, suite, 255)
        updates = [one_weight(1.0 if i % 2 else -1.0, 4) for i in range(254)] + [one_weight(1.0, 4)]
        found = shape.decode(added(shape, updates), 255)
        assert found.examples == 255 * 4
        step = 4.0 / shape._lanes.steps
        assert abs(found.changes["w"][0] - 1 / 255) <= 255 * step / (255 * 4)


# Metrics ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", Suite)
def test_metrics_are_exact_to_their_point(suite: Suite) -> None:
    shape = shape_of([], suite, 3)
    values = [(0.1, 3), (-7.25, 10**9), (2.0**-40, 1)]
    updates = [LocalUpdate(n, {}, {"loss": v}) for v, n in values]
    found = shape.decode(added(shape, updates), 3)
    total = sum(Fraction(round(v * n * 2**40), 2**40) for v, n in values)
    assert found.metrics["loss"] == float(total / sum(n for _, n in values))


def test_a_metric_counts_for_those_who_gave_it() -> None:
    shape = shape_of([], Suite.STREAM, 3, ("loss", "acc"))
    updates = [
        LocalUpdate(10, {}, {"loss": 1.0}),
        LocalUpdate(90, {}, {"acc": 0.5}),
        LocalUpdate(0, {}, {"loss": 7.0}),
    ]
    found = shape.decode(added(shape, updates), 3)
    assert found.metrics == {"loss": 1.0, "acc": 0.5}


@pytest.mark.parametrize("value", [MAX_METRIC, -MAX_METRIC, MAX_METRIC / 4, 1.7e308])
def test_a_metric_too_large(value: float) -> None:
    with pytest.raises(StateError) as caught:
        shape_of([], Suite.STREAM, 3).flags_of(LocalUpdate(4, {}, {"loss": value}))
    assert (caught.value.code, caught.value.message) == (
        "training",
        "expected metrics times examples below 1.18059e+21, got more in `loss`",
    )


def test_the_largest_metric_and_the_most_examples() -> None:
    shape = shape_of([], Suite.STREAM, 255)
    most = LocalUpdate(MAX_EXAMPLES, {}, {"loss": MAX_METRIC / (MAX_EXAMPLES + 1)})
    found = shape.decode(added(shape, [most] * 255), 255)
    assert found.examples == 255 * MAX_EXAMPLES
    assert found.metrics["loss"] == pytest.approx(MAX_METRIC / (MAX_EXAMPLES + 1), rel=1e-15)


# What does not fit together -----------------------------------------------------------------------


def whole(nodes: int, clipped: int, examples: int, value: int, count: int, level: int) -> Slots:
    """One answer with these numbers, whatever they say."""
    shape = shape_of(WEIGHT, Suite.STREAM, 3)
    slots = shape.encode(None, (level,), ())
    numbers = [nodes, clipped, examples, value, count, level]
    slots[: shape._integers.slots] = shape._integers.encode(numbers)
    return slots


ONE_LEVEL = "expected one level of all participants, got several"
COUNTS = "expected counts that fit together, got others"


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([(1, 0, 1, 0, 1, 3), (1, 0, 1, 0, 1, 3), (1, 0, 1, 0, 1, 4)], ONE_LEVEL),
        ([(0, 0, 0, 0, 0, 1), (0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0)], ONE_LEVEL),
        ([(0, 1, 0, 0, 0, 0)] * 3, COUNTS),
        ([(0, 0, 5, 0, 0, 0)] * 3, COUNTS),
        ([(1, 0, 5, 0, 6, 0)] * 3, COUNTS),
    ],
    ids=["levels", "one level", "clipped", "examples of nobody", "more for a metric"],
)
def test_totals_that_no_honest_nodes_give(
    answers: list[tuple[int, int, int, int, int, int]], message: str
) -> None:
    sums = sum((whole(*answer) for answer in answers), np.zeros(1, dtype=np.uint64))
    with pytest.raises(PeerError) as caught:
        shape_of(WEIGHT, Suite.STREAM, 3).decode(sums, 3)
    assert (caught.value.code, caught.value.message) == ("headroom", message)


def test_slots_beyond_what_so_many_can_reach() -> None:
    shape = shape_of(WEIGHT, Suite.STREAM, 3)
    sums = added(shape, [one_weight(1.0)] * 3)
    for at, beyond in ((0, 4), (-1, (1 << 21) - 1)):
        changed = sums.copy()
        changed[at] = np.uint64(beyond)
        with pytest.raises(PeerError) as caught:
            shape.decode(changed, 3)
        assert caught.value.code == "headroom"
    with pytest.raises(CallError):
        shape.decode(sums[:-1], 3)


def test_a_change_beyond_the_levels_that_were_agreed_is_cut() -> None:
    """A node that says another level than its change has harms its own part only."""
    shape = shape_of(WEIGHT, Suite.STREAM, 3)
    level = -LOWEST_POWER  # 1
    found = shape.decode(added(shape, [one_weight(100.0), one_weight(0.5), None], (level,)), 3)
    assert found.changes["w"][0] == pytest.approx(0.75, abs=1e-5)


def test_a_metric_that_few_nodes_give_is_left_out() -> None:
    shape = UpdateShape((), ("auc", "loss"), Suite.STREAM, 4)
    given = [{"loss": 1.0, "auc": 0.5}, {"loss": 2.0, "auc": 0.75}, {"loss": 3.0}]
    updates = [LocalUpdate(10, {}, metrics) for metrics in given]
    totals = np.sum([shape.flags_of(update) for update in updates], axis=0, dtype=np.uint8)
    released = shape.released_metrics(totals, 3)
    assert released == {"loss"}
    sums = sum(shape.encode(update, (), released) for update in updates)
    assert isinstance(sums, np.ndarray)
    assert shape.decode(sums, 3).metrics == {"loss": 2.0}
