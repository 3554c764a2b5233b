"""What nodes answer on open jobs: taken where the job waits for it, logged, fed to the scheduler.

An answer that comes too late, twice or out of turn changes nothing. What an answer says of itself,
its signatures and proofs, the link has verified before. All methods run on the event loop.
"""

from __future__ import annotations

import hashlib

from yumen_core.clock import Clock
from yumen_core.errors import CATALOGUE, PeerError
from yumen_core.identity.envelope import SignedEnvelope
from yumen_core.jobs import machine
from yumen_core.jobs.decision import Decision
from yumen_core.jobs.machine import Round, Step
from yumen_core.log import Act
from yumen_core.log.proof import LogProof
from yumen_core.policy.denial import Denial
from yumen_core.rpc.v1 import envelope_pb2

from yumen_coordinator.rounds import ActiveJob
from yumen_coordinator.scheduler import Scheduler


class Answers:
    """The nodes' answers on the open jobs of one scheduler."""

    def __init__(self, scheduler: Scheduler, clock: Clock) -> None:
        self._scheduler = scheduler
        self._clock = clock

    def decided(
        self, node: str, decision: Decision, envelope: SignedEnvelope, proof: LogProof | None
    ) -> None:
        """A node's signed decision on an open job, verified; an acceptance with the verified proof
        that it stands in the node's log."""
        active = self._scheduler.active(decision.job_id)
        if active is None or active.job.state not in machine.UNDECIDED:
            return
        if active.job.steps.get(node) not in (Step.ASKED, Step.AWAITING):
            return
        active.decisions[node] = envelope
        if proof is not None:
            active.proofs[node] = proof
        active.learned(
            self._clock.now_ms(),
            Act.DECISION,
            node,
            digests={
                "decision": hashlib.sha256(envelope.payload).digest(),
                "policies": decision.policy_digest,
            },
            detail={"accepted": decision.accepted, "log_index": decision.log_index},
        )
        if decision.accepted:
            self._scheduler.apply(decision.job_id, machine.NodeAccepted(node))
        else:
            self._scheduler.apply(decision.job_id, machine.NodeDenied(node, decision.denials))

    def unproved(self, node: str, job_id: str, denial: Denial) -> None:
        """A node accepted without the proof that its decision is logged: it cannot take part."""
        active = self._scheduler.active(job_id)
        if active is None or active.job.state not in machine.UNDECIDED:
            return
        if active.job.steps.get(node) not in (Step.ASKED, Step.AWAITING):
            return
        detail = {"code": denial.reason_code, "message": denial.message}
        active.learned(self._clock.now_ms(), Act.REFUSAL, node, detail=detail)
        self._scheduler.apply(job_id, machine.NodeDenied(node, (denial,)))

    def awaits(self, node: str, job_id: str) -> None:
        """A node decides once its people have reviewed the job's code. Where there is none to
        review, it would only hold the job."""
        active = self._scheduler.active(job_id)
        if active is None or not active.bundle:
            return
        self._scheduler.apply(job_id, machine.NodeAwaits(node))

    def supported(self, node: str, job_id: str, run: int, envelope: SignedEnvelope) -> None:
        """A node's support share. The coordinator cannot read it; the other nodes verify it.

        The first counts: one that is sent over and over neither replaces it nor fills the log.
        """
        active = self._at(job_id, run, Round.SUPPORT)
        if active is None:
            return
        if node not in active.job.participants or active.job.steps[node] is Step.SUPPORTED:
            return
        active.supports[node] = envelope
        active.learned(
            self._clock.now_ms(),
            Act.SUPPORT,
            node,
            digests={"share": hashlib.sha256(envelope.payload).digest()},
        )
        self._scheduler.apply(job_id, machine.RoundDone(node, Round.SUPPORT))

    def contributed(self, node: str, job_id: str, run: int, chunk: envelope_pb2.Chunk) -> None:
        """A piece of a node's contribution; one that cannot be added fails the job."""
        active = self._at(job_id, run, Round.SUM)
        if active is None:
            return
        if node not in active.job.participants:
            return
        try:
            digest = active.add_chunk(node, chunk)
        except PeerError as error:
            self.refused(node, job_id, Round.SUM, error)
            return
        if digest is None:
            return
        active.learned(
            self._clock.now_ms(), Act.CONTRIBUTION, node, digests={"contribution": digest}
        )
        self._scheduler.apply(job_id, machine.RoundDone(node, Round.SUM))

    def refused(self, node: str, job_id: str, round_: Round, error: PeerError) -> None:
        """What a node sent in `round_` is not acceptable: the job cannot go on."""
        active = self._scheduler.active(job_id)
        if active is None or active.job.round is not round_:
            return
        if node not in active.job.participants:
            return
        detail = {"code": error.code, "message": error.message}
        active.learned(self._clock.now_ms(), Act.REFUSAL, node, detail=detail)
        self._scheduler.apply(job_id, machine.NodeFailed(node, error.message))

    def failed(self, node: str, job_id: str, code: str, message: str) -> None:
        """A node says that it cannot go on with a job."""
        known = code if code in CATALOGUE else ""
        self._scheduler.apply(job_id, machine.NodeFailed(node, message[:500], known))

    def _at(self, job_id: str, run: int, round_: Round) -> ActiveJob | None:
        """The open job, if it is at this step of this run."""
        active = self._scheduler.active(job_id)
        if active is None or active.job.round is not round_ or active.job.run != run:
            return None
        return active
