"""The groups of a statistic's rows that must each have rows enough at a node.

A group that may be empty but not small answers any question about a single row: a branch is refused
with the row in it and answered without it. So an empty group counts as too small wherever the
requester's own expression decides which rows are in it: the branches of a CASE, the rows in none of
them, both sides of a comparison, and the terms that `rows.built_groups` finds. Where only missing
values decide, or the levels of one declared column by themselves, a group may be empty: it holds
what the column holds, and no condition of a requester's making.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from yumen_core.sql import operators
from yumen_core.sql.expression import (
    Apply,
    ColumnRef,
    Constant,
    Expr,
    Kind,
    Op,
    branches,
)
from yumen_core.sql.plan import Behind
from yumen_core.sql.render import render
from yumen_core.sql.rows import RowsPlan, built_groups, fills
from yumen_core.sql.storage import identifier
from yumen_core.sql.subgroups import Part, only

_MISSING = {Op.NOT, Op.AND, Op.OR}
_COMPUTED = {Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.NEG, Op.ABS}
_Place = Callable[[Expr], Expr]


class RowGroup(NamedTuple):
    """Rows that the variable `name` sets apart. There may be none only where there are none of
    `among` either, rows about which missing values or a declared column's levels decide."""

    name: str
    part: Part
    among: Part | None


def row_groups(plan: RowsPlan) -> list[RowGroup]:
    """The groups of every variable, each once. Those with levels and conditions count as well."""
    found: dict[RowGroup, None] = {}
    for name, part in built_groups(plan):
        found[RowGroup(name, part, _among(part))] = None
    for variable in plan.variables:
        if not fills(variable.expr):
            for expr in _sides(variable.expr):
                part = (expr, Behind.NOT_NULL)
                found[RowGroup(variable.name, part, _among(part))] = None
    return list(found)


def is_built(expr: Expr) -> bool:
    """Whether an expression can be made to vary among few rows: anything but a column, with its
    missing values filled or not, moved and scaled by numbers."""
    if isinstance(expr, ColumnRef | Constant) or fills(expr):
        return False
    if isinstance(expr, Apply) and expr.op in (Op.NEG, Op.ADD, Op.SUB, Op.MUL, Op.DIV):
        varying = [arg for arg in expr.args if not isinstance(arg, Constant)]
        return len(varying) != 1 or is_built(varying[0])
    return True


def groups_sql(plan: RowsPlan, parts: Sequence[Part], relation: str) -> str:
    """DuckDB SQL for the number of chosen rows, then of those in each part, in one row."""
    zero = Constant(Kind.INTEGER, 0, None, False, 0)
    counted = [
        f"count({render(expr)})"
        if behind is Behind.NOT_NULL
        else f"count_if({render(operators.compare(Op.NE, expr, zero))})"
        for expr, behind in parts
    ]
    where = "" if plan.where is None else f" WHERE {render(plan.where)}"
    return f"SELECT {', '.join(['count(*)', *counted])} FROM {identifier(relation)}{where}"  # noqa: S608


def counted_groups(
    plan: RowsPlan, groups: Sequence[RowGroup], relation: str, run: Callable[[str], Sequence[int]]
) -> tuple[int, list[int | None]]:
    """How many rows are chosen, and in each group; None where a group is excused. `run` gives the
    one row of a statement."""
    parts = list(dict.fromkeys(p for g in groups for p in (g.part, g.among) if p is not None))
    whole, *counts = run(groups_sql(plan, parts, relation))
    of = dict(zip(parts, counts, strict=True))
    return whole, [
        None if g.among is not None and not of[g.among] and not of[g.part] else of[g.part]
        for g in groups
    ]


def _among(part: Part) -> Part | None:
    expr, behind = part
    if isinstance(expr, Apply) and expr.op is Op.CASE:
        conditions = [condition for condition, _ in branches(expr)]
        if not _declared(conditions):
            return None
        one = operators.number("1")
        results = [*(value for _, value in branches(expr)), expr.args[-1]]
        marks = [value if value.kind is Kind.NULL else one for value in results]
        pairs = zip((condition for condition, _ in branches(expr)), marks[:-1], strict=True)
        return operators.case(list(pairs), marks[-1]), Behind.NOT_NULL
    if behind is Behind.NOT_ZERO and _lacks_by_missing(expr):
        return expr, Behind.NOT_NULL
    return None


def _sides(expr: Expr) -> Iterator[Expr]:
    """For each group an expression with a value in its rows."""
    condition = expr.kind is Kind.BOOLEAN and not isinstance(expr, ColumnRef | Constant)
    if condition and not _declared([expr]):
        yield _marked(expr)
        yield _marked(operators.connect(Op.NOT, [expr]))
    yield from _branches(expr, lambda inner: inner)


def _branches(expr: Expr, place: _Place) -> Iterator[Expr]:
    if not isinstance(expr, Apply):
        return
    if expr.op is not Op.CASE:
        for arg in expr.args:
            yield from _branches(arg, place)
        return
    conditions = [condition for condition, _ in branches(expr)]
    for condition in conditions:
        yield from _branches(condition, place)
    for at, value in enumerate([*(value for _, value in branches(expr)), expr.args[-1]]):

        def within(inner: Expr, at: int = at) -> Expr:
            return place(only(expr, at, inner))

        if not _declared(conditions):
            yield within(operators.number("1"))
        yield from _branches(value, within)


def _marked(condition: Expr) -> Expr:
    return operators.case([(condition, operators.number("1"))], operators.null())


def _declared(conditions: Sequence[Expr]) -> bool:
    """Whether the conditions choose by what a declared column has, and nothing else."""
    return all(_by_missing(condition) for condition in conditions) or _levels(conditions)


def _by_missing(condition: Expr) -> bool:
    """Whether nothing but missing values of columns decides."""
    if not isinstance(condition, Apply):
        return False
    if condition.op is Op.IS_NULL:
        return _lacks_by_missing(condition.args[0])
    return condition.op in _MISSING and all(_by_missing(arg) for arg in condition.args)


def _levels(conditions: Sequence[Expr]) -> bool:
    """Whether each compares the same column, whose domain is declared, with levels of it."""
    columns = set[Expr]()
    for condition in conditions:
        if not (isinstance(condition, Apply) and condition.op in (Op.EQ, Op.IN)):
            return False
        column, *levels = condition.args
        if not all(isinstance(level, Constant) for level in levels):
            return False
        columns.add(column)
    only_one = columns.pop()
    return not columns and isinstance(only_one, ColumnRef) and only_one.column.domain is not None


def _lacks_by_missing(expr: Expr) -> bool:
    """Whether only what declared columns have decides where `expr` has no value."""
    if isinstance(expr, ColumnRef | Constant):
        return True
    if not isinstance(expr, Apply):
        return False
    if expr.op is Op.CASE:
        values = [*(value for _, value in branches(expr)), expr.args[-1]]
        conditions = [condition for condition, _ in branches(expr)]
        return _declared(conditions) and all(_lacks_by_missing(value) for value in values)
    return expr.op in _COMPUTED and all(_lacks_by_missing(arg) for arg in expr.args)
