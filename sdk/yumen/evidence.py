"""What others signed of a connection's jobs, kept for receipts."""

from __future__ import annotations

from collections import OrderedDict

from yumen_core.audit.receipt import JobEvidence
from yumen_core.errors import CallError

MAX_NODES = 4096
"""How many nodes' words are kept in all, about 5 KB each; the oldest jobs go first."""


class EvidenceBook:
    """By job id, the newest last."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, JobEvidence] = OrderedDict()
        self._nodes = 0

    def keep(self, job_id: str, evidence: JobEvidence) -> None:
        """Keep the newest evidence of a job: a training's participants may have become fewer."""
        before = self._held.pop(job_id, None)
        self._nodes += len(evidence.descriptors) - len(before.descriptors if before else ())
        self._held[job_id] = evidence
        while self._nodes > MAX_NODES and len(self._held) > 1:
            _, gone = self._held.popitem(last=False)
            self._nodes -= len(gone.descriptors)

    def of(self, job_id: str) -> JobEvidence:
        """Raises `CallError` (`argument`) where none is held."""
        if job_id not in self._held:
            raise CallError(
                "argument",
                f"expected a result of this connection, got one of job `{job_id}`",
                remedy="save the receipt with the connection that asked, before it is closed",
            )
        return self._held[job_id]
