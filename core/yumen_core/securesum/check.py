"""A keyed check on the sum: one tag mod P that adds up along with the slots.

Nodes and requester share the job's secret, which the coordinator lacks, and draw weights from it,
uniform mod P = 2**80 - 65: one for slot 0, and for the slots behind it, laid out in rows of PIECE,
one for each row and one for each column. The weight w_i of slot i in row r and column c is
u_r v_c mod P, so that a long vector costs few draws (a bilinear hash; each row is the
multilinear hash of Carter and Wegman 1979). A contribution x carries its tag sum(w_i x_i) mod P in
two slots of 40 bits. Tags add as slots do, so the requester, who finds slots X and the tags'
total, checks sum(w_i X_i) = total (mod P).

What it catches: let S be the true total over the integers and d = X - S what went wrong, whether
a slot passed its modulus (T, or 2**64) and wrapped, or the coordinator added something, scaled,
dropped or doubled. Slot 0 is the number n of contributions, which the requester knows and compares
first, so d_0 = 0 while S_0 = n. |d_i| < 255 * 2**64 < P, so a wrong slot is wrong mod P too. The
error is B = sum over r of u_r (sum over c of v_c d_rc): for any one value b, B = b with probability
at most 2 / P, 1 / P that the columns' weights hide all wrong rows and 1 / P for the rows' weights.
The tags' total A = sum(w_i S_i) contains n times slot 0's weight, which B does not, so A is uniform
and independent of B. Whatever function of the tags the coordinator puts in their place, the check
passes only if B takes one value that A fixes: with probability at most 2 / P < 2**-78. (P is
larger than any error on purpose. Modulo a prime below T, adding that prime to a slot would pass.)

What it does not catch: a node that lies about its own data, and a coordinator that has the job's
secret from a node or from the requester. The masks, not this check, keep contributions secret.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from yumen_core.errors import CallError, PeerError
from yumen_core.secret import Secret
from yumen_core.securesum import keystream
from yumen_core.securesum.modulus import LIMB_BITS, Slots

P = 2**80 - 65  # the largest prime below 2**80
TAG_SLOTS = 2  # a tag is two limbs of LIMB_BITS, the lower first

_LABEL = b"yumen/v1/check"
# Slots in a row. A weight is four numbers of 20 bits, a slot four of 16: a row's 2**13 products of
# 36 bits add up to less than 2**49, exact in a float64.
_ROW = 1 << 13
_WEIGHT_BITS, _SLOT_BITS = 20, 16
_LOW_20 = np.uint64((1 << _WEIGHT_BITS) - 1)


def weighted_sum(slots: Slots, *, job_secret: Secret, binding: bytes) -> int:
    """sum(w_i * slots_i) mod P, uint64[n], with the weights of this secret and binding."""
    first, columns, rows = (
        keystream.stream(keystream.derive(job_secret.reveal(), _LABEL, use, binding))
        for use in (b"first", b"columns", b"rows")
    )
    total = keystream.number_draw(first, P, 10) * int(slots[0])
    rest = slots[1:]
    if not rest.size:
        return total % P
    weights = _column_weights(columns, min(_ROW, rest.size))
    parts = np.empty((len(weights), 4))
    for start in range(0, rest.size, _ROW):
        row = rest[start : start + _ROW].astype("<u8", copy=False)
        right = parts[: row.size]
        right[:] = row.view("<u2").reshape(-1, 4)
        total += keystream.number_draw(rows, P, 10) * _carried(right.T @ weights[: row.size])
    return total % P


def _column_weights(take: keystream.Stream, count: int) -> npt.NDArray[np.float64]:
    """The columns' weights, float64[count, 4], in parts of 20 bits, the lowest first."""
    drawn = np.concatenate(list(keystream.word_draws(take, count, P)))
    low = np.ascontiguousarray(drawn[:, :4]).view("<u8")[:, 0]
    weights = np.empty((count, 4))
    for part in range(3):
        weights[:, part] = low >> np.uint64(_WEIGHT_BITS * part) & _LOW_20
    weights[:, 3] = (low >> np.uint64(60)) + drawn[:, 4] * np.uint64(16)
    return weights


def _carried(products: npt.NDArray[np.float64]) -> int:
    """The integer behind sums of products, by the part of the slot and the part of the weight."""
    return sum(
        int(product) << (_SLOT_BITS * i + _WEIGHT_BITS * j)
        for i, line in enumerate(products.tolist())
        for j, product in enumerate(line)
    )


def to_slots(tag: int) -> Slots:
    """The TAG_SLOTS slots of a tag in [0, P). Raises `CallError("argument")` beyond that."""
    if not 0 <= tag < P:
        raise CallError("argument", "expected a tag below 2**80 - 65, got one beyond it")
    return np.array([tag & ((1 << LIMB_BITS) - 1), tag >> LIMB_BITS], dtype=np.uint64)


def verify(slots: Slots, tags: Slots, *, job_secret: Secret, binding: bytes) -> None:
    """Check opened `slots` (slot 0, then the payload) against the TAG_SLOTS sums of tags.

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
