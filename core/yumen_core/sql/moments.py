"""Variances, covariances and regressions from summed moments, in rationals: nothing cancels.

`resolutions` say how far rounding to fixed point can have moved each moment (0 for exact values). A
centred sum within that is 0, as it is where all values are one. Where the statistic has no value
the result is DuckDB's: NULL without rows enough, NaN for a slope over, or a correlation with, a
constant. Definitions: ISO/IEC 9075-2, section 10.9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from yumen_core.sql.evaluate import Cell, to_float
from yumen_core.sql.plan import Function

_ROOTS = (Function.STDDEV_SAMP, Function.STDDEV_POP)
_SAMPLES = (Function.VAR_SAMP, Function.STDDEV_SAMP, Function.COVAR_SAMP)


def of_one(
    function: Function, moments: Sequence[Fraction], resolutions: Sequence[Fraction]
) -> Cell:
    """A variance or deviation from count, sum and sum of squares."""
    count, total, squares = moments
    freedom = count - 1 if function in _SAMPLES else count
    if freedom < 1:
        return None
    slack = resolutions[2] + 2 * abs(total / count) * resolutions[1]
    variance = to_float(_settled(squares - total * total / count, slack) / freedom)
    return math.sqrt(variance) if function in _ROOTS else variance


def of_pair(
    function: Function, moments: Sequence[Fraction], resolutions: Sequence[Fraction]
) -> Cell:
    """A statistic of y and x from count, sums of y and x, of products, and of the squares of x and
    y where the function needs them."""
    count, total_y, total_x, products = moments[:4]
    freedom = count - 1 if function in _SAMPLES else count
    if freedom < 1:
        return None
    mean_y, mean_x = total_y / count, total_x / count
    slack = resolutions[3] + abs(mean_y) * resolutions[2] + abs(mean_x) * resolutions[1]
    joint = products - total_y * mean_x
    if abs(joint) <= slack:
        joint = Fraction(0)
    if function in (Function.COVAR_SAMP, Function.COVAR_POP):
        return to_float(joint / freedom)
    slack = resolutions[4] + 2 * abs(mean_x) * resolutions[2]
    spread_x = _settled(moments[4] - total_x * mean_x, slack)
    if function is Function.REGR_SLOPE:
        return to_float(joint / spread_x) if spread_x else math.nan
    if function is Function.REGR_INTERCEPT:
        return to_float(mean_y - joint / spread_x * mean_x) if spread_x else None
    slack = resolutions[5] + 2 * abs(mean_y) * resolutions[1]
    spread_y = _settled(moments[5] - total_y * mean_y, slack)
    return _agreement(function, joint, spread_x, spread_y)


def _agreement(function: Function, joint: Fraction, spread_x: Fraction, spread_y: Fraction) -> Cell:
    """CORR, or its square: how far the line explains y."""
    if not spread_x or not spread_y:
        if function is Function.CORR:
            return math.nan
        return 1.0 if spread_x else None
    explained = to_float(min(joint * joint / (spread_x * spread_y), Fraction(1)))
    if function is Function.REGR_R2:
        return explained
    root = math.sqrt(explained)
    return root if joint >= 0 else -root


def _settled(centred: Fraction, slack: Fraction) -> Fraction:
    return Fraction(0) if centred <= slack else centred
