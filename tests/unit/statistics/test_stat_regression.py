"""Regressions equal statsmodels on the pooled rows, however the rows are spread over nodes."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from builders.in_process import InProcess, schema_of, split
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yumen.display import Grid, plain
from yumen.statistics.regression import gamma, glm, logit, ols, poisson
from yumen.statistics.regression_result import RegressionResult, _narrow
from yumen.statistics.table import Table

FAMILIES = {
    "binomial": sm.families.Binomial(),
    "poisson": sm.families.Poisson(),
    "gamma": sm.families.Gamma(sm.families.links.Log()),
}
COVARIANCES = ("nonrobust", "HC0", "HC1", "HC2", "HC3", "cluster")
OLS_NUMBERS = (
    *("rsquared", "rsquared_adj", "llf", "aic", "bic", "ssr", "mse_resid", "scale"),
    *("nobs", "df_model", "df_resid", "condition_number"),
)
GLM_NUMBERS = (
    *("llf", "llnull", "aic", "deviance", "null_deviance", "pearson_chi2", "scale"),
    *("nobs", "df_model", "df_resid"),
)
few = settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
partitions = st.tuples(st.integers(3, 5), st.integers(0, 10_000))


def sample(seed: int, n: int = 320) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    d = pd.DataFrame(
        {
            "x": rng.normal(50, 10, n),
            "z": rng.exponential(3, n),
            "g": rng.choice(list("abc"), n),
            "w": rng.uniform(0.5, 2, n),
            "e": rng.uniform(1, 9, n),
        }
    )
    eta = 0.03 * (d.x - 50) + 0.15 * d.z + (d.g == "b") * 0.5 - 0.5
    d["y"] = 3 + 2 * eta + rng.normal(size=n)
    d["b"] = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(int)
    d["c"] = rng.poisson(d.e * np.exp(0.3 * eta)).astype(int)
    d["t"] = rng.gamma(2, np.exp(0.5 * eta) / 2)
    d["s"] = rng.gamma(2, 1 / (0.3 + 0.1 * d.z) / 2)
    d.loc[::40, "x"] = np.nan
    return d


def nodes(seed: int, parts: int) -> tuple[Table, pd.DataFrame]:
    """A table over `parts` nodes, and its complete pooled rows with the node of each."""
    d = sample(seed)
    frames = split(d, parts, seed)
    while min(map(len, frames)) < 36:  # three rows for each coefficient, and room
        seed += 1
        frames = split(d, parts, seed)
    pooled = pd.concat(
        [frame.assign(node=at) for at, frame in enumerate(frames)], ignore_index=True
    )
    return Table(InProcess(frames, schema_of(d), threshold=1)), pooled.dropna()


def fit(model: Any, cov_type: str = "nonrobust", groups: Any = None, **options: Any) -> Any:
    kwds = {"groups": groups} if cov_type == "cluster" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(cov_type=cov_type, cov_kwds=kwds, **options)


def pooled_glm(formula: str, d: pd.DataFrame, family: str, cov: str, **options: Any) -> Any:
    model = smf.glm(formula, d, family=FAMILIES[family], **options)
    return fit(model, cov, d.node, tol=1e-14, maxiter=100)


def assert_same(
    ours: RegressionResult, oracle: Any, numbers: tuple[str, ...] = (), rtol: float = 1e-6
) -> None:
    """Coefficients and errors, which an oracle with more terms has among others."""
    names = list(ours.params.index)
    np.testing.assert_allclose(ours.params, oracle.params[names], rtol=rtol, atol=1e-12)
    np.testing.assert_allclose(ours.bse, oracle.bse[names], rtol=rtol)
    np.testing.assert_allclose(ours.tvalues, oracle.tvalues[names], rtol=10 * rtol, atol=1e-11)
    np.testing.assert_allclose(
        ours.conf_int(0.1), oracle.conf_int(0.1).loc[names], rtol=10 * rtol, atol=1e-9
    )
    np.testing.assert_allclose(ours.pvalues, oracle.pvalues[names], rtol=1e-4, atol=1e-12)
    covariance = oracle.cov_params().loc[names, names]
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    np.testing.assert_allclose(ours.cov_params() / scale, covariance / scale, atol=5 * rtol)
    for name in numbers:
        expected = getattr(oracle, name)
        np.testing.assert_allclose(getattr(ours, name), expected, rtol=rtol, err_msg=name)


@few
@given(partitions, st.sampled_from(COVARIANCES), st.booleans())
def test_ols(where: tuple[int, int], cov: str, weighted: bool) -> None:
    table, pooled = nodes(where[1], where[0])
    formula = "y ~ x * z + C(g)"
    ours = ols(table, formula, cov_type=cov, weights="w" if weighted else None)
    model = smf.wls(formula, pooled, weights=pooled.w) if weighted else smf.ols(formula, pooled)
    numbers = (*OLS_NUMBERS, "fvalue", "f_pvalue") if cov != "cluster" else OLS_NUMBERS
    assert_same(ours, fit(model, cov, pooled.node), numbers)


@pytest.mark.parametrize("formula", ["y ~ x + z - 1", "y ~ C(g) + z - 1", "log(t) ~ I(z**2) + x"])
def test_ols_with_another_design(formula: str) -> None:
    table, pooled = nodes(4, 3)
    expected = fit(smf.ols(formula.replace("log", "np.log"), pooled))
    if formula.startswith("y ~ C(g)"):  # there the rows without `x` take part
        table = table.where("x IS NOT NULL")
    assert_same(ols(table, formula), expected, (*OLS_NUMBERS, "fvalue"))


@few
@given(partitions, st.sampled_from(["nonrobust", "HC0", "cluster"]), st.booleans())
def test_glm(where: tuple[int, int], cov: str, weighted: bool) -> None:
    table, pooled = nodes(where[1], where[0])
    ours_weights = {"weights": "w"} if weighted else {}
    weights = {"var_weights": pooled.w} if weighted else {}
    for family, response in (("binomial", "b"), ("poisson", "c"), ("gamma", "t")):
        formula = f"{response} ~ x + z + C(g)"
        oracle = pooled_glm(formula, pooled, family, cov, **weights)
        numbers = GLM_NUMBERS[3:] if family == "gamma" and weighted else GLM_NUMBERS
        ours = glm(table, formula, family=family, cov_type=cov, **ours_weights)  # type: ignore[arg-type]
        assert_same(ours, oracle, numbers)


def test_logit_has_the_names_of_a_logit() -> None:
    table, pooled = nodes(11, 3)
    oracle = fit(smf.logit("b ~ x + z", pooled), disp=0, tol=1e-13)
    ours = logit(table, "b ~ x + z")
    assert_same(ours, oracle, ("prsquared", "llf", "llnull", "aic", "bic"))
    scores = oracle.fittedvalues
    from scipy.stats import mannwhitneyu

    one, zero = scores[pooled.b == 1], scores[pooled.b == 0]
    area = mannwhitneyu(one, zero).statistic / (len(one) * len(zero))
    assert abs(ours.auc - area) <= ours.auc_error < 0.1
    assert f"{ours.auc:.3f} ± {ours.auc_error:.3f}" in ours.summary()
    assert np.isnan(logit(table, "b ~ x", auc=False).auc)


def test_a_generalised_model_with_all_levels_and_no_intercept() -> None:
    table, pooled = nodes(15, 3)
    d = pooled.assign(t=1e5 * pooled.t)
    oracle = pooled_glm("t ~ C(g) + x - 1", d, "gamma", "nonrobust")
    ours = gamma(table.assign(money="100000 * t"), "money ~ C(g) + x - 1")
    assert_same(ours, oracle, ("llf", "llnull", "deviance", "null_deviance", "df_resid"))


def test_nodes_that_hold_different_rows() -> None:
    """Rows sorted by the response: means differ from node to node, and so would any average."""
    d = sample(16).dropna().sort_values("t").reset_index(drop=True)
    frames = [d.iloc[:90], d.iloc[90:180], d.iloc[180:]]
    table = Table(InProcess(frames, schema_of(d), threshold=10))
    pooled = d.assign(node=0)
    for family, response in (("binomial", "b"), ("poisson", "c"), ("gamma", "t")):
        formula = f"{response} ~ x + z + C(g)"
        oracle = pooled_glm(formula, pooled, family, "nonrobust")
        assert_same(glm(table, formula, family=family), oracle, GLM_NUMBERS)


def test_offsets_and_exposures() -> None:
    table, pooled = nodes(5, 4)
    formula = "c ~ x + C(g)"
    oracle = pooled_glm(formula, pooled, "poisson", "nonrobust", exposure=pooled.e)
    assert_same(poisson(table, formula, exposure="e"), oracle, GLM_NUMBERS)
    oracle = pooled_glm(formula, pooled, "poisson", "nonrobust", offset=pooled.z / 9)
    assert_same(poisson(table, formula, offset="z / 9"), oracle, GLM_NUMBERS)
    oracle = pooled_glm("b ~ x", pooled, "binomial", "HC0", offset=pooled.z / 9)
    assert_same(logit(table, "b ~ x", offset="z / 9", cov_type="HC0"), oracle, GLM_NUMBERS)
    oracle = pooled_glm("t ~ x", pooled, "gamma", "nonrobust", offset=pooled.z / 9)
    assert_same(gamma(table, "t ~ x", offset="z / 9"), oracle, GLM_NUMBERS)


@pytest.mark.parametrize("cov", ["nonrobust", "cluster"])
def test_gamma_with_the_inverse_link(cov: str) -> None:
    table, pooled = nodes(6, 3)
    table = table.where("x IS NOT NULL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a predictor could be negative
        model = smf.glm("s ~ z", pooled, family=sm.families.Gamma())
    oracle = fit(model, cov, pooled.node, tol=1e-14)
    assert_same(gamma(table, "s ~ z", link="inverse", cov_type=cov), oracle, GLM_NUMBERS)


@few
@given(partitions, st.sampled_from(COVARIANCES), st.booleans())
def test_own_intercepts_are_indicators_of_the_nodes(
    where: tuple[int, int], cov: str, weighted: bool
) -> None:
    table, pooled = nodes(where[1], where[0])
    formula = "y ~ x + z + C(g)"
    with_nodes = f"{formula} + C(node)"
    ours = ols(
        table,
        formula,
        cov_type=cov,
        weights="w" if weighted else None,
        fixed_effects="node",
    )
    weights = {"weights": pooled.w} if weighted else {}
    model = smf.wls(with_nodes, pooled, **weights)
    assert_same(ours, fit(model, cov, pooled.node), OLS_NUMBERS[:-1])
    assert "Intercept" not in ours.params


@pytest.mark.parametrize("cov", ["nonrobust", "HC0", "cluster"])
def test_own_intercepts_of_generalised_models(cov: str) -> None:
    table, pooled = nodes(8, 4)
    for family, response in (("binomial", "b"), ("poisson", "c"), ("gamma", "t")):
        formula = f"{response} ~ x + z"
        oracle = pooled_glm(f"{formula} + C(node)", pooled, family, cov)
        ours = glm(table, formula, family=family, cov_type=cov, fixed_effects="node")
        assert_same(ours, oracle, GLM_NUMBERS)


def test_fixed_effects_by_a_column_are_its_indicators() -> None:
    table, pooled = nodes(9, 3)
    oracle = fit(smf.ols("y ~ x + C(g)", pooled))
    assert_same(ols(table, "y ~ x", fixed_effects="g"), oracle, OLS_NUMBERS)


@pytest.mark.parametrize(("ridge", "lasso"), [(0.05, 0.05), (0.0, 0.1), (0.2, 0.0)])
def test_penalties_are_those_of_fit_regularized(ridge: float, lasso: float) -> None:
    table, pooled = nodes(10, 3)
    alpha = ridge + lasso
    for formula, ours in (
        ("y ~ x + z + C(g)", ols(table, "y ~ x + z + C(g)", ridge=ridge, lasso=lasso)),
        ("b ~ x + z + C(g)", logit(table, "b ~ x + z + C(g)", ridge=ridge, lasso=lasso)),
    ):
        model = (
            smf.ols(formula, pooled)
            if formula.startswith("y")
            else smf.glm(formula, pooled, family=FAMILIES["binomial"])
        )
        each = np.where(np.array(model.exog_names) == "Intercept", 0.0, alpha)
        options = {} if formula.startswith("y") else {"cnvrg_tol": 1e-13}
        options |= {"maxiter": 3000}
        oracle = model.fit_regularized(alpha=each, L1_wt=lasso / alpha, **options)
        expected = pd.Series(oracle.params, model.exog_names)[list(ours.params.index)]
        # The oracle of a logit stops within 1e-4.
        np.testing.assert_allclose(ours.params, expected, rtol=1e-4, atol=1e-7)
        assert ours.bse.isna().all()
        assert "no errors given" in repr(ours)


def test_longley_to_the_certified_digits() -> None:
    """NIST's certified values of the data whose design has the condition number 4.9e9."""
    d = sm.datasets.longley.load_pandas().data.astype(float).rename(columns=str.lower)
    copies = pd.concat([d] * 4, ignore_index=True)  # a node needs three rows a coefficient
    frames = [copies.iloc[:21], copies.iloc[21:42], copies.iloc[42:]]
    ours = ols(
        Table(InProcess(frames, schema_of(copies), threshold=1)),
        "totemp ~ gnpdefl + gnp + unemp + armed + pop + year",
    )
    certified = [
        *(-3482258.63459582, 15.0618722713733, -0.0358191792925910, -2.02022980381683),
        *(-1.03322686717359, -0.0511041056535807, 1829.15146461355),
    ]
    errors = [
        *(890420.383607373, 84.9149257747669, 0.0334910077722432, 0.488399681651699),
        *(0.214274163161675, 0.226073200069370, 455.478499142212),
    ]
    np.testing.assert_allclose(ours.params, certified, rtol=1e-9)
    # Four copies have the same residual variance, but 4 n - p degrees of freedom and 4 X'X.
    np.testing.assert_allclose(ours.bse, np.array(errors) * np.sqrt(9 / 57), rtol=1e-9)
    assert ours.condition_number > 4.8e9


