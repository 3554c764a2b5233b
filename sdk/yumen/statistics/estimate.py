"""From the released totals of a model's rounds to its coefficients, errors and fit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from yumen_core.errors import CallError
from yumen_core.statistics.glm import UNTOLD
from yumen_core.statistics.layout import Reals

from yumen.statistics.model_job import Moments, Rounds, Specification, moments
from yumen.statistics.model_newton import Newton, Solution, solved
from yumen.statistics.penalties import Penalty
from yumen.statistics.rank import RocCurve
from yumen.statistics.source import Computation

_NULL_TOL = 1e-9
_AWAY = {
    "log": (0.0, -12.0, 12.0, -24.0, 24.0, -36.0, 36.0),
    "logit": (0.0, -6.0, 6.0, -12.0, 12.0, -18.0, 18.0),
}
"""Where to look for a constant, by link: at most as many sums as a null fit has to spare."""


@dataclass(frozen=True)
class Estimate:
    """Numbers on the scale of the data. `covariance` is NaN with a penalty. `deviance` of a
    gaussian model is its sum of squared residuals, `null_deviance` that around the mean;
    `uncentred` is the response's own sum of squares; `roc` is that of a logit with `auc`. `nodes`
    is how many stand behind it all."""

    params: Reals
    covariance: Reals
    moments: Moments
    nodes: int
    constant: bool
    deviance: float
    null_deviance: float
    uncentred: float
    pearson: float
    scale: float
    df_model: int
    df_resid: int
    condition: float
    rounds: int
    roc: RocCurve | None


def estimate(job: Computation, spec: Specification) -> Estimate:
    """Run all rounds of a model's job.

    Raises `CallError` (`formula`, `no_convergence`) for what the totals tell of the data, and
    `PeerError` for a node's refusal.
    """
    seen = moments(job, spec)
    rounds = Rounds(job, spec, seen)
    family = spec.family
    null_at = _null_predictor(spec, seen)
    null = _null(rounds, spec, null_at) if spec.needs_null else None
    start = np.zeros(len(spec.names))
    at = spec.constant_columns
    start[at] = seen.scale[at] * (null_at if null is None else float(null.standardised[0]))
    newton = Newton(
        rounds.fit,
        spec.names,
        linear=family.name == "gaussian",
        discrete=family.discrete,
        tol=spec.options.tol,
        max_rounds=spec.options.max_rounds,
        penalty=_penalty(spec, seen),
    )
    solution = newton.solve(start)
    return _Finished(rounds, spec, seen, solution, null).estimate()


def _null(rounds: Rounds, spec: Specification, start: float) -> Solution:
    """The model with a shared constant and the offset alone."""
    if spec.options.offset or spec.options.exposure:
        start = _offset_start(rounds, spec, start)
    newton = Newton(
        rounds.null,
        ("Intercept",),
        linear=spec.family.name == "gaussian",
        discrete=False,
        tol=_NULL_TOL,
        max_rounds=30,
    )
    return newton.solve(np.array([start]))


def _offset_start(rounds: Rounds, spec: Specification, start: float) -> float:
    """A constant that fits the response about as well as one can, where the offset has a level of
    its own (an exposure in days, say) and `start` leaves that out.

    With a log link the sums at any constant give the best one at once: the response's sum by that
    of the means (poisson), the mean of their ratios (gamma). Nodes tell nothing far from the fit,
    so the constant is looked for in steps that cannot jump over where they do (`glm.tells`).
    """
    link = spec.options.link
    for away in _AWAY.get(link, (0.0,)):
        at = rounds.null(np.array([start + away]), np.eye(1))
        if at.deviance >= UNTOLD:
            continue
        seen = at.weight + float(at.score[0])
        return start + away + (math.log(seen / at.weight) if link == "log" and seen > 0 else 0.0)
    return start


def _null_predictor(spec: Specification, seen: Moments) -> float:
    """The predictor, on the scaled response, at which every row has the mean."""
    mean = (seen.mean - seen.location) / seen.unit
    match spec.family.link:
        case "logit":
            return math.log(mean / (1.0 - mean))
        case "log":
            return math.log(mean)
        case "inverse":
            return 1.0 / mean
    return mean


def _penalty(spec: Specification, seen: Moments) -> Penalty | None:
    """The penalty on the scaled problem: that of the data's own scale times the rows; none on the
    intercept."""
    if not spec.options.penalised:
        return None
    per_column = seen.rows / seen.scale
    if spec.intercept is not None:
        per_column[spec.intercept] = 0.0
    unit = seen.unit if spec.family.name == "gaussian" else 1.0
    return Penalty(
        ridge=spec.options.ridge * per_column / seen.scale,
        lasso=spec.options.lasso * per_column / unit,
    )


@dataclass
class _Finished:
    """A solved model on its way back to the scale of the data."""

    rounds: Rounds
    spec: Specification
    seen: Moments
    solution: Solution
    null: Solution | None

    def estimate(self) -> Estimate:
        seen, spec = self.seen, self.spec
        gaussian = spec.family.name == "gaussian"
        units = seen.unit**2 if gaussian else 1.0
        parameters = len(spec.names) + (seen.nodes if spec.options.own_intercepts else 0)
        df_resid = seen.rows - parameters
        if df_resid < 1 and not spec.options.penalised:
            raise CallError(
                "formula",
                f"expected more rows than coefficients, got {seen.rows} rows for {parameters}",
            )
        deviance = self.solution.deviance * units
        pearson = deviance if gaussian else self.solution.last.pearson
        scale = 1.0 if spec.family.discrete else pearson / max(df_resid, 1)
        back, shift = self._back()
        return Estimate(
            params=back @ self.solution.standardised + shift,
            covariance=self._covariance(back, scale / units if gaussian else scale),
            moments=seen,
            nodes=seen.nodes,
            constant=spec.constant,
            deviance=deviance,
            null_deviance=self._null_deviance() * units,
            uncentred=seen.squares,
            pearson=pearson,
            scale=scale,
            df_model=parameters - spec.constant,
            df_resid=df_resid,
            condition=self._condition(back) if gaussian else math.nan,
            rounds=self.solution.evaluations,
            roc=self._roc(),
        )

    def _roc(self) -> RocCurve | None:
        if not self.spec.options.auc:
            return None
        return self.rounds.roc(self.solution.beta, self.solution.transform)

    def _factor(self) -> float:
        """What turns a coefficient of the scaled response into one of the response."""
        match self.spec.family.link:
            case "identity":
                return self.seen.unit
            case "inverse":
                return 1.0 / self.seen.unit
        return 1.0

    def _back(self) -> tuple[Reals, Reals]:
        """A, float64[p, p], and a, float64[p]: params = A (standardised coefficients) + a."""
        seen, at = self.seen, self.spec.intercept
        back = np.diag(self._factor() / seen.scale)
        shift = np.zeros(len(seen.scale))
        if at is not None:
            back[at] = -seen.centre * np.diag(back)
            back[at, at] = self._factor()
            shift[at] = seen.location
            if self.spec.family.link == "log":
                shift[at] = math.log(seen.unit)
        return back, shift

    def _covariance(self, back: Reals, dispersion: float) -> Reals:
        solution, options = self.solution, self.spec.options
        if options.penalised:
            return np.full_like(back, np.nan)
        along = back @ solution.transform
        if options.cov_type == "nonrobust":
            return dispersion * (along @ solved(solution.last.information, along.T))
        bread = solved(solution.last.information, np.eye(len(back)))
        meat, observed = self.rounds.robust(
            solution.beta, solution.transform, (bread + bread.T) / 2
        )
        half = solved(observed, along.T)
        return half.T @ meat @ half * self._correction()

    def _correction(self) -> float:
        """The factor for small samples: n / (n - p) for HC1; (n - 1) / (n - p) G / (G - 1) for G
        clusters, as statsmodels and Stata have it."""
        seen, options = self.seen, self.spec.options
        p = len(self.spec.names) + (seen.nodes if options.own_intercepts else 0)
        if options.cov_type == "HC1":
            return seen.rows / (seen.rows - p)
        if options.cov_type == "cluster":
            return (seen.rows - 1) / (seen.rows - p) * seen.nodes / (seen.nodes - 1)
        return 1.0

    def _null_deviance(self) -> float:
        if self.null is not None:
            return self.null.deviance
        first = self.solution.first
        if self.spec.family.name != "gaussian":
            return first.deviance
        at = self.spec.intercept
        assert at is not None
        return first.deviance - float(first.score[at]) ** 2 / float(first.information[at, at])

    def _condition(self, back: Reals) -> float:
        """Of the design as given, columns weighted by the roots of the weights."""
        if self.spec.options.penalised:
            return math.nan
        solution = self.solution
        factor = np.linalg.cholesky(solution.last.information).T
        inverse = back @ solution.transform / self._factor()
        singular = np.linalg.svd(factor @ np.linalg.inv(inverse), compute_uv=False)
        return float(singular[0] / singular[-1])
