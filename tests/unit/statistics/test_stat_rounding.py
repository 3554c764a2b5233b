"""Rounding in double precision picks no rows of a model: a requester who aims at it gets the exact
sums of all rows to a step, or nothing (`rounding`)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.canonical import Json
from yumen_core.disclosure import DisclosureRules
from yumen_core.errors import StateError
from yumen_core.statistics.glm import UNTOLD, GlmStep, full
from yumen_core.statistics.robust import Robust
from yumen_core.statistics.rounding import (
    MOST_TRANSFORM,
    UNIT,
    Total,
    coarse,
    combined,
    product,
    unsliced,
)
from yumen_core.statistics.rows import Rows

RULES = DisclosureRules(threshold=10)
N, AT = 400, 7
MODEL: dict[str, Json] = {
    "design": [
        ["Intercept", []],
        ["x", [["x", "identity", None]]],
        ["k0", [["k", "identity", 0]]],
        ["k1", [["k", "identity", 1]]],
    ],
    "exposure": "",
    "family": "gaussian",
    "intercepts": "shared",
    "levels": {"k": 2},
    "link": "identity",
    "offset": "",
    "response": ["y", "identity", None],
    "weights": "",
}  # the intercept is the sum of both levels: what it adds they take off again


def rows(extreme: float, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    x = np.clip(rng.normal(size=N), -1.4, 1.4)  # or swallowed from below
    x[AT] = extreme
    y = np.random.default_rng(seed + 1).normal(size=N)
    return Rows(N, {"x": x, "y": y}, {"k": np.arange(N, dtype=np.int32) % 2})


def inputs(beta: Any, transform: Any, **more: Any) -> dict[str, Any]:
    return {
        "beta": np.asarray(beta, dtype=float),
        "centre": np.zeros(4),
        "scale": np.ones(4),
        "transform": np.asarray(transform, dtype=float),
        "response": np.array([0.0, 1.0]),
        **more,
    }


def given_by(own: Rows, beta: Any, transform: Any) -> Any:
    """A step's values: score [:4], triangle [4:14], deviance [14]."""
    sent = inputs(beta, transform)
    return GlmStep().compute(own, {**MODEL, "fit": "model"}, sent, RULES).values[0]


def edge(size: float) -> float:
    """What x is to be multiplied with for `size` + x to round x from -1.4 to 1.9 away."""
    return size * UNIT / 3.0


def swallowed(large: float, small: float, x: Any) -> Any:
    """A column as plain double precision has it."""
    return (large + small * x) - large


def picking(large: float, small: float) -> Any:
    transform = np.eye(4)
    transform[:, 1] = [large, small, -large, -large]
    return transform


def exact_sum(values: Any) -> Fraction:
    return sum((Fraction(float(value)) for value in values), Fraction(0))


SIZES = [1e5, 2.0**30, 2.0**39]


@pytest.mark.parametrize("large", SIZES)
def test_plain_double_precision_would_pick_the_extreme_row(large: float) -> None:
    """So that the tests below have something to keep."""
    small = edge(large)
    for extreme, picked in ((1.4, 0), (6.5, 1)):
        column = swallowed(large, small, rows(extreme).number("x"))
        assert np.count_nonzero(column) == picked


@pytest.mark.parametrize("share", [1.0, 1e-2, 1e-4, 1e-8])
@pytest.mark.parametrize("large", SIZES)
def test_a_transform_that_picks_the_extreme_row_gives_the_sums_of_all(
    large: float, share: float
) -> None:
    """The products of the hostile column are those of exact arithmetic, to steps that are the same
    whatever the extreme row is; of what is so small that rounding reaches it, nothing is told."""
    small = edge(large) * share
    transform = picking(large, small)
    for extreme in (0.5, 2.0, 4.5, 6.5):
        own = rows(extreme)
        x, y = own.number("x"), own.number("y")
        values = given_by(own, np.zeros(4), transform)
        found, gram = values[:4], full(values[4:14], 4)
        off = np.sqrt(N) * unsliced(transform[:, [1]], np.sqrt(N) * np.array([1, 1.2, 1, 1]))[0]
        length = small * np.linalg.norm(x)
        step = 2.0 * RULES.threshold * (off + 4 * UNIT * length)
        columns = [np.ones(N), small * x, np.arange(N) % 2 == 0, np.arange(N) % 2 == 1]
        assert abs(found[1] - float(exact_sum(small * x * y))) <= step * np.linalg.norm(y)
        for at, other in enumerate(columns):
            exact = float(exact_sum(small * x * other))
            assert abs(gram[1, at] - exact) <= step * np.linalg.norm(other) + step * off
        if length < off:
            assert gram[1, 1] in (0.0, pytest.approx(gram[1, 1]))
            assert abs(gram[1, 1]) <= step**2


