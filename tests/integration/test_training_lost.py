"""Trainings whose node, coordinator or requester goes away, and code that waits for review."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from builders.asker import Asker
from builders.live import Live, node_uri
from builders.tables import declared, patients
from flwr.serverapp.strategy import FedAvg
from yumen.training.progress import RoundReport
from yumen.training.result import TrainingResult
from yumen_core.errors import Denied, PeerError
from yumen_core.identity import Role
from yumen_core.jobs.machine import State
from yumen_core.log import Act
from yumen_node.approvals import approve_folder, open_approvals

APP = Path(__file__).parents[1] / "builders" / "probe_app"
ROWS = {"a": (30, 40), "b": (30, 40), "c": (30, 40), "d": (60, 20)}
AT_D = 80
ALONE = 210 / 210
PERMIT = """
@id("members")
@reason_code("member")
@remedy("ask with an identity of this federation")
permit (principal, action in [Yumen::Action::"query", Yumen::Action::"train"], resource)
when { principal.federation == "gansu.example" };
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("faults")
    nodes = {
        name: [declared(root / "given" / name, "heart", patients(*rows))]
        for name, rows in ROWS.items()
    }
    policies = dict.fromkeys(("coordinator", *ROWS), PERMIT)
    settings = {"reconnect_grace_s": 2.0, "decision_timeout_s": 30.0}
    with Live(root, nodes, policies=policies, settings=settings) as running:
        for name in ROWS:
            approve_folder(running.directory(name), APP, "a probe of the tests")
        yield running


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("state")
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def li(live: Live, state: Path) -> Iterator[Asker]:
    asker = Asker(live.address, live.member(Role.USER, "li"))
    yield asker
    asker.close()


@pytest.fixture(autouse=True)
def everyone(live: Live, li: Asker) -> None:
    live.wait_connected(li.client, *ROWS)


