"""What a regression gives: statsmodels' names, from released totals."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.cells import cell_len, set_cell_size
from yumen_core.errors import CallError

from yumen.display import Grid, counted, format_numbers, plain, safe
from yumen.statistics.estimate import Estimate
from yumen.statistics.model_job import Specification
from yumen.statistics.released import Released
from yumen.statistics.source import Provenance

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_TITLES = {
    "gaussian": "Ordinary least squares",
    "binomial": "Logistic regression",
    "poisson": "Poisson regression",
    "gamma": "Gamma regression",
}


class RegressionResult(Released):
    """A fitted regression. Where statsmodels has an attribute of a name here, it means the same.

    What does not apply is NaN: R² and F outside least squares, errors under a penalty, the
    log-likelihood of a weighted gamma model, and F of robust errors with the nodes' own
    intercepts or with no more clusters than terms.
    """

    def __init__(self, spec: Specification, found: Estimate, provenance: Provenance) -> None:
        super().__init__(provenance)
        self._spec = spec
        self._found = found
        self.formula = spec.model.formula
        self.cov_type = spec.options.cov_type
        self.converged = True
        """Always: a fit that does not settle raises `CallError` (`no_convergence`)."""
        self.n_iter = found.rounds
        self.nobs = float(found.moments.rows)
        """Complete rows of positive weight, over all nodes."""
        self.df_model = float(found.df_model)
        self.df_resid = float(found.df_resid)
        self.scale = found.scale
        self.deviance = found.deviance
        self.null_deviance = found.null_deviance
        self.pearson_chi2 = found.pearson
        self.condition_number = found.condition
        self.roc = found.roc
        """The ROC curve itself (`rank.RocCurve`) or None, without points where disclosure lets
        none be told."""
        self.use_t = self._least_squares and self.cov_type == "nonrobust"

    @property
    def names(self) -> tuple[str, ...]:
        """The terms, in the order of `params`."""
        return self._spec.names

    # Coefficients ------------------------------------------------------------------------------

    @cached_property
    def params(self) -> pd.Series[float]:
        """The coefficients, per unit of their column."""
        return self._series(self._found.params)

    @cached_property
    def bse(self) -> pd.Series[float]:
        """Their standard errors."""
        return self._series(np.sqrt(np.maximum(np.diag(self._found.covariance), 0.0)))

    @cached_property
    def tvalues(self) -> pd.Series[float]:
        """Coefficients by their errors: t for least squares with plain errors, else z."""
        return self.params / self.bse

    @cached_property
    def pvalues(self) -> pd.Series[float]:
        """Of the hypothesis that a coefficient is 0, on both sides."""
        return self._series(2.0 * self._distribution().sf(np.abs(self.tvalues.to_numpy())))

    def conf_int(self, alpha: float = 0.05) -> pd.DataFrame:
        """Intervals of 1 - `alpha`: a frame of the columns 0 (lower) and 1 (upper)."""
        import pandas as pd

        if not 0 < alpha < 1:
            raise CallError("argument", f"expected alpha between 0 and 1, got `{alpha}`")
        reach = self._distribution().isf(alpha / 2) * self.bse
        return pd.DataFrame({0: self.params - reach, 1: self.params + reach})

    def cov_params(self) -> pd.DataFrame:
        """The coefficients' covariance."""
        import pandas as pd

        names = list(self.names)
        return pd.DataFrame(self._found.covariance, index=names, columns=names)

    # Fit ---------------------------------------------------------------------------------------

    @property
    def ssr(self) -> float:
        """Sum of squared residuals."""
        return self.deviance if self._least_squares else math.nan

    @property
    def mse_resid(self) -> float:
        return self.ssr / self.df_resid if self._least_squares else math.nan

    @property
    def rsquared(self) -> float:
        """Of least squares; without a constant, around 0 and not around the mean."""
        return 1.0 - self.ssr / self._total if self._least_squares else math.nan

    @property
    def rsquared_adj(self) -> float:
        rows = self.nobs - self._found.constant
        return 1.0 - rows / self.df_resid * (1.0 - self.rsquared)

    @property
    def fvalue(self) -> float:
        """That all coefficients but the constant are 0; a Wald test with robust errors."""
        if not self._least_squares or self._spec.options.penalised or self.df_model == 0:
            return math.nan
        if self.cov_type == "nonrobust":
            return (self._total - self.ssr) / self.df_model / self.mse_resid
        at = self._spec.intercept
        if at is None and self._found.constant:
            return math.nan
        rest = [number for number in range(len(self.names)) if number != at]
        b, covariance = self._found.params[rest], self._found.covariance[np.ix_(rest, rest)]
        if np.linalg.matrix_rank(covariance, hermitian=True) < len(rest):
            return math.nan  # as many clusters as terms, or fewer
        return float(b @ np.linalg.solve(covariance, b)) / len(rest)

    @property
    def f_pvalue(self) -> float:
        from scipy import stats

        rest = self._found.nodes - 1 if self.cov_type == "cluster" else self.df_resid
        return float(stats.f.sf(self.fvalue, self.df_model, rest))

    @property
    def llf(self) -> float:
        """The log-likelihood; of least squares and gamma at the estimated dispersion."""
        return self._likelihood(self.deviance)

    @property
    def llnull(self) -> float:
        """That of a constant (and the offset) alone."""
        return self._likelihood(self.null_deviance)

    @property
    def prsquared(self) -> float:
        """McFadden's 1 - llf / llnull, for logit and poisson."""
        discrete = self._spec.family.discrete
        return 1.0 - self.llf / self.llnull if discrete else math.nan

    @property
    def auc(self) -> float:
        """The area under the ROC curve of a logit, each row counted once; within `auc_error` of
        that of the pooled rows' scores. NaN with `auc=False`, or where too few rows stand behind
        it."""
        return self.roc.auc if self.roc is not None and len(self.roc.thresholds) else math.nan

    @property
    def auc_error(self) -> float:
        return self.roc.error if self.roc is not None and len(self.roc.thresholds) else math.nan

    @property
    def aic(self) -> float:
        return -2.0 * self.llf + 2.0 * self._parameters

    @property
    def bic(self) -> float:
        """From the log-likelihood, -2 llf + log(n) k, for every family."""
        return -2.0 * self.llf + math.log(self.nobs) * self._parameters

    # Showing -----------------------------------------------------------------------------------

    def to_pandas(self) -> pd.DataFrame:
        """One row a coefficient: coef, std err, t or z, its p value, [0.025, 0.975]."""
        import pandas as pd

        interval = self.conf_int()
        letter = "t" if self.use_t else "z"
        return pd.DataFrame(
            {
                "coef": self.params,
                "std err": self.bse,
                letter: self.tvalues,
                f"P>|{letter}|": self.pvalues,
                "[0.025": interval[0],
                "0.975]": interval[1],
            }
        )

    def summary(self, *, width: int = 100) -> str:
        """Everything in text, as printing shows it, `width` characters wide."""
        *first, last = self._all_grids()
        return "\n\n".join(plain(grid, width=width) for grid in (*first, _narrow(last, width)))

    def __repr__(self) -> str:
        return self.summary(width=shutil.get_terminal_size(fallback=(100, 24)).columns)

    def grids(self) -> Sequence[Grid]:
        return [self._fit_grid(), self._coefficients_grid()]

    def plot(self, ax: Axes | None = None) -> Axes:
        """The coefficients and their 95 % intervals, the intercept left out.

        Raises `CallError` (`argument`) where matplotlib is not installed.
        """
        axes = _axes() if ax is None else ax
        shown = [name for name in self.names if name != "Intercept"][::-1]
        interval, at = self.conf_int(), np.arange(len(shown))
        b = self.params[shown].to_numpy()
        reach = np.nan_to_num(interval[1][shown].to_numpy() - b)
        axes.errorbar(b, at, xerr=reach, fmt="o", capsize=3)
        axes.axvline(0.0, linewidth=1, linestyle="--", color="grey")
        axes.set_yticks(at, shown)
        axes.set_ylim(-0.5, len(shown) - 0.5)
        axes.set_xlabel(f"coefficient on {self._spec.model.response_name} (95 % interval)")
        return axes

    def _fit_grid(self) -> Grid:
        facts = [(name, value) for name, value in self._facts() if value == value]
        texts = [(name, self._fact_text(name, value)) for name, value in facts]
        half = -(-len(texts) // 2)
        right = [*texts[half:], ("", "")]
        rows = tuple((*left, *right[at]) for at, left in enumerate(texts[:half]))
        title = f"{self._title()}: {self.formula}"
        return Grid(("fit", "", "", ""), rows, (False, True, False, True), title=title)

    def _fact_text(self, name: str, value: float) -> str:
        if name == "AUC" and self.auc_error > 0:
            decimals = min(6, max(2, 1 - math.floor(math.log10(self.auc_error))))
            return f"{value:.{decimals}f} ± {self.auc_error:.{decimals}f}"
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:.6g}"

    def _facts(self) -> list[tuple[str, float]]:
        if self._least_squares:
            own = [
                ("R²", self.rsquared),
                ("adjusted R²", self.rsquared_adj),
                ("F", self.fvalue),
                ("p of F", self.f_pvalue),
                ("residual error", math.sqrt(self.mse_resid)),
                ("condition number", self.condition_number),
            ]
        else:
            own = [
                ("deviance", self.deviance),
                ("null deviance", self.null_deviance),
                ("pseudo R²", self.prsquared),
                ("AUC", self.auc),
                ("Pearson chi²", self.pearson_chi2),
                ("dispersion", self.scale),
            ]
        return [
            ("rows", self.nobs),
            ("residual df", self.df_resid),
            *own,
            ("log-likelihood", self.llf),
            ("AIC", self.aic),
            ("BIC", self.bic),
            ("Newton rounds", float(self.n_iter)),
        ]

    def _coefficients_grid(self) -> Grid:
        frame = self.to_pandas()
        columns = [_texts(str(name), frame[name].to_list()) for name in frame]
        return Grid(
            ("", *frame.columns),
            tuple(zip(self.names, *columns, strict=True)),
            (False, *(True for _ in columns)),
            tuple(self._notes()),
        )

    def _notes(self) -> list[str]:
        options = self._spec.options
        notes = []
        if self.cov_type == "cluster":
            notes.append(f"errors clustered by node, {counted(self._found.nodes, 'cluster')}")
        elif self.cov_type != "nonrobust":
            notes.append(f"errors robust to unequal variances, {self.cov_type}")
        if options.own_intercepts:
            notes.append("each node has an intercept of its own, which stays there")
        if self.roc is not None and math.isnan(self.auc):
            notes.append("no AUC: too few rows, at some node, of either outcome between scores")
        if options.penalised:
            notes.append(
                f"penalties: ridge {options.ridge:g}, lasso {options.lasso:g}; no errors given"
            )
        return notes

    def _title(self) -> str:
        if self._spec.family.name == "gaussian" and self._spec.options.weights:
            return "Weighted least squares"
        return _TITLES[self._spec.family.name]

    # Parts -------------------------------------------------------------------------------------

    @property
    def _least_squares(self) -> bool:
        return self._spec.family.name == "gaussian"

    @property
    def _parameters(self) -> float:
        return self.df_model + self._found.constant

    @property
    def _total(self) -> float:
        return self._found.null_deviance if self._found.constant else self._found.uncentred

    def _likelihood(self, deviance: float) -> float:
        seen, rows = self._found.moments, self.nobs
        match self._spec.family.name:
            case "gaussian":
                if deviance <= 0:
                    return math.inf
                return seen.saturated - rows / 2 * (math.log(2 * math.pi * deviance / rows) + 1)
            case "gamma":
                if self._spec.options.weights:
                    return math.nan
                shape = 1.0 / self.scale
                each = math.log(shape) - 1.0 - math.lgamma(shape) / shape
                return shape * (rows * each - deviance / 2) + seen.saturated
        return seen.saturated - deviance / 2

    def _distribution(self) -> Any:
        from scipy import stats

        return stats.t(self.df_resid) if self.use_t else stats.norm()

    def _series(self, values: Any) -> pd.Series[float]:
        import pandas as pd

        return pd.Series(values, index=list(self.names), dtype=float)