@pytest.mark.parametrize("away", [1e-4, 1e-8, 6e-10])
def test_columns_that_are_nearly_collinear_keep_five_digits(away: float) -> None:
    rng = np.random.default_rng(1)
    d = pd.DataFrame({"a": rng.normal(size=400), "b": rng.normal(size=400)})
    d["c"] = d.a + d.b + away * rng.normal(size=400)
    d["y"] = 1 + 2 * d.a - d.b + 0.5 * rng.normal(size=400)
    d["k"] = (rng.random(400) < 1 / (1 + np.exp(-d.a))).astype(int)
    table = Table(InProcess(split(d, 3, 1), schema_of(d)))
    ours = ols(table, "y ~ a + b + c")
    oracle = smf.ols("y ~ a + b + c", d).fit()  # by the pseudoinverse
    np.testing.assert_allclose(ours.params, oracle.params, rtol=1e-5)
    np.testing.assert_allclose(ours.bse, oracle.bse, rtol=1e-5)
    design = np.column_stack([np.ones(400), d.a, d.b, d.c])
    b, errors = _logit_by_qr(design, d.k.to_numpy())
    fitted = logit(table, "k ~ a + b + c", auc=False)
    np.testing.assert_allclose(fitted.params, b, rtol=1e-5)
    np.testing.assert_allclose(fitted.bse, errors, rtol=1e-5)


