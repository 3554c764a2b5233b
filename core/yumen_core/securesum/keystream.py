"""Uniform draws from a cipher: AES-256 in counter mode under a key used once.

Two parties that hold the same key draw the same numbers. The nonce is always zero: that is safe
only because every key here comes from HKDF over a `binding` (job, round, participant set) and a
label, so no key ever makes two streams. Draws that fall outside the range are dropped and the
next ones take their place, in order, so that the result is exactly uniform and depends on the
stream alone, not on how it is cut into pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from yumen_core.securesum.modulus import Slots

# Gives the next so many bytes of a stream; the seam at which tests put bytes of their own.
Stream = Callable[[int], bytes]

# Draws at a time: pieces stay in the processor's cache, and below the size from which the allocator
# asks the system for fresh pages each time.
PIECE = 1 << 13
_ZEROS = bytes(16 * PIECE)
_LOW_48 = np.uint64((1 << 48) - 1)


def derive(secret: bytes, *fields: bytes) -> bytes:
    """A 32-byte key: HKDF-SHA256 (RFC 5869), `info` the length-prefixed `fields`."""
    info = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(secret)


def stream(key: bytes) -> Stream:
    """The AES-256-CTR stream of a 32-byte `key` with a zero nonce. See the module's warning."""
    encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def take(count: int) -> bytes:
        return encryptor.update(_ZEROS[:count] if count <= len(_ZEROS) else bytes(count))

    return take


def slot_draws(take: Stream, length: int, modulus: int) -> Iterator[tuple[int, Slots]]:
    """`length` numbers uniform in [0, modulus), in pieces of (offset, uint64 array).

    One draw is 8 bytes, little endian, the top 16 bits dropped; 2**47 < modulus <= 2**48.
    """
    offset = 0
    while offset < length:
        want = min(PIECE, length - offset)
        draws = np.frombuffer(take(8 * want), dtype="<u8") & _LOW_48
        if int(draws.max()) >= modulus:
            draws = draws[draws < modulus]
        yield offset, draws
        offset += draws.size


def combine_words(words: Slots, streams: Sequence[tuple[bool, Stream]]) -> None:
    """Add to `words`, uint64[n], or subtract from them, in place and mod 2**64, the next n draws of
    each stream: (whether it is added, the stream).

    One draw is 8 bytes, little endian, so it is uniform mod 2**64 and none is rejected.
    """
    for start in range(0, words.size, PIECE):
        part = words[start : start + PIECE]
        for adds, take in streams:
            draws = np.frombuffer(take(8 * part.size), dtype="<u8")
            (np.add if adds else np.subtract)(part, draws, out=part)


def number_draw(take: Stream, modulus: int, size: int) -> int:
    """One number uniform in [0, modulus) from draws of `size` bytes, little endian."""
    while (draw := int.from_bytes(take(size), "little")) >= modulus:
        pass
    return draw


def word_draws(take: Stream, length: int, modulus: int) -> Iterator[npt.NDArray[np.uint16]]:
    """`length` numbers uniform in [0, modulus) as rows of five 16-bit words, lowest first.

    One draw is 10 bytes, little endian; 2**80 - 2**16 < modulus <= 2**80.
    """
    lowest = modulus & 0xFFFF
    left = length
    while left:
        rows = np.frombuffer(take(10 * min(PIECE, left)), dtype="<u2").reshape(-1, 5)
        suspects = np.flatnonzero(rows[:, 4] == 0xFFFF)
        if suspects.size:
            high = (rows[suspects, 1:] == 0xFFFF).all(axis=1)
            rows = np.delete(rows, suspects[high & (rows[suspects, 0] >= lowest)], axis=0)
        yield rows
        left -= len(rows)
