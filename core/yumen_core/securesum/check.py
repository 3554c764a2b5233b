"""A keyed check on the sum: one tag mod P that adds up along with the slots.

Nodes and requester share the job's secret, which the coordinator lacks, and draw from it one
weight w_i for each slot, uniform mod P = 2**80 - 65. A contribution x carries its tag
sum(w_i x_i) mod P in two slots of 40 bits. Tags add as slots do, so the requester, who finds slots
X and the tags' total, checks sum(w_i X_i) = total (mod P).

What it catches: let S be the true total over the integers and d = X - S what went wrong, whether
a slot passed T and wrapped, or the coordinator added something, scaled, dropped or doubled. Slot 0
is the number n of contributions, which the requester knows and compares first, so d_0 = 0 while
S_0 = n. |d_i| < 255 T < P, so a wrong slot is wrong mod P too, and d is then no multiple of S
mod P: the tags' total sum(w_i S_i) and the error sum(w_i d_i) are independent and uniform. Whatever
is done to the tags, the check passes with probability 1 / P < 2**-79. (P is larger than any error
on purpose. Modulo a prime below T, adding that prime to a slot would pass.)

What it does not catch: a node that lies about its own data, and a coordinator that has the job's
secret from a node or from the requester. The masks, not this check, keep contributions secret.
"""

from __future__ import annotations

import numpy as np

from yumen_core.errors import CallError, PeerError
from yumen_core.secret import Secret
from yumen_core.securesum import keystream
from yumen_core.securesum.modulus import LIMB_BITS, Slots

P = 2**80 - 65  # the largest prime below 2**80
TAG_SLOTS = 2  # a tag is two limbs of LIMB_BITS, the lower first

_LABEL = b"yumen/v1/check"
# A weight is five words of 16 bits, a slot two of 24: a piece's 2**13 products of 40 bits add up to
# at most 2**53, exact in a float64.
_WEIGHT_BITS, _SLOT_BITS = 16, 24
_LOW = np.uint64((1 << _SLOT_BITS) - 1)


def weighted_sum(slots: Slots, *, job_secret: Secret, binding: bytes) -> int:
    """sum(w_i * slots_i) mod P, slots_i < 2**48, with the weights of this secret and binding."""
    take = keystream.stream(keystream.derive(job_secret.reveal(), _LABEL, binding))
    left = np.empty((5, keystream.PIECE))
    right = np.empty((2, keystream.PIECE))
    total = [[0, 0] for _ in range(5)]
    offset = 0
    for weights in keystream.word_draws(take, len(slots), P):
        size = len(weights)
        part = slots[offset : offset + size]
        left[:, :size] = weights.T
        right[0, :size] = part & _LOW
        right[1, :size] = part >> np.uint64(_SLOT_BITS)
        for sums, more in zip(total, (left[:, :size] @ right[:, :size].T).tolist(), strict=True):
            sums[0] += int(more[0])
            sums[1] += int(more[1])
        offset += size
    return (
        sum(
            (low + (high << _SLOT_BITS)) << (_WEIGHT_BITS * word)
            for word, (low, high) in enumerate(total)
        )
        % P
    )


def to_slots(tag: int) -> Slots:
    """The TAG_SLOTS slots of a tag in [0, P). Raises `CallError("argument")` beyond that."""
    if not 0 <= tag < P:
        raise CallError("argument", "expected a tag below 2**80 - 65, got one beyond it")
    return np.array([tag & ((1 << LIMB_BITS) - 1), tag >> LIMB_BITS], dtype=np.uint64)


def verify(slots: Slots, tags: Slots, *, job_secret: Secret, binding: bytes) -> None:
    """Check decrypted `slots` (slot 0, then the payload) against the TAG_SLOTS sums of tags.

    The caller has compared slot 0 with the number of contributions. Raises
    `PeerError("headroom")` when the slots are not the sum of what the nodes tagged.
    """
    found = weighted_sum(slots, job_secret=job_secret, binding=binding)
    if found != (int(tags[0]) + (int(tags[1]) << LIMB_BITS)) % P:
        raise PeerError(
            "headroom",
            "expected the sum of the nodes' contributions, got slots that passed their headroom "
            "or were changed on the way",
        )
