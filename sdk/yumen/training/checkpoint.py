"""One finished run as a file: its aggregate, and the digest of the content that asked for it.

`yumen-round-1` and a line end, the SHA-256 of what follows, 32 bytes, and a `TrainingInput` message
with the records `facts`, `metrics` and `arrays`. No pickle and no npy file.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from yumen_core.errors import PeerError
from yumen_core.rpc.v1 import training_pb2
from yumen_core.training.records import (
    Action,
    Arrays,
    Config,
    Metrics,
    Record,
    Scalar,
    parse_input,
    to_proto,
)

from yumen.result import Exclusion
from yumen.training.aggregate import Aggregate

_MAGIC = b"yumen-round-1\n"
_HEAD_BYTES = len(_MAGIC) + 32


@dataclass(frozen=True)
class Finished:
    """One finished run: `digest` is of the content that asked for it, `seconds` its duration."""

    action: Action
    digest: bytes
    aggregate: Aggregate
    seconds: float


def to_bytes(finished: Finished) -> bytes:
    """The whole file. Raises `CallError` (`argument`) for arrays of another type than numbers."""
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
    }
    records: dict[str, Record] = {
        "facts": Config(facts),
        "metrics": Metrics({name: float(value) for name, value in aggregate.metrics.items()}),
        "arrays": Arrays(aggregate.tensors),
    }
    message = training_pb2.TrainingInput(records=to_proto(records))
    body = message.SerializeToString(deterministic=True)
    return b"".join((_MAGIC, hashlib.sha256(body).digest(), body))


def from_bytes(raw: bytes) -> Finished:
    """Read a file: 1. the head, 2. the digest, 3. the three records, 4. their fields.

    Raises `PeerError` (`training`).
    """
    head, body = raw[:_HEAD_BYTES], memoryview(raw)[_HEAD_BYTES:]
    if not head.startswith(_MAGIC) or not hmac.compare_digest(
        head[len(_MAGIC) :], hashlib.sha256(body).digest()
    ):
        raise _malformed()
    records = parse_input(bytes(body))
    facts, metrics, arrays = (records.get(key) for key in ("facts", "metrics", "arrays"))
    if not (
        isinstance(facts, Config) and isinstance(metrics, Metrics) and isinstance(arrays, Arrays)
    ):
        raise _malformed()
    try:
        return _finished(facts.scalars, metrics.scalars, arrays)
    except (KeyError, TypeError, ValueError):
        raise _malformed() from None


def _finished(
    facts: Mapping[str, Scalar], metrics: Mapping[str, Scalar], arrays: Arrays
) -> Finished:
    lost = zip(_texts(facts["lost"]), _texts(facts["reasons"]), strict=True)
    digest = facts["digest"]
    if not isinstance(digest, bytes):
        raise TypeError
    aggregate = Aggregate(
        tensors=arrays.tensors,
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
