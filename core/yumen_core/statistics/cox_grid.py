"""Cox's model with one baseline hazard for all nodes: sums of risks over cells of time.

A risk set spans all nodes, so its sums must leave. Sums of single times would be differenced into
single rows; these are released only over cells of a safe partition of time. Rows that leave within
one cell count as tied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from yumen_core import canonical
from yumen_core.disclosure import DisclosureRules
from yumen_core.statistics import arguments as read
from yumen_core.statistics.kinds import Arguments, Inputs, Local, Rule, Variables
from yumen_core.statistics.layout import Counts, Layout, Reals, count, wide_real
from yumen_core.statistics.partial_likelihood import Mask, Whole
from yumen_core.statistics.rows import Rows, check_units
from yumen_core.statistics.survival import (
    ROWS_PER_COLUMN,
    CoxModel,
    CoxRows,
    coefficients,
    cox_model,
    cox_rows,
    outweighed,
    parse_cox,
    triangle,
)
from yumen_core.statistics.time_grid import TimeGrid, parse_grid, summed

_T = TypeVar("_T", np.int64, np.float64)
_PARTS = ("rows", "events", "censored rows")
_LEAST_SHARE = 1 / 3
_MOST_SUM = 1e150


@dataclass(frozen=True)
class _Prepared:
    """`x` is less its `means` at this node."""

    x: Reals
    means: Reals
    place: Whole
    events: Mask
    supports: Counts


class CoxGrid:
    """One tree over time for each level of `strata` (one in all where it is empty).

    Values of a cell, over the rows that leave in it: rows and events; sums of the columns over its
    events; then, of r = exp((x - centre) beta), the sums of r, r x and the upper triangle of r x x'
    over its rows, and the same over its events, all with x - centre for x. The inputs are `beta`
    and `centre`, float64[p] each, 0 in a first run.

    Supports: rows, events and censored rows of the cell, in all and by level of each variable that
    the design takes levels of, and by whether a column is at its median. Each has none or at least
    the threshold of a node's rows, in all three for each column as well: so no difference of two
    sums rests on fewer. Supports do not depend on the inputs, so the partition is the same in every
    run. A node refuses coefficients
    at which the risks of a cell that it could release are spread over fewer rows than a third of
    its threshold (`effective_rows`), or are beyond any range.
    """

    name = "cox_grid"
    rule: Rule = Rule.PARTITION

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        model = parse_cox(arguments, variables, "resolution", "start", "steps", "trees")
        trees = len(read.level_variable(variables, model.strata)) if model.strata else 1
        if read.whole(arguments, "trees", 1, 200) != trees:
            raise read.bad(f"expected `trees` to be {trees}")
        p, grid = model.size, parse_grid(arguments)
        supports = tuple(
            part if not group else f"{part} of {group}"
            for group in _groups(model)
            for part in _PARTS
        )
        over_rows = 1 + p + p * (p + 1) // 2
        values = (count(0), count(0), *(wide_real(1) for _ in range(p)))
        sums = (
            *(wide_real(0) for _ in range(over_rows)),
            *(wide_real(1) for _ in range(over_rows)),
        )
        shapes = {"beta": (p,), "centre": (p,)}
        return Layout(
            trees * grid.cells, supports, (*values, *sums), shapes, trees=trees, end_supports=1
        )

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        model, grid = cox_model(rows, arguments), parse_grid(arguments)
        trees = read.whole(arguments, "trees", 1, 200)
        found = cox_rows(rows, arguments, model, rules)
        key = ("cox_grid", canonical.encode(arguments))
        ready = rows.kept(key, lambda: _prepared(found, rows, model, grid, trees))
        need = np.full(ready.supports.shape[1], rules.threshold)
        if rules.threshold > 1:  # a threshold of 1 says that nothing is to be protected
            need[: len(_PARTS)] = max(rules.threshold, ROWS_PER_COLUMN * model.size)
        supports = np.where(ready.supports >= need, ready.supports, np.minimum(ready.supports, 1))
        zero = np.zeros(model.size)
        beta, centre = coefficients(inputs, model.size), inputs.get("centre", zero)
        check_units(centre)
        values, effective = _values(ready, grid, trees, beta, centre)
        # Cells that this node's own rows hold back are never kept, so theirs tell nothing.
        safe = (ready.supports >= need) | (ready.supports == 0)
        told = safe.all(axis=1) & (ready.supports[:, 0] > 0)
        weighted = told[:, np.newaxis] & (ready.supports[:, :2] > 0)
        spread = effective[weighted] >= rules.threshold * _LEAST_SHARE
        if not spread.all() or not (np.abs(values[told]) <= _MOST_SUM).all():
            raise outweighed()
        return Local(supports, np.where(told[:, np.newaxis], values, 0.0))


def _groups(model: CoxModel) -> tuple[str, ...]:
    """The sets of rows that a cell's parts are counted by; the first is all of them."""
    levels = (f"{name}[{level}]" for name, all_ in model.design.levels.items() for level in all_)
    columns = (f"{name} {at}" for name in model.design.names for at in ("off", "at its median"))
    return ("", *levels, *columns)


