"""Dominance: whether a sum of magnitudes tells of one or two of those who make it up. Pure.

Both rules are of the greatest absolute values x1 >= x2 >= ... of a cell and of the sum T of all
(Hundepool et al., "Statistical Disclosure Control", 2012, section 4.2). (n, k): the first n are
at most k % of T. p %: what is left, T - x1 - x2, is at least p % of x1, or the second could know
the first to closer than that. A union of cells that pass does, too (ADR 29). So it is enough that
each node checks its own cells, and of margins only what stands in no released cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from yumen_core.errors import CallError

Number = int | float
_Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Dominance:
    """One table's rules: (`top`, `percent` %), off where `percent` is 0, and `p_percent`, off where
    it is 0. Raises `CallError` (`argument`) for numbers out of range."""

    top: int = 2
    percent: int = 85
    p_percent: int = 10

    def __post_init__(self) -> None:
        if not 1 <= self.top <= 10:
            raise CallError("argument", f"expected the 1 to 10 greatest values, got `{self.top}`")
        if not 0 <= self.percent <= 99 or not 0 <= self.p_percent <= 100:
            raise CallError(
                "argument",
                f"expected shares below 100 %, got `{self.percent}` and `{self.p_percent}`",
            )

    @property
    def on(self) -> bool:
        return bool(self.percent or self.p_percent)

    def fails(self, tops: Sequence[Number], total: Number) -> bool:
        """Whether a cell fails: `tops` are its greatest absolute values, falling, `top` and 2 of
        them at least where there are so many; `total` is the sum of all. A cell of zeros passes,
        one beyond the range of floats does not."""
        if not tops or not tops[0]:
            return False
        if not math.isfinite(total):
            return True
        if self.percent and 100 * sum(tops[: self.top]) > self.percent * total:
            return True
        first, second = tops[0], tops[1] if len(tops) > 1 else 0
        return bool(self.p_percent) and 100 * (total - first - second) < self.p_percent * first


def needed(rules: Sequence[Dominance]) -> int:
    """How many of the greatest values the rules look at."""
    return max([2, *(rule.top for rule in rules)])


def is_dominated(values: _Reals, rules: Sequence[Dominance]) -> bool:
    """Whether the sum of `values`, float64[n] without missing ones, fails one of `rules`. Values of
    0 and 1 alone are counts."""
    if not rules or not len(values) or bool(((values == 0) | (values == 1)).all()):
        return False
    sizes = np.abs(values)
    many = min(needed(rules), len(sizes))
    tops = np.sort(np.partition(sizes, len(sizes) - many)[-many:])[::-1].tolist()
    total = float(sizes.sum())
    return any(rule.fails(tops, total) for rule in rules)
