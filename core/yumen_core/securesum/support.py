"""The support round: how many nodes stand behind each cell, known to the nodes alone.

Each node flags the cells that it may release. Flags are masked mod 256, so that a node learns from
the other shares only the totals, and sealed under a key of the job's secret, so that the
coordinator, which carries the shares, learns nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from yumen_core.errors import CallError, PeerError
from yumen_core.secret import Secret
from yumen_core.securesum.keystream import derive
from yumen_core.securesum.masks import MaskKey, net_flag_mask
from yumen_core.securesum.modulus import MAX_CONTRIBUTIONS, MAX_SLOTS, MIN_CONTRIBUTIONS

Flags = npt.NDArray[np.uint8]

_LABEL = b"yumen/v1/support"
_NONCE_BYTES = 12
_TAG_BYTES = 16


def seal_flags(
    flags: Flags,
    *,
    mask_key: MaskKey,
    own_name: str,
    peers: Mapping[str, bytes],
    job_secret: Secret,
    binding: bytes,
) -> bytes:
    """This node's share: nonce, then AES-256-GCM of its masked flags.

    `flags` is uint8[n], each 0 or 1; `binding` is `masks.binding` of the support round, whose round
    name must differ from the sum's. Call it once for a binding. Raises `CallError("argument")` for
    other flags or a set that cannot be masked, `PeerError("descriptor")` for a bad mask key.
    """
    if flags.ndim != 1 or flags.dtype != np.uint8 or not 1 <= flags.size <= MAX_SLOTS:
        raise CallError("argument", f"expected a vector of 1 to {MAX_SLOTS} flags of type uint8")
    if int(flags.max()) > 1:
        raise CallError("argument", f"expected flags of 0 and 1, got `{int(flags.max())}`")
    mask = net_flag_mask(mask_key, own_name, peers, binding=binding, length=flags.size)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    plain = (flags + mask).tobytes()
    return nonce + _cipher(job_secret, binding).encrypt(nonce, plain, _context(own_name, binding))


def open_support(
    shares: Mapping[str, bytes], *, job_secret: Secret, binding: bytes, length: int
) -> Flags:
    """The number of nodes that flagged each cell, uint8[length], from every participant's share.

    The caller passes the shares of exactly the participants that `binding` names. 1. Their number
    is possible. 2. Each opens under its sender's name, and has the length. 3. No total exceeds
    their number: masks of another set would not have cancelled.

    Raises `PeerError("round")` at steps 1 and 3, `PeerError("sealed")` at step 2.
    """
    if not MIN_CONTRIBUTIONS <= len(shares) <= MAX_CONTRIBUTIONS:
        raise PeerError(
            "round",
            f"expected the shares of {MIN_CONTRIBUTIONS} to {MAX_CONTRIBUTIONS} participants, "
            f"got {len(shares)}",
        )
    cipher = _cipher(job_secret, binding)
    total = np.zeros(length, dtype=np.uint8)
    for name, share in shares.items():
        if len(share) != _NONCE_BYTES + length + _TAG_BYTES:
            raise PeerError("sealed", f"expected {length} flags of `{name}`, got another length")
        nonce, sealed = share[:_NONCE_BYTES], share[_NONCE_BYTES:]
        try:
            plain = cipher.decrypt(nonce, sealed, _context(name, binding))
        except InvalidTag:
            raise PeerError(
                "sealed", f"expected flags that `{name}` sealed, got bytes that do not open"
            ) from None
        total += np.frombuffer(plain, dtype=np.uint8)
    if int(total.max(initial=0)) > len(shares):
        raise PeerError(
            "round",
            f"expected at most {len(shares)} nodes behind a cell, got masks that do not cancel",
        )
    return total


def _cipher(job_secret: Secret, binding: bytes) -> AESGCM:
    # One key for all participants: their random 12-byte nonces are at most 255 in number.
    return AESGCM(derive(job_secret.reveal(), _LABEL, binding))


def _context(name: str, binding: bytes) -> bytes:
    return binding + name.encode()
