"""A job of four nodes, one of which refused it, with all that a receipt holds of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from yumen_core.audit.receipt import JobEvidence, Out, Receipt, ResultDigest, Said, receipt_file
from yumen_core.identity import Role, SignedEnvelope
from yumen_core.identity.envelope import PayloadType
from yumen_core.identity.membership import Membership
from yumen_core.jobs.coordinator_descriptor import CoordinatorDescriptor
from yumen_core.jobs.decision import Decision
from yumen_core.jobs.spec import spec_digest
from yumen_core.log import Act, Signer, TileLog
from yumen_core.log.proof import prove
from yumen_core.policy.denial import Denial
from yumen_core.privacy import Privacy

from builders.federation import TABLE, Federation, Job, Node, job_for

POLICIES = b"p" * 32


class Party:
    """A member with a log on disk."""

    def __init__(self, root: Path, member: Membership) -> None:
        name = member.identity
        self.member = member
        origin = f"{name.federation}/{name.organisation}"
        self._signer = Signer.generate(origin)
        self.key = self._signer.verifier.text
        self._root = root / f"log-{name.role}-{name.organisation}"

    def word(
        self, job: Job, *, accepted: bool = True, logged: dict[str, Any] | None = None
    ) -> Said:
        """Its signed and logged decision on `job`; `logged` are other parts of the entry."""
        digest = spec_digest(job.envelope.payload)
        me = self.member.identity.uri
        parts: dict[str, Any] = {
            "subject": {"job": job.spec.job_id},
            "digests": {"spec": digest, "policies": POLICIES},
            "detail": {"accepted": accepted},
        }
        with TileLog.open(
            self._root / "log",
            self._signer,
            origin=self._signer.name,
            guard=self._root / "guard",
            clock=self.member.clock,
        ) as log:
            log.record(Act.STARTUP)
            index = log.record(Act.DECISION, **{**parts, **(logged or {})})
            proof = prove(log, index)
        denial = Denial(me, "purpose", "expected another", "purpose", "research", "none", "")
        decision = Decision(
            job_id=job.spec.job_id,
            spec_digest=digest,
            decider=me,
            accepted=accepted,
            denials=() if accepted else (denial,),
            policy_digest=POLICIES,
            log_index=index,
            decided_at_ms=self.member.clock.now_ms(),
        )
        return Said(self.member.sign(decision.to_bytes(), PayloadType.DECISION), proof)


@dataclass
class Made:
    """Everybody, two jobs of the same nodes, and the evidence of the first."""

    federation: Federation
    li: Membership
    coordinator: Party
    nodes: list[Node]
    parties: dict[str, Party]
    published: list[Any]
    job: Job
    evidence: JobEvidence

    def receipt(self, *evidence: JobEvidence, by: Membership | None = None, **other: Any) -> bytes:
        """The file, signed by its requester or by another."""
        receipt = Receipt(
            evidence or (self.evidence,),
            ResultDigest("query", "table", "ab" * 32),
            self.federation.clock.now_ms(),
        )
        signer = by or self.li
        return receipt_file(signer.sign(replace(receipt, **other).to_bytes(), PayloadType.RECEIPT))

    def other_job(self, **changes: Any) -> Job:
        return job_for(self.li, self.published, **{"min_nodes": 3, **changes})

    def evidence_of(self, job: Job) -> JobEvidence:
        """Three accept and the last refuses."""
        *taking, out = [node.uri for node in self.nodes]
        return JobEvidence(
            job=job.envelope,
            coordinator_descriptor=self.described(),
            coordinator=self.coordinator.word(job),
            descriptors={node.uri: envelope for node, envelope, _ in self.published},
            participants={node: self.parties[node].word(job) for node in taking},
            excluded={
                out: Out("the policy refused", self.parties[out].word(job, accepted=False).decision)
            },
        )

    def described(self, key: str = "") -> SignedEnvelope:
        now_ms = self.federation.clock.now_ms()
        member = self.coordinator.member
        words = CoordinatorDescriptor(
            member.identity, key or self.coordinator.key, now_ms, now_ms + 3_600_000
        )
        return member.sign(words.to_bytes(), PayloadType.COORDINATOR_DESCRIPTOR)


def made(root: Path, change: Callable[[Node], dict[str, Any]] = lambda node: {}) -> Made:
    federation = Federation(root)
    li = federation.member(Role.USER, "li")
    coordinator = Party(root, federation.member(Role.COORDINATOR, "main"))
    nodes = federation.nodes(4)
    parties = {node.uri: Party(root, node.membership) for node in nodes}
    published = [
        (node, *node.signed(log_key=parties[node.uri].key, **change(node))) for node in nodes
    ]
    job = job_for(li, published, min_nodes=3, privacy=Privacy(500_000, "1e-6"), project="heart")
    found = Made(federation, li, coordinator, nodes, parties, published, job, None)  # type: ignore[arg-type]
    found.evidence = found.evidence_of(job)
    return found


def stricter(min_nodes: int) -> dict[str, Any]:
    """Changes of a descriptor: its table demands so many nodes."""
    return {"tables": {"heart": replace(TABLE, min_nodes=min_nodes)}}
