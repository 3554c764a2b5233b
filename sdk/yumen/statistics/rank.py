"""Rank tests and the area under a ROC curve, from partitions that all groups share.

In a leaf, rows of different groups count as ties: so a rank statistic is off by at most half the
pairs of rows that share a leaf without sharing a value, and that bound is stated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from yumen_core.canonical import Json
from yumen_core.errors import CallError
from yumen_core.statistics.grid import Cell
from yumen_core.statistics.kinds import Totals
from yumen_core.statistics.layout import Reals
from yumen_core.statistics.statistic import Round, Statistic

from yumen.display import Grid, format_numbers, format_value
from yumen.statistics.partitions import Leaves, Support, joined, told
from yumen.statistics.released import Released
from yumen.statistics.source import Provenance
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

Alternative = Literal["two-sided", "less", "greater"]
SCORE_DEPTH = 11
SCORE_CELLS = Cell(4, -1), Cell(4, 0)
"""Linear predictors from -16 to 16, in steps of 1/128."""
_TREES = 8


@dataclass(frozen=True)
class Pairs:
    """`u`: pairs of a row of the first group and one of the second in which the first is greater,
    ties counting half; within `error` of that of the pooled rows. `rows` of the two groups."""

    u: float
    error: float
    rows: tuple[int, int]


def pairs_of(leaves: Leaves, support: Support | None = None) -> Pairs:
    """Mann and Whitney's U of the first group against the second of a joint partition."""
    first, second = leaves.counts[:, 0], leaves.counts[:, 1]
    before = np.cumsum(second) - second
    u = math.fsum((first * (before + second / 2)).tolist())
    error = math.fsum((first * second / 2)[~_single(leaves, support or Support())].tolist())
    return Pairs(u, error, (int(first.sum()), int(second.sum())))


@dataclass(frozen=True)
class RocCurve:
    """`auc` is within `error` of the pooled rows'. The curve passes, exactly, through the points
    (`false_positive_rate`, `true_positive_rate`), float64[points], one for each score in
    `thresholds` at and above which a row counts as positive. Not a number and without points where
    too few rows stand behind it."""

    auc: float
    error: float
    thresholds: Reals
    false_positive_rate: Reals
    true_positive_rate: Reals


def roc_round(name: str, model: Mapping[str, Json]) -> Round:
    """The round that ranks rows by a binomial model's linear predictor: `model` are the arguments
    of the model's other rounds. It runs once, with the inputs of a step at the final coefficients
    and `roc_cells()`."""
    start: list[Json] = [[cell.exponent, cell.index] for cell in SCORE_CELLS]
    return Round(name, "score_tree", {**model, "depth": SCORE_DEPTH, "start": start})


def roc_cells() -> Reals:
    """The input `cells` of a `roc_round`."""
    return np.array([(cell.exponent, cell.index) for cell in SCORE_CELLS], dtype=np.float64)


def roc_curve(totals: Totals) -> RocCurve:
    """What a `roc_round` released: the curve, and the area under it (Hanley and McNeil 1982)."""
    leaves = joined(told(totals, SCORE_CELLS, SCORE_DEPTH))
    negative, positive = (int(rows) for rows in leaves.rows)
    if not negative or not positive:
        nothing = np.empty(0)
        return RocCurve(math.nan, math.nan, nothing, nothing, nothing)
    found = pairs_of(Leaves(leaves.edges, leaves.below[:, ::-1], leaves.rows[::-1]))
    pairs = float(negative) * positive
    rates = 1.0 - leaves.below / leaves.rows
    return RocCurve(found.u / pairs, found.error / pairs, leaves.edges, rates[:, 0], rates[:, 1])


NOTHING_TOLD = (
    "nothing could be told: at some node a group has too few rows on one side of every value; ask "
    "nodes with more rows of each group (nodes=), or compare means with t_test or anova"
)

UNSURE = "the error of U is beyond its standard deviation: take no conclusion from p"


