"""Private training: exact sums within their sensitivity, and noise of the size that is paid for."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from opacus.grad_sample import GradSampleModule
from yumen import models
from yumen.models import Category, ReadyModel
from yumen_core.errors import CallError
from yumen_core.privacy import Privacy
from yumen_core.secret import Secret
from yumen_core.training.models import initial, private_work
from yumen_core.training.models import network as networks
from yumen_core.training.models.noise import SIGMA, VARIANCE, Noise
from yumen_core.training.models.private import _network, clipped_sum, split_each
from yumen_core.training.models.rows import read_examples
from yumen_core.training.models.work import losses
from yumen_core.training.privacy import JobNoise, NoisePlan, noise_plan
from yumen_core.training.records import Action
from yumen_core.training.spec import BundleCode, TensorShape, TrainingSpec

KEY = bytes(range(32))
ROWS = 24
NAMES = [f"c{n}" for n in range(16)]
CATEGORY = Category("k", ["a", "b", "c"])
MODELS = {
    "logistic": models.logistic([*NAMES[:3], CATEGORY], "y", classes=3),
    "double": models.logistic(NAMES[:3], "y", classes=3, dtype="float64"),
    "linear": models.linear(NAMES[:3], "y"),
    "mlp": models.mlp(NAMES[:3], "y", classes=3, hidden=(5, 4), activation="gelu"),
    "cnn": models.cnn(NAMES, "y", shape=(1, 4, 4), classes=3, channels=(2, 3), hidden=(4,)),
    "tabular": models.tabular([*NAMES[:2], CATEGORY], "y", classes=3, hidden=(4,)),
}


def table(rows: int = ROWS) -> pa.Table:
    random = np.random.default_rng(5)
    found = {name: random.normal(size=rows) * 3 for name in NAMES}
    kinds = random.choice(["a", "b", "c"], rows).tolist()
    return pa.table({**found, "k": kinds, "y": random.integers(0, 3, rows)})


def spec(model: ReadyModel, train: int = 10, evaluate: int = 10) -> TrainingSpec:
    return TrainingSpec(
        program=model,
        sql="SELECT 1",
        arrays=tuple(TensorShape(*entry) for entry in model.arrays),
        metrics=model.metric_names,
        runs={Action.TRAIN: train, Action.EVALUATE: evaluate},
    )


def work(model: ReadyModel, rows: pa.Table, multiplier: float, key: bytes = KEY):  # type: ignore[no-untyped-def]
    noise = JobNoise(NoisePlan(multiplier, multiplier, multiplier), Secret(key))
    return private_work(model, rows, noise, threshold=5)


def by_hand(
    model: ReadyModel, rows: NDArray[np.int64], norm: float
) -> tuple[NDArray[np.float64], list[float]]:
    """The clipped sum, one row and one backward pass at a time, and each norm before it."""
    examples = read_examples(model, table())
    network = networks.build(model)
    total, norms = np.zeros(model.parameters), []
    assert examples.target is not None
    for row in rows:
        part = [
            torch.from_numpy(values[row : row + 1])
            for values in (examples.numbers, examples.levels, examples.target)
        ]
        network.zero_grad()
        loss = losses(model, network(part[0], part[1]), part[2]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        flat = np.concatenate(
            [p.grad.numpy().ravel() for p in network.parameters() if p.grad is not None]
        )
        norms.append(float(np.linalg.norm(flat.astype(np.float64))))
        total += flat * min(1, norm / max(norms[-1], 1e-30))
    return total, norms


@pytest.mark.parametrize("name", MODELS)
def test_a_clipped_sum_is_that_of_single_rows(name: str) -> None:
    model = MODELS[name]
    examples, rows = read_examples(model, table()), np.arange(3, 20)
    expected, norms = by_hand(model, rows, 0.7)
    assert max(norms) > 0.7  # something is clipped
    module = GradSampleModule(_network(model, initial(model)), loss_reduction="sum")
    scale = 2.0**24
    found = clipped_sum(module, model, examples, rows, 0.7, scale)
    np.testing.assert_allclose(found / scale, expected, atol=3e-5)
    for row in rows:
        one = clipped_sum(module, model, examples, np.array([row]), 0.7, scale)
        assert math.sqrt(sum(int(v) ** 2 for v in one)) <= 0.7 * scale


def test_a_neighbouring_table_moves_a_sum_by_the_clip_at_most() -> None:
    model = MODELS["mlp"]
    module = GradSampleModule(_network(model, initial(model)), loss_reduction="sum")
    examples = read_examples(model, table())
    scale, sums = 2.0**24, []
    for drop in range(ROWS + 1):
        rows = np.array([row for row in range(ROWS) if row != drop])
        sums.append(clipped_sum(module, model, examples, rows, 0.5, scale))
    moved = [np.linalg.norm((found - sums[-1]) / scale) for found in sums[:-1]]
    # the last bits of PyTorch's own arithmetic are not part of the bound
    assert 0.3 < max(moved) <= 0.5 + 1e-5


def test_a_gradient_that_is_not_finite_adds_nothing() -> None:
    model = MODELS["linear"]
    rows = table(3).set_column(0, "c0", pa.array([1.0, 1e38, 1.0]))
    examples = read_examples(model, rows)
    weights = {name: np.full_like(values, 1e30) for name, values in initial(model).items()}
    module = GradSampleModule(_network(model, weights), loss_reduction="sum")
    found = clipped_sum(module, model, examples, np.arange(3), 1.0, 1024.0)
    rest = clipped_sum(module, model, examples, np.array([0, 2]), 1.0, 1024.0)
    assert found.any()
    np.testing.assert_array_equal(found, rest)


def test_the_noise_is_gaussian_of_its_size() -> None:
    """Fixed keys: no false alarm. Bounds at five standard errors."""
    draws = Noise(KEY, b"a").gaussian(200_000) / math.sqrt(VARIANCE)
    error = math.sqrt(2 / draws.size)
    assert abs(draws.mean()) < 5 / math.sqrt(draws.size)
    assert abs(draws.var() - 1) < 5 * error
    assert abs((draws**4).mean() - 3) < 5 * math.sqrt(96 / draws.size)
    for at, share in [(0.5, 0.6914624613), (1.5, 0.9331927987), (3, 0.9986501020)]:
        assert abs((draws < at).mean() - share) < 5 * math.sqrt(share * (1 - share) / draws.size)
    assert len(set((Noise(KEY, b"a").gaussian(1000) % 32).tolist())) == 32  # no low bit is fixed
    assert SIGMA**2 <= VARIANCE < (SIGMA + 1) ** 2


def test_draws_depend_on_key_and_label_alone() -> None:
    first = Noise(KEY, b"a").gaussian(50)
    np.testing.assert_array_equal(first, Noise(KEY, b"a").gaussian(50))
    assert (first != Noise(KEY, b"b").gaussian(50)).any()
    assert (first != Noise(bytes(32), b"a").gaussian(50)).any()
    counts = np.bincount(Noise(KEY, b"c").choices(7, 70_000), minlength=7)
    assert counts.size == 7
    assert (abs(counts - 10_000) < 5 * 93).all()


def test_a_steps_noise_has_the_size_that_is_paid_for() -> None:
    """Rows that no gradient comes from: what a step moves is noise alone."""
    model = models.linear(NAMES, "y", batch_size=0, steps=1, learning_rate=1.0, max_grad_norm=0.25)
    zeros = np.zeros(400)
    rows = pa.table({**dict.fromkeys(NAMES, zeros), "y": zeros})
    moved, examples = [], 0.0
    for key in range(60):
        node = work(model, rows, 2.0, key=bytes([key]) * 32)
        weights, metrics = node.fit(initial(model), {})
        examples = metrics["num-examples"]
        moved += (weights["weight"].ravel() * examples).tolist()
    assert abs(examples - 400) < 12
    assert np.std(moved) == pytest.approx(0.5, rel=5 / math.sqrt(2 * len(moved)))


def test_a_step_done_again_is_no_second_sample() -> None:
    model, rows = MODELS["mlp"], table()
    first = work(model, rows, 3.0).fit(initial(model), {"server-round": 1})
    again = work(model, rows, 3.0).fit(initial(model), {"server-round": 1})
    other = work(model, rows, 3.0).fit(initial(model), {"server-round": 2})
    for name in first[0]:
        np.testing.assert_array_equal(first[0][name], again[0][name])
        assert (first[0][name] != other[0][name]).any()
    assert first[1] == again[1] == other[1]
    assert first[1].keys() == {"num-examples"}


def test_little_noise_trains_and_evaluates_as_without() -> None:
    model = replace(
        MODELS["logistic"],
        learning=replace(
            MODELS["logistic"].learning,
            epochs=20,
            batch_size=0,
            learning_rate=0.5,
            max_grad_norm=1e3,
        ),
    )
    node, rows = work(model, table(), 1e-6), table()
    weights, metrics = node.fit(initial(model), {})
    plain, _ = models_fit(model, rows)
    for name, values in plain.items():
        np.testing.assert_allclose(weights[name], values, atol=1e-3)
    assert metrics["num-examples"] == ROWS
    found = node.evaluate(weights, {})
    expected = models_evaluate(model, weights, rows)
    assert found["eval_acc"] == pytest.approx(expected["eval_acc"], abs=1e-5)
    assert found.keys() == {"num-examples", "eval_acc", "eval_loss"}


def models_fit(model: ReadyModel, rows: pa.Table):  # type: ignore[no-untyped-def]
    from yumen_core.training.models import fit

    return fit(model, initial(model), rows, {})


def models_evaluate(model: ReadyModel, weights, rows: pa.Table):  # type: ignore[no-untyped-def]
    from yumen_core.training.models import evaluate

    return evaluate(model, weights, rows, {})


@pytest.mark.parametrize("rows", [0, 1, 4])
def test_few_rows_answer_like_many(rows: int) -> None:
    """The count is the threshold at least, and no row's absence changes the form of an answer."""
    model = MODELS["tabular"]
    node = work(model, table(rows), 0.01)
    _, metrics = node.fit(initial(model), {})
    assert metrics == {"num-examples": 5}
    assert node.evaluate(initial(model), {}).keys() == {"num-examples", "eval_acc", "eval_loss"}


