"""One worker as the node holds it: started, asked, watched, and killed with all that it started.

A thread watches each worker: it answers the kernel's questions, drains what the code prints into
the operator's file, and kills the whole tree at the first limit that is passed.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from yumen_node.training import filter as calls
from yumen_node.training import frames, sandbox
from yumen_node.training.attempts import MAX_ATTEMPTS, Attempts, said_hello
from yumen_node.training.bootstrap import Settings
from yumen_node.training.faults import Ended
from yumen_node.training.limits import TrainingLimits

MAX_OUTPUT_BYTES = 1 << 20
"""What is kept of the words that code prints; `MAX_PRINTED_BYTES` of them end it."""
MAX_PRINTED_BYTES = 64 << 20
_TICK_S = 0.1
_START_S = 30.0
_REAP_S = 5.0
_PIPE_BYTES = 1 << 20
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Launch:
    """How to start a worker: with walls, or as a plain child where `walls` is None."""

    walls: sandbox.Walls | None
    output: Path
    scratch: Path


class Worker:
    """A worker that has said hello. `ask` may be called by one thread at a time, others by any.

    The thread that makes a worker must outlive it: bubblewrap dies with it (prctl(2),
    PR_SET_PDEATHSIG).
    """

    def __init__(self, launch: Launch, limits: TrainingLimits) -> None:
        """Raises `StateError` (`sandbox`) where the sandbox cannot be built."""
        machine = calls.architecture()
        assert machine is not None
        self.attempts = Attempts(machine)
        self.printed = 0
        self._limits = limits
        self._ended: Ended | None = None
        self._lock = threading.Lock()
        self._deadline = time.monotonic() + _START_S
        self._pid, self._listener = 0, -1
        self._closed = False
        started = _spawn(launch, limits)
        self._child, self._requests, self._replies = started[:3]
        self._reports, self._errors = started[3:]
        self._file = os.open(launch.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="training worker", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._pid == 0:
            self.close()
            raise sandbox.refused(_tail(launch.output))

    def ask(self, request: bytes, *, reply_limit: int, timeout_s: float) -> bytearray:
        """The worker's reply, unread. Raises `StateError` (`training`, `deadline`) where it ends
        or says too much instead."""
        self._deadline = time.monotonic() + timeout_s
        try:
            frames.write_frame(self._requests, request)
            return frames.read_frame(self._replies, reply_limit)
        except frames.TooLong:
            self.kill(Ended.TOO_LONG)
            raise Ended.TOO_LONG.error(self._limits) from None
        except frames.Closed:
            self._thread.join(_REAP_S)
            raise (self._ended or Ended.DIED).error(self._limits) from None
        finally:
            self._deadline = float("inf")
            self.attempts.read(self._reports)

    @property
    def ended(self) -> Ended | None:
        """Why the worker is no more, or None."""
        return self._ended

    def kill(self, why: Ended) -> None:
        """End the worker and all that it started, and wait until they are gone."""
        self.end(why)
        if threading.current_thread() is not self._thread:
            self._thread.join(_REAP_S)

    def close(self) -> None:
        """As `kill`, and give the descriptors back. No other call may be under way."""
        self.kill(Ended.CLOSED)
        if self._closed:
            return
        self._closed = True
        for descriptor in (self._requests, self._replies):
            os.close(descriptor)
        self._reports.close()

    def end(self, why: Ended) -> None:
        """As `kill`, but without waiting."""
        with self._lock:
            if self._ended is None:
                self._ended = why
        if self._child.returncode is None:
            # The session's group holds bubblewrap; the kernel ends a process namespace with it.
            for target in (os.killpg, os.kill):
                try:
                    target(self._child.pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def _watch(self) -> None:
        """Until the process is gone. `select.poll` tells a question from the end of its asker."""
        waiting = select.poll()
        waiting.register(self._errors, select.POLLIN)
        waiting.register(self._reports, select.POLLIN)
        while self._child.poll() is None:
            for descriptor, events in waiting.poll(_TICK_S * 1_000):
                if not events & select.POLLIN:
                    waiting.unregister(descriptor)
                elif descriptor == self._errors:
                    self._drain()
                elif descriptor == self._listener:
                    self.attempts.refuse(descriptor)
                elif self._pid == 0:
                    self._greet(waiting)
                else:
                    self.attempts.read(self._reports)
            self._check()
        self._finish()

    def _greet(self, waiting: select.poll) -> None:
        hello = said_hello(self._reports)
        if hello is None:
            waiting.unregister(self._reports)
            self.end(Ended.DIED)
            return
        self._pid, self._listener = hello
        self._deadline = float("inf")
        waiting.register(self._listener, select.POLLIN)
        self._ready.set()

    def _finish(self) -> None:
        """1. Reap. 2. Read what is left. 3. Say why it ended."""
        code = self._child.wait()
        while self._drain():
            continue
        if self._pid != 0:
            self.attempts.read(self._reports)
        with self._lock:
            if self._ended is None:
                self._ended = Ended.of_status(code)
        for descriptor in (self._listener, self._errors, self._file):
            if descriptor >= 0:
                os.close(descriptor)
        self._ready.set()

    def _drain(self) -> bool:
        """Move what was printed into the operator's file; whether there was any."""
        try:
            text = os.read(self._errors, 1 << 16)
        except BlockingIOError:
            return False
        room = max(MAX_OUTPUT_BYTES - self.printed, 0)
        if text and room:
            os.write(self._file, text[:room])
        self.printed += len(text)
        return bool(text)

    def _check(self) -> None:
        """Pass no limit: wall time, words, attempts, CPU time, threads, memory."""
        if time.monotonic() > self._deadline:
            self.end(Ended.DEADLINE)
        if self.printed > MAX_PRINTED_BYTES:
            self.end(Ended.OUTPUT)
        if self.attempts.total > MAX_ATTEMPTS:
            self.end(Ended.ATTEMPTS)
        if self._pid == 0:
            return
        try:
            fields = _status(self._pid)
            used_s = _cpu_s(self._pid)
        except (FileNotFoundError, ProcessLookupError):
            return
        if used_s > self._limits.cpu_s:
            self.end(Ended.CPU)
        if fields.get("Threads", 0) > self._limits.processes:
            self.end(Ended.PROCESSES)
        if fields.get("RssAnon", 0) + fields.get("RssShmem", 0) > self._limits.memory_bytes >> 10:
            self.end(Ended.MEMORY)


