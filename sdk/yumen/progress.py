"""One line of progress on a terminal while a job runs; nothing anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text
from yumen_core.jobs.machine import State, Step
from yumen_core.rpc.v1 import job_pb2

from yumen.display import counted, safe, short_name
from yumen.jobs import state_of

_SAID_YES = frozenset({Step.ACCEPTED, Step.SUPPORTED, Step.CONTRIBUTED})
_WORDS = {
    State.SUBMITTED: "sent",
    State.DECIDING: "nodes decide",
    State.RUNNING: "nodes compute",
    State.SUCCEEDED: "done",
}

_Hear = Callable[[job_pb2.JobStatus], None]
_heard: ContextVar[_Hear | None] = ContextVar("yumen_progress_heard", default=None)


@contextmanager
def heard_by(hear: _Hear) -> Iterator[None]:
    """Tell `hear` too of each state of the jobs that this thread waits for within the block,
    terminal or not."""
    token = _heard.set(hear)
    try:
        yield
    finally:
        _heard.reset(token)


class JobProgress:
    """Shows a job's state on standard error where that is a terminal.

        with JobProgress("query") as progress:
            progress.update(status)

    Silent in a notebook, a pipe or a service. The line is gone when the block ends, so what a
    program prints stays as it was.
    """

    def __init__(self, title: str, *, stream: TextIO | None = None) -> None:
        self._title = title
        self._stream = stream or sys.stderr
        self._progress: Progress | None = None

    def __enter__(self) -> JobProgress:
        if self._stream.isatty():
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=Console(file=self._stream),
                transient=True,
            )
            self._progress.add_task(_plain_markup(self._title))
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def update(self, status: job_pb2.JobStatus) -> None:
        """Show `status`. Raises `PeerError` for a state that this version does not know."""
        hear = _heard.get()
        if hear is not None:
            hear(status)
        self.say(f"{self._title}: {describe(status)}")

    def say(self, line: str) -> None:
        """Show `line` instead of a job's state, such as "decrypting"."""
        if self._progress is not None:
            task = self._progress.task_ids[0]
            self._progress.update(task, description=_plain_markup(line), refresh=True)


def describe(status: job_pb2.JobStatus) -> str:
    """A job's state in a few words: `nodes compute, 4 accepted, 2 contributed of 4`."""
    state = state_of(status)
    if state is State.AWAITING_APPROVAL:
        return approval_line(status)
    words = [_WORDS.get(state, state.value.replace("_", " "))]
    steps = [node.step for node in status.nodes]
    accepted = sum(step in _SAID_YES for step in steps)
    if state in (State.DECIDING, State.RUNNING):
        words.append(f"{accepted} of {len(steps)} accepted")
    if status.method and state is State.RUNNING:
        words.append(f"{status.round}, secure sum {status.run + 1}")
    if state is State.RUNNING:
        words.append(f"{steps.count(Step.CONTRIBUTED)} of {accepted} contributed")
    waiting = [node.node for node in status.nodes if node.step == Step.AWAITING]
    if waiting:
        nodes = ", ".join(map(short_name, waiting))
        words.append(f"its code waits for approval at {counted(len(waiting), 'node')}: {nodes}")
    denied = steps.count(Step.DENIED)
    if denied:
        words.append(f"{denied} refused")
    return ", ".join(words)


def approval_line(status: job_pb2.JobStatus) -> str:
    """What a job that waits for people shows, what matters most first, as a terminal cuts the end:
    `waits until 2026-11-23 13:00 for approval at 2 nodes: a, b`. The time is local."""
    waiting = [short_name(node.node) for node in status.nodes if node.step == Step.AWAITING]
    until = datetime.fromtimestamp(status.deadline_ms / 1000)
    line = f"waits until {until:%Y-%m-%d %H:%M} for approval at {counted(len(waiting), 'node')}"
    denied = sum(node.step == Step.DENIED for node in status.nodes)
    return f"{line}: {', '.join(waiting)}" + (f", {denied} refused" if denied else "")


def _plain_markup(line: str) -> str:
    """`line` so that rich shows it as it is: no colours, no control characters from a peer."""
    return Text(safe(line)).markup
