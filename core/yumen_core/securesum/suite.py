"""The two ways in which a contribution is hidden, behind one set of calls.

    bfv      slots mod T, encrypted under the requester's public key (`ciphertext`, `bfv`)
    stream   words mod 2**64 under a one-time pad of each node and the requester (`words`, `pads`)

Under either lie the same pairwise masks and the same check tag. What is here needs no cryptographic
library, so that a coordinator can call it; `contribution` has what nodes and requesters call.
"""

from __future__ import annotations

from enum import StrEnum

from yumen_core.errors import CallError, PeerError
from yumen_core.secret import Secret
from yumen_core.securesum import ciphertext, words
from yumen_core.securesum.blind import BlindAdder, check_slots
from yumen_core.securesum.check import TAG_SLOTS
from yumen_core.securesum.modulus import MAX_SLOTS
from yumen_core.securesum.public_key import BfvPublicKey

SECRET_BYTES = 32
_OVERHEAD = 1 + TAG_SLOTS
MAX_PAYLOAD_SLOTS = MAX_SLOTS - _OVERHEAD


class Suite(StrEnum):
    """What hides a contribution; the same for a whole job."""

    BFV = "bfv"
    STREAM = "stream"


def total_slots(payload_slots: int) -> int:
    """The slots of a contribution with this payload: what an adder must be made for.

    Raises `CallError("argument")` unless it is from 1 to MAX_PAYLOAD_SLOTS.
    """
    if not 1 <= payload_slots <= MAX_PAYLOAD_SLOTS:
        raise CallError(
            "argument", f"expected 1 to {MAX_PAYLOAD_SLOTS} payload slots, got `{payload_slots}`"
        )
    return payload_slots + _OVERHEAD


def sum_bytes(suite: Suite, slots: int) -> int:
    """The length of a contribution, or of their sum, of `slots` slots in all (`total_slots`).

    Raises `CallError("argument")` for a number of slots out of range.
    """
    check_slots(slots)
    return words.framed_bytes(slots) if suite is Suite.STREAM else ciphertext.sealed_bytes(slots)


def adder(suite: Suite, public: BfvPublicKey | None, slots: int) -> BlindAdder:
    """What adds the contributions of one sum as they arrive; `public` serves `bfv` alone.

    Raises `CallError("argument")` for a number of slots out of range, or no key where one is
    needed.
    """
    if suite is Suite.STREAM:
        return words.WordAdder(slots)
    if public is None:
        raise CallError("argument", "expected a public key for the suite `bfv`, got none")
    return ciphertext.Adder(public, slots)


def join_secret(job_secret: Secret, pad_key: Secret | None) -> bytes:
    """What the requester seals to one node: the job's secret, then in `stream` its pad key."""
    return job_secret.reveal() + (b"" if pad_key is None else pad_key.reveal())


def split_secret(raw: bytes, suite: Suite) -> tuple[Secret, Secret | None]:
    """The job's secret and, in `stream`, this node's pad key, from what was sealed to it.

    Raises `PeerError("sealed")` for another length, or one key in both places, which would let
    every node draw this node's pad.
    """
    expected = SECRET_BYTES * (2 if suite is Suite.STREAM else 1)
    if len(raw) != expected:
        raise PeerError(
            "sealed",
            f"expected a sealed secret of {expected} bytes for the suite `{suite}`, got {len(raw)}",
        )
    job_secret = Secret(raw[:SECRET_BYTES])
    if suite is not Suite.STREAM:
        return job_secret, None
    pad_key = Secret(raw[SECRET_BYTES:])
    if pad_key == job_secret:
        raise PeerError("sealed", "expected a pad key of its own, got the job's secret again")
    return job_secret, pad_key
