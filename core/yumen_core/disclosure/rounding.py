"""Rounding on release: a node tells counts in steps, and sums as of so many rows. Pure.

A count n becomes n', the multiple of the step that is nearest, of two the even one, as in frequency
tables (Hundepool et al., "Statistical Disclosure Control", 2012). What is summed over these n rows
becomes n' / n of it, so that means and variances nearly keep their value, and is told in steps of
its own (`sql.rounded_cells`); that is ours. The same rows always give the same, so asking again
adds nothing.
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


def to_grain(total: int, grain: int) -> int:
    """The multiple of `grain` nearest to a total of either sign."""
    return round(Fraction(total, grain)) * grain


def within(total: int, bits: int, signed: bool, *, step: int = 1) -> int:
    """The multiple of `step` nearest to `total`, itself one, among integers of `bits` bits, sign
    included."""
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if total > high:
        return high - high % step
    return total if total >= low else low + -low % step
