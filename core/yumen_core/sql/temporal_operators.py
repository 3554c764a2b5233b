"""Typing rules of dates and timestamps: build an `Apply`, or say why not.

They follow DuckDB but for this: truncating a date, or moving it by whole days, gives a date and not
its midnight. Literals fold at once. No result lies beyond the years 1 to 9999, so that no row can
make a node's database fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction

from yumen_core.sql import calendar, operators
from yumen_core.sql.calendar import Part, Unit
from yumen_core.sql.expression import Apply, ColumnRef, Constant, Expr, Kind, Op, walk
from yumen_core.sql.interval import Interval
from yumen_core.sql.operators import TypeFault
from yumen_core.sql.temporal import (
    DATES,
    TIMESTAMPS,
    day_number,
    microsecond_number,
    parse_date,
    parse_timestamp,
)
from yumen_core.sql.temporal_evaluate import apply, moment_of, number_of

_MOST_STEPS = 1 << 31
_INTEGER = Kind.INTEGER


def literal(kind: Kind, text: str) -> Constant:
    """DATE 'text' or TIMESTAMP 'text'."""
    shown = text[:40]
    try:
        if kind is Kind.DATE:
            return constant(kind, day_number(parse_date(text)))
        return constant(kind, microsecond_number(parse_timestamp(text)))
    except ValueError:
        example = "2020-01-31" if kind is Kind.DATE else "2020-01-31 08:30:00"
        raise TypeFault(f"expected a {kind} such as '{example}', got '{shown}'") from None


def extract(part: Part, arg: Expr) -> Expr:
    """EXTRACT(part FROM arg): an integer."""
    _need_moment("EXTRACT", arg, 0)
    if part.of_day and arg.kind is Kind.DATE:
        raise TypeFault(f"a date has no {part}", 0)
    low, high = calendar.part_range(part, *_ends(arg))
    return _built(_INTEGER, _between(low, high), Op.EXTRACT, part, arg)


def truncate(unit: Unit, arg: Expr) -> Expr:
    """DATE_TRUNC('unit', arg): of the type of `arg`."""
    _need_moment("DATE_TRUNC", arg, 0)
    if arg.kind is Kind.DATE:
        if unit.of_day:
            raise TypeFault(f"a date has no {unit}s", 0)
        if unit is Unit.DAY:
            return arg
    low, high = (number_of(arg.kind, calendar.truncate(unit, end)) for end in _ends(arg))
    return _built(arg.kind, _between(low, high), Op.DATE_TRUNC, unit, arg)


def difference(unit: Unit, since: Expr, until: Expr) -> Expr:
    """DATE_DIFF('unit', since, until): how many starts of a unit lie between; weeks are counted as
    times of seven days."""
    since, until = align(since, until)
    for position, arg in enumerate((since, until)):
        _need_moment("DATE_DIFF", arg, position)
    if unit.of_day:
        since, until = to_timestamp(since), to_timestamp(until)
    (first, last), (lowest, highest) = _ends(since), _ends(until)
    low = calendar.difference(unit, last, lowest)
    high = calendar.difference(unit, first, highest)
    return _built(_INTEGER, _between(low, high), Op.DATE_DIFF, unit, since, until)


def add(arg: Expr, unit: Unit, count: Expr, sign: int = 1) -> Expr:
    """arg + INTERVAL count unit, or minus it. `count` is a whole literal: were it built of columns,
    it could hide a subgroup's sum in a date (`subgroups`)."""
    _need_moment("an interval", arg, 0)
    if unit.of_day and arg.kind is Kind.DATE:
        raise TypeFault(f"a date has no {unit}s; write CAST(... AS TIMESTAMP)", 0)
    steps = count.value if isinstance(count, Constant) and count.kind is _INTEGER else None
    if not isinstance(steps, int) or abs(steps) >= _MOST_STEPS:
        raise TypeFault("dates move by a whole number, written as a literal", 1)
    steps *= sign
    try:
        low, high = (number_of(arg.kind, calendar.shift(end, unit, steps)) for end in _ends(arg))
    except OverflowError:
        reason = _why_wide(arg) or "the result may lie beyond the years 1 to 9999"
        raise TypeFault(reason, 0) from None
    moved = Constant(_INTEGER, 0, Interval.point(steps), False, steps)
    return _built(arg.kind, _between(low, high), Op.DATE_ADD, unit, arg, moved)


def to_date(arg: Expr) -> Expr:
    """CAST(arg AS DATE)."""
    return _cast(arg, Kind.DATE, Op.TO_DATE)


def to_timestamp(arg: Expr) -> Expr:
    """CAST(arg AS TIMESTAMP)."""
    return _cast(arg, Kind.TIMESTAMP, Op.TO_TIMESTAMP)


