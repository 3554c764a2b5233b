"""Exact integers as slots, and back from their sums.

An integer of `bits` bits becomes ceil(bits / LIMB_BITS) non-negative limbs, lowest first. A
signed one is shifted by 2**(bits - 1) beforehand and the total shifted back. Limbs add without
carrying: MAX_CONTRIBUTIONS of them stay below T.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from yumen_core.errors import CallError, PeerError
from yumen_core.securesum.modulus import LIMB_BITS, MAX_SLOTS, Slots, check_contributions

MAX_BITS = 4096
# Values of up to this many bits are handled as int64 arrays, wider ones as Python integers.
_NARROW_BITS = 62
_LIMB = (1 << LIMB_BITS) - 1


class IntegerCodec:
    """A vector of integers, each with its own width.

    `bits[i]` is the width of value i, 1 to MAX_BITS, sign included; `signed[i]` says whether it
    may be negative. Raises `CallError("argument")` for widths outside this or none at all.
    """

    def __init__(self, bits: Sequence[int], signed: Sequence[bool]) -> None:
        if not bits or len(bits) != len(signed):
            raise CallError(
                "argument",
                f"expected a width and a sign for each value, got {len(bits)} and {len(signed)}",
            )
        wrong = next((width for width in bits if not 1 <= width <= MAX_BITS), None)
        if wrong is not None:
            raise CallError("argument", f"expected widths of 1 to {MAX_BITS} bits, got `{wrong}`")
        widths = np.asarray(bits, dtype=np.int64)
        self._bits = list(bits)
        self._offsets = [
            1 << (width - 1) if sign else 0 for width, sign in zip(bits, signed, strict=True)
        ]
        self._limbs = -(-widths // LIMB_BITS)
        self._starts = np.cumsum(self._limbs) - self._limbs
        self.slots = int(self._limbs.sum())
        if self.slots > MAX_SLOTS:
            raise CallError("argument", f"expected at most {MAX_SLOTS} slots, got {self.slots}")
        self._narrow = np.flatnonzero(widths <= _NARROW_BITS)
        self._wide = np.flatnonzero(widths > _NARROW_BITS).tolist()
        self._narrow_offsets = np.array(
            [self._offsets[i] for i in self._narrow.tolist()], dtype=np.int64
        )
        self._narrow_ends = np.int64(1) << widths[self._narrow]
        self._two = np.flatnonzero(self._limbs[self._narrow] == 2)
        self._largest_limbs = self._largest(widths)

    def _largest(self, widths: npt.NDArray[np.int64]) -> Slots:
        """The largest limb that one contribution can have in each slot."""
        largest = np.full(self.slots, _LIMB, dtype=np.uint64)
        last_bits = widths - LIMB_BITS * (self._limbs - 1)
        largest[self._starts + self._limbs - 1] = (np.int64(1) << last_bits) - 1
        return largest

    def encode(self, values: Sequence[int]) -> Slots:
        """The slots of `values`, uint64[slots].

        Raises `CallError("argument")` for another number of values, a value that is no integer,
        or one outside its width.
        """
        if len(values) != len(self._bits):
            raise CallError("argument", f"expected {len(self._bits)} values, got {len(values)}")
        for kind in set(map(type, values)) - {int}:
            raise CallError("argument", f"expected integers, got a value of type `{kind.__name__}`")
        slots = np.empty(self.slots, dtype=np.uint64)
        if self._narrow.size:
            self._encode_narrow(values, slots)
        for i in self._wide:
            shifted = values[i] + self._offsets[i]
            if not 0 <= shifted < 1 << self._bits[i]:
                raise self._out_of_range(i)
            for limb in range(int(self._limbs[i])):
                slots[self._starts[i] + limb] = (shifted >> (LIMB_BITS * limb)) & _LIMB
        return slots

    def _encode_narrow(self, values: Sequence[int], slots: Slots) -> None:
        picked = values if not self._wide else [values[i] for i in self._narrow.tolist()]
        try:
            narrow = np.array(picked, dtype=np.int64)
        except OverflowError:
            beyond = 1 << 63
            raise self._out_of_range(
                next(i for i in self._narrow.tolist() if not -beyond <= values[i] < beyond)
            ) from None
        # Compared before the shift, so that no value near the ends of int64 can wrap into range.
        low = -self._narrow_offsets
        outside = np.flatnonzero((narrow < low) | (narrow >= low + self._narrow_ends))
        if outside.size:
            raise self._out_of_range(int(self._narrow[outside[0]]))
        shifted = narrow + self._narrow_offsets
        starts = self._starts[self._narrow]
        slots[starts] = shifted & _LIMB
        slots[starts[self._two] + 1] = shifted[self._two] >> LIMB_BITS

    def _out_of_range(self, index: int) -> CallError:
        # The value is data of the institution and stays out of the message.
        low = -self._offsets[index]
        return CallError(
            "argument",
            f"expected value {index} from {low} to {low + (1 << self._bits[index]) - 1}, "
            "got one outside",
        )

    def decode(self, sums: Slots, contributions: int) -> list[int]:
        """The totals behind the slot sums of `contributions` nodes, exact.

        Raises `CallError("argument")` for a vector of another length, and
        `PeerError("headroom")` for a slot that this many contributions cannot reach.
        """
        check_contributions(contributions)
        if sums.shape != (self.slots,):
            raise CallError("argument", f"expected {self.slots} slots, got the shape {sums.shape}")
        if (sums > self._largest_limbs * np.uint64(contributions)).any():
            raise PeerError(
                "headroom", f"expected slots within {contributions} contributions, got one beyond"
            )
        totals = [0] * len(self._bits)
        firsts = sums[self._starts].tolist()
        counts = self._limbs.tolist()
        starts = self._starts.tolist()
        for i, total in enumerate(firsts):
            for limb in range(1, counts[i]):
                total += int(sums[starts[i] + limb]) << (LIMB_BITS * limb)
            totals[i] = total - contributions * self._offsets[i]
        return totals
