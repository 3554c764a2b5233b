"""What a node computes for one run of a job, before anything of it is released.

A query is one pass over its plan. A statistic reads its rows once and computes run after run over
them; the rows of few jobs are held at a time, and read again where they were let go.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
from yumen_core.jobs.admission import Question
from yumen_core.jobs.answer import AnswerShape
from yumen_core.jobs.runs import RunShape, StatisticRound
from yumen_core.jobs.spec import JobSpec
from yumen_core.securesum.modulus import Slots
from yumen_core.sql import LocalCells, Plan, RowsPlan
from yumen_core.sql.rounded_cells import rounded_cells
from yumen_core.statistics.kinds import Inputs, Local
from yumen_core.statistics.layout import to_integers
from yumen_core.statistics.release import flags_width, round_flags, round_keep, withheld
from yumen_core.statistics.rounded_counts import rounded_counts
from yumen_core.statistics.rows import Rows

from yumen_node.datasets import Dataset
from yumen_node.datasets.cell_sets import NO_SETS, PlanSets
from yumen_node.gate import AcceptedJob
from yumen_node.guard import check_bases, thinned
from yumen_node.noise import all_kept, with_noise
from yumen_node.private_rounds import NO_THRESHOLD, private_integers
from yumen_node.released import Nodes, ReleasedSets

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
        assert isinstance(shape.answer, AnswerShape)
        noise = shape.answer.noise
        if noise is not None:
            keep = all_kept(shape.answer.cells, shape.answer.supports)
            noisy = with_noise(noise, self.values(keep))
            return shape.answer.encode(keep, noisy), shape.answer.cells
        keep = self.keep(totals, participants=participants, min_nodes=min_nodes)
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
    sets: PlanSets = NO_SETS
    """The rows of each cell, for the guard; none of a job with privacy."""

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
    base: PlanSets = NO_SETS
    """The rows it is over, for the guard."""

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


@dataclass(frozen=True)
class ComputedPrivate(ComputedCells):
    """A statistic's run with privacy: every cell is flagged, and told with noise."""

    integers: list[list[int]]

    @classmethod
    def of(cls, entry: StatisticRound, rows: Rows) -> ComputedPrivate:
        width = flags_width(entry.kind.rule, entry.layout)
        flags = np.ones((entry.layout.cells, width), dtype=np.uint8)
        return cls(flags, private_integers(entry, rows))

    def values(self, keep: Keep) -> list[list[int]]:
        return self.integers


class Computing:
    """Computes runs over one node's tables."""

    def __init__(
        self,
        me: str,
        datasets: Mapping[str, Dataset],
        *,
        timeout_s: float,
        check_rows: Callable[[str, bytes], None],
        released: ReleasedSets,
        on_refusal: Callable[[JobSpec, Question], None],
    ) -> None:
        """`on_refusal` is told of a job in which the guard holds something back."""
        self._me = me
        self._released = released
        self._on_refusal = on_refusal
        self._bases: dict[str, PlanSets] = {}
        self._check_rows = check_rows
        self._datasets = datasets
        self._timeout_s = timeout_s
        self._rows: OrderedDict[str, Rows] = OrderedDict()

    def forget(self, job_id: str) -> None:
        self._rows.pop(job_id, None)
        self._bases.pop(job_id, None)

    async def run(
        self, job: AcceptedJob, name: str, inputs: Inputs, *, nodes: Nodes, again: bool = False
    ) -> Computed:
        """This node's part of a run of the round `name`; `again` where it is not the round's first.
        With privacy it flags every cell, whatever its rows.

        Raises `StateError` where the table cannot answer, or where the kind of round refuses this
        node's rows.
        """
        computed = await self._compute(job, name, inputs, nodes=nodes, again=again)
        if job.opened.spec.privacy is None:
            return computed
        return replace(computed, flags=np.ones_like(computed.flags))

    async def _compute(
        self, job: AcceptedJob, name: str, inputs: Inputs, *, nodes: Nodes, again: bool
    ) -> ComputedCells:
        asked = job.asked
        rules = DisclosureRules(threshold=asked.threshold(self._me), min_nodes=asked.min_nodes)
        plan = job.asked.plan
        if isinstance(plan, Plan):
            dataset = self._dataset(job)
            private = job.opened.spec.privacy is not None
            cells = await asyncio.to_thread(
                dataset.cells, plan, timeout_s=self._timeout_s, private=private
            )
            sets = NO_SETS
            if not private:
                cells = rounded_cells(plan, cells, asked.round_to)
                sets = await asyncio.to_thread(dataset.row_sets, plan, timeout_s=self._timeout_s)
                guarded = self._released.guarded(job.opened.spec, asked)
                before = cells.supports
                cells = thinned(
                    cells, sets, plan.layout, released=self._released, guarded=guarded, nodes=nodes
                )
                if not np.array_equal(before, cells.supports):
                    self._on_refusal(job.opened.spec, asked)
            margins = plan.layout.margins
            if margins is None:
                return ComputedQuery(local_flags(cells.supports, rules), plan, cells, sets)
            return ComputedQuery(margin_flags(cells.supports, rules, margins), plan, cells, sets)
        entry = next(entry for entry in job.asked.rounds if entry.named.name == name)
        if job.opened.spec.privacy is not None:
            rows = await self._rows_of(job, plan, NO_THRESHOLD)
            return await asyncio.to_thread(ComputedPrivate.of, entry, rows)
        declared = self._dataset(job).disclosure
        rules = replace(
            rules,
            dominance=(declared.rules,) if declared.rules.on else (),
            degrees_of_freedom=declared.min_degrees_of_freedom,
        )
        if again and getattr(entry.kind, "remembers", False) and job.job_id not in self._rows:
            raise StateError(
                "data_source",
                f"expected to remember the earlier runs of `{name}`, and they are gone",
                remedy="submit a new job",
            )
        rows = await self._rows_of(job, plan, rules.threshold)
        base = await self._base_of(job, plan, nodes)
        local = await asyncio.to_thread(
            entry.kind.compute, rows, entry.named.arguments, inputs, rules
        )
        local = rounded_counts(entry.kind, local, asked.round_to)
        flags = round_flags(entry.kind.rule, local.supports, rules)
        return ComputedRound(flags, entry, local, base)

    async def _rows_of(self, job: AcceptedJob, plan: RowsPlan, threshold: int) -> Rows:
        held = self._rows.get(job.job_id)
        if held is None:
            dataset = self._dataset(job)
            held = await asyncio.to_thread(
                dataset.rows, plan, threshold=threshold, timeout_s=self._timeout_s
            )
            self._check_rows(job.job_id, await asyncio.to_thread(held.digest))
            self._rows[job.job_id] = held
            while len(self._rows) > JOBS_WITH_ROWS:
                self._rows.popitem(last=False)
        self._rows.move_to_end(job.job_id)
        return held

    async def _base_of(self, job: AcceptedJob, plan: RowsPlan, nodes: Nodes) -> PlanSets:
        """The rows of a statistic without privacy, checked against what was released before."""
        base = self._bases.get(job.job_id)
        if base is None:
            base = await asyncio.to_thread(
                self._dataset(job).row_sets, plan, timeout_s=self._timeout_s
            )
            self._bases[job.job_id] = base
        guarded = self._released.guarded(job.opened.spec, job.asked)
        check_bases(self._released, guarded, base, nodes)
        return base

    def _dataset(self, job: AcceptedJob) -> Dataset:
        name = job.opened.spec.table
        dataset = self._datasets.get(name)
        if dataset is None:
            raise StateError("data_source", f"expected table `{name}`, got none")
        return dataset
