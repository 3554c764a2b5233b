"""A node's contribution to a secure sum, and what the requester reads of their total.

    slot 0            1, so that the total counts the contributions
    1 .. payload      the caller's slots, each below the suite's modulus
    last TAG_SLOTS    the check tag

In this order: tag the slots, mask the tag mod P and everything mod T, or 2**64, and encrypt, or add
the pad. The tag's own mask is there because a total of plain tags would show how often they passed
P, a bit or two about the single contributions; masked tags are uniform but for their total, which
follows from the sum.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from yumen_core.errors import CallError, PeerError
from yumen_core.secret import Secret
from yumen_core.securesum import check, ciphertext, keystream, words
from yumen_core.securesum.bfv import BfvKeyPair, encrypt
from yumen_core.securesum.masks import MaskKey, add_net_mask, net_tag_mask, word_streams
from yumen_core.securesum.modulus import (
    MIN_CONTRIBUTIONS,
    Slots,
    check_contributions,
    checked,
    checked_words,
)
from yumen_core.securesum.pads import pad_stream
from yumen_core.securesum.parallel import EncryptionPool
from yumen_core.securesum.public_key import BfvPublicKey
from yumen_core.securesum.suite import MAX_PAYLOAD_SLOTS, Suite, sum_bytes, total_slots


def sealed_bytes(payload_slots: int, suite: Suite = Suite.BFV) -> int:
    """The length of a contribution, or sum, with this payload."""
    return sum_bytes(suite, total_slots(payload_slots))


def contribute(
    payload_slots: Slots,
    *,
    suite: Suite = Suite.BFV,
    public: BfvPublicKey | None = None,
    pad_key: Secret | None = None,
    mask_key: MaskKey,
    own_name: str,
    peers: Mapping[str, bytes],
    job_secret: Secret,
    binding: bytes,
    pool: EncryptionPool | None = None,
) -> bytes:
    """This node's hidden contribution, `sealed_bytes(len(payload_slots), suite)` long.

    `public` is the requester's key, needed in `bfv`; `pad_key` this node's own, needed in `stream`;
    `peers` maps every other participant to its public mask key; `binding` is `masks.binding` of
    this job, round and participant set, 32 bytes. Call it once for a binding: two contributions
    under the same masks and pad would give away their difference. Raises `CallError("argument")`
    for slots, keys or a set that cannot be used, `PeerError("descriptor")` for a bad mask key.
    """
    slots = _tagged(payload_slots, suite, mask_key, own_name, peers, job_secret, binding)
    if suite is Suite.STREAM:
        if pad_key is None:
            raise CallError("argument", "expected a pad key for the suite `stream`, got none")
        streams = word_streams(mask_key, own_name, peers, binding=binding)
        pad = pad_stream(pad_key, own_name, binding=binding)
        keystream.combine_words(slots, [*streams, (True, pad)])
        return words.framed(slots)
    if public is None:
        raise CallError("argument", "expected a public key for the suite `bfv`, got none")
    add_net_mask(slots, mask_key, own_name, peers, binding=binding)
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
    """The slots that `contribute` encrypts in `bfv`: counted, tagged and masked."""
    slots = _tagged(payload_slots, Suite.BFV, mask_key, own_name, peers, job_secret, binding)
    add_net_mask(slots, mask_key, own_name, peers, binding=binding)
    return slots


def _tagged(
    payload_slots: Slots,
    suite: Suite,
    mask_key: MaskKey,
    own_name: str,
    peers: Mapping[str, bytes],
    job_secret: Secret,
    binding: bytes,
) -> Slots:
    """Count, payload and masked tag, uint64[total_slots]."""
    fit = checked_words if suite is Suite.STREAM else checked
    fit(payload_slots, longest=MAX_PAYLOAD_SLOTS)
    slots = np.empty(total_slots(payload_slots.size), dtype=np.uint64)
    slots[0] = 1
    slots[1 : -check.TAG_SLOTS] = payload_slots
    tag = check.weighted_sum(
        slots[: -check.TAG_SLOTS], job_secret=job_secret, binding=binding
    ) + net_tag_mask(mask_key, own_name, peers, binding=binding)
    slots[-check.TAG_SLOTS :] = check.to_slots(tag % check.P)
    return slots


def open_sum(
    raw: bytes,
    *,
    suite: Suite = Suite.BFV,
    keypair: BfvKeyPair | None = None,
    pad_keys: Mapping[str, Secret] | None = None,
    job_secret: Secret,
    binding: bytes,
    payload_slots: int,
    contributions: int,
) -> Slots:
    """The payload's sums, uint64[payload_slots], of exactly `contributions` nodes.

    `keypair` is needed in `bfv`; in `stream`, `pad_keys` maps every participant to its pad key.

    1. The bytes are a sum for this key and length. 2. They claim this many contributions. 3. Slot 0
    counts this many. 4. The tags' total fits the slots.

    Raises `CallError("argument")` for keys or a count that cannot be used,
    `PeerError("ciphertext")` at step 1 and `PeerError("headroom")` at the others: the result is
    then worth nothing.
    """
    check_contributions(contributions)
    if contributions < MIN_CONTRIBUTIONS:
        raise CallError(
            "argument",
            f"expected {MIN_CONTRIBUTIONS} contributions or more, got `{contributions}`",
        )
    if suite is Suite.STREAM:
        claimed, slots = _unpadded(raw, payload_slots, pad_keys or {}, contributions, binding)
    else:
        claimed, slots = _decrypted(raw, payload_slots, keypair)
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


def _decrypted(raw: bytes, payload_slots: int, keypair: BfvKeyPair | None) -> tuple[int, Slots]:
    """The contributions that a `bfv` sum claims, and its slots."""
    if keypair is None:
        raise CallError("argument", "expected a key pair for the suite `bfv`, got none")
    slots = keypair.decrypt(raw, total_slots(payload_slots))
    return ciphertext.check_header(raw, keypair.public, slots.size), slots


def _unpadded(
    raw: bytes,
    payload_slots: int,
    pad_keys: Mapping[str, Secret],
    contributions: int,
    binding: bytes,
) -> tuple[int, Slots]:
    """The contributions that a `stream` sum claims, and its words without the pads."""
    if len(pad_keys) != contributions:
        raise CallError(
            "argument", f"expected the pad keys of {contributions} nodes, got {len(pad_keys)}"
        )
    count = total_slots(payload_slots)
    claimed = words.check_header(raw, count)
    found = words.body(raw, count).astype(np.uint64)
    pads = [(False, pad_stream(key, name, binding=binding)) for name, key in pad_keys.items()]
    keystream.combine_words(found, pads)
    return claimed, found
