"""Cox's model by its baseline: a node's own, or one for all nodes over cells of time.

Each gives the partial likelihood at a point from the totals of one secure sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from yumen_core.errors import CallError
from yumen_core.sql.schema import DomainValue
from yumen_core.statistics.kinds import Totals
from yumen_core.statistics.layout import Reals
from yumen_core.statistics.partial_likelihood import squared_terms, tie_sums
from yumen_core.statistics.survival import triangle
from yumen_core.statistics.time_grid import TimeGrid

from yumen.statistics.cox_steps import Evaluation
from yumen.statistics.source import Computation
from yumen.statistics.survival import TimeCells, time_cells


class Baseline(Protocol):
    """How a model's rounds are run and read."""

    rows: int

    def evaluate(self, job: Computation, beta: Reals) -> Evaluation: ...


@dataclass
class NodeBaselines:
    """Each node has its own baseline hazard; `cox_nodes` gives the terms ready."""

    size: int
    started: bool
    """Whether the job ran a round before: a job's very first run takes no inputs."""
    rows: int = 0

    def evaluate(self, job: Computation, beta: Reals) -> Evaluation:
        totals = job.run("fit", {"beta": beta} if self.started else None).values[0]
        self.started = True
        self.rows = round(float(totals[0]))
        gradient = totals[3 : 3 + self.size]
        information = _symmetric(totals[3 + self.size :], self.size)
        return Evaluation(float(totals[2]), gradient, information, round(float(totals[1])))


@dataclass
class PooledBaseline:
    """One baseline hazard for all nodes, or one for each of `strata`, over cells of time."""

    size: int
    grid: TimeGrid
    ties: str
    strata: Sequence[DomainValue]
    centre: Reals
    rows: int = 0
    cells: list[TimeCells] = field(default_factory=list)
    hazards: list[Reals] = field(default_factory=list)

    def evaluate(self, job: Computation, beta: Reals) -> Evaluation:
        totals = job.run("fit", {"beta": beta, "centre": self.centre})
        self.cells, self.hazards, self.rows = [], [], 0
        value, events = 0.0, 0
        gradient, information = np.zeros(self.size), np.zeros((self.size, self.size))
        for tree in range(max(1, len(self.strata))):
            cells = self._cells(totals, tree)
            part = self._stratum(totals.values[cells.cells], beta)
            self.cells.append(cells)
            value += part.log_likelihood
            events += part.events
            gradient += part.gradient
            information += part.information
        return Evaluation(value, gradient, information, events)

    def _cells(self, totals: Totals, tree: int) -> TimeCells:
        try:
            return time_cells(self.grid, totals, tree)
        except CallError as error:
            where = f" of the stratum `{self.strata[tree]}`" if self.strata else ""
            raise CallError(
                error.code,
                f"expected enough events and censored rows{where} at every node to release a cell "
                "of time, got too few",
                remedy='use strata="node" or use fewer columns',
            ) from None

    def _stratum(self, values: Reals, beta: Reals) -> Evaluation:
        """The terms of one stratum from its cells in order of time, float64[cells, values]."""
        p = self.size
        deaths_at = np.rint(values[:, 1]).astype(np.int64)
        self.rows += round(float(values[:, 0].sum()))
        sums, tied_sums = np.split(values[:, 2 + p :], 2, axis=1)
        at_risk = np.cumsum(sums[::-1], axis=0)[::-1]
        with np.errstate(all="ignore"):
            self.hazards.append(np.cumsum(np.where(deaths_at > 0, deaths_at / at_risk[:, 0], 0.0)))
        seen = deaths_at > 0
        if not seen.any():
            return Evaluation(0.0, np.zeros(p), np.zeros((p, p)), 0)
        deaths, risk, tied = deaths_at[seen], at_risk[seen], tied_sums[seen]
        ties = tie_sums(deaths, risk[:, 0], tied[:, 0], self.ties)
        first, first_tied = risk[:, 1 : 1 + p], tied[:, 1 : 1 + p]
        happened = values[:, 2 : 2 + p].sum(axis=0)
        second = ties.inverse @ risk[:, 1 + p :] - ties.tied @ tied[:, 1 + p :]
        return Evaluation(
            float(happened @ beta - ties.log.sum()),
            happened - (ties.inverse @ first - ties.tied @ first_tied),
            _symmetric(second, p) - squared_terms(ties, first, first_tied),
            int(deaths.sum()),
        )


def _symmetric(upper: Reals, p: int) -> Reals:
    """The matrix whose upper triangle is given row by row, float64[p, p]."""
    matrix = np.zeros((p, p))
    matrix[triangle(p)] = upper
    found: Reals = matrix + np.triu(matrix, 1).T
    return found
