"""The redo file: entries that are durable before their tiles are. Pure.

One file beside the tiles, not part of the tlog-tiles format. It opens with its base: the size and
root of the log whose files were all synced when the file began. Each batch of entries since then
follows as one record. A record that a crash cut short ends the file.

    header   `yumen-log-redo/v1 <size> <root, hex> <SHA-256 of what stands before, hex>` and LF
    record   magic(4) start(8) count(4) length(4) bundle(length) SHA-256 of all before(32)
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from yumen_core.errors import PeerError
from yumen_core.log.tiles import MAX_ENTRY_BYTES, decode_bundle, encode_bundle

# A batch is cut once it has this much, and the file begins anew once it has, so that it never
# passes `MAX_REDO_BYTES`.
BATCH_BYTES = 4 << 20
BATCH_ENTRIES = 4096
MAX_REDO_BYTES = 2 * (BATCH_BYTES + 2 + MAX_ENTRY_BYTES) + 4096

_HEADER = re.compile(rb"(yumen-log-redo/v1 ([0-9]{1,19}) ([0-9a-f]{64}) )([0-9a-f]{64})\n")
_RECORD = struct.Struct(">4sQII")
_MAGIC = b"YLR1"


@dataclass(frozen=True)
class Batch:
    """Entries appended together, the first of them with index `start`."""

    start: int
    entries: list[bytes]


@dataclass(frozen=True)
class Redo:
    """`size` and `root` are the base; `batches` follow it without a gap."""

    size: int
    root: bytes
    batches: list[Batch]


def encode_header(size: int, root: bytes) -> bytes:
    text = f"yumen-log-redo/v1 {size} {root.hex()} ".encode()
    return text + hashlib.sha256(text).hexdigest().encode() + b"\n"


def encode_record(start: int, entries: Sequence[bytes]) -> bytes:
    """Raises `CallError` (argument) for an entry too long."""
    body = encode_bundle(entries)
    record = _RECORD.pack(_MAGIC, start, len(entries), len(body)) + body
    return record + hashlib.sha256(record).digest()


def decode_redo(data: bytes) -> Redo:
    """The base and the whole records after it.

    Raises `PeerError` (log_corrupt) for a file too long, and where the header is not whole: no
    crash does that, since the header is synced before the file gets its name.
    """
    if len(data) > MAX_REDO_BYTES:
        raise PeerError("log_corrupt", f"a redo file has at most {MAX_REDO_BYTES} bytes")
    header = _HEADER.match(data)
    if not header or hashlib.sha256(header[1]).hexdigest().encode() != header[4]:
        raise PeerError("log_corrupt", "the file does not begin with a whole header")
    redo = Redo(int(header[2]), bytes.fromhex(header[3].decode()), [])
    at, size = header.end(), redo.size
    while True:
        found = _decode_record(data, at, size)
        if found is None:
            return redo
        batch, at = found
        redo.batches.append(batch)
        size += len(batch.entries)


def _decode_record(data: bytes, at: int, size: int) -> tuple[Batch, int] | None:
    """The record at `at` and where it ends; None where there is no whole record."""
    body = at + _RECORD.size
    if body > len(data):
        return None
    magic, start, count, length = _RECORD.unpack_from(data, at)
    end = body + length
    if magic != _MAGIC or start != size or count == 0 or end + 32 > len(data):
        return None
    if hashlib.sha256(data[at:end]).digest() != data[end : end + 32]:
        return None
    try:
        return Batch(start, decode_bundle(data[body:end], count)), end + 32
    except PeerError:
        return None
