"""A training's progress: one report a run, and a line of it on a terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from yumen_core.training.records import Action, Config, Records

from yumen.display import counted
from yumen.progress import JobProgress
from yumen.training.aggregate import Aggregate, Rounds

_ROUND_SETTING = "server-round"
_LOSS, _ACCURACY = "loss", ("accuracy", "acc")


@dataclass(frozen=True)
class RoundReport:
    """One finished run.

    `round` counts from 1 (0 for what comes before the first training); `metrics` are the weighted
    means over the nodes; `examples` and `nodes` stand behind them; `seconds` is its duration, 0
    for one that was read from a checkpoint; `left_s` the time left, where it can be told; `lost`
    who dropped out (SPIFFE ids); `clipped` the nodes whose change was clipped to the norm; `asked`
    how many took part, of whom `nodes` count.
    """

    round: int
    action: Action
    metrics: Mapping[str, float]
    examples: int
    nodes: int
    seconds: float
    left_s: float | None = None
    replayed: bool = False
    lost: tuple[str, ...] = ()
    clipped: int = 0
    asked: int = 0

    def __str__(self) -> str:
        shown = _shown(self.metrics)
        words = [f"round {self.round} {self.action.value}", *shown, counted(self.nodes, "node")]
        if self.left_s is not None:
            words.append(f"{format_left(self.left_s)} left")
        return ", ".join(words)


class ReportedRounds:
    """`rounds`, with a report to `on_report` after each run.

    `total` tells the number of training rounds, where it is known, and `replayed` whether the last
    answer came from a checkpoint.
    """

    def __init__(
        self,
        rounds: Rounds,
        on_report: Callable[[RoundReport, Aggregate], None],
        *,
        total: Callable[[], int | None],
        replayed: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rounds = rounds
        self._on_report = on_report
        self._replayed = replayed
        self._clock = clock
        self._done: dict[Action, int] = dict.fromkeys(Action, 0)
        self._live: dict[Action, list[float]] = {action: [] for action in Action}
        self._total = total

    @property
    def participants(self) -> tuple[str, ...]:
        return self._rounds.participants

    def run(self, action: Action, records: Records) -> Aggregate:
        started = self._clock()
        aggregate = self._rounds.run(action, records)
        replayed = self._replayed()
        seconds = 0.0 if replayed else self._clock() - started
        self._done[action] += 1
        if not replayed:
            self._live[action].append(seconds)
        report = RoundReport(
            round=_round_of(records, self._done[Action.TRAIN]),
            action=action,
            metrics=dict(aggregate.metrics),
            examples=aggregate.examples,
            nodes=aggregate.nodes,
            seconds=seconds,
            left_s=self._left(),
            replayed=replayed,
            lost=tuple(exclusion.node for exclusion in aggregate.lost),
            clipped=aggregate.clipped,
            asked=len(aggregate.participants),
        )
        self._on_report(report, aggregate)
        return aggregate

    def _left(self) -> float | None:
        """Per action that has run, the mean of its live runs times the rounds it has to go. The
        first live run of several, in which nodes start up, does not count."""
        total = self._total()
        if total is None:
            return None
        left = 0.0
        for action in (Action.TRAIN, Action.EVALUATE):
            if not self._done[action]:
                continue
            if not self._live[action]:
                return None
            counting = self._live[action][1:] or self._live[action]
            mean = sum(counting) / len(counting)
            left += mean * max(total - self._done[action], 0)
        return left


class TrainingProgress(JobProgress):
    """One line on a terminal: `training: round 3 of 10, loss 0.412, 00:41 left`."""

    def report(self, report: RoundReport, total: int | None) -> None:
        self.say(f"training: {describe(report, total)}")


def describe(report: RoundReport, total: int | None) -> str:
    """A report in a few words, for a terminal."""
    words = [f"round {report.round}" + (f" of {total}" if total else "")]
    if report.action is not Action.TRAIN:
        words[0] += f", {report.action.value}"
    words += _shown(report.metrics)
    if report.left_s is not None:
        words.append(f"{format_left(report.left_s)} left")
    return ", ".join(words)


def _shown(metrics: Mapping[str, float]) -> list[str]:
    """The losses, whatever comes before the word, then the accuracies."""
    losses = sorted(name for name in metrics if name.lower().endswith(_LOSS))
    rest = sorted(name for name in metrics if name.lower().endswith(_ACCURACY))
    return [f"{name} {metrics[name]:.4g}" for name in (*losses, *rest)]


def format_left(seconds: float) -> str:
    """`00:41`, `12:05`, `3:02:11`; a started second counts whole."""
    whole = math.ceil(seconds)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute:02d}:{second:02d}"


def _round_of(records: Records, trained: int) -> int:
    """The round as Flower's strategies write it into the settings, else as it is counted."""
    for record in records.values():
        if isinstance(record, Config):
            found = record.scalars.get(_ROUND_SETTING)
            if isinstance(found, int) and not isinstance(found, bool):
                return found
    return trained
