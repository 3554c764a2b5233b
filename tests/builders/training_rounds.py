"""A training job without a federation: local work of several nodes, in this process, and its mean.

What `FederatedRounds` gets from secure sums, this computes openly: base + sum(n (new - base)) / N.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from yumen.result import Exclusion
from yumen.training import Aggregate, flower
from yumen_core.errors import PeerError
from yumen_core.rpc.v1 import job_pb2
from yumen_core.training.records import Action, Arrays, Config, Metrics, Record, Records

flower.require()  # before a test loads Flower by itself

Reply = tuple[dict[str, Any], dict[str, float], int]
"""The new tensors (none unless trained), the metrics, the number of examples."""
LocalWork = Callable[[Action, Records], Reply]


class LocalRounds:
    """`nodes` gives each node's local work by its name. `calls` holds what was asked, `sent` the
    content. The run with number `fail_at`, from 0, fails as if a node were lost."""

    def __init__(
        self,
        nodes: Mapping[str, LocalWork],
        *,
        fail_at: int | None = None,
        job_ids: Sequence[str] = ("0199b2f4-1111-7abc-8def-000000000001",),
        excluded: tuple[Exclusion, ...] = (),
    ) -> None:
        self._nodes = dict(nodes)
        self._fail_at = fail_at
        self.participants = tuple(f"spiffe://t.example/org/{n}/node/{n}" for n in nodes)
        self.job_ids = list(job_ids)
        self.excluded = excluded
        self.calls: list[Action] = []
        self.sent: list[Records] = []
        self.completed = self.abandoned = False

    def run(self, action: Action, records: Records) -> Aggregate:
        if len(self.calls) == self._fail_at:
            raise PeerError("node_lost", "expected all participants, got one that was lost")
        self.calls.append(action)
        self.sent.append(records)
        replies = [work(action, records) for work in self._nodes.values()]
        examples = sum(count for _, _, count in replies)
        return Aggregate(
            tensors=_mean(records, replies) if action is Action.TRAIN else {},
            metrics=_metrics(replies),
            examples=examples,
            nodes=len(replies),
            participants=self.participants,
        )

    def hear(self, tell: Callable[[job_pb2.JobStatus], None]) -> None:
        """Nothing to tell: there is no job."""

    def complete(self) -> None:
        self.completed = True

    def abandon(self) -> None:
        self.abandoned = not self.completed


def linear_node(seed: int, rows: int, *, steps: int = 3, rate: float = 0.1) -> LocalWork:
    """Least squares on rows of its own by gradient steps, with a counter of int64 beside it."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 3))
    y = x @ np.array([1.0, -2.0, 0.5]) + 0.1 * random.normal(size=rows) + 0.2 * seed

    def work(action: Action, records: Records) -> Reply:
        tensors = sent_tensors(records)
        w, b = tensors["w"].astype(np.float64), tensors["b"].astype(np.float64)
        mu = _setting(records, "proximal-mu")
        start = w.copy()
        if action is Action.TRAIN:
            for _ in range(steps):
                error = x @ w + b - y
                w = w - rate * (x.T @ error / rows + mu * (w - start))
                b = b - rate * error.mean()
        loss = float(np.mean((x @ w + b - y) ** 2))
        new = {
            "w": w.astype(np.float32),
            "b": np.asarray(b, dtype=np.float32),
            "seen": np.asarray(int(tensors["seen"]) + steps, dtype=np.int64),
        }
        return new, {"loss": loss, "largest": float(np.abs(w).max())}, rows

    return work


def linear_start() -> dict[str, Any]:
    return {
        "w": np.zeros(3, dtype=np.float32),
        "b": np.asarray(0.0, dtype=np.float32),
        "seen": np.asarray(0, dtype=np.int64),
    }


def app_node(client_app: Any, node_number: int, node_config: Mapping[str, Any]) -> LocalWork:
    """A Flower ClientApp as a node's local work."""
    from flwr.app import (
        ArrayRecord,
        ConfigRecord,
        Context,
        Message,
        MetricRecord,
        RecordDict,
    )
    from yumen.training.convert import array_record, arrays_of

    context = Context(1, node_number, dict(node_config), RecordDict(), {})

    def made(record: Record) -> Any:
        match record:
            case Arrays(tensors):
                return array_record(tensors)
            case Metrics(scalars):
                return MetricRecord(dict(scalars))  # type: ignore[arg-type]
            case Config(scalars):
                return ConfigRecord(dict(scalars))  # type: ignore[arg-type]

    def work(action: Action, records: Records) -> Reply:
        content = RecordDict({key: made(record) for key, record in records.items()})
        reply = client_app(Message(content, node_number, action.value), context).content
        tensors: dict[str, Any] = {}
        metrics: dict[str, float] = {}
        for key, record in reply.items():
            if isinstance(record, ArrayRecord):
                tensors |= arrays_of(record)
            elif not key.endswith(".status"):
                metrics |= {name: float(value) for name, value in record.items()}
        examples = metrics.pop("num_examples", metrics.pop("num-examples", 0.0))
        return tensors, metrics, int(examples)

    return work


def sent_tensors(records: Records) -> Mapping[str, Any]:
    return next(record.tensors for record in records.values() if isinstance(record, Arrays))


def _setting(records: Records, name: str) -> float:
    for record in records.values():
        if isinstance(record, Config) and name in record.scalars:
            return float(record.scalars[name])  # type: ignore[arg-type]
    return 0.0


def _mean(records: Records, replies: Sequence[Reply]) -> dict[str, Any]:
    total = sum(count for _, _, count in replies)
    means: dict[str, Any] = {}
    for name, base in sent_tensors(records).items():
        wide = base.astype(np.float64)
        change = sum((tensors[name] - wide) * count for tensors, _, count in replies) / total
        mean = wide + change
        if not np.issubdtype(base.dtype, np.floating):
            mean = np.rint(mean)
        means[name] = np.asarray(mean).astype(base.dtype)
    return means


def _metrics(replies: Sequence[Reply]) -> dict[str, float]:
    names = dict.fromkeys(name for _, metrics, _ in replies for name in metrics)
    found: dict[str, float] = {}
    for name in names:
        pairs = [(metrics[name], count) for _, metrics, count in replies if name in metrics]
        found[name] = sum(value * count for value, count in pairs) / sum(n for _, n in pairs)
    return found
