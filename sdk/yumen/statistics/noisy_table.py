"""A table asked with noise: `Federation.table(..., privacy=yumen.DP(epsilon=1.0))`.

Only what rests on counts and bounded moments is here. All else that a table offers makes of exact
sums what noise would spoil unseen (a p-value, a choice of columns, a fit), and is refused.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
from yumen_core.canonical import Json
from yumen_core.errors import CallError
from yumen_core.privacy import Privacy
from yumen_core.privacy.sensitivity import refuse_statistic
from yumen_core.sql import parse_rows
from yumen_core.sql.schema import DomainValue
from yumen_core.statistics.bounded_moments import Bounds, bounds_of
from yumen_core.statistics.histogram import MAX_BINS
from yumen_core.statistics.kinds import Totals
from yumen_core.statistics.layout import Reals
from yumen_core.statistics.rows import Variable
from yumen_core.statistics.statistic import Round, Statistic

from yumen.report import CheckReport
from yumen.statistics.describe import Columns, column_names, sort_columns
from yumen.statistics.dry_run import Checkable, Decided, DryRun
from yumen.statistics.entrance import bindable, checked
from yumen.statistics.methods import FederatedTable
from yumen.statistics.moments_table import titled, unit_of, written
from yumen.statistics.noisy import Key, Noisy, NoisyDescription, NoisyResult, NoisySums, share_of
from yumen.statistics.noisy_test import NoisyTTest
from yumen.statistics.source import Computation
from yumen.statistics.table import Table

_SURE = "with the noise of other levels and groups beside it: shares need not add up to 1"
_Lines = list[tuple[tuple[Key, ...], tuple[Noisy, ...]]]


class NoisyTable(Table):
    """Rows of one federated table, for one purpose, asked with noise.

        t = fed.table("heart", purpose="research", privacy=yumen.DP(epsilon=1.0))
        print(t.describe())

    Each method is one job and costs `privacy` at each node. `check` costs nothing.
    """

    @checked
    def describe(
        self, columns: Sequence[str] | None = None, *, by: str | None = None
    ) -> NoisyDescription:
        """Count, mean and standard deviation of number columns, count and share of the levels of
        others, in all rows or by the levels of `by`. No quantiles.

        Leaves each node, with noise: per group rows, sum and sum of squares of each number column,
        clipped to its bounds; rows by level. Raises `CallError` (`privacy`) for a number column
        without bounds, and as `FederatedTable.describe`.
        """
        return _describe(self, columns, by)

    @checked
    def crosstab(self, rows: str, columns: str) -> NoisyResult:
        """Counts by two columns or conditions with known levels; rows that lack either are left
        out. Leaves each node, with noise: the count of each cell."""
        if rows == columns:
            raise CallError("argument", f"expected two columns, got `{rows}` twice")
        variables, statement = _variables(self, [rows, columns])
        tables = [(rows, columns)]
        with _job(self, "crosstab", statement, [_counts(tables, variables)]) as job:
            counts = _tables(tables, variables, job.run("counts"))[rows, columns]
            levels, groups = _levels(variables, rows), _levels(variables, columns)
            lines: _Lines = [
                ((level, group), (counts[at][place],))
                for place, level in enumerate(levels)
                for at, group in enumerate(groups)
            ]
            return _result(self, job, f"{rows} by {columns}", (rows, columns), ("count",), lines)

    @checked
    def histogram(
        self, column: str, bins: int | Sequence[float] = 10, *, by: str | None = None
    ) -> NoisyResult:
        """Rows in bins: edges in rising order, or a number of equal bins over the declared bounds.
        Leaves each node, with noise: the rows in each bin, by group."""
        variables, statement = _variables(self, [column] if by is None else [column, by])
        edges = _edges(column, bins, variables[column])
        groups: Sequence[Key] = (None,) if by is None else _levels(variables, by)
        arguments: dict[str, Json] = {
            "by": by or "",
            "edges": [repr(edge) for edge in edges],
            "groups": len(groups),
            "variable": column,
        }
        with _job(self, "histogram", statement, [Round("bins", "bins", arguments)]) as job:
            totals = job.run("bins")
            found = _column(totals, 0)
            lines: _Lines = []
            for at, group in enumerate(groups):
                for place, (low, high) in enumerate(pairwise(edges)):
                    key = () if by is None else (group,)
                    value = found[at * (len(edges) - 1) + place]
                    lines.append(((*key, low, high), (value,)))  # type: ignore[arg-type]
            keys = (*([] if by is None else [by]), "from", "to")
            return _result(self, job, titled(column, unit_of(self, column)), keys, ("rows",), lines)

    @checked
    def proportion(self, outcome: str) -> NoisyResult:
        """The proportion of rows that have an outcome: a boolean column or a condition. Leaves each
        node, with noise: rows with and without it."""
        return _proportions(self, outcome, None)

    @checked
    def proportions(self, outcome: str, *, by: str) -> NoisyResult:
        """Proportions of an outcome by the levels of `by`; as `proportion`."""
        return _proportions(self, outcome, by)

    @checked
    def t_test(self, column: str, *, by: str) -> NoisyTTest:
        """Welch's test of the means of two groups, with the noise in its errors. Leaves each node,
        with noise: by group rows, sum and sum of squares, clipped to the column's bounds."""
        variables, statement = _variables(self, [column, by])
        groups, bounds = _levels(variables, by), bounds_of(variables[column], column)
        if len(groups) != 2:
            raise CallError("argument", f"expected two groups of `{by}`, got {len(groups)}")
        asked = _moments([column], [bounds], by, len(groups))
        with _job(self, "t_test", statement, [asked]) as job:
            totals = job.run("moments")
            parts = zip(*(_column(totals, at) for at in range(3)), strict=True)
            a, b = (NoisySums(rows, sums, squares, bounds) for rows, sums, squares in parts)
            title = f"{titled(column, unit_of(self, column))} by {by}"
            return NoisyTTest(
                job.provenance, _privacy(self), title=title, groups=groups, sums=(a, b)
            )

    def check(self, method: str, *arguments: object, **options: object) -> CheckReport:
        """Ask every party whether it would take part, and what it would cost. No row is touched,
        and nothing is spent. As `FederatedTable.check`."""
        if method not in METHODS:
            raise _unknown(method)
        source: Checkable = self._source  # type: ignore[assignment]
        dry = DryRun(source, self._source.schema, self.purpose)
        asked = type(self)(dry, where=self._where, derived=self._derived)
        bindable(getattr(asked, method), arguments, options)
        try:
            getattr(asked, method)(*arguments, **options)
        except Decided as decided:
            return decided.report
        raise CallError("argument", f"expected a method that asks the nodes, got `{method}`")

    def __getattr__(self, name: str) -> object:
        if name.startswith("_") or not hasattr(FederatedTable, name):
            raise AttributeError(f"`NoisyTable` has no attribute `{name}`")
        raise refuse_statistic(name)


