"""Contributions of the `stream` suite as bytes, and the blind sum of them.

A contribution is a vector of 64-bit words under pairwise masks and its node's one-time pad, so that
every word is uniform to whoever lacks them, and adding contributions is adding words mod 2**64.
There is nothing in a word to check: any eight bytes are one. Lengths and header are fixed.

    header   magic, version, contributions, words, bytes a word
    words    8 bytes each, little endian
"""

from __future__ import annotations

import struct

import numpy as np

from yumen_core.errors import PeerError
from yumen_core.securesum.blind import BlindAdder, check_slots
from yumen_core.securesum.modulus import MAX_CONTRIBUTIONS, Slots

WORD_BYTES = 8
_HEADER = struct.Struct("<4sHHII")
HEADER_BYTES = _HEADER.size
_MAGIC = b"YSTR"
_VERSION = 1


def framed_bytes(words: int) -> int:
    """The length of a contribution, or sum, of `words` words."""
    return HEADER_BYTES + words * WORD_BYTES


def header(words: int, contributions: int) -> bytes:
    """The header of a contribution (`contributions` = 1) or of a sum."""
    return _HEADER.pack(_MAGIC, _VERSION, contributions, words, WORD_BYTES)


def framed(words: Slots) -> bytes:
    """The bytes of one contribution, uint64[words]."""
    return b"".join((header(words.size, 1), words.astype("<u8", copy=False).data))


def check_header(raw: bytes | bytearray, words: int) -> int:
    """The number of contributions that a header claims.

    Raises `PeerError("ciphertext")` unless it is of this format and for this many words.
    """
    if len(raw) < HEADER_BYTES:
        raise PeerError("ciphertext", f"expected {_what(words)}, got {len(raw)} bytes")
    magic, version, contributions, got_words, word_bytes = _HEADER.unpack_from(raw)
    if (magic, version, word_bytes) != (_MAGIC, _VERSION, WORD_BYTES):
        raise PeerError("ciphertext", f"expected {_what(words)}, got another format")
    if got_words != words:
        raise PeerError("ciphertext", f"expected {_what(words)}, got {got_words} words")
    if not 1 <= contributions <= MAX_CONTRIBUTIONS:
        raise PeerError("ciphertext", f"expected {_what(words)}, got {contributions} contributions")
    return int(contributions)


def body(raw: bytes, words: int) -> Slots:
    """The words behind a checked header, uint64[words], read-only.

    Raises `PeerError("ciphertext")` for another length.
    """
    _check_length(len(raw), words)
    return np.frombuffer(raw, dtype="<u8", offset=HEADER_BYTES)


class WordAdder(BlindAdder):
    """Adds contributions of `words` words mod 2**64.

    Raises `CallError("argument")` for a number of words out of range.
    """

    header_bytes, unit_bytes, unit_name = HEADER_BYTES, WORD_BYTES, "words"

    def __init__(self, words: int) -> None:
        check_slots(words)
        super().__init__(words, np.zeros(words, dtype=np.uint64))

    def check_units(self, raw: memoryview) -> None:
        """Every word may be added."""

    def add_units(self, first: int, raw: memoryview) -> None:
        more = np.frombuffer(raw, dtype="<u8")
        part = self._total[first : first + more.size]
        np.add(part, more, out=part)

    def what(self) -> str:
        return _what(self._slots)

    def _header(self, contributions: int) -> bytes:
        return header(self._slots, contributions)

    def _check_header(self, raw: bytes | bytearray) -> int:
        return check_header(raw, self._slots)

    def _check_length(self, size: int) -> None:
        _check_length(size, self._slots)


def _check_length(size: int, words: int) -> None:
    if size != framed_bytes(words):
        raise PeerError(
            "ciphertext",
            f"expected {_what(words)} in {framed_bytes(words)} bytes, got {size} bytes",
        )


def _what(words: int) -> str:
    return f"a sum of {words} words"
