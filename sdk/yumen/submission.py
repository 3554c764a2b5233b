"""One signed job at a coordinator, from its submission to its end.

The coordinator is not believed: a refusal or an acceptance counts with the signature of the party
that decided, and participants only where each has signed an acceptance of this very job.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from yumen_core.audit.receipt import JobEvidence, Out, Said
from yumen_core.errors import CATALOGUE, Denied, PeerError
from yumen_core.identity.envelope import PayloadType, SignedEnvelope
from yumen_core.identity.names import Role
from yumen_core.jobs.decision import Decision, denial_from_proto
from yumen_core.jobs.machine import State
from yumen_core.jobs.spec import MIN_PARTICIPANTS, JobSpec, spec_digest
from yumen_core.log.proof import LogProof, verify_decision
from yumen_core.rpc.v1 import envelope_pb2, job_pb2
from yumen_core.securesum.bfv import BfvKeyPair

from yumen.coordinator import CoordinatorClient
from yumen.jobs import state_of
from yumen.progress import JobProgress
from yumen.question import PreparedJob
from yumen.report import party_name
from yumen.result import Exclusion

PATIENCE_S = 30.0
AWAY = frozenset({"unreachable", "cancelled"})
"""How calls to a coordinator end that stops, or whose connection breaks."""
_CODES = {
    State.INSUFFICIENT_NODES: "insufficient_nodes",
    State.NODE_LOST: "node_lost",
    State.CANCELLED: "cancelled",
    State.EXPIRED: "deadline",
    State.FAILED: "failed",
}


class Submission:
    """A job that its requester has prepared; `payload` is what he signs. A dry run has no key, nor
    has a job in the suite `stream`."""

    def __init__(
        self,
        client: CoordinatorClient,
        job: PreparedJob,
        keypair: BfvKeyPair | None,
        bundle: bytes = b"",
    ) -> None:
        self.job = job
        self.keypair = keypair
        self.payload = job.spec.to_bytes()
        self.digest = spec_digest(self.payload)
        self._client = client
        self._bundle = bundle
        self.proofs: dict[str, LogProof] = {}
        self.coordinator_proof: LogProof | None = None
        self._signed: SignedEnvelope | None = None
        self._coordinator: tuple[SignedEnvelope, SignedEnvelope] | None = None

    @property
    def job_id(self) -> str:
        return self.job.spec.job_id

    def check(self) -> tuple[list[Decision], list[Exclusion]]:
        """Every party's decision on a dry run, the coordinator's first, and who gave none."""
        envelope = self._client.membership.sign(self.payload, PayloadType.JOB_SPEC)
        own, decisions, excluded = self._client.check(envelope, timeout_s=60.0)
        for decision in (own, *decisions):
            self._check_decision(decision)
        return [own, *decisions], exclusions(excluded)

    def submit(self) -> job_pb2.JobStatus:
        """Sign and submit. Raises `Denied` where the coordinator's own policy refuses."""
        envelope = self._client.membership.sign(self.payload, PayloadType.JOB_SPEC)
        key = b"" if self.keypair is None else self.keypair.public.to_bytes()
        status, decision = self._client.submit(envelope, key, self._bundle)
        self._check_decision(decision)
        self._signed = envelope
        self.coordinator_proof = self._client.coordinator_proof
        described, word = self._client.coordinator_descriptor, self._client.coordinator_decision
        if described is not None and word is not None:
            self._coordinator = (described, word)
        if not decision.accepted:
            raise Denied(refusal(self.job.spec, [decision]), decision.denials)
        return status

    def wait(self, status: job_pb2.JobStatus, timeout_s: float) -> None:
        """Follow the job to its end, across a coordinator that goes away and comes back."""
        with JobProgress(f"job {self.job_id}") as progress:
            self.follow(status, timeout_s, progress.update, until=lambda s: state_of(s).ended)

    def follow(
        self,
        status: job_pb2.JobStatus,
        timeout_s: float,
        tell: Callable[[job_pb2.JobStatus], None],
        *,
        until: Callable[[job_pb2.JobStatus], bool],
    ) -> job_pb2.JobStatus:
        """Follow the job from `status` until `until` holds of its state, telling each on the way,
        across a coordinator that goes away and comes back. Raises `PeerError` (`deadline`)."""
        deadline = time.monotonic() + timeout_s + 5.0
        while not until(status):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise PeerError("deadline", "expected the job to end in time, got no end of it")
            try:
                for status in self._client.watch(self.job_id, timeout_s=left_s):
                    tell(status)
                    if until(status):
                        break
            except PeerError as error:
                if error.code not in AWAY:
                    raise
            if not until(status):  # the stream ended before the job
                time.sleep(0.2)
        return status

    def fetch(self) -> tuple[job_pb2.Outcome, bytes]:
        """The ended job's outcome, across a coordinator that goes away and comes back."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._client.fetch(self.job_id)
            except PeerError as error:
                if error.code not in AWAY or time.monotonic() >= deadline:
                    raise
                time.sleep(0.2)

    def failure(self, outcome: job_pb2.Outcome) -> PeerError | Denied:
        """Why an ended job has no result. Denials count only with their nodes' signatures."""
        status = outcome.status
        refused = [d for d in self.decisions(outcome.decisions) if not d.accepted]
        state = state_of(status)
        if state in (State.DENIED, State.BUDGET_EXHAUSTED) and refused:
            return Denied(refusal(self.job.spec, refused), [x for d in refused for x in d.denials])
        if state is State.DENIED:
            denials = [denial_from_proto(d) for d in status.denials]
            return (
                Denied(status.reason, denials)
                if denials
                else PeerError("job_denied", status.reason)
            )
        code = status.code or _CODES.get(state, "failed")
        reason = status.reason or f"the job ended as {state.value}"
        remedy = fewer_nodes(self.job.spec) if state is State.INSUFFICIENT_NODES else None
        return PeerError(code if code in CATALOGUE else "failed", reason, remedy=remedy)

    def decisions(self, messages: Sequence[envelope_pb2.Envelope]) -> list[Decision]:
        """Nodes' decisions on this job, their signatures verified."""
        decisions = [self._client.decision(message, role=Role.NODE) for message in messages]
        for decision in decisions:
            self._check_decision(decision)
        return decisions

    def participants(self, outcome: job_pb2.Outcome | job_pb2.RunOutcome) -> tuple[str, ...]:
        """Who took part: 1. nodes that the job names, at least its minimum; 2. each of them signed
        an acceptance of this very job; 3. the acceptance stands in the node's log, under the key in
        the descriptor that the job names. Raises `PeerError` (`round`, `log_proof`).

        The proofs are checked once a job, and kept in `proofs`."""
        participants = tuple(outcome.participants)
        spec = self.job.spec
        if sorted(set(participants) & set(spec.nodes)) != list(participants):
            raise PeerError("round", "expected participants that the job names, got others")
        if len(participants) < spec.min_nodes:
            raise PeerError(
                "round", f"expected {spec.min_nodes} participants, got {len(participants)}"
            )
        accepted = {d.decider: d for d in self.decisions(outcome.decisions) if d.accepted}
        if not set(participants) <= set(accepted):
            raise PeerError("round", "expected a signed acceptance of every participant, got fewer")
        sent = {entry.node: entry.proof for entry in outcome.proofs}
        for node in participants:
            if node not in self.proofs:
                self.proofs[node] = self._proved(accepted[node], sent.get(node))
        self._keep_evidence(outcome)
        return participants

    def _keep_evidence(self, outcome: job_pb2.Outcome | job_pb2.RunOutcome) -> None:
        """What others signed of this job, for a receipt."""
        if self._signed is None or self._coordinator is None or self.coordinator_proof is None:
            return
        described, word = self._coordinator
        pinned = {p.node.uri: p.descriptor_digest for p in self.job.spec.participants}
        signed = {}
        for message in outcome.decisions:
            envelope = SignedEnvelope.from_proto(message)
            signed[job_pb2.Decision.FromString(envelope.payload).decider] = envelope
        lost = outcome.lost if isinstance(outcome, job_pb2.RunOutcome) else ()
        reasons = {out.node: out.reason for out in (*outcome.excluded, *lost)}
        taking_part = set(outcome.participants)
        self._client.evidence.keep(
            self.job_id,
            JobEvidence(
                job=self._signed,
                coordinator_descriptor=described,
                coordinator=Said(word, self.coordinator_proof),
                descriptors={
                    node: self._client.descriptor(node, digest) for node, digest in pinned.items()
                },
                participants={
                    node: Said(signed[node], self.proofs[node]) for node in sorted(taking_part)
                },
                excluded={
                    node: Out(reasons.get(node, ""), signed.get(node))
                    for node in sorted(pinned.keys() - taking_part)
                },
            ),
        )

    def _proved(self, decision: Decision, sent: job_pb2.LogProof | None) -> LogProof:
        """Step 3 for one participant."""
        if sent is None:
            raise PeerError(
                "log_proof",
                f"expected the proof that the decision of `{decision.decider}` is logged, got none",
                node=decision.decider,
            )
        pinned = {p.node.uri: p.descriptor_digest for p in self.job.spec.participants}
        proof = LogProof.from_proto(sent)
        verify_decision(
            proof,
            self._client.log_key(decision.decider, pinned[decision.decider]),
            job_id=decision.job_id,
            spec_digest=decision.spec_digest,
            accepted=True,
            index=decision.log_index,
        )
        return proof

    def _check_decision(self, decision: Decision) -> None:
        """A decision is on this job, by a party that the job concerns. Raises `PeerError`."""
        if decision.job_id != self.job_id or decision.spec_digest != self.digest:
            raise PeerError(
                "signature",
                "expected a decision on this job, got one on another",
                node=decision.decider,
            )


def fewer_nodes(spec: JobSpec) -> str | None:
    """What to do where nodes are missing and every chosen one had to take part."""
    if spec.min_nodes < len(spec.nodes):
        return None
    if spec.min_nodes <= MIN_PARTICIPANTS:
        return f"wait for the missing nodes: a sum takes {MIN_PARTICIPANTS} nodes at least"
    return "give min_nodes (--min-nodes) to go on with fewer, or wait for the missing nodes"


def refusal(spec: JobSpec, decisions: Sequence[Decision]) -> str:
    """Who refused a job, and the first reason."""
    first = decisions[0].denials[0]
    who = ", ".join(party_name(d.decider) for d in decisions)
    return f"the job for purpose `{spec.purpose}` was refused by {who}: {first.message}"


def exclusions(messages: Sequence[job_pb2.Exclusion]) -> list[Exclusion]:
    return [Exclusion(message.node, message.reason) for message in messages]
