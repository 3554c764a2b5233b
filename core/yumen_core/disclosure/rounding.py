"""Rounding on release: a node tells counts in steps, and sums as of so many rows. Pure.

A count n becomes n', the multiple of the step that is nearest, of two the even one. What is summed
over these n rows becomes n' / n of it, so that means and variances keep their value while no sum
tells n. The rounding of counts is the conventional one of frequency tables (Hundepool et al.,
"Statistical Disclosure Control", 2012); that sums go with it is ours. The same rows always give the
same, so asking again adds nothing.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from yumen_core.errors import CallError

Counts = npt.NDArray[np.int64]

NO_ROUNDING = 1
MOST_STEP = 1_000


def rounded(count: int, step: int) -> int:
    """The multiple of `step` nearest to a count from 0; halfway between two the even multiple."""
    if count < 0:
        raise CallError("argument", f"expected a count from 0, got `{count}`")
    steps, rest = divmod(count, step)
    return (steps + (2 * rest + steps % 2 > step)) * step


def rounded_all(counts: Counts, step: int) -> Counts:
    """`rounded` of each of counts from 0, int64 of any shape."""
    steps, rest = np.divmod(counts, step)
    more: Counts = (steps + (2 * rest + steps % 2 > step)) * step
    return more


def rescaled(total: int, count: int, step: int) -> int:
    """An integer sum over `count` rows as if these were `rounded`, to the nearest integer; 0 where
    that is no row."""
    if count <= 0:
        return 0
    return round(Fraction(total * rounded(count, step), count))


def within(total: int, bits: int, signed: bool, *, step: int = 1) -> int:
    """The multiple of `step` nearest to `total` among integers of `bits` bits, sign included."""
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if total > high:
        return high - high % step
    return max(total, low)
