"""The life of a job as a pure state machine: an event comes in, a new job and effects go out.

    submitted ─► deciding ─► running (support step, then sum) ─► succeeded
                    │            │
                    ▼            ▼
        denied, insufficient_nodes   node_lost, failed          cancelled and expired from anywhere

The shell stores the new job before it carries out an effect, so a coordinator that was killed
carries on from there (`restarted`): nodes are asked again as they reconnect and answer a repeated
request with the bytes they sent before, so repeating is safe.

A query is one run: its sum is its result. A statistic has several: after each sum it waits for its
requester, who starts the next run or says that it is complete. Which run may follow which is
checked before an event is made (`runs`); the set of participants is the same for all of them.

A node that never answers cannot hold a job: every phase has a deadline, and `Tick` ends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from yumen_core.policy.denial import Denial

MAX_REASON_CHARS = 500  # of what one node says; the whole is in its signed decision


class State(StrEnum):
    SUBMITTED = "submitted"
    DECIDING = "deciding"
    AWAITING_APPROVAL = "awaiting_approval"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    DENIED = "denied"
    INSUFFICIENT_NODES = "insufficient_nodes"
    BUDGET_EXHAUSTED = "budget_exhausted"
    NODE_LOST = "node_lost"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def ended(self) -> bool:
        return self not in _OPEN


_OPEN = frozenset({State.SUBMITTED, State.DECIDING, State.AWAITING_APPROVAL, State.RUNNING})


class Round(StrEnum):
    """The steps of a run, in order; `input` is the wait for the requester between two runs."""

    SUPPORT = "support"
    SUM = "sum"
    INPUT = "input"


class Step(StrEnum):
    """Where one node stands in a job."""

    ASKED = "asked"
    ACCEPTED = "accepted"
    DENIED = "denied"
    ABSENT = "absent"
    SUPPORTED = "supported"
    CONTRIBUTED = "contributed"
    LOST = "lost"


@dataclass(frozen=True)
class Limits:
    """How long each phase may take, in milliseconds; `round_ms` also bounds the wait for a
    requester between two runs."""

    decision_ms: int = 15_000
    round_ms: int = 120_000


@dataclass(frozen=True)
class Job:
    """A job as the coordinator sees it. `participants` is empty until the set is fixed, once.

    `runs` names the round of each secure sum so far; `supported` says whether the present run began
    with a support step. `code` is the error that ended the job, where a party named one.
    """

    job_id: str
    min_nodes: int
    steps: Mapping[str, Step]
    expires_at_ms: int
    state: State = State.SUBMITTED
    round: Round | None = None
    participants: tuple[str, ...] = ()
    deadline_ms: int = 0
    reason: str = ""
    denials: tuple[Denial, ...] = ()
    statistic: bool = False
    runs: tuple[str, ...] = ()
    supported: bool = True
    code: str = ""

    @property
    def run(self) -> int:
        """The present run, from 0."""
        return max(len(self.runs) - 1, 0)

    def at(self, *steps: Step) -> tuple[str, ...]:
        """The nodes that stand at one of `steps`, sorted."""
        return tuple(sorted(node for node, step in self.steps.items() if step in steps))


# Events ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Admitted:
    """The coordinator's own policy accepted the job."""


@dataclass(frozen=True)
class Refused:
    """The coordinator's own policy refused the job."""

    denials: tuple[Denial, ...]


@dataclass(frozen=True)
class NodeAccepted:
    node: str


@dataclass(frozen=True)
class NodeDenied:
    node: str
    denials: tuple[Denial, ...]


@dataclass(frozen=True)
class NodeAbsent:
    """The node has not been connected for longer than the reconnection grace."""

    node: str


@dataclass(frozen=True)
class RoundDone:
    """The node's part of the present run's `round` has arrived and is acceptable."""

    node: str
    round: Round


@dataclass(frozen=True)
class NodeFailed:
    """The node, or what it sent, makes the round impossible."""

    node: str
    message: str
    code: str = ""


@dataclass(frozen=True)
class NextRun:
    """The requester's input for the next run has been verified: run the round `name`, with or
    without a support step."""

    name: str
    support: bool


@dataclass(frozen=True)
class Completed:
    """The requester needs no further run."""


@dataclass(frozen=True)
class Cancelled:
    by: str


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


Event = (
    Admitted | Refused | NodeAccepted | NodeDenied | NodeAbsent | RoundDone | NodeFailed
    | NextRun | Completed | Cancelled | Tick
)  # fmt: skip


# Effects --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Propose:
    """Send the signed job to these nodes."""

    nodes: tuple[str, ...]


