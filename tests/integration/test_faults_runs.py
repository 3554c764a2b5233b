"""A statistic whose coordinator, node or requester goes away between two of its runs."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from builders.asker import Asker
from builders.live import Live
from builders.tables import declared, patients
from yumen.statistics.methods import FederatedTable
from yumen_core.errors import PeerError
from yumen_core.jobs.machine import State
from yumen_core.log import Act
from yumen_core.statistics.kinds import Totals
from yumen_core.statistics.statistic import Round, Statistic

TABLES = {"tables": [["sex", 2, "", 1]]}
TRUTH = [90.0, 120.0]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("runs")
    nodes = {name: [declared(root / "given" / name, "heart", patients(30, 40))] for name in "abc"}
    settings = {"reconnect_grace_s": 6.0, "decision_timeout_s": 30.0, "round_timeout_s": 10.0}
    with Live(root, nodes, settings=settings) as running:
        yield running


@pytest.fixture
def table(live: Live, li: Asker) -> FederatedTable:
    live.wait_connected(li.client, "a", "b", "c")
    return li.fed.table("heart", purpose="research")


def statistic(table: FederatedTable, *, at_most: int = 3) -> Statistic:
    rounds = (Round("count", "counts_by", TABLES, at_most), Round("again", "counts_by", TABLES))
    return Statistic("counts", table.rows({"sex": "sex"}), rounds)


def counted(totals: Totals) -> list[float]:
    return [float(value) for value in totals.values.ravel()[:2]]


def ended(li: Asker) -> tuple[State, str]:
    job = li.fed.jobs(limit=1)[0]
    return job.state, job.reason


def test_a_coordinator_killed_between_runs(live: Live, li: Asker, table: FederatedTable) -> None:
    with table.compute(statistic(table)) as job:
        assert counted(job.run("count")) == TRUTH
        live.kill("coordinator")
        live.start_again("coordinator")
        assert counted(job.run("count", {})) == TRUTH
        live.kill("coordinator")
        live.start_again("coordinator")
        assert counted(job.run("again", {})) == TRUTH
    assert ended(li) == (State.SUCCEEDED, "")
    runs = [
        entry.detail["run"]
        for entry in live.entries("a")
        if entry.act is Act.CONTRIBUTION and entry.subject["job"] == job.provenance.job_ids[0]
    ]
    assert runs == [0, 1, 2]  # asked again after each restart, the node sent what it had


def test_a_node_killed_between_runs_and_back_in_time(
    live: Live, li: Asker, table: FederatedTable
) -> None:
    with table.compute(statistic(table)) as job:
        assert counted(job.run("count")) == TRUTH
        live.kill("b")
        live.start_again("b")
        assert counted(job.run("count", {})) == TRUTH
    assert ended(li) == (State.SUCCEEDED, "")


def test_a_node_lost_between_runs(live: Live, li: Asker, table: FederatedTable) -> None:
    def lost() -> None:
        with table.compute(statistic(table)) as job:
            assert counted(job.run("count")) == TRUTH
            live.kill("b")
            job.run("count", {})

    with pytest.raises(PeerError) as caught:
        lost()
    live.start_again("b")
    assert caught.value.code == "node_lost"
    assert caught.value.message.startswith("its connection was lost and did not come back")
    assert ended(li)[0] is State.NODE_LOST


@pytest.mark.slow
def test_a_requester_who_is_gone(live: Live, li: Asker, table: FederatedTable) -> None:
    running = table.compute(statistic(table))
    job = running.__enter__()
    assert counted(job.run("count")) == TRUTH
    deadline = time.monotonic() + 30
    while li.fed.jobs(limit=1)[0].state is State.RUNNING and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ended(li) == (State.EXPIRED, "the requester sent no further round in time")
    with pytest.raises(PeerError, match="the requester sent no further round in time"):
        job.run("count", {})


def test_a_method_that_raises_ends_its_job(li: Asker, table: FederatedTable) -> None:
    def broken() -> None:
        with table.compute(statistic(table)) as job:
            job.run("count")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    state, reason = ended(li)
    assert state is State.CANCELLED
    assert reason.startswith("cancelled by")


def test_a_round_that_the_job_did_not_name_is_refused_here(table: FederatedTable) -> None:
    def twice() -> None:
        with table.compute(statistic(table, at_most=1)) as job:
            job.run("count")
            job.run("count", {})

    with pytest.raises(PeerError) as caught:
        twice()
    assert caught.value.message == "expected at most 1 runs of `count`, got one more"


def test_inputs_of_another_shape_are_refused_at_the_nodes(table: FederatedTable) -> None:
    def misshapen() -> None:
        with table.compute(statistic(table)) as job:
            job.run("count")
            job.run("count", {"beta": np.zeros(3)})

    with pytest.raises(PeerError) as caught:
        misshapen()
    assert caught.value.code == "round"
    assert "expected the inputs , got others" in caught.value.message


def test_a_statistic_asked_as_a_dry_run(live: Live, table: FederatedTable) -> None:
    report = table.check("histogram", "age")
    assert report.allowed
    assert {decision.accepted for decision in report.decisions} == {True}
    assert all(entry.act is not Act.SUPPORT for entry in live.entries("a")[-2:])