def _texts(column: str, values: list[float]) -> list[str]:
    if column.startswith("P>"):
        texts = [f"{value:.4f}" if value >= 1e-4 else "<0.0001" for value in values]
    else:
        texts = format_numbers(values)
    return ["" if math.isnan(value) else text for value, text in zip(values, texts, strict=True)]


def _narrow(grid: Grid, width: int) -> Grid:
    """`grid` with its rows' names cut in the middle, so that it is at most `width` wide where names
    of 24 characters or more allow it and the names stay distinct."""
    names = [safe(row[0]) for row in grid.rows]
    longest = max(map(cell_len, names), default=0)
    rest = zip(grid.headers[1:], *(row[1:] for row in grid.rows), strict=True)
    others = sum(2 + max(map(cell_len, column)) for column in rest)
    limit = min(longest, max(24, width - others))
    cut = [_middle_cut(name, limit) for name in names]
    while len(set(cut)) < len(set(names)) and limit < longest:
        limit += 4
        cut = [_middle_cut(name, limit) for name in names]
    rows = tuple((name, *row[1:]) for name, row in zip(cut, grid.rows, strict=True))
    return replace(grid, rows=rows, max_cell_chars=max(limit, grid.max_cell_chars))


def _middle_cut(name: str, limit: int) -> str:
    """A name at most `limit` wide: its end, which a level stands in, is kept, and its start."""
    if cell_len(name) <= limit:
        return name
    level = name[name.rfind("[") :] if name.endswith("]") else ""
    end = cell_len(level) if 0 < cell_len(level) <= limit - 8 else limit // 2
    tail = set_cell_size(name[::-1], end).rstrip()[::-1]
    return set_cell_size(name, limit - end - 1).rstrip() + "…" + tail


def _axes() -> Axes:
    try:
        from matplotlib import pyplot
    except ImportError:
        raise CallError(
            "argument",
            "expected matplotlib for a plot, got none installed",
            remedy="pip install 'yumen[plot]'",
        ) from None
    return pyplot.subplots(layout="constrained")[1]