class MannWhitneyResult(Released):
    """`statistic` is U of the first group, as scipy's; the pooled rows' lies within `u_error` of
    it, and equals it where that is 0. `pvalue` is the normal approximation's with correction for
    ties and continuity, rows of a leaf counted as ties. `rank_biserial` is 2 U / (n1 n2) - 1 and
    `common_language` U / (n1 n2), the chance that a row of the first group is the greater;
    `effect_error` bounds the latter's error. `groups` and `nobs` are by group. All but the groups
    are NaN where too few rows stand behind the table."""

    def __init__(
        self,
        provenance: Provenance,
        asked: Asked,
        found: Search,
        alternative: Alternative,
    ) -> None:
        super().__init__(provenance)
        self.column, self.by, self.groups = asked.names[0], asked.by, asked.levels
        self.alternative = alternative
        self.leaves = found.leaves
        pairs = pairs_of(found.leaves, found.support)
        self.nobs = pairs.rows
        # Without an edge every row is a tie of every other, known to be so or not.
        told = len(found.leaves.edges) > 0 or pairs.error == 0
        every = float(pairs.rows[0]) * pairs.rows[1] if told else 0.0
        self.statistic = pairs.u if every else math.nan
        self.u_error = pairs.error if every else math.nan
        self.common_language = pairs.u / every if every else math.nan
        self.rank_biserial = 2 * self.common_language - 1
        self.effect_error = pairs.error / every if every else math.nan
        self._deviation = math.sqrt(every * (float(sum(pairs.rows)) + 1) / 12)
        self.pvalue = _pvalue(pairs, found.leaves, alternative) if every else math.nan

    def to_pandas(self) -> pd.DataFrame:
        """One row: `statistic`, `u_error`, `pvalue`, `rank_biserial`, `common_language`."""
        import pandas as pd  # takes most of a second

        names = ("statistic", "u_error", "pvalue", "rank_biserial", "common_language")
        return pd.DataFrame({name: [getattr(self, name)] for name in names})

    def grids(self) -> Sequence[Grid]:
        first, second = (format_value(group) for group in self.groups)
        lines = (
            ("U", format_numbers([self.statistic])[0]),
            ("error of U", format_numbers([self.u_error])[0]),
            ("p", f"{self.pvalue:.4g}"),
            ("rank-biserial correlation", f"{self.rank_biserial:.4f}"),
            (f"P({first} > {second})", f"{self.common_language:.4f}"),
            ("error of it", f"{self.effect_error:.4f}"),
        )
        notes = (
            "",
            f"{self.column} by {self.by}: {self.nobs[0]:,} rows of {first}, {self.nobs[1]:,} of "
            f"{second}, {self.alternative}",
            *(() if math.isfinite(self.statistic) else (NOTHING_TOLD,)),
            *((UNSURE,) if self.u_error > self._deviation else ()),
        )
        return [Grid(("Mann-Whitney", ""), lines, (False, True), notes)]


