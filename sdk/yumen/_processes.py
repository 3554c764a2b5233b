"""Child processes of a federation on this machine: start, wait until ready, stop, leave none.

Trust line: a child is our own code on this machine under the same user; what it prints is believed.

A child ends when its standard input does, so it does not outlive the process that started it, not
even one that was killed. It runs in a session of its own: Ctrl-C in a notebook interrupts the
query, not the nodes.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from yumen_core.errors import CATALOGUE, StateError

# -P keeps the present folder off the module path: a notebook's own `grpc.py` must not shadow the
# library.
PROGRAM = (sys.executable, "-P", "-m", "yumen_cli")
MAX_LINE_BYTES = 1 << 20
TAIL_BYTES = 4_000
TAIL_LINES = 12


_PORTS = range(20_000, 30_000)
"""Where ports are looked for: below those that systems give to connections that dial out, any of
which would take a free port before its service begins to listen."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago; another process may still take it."""
    for _ in range(100):
        port = secrets.choice(_PORTS)
        if not port_taken(port):
            return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_taken(port: int) -> bool:
    """Whether someone listens on `port` of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


@contextlib.contextmanager
def signals_waiting() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the block is over; then they do what they always do. In a
    thread other than the main one, which gets no signals, nothing is held."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda caught, _: came.append(caught))
        for number in (signal.SIGINT, signal.SIGTERM)
        if callable(signal.getsignal(number))
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for caught in came:
            signal.raise_signal(caught)


class Child:
    """One `python -m yumen_cli ...` process that prints JSON objects, the last of them `ready`."""

    def __init__(self, process: subprocess.Popen[bytes], name: str, stderr: Path) -> None:
        self.name = name
        self._process = process
        self._stderr = stderr
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name=f"yumen-child-{name}", daemon=True)
        self._reader.start()

    @classmethod
    def spawn(
        cls, args: Sequence[str], *, name: str, stderr: Path, program: Sequence[str] = PROGRAM
    ) -> Child:
        """Start `program` with `args`; its standard error is appended to the file `stderr`.

        `name` is how errors call the child, such as "node a".
        """
        with stderr.open("ab") as log:
            process = subprocess.Popen(
                [*program, *args],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        return cls(process, name, stderr)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send_line(self, text: str) -> None:
        """Write one line to the child's standard input. One that has ended says why when read."""
        if self._process.stdin is None:
            raise ValueError("a child is started with a pipe as its standard input")
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(text.encode() + b"\n")
            self._process.stdin.flush()

    def next_event(self, deadline: float) -> dict[str, object]:
        """The child's next JSON object. `deadline` is a `time.monotonic()` value.

        Raises `StateError`: the child's own error where it reports one, else (`failed`) that it
        ended, with the tail of its log, or (`deadline`) that nothing came in time.
        """
        text = b""
        while True:
            text += self._next_line(deadline)
            if not text.strip():
                continue
            event = self._parse(text)
            if event is None:
                continue
            problem = event.get("error")
            if isinstance(problem, dict):
                raise self._reported(problem)
            return event

    def events_until_ready(self, timeout_s: float) -> list[dict[str, object]]:
        """Every event up to and including `ready`. Raises as `next_event` does."""
        deadline = time.monotonic() + timeout_s
        events = [self.next_event(deadline)]
        while events[-1].get("event") != "ready":
            events.append(self.next_event(deadline))
        return events

    def stderr_tail(self) -> str:
        """The last lines the child wrote to its standard error, of 4,000 bytes at most."""
        try:
            with self._stderr.open("rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.strip().splitlines()[-TAIL_LINES:])

    def ask_to_stop(self) -> None:
        """Send the child SIGTERM; returns at once."""
        # Its standard input stays open until it has ended: it would end by that too, and a second
        # reason to end while it is ending by the first finds it without its signal handler.
        # Popen sends nothing to a child it has already waited for, so the id is never reused.
        self._process.send_signal(signal.SIGTERM)

    def wait_stopped(self, deadline: float) -> bool:
        """Wait for the end until `deadline` (`time.monotonic()`), then kill it.

        Returns whether it ended by itself. Its pipes are closed and its reader has ended after.
        """
        try:
            self._process.wait(timeout=max(0.0, deadline - time.monotonic()))
            gently = True
        except subprocess.TimeoutExpired:
            # Its session holds the child and the worker processes it started, nothing else.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            gently = False
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # a line it never read
                self._process.stdin.close()
        self._reader.join(timeout=5.0)
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()
        return gently

    def _read(self) -> None:
        stream = self._process.stdout
        if stream is not None:
            while line := stream.readline(MAX_LINE_BYTES):
                self._lines.put(line)
        self._lines.put(None)

    def _next_line(self, deadline: float) -> bytes:
        try:
            line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise StateError(
                "deadline",
                f"expected the process of {self.name} to be ready in time, got no word"
                f"{self._tail_text()}",
            ) from None
        if line is None:
            raise self._ended()
        return line

    def _parse(self, text: bytes) -> dict[str, object] | None:
        """The JSON object in `text`, or None where it goes on: errors come over several lines."""
        try:
            event = json.loads(text)
        except ValueError:
            if text.startswith(b"{") and len(text) < MAX_LINE_BYTES:
                return None
            event = None
        if not isinstance(event, dict):
            shown = text[:200].decode(errors="replace").strip()
            raise StateError(
                "failed", f"expected JSON from the process of {self.name}, got `{shown}`"
            )
        return event

    def _reported(self, problem: dict[str, object]) -> StateError:
        code = str(problem.get("code"))
        remedy = problem.get("remedy")
        return StateError(
            code if code in CATALOGUE else "failed",
            f"{problem.get('message')}",
            node=self.name,
            remedy=str(remedy) if remedy else None,
        )

    def _ended(self) -> StateError:
        try:
            code = self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            return StateError(
                "failed", f"the process of {self.name} closed its output{self._tail_text()}"
            )
        how = f"exit code {code}" if code >= 0 else f"signal {-code}"
        return StateError(
            "failed",
            f"the process of {self.name} ended with {how} before it was ready{self._tail_text()}",
            remedy="correct what the lines above say",
        )

    def _tail_text(self) -> str:
        tail = self.stderr_tail()
        return f"; its last lines were:\n{tail}\n" if tail else " and left no line in its log"


def stop_all(children: Sequence[Child], *, grace_s: float = 5.0) -> None:
    """Stop every child at once, the last started first; kill what is left after `grace_s`."""
    deadline = time.monotonic() + grace_s
    for child in reversed(children):
        child.ask_to_stop()
    for child in reversed(children):
        child.wait_stopped(deadline)
