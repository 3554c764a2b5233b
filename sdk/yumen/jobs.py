"""Jobs as their requester sees them later: what was asked, how it ended and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import overload

from yumen_core.errors import PeerError
from yumen_core.jobs.decision import denial_from_proto
from yumen_core.jobs.machine import State
from yumen_core.policy.denial import Denial
from yumen_core.rpc.v1 import job_pb2

from yumen.display import Grid, counted, html, plain, short_name, shortened

_PREFIX = "JOB_STATE_"


@dataclass(frozen=True)
class JobSummary:
    """One job. `sql` is its statement, or that of the rows of the statistic that its author calls
    `method`; `runs` counts the statistic's secure sums so far. `nodes` maps the SPIFFE id of each
    node asked to where it stands in the job, in a word; times are in UTC."""

    job_id: str
    state: State
    reason: str
    requester: str
    purpose: str
    table: str
    sql: str
    nodes: tuple[tuple[str, str], ...]
    denials: tuple[Denial, ...]
    submitted_at: datetime
    updated_at: datetime
    method: str = ""
    runs: int = 0

    @classmethod
    def from_status(cls, status: job_pb2.JobStatus) -> JobSummary:
        """Raises `PeerError` (`failed`) for a state that this version does not know."""
        return cls(
            job_id=status.job_id,
            state=state_of(status),
            reason=status.reason,
            requester=status.requester,
            purpose=status.purpose,
            table=status.table,
            sql=status.sql,
            nodes=tuple((n.node, n.step) for n in status.nodes),
            denials=tuple(denial_from_proto(d) for d in status.denials),
            submitted_at=_time(status.submitted_at_ms),
            updated_at=_time(status.updated_at_ms),
            method=status.method,
            runs=status.run + 1 if status.method and status.round else 0,
        )

    @property
    def asked(self) -> str:
        """The statement in one line, after the method and its secure sums where it is one."""
        statement = " ".join(self.sql.split())
        if not self.method:
            return statement
        return f"{self.method}, {counted(self.runs, 'secure sum')}: {statement}"

    @property
    def steps(self) -> str:
        """How many nodes stand where: `3 contributed, 1 denied`."""
        words = [step for _, step in self.nodes]
        return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))


class Jobs(Sequence[JobSummary]):
    """The jobs, newest first, as the coordinator lists them."""

    def __init__(self, jobs: Iterable[JobSummary]) -> None:
        self._jobs = tuple(jobs)

    @overload
    def __getitem__(self, key: int) -> JobSummary: ...
    @overload
    def __getitem__(self, key: slice) -> Sequence[JobSummary]: ...
    def __getitem__(self, key: int | slice) -> JobSummary | Sequence[JobSummary]:
        return self._jobs[key]

    def __len__(self) -> int:
        return len(self._jobs)

    def __repr__(self) -> str:
        return plain(self._grid()) if self._jobs else "no job yet"

    def _repr_html_(self) -> str:
        return html(self._grid()) if self._jobs else "<div>no job yet</div>"

    def _grid(self) -> Grid:
        # The id comes first: a table split by width begins each part with its first column.
        rows = tuple(
            (
                job.job_id,
                f"{job.submitted_at:%Y-%m-%d %H:%M:%S}",
                job.state.value,
                short_name(job.requester),
                job.purpose,
                job.table,
                job.steps,
                shortened(job.reason) or job.asked,
            )
            for job in self._jobs
        )
        headers = (
            *("job", "submitted (UTC)", "state", "requester", "purpose", "table", "nodes"),
            "reason or statement",
        )
        return Grid(headers=headers, rows=rows, max_cell_chars=72)


def state_of(status: job_pb2.JobStatus) -> State:
    """The job's state. Raises `PeerError` (`failed`) for one that this version does not know."""
    try:
        return State(job_pb2.JobState.Name(status.state).removeprefix(_PREFIX).lower())
    except ValueError:
        raise PeerError(
            "failed",
            f"expected a job state that this version knows, got number {status.state}",
            remedy="update this library",
        ) from None


def _time(ms: int) -> datetime:
    try:
        return datetime.fromtimestamp(ms / 1000, tz=UTC)
    except (OverflowError, ValueError, OSError):
        raise PeerError("failed", f"expected a time in milliseconds, got {ms}") from None
