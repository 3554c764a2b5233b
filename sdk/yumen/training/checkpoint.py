"""One finished run as a file: its aggregate, and the digest of the content that asked for it.

`yumen-round-1` and a line end, the SHA-256 of all that follows (32 bytes), the length of a
`TrainingInput` message (8 bytes, little endian), the message with the records `facts` and
`metrics`, and the bytes of each array in order. No pickle and no npy file.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from yumen_core.errors import PeerError
from yumen_core.rpc.v1 import training_pb2
from yumen_core.training.records import (
    DTYPES,
    Action,
    Config,
    Metrics,
    Record,
    Scalar,
    Values,
    parse_input,
    to_proto,
)

from yumen.result import Exclusion
from yumen.training.aggregate import Aggregate, raw_bytes

_MAGIC = b"yumen-round-1\n"
_DIGEST_BYTES, _LENGTH_BYTES = 32, 8


@dataclass(frozen=True)
class Finished:
    """One finished run: `digest` is of the content that asked for it, `seconds` its duration."""

    action: Action
    digest: bytes
    aggregate: Aggregate
    seconds: float


def to_parts(finished: Finished) -> list[bytes | memoryview]:
    """The whole file in parts, the arrays as they lie in memory: a large model is not copied.

    Raises `CallError` (`argument`) for metrics that are no numbers.
    """
    aggregate = finished.aggregate
    facts: dict[str, Scalar] = {
        "action": finished.action.value,
        "digest": finished.digest,
        "examples": aggregate.examples,
        "nodes": aggregate.nodes,
        "clipped": aggregate.clipped,
        "seconds": float(finished.seconds),
        "participants": list(aggregate.participants),
        "lost": [exclusion.node for exclusion in aggregate.lost],
        "reasons": [exclusion.reason for exclusion in aggregate.lost],
        "names": list(aggregate.tensors),
        "types": [values.dtype.name for values in aggregate.tensors.values()],
        "shapes": [",".join(map(str, values.shape)) for values in aggregate.tensors.values()],
    }
    records: dict[str, Record] = {
        "facts": Config(facts),
        "metrics": Metrics({name: float(value) for name, value in aggregate.metrics.items()}),
    }
    head = training_pb2.TrainingInput(records=to_proto(records))
    plain = head.SerializeToString(deterministic=True)
    body = [len(plain).to_bytes(_LENGTH_BYTES, "little"), plain]
    parts: list[bytes | memoryview] = [*body, *map(raw_bytes, aggregate.tensors.values())]
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return [_MAGIC, state.digest(), *parts]


def from_bytes(raw: bytes) -> Finished:
    """Read a file: 1. the magic line, 2. the digest, 3. the records, 4. their fields, 5. as many
    bytes of arrays as these say. The arrays are read-only views of `raw`.

    Raises `PeerError` (`training`).
    """
    view = memoryview(raw)
    start = len(_MAGIC) + _DIGEST_BYTES
    if not raw.startswith(_MAGIC) or not hmac.compare_digest(
        view[len(_MAGIC) : start], hashlib.sha256(view[start:]).digest()
    ):
        raise _malformed()
    length = int.from_bytes(view[start : start + _LENGTH_BYTES], "little")
    start += _LENGTH_BYTES
    records = parse_input(bytes(view[start : start + length]))
    facts, metrics = records.get("facts"), records.get("metrics")
    if not isinstance(facts, Config) or not isinstance(metrics, Metrics):
        raise _malformed()
    try:
        tensors = _tensors(facts.scalars, view[start + length :])
        return _finished(facts.scalars, metrics.scalars, tensors)
    except (KeyError, TypeError, ValueError):
        raise _malformed() from None


def _tensors(facts: Mapping[str, Scalar], body: memoryview) -> dict[str, Values]:
    described = (_texts(facts[key]) for key in ("names", "types", "shapes"))
    tensors: dict[str, Values] = {}
    position = 0
    for name, kind, sides in zip(*described, strict=True):
        if kind not in DTYPES or name in tensors:
            raise ValueError
        dtype = np.dtype(kind).newbyteorder("<")
        shape = tuple(int(side) for side in sides.split(",")) if sides else ()
        end = position + math.prod(shape) * dtype.itemsize
        tensors[name] = np.frombuffer(body[position:end], dtype=dtype).reshape(shape)
        position = end
    if position != len(body):
        raise ValueError
    return tensors


def _finished(
    facts: Mapping[str, Scalar], metrics: Mapping[str, Scalar], tensors: Mapping[str, Values]
) -> Finished:
    lost = zip(_texts(facts["lost"]), _texts(facts["reasons"]), strict=True)
    digest = facts["digest"]
    if not isinstance(digest, bytes):
        raise TypeError
    aggregate = Aggregate(
        tensors=tensors,
        metrics={name: _real(value) for name, value in metrics.items()},
        examples=_count(facts["examples"]),
        nodes=_count(facts["nodes"]),
        clipped=_count(facts["clipped"]),
        participants=tuple(_texts(facts["participants"])),
        lost=tuple(Exclusion(node, reason) for node, reason in lost),
    )
    seconds = _real(facts["seconds"])
    return Finished(Action(str(facts["action"])), digest, aggregate, seconds)


def _texts(value: Scalar) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise TypeError
    return [str(entry) for entry in value]


def _count(value: Scalar) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError
    return value


def _real(value: Scalar) -> float:
    if not isinstance(value, float):
        raise TypeError
    return value


def _malformed() -> PeerError:
    return PeerError("training", "expected a checkpoint of a finished run, got other bytes")
