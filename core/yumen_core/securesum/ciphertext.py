"""Ciphertexts as bytes, and the blind sum of them, without the cryptographic library.

A BFV ciphertext block is a pair of polynomials of 4096 integers mod Q; adding ciphertexts is adding
those integers. So the coordinator needs neither a key nor the library: hostile bytes meet a
fixed-length header, a length that follows from it, and a range check on every integer.

    header   magic, version, contributions, slots, bytes a block, SHA-256 of the public key
    blocks   each c0 then c1, 4096 integers of 8 bytes, little endian
"""

from __future__ import annotations

import struct

import numpy as np

from yumen_core.errors import PeerError
from yumen_core.securesum.blind import BlindAdder, check_slots
from yumen_core.securesum.modulus import MAX_CONTRIBUTIONS, SLOTS, Slots, blocks
from yumen_core.securesum.public_key import BfvPublicKey, Q

BLOCK_BYTES = 2 * SLOTS * 8
_HEADER = struct.Struct("<4sHHII32s")
HEADER_BYTES = _HEADER.size
_MAGIC = b"YBFV"
_VERSION = 1
_Q = np.uint64(Q)


def sealed_bytes(slots: int) -> int:
    """The length of an encrypted contribution, or sum, of `slots` slots."""
    return HEADER_BYTES + blocks(slots) * BLOCK_BYTES


def header(public: BfvPublicKey, slots: int, contributions: int) -> bytes:
    """The header of an encrypted contribution (`contributions` = 1) or of a sum."""
    return _HEADER.pack(_MAGIC, _VERSION, contributions, slots, BLOCK_BYTES, public.digest)


def check_header(raw: bytes | bytearray, public: BfvPublicKey, slots: int) -> int:
    """The number of contributions that a header claims.

    Raises `PeerError("ciphertext")` unless it is of this format, for this key and this many slots.
    """
    wanted = f"{_what(slots)} for the job's key"
    if len(raw) < HEADER_BYTES:
        raise PeerError("ciphertext", f"expected {wanted}, got {len(raw)} bytes")
    magic, version, contributions, got_slots, block_bytes, digest = _HEADER.unpack_from(raw)
    if (magic, version, block_bytes) != (_MAGIC, _VERSION, BLOCK_BYTES):
        raise PeerError("ciphertext", f"expected {wanted}, got another format")
    if got_slots != slots:
        raise PeerError("ciphertext", f"expected {wanted}, got {got_slots} slots")
    if digest != public.digest:
        raise PeerError("ciphertext", f"expected {wanted}, got one for another key")
    if not 1 <= contributions <= MAX_CONTRIBUTIONS:
        raise PeerError("ciphertext", f"expected {wanted}, got {contributions} contributions")
    return int(contributions)


def check_block(block: Slots) -> None:
    """Raises `PeerError("ciphertext")` for an integer beyond Q and for a block that hides nothing.

    c1 = 0 makes a transparent ciphertext: c0 is then the plaintext, open to everyone.
    """
    if int(block.max()) >= Q:
        raise PeerError("ciphertext", f"expected ciphertext integers below {Q}, got one above")
    if not block[SLOTS:].any():
        raise PeerError("ciphertext", "expected a ciphertext, got a block that hides nothing")


def body(raw: bytes, slots: int) -> Slots:
    """The blocks behind the header, uint64[blocks, 2 * SLOTS], each checked.

    Raises `PeerError("ciphertext")`.
    """
    _check_length(len(raw), slots)
    found = np.frombuffer(raw, dtype="<u8", offset=HEADER_BYTES).reshape(-1, 2 * SLOTS)
    for block in found:
        check_block(block)
    return found


def _check_length(size: int, slots: int) -> None:
    if size != sealed_bytes(slots):
        raise PeerError("ciphertext", f"expected {_what(slots)}, got {_measure(size)}")


def _what(slots: int) -> str:
    return f"a sum of {blocks(slots)} blocks of {SLOTS} slots"


def _measure(size: int) -> str:
    whole, rest = divmod(size - HEADER_BYTES, BLOCK_BYTES)
    return f"{whole} blocks" if size >= HEADER_BYTES and not rest else f"{size} bytes"


class Adder(BlindAdder):
    """Adds contributions encrypted to one public key, a block at a time.

    Raises `CallError("argument")` for a number of slots out of range.
    """

    header_bytes, unit_bytes, unit_name = HEADER_BYTES, BLOCK_BYTES, "blocks"

    def __init__(self, public: BfvPublicKey, slots: int) -> None:
        check_slots(slots)
        super().__init__(slots, np.zeros((blocks(slots), 2 * SLOTS), dtype=np.uint64))
        self._public = public

    def check_units(self, raw: memoryview) -> None:
        for block in _rows(raw):
            check_block(block)

    def add_units(self, first: int, raw: memoryview) -> None:
        for index, block in enumerate(_rows(raw), start=first):
            total = self._total[index]
            np.add(total, block, out=total)
            # Below Q the subtraction wraps past 2**63, so the smaller of the two is the reduced
            # value.
            np.minimum(total, total - _Q, out=total)

    def what(self) -> str:
        return _what(self._slots)

    def _header(self, contributions: int) -> bytes:
        return header(self._public, self._slots, contributions)

    def _check_header(self, raw: bytes | bytearray) -> int:
        return check_header(raw, self._public, self._slots)

    def _check_length(self, size: int) -> None:
        _check_length(size, self._slots)


def _rows(raw: memoryview) -> Slots:
    return np.frombuffer(raw, dtype="<u8").reshape(-1, 2 * SLOTS)
