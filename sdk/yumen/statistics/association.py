"""Correlations and covariances of number columns, each pair over the rows that have both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from yumen_core.canonical import Json
from yumen_core.errors import CallError
from yumen_core.sql.schema import DomainValue
from yumen_core.statistics.kinds import Totals
from yumen_core.statistics.layout import Counts, Reals
from yumen_core.statistics.pair_moments import CENTRES, SCALES
from yumen_core.statistics.statistic import Round, Statistic

from yumen.display import Grid, counted, format_numbers
from yumen.statistics.cells import variables_of
from yumen.statistics.moments_table import label_of, written
from yumen.statistics.plot import axes
from yumen.statistics.released import Released
from yumen.statistics.source import Computation, Provenance
from yumen.statistics.table import Table

if TYPE_CHECKING:
    import pandas as pd

_HELD = "held back"
_ZERO_SHARE = 1e-28


class Association(Released):
    """Correlations or covariances. `values`, float64[groups, columns, columns], is NaN where held
    back or where a column has one value; `nobs` and `nodes`, int64 of that shape, count the rows
    and nodes behind each, 0 where held back. `pvalues` are of no correlation (NaN on the diagonal
    and for covariances)."""

    def __init__(
        self,
        provenance: Provenance,
        *,
        kind: str,
        columns: Sequence[str],
        by: str,
        groups: Sequence[DomainValue | None],
        values: Reals,
        nobs: Counts,
        nodes: Counts,
    ) -> None:
        super().__init__(provenance)
        self.kind, self.by = kind, by
        self.columns, self.groups = tuple(columns), tuple(groups)
        self.values, self.nobs, self.nodes = values, nobs, nodes
        self.pvalues = _pvalues(values, nobs) if kind == "corr" else np.full_like(values, np.nan)

    def to_pandas(self) -> pd.DataFrame:
        """The matrix as pandas gives it; with groups one below the other."""
        import pandas as pd

        names = list(self.columns)
        frames = [pd.DataFrame(part, index=names, columns=names) for part in self.values]
        if not self.by:
            return frames[0]
        return pd.concat(dict(zip(self.groups, frames, strict=True)), names=[self.by, "column"])

    def grids(self) -> Sequence[Grid]:
        grids = []
        for group, values, nodes in zip(self.groups, self.values, self.nodes, strict=True):
            rows = []
            for at, name in enumerate(self.columns):
                cells = [self._text(values[at, j], nodes[at, j]) for j in range(at + 1)]
                rows.append((name, *cells, *[""] * (len(self.columns) - at - 1)))
            corner = self.kind if not self.by else f"{self.by} {label_of(group)}"
            right = (False, *[True] * len(self.columns))
            grids.append(Grid((corner, *self.columns), tuple(rows), right))
        last = grids[-1]
        grids[-1] = Grid(last.headers, last.rows, last.numeric, tuple(self._notes()))
        return grids

    def plot(self, ax: Any = None, *, group: DomainValue | None = None) -> Any:
        """A heat map of one group (the first by default). Returns the Axes.

        Raises `CallError` (`argument`) for an unknown group, or without matplotlib.
        """
        if group is not None and group not in self.groups:
            raise CallError("argument", f"expected a group of `{self.by}`, got `{group}`")
        values = self.values[self.groups.index(group) if group is not None else 0]
        ax = axes(ax)
        most = 1.0 if self.kind == "corr" else float(np.nanmax(np.abs(values), initial=1e-300))
        image = ax.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most)
        ax.set_xticks(range(len(self.columns)), self.columns, rotation=45, ha="right")
        ax.set_yticks(range(len(self.columns)), self.columns)
        for (i, j), value in np.ndenumerate(values):
            if not np.isnan(value):
                ax.text(j, i, f"{value:.2g}", ha="center", va="center")
        ax.figure.colorbar(image, ax=ax)
        return ax

    def _text(self, value: float, nodes: int) -> str:
        if not nodes:
            return _HELD
        if self.kind == "corr" and not np.isnan(value):
            return f"{value:.4f}"
        return format_numbers([None if np.isnan(value) else float(value)])[0]

    def _notes(self) -> list[str]:
        notes = ["each pair over the rows that have both"]
        everyone = len(self.provenance.participants)
        fewer = int(((self.nodes > 0) & (self.nodes < everyone)).sum())
        if fewer:
            notes.append(
                f"{counted(fewer, 'value')} stand on fewer nodes than {everyone}: see `nodes`"
            )
        if (self.nodes == 0).any():
            notes.append(f"{_HELD}: too few rows or nodes behind the value")
        return notes


def corr(table: Table, columns: Sequence[str], *, by: str | None = None) -> Association:
    """Pearson's correlations of number columns or expressions, as pandas' `DataFrame.corr`: each
    pair over the rows that have both.

    One job of three secure sums. Precision: 1e-10. What leaves each node: for each column, and each
    pair of columns, by group, rows, sums, sums of squares and products, where it has rows enough,
    and not just a few in which a column differs from all others. Raises `CallError` (`argument`,
    `statistic`) for columns that are not numbers. Source: Pearson 1895; two passes as Chan, Golub
    and LeVeque 1983.
    """
    return _associated(table, columns, by, "corr")


def cov(table: Table, columns: Sequence[str], *, by: str | None = None) -> Association:
    """Sample covariances of number columns or expressions, as pandas' `DataFrame.cov`: each pair
    over the rows that have both, each variance over its column's. Otherwise as `corr`."""
    return _associated(table, columns, by, "cov")


