"""Flower's records to ours and back. Loads Flower."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.lib import format as npy
from yumen_core.errors import CallError
from yumen_core.training.records import Arrays, Config, Metrics, Record, Values

from yumen.training.aggregate import Aggregate

METRICS_KEY = "metrics"
_DEFAULT_ARRAYS_KEY = "arrays"
_NUMPY = "numpy.ndarray"
_LEGACY = {"fitins.": "fitres", "evaluateins.": "evaluateres"}


def records_of(content: RecordDict) -> dict[str, Record]:
    """The records of a message, arrays as numpy.

    Raises `CallError` (`training`) for an array in another form than numpy's own file format.
    """
    found: dict[str, Record] = {}
    for key, record in content.items():
        if isinstance(record, ArrayRecord):
            found[key] = Arrays({name: _values(name, array) for name, array in record.items()})
        elif isinstance(record, MetricRecord):
            found[key] = Metrics(dict(record))
        else:
            settings: dict[str, Any] = dict(record)
            found[key] = Config(settings)
    return found


def arrays_of(record: ArrayRecord) -> dict[str, Values]:
    """The tensors of a record by name. Raises `CallError` (`training`) as `records_of` does."""
    return {name: _values(name, array) for name, array in record.items()}


def array_record(tensors: Mapping[str, Values]) -> ArrayRecord:
    """Tensors as Flower takes them."""
    return ArrayRecord({name: _array(np.asarray(values)) for name, values in tensors.items()})


def initial_arrays(initial: Mapping[str, Any]) -> ArrayRecord:
    """Named numpy arrays or PyTorch tensors as Flower takes them.

    Raises `CallError` (`training`) for anything else, or for no array at all.
    """
    if isinstance(initial, torch.nn.Module):
        initial = initial.state_dict()
    if not isinstance(initial, Mapping) or not initial:
        raise CallError(
            "training",
            f"expected initial arrays by name, got `{type(initial).__name__}`",
            remedy="give a model's state_dict(), or a dict of numpy arrays",
        )
    found: dict[str, Values] = {}
    for name, values in initial.items():
        if isinstance(values, torch.Tensor) and values.dtype != torch.bfloat16:
            values = values.detach().cpu().numpy()
        if not isinstance(name, str) or not isinstance(values, np.ndarray):
            raise CallError(
                "training",
                f"expected initial arrays of numpy or PyTorch, got `{name}` of another type",
            )
        found[name] = values
    return array_record(found)


def is_legacy(content: RecordDict) -> bool:
    """Whether a strategy of `flwr.server` sent this, through Flower's compatibility layer."""
    return _legacy_reply(content) is not None


def reply_content(
    sent: RecordDict, aggregate: Aggregate, weight: str, *, share: int | None = None
) -> RecordDict:
    """The one reply that stands for all: the mean under the key of the arrays sent, and the
    metrics with the total of the examples under `weight`. `share` takes the total's place, where
    a legacy strategy hears the mean once for every node.

    Raises `CallError` (`training`) where a legacy evaluation has no loss.
    """
    examples = aggregate.examples if share is None else share
    legacy = _legacy_reply(sent)
    if legacy is not None:
        return _legacy_content(legacy, aggregate, examples)
    metrics = MetricRecord({**aggregate.metrics, weight: examples})
    content = RecordDict({METRICS_KEY: metrics})
    if aggregate.tensors:
        content[_arrays_key(sent, aggregate)] = array_record(aggregate.tensors)
    return content


def _legacy_reply(content: RecordDict) -> str | None:
    for key in content:
        for prefix, reply in _LEGACY.items():
            if key.startswith(prefix):
                return reply
    return None


def _legacy_content(reply: str, aggregate: Aggregate, examples: int) -> RecordDict:
    metrics = dict(aggregate.metrics)
    content = RecordDict()
    if reply == "evaluateres":
        if "loss" not in metrics:
            raise CallError(
                "training", "expected a loss from every evaluation, got none from the nodes"
            )
        content[f"{reply}.loss"] = MetricRecord({"loss": metrics.pop("loss")})
    else:
        content[f"{reply}.parameters"] = array_record(aggregate.tensors)
    content[f"{reply}.num_examples"] = MetricRecord({"num_examples": examples})
    content[f"{reply}.metrics"] = ConfigRecord(dict(metrics))
    content[f"{reply}.status"] = ConfigRecord({"code": 0, "message": ""})
    return content


def _arrays_key(sent: RecordDict, aggregate: Aggregate) -> str:
    """The key of the record that the answer replaces: of several, that with the same names."""
    found = {key: list(record) for key, record in sent.items() if isinstance(record, ArrayRecord)}
    same = (key for key, names in found.items() if names == list(aggregate.tensors))
    return next(same, next(iter(found), _DEFAULT_ARRAYS_KEY))


def _array(values: Values) -> Array:
    """Flower's array of numpy's file format, made with one copy; `Array(values)` makes three."""
    head = io.BytesIO()
    facts = npy.header_data_from_array_1_0(np.asarray(values, order="C"))
    npy.write_array_header_1_0(head, facts)
    data = b"".join((head.getvalue(), np.ascontiguousarray(values).reshape(-1).view(np.uint8).data))
    return Array(dtype=str(values.dtype), shape=tuple(values.shape), stype=_NUMPY, data=data)


def _values(name: str, array: Array) -> Values:
    """An array's values, where they can be a read-only view of its bytes."""
    try:
        if array.stype == _NUMPY and (view := _view(array.data)) is not None:
            return view
        values: Values = array.numpy()
    except (TypeError, ValueError, EOFError) as error:
        raise CallError(
            "training",
            f"expected arrays that numpy can hold, got `{name}` in another form",
            remedy="build the record from numpy arrays or PyTorch tensors",
        ) from error
    return values


def _view(data: bytes) -> Values | None:
    """What lies in numpy's file format, version 1.0, row by row; None for any other."""
    stream = io.BytesIO(data)
    if npy.read_magic(stream) != (1, 0):
        return None
    shape, by_column, dtype = npy.read_array_header_1_0(stream)
    size = math.prod(shape)
    if (
        by_column
        or dtype.hasobject
        or size * dtype.itemsize != len(data) - stream.tell()
        or not size
    ):
        return None
    view: Values = np.frombuffer(data, dtype=dtype, offset=stream.tell()).reshape(shape)
    return view
