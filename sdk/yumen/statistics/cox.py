"""Cox's proportional hazards model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from yumen_core.canonical import Json
from yumen_core.errors import CallError
from yumen_core.sql.schema import DomainValue
from yumen_core.statistics.design import Design
from yumen_core.statistics.layout import MAX_VALUES, Reals
from yumen_core.statistics.partial_likelihood import TIES
from yumen_core.statistics.statistic import Round, Statistic
from yumen_core.statistics.time_grid import MAX_STEPS, TimeGrid

from yumen.statistics.cox_baselines import Baseline, NodeBaselines, PooledBaseline
from yumen.statistics.cox_result import BaselineHazard, CoxOptions, CoxResult
from yumen.statistics.cox_steps import maximise
from yumen.statistics.formula import parse_formula
from yumen.statistics.source import Computation
from yumen.statistics.survival import (
    SurvivalRows,
    check_alpha,
    expression,
    levels_of,
    survival_rows,
    time_grid,
)
from yumen.statistics.table import Table

MAX_ROUNDS = 100


@dataclass(frozen=True)
class _Asked:
    """A model before it is run. `arguments` are what its rounds sign alike."""

    rows: SurvivalRows
    design: Design
    arguments: dict[str, Json]
    per_node: bool
    strata: str
    levels: tuple[DomainValue, ...]
    grid: TimeGrid | None

    @property
    def size(self) -> int:
        return len(self.design.columns)


def cox(
    table: Table,
    duration: str,
    event: str,
    formula: str,
    *,
    strata: str | Sequence[str] | None = "node",
    ridge: float = 0.0,
    ties: str = "efron",
    resolution: float | None = None,
    horizon: float | None = None,
    max_rounds: int = 25,
    alpha: float = 0.05,
) -> CoxResult:
    """A proportional hazards model, such as `cox(t, "week", "arrest", "~ age + C(fin)")`.

    `duration` and `event` are columns or SQL expressions: the event is 1 (or true) where the
    duration ended with it. `formula` has no left side, and an intercept in it is left out.
    `ridge` is lifelines' `penalizer`: 0.5 * ridge * rows * sum((b * sd)**2) is taken from the
    log-likelihood. `ties` is `efron` or `breslow`.

    `strata="node"` (the default): each node has a baseline hazard of its own, as is usual for a
    study at several centres; `["node", "sex"]` splits further. Exact times are used. What leaves
    each node in a run is one vector of totals: rows, events, the log partial likelihood, its
    gradient and the upper triangle of the information; never a sum over one risk set. The result is
    lifelines' `CoxPHFitter(strata=["node"])` on the pooled rows, to 1e-6 relative in coefficients
    and errors.

    `strata=None` (or a column with known levels): one baseline hazard for all nodes, for each
    level. Durations, which must have declared bounds, are rounded up to `resolution` (by default 1
    for whole numbers, or the least whole step that a round of the model can hold), those beyond
    `horizon` (by default the upper bound) count as censored there, and sums of risks leave each
    node for the cells of the finest partition of time in which rows, events and censored rows, in
    all and by each level, are none at a node or at least its threshold and three for each column.
    Times within a cell count as tied at its end; the result says how far. Where every cell is one
    distinct time the result is lifelines' without strata, to 1e-6 relative. With few events prefer
    `strata="node"`.

    A node refuses coefficients at which a few of its rows outweigh all others. One job of up to
    `max_rounds` sums, and up to three more for scales and concordance; Newton takes 4 to 8.

    Raises `CallError`: `formula`, `argument` for what cannot be asked, `no_convergence` for a
    monotone likelihood; `PeerError`: `too_few_rows` and `data_values` where a node refuses, before
    anything leaves.

    Source: D. R. Cox, JRSS B 34 (1972); B. Efron, JASA 72 (1977); N. E. Breslow, JRSS B 34 (1972).
    """
    check_alpha(alpha)
    if ties not in TIES:
        raise CallError("argument", f"expected `ties` among {', '.join(TIES)}, got `{ties}`")
    if not (math.isfinite(ridge) and ridge >= 0):
        raise CallError("argument", f"expected `ridge` from 0, got `{ridge}`")
    if not 2 <= max_rounds <= MAX_ROUNDS:
        raise CallError(
            "argument", f"expected `max_rounds` from 2 to {MAX_ROUNDS}, got `{max_rounds}`"
        )
    asked = _asked(table, duration, event, formula, strata, (resolution, horizon))
    names = asked.design.names
    with table.compute(_statistic(asked, ties, ridge, max_rounds)) as job:
        baseline, penalty = _started(asked, job, ties, ridge)
        fit = maximise(lambda beta: baseline.evaluate(job, beta), names, penalty, max_rounds)
        pairs = job.run("concordance", {"beta": fit.coefficients}).values[0].tolist()
        provenance = job.provenance
    options = CoxOptions(formula, asked.strata, asked.per_node, ties, ridge, alpha)
    return CoxResult(
        names,
        fit,
        rows=baseline.rows,
        pairs=(pairs[0], pairs[1], pairs[2]),
        baselines=_hazards(asked, baseline),
        options=options,
        provenance=provenance,
    )


def _asked(
    table: Table,
    duration: str,
    event: str,
    formula: str,
    strata: str | Sequence[str] | None,
    times: tuple[float | None, float | None],
) -> _Asked:
    model = parse_formula(table, formula.strip().removeprefix("~"), response=False)
    design = model.design.without_intercept()
    if not design.columns:
        raise CallError("formula", "expected a formula with a column besides the intercept")
    per_node, column = _strata(strata)
    if per_node and times != (None, None):
        raise CallError(
            "argument",
            'expected no resolution or horizon with strata="node", where exact times are used',
        )
    more = dict(model.variables)
    if column:
        more[column] = expression(table, column)
    rows = survival_rows(table, duration, event, more)
    used = {f.variable for entry in design.columns for f in entry.factors if f.level is not None}
    levels: dict[str, Json] = {name: len(levels_of(rows, name)) for name in sorted(used)}
    strata_levels: tuple[DomainValue, ...] = ()
    if column:
        strata_levels = levels_of(rows, column)
        levels[column] = len(strata_levels)
    trees = 1 if per_node else max(1, len(strata_levels))
    grid = None
    if not per_node:
        most = _most_steps(design, rows, trees)
        grid = time_grid(rows, duration, *times, most=most)
    arguments: dict[str, Json] = {
        "design": design.to_json(),
        "duration": duration,
        "event": event,
        "levels": levels,
        "strata": column,
    }
    words = "one for all nodes"
    if per_node:
        words = f"one for each node and level of {column}" if column else "one for each node"
    elif column:
        words = f"one for each level of {column}, for all nodes"
    return _Asked(rows, design, arguments, per_node, words, strata_levels, grid)


def _strata(strata: str | Sequence[str] | None) -> tuple[bool, str]:
    """Whether the nodes are strata, and the column that is, or an empty text."""
    given = [] if strata is None else [strata] if isinstance(strata, str) else list(strata)
    columns = [entry for entry in given if entry != "node"]
    if len(columns) > 1 or len(given) != len(set(given)):
        raise CallError(
            "argument", f'expected `strata` to be "node", one column, or both, got {given}'
        )
    return "node" in given, columns[0] if columns else ""


def _most_steps(design: Design, rows: SurvivalRows, trees: int) -> int:
    """How many steps of time a round of `cox_grid` can hold."""
    p = len(design.columns)
    used = {f.variable for entry in design.columns for f in entry.factors if f.level is not None}
    groups = 1 + 2 * p + sum(len(levels_of(rows, name)) for name in used)
    values = 2 + p + 2 * (1 + p + p * (p + 1) // 2)
    leaves = MAX_VALUES // (trees * (3 * groups + values)) // 2
    return min(MAX_STEPS, 1 << max(leaves, 1).bit_length() - 1)


def _statistic(asked: _Asked, ties: str, ridge: float, max_rounds: int) -> Statistic:
    rounds = []
    if asked.grid is not None or ridge:
        rounds.append(Round("moments", "covariate_moments", asked.arguments, 2))
    if asked.grid is None:
        arguments = {**asked.arguments, "ties": ties}
        rounds.append(Round("fit", "cox_nodes", arguments, max_rounds))
    else:
        trees = max(1, len(asked.levels))
        arguments = {**asked.arguments, **asked.grid.to_arguments(), "trees": trees}
        rounds.append(Round("fit", "cox_grid", arguments, max_rounds))
    rounds.append(Round("concordance", "concordance", asked.arguments))
    return Statistic("cox", asked.rows.sql, tuple(rounds))


def _started(asked: _Asked, job: Computation, ties: str, ridge: float) -> tuple[Baseline, Reals]:
    """The baseline to fit with, and the ridge penalty of each coefficient, float64[p]."""
    p = asked.size
    if asked.grid is None and not ridge:
        return NodeBaselines(p, started=False), np.zeros(p)
    first = job.run("moments").values[0]
    centre = first[1 : 1 + p] / max(first[0], 1.0)
    totals = job.run("moments", {"centre": centre}).values[0]
    count = float(totals[0])
    if count < 2:
        raise CallError("argument", f"expected complete rows, got {round(count)}")
    off, squares = totals[1 : 1 + p], totals[1 + p :]
    penalty = ridge * count * (squares - off**2 / count) / (count - 1)
    if asked.grid is None:
        return NodeBaselines(p, started=True), penalty
    return PooledBaseline(p, asked.grid, ties, asked.levels, centre), penalty


def _hazards(asked: _Asked, baseline: Baseline) -> list[BaselineHazard]:
    if not isinstance(baseline, PooledBaseline):
        return []
    labels = [str(level) for level in asked.levels] or ["baseline cumulative hazard"]
    return [
        BaselineHazard(label, cells, hazard)
        for label, cells, hazard in zip(labels, baseline.cells, baseline.hazards, strict=True)
    ]
