"""A job as its requester sees it: status while it runs, outcome when it has ended."""

from __future__ import annotations

from yumen_core.jobs.decision import denial_to_proto
from yumen_core.jobs.machine import Job, Round, State, Step
from yumen_core.jobs.rounds import support_digest
from yumen_core.jobs.spec import JobSpec
from yumen_core.log.proof import proofs_to_proto
from yumen_core.rpc.v1 import job_pb2
from yumen_core.securesum import SLOTS
from yumen_core.securesum.suite import Suite

from yumen_coordinator.rounds import ActiveJob

_WHY_OUT = {
    Step.ASKED: "gave no decision in time",
    Step.ABSENT: "was not connected",
    Step.LOST: "was lost",
}


def status_of(
    job: Job, spec: JobSpec, *, submitted_at_ms: int, updated_at_ms: int
) -> job_pb2.JobStatus:
    """The job's status message."""
    return job_pb2.JobStatus(
        job_id=job.job_id,
        state=f"JOB_STATE_{job.state.name}",
        reason=job.reason,
        requester=spec.requester.uri,
        purpose=spec.purpose,
        table=spec.table,
        sql=spec.sql,
        nodes=[
            job_pb2.NodeProgress(node=node, step=step.value)
            for node, step in sorted(job.steps.items())
        ],
        submitted_at_ms=submitted_at_ms,
        updated_at_ms=updated_at_ms,
        denials=[denial_to_proto(d) for d in job.denials],
        code=job.code,
        method=spec.method,
        run=job.run,
        round=job.runs[-1] if job.interactive and job.runs else "",
        awaits_input=job.round is Round.INPUT and not job.state.ended,
        deadline_ms=0 if job.state.ended else job.deadline_ms,
    )


def outcome_of(active: ActiveJob, *, now_ms: int) -> job_pb2.Outcome:
    """What the requester receives beside the encrypted sum."""
    job = active.job
    status = status_of(
        job, active.opened.spec, submitted_at_ms=active.submitted_at_ms, updated_at_ms=now_ms
    )
    return job_pb2.Outcome(
        status=status,
        participants=job.participants,
        decisions=[active.decisions[n].to_proto() for n in sorted(active.decisions)],
        excluded=_excluded(job),
        ciphertext_bytes=active.received_bytes,
        support_digest=_support_digest(active),
        ciphertexts=_ciphertexts(active) if job.state is State.SUCCEEDED else 0,
        proofs=proofs_to_proto(active.proofs, job.participants),
    )


def run_outcome_of(active: ActiveJob) -> job_pb2.RunOutcome:
    """What the requester receives beside the encrypted sum of a run; instead of it, where nodes
    were lost."""
    return job_pb2.RunOutcome(
        run=active.job.run,
        participants=active.job.participants,
        decisions=[active.decisions[n].to_proto() for n in sorted(active.decisions)],
        excluded=_excluded(active.job),
        ciphertext_bytes=active.received_bytes,
        ciphertexts=_ciphertexts(active),
        support_digest=b"" if active.job.lost else _support_digest(active),
        lost=[job_pb2.Exclusion(node=node, reason="was lost") for node in active.job.lost],
        proofs=proofs_to_proto(active.proofs, active.job.participants),
    )


def _excluded(job: Job) -> list[job_pb2.Exclusion]:
    return [
        job_pb2.Exclusion(node=node, reason=_why_out(job, node))
        for node in sorted(job.steps)
        if node not in job.participants or job.steps[node] is Step.LOST
    ]


def _support_digest(active: ActiveJob) -> bytes:
    """Of the present run's shares; empty where it had no support step."""
    if not active.job.supported:
        return b""
    return support_digest({node: e.payload for node, e in active.supports.items()})


def _ciphertexts(active: ActiveJob) -> int:
    """Of the BFV suite the blocks that came; of the other one vector a node."""
    blocks = -(-active.slots // SLOTS) if active.opened.spec.suite is Suite.BFV else 1
    return blocks * len(active.contributed)


def _why_out(job: Job, node: str) -> str:
    if job.steps[node] is Step.DENIED:
        reasons = [d.message for d in job.denials if d.node == node]
        return "; ".join(reasons) or "denied the job"
    return _WHY_OUT.get(job.steps[node], "was not needed: the job ended before")
