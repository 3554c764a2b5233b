"""A worker's reply, read with suspicion.

The message parser makes an object of every part, many times the bytes that it stands in. So the
parts are counted in the bytes first (Protocol Buffers, "Encoding").
"""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import DecodeError
from yumen_core.errors import PeerError, StateError
from yumen_core.rpc.v1 import training_pb2
from yumen_core.training.records import (
    MAX_RECORDS,
    MAX_SCALARS,
    MAX_TENSORS,
    Record,
    from_proto,
)

MAX_FAULT_BYTES = 1_000
_RESULT, _RECORDS, _TENSORS, _SCALARS = 2, 1, 3, 4
_MAX_FIELDS = {_TENSORS: MAX_TENSORS, _SCALARS: MAX_SCALARS}


def parse_reply(raw: bytearray) -> training_pb2.SandboxReply:
    """The message. 1. Its parts are counted. 2. It is parsed. Raises `StateError` (`training`)."""
    try:
        _count(memoryview(raw))
        return training_pb2.SandboxReply.FromString(bytes(raw))
    except (DecodeError, ValueError, IndexError):
        raise malformed() from None


def parse_records(result: training_pb2.SandboxResult) -> dict[str, Record]:
    """The records of a reply. Raises `StateError` (`training`)."""
    try:
        return from_proto(result.records)
    except PeerError:
        raise malformed() from None


def malformed() -> StateError:
    return StateError("training", "expected records from the app, got other bytes")


def _count(raw: memoryview) -> None:
    """Raises `ValueError` or `IndexError` for more parts than a reply may have, or other bytes."""
    replies = 0
    records = 0
    for number, body in _fields(raw):
        replies += 1
        if replies > 1:
            raise ValueError
        if number != _RESULT:
            if len(body) > MAX_FAULT_BYTES:
                raise ValueError
            continue
        for key, record in _fields(body):
            records += 1
            if key != _RECORDS or records > MAX_RECORDS:
                raise ValueError
            _count_record(record)


def _count_record(record: memoryview) -> None:
    seen = dict.fromkeys(_MAX_FIELDS, 0)
    others = 0
    for number, _ in _fields(record):
        if number in seen:
            seen[number] += 1
            if seen[number] > _MAX_FIELDS[number]:
                raise ValueError
        else:
            others += 1
            if others > len(_MAX_FIELDS):
                raise ValueError


def _fields(raw: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and body of each field: of a number, an empty body."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(raw, at)
            yield tag >> 3, raw[:0]
        elif kind == 2:
            size, at = _varint(raw, at)
            if at + size > len(raw):
                raise ValueError
            yield tag >> 3, raw[at : at + size]
            at += size
        else:
            raise ValueError


def _varint(raw: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError
