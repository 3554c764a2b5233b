"""Jobs from submission to their end: who is waited for, how long, and what a restart keeps."""

import asyncio
from collections.abc import Callable

import pytest
from builders.federation import Federation, Job
from builders.hub import SLOTS, Hub, steps, zeros
from yumen_coordinator import scheduler
from yumen_core.errors import PeerError
from yumen_core.jobs.machine import Cancelled, Limits, Refused, Round, State, Step, Tick
from yumen_core.log import Act
from yumen_core.policy.denial import Denial
from yumen_core.rpc.chunks import split
from yumen_core.securesum.ciphertext import sealed_bytes

Play = Callable[..., None]


# Deciding ---------------------------------------------------------------------------------------


def test_the_job_goes_on_without_one_that_denies(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        active = hub.submit(job)
        hub.deny(job, names[1])
        hub.accept(job, names[0], names[2], names[3])
        assert active is not None
        assert active.job.participants == (names[0], names[2], names[3])
        assert hub.sent(names[0]) == ["proposal", "support"]
        assert hub.sent(names[1]) == ["proposal"]
        hub.support(job, names[1])  # not one of them
        hub.support(job, names[0], names[2], names[3])
        hub.contribute(job, names[0], names[2], names[3])
        outcome, total = hub.outcome(job)
        assert len(total) == sealed_bytes(SLOTS)
        assert list(outcome.participants) == [names[0], names[2], names[3]]
        assert [(e.node, e.reason) for e in outcome.excluded] == [
            (names[1], "expected research, got pricing")
        ]
        assert [d.node for d in outcome.status.denials] == [names[1]]
        assert len(outcome.decisions) == 4

    play(scenario)


def test_a_denial_ends_a_job_that_needs_all(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        hub.accept(job, *names[:3])
        hub.deny(job, names[3])
        assert hub.state(job) == (
            State.DENIED,
            f"expected research, got pricing (at {names[3]})",
        )
        outcome, total = hub.outcome(job)
        assert total == b""
        assert (outcome.ciphertexts, outcome.ciphertext_bytes) == (0, 0)
        assert hub.sent(names[0]) == ["proposal", "ended"]
        assert hub.log.acts == [*[Act.DECISION] * 4, Act.JOB_ENDED]

    play(scenario, min_nodes=4)


def test_the_coordinators_own_refusal(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        denial = Denial("hub", "purpose", "no", "purpose", "x", "y", "ask otherwise")
        assert hub.submit(job, Refused((denial,))) is None
        assert hub.state(job) == (State.DENIED, "no (at hub)")
        assert all("proposal" not in hub.sent(name) for name in names)

    play(scenario)


def test_a_second_word_of_a_node_does_not_count(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        active = hub.submit(job)
        hub.accept(job, names[0])
        hub.deny(job, names[0])
        hub.accept(job, "spiffe://gansu.example/org/stranger/node/heart")
        assert steps(active)[names[0]] is Step.ACCEPTED
        assert active is not None
        assert set(active.decisions) == {names[0]}

    play(scenario)


def test_the_same_id_twice(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        first = hub.submit(job)
        with pytest.raises(PeerError) as caught:
            hub.submit(job)
        assert (caught.value.code, caught.value.message) == (
            "replay",
            f"expected a new job id, got `{job.spec.job_id}`, which was used before",
        )
        assert hub.scheduler.active(job.spec.job_id) is first
        assert hub.sent(names[0]) == ["proposal"]

    play(scenario)


# Nodes that go away -----------------------------------------------------------------------------


def test_a_node_that_is_away_is_not_waited_for(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect(*names[:3])
        active = hub.submit(job)
        assert steps(active)[names[3]] is Step.ABSENT
        hub.accept(job, *names[:3])
        assert active is not None
        assert active.job.participants == tuple(names[:3])

    play(scenario)


def test_too_few_nodes_are_there(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect(names[0], names[1])
        hub.submit(job)
        hub.accept(job, names[0], names[1])
        assert hub.state(job) == (
            State.INSUFFICIENT_NODES,
            f"expected 3 nodes to take part, got 2; not reached: {names[2]}, {names[3]}",
        )
        outcome, _ = hub.outcome(job)
        assert {e.node: e.reason for e in outcome.excluded}[names[2]] == "was not connected"

    play(scenario)


def test_a_node_within_its_grace_is_waited_for_and_asked_when_it_is_back(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.disconnect(names[3])
        active = hub.submit(job)
        assert steps(active)[names[3]] is Step.ASKED
        hub.accept(job, *names[:3])
        hub.connect(names[3])
        assert hub.sent(names[3]) == ["proposal"]
        hub.accept(job, names[3])
        assert active is not None
        assert active.job.participants == tuple(names)

    play(scenario)


@pytest.mark.parametrize("rounds", [0, 1])
def test_a_node_lost_in_a_round_ends_the_job(play: Play, rounds: int) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        hub.accept(job, *names)
        if rounds:
            hub.support(job, *names)
        hub.disconnect(names[2])
        assert hub.state(job)[0] is State.RUNNING
        await asyncio.sleep(0.05)  # past the grace
        assert hub.state(job) == (
            State.NODE_LOST,
            f"its connection was lost and did not come back (at {names[2]})",
        )
        outcome, total = hub.outcome(job)
        assert total == b""
        assert [(e.node, e.reason) for e in outcome.excluded] == [(names[2], "was lost")]
        assert hub.sent(names[0])[-1] == "ended"
        hub.contribute(job, names[0])  # too late, and nothing comes of it
        assert hub.scheduler.open_count() == 0

    play(scenario, grace_s=0.02)


def test_a_node_gone_for_good_before_the_round_ends_the_job_at_once(play: Play) -> None:
    """Its grace is over by then, so no timer would speak for it before the round's deadline."""

    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        hub.accept(job, *names[:3])
        hub.disconnect(names[0])
        await asyncio.sleep(0.05)
        assert hub.state(job)[0] is State.DECIDING  # it had said yes
        hub.accept(job, names[3])
        assert hub.state(job) == (
            State.NODE_LOST,
            f"its connection was lost and did not come back (at {names[0]})",
        )

    play(scenario, grace_s=0.02)


def test_a_node_back_within_its_grace_is_asked_for_what_is_missing(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        hub.accept(job, *names)
        hub.support(job, *names[:3])
        hub.disconnect(names[0])
        hub.connect(names[0])
        assert hub.sent(names[0]) == ["proposal"]  # its share is here already
        hub.disconnect(names[3])
        hub.connect(names[3])
        assert hub.sent(names[3]) == ["proposal", "support"]
        hub.support(job, names[3])
        hub.contribute(job, names[0])
        for name in names[:2]:
            hub.disconnect(name)
            hub.connect(name)
        assert hub.sent(names[0])[-1] == "proposal"
        assert hub.sent(names[1])[-2:] == ["proposal", "sum"]
        hub.contribute(job, *names[1:])
        assert hub.state(job) == (State.SUCCEEDED, "")

    play(scenario)


def test_half_a_contribution_is_forgotten_with_its_stream(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yumen_core.rpc.chunks.CHUNK_BYTES", 10_000)

    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        hub.accept(job, *names)
        hub.support(job, *names)
        pieces = list(split(zeros()))
        for chunk in pieces[:3]:
            hub.answers.contributed(names[0], job.spec.job_id, 0, chunk)
        hub.disconnect(names[0])
        hub.connect(names[0])
        hub.contribute(job, *names)
        assert hub.state(job) == (State.SUCCEEDED, "")

    play(scenario)


# Time -------------------------------------------------------------------------------------------


def test_deadlines_wake_the_job_by_themselves(play: Play, federation: Federation) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        hub.accept(job, *names[:3])
        federation.clock.advance(20)
        await asyncio.sleep(0.08)
        active = hub.scheduler.active(job.spec.job_id)
        assert active is not None
        assert active.job.participants == tuple(names[:3])
        federation.clock.advance(30)
        await asyncio.sleep(0.08)
        assert hub.state(job)[0] is State.NODE_LOST
        assert hub.state(job)[1].startswith("its part of the round did not come in time (at ")

    play(scenario, limits=Limits(decision_ms=20, round_ms=30))


def test_a_timer_that_fires_early_changes_nothing(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        await asyncio.sleep(0.06)  # the job's clock stands still
        assert hub.state(job)[0] is State.DECIDING

    play(scenario, limits=Limits(decision_ms=20, round_ms=30))


def test_closing_stops_the_timers_and_leaves_the_job_in_the_store(
    play: Play, federation: Federation
) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        hub.scheduler.close()
        federation.clock.advance(20)
        await asyncio.sleep(0.06)
        assert [s.job.state for s in hub.store.open_jobs()] == [State.DECIDING]

    play(scenario, limits=Limits(decision_ms=20, round_ms=30))


def test_an_expired_job(play: Play, federation: Federation) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        hub.accept(job, *names)
        federation.clock.advance(600_000)
        hub.scheduler.apply(job.spec.job_id, Tick())
        assert hub.state(job) == (
            State.EXPIRED,
            "the job's own time was over before it ended",
        )

    play(scenario)


def test_a_cancelled_job(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        active = hub.submit(job)
        assert active is not None
        changed = active.changed
        hub.scheduler.cancel(job.spec.job_id, "spiffe://gansu.example/org/lzu/user/li")
        assert hub.state(job)[0] is State.CANCELLED
        assert changed.is_set()  # whoever watches is woken
        assert hub.sent(names[0]) == ["proposal", "ended"]
        hub.scheduler.apply(job.spec.job_id, Cancelled("again"))
        assert hub.sent(names[0]) == []

    play(scenario)


# Restart ----------------------------------------------------------------------------------------


def test_a_restart_while_nodes_decide(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        hub.accept(job, names[0])
        hub.restart()
        assert hub.state(job)[0] is State.DECIDING
        hub.connect()
        assert [hub.sent(name) for name in names] == [["proposal"]] * 4
        hub.accept(job, *names)
        active = hub.scheduler.active(job.spec.job_id)
        assert active is not None
        assert active.job.participants == tuple(names)

    play(scenario)


@pytest.mark.parametrize("summing", [False, True])
def test_a_restart_in_a_round_keeps_the_set_and_begins_the_rounds_again(
    play: Play, summing: bool
) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect(*names[:3])
        hub.submit(job)
        hub.accept(job, *names[:3])
        if summing:
            hub.support(job, *names[:3])
            hub.contribute(job, names[0])
        hub.restart()
        hub.connect()
        active = hub.scheduler.active(job.spec.job_id)
        assert active is not None
        assert active.job.participants == tuple(names[:3])
        assert active.job.round is Round.SUPPORT
        assert [hub.sent(name) for name in names] == [["proposal", "support"]] * 3 + [[]]
        assert set(active.decisions) == set(names[:3])
        hub.accept(job, names[3])  # one that was away cannot join
        hub.support(job, *names)
        hub.contribute(job, *names)
        outcome, _ = hub.outcome(job)
        assert list(outcome.participants) == names[:3]
        assert outcome.ciphertexts == 3

    play(scenario)


def test_after_a_restart_nobody_comes_back(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        hub.accept(job, *names)
        hub.restart()
        await asyncio.sleep(0.05)
        assert hub.state(job)[0] is State.NODE_LOST

    play(scenario, grace_s=0.02)


def test_a_job_that_cannot_be_taken_up_again(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        hub.close()
        hub.start()
        (stored,) = hub.store.open_jobs()
        hub.scheduler.abandon(stored, "its tables are no longer published")
        assert hub.state(job) == (State.FAILED, "its tables are no longer published")
        assert list(hub.store.open_jobs()) == []
        assert hub.log.acts[-1] is Act.JOB_ENDED

    play(scenario)


def test_an_ended_job_is_not_taken_up_again(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        hub.scheduler.cancel(job.spec.job_id, "li")
        hub.restart()
        hub.connect()
        assert hub.scheduler.open_count() == 0
        assert hub.sent(names[0]) == []

    play(scenario)


def test_what_cannot_be_stored_is_not_sent(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        active = hub.submit(job)
        hub.accept(job, *names[:3])
        hub.store.broken = True
        with pytest.raises(OSError, match="no space left"):
            hub.accept(job, names[3])
        assert active is not None
        assert active.job.state is State.DECIDING
        assert hub.sent(names[0]) == ["proposal"]
        hub.store.broken = False
        hub.accept(job, names[3])  # said again, it counts
        assert hub.sent(names[0]) == ["support"]

    play(scenario)


def test_an_end_that_cannot_be_stored_is_tried_again(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "RETRY_S", 0.02)

    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        active = hub.submit(job)
        assert active is not None
        changed = active.changed
        hub.store.broken = True
        with pytest.raises(OSError, match="no space left"):
            hub.scheduler.cancel(job.spec.job_id, "li")
        assert hub.sent(names[0]) == ["proposal"]
        assert not changed.is_set()
        hub.store.broken = False
        await asyncio.sleep(0.08)
        assert hub.state(job) == (State.CANCELLED, "cancelled by `li`")
        assert hub.sent(names[0]) == ["ended"]
        assert changed.is_set()
        assert hub.scheduler.open_count() == 0
        assert hub.log.acts == [Act.JOB_ENDED]  # once

    play(scenario)