def _logit_by_qr(x: Any, y: Any) -> tuple[Any, Any]:
    """A logit whose normal equations are never formed."""
    q, r = np.linalg.qr(x)
    at = np.zeros(x.shape[1])
    for _ in range(30):
        mu = 1 / (1 + np.exp(-q @ at))
        triangle = np.linalg.qr(q * np.sqrt(mu * (1 - mu))[:, None])[1]
        at += np.linalg.solve(triangle.T @ triangle, q.T @ (y - mu))
    inverse = np.linalg.inv(triangle @ r)
    return np.linalg.solve(r, at), np.sqrt((inverse**2).sum(axis=1))


def test_one_fit_is_one_job_and_as_many_sums_as_newton_needs() -> None:
    table, _ = nodes(12, 3)
    source: InProcess = table._source
    assert ols(table, "y ~ x + z").provenance.rounds == 2
    fitted = logit(table, "b ~ x + z", auc=False)
    assert fitted.provenance.rounds == fitted.n_iter + 1 <= 8
    assert len(source.jobs) == 2


def test_a_result_shows_itself() -> None:
    table, _ = nodes(13, 3)
    fitted = ols(table, "y ~ x + C(g)", cov_type="cluster")
    text = fitted.summary()
    assert text.startswith("Ordinary least squares: y ~ x + C(g)\n")
    assert "errors clustered by node, 3 clusters" in text
    assert "C(g)[T.b]" in fitted._repr_html_()
    frame = fitted.to_pandas()
    assert list(frame.columns) == ["coef", "std err", "z", "P>|z|", "[0.025", "0.975]"]
    assert fitted.converged


def test_long_names_are_cut_in_the_middle_and_the_table_is_one_block() -> None:
    names = [
        f"C(occupation, levels=['farmer','teacher','nurse'])[T.{n}]" for n in ("教师", "nurse")
    ]
    row = ("0.123456", "0.123456", "0.123456", "0.1234", "-0.123456", "0.123456")
    grid = Grid(
        ("", "coef", "std err", "z", "P>|z|", "[0.025", "0.975]"),
        ((names[0], *row), (names[1], *row)),
    )
    narrow = _narrow(grid, 100)
    assert [line[0].split("…")[1] for line in narrow.rows] == ["[T.教师]", "[T.nurse]"]
    assert plain(narrow, width=100).count("coef") == 1
    assert _narrow(grid, 200).rows == grid.rows
    alike = replace(grid, rows=tuple((f"{'a' * 30}{n}{'b' * 30}", *row) for n in "12"))
    assert len({line[0] for line in _narrow(alike, 80).rows}) == 2


def test_a_plot_shows_every_term_but_the_intercept() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    table, _ = nodes(14, 3)
    axes = ols(table, "y ~ x + z").plot()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["z", "x"]
    assert axes.get_xlabel() == "coefficient on y (95 % interval)"
    pyplot.close("all")
