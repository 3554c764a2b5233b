"""The node's gate: every job passes here, step by step, before a row is read.

The coordinator's word counts for nothing here. What the gate believes is signed: the job by its
requester, the descriptors by their nodes, certificates and revocations by the authority.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from yumen_core.errors import CallError, PeerError, StateError, YumenError
from yumen_core.identity.envelope import PayloadType, SignedEnvelope
from yumen_core.identity.membership import Membership
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
from yumen_core.jobs.book import DescriptorBook
from yumen_core.jobs.code import check_code
from yumen_core.jobs.decision import BudgetLeft, Decision
from yumen_core.jobs.descriptor import NodeDescriptor
from yumen_core.jobs.spec import JobSpec, secret_info
from yumen_core.log import Act, TileLog
from yumen_core.policy import PolicyBundle, PolicyRequest, reviews_missing
from yumen_core.policy.denial import Denial
from yumen_core.rpc.v1 import envelope_pb2, job_pb2, link_pb2
from yumen_core.secret import Secret
from yumen_core.securesum.public_key import BfvPublicKey
from yumen_core.securesum.suite import Suite, split_secret
from yumen_core.training.bundle import Bundle

from yumen_node.approvals import Approvals
from yumen_node.code_reviews import CodeReviews
from yumen_node.keys import NodeKeys
from yumen_node.ledger import Ledger
from yumen_node.publication import Publication
from yumen_node.refusals import Refusals
from yumen_node.released import ReleasedSets
from yumen_node.state import NodeState

_LOG = logging.getLogger(__name__)
KEYS_KEPT = 64
"""Public keys kept between jobs, 128 KiB each."""


@dataclass(frozen=True)
class AcceptedJob:
    """A job this node has agreed to carry out, with what that takes: in the suite `bfv` the
    requester's key, in `stream` this node's pad key, and the code of a training that has some."""

    opened: OpenedJob
    asked: Question
    descriptors: Mapping[str, NodeDescriptor]
    public_key: BfvPublicKey | None
    secret: Secret
    pad_key: Secret | None = None
    bundle: Bundle | None = None

    @property
    def job_id(self) -> str:
        return self.opened.spec.job_id

    def mask_keys(self, participants: Sequence[str], *, but: str) -> dict[str, bytes]:
        """The public mask keys of the participants other than `but`."""
        return {node: self.descriptors[node].mask_key for node in participants if node != but}


@dataclass(frozen=True)
class Ruling:
    """The node's signed decision, and the job where it is to be carried out; no decision yet where
    people have to review its code."""

    job_id: str
    envelope: SignedEnvelope | None
    job: AcceptedJob | None


@dataclass(frozen=True)
class _Understood:
    asked: Question
    descriptors: Mapping[str, NodeDescriptor]
    public_key: BfvPublicKey | None
    secret: Secret | None
    pad_key: Secret | None
    bundle: Bundle | None


class Gate:
    """Decides on proposals for one node."""

    def __init__(
        self,
        *,
        membership: Membership,
        keys: NodeKeys,
        publication: Publication,
        policies: PolicyBundle,
        state: NodeState,
        log: TileLog,
        approvals: Approvals,
        code_refusal: StateError | None,
        limits: Mapping[str, str],
        ledger: Ledger,
        released: ReleasedSets,
        refusals: Refusals,
    ) -> None:
        """`code_refusal` says why this node runs no code of a requester, if it does not; `limits`
        are the sandbox's, for those who review code."""
        self._membership = membership
        self._approvals = approvals
        self._reviews = CodeReviews(approvals, membership.identity, code_refusal, limits)
        self._public_keys: OrderedDict[bytes, BfvPublicKey] = OrderedDict()
        self._book = DescriptorBook(membership)
        self._keys = keys
        self._publication = publication
        self._policies = policies
        self._state = state
        self._log = log
        self._ledger = ledger
        self._released = released
        self._refusals = refusals

    def decide(self, proposal: link_pb2.Proposal, held: AcceptedJob | None = None) -> Ruling:
        """Decide on a proposal: log the decision, store it, and only then return it signed. `held`
        is the job as it was accepted before in this process, if it was.

        1. The job's envelope, signer and form hold (`open_job`).
        2. Its id is new, or it is the very job decided on before: then the same answer is given.
        3. Every participant's descriptor is the one the job pins; this node's is the current one.
        4. The statement gives the plan the job names, over the schema this node publishes.
        5. The public key is the one the job names; the job's secret opens for this job and node.
        6. The minimum of nodes is no lower than the tables demand, and where these round their
           counts it is a job whose counts can be rounded.
        7. Code that comes with it may run here: this node has a sandbox and nobody has rejected it.
        8. The tables' privacy budgets pay for it, the rows did not refuse too many jobs of its
           requester's organisation lately, and those it asks about were not released before over
           nearly the same nodes.
        9. This node's policies allow it for every table that is read; where all they miss is that
           people have reviewed the code, the job waits for them.
        """
        self.keep_key(proposal)
        envelope = SignedEnvelope.from_proto(proposal.job)
        try:
            opened = open_job(envelope, self._membership)  # 1
        except YumenError as error:
            return self._unopened(envelope, error)
        known = self._state.job(opened.spec.job_id)  # 2
        if known is not None:
            if not hmac.compare_digest(known.spec_digest, opened.digest):
                reused = PeerError(
                    "replay", f"expected a new job id, got `{opened.spec.job_id}`, used before"
                )
                return self._unopened(envelope, reused)
            answer = SignedEnvelope.from_proto(envelope_pb2.Envelope.FromString(known.decision))
            again = known.accepted and not known.ended and not opened.spec.dry_run
            if again and held is not None:
                return Ruling(opened.spec.job_id, answer, held)
            job = self._accepted(opened, self._understand(opened, proposal)) if again else None
            return Ruling(opened.spec.job_id, answer, job)
        try:
            understood = self._understand(opened, proposal)  # 3, 4, 5
        except (PeerError, CallError) as error:
            return self._rule(opened, (self._denial(error),), None)
        try:
            denials, requests = self._denials(opened.spec, understood)  # 6, 7, 8, 9
        except StateError as error:  # the store of approvals is damaged, or busy
            _LOG.error("job %s: %s", opened.spec.job_id, error)
            return self._rule(opened, (self._denial(error),), understood)
        if denials is None:
            return Ruling(opened.spec.job_id, None, None)
        return self._rule(opened, denials, understood, requests)

    def reviews_changed(self) -> bool:
        """Whether a review may have been written since this was asked last."""
        return self._reviews.changed()

    def check_code(self, job: AcceptedJob) -> None:
        """Before each run: nobody has rejected the job's code since it was accepted, and somebody
        approves it still. Raises `StateError` (`code_rejected`)."""
        self._reviews.check(job.opened.spec)

    def settle(self, job_id: str) -> None:
        """A job that waited for a review has ended elsewhere."""
        self._approvals.settle(job_id)

    def _understand(self, opened: OpenedJob, proposal: link_pb2.Proposal) -> _Understood:
        """Steps 3 to 5."""
        spec, me = opened.spec, self._membership.identity
        if len(proposal.descriptors) > len(spec.participants):
            raise PeerError("descriptor", "expected one descriptor a participant, got more")
        offered = [self._book.open(SignedEnvelope.from_proto(d)) for d in proposal.descriptors]
        mine = spec.participant(me)
        _, current = self._publication.current()
        if not hmac.compare_digest(mine.descriptor_digest, current.digest):
            raise PeerError(
                "descriptor",
                "expected the node's current descriptor, got a job made for another",
                remedy="ask for the catalogue again and submit a new job",
            )
        descriptors = pinned_descriptors(spec, offered)
        asked = question(spec, descriptors)
        if spec.dry_run:
            return _Understood(asked, descriptors, None, None, None, None)
        check_code(spec, proposal.bundle)
        bundle = Bundle.from_bytes(proposal.bundle) if proposal.bundle else None
        bfv = spec.suite is Suite.BFV
        public_key = self._public_key(spec, proposal.public_key) if bfv else None
        opened_secret = self._keys.sealing.open(
            mine.sealed_secret, secret_info(spec.job_id, me.uri)
        )
        secret, pad_key = split_secret(opened_secret, spec.suite)
        return _Understood(asked, descriptors, public_key, secret, pad_key, bundle)

    def keep_key(self, proposal: link_pb2.Proposal) -> None:
        """Keep the public key that came along, whatever becomes of the job: the coordinator sends
        it once a stream and counts on it from then on."""
        if not proposal.public_key:
            return
        try:
            key = BfvPublicKey.from_bytes(proposal.public_key)
        except PeerError:
            return  # said where a job needs it
        self._public_keys[key.digest] = key
        self._public_keys.move_to_end(key.digest)
        if len(self._public_keys) > KEYS_KEPT:
            self._public_keys.popitem(last=False)

    def _public_key(self, spec: JobSpec, raw: bytes) -> BfvPublicKey:
        """The key the job names: sent along, or kept from an earlier proposal."""
        held = self._public_keys.get(spec.public_key_digest)
        if held is None or (raw and raw != held.to_bytes()):
            BfvPublicKey.from_bytes(raw)
            raise PeerError("ciphertext", "expected the public key that the job names, got another")
        self._public_keys.move_to_end(held.digest)
        return held

    def _denials(
        self, spec: JobSpec, understood: _Understood
    ) -> tuple[tuple[Denial, ...] | None, tuple[PolicyRequest, ...]]:
        """Steps 6 to 9 and what was put to the policies; `None` where people have to review the
        job's code first."""
        me, asked = self._membership.identity, understood.asked
        denials = minimum_denials(spec, asked, node=me.uri)
        denials = denials or rounding_denials(spec, asked, node=me.uri)
        denials = denials or self._reviews.denials(spec)
        denials = denials or self._ledger.denials(spec)
        denials = denials or self._refusals.denials(spec, asked)
        denials = denials or self._released.denials(spec, asked)
        if denials:
            return denials, ()
        now_ms = self._membership.clock.now_ms()
        waits = False
        requests = policy_requests(
            spec,
            asked,
            decider=me,
            nodes=[me.uri],
            now_ms=now_ms,
            reviewers=self._reviews.approvers(spec),
            budget_left=self._ledger.left(spec),
        )
        for request in requests:
            waits = waits or reviews_missing(self._policies, request)
            decision = self._policies.decide(request)
            for problem in decision.errors:  # for the operator only
                _LOG.error("a policy failed while deciding on job %s: %s", spec.job_id, problem)
            denials += table_denials(spec, request, decision.denials)
        if waits and understood.bundle is not None:
            self._reviews.offer(spec, asked, understood.bundle)
            return None, requests
        return denials, requests

    def _rule(
        self,
        opened: OpenedJob,
        denials: tuple[Denial, ...],
        understood: _Understood | None,
        requests: tuple[PolicyRequest, ...] = (),
    ) -> Ruling:
        """Log, store, sign."""
        spec = opened.spec
        if understood is not None and understood.bundle is not None:
            self._approvals.settle(spec.job_id)
        budgets = self._ledger.budgets(spec) if understood is not None else ()
        if not denials and not spec.dry_run:
            self._ledger.reserve(spec)
        envelope = self._decision(
            spec.job_id,
            opened.digest,
            denials,
            subject=decision_subject(spec),
            detail={
                **decision_detail(spec.sql, denials, dry_run=spec.dry_run, requests=requests),
                **self._reviews.told(spec),
            },
            budgets=budgets,
        )
        self._state.add_job(
            spec.job_id,
            opened.digest,
            accepted=not denials,
            decision=envelope.to_proto().SerializeToString(),
        )
        carried_out = understood is not None and not denials and not spec.dry_run
        job = self._accepted(opened, understood) if carried_out and understood else None
        return Ruling(spec.job_id, envelope, job)

    def _unopened(self, envelope: SignedEnvelope, error: YumenError) -> Ruling:
        """Refuse what could not be verified. Nothing of it is stored but the refusal itself."""
        try:
            claimed = job_pb2.JobSpec.FromString(envelope.payload).job_id[:64]
        except DecodeError:
            claimed = ""
        denials = (self._denial(error),)
        signed = self._decision(
            claimed,
            hashlib.sha256(envelope.payload).digest(),
            denials,
            subject={"job": claimed},
            detail={"accepted": False, "code": error.code, "message": error.message},
            act=Act.REFUSAL,
        )
        return Ruling(claimed, signed, None)

    def _decision(
        self,
        job_id: str,
        digest: bytes,
        denials: tuple[Denial, ...],
        *,
        subject: dict[str, str],
        detail: Mapping[str, int | str | Sequence[str]],
        act: Act = Act.DECISION,
        budgets: tuple[BudgetLeft, ...] = (),
    ) -> SignedEnvelope:
        index = self._log.record(
            act,
            subject=subject,
            digests={"spec": digest, "policies": self._policies.digest},
            detail=detail,
        )
        decision = Decision(
            job_id=job_id,
            spec_digest=digest,
            decider=self._membership.identity.uri,
            accepted=not denials,
            denials=denials,
            policy_digest=self._policies.digest,
            log_index=index,
            decided_at_ms=self._membership.clock.now_ms(),
            budgets=budgets,
        )
        return self._membership.sign(decision.to_bytes(), PayloadType.DECISION)

    def _denial(self, error: YumenError) -> Denial:
        return gate_denial(error, node=self._membership.identity.uri)

    @staticmethod
    def _accepted(opened: OpenedJob, understood: _Understood) -> AcceptedJob:
        if understood.secret is None:
            raise ValueError("a dry run is never carried out")
        return AcceptedJob(
            opened=opened,
            asked=understood.asked,
            descriptors=understood.descriptors,
            public_key=understood.public_key,
            secret=understood.secret,
            pad_key=understood.pad_key,
            bundle=understood.bundle,
        )