def _prepared(found: CoxRows, rows: Rows, model: CoxModel, grid: TimeGrid, trees: int) -> _Prepared:
    place = found.codes * grid.leaves + grid.leaves_of(found.times.durations)
    groups: list[Mask] = [np.ones(len(place), dtype=np.bool_)]
    for name, levels in model.design.levels.items():
        code = rows.level(name)[found.times.chosen]
        groups += [code == at for at in range(len(levels))]
    for at in range(model.size):
        groups += _sides(found.x[:, at])
    events = found.times.events & grid.within(found.times.durations)
    counts = [
        np.bincount(place[group & part], minlength=trees * grid.leaves)
        for group in groups
        for part in (np.ones_like(events), events, ~events)
    ]
    supports = _heaps(np.stack(counts, axis=1).astype(np.int64), trees)
    means = found.x.mean(axis=0) if len(found.x) else np.zeros(model.size)
    return _Prepared(found.x - means, means, place, events, supports)


def _sides(column: Reals) -> tuple[Mask, Mask]:
    """The rows off the column's median, and those at it; all rows instead of these where the
    column has many values."""
    if not len(column):
        return np.zeros(0, dtype=np.bool_), np.zeros(0, dtype=np.bool_)
    off = column != np.partition(column, len(column) // 2)[len(column) // 2]
    others = column[off]
    if len(others) and (others != others[0]).any():
        return off, np.ones_like(off)
    return off, ~off


def _heaps(leaves: npt.NDArray[_T], trees: int) -> npt.NDArray[_T]:
    """Sums over each tree in heap order, one tree after another."""
    each = np.split(leaves, trees)
    return np.concatenate([summed(tree) for tree in each])


def _values(
    ready: _Prepared, grid: TimeGrid, trees: int, beta: Reals, centre: Reals
) -> tuple[Reals, Reals]:
    """The values by cell, and the effective rows behind a cell's risks, float64[cells, 2]: of all
    its rows and of its events."""
    size, p = trees * grid.leaves, len(beta)
    events, away = ready.events, ready.means - centre
    columns: list[npt.NDArray[np.generic]] = []
    squares = []
    left, happened = ready.place, ready.place[events]
    with np.errstate(all="ignore"):
        x, risk = ready.x, np.exp(ready.x @ beta + away @ beta)
        deaths = np.bincount(happened, minlength=size)
        columns += [np.bincount(left, minlength=size), deaths]
        columns += [
            np.bincount(happened, column[events], size) + middle * deaths
            for column, middle in zip(x.T, away, strict=True)
        ]
        for chosen in (slice(None), events):
            place, weights, part = left[chosen], risk[chosen], x[chosen]
            columns += _moved(place, weights, part, away, size)
            squares.append(np.bincount(place, weights**2, size))
        values = _heaps(np.stack(columns, axis=1).astype(np.float64), trees)
        spread = _heaps(np.stack(squares, axis=1).astype(np.float64), trees)
        at = 2 + p
        sums = values[:, [at, at + 1 + p + p * (p + 1) // 2]]
        effective = np.where(spread > 0, sums**2 / spread, 0.0)
    return values, effective


def _moved(place: Whole, weights: Reals, x: Reals, away: Reals, size: int) -> list[Reals]:
    """By cell the sums of w, w (x + away) and w (x + away)(x + away)', its upper triangle: `away`
    moves sums, never single rows, which rounding would sort by an edge."""
    weighted = weights[:, None] * x
    total = np.bincount(place, weights, size)
    first = [np.bincount(place, column, size) for column in weighted.T]
    columns = [total, *(sums + a * total for sums, a in zip(first, away, strict=True))]
    for i, j in zip(*triangle(x.shape[1]), strict=True):
        second = np.bincount(place, weighted[:, i] * x[:, j], size)
        mixed = away[i] * first[j] + away[j] * first[i]
        columns.append(second + mixed + away[i] * away[j] * total)
    return columns
