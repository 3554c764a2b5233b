"""Constants that a requester can add inside a DATE_DIFF, where they hide in a date.

`DATE_DIFF('day', DATE_TRUNC('year', d), DATE_TRUNC('year', d + 1) + 1)` is 1 on all rows and 366 on
those of a 31st of December: as `x + 1`, which `subgroups` takes apart, does for a sum.
`DAY(d + 1) - DAY(d)` is 1 but for the last days of months; no constant is left to take away there,
so that parts of moved dates are refused in a sum.
"""

from __future__ import annotations

from yumen_core.sql import operators, temporal_operators
from yumen_core.sql.expression import Apply, Constant, Expr, Kind, Op, walk
from yumen_core.sql.interval import Interval
from yumen_core.sql.temporal_evaluate import unit_of

_ARITHMETIC = (Op.ADD, Op.SUB, Op.MUL, Op.DIV)


def check_part(expr: Apply) -> None:
    """Refuse EXTRACT from a date that is moved. Raises `TypeFault`."""
    moved = (isinstance(node, Apply) and node.op is Op.DATE_ADD for node in walk(expr))
    if expr.op is Op.EXTRACT and any(moved):
        raise operators.TypeFault("inside an aggregate EXTRACT takes no date that is moved")


def without_offsets(term: Expr) -> Expr:
    """`term` with every DATE_DIFF in it bare: its dates not moved, its literals 1970-01-01."""
    if not isinstance(term, Apply):
        return term
    if term.op is Op.DATE_DIFF:
        since, until = (_unmoved(arg) for arg in term.args[1:])
        return temporal_operators.difference(unit_of(term), since, until)
    if term.op is Op.NEG:
        return operators.negate(without_offsets(term.args[0]))
    if term.op in _ARITHMETIC:
        left, right = (without_offsets(arg) for arg in term.args)
        return term if (left, right) == term.args else operators.arithmetic(term.op, left, right)
    return term


def moving_parts(term: Expr) -> int:
    """How many parts that vary a term of a sum has: two, where it is the difference of two."""
    if isinstance(term, Apply) and term.op is Op.DATE_DIFF:
        return sum(1 for arg in term.args[1:] if not isinstance(arg, Constant))
    if isinstance(term, Apply) and term.op in (Op.NEG, *_ARITHMETIC):
        return max(1, *(moving_parts(arg) for arg in term.args))
    return 1


def _unmoved(arg: Expr) -> Expr:
    if isinstance(arg, Constant) and arg.kind is not Kind.NULL:
        return Constant(arg.kind, 0, Interval.point(0), False, 0)
    if isinstance(arg, Apply) and arg.op is Op.DATE_ADD:
        return _unmoved(arg.args[1])
    if isinstance(arg, Apply) and arg.op is Op.TO_TIMESTAMP:
        return temporal_operators.to_timestamp(_unmoved(arg.args[0]))
    return arg
