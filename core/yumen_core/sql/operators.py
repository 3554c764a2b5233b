"""Typing rules: build an `Apply`, or say why not.

Types follow DuckDB: integer and decimal arithmetic is exact, `/` and everything that touches a
float is double precision, decimals add with the larger scale and multiply with the sum of scales.
Stricter than DuckDB in four ways: text and booleans never turn into numbers, a divisor must not
be able to be 0, arithmetic needs bounded operands, exact results must fit 38 digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from yumen_core.sql.expression import (
    Apply,
    ColumnRef,
    Constant,
    Expr,
    KeyRef,
    Kind,
    MeasureRef,
    Op,
    branches,
    walk,
)
from yumen_core.sql.interval import Interval
from yumen_core.sql.schema import Column
from yumen_core.sql.storage import reach

EXACT_LIMIT = 10**38
MAX_RESULT_SCALE = 38
# Squares of floats below this stay finite in double precision.
FLOAT_LIMIT = Fraction(10**150)
# A divisor nearer to 0 could underflow to 0 in double precision.
DIVISOR_FLOOR = 1 / FLOAT_LIMIT
_ROUNDING = Fraction(1, 1 << 50)  # of one operation in double precision, with room
_UNDERFLOW = Fraction(1, 1 << 1000)


class TypeFault(Exception):
    """A typing rule is broken. `part` is the operand at fault; the caller adds the place."""

    def __init__(self, message: str, part: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.part = part


def column_ref(column: Column) -> ColumnRef:
    return ColumnRef(
        Kind(column.type.value), column.scale, column.interval, column.nullable, column
    )


def number(text: str) -> Constant:
    """A numeric literal: integer, decimal (with a point) or float (with an exponent)."""
    if "e" in text.lower():
        value = float(text)
        if not abs(value) <= FLOAT_LIMIT:
            raise TypeFault("expected a number within 1e150")
        return Constant(Kind.FLOAT, 0, Interval.point(Fraction(value)), False, value)
    digits = text.replace(".", "")
    if not digits.isascii() or not digits.isdigit() or text.count(".") > 1:
        raise TypeFault("expected a decimal number")
    scale = len(text) - text.index(".") - 1 if "." in text else 0
    if len(digits) > 38:
        raise TypeFault("expected at most 38 digits")
    kind = Kind.DECIMAL if "." in text else Kind.INTEGER
    return Constant(kind, scale, Interval.point(Fraction(Decimal(text))), False, int(digits))


def boolean(value: bool) -> Constant:
    return Constant(Kind.BOOLEAN, 0, None, False, value)


def text(value: str) -> Constant:
    return Constant(Kind.TEXT, 0, None, False, value)


def null() -> Constant:
    return Constant(Kind.NULL, 0, None, True, None)


def negate(arg: Expr) -> Expr:
    _need_numbers((arg,))
    bounds = None if arg.bounds is None else -arg.bounds
    if isinstance(arg, Constant) and isinstance(arg.value, int | float):
        return Constant(arg.kind, arg.scale, bounds, False, -arg.value)
    _need_bounds((arg,))
    return Apply(arg.kind, arg.scale, bounds, arg.nullable, Op.NEG, (arg,))


def absolute(arg: Expr) -> Apply:
    _need_numbers((arg,))
    _need_bounds((arg,))
    bounds = None if arg.bounds is None else abs(arg.bounds)
    return Apply(arg.kind, arg.scale, bounds, arg.nullable, Op.ABS, (arg,))


def arithmetic(op: Op, left: Expr, right: Expr) -> Apply:
    """`left op right` for + - * and /."""
    _need_numbers((left, right))
    _need_bounds((left, right))
    kind, scale = _arithmetic_type(op, left, right)
    bounds = _arithmetic_bounds(op, kind, left, right)
    result = Apply(kind, scale, bounds, left.nullable or right.nullable, op, (left, right))
    _check_size(result)
    return result


def compare(op: Op, left: Expr, right: Expr) -> Apply:
    _need_comparable(left, right)
    if Kind.BOOLEAN in (left.kind, right.kind) and op not in (Op.EQ, Op.NE):
        raise TypeFault("compare booleans with = or <> only")
    if Kind.TEXT in (left.kind, right.kind):
        if op not in (Op.EQ, Op.NE):
            raise TypeFault("compare text with =, <>, IN or LIKE only")
        _need_text_operands(left, right)
    return _boolean(op, (left, right))


def is_in(arg: Expr, items: Sequence[Expr]) -> Apply:
    for position, item in enumerate(items, start=1):
        if not isinstance(item, Constant):
            raise TypeFault("IN takes literals", position)
        _need_comparable(arg, item)
    if arg.kind is Kind.TEXT:
        _need_text_operands(arg, items[0])
    return _boolean(Op.IN, (arg, *items))


def like(arg: Expr, pattern: Expr) -> Apply:
    if not (isinstance(pattern, Constant) and pattern.kind is Kind.TEXT):
        raise TypeFault("LIKE takes a literal pattern", 1)
    if arg.kind is not Kind.TEXT:
        raise TypeFault(f"LIKE takes text, got {arg.kind}", 0)
    _need_text_operands(arg, pattern)
    return _boolean(Op.LIKE, (arg, pattern))


def is_null(arg: Expr) -> Apply:
    return Apply(Kind.BOOLEAN, 0, None, False, Op.IS_NULL, (arg,))


def present(arg: Expr) -> Apply:
    """`arg` IS NOT NULL."""
    return connect(Op.NOT, [is_null(arg)])


def connect(op: Op, args: Sequence[Expr]) -> Apply:
    """AND, OR (two or more arguments) or NOT (one)."""
    for position, arg in enumerate(args):
        need_boolean(arg, op.value.upper(), position)
    return _boolean(op, tuple(args))


def case(pairs: Sequence[tuple[Expr, Expr]], otherwise: Expr) -> Apply:
    """CASE WHEN condition THEN value ... ELSE otherwise END."""
    for position, (condition, _) in enumerate(pairs):
        need_boolean(condition, "WHEN", 2 * position)
    values = [value for _, value in pairs] + [otherwise]
    known = [value for value in values if value.kind is not Kind.NULL]
    if not known:
        raise TypeFault("expected a CASE with a result other than NULL")
    kind, scale = _common_type(known)
    if kind is Kind.TEXT and any(isinstance(value, ColumnRef) for value in known):
        raise TypeFault("a CASE that gives text takes literals as results")
    bounds: Interval | None = known[0].bounds
    for value in known[1:]:
        both = bounds is not None and value.bounds is not None
        bounds = bounds.hull(value.bounds) if both and bounds and value.bounds else None
    args = [part for pair in pairs for part in pair]
    nullable = any(value.nullable for value in values)
    result = Apply(kind, scale, bounds, nullable, Op.CASE, (*args, otherwise))
    _check_size(result)
    unbounded = bounds is None and kind.exact and not _is_released(result)
    if unbounded and reach(result).magnitude * 10**scale >= EXACT_LIMIT:
        raise TypeFault("the result may need more than 38 digits")
    return result


def need_boolean(arg: Expr, what: str, part: int | None = None) -> None:
    if arg.kind not in (Kind.BOOLEAN, Kind.NULL):
        raise TypeFault(f"{what} takes a condition, got {arg.kind}", part)


def why_unbounded(expr: Expr) -> str:
    """The reason why an expression has no bounds, naming the column."""
    for node in walk(expr):
        if isinstance(node, ColumnRef) and node.bounds is None and node.kind.numeric:
            return f"column `{node.column.name}` has no declared bounds"
    return "its values have no bounds"


def is_literal(expr: Expr) -> bool:
    """Whether `expr` is a literal or a CASE whose every result is one."""
    if isinstance(expr, Constant):
        return True
    if isinstance(expr, Apply) and expr.op is Op.CASE:
        results = [value for _, value in branches(expr)] + [expr.args[-1]]
        return all(is_literal(result) for result in results)
    return False


def _boolean(op: Op, args: tuple[Expr, ...]) -> Apply:
    return Apply(Kind.BOOLEAN, 0, None, any(arg.nullable for arg in args), op, args)


def _need_numbers(args: Sequence[Expr]) -> None:
    for position, arg in enumerate(args):
        if not arg.kind.numeric:
            raise TypeFault(f"arithmetic takes numbers, got {arg.kind}", position)


def _is_released(expr: Expr) -> bool:
    """Outputs are computed on released values, in Python's unbounded integers."""
    return any(isinstance(node, KeyRef | MeasureRef) for node in walk(expr))


