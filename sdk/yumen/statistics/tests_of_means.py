"""Tests of means: Student's and Welch's t, paired t, analysis of variance.

Each is one query (`moments_table`): counts, means and variances by group leave the nodes, each
withheld at a node with too few rows. Statistics agree with those of the pooled rows to 1e-9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from yumen_core.errors import CallError

from yumen.display import Grid, format_numbers
from yumen.statistics import effect_sizes
from yumen.statistics.effect_sizes import EffectSize
from yumen.statistics.moments_table import (
    GroupMoments,
    Moments,
    group_moments,
    label_of,
    pooled_moments,
    titled,
    unit_of,
    within_squares,
    written,
)
from yumen.statistics.released import Released
from yumen.statistics.table import Table

if TYPE_CHECKING:
    import pandas as pd

Alternative = Literal["two-sided", "less", "greater"]
_ALTERNATIVES = ("two-sided", "less", "greater")


class TTestResult(Released):
    """A t-test. Names as scipy's: `statistic`, `pvalue`, `df`, `confidence_interval()`.

    `estimate` is the mean, the mean difference of pairs, or the first group's mean less the
    second's; `standard_error` is its error; both in the column's units. `moments` has each group's
    count, mean and variance; `cohen_d` and `hedges_g` are `EffectSize`s at 95%.
    """

    def __init__(
        self,
        title: str,
        found: GroupMoments,
        *,
        mu: float,
        equal_var: bool,
        alternative: Alternative,
    ) -> None:
        super().__init__(found.provenance)
        self.title = title
        self.groups = found.groups
        self.moments = found.moments
        self.mu = mu
        self.alternative = alternative
        self._notes = found.notes
        first, *rest = found.moments
        self.estimate = first.mean - (rest[0].mean if rest else 0.0)
        self.standard_error, self.df = _error(first, rest, equal_var)
        if rest:
            self.cohen_d, self.hedges_g = effect_sizes.two_sample(first, rest[0], 0.95)
        else:
            self.cohen_d, self.hedges_g = effect_sizes.one_sample(first, mu, 0.95)
        self.statistic = (self.estimate - mu) / self.standard_error
        self.pvalue = _t_pvalue(self.statistic, self.df, alternative)

    @property
    def means(self) -> dict[object, float]:
        """Mean by group."""
        return {g: part.mean for g, part in zip(self.groups, self.moments, strict=True)}

    def confidence_interval(self, confidence_level: float = 0.95) -> tuple[float, float]:
        """The interval of `estimate`; one-sided where the alternative is."""
        from scipy.stats import t

        if not 0 < confidence_level < 1:
            raise CallError(
                "argument", f"expected a confidence level from 0 to 1, got `{confidence_level}`"
            )
        tail = 1 - confidence_level
        share = tail / 2 if self.alternative == "two-sided" else tail
        wide = float(t.isf(share, self.df)) * self.standard_error
        low = -math.inf if self.alternative == "less" else self.estimate - wide
        high = math.inf if self.alternative == "greater" else self.estimate + wide
        return low, high

    def conf_int(self, alpha: float = 0.05) -> tuple[float, float]:
        """`confidence_interval(1 - alpha)`, by statsmodels' name."""
        return self.confidence_interval(1 - alpha)

    def to_pandas(self) -> pd.DataFrame:
        import pandas as pd

        low, high = self.confidence_interval()
        values = {
            "estimate": self.estimate,
            "std err": self.standard_error,
            "statistic": self.statistic,
            "df": self.df,
            "pvalue": self.pvalue,
            "[0.025": low,
            "0.975]": high,
            "cohen_d": self.cohen_d.estimate,
            "hedges_g": self.hedges_g.estimate,
        }
        return pd.DataFrame([values])

    def grids(self) -> Sequence[Grid]:
        low, high = self.confidence_interval()
        what = "difference" if len(self.moments) == 2 else "mean"
        shown = format_numbers([self.estimate, self.standard_error, low, high])
        sign = {"two-sided": "≠", "less": "<", "greater": ">"}[self.alternative]
        tests = Grid(
            (what, "std err", "t", "df", f"p ({sign} {self.mu:g})", "95% low", "95% high"),
            (
                (
                    *shown[:2],
                    f"{self.statistic:.4f}",
                    f"{self.df:.6g}",
                    p_text(self.pvalue),
                    *shown[2:],
                ),
            ),
            (True,) * 7,
            (effect_text(self.cohen_d), effect_text(self.hedges_g), *self._notes),
        )
        return [moments_grid(self.title, self.groups, self.moments), tests]