def test_a_row_moves_no_other_between_training_and_evaluation() -> None:
    model = models.logistic(NAMES[:2], "y", classes=3, holdout=0.3)
    rows = pa.concat_tables([table(300), table(40)])  # some rows twice
    everything = read_examples(model, rows)
    _, kept = split_each(everything, model.holdout)
    assert 70 < len(kept) < 135
    values = [tuple(row) for row in everything.numbers[kept].tolist()]
    for drop in (0, 5, 120, 320, 339):
        less = read_examples(model, rows.take([n for n in range(340) if n != drop]))
        _, left = split_each(less, model.holdout)
        rest = [tuple(row) for row in less.numbers[left].tolist()]
        assert len(values) - len(rest) in (0, 1)
        assert set(rest) <= set(values)


def test_the_noise_follows_from_the_cost() -> None:
    """By hand: rho 0.02, a twentieth for counts; with rows apart training has all of the rest."""
    apart = models.logistic(["a"], "y", epochs=2, holdout=0.2)
    plan = noise_plan(spec(apart), Privacy(20_000))
    assert plan.count == pytest.approx(math.sqrt(1 / (2 * 0.001)), rel=1e-6)
    assert plan.train == pytest.approx(math.sqrt(20 / (2 * 0.019)), rel=1e-6)
    assert plan.evaluate == pytest.approx(math.sqrt(10 / (2 * 0.019)), rel=1e-6)
    both = noise_plan(
        spec(replace(apart, holdout=replace(apart.holdout, fraction=0.0))), Privacy(20_000)
    )
    assert both.train == pytest.approx(math.sqrt(20 / (2 * 0.0171)), rel=1e-6)
    assert both.evaluate == pytest.approx(math.sqrt(10 / (2 * 0.0019)), rel=1e-6)
    for cost in (20, 977, 20_000, 10**6):
        found = noise_plan(spec(apart), Privacy(cost))
        assert 1 / (2 * found.count**2) + 20 / (2 * found.train**2) <= cost / 1e6
    plans = [noise_plan(spec(apart, train=n), Privacy(20_000)).train for n in (1, 2, 3)]
    assert all(less < more for less, more in pairwise(plans))
    unmeasured = replace(spec(apart), metrics=("train_loss",))
    assert noise_plan(unmeasured, Privacy(20_000)).evaluate == 0