@dataclass(frozen=True)
class StartRound:
    """Ask `nodes` for their part of `round`; every participant masks over `participants`."""

    round: Round
    participants: tuple[str, ...]
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Finish:
    """The job has ended: tell the requester and the nodes, keep the result if there is one."""


@dataclass(frozen=True)
class Release:
    """A run of a statistic is complete: its sum is the requester's."""


Effect = Propose | StartRound | Release | Finish


# Transitions ----------------------------------------------------------------------------------


def advance(
    job: Job, event: Event, *, now_ms: int, limits: Limits
) -> tuple[Job, tuple[Effect, ...]]:
    """The job after `event`, and what to do. An event that no longer matters changes nothing."""
    if job.state.ended:
        return job, ()
    match event:
        case Cancelled(by):
            return _end(job, State.CANCELLED, f"cancelled by `{by}`")
        case Tick():
            return _on_time(job, now_ms, limits)
        case Refused(denials) if job.state is State.SUBMITTED:
            job = replace(job, denials=denials)
            return _end(job, State.DENIED, _denial_text(denials))
        case Admitted() if job.state is State.SUBMITTED:
            deadline = min(now_ms + limits.decision_ms, job.expires_at_ms)
            job = replace(job, state=State.DECIDING, deadline_ms=deadline)
            return job, (Propose(job.at(Step.ASKED)),)
        case NodeAccepted() | NodeDenied() | NodeAbsent() if job.state is State.DECIDING:
            return _on_answer(job, event, now_ms, limits)
        case RoundDone(node, round_):
            return _on_part(job, node, round_, now_ms, limits)
        case NodeFailed(node, message, code) if (
            job.state is State.RUNNING and node in job.participants
        ):
            job = replace(job, code=code)
            return _end(job, State.FAILED, f"{message[:MAX_REASON_CHARS]} (at {node})")
        case NextRun(name, support) if job.round is Round.INPUT:
            return _next_run(job, name, support, now_ms, limits)
        case Completed() if job.round is Round.INPUT:
            return _end(job, State.SUCCEEDED, "")
        case NodeFailed(node, message) if job.state is State.DECIDING:
            denied = NodeDenied(node, (_failure(node, message[:MAX_REASON_CHARS]),))
            return _on_answer(job, denied, now_ms, limits)
        case NodeAbsent(node) if job.state is State.RUNNING and node in job.participants:
            if job.steps[node] is Step.CONTRIBUTED and not job.statistic:
                return job, ()  # nothing more is needed of it
            return _lost(job, (node,), "its connection was lost and did not come back")
        case _:
            return job, ()


def fail(job: Job, reason: str) -> Job:
    """The job ended as failed, for a fault found after its last event."""
    return replace(job, state=State.FAILED, reason=reason)


def restarted(job: Job, *, now_ms: int, limits: Limits) -> Job:
    """The job after the coordinator was started again, with its phase's time anew.

    What nodes had sent in a run was in memory only, so a running job goes back to the first step
    of its present run with the participants it had: the set is never fixed twice. Every node then
    sends the same bytes again.
    """
    if job.state.ended:
        return job
    phase_ms = limits.round_ms if job.state is State.RUNNING else limits.decision_ms
    job = replace(job, deadline_ms=min(now_ms + phase_ms, job.expires_at_ms))
    if job.state is not State.RUNNING:
        return job
    return _at_first_step(job)


def _on_answer(
    job: Job, event: NodeAccepted | NodeDenied | NodeAbsent, now_ms: int, limits: Limits
) -> tuple[Job, tuple[Effect, ...]]:
    node = event.node
    if job.steps.get(node) is not Step.ASKED:
        return job, ()
    match event:
        case NodeAccepted():
            job = replace(job, steps={**job.steps, node: Step.ACCEPTED})
        case NodeDenied(_, denials):
            job = replace(
                job, steps={**job.steps, node: Step.DENIED}, denials=job.denials + denials
            )
        case NodeAbsent():
            job = replace(job, steps={**job.steps, node: Step.ABSENT})
    if job.at(Step.ASKED):
        return job, ()
    return _decide(job, now_ms, limits.round_ms)


