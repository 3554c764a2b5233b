"""Proportions of an outcome, one or by group, with intervals; exact counts from one secure sum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from yumen_core.errors import CallError
from yumen_core.sql.schema import DomainValue

from yumen.display import Grid
from yumen.statistics.cells import HIDDEN, CountTable, Question, ask
from yumen.statistics.effect_sizes import EffectSize
from yumen.statistics.moments_table import label_of
from yumen.statistics.plot import axes
from yumen.statistics.released import Released
from yumen.statistics.source import Provenance
from yumen.statistics.table import Table
from yumen.statistics.tests_of_means import effect_text, p_text

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Share:
    """`count` of `nobs` rows of a group have the outcome; `low` and `high` bound the proportion
    (Wilson 1927)."""

    group: DomainValue | None
    count: int
    nobs: int
    low: float
    high: float

    @property
    def proportion(self) -> float:
        return self.count / self.nobs


class ProportionsResult(Released):
    """Proportions by group, and comparisons of the second group with the first where there are
    two: `risk_difference` (Newcombe 1998), `risk_ratio` (Katz 1978) and `odds_ratio` (Woolf 1955),
    each an `EffectSize` of the confidence level.

    `statistic` and `pvalue`: for one group an exact binomial test against `value` (the statistic is
    the proportion); for two the z-test with the pooled variance, second less first; for more the
    chi-squared test. NaN where there is nothing to test.
    """

    def __init__(
        self,
        outcome: str,
        by: str | None,
        shares: Sequence[Share],
        provenance: Provenance,
        *,
        level: float,
        value: float | None,
        left_out: Sequence[DomainValue | None],
    ) -> None:
        super().__init__(provenance)
        self.outcome, self.by, self.level, self.value = outcome, by, level, value
        self.shares = tuple(shares)
        self.left_out = tuple(left_out)
        self.risk_difference: EffectSize | None = None
        self.risk_ratio: EffectSize | None = None
        self.odds_ratio: EffectSize | None = None
        self.statistic, self.pvalue = math.nan, math.nan
        if len(shares) == 1 and value is not None:
            self.statistic, self.pvalue = _binomial(shares[0], value)
        elif len(shares) == 2:
            self.risk_difference, self.risk_ratio, self.odds_ratio = _compared(
                shares[0], shares[1], level
            )
            self.statistic, self.pvalue = _z_test(shares[0], shares[1])
        elif len(shares) > 2:
            self.statistic, self.pvalue = _chi2(shares)

    @property
    def estimate(self) -> float:
        """The proportion of the first group."""
        return self.shares[0].proportion

    def confidence_interval(self) -> tuple[float, float]:
        """Wilson's interval of the first group's proportion."""
        return self.shares[0].low, self.shares[0].high

    def to_pandas(self) -> pd.DataFrame:
        """One row per group: count, nobs, proportion, low, high."""
        import pandas as pd

        return pd.DataFrame(
            {
                "count": [share.count for share in self.shares],
                "nobs": [share.nobs for share in self.shares],
                "proportion": [share.proportion for share in self.shares],
                "low": [share.low for share in self.shares],
                "high": [share.high for share in self.shares],
            },
            index=pd.Index([_name(share.group) for share in self.shares], name=self.by or "group"),
        )

    def grids(self) -> Sequence[Grid]:
        wide = f"{100 * self.level:g}%"
        rows = tuple(
            (
                label_of(share.group),
                f"{share.count:,}",
                f"{share.nobs:,}",
                f"{share.proportion:.4f}",
                f"{share.low:.4f}",
                f"{share.high:.4f}",
            )
            for share in self.shares
        )
        headers = (
            self.by or "group",
            self.outcome,
            "n",
            "proportion",
            f"{wide} low",
            f"{wide} high",
        )
        return [Grid(headers, rows, (False, *[True] * 5), tuple(self._notes()))]

    def plot(self, ax: Any = None) -> Any:
        """Proportions with their intervals. Returns the Axes."""
        ax = axes(ax)
        names = [label_of(share.group) for share in self.shares]
        middle = [share.proportion for share in self.shares]
        below = [share.proportion - share.low for share in self.shares]
        above = [share.high - share.proportion for share in self.shares]
        ax.errorbar(middle, range(len(names)), xerr=[below, above], fmt="o", capsize=3)
        ax.set_yticks(range(len(names)), names)
        ax.invert_yaxis()
        ax.set_xlabel(f"proportion of {self.outcome}")
        ax.set_ylabel(self.by or "")
        return ax

    def _notes(self) -> list[str]:
        notes = []
        if len(self.shares) == 2:
            first, second = (label_of(share.group) for share in self.shares)
            notes.append(f"{second} against {first}:")
            sizes = (self.risk_difference, self.risk_ratio, self.odds_ratio)
            notes += [f"  {effect_text(size)}" for size in sizes if size is not None]
        if not math.isnan(self.pvalue):
            name = "z" if len(self.shares) == 2 else "chi²"
            test = (
                "exact binomial test" if len(self.shares) == 1 else f"{name} {self.statistic:.4f}"
            )
            notes.append(f"{test}, p {p_text(self.pvalue)}")
        if self.left_out:
            names = ", ".join(label_of(group) for group in self.left_out)
            notes.append(f"left out, no rows or held back: {names}")
        return notes


def proportion(
    table: Table, outcome: str, *, value: float | None = None, level: float = 0.95
) -> ProportionsResult:
    """The proportion of rows that have an outcome, with Wilson's interval, and with `value` an
    exact test against it. `outcome` is a boolean column, a condition, or a column of 0 and 1.

    Exact. What leaves each node: rows with and without the outcome, where no node has few of
    either; one secure sum. Raises `CallError` (`too_few_rows`) where one is held back.
    """
    if value is not None and not 0 <= value <= 1:
        raise CallError("argument", f"expected `value` from 0 to 1, got `{value}`")
    return _asked(table, outcome, None, level, value)


def proportions(table: Table, outcome: str, *, by: str, level: float = 0.95) -> ProportionsResult:
    """Proportions of an outcome by group; with two groups the second is compared with the first in
    declared order (for a condition: true against false).

    Exact counts; intervals agree with statsmodels' `proportion_confint` (wilson) and
    `confint_proportions_2indep` (newcomb, log, logit) to 1e-9. What leaves each node: as
    `proportion`, by group. A group with a cell held back is left out and named; with none left
    `CallError` (`too_few_rows`).
    """
    return _asked(table, outcome, by, level, None)


def wilson(count: int, nobs: int, level: float) -> tuple[float, float]:
    """Wilson's interval of a proportion (Wilson 1927)."""
    z = _normal(level)
    share, extra = count / nobs, z * z / nobs
    centre = (share + extra / 2) / (1 + extra)
    half = z / (1 + extra) * math.sqrt(share * (1 - share) / nobs + extra / (4 * nobs))
    return centre - half, centre + half


