"""What a job would let out and what it would cost, in words, before it is submitted. Pure.

Everything here follows from what the requester signs: the same shapes from which the nodes derive
what they may send. Nothing depends on a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from yumen_core.jobs.answer import AnswerShape
from yumen_core.jobs.runs import StatisticRound, runs_of_statistic, statistic_rounds
from yumen_core.securesum.suite import sum_bytes, total_slots
from yumen_core.sql import Plan
from yumen_core.sql.describe import name_of
from yumen_core.sql.plan import Function, SumKind
from yumen_core.statistics.kinds import Rule
from yumen_core.training.records import Action
from yumen_core.training.shape import UpdateShape
from yumen_core.training.spec import TrainingSpec

from yumen.display import counted, rounding_notes
from yumen.question import Asked

_SUMS = {
    SumKind.ROWS: "rows",
    SumKind.COUNT: "rows with {0}",
    SumKind.SUM: "sum of {0}",
    SumKind.SQUARES: "sum of {0} squared",
    SumKind.PRODUCTS: "sum of {0} times {1}",
}
_RULES = {
    Rule.WITHHOLD: "thin cells are withheld",
    Rule.REQUIRE: "whole, or not at all",
    Rule.PARTITION: "merged until no cell is thin",
    Rule.SPLITS: "merged until no cell is thin",
    Rule.AGREE: "only where all nodes agree",
}
_MOST_NAMED = 6


@dataclass(frozen=True)
class Preview:
    """`leaves` says in lines what would leave the nodes; `rounds` is the most secure sums of the
    job, `node_bytes` the most bytes of ciphertext that one node would send in all of them, and
    `nodes` how many nodes the job is put to."""

    leaves: tuple[str, ...]
    rounds: int
    node_bytes: int
    nodes: int

    @property
    def total_bytes(self) -> int:
        """The most bytes of ciphertext of all nodes together."""
        return self.node_bytes * self.nodes


def preview(asked: Asked) -> Preview:
    """What `asked` would let out. Raises `CallError` for a statistic or a training whose rounds
    cannot be, as its submission would."""
    if asked.training is not None:
        return _of_training(asked, asked.training)
    if isinstance(asked.plan, Plan):
        return _of_query(asked, asked.plan)
    assert asked.statistic is not None
    rounds = statistic_rounds(asked.statistic, asked.plan)
    sent = sum(
        shape.at_most * sum_bytes(asked.suite, shape.answer.slots)
        for shape in runs_of_statistic(rounds, asked.privacy).shapes
        if isinstance(shape.answer, AnswerShape)
    )
    lines = tuple(_round_line(entry, noisy=asked.privacy is not None) for entry in rounds)
    lines = (*lines, *rounding_notes(asked.round_to))
    return Preview(lines, sum(e.named.at_most for e in rounds), sent, len(asked.nodes))


def bytes_text(size: int) -> str:
    """A size for people, such as `128 KiB`."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size} {unit}"
        size = -(-size // 1024)
    return f"{size} GiB"


def _of_query(asked: Asked, plan: Plan) -> Preview:
    names = [name_of(argument, plan.keys, ()) for argument in plan.arguments]
    sums = []
    for value in plan.layout.values:
        of = [names[i] for i in (value.argument, value.other) if i is not None]
        sums.append(_SUMS[value.kind].format(*of))
    keys = ", ".join(name_of(key.expr, (), ()) for key in plan.keys)
    groups = f"per group of {keys}" if keys else "over all rows that are asked about"
    lines = [f"{groups}, exact: {_few(dict.fromkeys(sums))}"] if sums else []
    distinct = {
        names[m.arguments[0]]: len(m.supports)
        for m in plan.measures
        if m.function is Function.COUNT_DISTINCT
    }
    lines += [
        f"{groups}: which of the {size} values of {name} have rows enough at nodes enough"
        for name, size in distinct.items()
    ]
    if keys:
        margins = ", totals of ROLLUP included" if plan.layout.folds else ""
        lines.append(f"for up to {counted(plan.layout.cells, 'group')}{margins}")
    lines.append("how many nodes stand behind each value; where too few do, nothing of it")
    sent = sum_bytes(asked.suite, AnswerShape.of_plan(plan).slots)
    told = (*lines, *rounding_notes(asked.round_to))
    return Preview(told, 1, sent, len(asked.nodes))


def _round_line(entry: StatisticRound, *, noisy: bool) -> str:
    layout = entry.layout
    times = f", up to {entry.named.at_most} times" if entry.named.at_most > 1 else ""
    return (
        f"{entry.named.name} ({entry.kind.name}): {counted(len(layout.values), 'sum')} in "
        f"{counted(layout.cells, 'cell')}{times}; "
        + ("every cell is told" if noisy else _RULES[entry.kind.rule])
    )


def _of_training(asked: Asked, training: TrainingSpec) -> Preview:
    sent = 0
    for action, times in training.runs.items():
        shape = UpdateShape.of(training, action, asked.suite, len(asked.nodes))
        sent += times * sum_bytes(asked.suite, total_slots(shape.payload_slots))
    arrays = [f"{t.name} {'x'.join(map(str, t.shape)) or 'number'}" for t in training.arrays]
    lines = []
    if Action.TRAIN in training.runs:
        clipped = "" if training.clip_norm is None else f", clipped to norm {training.clip_norm:g}"
        lines.append(
            f"the mean change of {counted(training.values, 'number')} in "
            f"{counted(len(arrays), 'array')}, exact{clipped}: {_few(arrays)}"
        )
    if training.metrics:
        lines.append(f"weighted means of: {_few(training.metrics)}")
    lines.append("how many examples there are in all, and how many nodes clipped their change")
    runs = ", ".join(f"{action.value} up to {n} times" for action, n in training.runs.items())
    lines.append(f"in each run: {runs}")
    return Preview(tuple(lines), sum(training.runs.values()), sent, len(asked.nodes))


def _few(names: Sequence[str] | dict[str, None]) -> str:
    return ", ".join(_shown(list(names)))


def _shown(names: list[str]) -> Iterator[str]:
    yield from names[:_MOST_NAMED]
    if len(names) > _MOST_NAMED:
        yield f"and {len(names) - _MOST_NAMED} more"
