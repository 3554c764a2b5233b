"""Local work of all trainings of a node: a worker for each job, a bounded number at work.

Trust line: only the node's own user may read the folder. It holds what each job's code printed,
which may be rows, and while the job lasts the bundle's files.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from yumen_core.canonical import Json
from yumen_core.errors import CallError, StateError
from yumen_core.rpc.v1 import training_pb2
from yumen_core.training.bundle import Bundle
from yumen_core.training.privacy import JobNoise
from yumen_core.training.records import Action, Record, Records, Scalar, to_proto

from yumen_node.training.absent import absent_module
from yumen_node.training.faults import Ended, absent_error, fault_error
from yumen_node.training.launching import (
    BUNDLE_FOLDER,
    OUTPUT_FILE,
    SCRATCH_FOLDER,
    Launching,
    Program,
)
from yumen_node.training.limits import TrainingLimits
from yumen_node.training.probe import probe
from yumen_node.training.process import Worker
from yumen_node.training.reply import malformed, parse_records, parse_reply

Recorder = Callable[[str, str, dict[str, Json]], None]

DEFAULT_REPLY_BYTES = 256 << 20
KEPT_OUTPUTS = 100
_START_REPLY_BYTES = 4_096
_JOB = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass
class _Job:
    """One job's worker, if it runs; `turn` keeps its steps one after another, and `waiting` are
    those that have no place yet. `seen` counts what was recorded of it."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: set[asyncio.Timeout] = field(default_factory=set)
    seen: Counter[str] = field(default_factory=Counter)
    worker: Worker | None = None
    cancelled: bool = False
    forgotten: bool = False


@dataclass(frozen=True)
class _Step:
    """One request; `deadline` is of `time.monotonic`."""

    action: Action
    records: Records
    deadline: float
    reply_limit: int


