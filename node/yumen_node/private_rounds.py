"""A statistic's run with privacy at one node: exact integers that only leave with noise.

No threshold, dominance rule, guard or refusal by rows has a say here: which cells are told, whether
the run fails and how long the answer is follow from what is signed.
"""

from __future__ import annotations

from yumen_core.jobs.runs import StatisticRound
from yumen_core.statistics.private import private_kind
from yumen_core.statistics.rows import Rows

NO_THRESHOLD = 0
"""Subgroups that a statement builds are read however few rows they have."""


def private_integers(entry: StatisticRound, rows: Rows) -> list[list[int]]:
    """[cells][values], each within what its value can hold whatever the rows are."""
    exact = private_kind(entry.kind).integers(rows, entry.named.arguments)
    values = entry.layout.values
    return [
        [_within(one, value.bits, value.signed) for one, value in zip(row, values, strict=True)]
        for row in exact
    ]


def _within(exact: int, bits: int, signed: bool) -> int:
    high = (1 << (bits - 1 if signed else bits)) - 1
    return max(-high - 1 if signed else 0, min(high, exact))