def arithmetic(op: Op, left: Expr, right: Expr) -> Expr:
    """`left op right`: of dates as here, of all else as `operators.arithmetic` says."""
    if not (left.kind.temporal or right.kind.temporal):
        return operators.arithmetic(op, left, right)
    if op is Op.SUB and left.kind is right.kind is Kind.DATE:
        return difference(Unit.DAY, right, left)
    if op is Op.SUB and left.kind.temporal and right.kind.temporal:
        raise TypeFault("the difference of timestamps is no number; write DATE_DIFF('hour', b, a)")
    if op is Op.ADD and right.kind is Kind.DATE and left.kind is _INTEGER:
        left, right = right, left
    if op in (Op.ADD, Op.SUB) and left.kind is Kind.DATE and right.kind is _INTEGER:
        return add(left, Unit.DAY, right, 1 if op is Op.ADD else -1)
    raise TypeFault(f"cannot compute {left.kind} {op.value} {right.kind}")


def align(left: Expr, right: Expr) -> tuple[Expr, Expr]:
    """Two operands that are compared: text literals become dates beside dates, and dates become
    timestamps beside timestamps."""
    left, right = _read_beside(right, left, 0), _read_beside(left, right, 1)
    if {left.kind, right.kind} == {Kind.DATE, Kind.TIMESTAMP}:
        return to_timestamp(left), to_timestamp(right)
    return left, right


def align_all(arg: Expr, items: Sequence[Expr]) -> tuple[Expr, list[Expr]]:
    """As `align`, for IN."""
    if not arg.kind.temporal:
        return arg, list(items)
    read = [_read_beside(arg, item, at) for at, item in enumerate(items, start=1)]
    if any(item.kind is Kind.TIMESTAMP for item in read):
        return to_timestamp(arg), [_moved(item) for item in read]
    return arg, read


def undeclared(expr: Expr) -> ColumnRef | None:
    """A column of `expr` whose declaration leaves dates open on one side."""
    for node in walk(expr):
        if not isinstance(node, ColumnRef) or not node.kind.temporal:
            continue
        if node.column.lower is None or node.column.upper is None:
            return node
    return None


def _read_beside(other: Expr, expr: Expr, part: int) -> Expr:
    if other.kind.temporal and isinstance(expr, Constant) and expr.kind is Kind.TEXT:
        try:
            return literal(other.kind, str(expr.value))
        except TypeFault as fault:
            raise TypeFault(fault.message, part) from None
    return expr


def _moved(item: Expr) -> Expr:
    return to_timestamp(item) if item.kind is Kind.DATE else item


def _cast(arg: Expr, kind: Kind, op: Op) -> Expr:
    if arg.kind in (kind, Kind.NULL):
        return arg
    if isinstance(arg, Constant) and arg.kind is Kind.TEXT:
        return literal(kind, str(arg.value))
    _need_moment("CAST", arg, 0)
    low, high = (number_of(kind, end) for end in _ends(arg))
    result = Apply(kind, 0, _between(low, high), arg.nullable, op, (arg,))
    return _folded(result, (arg,))


def _built(kind: Kind, bounds: Interval, op: Op, word: Part | Unit, *args: Expr) -> Expr:
    nullable = any(arg.nullable for arg in args)
    return _folded(Apply(kind, 0, bounds, nullable, op, (operators.text(word), *args)), args)


def _folded(expr: Apply, args: Sequence[Expr]) -> Expr:
    """The value of `expr`, where its arguments are literals."""
    values = [arg.value for arg in args if isinstance(arg, Constant)]
    known = [value for value in values if isinstance(value, int)]
    if len(known) < len(args):
        return expr
    return constant(expr.kind, apply(expr, known))


def constant(kind: Kind, number: int) -> Constant:
    """A date or timestamp by the number that stands for it (`temporal`), or an integer."""
    return Constant(kind, 0, Interval.point(number), False, number)


def _between(low: int, high: int) -> Interval:
    return Interval(Fraction(low), Fraction(high))


def _ends(arg: Expr) -> tuple[datetime, datetime]:
    """The earliest and the latest moment that `arg` can be."""
    whole = DATES if arg.kind is Kind.DATE else TIMESTAMPS
    bounds = whole if arg.bounds is None else arg.bounds
    return moment_of(arg.kind, int(bounds.low)), moment_of(arg.kind, int(bounds.high))


def _need_moment(what: str, arg: Expr, part: int) -> None:
    if not arg.kind.temporal:
        raise TypeFault(f"{what} takes a date or a timestamp, got {arg.kind}", part)


def _why_wide(arg: Expr) -> str | None:
    column = undeclared(arg)
    return None if column is None else f"column `{column.column.name}` has no declared bounds"
