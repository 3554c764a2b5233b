"""The requester's public key as bytes, read without the cryptographic library.

The bytes are ours, not the library's: a fixed header, then the key's coefficients and nothing
else. A hostile requester therefore cannot choose the ring, send a compressed bomb, or slip in
other keys: everything but the coefficients is fixed, and those are range-checked here.

    header   magic, version, log2 of the ring degree, T, the two primes of the modulus
    p0, p1   each 4096 integers mod Q, then 4096 mod Q_SPECIAL, 8 bytes, little endian, NTT form
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field

import numpy as np

from yumen_core.errors import PeerError
from yumen_core.securesum.modulus import SLOTS, T

# The primes that SEAL's CoeffModulus::Create(4096, {60, 49}) yields. 109 bits at degree 4096 are
# 128-bit security (HomomorphicEncryption.org standard 2018, table 1). Ciphertexts live mod Q;
# Q_SPECIAL serves the encryption alone, where switching it away leaves little noise.
Q = 0xFFF_FFFF_FFFF_C001
Q_SPECIAL = 0x1_FFFF_FFFC_E001

_HEADER = struct.Struct("<4sHHQQQ")
_EXPECTED = (b"YBPK", 1, 12, T, Q, Q_SPECIAL)
_NAMES = ("magic", "version", "log2 of N", "t", "first prime", "second prime")
KEY_BYTES = _HEADER.size + 4 * SLOTS * 8


@dataclass(frozen=True)
class BfvPublicKey:
    """A checked public key. `digest` is SHA-256 of its bytes, 32 bytes."""

    _raw: bytes = field(repr=False)
    digest: bytes

    @classmethod
    def from_bytes(cls, raw: bytes) -> BfvPublicKey:
        """Check and take a key that another party sent.

        1. the length; 2. each field of the header; 3. every coefficient below its prime; 4. no
        half of the key all zero, which would encrypt nothing.

        Raises `PeerError("ciphertext")`, naming what was expected and what came.
        """
        if len(raw) != KEY_BYTES:
            raise PeerError(
                "ciphertext", f"expected a public key of {KEY_BYTES} bytes, got {len(raw)}"
            )
        for name, wanted, got in zip(_NAMES, _EXPECTED, _HEADER.unpack_from(raw), strict=True):
            if got != wanted:
                raise PeerError(
                    "ciphertext", f"expected a public key with {name} `{wanted!r}`, got `{got!r}`"
                )
        halves = np.frombuffer(raw, dtype="<u8", offset=_HEADER.size).reshape(2, 2, SLOTS)
        for k, prime in enumerate((Q, Q_SPECIAL)):
            if int(halves[:, k].max()) >= prime:
                raise PeerError(
                    "ciphertext", f"expected a public key with numbers below {prime}, got one above"
                )
        if not halves.any(axis=2).all():
            raise PeerError("ciphertext", "expected a public key, got one that is partly zero")
        return cls(bytes(raw), hashlib.sha256(raw).digest())

    @classmethod
    def from_coefficients(cls, coefficients: bytes) -> BfvPublicKey:
        """The key of these little-endian coefficients, checked as in `from_bytes`."""
        return cls.from_bytes(_HEADER.pack(*_EXPECTED) + coefficients)

    def to_bytes(self) -> bytes:
        return self._raw

    def coefficients(self) -> bytes:
        """What follows the header."""
        return self._raw[_HEADER.size :]
