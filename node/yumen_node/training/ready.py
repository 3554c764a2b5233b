"""A ready model as the worker runs it: the node's own code, on the permitted rows."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
from yumen_core.training import models
from yumen_core.training.privacy import JobNoise
from yumen_core.training.records import Action, Arrays, Config, Metrics, Record, Records

ARRAYS, METRICS = "arrays", "metrics"


class ReadyApp:
    """Answers train and evaluate. Reads the rows once."""

    def __init__(
        self, model: str, data_path: str, *, threshold: int, noise: JobNoise | None = None
    ) -> None:
        """`threshold` is the fewest rows that may stand behind a category; with `noise` the work
        is private instead."""
        self._threshold = threshold
        self._model = models.ReadyModel.from_json(json.loads(model))
        self._table = pq.read_table(data_path)
        self._private = None
        if noise is not None:
            self._private = models.private_work(
                self._model, self._table, noise, threshold=threshold
            )

    def answers(self, action: Action) -> bool:
        return action is not Action.QUERY

    def __call__(self, action: Action, records: Records) -> dict[str, Record]:
        """Arrays and metrics under Flower's usual keys; the input's by their kind."""
        tensors = {
            name: values
            for record in records.values()
            if isinstance(record, Arrays)
            for name, values in record.tensors.items()
        }
        config = {
            name: value
            for record in records.values()
            if isinstance(record, Config)
            for name, value in record.scalars.items()
        }
        if self._private is not None:
            if action is Action.EVALUATE:
                return {METRICS: Metrics(self._private.evaluate(tensors, config))}
            trained, metrics = self._private.fit(tensors, config)
            return {ARRAYS: Arrays(trained), METRICS: Metrics(metrics)}
        if action is Action.EVALUATE:
            found = models.evaluate(
                self._model, tensors, self._table, config, threshold=self._threshold
            )
            return {METRICS: Metrics(found)}
        trained, metrics = models.fit(
            self._model, tensors, self._table, config, threshold=self._threshold
        )
        return {ARRAYS: Arrays(trained), METRICS: Metrics(metrics)}
