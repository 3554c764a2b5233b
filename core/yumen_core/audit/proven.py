"""What a receipt proves, with the federation authority's certificate and nothing else. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from yumen_core.audit.receipt import JobEvidence, Out, ResultDigest, Said, read_receipt
from yumen_core.errors import PeerError, YumenError
from yumen_core.identity.certificates import TrustAnchor
from yumen_core.identity.envelope import PayloadType, SignedEnvelope, open_past
from yumen_core.identity.names import Identity, Role
from yumen_core.jobs import coordinator_descriptor, decision, descriptor, spec
from yumen_core.jobs.decision import Decision
from yumen_core.jobs.descriptor import NodeDescriptor
from yumen_core.jobs.spec import JobSpec
from yumen_core.log.entry import Entry, decode_entry
from yumen_core.log.proof import verify_decision

MAX_PAYLOAD_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class ProvenNode:
    """A participant: its decision's time and place in its log, the SHA-256 of its policies, and by
    table its threshold of rows and its minimum of nodes."""

    node: str
    decided_at_ms: int
    log_index: int
    policies: bytes
    rules: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class ProvenOut:
    """A node that took no part. `denied` holds the reason codes where it signed a refusal; `reason`
    is the requester's word."""

    node: str
    denied: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class ProvenJob:
    """A job that its requester signed, and who signed and logged an acceptance of it."""

    spec: JobSpec
    spec_digest: bytes
    coordinator: str
    accepted_at_ms: int
    participants: tuple[ProvenNode, ...]
    excluded: tuple[ProvenOut, ...]


@dataclass(frozen=True)
class Proven:
    """`result` and `made_at_ms` are the requester's word."""

    requester: str
    made_at_ms: int
    jobs: tuple[ProvenJob, ...]
    result: ResultDigest


def verify_receipt(data: bytes, anchor: TrustAnchor) -> Proven:
    """Verify a receipt's file. Raises `PeerError` (`audit`) at the first step that fails.

    1. Its requester, a user of the federation, has signed it.
    Of each job: 2. The same requester has signed it, and it is no dry run. 3. The coordinator has
    signed its acceptance of this very job, and the acceptance stands in its log, under the key in
    its descriptor. 4. There is the descriptor that the job pins of every node that it names.
    5. Every participant has signed its acceptance of this very job, and it stands in its log, under
    the key in that descriptor, with the same policies. 6. Participants and those out are the nodes
    that the job names; who is out and signed a decision signed one on this job. 7. The participants
    are as many as the job and each of their tables demand.

    A certificate counts if it was valid at the time of the log entry that goes with it; that it was
    not revoked then is not checked.
    """
    receipt, envelope = read_receipt(data)
    try:
        requester = _open(envelope, PayloadType.RECEIPT, anchor, receipt.made_at_ms, Role.USER)  # 1
        jobs = tuple(_job(evidence, requester, anchor) for evidence in receipt.jobs)
    except YumenError as error:
        if error.code == "audit":
            raise
        raise _refused(error.message) from None
    if len({job.spec.job_id for job in jobs}) != len(jobs):
        raise _refused("expected different jobs in a receipt, got one twice")
    return Proven(requester.uri, receipt.made_at_ms, jobs, receipt.result)


def _job(evidence: JobEvidence, requester: Identity, anchor: TrustAnchor) -> ProvenJob:
    accepted_ms = _entry(evidence.coordinator).time_ms
    signer = _open(evidence.job, PayloadType.JOB_SPEC, anchor, accepted_ms, Role.USER)  # 2
    if signer != requester:
        raise _refused(f"expected a job of `{requester.uri}`, got one of `{signer.uri}`")
    job = spec.parse_spec(evidence.job.payload, signer=signer, now_ms=accepted_ms)
    digest = spec.spec_digest(evidence.job.payload)
    if job.dry_run:
        raise _refused("expected a job that was carried out, got a dry run")
    coordinator = _coordinator(evidence, job, digest, anchor)  # 3
    if set(evidence.descriptors) != set(job.nodes):  # 4
        raise _refused("expected the descriptor of every node that the job names, got others")
    if set(evidence.participants) & set(evidence.excluded) or (
        set(evidence.participants) | set(evidence.excluded) != set(job.nodes)
    ):  # 6
        raise _refused("expected participants and nodes out to be those that the job names")
    participants = tuple(
        _participant(node, said, evidence.descriptors[node], job, digest, anchor)
        for node, said in sorted(evidence.participants.items())
    )
    for node in evidence.excluded:
        _pinned(node, evidence.descriptors[node], job)
    _check_minimum(job, participants)
    excluded = tuple(
        _excluded(node, out, job, digest, anchor, accepted_ms)
        for node, out in sorted(evidence.excluded.items())
    )
    return ProvenJob(job, digest, coordinator.uri, accepted_ms, participants, excluded)


