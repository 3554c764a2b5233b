"""Named records: what a strategy sends a node in a training run, and what local work answers.

They mirror Flower's RecordDict (arrays, metrics, config) without its classes, so that coordinator
and core do not load Flower, and without npy files or pickles: a tensor is its name, type, shape
and raw bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from yumen_core.errors import CallError, PeerError
from yumen_core.rpc.v1 import training_pb2

Values = npt.NDArray[Any]
Scalar = int | float | str | bytes | bool | Sequence[int] | Sequence[float] | Sequence[str]

DTYPES = (
    *("float16", "float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
MAX_TENSORS = 2000
MAX_SCALARS = 2000
MAX_RECORDS = 32
MAX_NAME_CHARS = 200
MAX_DIMENSIONS = 16


class Action(StrEnum):
    """What a run asks of the nodes, by Flower's message types. Only `train` answers arrays."""

    TRAIN = "train"
    EVALUATE = "evaluate"
    QUERY = "query"


@dataclass(frozen=True)
class Arrays:
    """Tensors in order, by name."""

    tensors: Mapping[str, Values]


@dataclass(frozen=True)
class Metrics:
    """Numbers, or lists of numbers, by name."""

    scalars: Mapping[str, Scalar]


@dataclass(frozen=True)
class Config:
    """Settings by name."""

    scalars: Mapping[str, Scalar]


Record = Arrays | Metrics | Config
Records = Mapping[str, Record]
"""Records by key, in order."""


def to_proto(records: Records) -> list[training_pb2.Record]:
    """The records as messages. Raises `CallError` (`argument`) for a tensor of another type than
    `DTYPES` or a scalar of another type than `Scalar`."""
    return [_record_to_proto(key, record) for key, record in records.items()]


def from_proto(messages: Sequence[training_pb2.Record]) -> dict[str, Record]:
    """Records that another party sent, each tensor a read-only view of the message's bytes.

    1. No more records, tensors, scalars or characters than the limits, no name twice. 2. Each
    tensor has a known type, and as many bytes as type and shape say. 3. Each scalar has a value of
    its record's kind. Raises `PeerError` (`training`).
    """
    if len(messages) > MAX_RECORDS:
        raise _malformed(f"expected at most {MAX_RECORDS} records, got {len(messages)}")
    _check_names([m.key for m in messages])
    return {message.key: _record(message) for message in messages}


def parse_input(raw: bytes) -> dict[str, Record]:
    """The records of a run's opened input. Raises `PeerError` (`training`)."""
    try:
        message = training_pb2.TrainingInput.FromString(raw)
    except DecodeError:
        raise _malformed("expected the input of a training run, got other bytes") from None
    return from_proto(message.records)


def _record_to_proto(key: str, record: Record) -> training_pb2.Record:
    match record:
        case Arrays(tensors):
            message = training_pb2.Record(key=key, kind=training_pb2.RECORD_KIND_ARRAYS)
            for name, values in tensors.items():
                message.tensors.append(_tensor_to_proto(name, values))
            return message
        case Metrics(scalars):
            kind = training_pb2.RECORD_KIND_METRICS
        case Config(scalars):
            kind = training_pb2.RECORD_KIND_CONFIG
    message = training_pb2.Record(key=key, kind=kind)
    for name, value in scalars.items():
        message.scalars.append(_scalar_to_proto(name, value))
    return message


def _tensor_to_proto(name: str, values: Values) -> training_pb2.Tensor:
    if values.dtype.name not in DTYPES:
        raise CallError(
            "argument",
            f"expected arrays of {', '.join(DTYPES)}, got `{name}` of {values.dtype.name}",
        )
    raw = np.ascontiguousarray(values)
    little = raw.astype(raw.dtype.newbyteorder("<"), copy=False)
    return training_pb2.Tensor(
        name=name, dtype=values.dtype.name, shape=values.shape, data=little.tobytes()
    )