REFUSED = [
    (
        replace(spec(MODELS["mlp"]), program=BundleCode(bytes(32), "app")),
        "expected a model of `yumen.models` with `privacy`, got code of your own",
    ),
    (spec(models.mlp(["a"], "y", dropout=0.1)), "expected no dropout with `privacy`, got some"),
    (
        spec(models.cnn(NAMES, "y", shape=(1, 4, 4), channels=(2,), dropout=0.1)),
        "expected no dropout with `privacy`, got some",
    ),
    (
        spec(models.logistic(["a"], "y", steps=3)),
        "expected `epochs`, or `steps` with batch_size=0, with `privacy`, got `steps` of "
        "batches of 32",
    ),
    (
        replace(spec(MODELS["mlp"]), weight="n"),
        "expected the weight `num-examples` with `privacy`, got `n`",
    ),
]


@pytest.mark.parametrize(("training", "message"), REFUSED)
def test_what_cannot_be_private(training: TrainingSpec, message: str) -> None:
    with pytest.raises(CallError) as caught:
        noise_plan(training, Privacy(20_000))
    assert caught.value.message == message


def test_a_cost_too_small_to_divide() -> None:
    with pytest.raises(CallError, match="a training can divide, got 3 millionths"):
        noise_plan(spec(MODELS["mlp"]), Privacy(3))
