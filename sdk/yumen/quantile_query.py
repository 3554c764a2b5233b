"""MEDIAN and QUANTILE_CONT in SQL: a statement answered by the statistic of quantiles, in one job.

Each quantile comes with a column `<name>_error`: the quantile of the rows lies within so much of
the value beside it (`yumen.statistics.quantiles`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from operator import itemgetter
from typing import cast

import pyarrow as pa
from yumen_core.errors import CallError
from yumen_core.sql import RowVariable, parse_rows
from yumen_core.sql.expression import Kind
from yumen_core.sql.schema import DomainValue

from yumen.quantile_statement import Means, QuantileStatement, read_statement
from yumen.report import CheckReport
from yumen.result import NODES_COLUMN, HeldBack, Result
from yumen.statistics.dry_run import Checkable, Decided, DryRun
from yumen.statistics.moments_table import written
from yumen.statistics.quantiles import Quantiles, quantile
from yumen.statistics.source import Source
from yumen.statistics.table import Table
from yumen.statistics.tree_rounds import ask

_EVERY_ROW = "1"
_TYPES = {
    Kind.TEXT: pa.string(),
    Kind.INTEGER: pa.int64(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.DATE: pa.date32(),
    Kind.TIMESTAMP: pa.timestamp("us"),
}
Line = list[object]


def quantile_query(source: Source, sql: str) -> Result:
    """The answer to a statement with quantiles over the source's table: one job.

    Leaves each node, precision and errors are those of `quantile`. Raises `CallError` as
    `read_statement` does besides.
    """
    asked = _Asked(source, read_statement(sql))
    found = quantile(asked.table, asked.columns, asked.shares, by=asked.by)
    return asked.result(found, sql)


def check_quantile_query(source: Source, sql: str) -> CheckReport:
    """Every party's decision on the statement, nothing computed."""
    stand_in = DryRun(cast(Checkable, source), source.schema, source.purpose)
    asked = _Asked(stand_in, read_statement(sql))
    try:
        quantile(asked.table, asked.columns, asked.shares, by=asked.by)
    except Decided as decided:
        return decided.report
    raise CallError("argument", "expected a statement that asks the nodes, got another")


def check_statement(source: Source, sql: str) -> None:
    """Raise `CallError` where `quantile_query` would, without asking anybody."""
    asked = _Asked(source, read_statement(sql))
    ask(asked.table, asked.columns, asked.by)


