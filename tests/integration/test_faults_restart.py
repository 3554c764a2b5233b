"""A coordinator or a node that is killed in mid-job and started again: the job goes on to the same
answer, and the requester's blocked query returns it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from builders.asker import Asker
from builders.hand_node import HandNode
from builders.live import Live
from builders.tables import declared, patients
from yumen.result import Result
from yumen_core.errors import PeerError
from yumen_core.jobs.machine import State
from yumen_core.log import Act

SQL = "SELECT sex, COUNT(*) AS n FROM heart GROUP BY sex"
TRUTH = {"f": (120, 4), "m": (160, 4)}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("restart")
    nodes = {name: [declared(root / "given" / name, "heart", patients(30, 40))] for name in "abcd"}
    settings = {"reconnect_grace_s": 20.0, "decision_timeout_s": 30.0, "round_timeout_s": 30.0}
    with Live(root, nodes, hand=["d"], settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def d(live: Live) -> Iterator[HandNode]:
    with HandNode(live.directory("d"), live.address) as held:
        yield held


@pytest.fixture(autouse=True)
def _nothing_is_lost(live: Live, li: Asker, d: HandNode) -> Iterator[None]:
    """Every job of before is listed as it was, and the next one has the right answer."""
    d.connect()
    before = {job.job_id: job for job in li.fed.jobs(limit=500)}
    yield
    live.resume("a")
    d.connect()
    live.wait_connected(li.client, "a", "b", "c", "d")
    asked = li.start(SQL)
    d.take_part()
    assert counts(asked.result(30)) == TRUTH
    after = {job.job_id: job for job in li.fed.jobs(limit=500)}
    assert {job_id: after[job_id] for job_id in before} == before
    assert {job.state for job in after.values()} <= {State.SUCCEEDED, State.CANCELLED}


def counts(result: Result) -> dict[object, tuple[object, object]]:
    return {row["sex"]: (row["n"], row["_nodes"]) for row in result}


def crash(live: Live, li: Asker) -> None:
    live.kill("coordinator")
    live.start_again("coordinator")
    li.reach()


def released(live: Live, job_id: str) -> int:
    """How often the coordinator's log says that the job's result was given out."""
    entries = live.entries("coordinator")
    return sum(e.act is Act.RELEASE and e.subject["job"] == job_id for e in entries)


def contributions(live: Live, name: str, job_id: str) -> int:
    """How many contributions a node's log says it has made to the job."""
    entries = live.entries(name)
    return sum(e.act is Act.CONTRIBUTION and e.subject["job"] == job_id for e in entries)


def test_killed_while_deciding(live: Live, li: Asker, d: HandNode) -> None:
    """A node that stands still holds the job; it wakes after the coordinator is back."""
    live.pause("a")
    asked = li.start(SQL)
    d.decide()
    job_id = li.newest()
    li.until_steps(job_id, {"a": "asked", "b": "accepted", "c": "accepted", "d": "accepted"})
    crash(live, li)
    live.resume("a")
    d.connect()
    d.take_part()
    result = asked.result(30)
    assert (result.job_id, counts(result)) == (job_id, TRUTH)
    assert released(live, job_id) == 1


def test_killed_in_the_support_round(live: Live, li: Asker, d: HandNode) -> None:
    asked = li.start(SQL)
    d.decide()
    share = d.share(d.round())
    job_id = li.newest()
    li.until_steps(job_id, dict.fromkeys("abc", "supported"))
    crash(live, li)
    d.connect()
    d.decide()
    request = d.round()
    assert d.share(request) == share
    d.support(request)
    d.contribute(d.round())
    d.ended()
    result = asked.result(30)
    assert (result.job_id, counts(result)) == (job_id, TRUTH)
    assert released(live, job_id) == 1


@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_in_the_sum_round(live: Live, li: Asker, d: HandNode, times: int) -> None:
    """Nodes give the very bytes again that they gave before: they contribute once."""
    asked = li.start(SQL)
    d.decide()
    d.support(d.round())
    request = d.round()
    payload = d.contribution(request)
    job_id = li.newest()
    for _ in range(times):
        li.until_steps(job_id, dict.fromkeys("abc", "contributed"))
        crash(live, li)
        d.connect()
        d.decide()
        d.support(d.round())
        request = d.round()
        assert d.contribution(request) == payload
    d.contribute(request)
    d.ended()
    result = asked.result(30)
    assert (result.job_id, counts(result)) == (job_id, TRUTH)
    assert [contributions(live, name, job_id) for name in "abc"] == [1, 1, 1]
    assert released(live, job_id) == 1


def test_killed_between_jobs(live: Live, li: Asker, d: HandNode) -> None:
    """Ended jobs keep state and result, and ids that were used stay used."""
    job = li.job(SQL)
    li.submit(job.envelope)
    d.take_part()
    dry = li.job(SQL, dry_run=True)
    checked = li._threads.submit(lambda: li.client.check(dry.envelope, timeout_s=20))
    d.decide()
    assert checked.result(20)[0].accepted
    outcome = li.client.fetch(job.spec.job_id)
    crash(live, li)
    (kept,) = [one for one in li.fed.jobs(limit=500) if one.job_id == job.spec.job_id]
    assert kept.state is State.SUCCEEDED
    assert li.client.fetch(job.spec.job_id) == outcome
    assert li.refusal(job.envelope).code == "replay"
    with pytest.raises(PeerError, match="which was used before"):
        li.client.check(dry.envelope, timeout_s=20)


def test_cancelled_after_a_kill(live: Live, li: Asker, d: HandNode) -> None:
    asked = li.start(SQL)
    d.decide()
    d.round()
    job_id = li.newest()
    crash(live, li)
    assert li.fed.cancel(job_id).state is State.CANCELLED
    error = asked.exception(30)
    assert isinstance(error, PeerError)
    assert (error.code, error.message) == ("cancelled", f"cancelled by `{li.me.uri}`")


@pytest.mark.parametrize(
    "round_", [*(pytest.param(it, marks=pytest.mark.slow) for it in ("deciding", "support")), "sum"]
)
def test_a_node_killed_and_started_again(live: Live, li: Asker, d: HandNode, round_: str) -> None:
    """Node `a` dies after its decision, its share or its contribution; `d` holds the job open."""
    asked = li.start(SQL)
    go_on = _held(li, d, round_)
    job_id = li.newest()
    live.kill("a")
    live.start_again("a")
    live.wait_connected(li.client, "a")
    go_on()
    result = asked.result(30)
    assert (result.job_id, counts(result)) == (job_id, TRUTH)
    assert contributions(live, "a", job_id) == 1


def _held(li: Asker, d: HandNode, round_: str) -> Callable[[], object]:
    """Bring the newest job to where the others have all done their part of `round_`; gives what
    `d` still has to do."""
    decision = d.decision()
    job_id = li.newest()
    if round_ == "deciding":
        li.until_steps(job_id, dict.fromkeys("abc", "accepted"))
        return lambda: (d.say(decision), d.finish())
    d.say(decision)
    request = d.round()
    if round_ == "support":
        li.until_steps(job_id, dict.fromkeys("abc", "supported"))
        return lambda: (d.support(request), d.contribute(d.round()), d.ended())
    d.support(request)
    last = d.round()
    li.until_steps(job_id, dict.fromkeys("abc", "contributed"))
    return lambda: (d.contribute(last), d.ended())


def test_every_log_is_whole(live: Live, d: HandNode) -> None:
    for name in ("coordinator", "a", "b", "c"):
        assert live.entries(name)
    starts = [e for e in live.entries("coordinator") if e.act is Act.STARTUP]
    assert len(starts) >= 6
