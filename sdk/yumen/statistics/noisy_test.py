"""A test of two means from noisy sums: the noise counts among the errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from yumen_core.privacy import Privacy

from yumen.display import Grid, format_numbers
from yumen.statistics.moments_table import label_of
from yumen.statistics.noisy import WIDTH, Key, Noisy, NoisySums, noise_note
from yumen.statistics.released import Released
from yumen.statistics.source import Provenance
from yumen.statistics.tests_of_means import p_text

if TYPE_CHECKING:
    import pandas as pd


class NoisyTTest(Released):
    """Welch's t of two groups' means (Biometrika 34, 1947) with noise. `difference` is the first
    mean less the second, its `deviation` that of the noise alone; `standard_error` is of sample and
    noise; `statistic`, `df`, `pvalue` (two-sided) as scipy's. All NaN where a group has too few
    rows for the noise.

    It is on the safe side: each variance is taken at the upper end of its 95% interval of noise,
    and the degrees of freedom are those of the smaller group alone.
    """

    def __init__(
        self,
        provenance: Provenance,
        privacy: Privacy,
        *,
        title: str,
        groups: Sequence[Key],
        sums: tuple[NoisySums, NoisySums],
    ) -> None:
        super().__init__(provenance)
        self.privacy = privacy
        self.title = title
        self.groups = tuple(groups)
        self.counts = tuple(one.rows for one in sums)
        self.means = tuple(one.mean for one in sums)
        a, b = self.means
        self.difference = Noisy(a.value - b.value, math.hypot(a.deviation, b.deviation))
        self.standard_error = math.hypot(*map(_error, sums))
        self.df = min(one.rows.value - WIDTH * one.rows.deviation for one in sums) - 1
        self.statistic = self.pvalue = math.nan
        if self.standard_error > 0 and self.df > 0:
            from scipy.stats import t

            self.statistic = self.difference.value / self.standard_error
            self.pvalue = float(2 * t.sf(abs(self.statistic), self.df))

    def confidence_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Of the difference of the means of all rows, of which these are a sample."""
        if not self.df > 0:
            return math.nan, math.nan
        from scipy.stats import t

        half = float(t.ppf((1 + level) / 2, self.df)) * self.standard_error
        return self.difference.value - half, self.difference.value + half

    def to_pandas(self) -> pd.DataFrame:
        import pandas as pd

        low, high = self.confidence_interval()
        values = {
            "difference": self.difference.value,
            "standard_error": self.standard_error,
            "statistic": self.statistic,
            "df": self.df,
            "pvalue": self.pvalue,
            "low": low,
            "high": high,
        }
        return pd.DataFrame([values])

    def grids(self) -> Sequence[Grid]:
        rows = tuple(
            (label_of(group), count.text, mean.text)
            for group, count, mean in zip(self.groups, self.counts, self.means, strict=True)
        )
        right = (False, True, True)
        groups = Grid(("group", "count", "mean"), rows, right, title=self.title)
        numbers = [self.standard_error, self.statistic, *self.confidence_interval()]
        error, statistic, low, high = (
            format_numbers([None if math.isnan(one) else one])[0] for one in numbers
        )
        tested = (self.difference.text, error, statistic, p_text(self.pvalue), low, high)
        headers = ("difference", "standard error", "t", "p", "95% from", "to")
        notes = ("the standard error, p and the interval are of sample and noise",)
        return [groups, Grid(headers, (tested,), (True,) * 6, (*notes, noise_note(self.privacy)))]


def _error(sums: NoisySums) -> float:
    """Of a mean, of sample and noise; NaN with too few rows."""
    if not sums.enough:
        return math.nan
    variance = max(0.0, sums.variance.value) + WIDTH * sums.variance.deviation
    rows = max(1.0, sums.rows.value - WIDTH * sums.rows.deviation)
    return math.hypot(math.sqrt(variance / rows), sums.mean.deviation)
