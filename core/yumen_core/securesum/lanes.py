"""Tensors of reals as fixed-point numbers, several packed into each slot of a secure sum.

A value v of a tensor with the range R becomes the integer round(v / R * steps) + steps, ties to
even, of `value_bits` bits. Several share a slot, each in a lane that has room for the sum of
`contributions` of them:

    bfv      2 lanes of 24 bits in a slot, whose packed sum stays below T, a little under 2**48
    stream   3 lanes of 21 bits in a word of 64

The tensors follow each other as one vector, of which lane k of slot i holds value i + k * slots; in
the last lane's slots that are left over stands a zero. Ranges belong to a call, not to the codec:
nodes agree on them anew in each run.

The arithmetic is float64's, for float32 too: a product with the scale is off by less than 2**-30 of
a step, and the sum that rounds it to an integer is also its conversion to one, so that narrower
numbers would save little. Work goes in pieces that stay in the processor's cache, and needs no
memory beside the slots.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from yumen_core.errors import CallError, PeerError
from yumen_core.securesum.modulus import MAX_SLOTS, Slots, check_contributions
from yumen_core.securesum.suite import Suite

Reals = npt.NDArray[np.float64]

MAX_TENSORS = 10_000
# Beyond these a scale or a sum of values would leave float64.
SMALLEST_RANGE, LARGEST_RANGE = 1e-300, 1e300


@dataclass(frozen=True)
class _Packing:
    """Lanes of `bits` bits. Beyond `widest` more bits add nothing: 20 where lanes share a slot (a
    resolution of 2e-6 of the range, finer than training noise), 40 alone, as wide as a limb."""

    bits: int
    widest: int


_PACKINGS = {
    Suite.BFV: {1: _Packing(48, 40), 2: _Packing(24, 20)},
    Suite.STREAM: {1: _Packing(64, 40), 3: _Packing(21, 20)},
}
_PIECE = 1 << 14  # slots at a time
# A float64 from 2**52 to 2**53 has its integer in its low bits: adding 1.5 * 2**52 rounds a number
# of either sign to an integer n (ties to even) and leaves _MAGIC_BITS + n, as 64 bits.
_MAGIC = 1.5 * 2.0**52
_MAGIC_BITS = 0x4338 << 48


class LanesCodec:
    """Tensors of `lengths` values each, for sums of up to `contributions` nodes.

    `slots` is the length of the packed vector, `value_bits` the bits of one value, `steps` how many
    steps a range has on each side of zero. A tensor may be empty, and so may the list. Raises
    `CallError("argument")` for lengths, contributions or lanes out of range.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        contributions: int,
        suite: Suite = Suite.BFV,
        *,
        lanes: int | None = None,
    ) -> None:
        check_contributions(contributions)
        packings = _PACKINGS[suite]
        self.lanes = max(packings) if lanes is None else lanes
        if self.lanes not in packings:
            choice = " or ".join(map(str, packings))
            raise CallError("argument", f"expected {choice} lanes, got `{lanes}`")
        if len(lengths) > MAX_TENSORS or min(lengths, default=0) < 0:
            raise CallError(
                "argument",
                f"expected at most {MAX_TENSORS} tensors of 0 values or more, got {len(lengths)}",
            )
        self.lengths = tuple(lengths)
        self._starts = list(accumulate(lengths, initial=0))
        self.length = self._starts[-1]
        most = MAX_SLOTS * self.lanes
        if self.length > most:
            raise CallError("argument", f"expected at most {most} values, got `{self.length}`")
        packing = packings[self.lanes]
        self.lane_bits = packing.bits
        headroom_bits = (contributions - 1).bit_length()
        self.value_bits = min(packing.widest, packing.bits - headroom_bits)
        self.headroom = contributions
        self.slots = -(-self.length // self.lanes)
        self.steps = (1 << (self.value_bits - 1)) - 1
        offsets = sum(self.steps << (lane * self.lane_bits) for lane in range(self.lanes))
        self._offsets = np.uint64((offsets - _MAGIC_BITS) % 2**64)

    def resolution(self, value_range: float) -> float:
        """The size of one step: each contribution is off by at most half of it."""
        return value_range / self.steps

    def encode(
        self,
        tensors: Sequence[npt.NDArray[Any]],
        ranges: Sequence[float],
        out: Slots | None = None,
        *,
        clip: bool = False,
    ) -> Slots:
        """The slots of `tensors`, uint64[slots], written to `out` where that is given.

        Each tensor is float32 or float64 of any shape with its number of values, none beyond its
        range, unless `clip` brings them back to it; a range of 0 fits zeros. Raises
        `CallError("argument")` for anything else.
        """
        flat = self._flat(tensors)
        scales = [self.steps / r if r else 0.0 for r in self._checked(ranges)]
        slots = np.empty(self.slots, dtype=np.uint64) if out is None else out
        if slots.shape != (self.slots,) or slots.dtype != np.uint64:
            raise CallError(
                "argument", f"expected uint64[{self.slots}] to write to, got {slots.shape}"
            )
        buffer = np.empty(min(_PIECE, self.slots))
        for start in range(0, self.slots, _PIECE):
            part = slots[start : start + _PIECE]
            for lane in range(self.lanes):
                first = lane * self.slots + start
                values = buffer[: max(0, min(part.size, self.length - first))]
                for tensor, at, place, size in self._segments(first, values.size):
                    source = flat[tensor][at : at + size]
                    target = values[place : place + size]
                    _scale(source, ranges[tensor], scales[tensor], target, clip, tensor)
                self._place(values, part, lane)
        return slots

    def _place(self, values: Reals, part: Slots, lane: int) -> None:
        """Round scaled values and add them to their lane of `part`; the first lane goes first."""
        values += _MAGIC
        bits = values.view(np.uint64)
        if lane == 0:
            np.add(bits, self._offsets, out=part)  # of all lanes at once
        else:
            # Shifted by 21 or more, the constant's bits are gone.
            np.left_shift(bits, np.uint64(lane * self.lane_bits), out=bits)
            part[: bits.size] += bits

    def decode(self, sums: Slots, ranges: Sequence[float], contributions: int) -> list[Reals]:
        """The sums of each tensor behind the slot sums of `contributions` nodes, float64[length].

        Raises `CallError("argument")` for another shape, other ranges or more contributions than
        there is headroom for, and `PeerError("headroom")` for a lane that they cannot reach.
        """
        if not 1 <= contributions <= self.headroom:
            raise CallError(
                "argument", f"expected 1 to {self.headroom} contributions, got `{contributions}`"
            )
        if sums.shape != (self.slots,):
            raise CallError("argument", f"expected {self.slots} slots, got the shape {sums.shape}")
        resolutions = [self.resolution(r) for r in self._checked(ranges)]
        tensors = [np.empty(length) for length in self.lengths]
        for start in range(0, self.slots, _PIECE):
            part = sums[start : start + _PIECE]
            for lane in range(self.lanes):
                first = lane * self.slots + start
                count = max(0, min(part.size, self.length - first))
                whole = self._lane(part[:count], lane, contributions)
                for tensor, at, place, size in self._segments(first, count):
                    np.multiply(
                        whole[place : place + size],
                        resolutions[tensor],
                        out=tensors[tensor][at : at + size],
                    )
        return tensors

    def _lane(self, part: Slots, lane: int, contributions: int) -> npt.NDArray[np.int64]:
        """The steps in one lane of a sum, the offsets taken off."""
        found = part >> np.uint64(lane * self.lane_bits)
        if lane < self.lanes - 1:  # the last lane has the bits above it too, so that they show
            found &= np.uint64((1 << self.lane_bits) - 1)
        if found.size and int(found.max()) > contributions * 2 * self.steps:
            raise PeerError(
                "headroom", f"expected lanes within {contributions} contributions, got one beyond"
            )
        return found.astype(np.int64) - contributions * self.steps

    def _segments(self, first: int, count: int) -> Iterator[tuple[int, int, int, int]]:
        """The tensors behind `count` values of the vector from `first` on: each with where it
        begins in the tensor, where among the `count`, and how many they are."""
        tensor = bisect_right(self._starts, first) - 1
        at, end = first, first + count
        while at < end:
            size = min(self._starts[tensor + 1], end) - at
            if size:
                yield tensor, at - self._starts[tensor], at - first, size
            at += size
            tensor += 1

    def _flat(self, tensors: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        if len(tensors) != len(self.lengths):
            raise CallError("argument", f"expected {len(self.lengths)} tensors, got {len(tensors)}")
        for length, tensor in zip(self.lengths, tensors, strict=True):
            if tensor.size != length or tensor.dtype not in (np.float32, np.float64):
                raise CallError(
                    "argument",
                    f"expected {length} values of float32 or float64, "
                    f"got the shape {tensor.shape} of {tensor.dtype}",
                )
        return [tensor.reshape(-1) for tensor in tensors]

    def _checked(self, ranges: Sequence[float]) -> Sequence[float]:
        if len(ranges) != len(self.lengths):
            raise CallError("argument", f"expected {len(self.lengths)} ranges, got {len(ranges)}")
        for r in ranges:
            if not (r == 0 or SMALLEST_RANGE <= r <= LARGEST_RANGE):
                raise CallError(
                    "argument",
                    f"expected ranges of 0 or from {SMALLEST_RANGE} to {LARGEST_RANGE}, got `{r}`",
                )
        return ranges


def _scale(
    source: npt.NDArray[Any],
    value_range: float,
    scale: float,
    out: Reals,
    clip: bool,
    tensor: int,
) -> None:
    """Write the values in steps to `out`, checked against their range or clipped to it."""
    # The largest of the two extremes is NaN where any value is.
    largest = max(float(source.max()), -float(source.min()))
    if largest <= value_range:
        np.multiply(source, scale, out=out, dtype=np.float64)
    elif not np.isfinite(largest):
        raise CallError("argument", "expected finite values, got one that is not")
    elif clip:
        np.clip(source.astype(np.float64), -value_range, value_range, out=out)
        out *= scale
    else:
        # The value is data of the institution and stays out of the message.
        raise CallError(
            "argument", f"expected values of tensor {tensor} within its range, got one beyond it"
        )
