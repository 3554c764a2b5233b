"""Ready models against other programs' answers over the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from yumen import models
from yumen.models import Category, Number, ReadyModel
from yumen_core.training.models import evaluate, fit, initial
from yumen_core.training.records import Values

Weights = dict[str, Values]


def columns(x: NDArray[np.float64]) -> list[str]:
    return [f"c{n}" for n in range(x.shape[1])]


def table(x: NDArray[np.float64], y: NDArray[np.generic]) -> pa.Table:
    return pa.table({**dict(zip(columns(x), x.T, strict=True)), "y": y})


def inputs(x: NDArray[np.float64]) -> list[Number]:
    """Every column standardised."""
    return [Number(f"c{n}", c.mean(), c.std()) for n, c in enumerate(x.T)]


def trained(model: ReadyModel, rows: pa.Table, rounds: int) -> Weights:
    weights = initial(model)
    for number in range(1, rounds + 1):
        weights, _ = fit(model, weights, rows, {"server-round": number})
    return weights


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on busy cores take many times longer."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cancer() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    x, y = load_breast_cancer(return_X_y=True)
    return x[:, :4], y


def test_logistic_is_the_maximum_likelihood(
    cancer: tuple[NDArray[np.float64], NDArray[np.int64]],
) -> None:
    x, y = cancer
    x = x[:, :2]
    model = models.logistic(
        inputs(x), "y", epochs=600, batch_size=0, learning_rate=1, momentum=0.9, dtype="float64"
    )
    weights = trained(model, table(x, y), 1)
    z = (x - x.mean(0)) / x.std(0)
    oracle = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(z, y)
    np.testing.assert_allclose(weights["weight"], oracle.coef_, rtol=1e-5)
    np.testing.assert_allclose(weights["bias"], oracle.intercept_, rtol=1e-5)
    metrics = evaluate(model, weights, table(x, y), {})
    shares = oracle.predict_proba(z)
    assert metrics["eval_acc"] == pytest.approx(oracle.score(z, y))
    assert metrics["eval_loss"] == pytest.approx(-np.log(shares[np.arange(len(y)), y]).mean())
    assert metrics["num-examples"] == len(y)
    found = models.probabilities(model, weights, pd.DataFrame(x, columns=columns(x)))
    np.testing.assert_allclose(found.to_numpy(), shares, atol=1e-6)


def test_weight_decay_is_a_ridge_that_spares_the_bias(
    cancer: tuple[NDArray[np.float64], NDArray[np.int64]],
) -> None:
    x, y = cancer
    model = models.logistic(
        inputs(x), "y", epochs=600, batch_size=0, learning_rate=1, momentum=0.9,
        weight_decay=0.01, dtype="float64",
    )  # fmt: skip
    weights = trained(model, table(x, y), 1)
    z = (x - x.mean(0)) / x.std(0)
    oracle = LogisticRegression(C=1 / (0.01 * len(y)), tol=1e-10, max_iter=10_000).fit(z, y)
    np.testing.assert_allclose(weights["weight"], oracle.coef_, rtol=1e-5)
    np.testing.assert_allclose(weights["bias"], oracle.intercept_, rtol=1e-5)


def test_multinomial_gives_the_oracles_probabilities() -> None:
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])
    model = models.logistic(
        inputs(x), "y", classes=names.tolist(), epochs=600, batch_size=0, learning_rate=1,
        momentum=0.9, weight_decay=0.01, dtype="float64",
    )  # fmt: skip
    weights = trained(model, table(x, names[y]), 1)
    z = (x - x.mean(0)) / x.std(0)
    oracle = LogisticRegression(C=1 / (0.01 * len(y)), tol=1e-10, max_iter=10_000).fit(z, y)
    frame = pd.DataFrame(x, columns=columns(x))
    found = models.probabilities(model, weights, frame)
    assert list(found.columns) == names.tolist()
    np.testing.assert_allclose(found.to_numpy(), oracle.predict_proba(z), atol=1e-6)
    assert models.predict(model, weights, frame).tolist() == names[oracle.predict(z)].tolist()


def test_linear_is_least_squares() -> None:
    generator = np.random.default_rng(1)
    x = generator.normal(5, 3, (200, 3))
    y = 40 + x @ [1.0, -2.0, 0.5] + generator.normal(0, 1, 200)
    model = models.linear(
        inputs(x), "y", center=y.mean(), scale=y.std(), epochs=500, batch_size=0,
        learning_rate=0.3, dtype="float64",
    )  # fmt: skip
    weights = trained(model, table(x, y), 1)
    design = np.column_stack([np.ones(200), x])
    best = np.linalg.lstsq(design, y, rcond=None)[0]
    frame = pd.DataFrame(x, columns=columns(x))
    np.testing.assert_allclose(models.predict(model, weights, frame), design @ best, rtol=1e-9)
    metrics = evaluate(model, weights, table(x, y), {})
    errors = y - design @ best
    assert metrics["eval_mse"] == pytest.approx((errors**2).mean(), rel=1e-9)
    assert metrics["eval_mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-9)
    assert metrics["eval_loss"] == pytest.approx((errors**2).mean() / y.var(), rel=1e-9)


def test_linear_ridge() -> None:
    generator = np.random.default_rng(2)
    x = generator.normal(0, 1, (50, 3))
    y = x @ [1.0, -2.0, 0.5] + 3
    model = models.linear(
        columns(x), "y", epochs=300, batch_size=0, learning_rate=0.1, weight_decay=0.4,
        dtype="float64",
    )  # fmt: skip
    # The mean of squares has no half before it: alpha = n * decay / 2.
    oracle = Ridge(alpha=50 * 0.4 / 2).fit(x, y)
    weights = trained(model, table(x, y), 1)
    np.testing.assert_allclose(weights["weight"][0], oracle.coef_, rtol=1e-9)


def test_mlp_learns_xor() -> None:
    x = np.tile(np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=float), (16, 1))
    y = np.logical_xor(x[:, 0], x[:, 1])
    model = models.mlp(
        columns(x), "y", hidden=[8], activation="tanh", optimizer="adam", learning_rate=0.05,
        epochs=100, batch_size=0,
    )  # fmt: skip
    metrics = evaluate(model, trained(model, table(x, y), 2), table(x, y), {})
    assert metrics["eval_acc"] == 1
    assert metrics["eval_loss"] < 0.05
    linear = models.logistic(columns(x), "y", epochs=100, batch_size=0, learning_rate=0.5)
    assert evaluate(linear, trained(linear, table(x, y), 2), table(x, y), {})["eval_acc"] <= 0.75


def test_mlp_predicts_numbers() -> None:
    x = np.linspace(-2, 2, 200)[:, None]
    y = 100 + 10 * x[:, 0] ** 2
    model = models.mlp(
        ["c0"], "y", classes=None, center=y.mean(), scale=y.std(), hidden=[32], activation="gelu",
        optimizer="adam", learning_rate=0.02, epochs=60, batch_size=50,
    )  # fmt: skip
    weights = trained(model, table(x, y), 2)
    assert evaluate(model, weights, table(x, y), {})["eval_mse"] < 0.02 * y.var()


def test_cnn_reads_digits() -> None:
    x, y = load_digits(return_X_y=True)
    model = models.cnn(
        columns(x), "y", classes=10, shape=(1, 8, 8), scale=16, optimizer="adam",
        learning_rate=0.005, epochs=12, batch_size=64, holdout=0.25, stratify=True,
    )  # fmt: skip
    rows = table(x, y)
    weights, metrics = fit(model, initial(model), rows, {})
    found = evaluate(model, weights, rows, {})
    assert found["eval_acc"] > 0.95
    assert found["num-examples"] + metrics["num-examples"] == len(y)


def test_tabular_uses_categories_and_numbers() -> None:
    generator = np.random.default_rng(3)
    a = generator.choice(["p", "q", "r", "s"], 600)
    b = generator.integers(0, 3, 600)
    number = generator.normal(0, 1, 600)
    # Which sign of the number counts depends on both categories together.
    y = (np.isin(a, ["p", "s"]) ^ (b == 1)) ^ (number > 0)
    rows = pa.table({"a": a, "b": b, "n": number, "y": y})
    model = models.tabular(
        [Category("a", ["p", "q", "r", "s"]), Category("b", [0, 1, 2]), "n"], "y",
        hidden=[32, 16], dimensions=3, optimizer="adam", learning_rate=0.01, epochs=40,
        holdout=0.25,
    )  # fmt: skip
    weights, _ = fit(model, initial(model), rows, {})
    assert evaluate(model, weights, rows, {})["eval_acc"] > 0.93
    assert (weights["embeddings.0.weight"] != initial(model)["embeddings.0.weight"]).any()


def test_one_hot_is_the_design_of_the_columns() -> None:
    rows = pa.table({"a": ["q", "p", "r", "p"], "n": [1.0, 2, 3, 5], "y": [4.0, 1, 7, 9]})
    inputs = [Category("a", ["p", "q", "r"], drop_first=True), "n"]
    model = models.linear(
        inputs, "y", epochs=900, batch_size=0, learning_rate=0.05, momentum=0.9, dtype="float64"
    )
    weights = trained(model, rows, 1)
    design = np.array([[1, 0, 1], [0, 0, 2], [0, 1, 3], [0, 0, 5]], dtype=float)
    best = np.linalg.lstsq(np.column_stack([design, np.ones(4)]), [4.0, 1, 7, 9], rcond=None)[0]
    np.testing.assert_allclose(weights["weight"][0], best[:3], rtol=1e-6)
    np.testing.assert_allclose(weights["bias"], best[3:], rtol=1e-6)


def some(**settings: object) -> tuple[ReadyModel, pa.Table]:
    generator = np.random.default_rng(4)
    x = generator.normal(0, 1, (90, 3))
    y = (x[:, 0] + generator.normal(0, 1, 90) > 0).astype(int)
    return models.mlp(columns(x), "y", hidden=[6], **settings), table(x, y)  # type: ignore[arg-type]


def same(one: Weights, two: Weights) -> bool:
    return list(one) == list(two) and all((one[name] == two[name]).all() for name in one)


def test_the_same_round_gives_the_same_weights_and_moves_no_shared_generator() -> None:
    model, rows = some(dropout=0.3, epochs=2)
    before = torch.random.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    one, _ = fit(model, initial(model), rows, {"server-round": 2})
    two, _ = fit(model, initial(model), rows, {"server-round": 2})
    assert same(one, two)
    assert torch.equal(before, torch.random.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()  # type: ignore[index]
    other, _ = fit(model, initial(model), rows, {"server-round": 3})
    assert not same(one, other)


def test_dropout_and_seed_change_the_way() -> None:
    model, rows = some(dropout=0.3)
    without, _ = some()
    other, _ = some(seed=1)
    start = initial(model)
    assert same(start, initial(without))
    assert not same(start, initial(other))
    assert not same(fit(model, start, rows, {})[0], fit(without, start, rows, {})[0])
    # Evaluation leaves nothing out.
    assert evaluate(model, start, rows, {}) == evaluate(without, start, rows, {})


def test_the_weights_given_stay_as_they_are() -> None:
    model, rows = some()
    start = initial(model)
    for values in start.values():
        values.flags.writeable = False
    fit(model, start, rows, {})
    assert same(start, initial(model))


def distance(one: Weights, two: Weights) -> float:
    return float(sum(((one[name] - two[name]) ** 2).sum() for name in one) ** 0.5)


def test_proximal_mu_pulls_towards_the_weights_of_the_start() -> None:
    model, rows = some(epochs=30, learning_rate=0.1)
    start = initial(model)
    far = [
        distance(fit(model, start, rows, {"proximal-mu": mu})[0], start) for mu in (0.0, 0.1, 1, 5)
    ]
    assert far == sorted(far, reverse=True)
    assert far[3] < far[0] / 5
    named = replace(model, learning=replace(model.learning, proximal_mu=1.0))
    assert distance(fit(named, start, rows, {})[0], start) == pytest.approx(far[2])


def test_proximal_step_by_hand() -> None:
    rows = pa.table({"x": [1.0, 2.0], "y": [3.0, 5.0]})
    model = models.linear(["x"], "y", steps=2, batch_size=0, learning_rate=0.1, dtype="float64")
    w, b, mu = 0.0, 0.0, 0.7
    for _ in range(2):
        error = np.array([w + b - 3, 2 * w + b - 5])
        slope = (2 * error * [1, 2]).mean() + mu * w
        w, b = w - 0.1 * slope, b - 0.1 * ((2 * error).mean() + mu * b)
    found, metrics = fit(model, initial(model), rows, {"proximal-mu": mu})
    assert found["weight"][0, 0] == pytest.approx(w)
    assert found["bias"][0] == pytest.approx(b)
    # With one batch a pass, the loss is that before the last step.
    assert metrics["num-examples"] == 2


def test_rate_of_a_round() -> None:
    model, rows = some(learning_rate=0.08, decay=0.5, batch_size=0)
    start = initial(model)
    by_round = fit(model, start, rows, {"server-round": 4})[0]
    assert same(by_round, fit(model, start, rows, {"lr": 0.01, "server-round": 4})[0])
    assert not same(by_round, fit(model, start, rows, {"server-round": 1})[0])


def test_clipped_gradient_bounds_the_step() -> None:
    model, rows = some(learning_rate=1, clip_gradient=0.01, steps=3)
    start = initial(model)
    assert distance(fit(model, start, rows, {})[0], start) <= 0.03 + 1e-6


def test_means_weighted_by_rows_are_those_of_all_rows() -> None:
    model, rows = some()
    start = initial(model)
    whole = evaluate(model, start, rows, {})
    parts = [evaluate(model, start, rows.slice(0, 20), {}), evaluate(model, start, rows[20:], {})]
    for name in ("eval_loss", "eval_acc"):
        mean = sum(part[name] * part["num-examples"] for part in parts) / 90
        assert mean == pytest.approx(whole[name])
