"""Pairwise masks that cancel over the participants (Bonawitz et al. 2017, section 4.1).

Each pair of participants shares an X25519 secret. HKDF makes from it a key for one job, one
round, one participant set and one modulus; the cipher stream of that key is the pair's mask, which
the participant with the lower name adds and the other subtracts. A node's contribution under its
net mask is uniform to whoever lacks a key of every pair that it is in, so what the requester and
the coordinator can read is the sum alone, while two participants are honest.

There is no recovery of a lost participant's masks: its round fails.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from typing import NoReturn

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from yumen_core.errors import CallError, PeerError
from yumen_core.secret import Secret
from yumen_core.securesum import keystream
from yumen_core.securesum.check import P
from yumen_core.securesum.modulus import (
    MAX_CONTRIBUTIONS,
    MAX_SLOTS,
    MIN_CONTRIBUTIONS,
    Slots,
    T,
    add,
    subtract,
)

MAX_SHARED = 1024

_LABEL = b"yumen/v1/mask"


class MaskKey:
    """A node's X25519 private key (RFC 7748). Its public half is in the node's descriptor."""

    __slots__ = ("_private", "_shared", "public_bytes")

    def __init__(self, secret: Secret) -> None:
        """`secret` is the raw private key, 32 bytes, as `to_secret` gave it."""
        self._private = X25519PrivateKey.from_private_bytes(secret.reveal())
        self.public_bytes = self._private.public_key().public_bytes_raw()
        self._shared: dict[bytes, bytes] = {}

    @classmethod
    def generate(cls) -> MaskKey:
        """A fresh key from the operating system's generator."""
        return cls(Secret(X25519PrivateKey.generate().private_bytes_raw()))

    def to_secret(self) -> Secret:
        """The raw private key, for storage."""
        return Secret(self._private.private_bytes_raw())

    def shared(self, name: str, public_bytes: bytes) -> bytes:
        """The 32-byte X25519 secret with the participant `name`.

        Raises `PeerError("descriptor")` for a key of another length, and for a point of low order,
        whose secret is all zero and known to everyone (RFC 7748, section 6.1). Secrets are kept, up
        to MAX_SHARED of them: a job has many sums with the same peers.
        """
        known = self._shared.get(public_bytes)
        if known is not None:
            return known
        if len(public_bytes) != 32:
            raise PeerError(
                "descriptor",
                f"expected a mask key of 32 bytes of `{name}`, got {len(public_bytes)}",
            )
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(public_bytes))
        except ValueError:
            raise PeerError(
                "descriptor", f"expected a mask key of `{name}`, got a point of low order"
            ) from None
        if len(self._shared) >= MAX_SHARED:
            self._shared.clear()
        self._shared[public_bytes] = shared
        return shared

    def __repr__(self) -> str:
        return "MaskKey(redacted)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a mask key cannot be pickled")


def binding(job_id: str, round_name: str, participants: Collection[str]) -> bytes:
    """What ties keys to one use: SHA-256 over job, round and the sorted participant set, 32 bytes.

    Raises `CallError("argument")` for an empty field, a participant named twice, fewer than
    MIN_CONTRIBUTIONS participants or more than MAX_CONTRIBUTIONS.
    """
    names = sorted(participants)
    if not job_id or not round_name or "" in names:
        raise CallError("argument", "expected a job, a round and participants, got an empty name")
    if len(set(names)) != len(names):
        raise CallError("argument", "expected each participant once, got one twice")
    _check_count(len(names))
    digest = hashlib.sha256()
    for field in ("yumen/v1/binding", job_id, round_name, *names):
        raw = field.encode()
        digest.update(len(raw).to_bytes(4, "big") + raw)
    return digest.digest()


def net_mask(
    own: MaskKey, own_name: str, peers: Mapping[str, bytes], *, binding: bytes, length: int
) -> Slots:
    """This participant's mask over `length` slots: uniform mod T, cancelling over all participants.

    `peers` maps the name of every other participant to its public mask key. Raises
    `CallError("argument")` for a set that cannot be masked, `PeerError("descriptor")` for a
    bad key.
    """
    _check_length(length)
    total = np.zeros(length, dtype=np.uint64)
    add_net_mask(total, own, own_name, peers, binding=binding)
    return total


def add_net_mask(
    slots: Slots, own: MaskKey, own_name: str, peers: Mapping[str, bytes], *, binding: bytes
) -> None:
    """Add `net_mask` to `slots`, uint64[n] below T, in place."""
    for lower, take in _pairs(own, own_name, peers, binding, b"slots"):
        combine = add if lower else subtract
        for offset, draws in keystream.slot_draws(take, slots.size, T):
            part = slots[offset : offset + draws.size]
            combine(part, draws, out=part)


def word_streams(
    own: MaskKey, own_name: str, peers: Mapping[str, bytes], *, binding: bytes
) -> list[tuple[bool, keystream.Stream]]:
    """This participant's masks mod 2**64, as `keystream.combine_words` takes them.

    Raises as `net_mask`.
    """
    return list(_pairs(own, own_name, peers, binding, b"words"))


def net_tag_mask(own: MaskKey, own_name: str, peers: Mapping[str, bytes], *, binding: bytes) -> int:
    """As `net_mask`, one number mod `check.P`, for the check tag."""
    total = 0
    for lower, take in _pairs(own, own_name, peers, binding, b"tag"):
        draw = keystream.number_draw(take, P, 10)
        total += draw if lower else -draw
    return total % P


def _pairs(
    own: MaskKey, own_name: str, peers: Mapping[str, bytes], bound: bytes, use: bytes
) -> Iterator[tuple[bool, keystream.Stream]]:
    """For each peer: whether this side adds, and the pair's stream for `use`."""
    if not own_name or own_name in peers or "" in peers:
        raise CallError(
            "argument", f"expected the names of the other participants beside `{own_name}`"
        )
    if len(bound) != 32:
        raise CallError("argument", f"expected a binding of 32 bytes, got {len(bound)}")
    _check_count(len(peers) + 1)
    for name, public_bytes in peers.items():
        names = sorted((own_name, name))
        key = keystream.derive(
            own.shared(name, public_bytes),
            *(_LABEL, use, bound, names[0].encode(), names[1].encode()),
        )
        yield own_name == names[0], keystream.stream(key)


def _check_count(count: int) -> None:
    if not MIN_CONTRIBUTIONS <= count <= MAX_CONTRIBUTIONS:
        raise CallError(
            "argument",
            f"expected {MIN_CONTRIBUTIONS} to {MAX_CONTRIBUTIONS} participants, got {count}",
        )


def _check_length(length: int) -> None:
    if not 1 <= length <= MAX_SLOTS:
        raise CallError("argument", f"expected a mask of 1 to {MAX_SLOTS}, got `{length}`")
