"""Hostile apps in the real sandbox. Each attempt succeeds outside it and fails inside."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders.apps import bundle_of
from yumen_core.canonical import Json
from yumen_core.errors import StateError
from yumen_core.training.bundle import Bundle
from yumen_core.training.records import Action, Config, Metrics, Record
from yumen_node.training.limits import TrainingLimits
from yumen_node.training.probe import probe
from yumen_node.training.trainer import Trainer

SECRET = "a-secret-of-the-node"
ROW = 48_151_623_42
LIMITS = TrainingLimits(memory="512MB", disk="16MB", cpu_s=20, processes=24, threads=1)
TESTS = Path(__file__).parents[1]


def _refused() -> str:
    try:
        probe()
    except StateError as fault:
        return str(fault)
    return ""


REFUSED = _refused()
pytestmark = pytest.mark.skipif(bool(REFUSED), reason=f"no sandbox here: {REFUSED}")


class Site:
    """A node's trainer over three rows, and what it recorded."""

    def __init__(self, folder: Path, limits: TrainingLimits = LIMITS) -> None:
        self.folder = folder
        self.rows = folder / "rows.parquet"
        pq.write_table(pa.table({"a": [ROW, 2, 3]}), self.rows)
        self.records: list[tuple[str, str, dict[str, Json]]] = []
        self.trainer = Trainer(limits, folder / "training", self._record)

    def _record(self, job: str, what: str, detail: dict[str, Json]) -> None:
        self.records.append((job, what, detail))

    def ask(
        self,
        app: Bundle,
        action: Action = Action.EVALUATE,
        timeout_s: float = 30,
        reply_limit: int = 1 << 20,
        **config: str,
    ) -> dict[str, Record]:
        async def step() -> dict[str, Record]:
            return await self.trainer.step(
                *("job", app, self.rows, action, {"config": Config(config)}),
                timeout_s=timeout_s,
                reply_limit=reply_limit,
            )

        return asyncio.run(step())

    def done(self, attempt: str, target: str) -> int:
        """Whether the hostile app succeeded, after all that it did was recorded."""
        answer = self.ask(bundle_of("hostile"), attempt=attempt, target=target)
        self.trainer.forget("job")
        metrics = answer["metrics"]
        assert isinstance(metrics, Metrics)
        done = metrics.scalars["done"]
        assert isinstance(done, int)
        return done

    def stopped(self) -> set[str]:
        return {str(detail["what"]) for _, what, detail in self.records if what == "stopped"}

    def ended(self) -> list[str]:
        return [str(detail["why"]) for _, what, detail in self.records if what == "ended"]

    def output(self) -> str:
        return (self.folder / "training/job/output.log").read_text()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.trainer.close()


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder outside /tmp, which the sandbox has one of its own of."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def secret(elsewhere: Path) -> Path:
    file = elsewhere / "key"
    file.write_text(SECRET)
    return file


@pytest.fixture
def listening() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def local(tmp_path: Path) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        yield str(tmp_path / "s")


def outside(attempt: str, target: str) -> bool:
    """The same attempt in an ordinary process of this user."""
    code = (
        "import sys; from builders.apps.hostile import ATTEMPTS; "
        "sys.exit(0 if ATTEMPTS[sys.argv[1]](sys.argv[2]) else 3)"
    )
    command = [sys.executable, "-c", code, attempt, target]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "YUMEN_TEST_MARK": SECRET}
    return subprocess.run(command, env=environment, capture_output=True).returncode == 0


def check(site: Site, attempt: str, target: str, word: str | None) -> None:
    """It works outside, fails inside, and the node recorded `word` (None: there is nothing to see,
    as what was sought does not exist in the sandbox)."""
    assert outside(attempt, target)
    assert site.done(attempt, target) == 0
    if word is not None:
        assert word in site.stopped()


class TestNetwork:
    def test_a_connection_is_refused(self, site: Site, listening: str) -> None:
        check(site, "connect", listening, "network")

    def test_a_socket_from_native_code_is_refused(self, site: Site, listening: str) -> None:
        check(site, "connect_native", listening, "network")

    def test_a_local_socket_of_the_machine_is_refused(self, site: Site, local: str) -> None:
        check(site, "connect_local", local, "network")


