"""A federated table as a person asks it for statistics."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Self

import sqlglot
from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import ParseError, TokenError
from yumen_core.errors import CallError
from yumen_core.privacy import Privacy
from yumen_core.privacy.sensitivity import refuse_statistic
from yumen_core.sql import Column
from yumen_core.statistics.statistic import Statistic

from yumen._arguments import expression, names
from yumen.display import Grid, html, plain
from yumen.result import Result
from yumen.statistics.source import Computation, Source, privacy_of


class Table:
    """Rows of one federated table, for one purpose.

    Made by `Federation.table`. `where` and `assign` give narrowed and extended views; nothing is
    asked of a node until a statistic is.
    """

    def __init__(
        self, source: Source, *, where: str = "", derived: Mapping[str, str] | None = None
    ) -> None:
        self._source = source
        self._where = where
        self._derived = dict(derived or {})

    @property
    def name(self) -> str:
        return self._source.schema.name

    @property
    def purpose(self) -> str:
        return self._source.purpose

    @property
    def privacy(self) -> Privacy | None:
        """What each statistic may cost at each node; None without noise."""
        return privacy_of(self._source)

    @property
    def columns(self) -> list[str]:
        """The table's columns, then those added by `assign`."""
        return [*(column.name for column in self._source.schema.columns), *self._derived]

    def where(self, condition: str) -> Self:
        """The rows that fulfil an SQL condition as well."""
        condition = self.sql(expression("condition", condition))
        both = f"({self._where}) AND ({condition})" if self._where else condition
        return type(self)(self._source, where=both, derived=self._derived)

    def assign(self, **expressions: str) -> Self:
        """The table with columns computed in each row, each an SQL expression."""
        for name in expressions:
            if self._source.schema.find(name) is not None:
                raise CallError("argument", f"expected a new column name, got `{name}`")
        added = {name: self.sql(expression(name, sql)) for name, sql in expressions.items()}
        derived = {**self._derived, **added}
        return type(self)(self._source, where=self._where, derived=derived)

    # What the methods in this package are made of ----------------------------------------------

    def column(self, name: str) -> Column | None:
        """The declared column of that name, or None for a column made by `assign`.

        Raises `CallError` (`sql_unknown_column`) for any other name.
        """
        if name in self._derived:
            return None
        found = self._source.schema.find(name)
        if found is None:
            close = difflib.get_close_matches(name, self.columns, n=3)
            hint = f"; near it: {', '.join(f'`{entry}`' for entry in close)}" if close else ""
            raise CallError(
                "sql_unknown_column",
                f"expected a column of table `{self.name}`, got `{name}`{hint}",
            )
        return found

    def sql(self, written: str) -> str:
        """An SQL expression over the table's own columns: columns of `assign` written out.

        Raises `CallError` (`sql_syntax`) for what is no expression.
        """
        if written in self.columns and not written.isidentifier():
            written = quoted(written)
        try:
            tree = sqlglot.parse_one(f"SELECT {written}", read=DuckDB)
        except (ParseError, TokenError):
            raise CallError(
                "sql_syntax",
                f"expected an SQL expression, got `{written[:200]}`",
                remedy=self._quoting(written),
            ) from None
        if not isinstance(tree, exp.Select) or len(tree.expressions) != 1:
            raise CallError("sql_syntax", f"expected one SQL expression, got `{written[:200]}`")
        if not self._derived:
            return written

        def written_out(node: exp.Expr) -> exp.Expr:
            if isinstance(node, exp.Column) and not node.table and node.name in self._derived:
                return exp.paren(sqlglot.parse_one(self._derived[node.name], read=DuckDB))
            return node

        found: str = tree.transform(written_out).expressions[0].sql(dialect=DuckDB)
        return found

    def rows(self, variables: Mapping[str, str], *, where: str = "") -> str:
        """The signed statement of a statistic's rows: `variables` maps the name that messages use
        to an SQL expression."""
        items = ", ".join(f"{self.sql(sql)} AS {quoted(name)}" for name, sql in variables.items())
        return f"SELECT {items} FROM {quoted(self.name)}{self._condition(where)}"  # noqa: S608

    def query(self, outputs: Sequence[str], *, by: Sequence[str] = (), where: str = "") -> Result:
        """A released aggregate of these rows: `outputs` are SQL with aggregates, `by` the group
        keys, which come first among the result's columns. Raises `CallError` (`privacy`) with
        privacy: what statistics make of a query does not know of noise."""
        if self.privacy is not None:
            raise refuse_statistic("a statistic made of a query")
        outputs, by = names("outputs", outputs), names("by", by)
        keys = [f"{self.sql(key)} AS {quoted(key)}" for key in by]
        group = f" GROUP BY {', '.join(str(at + 1) for at in range(len(by)))}" if by else ""
        items = ", ".join([*keys, *(self.sql(output) for output in outputs)])
        return self._source.query(
            f"SELECT {items} FROM {quoted(self.name)}{self._condition(where)}{group}"  # noqa: S608
        )

    def compute(self, statistic: Statistic) -> AbstractContextManager[Computation]:
        """One job of several secure sums; see `Source.compute`. Raises `CallError` (`privacy`) with
        privacy: those who ask so know nothing of noise (`NoisyTable` does)."""
        if self.privacy is not None:
            raise refuse_statistic(statistic.method)
        return self._source.compute(statistic)

    def _grid(self) -> Grid:
        columns = self._source.schema.columns
        rows = [
            (c.name, str(c.type), c.unit, "possible" if c.nullable else "never") for c in columns
        ]
        rows += [(name, f"= {sql}", "", "") for name, sql in self._derived.items()]
        notes = [f"rows where {self._where}"] if self._where else []
        return Grid(
            ("column", "type", "unit", "missing"),
            tuple(rows),
            notes=(*notes, f"purpose {self.purpose}"),
            title=f"table {self.name}",
        )

    def __repr__(self) -> str:
        return plain(self._grid())

    def _repr_html_(self) -> str:
        return html(self._grid())

    def _quoting(self, written: str) -> str:
        """What to write where `written` may be a name with a space in it."""
        for name in self.columns:
            if not name.isidentifier() and name in written:
                return f"names with spaces go in double quotes: `{quoted(name)}`"
        return ""

    def _condition(self, more: str) -> str:
        both = [part for part in (self._where, self.sql(more) if more else "") if part]
        return f" WHERE {' AND '.join(f'({part})' for part in both)}" if both else ""


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
