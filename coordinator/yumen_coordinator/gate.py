"""The coordinator's own gate: verify a job, read its question, ask the federation's policy.

The node's word is final; the coordinator refuses early what no node should have to see.
"""

from __future__ import annotations

from dataclasses import dataclass

from yumen_core.errors import CallError, PeerError, YumenError
from yumen_core.identity.envelope import PayloadType, SignedEnvelope
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Identity
from yumen_core.jobs.admission import (
    OpenedJob,
    Question,
    decision_detail,
    decision_subject,
    gate_denial,
    minimum_denials,
    open_job,
    pinned_descriptors,
    policy_requests,
    question,
    rounding_denials,
    table_denials,
)
from yumen_core.jobs.book import SignedDescriptor
from yumen_core.jobs.decision import Decision
from yumen_core.log import Act, TileLog
from yumen_core.log.proof import LogProof, prove
from yumen_core.policy import PolicyBundle, PolicyRequest
from yumen_core.policy.denial import Denial

from yumen_coordinator.registry import Registry


@dataclass(frozen=True)
class Ruling:
    """The coordinator's decision on a verified job; `question` is there where it was read, and
    `proof`, that the decision is logged, where the job is no dry run."""

    opened: OpenedJob
    question: Question | None
    denials: tuple[Denial, ...]
    envelope: SignedEnvelope
    proof: LogProof | None

    @property
    def accepted(self) -> bool:
        return not self.denials


class Gate:
    """Opens jobs for one coordinator."""

    def __init__(
        self,
        membership: Membership,
        policies: PolicyBundle,
        registry: Registry,
        log: TileLog,
    ) -> None:
        self._membership = membership
        self._policies = policies
        self._registry = registry
        self._log = log

    def open(self, envelope: SignedEnvelope, caller: Identity) -> OpenedJob:
        """Verify the envelope, and that its signer is who sends it.

        A refusal is logged before it is raised. Raises `PeerError`.
        """
        try:
            opened = open_job(envelope, self._membership)
            if opened.spec.requester != caller:
                raise PeerError(
                    "identity",
                    f"expected a job of the caller `{caller.uri}`, "
                    f"got one signed by `{opened.spec.requester.uri}`",
                )
        except YumenError as error:
            self.refuse(error, caller)
            raise
        return opened

    def refuse(self, error: YumenError, caller: Identity, job_id: str = "") -> None:
        """Log a refusal that has no decision: nothing that was sent could be believed."""
        self._log.record(
            Act.REFUSAL,
            subject={"caller": caller.uri, "job": job_id},
            detail={"code": error.code, "message": error.message},
        )

    def rule(self, opened: OpenedJob, envelope: SignedEnvelope) -> Ruling:
        """Decide, log, sign: in this order.

        1. Every participant's descriptor is the newest and the one the job pins.
        2. All publish the tables with the job's schemas; the statement is supported.
        3. The job's minimum is at least what every table demands behind a cell.
        4. The federation's policy allows it for every table that is read.
        """
        spec, now_ms = opened.spec, self._membership.clock.now_ms()
        me = self._membership.identity
        asked: Question | None = None
        requests: tuple[PolicyRequest, ...] = ()
        try:
            descriptors = pinned_descriptors(spec, self._descriptors(opened))
            asked = question(spec, descriptors)
            denials = minimum_denials(spec, asked, node=me.uri)
            denials = denials or rounding_denials(spec, asked, node=me.uri)
            if not denials:
                requests = policy_requests(
                    spec, asked, decider=me, nodes=asked.tables, now_ms=now_ms
                )
                for request in requests:
                    decided = self._policies.decide(request)
                    denials += table_denials(spec, request, decided.denials)
        except (PeerError, CallError) as error:
            denials = (gate_denial(error, node=me.uri),)
        index = self._log.record(
            Act.DECISION,
            subject=decision_subject(spec),
            digests={
                "spec": opened.digest,
                "policies": self._policies.digest,
                "statement": spec.plan_digest,
            },
            detail=decision_detail(spec.sql, denials, dry_run=spec.dry_run, requests=requests),
        )
        decision = Decision(
            job_id=spec.job_id,
            spec_digest=opened.digest,
            decider=me.uri,
            accepted=not denials,
            denials=denials,
            policy_digest=self._policies.digest,
            log_index=index,
            decided_at_ms=now_ms,
        )
        signed = self._membership.sign(decision.to_bytes(), PayloadType.DECISION)
        proof = None if spec.dry_run else prove(self._log, index)
        return Ruling(opened, asked, denials, signed, proof)

    def _descriptors(self, opened: OpenedJob) -> list[SignedDescriptor]:
        known = (self._registry.known(node) for node in opened.spec.nodes)
        return [item.signed for item in known if item is not None]