def _scalar_to_proto(name: str, value: Scalar) -> training_pb2.Scalar:
    match value:
        case bool():
            return training_pb2.Scalar(name=name, flag=value)
        case int() if -(1 << 63) <= value < 1 << 63:
            return training_pb2.Scalar(name=name, integer=value)
        case float():
            return training_pb2.Scalar(name=name, real=value)
        case str():
            return training_pb2.Scalar(name=name, text=value)
        case bytes():
            return training_pb2.Scalar(name=name, raw=value)
        case list() | tuple():
            return _list_to_proto(name, value)
        case _:
            raise CallError(
                "argument",
                f"expected settings of numbers, texts, bytes or lists of these, got `{name}`",
            )


def _list_to_proto(name: str, values: Sequence[Any]) -> training_pb2.Scalar:
    kinds = {type(value) for value in values}
    small = all(-(1 << 63) <= value < 1 << 63 for value in values if isinstance(value, int))
    if kinds <= {int} and small:
        return training_pb2.Scalar(name=name, integers=training_pb2.Integers(values=values))
    if float in kinds and kinds <= {int, float} and small:
        return training_pb2.Scalar(name=name, reals=training_pb2.Reals(values=values))
    if kinds == {str}:
        return training_pb2.Scalar(name=name, texts=training_pb2.Texts(values=values))
    raise CallError("argument", f"expected a list of numbers or of texts, got `{name}` of others")


def _record(message: training_pb2.Record) -> Record:
    match message.kind:
        case training_pb2.RECORD_KIND_ARRAYS:
            if len(message.tensors) > MAX_TENSORS:
                raise _malformed(
                    f"expected at most {MAX_TENSORS} arrays, got {len(message.tensors)}"
                )
            _check_names([tensor.name for tensor in message.tensors])
            return Arrays({tensor.name: _tensor(tensor) for tensor in message.tensors})
        case training_pb2.RECORD_KIND_METRICS:
            scalars = _scalars(message)
            if not all(_is_number(value) for value in scalars.values()):
                raise _malformed("expected metrics that are numbers or lists of them, got others")
            return Metrics(scalars)
        case training_pb2.RECORD_KIND_CONFIG:
            return Config(_scalars(message))
        case _:
            raise _malformed("expected records of arrays, metrics or config, got another kind")


def _tensor(message: training_pb2.Tensor) -> Values:
    if message.dtype not in DTYPES or len(message.shape) > MAX_DIMENSIONS:
        raise _malformed(
            f"expected an array of a known type and of at most {MAX_DIMENSIONS} dimensions"
        )
    dtype = np.dtype(message.dtype).newbyteorder("<")
    shape = tuple(message.shape)
    if math.prod(shape) * dtype.itemsize != len(message.data):
        raise _malformed("expected as many bytes as an array's type and shape say, got others")
    if dtype.kind == "b" and message.data.strip(b"\x00\x01"):
        raise _malformed("expected true or false in an array of these, got another byte")
    try:
        values: Values = np.frombuffer(message.data, dtype=dtype).reshape(shape)
    except (ValueError, OverflowError):  # sides beside a zero that are past numpy's range
        raise _malformed("expected the sides of an array, got larger ones") from None
    return values


def _scalars(message: training_pb2.Record) -> dict[str, Scalar]:
    if len(message.scalars) > MAX_SCALARS:
        raise _malformed(f"expected at most {MAX_SCALARS} values, got {len(message.scalars)}")
    _check_names([scalar.name for scalar in message.scalars])
    return {scalar.name: _scalar(scalar) for scalar in message.scalars}


def _scalar(message: training_pb2.Scalar) -> Scalar:
    which = message.WhichOneof("value")
    if which is None:
        raise _malformed("expected a value under each name, got none")
    value = getattr(message, which)
    if which in ("integers", "reals", "texts"):
        return list(value.values)
    scalar: Scalar = value
    return scalar


def _is_number(value: Scalar) -> bool:
    if isinstance(value, list):
        return all(isinstance(entry, int | float) for entry in value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_names(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if len(name) > MAX_NAME_CHARS or name in seen:
            raise _malformed(
                f"expected distinct names of at most {MAX_NAME_CHARS} characters, got others"
            )
        seen.add(name)


def _malformed(message: str) -> PeerError:
    return PeerError("training", message)