METHODS = ("crosstab", "describe", "histogram", "proportion", "proportions", "t_test")


def _unknown(method: str) -> CallError:
    if hasattr(FederatedTable, method) and not method.startswith("_"):
        return refuse_statistic(method)
    near = difflib.get_close_matches(method, METHODS, n=1)
    hint = f"; near it: `{near[0]}`" if near else ""
    return CallError(
        "argument", f"expected a method among {', '.join(METHODS)}, got `{method}`{hint}"
    )


def _describe(table: Table, columns: Sequence[str] | None, by: str | None) -> NoisyDescription:
    names = column_names(table, columns, by)
    found, _ = sort_columns(table, names, by)
    variables, statement = _variables(table, names if by is None else [*names, by])
    groups: Sequence[Key] = (None,) if by is None else _levels(variables, by)
    bounds = [bounds_of(variables[name], name) for name in found.numbers]
    tables = [(name, by or "") for name in found.levels]
    rounds = [_counts(tables, variables)] if tables else []
    if bounds:
        rounds.append(_moments(found.numbers, bounds, by, len(groups)))
    numbers = levels = None
    with _job(table, "describe", statement, rounds) as job:
        counts = _tables(tables, variables, job.run("counts")) if tables else {}
        totals = job.run("moments") if bounds else None
        keys = ("column", *([] if by is None else [by]))
        if totals is not None:
            lines = _number_lines(found, bounds, groups, by, totals)
            notes = ("numbers are clipped to their bounds; quantiles are not asked with privacy",)
            numbers = _result(table, job, "", keys, ("count", "mean", "SD"), lines, notes=notes)
        if tables:
            lines = []
            for (name, _), cells in counts.items():
                lines += _level_lines(name, _levels(variables, name), groups, by, cells)
            levels = _result(table, job, "", (*keys, "level"), ("count", "share"), lines, (_SURE,))
        return NoisyDescription(job.provenance, numbers, levels)


def _number_lines(
    columns: Columns, bounds: Sequence[Bounds], groups: Sequence[Key], by: str | None, got: Totals
) -> _Lines:
    lines: _Lines = []
    for at, (name, within) in enumerate(zip(columns.numbers, bounds, strict=True)):
        rows, sums, squares = (_column(got, 3 * at + part) for part in range(3))
        for place, group in enumerate(groups):
            own = NoisySums(rows[place], sums[place], squares[place], within)
            key = (name,) if by is None else (name, group)
            lines.append((key, (own.rows, own.mean, own.standard_deviation)))
    return lines


def _level_lines(
    name: str,
    levels: Sequence[DomainValue],
    groups: Sequence[Key],
    by: str | None,
    cells: Sequence[Sequence[Noisy]],
) -> _Lines:
    lines: _Lines = []
    for group, counts in zip(groups, cells, strict=True):
        known = counts[: len(levels)]
        for at, level in enumerate(levels):
            others = [one for place, one in enumerate(known) if place != at]
            key = (name, level) if by is None else (name, group, level)
            lines.append((key, (known[at], share_of(known[at], _sum(others)))))
    return lines


