"""Messages over pipes, and the replies of a worker that is not believed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yumen_core.errors import StateError
from yumen_core.rpc.v1 import training_pb2
from yumen_core.training.records import Arrays, Metrics, to_proto
from yumen_node.training.frames import Closed, TooLong, read_frame, write_frame
from yumen_node.training.reply import MAX_FAULT_BYTES, parse_records, parse_reply


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


class TestFrames:
    @pytest.mark.parametrize("size", [0, 1, 5_000_000])
    def test_a_message_arrives_whole(self, pipe: tuple[int, int], size: int) -> None:
        message = os.urandom(size)
        writer = threading.Thread(target=write_frame, args=(pipe[1], message))
        writer.start()
        assert read_frame(pipe[0], size) == message
        writer.join()

    def test_a_longer_one_than_allowed_is_not_read(self, pipe: tuple[int, int]) -> None:
        os.write(pipe[1], b"\xff\xff\xff\xff")
        with pytest.raises(TooLong):
            read_frame(pipe[0], 1_000)

    @pytest.mark.parametrize("raw", [b"", b"\x05", b"\x05\x00\x00\x00abcd"])
    def test_an_end_before_the_message_is_one(self, pipe: tuple[int, int], raw: bytes) -> None:
        os.write(pipe[1], raw)
        os.close(pipe[1])
        with pytest.raises(Closed):
            read_frame(pipe[0], 1_000)

    def test_a_reader_that_is_gone(self, pipe: tuple[int, int]) -> None:
        os.close(pipe[0])
        with pytest.raises(Closed):
            write_frame(pipe[1], b"x")


def result(*records: training_pb2.Record) -> bytearray:
    reply = training_pb2.SandboxReply()
    reply.result.records.extend(records)
    return bytearray(reply.SerializeToString())


def record(**fields: object) -> training_pb2.Record:
    return training_pb2.Record(key="k", kind=training_pb2.RECORD_KIND_METRICS, **fields)


class TestReply:
    def test_records_come_back(self) -> None:
        sent = {"a": Arrays({"w": np.arange(6.0).reshape(2, 3)}), "m": Metrics({"loss": 0.5})}
        got = parse_records(parse_reply(result(*to_proto(sent))).result)
        assert got["m"] == sent["m"]
        arrays = got["a"]
        assert isinstance(arrays, Arrays)
        assert arrays.tensors["w"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]

    @pytest.mark.parametrize(
        "raw",
        [
            pytest.param(bytearray(b"\xff" * 20), id="no message"),
            pytest.param(bytearray(b"\x12\x7f\x00"), id="a part beyond the end"),
            pytest.param(result() * 2, id="two replies"),
            pytest.param(result(*[record()] * 33), id="many records"),
            pytest.param(
                result(record(scalars=[training_pb2.Scalar()] * 2_001)), id="many scalars"
            ),
            pytest.param(
                result(record(tensors=[training_pb2.Tensor()] * 2_001)), id="many tensors"
            ),
            pytest.param(
                bytearray(
                    training_pb2.SandboxReply(
                        fault=training_pb2.SandboxFault(subject="x" * MAX_FAULT_BYTES)
                    ).SerializeToString()
                ),
                id="a long fault",
            ),
            pytest.param(bytearray(b"\x12\x02\x12\x00"), id="something else among the records"),
            pytest.param(bytearray(b"\x0b\x0c"), id="a group"),
        ],
    )
    def test_malformed(self, raw: bytearray) -> None:
        with pytest.raises(StateError, match="expected records from the app, got other bytes"):
            parse_reply(raw)

    def test_records_of_a_wrong_kind(self) -> None:
        texts = record(scalars=[training_pb2.Scalar(name="row", text="a row")])
        with pytest.raises(StateError, match="expected records from the app, got other bytes"):
            parse_records(parse_reply(result(texts)).result)

    @given(st.binary(max_size=200))
    def test_any_bytes_are_a_reply_or_refused(self, raw: bytes) -> None:
        try:
            kind = parse_reply(bytearray(raw)).WhichOneof("reply")
        except StateError as fault:
            kind = fault.code
        assert kind in (None, "ready", "result", "fault", "training")
