"""A job as its reviewer needs to know it: who wants the code to run here, on what and how often."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from yumen_core import canonical
from yumen_core.errors import CallError, PeerError, StateError
from yumen_core.identity.names import Identity

MAX_ASK_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True)
class AskedColumn:
    """A column the code would read: its name, grade and published meaning."""

    name: str
    grade: str
    meaning: str = ""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One job that wants a bundle to run here, in words that the node derived itself.

    `sql` selects the rows. `runs` says how often `train`, `evaluate` and `query` may run at most,
    each followed by a secure sum over `min_nodes` nodes or more. `parameters` values of the model
    leave after a `train`, and the means of `metrics` after each run. `limits` are the sandbox's,
    by name. `run_config` is what the requester sets for the code, `weight` what a node counts by
    in the mean, and `clip_norm` the longest change that counts in full. Raises `CallError`
    (`payload_too_large`) above 2 MiB.
    """

    job_id: str
    requester: Identity
    purpose: str
    table: str
    sql: str
    columns: tuple[AskedColumn, ...]
    runs: Mapping[str, int]
    min_nodes: int
    parameters: int
    metrics: tuple[str, ...]
    expires_at_ms: int
    limits: Mapping[str, str] = field(default_factory=dict)
    run_config: Mapping[str, str] = field(default_factory=dict)
    weight: str = ""
    clip_norm: str = ""

    def to_text(self) -> str:
        """Canonical JSON."""
        raw = canonical.encode(
            {
                "job_id": self.job_id,
                "requester": self.requester.uri,
                "purpose": self.purpose,
                "table": self.table,
                "sql": self.sql,
                "columns": [[one.name, one.grade, one.meaning] for one in self.columns],
                "runs": dict(self.runs),
                "min_nodes": self.min_nodes,
                "parameters": self.parameters,
                "metrics": list(self.metrics),
                "expires_at_ms": self.expires_at_ms,
                "limits": dict(self.limits),
                "run_config": dict(self.run_config),
                "weight": self.weight,
                "clip_norm": self.clip_norm,
            }
        )
        if len(raw) > MAX_ASK_BYTES:
            raise CallError(
                "payload_too_large",
                f"expected a job of at most {MAX_ASK_BYTES} bytes to review, got {len(raw)}",
            )
        return raw.decode()

    @classmethod
    def from_text(cls, text: str) -> Ask:
        """An ask from the node's own file. Raises `StateError` (`state`)."""
        try:
            fields = json.loads(text)
            columns = tuple(AskedColumn(*map(str, one)) for one in fields.pop("columns"))
            return cls(
                requester=Identity.parse(fields.pop("requester")),
                columns=columns,
                metrics=tuple(map(str, fields.pop("metrics"))),
                **fields,
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, PeerError):
            raise StateError(
                "state",
                "a stored job that waits for a review is damaged",
                remedy="restore approvals.sqlite, or remove it and have the job submitted again",
            ) from None
