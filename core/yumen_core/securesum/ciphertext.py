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

from yumen_core.errors import CallError, PeerError
from yumen_core.securesum.modulus import MAX_CONTRIBUTIONS, MAX_SLOTS, SLOTS, Slots, blocks
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


def check_header(raw: bytes | memoryview, public: BfvPublicKey, slots: int) -> int:
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
    if len(raw) != sealed_bytes(slots):
        raise PeerError("ciphertext", f"expected {_what(slots)}, got {_measure(len(raw))}")
    found = np.frombuffer(raw, dtype="<u8", offset=HEADER_BYTES).reshape(-1, 2 * SLOTS)
    for block in found:
        check_block(block)
    return found


def _what(slots: int) -> str:
    return f"a sum of {blocks(slots)} blocks of {SLOTS} slots"


def _measure(size: int) -> str:
    whole, rest = divmod(size - HEADER_BYTES, BLOCK_BYTES)
    return f"{whole} blocks" if size >= HEADER_BYTES and not rest else f"{size} bytes"


class Adder:
    """Adds encrypted contributions of `slots` slots as they arrive; it can read none of them.

    Use `add` for a whole contribution, `receive` for one that comes in pieces. Not for use by
    several threads at once. Raises `CallError("argument")` for a number of slots out of range.
    """

    def __init__(self, public: BfvPublicKey, slots: int) -> None:
        if not 1 <= slots <= MAX_SLOTS:
            raise CallError("argument", f"expected 1 to {MAX_SLOTS} slots, got `{slots}`")
        self._public = public
        self._slots = slots
        self._total = np.zeros((blocks(slots), 2 * SLOTS), dtype=np.uint64)
        self._started = 0
        self.contributions = 0

    def add(self, raw: bytes) -> None:
        """Add one whole contribution; a refused one leaves the sum as it was.

        Raises `PeerError("ciphertext")` for bytes that are none, `PeerError("round")` beyond
        MAX_CONTRIBUTIONS.
        """
        _check_single(check_header(raw, self._public, self._slots))
        found = body(raw, self._slots)
        self._start()
        for index, block in enumerate(found):
            self._add_block(index, block)
        self.contributions += 1

    def receive(self) -> Incoming:
        """A contribution that comes in pieces. Until it is finished there is no result."""
        self._start()
        return Incoming(self, self._public, self._slots)

    def result(self) -> bytes:
        """The encrypted sum of what was added.

        Raises `PeerError("round")` with no contribution, or with one begun and not finished:
        part of it is in the sum, and no part can be taken out again.
        """
        if not self.contributions or self._started != self.contributions:
            raise PeerError(
                "round",
                f"expected whole contributions, got {self.contributions} of {self._started}",
            )
        head = header(self._public, self._slots, self.contributions)
        return head + self._total.astype("<u8", copy=False).tobytes()

    def _start(self) -> None:
        if self._started >= MAX_CONTRIBUTIONS:
            raise PeerError(
                "round", f"expected at most {MAX_CONTRIBUTIONS} contributions, got another"
            )
        self._started += 1

    def _add_block(self, index: int, block: Slots) -> None:
        total = self._total[index]
        np.add(total, block, out=total)
        # Below Q the subtraction wraps past 2**63, so the smaller of the two is the reduced value.
        np.minimum(total, total - _Q, out=total)

    def _finish(self) -> None:
        self.contributions += 1


class Incoming:
    """One contribution in pieces of any size. Each whole block is checked, added and forgotten."""

    def __init__(self, adder: Adder, public: BfvPublicKey, slots: int) -> None:
        self._adder = adder
        self._public = public
        self._slots = slots
        self._buffer = bytearray()
        self._index = -1  # the next block; -1 while the header is awaited
        self._left = sealed_bytes(slots)

    def feed(self, piece: bytes) -> None:
        """Take the next bytes. Raises `PeerError("ciphertext")`; the sum is then lost."""
        if len(piece) > self._left:
            raise PeerError(
                "ciphertext",
                f"expected {_what(self._slots)}, got {len(piece) - self._left} bytes beyond it",
            )
        self._left -= len(piece)
        self._buffer += piece
        if self._index < 0 and len(self._buffer) >= HEADER_BYTES:
            _check_single(check_header(bytes(self._buffer), self._public, self._slots))
            del self._buffer[:HEADER_BYTES]
            self._index = 0
        if self._index >= 0:
            self._take_blocks()

    def _take_blocks(self) -> None:
        whole = len(self._buffer) // BLOCK_BYTES
        if not whole:
            return
        ready = bytes(self._buffer[: whole * BLOCK_BYTES])
        del self._buffer[: len(ready)]
        for block in np.frombuffer(ready, dtype="<u8").reshape(whole, -1):
            check_block(block)
            self._adder._add_block(self._index, block)
            self._index += 1

    def finish(self) -> None:
        """Count the contribution. Raises `PeerError("ciphertext")` if blocks are missing."""
        if self._index != blocks(self._slots):
            raise PeerError(
                "ciphertext",
                f"expected {_what(self._slots)}, got {max(self._index, 0)} whole blocks",
            )
        self._index += 1  # a second finish is refused too
        self._adder._finish()


def _check_single(contributions: int) -> None:
    if contributions != 1:
        raise PeerError("ciphertext", f"expected one contribution, got a sum of {contributions}")