def _asked(
    table: Table, outcome: str, by: str | None, level: float, value: float | None
) -> ProportionsResult:
    if not 0 < level < 1:
        raise CallError("argument", f"expected a confidence level from 0 to 1, got `{level}`")
    if by == outcome:
        raise CallError("argument", f"expected two columns, got `{outcome}` twice")
    texts = {outcome: outcome} if by is None else {outcome: outcome, by: by}
    question = Question("proportion", texts, [(outcome, by or "")])
    cells = ask(table, question)
    found = cells.counts[outcome, by or ""]
    no, yes = _outcomes(outcome, found)
    shares, out = [], []
    for group, row in zip(found.groups, found.known, strict=True):
        without, events = int(row[no]), int(row[yes])
        if HIDDEN in (without, events):
            out.append(group)
            continue
        low, high = wilson(events, events + without, level)
        shares.append(Share(group, events, events + without, low, high))
    if not shares:
        raise CallError(
            "too_few_rows",
            f"expected no or not too few rows with and without `{outcome}` at every node, and the "
            "table's threshold at enough nodes, got fewer",
            remedy="choose a wider outcome or group, or more rows with `where`",
        )
    return ProportionsResult(
        outcome, by, shares, cells.provenance, level=level, value=value, left_out=out
    )


def _outcomes(outcome: str, found: CountTable) -> tuple[int, int]:
    """Where the levels without and with the outcome stand."""
    if set(found.levels) != {0, 1}:  # False and True are equal to these
        raise CallError(
            "argument",
            f"expected `{outcome}` to be a condition or a boolean column, got "
            f"{len(found.levels)} levels",
            remedy="write a condition, such as stage = 'III'",
        )
    return found.levels.index(0), found.levels.index(1)


def _compared(a: Share, b: Share, level: float) -> tuple[EffectSize, EffectSize, EffectSize]:
    """The second share against the first."""
    z = _normal(level)
    p, q = a.proportion, b.proportion
    difference = q - p
    down = math.hypot(q - b.low, a.high - p)
    up = math.hypot(b.high - q, p - a.low)
    risk = EffectSize("risk difference", difference, difference - down, difference + up)
    inverse = [_inverse(n) for n in (b.count, a.count, b.nobs - b.count, a.nobs - a.count)]
    log_error = math.sqrt(max(0.0, inverse[0] - 1 / b.nobs + inverse[1] - 1 / a.nobs))
    ratio = _on_log_scale("risk ratio", _over(q, p), z * log_error)
    odds = _over(b.count * (a.nobs - a.count), a.count * (b.nobs - b.count))
    return risk, ratio, _on_log_scale("odds ratio", odds, z * math.sqrt(sum(inverse)))


def _on_log_scale(name: str, estimate: float, half: float) -> EffectSize:
    if not (0 < estimate < math.inf and math.isfinite(half)):
        return EffectSize(name, estimate, math.nan, math.nan)
    return EffectSize(name, estimate, estimate * math.exp(-half), estimate * math.exp(half))


def _binomial(share: Share, value: float) -> tuple[float, float]:
    from scipy.stats import binomtest

    return share.proportion, float(binomtest(share.count, share.nobs, value).pvalue)


def _z_test(a: Share, b: Share) -> tuple[float, float]:
    from scipy.stats import norm

    pooled = (a.count + b.count) / (a.nobs + b.nobs)
    error = math.sqrt(pooled * (1 - pooled) * (1 / a.nobs + 1 / b.nobs))
    if not error:
        return math.nan, math.nan
    z = (b.proportion - a.proportion) / error
    return z, float(2 * norm.sf(abs(z)))


def _chi2(shares: Sequence[Share]) -> tuple[float, float]:
    from scipy.stats import chi2

    pooled = sum(share.count for share in shares) / sum(share.nobs for share in shares)
    if not 0 < pooled < 1:
        return math.nan, math.nan
    statistic = sum(
        share.nobs * (share.proportion - pooled) ** 2 / (pooled * (1 - pooled)) for share in shares
    )
    return statistic, float(chi2.sf(statistic, len(shares) - 1))


def _normal(level: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf((1 + level) / 2))


def _inverse(count: int) -> float:
    return 1 / count if count else math.inf


def _over(a: float, b: float) -> float:
    return a / b if b else (math.inf if a else math.nan)


def _name(group: DomainValue | None) -> DomainValue:
    return "all" if group is None else group
