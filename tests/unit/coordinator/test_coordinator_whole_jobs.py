"""Whole jobs over true nodes and true keys, through kills and restarts, to the total."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from builders.federation import Federation, Job, Node, job_for
from builders.hub import PLAN, SLOTS, Hospital, Hub, settle
from builders.site import AGE, Site, opened
from yumen_core.identity.membership import Membership
from yumen_core.jobs.machine import State
from yumen_core.log import Act
from yumen_core.rpc.v1 import job_pb2
from yumen_core.securesum.ciphertext import sealed_bytes


@pytest.fixture
def sites(nodes: list[Node], tmp_path: Path) -> Iterator[list[Site]]:
    made = [Site(node, tmp_path / f"site{i}") for i, node in enumerate(nodes[:3])]
    yield made
    for site in made:
        site.close()


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
