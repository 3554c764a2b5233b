"""How large a difference is, in standard deviations or as a share of variance, with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from yumen.statistics.moments_table import Moments


@dataclass(frozen=True)
class EffectSize:
    """An estimate with an interval of the confidence level asked for."""

    name: str
    estimate: float
    low: float
    high: float

    def __float__(self) -> float:
        return self.estimate


def hedges_correction(df: float) -> float:
    """The factor that takes the small-sample bias from Cohen's d (Hedges 1981, approximation)."""
    return 1 - 3 / (4 * df - 1)


def two_sample(a: Moments, b: Moments, level: float) -> tuple[EffectSize, EffectSize]:
    """Cohen's d and Hedges' g of two independent groups, by the pooled deviation.

    Intervals are normal with the variance of Hedges and Olkin (1985, chapter 5).
    """
    df = a.count + b.count - 2
    pooled = math.sqrt(((a.count - 1) * a.variance + (b.count - 1) * b.variance) / df)
    d = _ratio(a.mean - b.mean, pooled)
    base = (a.count + b.count) / (a.count * b.count)
    return _both(d, base, 2 * (a.count + b.count), df, level)


def one_sample(part: Moments, mu: float, level: float) -> tuple[EffectSize, EffectSize]:
    """Cohen's d and Hedges' g of a mean against `mu`; of paired differences this is d_z."""
    d = _ratio(part.mean - mu, part.standard_deviation)
    return _both(d, 1 / part.count, 2 * part.count, part.count - 1, level)


def standardised_difference(a: Moments, b: Moments) -> float:
    """Difference of means by the root of the mean variance, as in tables of balance (Austin 2009,
    "Balance diagnostics", equation 1)."""
    return _ratio(a.mean - b.mean, math.sqrt((a.variance + b.variance) / 2))


def _both(
    d: float, base: float, twice: int, df: float, level: float
) -> tuple[EffectSize, EffectSize]:
    from scipy.stats import norm

    wide = float(norm.ppf((1 + level) / 2))
    sizes = []
    for name, factor in (("Cohen's d", 1.0), ("Hedges' g", hedges_correction(df))):
        size = d * factor
        error = factor * math.sqrt(base + d * d / twice)
        sizes.append(EffectSize(name, size, size - wide * error, size + wide * error))
    return sizes[0], sizes[1]


def _ratio(difference: float, scale: float) -> float:
    return difference / scale if scale else math.nan
