"""The noise of one node: exact discrete Gaussians from the operating system's randomness.

The sampler is that of opendp (`make_gaussian` over integers; Canonne, Kamath and Steinke, 2020),
which computes with rationals and has no floating-point gaps. Its integers have 64 bits: `Noise`
keeps deviations near 2**36 units at most, and wider values are noised in coarser units.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import numpy as np
from yumen_core.disclosure.rules import Keep
from yumen_core.privacy.noise import Noise, NoisePlan


def load_sampler() -> ModuleType:
    """The sampler's library. It takes seconds to load, and nodes without a budget never need it:
    one with a budget loads it as it starts."""
    import opendp.prelude as dp

    dp.enable_features("contrib")
    return dp


def all_kept(cells: int, supports: int) -> Keep:
    """With noise every cell is told: what is told must not depend on a row."""
    return np.ones((cells, supports), dtype=np.bool_)


def with_noise(plan: NoisePlan, values: Sequence[Sequence[int]]) -> list[list[int]]:
    """The node's exact integers [cells][values] in units, with fresh noise in each."""
    columns = [_column(noise, [row[at] for row in values]) for at, noise in enumerate(plan.noises)]
    return [list(row) for row in zip(*columns, strict=True)]


def _column(noise: Noise, exact: Sequence[int]) -> list[int]:
    drawn = draw(noise, len(exact))
    limit = noise.limit
    return [
        max(-limit, min(limit, noise.to_units(value) + one))
        for value, one in zip(exact, drawn, strict=True)
    ]


def draw(noise: Noise, count: int) -> list[int]:
    """`count` independent noises, in units: about 22 microseconds each."""
    dp = load_sampler()
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
    sampler = dp.m.make_gaussian(*space, noise.scale)
    return [int(one) for one in sampler([0] * count)]
