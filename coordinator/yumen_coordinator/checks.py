"""Dry runs: ask every node for its decision, touch no row, keep no job.

A dry run lives in memory only; its id is used up like a job's, and every party logs its decision.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from yumen_core.identity.envelope import SignedEnvelope
from yumen_core.jobs.admission import OpenedJob
from yumen_core.rpc.v1 import federation_pb2, job_pb2, link_pb2

from yumen_coordinator.registry import Registry

MAX_PENDING = 256


@dataclass
class _Pending:
    opened: OpenedJob
    waiting: set[str]
    decisions: dict[str, SignedEnvelope] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def answered(self, node: str) -> None:
        self.waiting.discard(node)
        if not self.waiting:
            self.done.set()


class Checks:
    """The dry runs now under way."""

    def __init__(self, registry: Registry, *, timeout_s: float) -> None:
        self._registry = registry
        self._timeout_s = timeout_s
        self._pending: dict[str, _Pending] = {}

    def full(self) -> bool:
        return len(self._pending) >= MAX_PENDING

    def spec_digest(self, job_id: str) -> bytes | None:
        """The digest of the dry run with this id, if there is one."""
        pending = self._pending.get(job_id)
        return None if pending is None else pending.opened.digest

    def decided(self, node: str, job_id: str, envelope: SignedEnvelope) -> None:
        """A node's verified decision on a dry run."""
        pending = self._pending.get(job_id)
        if pending is not None and node in pending.waiting:
            pending.decisions[node] = envelope
            pending.answered(node)

    async def run(
        self, opened: OpenedJob, envelope: SignedEnvelope, ruling: SignedEnvelope
    ) -> federation_pb2.CheckResponse:
        """Ask the nodes and wait for their answers, no longer than the decision deadline."""
        spec = opened.spec
        pending = _Pending(opened, set(spec.nodes))
        self._pending[spec.job_id] = pending
        known = (self._registry.known(node) for node in spec.nodes)
        frame = link_pb2.CoordinatorFrame(
            proposal=link_pb2.Proposal(
                job=envelope.to_proto(),
                descriptors=[k.envelope.to_proto() for k in known if k is not None],
            )
        )
        try:
            for node in spec.nodes:
                connection = self._registry.live(node)
                if connection is None:
                    pending.absent[node] = "was not connected"
                    pending.answered(node)
                else:
                    connection.send(frame)
            try:
                async with asyncio.timeout(self._timeout_s):
                    await pending.done.wait()
            except TimeoutError:
                late = dict.fromkeys(pending.waiting, "gave no decision in time")
                pending.absent.update(late)
        finally:
            del self._pending[spec.job_id]
        return federation_pb2.CheckResponse(
            coordinator=ruling.to_proto(),
            decisions=[pending.decisions[n].to_proto() for n in sorted(pending.decisions)],
            excluded=[
                job_pb2.Exclusion(node=node, reason=reason)
                for node, reason in sorted(pending.absent.items())
            ],
        )
