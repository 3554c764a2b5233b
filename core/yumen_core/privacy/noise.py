"""How much noise each summed value of a job gets at each node: pure, the same at every party.

Every participant adds noise of its own to every value: a discrete Gaussian (Canonne, Kamath and
Steinke, "The Discrete Gaussian for Differential Privacy", 2020) whose variance is half of what the
whole cost needs. So the noise of any two honest participants is enough, and all others may tell
theirs. The sum of two discrete Gaussians is not one; it is within tau = 10 * exp(-pi**2 * s**2) of
one in max divergence, s**2 the variance of either: the bound of Kairouz, Liu and Steinke ("The
Distributed Discrete Gaussian Mechanism for Federated Learning with Secure Aggregation", 2021,
theorem 1; their sum over k for two parties), cited here and not proved anew. With s**2 >=
LEAST_VARIANCE and at most MAX_NOISES values, tau * values, which is above what they add to the
cost, is below 10**-61; `_raised` adds 2**-40 of the variance, which pays for more than 10**-18 of
any cost allowed.

Neighbours differ in one row of one node's table. One row is in one cell at most, and in one margin
of each level. Values of many bits are noised in units of 2**shift, to which each node rounds its
own sum first: two sums that differ by d then differ by ceil(d / 2**shift) units at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from yumen_core.errors import CallError
from yumen_core.privacy.budget import MICRO, Privacy

LEAST_VARIANCE = 16
MAX_NOISES = 80_000
"""Values with noise in one run: at about 22 microseconds each, a node takes less than 2 s."""
HONEST = 2
"""Participants whose noise alone is enough."""
_SIGMA_BITS = 36
_TAIL = 16
"""In deviations: a noise beyond it has a chance below 2**-180, and is cut off."""


@dataclass(frozen=True)
class Summed:
    """One summed value of a cell: `bits` and `signed` as of its exact integers, and the most by
    which one row can move it in one cell. A row moves it in at most `cells` cells."""

    bits: int
    signed: bool
    sensitivity: int
    cells: int = 1


@dataclass(frozen=True)
class Noise:
    """Of one value at each participant: a discrete Gaussian of `variance` (units squared), in units
    of 2**`shift`. What leaves is a signed integer of `bits` bits, in units."""

    variance: int
    shift: int
    bits: int

    @property
    def scale(self) -> float:
        """The deviation in units, no lower than the root of the variance."""
        return math.nextafter(math.sqrt(self.variance), math.inf)

    @property
    def limit(self) -> int:
        """The most that may leave, in units."""
        return (1 << (self.bits - 1)) - 1

    def to_units(self, exact: int) -> int:
        """An exact sum in units, to the nearest."""
        return exact if not self.shift else (exact + (1 << (self.shift - 1))) >> self.shift

    def deviation(self, participants: int) -> float:
        """The deviation of the noise in a total of `participants` nodes, in the exact integers'
        own steps."""
        return math.sqrt(participants * self.variance) * 2.0**self.shift


@dataclass(frozen=True)
class NoisePlan:
    """The noise of one run: one entry for each value of a cell. `micro_rho` is what the run costs,
    `delta` that of the job."""

    noises: tuple[Noise, ...]
    cells: int
    micro_rho: int
    delta: str


def plan_noise(
    summed: Sequence[Summed], *, cells: int, privacy: Privacy, runs: int = 1
) -> NoisePlan:
    """The noise of one of `runs` runs of a job, whose cost is shared equally by its runs, and in a
    run by its values.

    Raises `CallError` (`privacy`) for too many values, or a cost that shares out to less than
    nothing.
    """
    if cells * len(summed) > MAX_NOISES:
        raise CallError(
            "privacy",
            f"expected at most {MAX_NOISES} values in a private answer, got {cells * len(summed)}",
            remedy="group by fewer keys, or ask for fewer aggregates at a time",
        )
    micro_rho = privacy.micro_rho // runs
    if micro_rho < 1:
        raise CallError(
            "privacy",
            f"expected a cost of {runs} millionths of rho at least, one for each sum of the job, "
            f"got {privacy.micro_rho}",
            remedy="ask with a larger epsilon",
        )
    rho = Fraction(micro_rho, MICRO * max(1, len(summed)))
    noises = tuple(_noise(value, rho) for value in summed)
    return NoisePlan(noises, cells, micro_rho, privacy.delta)


def _noise(value: Summed, rho: Fraction) -> Noise:
    """One value's, at cost `rho`."""
    sensitivity = max(1, value.sensitivity)
    fine = _variance(sensitivity, value.cells, rho)
    shift = max(0, (fine.bit_length() + 1) // 2 - _SIGMA_BITS)
    coarse = -(-sensitivity // (1 << shift))
    variance = _variance(coarse, value.cells, rho)
    largest = ((1 << value.bits) >> shift) + 1 + _TAIL * (math.isqrt(variance) + 1)
    return Noise(variance, shift, largest.bit_length() + 1)


def _variance(sensitivity: int, cells: int, rho: Fraction) -> int:
    """Of the noise of one participant: rho = cells * sensitivity**2 / (2 * HONEST * variance)."""
    exact = Fraction(cells * sensitivity * sensitivity) / (2 * HONEST * rho)
    return max(LEAST_VARIANCE, _raised(math.ceil(exact)))


def _raised(variance: int) -> int:
    return variance + (variance >> 40) + 1