class _Asked:
    """A statement against a table: what `quantile` is asked, and what its answer means."""

    def __init__(self, source: Source, statement: QuantileStatement) -> None:
        self.statement = statement
        self.table = Table(source, where=statement.where)
        self.by = self._column(statement.by) if statement.by else None
        self.outputs = [
            replace(o, argument=self._column(o.argument)) if o.argument else o
            for o in statement.outputs
        ]
        found = dict.fromkeys(o.argument for o in self.outputs if o.argument)
        if any(o.means is Means.ROWS for o in self.outputs):
            found[self._rows_column(list(found))] = None
        self.columns = list(found)
        self.shares = sorted({o.q for o in self.outputs if o.means is Means.QUANTILE})

    def result(self, found: Quantiles, sql: str) -> Result:
        lines = self._chosen([self._line(found, group) for group in found.groups])
        origin = found.provenance
        nodes = len(origin.participants)
        columns = self._columns()
        values = [[line[at] for line in lines] for at in range(len(columns))]
        behind = [[nodes if value is not None else 0 for value in column] for column in values]
        released = [counts for counts, (_, _, key) in zip(behind, columns, strict=True) if not key]
        rows = pa.array([max(counts) for counts in zip(*released, strict=True)], type=pa.int64())
        names = [*(name for name, _, _ in columns), NODES_COLUMN]
        arrays = [pa.array(v, type=kind) for v, (_, kind, _) in zip(values, columns, strict=True)]
        counted = [pa.array(counts, type=pa.int64()) for counts in behind]
        held = [HeldBack(n, c.count(0)) for n, c in zip(names, behind, strict=False) if 0 in c]
        return Result(
            pa.Table.from_arrays([*arrays, rows], names=names),
            job_id=origin.job_ids[0],
            sql=sql,
            purpose=origin.purpose,
            participants=origin.participants,
            excluded=origin.excluded,
            held_back=tuple(held),
            elapsed_s=origin.elapsed_s,
            measure_nodes=pa.Table.from_arrays([*counted, rows], names=names),
            notes=tuple(self._notes(origin.rounds)),
        )

    def _column(self, text: str) -> str:
        """The declared name of a column that is written in other letters, else the text itself."""
        for column in self.table.columns:
            if column.casefold() == text.casefold():
                return column
        return text

    def _variable(self, text: str) -> RowVariable:
        schema = self.table._source.schema
        statement = self.table.rows({text: written(self.table, text)})
        return parse_rows(statement, {schema.name: schema}).variables[0]

    def _rows_column(self, columns: Sequence[str]) -> str:
        """A column with a value in every row, whose values count all rows."""
        full = (text for text in columns if not self._variable(text).expr.nullable)
        return next(full, _EVERY_ROW)

    def _line(self, found: Quantiles, group: DomainValue | None) -> Line:
        line: Line = []
        for output in self.outputs:
            match output.means:
                case Means.KEY:
                    line.append(self._key_value(group))
                case Means.ROWS | Means.COUNT:
                    text = output.argument or self._rows_column(self.columns)
                    line.append(found.rows_of(text, group) or None)
                case Means.QUANTILE:
                    bracket = found.at(output.argument, output.q, group)
                    known = not (math.isnan(bracket.estimate) or bracket.unknown)
                    line += [bracket.estimate, bracket.error] if known else [None, None]
        return line

    def _key_value(self, group: DomainValue | None) -> object:
        assert self.by is not None
        kind = self._variable(self.by).expr.kind
        if kind is Kind.DATE:
            return date.fromisoformat(str(group))
        return datetime.fromisoformat(str(group)) if kind is Kind.TIMESTAMP else group

    def _columns(self) -> list[tuple[str, pa.DataType | None, bool]]:
        """Name and type of each column of the result but `_nodes`, and whether it is the key."""
        columns: list[tuple[str, pa.DataType | None, bool]] = []
        for output in self.outputs:
            match output.means:
                case Means.KEY:
                    assert self.by is not None
                    kind = self._variable(self.by).expr.kind
                    columns.append((output.name, _TYPES.get(kind), True))
                case Means.ROWS | Means.COUNT:
                    columns.append((output.name, pa.int64(), False))
                case Means.QUANTILE:
                    columns.append((output.name, pa.float64(), False))
                    columns.append((output.error, pa.float64(), False))
        return columns

    def _chosen(self, lines: list[Line]) -> list[Line]:
        """In the statement's order, within its limit."""
        names = [name for name, _, _ in self._columns()]
        for entry in reversed(self.statement.order):
            at = names.index(self.outputs[entry.output].name)
            absent = [line for line in lines if line[at] is None]
            present = [line for line in lines if line[at] is not None]
            present.sort(key=itemgetter(at), reverse=entry.descending)
            lines = absent + present if entry.nulls_first else present + absent
        lines = lines[self.statement.offset :]
        return lines if self.statement.limit is None else lines[: self.statement.limit]

    def _notes(self, rounds: int) -> list[str]:
        notes = ["the quantile of all rows lies within the column `_error` of the value beside it"]
        if self.statement.discrete:
            notes.append("QUANTILE is answered as QUANTILE_CONT: between values, linearly")
        if self.by is not None and self._variable(self.by).expr.nullable:
            notes.append(f"rows without a value of {self.by} are left out")
        return [*notes, f"a statistic of {rounds} secure sums"]