class KruskalResult(Released):
    """`statistic` is Kruskal and Wallis's H with correction for ties, rows of a leaf counted as
    ties; `pvalue` from chi-square with `df`. `mean_ranks` (float64[groups]) are within
    `rank_errors` of those of the pooled rows. NaN where a group has too few rows."""

    def __init__(self, provenance: Provenance, asked: Asked, found: Search) -> None:
        from scipy.stats import chi2

        super().__init__(provenance)
        self.column, self.by, self.groups = asked.names[0], asked.by, asked.levels
        counts = found.leaves.counts
        self.nobs: npt.NDArray[np.int64] = found.leaves.rows
        self.df = len(self.groups) - 1
        rows, ties = float(self.nobs.sum()), counts.sum(axis=1)
        ranks = np.cumsum(ties) - ties + (ties + 1) / 2
        several = ~_single(found.leaves, found.support)
        apart = np.where(several[:, np.newaxis], counts * (ties[:, np.newaxis] - counts) / 2, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            self.mean_ranks: Reals = (counts * ranks[:, np.newaxis]).sum(axis=0) / self.nobs
            self.rank_errors: Reals = apart.sum(axis=0) / self.nobs
        squares = float((self.nobs * (self.mean_ranks - (rows + 1) / 2) ** 2).sum())
        spread = rows * (rows + 1) / 12 * _tie_correction(ties) if rows else math.nan
        self.statistic = squares / spread if spread else math.nan
        self.pvalue = float(chi2.sf(self.statistic, self.df))

    def to_pandas(self) -> pd.DataFrame:
        """By group: `nobs`, `mean_rank`, `rank_error`."""
        import pandas as pd  # takes most of a second

        return pd.DataFrame(
            {
                self.by: list(self.groups),
                "nobs": self.nobs,
                "mean_rank": self.mean_ranks,
                "rank_error": self.rank_errors,
            }
        )

    def grids(self) -> Sequence[Grid]:
        columns = (
            [format_value(group) for group in self.groups],
            [format_value(int(n)) for n in self.nobs],
            format_numbers(self.mean_ranks.tolist()),
            format_numbers(self.rank_errors.tolist()),
        )
        note = f"Kruskal-Wallis of {self.column}: H = {self.statistic:.4f}, p = {self.pvalue:.4g}"
        notes = ("", note, *(() if math.isfinite(self.statistic) else (NOTHING_TOLD,)))
        headers = (self.by, "rows", "mean rank", "error of it")
        lines = tuple(zip(*columns, strict=True))
        return [Grid(headers, lines, (False, True, True, True), notes)]


def mann_whitney(
    table: Table,
    column: str,
    by: str,
    *,
    alternative: Alternative = "two-sided",
    tolerance: float = 1e-3,
    max_rounds: int = 5,
) -> MannWhitneyResult:
    """The Mann-Whitney U test of a column or expression in the two groups of `by`.

    One job of secure histograms whose leaves are safe in both groups. Looking stops where the error
    of the common language effect is within `tolerance`, where disclosure allows no finer leaf, or
    after `max_rounds`. Exact (`u_error` 0) where each leaf holds one value, as with scores.

    Leaves each node: rows of either group below edges, none or the threshold of each group at every
    node between two edges; the means of the groups where no edge among the rows was found at first.

    Precision: U within `u_error`; p-value as scipy.stats.mannwhitneyu(method="asymptotic") of the
    binned values. Raises `CallError` (`argument`) for `by` without two known levels. Source: Mann
    and Whitney 1947; Kerby 2014 for the rank-biserial correlation.
    """
    if alternative not in ("two-sided", "less", "greater"):
        raise CallError("argument", f"expected two-sided, less or greater, got `{alternative}`")
    asked = ask(table, [column], by)
    if len(asked.levels) != 2:
        raise CallError(
            "argument",
            f"expected two groups, got {len(asked.levels)} values of `{by}`",
            remedy="compare one value with the others, such as by=\"stage = 'late'\"",
        )
    provenance, found = _partition(table, asked, "mann_whitney", tolerance, max_rounds)
    return MannWhitneyResult(provenance, asked, found, alternative)


def kruskal(
    table: Table, column: str, by: str, *, tolerance: float = 1e-3, max_rounds: int = 5
) -> KruskalResult:
    """The Kruskal-Wallis test of a column or expression in the groups of `by`.

    As `mann_whitney`, with leaves that are safe in every group; `tolerance` is of the pairs of rows
    of different groups that share a leaf. Rows of a leaf count as ties, so H is that of the binned
    values; `rank_errors` bound what that changes. Source: Kruskal and Wallis 1952.
    """
    asked = ask(table, [column], by)
    if len(asked.levels) < 2:
        raise CallError("argument", f"expected two groups or more of `{by}`, got one")
    provenance, found = _partition(table, asked, "kruskal", tolerance, max_rounds)
    return KruskalResult(provenance, asked, found)


def _partition(
    table: Table, asked: Asked, method: str, tolerance: float, max_rounds: int
) -> tuple[Provenance, Search]:
    """The finest joint partition of the column by the groups that the limits allow."""
    if not 0 <= tolerance < 1:
        raise CallError("argument", f"expected a tolerance from 0 to below 1, got `{tolerance}`")
    if not 1 <= max_rounds <= 20:
        raise CallError("argument", f"expected 1 to 20 rounds, got `{max_rounds}`")
    groups = len(asked.levels)
    search = Search(asked.supports[0], groups)
    start = start_cells(search.support)
    depth = depth_for(len(start), groups, START_DEPTH)
    zoom_depth = depth_for(_TREES, groups, ZOOM_DEPTH)
    rounds = [tree_round("start", asked, [start], depth, joint=True)]
    if max_rounds > 1:
        filler = [distinct(start, _TREES, start[0])]
        rounds.append(mean_round(asked))
        rounds.append(
            tree_round("zoom", asked, filler, zoom_depth, joint=True, at_most=max_rounds - 1)
        )
    with table.compute(Statistic(method, asked.statement, tuple(rounds))) as job:
        learn_round(job.run("start"), [search], [start], depth)
        cells: list[Cell] = []
        if max_rounds > 1 and search.blind:
            for mean in means_of(job.run("means", {}), 1):
                cells += search.guess(mean)
        for _ in range(max_rounds - 1):
            cells = cells or _wanted(search, tolerance)
            if not zoomed(job, [search], [cells], _TREES, zoom_depth):
                break
            cells = []
        return job.provenance, search


def _wanted(search: Search, tolerance: float) -> list[Cell]:
    """Cells of the leaves with the most pairs of rows of different groups."""
    counts = search.leaves.counts.astype(np.float64)
    rows = counts.sum(axis=0)
    weight = counts.sum(axis=1) ** 2 - (counts**2).sum(axis=1)
    weight[_single(search.leaves, search.support)] = 0.0
    every = rows.sum() ** 2 - (rows**2).sum()
    if not every or weight.sum() / every <= 2 * tolerance:
        return []
    found: list[Cell] = []
    for leaf in np.argsort(-weight, kind="stable")[: 4 * _TREES].tolist():
        if weight[leaf] > 0 and len(found) < _TREES:
            found += search.next_cells(leaf, 2)
    return found


def _single(leaves: Leaves, support: Support) -> npt.NDArray[np.bool_]:
    """The leaves that can hold one value only, bool[leaves]."""
    if support.grain is None:
        return np.zeros(len(leaves.edges) + 1, dtype=np.bool_)
    edges = leaves.edges.tolist()
    least = [support.least, *(support.least_from(edge) for edge in edges)]
    greatest = [*(support.greatest_below(edge) for edge in edges), support.greatest]
    return np.array([low >= high for low, high in zip(least, greatest, strict=True)])


def _pvalue(pairs: Pairs, leaves: Leaves, alternative: Alternative) -> float:
    """The normal approximation, corrected for ties and continuity (Lehmann, "Nonparametrics",
    1975, section 1.4)."""
    from scipy.stats import norm

    first, second = pairs.rows
    product, rows = float(first) * second, first + second
    u = {
        "two-sided": max(pairs.u, product - pairs.u),
        "greater": pairs.u,
        "less": product - pairs.u,
    }[alternative]
    correction = _tie_correction(leaves.counts.sum(axis=1))
    spread = math.sqrt(product * (rows + 1) / 12 * correction)
    if not spread:
        return 1.0  # one value only
    tail = float(norm.sf((u - product / 2 - 0.5) / spread))
    return min(1.0, 2 * tail) if alternative == "two-sided" else tail


def _tie_correction(ties: npt.NDArray[np.int64]) -> float:
    """1 - sum(t**3 - t) / (n**3 - n) over the sizes of ties."""
    sizes, rows = ties.astype(np.float64), float(ties.sum())
    return 1.0 - float((sizes**3 - sizes).sum()) / (rows**3 - rows) if rows > 1 else math.nan
