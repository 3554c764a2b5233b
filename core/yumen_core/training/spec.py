"""A training as it is signed: what is trained, over which columns, and all that may leave."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from yumen_core import canonical
from yumen_core.canonical import Json
from yumen_core.errors import CallError, PeerError
from yumen_core.training.models.ready import ReadyModel
from yumen_core.training.records import (
    DTYPES,
    MAX_DIMENSIONS,
    MAX_NAME_CHARS,
    MAX_TENSORS,
    Action,
)

MAX_BYTES = 600_000
MAX_SQL_BYTES = 100_000
MAX_RUNS = 10_000
MAX_METRICS = 256
MAX_VALUES = 64_000_000
MAX_ROUND_TIMEOUT_S = 24 * 3600
MAX_SETTINGS = 200
_METRIC = re.compile(r"[A-Za-z][\w\-. /]{0,63}", re.ASCII)
_T = TypeVar("_T")

Setting = bool | int | float | str


@dataclass(frozen=True)
class TensorShape:
    """One tensor of the model: its name, numpy type and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class BundleCode:
    """Code of the requester, to be approved at each node: the digest of its bundle, and what its
    author calls it, which decides nothing."""

    digest: bytes
    name: str


Program = ReadyModel | BundleCode


@dataclass(frozen=True)
class TrainingSpec:
    """What the nodes train and what leaves them.

    `sql` is the statement of the rows (`sql.parse_rows`): plain columns of one table. `arrays` is
    what `train` answers, `metrics` the names of the numbers beside them, `weight` the metric by
    which nodes count. `runs` says how often each action may run. `clip_norm` bounds the L2 norm of
    one node's change in a round. Raises `CallError` (`training`) beyond the limits.
    """

    program: Program
    sql: str
    arrays: tuple[TensorShape, ...]
    metrics: tuple[str, ...]
    runs: Mapping[Action, int]
    weight: str = "num-examples"
    clip_norm: float | None = None
    round_timeout_s: int = 600
    run_config: Mapping[str, Setting] | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.sql.encode()) <= MAX_SQL_BYTES:
            raise _bad(f"expected a statement of 1 to {MAX_SQL_BYTES} bytes")
        self._check_arrays()
        self._check_metrics()
        if not self.runs or any(not 0 < n <= MAX_RUNS for n in self.runs.values()):
            raise _bad(f"expected each action to run 1 to {MAX_RUNS} times")
        if not self.arrays and Action.TRAIN in self.runs:
            raise _bad("expected the arrays that `train` answers, got none")
        if self.clip_norm is not None and not (
            math.isfinite(self.clip_norm) and self.clip_norm > 0
        ):
            raise _bad(f"expected a clip norm above zero, got `{self.clip_norm}`")
        if not 1 <= self.round_timeout_s <= MAX_ROUND_TIMEOUT_S:
            raise _bad(
                f"expected a round's time from 1 to {MAX_ROUND_TIMEOUT_S} s, "
                f"got `{self.round_timeout_s}`"
            )
        settings = (self.run_config or {}).values()
        if len(settings) > MAX_SETTINGS:
            raise _bad(f"expected at most {MAX_SETTINGS} settings")
        if not all(isinstance(value, bool | int | float | str) for value in settings):
            raise _bad("expected settings that are numbers, texts, true or false")
        if len(self.to_bytes()) > MAX_BYTES:
            raise _bad(f"expected a training of at most {MAX_BYTES} bytes")

    @property
    def name(self) -> str:
        """What people call the program."""
        return self.program.kind if isinstance(self.program, ReadyModel) else self.program.name

    @property
    def values(self) -> int:
        """The numbers of the model."""
        return sum(tensor.size for tensor in self.arrays)

    def to_bytes(self) -> bytes:
        return canonical.encode(self._to_json())

    def _to_json(self) -> dict[str, Json]:
        program: dict[str, Json]
        if isinstance(self.program, ReadyModel):
            program = {"model": self.program.to_json()}
        else:
            program = {"bundle": self.program.digest.hex(), "name": self.program.name}
        settings = {name: _setting_json(v) for name, v in (self.run_config or {}).items()}
        return {
            "arrays": [[t.name, t.dtype, list(t.shape)] for t in self.arrays],
            "clip_norm": None if self.clip_norm is None else repr(float(self.clip_norm)),
            "metrics": list(self.metrics),
            "program": program,
            "round_timeout_s": self.round_timeout_s,
            "run_config": settings,
            "runs": {action.value: count for action, count in self.runs.items()},
            "sql": self.sql,
            "weight": self.weight,
        }

    def _check_arrays(self) -> None:
        if len(self.arrays) > MAX_TENSORS:
            raise _bad(f"expected at most {MAX_TENSORS} arrays, got {len(self.arrays)}")
        names = {tensor.name for tensor in self.arrays}
        if len(names) != len(self.arrays) or any(len(n) > MAX_NAME_CHARS for n in names):
            raise _bad(f"expected arrays of distinct names of at most {MAX_NAME_CHARS} characters")
        for tensor in self.arrays:
            sides = tensor.shape
            if (
                tensor.dtype not in DTYPES
                or len(sides) > MAX_DIMENSIONS
                or not all(0 <= side <= MAX_VALUES for side in sides)
            ):
                raise _bad(f"expected an array of a known type and shape, got `{tensor.name}`")
        if self.values > MAX_VALUES:
            raise CallError(
                "payload_too_large",
                f"expected a model of at most {MAX_VALUES} values, got {self.values}",
                remedy="train a smaller model, or a part of it",
            )

    def _check_metrics(self) -> None:
        if len(self.metrics) > MAX_METRICS or len(set(self.metrics)) != len(self.metrics):
            raise _bad(f"expected at most {MAX_METRICS} distinct names of metrics")
        for name in (*self.metrics, self.weight):
            if not _METRIC.fullmatch(name):
                raise _bad("expected names of metrics of letters, digits and `_-. /`, got another")