def _coordinator(
    evidence: JobEvidence, job: JobSpec, digest: bytes, anchor: TrustAnchor
) -> Identity:
    """Step 3."""
    at_ms = _entry(evidence.coordinator).time_ms
    kind = PayloadType.COORDINATOR_DESCRIPTOR
    signer = _open(evidence.coordinator_descriptor, kind, anchor, at_ms, Role.COORDINATOR)
    described = coordinator_descriptor.parse_coordinator_descriptor(
        evidence.coordinator_descriptor.payload, signer=signer, now_ms=at_ms
    )
    word = _decision(evidence.coordinator.decision, anchor, at_ms, Role.COORDINATOR, job, digest)
    if word.decider != signer.uri:
        raise _refused("expected the decision of the coordinator described, got another's")
    _check_logged(evidence.coordinator, word, described.log_key)
    return signer


def _participant(
    node: str,
    said: Said,
    described: SignedEnvelope,
    job: JobSpec,
    digest: bytes,
    anchor: TrustAnchor,
) -> ProvenNode:
    """Steps 4, 5 and 7 for one node."""
    at_ms = _entry(said).time_ms
    _pinned(node, described, job)
    signer = _open(described, PayloadType.NODE_DESCRIPTOR, anchor, at_ms, Role.NODE)
    found = descriptor.parse_descriptor(described.payload, signer=signer, now_ms=at_ms)
    if found.node.uri != node:
        raise _refused(f"expected the descriptor of `{node}`, got that of `{found.node.uri}`")
    word = _decision(said.decision, anchor, at_ms, Role.NODE, job, digest)
    if word.decider != node:
        raise _refused(f"expected the decision of `{node}`, got that of `{word.decider}`")
    _check_logged(said, word, found.log_key)
    return ProvenNode(node, at_ms, word.log_index, word.policy_digest, _rules(found, job))


def _pinned(node: str, described: SignedEnvelope, job: JobSpec) -> None:
    """Step 4: the bytes are those that the job names, whoever signed them."""
    pinned = job.participant(Identity.parse(node)).descriptor_digest
    if descriptor.descriptor_digest(described.payload) != pinned:
        raise _refused(f"expected the descriptor of `{node}` that the job names, got another")


def _rules(found: NodeDescriptor, job: JobSpec) -> dict[str, tuple[int, int]]:
    rules = {}
    for name, digest in job.tables.items():
        table = found.tables.get(name)
        if table is None or table.schema.digest != digest:
            raise _refused(f"expected a descriptor with table `{name}` as the job names it")
        rules[name] = (table.threshold, table.min_nodes)
    return rules


def _check_minimum(job: JobSpec, participants: tuple[ProvenNode, ...]) -> None:
    """Step 7."""
    tables = [least for one in participants for _, least in one.rules.values()]
    needed = max([job.min_nodes, *tables])
    if len(participants) < needed:
        raise _refused(f"expected {needed} participants or more, got {len(participants)}")


def _excluded(
    node: str, out: Out, job: JobSpec, digest: bytes, anchor: TrustAnchor, at_ms: int
) -> ProvenOut:
    """Step 6. The node's own clock is not known here: the coordinator's time stands for it."""
    if out.decision is None:
        return ProvenOut(node, (), out.reason)
    word = _decision(out.decision, anchor, at_ms, Role.NODE, job, digest, accepted=None)
    if word.decider != node:
        raise _refused(f"expected the decision of `{node}`, got that of `{word.decider}`")
    return ProvenOut(node, tuple(sorted({d.reason_code for d in word.denials})), out.reason)


def _decision(
    envelope: SignedEnvelope,
    anchor: TrustAnchor,
    at_ms: int,
    role: Role,
    job: JobSpec,
    digest: bytes,
    *,
    accepted: bool | None = True,
) -> Decision:
    signer = _open(envelope, PayloadType.DECISION, anchor, at_ms, role)
    word = decision.parse_decision(envelope.payload, signer=signer)
    if (word.job_id, word.spec_digest) != (job.job_id, digest):
        raise _refused(f"expected a decision of `{signer.uri}` on this job, got one on another")
    if accepted is not None and word.accepted != accepted:
        raise _refused(f"expected that `{signer.uri}` accepted the job, got a refusal")
    return word


def _check_logged(said: Said, word: Decision, log_key: str) -> None:
    entry = verify_decision(
        said.proof,
        log_key,
        job_id=word.job_id,
        spec_digest=word.spec_digest,
        accepted=True,
        index=word.log_index,
    )
    if entry.digests.get("policies") != word.policy_digest:
        raise _refused(f"expected the log of `{word.decider}` to name the policies of its decision")


def _entry(said: Said) -> Entry:
    """Only its time is used before its proof is verified."""
    return decode_entry(said.proof.entry)


def _open(
    envelope: SignedEnvelope, kind: PayloadType, anchor: TrustAnchor, at_ms: int, role: Role
) -> Identity:
    opened = open_past(
        envelope,
        expected_type=kind,
        anchor=anchor,
        at_ms=at_ms,
        max_bytes=MAX_PAYLOAD_BYTES,
        role=role,
    )
    return opened.identity


def _refused(message: str) -> PeerError:
    return PeerError("audit", message, remedy="do not rely on the result that this receipt is for")
