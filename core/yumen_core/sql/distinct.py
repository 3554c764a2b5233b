"""COUNT(DISTINCT x): how many values of a known domain have rows and nodes enough behind them.

Nothing is summed for it. Each value of the domain is a support of its own, and the count is that of
the supports that were released, so that it tells no more than GROUP BY over the same values does.
"""

from __future__ import annotations

from yumen_core.sql import operators, temporal_operators
from yumen_core.sql.expression import Apply, Constant, Expr, Kind, Op, branches
from yumen_core.sql.keys import key_of
from yumen_core.sql.operators import TypeFault
from yumen_core.sql.schema import DomainValue

MAX_DISTINCT_VALUES = 1_000
_TAKES = (
    "COUNT(DISTINCT) takes a column with a declared domain, a date or a part of it within declared "
    "bounds, a condition, or a CASE whose results are text, integers or booleans"
)


def check_countable(argument: Expr) -> None:
    """Whether the values of `argument` are known beforehand. Raises `TypeFault`."""
    try:
        count = len(key_of(argument).domain)
    except TypeFault as fault:
        reason, _, _ = fault.message.partition("; ")
        known = f"{reason}; " if reason.startswith("column") else ""
        raise TypeFault(f"{known}{_TAKES}", 0) from None
    if count > MAX_DISTINCT_VALUES:
        raise TypeFault(
            f"COUNT(DISTINCT) takes at most {MAX_DISTINCT_VALUES} values, got a domain of {count}; "
            "group by it instead",
            0,
        )


def markers(argument: Expr) -> list[Expr]:
    """For each value of the domain an expression that is NULL on all rows but those with it."""
    return [
        operators.case([(_is(argument, value), operators.number("1"))], operators.null())
        for value in key_of(argument).domain
    ]


def _is(expr: Expr, value: DomainValue) -> Expr:
    """The condition that `expr` is `value`."""
    if isinstance(expr, Apply) and expr.op is Op.CASE:
        pairs = [(condition, _is(result, value)) for condition, result in branches(expr)]
        return operators.case(pairs, _is(expr.args[-1], value))
    if isinstance(expr, Constant):
        return operators.boolean(expr.value == value)
    if expr.kind is Kind.BOOLEAN:
        return expr if value else operators.connect(Op.NOT, [expr])
    return operators.compare(Op.EQ, expr, _constant(expr.kind, value))


def _constant(kind: Kind, value: DomainValue) -> Constant:
    if isinstance(value, str):
        return operators.text(value)
    if kind.temporal:
        return temporal_operators.constant(kind, value)
    size = operators.number(str(abs(value)))
    negative = operators.negate(size)
    assert isinstance(negative, Constant)
    return negative if value < 0 else size
