"""Values with noise, how far they may be from the exact ones, and results made of them. Pure.

Errors are of the noise alone, by the delta method where a value is made of several sums. A quotient
is given only over a count of LEAST_DEVIATIONS deviations of its noise or more: below that the
method says nothing, and a mean over few rows would be made of noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yumen_core.privacy import Privacy
from yumen_core.sql.schema import DomainValue
from yumen_core.statistics.bounded_moments import Bounds

from yumen.display import Grid
from yumen.statistics.moments_table import label_of
from yumen.statistics.released import Released
from yumen.statistics.source import Provenance

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 1.959963984540054
"""Of a 95% interval, in standard deviations to either side."""
LEAST_DEVIATIONS = 4.0
Key = DomainValue | None


@dataclass(frozen=True)
class Noisy:
    """A value and the standard deviation of the noise in it; both NaN where it cannot be told from
    the noise."""

    value: float
    deviation: float

    @property
    def error(self) -> float:
        """Half the width of the 95% interval of the noise."""
        return WIDTH * self.deviation

    @property
    def text(self) -> str:
        """`12.3 ± 0.4`, with as many decimals as the error warrants."""
        if math.isnan(self.value):
            return "lost in the noise"
        decimals = 0
        if self.error > 0:
            decimals = max(0, 1 - math.floor(math.log10(self.error)))
        decimals = min(decimals, 12)
        return f"{self.value:,.{decimals}f} ± {self.error:,.{decimals}f}"


UNKNOWN = Noisy(math.nan, math.nan)


@dataclass(frozen=True)
class NoisySums:
    """Rows, sum and sum of squares of numbers in units of `bounds` (middle and half width)."""

    rows: Noisy
    sums: Noisy
    squares: Noisy
    bounds: Bounds

    @property
    def enough(self) -> bool:
        return self.rows.value >= max(2.0, LEAST_DEVIATIONS * self.rows.deviation)

    @property
    def mean(self) -> Noisy:
        """Of the numbers as clipped to the bounds, in their own units."""
        if not self.enough:
            return UNKNOWN
        n = self.rows.value
        m = self.sums.value / n
        error = math.hypot(self.sums.deviation, m * self.rows.deviation) / n
        return Noisy(self.bounds.middle + self.bounds.half * m, self.bounds.half * error)

    @property
    def variance(self) -> Noisy:
        """The sample variance, in units squared; below 0 where there is more noise than spread."""
        if not self.enough:
            return UNKNOWN
        n, m = self.rows.value, self.sums.value / self.rows.value
        q = self.squares.value / n
        parts = (
            self.squares.deviation,
            2 * m * self.sums.deviation,
            (2 * m * m - q) * self.rows.deviation,
        )
        scale = self.bounds.half**2 * n / (n - 1)
        return Noisy(scale * (q - m * m), scale * math.hypot(*parts) / n)

    @property
    def standard_deviation(self) -> Noisy:
        """Unknown where the variance is less than LEAST_DEVIATIONS of its noise."""
        variance = self.variance
        if not variance.value > LEAST_DEVIATIONS * variance.deviation:
            return UNKNOWN
        root = math.sqrt(variance.value)
        return Noisy(root, variance.deviation / (2 * root))


def share_of(part: Noisy, rest: Noisy) -> Noisy:
    """`part` of the sum of both, whose noises are independent; not clipped to 0 and 1."""
    whole, deviation = part.value + rest.value, math.hypot(part.deviation, rest.deviation)
    if whole < max(1.0, LEAST_DEVIATIONS * deviation):
        return UNKNOWN
    share = part.value / whole
    error = math.hypot((1 - share) * part.deviation, share * rest.deviation) / whole
    return Noisy(share, error)


class NoisyResult(Released):
    """Values with noise. `lines` are pairs of a line's keys, named by `keys`, and its values, named
    by `measures`. A count may be negative, and is no whole number of rows."""

    def __init__(
        self,
        provenance: Provenance,
        privacy: Privacy,
        *,
        title: str,
        keys: Sequence[str],
        measures: Sequence[str],
        lines: Sequence[tuple[tuple[Key, ...], tuple[Noisy, ...]]],
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(provenance)
        self.privacy = privacy
        self.title = title
        self.keys, self.measures = tuple(keys), tuple(measures)
        self.lines = tuple(lines)
        self._notes = tuple(notes)

    def at(self, measure: str, *keys: Key) -> Noisy:
        """One value. Raises `KeyError` where there is none."""
        return dict(self.lines)[keys][self.measures.index(measure)]

    def to_pandas(self) -> pd.DataFrame:
        """The keys and the values."""
        return self._frame([[one.value for one in values] for _, values in self.lines])

    @property
    def errors(self) -> pd.DataFrame:
        """As `to_pandas`, with half the width of each value's 95% interval in its place."""
        return self._frame([[one.error for one in values] for _, values in self.lines])

    def grids(self) -> Sequence[Grid]:
        rows = tuple(
            (*map(label_of, keys), *(one.text for one in values)) for keys, values in self.lines
        )
        right = (*[False] * len(self.keys), *[True] * len(self.measures))
        notes = (*self._notes, noise_note(self.privacy))
        return [Grid((*self.keys, *self.measures), rows, right, notes, self.title)]

    def __iter__(self) -> Iterator[tuple[tuple[Key, ...], tuple[Noisy, ...]]]:
        return iter(self.lines)

    def _frame(self, values: Sequence[Sequence[float]]) -> pd.DataFrame:
        import pandas as pd

        rows = [(*keys, *row) for (keys, _), row in zip(self.lines, values, strict=True)]
        return pd.DataFrame(rows, columns=[*self.keys, *self.measures])


class NoisyDescription(Released):
    """`numbers` has count, mean and SD by column (and group), `levels` counts and shares by column
    and level; None where no column is of that sort."""

    def __init__(
        self, provenance: Provenance, numbers: NoisyResult | None, levels: NoisyResult | None
    ) -> None:
        super().__init__(provenance)
        self.numbers, self.levels = numbers, levels

    def to_pandas(self) -> pd.DataFrame:
        """The numbers, or without any the levels."""
        return self._parts()[0].to_pandas()

    def grids(self) -> Sequence[Grid]:
        return [grid for part in self._parts() for grid in part.grids()]

    def _parts(self) -> list[NoisyResult]:
        return [part for part in (self.numbers, self.levels) if part is not None]


def noise_note(privacy: Privacy) -> str:
    return (
        f"noise added: epsilon {privacy.epsilon:.4g} at delta {privacy.delta}, "
        f"{privacy.micro_rho:,} millionths of rho at each node; ± is 95% and of the noise alone"
    )
