"""Whole numbers with a discrete Gaussian distribution, drawn from a cipher's stream.

Noise in floating point can be told from the ideal one by its low bits (Mironov, "On significance of
the least significant bits for differential privacy", 2012). So sums are whole numbers on a fine
grid, and so is the noise: added to a sum of sensitivity D, it costs D^2 / (2 S^2) (Canonne, Kamath
and Steinke, "The discrete Gaussian for differential privacy", 2020, theorem 14).

A draw of the wide distribution is y0 + 32 y1 + 32^2 y2 + 32^3 y3 with each y of standard deviation
256. The sum is a discrete Gaussian but for a factor below 1 + exp(-1000), since 256 is many times
the step 32 (Peikert, "An efficient and parallel Gaussian sampler for lattices", 2010). Each y is
the place of a uniform 64-bit draw in a table of cumulated probabilities, cut at 9 standard
deviations: a draw of the whole is within 2^-50 of the ideal in statistical distance.
"""

from __future__ import annotations

import decimal
import math
from functools import cache

import numpy as np
import numpy.typing as npt

from yumen_core.securesum.keystream import derive, stream

Whole = npt.NDArray[np.int64]

_BASE, _STEP, _LEVELS = 256, 32, 4
_REACH = 9 * _BASE
VARIANCE = _BASE**2 * sum(_STEP ** (2 * level) for level in range(_LEVELS))
SIGMA = math.isqrt(VARIANCE)
"""The standard deviation of a draw, rounded down: about 2^23."""
_PIECE = 1 << 15


class Noise:
    """Draws from one key. The same key, label and order of calls give the same draws: a step that
    is done again after a restart must not be a second sample."""

    def __init__(self, key: bytes, *label: bytes) -> None:
        """`key` of 32 bytes, unknown to all but this node; `label` names what the draws are for."""
        if len(key) != 32:
            raise ValueError(f"expected a key of 32 bytes, got {len(key)}")
        self._take = stream(derive(key, b"yumen private training", *label))

    def gaussian(self, count: int) -> Whole:
        """`count` whole numbers of standard deviation sqrt(VARIANCE)."""
        found = np.zeros(count, dtype=np.int64)
        for start in range(0, count, _PIECE):
            part = found[start : start + _PIECE]
            for _ in range(_LEVELS):
                part *= _STEP
                part += np.searchsorted(_table(), self._uniform(part.size), side="right") - _REACH
        return found

    def choices(self, below: int, count: int) -> Whole:
        """`count` independent draws from 0 to `below` - 1, even to within 2^-40."""
        found = np.empty(count, dtype=np.int64)
        for start in range(0, count, _PIECE):
            part = found[start : start + _PIECE]
            part[:] = (self._uniform(part.size) % np.uint64(below)).astype(np.int64)
        return found

    def _uniform(self, count: int) -> npt.NDArray[np.uint64]:
        return np.frombuffer(self._take(8 * count), dtype="<u8")


@cache
def _table() -> npt.NDArray[np.uint64]:
    """At i the probability of at most i - 9 * 256, times 2^64, for all but the last i."""
    with decimal.localcontext(prec=50):
        twice = decimal.Decimal(2 * _BASE**2)
        half = [(-decimal.Decimal(k * k) / twice).exp() for k in range(_REACH + 1)]
        weights = [*half[:0:-1], *half]
        unit = (1 << 64) / sum(weights, decimal.Decimal(0))
        total, found = decimal.Decimal(0), []
        for weight in weights[:-1]:
            total += weight
            found.append(int(total * unit))
    return np.array(found, dtype=np.uint64)
