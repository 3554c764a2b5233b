"""Jobs from submission to their end: order of store, log and frames; loss, restart, bad parts."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.federation import Federation, Job, Node, job_for, key_pair
from builders.hub import PLAN, SLOTS, Hospital, Hub, settle, steps, zeros
from builders.site import AGE, Site, opened
from yumen_core.errors import PeerError
from yumen_core.identity import Role
from yumen_core.identity.membership import Membership
from yumen_core.jobs.machine import Cancelled, Limits, Refused, Round, State, Step, Tick
from yumen_core.log import Act
from yumen_core.policy.denial import Denial
from yumen_core.rpc.chunks import split
from yumen_core.rpc.v1 import envelope_pb2, job_pb2
from yumen_core.securesum.bfv import BfvKeyPair, encrypt
from yumen_core.securesum.ciphertext import BLOCK_BYTES, HEADER_BYTES, sealed_bytes

Play = Callable[..., None]


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return Federation(Path(tmp_path_factory.mktemp("members")))


@pytest.fixture(scope="module")
def nodes(federation: Federation) -> list[Node]:
    return federation.nodes(4)


@pytest.fixture(scope="module")
def li(federation: Federation) -> Membership:
    return federation.member(Role.USER, "li")


@pytest.fixture
def play(federation: Federation, nodes: list[Node], li: Membership, tmp_path: Path) -> Play:
    """Run a scenario with a hub that knows four nodes, and a job over them that needs three."""

    def run(
        scenario: Callable[[Hub, Job, list[str]], Coroutine[Any, Any, None]],
        *,
        min_nodes: int = 3,
        **settings: Any,
    ) -> None:
        published = [(node, *node.signed()) for node in nodes]
        job = job_for(li, published, min_nodes=min_nodes)

        async def whole() -> None:
            hub = Hub(tmp_path, federation.clock, published, **settings)
            try:
                await scenario(hub, job, sorted(hub.nodes))
            finally:
                hub.close()

        asyncio.run(whole())

    return run


# A whole job over true nodes --------------------------------------------------------------------


@pytest.fixture
def sites(nodes: list[Node], tmp_path: Path) -> Iterator[list[Site]]:
    made = [Site(node, tmp_path / f"site{i}") for i, node in enumerate(nodes[:3])]
    yield made
    for site in made:
        site.state.close()


def walk(
    scenario: Callable[[Hub, Job, list[Hospital]], Coroutine[Any, Any, None]],
    federation: Federation,
    li: Membership,
    sites: list[Site],
    folder: Path,
) -> None:
    published = [site.published() for site in sites]
    job = job_for(li, published)

    async def whole() -> None:
        hub = Hub(folder, federation.clock, published)
        hub.connect()
        try:
            await scenario(hub, job, [Hospital(site) for site in sites])
        finally:
            hub.close()

    asyncio.run(whole())


def assert_answered(hub: Hub, job: Job) -> None:
    outcome, total = hub.outcome(job)
    shares = {
        entry.subject["node"]: entry.digests["share"]
        for entry in hub.log.entries
        if entry.act is Act.SUPPORT
    }
    assert set(shares) == set(outcome.participants) == set(job.spec.nodes)
    assert outcome.status.state == job_pb2.JOB_STATE_SUCCEEDED
    assert outcome.ciphertexts == 3
    assert outcome.ciphertext_bytes == 3 * sealed_bytes(SLOTS)
    assert len(outcome.decisions) == 3
    assert len(total) == sealed_bytes(SLOTS)


def read(job: Job, total: bytes, hospitals: list[Hospital]) -> list[list[int]]:
    """The totals, as the requester reads them from the shares that the nodes really sent."""
    shares = {hospital.site.uri: hospital.said[0] for hospital in hospitals}
    return opened(job, PLAN, total, sorted(shares), shares).values


def test_a_job_from_submission_to_the_total(
    federation: Federation, li: Membership, sites: list[Site], tmp_path: Path
) -> None:
    async def scenario(hub: Hub, job: Job, hospitals: list[Hospital]) -> None:
        hub.submit(job)
        await settle(hub, hospitals)
        assert hub.state(job) == (State.SUCCEEDED, "")
        assert hub.scheduler.active(job.spec.job_id) is None
        assert_answered(hub, job)
        _, total = hub.outcome(job)
        assert read(job, total, hospitals) == [[90, 90 * AGE], [120, 120 * AGE]]
        assert hub.log.acts == [
            *[Act.DECISION] * 3,
            *[Act.SUPPORT] * 3,
            *[Act.CONTRIBUTION] * 3,
            Act.RELEASE,
        ]
        known = [site.state.job(job.spec.job_id) for site in sites]
        assert all(found is not None and found.ended for found in known)

    walk(scenario, federation, li, sites, tmp_path)


def test_each_step_is_stored_and_logged_before_a_frame_follows_from_it(
    federation: Federation, li: Membership, sites: list[Site], tmp_path: Path
) -> None:
    async def scenario(hub: Hub, job: Job, hospitals: list[Hospital]) -> None:
        hub.submit(job)
        await settle(hub, hospitals)
        assert hub.happened == [
            ("store", State.DECIDING),
            *[("send", "proposal")] * 3,
            ("store", State.RUNNING),
            *[("log", Act.DECISION)] * 3,
            *[("send", "round")] * 3,
            *[("log", Act.SUPPORT)] * 3,
            *[("send", "round")] * 3,
            *[("log", Act.CONTRIBUTION)] * 3,
            ("log", Act.RELEASE),
            ("result", State.SUCCEEDED),
            *[("send", "ended")] * 3,
        ]

    walk(scenario, federation, li, sites, tmp_path)


@pytest.mark.parametrize("turns", range(6))
def test_a_coordinator_killed_at_any_moment_carries_the_job_on(
    federation: Federation, li: Membership, sites: list[Site], tmp_path: Path, turns: int
) -> None:
    """After each number of turns of the nodes: the same set, the same bytes, the same total."""

    async def scenario(hub: Hub, job: Job, hospitals: list[Hospital]) -> None:
        hub.submit(job)
        await settle(hub, hospitals, turns=turns // 2)
        if turns % 2:  # in the middle of a turn
            await hospitals[0].answer(hub)
        hub.restart()
        hub.connect()
        await settle(hub, hospitals)
        assert hub.state(job) == (State.SUCCEEDED, "")
        _, total = hub.outcome(job)
        assert read(job, total, hospitals) == [[90, 90 * AGE], [120, 120 * AGE]]
        for hospital in hospitals:
            assert len(set(hospital.said)) == 2  # a share and a part, however often it was asked

    walk(scenario, federation, li, sites, tmp_path)


def test_a_node_restarted_after_its_yes_is_told_of_the_job_again(
    federation: Federation, li: Membership, sites: list[Site], tmp_path: Path
) -> None:
    async def scenario(hub: Hub, job: Job, hospitals: list[Hospital]) -> None:
        hub.submit(job)
        await hospitals[0].answer(hub)  # its yes; the others have not answered
        hub.disconnect(sites[0].uri)
        sites[0].restart()
        hospitals[0].jobs.clear()
        hub.connect(sites[0].uri)
        await settle(hub, hospitals)
        assert hub.state(job) == (State.SUCCEEDED, "")

    walk(scenario, federation, li, sites, tmp_path)


@pytest.mark.parametrize("after", [1, 2])
def test_a_node_restarted_within_a_round_answers_it_again(
    federation: Federation, li: Membership, sites: list[Site], tmp_path: Path, after: int
) -> None:
    async def scenario(hub: Hub, job: Job, hospitals: list[Hospital]) -> None:
        hub.submit(job)
        await settle(hub, hospitals, turns=after)
        hub.disconnect(sites[1].uri)
        sites[1].restart()
        hospitals[1].jobs.clear()
        hub.connect(sites[1].uri)
        await settle(hub, hospitals)
        assert hub.state(job) == (State.SUCCEEDED, "")
        _, total = hub.outcome(job)
        assert read(job, total, hospitals) == [[90, 90 * AGE], [120, 120 * AGE]]

    walk(scenario, federation, li, sites, tmp_path)


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
            hub.scheduler.contributed(names[0], job.spec.job_id, chunk)
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


# Bad parts --------------------------------------------------------------------------------------


def other_key() -> bytes:
    return encrypt(np.zeros(SLOTS, dtype=np.uint64), BfvKeyPair.generate().public)


def summed() -> bytes:
    raw = bytearray(zeros())
    raw[6] = 2  # claims two contributions
    return bytes(raw)


def out_of_range() -> bytes:
    return zeros()[:-8] + b"\xff" * 8


def transparent() -> bytes:
    return zeros()[: HEADER_BYTES + BLOCK_BYTES // 2] + bytes(BLOCK_BYTES // 2)


KEY = "expected a sum of 1 blocks of 4096 slots for the job's key, got "
BAD: list[tuple[str, Callable[[], bytes], str]] = [
    ("empty", lambda: b"", KEY + "0 bytes"),
    ("short", lambda: zeros()[:-1], "expected a sum of 1 blocks of 4096 slots, got "),
    ("another format", lambda: b"XXXX" + zeros()[4:], KEY + "another format"),
    ("another key", other_key, KEY),
    ("a sum of two", summed, "expected one contribution, got a sum of 2"),
    ("an integer out of range", out_of_range, "expected ciphertext integers below "),
    ("a block that hides nothing", transparent,
     "expected a ciphertext, got a block that hides nothing"),
    ("one block too many", lambda: zeros() + zeros()[-BLOCK_BYTES:],
     f"expected a payload of {sealed_bytes(SLOTS)} bytes at most, got "),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), [c[1:] for c in BAD], ids=[c[0] for c in BAD])
def test_a_bad_contribution_ends_the_job_and_names_its_node(
    play: Play, make: Callable[[], bytes], message: str
) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        hub.accept(job, *names)
        hub.support(job, *names)
        hub.contribute(job, names[0])
        for chunk in split(make()):
            hub.scheduler.contributed(names[1], job.spec.job_id, chunk)
        state, reason = hub.state(job)
        assert state is State.FAILED
        assert reason.startswith(message)
        assert reason.endswith(f" (at {names[1]})")
        assert hub.log.acts[-2:] == [Act.REFUSAL, Act.JOB_ENDED]
        refusal = hub.log.entries[-2]
        assert refusal.subject == {"job": job.spec.job_id, "node": names[1]}

    play(scenario)


def test_pieces_out_of_order_end_the_job(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        hub.accept(job, *names)
        hub.support(job, *names)
        late = envelope_pb2.Chunk(offset=8, total_bytes=16, sha256=bytes(32), data=b"12345678")
        hub.scheduler.contributed(names[2], job.spec.job_id, late)
        assert hub.state(job) == (
            State.FAILED,
            f"expected the piece at byte 0 of 16, got one at 8 of 16 (at {names[2]})",
        )

    play(scenario)


def test_parts_of_another_round_job_or_node_are_ignored(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        active = hub.submit(job)
        assert active is not None
        hub.support(job, *names)  # nobody has decided
        hub.contribute(job, *names)
        assert steps(active) == dict.fromkeys(names, Step.ASKED)
        hub.accept(job, *names)
        hub.contribute(job, *names)  # nobody has supported
        hub.support(job, "spiffe://gansu.example/org/stranger/node/heart")
        assert steps(active) == dict.fromkeys(names, Step.ACCEPTED)
        hub.support(job, *names)
        kept = dict(active.supports)
        hub.support(job, names[0])  # after its round
        hub.contribute(job, "spiffe://gansu.example/org/stranger/node/heart")
        hub.contribute(job, names[0], names[0], names[0])  # once is enough
        assert active.supports == kept
        assert active.received_bytes == sealed_bytes(SLOTS)
        assert hub.state(job)[0] is State.RUNNING
        for name in names:
            hub.scheduler.supported(name, "no such job", active.supports[name])
            hub.scheduler.contributed(name, "no such job", envelope_pb2.Chunk())
            hub.scheduler.failed(name, "no such job", "no")

    play(scenario)


def test_a_node_that_cannot_go_on(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        hub.accept(job, *names)
        hub.scheduler.failed(names[1], job.spec.job_id, "expected a table, got none" + "!" * 9999)
        state, reason = hub.state(job)
        assert state is State.FAILED
        assert reason.startswith("expected a table, got none!")
        assert reason.endswith(f"! (at {names[1]})")
        assert len(reason) < 700

    play(scenario)


def test_open_jobs_are_counted_by_requester(
    play: Play, federation: Federation, nodes: list[Node]
) -> None:
    wang = federation.member(Role.USER, "wang")

    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        hub.submit(job)
        other = job_for(wang, [(node, *node.signed()) for node in nodes])
        hub.submit(other)
        count = hub.scheduler.open_count
        assert (count(), count(wang.identity.uri), count("nobody")) == (2, 1, 0)
        hub.scheduler.cancel(other.spec.job_id, "wang")
        assert (count(), count(wang.identity.uri)) == (1, 0)

    play(scenario)


def test_a_job_over_the_limit_of_a_sum(play: Play) -> None:
    """The operator's limit counts where it is lower than what the plan needs."""

    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        active = hub.submit(job)
        assert active is not None
        active.max_sum_bytes = 1000
        hub.accept(job, *names)
        hub.support(job, *names)
        hub.contribute(job, names[0])
        assert hub.state(job)[1] == (
            f"expected a payload of 1000 bytes at most, got {sealed_bytes(SLOTS)} (at {names[0]})"
        )

    play(scenario)


def test_the_public_key_goes_out_with_the_proposal(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        active = hub.submit(job)
        assert active is not None
        proposal = hub.scheduler.proposal(active)
        assert proposal.public_key == key_pair().public.to_bytes()
        assert proposal.job == job.envelope.to_proto()
        assert {d.payload for d in proposal.descriptors} == {
            known.envelope.payload for known in hub.nodes.values()
        }

    play(scenario)
