"""Principal components, from moments of all nodes together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from yumen_core.errors import CallError
from yumen_core.statistics.layout import Reals
from yumen_core.statistics.statistic import Statistic

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
from yumen.statistics.source import Provenance
from yumen.statistics.table import Table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


class PCAResult(Released):
    """Principal components, with scikit-learn's attribute names.

    `components_`, float64[c, k], has unit rows, each with its largest entry positive;
    `explained_variance_` and `explained_variance_ratio_`, float64[c]; `mean_` and `scale_`,
    float64[k], by which columns are centred and divided (1 without scaling); `n_samples_` rows.
    """

    def __init__(
        self,
        provenance: Provenance,
        *,
        columns: Sequence[str],
        moments: JointMoments,
        components: int,
        scale: bool,
    ) -> None:
        super().__init__(provenance)
        covariance = moments.covariance
        deviation = np.sqrt(np.diag(covariance))
        self.feature_names_in_ = tuple(columns)
        self.n_samples_ = moments.rows
        self.mean_: Reals = moments.mean
        self.scale_: Reals = deviation if scale else np.ones(len(columns))
        values, vectors = np.linalg.eigh(covariance / np.outer(self.scale_, self.scale_))
        order = np.argsort(-values, kind="stable")[:components]
        found = vectors[:, order].T
        largest = np.abs(found).argmax(axis=1)
        signs = np.sign(found[np.arange(len(found)), largest])
        self.components_: Reals = found * signs[:, None]
        self.explained_variance_: Reals = np.maximum(values[order], 0.0)
        self.explained_variance_ratio_: Reals = self.explained_variance_ / values.sum()
        self._nodes = int(moments.nodes[0])

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"PC{at + 1}" for at in range(len(self.components_)))

    def assign(self, table: Table) -> Table:
        """`table` with a column for each component, `PC1` and so on: the row's score."""
        variables = list(numbers_of(table, self.feature_names_in_).values())
        derived = {}
        for name, component in zip(self.names, self.components_, strict=True):
            slopes = component / self.scale_
            derived[name] = linear(-float(slopes @ self.mean_), slopes.tolist(), variables)
        return table.assign(**derived)

    def to_pandas(self) -> pd.DataFrame:
        """The loadings: a row for each column of the table, a column for each component."""
        import pandas as pd

        return pd.DataFrame(self.components_.T, list(self.feature_names_in_), list(self.names))

    def grids(self) -> Sequence[Grid]:
        ratio = self.explained_variance_ratio_
        shown = zip(
            self.names,
            format_numbers(self.explained_variance_.tolist()),
            format_numbers(ratio.tolist()),
            format_numbers(np.cumsum(ratio).tolist()),
            strict=True,
        )
        loadings = [format_numbers(row.tolist()) for row in self.components_]
        return (
            Grid(("component", "variance", "ratio", "cumulative"), tuple(shown), _RIGHT),
            Grid(
                ("column", *self.names),
                tuple(zip(self.feature_names_in_, *loadings, strict=True)),
                (False, *[True] * len(loadings)),
                ("", f"{counted(self.n_samples_, 'row')} of {counted(self._nodes, 'node')}"),
            ),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """The share of the variance by component. Raises `CallError` (`argument`) without
        matplotlib."""
        ax = axes(ax)
        at = np.arange(1, len(self.components_) + 1)
        ax.bar(at, self.explained_variance_ratio_)
        ax.plot(at, np.cumsum(self.explained_variance_ratio_), marker="o", color="0.3")
        ax.set_xticks(at, self.names)
        ax.set_ylabel("share of the variance, by itself and cumulative")
        return ax


_RIGHT = (False, True, True, True)


def pca(
    table: Table, columns: Sequence[str], *, components: int | None = None, scale: bool = True
) -> PCAResult:
    """Principal components of `columns` (names or SQL expressions of numbers) over complete rows.

    `scale=True` divides each column by its standard deviation (components of the correlations);
    `components` is how many to keep. Rounds: two. Leaves each node: rows, sums, sums of squares and
    cross products of the columns, of its complete rows, in secure sums; a node with fewer rows than
    its threshold or than three for each column gives nothing. Precision: 1e-9 of the largest
    variance; a component is as exact as its variance is distinct from the others'.

    Raises `CallError` (`argument`), also for a column with one value; `PeerError`
    (`too_few_rows`, ...). Source: Jolliffe, "Principal Component Analysis", 2002, chapter 2.
    """
    variables = numbers_of(table, columns)
    names = list(variables)
    kept = len(names) if components is None else components
    if not 1 <= kept <= len(names):
        raise CallError("argument", f"expected 1 to {len(names)} components, got `{components}`")
    with table.compute(Statistic("pca", table.rows(variables), moment_rounds(names))) as job:
        moments = joint_moments(job, names)
        provenance = job.provenance
    if scale:
        columns_vary(names, moments)
    return PCAResult(provenance, columns=names, moments=moments, components=kept, scale=scale)