def _proportions(table: Table, outcome: str, by: str | None) -> NoisyResult:
    if by == outcome:
        raise CallError("argument", f"expected two columns, got `{outcome}` twice")
    variables, statement = _variables(table, [outcome] if by is None else [outcome, by])
    levels = _levels(variables, outcome)
    if set(levels) != {0, 1}:
        raise CallError(
            "argument",
            f"expected `{outcome}` to be a condition or a boolean column, got {len(levels)} levels",
            remedy="write a condition, such as stage = 'III'",
        )
    groups: Sequence[Key] = (None,) if by is None else _levels(variables, by)
    tables = [(outcome, by or "")]
    with _job(table, "proportion", statement, [_counts(tables, variables)]) as job:
        cells = _tables(tables, variables, job.run("counts"))[outcome, by or ""]
        no, yes = levels.index(0), levels.index(1)
        lines: _Lines = []
        for group, counts in zip(groups, cells, strict=True):
            with_it, without = counts[yes], counts[no]
            values = (with_it, _sum([with_it, without]), share_of(with_it, without))
            lines.append((() if by is None else (group,), values))
        keys = () if by is None else (by,)
        return _result(table, job, outcome, keys, ("count", "rows", "proportion"), lines)


def _variables(table: Table, texts: Sequence[str]) -> tuple[dict[str, Variable], str]:
    """What is public of these columns or expressions, and the statement that reads them."""
    statement = table.rows({text: written(table, text) for text in texts})
    schema = table._source.schema
    plan = parse_rows(statement, {schema.name: schema})
    return {v.name: Variable.of(v) for v in plan.variables}, statement


def _levels(variables: dict[str, Variable], name: str) -> tuple[DomainValue, ...]:
    levels = variables[name].levels
    if levels is None:
        raise CallError(
            "argument",
            f"expected `{name}` to have a declared domain or to be a condition, got values not "
            "known beforehand",
            remedy="write bands, such as CASE WHEN age < 50 THEN 'under 50' ELSE '50 and over' END",
        )
    return levels


def _counts(tables: Sequence[tuple[str, str]], variables: dict[str, Variable]) -> Round:
    listed: list[Json] = [
        [of, len(_levels(variables, of)), by, len(_levels(variables, by)) if by else 1]
        for of, by in tables
    ]
    return Round("counts", "counts_by", {"tables": listed})


def _moments(names: Sequence[str], bounds: Sequence[Bounds], by: str | None, groups: int) -> Round:
    listed: list[Json] = [
        [name, repr(one.low), repr(one.high)] for name, one in zip(names, bounds, strict=True)
    ]
    arguments: dict[str, Json] = {"by": by or "", "groups": groups, "variables": listed}
    return Round("moments", "bounded_moments", arguments)


@contextmanager
def _job(
    table: Table, method: str, statement: str, rounds: Sequence[Round]
) -> Iterator[Computation]:
    with table._source.compute(Statistic(method, statement, tuple(rounds))) as job:
        yield job


def _column(totals: Totals, at: int) -> list[Noisy]:
    """One value of each cell."""
    deviation = totals.deviations[at]
    return [Noisy(value, deviation) for value in totals.values[:, at].tolist()]


def _tables(
    tables: Sequence[tuple[str, str]], variables: dict[str, Variable], totals: Totals
) -> dict[tuple[str, str], list[list[Noisy]]]:
    """By table the counts [groups][levels], without those of rows that lack a level."""
    every, start = _column(totals, 0), 0
    found = {}
    for of, by in tables:
        wide = len(_levels(variables, of)) + 1
        groups = len(_levels(variables, by)) if by else 1
        cells = [every[start + at * wide : start + (at + 1) * wide - 1] for at in range(groups)]
        found[of, by] = cells
        start += groups * wide
    return found


def _sum(parts: Sequence[Noisy]) -> Noisy:
    return Noisy(
        math.fsum(part.value for part in parts),
        math.sqrt(math.fsum(part.deviation**2 for part in parts)),
    )


def _result(
    table: Table,
    job: Computation,
    title: str,
    keys: Sequence[str],
    measures: Sequence[str],
    lines: _Lines,
    notes: Sequence[str] = (),
) -> NoisyResult:
    return NoisyResult(
        job.provenance,
        _privacy(table),
        title=title,
        keys=keys,
        measures=measures,
        lines=lines,
        notes=notes,
    )


def _privacy(table: Table) -> Privacy:
    assert table.privacy is not None
    return table.privacy


def _edges(column: str, bins: int | Sequence[float], variable: Variable) -> list[float]:
    if not isinstance(bins, int):
        edges = [float(edge) for edge in bins]
        if not (2 <= len(edges) <= MAX_BINS + 1 and _rise(edges)):
            raise CallError(
                "argument", f"expected finite edges of 1 to {MAX_BINS} bins, in rising order"
            )
        return edges
    if not 1 <= bins <= MAX_BINS:
        raise CallError("argument", f"expected 1 to {MAX_BINS} bins, got `{bins}`")
    bounds = bounds_of(variable, column)
    spaced: Reals = np.linspace(bounds.low, bounds.high, bins + 1)
    return [float(edge) for edge in spaced]


def _rise(edges: Sequence[float]) -> bool:
    return all(map(math.isfinite, edges)) and all(a < b for a, b in pairwise(edges))
