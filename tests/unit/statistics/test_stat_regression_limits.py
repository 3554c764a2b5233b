"""What a regression refuses, at the nodes and from the released totals, and in which words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders.in_process import InProcess, schema_of, split
from yumen.statistics.regression import gamma, glm, logit, ols, poisson
from yumen.statistics.table import Table
from yumen_core.errors import CallError, PeerError

Fit = Callable[[Table], Any]


def sample() -> list[pd.DataFrame]:
    rng = np.random.default_rng(5)
    n = 400
    d = pd.DataFrame(
        {"x": rng.normal(size=n), "z": rng.normal(size=n), "g": rng.choice(list("abc"), n)}
    )
    d["sum"] = 2 * d.x - 3 * d.z + 1
    d["one"] = 7.25
    d["y"] = d.x + rng.normal(size=n)
    d["separated"] = (d.x > 0.1).astype(int)
    d["partly"] = ((d.g == "a") | (rng.random(n) < 0.5)).astype(int)
    d["rare"] = (np.arange(n) < 5).astype(int)
    d["counts"] = np.where(d.g == "a", 0, rng.poisson(2, n))
    d["b"] = rng.integers(0, 2, n)
    d["few"] = np.where(np.isin(np.arange(n), [3, 9]), 1.5, 0.0)
    d["missing"] = np.where(rng.random(n) < 0.99, np.nan, 1.0)
    d["w"] = rng.uniform(1, 2, n)
    d["negative"] = np.where(np.arange(n) == 7, -1.0, d.w)
    d["peak"] = np.exp(-np.abs(np.arange(n) - 7.0))
    d["heavy"] = np.where(np.arange(n) == 7, 1e6, 1.0)
    frames: list[pd.DataFrame] = split(d, 3, 1)
    for at, frame in enumerate(frames):
        frame["by_node"] = float(at)
        frame["node_level"] = f"n{at}"
        frame["at_two"] = np.where(at < 2, frame.b, 0)
    return frames


@pytest.fixture(scope="module")
def table() -> Table:
    frames = sample()
    return Table(InProcess(frames, schema_of(pd.concat(frames)), threshold=10))


FROM_THE_TOTALS: list[tuple[Fit, str, str]] = [
    (
        lambda t: ols(t, "y ~ x + one"),
        "formula",
        "expected columns that vary, got `one`, which is constant",
    ),
    (
        lambda t: ols(t, "y ~ x + z + sum"),
        "formula",
        "expected independent columns, got `sum`, a linear combination of `x`, `z`",
    ),
    (
        lambda t: logit(t, "b ~ sum + z + x"),
        "formula",
        "expected independent columns, got `x`, a linear combination of `sum`, `z`",
    ),
    (
        lambda t: ols(t, "one ~ x"),
        "formula",
        "expected a response that varies, got `one`, which is constant",
    ),
    (
        lambda t: ols(t, "y ~ x + by_node", fixed_effects="node"),
        "formula",
        "expected columns that vary within nodes, got `by_node`, constant in each: the nodes' own "
        "intercepts hold all of it",
    ),
    (
        lambda t: logit(t, "separated ~ x + z"),
        "no_convergence",
        "expected coefficients that settle, got `x` growing without bound: the response is "
        "separated by the model",
    ),
    (
        lambda t: logit(t, "partly ~ z + C(g)"),
        "no_convergence",
        "expected coefficients that settle, got `C(g)[T.b]`, `C(g)[T.c]` growing without bound: "
        "the response is separated by the model",
    ),
    (
        lambda t: poisson(t, "counts ~ x + C(g, Treatment('b'))"),
        "no_convergence",
        "expected coefficients that settle, got `C(g, Treatment('b'))[T.a]` growing without "
        "bound: the response is separated by the model",
    ),
    (
        lambda t: logit(t, "b ~ x + z", max_rounds=1),
        "no_convergence",
        "expected the coefficients to settle in 1 rounds, got a last step that moves ",
    ),
    (lambda t: ols(t, "y ~ 1", fixed_effects="node"), "formula", "expected a term beside the "),
    (
        lambda t: gamma(t, "w ~ x - 1", link="inverse"),
        "formula",
        "expected an intercept with the link `inverse`, got `- 1`",
    ),
]


@pytest.mark.parametrize(("fit", "code", "message"), FROM_THE_TOTALS)
def test_what_the_totals_tell_is_said(table: Table, fit: Fit, code: str, message: str) -> None:
    with pytest.raises(CallError) as caught:
        fit(table)
    assert caught.value.code == code
    assert caught.value.message.startswith(message)


WORDS: list[tuple[Fit, str]] = [
    (
        lambda t: ols(t, "y ~ x", cov_type="HAC"),
        "expected cov_type as one of nonrobust, HC0, HC1, HC2, HC3, cluster, got `HAC`",
    ),
    (lambda t: ols(t, "y ~ x", ridge=-1.0), "expected ridge as a number from 0, got `-1.0`"),
    (
        lambda t: ols(t, "y ~ x", lasso=1.0, cov_type="HC0"),
        "expected cov_type as nonrobust with a penalty, which has no errors, got `HC0`",
    ),
    (
        lambda t: logit(t, "b ~ x", max_rounds=0),
        "expected max_rounds as a whole number from 1 to 100, got `0`",
    ),
    (lambda t: logit(t, "b ~ x", tol=0.5), "expected tol as a number from 1e-14 to 1e-3, got"),
    (
        lambda t: glm(t, "y ~ x", family="tweedie"),
        "expected family as one of binomial, poisson, gamma, got `tweedie`",
    ),
    (
        lambda t: glm(t, "b ~ x", family="binomial", link="probit"),
        "expected link as a link of binomial, got `probit`",
    ),
    (
        lambda t: glm(t, "b ~ x", family="binomial", exposure="w"),
        "expected exposure with poisson, got it with binomial",
    ),
    (lambda t: ols(t, "y ~ x", weights="ww"), "expected a column of table `t`, got `ww`"),
]


@pytest.mark.parametrize(("fit", "message"), WORDS)
def test_wrong_words_are_refused_before_anything_is_asked(
    table: Table, fit: Fit, message: str
) -> None:
    source: InProcess = table._source
    asked = len(source.jobs)
    with pytest.raises(CallError, match="^" + re.escape(message)):
        fit(table)
    assert len(source.jobs) == asked


BY_BOUNDS: list[tuple[Fit, str]] = [
    (
        lambda t: logit(t, "counts ~ x"),
        "expected a binomial response with declared bounds from 0 to 1, got `counts` with bounds "
        "from 0 to ",
    ),
    (
        lambda t: poisson(t, "x ~ z"),
        "expected a poisson response with declared bounds from 0, got `x` with bounds from -",
    ),
    (
        lambda t: gamma(t, "x ~ z"),
        "expected a gamma response with declared bounds from 0, got `x` with bounds from -",
    ),
    (
        lambda t: gamma(t, "log(w) ~ z"),
        "expected a gamma response with declared bounds from 0, got `w` with bounds from -inf to ",
    ),
    (
        lambda t: ols(t, "y ~ x", weights="negative"),
        "expected weights with declared bounds from 0, got `negative` with bounds from -",
    ),
    (
        lambda t: poisson(t, "counts ~ x", exposure="z"),
        "expected an exposure with declared bounds from 0, got `z` with bounds from -",
    ),
]


@pytest.mark.parametrize(("fit", "message"), BY_BOUNDS)
def test_what_must_hold_of_every_row_is_asked_of_the_bounds(
    table: Table, fit: Fit, message: str
) -> None:
    with pytest.raises(CallError) as caught:
        fit(table)
    assert caught.value.code == "statistic"
    assert caught.value.message.startswith(message)


def test_rows_that_a_model_cannot_use_count_as_missing() -> None:
    """Without a threshold of them no node fails: a failure would tell of one row."""
    rng = np.random.default_rng(9)
    d = pd.DataFrame({"x": rng.uniform(1, 9, 300), "w": rng.uniform(1, 2, 300)})
    d["y"] = rng.gamma(2.0, d.x)
    d["n"] = rng.poisson(d.x * d.w)
    d["b"] = rng.integers(0, 2, 300).astype(float)
    bad = d.copy()
    bad.loc[3, "x"] = bad.loc[40, "y"] = bad.loc[80, "w"] = 0.0
    bad.loc[120, "b"] = 0.5
    found = Table(InProcess(split(bad, 3), schema_of(bad), threshold=10))
    for fit, rows in (
        (lambda t: ols(t, "y ~ log(x)"), [3]),
        (lambda t: gamma(t, "y ~ w"), [40]),
        (lambda t: poisson(t, "n ~ x", exposure="w"), [80]),
        (lambda t: logit(t, "b ~ w"), [120]),
    ):
        least = Table(InProcess(split(bad.drop(index=rows), 3), schema_of(bad), threshold=10))
        fitted, expected = fit(found), fit(least)
        assert fitted.nobs == 299
        np.testing.assert_allclose(fitted.params, expected.params, rtol=1e-7)
    bad.loc[:99, "x"] = 0.0
    many = Table(InProcess(split(bad, 3), schema_of(bad), threshold=10))
    with pytest.raises(PeerError) as caught:
        ols(many, "y ~ log(x)")
    assert caught.value.code == "data_values"
    assert caught.value.message == (
        "expected numbers within 1e+13 of 0 in `log(x)`, got others in the table's threshold of "
        "rows or more"
    )


PEAK = "expected values of `peak"
AT_A_NODE: list[tuple[Fit, str, str]] = [
    (
        lambda t: ols(t, "y ~ x", weights="heavy"),
        "too_few_rows",
        "expected weights spread over the table's threshold of rows, got them on fewer",
    ),
    (
        lambda t: ols(t, "y ~ few"),
        "too_few_rows",
        "expected the table's threshold of rows, or none, that differ in `few` from the value of "
        "all others, got fewer",
    ),
    (
        lambda t: logit(t, "rare ~ x"),
        "too_few_rows",
        "expected no or not too few rows of `rare = 1` at each node",
    ),
    (lambda t: ols(t, "y ~ x + peak"), "too_few_rows", PEAK),
    (lambda t: logit(t, "b ~ x * peak"), "too_few_rows", PEAK),
    (lambda t: ols(t, "peak ~ x"), "too_few_rows", PEAK),
    (lambda t: ols(t, "y ~ x", weights="1 + peak"), "too_few_rows", PEAK.replace("peak", "1 +")),
    (lambda t: poisson(t, "counts ~ x", offset="peak"), "too_few_rows", PEAK),
    (
        lambda t: ols(t, "y ~ missing"),
        "too_few_rows",
        "expected the table's threshold of rows without a missing value, and 3 for each "
        "coefficient of the model, got fewer",
    ),
    (
        lambda t: ols(t, "y ~ x + C(node_level)"),
        "too_few_rows",
        "expected no or not too few rows of `node_level[n1]` at each node, some at 3 nodes",
    ),
    (
        lambda t: logit(t, "at_two ~ x"),
        "too_few_rows",
        "expected no or not too few rows of `at_two = 1` at each node, some at 3 nodes",
    ),
    (
        lambda t: logit(t, "at_two ~ x", fixed_effects="node"),
        "too_few_rows",
        "expected a `at_two` that varies where a node has its own intercept, got one value in all "
        "rows or all but a few",
    ),
]


@pytest.mark.parametrize(("fit", "code", "message"), AT_A_NODE)
def test_a_node_refuses_before_anything_leaves(
    table: Table, fit: Fit, code: str, message: str
) -> None:
    with pytest.raises(PeerError) as caught:
        fit(table)
    assert caught.value.code == code
    assert caught.value.message.startswith(message)


def test_a_level_with_a_few_rows_at_one_node_is_named(table: Table) -> None:
    frames = sample()
    at = np.arange(len(frames[0]))
    frames[0]["g"] = np.where(at < 2, "a", np.where(at % 2, "b", "c"))
    few = Table(InProcess(frames, schema_of(pd.concat(frames)), threshold=10))
    with pytest.raises(PeerError, match="not too few rows of `g\\[a\\]` at each node"):
        ols(few, "y ~ x + C(g)")


def test_no_area_is_given_where_no_score_may_be_told() -> None:
    frames = [frame[["b", "x"]].iloc[:40] for frame in sample()]
    fitted = logit(Table(InProcess(frames, schema_of(pd.concat(frames)), threshold=10)), "b ~ x")
    assert np.isnan(fitted.auc)
    assert "no AUC: too few rows, at some node, of either outcome between scores" in repr(fitted)


def test_infinite_and_missing_values_are_left_out() -> None:
    frames = sample()
    schema = schema_of(pd.concat(frames))
    frames[1].loc[0, "x"] = np.inf
    frames[2].loc[:4, "y"] = np.nan
    infinite = Table(InProcess(frames, schema, threshold=10))
    rows = sum(map(len, frames))
    assert ols(infinite, "y ~ x").nobs == rows - 6
    assert ols(infinite, "y ~ z").nobs == rows - 5


@pytest.mark.parametrize("rows", [120, 600, 3000])
def test_separation_is_said_however_many_rows_there_are(rows: int) -> None:
    rng = np.random.default_rng(rows)
    d = pd.DataFrame({"x": rng.normal(size=rows), "z": rng.normal(size=rows)})
    d["b"] = (d.x + 0.3 * d.z > 0.1).astype(int)
    with pytest.raises(CallError, match="`x` growing without bound"):
        logit(Table(InProcess(split(d, 3, 2), schema_of(d), threshold=10)), "b ~ x + z")


def test_a_ridge_settles_what_is_separated(table: Table) -> None:
    fitted = logit(table, "separated ~ x + z", ridge=0.01)
    assert 1.0 < fitted.params["x"] < 10.0


def test_a_perfect_fit_has_no_error(table: Table) -> None:
    fitted = ols(table, "sum ~ x + z")
    np.testing.assert_allclose(fitted.params, [1.0, 2.0, -3.0], atol=1e-12)
    assert fitted.rsquared == pytest.approx(1.0, abs=1e-12)
    assert fitted.bse.max() < 1e-10