def _status(process: int) -> dict[str, int]:
    """Counts, and sizes in KiB, of /proc/PID/status (proc_pid_status(5))."""
    text = Path(f"/proc/{process}/status").read_text()
    lines = (line.split() for line in text.splitlines())
    return {
        words[0][:-1]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()
    }


def _cpu_s(process: int) -> float:
    """CPU seconds of all threads (proc_pid_stat(5), utime and stime)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _spawn(
    launch: Launch, limits: TrainingLimits
) -> tuple[subprocess.Popen[bytes], int, int, socket.socket, int]:
    """The process, the node's ends of the two pipes, of the reports and of what is printed."""
    requests_in, requests = os.pipe()
    replies, replies_out = os.pipe()
    printed, printed_out = os.pipe()
    reports, reports_out = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    reports.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    theirs = [requests_in, replies_out, reports_out.fileno()]
    settings = Settings(
        requests=requests_in,
        replies=replies_out,
        reports=reports_out.fileno(),
        memory_bytes=limits.memory_bytes,
        disk_bytes=limits.disk_bytes,
        cpu_s=limits.cpu_s,
        readable=launch.walls.readable() if launch.walls else (),
        writable=sandbox.SCRATCH if launch.walls else str(launch.scratch),
    )
    command = sandbox.worker_command(settings.to_json())
    variables = sandbox.environment(limits.threads, settings.writable)
    given: list[int] = []
    try:
        for pipe in (requests, replies_out):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        if launch.walls is not None:
            arguments = launch.walls.arguments()
            for name, value in variables.items():
                arguments += ["--setenv", name, value]
            given.append(_readable("\0".join(arguments).encode()))
            command = [sandbox.binary(), "--args", str(given[0]), "--", *command]
            variables = {}
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed_out,
            stderr=printed_out,
            pass_fds=[*theirs, *given],
            env=variables,
            cwd="/" if launch.walls is not None else launch.scratch,
            start_new_session=True,
        )
    except BaseException:
        for descriptor in (requests, replies, printed):
            os.close(descriptor)
        reports.close()
        raise
    finally:
        for descriptor in (requests_in, replies_out, printed_out, *given):
            os.close(descriptor)
        reports_out.close()
    os.set_blocking(printed, False)
    return child, requests, replies, reports, printed


def _readable(content: bytes) -> int:
    """A descriptor to read `content` from."""
    descriptor = os.memfd_create("arguments")
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _tail(file: Path) -> str:
    return file.read_bytes()[-2_000:].decode("utf-8", "replace")
