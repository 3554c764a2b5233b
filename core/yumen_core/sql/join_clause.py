"""Reading JOIN: a table joined by its declared key, which multiplies no row.

Where a row could meet several rows of the other table it would stand several times behind a value:
one patient with ten visits would pass a threshold of ten. So the table on the right has a key, and
ON or USING equates the whole of it with columns of what stands before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sqlglot import exp

from yumen_core.errors import CallError
from yumen_core.sql.expression import Apply, ColumnRef, Expr
from yumen_core.sql.plan import Join
from yumen_core.sql.relation import Named, Part, Scope, both
from yumen_core.sql.scalar import RowReader, identifier, only
from yumen_core.sql.schema import Column, ColumnType, TableSchema
from yumen_core.sql.source import Source

MAX_JOINS = 8
_KINDS = {("", ""), ("", "INNER"), ("LEFT", ""), ("LEFT", "OUTER")}
_WHY = "so one row may count many times toward the threshold"
_AS_IT_IS = (
    "the right side of a LEFT JOIN is a table, or an inner SELECT of its columns as they are and "
    "without WHERE; compute and filter in the outer SELECT"
)

_Pair = tuple[ColumnRef, Column]


def joined_scope(source: Source, left: Scope, node: exp.Join, right: Scope) -> Scope:
    """What `left JOIN right` reads.

    1. It is JOIN or LEFT JOIN with ON or USING, to a table with a key, and not one too many.
    2. The right side is that table alone, under a name of its own.
    3. ON or USING equates columns of the left side with the whole key of that table.

    Raises `CallError` as `parse` says.
    """
    return _Joining(source, left, node, right).scope()


class _Joining:
    def __init__(self, source: Source, left: Scope, node: exp.Join, right: Scope) -> None:
        self._source = source
        self._left = left
        self._node = node
        self._right = right
        self._table = right.schema

    def scope(self) -> Scope:
        optional = self._kind()  # 1
        part = self._part(optional)  # 2
        pairs = self._pairs(part)  # 3
        if self._node.args.get("using"):
            names = frozenset(identifier(name).casefold() for name in self._node.args["using"])
            part = replace(part, merged=names)
        return Scope(
            schema=self._left.schema,
            parts=(*self._left.parts, part),
            where=both(self._left.where, self._moved_where(optional)),
            joins=(*self._left.joins, Join(self._table, self._by_key(pairs), optional)),
        )

    @property
    def _number(self) -> int:
        return len(self._left.joins) + 1

    def _kind(self) -> bool:
        """Whether rows without a partner are kept."""
        args = self._node.args
        known = {"this", "side", "kind", "on", "using", "method"}
        odd = any(value for name, value in args.items() if name not in known)
        kind = (str(args.get("side") or "").upper(), str(args.get("kind") or "").upper())
        if not (args.get("on") or args.get("using")):
            raise self._refuse(
                f"without ON or USING a row meets every row of {self._title}, {_WHY}; "
                + self._advice()
            )
        if odd or args.get("method") or kind not in _KINDS:
            raise self._refuse("a join is JOIN or LEFT JOIN, with ON or USING")
        if not self._table.key:
            raise self._refuse(
                f"{self._title} declares no key and a row may meet many of its rows, {_WHY}; "
                + self._advice()
            )
        if len(self._left.joins) >= MAX_JOINS:
            reason = f"expected at most {MAX_JOINS} joins"
            raise self._source.refuse("sql_too_large", self._source.place(self._node), reason)
        return kind[0] == "LEFT"

    @property
    def _title(self) -> str:
        return f"table `{self._table.name}`"

    def _part(self, optional: bool) -> Part:
        if self._right.joins:
            raise self._refuse("join one table after the other: the right side is one table")
        (part,) = self._right.parts
        if self._left.knows(part.qualifier):
            raise self._refuse(
                f"another entry of FROM is called `{part.qualifier}`; name this one with AS"
            )
        if optional and self._right.where is not None:
            raise self._refuse(_AS_IT_IS)
        columns = tuple(Named(c.name, self._moved(c.expr, optional)) for c in part.columns)
        return replace(part, columns=columns)

    def _moved(self, expr: Expr, optional: bool) -> Expr:
        """An expression over the right table alone, over the joined rows."""
        if optional and not isinstance(expr, ColumnRef):
            raise self._refuse(_AS_IT_IS)
        if isinstance(expr, ColumnRef):
            return replace(expr, source=self._number, nullable=expr.nullable or optional)
        if isinstance(expr, Apply):
            return replace(expr, args=tuple(self._moved(arg, optional) for arg in expr.args))
        return expr

    def _moved_where(self, optional: bool) -> Expr | None:
        where = self._right.where
        return None if where is None else self._moved(where, optional)

    def _pairs(self, part: Part) -> list[tuple[exp.Expr, _Pair]]:
        """The equalities, each with its place."""
        scope = replace(self._left, parts=(*self._left.parts, part))
        rows = RowReader(self._source, scope)
        using = self._node.args.get("using")
        if using:
            return [(name, self._of_using(name, part)) for name in using]
        return [(term, self._of_on(term, rows, part)) for term in _terms(self._node.args["on"])]

    def _of_using(self, name: exp.Expr, part: Part) -> _Pair:
        written = identifier(name)
        before = self._left.find(written, None)
        column = part.find(written)
        if len(before) != 1 or column is None:
            reason = "is no column of both sides" if len(before) < 2 else "is several columns"
            reason += "; USING takes a column that each side has once"
            raise self._source.refuse("sql_unknown_column", self._source.place(name), reason)
        return self._pair(name, before[0][1].expr, column.expr)

    def _of_on(self, term: exp.Expr, rows: RowReader, part: Part) -> _Pair:
        if not isinstance(term, exp.EQ):
            raise self._source.unsupported(
                term, "ON takes columns set equal, joined by AND; other conditions go in WHERE"
            )
        only(self._source, term, "this", "expression")
        sides = []
        for node in (term.this, term.expression):
            found = rows.resolve(node) if isinstance(node, exp.Column) else None
            if isinstance(node, exp.Column) and found is None:
                raise rows.unknown_column(node)
            sides.append(found)
        first, second = sides
        if first is not None and second is not None and first[0] is part:
            first, second = second, first
        if first is None or second is None or second[0] is not part or first[0] is part:
            raise self._source.unsupported(
                term, f"ON sets a column of {self._title} equal to one of what stands before it"
            )
        return self._pair(term, first[1].expr, second[1].expr)

    def _pair(self, node: exp.Expr, before: Expr, met: Expr) -> _Pair:
        if not (isinstance(before, ColumnRef) and isinstance(met, ColumnRef)):
            raise self._source.unsupported(
                node, "a join compares columns as their tables hold them"
            )
        reason = _unequal(before.column, met.column)
        if reason:
            place = self._source.place(node)
            raise self._source.refuse("sql_type", place, f"cannot be used here: {reason}")
        return before, met.column

    def _by_key(self, pairs: list[tuple[exp.Expr, _Pair]]) -> tuple[_Pair, ...]:
        """The pairs in the order of the key, each of its columns once and nothing beside."""
        key = self._table.key
        by_name = {column.name: (before, column) for _, (before, column) in pairs}
        if by_name.keys() != set(key) or len(pairs) != len(key):
            raise self._refuse(
                f"a row may meet many rows of {self._title} unless its whole key is given, {_WHY}; "
                + self._advice()
            )
        return tuple(by_name[name] for name in key)

    def _advice(self) -> str:
        """What would pass."""
        if self._table.key:
            return f"set {_listed(self._table.key)} equal to columns of what stands before"
        first: TableSchema = self._left.schema
        if first.key and not self._left.joins:
            return (
                f"table `{first.name}` declares the key {_listed(first.key)}: begin with "
                f"`{self._table.name}` and join `{first.name}`"
            )
        return "join a table by its declared key: see `yumen datasets`"

    def _refuse(self, reason: str) -> CallError:
        return self._source.unsupported(self._node, reason)


def _terms(condition: exp.Expr) -> Iterator[exp.Expr]:
    if isinstance(condition, exp.Paren):
        yield from _terms(condition.this)
    elif isinstance(condition, exp.And):
        for term in condition.flatten(unnest=False):
            yield from _terms(term)
    else:
        yield condition


def _unequal(before: Column, met: Column) -> str:
    """Why two columns, as nodes hold them, cannot be compared; nothing where they can."""
    if before.type is not met.type:
        return f"cannot compare {before.type} `{before.name}` with {met.type} `{met.name}`"
    if met.type is ColumnType.TEXT and before.domain != met.domain:
        return f"`{before.name}` and `{met.name}` declare different domains"
    return ""


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(f"`{name}`" for name in names)
