"""One training run as the strategy's side sees it: the same records to all nodes, one mean back."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from yumen_core.rpc.v1 import job_pb2, training_pb2
from yumen_core.training.records import Action, Arrays, Metrics, Records, Values, to_proto

from yumen.result import Exclusion

DEFAULT_WEIGHT = "num-examples"


@dataclass(frozen=True)
class Aggregate:
    """What one run released.

    `tensors` is the mean over all examples in the types of the model's layout (empty unless the
    action is `train`); `metrics` the weighted mean of each over the nodes that gave it; `examples`
    the total; `nodes` how many nodes count; `clipped` how many of them were clipped to the norm;
    `participants` the SPIFFE ids behind the sum, `lost` who dropped out on the way.
    """

    tensors: Mapping[str, Values]
    metrics: Mapping[str, float]
    examples: int
    nodes: int
    clipped: int = 0
    participants: tuple[str, ...] = ()
    lost: tuple[Exclusion, ...] = field(default=())


class Rounds(Protocol):
    """The training runs of one job, one after another."""

    @property
    def participants(self) -> tuple[str, ...]:
        """The SPIFFE ids of the nodes that a run asks."""

    def run(self, action: Action, records: Records) -> Aggregate:
        """Send `records` to every participant, wait, and give the mean of what they answer."""


class TrainingJob(Rounds, Protocol):
    """Runs that nodes really do, with their beginning and end."""

    @property
    def job_ids(self) -> Sequence[str]:
        """The jobs so far, one for each shape of content."""

    @property
    def excluded(self) -> tuple[Exclusion, ...]:
        """Who was asked and takes no part."""

    def hear(self, tell: Callable[[job_pb2.JobStatus], None]) -> None:
        """Tell of each state of a job until it runs: waits for approval can take days."""

    def complete(self) -> None:
        """The training is done: no run will follow."""

    def abandon(self) -> None:
        """The training ended otherwise; nothing where it is done already."""


def content_digest(action: Action, records: Records) -> bytes:
    """SHA-256 over an action and the exact records, names, types and order included.

    Every part goes in behind its length, so that no two contents give the same bytes.
    """
    state = hashlib.sha256(b"yumen training content 1\n")
    for part in _parts(action, records):
        view = memoryview(part)
        state.update(struct.pack("<Q", view.nbytes))
        state.update(view)
    return state.digest()


def raw_bytes(values: Values) -> memoryview:
    """The bytes of an array, little endian and row by row; a view where it lies so already."""
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8).data


def _parts(action: Action, records: Records) -> Iterable[bytes | memoryview]:
    yield action.value.encode()
    for key, record in records.items():
        if isinstance(record, Arrays):
            yield b"arrays"
            yield key.encode()
            yield str(len(record.tensors)).encode()
            for name, values in record.tensors.items():
                yield name.encode()
                yield f"{values.dtype.name} {values.shape}".encode()
                yield raw_bytes(values)
        else:
            yield b"metrics" if isinstance(record, Metrics) else b"config"
            message = training_pb2.TrainingInput(records=to_proto({key: record}))
            yield message.SerializeToString(deterministic=True)
