"""Outputs over released values, with SQL's three-valued logic, exactly where types are exact.

Integers and decimals are `int` and `Fraction`; floats are double precision and divide by 0 as
IEEE 754 (and DuckDB) do. NULL is None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

from yumen_core.sql import temporal_evaluate
from yumen_core.sql.expression import (
    TEMPORAL,
    Apply,
    Constant,
    Expr,
    KeyRef,
    Kind,
    MeasureRef,
    Op,
    branches,
)
from yumen_core.sql.like import LikePattern

Cell = int | Fraction | float | bool | str | None
_COMPARE: dict[Op, Callable[[float, float], bool]] = {
    Op.EQ: lambda a, b: a == b,
    Op.NE: lambda a, b: a != b,
    Op.LT: lambda a, b: a < b,
    Op.LE: lambda a, b: a <= b,
    Op.GT: lambda a, b: a > b,
    Op.GE: lambda a, b: a >= b,
}


def evaluate(expr: Expr, keys: Sequence[Cell], measures: Sequence[Cell]) -> Cell:
    """The value of an output for one row."""

    def value(node: Expr) -> Cell:
        match node:
            case Constant():
                return _constant(node)
            case KeyRef(index=index):
                return keys[index]
            case MeasureRef(index=index):
                return measures[index]
            case Apply():
                return _apply(node, value)
        raise TypeError(f"{type(node).__name__} has no value after release")

    return value(expr)


def _constant(node: Constant) -> Cell:
    if node.kind is Kind.DECIMAL and isinstance(node.value, int):
        return Fraction(node.value, 10**node.scale)
    return node.value


def _apply(node: Apply, value: Callable[[Expr], Cell]) -> Cell:
    match node.op:
        case Op.CASE:
            for condition, result in branches(node):
                if value(condition) is True:
                    return _as(node.kind, value(result))
            return _as(node.kind, value(node.args[-1]))
        case Op.AND | Op.OR:
            decisive = node.op is Op.OR
            seen = [value(arg) for arg in node.args]
            if decisive in seen:
                return decisive
            return None if None in seen else not decisive
        case Op.IS_NULL:
            return value(node.args[0]) is None
        case Op.IN:
            return _is_in(node, value)
    args = [value(arg) for arg in node.args]
    if None in args:
        return None
    if node.op in TEMPORAL:
        return temporal_evaluate.apply(node, [n for n in args if isinstance(n, int)])
    return _strict(node, args)


def _strict(node: Apply, args: Sequence[Cell]) -> Cell:
    """Operators that give NULL for NULL; no argument is None here."""
    if node.op is Op.NOT:
        return args[0] is not True
    if node.op is Op.LIKE:
        return LikePattern(str(args[1])).matches(str(args[0]))
    if node.op in _COMPARE:
        return _compare(node.op, args[0], args[1])
    numbers = [_as(node.kind, arg) for arg in args]
    return _arithmetic(node.op, [n for n in numbers if isinstance(n, int | float | Fraction)])


def _arithmetic(op: Op, args: Sequence[int | float | Fraction]) -> Cell:
    first = args[0]
    match op:
        case Op.NEG:
            return -first
        case Op.ABS:
            return first if first >= 0 else -first
        case Op.ADD:
            return first + args[1]
        case Op.SUB:
            return first - args[1]
        case Op.MUL:
            return first * args[1]
    return _divide(to_float(first), to_float(args[1]))


def _divide(a: float, b: float) -> float:
    if b != 0:
        return a / b
    if a == 0 or math.isnan(a):
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


def _compare(op: Op, left: Cell, right: Cell) -> bool:
    if isinstance(left, float) or isinstance(right, float):
        left, right = _as(Kind.FLOAT, left), _as(Kind.FLOAT, right)
    return _COMPARE[op](left, right)  # type: ignore[arg-type]


def _is_in(node: Apply, value: Callable[[Expr], Cell]) -> Cell:
    subject = value(node.args[0])
    if subject is None:
        return None
    items = [value(item) for item in node.args[1:]]
    if any(_compare(Op.EQ, subject, item) for item in items if item is not None):
        return True
    return None if None in items else False


def _as(kind: Kind, value: Cell) -> Cell:
    """Integers and decimals become floats where the type says so."""
    if kind is Kind.FLOAT and isinstance(value, int | Fraction):
        return to_float(value)
    return value


def to_float(value: int | float | Fraction) -> float:
    """The nearest double; infinite beyond their range."""
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)
