"""The rounds of a model at one node: numbers against scipy, and coefficients sent to pick rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from builders.statistics import LOGIT
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from yumen_core.canonical import Json
from yumen_core.disclosure import DisclosureRules
from yumen_core.errors import CallError, StateError
from yumen_core.statistics.families import FAMILIES, Terms, family_of, log_gamma, pearson
from yumen_core.statistics.glm import UNTOLD, DesignMoments, GlmStep, full, upper
from yumen_core.statistics.robust import Robust
from yumen_core.statistics.rows import Rows, Variable
from yumen_core.statistics.spread import check_values, is_spread

RULES = DisclosureRules(threshold=10)
VARIABLES = {name: Variable(name, True) for name in ("x", "y", "w")}


def rows(n: int = 400, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    y = (rng.random(n) < 0.5).astype(float)
    return Rows(n, {"x": x, "y": y, "w": rng.uniform(1, 2, n)}, {})


def inputs(beta: Any, **more: Any) -> dict[str, Any]:
    given = {
        "beta": np.asarray(beta, dtype=float),
        "centre": np.zeros(2),
        "scale": np.ones(2),
        "transform": np.eye(2),
        "response": np.array([0.0, 1.0]),
    }
    return {**given, **more}


def step(own: Rows, beta: Any, model: Mapping[str, Json] = LOGIT, **more: Any) -> Any:
    arguments = {**model, "fit": "model"}
    return GlmStep().compute(own, arguments, inputs(beta, **more), RULES).values[0]


def test_a_step_is_the_sum_over_rows() -> None:
    own = rows()
    x = np.column_stack([np.ones(400), own.number("x")])
    y, beta = own.number("y"), np.array([0.2, -0.4])
    mu = special.expit(x @ beta)
    values = step(own, beta)
    np.testing.assert_allclose(values[:2], x.T @ (y - mu), rtol=1e-12)
    gram = x.T @ (x * (mu * (1 - mu))[:, None])
    np.testing.assert_allclose(full(values[2:5], 2), gram, rtol=1e-12)
    deviance = -2 * np.sum(special.xlogy(y, mu) + special.xlogy(1 - y, 1 - mu))
    assert values[5] == pytest.approx(deviance, rel=1e-12)
    assert values[6] == pytest.approx(np.sum((y - mu) ** 2 / (mu * (1 - mu))), rel=1e-12)
    assert values[7] == pytest.approx(np.sum(mu * (1 - mu)), rel=1e-12)


def test_a_transform_changes_the_columns_and_nothing_else() -> None:
    transform = np.array([[2.0, 1.0], [0.5, 3.0]])
    gamma = np.array([0.1, -0.2])
    plain, other = step(rows(), transform @ gamma), step(rows(), gamma, transform=transform)
    np.testing.assert_allclose(other[:2], transform.T @ plain[:2], rtol=1e-12)
    expected = transform.T @ full(plain[2:5], 2) @ transform
    np.testing.assert_allclose(full(other[2:5], 2), expected, rtol=1e-12)
    np.testing.assert_allclose(other[5:], plain[5:], rtol=1e-12)


def test_columns_are_standardised_anew_for_another_scale() -> None:
    own = rows()
    first = step(own, [0.1, 0.5])
    step(own, [0.1, 0.5], centre=np.array([0.0, 3.0]), scale=np.array([1.0, 7.0]))
    np.testing.assert_array_equal(step(own, [0.1, 0.5]), first)


@pytest.mark.parametrize("beta", [[-3000.0, 1000.0], [0.0, 1e6], [1e30, 0.0], [-40.0, 12.0]])
def test_coefficients_that_pick_rows_tell_nothing(beta: list[float]) -> None:
    """A steep predictor weighs the few rows beside its boundary."""
    values = step(rows(), beta)
    assert values[5] == UNTOLD
    assert not np.delete(values, 5).any()


def test_a_steep_predictor_tells_nothing_beside_rows_that_are_fitted_well() -> None:
    """Rows at one level hide the few that a steep slope weighs at the other."""
    own = rows()
    own.numbers["y"][:200] = np.arange(200) % 2
    half = {**LOGIT, "design": [["a", [["w", "identity", None]]], ["x", [["x", "identity", None]]]]}
    own.numbers["w"][:] = np.arange(400) < 200
    own.numbers["x"][:200] = 0.0
    assert step(own, [0.1, 0.5], half)[5] < UNTOLD
    assert step(own, [0.1, 300.0], half)[5] == UNTOLD


def test_a_mean_that_grows_without_bound_does_not_tell_the_greatest_value() -> None:
    model = {**LOGIT, "family": "poisson", "link": "log"}
    assert step(rows(), [0.0, 30.0], model)[5] == UNTOLD
    assert step(rows(), [0.0, 0.3], model)[5] < 1e6


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"scale": np.array([1.0, 0.0])}, "expected scales from 1e-20 to 1e[+]13, got another"),
        ({"scale": np.array([-1.0, 1.0])}, "expected scales from 1e-20 to 1e[+]13, got another"),
        ({"centre": np.array([0.0, 1e14])}, "expected centres within 1e[+]13 of 0, got another"),
        ({"scale": np.full(2, 1e-20), "transform": np.eye(2) * 1e13}, "expected a transform "),
        ({"transform": np.eye(2) * 1e17}, "expected a transform within the "),
        (
            {"response": np.array([1.0, 1.0])},
            "expected a response scale of the family, got another",
        ),
        (
            {"response": np.array([0.0, 2.0])},
            "expected a response scale of the family, got another",
        ),
    ],
)
def test_hostile_scales_are_refused(more: dict[str, Any], text: str) -> None:
    with pytest.raises(StateError, match=text):
        step(rows(), [0.0, 1.0], **more)
    assert step(rows(), [0.0, 1e40])[5] == UNTOLD


def test_a_bread_that_is_not_the_pooled_inverse_is_refused() -> None:
    own = rows()
    arguments = {**LOGIT, "covariance": "HC3"}
    information = full(step(own, [0.0, 0.1])[2:5], 2)
    honest = np.linalg.inv(3 * information)
    given = inputs([0.0, 0.1], bread=honest)
    meat = full(Robust().compute(own, arguments, given, RULES).values[0, :3], 2)
    assert (np.linalg.eigvalsh(meat) > 0).all()
    with pytest.raises(StateError, match="expected coefficients that fit the rows here"):
        Robust().compute(own, arguments, inputs([0.0, 1e3], bread=honest), RULES)
    for bread in (6 * honest, -honest, np.array([[0.0, 1.0], [1.0, 0.0]]), 1e6 * np.eye(2)):
        with pytest.raises(StateError, match="expected the inverse of the pooled information"):
            Robust().compute(own, arguments, inputs([0.0, 0.1], bread=bread), RULES)


def test_the_first_round_gives_exact_zeros_for_a_constant() -> None:
    own = rows()
    own.numbers["x"].fill(0.1)
    values = DesignMoments().compute(own, LOGIT, {}, RULES).values[0]
    assert values[5] == 0.0
    assert values[6] == 400.0


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"family": "tweedie"}, "expected a family with a link among "),
        ({"link": "probit"}, "got binomial with probit"),
        ({"response": ["q", "identity", None]}, "expected a variable of the statement, got `q`"),
        ({"weights": "q"}, "expected a variable of the statement, got `q`"),
        ({"levels": {"x": 3}}, "expected the numbers of levels"),
        ({"intercepts": "node"}, "expected a design without intercept where each node has its own"),
        ({"intercepts": "own"}, "expected `intercepts` to be one of shared, node, got `own`"),
        ({"design": []}, "expected a design of 1 to 200 columns"),
        ({"more": 1}, "expected the arguments design, "),
    ],
)
def test_arguments_that_no_model_has_are_refused(change: dict[str, Json], text: str) -> None:
    with pytest.raises(CallError, match=text):
        DesignMoments().layout({**LOGIT, **change}, VARIABLES)


def test_the_shapes_follow_from_what_is_signed() -> None:
    layout = GlmStep().layout({**LOGIT, "fit": "model"}, VARIABLES)
    assert layout.supports == ("rows", "y = 0", "y = 1")
    assert len(layout.values) == 2 + 3 + 3
    assert layout.inputs["transform"] == (2, 2)
    gamma = {**LOGIT, "family": "gamma", "link": "log", "fit": "model"}
    assert len(GlmStep().layout(gamma, VARIABLES).values) == 2 + 3 + 3 + 3
    constant = GlmStep().layout({**LOGIT, "fit": "constant"}, VARIABLES)
    assert len(constant.values) == 1 + 1 + 3


@pytest.mark.parametrize("pair", sorted(FAMILIES))
def test_scores_and_information_are_derivatives(pair: tuple[str, str]) -> None:
    family = family_of(*pair)
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 50).astype(float) if pair[0] == "binomial" else rng.gamma(2, 1, 50)
    if pair[0] == "poisson":
        y = np.floor(y)
    eta = rng.uniform(0.2, 1.5, 50)
    here, h = family.terms(y, eta), 1e-5
    above, below = family.terms(y, eta + h), family.terms(y, eta - h)
    slope = -(above.deviance - below.deviance) / (4 * h)
    np.testing.assert_allclose(here.score, slope, rtol=1e-6, atol=1e-7)
    curvature = -(above.score - below.score) / (2 * h)
    np.testing.assert_allclose(here.observed, curvature, rtol=1e-6, atol=1e-7)
    assert (here.deviance > -1e-12).all()
    assert (here.information > 0).all()


@pytest.mark.parametrize("pair", sorted(FAMILIES))
def test_predictors_far_away_stay_finite(pair: tuple[str, str]) -> None:
    if pair[0] == "gaussian":
        return
    family = family_of(*pair)
    y = np.array([1.0, 1.0])
    terms = family.terms(y, np.array([1e4, -1e4]))
    assert all(np.isfinite(term).all() for term in terms)
    assert np.isfinite(pearson(terms)).all()


def test_pearson_residuals_of_no_weight_count_nothing() -> None:
    zeros = np.zeros(2)
    assert not pearson(Terms(zeros, zeros, zeros, zeros)).any()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(1e-6, 1e15), min_size=1, max_size=20))
def test_log_gamma_is_scipys(x: list[float]) -> None:
    values = np.array(x)
    np.testing.assert_allclose(log_gamma(values), special.gammaln(values), rtol=1e-12, atol=1e-12)


def test_effective_rows() -> None:
    assert is_spread(0.0, 0.0, RULES, share=1.0)
    assert is_spread(10.0, 10.0, RULES, share=1.0)
    assert not is_spread(9.0, 9.0, RULES, share=1.0)
    assert is_spread(9.0, 9.0, RULES, share=0.5)
    assert not is_spread(1e6 + 100, 1e12 + 100, RULES, share=0.25)
    assert not is_spread(float("nan"), 1.0, RULES, share=0.25)


@pytest.mark.parametrize(("differing", "refused"), [(0, False), (1, True), (9, True), (10, False)])
def test_a_column_with_one_value_but_in_a_few_rows_is_refused(
    differing: int, refused: bool
) -> None:
    for first in (True, False):
        values = np.full(50, 3.0)
        at = slice(0, differing) if first else slice(50 - differing, 50)
        values[at] = 10.0 + np.arange(differing)
        if refused:
            with pytest.raises(StateError, match="that differ in `v` from the value of all others"):
                check_values("v", values, RULES)
        else:
            check_values("v", values, RULES)


def test_triangles_go_back_and_forth() -> None:
    square = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 5.0], [3.0, 5.0, 6.0]])
    np.testing.assert_array_equal(upper(square), [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(full(upper(square), 3), square)


def test_rounding_does_not_tell_which_rows_are_above_an_edge() -> None:
    """x added to 2**53 is rounded to an even number: a transform and coefficients that make a step
    of it are refused, or told nothing, whatever the rows."""
    edge = np.array([[2.0**53 + 2, 2.0**53 + 2], [1.0, 0.0]])
    with pytest.raises(StateError, match="expected a transform within the range of a fit"):
        step(rows(), [1e-20, -1e-20], transform=edge)
    far = {"centre": np.array([0.0, 1e9])}
    with pytest.raises(StateError, match="expected centres and scales near those of the rows"):
        step(rows(), [0.1, 0.5], **far)
    small = {"scale": np.array([1.0, 1e-9])}
    with pytest.raises(StateError, match="expected centres and scales near those of the rows"):
        step(rows(), [0.1, 0.5], **small)
