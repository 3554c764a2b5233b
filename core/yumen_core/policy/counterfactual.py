"""The nearest change of a refused request that would pass.

The idea is Wachter, Mittelstadt and Russell, "Counterfactual explanations without opening the
black box" (2017): ask the decision itself about close neighbours of the request. A neighbour
differs in one thing, so that the answer is something a person can do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from yumen_core.identity.names import Role
from yumen_core.policy.evaluator import Verdict
from yumen_core.policy.request import CODE, GRADES, MAX_REVIEWERS, MODEL, PolicyRequest

MAX_EVALUATIONS = 200
# An evaluation costs time with the columns it is given: fewer are made of a wide statement, so
# that a refused job costs a bounded time too. Never fewer than 20, which leaves room for purposes.
MAX_COLUMNS_TRIED = 20_000
MIN_EVALUATIONS = 20

# Kinds of change in the order in which they are tried; see docs/policies.md.
KINDS = (
    *("reviewers", "purpose", "columns", "nodes", "grouping"),
    *("rounds", "parameters", "suite", "operation"),
)

# The models that can stand in the place of refused code, by kind.
READY_MODELS = ("logistic", "linear", "mlp", "cnn", "tabular")

_BEST_FIRST = ("reviewers", "nodes", "grouping", "rounds", "parameters")

# How many numbers are tried for min_nodes and for participants, and the largest.
_MAX_NODE_NUMBERS = 16
_MAX_SIZES = 16
_MAX_PARTICIPANTS = 10_000


@dataclass(frozen=True)
class Change:
    """One neighbour of the request. The texts are those of `Denial`."""

    kind: str
    request: PolicyRequest
    subject: str
    observed: str
    allowed: str
    remedy: str


class Search:
    """Tries the neighbours of one refused request, each once: 200 in all, fewer of a wide one.

    `evaluate` decides a request; `purposes` and `suites` are the alternatives in order of
    preference; `numbers` the integers the policies compare with.
    """

    def __init__(
        self,
        request: PolicyRequest,
        evaluate: Callable[[PolicyRequest], Verdict],
        *,
        purposes: Sequence[str],
        suites: Sequence[str],
        numbers: frozenset[int],
    ) -> None:
        self._evaluate = evaluate
        affordable = MAX_COLUMNS_TRIED // (len(request.columns) + 1)
        self._left = max(MIN_EVALUATIONS, min(MAX_EVALUATIONS, affordable))
        self._tried: list[tuple[Change, Verdict]] = []
        self._untried = _changes(request, purposes, suites, numbers)
        self.exhausted = False

    @property
    def tried(self) -> int:
        """Evaluations made so far."""
        return len(self._tried)

    def nearest(self, passes: Callable[[Verdict], bool]) -> Change | None:
        """The first change, in the order of `KINDS`, whose verdict `passes`; None where none does.

        All passing changes of that one kind are told together in `observed` and `allowed`.
        """
        passing: list[Change] = []
        for change, verdict in self._verdicts():
            if passing and change.kind != passing[0].kind:
                break
            if passes(verdict):
                passing.append(change)
        return _together(passing) if passing else None

    def _verdicts(self) -> Iterator[tuple[Change, Verdict]]:
        """What was tried before, then the rest, as far as the budget goes."""
        yield from list(self._tried)
        for change in self._untried:
            if self._left == 0:
                self.exhausted = True
                return
            self._left -= 1
            tried = (change, self._evaluate(change.request))
            self._tried.append(tried)
            yield tried


def _together(passing: Sequence[Change]) -> Change:
    first = passing[0]
    # Numbers are tried from the nearest on; grouping has its own best first.
    if len(passing) == 1 or first.kind in _BEST_FIRST:
        return first
    allowed = ", ".join(change.allowed for change in passing)
    if first.kind == "columns":
        names = ", ".join(change.subject.removeprefix("column ") for change in passing)
        return replace(first, subject="columns", allowed=f"all but one of {names}")
    return replace(first, allowed=allowed)


def _changes(
    request: PolicyRequest, purposes: Sequence[str], suites: Sequence[str], numbers: frozenset[int]
) -> Iterator[Change]:
    yield from _reviewer_changes(request, numbers)
    for name in purposes:
        if name != request.purpose:
            other = replace(request, purpose=name)
            words = f"ask with purpose `{name}`"
            yield Change("purpose", other, "purpose", request.purpose, name, words)
    yield from _column_changes(request)
    yield from _node_changes(request, numbers)
    yield from _grouping_changes(request)
    if request.operation == "train":
        yield from _size_changes(request, numbers)
    for name in suites:
        if name != request.suite:
            other = replace(request, suite=name)
            words = f"use the suite `{name}`"
            yield Change("suite", other, "suite", request.suite, name, words)
    if request.operation == "statistic":
        other = replace(request, operation="query", rounds=1)
        words = "ask for one aggregate in SQL, or ask the operator to permit statistics"
        yield Change("operation", other, "operation", "statistic", "query", words)
    if request.program == CODE:
        for name in READY_MODELS:
            other = replace(request, program=MODEL, program_name=name, code_reviewers=0)
            words = "train a ready model, or ask the operator to permit code"
            yield Change("operation", other, "program", "code", f"model `{name}`", words)


def reviewer_numbers(request: PolicyRequest, numbers: frozenset[int]) -> list[int]:
    """More reviewers than have approved the code, upwards: only at a number that some policy
    compares with, or beside it, does a verdict change."""
    steps = {number + step for number in numbers for step in (0, 1)} | {1}
    return sorted(n for n in steps if request.code_reviewers < n <= MAX_REVIEWERS)


def _reviewer_changes(request: PolicyRequest, numbers: frozenset[int]) -> Iterator[Change]:
    """Wait for more reviewers of the node's institution."""
    if request.program != CODE or request.decider.role is not Role.NODE:
        return
    there = str(request.code_reviewers)
    for number in reviewer_numbers(request, numbers)[:_MAX_NODE_NUMBERS]:
        other = replace(request, code_reviewers=number)
        people = "1 person has" if number == 1 else f"{number} people have"
        words = f"wait until {people} approved the code at this node"
        yield Change("reviewers", other, "code reviewers", there, str(number), words)