@pytest.mark.parametrize("large", SIZES)
def test_what_is_lost_in_rounding_of_all_rows_is_not_told_of_the_extreme_one(large: float) -> None:
    """So small a share of x that slices lose it too: the same is given whatever the extreme row."""
    transform = picking(large, edge(large) * 1e-9)
    first, *others = [
        given_by(rows(extreme), np.zeros(4), transform) for extreme in (0.5, 3.0, 6.5)
    ]
    for other in others:
        assert first[1] == other[1]
        for column in range(4):
            assert full(first[4:14], 4)[1, column] == full(other[4:14], 4)[1, column]
    assert full(first[4:14], 4)[1, 1] == 0.0


@pytest.mark.parametrize("large", [1e5, 2.0**30, 1e12])
def test_coefficients_that_pick_the_extreme_row_give_the_sums_of_all(large: float) -> None:
    small = edge(large)
    for extreme in (0.5, 6.5):
        own = rows(extreme)
        x, y = own.number("x"), own.number("y")
        values = given_by(own, [large, small, -large, -large], np.eye(4))
        score = y - small * x
        off = unsliced(np.array([[large], [small], [large], [large]]), np.full(4, 1.2 * N**0.5))[0]
        step = 2 * RULES.threshold * np.sqrt(N) * (off + 8 * UNIT)
        assert abs(values[14] - score @ score) <= 2 * step * np.linalg.norm(y)
        for column, told in ((np.ones(N), values[0]), (x, values[1])):
            assert abs(told - column @ score) <= step * np.linalg.norm(column)


@pytest.mark.parametrize("large", [2.0**44, 2.0**53, 1e300])
def test_beyond_that_nothing_is_told(large: float) -> None:
    small = edge(large)
    for extreme in (0.5, 6.5):
        with pytest.raises(StateError, match="expected a transform within the range of a fit"):
            given_by(rows(extreme), np.zeros(4), picking(large, small))
        values = given_by(rows(extreme), [large, small, -large, -large], np.eye(4))
        assert values[14] == UNTOLD
        assert not np.delete(values, 14).any()


def test_the_middle_of_the_sandwich_is_of_all_rows_too() -> None:
    large = 2.0**39
    small = edge(large)
    for extreme in (0.5, 6.5):
        own = rows(extreme)
        x, y = own.number("x"), own.number("y")
        sent = inputs(np.zeros(4), picking(large, small), bread=np.eye(4) * 1e-4)
        off = unsliced(picking(large, small)[:, [1]], np.full(4, 1.2 * N**0.5))[0]
        step = 2 * RULES.threshold * np.linalg.norm(y) * off
        scores = small * x * y
        for covariance, middle, share in (
            ("HC0", np.linalg.norm(scores), 1.0),
            ("cluster", abs(scores.sum()), np.sqrt(N)),
        ):
            arguments = {**MODEL, "covariance": covariance}
            meat = full(Robust().compute(own, arguments, sent, RULES).values[0, :10], 4)
            assert abs(np.sqrt(meat[1, 1]) - middle) <= share * step


def test_a_long_sum_loses_no_row() -> None:
    """Each row alone is below the rounding of the sum that it is added to."""
    n = 100_000
    column = np.full((1, n), 1.0 + 2.0**-50)
    exact = n * Fraction(1.0 + 2.0**-50) ** 2
    assert abs(Fraction(product(column, column)[0, 0]) - exact) <= exact * Fraction(UNIT)
    total = Total(1)
    for _ in range(1000):
        total.add(np.array([2.0**53]))
        total.add(np.array([1.0]))
    for _ in range(1000):
        total.add(np.array([-(2.0**53)]))
    assert total.value[0] == 1000.0


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 12), st.floats(0, 39), st.floats(0, 20))
def test_combined_columns_are_exact_to_their_bound(
    seed: int, p: int, large: float, spread: float
) -> None:
    """Coefficients that cancel to nearly nothing, over columns of sizes far apart."""
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(p, 30)) * 2.0 ** rng.uniform(-spread, spread, (p, 1))
    columns = np.vstack([columns, columns[:1]])
    coefficients = rng.normal(size=(p + 1, 2)) * 2.0 ** rng.uniform(-large, large, (p + 1, 1))
    coefficients[-1] = -coefficients[0]
    found = combined(coefficients, columns)
    bounds = unsliced(coefficients, np.abs(columns).max(axis=1))
    for j in range(2):
        for row in range(30):
            exact = sum(
                Fraction(coefficients[i, j]) * Fraction(columns[i, row]) for i in range(p + 1)
            )
            off = abs(Fraction(found[j, row]) - exact)
            assert off <= Fraction(UNIT) * abs(exact) + Fraction(bounds[j])


def test_steps_are_the_threshold_times_the_bound() -> None:
    values = np.array([1.0, 1.0, 3.3, 0.0])
    np.testing.assert_array_equal(
        coarse(values, np.array([0.1, 0.8, 0.03, 0.0]), 10), [1.0, 0.0, 3.25, 0.0]
    )
    assert MOST_TRANSFORM == 1e12