def parse_training(data: bytes) -> TrainingSpec:
    """Read another party's training: 1. size, 2. JSON of the known keys and types, 3. the limits of
    `TrainingSpec`, 4. the canonical bytes. Raises `PeerError` (`job_spec`)."""
    if len(data) > MAX_BYTES:
        raise _malformed(f"expected a training of at most {MAX_BYTES} bytes, got {len(data)}")
    try:
        document = json.loads(data, parse_float=_no_float, parse_constant=_no_float)
        training = _training(document)
        same = training.to_bytes() == data
    except CallError as fault:
        raise _malformed(fault.message) from None
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError, OverflowError):
        raise _malformed("expected a training in JSON, got other bytes") from None
    if not same:
        raise _malformed("expected a training in canonical JSON, got another form")
    return training


def _training(document: object) -> TrainingSpec:
    clip = document.get("clip_norm") if isinstance(document, dict) else None
    return TrainingSpec(
        program=_program(_of(document, "program", dict)),
        sql=_of(document, "sql", str),
        arrays=tuple(_tensor(entry) for entry in _of(document, "arrays", list)[: MAX_TENSORS + 1]),
        metrics=tuple(_text(entry) for entry in _of(document, "metrics", list)[: MAX_METRICS + 1]),
        runs={Action(k): _count(n) for k, n in _of(document, "runs", dict).items()},
        weight=_of(document, "weight", str),
        clip_norm=None if clip is None else float(_text(clip)),
        round_timeout_s=_of(document, "round_timeout_s", int),
        run_config={k: _setting(v) for k, v in _of(document, "run_config", dict).items()},
    )


def _program(document: Mapping[str, object]) -> Program:
    if "model" in document:
        return ReadyModel.from_json(_of(document, "model", dict))
    digest = bytes.fromhex(_of(document, "bundle", str))
    name = _of(document, "name", str)
    if len(digest) != 32 or not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
        raise _bad("expected a bundle by its SHA-256 and a name")
    return BundleCode(digest, name)


def _tensor(entry: object) -> TensorShape:
    if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[2], list):
        raise _bad("expected an array as its name, type and shape")
    return TensorShape(_text(entry[0]), _text(entry[1]), tuple(_count(n) for n in entry[2]))


def _setting_json(value: Setting) -> Json:
    """Floats travel as text in an own form: canonical JSON has none."""
    if isinstance(value, float):
        return {"real": repr(value)}
    return value


def _setting(value: object) -> Setting:
    if isinstance(value, dict) and value.keys() == {"real"}:
        return float(_text(value["real"]))
    if isinstance(value, bool | int | str):
        return value
    raise _bad("expected settings that are numbers, texts, true or false")


def _of(document: object, key: str, kind: type[_T]) -> _T:
    value = document.get(key) if isinstance(document, dict) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _bad(f"expected `{key}` of a training as {kind.__name__}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _bad("expected a text in a training, got another type")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _bad("expected an integer in a training, got another type")
    return value


def _no_float(_: str) -> float:
    raise ValueError("no floating-point numbers")


def _bad(message: str) -> CallError:
    return CallError("training", message)


def _malformed(message: str) -> PeerError:
    return PeerError("job_spec", message)
