"""Reading a statement that asks for medians and quantiles: what it may hold, and what it means.

Such a statement is answered by a statistic of several secure sums, so it takes less than a query
does: one table, one group key at most, counts and quantiles, and ORDER BY and LIMIT on the result.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from yumen_core.errors import CallError
from yumen_core.sql.source import Source

_WORDS = re.compile(r"\b(median|quantile|quantile_cont|percentile_cont|approx_quantile)\s*\(", re.I)
_QUANTILES = (exp.Median, exp.PercentileCont, exp.Quantile, exp.ApproxQuantile)
_CLAUSES = ("expressions", "from_", "where", "group", "order", "limit", "offset")
_OUTPUTS = "beside a quantile SELECT takes the group key, COUNT and quantiles"
_ALONE = "ask other aggregates in a statement of their own"


class Means(StrEnum):
    KEY = "key"
    ROWS = "rows"
    COUNT = "count"
    QUANTILE = "quantile"


@dataclass(frozen=True)
class Output:
    """One output by name: of `argument`, an SQL expression over a row, the quantile `q` or the
    count of values; the group key; or the count of rows. `error` names a quantile's second column.
    """

    name: str
    means: Means
    argument: str = ""
    q: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Ordering:
    """The output of that number, as DuckDB sorts."""

    output: int
    descending: bool
    nulls_first: bool


@dataclass(frozen=True)
class QuantileStatement:
    """`by` and `where` are SQL expressions over a row, empty for none. `discrete` says whether
    QUANTILE was written, which other databases read as one of the values."""

    table: str
    outputs: tuple[Output, ...]
    by: str = ""
    where: str = ""
    order: tuple[Ordering, ...] = ()
    limit: int | None = None
    offset: int = 0
    discrete: bool = field(default=False)


def asks_quantiles(sql: str) -> bool:
    """Whether `sql` calls a quantile function; text and names that only look like it do not."""
    if not isinstance(sql, str) or _WORDS.search(sql) is None:
        return False
    try:
        return Source(sql).tree.find(*_QUANTILES) is not None
    except CallError:
        return False  # the statement is refused by the reader of queries, with the place


def read_statement(sql: str) -> QuantileStatement:
    """Raises `CallError` (`sql_unsupported`) with the place of what no such statement can hold."""
    return _Statement(sql).read()


class _Statement:
    def __init__(self, sql: str) -> None:
        self._source = Source(sql)
        self._select = self._source.tree
        self._items = [
            (entry.alias, entry.this) if isinstance(entry, exp.Alias) else ("", entry)
            for entry in self._select.expressions
        ]
        self._taken: set[str] = {"_nodes"}

    def read(self) -> QuantileStatement:
        for name, value in self._select.args.items():
            if value and name not in _CLAUSES:
                node = value[0] if isinstance(value, list) else value
                place = node if isinstance(node, exp.Expr) else self._select
                raise self._source.unsupported(
                    place,
                    "a statement with a quantile is SELECT, FROM, WHERE, GROUP BY, ORDER BY, LIMIT",
                )
        table = self._table()
        where = self._select.args.get("where")
        by = self._key()
        return QuantileStatement(
            table,
            outputs := tuple(self._output(alias, node, by) for alias, node in self._items),
            by,
            "" if where is None else self._row(where.this),
            self._order(outputs, by),
            self._whole("limit"),
            self._whole("offset") or 0,
            self._select.find(exp.Quantile) is not None,
        )

    def _table(self) -> str:
        source = self._select.args.get("from_")
        found = None if source is None else source.this
        if not isinstance(found, exp.Table) or found.args.get("db") or found.args.get("joins"):
            raise self._source.unsupported(
                found or self._select, "a statement with a quantile reads one table by its name"
            )
        return found.name

    def _key(self) -> str:
        group = self._select.args.get("group")
        if group is None:
            return ""
        if [name for name, value in group.args.items() if value] != ["expressions"]:
            raise self._source.unsupported(group, "GROUP BY takes one column or expression")
        if len(group.expressions) != 1:
            raise self._source.unsupported(
                group.expressions[1], "beside a quantile GROUP BY takes one key"
            )
        (node,) = group.expressions
        return self._row(self._meant(node))

    def _meant(self, node: exp.Expr) -> exp.Expr:
        """An ordinal or an alias stands for its output."""
        if isinstance(node, exp.Literal) and node.is_int:
            at = int(node.this)
            if not 1 <= at <= len(self._items):
                raise self._source.unsupported(node, f"SELECT has {len(self._items)} outputs")
            item: exp.Expr = self._items[at - 1][1]
            return item
        if isinstance(node, exp.Column) and not node.table:
            for alias, named in self._items:
                if alias and alias.casefold() == node.name.casefold():
                    found: exp.Expr = named
                    return found
        return node

    def _output(self, alias: str, node: exp.Expr, by: str) -> Output:
        name = self._named(alias or self._written(node))
        if isinstance(node, exp.Count):
            if isinstance(node.this, exp.Star | exp.Literal):
                return Output(name, Means.ROWS)
            self._only(node, "this", "big_int")
            return Output(name, Means.COUNT, self._row(node.this))
        found = self._quantile(node)
        if found is not None:
            return Output(name, Means.QUANTILE, *found, self._named(f"{name}_error"))
        if not by or node.find(exp.AggFunc) is not None or self._row(node) != by:
            raise self._source.unsupported(node, f"{_OUTPUTS}; {_ALONE}")
        return Output(name, Means.KEY)

    def _written(self, node: exp.Expr) -> str:
        if isinstance(node, exp.Column):
            return node.name
        if isinstance(node, exp.WithinGroup):  # its last words are placed nowhere
            order = node.expression.sql(dialect=DuckDB).strip()
            return f"PERCENTILE_CONT({node.this.this}) WITHIN GROUP ({order})"
        place = self._source.place(node)
        return " ".join(self._source.text[place.start : place.end].split())

    def _quantile(self, node: exp.Expr) -> tuple[str, float] | None:
        if isinstance(node, exp.Median):
            self._only(node, "this")
            return self._row(node.this), 0.5
        if isinstance(node, exp.WithinGroup) and isinstance(node.this, exp.PercentileCont):
            ordered = node.expression.expressions
            if len(ordered) != 1:
                raise self._source.unsupported(node, "WITHIN GROUP orders by one expression")
            q = self._share(node, node.this.this)
            down = bool(ordered[0].args.get("desc"))
            return self._row(ordered[0].this), 1.0 - q if down else q
        if isinstance(node, exp.PercentileCont | exp.Quantile | exp.ApproxQuantile):
            self._only(node, "this", "expression", "quantile")
            share = node.args.get("expression") or node.args.get("quantile")
            return self._row(node.this), self._share(node, share)
        return None

    def _share(self, node: exp.Expr, share: object) -> float:
        if not isinstance(share, exp.Literal) or share.is_string or not 0 <= float(share.this) <= 1:
            raise self._source.unsupported(node, "the quantile is one number from 0 to 1")
        return float(share.this)

    def _only(self, node: exp.Expr, *parts: str) -> None:
        for name, value in node.args.items():
            if value and name not in parts:
                raise self._source.unsupported(node, "write the function with plain arguments")

    def _row(self, node: exp.Expr) -> str:
        """An expression over a row as SQL, its columns without the table's name."""
        if node.find(exp.AggFunc, exp.Distinct, exp.Star) is not None:
            raise self._source.unsupported(node, "expected an expression over a single row")
        plain = node.copy()
        for column in list(plain.find_all(exp.Column)):
            column.set("table", None)
        text = plain.sql(dialect=DuckDB)
        return plain.name if isinstance(plain, exp.Column) else text

    def _named(self, wanted: str) -> str:
        name, copy = wanted, 0
        while name.casefold() in self._taken:
            copy += 1
            name = f"{wanted}_{copy}"
        self._taken.add(name.casefold())
        return name

    def _order(self, outputs: tuple[Output, ...], by: str) -> tuple[Ordering, ...]:
        order = self._select.args.get("order")
        found = []
        for entry in () if order is None else order.expressions:
            at = self._ordered(self._meant(entry.this), by)
            found.append(
                Ordering(at, bool(entry.args.get("desc")), bool(entry.args.get("nulls_first")))
            )
        return tuple(found)

    def _ordered(self, node: exp.Expr, by: str) -> int:
        for at, (_, item) in enumerate(self._items):
            if item is node or item.sql(dialect=DuckDB) == node.sql(dialect=DuckDB):
                return at
        raise self._source.unsupported(
            node, "beside a quantile ORDER BY takes outputs of the statement"
        )

    def _whole(self, part: str) -> int | None:
        clause = self._select.args.get(part)
        if clause is None:
            return None
        node = clause.expression
        if not (isinstance(node, exp.Literal) and node.is_int and len(str(node.this)) <= 18):
            raise self._source.unsupported(clause, f"{part.upper()} takes a whole number")
        return int(node.this)