def _size_changes(request: PolicyRequest, numbers: frozenset[int]) -> Iterator[Change]:
    """Ask for fewer rounds, then for a smaller model: the nearest number that a policy names."""
    steps = sorted({number + step for number in numbers for step in (-1, 0)}, reverse=True)
    for number in [n for n in steps if 0 < n < request.rounds][:_MAX_SIZES]:
        other = replace(request, rounds=number)
        words = f"ask for at most {number} rounds"
        yield Change("rounds", other, "rounds", str(request.rounds), str(number), words)
    for number in [n for n in steps if 0 < n < request.parameters][:_MAX_SIZES]:
        other = replace(request, parameters=number)
        words = f"train a model of at most {number} values"
        observed = str(request.parameters)
        yield Change("parameters", other, "parameters", observed, str(number), words)


def _column_changes(request: PolicyRequest) -> Iterator[Change]:
    """Leave out one column that is no group key, those of the strictest grade first."""
    names = request.columns.keys() - request.group_by - request.group_bands
    for name in sorted(names, key=lambda name: (-GRADES.index(request.columns[name]), name)):
        yield from _without(request, name, "columns", "read", f"leave out column `{name}`")


def _without(
    request: PolicyRequest, name: str, kind: str, observed: str, remedy: str
) -> Iterator[Change]:
    columns = {key: grade for key, grade in request.columns.items() if key != name}
    if not columns and "count" not in request.aggregates:
        return  # nothing would be left to ask
    gone = frozenset({name})
    other = replace(
        request,
        columns=columns,
        filters=request.filters - gone,
        group_by=request.group_by - gone,
        group_bands=request.group_bands - gone,
    )
    yield Change(kind, other, f"column `{name}`", observed, "left out", remedy)


def _node_changes(request: PolicyRequest, numbers: frozenset[int]) -> Iterator[Change]:
    """Raise min_nodes within the participants, then both.

    A verdict changes only at a number that some policy compares with, or beside it.
    """
    steps = sorted({number + step for number in numbers for step in (0, 1)})
    higher = [n for n in steps if request.min_nodes < n <= request.participants]
    for number in higher[:_MAX_NODE_NUMBERS]:
        words = f"set min_nodes to {number}"
        other = replace(request, min_nodes=number)
        observed = str(request.min_nodes)
        yield Change("nodes", other, "min_nodes", observed, str(number), words)
    more = [
        n for n in steps if max(request.participants, request.min_nodes) < n <= _MAX_PARTICIPANTS
    ]
    for number in more[:_MAX_NODE_NUMBERS]:
        words = f"ask {number} nodes and set min_nodes to {number}"
        other = replace(request, participants=number, min_nodes=number)
        observed = str(request.participants)
        yield Change("nodes", other, "participants", observed, str(number), words)


def _grouping_changes(request: PolicyRequest) -> Iterator[Change]:
    """Group one key in bands, then leave one key out."""
    for name in sorted(request.group_by):
        gone = frozenset({name})
        other = replace(
            request, group_by=request.group_by - gone, group_bands=request.group_bands | gone
        )
        words = f"group `{name}` in bands"
        exact = "grouped by exact value"
        yield Change("grouping", other, f"column `{name}`", exact, "grouped in bands", words)
    for name in sorted(request.group_by | request.group_bands):
        observed = "grouped by exact value" if name in request.group_by else "grouped in bands"
        words = f"leave out the group key `{name}`"
        yield from _without(request, name, "grouping", observed, words)


def observed_facts(context: Mapping[str, object], names: Sequence[str]) -> str:
    """The values of the context attributes `names`, for a denial; long sets are cut."""
    if len(names) == 1 and names[0] in context:
        return _shown(context[names[0]])
    return "; ".join(f"{name} {_shown(context[name])}" for name in names if name in context)


def _shown(value: object) -> str:
    if isinstance(value, list):
        shown = ", ".join(f"`{item}`" for item in value[:10])
        more = f" and {len(value) - 10} more" if len(value) > 10 else ""
        return f"{shown}{more}" if value else "none"
    if isinstance(value, dict):  # the one extension value of the context, a datetime
        return str(value["__extn"]["arg"])
    return f"`{value}`" if isinstance(value, str) else str(value).lower()
