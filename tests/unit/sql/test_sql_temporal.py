"""Dates and timestamps as values: texts, numbers, and the bounds of columns."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yumen_core.errors import CallError, PeerError
from yumen_core.sql import Column, ColumnType, TableSchema, storage_type
from yumen_core.sql.temporal import (
    DATES,
    TIMESTAMPS,
    date_of,
    day_number,
    end_of,
    microsecond_number,
    parse_date,
    parse_timestamp,
    timestamp_of,
)

DATE, TIMESTAMP = ColumnType.DATE, ColumnType.TIMESTAMP
VISITS = TableSchema(
    "visits",
    (
        Column("born", DATE, lower=date(1, 1, 1), upper=date(2024, 2, 29), nullable=False),
        Column("at", TIMESTAMP, lower=datetime(1969, 12, 31, 23, 59, 59, 999_999)),
        Column("open", DATE),
    ),
)


@given(st.dates())
def test_dates_count_days_and_come_back(day: date) -> None:
    assert date_of(day_number(day)) == day
    assert parse_date(day.isoformat()) == day
    assert DATES.low <= day_number(day) <= DATES.high


@given(st.datetimes())
def test_timestamps_count_microseconds_and_come_back(moment: datetime) -> None:
    assert timestamp_of(microsecond_number(moment)) == moment
    assert parse_timestamp(moment.isoformat()) == parse_timestamp(str(moment)) == moment
    assert TIMESTAMPS.low <= microsecond_number(moment) <= TIMESTAMPS.high


def test_numbers_around_the_epoch() -> None:
    assert [day_number(date(1969, 12, 31)), day_number(date(1970, 1, 2))] == [-1, 1]
    assert microsecond_number(datetime(1969, 12, 31, 23, 59, 59, 999_999)) == -1
    assert end_of(date(2020, 2, 29)) == datetime(2020, 2, 29, 23, 59, 59, 999_999)
    assert parse_timestamp("2020-02-29 08:30:15.5") == datetime(2020, 2, 29, 8, 30, 15, 500_000)


@pytest.mark.parametrize(
    "text",
    ["", "2020-1-31", "20200131", "2021-02-29", "2020-W05-5", "0000-01-01", "２０２０-01-31",
     "2020-01-31 ", "2020-01-31 08:00", "10000-01-01"],
)  # fmt: skip
def test_texts_that_are_no_date(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_date(text)


@pytest.mark.parametrize(
    "text",
    ["", "2020-01-31_08:00", "2020-01-31T", "2020-01-31 8:00", "2020-01-31 24:00", "08:00",
     "2020-01-31 08:00Z", "2020-01-31 08:00+02:00", "2020-01-31 08:00:00.1234567"],
)  # fmt: skip
def test_texts_that_are_no_timestamp(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_timestamp(text)


def test_bounds_are_published_as_iso_texts() -> None:
    data = VISITS.to_bytes()
    born, at, _ = json.loads(data)["columns"]
    assert (born["lower"], born["upper"]) == ("0001-01-01", "2024-02-29")
    assert (at["lower"], at["upper"]) == ("1969-12-31T23:59:59.999999", None)
    assert TableSchema.from_bytes(data) == VISITS


def test_intervals_count_as_the_type_and_the_calendar_bounds_the_rest() -> None:
    born, at, free = (column.interval for column in VISITS.columns)
    assert born is not None
    assert at is not None
    assert (born.low, born.high) == (DATES.low, day_number(date(2024, 2, 29)))
    assert (at.low, at.high) == (-1, TIMESTAMPS.high)
    assert free == DATES
    assert [storage_type(column) for column in VISITS.columns] == ["DATE", "TIMESTAMP", "DATE"]


BAD: list[tuple[dict[str, Any], str]] = [
    (
        {"type": DATE, "lower": Decimal(5)},
        "expected bounds of column `x` that are dates, got `5`",
    ),
    (
        {"type": DATE, "lower": datetime(2020, 1, 1)},
        "expected bounds of column `x` that are dates, got `2020-01-01 00:00:00`",
    ),
    (
        {"type": TIMESTAMP, "upper": date(2020, 1, 1)},
        "expected bounds of column `x` that are timestamps without a zone, got `2020-01-01`",
    ),
    (
        {"type": TIMESTAMP, "upper": datetime(2020, 1, 1, tzinfo=UTC)},
        "expected bounds of column `x` that are timestamps without a zone, "
        "got `2020-01-01 00:00:00+00:00`",
    ),
    (
        {"type": ColumnType.INTEGER, "lower": date(2020, 1, 1)},
        "expected bounds of column `x` that are numbers, got `2020-01-01`",
    ),
    (
        {"type": DATE, "lower": date(2020, 1, 2), "upper": date(2020, 1, 1)},
        "expected lower <= upper for column `x`, got `2020-01-02` and `2020-01-01`",
    ),
    (
        {"type": DATE, "domain": ("2020-01-01",)},
        "expected bounds for column `x` of type `date`, got a domain",
    ),
    ({"type": DATE, "scale": 1}, "expected a scale from 0 to 0 for column `x`, got `1`"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_columns_of_dates(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CallError) as caught:
        Column(**{"name": "x", **change})
    assert (caught.value.code, caught.value.message) == ("table_declaration", message)


BAD_TEXTS = [
    ("born", "2020-13-01", "expected a date such as 2020-01-31, got `2020-13-01`"),
    ("born", "18262", "expected a date such as 2020-01-31, got `18262`"),
    (
        "at",
        "2020-01-01T00:00:00Z",
        "expected a timestamp such as 2020-01-31 08:30:00, without a zone, "
        "got `2020-01-01T00:00:00Z`",
    ),
    ("at", "2020-01-01", "expected a table schema in canonical JSON"),
    ("at", "2020-01-01 00:00:00", "expected a table schema in canonical JSON"),
    ("at", "2020-01-01T00:00:00.500", "expected a table schema in canonical JSON"),
]


@pytest.mark.parametrize(("column", "text", "message"), BAD_TEXTS)
def test_bounds_of_another_party(column: str, text: str, message: str) -> None:
    document = json.loads(VISITS.to_bytes())
    next(c for c in document["columns"] if c["name"] == column)["lower"] = text
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(PeerError) as caught:
        TableSchema.from_bytes(data)
    assert (caught.value.code, caught.value.message) == ("descriptor", message)
