"""Parse: from a SELECT of the requester to a plan.

The text is read once, into a tree; every part of the tree is either understood or refused with its
place. Nothing of the text but literals, aliases and the choice of columns goes into the plan.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

from sqlglot import exp

from yumen_core.errors import CallError
from yumen_core.sql import operators
from yumen_core.sql.describe import name_of
from yumen_core.sql.expression import ColumnRef, Constant, Expr, KeyRef, Kind, MeasureRef
from yumen_core.sql.from_clause import FromReader
from yumen_core.sql.keys import key_of, key_ref
from yumen_core.sql.layout import Asked, build_layout, check_summable
from yumen_core.sql.operators import TypeFault
from yumen_core.sql.pairs import SQUARES
from yumen_core.sql.plan import Function, Key, Ordering, Output, Plan
from yumen_core.sql.relation import Scope, both
from yumen_core.sql.rows import (
    MAX_VARIABLES,
    RowsPlan,
    RowVariable,
    check_readable,
    row_variable,
)
from yumen_core.sql.scalar import AGGREGATES, Reader, RowReader, identifier, only
from yumen_core.sql.schema import TableSchema
from yumen_core.sql.source import Source
from yumen_core.sql.temporal_keys import coarser_advice

MAX_SUMMED_VALUES = 200_000
MAX_AGGREGATES = 100
NODES_COLUMN = "_nodes"
_MAX_LIMIT = 1 << 63
_MAX_LIMIT_DIGITS = 19
_NO_CUBE = (
    "GROUP BY takes keys and one ROLLUP of keys; margins that overlap, as those of CUBE and "
    "GROUPING SETS do, can be subtracted down to few rows"
)
_NO_ROLLUP_OF_JOINS = (
    "GROUP BY takes no ROLLUP over a JOIN: a row of a joined table can stand behind several cells, "
    "so that the rows behind a margin are no sum over its cells"
)


def parse(sql: str, catalogue: Mapping[str, TableSchema]) -> Plan:
    """The plan of one SELECT over one table of `catalogue` (schemas by table name), or over inner
    SELECTs of its rows.

    Raises `CallError` with the place of the fault as line and column: "sql_syntax",
    "sql_unsupported", "sql_unknown_table", "sql_unknown_column", "sql_type", "sql_too_large".
    """
    source = Source(sql)
    scope = FromReader(source, catalogue).outer(source.tree)
    return _Builder(source, source.tree, scope).plan()


def parse_rows(sql: str, catalogue: Mapping[str, TableSchema]) -> RowsPlan:
    """What a statistic reads: `SELECT expression AS name, ... FROM table WHERE ...`, without an
    aggregate. Every expression has a number or known levels; names differ.

    Raises `CallError` as `parse` does.
    """

    def variable(reader: RowReader, written: str | None, node: exp.Expr) -> RowVariable:
        expr = reader.read(node)
        name = written or name_of(expr, (), ())
        reader.typed(node, partial(_readable, name, expr), ())
        return row_variable(name, expr)

    return _rows(sql, catalogue, variable)


def parse_columns(sql: str, catalogue: Mapping[str, TableSchema]) -> RowsPlan:
    """What a training reads: `SELECT column, ... FROM table WHERE ...`, plain columns under their
    own names.

    Raises `CallError` as `parse` does.
    """

    def variable(reader: RowReader, written: str | None, node: exp.Expr) -> RowVariable:
        expr = reader.read(node)
        if written is not None or not isinstance(expr, ColumnRef):
            raise reader.source.unsupported(node, "a training reads columns under their own names")
        return RowVariable(expr.column.name, expr, None)

    return _rows(sql, catalogue, variable)


def _rows(
    sql: str,
    catalogue: Mapping[str, TableSchema],
    variable: Callable[[RowReader, str | None, exp.Expr], RowVariable],
) -> RowsPlan:
    source = Source(sql)
    select = source.tree
    for name in ("group", "having", "order", "limit", "offset"):
        clause = select.args.get(name)
        if clause is not None:
            raise source.unsupported(clause, "the rows are one SELECT with WHERE")
    scope = FromReader(source, catalogue).outer(select)
    if scope.joins:
        raise source.unsupported(select.args["joins"][0], "the rows are of one table")
    reader = RowReader(source, scope)
    variables: list[RowVariable] = []
    for written, node in map(_item, select.expressions):
        if isinstance(node, exp.Star):
            raise source.unsupported(node, "name the expressions")
        variables.append(variable(reader, written, node))
    if len(variables) > MAX_VARIABLES:
        raise CallError(
            "sql_too_large", f"expected at most {MAX_VARIABLES} variables, got {len(variables)}"
        )
    if len({variable.name for variable in variables}) != len(variables):
        raise CallError("sql_unsupported", "expected variables with distinct names, got one twice")
    where = select.args.get("where")
    condition: Expr | None = None
    if where is not None:
        only(source, where, "this")
        condition = reader.read(where.this)
        chosen = condition
        reader.typed(where.this, lambda: _boolean(chosen), ())
    return RowsPlan(scope.schema, both(scope.where, condition), tuple(variables))


def _readable(name: str, expr: Expr) -> Expr:
    check_readable(name, expr)
    return expr


def _boolean(expr: Expr) -> Expr:
    operators.need_boolean(expr, "WHERE")
    return expr


class _OutputReader(Reader):
    """Expressions over released rows: in SELECT, HAVING and ORDER BY."""

    def __init__(self, rows: RowReader) -> None:
        super().__init__(rows.source, rows.scope)
        self._rows = rows
        self.keys: tuple[Key, ...] = ()
        self.aliases: dict[str, Expr] = {}
        self.asked: list[Asked] = []

    def read(self, node: exp.Expr) -> Expr:
        if isinstance(node, exp.Grouping):
            return self._grouping(node)
        key = self._key(node)
        return super().read(node) if key is None else key

    def column(self, node: exp.Column) -> Expr:
        found = self.find(node)
        if node.args.get("table") is None:
            known = self.aliases.get(identifier(node).casefold())
            if known is not None:
                return known
        if found is None:
            raise self.unknown_column(node)
        raise self.source.unsupported(node, "put it in GROUP BY or inside an aggregate")

    def aggregate(self, node: exp.Expr, function: Function) -> Expr:
        only(self.source, node, "this", "expression")
        if function is Function.COUNT and isinstance(node.this, exp.Distinct):
            only(self.source, node.this, "expressions")
            function = Function.COUNT_DISTINCT
        parts = self._parts(node, function)
        arguments = tuple(self._rows.read(part) for part in parts)
        if any(argument.kind is Kind.NULL for argument in arguments):
            raise self.source.unsupported(node, "an aggregate of NULL has no value")
        if function is Function.COUNT and any(isinstance(entry, Constant) for entry in arguments):
            return self._measure(function, ())
        try:
            check_summable(function, arguments)
        except TypeFault as fault:
            at = node if fault.part is None else parts[fault.part]
            numeric = all(argument.kind.numeric for argument in arguments)
            if function is Function.COUNT_DISTINCT:
                raise self.source.unsupported(at, fault.message) from None
            what = "cannot be summed" if numeric else "cannot be used here"
            reason = f"{what}: {fault.message}"
            raise self.source.refuse("sql_type", self.source.place(at), reason) from None
        if len(self.asked) >= MAX_AGGREGATES and (function, arguments) not in self.asked:
            place = self.source.place(node)
            raise self.source.refuse(
                "sql_too_large", place, f"expected at most {MAX_AGGREGATES} different aggregates"
            )
        return self._measure(function, arguments)

    def _parts(self, node: exp.Expr, function: Function) -> list[exp.Expr]:
        """What an aggregate is of, in the order written; nothing for COUNT(*)."""
        parts = [part for part in (node.this, node.args.get("expression")) if part is not None]
        if function is Function.COUNT_DISTINCT:
            parts = node.this.expressions
        if function is Function.COUNT and len(parts) == 1 and isinstance(parts[0], exp.Star):
            only(self.source, parts[0])
            return []
        wanted = 2 if function in SQUARES else 1
        if len(parts) != wanted or any(isinstance(part, exp.Star) for part in parts):
            count = "two expressions, y before x" if wanted == 2 else "one expression"
            name = "COUNT" if function is Function.COUNT_DISTINCT else function.upper()
            raise self.source.unsupported(node, f"{name} takes {count}")
        return parts

    def _measure(self, function: Function, arguments: tuple[Expr, ...]) -> MeasureRef:
        entry = (function, arguments)
        if entry not in self.asked:
            self.asked.append(entry)
        kind, scale = Kind.FLOAT, 0
        if function in (Function.COUNT, Function.COUNT_DISTINCT):
            kind = Kind.INTEGER
        elif function is Function.SUM:
            kind, scale = arguments[0].kind, arguments[0].scale
        return MeasureRef(kind, scale, None, True, self.asked.index(entry))

    def _grouping(self, node: exp.Grouping) -> Expr:
        """Whether a row leaves a key out: 1 in its margins, else 0."""
        only(self.source, node, "expressions")
        found = self._key(node.expressions[0]) if len(node.expressions) == 1 else None
        if not isinstance(found, KeyRef):
            raise self.source.unsupported(node, "GROUPING takes one key of GROUP BY")
        return KeyRef(Kind.INTEGER, 0, None, False, len(self.keys) + found.index)

    def _key(self, node: exp.Expr) -> Expr | None:
        """The group key that `node` writes out, if it does."""
        if not isinstance(node, exp.Column | exp.Case | exp.Condition):
            return None
        if node.find(*AGGREGATES) is not None or node.find(exp.Column) is None:
            return None
        try:
            expr = self._rows.read(node)
        except CallError:
            return None
        exprs = [key.expr for key in self.keys]
        return key_ref(self.keys, exprs.index(expr)) if expr in exprs else None


class _Builder:
    def __init__(self, source: Source, select: exp.Select, scope: Scope) -> None:
        self._source = source
        self._select = select
        self._scope = scope
        self._rows = RowReader(source, scope)
        self._released = _OutputReader(self._rows)
        self._items = [_item(entry) for entry in select.expressions]

    def plan(self) -> Plan:
        where = both(self._scope.where, self._condition("where", self._rows))
        keys, folds = self._keys()
        self._released.keys = keys
        outputs = self._outputs()
        having = self._condition("having", self._released)
        order = self._order(outputs)
        asked = self._released.asked
        if not asked:
            place = self._source.select_word(self._select)
            reason = "is not supported without an aggregate: no row leaves a node"
            raise self._source.refuse("sql_unsupported", place, reason)
        cells = level = math.prod(key.positions for key in keys)
        for fold in folds:
            level //= fold
            cells += level
        exprs = [output.expr for output in outputs] + [entry.expr for entry in order]
        if having is not None:
            exprs.append(having)
        layout, arguments, measures = build_layout(cells, asked, exprs, folds)
        self._check_size(keys, cells, max(len(layout.values), layout.supports))
        return Plan(
            schema=self._scope.schema,
            where=where,
            keys=keys,
            arguments=arguments,
            measures=measures,
            layout=layout,
            outputs=outputs,
            having=having,
            order=order,
            limit=self._count("limit"),
            offset=self._count("offset") or 0,
            joins=self._scope.joins,
        )

    def _condition(self, part: str, reader: Reader) -> Expr | None:
        clause = self._select.args.get(part)
        if clause is None:
            return None
        only(self._source, clause, "this")
        return reader.condition(clause.this, part.upper())

    def _keys(self) -> tuple[tuple[Key, ...], tuple[int, ...]]:
        """The keys, those of ROLLUP last, and the folds of `Layout`."""
        group = self._select.args.get("group")
        if group is None:
            return (), ()
        for name, value in group.args.items():
            if value and name != "expressions":
                place = self._source.word("ALL", "ROLLUP", "CUBE", "GROUPING")
                reason = "is not supported: GROUP BY takes columns and expressions"
                raise self._source.refuse(
                    "sql_unsupported", place or self._source.place(group), reason
                )
        rollups = [node for node in group.expressions if isinstance(node, exp.Rollup)]
        if not rollups:
            return tuple(dict.fromkeys(map(self._key, group.expressions))), ()
        only(self._source, rollups[0], "expressions")
        if self._scope.joins:
            raise self._refused_grouping("ROLLUP", _NO_ROLLUP_OF_JOINS)
        if len(rollups) > 1 or not rollups[0].expressions:
            raise self._refused_grouping("ROLLUP", "GROUP BY takes one ROLLUP, of one key or more")
        plain = [self._key(node) for node in group.expressions if node is not rollups[0]]
        rolled = [self._key(node) for node in rollups[0].expressions]
        keys = (*plain, *rolled)
        if len(set(keys)) < len(keys):
            raise self._refused_grouping("ROLLUP", "GROUP BY with ROLLUP takes each key once")
        return keys, tuple(key.positions for key in reversed(rolled))

    def _key(self, node: exp.Expr) -> Key:
        if isinstance(node, exp.Cube | exp.GroupingSets | exp.Tuple):
            word = "CUBE" if isinstance(node, exp.Cube) else "GROUPING"
            raise self._refused_grouping(word if not isinstance(node, exp.Tuple) else "", _NO_CUBE)
        written = self._meant(node)
        if written.find(*AGGREGATES) is not None:
            raise self._source.unsupported(node, "GROUP BY takes no aggregate")
        expr = self._rows.read(written)
        try:
            return key_of(expr)
        except TypeFault as fault:
            place = self._source.place(node)
            reason = f"cannot be grouped by: {fault.message}"
            raise self._source.refuse("sql_unsupported", place, reason) from None

    def _refused_grouping(self, word: str, reason: str) -> CallError:
        group = self._select.args["group"]
        place = self._source.word(word) or self._source.place(group)
        return self._source.refuse("sql_unsupported", place, f"is not supported: {reason}")

    def _meant(self, node: exp.Expr) -> exp.Expr:
        """What a GROUP BY entry writes: an ordinal or an alias stands for its output."""
        if _is_integer(node):
            return self._items[self._ordinal(node)][1]
        if isinstance(node, exp.Column) and node.args.get("table") is None:
            if self._scope.find(identifier(node), None):
                return node
            for alias, item in self._items:
                if alias is not None and alias.casefold() == identifier(node).casefold():
                    return item
        return node

    def _ordinal(self, node: exp.Expr) -> int:
        index = int(node.this) - 1
        if not 0 <= index < len(self._items):
            place = self._source.place(node)
            reason = f"is no output: SELECT has {len(self._items)}"
            raise self._source.refuse("sql_unsupported", place, reason)
        return index

    def _outputs(self) -> tuple[Output, ...]:
        outputs: list[Output] = []
        taken = {NODES_COLUMN}
        for alias, node in self._items:
            if isinstance(node, exp.Star):
                raise self._source.unsupported(node, "no row leaves a node; select aggregates")
            expr = self._released.read(node)
            if expr.kind is Kind.NULL:
                raise self._source.unsupported(node, "NULL is no output")
            if alias is not None and alias.casefold() == NODES_COLUMN:
                reason = f"`{NODES_COLUMN}` is the number of nodes behind a row"
                raise self._source.unsupported(node, reason)
            wanted = (
                alias
                or self._written(node)
                or name_of(expr, self._released.keys, tuple(self._released.asked))
            )
            name, copy = wanted, 0
            while name.casefold() in taken:
                copy += 1
                name = f"{wanted}_{copy}"
            taken.add(name.casefold())
            outputs.append(Output(name, expr))
        for (alias, _), output in zip(self._items, outputs, strict=True):
            if alias is not None:
                self._released.aliases.setdefault(alias.casefold(), output.expr)
        return tuple(outputs)

    def _written(self, node: exp.Expr) -> str | None:
        """The name of a column that stands alone, as its table or inner SELECT gives it."""
        found = self._rows.find(node) if isinstance(node, exp.Column) else None
        return None if found is None else found.name

    def _order(self, outputs: tuple[Output, ...]) -> tuple[Ordering, ...]:
        order = self._select.args.get("order")
        if order is None:
            return ()
        only(self._source, order, "expressions")
        entries: list[Ordering] = []
        for entry in order.expressions:
            only(self._source, entry, "this", "desc", "nulls_first")
            node = entry.this
            expr = self._sorted_by(node, outputs)
            descending = bool(entry.args.get("desc"))
            entries.append(Ordering(expr, descending, bool(entry.args.get("nulls_first"))))
        return tuple(entries)

    def _sorted_by(self, node: exp.Expr, outputs: tuple[Output, ...]) -> Expr:
        """In ORDER BY an alias goes before a column of that name."""
        if _is_integer(node):
            return outputs[self._ordinal(node)].expr
        if isinstance(node, exp.Column) and node.args.get("table") is None:
            known = self._released.aliases.get(identifier(node).casefold())
            if known is not None:
                return known
        return self._released.read(node)

    def _count(self, part: str) -> int | None:
        clause = self._select.args.get(part)
        if clause is None:
            return None
        only(self._source, clause, "expression")
        node = clause.expression
        if not _is_integer(node) or int(node.this) >= _MAX_LIMIT:
            raise self._source.unsupported(node, f"{part.upper()} takes a whole number")
        return int(node.this)

    def _check_size(self, keys: tuple[Key, ...], cells: int, values: int) -> None:
        if cells * values <= MAX_SUMMED_VALUES:
            return
        product = " x ".join(f"{name_of(key.expr, (), ())} ({key.positions})" for key in keys)
        raise CallError(
            "sql_too_large",
            f"expected at most {MAX_SUMMED_VALUES} summed values, got {cells * values}: "
            f"`{product}` makes {cells} cells of {values} values"
            + coarser_advice(keys, MAX_SUMMED_VALUES // values),
        )


def _item(node: exp.Expr) -> tuple[str | None, exp.Expr]:
    """An output's alias, if it has one, and what it computes."""
    if isinstance(node, exp.Alias):
        return identifier(node.args["alias"]), node.this
    if isinstance(node, exp.Column) and isinstance(node.this, exp.Star):
        return None, node.this
    return None, node


def _is_integer(node: exp.Expr) -> bool:
    """Whether `node` is a whole number of at most 19 digits: Python reads no number of 4,300."""
    text = str(node.this)
    short = len(text) <= _MAX_LIMIT_DIGITS and text.isascii() and text.isdecimal()
    return isinstance(node, exp.Literal) and not node.is_string and short