def _need_bounds(args: Sequence[Expr]) -> None:
    for position, arg in enumerate(args):
        if arg.bounds is None and not _is_released(arg):
            raise TypeFault(why_unbounded(arg), position)


def _arithmetic_type(op: Op, left: Expr, right: Expr) -> tuple[Kind, int]:
    kinds = (left.kind, right.kind)
    if op is Op.DIV or Kind.FLOAT in kinds:
        return Kind.FLOAT, 0
    scale = left.scale + right.scale if op is Op.MUL else max(left.scale, right.scale)
    if scale > MAX_RESULT_SCALE:
        raise TypeFault(f"the result would have more than {MAX_RESULT_SCALE} decimals")
    return (Kind.DECIMAL if Kind.DECIMAL in kinds else Kind.INTEGER), scale


def _arithmetic_bounds(op: Op, kind: Kind, left: Expr, right: Expr) -> Interval | None:
    if left.bounds is None or right.bounds is None:
        return None
    if kind is not Kind.FLOAT:
        return _real_bounds(op, left.bounds, right.bounds)
    return _rounded(_real_bounds(op, _rounded(left.bounds), _rounded(right.bounds)))


def _real_bounds(op: Op, left: Interval, right: Interval) -> Interval:
    if op is Op.DIV:
        low, high = right.low, right.high
        if low < DIVISOR_FLOOR and high > -DIVISOR_FLOOR:
            raise TypeFault(f"the divisor may be 0: it lies from {_show(low)} to {_show(high)}", 1)
        return left / right
    if op is Op.ADD:
        return left + right
    return left - right if op is Op.SUB else left * right


