"""A training at the coordinator: inputs apart, lost nodes, people who review, and restarts."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from builders.federation import Federation, Job, Node, job_for
from builders.hub import TRAINING_ROUND_MS, Hub, steps
from builders.trainings import training
from yumen_coordinator.outcome import run_outcome_of, status_of
from yumen_coordinator.rounds import ActiveJob, Payload
from yumen_core.errors import PeerError
from yumen_core.identity.membership import Membership
from yumen_core.jobs.machine import Limits, Round, State, Step, Tick
from yumen_core.log import Act
from yumen_core.securesum.suite import Suite
from yumen_core.training.records import Action

Scenario = Callable[[Hub, Job, list[str]], Coroutine[Any, Any, None]]
Train = Callable[..., None]
MODEL = b"a sealed model " * 4
LIMITS = Limits(decision_ms=15_000, round_ms=120_000, approval_ms=3_600_000)


@pytest.fixture
def train(federation: Federation, nodes: list[Node], li: Membership, tmp_path: Path) -> Train:
    """Run a scenario with a hub that knows four nodes, and a training over them."""

    def run(
        scenario: Scenario,
        *,
        min_nodes: int = 3,
        suite: Suite = Suite.STREAM,
        limits: Limits = LIMITS,
        grace_s: float = 60.0,
        **changes: Any,
    ) -> None:
        published = [(node, *node.signed()) for node in nodes]
        job = job_for(
            li,
            published,
            min_nodes=min_nodes,
            training=training(**changes),
            suite=suite,
            public_key_digest=b"",
        )

        async def whole() -> None:
            hub = Hub(tmp_path, federation.clock, published, limits=limits, grace_s=grace_s)
            try:
                await scenario(hub, job, sorted(hub.nodes))
            finally:
                hub.close()

        asyncio.run(whole())

    return run


def begun(hub: Hub, job: Job, names: list[str]) -> ActiveJob:
    """All nodes have accepted; no run has begun."""
    hub.connect()
    active = hub.submit(job, bundle=b"code")
    hub.accept(job, *names)
    assert active is not None
    assert active.job.round is Round.INPUT
    for name in names:
        hub.sent(name)
    return active


def whole_run(hub: Hub, job: Job, names: list[str], run: int) -> None:
    hub.next_run(job, run)
    hub.support(job, *names, run=run)
    hub.contribute(job, *names, run=run)


def again(hub: Hub, job: Job) -> ActiveJob:
    active = hub.scheduler.active(job.spec.job_id)
    assert active is not None
    return active


# Inputs apart -----------------------------------------------------------------------------------


def test_nothing_is_asked_before_the_first_input(train: Train) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        active = hub.submit(job, bundle=b"code")
        assert [hub.sent(name) for name in names] == [["proposal"]] * 4
        hub.accept(job, *names)
        assert active is not None
        assert (active.job.state, active.job.round, active.job.runs) == (
            State.RUNNING,
            Round.INPUT,
            (),
        )
        assert [hub.sent(name) for name in names] == [[]] * 4
        assert hub.store.bundle(job.spec.job_id) == b"code"
        status = status_of(active.job, job.spec, submitted_at_ms=0, updated_at_ms=0)
        assert (status.awaits_input, status.round, status.run) == (True, "", 0)

    train(scenario)


@pytest.mark.parametrize("pieces", [1, 3])
def test_an_input_goes_before_its_run_once_a_stream(
    train: Train, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = b"m" * 30
    monkeypatch.setattr("yumen_core.rpc.chunks.CHUNK_BYTES", 30 // pieces)

    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        begun(hub, job, names)
        hub.next_run(job, 0, sealed)
        for name in names:
            frames = hub.wires[name].frames()
            kinds = [frame.WhichOneof("frame") for frame in frames]
            assert kinds == ["input"] * pieces + ["round"]
            assert b"".join(f.input.chunk.data for f in frames[:-1]) == sealed
            request = frames[-1].round
            assert (request.run, request.name) == (0, "train")
            assert list(request.participants) == names
        hub.support(job, *names)
        assert [hub.sent(name) for name in names] == [["sum"]] * 4  # the input is there already
        hub.disconnect(names[1])
        hub.connect(names[1])
        assert hub.sent(names[1]) == ["proposal", *["input"] * pieces, "sum"]

    train(scenario)


def test_the_same_content_again_is_not_sent_again(train: Train) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        begun(hub, job, names)
        hub.next_run(job, 0, b"the very same bytes")
        hub.support(job, *names)
        hub.contribute(job, *names)
        for name in names:
            hub.sent(name)
        hub.next_run(job, 1, b"the very same bytes", upload=False)
        assert [hub.sent(name) for name in names] == [["support"]] * 4

    train(scenario)


def test_a_run_whose_input_was_not_uploaded(train: Train) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        active = begun(hub, job, names)
        with pytest.raises(PeerError) as caught:
            hub.next_run(job, 0, upload=False)
        assert (caught.value.code, caught.value.message) == (
            "input_missing",
            "expected the sealed bytes that the input of run 0 names, got none",
        )
        hub.scheduler.uploaded(job.spec.job_id, Payload.of(b"other bytes"))
        with pytest.raises(PeerError, match="expected the sealed bytes"):
            hub.next_run(job, 0, upload=False)
        assert active.job.runs == ()
        assert [hub.sent(name) for name in names] == [[]] * 4
        hub.next_run(job, 0)
        assert active.job.runs == ("train",)

    train(scenario)


@pytest.mark.parametrize(
    ("run", "name", "message"),
    [
        (1, "train", "expected run 0, got another or too early"),
        (0, "query", "expected a round that the job names, got `query`"),
        (0, "guess", "expected a round that the job names, got `guess`"),
    ],
)
def test_a_run_that_the_job_does_not_name_now(
    train: Train, run: int, name: str, message: str
) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        active = begun(hub, job, names)
        with pytest.raises(PeerError) as caught:
            hub.next_run(job, run, name=name)
        assert (caught.value.code, caught.value.message) == ("round", message)
        assert active.job.runs == ()

    train(scenario)


def test_runs_come_in_any_order_each_as_often_as_the_job_says(train: Train) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        active = begun(hub, job, names)
        for run, name in enumerate(("evaluate", "train", "evaluate", "train")):
            hub.next_run(job, run, name=name)
            assert active.job.round is Round.SUPPORT  # every run of a training has one
            hub.support(job, *names, run=run)
            hub.contribute(job, *names, run=run)
        with pytest.raises(PeerError, match="expected at most 2 runs of `train`, got one more"):
            hub.next_run(job, 4)
        hub.scheduler.complete(job.spec.job_id)
        assert hub.state(job) == (State.SUCCEEDED, "")
        assert hub.outcome(job)[1] == b""

    train(scenario, runs={Action.TRAIN: 2, Action.EVALUATE: 2})


def test_a_part_of_another_run_does_not_count(train: Train) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        active = begun(hub, job, names)
        whole_run(hub, job, names, 0)
        hub.next_run(job, 1)
        hub.support(job, *names, run=0)
        assert active.job.at(Step.ACCEPTED) == tuple(names)
        hub.support(job, *names, run=1)
        hub.contribute(job, *names, run=0)
        assert active.contributed == {}

    train(scenario)


# Nodes that are lost ----------------------------------------------------------------------------


def test_a_node_lost_in_the_support_step_is_dropped(train: Train) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        active = begun(hub, job, names)
        hub.next_run(job, 0)
        hub.support(job, *names[1:])
        hub.disconnect(names[0])
        await asyncio.sleep(0.05)
        assert (active.job.state, active.job.round) == (State.RUNNING, Round.INPUT)
        assert active.job.participants == tuple(names[1:])
        assert active.job.lost == (names[0],)
        stored = hub.store.get(job.spec.job_id)
        assert stored is not None
        assert stored.job == active.job  # before anything follows from it
        assert hub.log.acts[-1] is Act.RUN_DROPPED
        assert hub.log.entries[-1].detail["lost"] == [names[0]]
        outcome = run_outcome_of(active)
        assert [(e.node, e.reason) for e in outcome.lost] == [(names[0], "was lost")]
        assert list(outcome.participants) == names[1:]
        assert outcome.support_digest == b""
        # It comes back, and is not asked: a set does not grow.
        hub.connect(names[0])
        assert hub.sent(names[0]) == []
        hub.next_run(job, 1)
        hub.support(job, *names, run=1)
        hub.contribute(job, *names[1:], run=1)
        assert active.job.round is Round.INPUT
        assert active.job.lost == ()
        assert len(active.total()) > 0
        hub.scheduler.complete(job.spec.job_id)
        assert list(hub.outcome(job)[0].participants) == names[1:]

    train(scenario, grace_s=0.02)


def test_a_late_support_drops_at_the_jobs_own_deadline(
    train: Train, federation: Federation
) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        active = begun(hub, job, names)
        hub.next_run(job, 0)
        hub.support(job, *names[:3])
        federation.clock.advance(59_000)
        hub.scheduler.apply(job.spec.job_id, Tick())
        assert active.job.round is Round.SUPPORT
        federation.clock.advance(1_000)
        hub.scheduler.apply(job.spec.job_id, Tick())
        assert active.job.participants == tuple(names[:3])
        hub.support(job, names[3])  # too late
        assert active.job.round is Round.INPUT

    train(scenario)


def test_the_coordinators_limit_of_a_training_round_is_the_upper_one(train: Train) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        assert begun(hub, job, names).job.round_ms == TRAINING_ROUND_MS

    train(scenario, round_timeout_s=24 * 3600)


def test_a_node_lost_where_too_few_would_be_left(train: Train) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        begun(hub, job, names)
        hub.next_run(job, 0)
        hub.disconnect(names[2])
        await asyncio.sleep(0.05)
        assert hub.state(job) == (
            State.NODE_LOST,
            f"its connection was lost and did not come back (at {names[2]})",
        )

    train(scenario, min_nodes=4, grace_s=0.02)


def test_a_node_lost_in_the_sum_is_waited_for(train: Train, federation: Federation) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        active = begun(hub, job, names)
        hub.next_run(job, 0)
        hub.support(job, *names)
        hub.contribute(job, *names[:3])
        hub.disconnect(names[3])
        await asyncio.sleep(0.05)
        assert (active.job.state, active.job.round) == (State.RUNNING, Round.SUM)
        hub.connect(names[3])
        assert hub.sent(names[3]) == ["proposal", "input", "sum"]
        hub.contribute(job, names[3])
        assert active.job.round is Round.INPUT
        hub.next_run(job, 1)
        hub.support(job, *names, run=1)
        hub.contribute(job, *names[:3], run=1)
        hub.disconnect(names[3])
        federation.clock.advance(60_000)
        hub.scheduler.apply(job.spec.job_id, Tick())
        assert hub.state(job) == (
            State.NODE_LOST,
            f"its part of the round did not come in time (at {names[3]})",
        )

    train(scenario, grace_s=0.02)


def test_a_node_that_is_gone_before_a_run_is_dropped_at_its_start(train: Train) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        active = begun(hub, job, names)
        hub.disconnect(names[1])
        await asyncio.sleep(0.05)
        assert active.job.participants == tuple(names)  # nothing was asked of it
        hub.next_run(job, 0)
        assert active.job.lost == (names[1],)
        assert active.job.participants == (names[0], *names[2:])

    train(scenario, grace_s=0.02)


def test_a_node_that_fails_ends_a_training(train: Train) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        begun(hub, job, names)
        hub.next_run(job, 0)
        hub.answers.failed(names[0], job.spec.job_id, "training", "expected one weight")
        assert hub.state(job) == (State.FAILED, f"expected one weight (at {names[0]})")
        assert hub.outcome(job)[0].status.code == "training"

    train(scenario)


def test_a_dropped_node_cannot_fail_it(train: Train) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        active = begun(hub, job, names)
        hub.next_run(job, 0)
        hub.disconnect(names[0])
        await asyncio.sleep(0.05)
        hub.answers.failed(names[0], job.spec.job_id, "training", "no")
        assert active.job.state is State.RUNNING

    train(scenario, grace_s=0.02)


# People who review ------------------------------------------------------------------------------


def test_approvals_are_awaited_and_then_decide(train: Train) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        active = hub.submit(job, bundle=b"code")
        hub.accept(job, *names[:2])
        hub.await_review(job, *names[2:])
        assert hub.state(job)[0] is State.AWAITING_APPROVAL
        stored = hub.store.get(job.spec.job_id)
        assert stored is not None
        assert stored.job.state is State.AWAITING_APPROVAL
        assert steps(active) == {
            **dict.fromkeys(names[:2], Step.ACCEPTED),
            **dict.fromkeys(names[2:], Step.AWAITING),
        }
        hub.accept(job, names[2])
        assert hub.state(job)[0] is State.AWAITING_APPROVAL
        hub.accept(job, names[3])
        assert hub.state(job)[0] is State.RUNNING
        assert active is not None
        assert active.job.participants == tuple(names)
        assert set(hub.store.decisions(job.spec.job_id)) == set(names)

    train(scenario)


def test_a_node_may_decide_while_others_are_silent(train: Train) -> None:
    """It said that it awaits, and decides before the rest have said anything."""

    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        active = hub.submit(job, bundle=b"code")
        hub.await_review(job, names[0])
        hub.accept(job, names[0])
        assert steps(active)[names[0]] is Step.ACCEPTED
        hub.accept(job, *names[1:])
        assert hub.state(job)[0] is State.RUNNING

    train(scenario)


def test_a_rejection_by_reviewers(train: Train) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job, bundle=b"code")
        hub.accept(job, *names[:2])
        hub.await_review(job, *names[2:])
        hub.deny(job, names[2], "the code `hearts` was rejected: it prints rows")
        assert hub.state(job)[0] is State.AWAITING_APPROVAL
        hub.deny(job, names[3], "no")
        assert hub.state(job) == (
            State.DENIED,
            f"the code `hearts` was rejected: it prints rows (at {names[2]}); no (at {names[3]})",
        )

    train(scenario)


def test_reviewers_who_never_come(train: Train, federation: Federation) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job, bundle=b"code")
        hub.accept(job, *names[:3])
        hub.await_review(job, names[3])
        federation.clock.advance(500_000)
        hub.scheduler.apply(job.spec.job_id, Tick())
        active = again(hub, job)
        assert (active.job.state, active.job.participants) == (State.RUNNING, tuple(names[:3]))
        hub.accept(job, names[3])  # the set is fixed
        assert active.job.participants == tuple(names[:3])

    train(scenario, limits=Limits(decision_ms=15_000, round_ms=120_000, approval_ms=500_000))


def test_a_node_whose_people_review_may_go_away_and_come_back(train: Train) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        active = hub.submit(job, bundle=b"code")
        hub.accept(job, *names[:3])
        hub.await_review(job, names[3])
        hub.disconnect(names[3])
        await asyncio.sleep(0.05)
        assert steps(active)[names[3]] is Step.AWAITING
        hub.connect(names[3])
        assert hub.sent(names[3]) == ["proposal"]
        hub.accept(job, names[3])
        assert hub.state(job)[0] is State.RUNNING

    train(scenario, grace_s=0.02)


def test_a_restart_while_people_review(train: Train) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        first = hub.submit(job, bundle=b"code")
        hub.accept(job, names[0])
        hub.await_review(job, *names[1:])
        hub.accept(job, names[1])  # in memory only
        assert first is not None
        due_ms = first.job.deadline_ms
        hub.restart()
        active = again(hub, job)
        assert (active.job.state, active.job.deadline_ms) == (State.AWAITING_APPROVAL, due_ms)
        assert active.bundle == b"code"
        hub.connect()
        frames = {name: hub.wires[name].frames() for name in names}
        assert {f.proposal.bundle for found in frames.values() for f in found} == {b"code"}
        hub.accept(job, *names)
        assert active.job.participants == tuple(names)
        assert set(active.decisions) == set(names)

    train(scenario)


def test_a_job_without_code_waits_for_nobodys_people(train: Train) -> None:
    """A node could hold it for a day otherwise."""

    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        active = hub.submit(job)
        hub.await_review(job, *names)
        assert steps(active) == dict.fromkeys(names, Step.ASKED)
        hub.await_review(job, "spiffe://gansu.example/org/stranger/node/heart")
        hub.answers.awaits(names[0], "0199b2f4-1111-7abc-8def-000000000001")

    train(scenario)


# Restarts ---------------------------------------------------------------------------------------


def test_a_restart_before_the_first_input(train: Train) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        begun(hub, job, names)
        hub.restart()
        hub.connect()
        assert [hub.sent(name) for name in names] == [["proposal"]] * 4
        active = again(hub, job)
        assert (active.job.round, active.job.runs) == (Round.INPUT, ())
        whole_run(hub, job, names, 0)
        assert active.job.round is Round.INPUT

    train(scenario)


@pytest.mark.parametrize("step", [Round.SUPPORT, Round.SUM, Round.INPUT])
def test_a_restart_in_a_run_waits_for_its_input(train: Train, step: Round) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        active = begun(hub, job, names)
        hub.next_run(job, 0, MODEL)
        if step is not Round.SUPPORT:
            hub.support(job, *names)
        if step is Round.INPUT:
            hub.contribute(job, *names)
        assert active.job.round is step
        hub.restart()
        hub.connect()
        active = again(hub, job)
        assert (active.job.round, active.waits_for_payload) == (Round.SUPPORT, True)
        assert [hub.sent(name) for name in names] == [["proposal"]] * 4
        hub.scheduler.uploaded(job.spec.job_id, Payload.of(MODEL[1:]))
        assert hub.sent(names[0]) == []
        hub.scheduler.uploaded(job.spec.job_id, Payload.of(MODEL))
        assert [hub.sent(name) for name in names] == [["input", "support"]] * 4
        hub.support(job, *names)
        hub.contribute(job, *names)
        assert active.job.round is Round.INPUT
        assert active.inputs is not None

    train(scenario)


def test_after_a_restart_a_requester_who_is_past_the_run_need_not_bring_its_input_again(
    train: Train,
) -> None:
    """He has its sum, so its nodes have stored their parts and send them again as they were."""

    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        begun(hub, job, names)
        whole_run(hub, job, names, 0)
        hub.restart()
        hub.connect(*names[:3])
        active = again(hub, job)
        hub.scheduler.uploaded(job.spec.job_id, Payload.of(MODEL))  # of the run to come
        hub.scheduler.passed(job.spec.job_id)
        assert [hub.sent(name) for name in names[:3]] == [["proposal", "support"]] * 3
        hub.connect(names[3])
        assert hub.sent(names[3]) == ["proposal", "support"]
        hub.support(job, *names)
        hub.contribute(job, *names)
        assert active.job.round is Round.INPUT
        hub.next_run(job, 1, MODEL, upload=False)
        assert not active.passed
        assert hub.sent(names[0]) == ["sum", "input", "support"]

    train(scenario)


def test_nobody_is_asked_without_the_input_otherwise(train: Train) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        active = begun(hub, job, names)
        hub.scheduler.passed(job.spec.job_id)
        whole_run(hub, job, names, 0)
        hub.scheduler.passed(job.spec.job_id)
        assert not active.passed
        assert active.job.round is Round.INPUT

    train(scenario)


def test_a_restart_after_a_drop_keeps_the_smaller_set(train: Train) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        begun(hub, job, names)
        hub.next_run(job, 0)
        hub.disconnect(names[0])
        await asyncio.sleep(0.05)
        hub.restart()
        hub.connect()
        active = again(hub, job)
        assert (active.job.round, active.job.lost) == (Round.INPUT, (names[0],))
        assert [hub.sent(name) for name in names] == [[], *[["proposal"]] * 3]
        whole_run(hub, job, names[1:], 1)
        assert active.job.participants == tuple(names[1:])

    train(scenario, grace_s=0.02)


def test_a_drop_that_cannot_be_stored_is_not_told(train: Train) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        active = begun(hub, job, names)
        hub.next_run(job, 0)
        hub.store.broken = True
        hub.disconnect(names[0])
        with pytest.raises(OSError, match="no space left"):
            hub.scheduler.node_absent(names[0])
        assert active.job.participants == tuple(names)
        assert active.job.round is Round.SUPPORT
        hub.store.broken = False
        hub.scheduler.node_absent(names[0])
        assert active.job.participants == tuple(names[1:])

    train(scenario)


def test_a_run_that_cannot_be_stored_is_not_asked_for(train: Train) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        active = begun(hub, job, names)
        hub.store.broken = True
        with pytest.raises(OSError, match="no space left"):
            hub.next_run(job, 0)
        assert (active.job.runs, active.job.round) == ((), Round.INPUT)
        assert hub.sent(names[0]) == []
        hub.store.broken = False
        hub.next_run(job, 0)
        assert hub.sent(names[0]) == ["input", "support"]

    train(scenario)
