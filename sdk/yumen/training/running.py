"""A training that runs beside its caller, read round by round."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

from yumen_core.errors import CallError, YumenError

from yumen.training.progress import RoundReport
from yumen.training.result import TrainingResult

Work = Callable[[Callable[[RoundReport], None], threading.Event], TrainingResult]


def cancelled(job_id: str | None = None) -> CallError:
    """What a cancelled training raises."""
    return CallError(
        "cancelled",
        "expected a training that goes on, got one that was cancelled",
        remedy=f"fed.resume('{job_id}') goes on" if job_id else "start it again: it had no job",
    )


class TrainingRun:
    """Iterate over it for one report a run; `result()` at the end.

        with fed.start_training(...) as run:
            for report in run:
                print(report)
            model = run.result().state_dict()

    The training runs in a thread of its own. It is cancelled before its next run where the
    iteration or the `with` block is left early, or by `cancel()`. What the training raises is
    raised by the iteration and by `result()`.

    `work` does the training: it is given what hears of each run, and the event that cancels it.
    `on_cancel` may end a run that is under way; `job_id` tells the job.
    """

    def __init__(
        self,
        work: Work,
        *,
        on_cancel: Callable[[], None] | None = None,
        job_id: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._job_id = job_id
        self._reports: queue.SimpleQueue[RoundReport | None] = queue.SimpleQueue()
        self._cancel = threading.Event()
        self._on_cancel = on_cancel
        self._result: TrainingResult | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._train, args=(work,), name="yumen-training", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> TrainingRun:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.cancel()

    def __iter__(self) -> Iterator[RoundReport]:
        """The reports not read yet, as they come."""
        ended = False
        try:
            while (report := self._reports.get()) is not None:
                yield report
            ended = True
        finally:
            if ended:
                self._reports.put(None)  # a second iteration ends at once
            else:
                self.cancel()
        self._raise()

    @property
    def job_id(self) -> str | None:
        """The id of its job, which `Federation.resume` takes; None until it is submitted."""
        return self._job_id()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def cancel(self) -> None:
        """End the training before its next run; one that has ended stays as it is."""
        if not self._thread.is_alive() or self._cancel.is_set():
            return
        self._cancel.set()
        if self._on_cancel is not None:
            self._on_cancel()

    def result(self, timeout_s: float | None = None) -> TrainingResult:
        """Wait for the end. Raises what the training raised, and `CallError` (`deadline`) where it
        takes longer than `timeout_s`; it then goes on."""
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise CallError(
                "deadline", f"expected the training to end within {timeout_s:g} s, got no end yet"
            )
        self._raise()
        assert self._result is not None
        return self._result

    def _train(self, work: Work) -> None:
        try:
            self._result = work(self._reports.put, self._cancel)
        except YumenError as error:
            # However the cancelling reached it, by a run refused or by a job that ended.
            self._error = cancelled(self.job_id) if self._cancel.is_set() else error
            if self._error is not error:
                self._error.__notes__ = list(getattr(error, "__notes__", ()))
        except BaseException as error:  # noqa: BLE001  the thread's last frame: the caller raises it
            self._error = error
        finally:
            self._reports.put(None)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