def _rounded(bounds: Interval) -> Interval:
    """Bounds that hold for doubles too. Without the slack `(x + 1e16) - 1e16` would count as `x`
    where it can be 0, and a division by it would fail for the rows a requester chooses."""
    slack = _UNDERFLOW if bounds.magnitude else Fraction(0)
    return Interval(
        bounds.low - abs(bounds.low) * _ROUNDING - slack,
        bounds.high + abs(bounds.high) * _ROUNDING + slack,
    )


def _show(value: Fraction) -> str:
    return str(value) if value.denominator == 1 else f"{float(value):g}"


def _check_size(result: Apply) -> None:
    if result.bounds is None:
        return
    if result.kind is Kind.FLOAT and result.bounds.magnitude > FLOAT_LIMIT:
        raise TypeFault("the result may exceed 1e150")
    if result.kind.exact and result.bounds.magnitude * 10**result.scale >= EXACT_LIMIT:
        raise TypeFault("the result may need more than 38 digits")


def _need_comparable(left: Expr, right: Expr) -> None:
    if Kind.NULL in (left.kind, right.kind):
        return
    if left.kind.numeric and right.kind.numeric:
        top = max(left.scale, right.scale)
        both_exact = left.kind.exact and right.kind.exact
        for arg in (left, right):
            if arg.bounds is None and (not both_exact or _is_released(arg)):
                continue
            if arg.kind.exact and reach(arg).magnitude * 10**top >= EXACT_LIMIT:
                raise TypeFault("the comparison would need more than 38 digits")
        return
    if left.kind is not right.kind:
        raise TypeFault(f"cannot compare {left.kind} with {right.kind}")


def _need_text_operands(left: Expr, right: Expr) -> None:
    """Node data in text columns may be held as codes, so only literals compare with them."""
    if _is_released(left) or _is_released(right):
        return
    sides = (left, right)
    if not any(isinstance(side, ColumnRef) for side in sides) or not any(
        isinstance(side, Constant) for side in sides
    ):
        raise TypeFault("compare a text column with a text literal")


def _common_type(values: Sequence[Expr]) -> tuple[Kind, int]:
    kinds = {value.kind for value in values}
    if len(kinds) == 1 or all(kind.exact for kind in kinds):
        scale = max(value.scale for value in values)
        if len(kinds) == 1:
            return kinds.pop(), scale
        return Kind.DECIMAL, scale
    if all(kind.numeric for kind in kinds):
        return Kind.FLOAT, 0
    names = " and ".join(sorted(kinds))
    raise TypeFault(f"expected results of one type in a CASE, got {names}")
