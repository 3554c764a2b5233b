"""A training's runs at one node: rows to a file, the sandbox to work on it, the answer checked.

The update of a run is kept until the next one: a run that was lost with another node is asked again
with the same content, and no work is done twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from yumen_core.disclosure.rules import Flags
from yumen_core.errors import PeerError, StateError
from yumen_core.identity.files import make_private_directory
from yumen_core.jobs.inputs import SignedInput, open_apart
from yumen_core.jobs.runs import RunShape
from yumen_core.rpc.chunks import Joiner
from yumen_core.rpc.v1 import envelope_pb2
from yumen_core.securesum.modulus import Slots
from yumen_core.sql import RowsPlan
from yumen_core.training.privacy import JobNoise, noise_plan
from yumen_core.training.records import Action, parse_input
from yumen_core.training.shape import LocalUpdate, UpdateShape
from yumen_core.training.spec import BundleCode, TrainingSpec
from yumen_core.training.update import checked_update

from yumen_node.datasets import Dataset
from yumen_node.datasets.cell_sets import NO_SETS, PlanSets
from yumen_node.gate import AcceptedJob
from yumen_node.training.noise_keys import NoiseKeys
from yumen_node.training.trainer import Trainer

_LOG = logging.getLogger(__name__)
HeldBack = Callable[[PlanSets], bool]
"""Whether an update worked on these rows must not leave."""
INPUTS_KEPT = 2
"""Whole inputs held of a job: one may come before the run of the one before has begun."""
_SLACK_BYTES = 16 << 20
"""What an input or an answer may have beside the model: settings, metrics, names."""


@dataclass(frozen=True)
class ComputedUpdate:
    """One node's part of a training run; `update` is None where fewer than `threshold` rows stand
    behind it, or rows too near to those of an earlier release, and then it counts for nothing."""

    shape: UpdateShape
    update: LocalUpdate | None
    threshold: int
    flags: Flags
    base: PlanSets = NO_SETS
    """The rows it was worked on, for the guard; none where there is no update."""

    def answer(
        self, shape: RunShape, totals: Flags | None, *, participants: int, min_nodes: int
    ) -> tuple[Slots, int]:
        if totals is None:
            raise ValueError("every run of a training has a support step")
        if int(totals[0, 0]) < min_nodes:
            # Not how many there are: the coordinator reads this too.
            raise StateError(
                "too_few_rows",
                f"expected {min_nodes} nodes with an update from {self.threshold} rows or more, "
                "got fewer",
                remedy="train on more rows or at more nodes; a model that diverges counts as none",
            )
        released = self.shape.released_metrics(totals, min_nodes)
        return self.shape.encode(self.update, self.shape.levels(totals), released), 1


@dataclass
class _Training:
    """What is held for one job."""

    folder: Path
    rows: int = -1
    base: PlanSets = NO_SETS
    joiner: Joiner | None = None
    sealed: dict[bytes, bytes] = field(default_factory=dict)
    content: bytes = b""
    update: LocalUpdate | None = None


class LocalWork:
    """The trainings of one node. Methods are called one at a time for each job."""

    def __init__(
        self,
        me: str,
        folder: Path,
        trainer: Trainer,
        datasets: Mapping[str, Dataset],
        *,
        max_norm: float,
        timeout_s: float,
        check_rows: Callable[[str, bytes], None],
    ) -> None:
        """`folder` holds the rows of open trainings, and nothing else: what a process that was
        killed left there is deleted."""
        self._me = me
        self._folder = folder
        self._trainer = trainer
        self._datasets = datasets
        self._max_norm = max_norm
        self._timeout_s = timeout_s
        self._check_rows = check_rows
        self._held: dict[str, _Training] = {}
        shutil.rmtree(folder, ignore_errors=True)
        make_private_directory(folder)
        self._noise_keys = NoiseKeys(folder.with_name(f"{folder.name}-noise"))

    def receive(self, job: AcceptedJob, chunk: envelope_pb2.Chunk) -> None:
        """A piece of a run's sealed input. Raises `PeerError` (`payload_too_large`, `ciphertext`)
        for pieces that make no input, or a larger one than this training can have."""
        held = self._of(job)
        if chunk.offset == 0:
            held.joiner = None
            while len(held.sealed) >= INPUTS_KEPT:
                held.sealed.pop(next(iter(held.sealed)))
        if held.joiner is None:
            held.joiner = Joiner(limit_bytes=_most_bytes(_training_of(job)), sender="the requester")
        whole = held.joiner.add(chunk)
        if whole is not None:
            held.joiner, held.sealed[chunk.sha256] = None, whole

    def stop(self, job_id: str) -> None:
        """End the job's work at once, also a step that is under way."""
        if job_id in self._held:
            self._trainer.forget(job_id)

    def forget(self, job_id: str) -> None:
        """The job is over: its worker ends and its rows go."""
        self._noise_keys.forget(job_id)
        self._end(job_id)

    def close(self) -> None:
        """End all work; jobs that go on after a restart keep their keys of noise."""
        for job_id in list(self._held):
            self._end(job_id)
        self._trainer.close()

    def _end(self, job_id: str) -> None:
        held = self._held.pop(job_id, None)
        if held is not None:
            self._trainer.forget(job_id)
            shutil.rmtree(held.folder, ignore_errors=True)

    async def run(
        self,
        job: AcceptedJob,
        shape: RunShape,
        inputs: SignedInput | None,
        *,
        held_back: HeldBack | None = None,
    ) -> ComputedUpdate:
        """This node's part of a run; `held_back` is the guard, None with privacy.

        Raises `PeerError` (`sealed`, `input_missing`, `training`) for an input that is not here or
        not good, `StateError` (`training`, `sandbox`, `deadline`, `data_source`) where the work
        cannot be done here or its answer is not acceptable.
        """
        answer = shape.answer
        assert isinstance(answer, UpdateShape)
        threshold = job.asked.threshold(self._me)
        held = self._of(job)
        # Opened first: whether this node misses its input must not depend on its rows.
        plain = self._opened(job, inputs, held)
        rows = await self._rows(job, held)
        if self._held.get(job.job_id) is not held:
            raise StateError("cancelled", "expected a job that goes on, got one that has ended")
        update, flags = None, answer.flags_of(None)
        # Under privacy no choice here is made by the rows: the noisy count takes their place.
        enough = rows >= threshold and not (held_back is not None and held_back(held.base))
        if enough or job.opened.spec.privacy is not None:
            try:
                update = await self._update(job, Action(shape.name), plain, held)
                flags = answer.flags_of(update)
            except StateError as error:
                if error.code != "training" or job.bundle is not None:
                    raise
                # A ready model that fails on these rows counts for nothing, and nobody learns why:
                # the requester chooses weights and levels, and would ask for single rows so.
                _LOG.warning("job %s: this node takes no part in a run: %s", job.job_id, error)
                update = None
        if inputs is not None:
            held.sealed.pop(inputs.apart, None)
        if update is not None and update.examples < threshold:
            update, flags = None, answer.flags_of(None)
        base = NO_SETS if update is None else held.base
        return ComputedUpdate(answer, update, threshold, flags, base)

    async def _update(
        self, job: AcceptedJob, action: Action, plain: bytes, held: _Training
    ) -> LocalUpdate:
        content = hashlib.sha256(action.encode() + b"\x00" + plain).digest()
        if held.update is not None and held.content == content:
            return held.update
        training = _training_of(job)
        asked = parse_input(plain)
        program = training.program if job.bundle is None else job.bundle
        assert not isinstance(program, BundleCode)  # the gate has checked that code came along
        answered = await self._trainer.step(
            job.job_id,
            program,
            held.folder / "rows.parquet",
            action,
            asked,
            timeout_s=float(training.round_timeout_s),
            run_config=training.run_config or {},
            node_number=job.opened.spec.nodes.index(self._me) + 1,
            reply_limit=_most_bytes(training),
            threshold=job.asked.threshold(self._me),
            noise=self._noise(job),
        )
        update = await asyncio.to_thread(
            checked_update,
            training,
            action,
            asked=asked,
            answered=answered,
            max_norm=self._max_norm,
        )
        held.content, held.update = content, update
        return update

    def _noise(self, job: AcceptedJob) -> JobNoise | None:
        privacy = job.opened.spec.privacy
        if privacy is None:
            return None
        return JobNoise(noise_plan(_training_of(job), privacy), self._noise_keys.of(job.job_id))

    def _opened(self, job: AcceptedJob, inputs: SignedInput | None, held: _Training) -> bytes:
        sealed = None if inputs is None else held.sealed.get(inputs.apart)
        if inputs is None or sealed is None:
            raise PeerError("input_missing", "expected the input of the run before it, got none")
        return open_apart(
            inputs,
            sealed,
            job_id=job.job_id,
            spec_digest=job.opened.digest,
            secret=job.secret,
        )

    async def _rows(self, job: AcceptedJob, held: _Training) -> int:
        """How many rows the work has, written to its file once."""
        if held.rows >= 0:
            return held.rows
        plan = job.asked.plan
        assert isinstance(plan, RowsPlan)
        dataset = self._datasets.get(plan.table)
        if dataset is None:
            raise StateError("data_source", f"expected table `{plan.table}`, got none")
        file = held.folder / "rows.parquet"
        rows = await asyncio.to_thread(dataset.parquet, plan, file, timeout_s=self._timeout_s)
        digest = await asyncio.to_thread(lambda: hashlib.sha256(file.read_bytes()).digest())
        self._check_rows(job.job_id, digest)
        if job.opened.spec.privacy is None:
            held.base = await asyncio.to_thread(dataset.row_sets, plan, timeout_s=self._timeout_s)
        held.rows = rows
        return rows

    def _of(self, job: AcceptedJob) -> _Training:
        held = self._held.get(job.job_id)
        if held is None:
            held = _Training(self._folder / job.job_id)
            make_private_directory(held.folder)
            self._held[job.job_id] = held
        return held


def _training_of(job: AcceptedJob) -> TrainingSpec:
    training = job.opened.spec.training
    if training is None:
        raise PeerError("round", "expected an input of a training, got one of another job")
    return training


def _most_bytes(training: TrainingSpec) -> int:
    """Of an input or an answer: the model in the widest type, twice, and what goes with it."""
    return 16 * training.values + _SLACK_BYTES