class AnovaResult(Released):
    """An analysis of variance by one factor. Names as statsmodels' `anova_oneway`: `statistic`,
    `pvalue`, `df_num`, `df_denom`; and `eta_squared`, `omega_squared`, `ss_between`, `ss_within`
    (squared units of the column). `table()` is laid out as statsmodels' `anova_lm`."""

    def __init__(self, title: str, found: GroupMoments, *, use_var: str) -> None:
        super().__init__(found.provenance)
        self.title = title
        self.groups = found.groups
        self.moments = found.moments
        self.use_var = use_var
        self._notes = found.notes
        parts = found.moments
        everyone = pooled_moments(parts)
        self.ss_within = within_squares(parts)
        self.ss_between = math.fsum(p.count * (p.mean - everyone.mean) ** 2 for p in parts)
        self.nobs = everyone.count
        between, within = len(parts) - 1, self.nobs - len(parts)
        error = self.ss_within / within
        total = self.ss_between + self.ss_within
        self.eta_squared = self.ss_between / total if total else math.nan
        self.omega_squared = (self.ss_between - between * error) / (total + error)
        self.df_num: float = between
        if use_var == "equal":
            self.statistic = self.ss_between / between / error
            self.df_denom: float = within
        else:
            self.statistic, self.df_denom = _welch_anova(parts)
        self.pvalue = _f_pvalue(self.statistic, self.df_num, self.df_denom)

    def table(self) -> pd.DataFrame:
        """Sums of squares, as `anova_lm` shows them (variances taken as equal)."""
        import pandas as pd

        between, within = len(self.moments) - 1, self.nobs - len(self.moments)
        f = self.ss_between / between / (self.ss_within / within)
        return pd.DataFrame(
            {
                "df": [float(between), float(within)],
                "sum_sq": [self.ss_between, self.ss_within],
                "mean_sq": [self.ss_between / between, self.ss_within / within],
                "F": [f, math.nan],
                "PR(>F)": [_f_pvalue(f, between, within), math.nan],
            },
            index=["between", "Residual"],
        )

    def to_pandas(self) -> pd.DataFrame:
        """The groups: count, mean, standard deviation, nodes."""
        return moments_frame(self.groups, self.moments)

    def grids(self) -> Sequence[Grid]:
        name = "F" if self.use_var == "equal" else "F (Welch)"
        tests = Grid(
            (name, "df", "df within", "p", "eta²", "omega²"),
            (
                (
                    f"{self.statistic:.4f}",
                    f"{self.df_num:g}",
                    f"{self.df_denom:.6g}",
                    p_text(self.pvalue),
                    f"{self.eta_squared:.4f}",
                    f"{self.omega_squared:.4f}",
                ),
            ),
            (True,) * 6,
            self._notes,
        )
        return [moments_grid(self.title, self.groups, self.moments), tests]


def t_test(
    table: Table,
    column: str,
    *,
    by: str | None = None,
    mu: float = 0.0,
    paired: str | None = None,
    equal_var: bool = False,
    alternative: Alternative = "two-sided",
) -> TTestResult:
    """A t-test of a mean against `mu`, of two groups, or of two columns of one row.

    `column`, `by` and `paired` are columns or SQL expressions. With `by`, the two released groups
    are compared in their declared order (Welch's test; the pooled variance with `equal_var`). With
    `paired`, the differences `column - paired` are tested against `mu`.

    What leaves each node: count, mean and variance by group, where it has rows enough; one secure
    sum. Raises `CallError` (`argument`) for other than two groups, too few rows or no variance.
    Source: Welch, Biometrika 34 (1947).
    """
    _check_choice("alternative", alternative, _ALTERNATIVES)
    if by is not None and paired is not None:
        raise CallError("argument", "expected `by` or `paired`, got both")
    text, title = column, titled(column, unit_of(table, column))
    if paired is not None:
        text = f"({written(table, column)}) - ({written(table, paired)})"
        title = titled(f"{column} - {paired}", unit_of(table, column))
    found = group_moments(table, text, by)
    if by is None:
        _check_groups(column, found, 1)
    else:
        _check_groups(by, found, 2)
        title = f"{title} by {by}"
    _check_spread(column, found.moments)
    return TTestResult(title, found, mu=mu, equal_var=equal_var, alternative=alternative)


def anova(
    table: Table, column: str, by: str, *, use_var: Literal["equal", "unequal"] = "equal"
) -> AnovaResult:
    """Whether the means of a column differ between the groups of `by`.

    `use_var="unequal"` is Welch's test, which does not take variances as equal. What leaves each
    node: count, mean and variance by group, where it has rows enough; one secure sum. Groups held
    back are left out, so look at the groups shown. Raises `CallError` (`argument`) for fewer than
    two groups, too few rows or no variance. Source: Fisher 1925; Welch, Biometrika 38 (1951).
    """
    _check_choice("use_var", use_var, ("equal", "unequal"))
    found = group_moments(table, column, by)
    if len(found.groups) < 2:
        raise _groups_wrong(by, found, "two groups or more")
    _check_spread(column, found.moments)
    title = f"{titled(column, unit_of(table, column))} by {by}"
    return AnovaResult(title, found, use_var=use_var)


