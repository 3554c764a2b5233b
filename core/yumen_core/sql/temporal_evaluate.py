"""The operators of dates and timestamps on values that are known: released ones and literals."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from yumen_core.sql import calendar
from yumen_core.sql.calendar import Part, Unit
from yumen_core.sql.expression import Apply, Constant, Kind, Op
from yumen_core.sql.temporal import DAY_US, microsecond_number, timestamp_of


def moment_of(kind: Kind, number: int) -> datetime:
    """The moment that a value of `kind` counts; a date's is its midnight."""
    return timestamp_of(number * DAY_US if kind is Kind.DATE else number)


def number_of(kind: Kind, moment: datetime) -> int:
    """A moment as `kind` counts; a date is the day it lies in."""
    number = microsecond_number(moment)
    return number // DAY_US if kind is Kind.DATE else number


def moment_text(kind: Kind, number: int) -> str:
    """A value of `kind` in ISO 8601, with a blank before the time."""
    moment = moment_of(kind, number)
    return str(moment.date() if kind is Kind.DATE else moment)


def unit_of(expr: Apply) -> Unit:
    return Unit(_word(expr))


def part_of(expr: Apply) -> Part:
    return Part(_word(expr))


def apply(expr: Apply, values: Sequence[int]) -> int:
    """`expr` of arguments that are not NULL, the unit or part left out.

    Raises `OverflowError` beyond the years 1 to 9999, which the operands' bounds exclude.
    """
    given = expr.args[-len(values) :]
    first = moment_of(given[0].kind, values[0])
    match expr.op:
        case Op.EXTRACT:
            return calendar.extract(part_of(expr), first)
        case Op.DATE_TRUNC:
            return number_of(expr.kind, calendar.truncate(unit_of(expr), first))
        case Op.DATE_DIFF:
            second = moment_of(given[1].kind, values[1])
            return calendar.difference(unit_of(expr), first, second)
        case Op.DATE_ADD:
            return number_of(expr.kind, calendar.shift(first, unit_of(expr), values[1]))
    return number_of(expr.kind, first)


def _word(expr: Apply) -> str:
    name = expr.args[0]
    assert isinstance(name, Constant)
    return str(name.value)
