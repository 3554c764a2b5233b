"""Parts, units and steps of the calendar, for what is computed on released values and at parsing.

A node's database computes the same over rows (`temporal_render`); both follow DuckDB. Weeks are
those of ISO 8601. Everything here takes and gives `datetime`s, a date being its midnight.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import datetime, timedelta
from enum import StrEnum

from yumen_core.sql.temporal import DAY_US, microsecond_number, timestamp_of


class Part(StrEnum):
    """What EXTRACT takes from a moment. DOW counts from Sunday, 0; ISODOW from Monday, 1."""

    YEAR = "year"
    ISOYEAR = "isoyear"
    QUARTER = "quarter"
    MONTH = "month"
    WEEK = "week"
    DAY = "day"
    DOW = "dow"
    ISODOW = "isodow"
    DOY = "doy"
    HOUR = "hour"
    MINUTE = "minute"
    SECOND = "second"

    @property
    def of_day(self) -> bool:
        """Whether a date lacks it."""
        return self in (Part.HOUR, Part.MINUTE, Part.SECOND)


class Unit(StrEnum):
    """Steps of time, the longest first."""

    YEAR = "year"
    QUARTER = "quarter"
    MONTH = "month"
    WEEK = "week"
    DAY = "day"
    HOUR = "hour"
    MINUTE = "minute"
    SECOND = "second"

    @property
    def of_day(self) -> bool:
        """Whether a date has no such step."""
        return self in (Unit.HOUR, Unit.MINUTE, Unit.SECOND)


_MONTHS = {Unit.YEAR: 12, Unit.QUARTER: 3, Unit.MONTH: 1}
_MICROSECONDS = {
    Unit.WEEK: 7 * DAY_US,
    Unit.DAY: DAY_US,
    Unit.HOUR: 3_600_000_000,
    Unit.MINUTE: 60_000_000,
    Unit.SECOND: 1_000_000,
}
_FULL = {
    Part.QUARTER: (1, 4),
    Part.MONTH: (1, 12),
    Part.WEEK: (1, 53),
    Part.DAY: (1, 31),
    Part.DOW: (0, 6),
    Part.ISODOW: (1, 7),
    Part.DOY: (1, 366),
    Part.HOUR: (0, 23),
    Part.MINUTE: (0, 59),
    Part.SECOND: (0, 59),
}
# Within one such unit the part only grows.
_GROWS_WITHIN = {
    Part.QUARTER: Unit.YEAR,
    Part.MONTH: Unit.YEAR,
    Part.DOY: Unit.YEAR,
    Part.DAY: Unit.MONTH,
    Part.ISODOW: Unit.WEEK,
    Part.HOUR: Unit.DAY,
    Part.MINUTE: Unit.HOUR,
    Part.SECOND: Unit.MINUTE,
}
# 1970-01-01 was a Thursday: the Monday before lies three days back.
_TO_MONDAY_US = 3 * DAY_US


def extract(part: Part, moment: datetime) -> int:
    match part:
        case Part.QUARTER:
            return (moment.month + 2) // 3
        case Part.ISOYEAR:
            return moment.isocalendar().year
        case Part.WEEK:
            return moment.isocalendar().week
        case Part.DOW:
            return moment.isoweekday() % 7
        case Part.ISODOW:
            return moment.isoweekday()
        case Part.DOY:
            return moment.timetuple().tm_yday
    return int(getattr(moment, part.value))


def part_range(part: Part, low: datetime, high: datetime) -> tuple[int, int]:
    """Least and greatest value of a part from `low` to `high`, both included."""
    within = _GROWS_WITHIN.get(part)
    grows = within is None or truncate(within, low) == truncate(within, high)
    if part not in _FULL or (within is not None and grows):
        return extract(part, low), extract(part, high)
    return _FULL[part]


def index(unit: Unit, moment: datetime) -> int:
    """The number of the unit that `moment` lies in, counted on without a gap."""
    months = _MONTHS.get(unit)
    if months is not None:
        return (moment.year * 12 + moment.month - 1) // months
    past = _TO_MONDAY_US if unit is Unit.WEEK else 0
    return (microsecond_number(moment) + past) // _MICROSECONDS[unit]


def start(unit: Unit, number: int) -> datetime:
    """The first moment of the unit with that number."""
    months = _MONTHS.get(unit)
    if months is not None:
        year, month = divmod(number * months, 12)
        return datetime(year, month + 1, 1)
    past = _TO_MONDAY_US if unit is Unit.WEEK else 0
    return timestamp_of(number * _MICROSECONDS[unit] - past)


def truncate(unit: Unit, moment: datetime) -> datetime:
    return start(unit, index(unit, moment))


def difference(unit: Unit, since: datetime, until: datetime) -> int:
    """How many starts of a unit lie between two moments; of weeks, how many times seven days."""
    if unit is Unit.WEEK:
        days = index(Unit.DAY, until) - index(Unit.DAY, since)
        return days // 7 if days >= 0 else -(-days // 7)
    return index(unit, until) - index(unit, since)


def shift(moment: datetime, unit: Unit, count: int) -> datetime:
    """`count` units later. A day that the month lacks becomes its last.

    Raises `OverflowError` beyond the years 1 to 9999.
    """
    months = _MONTHS.get(unit)
    if months is None:
        return moment + timedelta(microseconds=count * _MICROSECONDS[unit])
    year, month = divmod(moment.year * 12 + moment.month - 1 + count * months, 12)
    if not 1 <= year <= 9999:
        raise OverflowError("expected a year from 1 to 9999")
    day = min(moment.day, monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)
