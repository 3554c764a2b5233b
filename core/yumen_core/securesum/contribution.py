"""A node's contribution to a secure sum, and what the requester reads of their total.

    slot 0            1, so that the total counts the contributions
    1 .. payload      the caller's slots, each below T
    last TAG_SLOTS    the check tag

In this order: tag the slots, mask the tag mod P and everything mod T, encrypt. The tag's own mask
is there because a total of plain tags would show how often they passed P, a bit or two about the
single contributions; masked tags are uniform but for their total, which follows from the sum.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from yumen_core.errors import CallError, PeerError
from yumen_core.secret import Secret
from yumen_core.securesum import check, ciphertext
from yumen_core.securesum.bfv import BfvKeyPair, encrypt
from yumen_core.securesum.masks import MaskKey, net_mask, net_tag_mask
from yumen_core.securesum.modulus import (
    MAX_SLOTS,
    MIN_CONTRIBUTIONS,
    Slots,
    add,
    check_contributions,
    checked,
)
from yumen_core.securesum.parallel import EncryptionPool
from yumen_core.securesum.public_key import BfvPublicKey

_OVERHEAD = 1 + check.TAG_SLOTS
MAX_PAYLOAD_SLOTS = MAX_SLOTS - _OVERHEAD


def total_slots(payload_slots: int) -> int:
    """The slots of a contribution with this payload: what an `Adder` must be made for.

    Raises `CallError("argument")` unless it is from 1 to MAX_PAYLOAD_SLOTS.
    """
    if not 1 <= payload_slots <= MAX_PAYLOAD_SLOTS:
        raise CallError(
            "argument", f"expected 1 to {MAX_PAYLOAD_SLOTS} payload slots, got `{payload_slots}`"
        )
    return payload_slots + _OVERHEAD


def sealed_bytes(payload_slots: int) -> int:
    """The length of an encrypted contribution, or sum, with this payload."""
    return ciphertext.sealed_bytes(total_slots(payload_slots))


def contribute(
    payload_slots: Slots,
    *,
    public: BfvPublicKey,
    mask_key: MaskKey,
    own_name: str,
    peers: Mapping[str, bytes],
    job_secret: Secret,
    binding: bytes,
    pool: EncryptionPool | None = None,
) -> bytes:
    """This node's encrypted contribution, `sealed_bytes(len(payload_slots))` long.

    `peers` maps every other participant to its public mask key; `binding` is `masks.binding` of
    this job, round and participant set, 32 bytes. Call it once for a binding: two contributions
    under the same masks would give away their difference. Raises `CallError("argument")` for slots
    or a set that cannot be used, `PeerError("descriptor")` for a bad mask key.
    """
    slots = masked(
        payload_slots,
        mask_key=mask_key,
        own_name=own_name,
        peers=peers,
        job_secret=job_secret,
        binding=binding,
    )
    return encrypt(slots, public) if pool is None else pool.encrypt(slots, public)


def masked(
    payload_slots: Slots,
    *,
    mask_key: MaskKey,
    own_name: str,
    peers: Mapping[str, bytes],
    job_secret: Secret,
    binding: bytes,
) -> Slots:
    """The slots that `contribute` encrypts: counted, tagged and masked."""
    checked(payload_slots, longest=MAX_PAYLOAD_SLOTS)
    slots = np.empty(total_slots(payload_slots.size), dtype=np.uint64)
    slots[0] = 1
    slots[1 : -check.TAG_SLOTS] = payload_slots
    tag = check.weighted_sum(
        slots[: -check.TAG_SLOTS], job_secret=job_secret, binding=binding
    ) + net_tag_mask(mask_key, own_name, peers, binding=binding)
    slots[-check.TAG_SLOTS :] = check.to_slots(tag % check.P)
    mask = net_mask(mask_key, own_name, peers, binding=binding, length=slots.size)
    return add(slots, mask, out=slots)


def open_sum(
    raw: bytes,
    *,
    keypair: BfvKeyPair,
    job_secret: Secret,
    binding: bytes,
    payload_slots: int,
    contributions: int,
) -> Slots:
    """The payload's sums, uint64[payload_slots] below T, of exactly `contributions` nodes.

    1. The bytes are a sum for this key and length. 2. They claim this many contributions. 3. Slot 0
    counts this many. 4. The tags' total fits the slots.

    Raises `PeerError("ciphertext")` at step 1 and `PeerError("headroom")` at the others: the
    result is then worth nothing.
    """
    check_contributions(contributions)
    if contributions < MIN_CONTRIBUTIONS:
        raise CallError(
            "argument",
            f"expected {MIN_CONTRIBUTIONS} contributions or more, got `{contributions}`",
        )
    slots = keypair.decrypt(raw, total_slots(payload_slots))
    claimed = ciphertext.check_header(raw, keypair.public, slots.size)
    if claimed != contributions:
        raise PeerError("headroom", f"expected {contributions} contributions, got {claimed}")
    if int(slots[0]) != contributions:
        raise PeerError(
            "headroom",
            f"expected slots that count {contributions} contributions, got masks that do not cancel"
            " or slots that were changed on the way",
        )
    check.verify(
        slots[: -check.TAG_SLOTS],
        slots[-check.TAG_SLOTS :],
        job_secret=job_secret,
        binding=binding,
    )
    return slots[1 : -check.TAG_SLOTS]
