"""k-means clusters, each step of Lloyd's algorithm one secure sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from yumen_core.errors import CallError
from yumen_core.statistics.clusters import CLUSTERS, MAX_CLUSTERS
from yumen_core.statistics.layout import Counts, Reals
from yumen_core.statistics.moments import CENTRES, SCALES
from yumen_core.statistics.statistic import MAX_RUNS, Round, Statistic

from yumen.display import Grid, counted, format_numbers
from yumen.statistics.joint_moments import (
    JointMoments,
    columns_vary,
    joint_moments,
    linear,
    moment_rounds,
    numbers_of,
)
from yumen.statistics.plot import axes
from yumen.statistics.released import Released
from yumen.statistics.source import Computation, Provenance
from yumen.statistics.table import Table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_POOL = 2_000
_MAX_SQL_CHARS = 40_000
_STILL = 1e-6
"""Centres that move by less, in standard deviations, have come to rest."""


@dataclass(frozen=True)
class _Fit:
    """One start's end: centres in standard units, rows and nodes by cluster, inertia, runs."""

    centres: Reals
    sizes: Counts
    nodes: Counts
    inertia: float
    runs: int


class KMeansResult(Released):
    """Clusters, largest first, with scikit-learn's attribute names.

    `cluster_centers_`, float64[k, columns], in the columns' units; `inertia_`, the sum of squared
    distances to the centres in standard deviations; `n_iter_`; `cluster_sizes_` rows and
    `cluster_nodes_` nodes by cluster; `rows_left_out_`, the complete rows in none; `mean_` and
    `scale_` by which columns were standardised.
    """

    def __init__(
        self, provenance: Provenance, columns: Sequence[str], moments: JointMoments, fit: _Fit
    ) -> None:
        super().__init__(provenance)
        order = np.argsort(-fit.sizes, kind="stable")
        self.feature_names_in_ = tuple(columns)
        self.mean_: Reals = moments.mean
        self.scale_: Reals = np.sqrt(np.diag(moments.covariance))
        self._standard: Reals = fit.centres[order]
        self.cluster_centers_: Reals = self.mean_ + self._standard * self.scale_
        self.cluster_sizes_: Counts = fit.sizes[order]
        self.cluster_nodes_: Counts = fit.nodes[order]
        self.rows_left_out_ = moments.rows - int(fit.sizes.sum())
        self.inertia_ = fit.inertia
        self.n_iter_ = fit.runs

    def assign(self, table: Table, name: str = "cluster") -> Table:
        """`table` with a column that says which centre is nearest to a row: 0 is the largest
        cluster. A row that lacks one of the columns has none.

        Raises `CallError` (`argument`) where the expression would be too long.
        """
        variables = list(numbers_of(table, self.feature_names_in_).values())
        slopes = self._standard / self.scale_  # the nearest centre has the largest linear score
        constants = -slopes @ self.mean_ - (self._standard**2).sum(axis=1) / 2
        cases = [f"WHEN {' OR '.join(f'{v} IS NULL' for v in variables)} THEN NULL"]
        for at in range(len(slopes) - 1):  # those before `at` are not the nearest
            better = [
                f"{linear(float(c), s.tolist(), variables)} >= 0e0"
                for c, s in zip(
                    constants[at] - constants[at + 1 :], slopes[at] - slopes[at + 1 :], strict=True
                )
            ]
            cases.append(f"WHEN {' AND '.join(better)} THEN {at}")
        sql = f"CASE {' '.join(cases)} ELSE {len(slopes) - 1} END"
        if len(sql) > _MAX_SQL_CHARS:
            raise CallError(
                "argument",
                f"expected an expression of at most {_MAX_SQL_CHARS} characters, got {len(sql)}",
                remedy="use fewer clusters or columns",
            )
        return table.assign(**{name: sql})

    def to_pandas(self) -> pd.DataFrame:
        """A row for each cluster: its centre, rows and nodes."""
        import pandas as pd

        frame = pd.DataFrame(self.cluster_centers_, columns=list(self.feature_names_in_))
        return frame.assign(_rows=self.cluster_sizes_, _nodes=self.cluster_nodes_)

    def grids(self) -> Sequence[Grid]:
        centres = [format_numbers(column.tolist()) for column in self.cluster_centers_.T]
        sizes = [f"{size:,}" for size in self.cluster_sizes_]
        numbers = [str(at) for at in range(len(sizes))]
        everyone = len(self.provenance.participants)
        notes = [
            f"cluster {at} stands on {counted(int(n), 'node')} of {everyone}: the others have no "
            "or too few rows in it"
            for at, n in enumerate(self.cluster_nodes_)
            if n < everyone
        ]
        if self.rows_left_out_:
            rows = counted(self.rows_left_out_, "complete row")
            notes.append(f"{rows} in no cluster: too few in it at their nodes")
        notes.append(
            "rows that would change cluster stay where they are while they are fewer than the "
            "threshold at their node; how many is not released, so the inertia can be above that "
            "of Lloyd's algorithm on all rows"
        )
        total = f"inertia {self.inertia_:.6g}, {counted(self.n_iter_, 'step')}"
        return (
            Grid(
                ("cluster", "rows", *self.feature_names_in_),
                tuple(zip(numbers, sizes, *centres, strict=True)),
                (False, True, *[True] * len(centres)),
                ("", *notes, total),
            ),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """The centres in standard deviations from the mean, a line for each cluster. Raises
        `CallError` (`argument`) without matplotlib."""
        ax = axes(ax)
        at = np.arange(len(self.feature_names_in_))
        for number, centre in enumerate(self._standard):
            size = self.cluster_sizes_[number]
            ax.plot(at, centre, marker="o", label=f"{number} ({size:,} rows)")
        ax.axhline(0.0, color="0.8", zorder=0)
        ax.set_xticks(at, self.feature_names_in_)
        ax.set_ylabel("standard deviations from the mean")
        ax.legend(title="cluster")
        return ax


def kmeans(
    table: Table,
    columns: Sequence[str],
    k: int,
    *,
    max_rounds: int = 50,
    restarts: int = 3,
    seed: int = 0,
) -> KMeansResult:
    """`k` clusters of the complete rows by `columns` (names or SQL expressions of numbers), each
    divided by its standard deviation: the best of `restarts` starts of Lloyd's algorithm.

    A start is drawn by k-means++ from a normal distribution with the released means and
    covariances, never from rows; `seed` decides it. Rounds: two, and one for each step; a start
    ends when no centre moves by 1e-6 standard deviations, or after `max_rounds`. Leaves each node:
    the rows, sums of distances and sum of squared distances of each cluster, in secure sums.

    A node gives a cluster only with the threshold of its rows. Between all steps of a job the parts
    of its rows that go from cluster to cluster have the threshold of rows too; smaller parts stay
    with the nearest cluster that they may be in, so a few rows near a border can be in the cluster
    next to their own, and later starts have less freedom: `inertia_` can be above that of Lloyd's
    algorithm, and `assign`, which goes by the nearest centre, can count otherwise. Precision: with
    all rows free to move, that of Lloyd's algorithm on the pooled rows, 1e-9.

    Raises `CallError` (`argument`), also for a column with one value; `PeerError`
    (`too_few_rows`, ...). Source: Lloyd 1982; Arthur and Vassilvitskii, "k-means++", 2007.
    """
    if not 1 <= k <= MAX_CLUSTERS:
        raise CallError("argument", f"expected 1 to {MAX_CLUSTERS} clusters, got `{k}`")
    if max_rounds < 1 or restarts < 1 or max_rounds * restarts > MAX_RUNS:
        raise CallError(
            "argument",
            f"expected max_rounds times restarts from 1 to {MAX_RUNS}, "
            f"got {max_rounds} times {restarts}",
        )
    variables = numbers_of(table, columns)
    names = list(variables)
    steps = Round("steps", "clusters", {"clusters": k, "variables": names}, max_rounds * restarts)
    rounds = (*moment_rounds(names), steps)
    with table.compute(Statistic("kmeans", table.rows(variables), rounds)) as job:
        moments = joint_moments(job, names)
        columns_vary(names, moments)
        rng = np.random.default_rng(seed)
        fits = [
            _lloyd(job, moments, centre_start(moments, k, rng), max_rounds) for _ in range(restarts)
        ]
        provenance = job.provenance
    return KMeansResult(provenance, names, moments, min(fits, key=_badness))


def centre_start(moments: JointMoments, k: int, rng: np.random.Generator) -> Reals:
    """Centres in standard units, float64[k, columns]: k-means++ over rows drawn from a normal
    distribution with the released correlations."""
    deviation = np.sqrt(np.diag(moments.covariance))
    values, vectors = np.linalg.eigh(moments.covariance / np.outer(deviation, deviation))
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    pool = rng.standard_normal((_POOL, len(deviation))) @ root.T
    centres = [pool[rng.integers(_POOL)]]
    nearest = np.full(_POOL, np.inf)
    while len(centres) < k:
        nearest = np.minimum(nearest, ((pool - centres[-1]) ** 2).sum(axis=1))
        centres.append(pool[rng.choice(_POOL, p=nearest / nearest.sum())])
    return np.array(centres)


def _lloyd(job: Computation, moments: JointMoments, centres: Reals, most: int) -> _Fit:
    standard = {CENTRES: moments.mean, SCALES: np.sqrt(np.diag(moments.covariance))}
    runs = 0
    still = False
    while runs < most and not still:
        runs += 1
        totals = job.run("steps", {**standard, CLUSTERS: centres})
        count, squares = totals.values[:, 0], totals.values[:, -1]
        step = totals.values[:, 1:-1] / np.maximum(count, 1.0)[:, None]
        centres = centres + step
        inertia = float((squares - count * (step**2).sum(axis=1)).sum())
        still = bool(np.abs(step).max() <= _STILL)
    sizes: npt.NDArray[np.int64] = np.rint(count).astype(np.int64)
    return _Fit(centres, sizes, totals.nodes[:, 0], inertia, runs)


def _badness(fit: _Fit) -> tuple[int, float]:
    """Fits that leave the fewest rows out come first, then those of the least inertia."""
    return -int(fit.sizes.sum()), fit.inertia
