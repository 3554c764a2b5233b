"""The support round: how many nodes stand behind each cell, known to the participants alone.

Each node flags the cells that it may release, commits to its flags, and seals them to every other
participant. The coordinator carries what it cannot read; the requester is no party to it. A flag is
one bit, so that a node counts once and no more, and the commitment, which the node signs, is the
same for all: it cannot show two peers two sets of flags.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from yumen_core.errors import CallError, PeerError
from yumen_core.securesum.keystream import derive
from yumen_core.securesum.masks import MaskKey
from yumen_core.securesum.modulus import MAX_CONTRIBUTIONS, MAX_SLOTS, MIN_CONTRIBUTIONS

Flags = npt.NDArray[np.uint8]

_LABEL = b"yumen/v1/support"
_SALT_BYTES = 32
# Each key is for one round, sender and receiver, and seals one message that leaves the node. The
# nonce is random all the same: a share that was made again after a crash costs nothing then.
_NONCE_BYTES = 12
_TAG_BYTES = 16


@dataclass(frozen=True)
class SealedFlags:
    """A node's share: what it commits to, and its flags sealed to each participant by name, to
    itself too, so that it reads its own word back after a restart."""

    commitment: bytes
    sealed: Mapping[str, bytes]


def seal_flags(
    flags: Flags, *, mask_key: MaskKey, own_name: str, peers: Mapping[str, bytes], binding: bytes
) -> SealedFlags:
    """This node's share. Call it once for a binding.

    `flags` is uint8[n], each 0 or 1; `peers` maps every other participant to its public mask key;
    `binding` names job, round and participant set, 32 bytes. Raises `CallError("argument")` for
    other flags or a set too small or too large, `PeerError("descriptor")` for a bad key.
    """
    if flags.ndim != 1 or flags.dtype != np.uint8 or not 1 <= flags.size <= MAX_SLOTS:
        raise CallError("argument", f"expected a vector of 1 to {MAX_SLOTS} flags of type uint8")
    if int(flags.max()) > 1:
        raise CallError("argument", f"expected flags of 0 and 1, got `{int(flags.max())}`")
    if len(binding) != 32:
        raise CallError("argument", f"expected a binding of 32 bytes, got {len(binding)}")
    if own_name in peers or not MIN_CONTRIBUTIONS <= len(peers) + 1 <= MAX_CONTRIBUTIONS:
        raise CallError(
            "argument",
            f"expected {MIN_CONTRIBUTIONS} to {MAX_CONTRIBUTIONS} participants, "
            f"got `{own_name}` and {len(peers)} others",
        )
    opening = secrets.token_bytes(_SALT_BYTES) + np.packbits(flags).tobytes()
    sealed: dict[str, bytes] = {}
    for name, public in {**peers, own_name: mask_key.public_bytes}.items():
        cipher = AESGCM(_key(mask_key, name, public, binding, own_name, name))
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed[name] = nonce + cipher.encrypt(nonce, opening, None)
    return SealedFlags(_commit(opening, own_name, binding), sealed)


def open_flags(
    sealed: bytes,
    *,
    commitment: bytes,
    sender: str,
    sender_key: bytes,
    mask_key: MaskKey,
    own_name: str,
    binding: bytes,
    length: int,
) -> Flags:
    """The flags, uint8[length] of 0 and 1, that `sender` sealed to this node.

    1. The bytes have the length of so many flags. 2. They open under the pair's key for this
    round. 3. They are what the sender's signed commitment says. Raises `PeerError("sealed")`.
    """
    expected = _NONCE_BYTES + _SALT_BYTES + -(-length // 8) + _TAG_BYTES
    if len(sealed) != expected:
        raise PeerError("sealed", f"expected {length} flags of `{sender}`, got another length")
    key = _key(mask_key, sender, sender_key, binding, sender, own_name)
    try:
        opening = AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)
    except InvalidTag:
        raise PeerError(
            "sealed", f"expected flags that `{sender}` sealed, got bytes that do not open"
        ) from None
    if not hmac.compare_digest(_commit(opening, sender, binding), commitment):
        raise PeerError(
            "sealed", f"expected the flags that `{sender}` committed to, got other flags"
        )
    packed = np.frombuffer(opening, dtype=np.uint8, offset=_SALT_BYTES)
    return np.unpackbits(packed, count=length)


def _key(
    own: MaskKey, peer: str, peer_key: bytes, binding: bytes, sender: str, receiver: str
) -> bytes:
    shared = own.shared(peer, peer_key)
    return derive(shared, _LABEL, binding, sender.encode(), receiver.encode())


def _commit(opening: bytes, sender: str, binding: bytes) -> bytes:
    """Hiding by the salt, binding by SHA-256."""
    name = hashlib.sha256(sender.encode()).digest()
    return hashlib.sha256(_LABEL + binding + name + opening).digest()
