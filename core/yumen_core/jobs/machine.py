"""The life of a job as a pure state machine: an event comes in, a new job and effects go out.

    submitted ─► deciding ─► running (support step, then sum) ─► succeeded
                    │  ▲         │
                    │  ▼         ▼
                    │ awaiting_  node_lost, failed              cancelled and expired from anywhere
                    │ approval
                    ▼
        denied, insufficient_nodes

The shell stores the new job before it carries out an effect, so a coordinator that was killed
carries on from there (`restarted`): nodes are asked again as they reconnect and answer a repeated
request with the bytes they sent before, so repeating is safe.

A query is one run: its sum is its result. A statistic or a training has several: after each sum it
waits for its requester, who starts the next run or says that it is complete. Which run may follow
which is checked before an event is made (`runs`).

The set of participants is fixed once. Only a training goes on without a node that is lost, and only
where it is lost before any node was asked for its part of the sum: the run then ends without one,
and the next is for a smaller set. A node that is lost in the middle of a sum is waited for until
the deadline, since with what the others have sent under the larger set, a sum over the smaller one
would give its share by subtraction.

A node that never answers cannot hold a job: every phase has a deadline, and `Tick` ends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from yumen_core.errors import BY_ROWS
from yumen_core.jobs.states import (
    UNDECIDED,
    Admitted,
    Cancelled,
    Completed,
    Drop,
    Effect,
    Event,
    Finish,
    NextRun,
    NodeAbsent,
    NodeAccepted,
    NodeAwaits,
    NodeDenied,
    NodeFailed,
    Propose,
    Refused,
    Release,
    Round,
    RoundDone,
    StartRound,
    State,
    Step,
    Tick,
    Wait,
)
from yumen_core.policy.denial import Denial

__all__ = [
    "MAX_REASON_CHARS",
    "UNDECIDED",
    "Admitted",
    "Cancelled",
    "Completed",
    "Drop",
    "Effect",
    "Event",
    "Finish",
    "Job",
    "Limits",
    "NextRun",
    "NodeAbsent",
    "NodeAccepted",
    "NodeAwaits",
    "NodeDenied",
    "NodeFailed",
    "Propose",
    "Refused",
    "Release",
    "Round",
    "RoundDone",
    "StartRound",
    "State",
    "Step",
    "Tick",
    "Wait",
    "advance",
    "fail",
    "restarted",
]

SPENT = "budget_exhausted"
"""The reason code of a refusal for want of privacy budget."""
MAX_REASON_CHARS = 500  # of what one node says; the whole is in its signed decision
_GONE = "its connection was lost and did not come back"
_LATE = "its part of the round did not come in time"


@dataclass(frozen=True)
class Limits:
    """How long each phase may take, in milliseconds; `round_ms`, or a job's own, also bounds the
    wait for a requester between two runs, `approval_ms` that for people who review code."""

    decision_ms: int = 15_000
    round_ms: int = 120_000
    approval_ms: int = 24 * 3600 * 1000


@dataclass(frozen=True)
class Job:
    """A job as the coordinator sees it. `participants` is empty until the set is fixed, once.

    `runs` names the round of each run so far; `supported` says whether the present one began with a
    support step. `interactive` is a job of several runs, `training` one that goes on without a lost
    node, where `lost` names the nodes without which the present run ended; the number of a run is
    its place in `runs`. `restarted` says that the present run was asked again after a restart, so
    that nodes may have sent their part of its sum already. `round_ms` is the job's own limit, 0 for
    the coordinator's. `code` is the error that ended the job, where a party named one.
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
    interactive: bool = False
    runs: tuple[str, ...] = ()
    supported: bool = True
    code: str = ""
    training: bool = False
    lost: tuple[str, ...] = ()
    round_ms: int = 0
    restarted: bool = False

    @property
    def run(self) -> int:
        """The present run, from 0; 0 too before the first."""
        return max(len(self.runs) - 1, 0)

    @property
    def begins_with_input(self) -> bool:
        """Whether its first run is still to come, with an input of the requester's."""
        return self.training and not self.runs

    def at(self, *steps: Step) -> tuple[str, ...]:
        """The nodes that stand at one of `steps`, sorted."""
        return tuple(sorted(node for node, step in self.steps.items() if step in steps))


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
        case NodeAccepted() | NodeAwaits() | NodeDenied() | NodeAbsent() if job.state in UNDECIDED:
            return _on_answer(job, event, now_ms, limits)
        case RoundDone(node, round_) if round_ is not Round.INPUT:  # no node has a part in that
            return _on_part(job, node, round_, now_ms, limits)
        case NodeFailed(node, message, code) if (
            job.state is State.RUNNING and node in job.participants
        ):
            job = replace(job, code=code)
            if code in BY_ROWS:  # which node's rows these are would tell of single rows there
                steps = dict.fromkeys(job.participants, Step.ACCEPTED)
                job = replace(job, steps={**job.steps, **steps})
                return _end(job, State.FAILED, message[:MAX_REASON_CHARS])
            return _end(job, State.FAILED, f"{message[:MAX_REASON_CHARS]} (at {node})")
        case NextRun(name, support) if job.round is Round.INPUT:
            return _next_run(job, name, support, now_ms, limits)
        case Completed() if job.round is Round.INPUT:
            return _end(job, State.SUCCEEDED, "")
        case NodeFailed(node, message) if job.state in UNDECIDED:
            denied = NodeDenied(node, (_failure(node, message[:MAX_REASON_CHARS]),))
            return _on_answer(job, denied, now_ms, limits)
        case NodeAbsent(node) if job.state is State.RUNNING and node in job.participants:
            if job.steps[node] is Step.CONTRIBUTED and not job.interactive:
                return job, ()  # nothing more is needed of it
            if job.training:
                return _without(job, (node,), _GONE, now_ms, limits)
            return _lost(job, (node,), _GONE)
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
    if job.state is State.AWAITING_APPROVAL:
        return job  # its deadline is of people, who do not notice a restart
    phase_ms = _round_ms(job, limits) if job.state is State.RUNNING else limits.decision_ms
    job = replace(job, deadline_ms=min(now_ms + phase_ms, job.expires_at_ms))
    if job.state is not State.RUNNING or job.lost or job.begins_with_input:
        return job  # nothing was asked of the nodes, or nothing more of this run
    return _at_first_step(replace(job, restarted=True))


