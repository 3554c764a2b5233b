"""Real vectors (model weights, gradients) as fixed-point numbers packed into slots.

A value v, clipped to [-clip, clip], becomes the integer round(v / resolution) + offset of
`value_bits` bits, ties to even. Two of them share a slot as lanes of 24 bits, one slot holding
the values i and i + slots. A lane has room for the sum of `contributions` values, and so has the
slot: the largest packed sum stays below T, which is a little under 2**48.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from yumen_core.errors import CallError, PeerError
from yumen_core.securesum.modulus import MAX_SLOTS, Slots, check_contributions

Reals = npt.NDArray[np.float64]

_SLOT_BITS = 48
# Beyond these widths more bits add nothing: 20 for two lanes (a resolution of 2e-6 of the clip,
# finer than training noise), 40 for one lane, as wide as a limb.
_WIDEST = {1: 40, 2: 20}
_PIECE = 1 << 13  # values at a time, as in `keystream`


class FixedPointCodec:
    """A vector of `length` reals within [-clip, clip], for sums of up to `contributions`.

    `resolution` is the size of one step, so that each contribution is off by at most half of it;
    `value_bits` the bits of one value; `headroom` the contributions a lane has room for.
    Raises `CallError("argument")` for a length, clip, count or number of lanes out of range.
    """

    def __init__(self, length: int, clip: float, contributions: int, lanes: int = 2) -> None:
        check_contributions(contributions)
        if lanes not in _WIDEST:
            raise CallError("argument", f"expected 1 or 2 lanes, got `{lanes}`")
        if not 1 <= length <= MAX_SLOTS * lanes:
            raise CallError("argument", f"expected 1 to {MAX_SLOTS * lanes} values, got `{length}`")
        if not (math.isfinite(clip) and clip > 0):
            raise CallError("argument", f"expected a clip above zero, got `{clip}`")
        self.length = length
        self.clip = float(clip)
        self.lanes = lanes
        self.lane_bits = _SLOT_BITS // lanes
        self.value_bits = min(_WIDEST[lanes], self.lane_bits - math.ceil(math.log2(contributions)))
        self.headroom = contributions
        self.slots = -(-length // lanes)
        self._offset = (1 << (self.value_bits - 1)) - 1
        self._scale = self._offset / self.clip
        self.resolution = self.clip / self._offset

    def encode(self, values: npt.NDArray[Any]) -> Slots:
        """The slots of `values`, float32 or float64 [length], as uint64[slots].

        Raises `CallError("argument")` for another shape or type, and for a value that is not
        finite.
        """
        if values.shape != (self.length,) or values.dtype not in (np.float32, np.float64):
            raise CallError(
                "argument",
                f"expected {self.length} values of float32 or float64, "
                f"got the shape {values.shape} of {values.dtype}",
            )
        slots = np.empty(self.slots, dtype=np.int64)
        self._quantise(values[: self.slots], slots)
        if self.lanes == 2:
            for start in range(0, self.length - self.slots, _PIECE):
                part = values[self.slots + start : self.slots + start + _PIECE]
                lane = np.empty(part.size, dtype=np.int64)
                self._quantise(part, lane)
                lane <<= self.lane_bits
                slots[start : start + part.size] += lane
        return slots.view(np.uint64)

    def _quantise(self, values: npt.NDArray[Any], out: npt.NDArray[np.int64]) -> None:
        """round(clip(values) / resolution) + offset, each from 0 to 2 * offset."""
        for start in range(0, values.size, _PIECE):
            part = values[start : start + _PIECE].astype(np.float64)
            if not np.isfinite(part).all():
                raise CallError("argument", "expected finite values, got one that is not")
            np.clip(part, -self.clip, self.clip, out=part)
            part *= self._scale
            np.rint(part, out=part)
            part += self._offset
            out[start : start + part.size] = part

    def decode(self, sums: Slots, contributions: int) -> Reals:
        """The sums of the reals behind the slot sums of `contributions` nodes, float64[length].

        Raises `CallError("argument")` for another shape or more contributions than there is
        headroom for, and `PeerError("headroom")` for a lane that they cannot reach.
        """
        if not 1 <= contributions <= self.headroom:
            raise CallError(
                "argument", f"expected 1 to {self.headroom} contributions, got `{contributions}`"
            )
        if sums.shape != (self.slots,):
            raise CallError("argument", f"expected {self.slots} slots, got the shape {sums.shape}")
        whole = np.empty(self.length, dtype=np.int64)
        if self.lanes == 1:
            whole[:] = sums
        else:
            whole[: self.slots] = sums & np.uint64((1 << self.lane_bits) - 1)
            high = sums >> np.uint64(self.lane_bits)
            whole[self.slots :] = high[: self.length - self.slots]
        if int(whole.max()) > contributions * 2 * self._offset:
            raise PeerError(
                "headroom", f"expected lanes within {contributions} contributions, got one beyond"
            )
        whole -= contributions * self._offset
        # One multiplication by the exact step count: the error of float64 is far below a step.
        sums_of_reals: Reals = whole.astype(np.float64) * self.resolution
        return sums_of_reals
