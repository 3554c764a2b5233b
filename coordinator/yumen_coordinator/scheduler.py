"""Drives every open job: feeds events to its state machine, stores it, carries out the effects.

The order within one event is fixed: store the job's new state, log what led to it, then send. The
machine decides; nothing here does. All methods run on the event loop.
"""

from __future__ import annotations

import asyncio
import logging

from yumen_core.clock import Clock
from yumen_core.errors import PeerError, YumenError
from yumen_core.identity.envelope import SignedEnvelope
from yumen_core.jobs import machine
from yumen_core.jobs.admission import OpenedJob
from yumen_core.jobs.inputs import SignedInput
from yumen_core.jobs.machine import Job, Limits, Round, State, Step
from yumen_core.jobs.runs import Runs
from yumen_core.jobs.spec import JobSpec
from yumen_core.log import Act, TileLog
from yumen_core.log.proof import LogProof

from yumen_coordinator.dispatch import Dispatch
from yumen_coordinator.outcome import outcome_of
from yumen_coordinator.record import JobRecord
from yumen_coordinator.registry import Registry
from yumen_coordinator.rounds import ActiveJob, Payload
from yumen_coordinator.store import Store, StoredJob

_LOG = logging.getLogger(__name__)
ANNOUNCE_S = 0.1
"""How long one node's answer may wait to be told to who watches the job, with those of others."""
RETRY_S = 1.0
"""How soon a step that the store refused is tried again."""
_MAY_TAKE_PART = (Step.ASKED, Step.AWAITING, Step.ACCEPTED)


