"""The trainer's order, deadlines and records, with a worker that starts no process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from builders.apps import bundle_of
from yumen_core.canonical import Json
from yumen_core.errors import CallError, StateError
from yumen_core.rpc.v1 import training_pb2
from yumen_core.training.records import Action, Config, Metrics, Record, to_proto
from yumen_node.training import trainer as trainers
from yumen_node.training.attempts import Attempts
from yumen_node.training.faults import Ended
from yumen_node.training.filter import architecture
from yumen_node.training.launching import Launching
from yumen_node.training.limits import TrainingLimits
from yumen_node.training.process import Launch
from yumen_node.training.trainer import Trainer

MACHINE = architecture("x86_64")
assert MACHINE is not None


class FakeWorker:
    """Answers each step after `takes_s` with its number; records its starts."""

    takes_s = 0.0
    made: list[FakeWorker]

    def __init__(self, launch: Launch, limits: TrainingLimits) -> None:
        assert MACHINE is not None
        self.launch = launch
        self.attempts = Attempts(MACHINE)
        self.ended: Ended | None = None
        self.printed = 0
        self.asked = 0
        self.closed = False
        self.timeouts_s: list[float] = []
        self._killed = threading.Event()
        self._limits = limits
        FakeWorker.made.append(self)

    def ask(self, request: bytes, *, reply_limit: int, timeout_s: float) -> bytearray:
        message = training_pb2.SandboxRequest.FromString(request)
        reply = training_pb2.SandboxReply()
        self.timeouts_s.append(timeout_s)
        if message.WhichOneof("request") == "start":
            reply.ready.SetInParent()
            return bytearray(reply.SerializeToString())
        self.asked += 1
        if self._killed.wait(self.takes_s):
            raise (self.ended or Ended.DIED).error(self._limits)
        answer = {"metrics": Metrics({"asked": self.asked})}
        reply.result.records.extend(to_proto(answer))
        return bytearray(reply.SerializeToString())

    def end(self, why: Ended) -> None:
        self.kill(why)

    def kill(self, why: Ended) -> None:
        self.ended = self.ended or why
        self._killed.set()

    def close(self) -> None:
        self.kill(Ended.CLOSED)
        self.closed = True


class Site:
    def __init__(self, folder: Path, limits: TrainingLimits) -> None:
        self.records: list[tuple[str, str, dict[str, Json]]] = []
        self.folder = folder
        self.trainer = Trainer(limits, folder, lambda *entry: self.records.append(entry))
        self.order: list[str] = []

    async def step(self, job: str, timeout_s: float = 20) -> dict[str, Record]:
        try:
            return await self.trainer.step(
                *(job, bundle_of("good"), Path("rows.parquet"), Action.TRAIN, {"c": Config({})}),
                timeout_s=timeout_s,
            )
        finally:
            self.order.append(job)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(trainers, "Worker", FakeWorker)
    monkeypatch.setattr(trainers, "probe", lambda: None)
    monkeypatch.setattr(FakeWorker, "takes_s", 0.02)
    FakeWorker.made = []
    made = Site(tmp_path / "training", TrainingLimits(parallel=1, wall_s=7))
    yield made
    made.trainer.close()


def run(*steps: Coroutine[Any, Any, Any]) -> list[Any]:
    async def together() -> list[Any]:
        return await asyncio.gather(*steps, return_exceptions=True)

    return asyncio.run(together())


def test_a_job_keeps_its_worker(site: Site) -> None:
    answers = [run(site.step("a"))[0] for _ in range(3)]
    assert [answer["metrics"].scalars["asked"] for answer in answers] == [1, 2, 3]
    assert len(FakeWorker.made) == 1


def test_jobs_take_turns_however_many_steps_one_has(site: Site) -> None:
    run(*(site.step("a") for _ in range(4)), site.step("b"), site.step("b"))
    assert site.order == ["a", "b", "a", "b", "a", "a"]


def test_as_many_at_once_as_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainers, "Worker", FakeWorker)
    monkeypatch.setattr(trainers, "probe", lambda: None)
    monkeypatch.setattr(FakeWorker, "takes_s", 0.3)
    FakeWorker.made = []
    site = Site(tmp_path / "t", TrainingLimits(parallel=3))
    began = time.monotonic()
    run(*(site.step(job) for job in "abc"))
    assert time.monotonic() - began < 0.8
    site.trainer.close()


def test_waiting_counts_towards_the_time_of_a_step(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeWorker, "takes_s", 0.6)
    first, second = run(site.step("a"), site.step("b", timeout_s=0.1))
    assert isinstance(first, dict)
    assert isinstance(second, StateError)
    assert second.code == "deadline"


def test_a_step_has_no_more_than_the_wall_time(site: Site) -> None:
    run(site.step("a", timeout_s=100))
    assert FakeWorker.made[0].timeouts_s[1] == 7


def test_forgetting_a_job_ends_its_step(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeWorker, "takes_s", 10.0)

    async def forgotten() -> None:
        step = asyncio.create_task(site.step("a"))
        await asyncio.sleep(0.1)
        site.trainer.forget("a")
        with pytest.raises(StateError) as caught:
            await step
        assert caught.value.code == "cancelled"
        assert caught.value.message == "expected a job that goes on, got one that has ended"

    asyncio.run(forgotten())
    assert FakeWorker.made[0].closed
    assert not (site.folder / "a/app").exists()


def test_a_forgotten_jobs_place_is_free_at_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step of `a` works, two wait for it, and `b` waits for the only place."""
    monkeypatch.setattr(FakeWorker, "takes_s", 30.0)

    async def forgotten() -> float:
        steps = [asyncio.create_task(site.step("a")) for _ in range(3)]
        await asyncio.sleep(0.1)
        other = asyncio.create_task(site.step("b"))
        await asyncio.sleep(0.1)
        monkeypatch.setattr(FakeWorker, "takes_s", 0.0)
        began = time.monotonic()
        site.trainer.forget("a")
        for step in steps:
            with pytest.raises(StateError) as caught:
                await step
            assert caught.value.code == "cancelled"
        assert (await other)["metrics"] == Metrics({"asked": 1})
        return time.monotonic() - began

    assert asyncio.run(forgotten()) < 2
    assert [worker.asked for worker in FakeWorker.made] == [1, 1]  # none of those that waited
    assert not (site.folder / "a/app").exists()


