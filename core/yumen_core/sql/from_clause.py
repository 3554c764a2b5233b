"""Reading FROM and WITH: published tables, and SELECTs over them without aggregates.

An inner SELECT filters rows and computes columns, no more, so each of its rows is a row of the base
table. What would make one row of several, or leave rows out by their order, is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlglot import exp

from yumen_core.sql.join_clause import joined_scope
from yumen_core.sql.relation import Named, Part, Scope, both, table_scope
from yumen_core.sql.scalar import AGGREGATES, RowReader, identifier, near, only
from yumen_core.sql.schema import TableSchema
from yumen_core.sql.source import Source

# Parts of a SELECT that we read; all else is refused, by its first word where it has one.
_OUTER = (
    "expressions", "from_", "joins", "where", "group", "having", "order", "limit", "offset",
    "with_",
)  # fmt: skip
_INNER = ("expressions", "from_", "joins", "where", "with_")
_WORDS = {
    "laterals": ("LATERAL",),
    "windows": ("WINDOW",),
    "sample": ("SAMPLE", "USING", "TABLESAMPLE"),
    "pivots": ("PIVOT", "UNPIVOT"),
    "into": ("INTO",),
    "locks": ("FOR",),
}
ONE_TABLE = (
    "a query is one SELECT of one table, or of inner SELECTs and joins that keep its rows, with "
    "WHERE, GROUP BY, HAVING, ORDER BY and LIMIT"
)
ROWS_ONLY = (
    "an inner SELECT has columns, FROM, JOIN and WHERE, so that each of its rows is one of the "
    "table's; aggregates, GROUP BY, ORDER BY and LIMIT go in the outer SELECT"
)


class FromReader:
    """Reads what a SELECT stands on. Names of `catalogue` are table names."""

    def __init__(self, source: Source, catalogue: Mapping[str, TableSchema]) -> None:
        self._source = source
        self._catalogue = catalogue

    def outer(self, select: exp.Select) -> Scope:
        """The scope of the whole statement. Raises `CallError` as `parse` says."""
        self._check_parts(select, _OUTER, ONE_TABLE)
        return self._scope(select, {})

    def _scope(self, select: exp.Select, known: Mapping[str, Scope]) -> Scope:
        clause = select.args.get("from_")
        if clause is None:
            raise self._source.refuse(
                "sql_unsupported",
                self._source.select_word(select),
                "is not supported without FROM and a table",
            )
        scopes = self._with(select, known)
        scope = self._entry(clause.this, scopes)
        for join in select.args.get("joins") or ():
            entry = self._entry(join.this, scopes)
            scope = joined_scope(self._source, scope, join, entry)
        return scope

    def _with(self, select: exp.Select, known: Mapping[str, Scope]) -> Mapping[str, Scope]:
        """The named SELECTs before `select`, each over those before it."""
        clause = select.args.get("with_")
        if clause is None:
            return known
        if clause.args.get("recursive"):
            raise self._source.refuse(
                "sql_unsupported",
                self._source.word("RECURSIVE") or self._source.place(clause),
                "is not supported: a WITH names SELECTs that do not call themselves",
            )
        only(self._source, clause, "expressions")
        scopes = dict(known)
        fresh: set[str] = set()
        for entry in clause.expressions:
            only(self._source, entry, "this", "alias", "materialized")
            alias = entry.args["alias"]
            name = self._alias(entry) or ""
            if name.casefold() in fresh:
                raise self._source.unsupported(alias, "another SELECT of this WITH has its name")
            fresh.add(name.casefold())
            scopes[name.casefold()] = self._inner(entry.this, name, scopes)
        return scopes

    def _entry(self, node: exp.Expr, known: Mapping[str, Scope]) -> Scope:
        """One entry of FROM: a table, a name of WITH, or a SELECT in brackets."""
        if isinstance(node, exp.Subquery):
            extra = {name for name, value in node.args.items() if value} - {"this", "alias"}
            if extra:
                raise self._source.unsupported(node, ONE_TABLE)
            alias = self._alias(node)
            return self._inner(node.this, alias or "", known)
        named = isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier)
        extra = {name for name, value in node.args.items() if value} - {"this", "alias"}
        if not named or extra:
            raise self._source.unsupported(node, ONE_TABLE)
        written, alias = identifier(node.this), self._alias(node)
        scope = known.get(written.casefold())
        if scope is not None:
            return scope if alias is None else _called(scope, alias)
        return table_scope(self._schema(node, written, known), alias or written)

    def _alias(self, node: exp.Expr) -> str | None:
        alias = node.args.get("alias")
        if alias is None:
            return None
        if alias.args.get("columns"):
            raise self._source.unsupported(alias, "name columns with AS in the inner SELECT")
        only(self._source, alias, "this")
        return identifier(alias)

    def _schema(self, node: exp.Expr, written: str, known: Mapping[str, Scope]) -> TableSchema:
        schema = self._catalogue.get(written)
        if schema is None:
            folded = {name.casefold(): entry for name, entry in self._catalogue.items()}
            schema = folded.get(written.casefold())
        if schema is None:
            near_by = near(written, [*self._catalogue, *known])
            reason = "is no table of this federation" + near_by
            raise self._source.refuse("sql_unknown_table", self._source.place(node.this), reason)
        return schema

    def _inner(self, node: exp.Expr, name: str, known: Mapping[str, Scope]) -> Scope:
        """A SELECT of rows under the name `name`, empty where it has none."""
        while isinstance(node, exp.Subquery) and not node.args.get("alias"):
            only(self._source, node, "this")
            node = node.this
        if not isinstance(node, exp.Select) or not node.expressions:
            raise self._source.unsupported(node, ROWS_ONLY)
        self._check_parts(node, _INNER, ROWS_ONLY)
        below = self._scope(node, known)
        rows = RowReader(self._source, below)
        columns = tuple(self._columns(node, rows))
        where = node.args.get("where")
        condition = None
        if where is not None:
            only(self._source, where, "this")
            condition = rows.condition(where.this, "WHERE")
        title = f"`{name}`" if name else "the inner SELECT"
        part = Part(name, title, columns)
        return Scope(below.schema, (part,), both(below.where, condition), below.joins)

    def _columns(self, select: exp.Select, rows: RowReader) -> Iterator[Named]:
        taken: set[str] = set()
        for node in select.expressions:
            aggregate = node.find(*AGGREGATES)
            if aggregate is not None:
                raise self._source.unsupported(aggregate, ROWS_ONLY)
            for named in self._output(node, rows):
                if named.name.casefold() in taken:
                    raise self._source.unsupported(
                        node, f"another column of this SELECT is called `{named.name}`"
                    )
                taken.add(named.name.casefold())
                yield named

    def _output(self, node: exp.Expr, rows: RowReader) -> list[Named]:
        starred = isinstance(node, exp.Column) and isinstance(node.this, exp.Star)
        if isinstance(node, exp.Star) or starred:
            return self._starred(node, rows.scope)
        if isinstance(node, exp.Alias):
            only(self._source, node, "this", "alias")
            return [Named(identifier(node.args["alias"]), rows.read(node.this))]
        found = rows.find(node) if isinstance(node, exp.Column) else None
        if found is not None:
            return [Named(found.name, rows.read(node))]
        rows.read(node)  # a fault inside goes first
        raise self._source.unsupported(node, "name it with AS, for the outer SELECT to call it")

    def _starred(self, node: exp.Expr, scope: Scope) -> list[Named]:
        star, qualifier = node, None
        if isinstance(node, exp.Column):
            only(self._source, node, "this", "table")
            star, qualifier = node.this, identifier(node.args["table"])
        only(self._source, star)
        parts = scope.named(qualifier)
        if not parts:
            place = self._source.place(node)
            reason = f"names a table other than {scope.qualifiers}"
            raise self._source.refuse("sql_unknown_column", place, reason)
        return scope.starred(qualifier)

    def _check_parts(self, select: exp.Select, known: tuple[str, ...], reason: str) -> None:
        for name, value in select.args.items():
            if not value or name in known:
                continue
            place = self._source.word(*_WORDS.get(name, ()))
            part = value[0] if isinstance(value, list) else value
            if place is None:
                place = self._source.place(part if isinstance(part, exp.Expr) else select)
            raise self._source.refuse("sql_unsupported", place, f"is not supported: {reason}")


def _called(scope: Scope, alias: str) -> Scope:
    """The same rows under another name."""
    (part,) = scope.parts
    called = Part(alias, f"`{alias}`", part.columns)
    return Scope(scope.schema, (called,), scope.where, scope.joins)
