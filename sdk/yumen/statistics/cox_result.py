"""What a Cox model tells, with lifelines' names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from yumen_core.errors import CallError
from yumen_core.statistics.layout import Reals

from yumen.display import Grid, counted, format_numbers
from yumen.statistics.cox_steps import Fit
from yumen.statistics.plot import axes
from yumen.statistics.released import Released
from yumen.statistics.source import Provenance
from yumen.statistics.survival import TimeCells, quantile_normal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class LikelihoodRatioTest:
    """Against the model with all coefficients 0; chi-square with `degrees_of_freedom`."""

    test_statistic: float
    p_value: float
    degrees_of_freedom: int


@dataclass(frozen=True)
class BaselineHazard:
    """One stratum's cumulative hazard at the means of the columns, at the end of each cell."""

    label: str
    cells: TimeCells
    hazard: Reals


@dataclass(frozen=True)
class CoxOptions:
    """How the model was asked for: `strata` in words, `per_node` if the nodes are strata."""

    formula: str
    strata: str
    per_node: bool
    ties: str
    ridge: float
    alpha: float


class CoxResult(Released):
    """A Cox model. `params_`, `standard_errors_`, `variance_matrix_`, `hazard_ratios_`, `summary`
    and the others are lifelines'; `nobs` and `n_events` count complete rows and events."""

    def __init__(
        self,
        names: Sequence[str],
        fit: Fit,
        *,
        rows: int,
        pairs: tuple[float, float, float],
        baselines: Sequence[BaselineHazard],
        options: CoxOptions,
        provenance: Provenance,
    ) -> None:
        super().__init__(provenance)
        self.names = tuple(names)
        self.options = options
        self.nobs = rows
        self.n_events = fit.events
        self.log_likelihood_ = fit.log_likelihood
        self.runs = fit.runs
        self._fit = fit
        self._pairs = pairs
        self._baselines = list(baselines)
        self.cells = tuple(baseline.cells for baseline in baselines)
        """The cells of time behind each baseline; none where the nodes are strata."""

    @property
    def params_(self) -> pd.Series[float]:
        """The coefficients, by column."""
        return self._series(self._fit.coefficients, "coef")

    @property
    def standard_errors_(self) -> pd.Series[float]:
        """Their standard errors, from the information at the last step."""
        return self._series(self._errors, "se")

    @property
    def hazard_ratios_(self) -> pd.Series[float]:
        """exp of the coefficients."""
        return self._series(np.exp(self._fit.coefficients), "exp(coef)")

    @property
    def variance_matrix_(self) -> pd.DataFrame:
        """The inverse of the information, ridge included."""
        import pandas as pd

        return pd.DataFrame(self._fit.variance, index=self.names, columns=self.names)

    @property
    def confidence_intervals_(self) -> pd.DataFrame:
        """Limits of the coefficients at `1 - alpha`."""
        import pandas as pd

        lower, upper = self._limits
        level = f"{100 * (1 - self.options.alpha):g}%"
        columns = {f"{level} lower-bound": lower, f"{level} upper-bound": upper}
        return pd.DataFrame(columns, index=pd.Index(self.names, name="covariate"))

    @property
    def summary(self) -> pd.DataFrame:
        """lifelines' table: coefficients, hazard ratios, errors, limits, z and p."""
        import pandas as pd

        coefficients, (lower, upper) = self._fit.coefficients, self._limits
        level = f"{100 * (1 - self.options.alpha):g}%"
        columns = {
            "coef": coefficients,
            "exp(coef)": np.exp(coefficients),
            "se(coef)": self._errors,
            f"coef lower {level}": lower,
            f"coef upper {level}": upper,
            f"exp(coef) lower {level}": np.exp(lower),
            f"exp(coef) upper {level}": np.exp(upper),
            "cmp to": np.zeros(len(coefficients)),
            "z": coefficients / self._errors,
            "p": self._p_values,
            "-log2(p)": -np.log2(np.maximum(self._p_values, 5e-324)),
        }
        return pd.DataFrame(columns, index=pd.Index(self.names, name="covariate"))

    @property
    def concordance_index_(self) -> float:
        """Harrell's index over pairs of rows of one node (and of one stratum), counted exactly: the
        share of pairs, of those that can be compared, in which the row with the earlier event has
        the higher risk. Pairs across nodes are not compared; that of lifelines with the nodes as
        strata is the same. Its difference from the index over all pairs is that between nodes.
        """
        concordant, tied, comparable = self._pairs
        return (concordant + tied / 2) / comparable if comparable else float("nan")

    @property
    def AIC_partial_(self) -> float:
        """-2 log-likelihood + 2 for each coefficient."""
        return -2 * self.log_likelihood_ + 2 * len(self.names)

    @property
    def baseline_cumulative_hazard_(self) -> pd.DataFrame:
        """Breslow's estimate at the columns' means, by time, one column for each stratum.

        Raises `CallError` (`argument`) where the nodes are strata: each keeps its own baseline.
        """
        if not self._baselines:
            raise CallError(
                "argument",
                "expected a model with one baseline for all nodes, got one with the nodes as "
                "strata, whose baselines are not released",
                remedy="fit with strata=None",
            )
        import pandas as pd

        columns = [pd.Series(b.hazard, index=b.cells.times, name=b.label) for b in self._baselines]
        return pd.concat(columns, axis=1).sort_index().ffill().fillna(0.0)

    def log_likelihood_ratio_test(self) -> LikelihoodRatioTest:
        """The test of all coefficients at once."""
        from scipy.stats import chi2  # scipy takes a while, and few calls need it

        statistic = 2 * (self._fit.log_likelihood - self._fit.null_log_likelihood)
        freedom = len(self.names)
        return LikelihoodRatioTest(statistic, float(chi2.sf(statistic, freedom)), freedom)

    def to_pandas(self) -> pd.DataFrame:
        """`summary`."""
        return self.summary

    def grids(self) -> Sequence[Grid]:
        lower, upper = self._limits
        table = [
            format_numbers(column.tolist())
            for column in (
                self._fit.coefficients,
                np.exp(self._fit.coefficients),
                self._errors,
                lower,
                upper,
                self._fit.coefficients / self._errors,
            )
        ]
        p = [f"{value:.4g}" for value in self._p_values.tolist()]
        level = f"{100 * (1 - self.options.alpha):g}%"
        headers = ("", "coef", "exp(coef)", "se(coef)", f"lower {level}", f"upper {level}", "z")
        rows = tuple(zip(self.names, *table, p, strict=True))
        merged = [baseline.cells.merged() for baseline in self._baselines]
        title = next((f"Times are merged: {words} (see below)" for words in merged if words), "")
        notes = ("", *self._notes())
        return [Grid((*headers, "p"), rows, (False, *[True] * 7), notes, title=title)]

    def plot(self, ax: Axes | None = None) -> Axes:
        """A forest plot of the hazard ratios on a logarithmic scale. Returns the axes."""
        drawn = axes(ax)
        lower, upper = (np.exp(limit) for limit in self._limits)
        ratios = np.exp(self._fit.coefficients)
        places = np.arange(len(self.names))[::-1]
        drawn.errorbar(
            ratios, places, xerr=np.stack([ratios - lower, upper - ratios]), fmt="s", capsize=3
        )
        drawn.axvline(1.0, linestyle="--", linewidth=1, color="grey")
        drawn.set_xscale("log")
        drawn.set_yticks(places, self.names)
        drawn.set_xlabel(f"hazard ratio ({100 * (1 - self.options.alpha):g}% interval)")
        return drawn

    def _notes(self) -> list[str]:
        test = self.log_likelihood_ratio_test()
        ridge = f", ridge {self.options.ridge:g}" if self.options.ridge else ""
        notes = [
            f"{counted(self.nobs, 'row')}, {counted(self.n_events, 'event')}, "
            f"ties: {self.options.ties}{ridge}, {counted(self.runs, 'Newton run')}",
            f"baseline hazard: {self.options.strata}",
            f"log-likelihood {self.log_likelihood_:.6g}, likelihood ratio test "
            f"{test.test_statistic:.6g} with "
            f"{counted(test.degrees_of_freedom, 'degree of freedom', 'degrees of freedom')}, "
            f"p = {test.p_value:.4g}",
            f"concordance {self.concordance_index_:.4f}, over pairs within a node",
        ]
        for baseline in self._baselines:
            where = f"stratum {baseline.label}: " if len(self._baselines) > 1 else ""
            notes += [where + note for note in baseline.cells.notes()]
        if any(not baseline.cells.exact for baseline in self._baselines):
            notes.append('for exact times ask with strata="node"')
        return notes

    @property
    def _errors(self) -> Reals:
        errors: Reals = np.sqrt(np.diag(self._fit.variance))
        return errors

    @property
    def _limits(self) -> tuple[Reals, Reals]:
        reach = quantile_normal(self.options.alpha) * self._errors
        return self._fit.coefficients - reach, self._fit.coefficients + reach

    @property
    def _p_values(self) -> Reals:
        from scipy.stats import chi2

        found: Reals = np.asarray(chi2.sf((self._fit.coefficients / self._errors) ** 2, 1))
        return found

    def _series(self, values: Reals, name: str) -> pd.Series[float]:
        import pandas as pd

        return pd.Series(values, index=pd.Index(self.names, name="covariate"), name=name)
