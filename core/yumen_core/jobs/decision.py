"""A party's signed word on a job: yes, or no and why."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from yumen_core.errors import PeerError
from yumen_core.identity.names import Identity
from yumen_core.log.entry import MAX_INT
from yumen_core.policy.denial import Denial
from yumen_core.rpc.v1 import job_pb2

PAYLOAD_TYPE = "application/vnd.yumen.decision.v1"
MAX_BYTES = 1 << 18
MAX_DENIALS = 64
MAX_BUDGETS = 16


@dataclass(frozen=True)
class BudgetLeft:
    """What of the privacy budget of `table` is left at the decider: `micro_rho` of it all, and
    `project_micro_rho` for `project`; the job's own cost not yet taken."""

    table: str
    project: str
    micro_rho: int
    project_micro_rho: int


@dataclass(frozen=True)
class Decision:
    """`decider`'s decision on the job with `spec_digest`; `log_index` is its place in the
    decider's own log, `policy_digest` the SHA-256 of the policies in force."""

    job_id: str
    spec_digest: bytes
    decider: str
    accepted: bool
    denials: tuple[Denial, ...]
    policy_digest: bytes
    log_index: int
    decided_at_ms: int
    budgets: tuple[BudgetLeft, ...] = ()

    def to_bytes(self) -> bytes:
        message = job_pb2.Decision(
            job_id=self.job_id,
            spec_digest=self.spec_digest,
            decider=self.decider,
            accepted=self.accepted,
            denials=[denial_to_proto(d) for d in self.denials],
            policy_digest=self.policy_digest,
            log_index=self.log_index,
            decided_at_ms=self.decided_at_ms,
            budgets=[
                job_pb2.BudgetLeft(
                    table=left.table,
                    project=left.project,
                    micro_rho=left.micro_rho,
                    project_micro_rho=left.project_micro_rho,
                )
                for left in self.budgets
            ],
        )
        return message.SerializeToString(deterministic=True)


def parse_decision(payload: bytes, *, signer: Identity) -> Decision:
    """Read a decision whose signature by `signer` has been verified.

    Raises `PeerError` (`signature` or `identity`) where it is malformed, speaks for another party
    than its signer, in itself or in a denial, refuses without a reason, accepts with one, or holds
    digests or a place in the log that cannot be.
    """
    if len(payload) > MAX_BYTES:
        raise PeerError("signature", "expected a decision, got too many bytes", node=signer.uri)
    try:
        message = job_pb2.Decision.FromString(payload)
    except DecodeError:
        raise PeerError(
            "signature", "expected a decision, got other bytes", node=signer.uri
        ) from None
    if message.decider != signer.uri:
        raise PeerError(
            "identity",
            f"expected a decision of its signer `{signer.uri}`, "
            f"got one of `{message.decider[:200]}`",
        )
    if len(message.budgets) > MAX_BUDGETS:
        raise PeerError(
            "signature",
            f"expected at most {MAX_BUDGETS} budgets in a decision, got more",
            node=signer.uri,
        )
    if message.accepted == bool(message.denials) or len(message.denials) > MAX_DENIALS:
        raise PeerError(
            "signature",
            "expected a decision that accepts or says why not, got neither",
            node=signer.uri,
        )
    digests = (message.spec_digest, message.policy_digest)
    if any(len(digest) != 32 for digest in digests) or message.log_index > MAX_INT:
        raise PeerError(
            "signature",
            "expected a decision with digests of 32 bytes and a place in the log, got others",
            node=signer.uri,
        )
    if any(denial.node != signer.uri for denial in message.denials):
        raise PeerError("identity", f"expected denials of `{signer.uri}`, got another's")
    return Decision(
        job_id=message.job_id,
        spec_digest=message.spec_digest,
        decider=message.decider,
        accepted=message.accepted,
        denials=tuple(denial_from_proto(d) for d in message.denials),
        policy_digest=message.policy_digest,
        log_index=message.log_index,
        decided_at_ms=message.decided_at_ms,
        budgets=tuple(
            BudgetLeft(left.table, left.project, left.micro_rho, left.project_micro_rho)
            for left in message.budgets
        ),
    )


def denial_to_proto(denial: Denial) -> job_pb2.Denial:
    return job_pb2.Denial(
        node=denial.node,
        reason_code=denial.reason_code,
        message=denial.message,
        policy_id=denial.policy_id,
        policy_digest=denial.policy_digest,
        subject=denial.subject,
        observed=denial.observed,
        allowed=denial.allowed,
        remedy=denial.remedy,
    )


def denial_from_proto(message: job_pb2.Denial) -> Denial:
    return Denial(
        node=message.node,
        reason_code=message.reason_code,
        message=message.message,
        subject=message.subject,
        observed=message.observed,
        allowed=message.allowed,
        remedy=message.remedy,
        policy_id=message.policy_id,
        policy_digest=message.policy_digest,
    )
