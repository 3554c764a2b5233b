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
    MAX_DIMENSIONS,
    MAX_RECORDS,
    MAX_SCALARS,
    MAX_TENSORS,
    Record,
    from_proto,
)

MAX_FAULT_BYTES = 1_000
MAX_OTHER_BYTES = 1 << 20
"""Of a whole reply, but for the data of its tensors."""
MAX_ENTRIES = 1 << 16
"""Entries of all lists and shapes of a reply."""
# Numbers of fields in training.proto
_RESULT, _RECORDS, _TENSORS, _SCALARS = 2, 1, 3, 4
_SHAPE, _DATA = 3, 4
_INTEGERS, _REALS, _TEXTS = 7, 8, 9
_LISTS = (_INTEGERS, _REALS, _TEXTS)
_OTHERS_OF_RECORD = 2  # key, kind
_OTHERS_OF_TENSOR = 3  # name, dtype, data
_FIELDS_OF_SCALAR = 2  # name, value
_CONTINUED = bytes(range(0x80, 0x100))


def parse_reply(raw: bytearray) -> training_pb2.SandboxReply:
    """The message. 1. Its parts are counted. 2. It is parsed. Raises `StateError` (`training`)."""
    try:
        _Counter().reply(memoryview(raw))
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


class _Counter:
    """Counts of one reply. Its methods raise `ValueError` or `IndexError` for more parts than a
    reply may have, or other bytes."""

    def __init__(self) -> None:
        self._left = {
            "bytes": MAX_OTHER_BYTES,
            "entries": MAX_ENTRIES,
            "records": MAX_RECORDS,
            "tensors": MAX_TENSORS,
            "scalars": MAX_SCALARS,
        }

    def reply(self, raw: memoryview) -> None:
        for at, (number, body) in enumerate(_fields(raw)):
            if at > 0 or (number != _RESULT and len(body) > MAX_FAULT_BYTES):
                raise ValueError
            if number == _RESULT:
                for key, record in _fields(body):
                    if key != _RECORDS:
                        raise ValueError
                    self._spend("records", 1)
                    self._record(record)

    def _record(self, record: memoryview) -> None:
        others = 0
        for number, body in _fields(record):
            if number == _TENSORS:
                self._spend("tensors", 1)
                self._tensor(body)
            elif number == _SCALARS:
                self._spend("scalars", 1)
                self._spend("bytes", len(body))
                self._scalar(body)
            else:
                others += 1
                self._spend("bytes", len(body))
                if others > _OTHERS_OF_RECORD:
                    raise ValueError

    def _tensor(self, tensor: memoryview) -> None:
        """Its sides count as entries, however they are packed; its data counts once."""
        data = 0
        for at, (number, body) in enumerate(_fields(tensor)):
            if number == _DATA:
                data += 1
            else:
                self._spend("bytes", len(body))
                self._spend("entries", _varints(body) if number == _SHAPE else 1)
            if data > 1 or at > MAX_DIMENSIONS + _OTHERS_OF_TENSOR:
                raise ValueError

    def _scalar(self, scalar: memoryview) -> None:
        for at, (number, body) in enumerate(_fields(scalar)):
            if at >= _FIELDS_OF_SCALAR:
                raise ValueError
            if number in _LISTS:
                for _, entry in _fields(body):
                    self._spend("entries", _entries(number, entry))

    def _spend(self, what: str, amount: int) -> None:
        self._left[what] -= amount
        if self._left[what] < 0:
            raise ValueError


def _entries(number: int, body: memoryview) -> int:
    """How many values one field of the list `number` holds."""
    if number == _INTEGERS:
        return _varints(body)
    return max(1, len(body) // 8) if number == _REALS else 1


def _varints(body: memoryview) -> int:
    """How many packed numbers `body` holds: each ends with a byte below 0x80."""
    return max(1, len(bytes(body).translate(None, _CONTINUED)))


def _fields(raw: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and body of each field: of a number, an empty body."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(raw, at)
            yield tag >> 3, raw[:0]
        elif kind == 1:
            if at + 8 > len(raw):
                raise ValueError
            yield tag >> 3, raw[:0]
            at += 8
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
