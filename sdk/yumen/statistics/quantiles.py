"""Quantiles and medians from secure histograms refined in rounds, with bounds that hold.

Each round tells exact numbers of rows below edges, as many as disclosure allows
(`yumen_core.statistics.trees`); the next looks into the leaf that holds the quantile. The result's
bounds hold the quantile of the pooled rows, always; no estimate is finer than a leaf, which has
none or the threshold of rows at every node.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
from yumen_core.errors import CallError
from yumen_core.sql.schema import DomainValue
from yumen_core.statistics.grid import Cell
from yumen_core.statistics.layout import Reals
from yumen_core.statistics.statistic import Statistic

from yumen.display import Grid, format_numbers, format_value
from yumen.statistics.partitions import Bracket, quantile_of
from yumen.statistics.released import Released
from yumen.statistics.source import Computation, Provenance
from yumen.statistics.table import Table
from yumen.statistics.tree_rounds import (
    START_DEPTH,
    ZOOM_DEPTH,
    Asked,
    Search,
    ask,
    depth_for,
    distinct,
    learn_round,
    mean_round,
    means_of,
    start_cells,
    tree_round,
    zoomed,
)

if TYPE_CHECKING:
    import pandas as pd

MAX_ROUNDS = 20


class Quantiles(Released):
    """Quantiles, one line for each column, group and `q`, in that order.

    `estimate`, `lower`, `upper` and `error` (float64[lines], in the column's units) and `rows`
    (int64[lines], the rows with a value): the quantile of the pooled rows, as numpy.quantile and
    SQL's QUANTILE_CONT define it, lies from `lower` to `upper`. All are NaN, and `rows` is 0, where
    too few rows stand behind a group. An end is infinite only where the column has no bound there.
    """

    def __init__(
        self, provenance: Provenance, asked: Asked, q: Sequence[float], searches: Sequence[Search]
    ) -> None:
        super().__init__(provenance)
        self.q = tuple(q)
        self.by = asked.by
        self._lines: list[tuple[str, DomainValue | None, float]] = []
        self._found: list[Bracket] = []
        rows: list[int] = []
        for at, search in enumerate(searches):
            name, level = divmod(at, len(asked.levels))
            for share in q:
                self._lines.append((asked.names[name], asked.levels[level], share))
                self._found.append(quantile_of(search.leaves, share, search.support))
                rows.append(int(search.leaves.rows[0]))
        self.estimate: Reals = np.array([found.estimate for found in self._found])
        self.lower: Reals = np.array([found.lower for found in self._found])
        self.upper: Reals = np.array([found.upper for found in self._found])
        self.error: Reals = np.array([found.error for found in self._found])
        self.rows = np.array(rows, dtype=np.int64)

    def at(self, column: str, q: float, group: DomainValue | None = None) -> Bracket:
        """One quantile. Raises `CallError` (`argument`) for one that was not asked."""
        wanted = (column, group, q)
        if wanted not in self._lines:
            raise CallError(
                "argument", f"expected a quantile that was asked, got {q} of `{column}` in {group}"
            )
        return self._found[self._lines.index(wanted)]

    @property
    def groups(self) -> tuple[DomainValue | None, ...]:
        """The levels of `by` in declared order; one None without `by`."""
        return tuple(dict.fromkeys(line[1] for line in self._lines))

    def rows_of(self, column: str, group: DomainValue | None = None) -> int:
        """The rows with a value of `column`, 0 where held back. Raises as `at`."""
        self.at(column, self.q[0], group)
        return int(self.rows[self._lines.index((column, group, self.q[0]))])

    def to_pandas(self) -> pd.DataFrame:
        """By line: `column`, the group, `q`, `estimate`, `lower`, `upper`, `error`, `rows`."""
        import pandas as pd  # takes most of a second

        frame = pd.DataFrame({"column": [line[0] for line in self._lines]})
        if self.by:
            frame[self.by] = [line[1] for line in self._lines]
        frame["q"] = [line[2] for line in self._lines]
        for name in ("estimate", "lower", "upper", "error", "rows"):
            frame[name] = getattr(self, name)
        return frame

    def grids(self) -> Sequence[Grid]:
        numbers = [
            [format_numbers([float(value)])[0] for value in values]
            for values in (self.estimate, self.error, self.lower, self.upper)
        ]
        held = self.rows == 0
        lines = []
        for at, (column, group, q) in enumerate(self._lines):
            shown = ["held back", "", "", ""] if held[at] else [each[at] for each in numbers]
            level = [format_value(group)] if self.by else []
            lines.append((column, *level, f"{q:g}", *shown, format_value(int(self.rows[at]))))
        by = [self.by] if self.by else []
        headers = ("column", *by, "q", "estimate", "error", "lower", "upper", "rows")
        notes = ["", "the quantile of all rows lies from lower to upper"]
        if held.any():
            notes.append("held back: too few rows or nodes behind the group")
        right = (False, *[False] * len(by), *[True] * 6)
        return [Grid(headers, tuple(lines), right, tuple(notes))]


def quantile(
    table: Table,
    columns: str | Sequence[str],
    q: float | Sequence[float] = (0.25, 0.5, 0.75),
    *,
    by: str | None = None,
    tolerance: float | None = None,
    max_rounds: int = 6,
) -> Quantiles:
    """Quantiles of columns or SQL expressions with numbers, by the levels of `by`.

    One job. Looking stops where the bounds are within `tolerance` of each other (in the column's
    units), where disclosure allows no finer leaf, or after `max_rounds` secure histograms. For
    integers, decimals and booleans the bounds are values that the column can take, so that they
    meet, and the quantile is exact, where enough rows share a value.

    Leaves each node: rows below edges of its own grid, each node with none or the threshold of rows
    between any two of them; the mean of a column whose declared bounds tell nothing of where its
    values lie. The least and the greatest value never do.

    Precision: bounds are exact. Raises `CallError` (`argument`, `sql_unknown_column`), `PeerError`
    (`data_values`) for a threshold of infinite values at a node; fewer count as missing. Source:
    Hyndman and Fan, "Sample quantiles in statistical packages", 1996, definition 7.
    """
    names = [columns] if isinstance(columns, str) else list(columns)
    shares = [float(q)] if isinstance(q, int | float) else [float(share) for share in q]
    _check(shares, tolerance, max_rounds)
    asked = ask(table, names, by)
    groups = len(asked.levels)
    searches = [Search(support) for support in asked.supports for _ in range(groups)]
    start = [start_cells(support) for support in asked.supports]
    depth = depth_for(2 * len(searches), 1, START_DEPTH)
    each = max(2, len(shares))
    zoom_depth = depth_for(each * len(searches), 1, ZOOM_DEPTH)
    filler = [distinct(cells, each, cells[0]) for cells in start]
    rounds = [tree_round("start", asked, start, depth)]
    if max_rounds > 1:
        rounds.append(mean_round(asked))
        rounds.append(tree_round("zoom", asked, filler, zoom_depth, at_most=max_rounds - 1))
    with table.compute(Statistic("quantile", asked.statement, tuple(rounds))) as job:
        cells = [own for own in start for _ in range(groups)]
        learn_round(job.run("start"), searches, cells, depth)
        means: list[float | None] = [None] * len(searches)
        if max_rounds > 1 and any(search.blind for search in searches):
            means = means_of(job.run("means", {}), len(names))
        for _ in range(max_rounds - 1):
            if not _zoom(job, searches, shares, means, each, zoom_depth, tolerance):
                break
        return Quantiles(job.provenance, asked, shares, searches)


def median(
    table: Table,
    columns: str | Sequence[str],
    *,
    by: str | None = None,
    tolerance: float | None = None,
    max_rounds: int = 6,
) -> Quantiles:
    """`quantile` at 0.5."""
    return quantile(table, columns, 0.5, by=by, tolerance=tolerance, max_rounds=max_rounds)


def _check(shares: Sequence[float], tolerance: float | None, max_rounds: int) -> None:
    if not shares or not all(0 <= share <= 1 for share in shares):
        raise CallError("argument", f"expected quantiles from 0 to 1, got `{list(shares)}`")
    if len(set(shares)) != len(shares) or len(shares) > 50:
        raise CallError("argument", "expected at most 50 quantiles, each once")
    if tolerance is not None and not (tolerance >= 0 and math.isfinite(tolerance)):
        raise CallError("argument", f"expected a tolerance from 0, got `{tolerance}`")
    if not 1 <= max_rounds <= MAX_ROUNDS:
        raise CallError("argument", f"expected 1 to {MAX_ROUNDS} rounds, got `{max_rounds}`")


def _zoom(
    job: Computation,
    searches: Sequence[Search],
    shares: Sequence[float],
    means: Sequence[float | None],
    each: int,
    depth: int,
    tolerance: float | None,
) -> bool:
    """One more round, or False where no search has anywhere left to look."""
    wanted = []
    for search, mean in zip(searches, means, strict=True):
        if search.blind and not search.guessed:
            wanted.append(search.guess(mean))
        else:
            wanted.append(_wanted(search, shares, tolerance, each))
    return zoomed(job, searches, wanted, each, depth)


def _wanted(
    search: Search, shares: Sequence[float], tolerance: float | None, each: int
) -> list[Cell]:
    """The cells to look into, those of each leaf that holds a quantile in turn."""
    rows = int(search.leaves.rows[0])
    leaves: list[int] = []
    for share in shares if rows else ():
        bracket = quantile_of(search.leaves, share, search.support)
        if bracket.upper - bracket.lower > (tolerance or 0.0):
            place = math.floor((rows - 1) * share)
            both = place, min(place + 1, rows - 1)
            leaves += [search.leaves.leaf_of(p) for p in both]
    found = [search.next_cells(leaf, each) for leaf in dict.fromkeys(leaves)]
    return [cell for turn in zip_longest(*found) for cell in turn if cell is not None]
