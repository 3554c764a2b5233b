"""Flower's records to ours and back. Loads Flower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from yumen_core.errors import CallError
from yumen_core.training.records import Arrays, Config, Metrics, Record, Values

from yumen.training.aggregate import Aggregate

METRICS_KEY = "metrics"
_DEFAULT_ARRAYS_KEY = "arrays"
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
    return ArrayRecord({name: Array(np.asarray(values)) for name, values in tensors.items()})


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
    for key, record in sent.array_records.items():
        if list(record) == list(aggregate.tensors):
            return key
    return next(iter(sent.array_records), _DEFAULT_ARRAYS_KEY)


def _values(name: str, array: Array) -> Values:
    try:
        values: Values = array.numpy()
    except (TypeError, ValueError, EOFError) as error:
        raise CallError(
            "training",
            f"expected arrays that numpy can hold, got `{name}` in another form",
            remedy="build the record from numpy arrays or PyTorch tensors",
        ) from error
    return values
