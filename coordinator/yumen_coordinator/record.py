"""What the coordinator's log says of a job. An entry is durable before anything follows from it."""

from __future__ import annotations

from yumen_core.jobs.machine import Job, State
from yumen_core.log import Act, Entry, TileLog

from yumen_coordinator.rounds import ActiveJob


class JobRecord:
    """Writes the acts of jobs into the log."""

    def __init__(self, log: TileLog) -> None:
        self._log = log

    def learned(self, active: ActiveJob, *more: Entry) -> None:
        """Write what nodes did since the last effect, in one durable step."""
        entries = [*active.unlogged, *more]
        active.unlogged.clear()
        if entries:
            self._log.append_many([entry.encode() for entry in entries])

    def release(self, active: ActiveJob, job: Job) -> None:
        """Log that a run's sum is the requester's, before he can have it."""
        self.learned(active)
        digests = {"spec": active.opened.digest}
        if active.inputs is not None:
            digests["input"] = active.inputs.digest
        self._log.record(
            Act.RELEASE,
            subject={"job": job.job_id, "requester": active.opened.spec.requester.uri},
            digests=digests,
            detail={
                "run": job.run,
                "round": job.runs[-1],
                "participants": list(job.participants),
            },
        )

    def drop(self, active: ActiveJob, job: Job) -> None:
        """Log that a run ended without a sum, before the set of participants is smaller."""
        self.learned(active)
        self._log.record(
            Act.RUN_DROPPED,
            subject={"job": job.job_id},
            digests={"spec": active.opened.digest},
            detail={
                "run": job.run,
                "round": job.runs[-1],
                "lost": list(job.lost),
                "participants": list(job.participants),
            },
        )

    def end(self, active: ActiveJob, now_ms: int) -> None:
        """Log the job's end, once."""
        if active.end_logged:
            return
        job = active.job
        self.learned(
            active,
            Entry(
                now_ms,
                Act.RELEASE
                if job.state is State.SUCCEEDED and not job.interactive
                else Act.JOB_ENDED,
                subject={"job": job.job_id, "requester": active.opened.spec.requester.uri},
                digests={"spec": active.opened.digest},
                detail={
                    "state": job.state.value,
                    "reason": job.reason,
                    "participants": list(job.participants),
                },
            ),
        )
        active.end_logged = True
