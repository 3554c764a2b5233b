"""Flower's own deployment engine on this machine: a SuperLink and SuperNodes from the same
environment, without TLS, started for one benchmark and ended by their own process ids."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from yumen._processes import free_port

BIN = Path(sys.executable).parent
START_S = 60.0
TAIL_BYTES = 3_000


class FlowerEngine:
    """Enter it with `with`; its logs and Flower's home are in `folder`."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self._folder = folder
        self._nodes = nodes
        self._port = free_port()
        self._children: list[subprocess.Popen[bytes]] = []
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
            "HOME": os.fspath(folder),
            "FLWR_HOME": os.fspath(folder / "flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
        }

    def __enter__(self) -> FlowerEngine:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def run(self, app: Path, settings: Mapping[str, int], *, timeout_s: float) -> dict[str, Any]:
        """What the app writes to the file that its setting `report` names."""
        report = self._folder / f"report-{time.monotonic_ns()}.json"
        given = " ".join(f"{name}={value}" for name, value in settings.items())
        changed = f'{given} report="{report}"'
        command = [str(BIN / "flwr"), "run", str(app), "bench", "--run-config", changed]
        with (self._folder / "run.log").open("ab") as log:
            subprocess.run(
                command, env=self._environment, stdout=log, stderr=log, check=True, timeout=START_S
            )
        self._wait(report.exists, timeout_s, "a finished run")
        found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return found

    def _start(self) -> None:
        home = self._folder / "flwr"
        home.mkdir(parents=True)
        (home / "config.toml").write_text(
            f'[superlink]\ndefault = "bench"\n\n[superlink.bench]\n'
            f'address = "127.0.0.1:{self._port}"\ninsecure = true\n',
            encoding="utf-8",
        )
        self._spawn(
            "superlink",
            *("--insecure", "--host", "127.0.0.1", "--port", str(self._port)),
            "--disable-runtime-dependency-installation",
        )
        self._wait(self._healthy, START_S, "a SuperLink that answers")
        for number in range(self._nodes):
            self._spawn(
                "supernode",
                *("--insecure", "--superlink", f"127.0.0.1:{self._port}"),
                *("--host", "127.0.0.1", "--port", str(free_port())),
                *("--node-config", f"partition-id={number} num-partitions={self._nodes}"),
            )

    def _spawn(self, kind: str, *arguments: str) -> None:
        with (self._folder / f"{kind}-{len(self._children)}.log").open("ab") as log:
            child = subprocess.Popen(
                [BIN / f"flower-{kind}", *arguments],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._children.append(child)

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=2) as got:
                return bool(got.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _wait(self, done: Any, timeout_s: float, what: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            ended = any(child.poll() is not None for child in self._children)
            if ended or time.monotonic() > deadline:
                raise SystemExit(f"expected {what} of Flower, got none:\n{self._tails()}")
            time.sleep(0.05)

    def _tails(self) -> str:
        logs = sorted(self._folder.glob("*.log"))
        return "\n".join(f"{log.name}: {log.read_text()[-TAIL_BYTES:]}" for log in logs)

    def _stop(self) -> None:
        """End what was started, and what that started: Flower runs its apps as grandchildren."""
        started = {pid for child in self._children for pid in descendants(child.pid)}
        for child in reversed(self._children):
            child.terminate()
        deadline = time.monotonic() + 10
        for child in self._children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=max(0.0, deadline - time.monotonic()))
            if child.poll() is None:
                child.kill()
                child.wait()
        self._children.clear()
        for pid, born in started:
            # An id that was given anew belongs to a process born later.
            if birth(pid) == born:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[tuple[int, str]]:
    """The processes under `pid` with the moments of their birth (proc_pid_task(5), children)."""
    found: list[tuple[int, str]] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                if (born := birth(child)) is not None:
                    found += [(child, born), *descendants(child)]
    return found


def birth(pid: int) -> str | None:
    """When a process started, in clock ticks since boot (proc_pid_stat(5)); None: it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
