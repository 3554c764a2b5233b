"""What a node computes for one run of a job, before anything of it is released.

A query is one pass over its plan. A statistic reads its rows once and computes run after run over
them; the rows of few jobs are held at a time, and read again where they were let go.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from yumen_core.disclosure import (
    DisclosureRules,
    local_flags,
    margin_flags,
    margin_keep,
    released,
    withhold,
)
from yumen_core.disclosure.rules import Flags, Keep
from yumen_core.errors import StateError
from yumen_core.jobs.answer import AnswerShape
from yumen_core.jobs.runs import RunShape, StatisticRound
from yumen_core.securesum.modulus import Slots
from yumen_core.sql import LocalCells, Plan, RowsPlan
from yumen_core.statistics.kinds import Inputs, Local
from yumen_core.statistics.layout import to_integers
from yumen_core.statistics.release import round_flags, round_keep, withheld
from yumen_core.statistics.rows import Rows

from yumen_node.datasets import Dataset
from yumen_node.gate import AcceptedJob

JOBS_WITH_ROWS = 4
"""Statistics whose rows are held in memory at a time."""


class Computed(Protocol):
    """One node's part of one run: what it flags, and what may leave once all have flagged."""

    @property
    def flags(self) -> Flags:
        """uint8[cells, flags]: what this node says in the support step."""

    def answer(
        self, shape: RunShape, totals: Flags | None, *, participants: int, min_nodes: int
    ) -> tuple[Slots, int]:
        """The payload slots that leave, and in how many cells they tell something. `totals` counts
        all participants' flags; None in a later run of a round that was settled. Raises
        `StateError` (`too_few_rows`) where the rule refuses the run."""


@dataclass(frozen=True)
class ComputedCells:
    """A part whose values are withheld or released cell by cell."""

    flags: Flags

    def answer(
        self, shape: RunShape, totals: Flags | None, *, participants: int, min_nodes: int
    ) -> tuple[Slots, int]:
        keep = self.keep(totals, participants=participants, min_nodes=min_nodes)
        assert isinstance(shape.answer, AnswerShape)
        slots = shape.answer.encode(keep, self.values(keep))
        return slots, int(np.count_nonzero(keep[:, 0]))

    def keep(self, totals: Flags | None, *, participants: int, min_nodes: int) -> Keep:
        """What this node stands behind, bool[cells, supports]."""
        raise NotImplementedError

    def values(self, keep: Keep) -> list[list[int]]:
        """The integers that leave."""
        raise NotImplementedError


@dataclass(frozen=True)
class ComputedQuery(ComputedCells):
    plan: Plan
    cells: LocalCells

    def keep(self, totals: Flags | None, *, participants: int, min_nodes: int) -> Keep:
        if totals is None:
            raise ValueError("a query has one run")
        margins = self.plan.layout.margins
        if margins is None:
            return released(totals, self.flags, min_nodes)
        return margin_keep(
            totals, self.flags, margins, participants=participants, min_nodes=min_nodes
        )

    def values(self, keep: Keep) -> list[list[int]]:
        supports = [value.support for value in self.plan.layout.values]
        return withhold(self.cells.values, supports, keep)


@dataclass(frozen=True)
class ComputedRound(ComputedCells):
    round: StatisticRound
    local: Local

    def keep(self, totals: Flags | None, *, participants: int, min_nodes: int) -> Keep:
        layout = self.round.layout
        if totals is None:
            return np.ones((layout.cells, len(layout.supports)), dtype=np.bool_)
        return round_keep(
            self.round.kind.rule,
            layout,
            totals,
            self.flags,
            participants=participants,
            min_nodes=min_nodes,
        )

    def values(self, keep: Keep) -> list[list[int]]:
        return to_integers(self.round.layout, withheld(self.round.layout, self.local, keep))


class Computing:
    """Computes runs over one node's tables."""

    def __init__(
        self,
        me: str,
        datasets: Mapping[str, Dataset],
        *,
        timeout_s: float,
        check_rows: Callable[[str, bytes], None],
    ) -> None:
        self._me = me
        self._check_rows = check_rows
        self._datasets = datasets
        self._timeout_s = timeout_s
        self._rows: OrderedDict[str, Rows] = OrderedDict()

    def forget(self, job_id: str) -> None:
        self._rows.pop(job_id, None)

    async def run(
        self, job: AcceptedJob, name: str, inputs: Inputs, *, again: bool = False
    ) -> Computed:
        """This node's part of a run of the round `name`; `again` where it is not the round's first.

        Raises `StateError` where the table cannot answer, or where the kind of round refuses this
        node's rows.
        """
        asked = job.asked
        rules = DisclosureRules(threshold=asked.threshold(self._me), min_nodes=asked.min_nodes)
        plan = job.asked.plan
        if isinstance(plan, Plan):
            dataset = self._dataset(job)
            cells = await asyncio.to_thread(dataset.cells, plan, timeout_s=self._timeout_s)
            margins = plan.layout.margins
            if margins is None:
                return ComputedQuery(local_flags(cells.supports, rules), plan, cells)
            return ComputedQuery(margin_flags(cells.supports, rules, margins), plan, cells)
        entry = next(entry for entry in job.asked.rounds if entry.named.name == name)
        if again and getattr(entry.kind, "remembers", False) and job.job_id not in self._rows:
            raise StateError(
                "data_source",
                f"expected to remember the earlier runs of `{name}`, and they are gone",
                remedy="submit a new job",
            )
        rows = await self._rows_of(job, plan, rules)
        local = await asyncio.to_thread(
            entry.kind.compute, rows, entry.named.arguments, inputs, rules
        )
        return ComputedRound(round_flags(entry.kind.rule, local.supports, rules), entry, local)

    async def _rows_of(self, job: AcceptedJob, plan: RowsPlan, rules: DisclosureRules) -> Rows:
        held = self._rows.get(job.job_id)
        if held is None:
            dataset = self._dataset(job)
            held = await asyncio.to_thread(
                dataset.rows, plan, threshold=rules.threshold, timeout_s=self._timeout_s
            )
            self._check_rows(job.job_id, await asyncio.to_thread(held.digest))
            self._rows[job.job_id] = held
            while len(self._rows) > JOBS_WITH_ROWS:
                self._rows.popitem(last=False)
        self._rows.move_to_end(job.job_id)
        return held

    def _dataset(self, job: AcceptedJob) -> Dataset:
        name = job.opened.spec.table
        dataset = self._datasets.get(name)
        if dataset is None:
            raise StateError("data_source", f"expected table `{name}`, got none")
        return dataset