class TestFiles:
    def test_a_secret_of_the_node_is_not_there(self, site: Site, secret: Path) -> None:
        check(site, "read", str(secret), "file outside")

    def test_native_code_does_not_find_it_either(self, site: Site, secret: Path) -> None:
        check(site, "read_native", str(secret), None)

    def test_nor_through_another_process(self, site: Site, secret: Path) -> None:
        check(site, "read_through_root", str(secret), None)

    @pytest.mark.parametrize(
        "path", ["/etc/shadow", "/etc/passwd", "/root/.bashrc", "/home", "/proc/1/mem"]
    )
    def test_nothing_of_the_machine_is_there(self, site: Site, path: str) -> None:
        assert site.done("read", path) == 0

    def test_a_file_outside_is_not_written(self, site: Site, elsewhere: Path) -> None:
        file = elsewhere / "out"
        check(site, "write", str(file), "write outside")
        file.unlink()
        site.done("write", str(file))
        assert not file.exists()

    @pytest.mark.parametrize("path", ["/x", "/app/x", "/data/x", "/dev/shm/x", "/dev/x"])
    def test_nothing_of_the_sandbox_but_its_scratch_is_written(self, site: Site, path: str) -> None:
        assert site.done("write", path) == 0

    @pytest.mark.parametrize(
        "path",
        [
            *("/proc/sys/vm/swappiness", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger"),
            *("/proc/irq/default_smp_affinity", "/proc/self/oom_score_adj"),
        ],
    )
    def test_no_setting_of_the_kernel_is_written(self, site: Site, path: str) -> None:
        """Root of the machine may, and a worker of root's node is root to these files."""
        if os.access(path, os.W_OK):
            assert outside("open_to_write", path)
        assert site.done("open_to_write", path) == 0

    def test_its_own_interpreter_is_not_written(self, site: Site) -> None:
        assert site.done("write", str(Path(sys.prefix, "bin", "x"))) == 0
        assert not Path(sys.prefix, "bin", "x").exists()

    def test_the_rows_are_not_changed(self, site: Site) -> None:
        before = site.rows.read_bytes()
        assert site.done("write", "/data/rows.parquet") == 0
        assert site.done("change_mode", "/data/rows.parquet") == 0
        assert site.rows.read_bytes() == before

    def test_its_scratch_is_written_within_its_size(self, site: Site) -> None:
        assert site.done("fill", str(8 << 20)) == 1

    def test_its_scratch_is_not_filled_beyond(self, site: Site) -> None:
        check(site, "fill", str(32 << 20), "disk full")

    def test_a_long_file_is_refused(self, site: Site) -> None:
        check(site, "write_long_file", str(32 << 20), None)


class TestProcesses:
    @pytest.mark.parametrize(
        ("attempt", "target"),
        [
            *(("fork", "3"), ("fork_native", ""), ("run_program", ""), ("replace_program", "")),
        ],
    )
    def test_a_second_process_is_refused(self, site: Site, attempt: str, target: str) -> None:
        check(site, attempt, target, "process")

    def test_another_process_is_not_there(self, site: Site) -> None:
        check(site, "signal_process", str(os.getpid()), None)

    def test_no_process_shows_the_nodes_environment(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("YUMEN_TEST_MARK", SECRET)
        check(site, "find_in_environments", SECRET, None)

    def test_no_process_shows_the_nodes_folder(self, site: Site, secret: Path) -> None:
        check(site, "find_in_commands", str(site.folder), None)

    def test_a_namespace_of_its_own_is_refused(self, site: Site) -> None:
        check(site, "unshare", "", "mounts")

    def test_being_traced_is_refused(self, site: Site) -> None:
        check(site, "be_traced", "", "other processes")

    def test_threads_beyond_the_limit_end_it(self, site: Site) -> None:
        assert outside("start_threads", "60")
        with pytest.raises(StateError) as caught:
            site.done("start_threads", "60")
        assert "expected at most 24 threads of the app, got more" in str(caught.value)
        assert site.ended() == ["processes"]


class TestMemory:
    def test_memory_beyond_the_limit_is_refused(self, site: Site) -> None:
        check(site, "take_memory", str(700 << 20), "memory")

    def test_memory_within_the_limit_is_given(self, site: Site) -> None:
        assert site.done("take_memory", str(100 << 20)) == 1

    def test_shared_memory_is_refused(self, site: Site) -> None:
        check(site, "take_shared_memory", str(700 << 20), "memory")

    @pytest.mark.parametrize("path", ["/dev/zero", "/dev/full", "/dev/shm/x"])
    def test_shared_memory_of_a_device_is_refused(self, site: Site, path: str) -> None:
        if path == "/dev/zero":
            assert outside("share_device", path)
        assert site.done("share_device", path) == 0


class TestWords:
    def test_printed_rows_stay_in_a_private_file(self, site: Site, tmp_path: Path) -> None:
        assert outside("print_rows", str(site.rows))
        assert site.done("print_rows", "/data/rows.parquet") == 1
        assert str(ROW) in site.output()
        file = tmp_path / "training/job/output.log"
        assert file.stat().st_mode & 0o077 == 0
        assert file.parent.stat().st_mode & 0o077 == 0
        printed = [detail for _, what, detail in site.records if what == "printed"]
        assert printed == [{"bytes": 10 ** (len(str(file.stat().st_size)) - 1)}]
        assert str(ROW) not in json.dumps(site.records)

    @pytest.mark.parametrize(
        ("way", "kind"),
        [
            *(("raise", "RowsSeen"), ("key", "KeyError"), ("exit", "SystemExit")),
            ("module", "ModuleNotFoundError"),
        ],
    )
    def test_every_exception_leaves_as_the_same_sentence(
        self, site: Site, way: str, kind: str
    ) -> None:
        with pytest.raises(StateError) as caught:
            site.ask(bundle_of("broken"), Action.TRAIN, way=way)
        assert caught.value.message == (
            "expected the app to answer `train`, got an error raised in it"
        )
        assert caught.value.code == "training"
        site.trainer.forget("job")
        assert str(ROW) in site.output()
        assert kind in site.output()

    def test_floods_of_words_end_it(self, site: Site) -> None:
        with pytest.raises(StateError, match="print little"):
            site.ask(bundle_of("broken"), Action.TRAIN, way="print")
        assert site.ended() == ["printed too much"]
        assert len(site.output()) <= 1 << 20


class TestEnds:
    """Ways in which an app does not answer."""

    @pytest.mark.parametrize(
        ("way", "said", "why"),
        [
            ("end", "got the end of its process", "died"),
            ("crash", "got the end of its process", "died"),
            ("long", "got a longer one", "reply too long"),
            ("sockets", "got attempts to leave it", "attempts"),
        ],
    )
    def test_ended(self, site: Site, way: str, said: str, why: str) -> None:
        with pytest.raises(StateError) as caught:
            site.ask(bundle_of("broken"), Action.TRAIN, way=way)
        assert said in str(caught.value)
        assert site.ended() == [why]

    @pytest.mark.parametrize("way", ["sleep", "stop", "silent"])
    def test_never_answered(self, site: Site, way: str) -> None:
        with pytest.raises(StateError) as caught:
            site.ask(bundle_of("broken"), Action.TRAIN, timeout_s=3, way=way)
        assert caught.value.code == "deadline"
        assert "expected the app to answer within its time, got no answer" in str(caught.value)
        assert site.ended() == ["wall time"]

    def test_the_cpu_limit_holds_where_its_signal_is_ignored(self, tmp_path: Path) -> None:
        site = Site(tmp_path, LIMITS.model_copy(update={"cpu_s": 2}))
        with contextlib.closing(site.trainer), pytest.raises(StateError, match="2 s of CPU"):
            site.ask(bundle_of("broken"), Action.TRAIN, way="spin")
        assert site.ended() == ["cpu time"]

    @pytest.mark.parametrize("way", ["none", "pickle", "many"])
    def test_an_odd_reply_is_refused(self, site: Site, way: str) -> None:
        with pytest.raises(StateError) as caught:
            site.ask(bundle_of("broken"), Action.TRAIN, way=way)
        assert caught.value.code == "training"

    def test_forged_bytes_are_refused(self, site: Site) -> None:
        with pytest.raises(StateError, match="expected records from the app, got other bytes"):
            site.ask(bundle_of("broken"), Action.TRAIN, way="forge")

    def test_the_next_step_starts_it_again(self, site: Site) -> None:
        with pytest.raises(StateError):
            site.ask(bundle_of("broken"), Action.TRAIN, way="end")
        answer = site.ask(bundle_of("broken"), Action.TRAIN, way="well")
        assert answer["metrics"] == Metrics({"num-examples": 1})

    def test_no_process_is_left(self, site: Site) -> None:
        with pytest.raises(StateError):
            site.ask(bundle_of("broken"), Action.TRAIN, timeout_s=3, way="sleep")
        deadline = time.monotonic() + 5
        while _processes_with(str(site.folder)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert _processes_with("yumen_node.training.worker", parent=os.getpid()) == []


def _processes_with(text: str, parent: int | None = None) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            status = (entry / "status").read_text()
        except OSError:
            continue
        if text.encode() in command and (parent is None or f"PPid:\t{parent}\n" in status):
            found.append(int(entry.name))
    return found
