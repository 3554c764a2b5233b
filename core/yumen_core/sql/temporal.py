"""Dates and timestamps: their range, their ISO 8601 texts, and the whole numbers they count as.

A date counts as days since 1970-01-01, a timestamp as microseconds since its midnight. Neither has
a time zone. Both lie in the years 1 to 9999 of the proleptic Gregorian calendar, which Python's
`datetime` and DuckDB share.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta

from yumen_core.sql.interval import Interval

DAY_US = 86_400_000_000
_EPOCH = date(1970, 1, 1)
_EPOCH_MIDNIGHT = datetime(1970, 1, 1)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIME = re.compile(r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?", re.ASCII)


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - _EPOCH).days


def date_of(number: int) -> date:
    """The date that is `number` days after 1970-01-01. Raises `OverflowError` beyond the range."""
    return _EPOCH + timedelta(days=number)


def microsecond_number(moment: datetime) -> int:
    """Microseconds since the midnight of 1970-01-01; `moment` has no zone."""
    return (moment - _EPOCH_MIDNIGHT) // timedelta(microseconds=1)


def timestamp_of(number: int) -> datetime:
    """The timestamp `number` microseconds on. Raises `OverflowError` beyond the range."""
    return _EPOCH_MIDNIGHT + timedelta(microseconds=number)


def parse_date(text: str) -> date:
    """Read `2020-01-31`. Raises `ValueError` for any other form and for no day of the calendar."""
    if _DATE.fullmatch(text) is None:
        raise ValueError("expected a date such as 2020-01-31")
    return date.fromisoformat(text)


def parse_timestamp(text: str) -> datetime:
    """Read a date, or a date and a time: `2020-01-31 08:30`, `2020-01-31T08:30:15.25`.

    Raises `ValueError` for any other form, for a zone, and for no moment of the calendar.
    """
    day, time = text[:10], text[11:]
    if _DATE.fullmatch(day) is None or (len(text) > 10 and _TIME.fullmatch(time) is None):
        raise ValueError("expected a timestamp such as 2020-01-31 08:30:00")
    if text[10:11] not in ("", " ", "T"):
        raise ValueError("expected a blank or T between date and time")
    # Some releases of Python read three or six decimals only.
    whole, _, fraction = time.partition(".")
    moment = datetime.fromisoformat(f"{day}T{whole}" if whole else day)
    return moment.replace(microsecond=int(fraction.ljust(6, "0")) if fraction else 0)


def end_of(day: date) -> datetime:
    """The last microsecond of a day."""
    return datetime(day.year, day.month, day.day, 23, 59, 59, 999_999)


DATES = Interval.point(day_number(date.min)).hull(Interval.point(day_number(date.max)))
TIMESTAMPS = Interval.point(microsecond_number(datetime.min)).hull(
    Interval.point(microsecond_number(datetime.max))
)
