"""Count, mean and variance by group, from one exact query."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from yumen_core.errors import CallError
from yumen_core.sql import Column, parse_rows
from yumen_core.sql.schema import DomainValue

from yumen.display import counted, format_value
from yumen.result import NODES_COLUMN, Result
from yumen.statistics.source import Provenance
from yumen.statistics.table import Table, quoted


@dataclass(frozen=True)
class Moments:
    """`count` rows with a value, their mean and sample variance (NaN below two rows), in the units
    of the column; `nodes` stand behind them."""

    count: int
    mean: float
    variance: float
    nodes: int

    @property
    def standard_deviation(self) -> float:
        return math.sqrt(self.variance) if self.variance >= 0 else math.nan

    @property
    def standard_error(self) -> float:
        return math.sqrt(self.variance / self.count) if self.variance >= 0 else math.nan


@dataclass(frozen=True)
class GroupMoments:
    """Moments by group, in the order of the groups' declared values. Without groups there is one
    of the name None. `absent` counts the groups that have no rows or are held back."""

    groups: tuple[DomainValue | None, ...]
    moments: tuple[Moments, ...]
    provenance: Provenance
    absent: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """Which groups leave nodes out, and how many groups are not here."""
        everyone = len(self.provenance.participants)
        notes = [
            left_out(label_of(group), part.nodes, everyone)
            for group, part in zip(self.groups, self.moments, strict=True)
            if part.nodes < everyone
        ]
        if self.absent:
            groups = counted(self.absent, "group")
            notes.append(f"{groups} left out: no rows, or too few rows or nodes behind it")
        return tuple(notes)


def written(table: Table, text: str) -> str:
    """The SQL of a column name or of an expression over the table's columns.

    Raises `CallError` (`argument`, `sql_unknown_column`, `sql_syntax`).
    """
    if not text.strip():
        raise CallError("argument", "expected a column or an SQL expression, got an empty text")
    if text in table.columns:
        return quoted(text)
    if text.isidentifier():
        table.column(text)  # says which names are near
    return text


def declared(table: Table, text: str) -> Column | None:
    """The declared column of that name, or None for an expression or a column of `assign`."""
    return table.column(text) if text in table.columns else None


def unit_of(table: Table, text: str) -> str:
    """The declared unit of a column; empty where there is none."""
    column = declared(table, text)
    return "" if column is None else column.unit


def titled(text: str, unit: str) -> str:
    """A column's name with its unit."""
    return f"{text} ({unit})" if unit else text


def label_of(value: DomainValue | None) -> str:
    return "all" if value is None else format_value(value)


def left_out(what: str, nodes: int, everyone: int) -> str:
    return f"{what} stands on {counted(nodes, 'node')} of {everyone}: the others have too few rows"


def provenance_of(result: Result) -> Provenance:
    return Provenance(
        result.purpose, (result.job_id,), result.participants, result.excluded, 1, result.elapsed_s
    )


def group_moments(table: Table, text: str, by: str | None = None) -> GroupMoments:
    """Count, mean and variance of a column or expression by the levels of `by`; rows that lack
    either are left out. Exact: sums of integers and decimals are, those of floats lose less than
    1e-13 of their size.

    A group with too few rows, or too few nodes behind it, is not among the result's.
    """
    value = written(table, text)
    key = None if by is None else written(table, by)
    outputs = [f"COUNT({value}) AS n", f"AVG({value}) AS m", f"VAR_SAMP({value}) AS v"]
    if key is None:
        result = table.query(outputs)
    else:
        result = table.query(outputs, by=[key], where=f"({key}) IS NOT NULL")
    rows = [tuple(row.values()) for row in result]
    nodes = _nodes(result)
    groups, moments = [], []
    for row, behind in zip(rows, nodes, strict=True):
        group = None if key is None else cast("DomainValue", row[0])
        count, mean, variance = row[0 if key is None else 1 :][:3]
        if count and mean is not None and behind:
            groups.append(group)
            spread = math.nan if variance is None else float(str(variance))
            moments.append(Moments(int(str(count)), float(str(mean)), spread, behind))
    absent = 0 if key is None else result.empty_cells + len(rows) - len(groups)
    if key is not None and _can_be_null(table, key):
        absent -= 1  # the group without `by`, which the condition leaves empty
    return GroupMoments(tuple(groups), tuple(moments), provenance_of(result), absent)


def pooled_moments(parts: Iterable[Moments]) -> Moments:
    """The moments of several groups together (Chan, Golub and LeVeque 1983)."""
    kept = [part for part in parts if part.count]
    count = sum(part.count for part in kept)
    if not count:
        return Moments(0, math.nan, math.nan, 0)
    mean = math.fsum(part.count * part.mean for part in kept) / count
    squares = math.fsum(_squares(part) for part in kept)
    squares += math.fsum(part.count * (part.mean - mean) ** 2 for part in kept)
    variance = squares / (count - 1) if count > 1 else math.nan
    return Moments(count, mean, variance, min(part.nodes for part in kept))


def within_squares(parts: Sequence[Moments]) -> float:
    """Sum of squares around the groups' own means."""
    return math.fsum(_squares(part) for part in parts)


def _can_be_null(table: Table, key: str) -> bool:
    schema = table._source.schema
    found = parse_rows(table.rows({"by": key}), {schema.name: schema}).variables[0].key
    return found is not None and found.nullable


def _squares(part: Moments) -> float:
    return (part.count - 1) * part.variance if part.count > 1 else 0.0


def _nodes(result: Result) -> list[int]:
    """Nodes behind each row's mean."""
    if result.measure_nodes is None:
        return [int(str(row[NODES_COLUMN])) for row in result]
    return [int(count or 0) for count in result.measure_nodes["m"].to_pylist()]
