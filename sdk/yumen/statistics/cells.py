"""One job of counts by level and moments by group: what descriptions and tests of counts ask for.

Counts are exact over all nodes or not released at all (`counts_by`). Moments leave out a node with
too few rows in a group (`moments_by`); they stand on `Moments.nodes`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from yumen_core.canonical import Json
from yumen_core.errors import CallError
from yumen_core.sql import parse_rows
from yumen_core.sql.schema import DomainValue
from yumen_core.statistics.kinds import Totals
from yumen_core.statistics.layout import Counts, Reals
from yumen_core.statistics.moments_by import CENTRES
from yumen_core.statistics.rows import Variable
from yumen_core.statistics.statistic import Round, Statistic

from yumen.statistics.moments_table import Moments, written
from yumen.statistics.quantile_part import QuantilePart
from yumen.statistics.quantiles import Quantiles
from yumen.statistics.source import Computation, Provenance
from yumen.statistics.table import Table

HIDDEN = -1

Levels = tuple[DomainValue, ...]


@dataclass(frozen=True)
class CountTable:
    """Rows by group and level: `counts` is int64[groups, levels + 1], the last column for rows
    without a level, `HIDDEN` where a cell was not released (held back, or without a row)."""

    levels: Levels
    groups: tuple[DomainValue | None, ...]
    counts: Counts

    @property
    def known(self) -> Counts:
        """The counts of the levels alone, int64[groups, levels]."""
        known: Counts = self.counts[:, :-1]
        return known

    @property
    def missing(self) -> list[int]:
        """Rows without a level, by group."""
        return [int(count) for count in self.counts[:, -1]]


@dataclass(frozen=True)
class Cells:
    """What the job gave: `counts` by pair (of, by), `moments` by variable (one per group, None
    where held back); `groups` are the levels of the moments' `by`, or None alone."""

    provenance: Provenance
    groups: tuple[DomainValue | None, ...] = (None,)
    counts: Mapping[tuple[str, str], CountTable] = field(default_factory=dict)
    moments: Mapping[str, tuple[Moments | None, ...]] = field(default_factory=dict)
    quantiles: Quantiles | None = None


@dataclass(frozen=True)
class Question:
    """`texts` are columns or SQL expressions by the name that messages use. `tables` are pairs (of,
    by) of such names, `by` empty for none; `numbers` are those whose moments are asked, by `by`;
    `ordered` are those of them whose `quantiles` are asked as well."""

    method: str
    texts: Mapping[str, str]
    tables: Sequence[tuple[str, str]] = ()
    numbers: Sequence[str] = ()
    by: str = ""
    ordered: Sequence[str] = ()
    quantiles: Sequence[float] = ()


def ask(table: Table, question: Question) -> Cells:
    """Submit the question as one job: one secure sum for counts, two for moments, a few more for
    quantiles.

    Raises `CallError` (`statistic`) for a variable without levels or numbers where these are
    needed, `PeerError` where a node refuses.
    """
    statement = table.rows({name: written(table, t) for name, t in question.texts.items()})
    variables = variables_of(table, statement)
    groups = _levels(variables, question.by) if question.by else (None,)
    rounds = _rounds(question, variables, len(groups))
    quantiles = None
    if question.quantiles and question.ordered:
        quantiles = QuantilePart(table, question.ordered, question.by, question.quantiles)
        rounds += quantiles.rounds
    with table.compute(Statistic(question.method, statement, rounds)) as job:
        counts = {}
        if question.tables:
            counts = _tables(question, variables, job.run("counts"))
        moments: dict[str, tuple[Moments | None, ...]] = {}
        if question.numbers:
            moments = _two_rounds(job, question.numbers, len(groups))
        found = None if quantiles is None else quantiles.run(job, moments)
        return Cells(job.provenance, groups, counts, moments, found)


def variables_of(table: Table, statement: str) -> dict[str, Variable]:
    """What is public of a statement's variables. Raises `CallError` as `sql.parse_rows`."""
    schema = table._source.schema
    plan = parse_rows(statement, {schema.name: schema})
    return {v.name: Variable(v.name, v.numeric, v.levels) for v in plan.variables}


def _rounds(
    question: Question, variables: Mapping[str, Variable], groups: int
) -> tuple[Round, ...]:
    rounds: list[Round] = []
    if question.tables:
        tables: list[Json] = [
            [of, len(_levels(variables, of)), by, len(_levels(variables, by)) if by else 1]
            for of, by in question.tables
        ]
        rounds.append(Round("counts", "counts_by", {"tables": tables}))
    if question.numbers:
        for squares, name in enumerate(("means", "spread")):
            arguments: dict[str, Json] = {
                "by": question.by,
                "groups": groups,
                "squares": squares,
                "variables": list(question.numbers),
            }
            rounds.append(Round(name, "moments_by", arguments))
    return tuple(rounds)


def _levels(variables: Mapping[str, Variable], name: str) -> Levels:
    levels = variables[name].levels
    if levels is None:
        raise CallError(
            "argument",
            f"expected `{name}` to have a declared domain or to be a condition, got values not "
            "known beforehand",
            remedy="write bands, such as CASE WHEN age < 50 THEN 'under 50' ELSE '50 and over' END",
        )
    return levels


def _tables(
    question: Question, variables: Mapping[str, Variable], totals: Totals
) -> dict[tuple[str, str], CountTable]:
    counted = np.where(totals.nodes[:, 0] > 0, np.rint(totals.values[:, 0]), HIDDEN)
    found = {}
    start = 0
    for of, by in question.tables:
        levels = _levels(variables, of)
        groups = _levels(variables, by) if by else (None,)
        shape = (len(groups), len(levels) + 1)
        size = shape[0] * shape[1]
        cells = counted[start : start + size].reshape(shape).astype(np.int64)
        found[of, by] = CountTable(levels, groups, cells)
        start += size
    return found


def _two_rounds(
    job: Computation, names: Sequence[str], groups: int
) -> dict[str, tuple[Moments | None, ...]]:
    means = _means(job.run("means"), (groups, len(names)))
    return _moments(names, means, job.run("spread", {CENTRES: means}))


def _means(totals: Totals, shape: tuple[int, int]) -> Reals:
    """Means by group and variable, 0 where nothing was released."""
    count, total = totals.values[:, 0::2], totals.values[:, 1::2]
    return np.divide(total, count, out=np.zeros(shape), where=count > 0)


def _moments(
    names: Sequence[str], centres: Reals, totals: Totals
) -> dict[str, tuple[Moments | None, ...]]:
    found: dict[str, tuple[Moments | None, ...]] = {}
    for at, name in enumerate(names):
        parts: list[Moments | None] = []
        for group, row in enumerate(totals.values):
            count, moved, squares = row[3 * at : 3 * at + 3].tolist()
            nodes = int(totals.nodes[group, at + 1])
            if not nodes or not count:
                parts.append(None)
                continue
            mean = float(centres[group, at]) + moved / count
            around = squares - moved * moved / count
            if around <= count * (4 * np.spacing(abs(mean))) ** 2:
                around = 0.0  # one value alone: what is left is the rounding of its mean
            variance = around / (count - 1) if count > 1 else math.nan
            parts.append(Moments(int(count), mean, variance, nodes))
        found[name] = tuple(parts)
    return found