def _on_answer(
    job: Job,
    event: NodeAccepted | NodeAwaits | NodeDenied | NodeAbsent,
    now_ms: int,
    limits: Limits,
) -> tuple[Job, tuple[Effect, ...]]:
    node = event.node
    if job.steps.get(node) not in (Step.ASKED, Step.AWAITING):
        return job, ()
    match event:
        case NodeAccepted():
            job = replace(job, steps={**job.steps, node: Step.ACCEPTED})
        case NodeAwaits():
            job = replace(job, steps={**job.steps, node: Step.AWAITING})
        case NodeDenied(_, denials):
            job = replace(
                job, steps={**job.steps, node: Step.DENIED}, denials=job.denials + denials
            )
        case NodeAbsent():
            if job.steps[node] is Step.AWAITING:
                return job, ()  # its people may take longer than an interruption
            job = replace(job, steps={**job.steps, node: Step.ABSENT})
    if job.state is State.DECIDING and job.at(Step.ASKED):
        return job, ()
    return _await_or_decide(job, now_ms, limits)


def _await_or_decide(job: Job, now_ms: int, limits: Limits) -> tuple[Job, tuple[Effect, ...]]:
    """No node is left that has said nothing in time: wait for those whose people review the code,
    unless the rest are too few with them."""
    awaiting, accepted = job.at(Step.AWAITING), job.at(Step.ACCEPTED)
    if not awaiting or len(accepted) + len(awaiting) < job.min_nodes:
        return _decide(job, now_ms, limits)
    if job.state is State.AWAITING_APPROVAL:
        return job, ()
    deadline = min(now_ms + limits.approval_ms, job.expires_at_ms)
    return replace(job, state=State.AWAITING_APPROVAL, deadline_ms=deadline), (Wait(),)


