"""Regressions over all nodes, as if their rows were one table."""

from __future__ import annotations

from yumen_core.errors import CallError

from yumen.statistics.estimate import estimate
from yumen.statistics.model_job import Options, specify
from yumen.statistics.regression_result import RegressionResult
from yumen.statistics.table import Table

LINKS = {"binomial": "logit", "poisson": "log", "gamma": "log"}


def ols(
    table: Table,
    formula: str,
    *,
    weights: str | None = None,
    cov_type: str = "nonrobust",
    fixed_effects: str | None = None,
    ridge: float = 0.0,
    lasso: float = 0.0,
) -> RegressionResult:
    """Least squares of `formula`, such as `y ~ x + C(group)`.

    `weights`, a column or SQL expression, are statsmodels' WLS weights. `cov_type` is `nonrobust`,
    `HC0` to `HC3` (White 1980; MacKinnon and White 1985) or `cluster`: the nodes are the clusters
    (Liang and Zeger 1986), with the correction (n - 1) / (n - p) * G / (G - 1) and normal
    quantiles, as statsmodels does. Few nodes make poor clusters, and the sum over them of the
    products of each node's summed score tells more of single nodes than any other sum here.

    `fixed_effects="node"` gives each node an intercept of its own, by taking off the node's means;
    a declared column there adds indicators of its levels. `ridge` and `lasso` add
    `ridge / 2 * b**2 + lasso * |b|` to half the mean squared residual for each coefficient but the
    intercept: those of statsmodels' `fit_regularized` with alpha (1 - L1_wt) and alpha L1_wt; there
    are no errors then.

    Rows with a missing value in the model or a weight of 0 are left out; `nobs` counts the rest.

    Coefficients and errors equal those of the pooled rows to 1e-9 relative, and to 1e-5 where the
    design's condition number is 5e9: nodes centre and scale columns, and orthogonalise them first
    where they are nearly collinear (shifted Cholesky QR, Fukaya et al. 2020).

    What leaves a node, in sums over all nodes: counts, sums and sums of squares of each column and
    of the response; the Gram matrix of the columns with the response; with robust errors, the Gram
    matrix of the rows' scores. Two secure sums; one more for robust errors, for fixed effects by
    node, and where the design is nearly collinear.

    Raises `CallError`: `formula` for a term that is unknown, constant or collinear, `argument` for
    another option. Raises `PeerError`: `too_few_rows` where a node has fewer complete rows than its
    threshold or three for each coefficient (DataSHIELD's nfilter.glm), or a level has a few rows
    somewhere, `data_values` where a threshold of rows at a node cannot be used. Fewer such rows (a
    logarithm of 0, a value beyond 1e13) count as missing; weights, and the responses of `logit`,
    `poisson` and `gamma`, must be what they are by their declared bounds.
    """
    return _regression(
        table,
        "ols",
        formula,
        Options(
            "gaussian",
            "identity",
            weights=weights,
            cov_type=cov_type,
            fixed_effects=fixed_effects,
            ridge=ridge,
            lasso=lasso,
        ),
    )


def logit(
    table: Table,
    formula: str,
    *,
    weights: str | None = None,
    offset: str | None = None,
    cov_type: str = "nonrobust",
    fixed_effects: str | None = None,
    ridge: float = 0.0,
    lasso: float = 0.0,
    max_rounds: int = 25,
    tol: float = 1e-7,
    auc: bool = True,
) -> RegressionResult:
    """Logistic regression of a response of 0 and 1 (or a condition), as `glm`.

    One more secure sum gives the ROC curve and `auc`, with its error, from counts of rows between
    scores, each of at least the threshold at every node; leave it out with `auc=False`.
    """
    options = Options(
        "binomial",
        "logit",
        weights=weights,
        offset=offset,
        cov_type=cov_type,
        fixed_effects=fixed_effects,
        ridge=ridge,
        lasso=lasso,
        max_rounds=max_rounds,
        tol=tol,
        auc=auc,
    )
    return _regression(table, "logit", formula, options)


