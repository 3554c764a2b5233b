"""Training as `Federation` calls it: with a strategy here, or with a Flower project's own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yumen_core.errors import CallError, YumenError

from yumen.training import flower
from yumen.training.course import Course, OnReport, RoundsFactory
from yumen.training.journal import Journal
from yumen.training.project import (
    FlowerApp,
    Setting,
    load_server_app,
    modules_of,
    with_overrides,
)
from yumen.training.result import TrainingResult

if TYPE_CHECKING:
    from flwr.app import ArrayRecord, MetricRecord
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import Strategy

    EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | Mapping[str, float] | None]

MAX_ROUNDS = 10_000
_NO_TIMEOUT_S = 1e9
_ROUND_SETTINGS = ("num-server-rounds", "num_server_rounds", "num-rounds")


def train(
    rounds_factory: RoundsFactory,
    strategy: Strategy,
    *,
    rounds: int,
    initial: Mapping[str, Any],
    train_config: Mapping[str, Any] | None = None,
    evaluate_config: Mapping[str, Any] | None = None,
    evaluate_fn: EvaluateFn | None = None,
    journal: Journal | None = None,
    on_report: OnReport | None = None,
    cancel: threading.Event | None = None,
) -> TrainingResult:
    """Run `strategy` for `rounds` rounds from `initial` (numpy arrays or PyTorch tensors by name).

    `rounds_factory` is called once, after everything about the strategy was checked, and starts
    the job. With a `journal` every run is kept, and what it holds is not asked again. `on_report`
    hears of each finished run.

    Raises `CallError` (`strategy`) for a strategy that needs single updates, (`training`) for a
    model or a reply that does not fit, (`cancelled`); `StateError` where a resumed training asks
    for something else; and what the runs raise.
    """
    flower.require()
    from flwr.app import ConfigRecord

    from yumen.training.convert import arrays_of, initial_arrays
    from yumen.training.strategies import check_message_strategy, check_strategy

    check_rounds(rounds)
    check_message_strategy(strategy)
    check_strategy(strategy)
    arrays = initial_arrays(initial)
    course = Course(rounds_factory, journal=journal, on_report=on_report, cancel=cancel)
    course.expect(rounds, shown=True)
    with course.running() as grid, _flower_errors():
        grid.use(strategy)
        ended = strategy.start(
            grid,
            arrays,
            num_rounds=rounds,
            timeout=_NO_TIMEOUT_S,
            train_config=ConfigRecord(dict(train_config or {})),
            evaluate_config=ConfigRecord(dict(evaluate_config or {})),
            evaluate_fn=_as_metrics(evaluate_fn),
        )
    return course.result(
        arrays_of(ended.arrays),
        strategy=type(strategy).__name__,
        server_metrics=_plain_metrics(ended.evaluate_metrics_serverapp),
    )


def run_app(
    folder: Path,
    app: FlowerApp,
    rounds_factory: RoundsFactory,
    *,
    run_config: Mapping[str, Setting] | None = None,
    journal: Journal | None = None,
    on_report: OnReport | None = None,
    cancel: threading.Event | None = None,
) -> TrainingResult:
    """Run the ServerApp of the Flower project in `folder`, as it is, in this process.

    `run_config` overrides settings of the project. What the app writes, such as a saved model,
    goes to the working directory. The final arrays are those of its strategy's result, or for an
    app with a loop of its own those it evaluated last, or the last mean.

    Raises `CallError`: `bundle` where the app does not import, `strategy` where its strategy needs
    single updates or samples nodes, `training` for an error of the app itself; and what `train`
    raises.
    """
    flower.require()
    from flwr.app import Context, RecordDict

    from yumen.training.convert import arrays_of
    from yumen.training.legacy import LegacyApp
    from yumen.training.watch import watching

    settings = with_overrides(app.run_config, run_config or {})
    course = Course(rounds_factory, journal=journal, on_report=on_report, cancel=cancel)
    course.expect(rounds_setting(settings))
    with modules_of(folder), course.running() as grid, watching() as seen:
        server_app = load_server_app(app.serverapp)
        legacy = LegacyApp(server_app, course) if server_app._main is None else None
        context = Context(
            run_id=grid.run.run_id,
            node_id=1,
            node_config={},
            state=RecordDict(),
            run_config=settings,
        )

        def started(strategy: Strategy, rounds: int) -> None:
            course.expect(rounds, shown=True)
            grid.use(strategy)

        seen.on_start, seen.on_end = started, lambda: grid.use(None)
        _call_app(server_app, grid, context)
    if legacy is not None:
        return course.result(legacy.arrays(), strategy=legacy.strategy)
    ended = seen.result
    return course.result(
        None if ended is None else arrays_of(ended.arrays),
        strategy=type(seen.strategy).__name__ if seen.strategy is not None else "",
        server_metrics={} if ended is None else _plain_metrics(ended.evaluate_metrics_serverapp),
    )


def check_rounds(rounds: int) -> None:
    """Raise `CallError` (`argument`) for a number of rounds that cannot be."""
    if isinstance(rounds, bool) or not isinstance(rounds, int) or not 1 <= rounds <= MAX_ROUNDS:
        whole = isinstance(rounds, int) and not isinstance(rounds, bool)
        kind = "" if whole else f" of type `{type(rounds).__name__}`"
        raise CallError(
            "argument",
            f"expected rounds as a whole number from 1 to {MAX_ROUNDS}, got `{rounds}`{kind}",
        )


def _call_app(app: ServerApp, grid: Any, context: Any) -> None:
    try:
        app(grid, context)
    except YumenError:
        raise
    except (Exception, SystemExit) as error:  # the caller's own code: whatever it raises
        if grid.fault is not None:
            raise grid.fault from None
        raise CallError(
            "training",
            f"expected the server app to end well, got `{type(error).__name__}`: {error}",
            remedy="correct the server app",
        ) from error


@contextmanager
def _flower_errors() -> Iterator[None]:
    """What Flower's strategies say of a reply that does not fit, as our error."""
    from flwr.app.exception import AppExitException

    try:
        yield
    except AppExitException as error:
        raise CallError(
            "training",
            f"expected replies that the strategy can read, got `{type(error).__name__}`: {error}",
        ) from error


def _as_metrics(evaluate_fn: EvaluateFn | None) -> Any:
    """`evaluate_fn` for Flower, with a plain dict as its answer too."""
    if evaluate_fn is None:
        return None
    from flwr.app import MetricRecord

    def evaluated(number: int, arrays: ArrayRecord) -> MetricRecord | None:
        found = evaluate_fn(number, arrays)
        if found is None or isinstance(found, MetricRecord):
            return found
        return MetricRecord({name: float(value) for name, value in found.items()})

    return evaluated


def _plain_metrics(records: Mapping[int, Any]) -> dict[int, dict[str, float]]:
    return {
        number: {
            name: float(value) for name, value in record.items() if isinstance(value, int | float)
        }
        for number, record in records.items()
    }


def rounds_setting(settings: Mapping[str, Setting]) -> int | None:
    """How many rounds the app will ask for, by the names that Flower's templates use."""
    for name in _ROUND_SETTINGS:
        found = settings.get(name)
        if isinstance(found, int) and not isinstance(found, bool):
            return found
    return None