def _associated(table: Table, columns: Sequence[str], by: str | None, kind: str) -> Association:
    names = _names(columns, by)
    texts = {name: written(table, name) for name in names}
    if by is not None:
        texts[by] = written(table, by)
    statement = table.rows(texts)
    variables = variables_of(table, statement)
    groups: tuple[DomainValue | None, ...] = (None,)
    if by is not None:
        levels = variables[by].levels
        if levels is None:
            raise CallError(
                "argument", f"expected `by` to have a declared domain or be a condition, got `{by}`"
            )
        groups = levels
    shared: dict[str, Json] = {"by": by or "", "groups": len(groups), "variables": list(names)}
    rounds = (
        Round("means", "moments_by", {**shared, "squares": 0}),
        Round("spread", "moments_by", {**shared, "squares": 1}),
        Round("pairs", "pair_moments", shared),
    )
    with table.compute(Statistic(kind, statement, rounds)) as job:
        values, nobs, nodes = _run(job, kind, len(groups), len(names))
        return Association(
            job.provenance,
            kind=kind,
            columns=names,
            by=by or "",
            groups=groups,
            values=values,
            nobs=nobs,
            nodes=nodes,
        )


def _run(job: Computation, kind: str, groups: int, columns: int) -> tuple[Reals, Counts, Counts]:
    shape = (groups, columns, columns)
    values, nobs, nodes = (
        np.full(shape, np.nan),
        np.zeros(shape, np.int64),
        np.zeros(shape, np.int64),
    )
    first = job.run("means")
    count, total = first.values[:, 0::2], first.values[:, 1::2]
    centres = np.divide(total, count, out=np.zeros(count.shape), where=count > 0)
    second = job.run("spread", {"centres": centres})
    variances = _variances(second)
    scales = np.sqrt(np.where(variances > 0, variances, 1.0))
    diagonal = np.arange(columns)
    nobs[:, diagonal, diagonal] = count.astype(np.int64)
    nodes[:, diagonal, diagonal] = second.nodes[:, 1:]
    own = variances if kind == "cov" else np.where(variances > 0, 1.0, np.nan)
    values[:, diagonal, diagonal] = np.where(second.nodes[:, 1:] > 0, own, np.nan)
    third = job.run("pairs", {CENTRES: centres, SCALES: scales})
    i, j = np.triu_indices(columns, 1)
    pairs = third.values.reshape(groups, len(i), 6)
    found = (
        _correlations(pairs)
        if kind == "corr"
        else _covariances(pairs) * scales[:, i] * scales[:, j]
    )
    held = third.nodes.reshape(groups, len(i))
    for at, other in ((i, j), (j, i)):
        values[:, at, other] = np.where(held > 0, found, np.nan)
        nobs[:, at, other] = pairs[:, :, 0].astype(np.int64)
        nodes[:, at, other] = held
    return values, nobs, nodes


def _variances(spread: Totals) -> Reals:
    """By group and variable, NaN below two rows and 0 where only rounding is left."""
    count, moved, squares = (spread.values[:, at::3] for at in range(3))
    with np.errstate(all="ignore"):
        around = squares - moved * moved / count
        return np.where(count > 1, np.maximum(around, 0.0) / (count - 1), np.nan)


def _covariances(pairs: Reals) -> Reals:
    """Of scaled values, float64[groups, pairs], NaN below two rows."""
    n, u, v, _, uv, _ = np.moveaxis(pairs, 2, 0)
    with np.errstate(all="ignore"):
        return np.where(n > 1, (uv - u * v / n) / (n - 1), np.nan)


def _correlations(pairs: Reals) -> Reals:
    n, u, v, uu, uv, vv = np.moveaxis(pairs, 2, 0)
    with np.errstate(all="ignore"):
        a, b = uu - u * u / n, vv - v * v / n
        flat = (a <= _ZERO_SHARE * n) | (b <= _ZERO_SHARE * n) | (n < 2)
        return np.where(flat, np.nan, np.clip((uv - u * v / n) / np.sqrt(a * b), -1.0, 1.0))


def _pvalues(values: Reals, nobs: Counts) -> npt.NDArray[np.float64]:
    """Two-sided, of no correlation (Student's t), NaN below three rows."""
    from scipy.stats import t

    with np.errstate(all="ignore"):
        df = (nobs - 2).astype(np.float64)
        statistic = np.abs(values) * np.sqrt(df / (1 - values * values))
        found = np.where(df > 0, 2 * t.sf(statistic, np.maximum(df, 1)), np.nan)
    for part in found:
        np.fill_diagonal(part, np.nan)
    return np.asarray(found, dtype=np.float64)


def _names(columns: Sequence[str], by: str | None) -> tuple[str, ...]:
    if isinstance(columns, str):
        raise CallError("argument", f"expected a list of columns, got the text `{columns}`")
    if len(columns) < 2 or len(set(columns)) != len(columns):
        raise CallError("argument", "expected two columns or more, each once")
    if by in columns:
        raise CallError("argument", f"expected groups by another column, got `{by}`")
    return tuple(columns)