class Trainer:
    """Answers steps of trainings. Its methods are called from one event loop.

    `record` is told of each job what was stopped and how its worker ended: words of a fixed list
    and powers of ten, each once as it is reached, so that code cannot write there what it likes.
    """

    def __init__(self, limits: TrainingLimits, folder: Path, record: Recorder) -> None:
        self._limits = limits
        self._folder = folder
        self._record = record
        self._jobs: dict[str, _Job] = {}
        self._slots = asyncio.Semaphore(limits.parallel)
        # Threads of a pool live as long as it: a worker dies with the thread that started it.
        self._threads = ThreadPoolExecutor(limits.parallel, thread_name_prefix="training")
        self._fault: StateError | None = None
        self._probed = False
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)

    async def step(
        self,
        job_id: str,
        program: Program,
        data: Path,
        action: Action,
        records: Records,
        *,
        timeout_s: float,
        run_config: Mapping[str, Scalar] | None = None,
        node_number: int = 0,
        reply_limit: int = DEFAULT_REPLY_BYTES,
        threshold: int = 1,
        noise: JobNoise | None = None,
    ) -> dict[str, Record]:
        """What the job's program answers to `records`, as it came from the sandbox: the caller
        checks names, shapes and values.

        The first step starts the job's worker, on the rows in the Parquet file `data`; a later one
        does so again if the worker ended. Jobs take turns; `timeout_s` counts from this call,
        waiting included; `reply_limit` is in bytes; `threshold` is the fewest rows that may stand
        behind a category of a ready model, `noise` that of a private training. Raises
        `StateError`: `training` for what the program did or what this node lacks, `sandbox`
        where it may not run here, `deadline`, `cancelled`
        once the job is forgotten.
        """
        if not _JOB.fullmatch(job_id):
            raise CallError("argument", "expected a job's id of letters, digits, `-` and `_`")
        job = self._jobs.setdefault(job_id, _Job())
        config = dict(run_config or {})
        launching = Launching(job_id, program, data, config, node_number, threshold, noise)
        step = _Step(action, records, time.monotonic() + timeout_s, reply_limit)
        async with self._turn(job, timeout_s):
            try:
                return await self._in_thread(job, launching, step)
            except StateError:
                if job.forgotten:
                    raise _cancelled() from None
                raise
            finally:
                self._settle(job_id, job)

    def forget(self, job_id: str) -> None:
        """End the job's worker and remove its files, but for what its code printed. Its steps that
        are under way or wait end at once, with `StateError` (`cancelled`)."""
        job = self._jobs.pop(job_id, None)
        if job is None:
            return
        job.forgotten = True
        if job.worker is not None:
            job.worker.end(Ended.CLOSED)
        for waiting in job.waiting:
            if not waiting.expired():
                waiting.reschedule(0.0)
        if not job.turn.locked():
            self._settle(job_id, job)
        for name in (BUNDLE_FOLDER, SCRATCH_FOLDER):
            shutil.rmtree(self._folder / job_id / name, ignore_errors=True)
        self._drop_old_outputs()

    def close(self) -> None:
        """End all workers."""
        for job_id in list(self._jobs):
            self.forget(job_id)
        self._threads.shutdown(wait=True)

    @asynccontextmanager
    async def _turn(self, job: _Job, timeout_s: float) -> AsyncIterator[None]:
        """A place among those at work. A job waits with one step at a time, and places go in the
        order of asking, so no job's many steps keep out another's."""
        try:
            async with asyncio.timeout(timeout_s) as waiting:
                job.waiting.add(waiting)
                try:
                    async with job.turn, self._slots:
                        job.waiting.discard(waiting)
                        waiting.reschedule(None)
                        if job.forgotten:
                            raise _cancelled()
                        yield
                finally:
                    job.waiting.discard(waiting)
        except TimeoutError:
            if job.forgotten:
                raise _cancelled() from None
            raise Ended.DEADLINE.error(self._limits) from None

    async def _in_thread(self, job: _Job, launching: Launching, step: _Step) -> dict[str, Record]:
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, self._work, job, launching, step)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            job.cancelled = True
            if job.worker is not None:
                job.worker.end(Ended.CANCELLED)
            await asyncio.wait([work])
            raise
        finally:
            job.cancelled = False

    def _work(self, job: _Job, launching: Launching, step: _Step) -> dict[str, Record]:
        """One step, in a thread of the pool."""
        request = training_pb2.SandboxRequest()
        request.step.action = step.action.value
        request.step.records.extend(to_proto(step.records))
        if job.worker is None:
            self._start(job, launching, step.deadline)
        message = request.SerializeToString()
        del request
        reply = self._ask(job, message, step.deadline, step.reply_limit)
        match reply.WhichOneof("reply"):
            case "result":
                return parse_records(reply.result)
            case "fault":
                raise self._fault_of(job, reply.fault, step.action)
            case _:
                raise malformed()

    def _start(self, job: _Job, launching: Launching, deadline: float) -> None:
        walled = self._has_walls(launching.program)
        if isinstance(launching.program, Bundle):
            absent = absent_module(launching.program)
            if absent is not None:
                raise absent_error(absent)
        folder = self._folder / launching.job_id
        launch = launching.laid_out(folder, self._limits, walled=walled)
        job.worker = Worker(launch, self._limits)
        reply = self._ask(job, launching.start(walled=walled), deadline, _START_REPLY_BYTES)
        match reply.WhichOneof("reply"):
            case "ready":
                return
            case "fault":
                fault = self._fault_of(job, reply.fault, None)
            case _:
                fault = malformed()
        job.worker.kill(Ended.CLOSED)
        raise fault

    def _ask(
        self, job: _Job, request: bytes, deadline: float, reply_limit: int
    ) -> training_pb2.SandboxReply:
        worker = job.worker
        assert worker is not None
        if job.cancelled or job.forgotten:
            raise Ended.CANCELLED.error(self._limits)
        left = min(deadline - time.monotonic(), self._limits.wall_s)
        return parse_reply(worker.ask(request, reply_limit=reply_limit, timeout_s=left))

    def _fault_of(
        self, job: _Job, fault: training_pb2.SandboxFault, action: Action | None
    ) -> StateError:
        if fault.subject == MemoryError.__name__ and job.worker is not None:
            job.worker.attempts.add(Ended.MEMORY)
        return fault_error(fault, action)

    def _has_walls(self, program: Program) -> bool:
        """Whether the sandbox stands here. Raises `StateError` (`sandbox`) for code of another
        party where it does not; a ready model is the node's own code and runs without."""
        if not self._probed:
            try:
                probe()
            except StateError as fault:
                self._fault = fault
            self._probed = True
        if self._fault is not None and isinstance(program, Bundle):
            raise self._fault
        return self._fault is None

    def _settle(self, job_id: str, job: _Job) -> None:
        """Record what happened since the last step; let go of a worker that is no more."""
        worker = job.worker
        if worker is None:
            return
        for what, times in sorted(worker.attempts.taken().items()):
            reached = _reached(job, what, times)
            if reached:
                self._record(job_id, "stopped", {"what": what, "times": reached})
        if job.forgotten or worker.ended is not None:
            worker.close()
            job.worker = None
            if worker.ended is not Ended.CLOSED:
                self._record(job_id, "ended", {"why": str(worker.ended)})
            reached = _reached(job, "printed", worker.printed)
            if reached:
                self._record(job_id, "printed", {"bytes": reached})

    def _drop_old_outputs(self) -> None:
        """Keep what the last jobs printed."""
        folders = [entry.parent for entry in self._folder.glob(f"*/{OUTPUT_FILE}")]
        old = sorted((f for f in folders if f.name not in self._jobs), key=_age)[:-KEPT_OUTPUTS]
        for folder in old:
            shutil.rmtree(folder, ignore_errors=True)


def _reached(job: _Job, what: str, more: int) -> int:
    """The power of ten that the job's count passes with `more`; 0 where it passes none."""
    before = len(str(job.seen[what])) if job.seen[what] else 0
    job.seen[what] += more
    after = len(str(job.seen[what])) if job.seen[what] else 0
    return 10 ** (after - 1) if after > before else 0


def _cancelled() -> StateError:
    return StateError("cancelled", "expected a job that goes on, got one that has ended")


def _age(folder: Path) -> float:
    return folder.stat().st_mtime
