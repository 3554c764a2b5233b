"""Dates and timestamps: random rows over three nodes, random queries, one pooled database."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sql_tables import Row, answer, natural_table
from yumen_core.sql import Column, ColumnType, TableSchema, calendar, parse
from yumen_core.sql.calendar import Part, Unit

FIRST, LAST = date(1951, 12, 30), date(2024, 2, 29)
OPENED, CLOSED = datetime(1968, 12, 29, 22), datetime(1972, 3, 1, 0, 0, 0, 1)
VISITS = TableSchema(
    "visits",
    (
        Column("born", ColumnType.DATE, lower=FIRST, upper=LAST, nullable=False),
        Column("came", ColumnType.DATE, lower=date(1967, 12, 31), upper=date(1972, 1, 3)),
        Column("seen", ColumnType.TIMESTAMP, lower=OPENED, upper=CLOSED),
        Column("free", ColumnType.DATE),
        Column("late", ColumnType.TIMESTAMP),
        Column("sex", ColumnType.TEXT, domain=("female", "male")),
    ),
)
CATALOGUE = {"visits": VISITS}


def between(low: date, high: date) -> st.SearchStrategy[date]:
    ends = [low, low + timedelta(days=1), high]
    leaps = [day for y in range(1952, 2025, 4) if low <= (day := date(y, 2, 29)) <= high]
    turns = [d for y in range(1952, 2024) for d in (date(y, 12, 31), date(y + 1, 1, 1))]
    turns = [day for day in turns if low <= day <= high]
    return st.one_of(st.sampled_from(ends + leaps + turns), st.dates(low, high))


def moments(low: datetime, high: datetime) -> st.SearchStrategy[datetime]:
    ends = [low, high, datetime(1969, 12, 31, 23, 59, 59, 999_999), datetime(1970, 1, 1)]
    midnights = between(low.date() + timedelta(days=1), high.date())
    return st.one_of(
        st.sampled_from(ends),
        st.datetimes(low, high),
        midnights.map(lambda day: datetime.combine(day, time())),
    )


ROWS: st.SearchStrategy[Row] = st.tuples(
    between(FIRST, LAST),
    st.one_of(st.none(), between(date(1967, 12, 31), date(1972, 1, 3))),
    st.one_of(st.none(), moments(OPENED, CLOSED)),
    st.one_of(st.none(), st.dates(), st.sampled_from([date.min, date.max])),
    st.one_of(st.none(), st.datetimes(), st.sampled_from([datetime.min, datetime.max])),
    st.sampled_from(["female", "male", None]),
)


def text(template: str, *parts: list[str] | st.SearchStrategy[object]) -> st.SearchStrategy[str]:
    """Texts of `template` with its gaps filled, a list standing for any one of its entries."""
    drawn = [st.sampled_from(part) if isinstance(part, list) else part for part in parts]
    return st.tuples(*drawn).map(lambda found: template.format(*found))


PARTS = ["YEAR", "ISOYEAR", "QUARTER", "MONTH", "WEEK", "DAY", "DOW", "ISODOW", "DOY"]
CYCLIC = [part for part in PARTS if not part.endswith("YEAR")]
TIMES = ["HOUR", "MINUTE", "SECOND"]
SHORT = ["YEAR", "QUARTER", "MONTH", "WEEK", "WEEKOFYEAR", "DAY", "DAYOFMONTH", "DAYOFWEEK"]
SHORT += ["ISODOW", "DAYOFYEAR", "ISOYEAR"]
UNITS = ["year", "quarter", "month", "week", "day"]
ALL_UNITS = [*UNITS, "hour", "minute", "second"]
NAMED = ["month", "dayofweek", "isoyear"]
SIGNS = ["<", "<=", "=", "<>", ">", ">="]
DAYS = ["born", "came"]
OPEN = ["free", "late"]

DATES = st.one_of(
    st.sampled_from([*DAYS, "CAST(seen AS DATE)", "came::DATE", "'1970-01-01'::DATE"]),
    st.sampled_from(["DATE '1969-12-29'", "DATE '1968-02-29'"]),
    st.just("CASE WHEN sex = 'male' THEN born ELSE came END"),
    text("({} + {})", DAYS, st.integers(-400, 400)),
    text("({} - {})", DAYS, st.integers(0, 400)),
    text("CAST(DATE_TRUNC('{}', {}) AS DATE)", UNITS, DAYS),
    text("CAST({} {} INTERVAL ({}) {} AS DATE)", DAYS, ["+", "-"], st.integers(-30, 30), UNITS),
)
STAMPS = st.one_of(
    st.sampled_from(["seen", "CAST(came AS TIMESTAMP)", "TIMESTAMP '1970-01-01 00:30'"]),
    text("DATE_TRUNC('{}', seen)", ALL_UNITS),
    text("(seen {} INTERVAL {} {})", ["+", "-"], st.integers(0, 90), ALL_UNITS),
)
UNMOVED = st.one_of(
    st.sampled_from([*DAYS, "seen", "seen::DATE", "CAST(came AS TIMESTAMP)"]),
    text("DATE_TRUNC('{}', {})", UNITS, [*DAYS, "seen"]),
    st.just("CASE WHEN sex = 'male' THEN born ELSE came END"),
)
NUMBERS = st.one_of(
    text("EXTRACT({} FROM {})", PARTS, UNMOVED),
    text("EXTRACT({} FROM {})", PARTS, OPEN),
    text("EXTRACT({} FROM {})", TIMES, ["seen", "DATE_TRUNC('minute', seen)"]),
    text("{}({})", SHORT, UNMOVED),
    text("{}(late)", TIMES),
    text("DATE_PART('{}', {})", NAMED, UNMOVED),
    text("DATE_DIFF('{}', {}, {})", UNITS, DATES, st.one_of(DATES, STAMPS)),
    text("DATEDIFF('{}', {}, {})", ALL_UNITS, STAMPS, STAMPS),
    text("DATE_DIFF('{}', free, late)", UNITS),
    text("({} - {})", DATES, DATES),
)
CONDITIONS = st.one_of(
    text("{} {} {}", DATES, SIGNS, DATES),
    text("{} {} {}", STAMPS, SIGNS, st.one_of(DATES, STAMPS)),
    text("{} {} '1969-12-31'", DATES, SIGNS),
    text("{} > {}", NUMBERS, st.integers(-5, 60)),
    text("EXTRACT({} FROM {}) > {}", PARTS, st.one_of(DATES, STAMPS), st.integers(0, 60)),
    text("EXTRACT({} FROM {}) < {}", TIMES, STAMPS, st.integers(0, 60)),
    st.sampled_from(
        [
            "seen BETWEEN '1969-12-31' AND TIMESTAMP '1971-06-01 12:00:00.5'",
            "'1970-01-01 00:00' > seen",
            "born NOT BETWEEN DATE '1960-02-29' AND '1980-01-01'",
            "came IN ('1968-12-30', DATE '1970-01-01', NULL)",
            "came IN (DATE '1969-12-31', TIMESTAMP '1970-01-01 00:00:00')",
            "seen IN ('1970-01-01', DATE '1972-01-01')",
            "came IS NULL",
            "late > '9999-12-31 23:59:59.999998'",
            "free <= DATE '0001-01-01'",
            "CASE came WHEN DATE '1970-01-01' THEN TRUE WHEN '1967-12-31' THEN FALSE END",
        ]
    ),
)
KEYS = st.one_of(
    text("EXTRACT({} FROM {})", PARTS, [*DAYS, "seen"]),
    text("EXTRACT({} FROM {})", CYCLIC, OPEN),
    text("DATE_TRUNC('{}', {})", UNITS, ["came", "seen"]),
    text("DATE_TRUNC('{}', born)", UNITS[:4]),
    st.sampled_from(["HOUR(seen)", "MINUTE(seen)", "came", "seen::DATE", "came + 3"]),
    st.sampled_from(
        [
            "came < '1970-01-01'",
            "DATE_DIFF('year', born, came)",
            "DATE_DIFF('week', DATE '1970-01-01', came)",
            "came - DATE '1970-01-01'",
            "CASE WHEN born < '1970-01-01' THEN 'before' ELSE 'after' END",
            "DATE_TRUNC('month', born + INTERVAL 1 MONTH)",
            "YEAR(DATE_TRUNC('week', born))",
        ]
    ),
)
MEASURES = st.one_of(
    st.sampled_from(["COUNT(*)", "COUNT(came)", "COUNT(late)"]),
    text("{}({})", ["SUM", "AVG"], NUMBERS),
    text("SUM(CASE WHEN {} THEN {} ELSE 0 END)", CONDITIONS, NUMBERS),
    text("COUNT(CASE WHEN {} THEN 1 END)", CONDITIONS),
    st.sampled_from(["STDDEV_SAMP(YEAR(born))", "VAR_SAMP(seen::DATE - came)"]),
)


@st.composite
def queries(draw: st.DrawFn) -> str:
    keys = draw(
        st.one_of(st.just([]), KEYS.map(lambda key: [key]), st.just(["sex", "MONTH(came)"]))
    )
    measures = draw(st.lists(MEASURES, min_size=1, max_size=3, unique=True))
    named = [f"{key} AS k{at}" for at, key in enumerate(keys)]
    named += [f"{measure} AS m{at}" for at, measure in enumerate(measures)]
    where = draw(st.one_of(st.just(""), CONDITIONS.map(" WHERE {}".format)))
    group = f" GROUP BY {', '.join(f'{at + 1}' for at in range(len(keys)))}" if keys else ""
    order = f" ORDER BY {', '.join(f'k{at} DESC' for at in range(len(keys)))}" if keys else ""
    return f"SELECT {', '.join(named)} FROM visits{where}{group}{order}"


def pooled(sql: str, rows: list[Row]) -> list[tuple[object, ...]]:
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        natural_table(connection, VISITS, rows)
        return connection.execute(sql).fetchall()


def same(ours: object, theirs: object) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-7)
    # DuckDB truncates and moves dates into midnights; here they stay dates.
    if type(ours) is date and isinstance(theirs, datetime):
        return datetime.combine(ours, time()) == theirs
    return ours == theirs


def check(nodes: list[list[Row]], sql: str) -> None:
    plan = parse(sql, CATALOGUE)
    found = answer(plan, nodes, VISITS)
    ours = [tuple(row.values()) for row in found.table.drop_columns("_nodes").to_pylist()]
    theirs = pooled(sql, [row for node in nodes for row in node])
    if not plan.grouped and not ours:
        assert len(theirs) == 1
        return
    behind = [tuple(row.values())[:-1] for row in found.nodes.to_pylist()]
    assert len(ours) == len(theirs), sql
    for row, counts, wanted in zip(ours, behind, theirs, strict=True):
        for value, count, other in zip(row, counts, wanted, strict=True):
            assert value is None if count == 0 else same(value, other), (sql, row, wanted)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(nodes=st.lists(st.lists(ROWS, max_size=6), min_size=3, max_size=3), sql=queries())
def test_three_nodes_answer_as_one_database(nodes: list[list[Row]], sql: str) -> None:
    check(nodes, sql)


ENDS: list[Row] = [
    (FIRST, date(1967, 12, 31), OPENED, date.min, datetime.min, "male"),
    (LAST, date(1972, 1, 3), CLOSED, date.max, datetime.max, "female"),
    (date(1960, 2, 29), None, None, None, None, None),
]


SPANS = {
    "came": (date(1967, 12, 31), date(1972, 1, 3)),
    "seen": (OPENED.date(), CLOSED.date()),
}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("column", list(SPANS))
def test_every_value_within_the_bounds_has_its_cell(column: str, unit: str) -> None:
    low, high = SPANS[column]
    rows: list[Row] = []
    for at in range((high - low).days + 1):
        day = low + timedelta(days=at)
        moment = max(datetime.combine(day, time()), OPENED)
        came, seen = (day, None) if column == "came" else (None, moment)
        rows.append((LAST, came, seen, None, None, None))
    key = f"DATE_TRUNC('{unit}', {column})"
    sql = f"SELECT {key} AS k, COUNT(*) AS n FROM visits GROUP BY k ORDER BY k"
    check([rows[0::3], rows[1::3], rows[2::3]], sql)
    assert answer(parse(sql, CATALOGUE), [rows] * 3, VISITS).empty_cells == 1  # of NULL


@pytest.mark.parametrize("key", ["YEAR(born)", "ISOYEAR(born)", "DATE_TRUNC('week', born)", "came"])
def test_keys_of_the_ends_of_the_bounds(key: str) -> None:
    sql = f"SELECT {key} AS k, COUNT(*) AS n FROM visits GROUP BY 1 ORDER BY 1"
    check([ENDS, ENDS, ENDS], sql)


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


@given(a=st.datetimes(), b=st.datetimes(), count=st.integers(-20_000, 20_000))
@example(datetime.min, datetime.max, 0)
@example(datetime(1969, 12, 31, 23, 59, 59, 999_999), datetime(1970, 1, 1), 1)
@example(datetime(2020, 2, 29), datetime(2020, 1, 31), 1)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_calendar_is_the_databases(
    database: duckdb.DuckDBPyConnection, a: datetime, b: datetime, count: int
) -> None:
    parts = [f"date_part('{part}', ?::TIMESTAMP)" for part in Part]
    truncated = [f"date_trunc('{unit}', ?::TIMESTAMP)" for unit in Unit]
    found = database.execute(f"SELECT {', '.join(parts + truncated)}", [a] * 20).fetchone()
    ours = [calendar.extract(part, a) for part in Part]
    assert found == (*ours, *(calendar.truncate(unit, a) for unit in Unit))
    spans = [f"date_diff('{unit}', ?::TIMESTAMP, ?::TIMESTAMP)" for unit in Unit]
    found = database.execute(f"SELECT {', '.join(spans)}", [a, b] * 8).fetchone()
    assert found == tuple(calendar.difference(unit, a, b) for unit in Unit)
    for unit in Unit:
        try:
            moved = calendar.shift(a, unit, count)
        except OverflowError:
            continue
        found = database.execute(f"SELECT ?::TIMESTAMP + to_{unit}s({count})", [a]).fetchone()
        assert found == (moved,)


@given(a=st.datetimes(), b=st.datetimes())
def test_the_range_of_a_part_holds_its_values(a: datetime, b: datetime) -> None:
    low, high = min(a, b), max(a, b)
    for part in Part:
        least, most = calendar.part_range(part, low, high)
        for moment in (low, high, low + (high - low) / 3):
            assert least <= calendar.extract(part, moment) <= most
