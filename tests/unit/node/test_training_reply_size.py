"""A reply costs the node little more than its bytes: parts are counted before it is parsed."""

from __future__ import annotations

import numpy as np
import pytest
from yumen_core.errors import StateError
from yumen_core.rpc.v1 import training_pb2
from yumen_core.training.records import Arrays, Config, Metrics, Record, to_proto
from yumen_node.training.reply import MAX_ENTRIES, MAX_OTHER_BYTES, parse_records, parse_reply

Parts = list[training_pb2.Record]


def raw_of(records: Parts) -> bytearray:
    result = training_pb2.SandboxResult(records=records)
    return bytearray(training_pb2.SandboxReply(result=result).SerializeToString())


def scalar(**value: object) -> Parts:
    kind = training_pb2.RECORD_KIND_CONFIG
    one = training_pb2.Scalar(name="x", **value)  # type: ignore[arg-type]
    return [training_pb2.Record(key="r", kind=kind, scalars=[one])]


def integers(count: int) -> Parts:
    return scalar(integers=training_pb2.Integers(values=[-1] * count))


def reals(count: int) -> Parts:
    return scalar(reals=training_pb2.Reals(values=[0.5] * count))


def texts(count: int) -> Parts:
    return scalar(texts=training_pb2.Texts(values=["é"] * count))


def shape(count: int) -> Parts:
    tensor = training_pb2.Tensor(name="w", dtype="float32", shape=[1] * count)
    return [training_pb2.Record(key="r", kind=training_pb2.RECORD_KIND_ARRAYS, tensors=[tensor])]


def text(size: int) -> Parts:
    return scalar(text="x" * size)


def tensors(count: int, records: int) -> Parts:
    return [training_pb2.Record(tensors=[training_pb2.Tensor()] * count)] * records


def test_an_ordinary_reply_is_read_whole() -> None:
    records: dict[str, Record] = {
        "arrays": Arrays({"w": np.zeros((3, 700_000), np.float32), "b": np.array(True)}),
        "metrics": Metrics({"a": 1, "b": -0.5, "c": [1, -(1 << 62)], "d": [0.5] * 9_000}),
        "config": Config({"t": "text", "l": ["a", ""], "r": b"raw", "f": False}),
    }
    found = parse_records(parse_reply(raw_of(to_proto(records))).result)
    assert list(found) == list(records)
    assert (found["metrics"], found["config"]) == (records["metrics"], records["config"])
    arrays = found["arrays"]
    assert isinstance(arrays, Arrays)
    assert arrays.tensors["w"].shape == (3, 700_000)


@pytest.mark.parametrize(
    "records",
    [
        *(integers(MAX_ENTRIES), reals(MAX_ENTRIES), texts(MAX_ENTRIES)),
        *(text(MAX_OTHER_BYTES - 100), tensors(1_000, 2)),
    ],
)
def test_within_the_limits(records: Parts) -> None:
    assert len(parse_reply(raw_of(records)).result.records) == len(records)


@pytest.mark.parametrize(
    "records",
    [
        *(integers(MAX_ENTRIES + 1), reals(MAX_ENTRIES + 1), texts(MAX_ENTRIES + 1)),
        *(integers(MAX_ENTRIES // 2 + 1) * 2, shape(MAX_ENTRIES + 1)),
        *(text(MAX_OTHER_BYTES), text(MAX_OTHER_BYTES // 2) * 2, tensors(1_001, 2)),
        [training_pb2.Record(key="k" * (MAX_OTHER_BYTES + 1))],
    ],
)
def test_beyond_them(records: Parts) -> None:
    with pytest.raises(StateError) as caught:
        parse_reply(raw_of(records))
    assert caught.value.message == "expected records from the app, got other bytes"


def test_entries_that_are_not_packed_count_too() -> None:
    entry = bytes([1 << 3]) + b"\x01"  # integers.values, one number
    body = entry * (MAX_ENTRIES + 1)
    one = bytes([7 << 3 | 2]) + _size(body) + body
    for field in (4, 1):  # a record's scalar, a result's record
        one = bytes([field << 3 | 2]) + _size(one) + one
    raw = bytearray(bytes([2 << 3 | 2]) + _size(one) + one)
    assert training_pb2.SandboxReply.FromString(bytes(raw)).WhichOneof("reply") == "result"
    with pytest.raises(StateError):
        parse_reply(raw)


def test_data_given_twice_is_refused() -> None:
    data = bytes([4 << 3 | 2]) + _size(b"xxxx") + b"xxxx"
    tensor = bytes([3 << 3 | 2]) + _size(data * 2) + data * 2
    record = bytes([1 << 3 | 2]) + _size(tensor) + tensor
    raw = bytearray(bytes([2 << 3 | 2]) + _size(record) + record)
    assert training_pb2.SandboxReply.FromString(bytes(raw)).result.records[0].tensors[0].data
    with pytest.raises(StateError):
        parse_reply(raw)


def _size(body: bytes) -> bytes:
    size, made = len(body), b""
    while size > 0x7F:
        made += bytes([size & 0x7F | 0x80])
        size >>= 7
    return made + bytes([size])