def test_steps_that_wait_for_a_place_end_with_their_job(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place itself stays with the other job."""
    monkeypatch.setattr(FakeWorker, "takes_s", 0.5)

    async def forgotten() -> None:
        other = asyncio.create_task(site.step("b"))
        await asyncio.sleep(0.1)
        step = asyncio.create_task(site.step("a"))
        await asyncio.sleep(0.1)
        site.trainer.forget("a")
        with pytest.raises(StateError) as caught:
            await step
        assert caught.value.code == "cancelled"
        assert not other.done()
        assert (await other)["metrics"] == Metrics({"asked": 1})

    asyncio.run(forgotten())
    assert len(FakeWorker.made) == 1


def test_cancelling_a_step_ends_its_worker(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeWorker, "takes_s", 10.0)

    async def cancelled() -> None:
        step = asyncio.create_task(site.step("a"))
        await asyncio.sleep(0.1)
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step

    asyncio.run(cancelled())
    assert FakeWorker.made[0].ended is Ended.CANCELLED
    assert FakeWorker.made[0].closed
    monkeypatch.setattr(FakeWorker, "takes_s", 0.0)
    run(site.step("a"))
    assert len(FakeWorker.made) == 2


def test_what_was_stopped_is_recorded_without_content(site: Site) -> None:
    run(site.step("a"))
    worker = FakeWorker.made[0]
    for word in ("network",) * 12 + ("process",) * 9:
        worker.attempts.add(word)
    worker.printed = 1_234
    worker.kill(Ended.MEMORY)
    run(site.step("a"))
    assert site.records == [
        ("a", "stopped", {"what": "network", "times": 10}),
        ("a", "stopped", {"what": "process", "times": 1}),
        ("a", "ended", {"why": "memory"}),
        ("a", "printed", {"bytes": 1_000}),
    ]


def test_code_cannot_write_numbers_into_the_record(site: Site) -> None:
    """Each power of ten is recorded once in a job's life, over all its workers."""
    for _ in range(40):
        run(site.step("a"))
        worker = FakeWorker.made[-1]
        for _ in range(3):
            worker.attempts.add("network")
        if len(FakeWorker.made) < 4:
            worker.printed = 500
            worker.kill(Ended.CLOSED)
    run(site.step("a"))
    assert [detail for _, _, detail in site.records] == [
        {"what": "network", "times": 1},
        {"bytes": 100},
        {"bytes": 1_000},
        {"what": "network", "times": 10},
        {"what": "network", "times": 100},
    ]


def test_a_bundle_that_needs_what_the_node_lacks_is_not_started(site: Site) -> None:
    step = site.trainer.step(
        *("a", bundle_of("missing_package"), Path("rows.parquet"), Action.TRAIN, {}), timeout_s=9
    )
    (refused,) = run(step)
    assert isinstance(refused, StateError)
    assert refused.message == (
        "expected the package `package_that_nobody_has` at this node, got none"
    )
    assert FakeWorker.made == []


def test_without_a_sandbox_code_of_another_party_is_refused(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> None:
        raise StateError("sandbox", "expected the program `bwrap`, got none", remedy="install it")

    monkeypatch.setattr(trainers, "probe", none)
    (refused,) = run(site.step("a"))
    assert isinstance(refused, StateError)
    assert refused.code == "sandbox"
    assert FakeWorker.made == []


@pytest.mark.parametrize("job_id", ["", "..", "a/b", "a" * 65])
def test_a_job_of_another_name_is_refused(site: Site, job_id: str) -> None:
    (refused,) = run(site.step(job_id))
    assert isinstance(refused, CallError)


def test_the_bundle_is_laid_out_for_this_user_alone(site: Site) -> None:
    run(site.step("a"))
    walls = FakeWorker.made[0].launch.walls
    assert walls is not None
    assert walls.bundle == site.folder / "a/app"
    assert (site.folder / "a/app/tiny/client_app.py").exists()
    assert [f.stat().st_mode & 0o077 for f in (site.folder, site.folder / "a")] == [0, 0]


def test_the_jobs_config_goes_before_the_projects() -> None:
    launching = Launching("a", bundle_of("good"), Path("rows.parquet"), {"rate": 2.0}, 4, 12)
    start = training_pb2.SandboxRequest.FromString(launching.start(walled=True)).start
    assert [(s.name, s.real) for s in start.run_config] == [("rate", 2.0)]
    assert (start.data_path, start.bundle_path) == ("/data/rows.parquet", "/app")
    assert (start.node_id, start.threshold) == (6, 12)
    assert start.run_id < 1 << 63
