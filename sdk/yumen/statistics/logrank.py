"""The log-rank test of equal survival in two or more groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from yumen_core.canonical import Json
from yumen_core.errors import CallError
from yumen_core.sql.schema import DomainValue
from yumen_core.statistics.layout import Counts, Reals
from yumen_core.statistics.life_table import logrank_terms
from yumen_core.statistics.statistic import Round, Statistic

from yumen.display import Grid, counted, format_numbers
from yumen.statistics.released import Released
from yumen.statistics.source import Provenance
from yumen.statistics.survival import expression, levels_of, life_table, survival_rows
from yumen.statistics.table import Table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class _Compared:
    """What the test is made of: rows, observed and expected events, [groups], and the covariance of
    observed less expected, float64[groups, groups]."""

    groups: tuple[DomainValue, ...]
    rows: Counts
    observed: Counts
    expected: Reals
    covariance: Reals
    notes: tuple[str, ...]
    provenance: Provenance


class LogrankResult(Released):
    """`test_statistic` is chi-square distributed with `degrees_of_freedom` if survival is equal;
    `p_value` is the chance of one as large. `observed` and `expected` events are by group."""

    test_name = "logrank_test"

    def __init__(self, compared: _Compared) -> None:
        super().__init__(compared.provenance)
        self.groups = compared.groups
        self.rows = compared.rows
        self.observed = compared.observed
        self.expected = compared.expected
        self._notes = compared.notes
        self.test_statistic, self.degrees_of_freedom = _statistic(
            self.observed - self.expected, compared.covariance
        )
        from scipy.stats import chi2  # scipy takes a while, and few calls need it

        self.p_value = float(chi2.sf(self.test_statistic, self.degrees_of_freedom))

    def to_pandas(self) -> pd.DataFrame:
        """One row: the statistic, p, and the degrees of freedom."""
        import pandas as pd

        return pd.DataFrame(
            {
                "test_statistic": [self.test_statistic],
                "p": [self.p_value],
                "degrees_of_freedom": [self.degrees_of_freedom],
            }
        )

    def grids(self) -> Sequence[Grid]:
        expected = format_numbers(self.expected.tolist())
        rows = tuple(
            (str(level), str(held), str(seen), wanted)
            for level, held, seen, wanted in zip(
                self.groups, self.rows.tolist(), self.observed.tolist(), expected, strict=True
            )
        )
        test = (
            f"log-rank statistic {self.test_statistic:.6g} with "
            f"{counted(self.degrees_of_freedom, 'degree of freedom', 'degrees of freedom')}, "
            f"p = {self.p_value:.4g}"
        )
        headers = ("group", "rows", "events", "expected")
        notes = ("", test, *self._notes)
        return [Grid(headers, rows, (False, True, True, True), notes)]


def logrank(
    table: Table,
    duration: str,
    event: str,
    by: str,
    *,
    strata: str | None = None,
    resolution: float | None = None,
    horizon: float | None = None,
) -> LogrankResult:
    """Whether the groups of `by`, two or more, survive alike.

    `strata=None`: the rows of all nodes together. Arguments, what leaves each node, and errors are
    those of `kaplan_meier`: every group has no rows at a node or enough in each cell of time.
    Where every cell is one distinct time the result is that of lifelines'
    `multivariate_logrank_test` on the pooled rows, to 1e-9 relative; rows of wider cells count as
    tied, which makes the test coarser.

    `strata="node"`: the stratified test, in which rows are compared within nodes, at exact times.
    Each node sends, by group, its rows, observed and expected events, and their covariance; no
    table of times. The result is that of statsmodels' `survdiff(strata=node)` on the pooled rows,
    to 1e-9 relative. With few rows prefer it.

    Source: N. Mantel, Cancer Chemotherapy Reports 50 (1966); R. Peto, J. Peto, JRSS A 135 (1972).
    """
    if strata not in (None, "node"):
        raise CallError("argument", f'expected `strata` to be "node" or None, got `{strata}`')
    if strata == "node":
        compared = _within_nodes(table, duration, event, by)
    else:
        compared = _pooled(table, duration, event, by, resolution, horizon)
    present = int((compared.rows > 0).sum())
    if present < 2:
        raise CallError("argument", f"expected two groups or more of `{by}`, got {present}")
    if not compared.observed.any():
        raise CallError("argument", f"expected events of `{event}`, got none")
    return LogrankResult(compared)


def _pooled(
    table: Table,
    duration: str,
    event: str,
    by: str,
    resolution: float | None,
    horizon: float | None,
) -> _Compared:
    found = life_table(
        table, "logrank", duration, event, by=by, resolution=resolution, horizon=horizon
    )
    expected, covariance = logrank_terms(found.removed, found.observed)
    notes = found.cells.notes()
    if not found.cells.exact:
        notes.append('for exact times ask with strata="node"')
    return _Compared(
        found.groups,
        found.removed.sum(axis=0),
        found.observed.sum(axis=0),
        expected,
        covariance,
        tuple(notes),
        found.provenance,
    )


def _within_nodes(table: Table, duration: str, event: str, by: str) -> _Compared:
    rows = survival_rows(table, duration, event, {by: expression(table, by)})
    levels = levels_of(rows, by)
    count = len(levels)
    if count < 2:
        raise CallError("argument", f"expected two groups or more of `{by}`, got {count}")
    arguments: dict[str, Json] = {
        "by": by,
        "duration": duration,
        "event": event,
        "groups": count,
    }
    statistic = Statistic("logrank", rows.sql, (Round("compare", "logrank_nodes", arguments),))
    with table.compute(statistic) as job:
        totals = job.run("compare").values[0]
        provenance = job.provenance
    each = totals[: 3 * count].reshape(count, 3)
    covariance = np.zeros((count, count))
    covariance[np.triu_indices(count)] = totals[3 * count :]
    return _Compared(
        levels,
        np.rint(each[:, 0]).astype(np.int64),
        np.rint(each[:, 1]).astype(np.int64),
        each[:, 2],
        covariance + np.triu(covariance, 1).T,
        ("rows are compared within nodes, at exact times",),
        provenance,
    )


def _statistic(difference: Reals, covariance: Reals) -> tuple[float, int]:
    """The quadratic form in any groups but one, and how many these are."""
    varied = np.diag(covariance) > 0
    kept = np.flatnonzero(varied)[:-1]
    if not len(kept):
        raise CallError("argument", "expected two groups with rows at risk at one time, got fewer")
    inner = covariance[np.ix_(kept, kept)]
    return float(difference[kept] @ np.linalg.solve(inner, difference[kept])), len(kept)
