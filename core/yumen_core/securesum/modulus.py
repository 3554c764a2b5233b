"""Arithmetic in the slots of the secure sum: integers modulo the prime `T`, or modulo 2**64.

A contribution is a vector of *slots*. In the suite `bfv` each is an integer in [0, T), and masks
and sums are taken modulo `T`; in `stream` each is a word, an integer modulo 2**64, and NumPy's
unsigned arithmetic is all that it takes. A slot can hold any total below its modulus and wraps
beyond it; `check` notices a wrap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from yumen_core.errors import CallError

Slots = npt.NDArray[np.uint64]

# The largest prime = 1 mod 2 * SLOTS below 2**48, so that BFV can batch SLOTS integers a block.
T = 0xFFFF_FFFF_C001
SLOTS = 4096  # slots in one ciphertext block: BFV's polynomial degree

# Why 255: that many limbs of LIMB_BITS bits stay below T, and a count fits a byte. The noise allows
# it: dropping Q_SPECIAL leaves each contribution a rounding error times a ternary secret, standard
# deviation sqrt((1 + 2 * 4096 / 3) / 12) = 15.1, and the sum decrypts up to Q / 2T = 2**11, which
# is 8.5 deviations of 255 contributions.
MAX_CONTRIBUTIONS = 255
MIN_CONTRIBUTIONS = 3  # with two, each could subtract its own share and read the other's
LIMB_BITS = 40

MAX_BLOCKS = 4096  # 256 MiB of ciphertext
MAX_SLOTS = MAX_BLOCKS * SLOTS

_T = np.uint64(T)


def add(left: Slots, right: Slots, out: Slots | None = None) -> Slots:
    """`left + right` mod T, slot by slot. Both operands must lie in [0, T)."""
    total = np.add(left, right, out=out)
    # Below T the subtraction wraps past 2**63, so the smaller of the two is the reduced value.
    return np.minimum(total, total - _T, out=total)


def subtract(left: Slots, right: Slots, out: Slots | None = None) -> Slots:
    """`left - right` mod T, slot by slot. Both operands must lie in [0, T)."""
    difference = np.subtract(left, right, out=out)
    return np.minimum(difference, difference + _T, out=difference)


def blocks(slots: int) -> int:
    """How many ciphertext blocks hold `slots` slots."""
    return -(-slots // SLOTS)


def checked_words(slots: npt.NDArray[Any], *, longest: int = MAX_SLOTS) -> Slots:
    """`slots` itself, after checking what every later step relies on.

    Raises `CallError("argument")` unless it is a one-dimensional uint64 array of 1 to `longest`.
    """
    if slots.ndim != 1 or slots.dtype != np.uint64:
        raise CallError(
            "argument",
            f"expected a vector of uint64 slots, got {slots.ndim} dimensions of {slots.dtype}",
        )
    if not 1 <= slots.size <= longest:
        raise CallError("argument", f"expected 1 to {longest} slots, got {slots.size}")
    return slots


def checked(slots: npt.NDArray[Any], *, longest: int = MAX_SLOTS) -> Slots:
    """As `checked_words`, each slot below T too."""
    checked_words(slots, longest=longest)
    if int(slots.max()) >= T:
        raise CallError("argument", f"expected slots below {T}, got `{int(slots.max())}`")
    return slots


def check_contributions(contributions: int) -> None:
    """Raises `CallError("argument")` unless 1 <= `contributions` <= MAX_CONTRIBUTIONS."""
    if not 1 <= contributions <= MAX_CONTRIBUTIONS:
        raise CallError(
            "argument",
            f"expected 1 to {MAX_CONTRIBUTIONS} contributions, got `{contributions}`",
        )
