"""Records on the wire: every type as it was, and messages of others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from yumen_core.errors import CallError, PeerError
from yumen_core.rpc.v1 import training_pb2
from yumen_core.training.records import (
    DTYPES,
    MAX_DIMENSIONS,
    MAX_NAME_CHARS,
    MAX_RECORDS,
    MAX_SCALARS,
    MAX_TENSORS,
    Arrays,
    Config,
    Metrics,
    Record,
    from_proto,
    parse_input,
    to_proto,
)

Message = training_pb2.Record
KEY = "secret-key"


def back(records: dict[str, Record]) -> dict[str, Record]:
    message = training_pb2.TrainingInput(records=to_proto(records))
    return parse_input(message.SerializeToString())


# Round trips --------------------------------------------------------------------------------------

shapes = arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(DTYPES).flatmap(lambda dtype: arrays_of.arrays(np.dtype(dtype), shapes)),
    st.sampled_from(["<", ">"]),
    st.booleans(),
)
def test_a_tensor_comes_back_bit_by_bit(values: Any, order: str, fortran: bool) -> None:
    sent = values.astype(values.dtype.newbyteorder(order))
    if fortran:
        sent = np.array(sent, order="F")
    (found,) = back({"a": Arrays({"t": sent})}).values()
    assert isinstance(found, Arrays)
    got = found.tensors["t"]
    assert (got.dtype.name, got.shape) == (values.dtype.name, values.shape)
    assert got.astype(values.dtype).tobytes() == values.tobytes()


integers = st.integers(-(1 << 63), (1 << 63) - 1)
reals = st.floats(allow_nan=False)
numbers = st.one_of(integers, reals, st.lists(integers), st.lists(reals, min_size=1))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
scalars = st.one_of(
    numbers, st.booleans(), texts, st.binary(max_size=9), st.lists(texts, min_size=1)
)
records = st.one_of(
    st.dictionaries(texts, numbers, max_size=4).map(Metrics),
    st.dictionaries(texts, scalars, max_size=4).map(Config),
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(texts, records, max_size=4))
def test_scalars_come_back_with_their_types_and_order(sent: dict[str, Record]) -> None:
    found = back(sent)
    assert found == sent
    assert list(found) == list(sent)
    for key, record in sent.items():
        other = found[key]
        assert not isinstance(record, Arrays)
        assert type(other) is type(record)
        assert not isinstance(other, Arrays)
        for name, value in record.scalars.items():
            assert type(other.scalars[name]) is type(value)


def test_a_slice_is_sent_as_what_it_shows() -> None:
    whole = np.arange(24, dtype=np.int16).reshape(4, 6)
    (found,) = back({"a": Arrays({"t": whole[::2, ::-3]})}).values()
    assert isinstance(found, Arrays)
    assert found.tensors["t"].tolist() == [[5, 2], [17, 14]]


def test_what_came_over_the_wire_is_not_written_to() -> None:
    (found,) = back({"a": Arrays({"t": np.zeros(3)})}).values()
    assert isinstance(found, Arrays)
    with pytest.raises(ValueError, match="read-only"):
        found.tensors["t"][0] = 1.0


def test_numbers_of_both_kinds_in_a_list_are_reals() -> None:
    assert back({"m": Metrics({"a": [1, 2.5], "b": [], "c": (1, 2)})}) == {
        "m": Metrics({"a": [1.0, 2.5], "b": [], "c": [1, 2]})
    }


@pytest.mark.parametrize(
    "value",
    [None, {}, 1 << 63, -(1 << 63) - 1, np.float32(1.0), np.int64(1), {1}, Ellipsis],
    ids=str,
)
def test_a_scalar_of_another_type(value: Any) -> None:
    with pytest.raises(CallError) as caught:
        to_proto({"c": Config({"lr": value})})
    assert (caught.value.code, caught.value.message) == (
        "argument",
        "expected settings of numbers, texts, bytes or lists of these, got `lr`",
    )


@pytest.mark.parametrize(
    "values",
    [
        [None], [1, "a"], [True], [True, 1], [b"a"], [[1]], [1 << 63], [0.5, 1 << 70],
        [10**400, 0.5], [np.float32(1)],
    ],
    ids=str,
)  # fmt: skip
def test_a_list_of_other_types(values: Any) -> None:
    with pytest.raises(CallError) as caught:
        to_proto({"c": Config({"lr": values})})
    assert (caught.value.code, caught.value.message) == (
        "argument",
        "expected a list of numbers or of texts, got `lr` of others",
    )


@pytest.mark.parametrize("dtype", ["complex64", "object", "U3", "datetime64[s]", "longdouble"])
def test_an_array_of_another_type(dtype: str) -> None:
    with pytest.raises(CallError, match=r"^expected arrays of float16, .*, got `t` of "):
        to_proto({"a": Arrays({"t": np.zeros(2, dtype=dtype)})})


# Messages of others -------------------------------------------------------------------------------


def arrays(*tensors: training_pb2.Tensor) -> Message:
    return Message(key=KEY, kind=training_pb2.RECORD_KIND_ARRAYS, tensors=tensors)


def tensor(
    shape: list[int], data: bytes, dtype: str = "uint8", name: str = "t"
) -> training_pb2.Tensor:
    return training_pb2.Tensor(name=name, dtype=dtype, shape=shape, data=data)


def values(*scalars: training_pb2.Scalar, kind: int = training_pb2.RECORD_KIND_CONFIG) -> Message:
    return Message(key=KEY, kind=kind, scalars=scalars)  # type: ignore[arg-type]


def number(name: str = "n") -> training_pb2.Scalar:
    return training_pb2.Scalar(name=name, integer=1)


METRICS = training_pb2.RECORD_KIND_METRICS
BYTES = "expected as many bytes as an array's type and shape say, got others"
SIDES = "expected the sides of an array, got larger ones"
TYPE = f"expected an array of a known type and of at most {MAX_DIMENSIONS} dimensions"
NAMES = f"expected distinct names of at most {MAX_NAME_CHARS} characters, got others"
NUMBERS = "expected metrics that are numbers or lists of them, got others"
BIG = 1 << 63


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: [values()] * 2, NAMES),
        (lambda: [values() for _ in range(MAX_RECORDS + 1)],
         f"expected at most {MAX_RECORDS} records, got {MAX_RECORDS + 1}"),
        (lambda: [Message(key="k" * (MAX_NAME_CHARS + 1), kind=METRICS)], NAMES),
        (lambda: [Message(key=KEY)],
         "expected records of arrays, metrics or config, got another kind"),
        (lambda: [Message(key=KEY, kind=77)],  # type: ignore[arg-type]
         "expected records of arrays, metrics or config, got another kind"),
        (lambda: [arrays(*[tensor([1], b"a", name=str(i)) for i in range(MAX_TENSORS + 1)])],
         f"expected at most {MAX_TENSORS} arrays, got {MAX_TENSORS + 1}"),
        (lambda: [arrays(tensor([1], b"a"), tensor([1], b"a"))], NAMES),
        (lambda: [arrays(tensor([1], b"a", name="x" * 201))], NAMES),
        (lambda: [arrays(tensor([1], b"a", "object"))], TYPE),
        (lambda: [arrays(tensor([1], b"a", "<u1"))], TYPE),
        (lambda: [arrays(tensor([1], b"a", ""))], TYPE),
        (lambda: [arrays(tensor([1], b"a", "(2,)f4"))], TYPE),
        (lambda: [arrays(tensor([1] * (MAX_DIMENSIONS + 1), b"a"))], TYPE),
        (lambda: [arrays(tensor([2], b"a"))], BYTES),
        (lambda: [arrays(tensor([], b""))], BYTES),
        (lambda: [arrays(tensor([1], b"abc", "float32"))], BYTES),
        (lambda: [arrays(tensor([0], b"a"))], BYTES),
        (lambda: [arrays(tensor([1 << 32, 1 << 32], b""))], BYTES),  # 0 modulo 2**64
        (lambda: [arrays(tensor([1 << 32, 1 << 32, 1], b"a"))], BYTES),
        (lambda: [arrays(tensor([(1 << 64) - 1, (1 << 64) - 1], b"a"))], BYTES),  # (-1)(-1)
        (lambda: [arrays(tensor([BIG, 0], b""))], SIDES),
        (lambda: [arrays(tensor([(1 << 64) - 1, 0], b""))], SIDES),
        (lambda: [arrays(tensor([1 << 40, 1 << 40, 0], b"", "float64"))], SIDES),
        (lambda: [arrays(tensor([2], b"\x00\x02", "bool"))],
         "expected true or false in an array of these, got another byte"),
        (lambda: [arrays(tensor([3], b"\x00\x02\x01", "bool"))],
         "expected true or false in an array of these, got another byte"),
        (lambda: [values(*[number(str(i)) for i in range(MAX_SCALARS + 1)])],
         f"expected at most {MAX_SCALARS} values, got {MAX_SCALARS + 1}"),
        (lambda: [values(number(), number())], NAMES),
        (lambda: [values(number("x" * 201))], NAMES),
        (lambda: [values(training_pb2.Scalar(name="n"))],
         "expected a value under each name, got none"),
        (lambda: [values(training_pb2.Scalar(name="n", text="a"), kind=METRICS)], NUMBERS),
        (lambda: [values(training_pb2.Scalar(name="n", raw=b"a"), kind=METRICS)], NUMBERS),
        (lambda: [values(training_pb2.Scalar(name="n", flag=True), kind=METRICS)], NUMBERS),
        (lambda: [values(training_pb2.Scalar(
            name="n", texts=training_pb2.Texts(values=["a"])), kind=METRICS)], NUMBERS),
    ],
)  # fmt: skip
def test_a_message_of_another_form(make: Callable[[], list[Message]], message: str) -> None:
    with pytest.raises(PeerError) as caught:
        from_proto(make())
    assert (caught.value.code, caught.value.message) == ("training", message)
    assert KEY not in str(caught.value)


def test_at_the_limits() -> None:
    whole = [arrays(*[tensor([1] * 16, b"a", name=f"{i:0200}") for i in range(MAX_TENSORS)])]
    whole += [
        Message(
            key=f"{i}", kind=METRICS, scalars=[number(str(j)) for j in range(MAX_SCALARS // 20)]
        )
        for i in range(MAX_RECORDS - 1)
    ]
    found = from_proto(whole)
    assert len(found) == MAX_RECORDS
    first = found[KEY]
    assert isinstance(first, Arrays)
    assert len(first.tensors) == MAX_TENSORS


@pytest.mark.parametrize("raw", [b"\xff", b"\x0a\xff\xff", b"\x0a\x02\x0a\x05"])
def test_bytes_that_are_no_input(raw: bytes) -> None:
    with pytest.raises(PeerError) as caught:
        parse_input(raw)
    assert (caught.value.code, caught.value.message) == (
        "training",
        "expected the input of a training run, got other bytes",
    )


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_it_stumble(raw: bytes) -> None:
    with suppress(PeerError):
        parse_input(raw)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, (1 << 64) - 1) | st.sampled_from([0, 1, 2]), max_size=18),
    st.sampled_from([*DTYPES, "object", ""]),
    st.binary(max_size=16),
)
def test_no_shape_makes_it_stumble(shape: list[int], dtype: str, data: bytes) -> None:
    try:
        (found,) = from_proto([arrays(tensor(shape, data, dtype))]).values()
    except PeerError:
        return
    assert isinstance(found, Arrays)
    assert found.tensors["t"].shape == tuple(shape)
    assert found.tensors["t"].nbytes == len(data)
