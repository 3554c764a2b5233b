"""Nodes that vanish in mid-job: a clear end within its deadline, and the node is named."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from builders.asker import Asker
from builders.hand_node import HandNode
from builders.live import Live, node_uri
from builders.tables import declared, patients
from yumen.result import Result
from yumen_core.errors import YumenError
from yumen_core.identity import Role
from yumen_core.jobs.machine import State
from yumen_core.log import Act
from yumen_core.rpc.v1 import job_pb2

SQL = "SELECT sex, COUNT(*) AS n FROM heart GROUP BY sex"
# Rows that four nodes have answered for are never answered for by three of them, nor the other way
# round: each job of three asks a table of its own.
TABLES = ("heart", "first", "second", "third")
OF_THREE = {name: SQL.replace("heart", name) for name in TABLES[1:]}
DECISION_S, ROUND_S, GRACE_S = 1.5, 1.5, 0.7
A, D = node_uri("a"), node_uri("d")
# Between a deadline and the requester's reading of it lie a few commits on a busy machine.
SLACK_S = 2.5


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("vanish")
    nodes = {
        name: [declared(root / "given" / name, table, patients(30, 40)) for table in TABLES]
        for name in "abcd"
    }
    settings = {
        "decision_timeout_s": DECISION_S,
        "round_timeout_s": ROUND_S,
        "reconnect_grace_s": GRACE_S,
    }
    with Live(root, nodes, hand=["d"], settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def node(live: Live) -> Iterator[HandNode]:
    with HandNode(live.directory("d"), live.address) as held:
        yield held


@pytest.fixture
def d(live: Live, li: Asker, node: HandNode) -> Iterator[HandNode]:
    """`d`, with which a test holds a job open; after it all four answer again."""
    node.connect()
    live.wait_connected(li.client, "a", "b", "c", "d")
    yield node
    if not live.running("a"):
        live.start_again("a")
    live.resume("a")
    node.connect()
    live.wait_connected(li.client, "a", "b", "c", "d")
    asked = li.start(SQL)
    node.take_part()
    assert counts(asked.result(20)) == {"f": (120, 4), "m": (160, 4)}


def counts(result: Result) -> dict[object, tuple[object, object]]:
    return {row["sex"]: (row["n"], row["_nodes"]) for row in result}


def pause(live: Live) -> None:
    live.pause("a")


def kill(live: Live) -> None:
    live.kill("a")


def timed(li: Asker, what: Callable[[], BaseException | None]) -> tuple[YumenError, float]:
    """The error the requester reads, and after how many seconds; the job says the same."""
    started = time.monotonic()
    error = what()
    assert isinstance(error, YumenError), error
    (job,) = li.fed.jobs(limit=1)
    assert job.reason == error.message
    return error, time.monotonic() - started


@pytest.mark.parametrize(
    ("vanish", "within_s", "why"),
    [(pause, DECISION_S, "no decision in time"), (kill, GRACE_S, "not reached")],
)
def test_while_deciding(
    live: Live, li: Asker, d: HandNode, vanish: Callable[[Live], None], within_s: float, why: str
) -> None:
    live.pause("a")
    asked = li.start(SQL)
    d.decide()
    job_id = li.newest()
    li.until_steps(job_id, {"a": "asked", "b": "accepted", "c": "accepted", "d": "accepted"})
    vanish(live)
    error, took_s = timed(li, lambda: asked.exception(20))
    assert (error.code, error.message) == (
        "insufficient_nodes",
        f"expected 4 nodes to take part, got 3; {why}: {A}",
    )
    assert took_s < within_s + SLACK_S
    assert d.ended().state == job_pb2.JOB_STATE_INSUFFICIENT_NODES


@pytest.mark.parametrize(
    ("vanish", "within_s", "why"),
    [
        (pause, ROUND_S, "its part of the round did not come in time"),
        (kill, GRACE_S, "its connection was lost and did not come back"),
    ],
)
@pytest.mark.parametrize("round_", ["support", "sum"])
def test_in_a_round(
    live: Live,
    li: Asker,
    d: HandNode,
    vanish: Callable[[Live], None],
    within_s: float,
    why: str,
    round_: str,
) -> None:
    """`a` has done what came before; `d` keeps the round from starting until `a` is gone."""
    asked = li.start(SQL)
    envelope = d.decision()
    job_id = li.newest()
    if round_ == "support":
        li.until_steps(job_id, {"a": "accepted", "b": "accepted", "c": "accepted"})
        vanish(live)
        d.say(envelope)
        d.support(d.round())
    else:
        d.say(envelope)
        request = d.round()
        li.until_steps(job_id, {"a": "supported", "b": "supported", "c": "supported"})
        vanish(live)
        d.support(request)
        d.contribute(d.round())
    error, took_s = timed(li, lambda: asked.exception(20))
    assert (error.code, error.message) == ("node_lost", f"{why} (at {A})")
    assert took_s < within_s + SLACK_S
    assert d.ended().state == job_pb2.JOB_STATE_NODE_LOST
    status = li.ended(job_id)
    assert {n.node: n.step for n in status.nodes}[A] == "lost"


def test_after_its_contribution_a_node_is_needed_no_more(
    live: Live, li: Asker, d: HandNode
) -> None:
    asked = li.start(SQL)
    d.decide()
    d.support(d.round())
    request = d.round()
    li.until_steps(li.newest(), dict.fromkeys("abc", "contributed"))
    live.kill("a")
    time.sleep(GRACE_S + 0.3)
    d.contribute(request)
    assert counts(asked.result(20)) == {"f": (120, 4), "m": (160, 4)}


def test_three_of_four_go_on_and_say_who_is_out(live: Live, li: Asker, d: HandNode) -> None:
    live.pause("a")
    asked = li.start(OF_THREE["first"], min_nodes=3)
    d.take_part()
    result = asked.result(20)
    assert counts(result) == {"f": (90, 3), "m": (120, 3)}
    assert [(out.node, out.reason) for out in result.excluded] == [(A, "gave no decision in time")]
    live.kill("a")
    asked = li.start(OF_THREE["second"], min_nodes=3)
    d.take_part()
    result = asked.result(20)
    assert counts(result) == {"f": (90, 3), "m": (120, 3)}
    assert [out.node for out in result.excluded] == [A]
    time.sleep(GRACE_S)
    asked = li.start(OF_THREE["third"], min_nodes=3)
    d.take_part()
    result = asked.result(20)
    assert [(out.node, out.reason) for out in result.excluded] == [(A, "was not connected")]
    assert "1 node out: a" in repr(result)


def test_two_of_four_are_too_few(live: Live, li: Asker, d: HandNode) -> None:
    live.pause("a")
    d.disconnect()
    error, took_s = timed(li, lambda: li.start(SQL, min_nodes=3).exception(20))
    assert (error.code, error.message) == (
        "insufficient_nodes",
        f"expected 3 nodes to take part, got 2; not reached: {D}; no decision in time: {A}",
    )
    assert took_s < max(DECISION_S, GRACE_S) + SLACK_S


def test_a_node_that_slept_through_a_job_serves_the_next(
    live: Live, li: Asker, d: HandNode
) -> None:
    """The job had expired when it woke: it says no, and nobody asks any more. What came along with
    the job, such as the requester's key, must not be lost by that."""
    zhao = Asker(live.address, live.member(Role.USER, "zhao"))
    live.pause("a")
    job = zhao.job(SQL, change=lambda spec: replace(spec, expires_at_ms=spec.issued_at_ms + 1400))
    zhao.submit(job.envelope)
    d.decide()
    ended = zhao.ended(job.spec.job_id)
    assert (ended.state, ended.reason) == (
        job_pb2.JOB_STATE_EXPIRED,
        "the job's own time was over before it ended",
    )
    d.ended()
    live.resume("a")
    asked = zhao.start(SQL)
    d.take_part()
    assert counts(asked.result(20)) == {"f": (120, 4), "m": (160, 4)}
    zhao.close()


def test_nothing_is_lost(live: Live, li: Asker, d: HandNode) -> None:
    jobs = {job.job_id: job.state for job in li.fed.jobs(limit=500)}
    assert State.RUNNING not in jobs.values()
    assert State.DECIDING not in jobs.values()
    entries = live.entries("coordinator")
    ended = [e.subject["job"] for e in entries if e.act in (Act.RELEASE, Act.JOB_ENDED)]
    assert len(ended) == len(set(ended))
    assert set(jobs) <= set(ended)
    for name in "abc":
        assert live.entries(name)
