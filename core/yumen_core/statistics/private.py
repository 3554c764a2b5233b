"""Rounds with privacy: what leaves has noise, and nothing about it hangs on a row.

A kind that has this says by how much one row moves its values, and gives a node's exact integers
without looking at a threshold, a dominance rule or a refusal by rows. All other kinds are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from yumen_core.privacy.budget import Privacy
from yumen_core.privacy.noise import NoisePlan, Summed, plan_noise
from yumen_core.privacy.sensitivity import refuse_statistic
from yumen_core.statistics.kinds import Arguments, RoundKind
from yumen_core.statistics.layout import Layout
from yumen_core.statistics.rows import Rows


@runtime_checkable
class PrivateKind(Protocol):
    """What a kind of round has that may run with privacy. Neighbours: one table has a row more."""

    def moved(self, arguments: Arguments, layout: Layout) -> tuple[Summed, ...]:
        """The most by which one row moves each value of the layout, from what is signed alone."""

    def integers(self, rows: Rows, arguments: Arguments) -> list[list[int]]:
        """One node's exact integers [cells][values]; no rows refuse it. It takes no input."""


def private_kind(kind: RoundKind) -> PrivateKind:
    """Raises `CallError` (`privacy`) for a kind that has no privacy."""
    if not isinstance(kind, PrivateKind):
        raise refuse_statistic(kind.name)
    return kind


def round_noise(
    kind: RoundKind, arguments: Arguments, layout: Layout, privacy: Privacy, runs: int
) -> NoisePlan:
    """The noise of one of the `runs` runs that a job may have at most.

    Raises `CallError` (`privacy`) for a kind without privacy, too many values, or too low a cost.
    """
    moved: Sequence[Summed] = private_kind(kind).moved(arguments, layout)
    return plan_noise(moved, cells=layout.cells, privacy=privacy, runs=runs)
