"""Payloads that only one node can open: HPKE in base mode with a hybrid post-quantum KEM.

RFC 9180 with KEM ML-KEM-768 + X25519 (draft-ietf-hpke-pq), HKDF-SHA-256 and AES-256-GCM. Base
mode does not say who sealed: the sender is known by the envelope around the sealed bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519

from yumen_core.errors import CallError, PeerError, StateError
from yumen_core.identity.files import PRIVATE_MODE, read_file, replace_file

PUBLIC_KEY_BYTES = 1184 + 32
OVERHEAD_BYTES = 1088 + 32 + 16
MAX_PLAINTEXT_BYTES = 64 * 1024 * 1024
MAX_INFO_BYTES = 1024

_MLKEM_PUBLIC_BYTES = 1184
_MLKEM_SEED_BYTES = 64
_KEY_FILE_BYTES = _MLKEM_SEED_BYTES + 32
_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class SealingKey:
    """A hybrid ML-KEM-768 and X25519 private key. It cannot be printed or pickled."""

    __slots__ = ("_mlkem", "_x25519")

    def __init__(
        self, mlkem_key: mlkem.MLKEM768PrivateKey, x25519_key: x25519.X25519PrivateKey
    ) -> None:
        self._mlkem = mlkem_key
        self._x25519 = x25519_key

    @classmethod
    def generate(cls) -> SealingKey:
        """A fresh key from the operating system's generator."""
        return cls(mlkem.MLKEM768PrivateKey.generate(), x25519.X25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> SealingKey:
        """Read 96 raw bytes: ML-KEM seed (64), X25519 key (32).

        Raises `StateError` ("state") for a missing, damaged or open file.
        """
        raw = read_file(path, private=True, max_bytes=_KEY_FILE_BYTES)
        if len(raw) != _KEY_FILE_BYTES:
            raise StateError(
                "state",
                f"`{path}` holds no sealing key: expected {_KEY_FILE_BYTES} bytes, got {len(raw)}",
            )
        return cls(
            mlkem.MLKEM768PrivateKey.from_seed_bytes(raw[:_MLKEM_SEED_BYTES]),
            x25519.X25519PrivateKey.from_private_bytes(raw[_MLKEM_SEED_BYTES:]),
        )

    def save(self, path: Path) -> None:
        """Write the raw key at mode 600, whole or not at all."""
        raw = self._mlkem.private_bytes_raw() + self._x25519.private_bytes_raw()
        replace_file(path, raw, mode=PRIVATE_MODE)

    def public_bytes(self) -> bytes:
        """ML-KEM-768 encapsulation key (1184 bytes), then X25519 public key (32 bytes)."""
        return (
            self._mlkem.public_key().public_bytes_raw()
            + self._x25519.public_key().public_bytes_raw()
        )

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """The plaintext that was sealed to this key with this `info`.

        Raises `PeerError` ("sealed") for any other key, info or changed byte, without saying
        which.
        """
        _check_info(info)
        if not OVERHEAD_BYTES <= len(sealed) <= OVERHEAD_BYTES + MAX_PLAINTEXT_BYTES:
            raise PeerError(
                "sealed",
                f"a sealed payload has {OVERHEAD_BYTES} to"
                f" {OVERHEAD_BYTES + MAX_PLAINTEXT_BYTES} bytes, got {len(sealed)}",
            )
        key = hpke.MLKEM768X25519PrivateKey(self._mlkem, self._x25519)
        try:
            return _SUITE.decrypt(sealed, key, info)
        except (InvalidTag, ValueError):
            raise PeerError(
                "sealed", "the sealed payload does not open with this key and context"
            ) from None

    def __repr__(self) -> str:
        return "SealingKey(redacted)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a sealing key cannot be pickled")


def seal(plaintext: bytes, public_bytes: bytes, info: bytes) -> bytes:
    """Seal `plaintext` to the holder of the 1216-byte `public_bytes`.

    `info` binds the context (job, node, purpose) and must be the same at `SealingKey.open`.
    Returns encapsulated key then ciphertext, `OVERHEAD_BYTES` longer than the plaintext. Raises
    `PeerError` ("sealed") for a public key that is not one, `CallError` ("payload_too_large").
    """
    _check_info(info)
    if len(plaintext) > MAX_PLAINTEXT_BYTES:
        raise CallError(
            "payload_too_large",
            f"at most {MAX_PLAINTEXT_BYTES} bytes can be sealed at once, got {len(plaintext)}",
        )
    if len(public_bytes) != PUBLIC_KEY_BYTES:
        raise PeerError(
            "sealed", f"a sealing key has {PUBLIC_KEY_BYTES} bytes, got {len(public_bytes)}"
        )
    try:
        key = hpke.MLKEM768X25519PublicKey(
            mlkem.MLKEM768PublicKey.from_public_bytes(public_bytes[:_MLKEM_PUBLIC_BYTES]),
            x25519.X25519PublicKey.from_public_bytes(public_bytes[_MLKEM_PUBLIC_BYTES:]),
        )
        return _SUITE.encrypt(plaintext, key, info)
    except ValueError:
        # A key off the ML-KEM modulus, or an X25519 point of small order.
        raise PeerError("sealed", "the sealing key is not a valid public key") from None


def _check_info(info: bytes) -> None:
    if not 1 <= len(info) <= MAX_INFO_BYTES:
        raise CallError(
            "argument", f"a sealing context has 1 to {MAX_INFO_BYTES} bytes, got {len(info)}"
        )
