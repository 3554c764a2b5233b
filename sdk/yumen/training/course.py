"""The course of one training: the layers between a strategy's grid and the job's runs."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from yumen_core.errors import CallError
from yumen_core.training.records import Action, Arrays, Records, Values

from yumen.training import flower, randomness
from yumen.training.aggregate import Aggregate, Rounds, TrainingJob
from yumen.training.journal import Journal
from yumen.training.progress import ReportedRounds, RoundReport, TrainingProgress
from yumen.training.replay import JournalledRounds
from yumen.training.result import TrainingResult
from yumen.training.running import cancelled

if TYPE_CHECKING:
    from yumen.training.grid import YumenGrid

_COLLECT_BYTES = 64 << 20

OnReport = Callable[[RoundReport], None]
RoundsFactory = Callable[[], TrainingJob]


class Course:
    """Grid, reports, checkpoint and job, one above the other.

        with Course(factory, journal=journal).running() as grid:
            strategy.start(grid, ...)

    A run passes through all four; what they saw on the way becomes the result. `cancel` set ends
    the training before its next run.
    """

    def __init__(
        self,
        rounds_factory: RoundsFactory,
        *,
        journal: Journal | None = None,
        on_report: OnReport | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        self._factory = rounds_factory
        self._journal = journal
        self._on_report = on_report
        self._cancel = cancel or threading.Event()
        self._started = time.monotonic()
        self._reports: list[RoundReport] = []
        self._live: TrainingJob | None = None
        self._grid: YumenGrid | None = None
        self._last: tuple[str, ...] = ()
        self._trained: Mapping[str, Values] = {}
        self._inner: Rounds | None = None
        self._progress = TrainingProgress("training")
        self._total: int | None = None
        self._shown = False
        self._uncollected = 0

    def expect(self, rounds: int | None, *, shown: bool = False) -> None:
        """How many training rounds will be asked for, where that is known. With `shown` the final
        arrays will be given to `result`, so that none are kept here."""
        self._total = rounds
        self._shown = shown

    @contextmanager
    def running(self) -> Iterator[YumenGrid]:
        """Flower quiet, the random state that of the training's start, a line of progress.

        A fault of the grid that Flower swallowed is raised at the end. Raises `StateError` where
        the training in the journal has ended.
        """
        flower.require()
        from yumen.training.grid import YumenGrid

        self._check_journal()
        with ExitStack() as stack:
            stack.enter_context(flower.quiet())
            stack.enter_context(self._randomness())
            stack.enter_context(self._progress)
            grid = YumenGrid(self._layers())
            self._grid = grid
            stack.callback(grid.close)
            stack.callback(self._abandon)
            yield grid
            if grid.fault is not None:
                raise grid.fault
            self._complete()

    def result(
        self,
        arrays: Mapping[str, Values] | None,
        *,
        strategy: str = "",
        server_metrics: Mapping[int, Mapping[str, float]] | None = None,
    ) -> TrainingResult:
        """The result, with `arrays` as the final ones or, where the strategy did not show them,
        those of the last evaluation, or the last mean.

        Raises `CallError` (`training`) where the app asked for no run at all.
        """
        if not self._reports:
            raise CallError("training", "expected the app to ask for a round, got none")
        final = arrays or self._trained
        if self._grid is not None:
            final = self._grid.in_first_types(final)
        assert self._live is not None
        earlier = self._journal.jobs if self._journal is not None else ()
        return TrainingResult(
            final,
            reports=self._reports,
            server_metrics=server_metrics,
            strategy=strategy,
            participants=self._last,
            excluded=self._live.excluded,
            job_ids=tuple(dict.fromkeys((*earlier, *self._live.job_ids))),
            elapsed_s=time.monotonic() - self._started,
            notes=tuple(self._journal.notes) if self._journal is not None else (),
        )

    def run(self, action: Action, records: Records) -> Aggregate:
        """The layer between reports and job: cancels, and keeps what the result needs."""
        if self._cancel.is_set():
            jobs = () if self._live is None else self._live.job_ids
            raise cancelled(jobs[-1] if jobs else None)
        assert self._inner is not None
        assert self._live is not None
        self._collect(records)
        try:
            aggregate = self._inner.run(action, records)
        finally:
            if self._journal is not None:
                self._journal.add_jobs(self._live.job_ids)
        self._last = aggregate.participants
        if self._shown:
            return aggregate
        if action is Action.TRAIN:
            self._trained = aggregate.tensors
        elif action is Action.EVALUATE and self._trained:
            self._trained = _arrays_like(records, self._trained)
        return aggregate

    def _collect(self, records: Records) -> None:
        """Free the models of earlier rounds before a run needs the memory.

        Flower's records refer to themselves in cycles, which Python frees by the number of its
        objects, however large these are: models of many rounds would lie about.
        """
        self._uncollected += sum(
            values.nbytes
            for record in records.values()
            if isinstance(record, Arrays)
            for values in record.tensors.values()
        )
        if self._uncollected >= _COLLECT_BYTES:
            self._uncollected = 0
            gc.collect()

    @property
    def participants(self) -> tuple[str, ...]:
        assert self._inner is not None
        return self._inner.participants

    def _complete(self) -> None:
        assert self._live is not None
        self._live.complete()
        if self._journal is not None and self._reports:
            self._journal.finish()

    def _abandon(self) -> None:
        if self._live is not None:
            self._live.abandon()

    def _layers(self) -> Rounds:
        self._live = self._inner = self._factory()
        self._live.hear(self._progress.update)
        if self._journal is not None:
            self._inner = JournalledRounds(self._live, self._journal)
        return ReportedRounds(self, self._heard, total=lambda: self._total, replayed=self._replayed)

    def _replayed(self) -> bool:
        return isinstance(self._inner, JournalledRounds) and self._inner.replayed

    def _heard(self, report: RoundReport, _: Aggregate) -> None:
        self._reports.append(report)
        self._progress.report(report, self._total)
        if self._on_report is not None:
            self._on_report(report)

    def _check_journal(self) -> None:
        if self._journal is not None and self._journal.finished:
            raise CallError(
                "training",
                f"expected a training that is not over, got the finished one in "
                f"`{self._journal.folder}`",
                remedy="start a new training",
            )

    @contextmanager
    def _randomness(self) -> Iterator[None]:
        if self._journal is not None and self._journal.randomness is None:
            self._journal.set_randomness(randomness.capture())
        state = self._journal.randomness if self._journal is not None else None
        with randomness.restored(state):
            yield


def _arrays_like(records: Records, known: Mapping[str, Values]) -> Mapping[str, Values]:
    """The arrays among `records` that have the names of `known`, or `known` itself."""
    for record in records.values():
        if isinstance(record, Arrays) and record.tensors.keys() == known.keys():
            return record.tensors
    return known
