"""Dates and timestamps among the columns a caller gives: reading them, and bounds around them."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Sequence
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc
from yumen_core.sql.schema import Column, ColumnType
from yumen_core.sql.temporal import end_of, parse_timestamp

_ISO = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?)?$"
_LONG_DAYS = 3_652  # ten years
_MICROSECONDS = pa.timestamp("us")


def read(values: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """`values`, none missing, in microseconds without a zone; None where they are no dates.

    Text counts where every value is a date or timestamp in ISO 8601, and there is one.
    """
    kind = values.type
    if len(values) == 0:
        return None
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            values = values.cast(pa.timestamp(kind.unit, "UTC"), safe=False)
            values = pc.local_timestamp(values)
        return values.cast(_MICROSECONDS, safe=False)
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return None
    if not pc.all(pc.match_substring_regex(values, _ISO)).as_py():
        return None
    try:
        found = [parse_timestamp(text) for text in values.to_pylist()]
    except ValueError:  # the 30th of February
        return None
    return pa.chunked_array([pa.array(found, type=_MICROSECONDS)])


def are_midnights(moments: pa.ChunkedArray) -> bool:
    """Whether every moment is the start of its day."""
    days = pc.floor_temporal(moments, unit="day")
    return bool(pc.all(pc.equal(days, moments)).as_py())


def column(name: str, parts: Sequence[pa.ChunkedArray], whole_days: bool, nullable: bool) -> Column:
    """A `date` or `timestamp` column with readable bounds around the moments of all parts."""
    both = [pc.min_max(part).as_py() for part in parts]
    lower, upper = readable_bounds(min(b["min"] for b in both), max(b["max"] for b in both))
    if whole_days:
        return Column(name, ColumnType.DATE, lower=lower, upper=upper, nullable=nullable)
    start = datetime(lower.year, lower.month, lower.day)
    return Column(name, ColumnType.TIMESTAMP, lower=start, upper=end_of(upper), nullable=nullable)


def readable_bounds(least: datetime, most: datetime) -> tuple[date, date]:
    """First and last day of the months, or of the years if ten are spanned, of two moments."""
    if (most - least).days >= _LONG_DAYS:
        return date(least.year, 1, 1), date(most.year, 12, 31)
    last = monthrange(most.year, most.month)[1]
    return date(least.year, least.month, 1), date(most.year, most.month, last)
