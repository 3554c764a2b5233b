"""Means and cross products of several columns at once, in the first two rounds of a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from yumen_core.errors import CallError, PeerError
from yumen_core.sql import ColumnType
from yumen_core.statistics.layout import Counts, Reals
from yumen_core.statistics.moments import CENTRES, MAX_COLUMNS, ROWS_A_COLUMN, SCALES
from yumen_core.statistics.statistic import Round

from yumen.statistics.moments_table import written
from yumen.statistics.source import Computation
from yumen.statistics.table import Table, quoted


@dataclass(frozen=True)
class JointMoments:
    """Released moments of k columns by pattern of missing values (`moments.Moments`).

    `count` and `nodes`, [patterns]; `sums`, float64[patterns, k], and `products`,
    float64[patterns, k, k], are of (x - centre) / scale, 0 where a pattern lacks a column.
    """

    count: Reals
    nodes: Counts
    centre: Reals
    scale: Reals
    sums: Reals
    products: Reals

    @property
    def rows(self) -> int:
        return int(self.count.sum())

    @property
    def mean(self) -> Reals:
        """Of each column, float64[k], where there is one pattern."""
        mean: Reals = self.centre + self.scale * self.sums[0] / self.count[0]
        return mean

    @property
    def covariance(self) -> Reals:
        """With n - 1, in the columns' own units, float64[k, k], where there is one pattern."""
        n, sums = self.count[0], self.sums[0]
        scaled = (self.products[0] - np.outer(sums, sums) / n) / (n - 1)
        found: Reals = scaled * np.outer(self.scale, self.scale)
        return found


def numbers_of(table: Table, columns: Sequence[str]) -> dict[str, str]:
    """The SQL of each column, a name or an expression, by what messages call it.

    Raises `CallError` (`argument`) for none, too many, one twice, or text; `sql_unknown_column`.
    """
    if isinstance(columns, str) or not 1 <= len(columns) <= MAX_COLUMNS:
        raise CallError("argument", f"expected a list of 1 to {MAX_COLUMNS} columns")
    for at, name in enumerate(columns):
        if name in columns[:at]:
            raise CallError("argument", f"expected each column once, got `{name}` twice")
        found = table.column(name) if name in table.columns else None
        if found is not None and found.type is ColumnType.TEXT:
            raise CallError(
                "argument",
                f"expected columns of numbers, got text in `{name}`",
                remedy=f"leave out `{name}`, or make a number of it with `table.assign`",
            )
    known = table.columns
    return {n: written(table, n) if n in known else f"({written(table, n)})" for n in columns}


def moment_rounds(names: Sequence[str], missing: Sequence[str] = ()) -> tuple[Round, Round]:
    """The rounds that `joint_moments` runs, to stand first in a job."""
    arguments = {"missing": list(missing), "variables": list(names)}
    return (
        Round("moments", "moments", {**arguments, "products": 0}),
        Round("products", "moments", {**arguments, "products": 1}),
    )


def joint_moments(
    job: Computation, names: Sequence[str], missing: Sequence[str] = ()
) -> JointMoments:
    """Run both rounds: centres and scales come from the first, cross products from the second.

    Raises `PeerError` (`too_few_rows`) where fewer than the fewest nodes have enough rows.
    """
    k = len(names)
    first = job.run("moments").values
    present = _present(names, missing)
    count = first[:, :1] * present
    if not count.sum(axis=0).all():
        raise _too_few(names, count)
    centre = first[:, 1 : 1 + k].sum(axis=0) / count.sum(axis=0)
    spread = first[:, 1 + k :].sum(axis=0) / count.sum(axis=0) - centre**2
    # A scale only has to be of the right size; below this the difference above has no digit left.
    scale = np.sqrt(np.maximum(spread, 1e-16 * centre**2))
    scale[scale < 1e-100] = 1.0
    second = job.run("products", {CENTRES: centre, SCALES: scale})
    products = np.zeros((len(present), k, k))
    rows, columns = np.triu_indices(k)
    products[:, rows, columns] = products[:, columns, rows] = second.values[:, 1 + k :]
    values = second.values
    return JointMoments(
        values[:, 0], second.nodes[:, 0], centre, scale, values[:, 1 : 1 + k], products
    )


def columns_vary(names: Sequence[str], moments: JointMoments) -> None:
    """Raise `CallError` (`argument`) that names the first column with one value in every row."""
    deviation = np.sqrt(np.diag(moments.covariance))
    for name, sd, mean in zip(names, deviation, moments.mean, strict=True):
        if not sd > 1e-13 * abs(mean):
            raise CallError(
                "argument",
                f"expected columns that vary, got `{name}` with one value",
                remedy=f"leave out `{name}`",
            )


def real(value: float) -> str:
    """A number as SQL reads it, to the last digit."""
    text = repr(float(value))
    return f"({text})" if "e" in text else f"({text}e0)"


def linear(constant: float, slopes: Sequence[float], variables: Sequence[str]) -> str:
    """`constant` and slope times variable as SQL; a slope of 0 leaves its variable out."""
    terms = [f"{real(slope)} * {v}" for slope, v in zip(slopes, variables, strict=True) if slope]
    return " + ".join([real(constant), *terms])


def renamed(columns: Mapping[str, str], suffix: str) -> dict[str, str]:
    """The names of derived columns, without the quotes of a name that was written in SQL's.

    Raises `CallError` (`argument`) for an empty suffix."""
    if not suffix:
        raise CallError("argument", "expected a suffix for the new columns' names, got none")
    return {name: f"{_unquoted(name)}{suffix}" for name in columns}


def _unquoted(name: str) -> str:
    inner = name[1:-1].replace('""', '"')
    return inner if len(name) > 2 and name == quoted(inner) else name


def _present(names: Sequence[str], missing: Sequence[str]) -> Reals:
    """1 where a pattern has a column, float64[patterns, k]."""
    present = np.ones((1 << len(missing), len(names)))
    for bit, name in enumerate(missing):
        absent = np.arange(len(present)) >> bit & 1 == 1
        present[absent, list(names).index(name)] = 0.0
    return present


def _too_few(names: Sequence[str], count: Reals) -> PeerError:
    lacking = [name for name, n in zip(names, count.sum(axis=0), strict=True) if not n]
    shown = ", ".join(f"`{name}`" for name in lacking[:5])
    return PeerError(
        "too_few_rows",
        f"expected the table's threshold of rows with {shown}, {ROWS_A_COLUMN} for each column and "
        "no few that make up a column's spread, at the least number of nodes, got fewer",
        remedy="ask with fewer columns or their logarithms, or choose other nodes",
    )
