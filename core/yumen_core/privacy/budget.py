"""The unit of every privacy budget: zero-concentrated differential privacy, in integer micro-rho.

A mechanism is rho-zCDP where the Renyi divergence of order a between its outputs on neighbouring
tables is at most rho * a, for every a > 1; neighbours differ in one row (Bun and Steinke,
"Concentrated Differential Privacy", 2016). Costs of several answers add up exactly, which epsilons
do not. People think in (epsilon, delta): rho-zCDP implies (rho + 2 * sqrt(rho * ln(1/delta)),
delta) (the same, proposition 1.3), and both ways here use exactly that bound.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from yumen_core.errors import CallError

MICRO = 1_000_000
MAX_MICRO_RHO = 1000 * MICRO
"""Beyond it nothing is protected: an epsilon above 1000."""
DEFAULT_DELTA = "1e-6"
_DELTA = re.compile(r"1e-([1-9]|1[0-9]|20)", re.ASCII)


@dataclass(frozen=True)
class Privacy:
    """What a whole job may cost at each node: `micro_rho` millionths of rho, from 1. At `delta`, a
    power of ten such as `1e-6`, the requester reads it as an epsilon.

    Raises `CallError` (`argument`) for a cost or a delta out of range.
    """

    micro_rho: int
    delta: str = DEFAULT_DELTA

    def __post_init__(self) -> None:
        if not 1 <= self.micro_rho <= MAX_MICRO_RHO:
            raise CallError(
                "argument",
                f"expected a cost of 1 to {MAX_MICRO_RHO} millionths of rho, got {self.micro_rho}",
            )
        _delta(self.delta)

    @classmethod
    def of_epsilon(cls, epsilon: float, delta: str = DEFAULT_DELTA) -> Privacy:
        """The largest cost, in whole millionths, that is (`epsilon`, `delta`)-private."""
        return cls(rho_of(epsilon, delta), delta)

    @property
    def epsilon(self) -> float:
        return epsilon_of(self.micro_rho, self.delta)


def DP(epsilon: float = 1.0, delta: str = DEFAULT_DELTA) -> Privacy:
    """What a job may cost at each node: `privacy=DP(epsilon=1.0)`.

    Raises `CallError` (`argument`) for an epsilon or a delta out of range.
    """
    return Privacy.of_epsilon(epsilon, delta)


def rho_of(epsilon: float, delta: str = DEFAULT_DELTA) -> int:
    """Whole millionths of rho, rounded down, that imply (`epsilon`, `delta`).

    Raises `CallError` (`argument`) for an epsilon that is not above zero and finite, or too small
    for one millionth.
    """
    if not (isinstance(epsilon, int | float) and math.isfinite(epsilon) and epsilon > 0):
        raise CallError("argument", f"expected an epsilon above zero, got `{epsilon}`")
    log = -math.log(_delta(delta))
    # sqrt(epsilon + log) - sqrt(log), without the cancellation
    root = epsilon / (math.sqrt(epsilon + log) + math.sqrt(log))
    micro_rho = math.floor(root * root * MICRO)
    if micro_rho < 1:
        raise CallError("argument", f"expected an epsilon that noise can give, got `{epsilon}`")
    return micro_rho


def epsilon_of(micro_rho: int, delta: str = DEFAULT_DELTA) -> float:
    """The epsilon that `micro_rho` millionths of rho imply at `delta`."""
    rho = micro_rho / MICRO
    return rho + 2 * math.sqrt(rho * -math.log(_delta(delta)))


def _delta(text: str) -> float:
    if not isinstance(text, str) or not _DELTA.fullmatch(text):
        raise CallError("argument", f"expected a delta such as `1e-6`, got `{str(text)[:40]}`")
    return float(text)