def _decide(job: Job, now_ms: int, limits: Limits) -> tuple[Job, tuple[Effect, ...]]:
    """All nodes have answered or their time is over: fix the participants, once, or end."""
    accepted = job.at(Step.ACCEPTED)
    if len(accepted) >= job.min_nodes:
        job = replace(
            job,
            state=State.RUNNING,
            round=Round.INPUT if job.begins_with_input else Round.SUPPORT,
            participants=accepted,
            deadline_ms=min(now_ms + _round_ms(job, limits), job.expires_at_ms),
        )
        if job.round is Round.INPUT:
            return job, (Wait(),)
        return job, (StartRound(Round.SUPPORT, accepted, accepted),)
    denied = job.at(Step.DENIED)
    if len(job.steps) - len(denied) < job.min_nodes:
        spent = bool(job.denials) and all(d.reason_code == SPENT for d in job.denials)
        state = State.BUDGET_EXHAUSTED if spent else State.DENIED
        return _end(job, state, _denial_text(job.denials))
    missing = "".join(
        f"; {why}: {', '.join(nodes)}"
        for why, nodes in (
            ("not reached", job.at(Step.ABSENT)),
            ("no decision in time", job.at(Step.ASKED)),
            ("code not reviewed in time", job.at(Step.AWAITING)),
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
    if round_ is Round.SUM and not job.interactive:
        return _end(job, State.SUCCEEDED, "")
    deadline = min(now_ms + _round_ms(job, limits), job.expires_at_ms)
    if round_ is Round.SUM:
        return replace(job, round=Round.INPUT, deadline_ms=deadline), (Release(),)
    job = replace(job, round=Round.SUM, deadline_ms=deadline)
    return job, (StartRound(Round.SUM, job.participants, job.participants),)


def _next_run(
    job: Job, name: str, support: bool, now_ms: int, limits: Limits
) -> tuple[Job, tuple[Effect, ...]]:
    deadline = min(now_ms + _round_ms(job, limits), job.expires_at_ms)
    job = replace(job, runs=(*job.runs, name), supported=support, deadline_ms=deadline)
    job = replace(job, lost=(), restarted=False)
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
        return _await_or_decide(job, now_ms, limits)  # who stands at `asked` still is late
    if job.state is State.AWAITING_APPROVAL:
        return _decide(job, now_ms, limits)
    if job.round is Round.INPUT:
        return _end(job, State.EXPIRED, "the requester sent no further round in time")
    waiting = tuple(
        n
        for n in job.participants
        if job.steps[n] is not Step.CONTRIBUTED
        and not (job.round is Round.SUPPORT and job.steps[n] is Step.SUPPORTED)
    )
    if job.training and job.round is Round.SUPPORT and not job.restarted:
        return _without(job, waiting, _LATE, now_ms, limits)
    return _lost(job, waiting, _LATE)


def _without(
    job: Job, nodes: tuple[str, ...], why: str, now_ms: int, limits: Limits
) -> tuple[Job, tuple[Effect, ...]]:
    """A training without `nodes`: its present run has no sum, the next is for the other nodes."""
    if job.round is not Round.SUPPORT or job.restarted:
        return job, ()  # nothing is asked of them now, or the sum waits for them to the deadline
    left = tuple(node for node in job.participants if node not in nodes)
    if len(left) < job.min_nodes:
        return _lost(job, nodes, why)
    deadline = min(now_ms + _round_ms(job, limits), job.expires_at_ms)
    job = replace(
        job,
        steps={**job.steps, **dict.fromkeys(nodes, Step.LOST)},
        participants=left,
        round=Round.INPUT,
        lost=nodes,
        deadline_ms=deadline,
    )
    return job, (Drop(nodes),)


def _round_ms(job: Job, limits: Limits) -> int:
    return job.round_ms or limits.round_ms


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
