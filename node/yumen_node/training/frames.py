"""Messages over a pipe: a length in 4 bytes, little endian, then as many bytes.

Used on both sides of the sandbox, with blocking descriptors. Standard library only.
"""

from __future__ import annotations

import os

_LENGTH_BYTES = 4
MAX_FRAME_BYTES = (1 << 32) - 1


class Closed(Exception):
    """The other side ended."""


class TooLong(Exception):
    """The other side announced more bytes than it may send."""


def write_frame(pipe: int, message: bytes) -> None:
    """Raises `Closed`; `TooLong` for a message whose length does not fit."""
    if len(message) > MAX_FRAME_BYTES:
        raise TooLong
    head = len(message).to_bytes(_LENGTH_BYTES, "little")
    try:
        for part in (head, message):
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(pipe, rest) :]
    except (BrokenPipeError, ConnectionResetError):
        raise Closed from None


def read_frame(pipe: int, limit: int) -> bytearray:
    """One message of at most `limit` bytes. Raises `Closed`, `TooLong`."""
    length = int.from_bytes(_read(pipe, _LENGTH_BYTES), "little")
    if length > limit:
        raise TooLong
    return _read(pipe, length)


def _read(pipe: int, length: int) -> bytearray:
    """Into one buffer: many small pieces would cost far more memory than they carry."""
    message = bytearray(length)
    rest = memoryview(message)
    while rest:
        got = os.readv(pipe, [rest])
        if got == 0:
            raise Closed
        rest = rest[got:]
    return message