def moments_frame(groups: Sequence[object], moments: Sequence[Moments]) -> pd.DataFrame:
    """One row per group: count, mean, std, nodes."""
    import pandas as pd

    return pd.DataFrame(
        {
            "count": [part.count for part in moments],
            "mean": [part.mean for part in moments],
            "std": [part.standard_deviation for part in moments],
            "nodes": [part.nodes for part in moments],
        },
        index=pd.Index(["all" if group is None else group for group in groups], name="group"),
    )


def moments_grid(title: str, groups: Sequence[object], moments: Sequence[Moments]) -> Grid:
    means = format_numbers([part.mean for part in moments])
    deviations = format_numbers([part.standard_deviation for part in moments])
    rows = tuple(
        (label_of(group), f"{part.count:,}", mean, deviation)  # type: ignore[arg-type]
        for group, part, mean, deviation in zip(groups, moments, means, deviations, strict=True)
    )
    return Grid(("group", "n", "mean", "SD"), rows, (False, True, True, True), title=title)


def p_text(p: float) -> str:
    """A p-value as papers print it."""
    if math.isnan(p):
        return "-"
    return "<0.0001" if p < 1e-4 else f"{p:.4f}"


def effect_text(size: EffectSize) -> str:
    return f"{size.name} {size.estimate:.4f}, 95% interval {size.low:.4f} to {size.high:.4f}"


def welch_pvalue(a: Moments, b: Moments) -> float:
    """Two-sided p of Welch's t-test."""
    error, df = _error(a, [b], equal_var=False)
    return _t_pvalue((a.mean - b.mean) / error, df, "two-sided") if error else math.nan


def anova_pvalue(parts: Sequence[Moments]) -> float:
    """P of the analysis of variance with equal variances."""
    everyone, within = pooled_moments(parts), within_squares(parts)
    between = math.fsum(p.count * (p.mean - everyone.mean) ** 2 for p in parts)
    df = len(parts) - 1, everyone.count - len(parts)
    return _f_pvalue(between / df[0] / (within / df[1]), *df) if within else math.nan


def _error(first: Moments, rest: Sequence[Moments], equal_var: bool) -> tuple[float, float]:
    """Standard error and degrees of freedom of the mean or of the difference."""
    if not rest:
        return first.standard_error, first.count - 1
    second = rest[0]
    if equal_var:
        df = first.count + second.count - 2
        pooled = within_squares([first, second]) / df
        return math.sqrt(pooled * (1 / first.count + 1 / second.count)), df
    a, b = first.variance / first.count, second.variance / second.count
    df_welch = (a + b) ** 2 / (a * a / (first.count - 1) + b * b / (second.count - 1))
    return math.sqrt(a + b), df_welch


def _welch_anova(parts: Sequence[Moments]) -> tuple[float, float]:
    """Welch's F and its denominator's degrees of freedom."""
    groups = len(parts)
    weights = [part.count / part.variance for part in parts]
    total = math.fsum(weights)
    mean = math.fsum(w * part.mean for w, part in zip(weights, parts, strict=True)) / total
    between = math.fsum(w * (p.mean - mean) ** 2 for w, p in zip(weights, parts, strict=True))
    uneven = math.fsum(
        (1 - w / total) ** 2 / (part.count - 1) for w, part in zip(weights, parts, strict=True)
    )
    scale = 1 + 2 * (groups - 2) / (groups**2 - 1) * uneven
    return between / (groups - 1) / scale, (groups**2 - 1) / (3 * uneven)


def _t_pvalue(statistic: float, df: float, alternative: str) -> float:
    from scipy.stats import t

    match alternative:
        case "less":
            return float(t.cdf(statistic, df))
        case "greater":
            return float(t.sf(statistic, df))
    return float(2 * t.sf(abs(statistic), df))


def _f_pvalue(statistic: float, df_num: float, df_denom: float) -> float:
    from scipy.stats import f

    return float(f.sf(statistic, df_num, df_denom))


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        wanted = ", ".join(f"`{choice}`" for choice in choices)
        raise CallError("argument", f"expected `{name}` to be one of {wanted}, got `{value}`")


def _check_groups(what: str, found: GroupMoments, wanted: int) -> None:
    if len(found.groups) == wanted:
        return
    if wanted == 1:
        raise CallError(
            "argument",
            f"expected rows enough of `{what}` at enough nodes, got a mean that was held back",
        )
    raise _groups_wrong(what, found, "two groups")


def _groups_wrong(by: str, found: GroupMoments, wanted: str) -> CallError:
    got = ", ".join(f"`{label_of(group)}`" for group in found.groups) or "none"
    return CallError(
        "argument",
        f"expected {wanted} of `{by}` with rows enough, got {len(found.groups)}: {got}",
        remedy="choose groups with `where`, or merge small ones in a CASE",
    )


def _check_spread(column: str, parts: Sequence[Moments]) -> None:
    if any(part.count < 2 for part in parts):
        raise CallError("argument", f"expected two rows or more of `{column}` in each group")
    if not within_squares(parts) > 0:
        raise CallError("argument", f"expected values of `{column}` that differ within groups")
