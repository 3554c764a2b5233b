"""The secure sums of a job, named beforehand: which run may follow which, and what each looks like.

A query is one run of one round. A statistic names rounds in order; each may run up to its number of
times, with an input of the requester's each time, and any but the first may be left out. A training
has a round for each action, and its requester decides on their order. All parties derive the same
rounds from the signed job, and coordinator and nodes refuse any other run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from yumen_core import canonical
from yumen_core.canonical import Json
from yumen_core.errors import CallError, PeerError
from yumen_core.jobs.answer import AnswerShape
from yumen_core.jobs.spec import JobSpec
from yumen_core.privacy.budget import Privacy
from yumen_core.privacy.noise import plan_noise
from yumen_core.privacy.sensitivity import of_plan
from yumen_core.sql import Plan, RowsPlan
from yumen_core.statistics.kinds import RoundKind, Rule
from yumen_core.statistics.layout import Layout
from yumen_core.statistics.private import round_noise
from yumen_core.statistics.registry import kind_of
from yumen_core.statistics.release import flags_width
from yumen_core.statistics.rows import Variable
from yumen_core.statistics.statistic import Round as NamedRound
from yumen_core.statistics.statistic import Statistic
from yumen_core.training.privacy import noise_plan
from yumen_core.training.records import Action
from yumen_core.training.shape import UpdateShape

QUERY_ROUND = "query"
_ACTIONS = [action.value for action in Action]
MAX_COLUMNS = 400
"""Of all designs of one job: a node keeps each as a matrix until the job ends."""


@dataclass(frozen=True)
class StatisticRound:
    """A statistic's round with its kind and shape."""

    named: NamedRound
    kind: RoundKind
    layout: Layout


@dataclass(frozen=True)
class RunShape:
    """What one run of a round carries. `flags` are the flags of a cell in the support step; with
    `settles` the first run's support step holds for the later runs of the round."""

    name: str
    at_most: int
    answer: AnswerShape | UpdateShape
    flags: int
    settles: bool = False

    def needs_support(self, earlier: Sequence[str]) -> bool:
        """Whether a run after the runs `earlier` (names of rounds) begins with a support step."""
        return not (self.settles and self.name in earlier)


@dataclass(frozen=True)
class Runs:
    """The rounds of one job, in order unless they are `free`: the requester then decides on the
    order, and the first run has an input too, with which it starts."""

    shapes: tuple[RunShape, ...]
    free: bool = False

    def next(self, earlier: Sequence[str], name: str) -> RunShape:
        """The shape of a run of `name` after the runs `earlier`.

        Raises `PeerError` (`round`) where the job does not name it, or not here, or not again.
        """
        names = [shape.name for shape in self.shapes]
        if name not in names:
            raise PeerError("round", f"expected a round that the job names, got `{name[:40]}`")
        at = names.index(name)
        if not self.free and not earlier and at != 0:
            raise PeerError("round", f"expected the job's first round `{names[0]}`, got `{name}`")
        if not self.free and earlier and names.index(earlier[-1]) > at:
            raise PeerError("round", f"expected a round after `{earlier[-1]}`, got `{name}`")
        shape = self.shapes[at]
        if earlier.count(name) >= shape.at_most:
            raise PeerError(
                "round", f"expected at most {shape.at_most} runs of `{name}`, got one more"
            )
        return shape

    @property
    def first(self) -> RunShape:
        return self.shapes[0]

    @property
    def most(self) -> int:
        """The most secure sums of this job."""
        return sum(shape.at_most for shape in self.shapes)


def runs_of_query(plan: Plan, privacy: Privacy | None = None) -> Runs:
    """Raises `CallError` (`privacy`) with privacy, where what one row adds has no bound."""
    answer = AnswerShape.of_plan(plan)
    if privacy is not None:
        noise = plan_noise(of_plan(plan), cells=answer.cells, privacy=privacy)
        answer = answer.with_noise(noise)
    return Runs((RunShape(QUERY_ROUND, 1, answer, flags=plan.layout.flags),))


def statistic_rounds(statistic: Statistic, plan: RowsPlan) -> tuple[StatisticRound, ...]:
    """The rounds with their kinds and shapes. Raises `CallError` (`statistic`) for a kind that is
    not known or arguments that it does not take."""
    variables = {v.name: Variable.of(v) for v in plan.variables}
    rounds: list[StatisticRound] = []
    for named in statistic.rounds:
        kind = kind_of(named.kind)
        if getattr(kind, "once", False) and (
            named.at_most != 1 or any(entry.kind is kind for entry in rounds)
        ):
            raise CallError("statistic", f"expected `{named.kind}` once in a job, got it again")
        rounds.append(StatisticRound(named, kind, kind.layout(named.arguments, variables)))
    designs = {canonical.encode(d): len(d) for e in rounds if (d := _design(e.named)) is not None}
    if sum(designs.values()) > MAX_COLUMNS:
        raise CallError(
            "statistic",
            f"expected at most {MAX_COLUMNS} columns in all designs of a job, got more",
        )
    return tuple(rounds)


def _design(named: NamedRound) -> Sequence[Json] | None:
    design = named.arguments.get("design")
    return design if isinstance(design, list | tuple) else None


def runs_of_statistic(rounds: Sequence[StatisticRound], privacy: Privacy | None = None) -> Runs:
    """With privacy each run that the job names, also one that never comes, has its share of the
    cost. Raises `CallError` (`privacy`) for kinds of rounds that do not run so, and for those that
    run with privacy only."""
    most = sum(entry.named.at_most for entry in rounds)
    return Runs(
        tuple(
            RunShape(
                entry.named.name,
                entry.named.at_most,
                _answer(entry, privacy, most),
                flags=flags_width(entry.kind.rule, entry.layout),
                settles=entry.kind.rule is Rule.REQUIRE,
            )
            for entry in rounds
        )
    )


def _answer(entry: StatisticRound, privacy: Privacy | None, most: int) -> AnswerShape:
    answer = AnswerShape.of_layout(entry.layout)
    if privacy is not None:
        noise = round_noise(entry.kind, entry.named.arguments, entry.layout, privacy, most)
        return answer.with_noise(noise)
    if getattr(entry.kind, "only_private", False):
        raise CallError(
            "privacy",
            f"expected privacy for rounds of `{entry.kind.name}`, got none",
            remedy="ask with privacy=yumen.DP(epsilon=...)",
        )
    return answer


def runs_of_training(spec: JobSpec) -> Runs:
    """The rounds of a training. The order is free: a strategy decides on it as it goes.

    Raises `CallError` (`training`) for one that cannot be as private as the job says.
    """
    training = spec.training
    if training is None:
        raise ValueError("expected a training")
    if spec.privacy is not None:
        noise_plan(training, spec.privacy)
    shapes: list[RunShape] = []
    for action, at_most in training.runs.items():
        answer = UpdateShape.of(training, action, spec.suite, len(spec.participants))
        shapes.append(RunShape(action.value, at_most, answer, flags=answer.flags))
    return Runs(tuple(sorted(shapes, key=lambda shape: _ACTIONS.index(shape.name))), free=True)