def _decide(job: Job, now_ms: int, round_ms: int) -> tuple[Job, tuple[Effect, ...]]:
    """All nodes have answered or their time is over: fix the participants, once, or end."""
    accepted = job.at(Step.ACCEPTED)
    if len(accepted) >= job.min_nodes:
        job = replace(
            job,
            state=State.RUNNING,
            round=Round.SUPPORT,
            participants=accepted,
            deadline_ms=min(now_ms + round_ms, job.expires_at_ms),
        )
        return job, (StartRound(Round.SUPPORT, accepted, accepted),)
    denied = job.at(Step.DENIED)
    if len(job.steps) - len(denied) < job.min_nodes:
        return _end(job, State.DENIED, _denial_text(job.denials))
    missing = "".join(
        f"; {why}: {', '.join(nodes)}"
        for why, nodes in (
            ("not reached", job.at(Step.ABSENT)),
            ("no decision in time", job.at(Step.ASKED)),
            ("denied by", denied),
        )
        if nodes
    )
    return _end(
        job,
        State.INSUFFICIENT_NODES,
        f"expected {job.min_nodes} nodes to take part, got {len(accepted)}{missing}",
    )


def _on_part(
    job: Job, node: str, round_: Round, now_ms: int, limits: Limits
) -> tuple[Job, tuple[Effect, ...]]:
    if job.state is not State.RUNNING or job.round is not round_ or node not in job.participants:
        return job, ()
    done = Step.SUPPORTED if round_ is Round.SUPPORT else Step.CONTRIBUTED
    job = replace(job, steps={**job.steps, node: done})
    if any(job.steps[name] is not done for name in job.participants):
        return job, ()
    if round_ is Round.SUM and not job.statistic:
        return _end(job, State.SUCCEEDED, "")
    if round_ is Round.SUM:
        deadline = min(now_ms + limits.round_ms, job.expires_at_ms)
        return replace(job, round=Round.INPUT, deadline_ms=deadline), (Release(),)
    deadline = min(now_ms + limits.round_ms, job.expires_at_ms)
    job = replace(job, round=Round.SUM, deadline_ms=deadline)
    return job, (StartRound(Round.SUM, job.participants, job.participants),)


def _next_run(
    job: Job, name: str, support: bool, now_ms: int, limits: Limits
) -> tuple[Job, tuple[Effect, ...]]:
    deadline = min(now_ms + limits.round_ms, job.expires_at_ms)
    job = replace(job, runs=(*job.runs, name), supported=support, deadline_ms=deadline)
    job = _at_first_step(job)
    assert job.round is not None
    return job, (StartRound(job.round, job.participants, job.participants),)


def _at_first_step(job: Job) -> Job:
    """The present run from its beginning: nobody has sent anything of it."""
    round_, step = (Round.SUPPORT, Step.ACCEPTED) if job.supported else (Round.SUM, Step.SUPPORTED)
    return replace(job, round=round_, steps={**job.steps, **dict.fromkeys(job.participants, step)})


def _on_time(job: Job, now_ms: int, limits: Limits) -> tuple[Job, tuple[Effect, ...]]:
    if now_ms >= job.expires_at_ms:
        return _end(job, State.EXPIRED, "the job's own time was over before it ended")
    if now_ms < job.deadline_ms or not job.deadline_ms:
        return job, ()
    if job.state is State.SUBMITTED:  # stored before a restart, and its admission with it lost
        return _end(job, State.FAILED, "the coordinator stopped before it had decided on the job")
    if job.state is State.DECIDING:
        return _decide(job, now_ms, limits.round_ms)  # who stands at `asked` still is late
    if job.round is Round.INPUT:
        return _end(job, State.EXPIRED, "the requester sent no further round in time")
    waiting = tuple(
        n
        for n in job.participants
        if job.steps[n] is not Step.CONTRIBUTED
        and not (job.round is Round.SUPPORT and job.steps[n] is Step.SUPPORTED)
    )
    return _lost(job, waiting, "its part of the round did not come in time")


def _lost(job: Job, nodes: tuple[str, ...], why: str) -> tuple[Job, tuple[Effect, ...]]:
    job = replace(job, steps={**job.steps, **dict.fromkeys(nodes, Step.LOST)})
    return _end(job, State.NODE_LOST, f"{why} (at {', '.join(nodes)})")


def _end(job: Job, state: State, reason: str) -> tuple[Job, tuple[Effect, ...]]:
    return replace(job, state=state, reason=reason), (Finish(),)


def _failure(node: str, message: str) -> Denial:
    """A node that cannot even decide takes no part, and says why."""
    return Denial(
        node=node,
        reason_code="failed",
        message=message,
        subject="node",
        observed="",
        allowed="",
        remedy="ask the node's operator",
    )


def _denial_text(denials: tuple[Denial, ...]) -> str:
    return "; ".join(f"{d.message[:MAX_REASON_CHARS]} (at {d.node})" for d in denials[:3])