class Scheduler:
    """The open jobs of one coordinator."""

    def __init__(
        self,
        *,
        store: Store,
        log: TileLog,
        registry: Registry,
        clock: Clock,
        limits: Limits,
        max_sum_bytes: int,
        training_round_ms: int,
    ) -> None:
        self._store = store
        self._log = log
        self._record = JobRecord(log)
        self._registry = registry
        self._dispatch = Dispatch(registry)
        self._clock = clock
        self._limits = limits
        self._max_sum_bytes = max_sum_bytes
        self._training_round_ms = training_round_ms
        self._active: dict[str, ActiveJob] = {}

    # Admission and restart ----------------------------------------------------------------------

    def submit(
        self,
        opened: OpenedJob,
        envelope: SignedEnvelope,
        public_key: bytes,
        runs: Runs,
        ruling: machine.Admitted | machine.Refused,
        bundle: bytes = b"",
    ) -> None:
        """Take up a verified job with the coordinator's ruling on it. Raises `PeerError`
        (`replay`) where its id was used before."""
        spec, now_ms = opened.spec, self._clock.now_ms()
        submitted = Job(
            job_id=spec.job_id,
            min_nodes=spec.min_nodes,
            steps=dict.fromkeys(spec.nodes, Step.ASKED),
            expires_at_ms=spec.expires_at_ms,
            interactive=spec.interactive,
            runs=() if runs.free else (runs.first.name,),
            training=spec.training is not None,
            round_ms=self._round_ms(spec),
        )
        job, effects = machine.advance(submitted, ruling, now_ms=now_ms, limits=self._limits)
        active = self._activate(job, opened, envelope, public_key, runs, now_ms, bundle)
        self._store.add(
            StoredJob(
                job=job,
                requester=spec.requester.uri,
                envelope=envelope.to_proto().SerializeToString(),
                public_key=public_key,
                submitted_at_ms=now_ms,
                updated_at_ms=now_ms,
            ),
            bundle,
        )
        self._active[job.job_id] = active
        self._carry_out(active, effects)

    def restore(
        self,
        stored: StoredJob,
        opened: OpenedJob,
        envelope: SignedEnvelope,
        runs: Runs,
        decisions: dict[str, SignedEnvelope],
        proofs: dict[str, LogProof],
        inputs: tuple[SignedInput, SignedEnvelope] | None,
        bundle: bytes,
    ) -> None:
        """Take up a job that was open when the coordinator stopped.

        Its nodes are asked again as they reconnect (`node_connected`).
        """
        job = machine.restarted(stored.job, now_ms=self._clock.now_ms(), limits=self._limits)
        active = self._activate(
            job, opened, envelope, stored.public_key, runs, stored.submitted_at_ms, bundle
        )
        active.decisions.update(decisions)
        active.proofs.update(proofs)
        if inputs is not None:
            active.start_run(*inputs)
        self._active[job.job_id] = active
        self._arm(active)

    def abandon(self, stored: StoredJob, why: str) -> None:
        """End a stored job that cannot be taken up again."""
        job = machine.fail(stored.job, why)
        self._log.record(
            Act.JOB_ENDED,
            subject={"job": job.job_id, "requester": stored.requester},
            detail={"state": job.state.value, "reason": why},
        )
        self._store.save(job, now_ms=self._clock.now_ms())

    def close(self) -> None:
        """Stop all timers; the jobs stay in the store as they are."""
        for active in self._active.values():
            if active.timer is not None:
                active.timer.cancel()

    def _activate(
        self,
        job: Job,
        opened: OpenedJob,
        envelope: SignedEnvelope,
        public_key: bytes,
        runs: Runs,
        submitted_at_ms: int,
        bundle: bytes,
    ) -> ActiveJob:
        return ActiveJob(
            job=job,
            opened=opened,
            envelope=envelope,
            public_key=public_key,
            runs=runs,
            max_sum_bytes=self._max_sum_bytes,
            submitted_at_ms=submitted_at_ms,
            bundle=bundle,
        )

    def _round_ms(self, spec: JobSpec) -> int:
        """The job's own limit of a round, 0 where the coordinator's holds."""
        if spec.training is None:
            return 0
        return min(spec.training.round_timeout_s * 1000, self._training_round_ms)

    # What happens -------------------------------------------------------------------------------

    def node_connected(self, node: str) -> None:
        """Send a node that has (re)connected whatever open jobs still want of it."""
        for active in list(self._active.values()):
            job = active.job
            if node not in job.steps:
                continue
            active.forget_partial(node)
            if job.state in machine.UNDECIDED and job.steps[node] in _MAY_TAKE_PART:
                self._dispatch.propose(
                    active, (node,)
                )  # a node that was restarted needs the job again
            elif job.state is State.RUNNING and node in job.participants and job.round:
                self._dispatch.propose(active, (node,))
                if job.round is Round.INPUT:
                    continue
                waits = Step.ACCEPTED if job.round is Round.SUPPORT else Step.SUPPORTED
                if job.steps[node] is waits:
                    self._dispatch.start_round(active, job.round, (node,))

    def node_absent(self, node: str) -> None:
        """A node has been away for longer than the grace time."""
        for job_id in [i for i, a in self._active.items() if node in a.job.steps]:
            self.apply(job_id, machine.NodeAbsent(node))

    def next_run(
        self, job_id: str, name: str, inputs: SignedInput, envelope: SignedEnvelope
    ) -> None:
        """Start a statistic's next run with the requester's verified input.

        Raises `PeerError` (`round`) for a run that the job does not name now.
        """
        active = self._active[job_id]
        job = active.job
        due = len(job.runs)
        if job.round is not Round.INPUT or inputs.run != due or inputs.round != name:
            raise PeerError("round", f"expected run {due}, got another or too early")
        if not active.has_uploaded(inputs):
            raise _input_missing(due)
        shape = active.runs.next(job.runs, name)
        support = shape.needs_support(job.runs)
        started, effects = machine.advance(
            job, machine.NextRun(name, support), now_ms=self._clock.now_ms(), limits=self._limits
        )
        self._store.save_run(
            started, envelope.to_proto().SerializeToString(), now_ms=self._clock.now_ms()
        )
        active.start_run(inputs, envelope)
        active.job = started
        self._carry_out(active, effects)

    def uploaded(self, job_id: str, payload: Payload) -> None:
        """What a run's input names has come. Where the present run waits for it, after a restart,
        its nodes are asked again."""
        active = self._active[job_id]
        active.keep_uploaded(payload)
        if active.waits_for_payload and active.take_uploaded():
            self._ask_again(active)

    def passed(self, job_id: str) -> None:
        """The requester asks for the run after the present one, whose sum he has. Where it is done
        again after a restart, its nodes send their stored parts without the input."""
        active = self._active[job_id]
        if active.waits_for_payload:
            active.passed = True
            self._ask_again(active)

    def _ask_again(self, active: ActiveJob) -> None:
        job = active.job
        if job.round in (Round.SUPPORT, Round.SUM):
            done = Step.SUPPORTED if job.round is Round.SUPPORT else Step.CONTRIBUTED
            waiting = tuple(n for n in job.participants if job.steps[n] is not done)
            self._dispatch.start_round(active, job.round, waiting)

    def complete(self, job_id: str) -> None:
        """The requester needs no further run."""
        self.apply(job_id, machine.Completed())

    def cancel(self, job_id: str, by: str) -> None:
        self.apply(job_id, machine.Cancelled(by))

    def active(self, job_id: str) -> ActiveJob | None:
        return self._active.get(job_id)

    def open_count(self, requester: str | None = None) -> int:
        """How many jobs are open; of one requester, or of all."""
        return sum(
            1
            for a in self._active.values()
            if requester is None or a.opened.spec.requester.uri == requester
        )

    # Event in, effects out ----------------------------------------------------------------------

    def apply(self, job_id: str, event: machine.Event) -> None:
        """Feed one event; where effects follow, log and store first, then carry them out.

        An answer that changes nothing yet is kept in memory only: after a restart its node gives
        it again.
        """
        active = self._active.get(job_id)
        if active is None:
            return
        job, effects = machine.advance(
            active.job, event, now_ms=self._clock.now_ms(), limits=self._limits
        )
        if job is active.job:
            return
        job, effects = _proved_only(active, job, effects)
        dropped = any(isinstance(effect, machine.Drop) for effect in effects)
        again = _repeats_after_restart(active.job, job) and not dropped
        if effects and not job.state.ended and not again:
            self._store.save(
                job,
                now_ms=self._clock.now_ms(),
                decisions={
                    node: envelope.to_proto().SerializeToString()
                    for node, envelope in active.decisions.items()
                },
                proofs={
                    node: proof.to_proto().SerializeToString()
                    for node, proof in active.proofs.items()
                },
            )
        if machine.Release() in effects:
            self._record.release(active, job)
        if dropped:
            self._record.drop(active, job)
        active.job = job
        self._carry_out(active, effects)

    def _carry_out(self, active: ActiveJob, effects: tuple[machine.Effect, ...]) -> None:
        """The effects of an event, after what led to them is in the log."""
        if active.job.state.ended:
            self._finish(active)
            return
        if effects:
            self._record.learned(active)
        self._arm(active)
        for effect in effects:
            match effect:
                case machine.Propose(nodes):
                    self._dispatch.propose(active, nodes)
                case machine.StartRound(round_, _, nodes):
                    active.start_sum()
                    self._dispatch.start_round(active, round_, nodes)
                case machine.Release() | machine.Drop() | machine.Wait():
                    pass  # logged and stored before the job counted as there
                case machine.Finish():
                    raise AssertionError("only an ended job finishes")
        if effects:
            active.announce()
        else:
            active.announce_within(ANNOUNCE_S)
        for effect in effects:
            self._tell_who_is_away(active.job.job_id, effect)

    def _tell_who_is_away(self, job_id: str, effect: machine.Effect) -> None:
        """Nodes whose grace time was over before they were asked: no timer will speak for them."""
        if not isinstance(effect, machine.Propose | machine.StartRound):
            return
        for node in effect.nodes:
            if self._registry.live(node) is None and not self._registry.may_return(node):
                self.apply(job_id, machine.NodeAbsent(node))

    def _finish(self, active: ActiveJob) -> None:
        job, now_ms = active.job, self._clock.now_ms()
        self._arm(active, at_least_s=RETRY_S)  # in case what follows cannot be stored
        total = b""
        if job.state is State.SUCCEEDED and not job.interactive:
            try:
                total = active.total()
            except YumenError as error:  # all parts were checked, so this is our own fault
                _LOG.exception("job %s: the sum failed", job.job_id)
                active.job = job = machine.fail(job, error.message)
        outcome = outcome_of(active, now_ms=now_ms)
        self._record.end(active, now_ms)
        self._store.save_result(job, outcome.SerializeToString(), total, now_ms=now_ms)
        del self._active[job.job_id]
        if active.timer is not None:
            active.timer.cancel()
        self._dispatch.ended(job)
        active.announce()

    # Time ---------------------------------------------------------------------------------------

    def _arm(self, active: ActiveJob, *, at_least_s: float = 0.0) -> None:
        """Wake up at the job's next deadline; there is no polling."""
        if active.timer is not None:
            active.timer.cancel()
        job = active.job
        due_ms = min(job.deadline_ms or job.expires_at_ms, job.expires_at_ms)
        due_ms = 0 if job.state.ended else due_ms
        delay_s = max(due_ms - self._clock.now_ms(), 0) / 1000 + 0.01
        active.timer = asyncio.get_running_loop().call_later(
            max(delay_s, at_least_s), self._tick, job.job_id
        )

    def _tick(self, job_id: str) -> None:
        active = self._active.get(job_id)
        if active is None:
            return
        wait_s = RETRY_S
        try:
            if active.job.state.ended:  # its end could not be stored before
                self._finish(active)
            else:
                self.apply(job_id, machine.Tick())
            wait_s = 0.0
        finally:
            if job_id in self._active:
                self._arm(active, at_least_s=wait_s)


def _proved_only(
    active: ActiveJob, job: Job, effects: tuple[machine.Effect, ...]
) -> tuple[Job, tuple[machine.Effect, ...]]:
    """No proof, no release: a job with a participant whose decision is not proved to be logged
    fails, before anything is asked of its nodes or given to its requester."""
    missing = [node for node in job.participants if node not in active.proofs]
    if not missing or job.state not in (State.RUNNING, State.SUCCEEDED):
        return job, effects
    why = f"expected the proof that the decision of `{missing[0]}` is logged, got none"
    return machine.fail(job, why), (machine.Finish(),)


def _input_missing(run: int) -> PeerError:
    return PeerError(
        "input_missing", f"expected the sealed bytes that the input of run {run} names, got none"
    )


def _repeats_after_restart(before: Job, after: Job) -> bool:
    """Whether a restart from `before` would come to `after` again by itself: a running job goes
    back to its first round in any case."""
    return before.state is State.RUNNING and after.state is State.RUNNING
