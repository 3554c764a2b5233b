"""One vector of reals as fixed-point numbers, clipped to a range that is known beforehand.

As `lanes.LanesCodec` with a single tensor.
"""

from __future__ import annotations

import math
from typing import Any

import numpy.typing as npt

from yumen_core.errors import CallError
from yumen_core.securesum.lanes import LanesCodec, Reals
from yumen_core.securesum.modulus import MAX_SLOTS, Slots
from yumen_core.securesum.suite import Suite


class FixedPointCodec:
    """A vector of `length` reals within [-clip, clip], for sums of up to `contributions`.

    `resolution` is the size of one step, so that each contribution is off by at most half of it;
    `value_bits` the bits of one value; `headroom` the contributions a lane has room for; `lanes`
    by default as many as the suite has. Raises `CallError("argument")` for a length, clip, count or
    number of lanes out of range.
    """

    def __init__(
        self,
        length: int,
        clip: float,
        contributions: int,
        lanes: int | None = None,
        suite: Suite = Suite.BFV,
    ) -> None:
        self._lanes = LanesCodec([], contributions, suite, lanes=lanes)
        most = MAX_SLOTS * self._lanes.lanes
        if not 1 <= length <= most:
            raise CallError("argument", f"expected 1 to {most} values, got `{length}`")
        if not (math.isfinite(clip) and clip > 0):
            raise CallError("argument", f"expected a clip above zero, got `{clip}`")
        self._lanes = LanesCodec([length], contributions, suite, lanes=lanes)
        self.length = length
        self.clip = float(clip)
        self.lanes = self._lanes.lanes
        self.lane_bits = self._lanes.lane_bits
        self.value_bits = self._lanes.value_bits
        self.headroom = contributions
        self.slots = self._lanes.slots
        self.resolution = self._lanes.resolution(self.clip)

    def encode(self, values: npt.NDArray[Any]) -> Slots:
        """The slots of `values`, float32 or float64 [length], as uint64[slots].

        Raises `CallError("argument")` for another shape or type, and for a value that is not
        finite.
        """
        if values.shape != (self.length,):
            raise CallError(
                "argument",
                f"expected {self.length} values of float32 or float64, "
                f"got the shape {values.shape} of {values.dtype}",
            )
        return self._lanes.encode([values], [self.clip], clip=True)

    def decode(self, sums: Slots, contributions: int) -> Reals:
        """The sums of the reals behind the slot sums of `contributions` nodes, float64[length].

        Raises `CallError("argument")` for another shape or more contributions than there is
        headroom for, and `PeerError("headroom")` for a lane that they cannot reach.
        """
        return self._lanes.decode(sums, [self.clip], contributions)[0]