class Running:
    """A training in a thread, with what it says as it goes."""

    def __init__(
        self, li: Asker, *, rounds: int = 4, min_nodes: int = 3, **settings: object
    ) -> None:
        self.reports: list[RoundReport] = []
        self._run = li.fed.start_training(
            settings.pop("app", APP),  # type: ignore[arg-type]
            FedAvg(),
            initial={"values": np.zeros(4, dtype=np.float32)},
            table="heart",
            columns=["sex"],
            purpose="research",
            rounds=rounds,
            min_nodes=min_nodes,
            round_timeout_s=20,
            **settings,
        )
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            self.reports.extend(self._run)
        except Exception:  # noqa: BLE001  raised again by `result`
            return

    def wait(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not done():
            assert time.monotonic() < deadline, "what the test waits for does not come"
            time.sleep(0.02)

    def result(self) -> TrainingResult:
        self._thread.join(90)
        return self._run.result(timeout_s=1)


def slow_app(tmp_path: Path, live: Live, seconds: float) -> Path:
    """The probe, with a node `d` that takes its time from round 2 on, approved everywhere."""
    folder = tmp_path / "slow"
    shutil.copytree(APP, folder)
    settings = (folder / "pyproject.toml").read_text()
    for name, value in (
        ("mode", '"slow"'),
        ("at-rows", AT_D),
        ("seconds", seconds),
        ("from-round", 2),
    ):
        line = next(line for line in settings.splitlines() if line.startswith(f"{name} ="))
        settings = settings.replace(line, f"{name} = {value}")
    (folder / "pyproject.toml").write_text(settings)
    for name in ROWS:
        approve_folder(live.directory(name), folder, "a probe of the tests")
    return folder


def dropped(live: Live, job: str) -> list[list[str]]:
    return [
        list(entry.detail["participants"])  # type: ignore[arg-type]
        for entry in live.entries("coordinator")
        if entry.act is Act.RUN_DROPPED and entry.subject["job"] == job
    ]


def test_a_node_killed_while_it_works(live: Live, li: Asker, tmp_path: Path) -> None:
    """The run ends without a sum; the next is of three nodes; nobody works twice."""
    run = Running(li, app=slow_app(tmp_path, live, 60.0))
    run.wait(lambda: len(run.reports) >= 2)
    time.sleep(0.5)  # the second round is under way at d
    live.kill("d")
    result = run.result()
    live.start_again("d")
    np.testing.assert_allclose(result.arrays["values"], np.full(4, 4.0), atol=1e-3)
    assert result.metrics["examples"].tolist() == [290, 210, 210, 210]
    assert result.metrics["nodes"].tolist() == [4, 3, 3, 3]
    assert result.lost_nodes() == {2: (node_uri("d"),)}
    abc = [node_uri(name) for name in "abc"]
    assert dropped(live, result.job_ids[0]) == [abc]
    sums = [
        (entry.detail["run"], entry.detail["round"])
        for entry in live.entries("a")
        if entry.act is Act.CONTRIBUTION and entry.subject["job"] == result.job_ids[0]
    ]
    assert (2, "train") not in sums  # the run that lost d had no sum
    assert [name for _, name in sums] == ["train", "evaluate"] * 4


@pytest.mark.slow
def test_a_node_that_is_needed(live: Live, li: Asker, tmp_path: Path) -> None:
    run = Running(li, app=slow_app(tmp_path, live, 61.0), min_nodes=4)
    run.wait(lambda: len(run.reports) >= 2)
    time.sleep(0.5)
    live.kill("d")
    with pytest.raises(PeerError) as caught:
        run.result()
    live.start_again("d")
    assert caught.value.code == "node_lost"


def test_a_coordinator_killed_while_nodes_work(live: Live, li: Asker, tmp_path: Path) -> None:
    run = Running(li, app=slow_app(tmp_path, live, 3.0), rounds=3)
    run.wait(lambda: len(run.reports) >= 2)
    time.sleep(0.5)
    live.kill("coordinator")
    live.start_again("coordinator")
    result = run.result()
    np.testing.assert_allclose(result.arrays["values"], np.full(4, 3.0), atol=1e-3)
    assert result.metrics["examples"].tolist() == [290] * 3
    assert len(result.job_ids) == 1


def test_a_node_killed_between_rounds_and_back(live: Live, li: Asker) -> None:
    # Of other rows than the trainings before: those had other nodes.
    run = Running(li, rounds=12, where="sex = 'm'")
    run.wait(lambda: len(run.reports) >= 3)
    live.kill("b")
    live.start_again("b")
    result = run.result()
    np.testing.assert_allclose(result.arrays["values"], np.full(4, 12.0), atol=1e-2)


REQUESTER = """
import sys, numpy as np, yumen
from flwr.serverapp.strategy import FedAvg
address, identity, app = sys.argv[1:]
with yumen.connect(address, identity=identity) as fed:
    run = fed.start_training(app, FedAvg(), initial={"values": np.zeros(4, dtype=np.float32)},
        table="heart", columns=["sex"], purpose="research", rounds=5, round_timeout_s=20)
    for report in run:
        print(report.round, flush=True)
"""


def test_a_requester_killed_and_resumed(live: Live, li: Asker, tmp_path: Path) -> None:
    app = slow_app(tmp_path, live, 1.0)
    arguments = [live.address, str(live.root / "user-li"), str(app)]
    program = subprocess.Popen(
        [sys.executable, "-c", REQUESTER, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    for line in program.stdout:
        if line.strip() == "2":
            break
    program.kill()
    program.wait()
    program.stdout.close()
    job = li.fed.jobs(limit=1)[0].job_id
    resumed = li.fed.resume(job)
    np.testing.assert_allclose(resumed.arrays["values"], np.full(4, 5.0), atol=1e-2)
    assert resumed.job_ids[0] == job
    assert len(resumed.job_ids) == 2


def awaits_approval(li: Asker) -> bool:
    return [job.state for job in li.fed.jobs(limit=1)] == [State.AWAITING_APPROVAL]


def unapproved(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    shutil.copytree(APP, folder)
    with (folder / "probe" / "client_app.py").open("a") as file:
        file.write(f"# {name}\n")
    return folder


def test_code_waits_for_its_reviewers(live: Live, li: Asker, tmp_path: Path) -> None:
    folder = unapproved(tmp_path, "new")
    for name in "abc":
        approve_folder(live.directory(name), folder, "read it")
    run = Running(li, app=folder, rounds=1)
    run.wait(lambda: awaits_approval(li))
    approvals = open_approvals(live.directory("d"))
    (waiting,) = approvals.waiting()
    assert waiting.name == "probe"
    assert [column.name for column in waiting.asks[0].columns] == ["sex"]
    approvals.give(waiting.digest, approved=True, reason="read it")
    approvals.close()
    assert run.result().metrics["nodes"].tolist() == [4]


def test_code_that_a_node_rejects(live: Live, li: Asker, tmp_path: Path) -> None:
    folder = unapproved(tmp_path, "worse")
    for name in "abc":
        approve_folder(live.directory(name), folder, "read it")
    run = Running(li, app=folder, rounds=1, min_nodes=4)
    run.wait(lambda: awaits_approval(li))
    approvals = open_approvals(live.directory("d"))
    (waiting,) = approvals.waiting()
    approvals.give(waiting.digest, approved=False, reason="it sends too much")
    approvals.close()
    with pytest.raises(Denied) as caught:
        run.result()
    assert "the code `probe` was rejected: it sends too much" in str(caught.value)
