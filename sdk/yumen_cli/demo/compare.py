"""Whether the federation's answer is the pooled truth, value by value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yumen_cli.demo.questions import MEASURES, Question
from yumen_cli.demo.truth import Truth

if TYPE_CHECKING:
    from yumen.result import Result

TOLERANCE = 1e-9


@dataclass(frozen=True)
class Line:
    """One group: the decrypted answer and the truth by measure (None = held back), and how many
    nodes stand behind each value of the answer."""

    group: str
    answer: dict[str, float | None]
    truth: dict[str, float | None]
    nodes: dict[str, int]


@dataclass(frozen=True)
class Comparison:
    """All groups of one question. `difference` is the largest relative one; `faults` says in
    words what is not equal and is empty where the answer is the truth."""

    question: Question
    lines: tuple[Line, ...]
    difference: float
    faults: tuple[str, ...]


def compare(question: Question, result: Result, truth: Truth) -> Comparison:
    """Compare groups, values, what is held back, and the number of nodes behind each row."""
    rows = {str(row[question.key]): row for row in result}
    faults: list[str] = []
    if set(rows) != set(truth.groups):
        faults.append(f"expected the groups {sorted(truth.groups)}, got {sorted(rows)}")
    lines: list[Line] = []
    largest = 0.0
    behind = _nodes_behind(result)
    for place, (group, row) in enumerate(rows.items()):
        expected = truth.groups.get(group)
        if expected is None:
            continue
        answer = {name: _number(row[name]) for name in MEASURES}
        wanted = {name: expected[name].value for name in MEASURES}
        for name in MEASURES:
            gap = relative_difference(answer[name], wanted[name])
            largest = max(largest, gap)
            if gap > TOLERANCE:
                faults.append(f"{name} of {group}: expected {wanted[name]}, got {answer[name]}")
            nodes = behind[place].get(name)
            if nodes is not None and nodes != expected[name].nodes:
                faults.append(
                    f"{name} of {group}: expected {expected[name].nodes} nodes, got {nodes}"
                )
        counts = {name: expected[name].nodes for name in MEASURES}
        lines.append(Line(group, answer, wanted, counts))
        if row["_nodes"] != expected["patients"].nodes:
            faults.append(
                f"nodes of {group}: expected {expected['patients'].nodes}, got {row['_nodes']}"
            )
    return Comparison(question, tuple(lines), largest, tuple(faults))


def relative_difference(answer: float | None, wanted: float | None) -> float:
    """0 where both are held back, infinite where only one is."""
    if answer is None or wanted is None:
        return 0.0 if answer is wanted else math.inf
    return abs(answer - wanted) / max(abs(wanted), 1e-300) if answer != wanted else 0.0


def _nodes_behind(result: Result) -> list[dict[str, int]]:
    if result.measure_nodes is None:
        return [{} for _ in range(len(result))]
    return list(result.measure_nodes.to_pylist())


def _number(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    raise TypeError(f"expected a number in the result, got {type(value).__name__}")