def poisson(
    table: Table,
    formula: str,
    *,
    weights: str | None = None,
    offset: str | None = None,
    exposure: str | None = None,
    cov_type: str = "nonrobust",
    fixed_effects: str | None = None,
    ridge: float = 0.0,
    lasso: float = 0.0,
    max_rounds: int = 25,
    tol: float = 1e-7,
) -> RegressionResult:
    """Poisson regression of counts, with a log link, as `glm`."""
    return glm(
        table,
        formula,
        family="poisson",
        weights=weights,
        offset=offset,
        exposure=exposure,
        cov_type=cov_type,
        fixed_effects=fixed_effects,
        ridge=ridge,
        lasso=lasso,
        max_rounds=max_rounds,
        tol=tol,
    )


def gamma(
    table: Table,
    formula: str,
    *,
    link: str = "log",
    weights: str | None = None,
    offset: str | None = None,
    cov_type: str = "nonrobust",
    fixed_effects: str | None = None,
    ridge: float = 0.0,
    lasso: float = 0.0,
    max_rounds: int = 25,
    tol: float = 1e-7,
) -> RegressionResult:
    """Gamma regression of a positive response, with the link `log` or `inverse`, as `glm`. The
    dispersion is Pearson's chi² by the residual degrees of freedom."""
    return glm(
        table,
        formula,
        family="gamma",
        link=link,
        weights=weights,
        offset=offset,
        cov_type=cov_type,
        fixed_effects=fixed_effects,
        ridge=ridge,
        lasso=lasso,
        max_rounds=max_rounds,
        tol=tol,
    )


def glm(
    table: Table,
    formula: str,
    *,
    family: str,
    link: str | None = None,
    weights: str | None = None,
    offset: str | None = None,
    exposure: str | None = None,
    cov_type: str = "nonrobust",
    fixed_effects: str | None = None,
    ridge: float = 0.0,
    lasso: float = 0.0,
    max_rounds: int = 25,
    tol: float = 1e-7,
) -> RegressionResult:
    """A generalised linear model by Newton's method with expected information (Fisher scoring).

    `family` is `binomial` (link `logit`), `poisson` (`log`) or `gamma` (`log` or `inverse`).
    `weights` are statsmodels' var_weights; `offset` is added to the linear predictor, and the
    logarithm of `exposure` (poisson) too; each a column or SQL expression. `cov_type`,
    `fixed_effects` and penalties are as for `ols`, with minus the log-likelihood by the number of
    rows in place of half the mean squared residual; robust errors have the observed information as
    bread. HC1 to HC3 are corrected for n - p and for leverage as in least squares; statsmodels' GLM
    and Logit correct nothing beyond HC0, so its HC1 to HC3 equal HC0 there. A node's own
    intercept is fitted there and stays there (profile likelihood: Murphy and
    van der Vaart 2000); the coefficients are those with an indicator for each node.

    A fit takes at most `max_rounds` secure sums and ends when a step moves the linear predictor by
    less than `tol` (root mean square). Coefficients and errors equal those of the pooled rows to
    1e-6 relative; each tenfold smaller `tol` gives the errors a digit more.

    What leaves a node, in sums over all nodes: as for `ols` in the first sum; then, at coefficients
    that all nodes share, score, information, deviance and Pearson's chi². Eight sums are usual. A
    node refuses coefficients that would make a sum rest on fewer rows than its threshold.

    Raises what `ols` does, and `CallError` (`no_convergence`) for a separated response, which names
    the term, and where `max_rounds` do not suffice.
    """
    if family not in LINKS:
        raise CallError("argument", f"expected family as one of {', '.join(LINKS)}, got `{family}`")
    chosen = LINKS[family] if link is None else link
    if chosen != LINKS[family] and (family, chosen) != ("gamma", "inverse"):
        raise CallError("argument", f"expected link as a link of {family}, got `{chosen}`")
    if exposure is not None and family != "poisson":
        raise CallError("argument", f"expected exposure with poisson, got it with {family}")
    options = Options(
        family,
        chosen,
        weights=weights,
        offset=offset,
        exposure=exposure,
        cov_type=cov_type,
        fixed_effects=fixed_effects,
        ridge=ridge,
        lasso=lasso,
        max_rounds=max_rounds,
        tol=tol,
    )
    return _regression(table, family, formula, options)


def _regression(table: Table, method: str, formula: str, options: Options) -> RegressionResult:
    spec = specify(table, method, formula, options)
    with table.compute(spec.statistic) as job:
        found = estimate(job, spec)
        return RegressionResult(spec, found, job.provenance)
