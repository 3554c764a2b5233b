"""Statements over dates: what is refused and how, what policies see, what must not be carried."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest
from sql_tables import Row, answer, held_table, node_cells
from yumen_core.errors import CallError
from yumen_core.sql import (
    Column,
    ColumnType,
    Plan,
    TableSchema,
    local_cells,
    local_sql,
    parse,
    parse_rows,
)
from yumen_core.sql.rows import read_rows, rows_sql

VISITS = TableSchema(
    "visits",
    (
        Column("born", ColumnType.DATE, lower=date(1930, 3, 5), upper=date(2024, 2, 29)),
        Column("came", ColumnType.DATE, lower=date(2019, 6, 5), upper=date(2020, 12, 31)),
        Column(
            "seen",
            ColumnType.TIMESTAMP,
            lower=datetime(2019, 1, 1),
            upper=datetime(2024, 12, 31, 23),
        ),
        Column("free", ColumnType.DATE),
        Column("days", ColumnType.INTEGER, lower=Decimal(0), upper=Decimal(120)),
        Column("note", ColumnType.TEXT),
    ),
)


def plan(sql: str) -> Plan:
    return parse(
        sql if sql.startswith("SELECT") else f"SELECT COUNT(*) FROM visits {sql}", CATALOGUE
    )


CATALOGUE = {"visits": VISITS}
UNDECLARED = "column `free` has no declared bounds"
LITERAL = "dates move by a whole number, written as a literal"
MOMENTS = "takes a date or a timestamp"
CLOCK = "is not supported: write the date as a literal: every party derives the same plan"
NOT_A_DATE = "expected a date such as '2020-01-31', got"
TOO_MANY = "cannot be grouped by: it has"
CASTS = "is not supported: CAST makes a DATE or a TIMESTAMP"

REFUSED = [
    ("WHERE born > DATE '1950-02-30'", "`'1950-02-30'`", f"{NOT_A_DATE} '1950-02-30'"),
    ("WHERE born > '1950-1-1'", "`'1950-1-1'`", f"{NOT_A_DATE} '1950-1-1'"),
    ("WHERE '1950-01-01 10:00' < born", "`'1950-01-01 10:00'`", f"{NOT_A_DATE} '1950-01-01 10:00'"),
    ("WHERE born IN ('1950-01-01', 'x')", "`'x'`", f"{NOT_A_DATE} 'x'"),
    (
        "WHERE seen > '2020-01-01 10:00+02'",
        "`'2020-01-01 10:00+02'`",
        "expected a timestamp such as '2020-01-31 08:30:00', got '2020-01-01 10:00+02'",
    ),
    ("WHERE born > note", "`born > note`", "cannot compare date with text"),
    ("WHERE born > 5", "`born > 5`", "cannot compare date with integer"),
    ("WHERE born + came > born", "`born + came`", "cannot compute date + date"),
    ("WHERE 5 - born > born", "`5 - born`", "cannot compute integer - date"),
    ("WHERE born * 2 > born", "`born * 2`", "cannot compute date * integer"),
    ("WHERE -born > born", "`born`", "arithmetic takes numbers, got date"),
    ("WHERE born + days > came", "`days`", LITERAL),
    ("WHERE born + 1.5 > came", "`born + 1.5`", "cannot compute date + decimal"),
    ("WHERE born + 2147483648 > came", "`2147483648`", LITERAL),
    ("WHERE free + 5 > came", "`free`", UNDECLARED),
    (
        "WHERE born - INTERVAL 3000 YEAR > came",
        "`born`",
        "the result may lie beyond the years 1 to 9999",
    ),
    (
        "WHERE born + INTERVAL 3 HOUR > seen",
        "`born`",
        "a date has no hours; write CAST(... AS TIMESTAMP)",
    ),
    ("WHERE HOUR(born) > 3", "`born`", "a date has no hour"),
    ("WHERE DATE_TRUNC('hour', born) > seen", "`born`", "a date has no hours"),
    ("WHERE YEAR(days) > 3", "`days`", f"EXTRACT {MOMENTS}, got integer"),
    ("WHERE DATE_DIFF('day', born, 3) > 3", "`3`", f"DATE_DIFF {MOMENTS}, got integer"),
    ("WHERE CAST(note AS DATE) = came", "`note`", f"CAST {MOMENTS}, got text"),
    (
        "WHERE seen - came > 3",
        "`seen - came`",
        "the difference of timestamps is no number; write DATE_DIFF('hour', b, a)",
    ),
    (
        "WHERE CASE WHEN days = 1 THEN born ELSE seen END > seen",
        "`CASE WHEN days = 1 THEN born ELSE seen …`",
        "expected results of one type in a CASE, got date and timestamp",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "shown", "reason"), REFUSED)
def test_types_that_do_not_go_together(sql: str, shown: str, reason: str) -> None:
    with pytest.raises(CallError) as caught:
        plan(sql)
    assert caught.value.code == "sql_type"
    place, _, said = caught.value.message.partition(" at line 1, column ")
    assert (place, said.partition(" ")[2]) == (shown, f"cannot be used here: {reason}")


UNSUPPORTED = [
    ("WHERE came < CURRENT_DATE", "`CURRENT_DATE`", CLOCK),
    ("WHERE came < TODAY()", "`TODAY`", CLOCK),
    ("WHERE seen < NOW()", "`NOW`", CLOCK),
    ("WHERE seen < CURRENT_TIMESTAMP", "`CURRENT_TIMESTAMP`", CLOCK),
    (
        "WHERE EXTRACT(EPOCH FROM came) > 3",
        "`came`",
        "is not supported: EXTRACT takes one of YEAR, ISOYEAR, QUARTER, MONTH, WEEK, DAY, DOW, "
        "ISODOW, DOY, HOUR, MINUTE, SECOND",
    ),
    (
        "WHERE DATE_TRUNC('decade', came) > came",
        "`DATE_TRUNC('decade', came)`",
        "is not supported: the unit is one of 'year', 'quarter', 'month', 'week', 'day', 'hour', "
        "'minute', 'second'",
    ),
    ("WHERE CAST(days AS INTEGER) > 3", "`days`", CASTS),
    ("WHERE days::VARCHAR = '3'", "`days`", CASTS),
    ("WHERE CAST(seen AS TIMESTAMPTZ) > '2020-01-01'", "`seen`", CASTS),
    (
        "WHERE TRY_CAST(note AS DATE) = came",
        "`note`",
        "is not supported: CAST never fails here, so write CAST",
    ),
    (
        "WHERE seen - INTERVAL '3 hours 2 minutes' > seen",
        "`'3 hours 2 minutes'`",
        "is not supported: an interval is a whole number and a unit, such as INTERVAL 3 MONTH",
    ),
    ("WHERE INTERVAL 3 DAY > 3", "`3`", "is not supported: an interval is added to a date"),
    (
        "GROUP BY DATE_TRUNC('hour', seen)",
        "`DATE_TRUNC('hour', seen)`",
        f"{TOO_MANY} 52,608 values, expected at most 10,000; DATE_TRUNC('day', seen) would pass",
    ),
    (
        "GROUP BY born",
        "`born`",
        f"{TOO_MANY} 34,330 values, expected at most 10,000; DATE_TRUNC('week', born) would pass",
    ),
    (
        "GROUP BY DATE_DIFF('day', DATE '1900-01-01', born)",
        "`DATE_DIFF('day', DATE '1900-01-01', bor…`",
        f"{TOO_MANY} 34,330 values, expected at most 10,000; "
        "DATE_DIFF('week', DATE '1900-01-01', born) would pass",
    ),
    (
        "GROUP BY seen",
        "`seen`",
        f"{TOO_MANY} too many values; group by DATE_TRUNC('month', seen) or by its parts",
    ),
    ("GROUP BY free", "`free`", f"cannot be grouped by: {UNDECLARED}"),
    ("GROUP BY YEAR(free)", "`YEAR(free)`", f"cannot be grouped by: {UNDECLARED}"),
]


@pytest.mark.parametrize(("sql", "shown", "reason"), UNSUPPORTED)
def test_what_is_not_supported(sql: str, shown: str, reason: str) -> None:
    with pytest.raises(CallError) as caught:
        plan(sql)
    assert caught.value.code == "sql_unsupported"
    place, _, said = caught.value.message.partition(" at line 1, column ")
    assert (place, said.partition(" ")[2]) == (shown, reason)


@pytest.mark.parametrize("function", ["AVG", "SUM", "STDDEV_SAMP"])
@pytest.mark.parametrize("column", ["born", "seen"])
def test_a_date_is_no_number(function: str, column: str) -> None:
    kind = "date" if column == "born" else "timestamp"
    with pytest.raises(CallError) as caught:
        plan(f"SELECT {function}({column}) FROM visits")
    assert caught.value.message.endswith(
        f"{function} takes a number, got {kind}; write DATE_DIFF('day', DATE '2000-01-01', ...) "
        "for days since a date"
    )


@pytest.mark.parametrize("function", ["MIN", "MAX"])
def test_no_extreme_of_a_date(function: str) -> None:
    with pytest.raises(CallError) as caught:
        plan(f"SELECT {function}(born) FROM visits")
    assert caught.value.code in ("sql_unsupported", "sql_type")


def test_too_many_cells_name_a_coarser_unit() -> None:
    with pytest.raises(CallError) as caught:
        plan("GROUP BY DATE_TRUNC('day', seen), DATE_TRUNC('month', born)")
    assert caught.value.code == "sql_too_large"
    assert caught.value.message == (
        "expected at most 200000 summed values, got 2475897: `DATE_TRUNC('day', seen) (2193) x "
        "DATE_TRUNC('month', born) (1129)` makes 2475897 cells of 1 values; "
        "`DATE_TRUNC('month', seen)` would pass"
    )
    plan("GROUP BY DATE_TRUNC('month', seen), DATE_TRUNC('month', born)")


SEEN_BY_POLICIES: list[tuple[str, set[str], set[str]]] = [
    ("YEAR(born)", set(), {"born"}),
    ("YEAR(born), MONTH(born)", set(), {"born"}),
    ("ISOYEAR(born), WEEK(born)", set(), {"born"}),
    ("YEAR(born), MONTH(born), DAY(born)", {"born"}, {"born"}),
    ("DATE_TRUNC('week', born), ISODOW(born)", {"born"}, {"born"}),
    ("DAY(born), YEAR(came)", set(), {"born", "came"}),
    ("came", {"came"}, set()),
    ("DATE_TRUNC('day', came)", {"came"}, set()),
    ("DATE_TRUNC('hour', CAST(came AS TIMESTAMP))", {"came"}, set()),
    ("came + 3", {"came"}, set()),
    ("came - DATE '2020-01-01'", {"came"}, set()),
    ("DATE_DIFF('month', DATE '2020-01-01', came)", set(), {"came"}),
    ("DATE_TRUNC('month', came)", set(), {"came"}),
    ("came - born", set(), {"born", "came"}),
    ("came - DATE '2020-01-01', came - born", {"born", "came"}, {"born", "came"}),
    ("came, DATE_DIFF('month', born, came)", {"came"}, {"born", "came"}),
    ("seen::DATE", set(), {"seen"}),
    ("came > '2020-01-01'", set(), {"came"}),
]


@pytest.mark.parametrize(("keys", "exact", "bands"), SEEN_BY_POLICIES)
def test_policies_see_whether_a_date_is_told_exactly(
    keys: str, exact: set[str], bands: set[str]
) -> None:
    few = "hour" in keys or "born, came" in keys or "- born" in keys
    found = plan_of_few_days(keys) if few else plan(f"GROUP BY {keys}")
    assert (found.group_by, found.group_bands) == (exact, bands)


def plan_of_few_days(keys: str) -> Plan:
    low, high = date(2019, 12, 31), date(2020, 1, 31)
    columns = [Column(name, ColumnType.DATE, lower=low, upper=high) for name in ("born", "came")]
    schema = TableSchema("visits", tuple(columns))
    return parse(f"SELECT COUNT(*) FROM visits GROUP BY {keys}", {"visits": schema})


def test_ranges_follow_from_narrow_bounds() -> None:
    found = plan("GROUP BY YEAR(came), EXTRACT(QUARTER FROM came), DATE_TRUNC('quarter', came)")
    assert [key.domain[:2] for key in found.keys[:2]] == [(2019, 2020), (1, 2)]
    assert found.keys[2].positions == 7 + 1
    few = plan_of_few_days("MONTH(came)")
    assert few.keys[0].domain == tuple(range(1, 13))
    within = Column("came", ColumnType.DATE, lower=date(2020, 3, 31), upper=date(2020, 5, 2))
    schema = TableSchema("visits", (within,))
    keys = parse(
        "SELECT COUNT(*) FROM visits GROUP BY MONTH(came), QUARTER(came)", {"visits": schema}
    )
    assert [key.domain for key in keys.keys] == [(3, 4, 5), (1, 2)]


def test_what_two_ways_write_is_one_plan() -> None:
    pairs = [
        ("WHERE born > DATE '1950-01-01'", "WHERE born > '1950-01-01'"),
        ("WHERE born > '1950-01-31'::DATE", "WHERE born > DATE '1950-02-28' - INTERVAL 4 WEEK"),
        ("WHERE came - born > 3", "WHERE DATE_DIFF('day', born, came) > 3"),
        ("WHERE EXTRACT(DOW FROM born) = 0", "WHERE DATE_PART('dayofweek', born) = 0"),
        ("WHERE MONTH(born) = 3", "WHERE EXTRACT('month' FROM born) = 3"),
        ("WHERE born + 3 > came", "WHERE INTERVAL 3 DAY + born > came"),
    ]
    for one, other in pairs:
        assert plan(one).digest == plan(other).digest
    assert plan("WHERE YEAR(born) = 3").digest != plan("WHERE MONTH(born) = 3").digest


def test_results_are_arrow_dates_and_timestamps() -> None:
    rows: list[Row] = [
        (date(1960, 2, 29), date(2020, 2, 29), datetime(2020, 2, 29, 23, 59), None, 1, ""),
        (date(1960, 2, 29), None, datetime(2019, 1, 1), None, 1, ""),
    ]
    found = answer(
        plan(
            "SELECT DATE_TRUNC('month', came) AS m, DATE_TRUNC('day', seen) AS d, COUNT(*) AS n, "
            "DATE_TRUNC('month', came) + INTERVAL 1 MONTH AS next, DATE '1969-12-31' AS old, "
            "YEAR(DATE_TRUNC('day', seen)) * 100 AS y "
            "FROM visits GROUP BY m, d HAVING DATE_TRUNC('day', seen) < '2020-03-01' ORDER BY d"
        ),
        [rows, rows, rows],
        VISITS,
    ).table
    stamp = pa.timestamp("us")
    types = [pa.date32(), stamp, pa.int64(), pa.date32(), pa.date32(), pa.int64()]
    assert found.schema.types[:-1] == types
    assert [tuple(row.values())[:-1] for row in found.to_pylist()] == [
        (None, datetime(2019, 1, 1), 3, None, date(1969, 12, 31), 201900),
        (
            date(2020, 2, 1),
            datetime(2020, 2, 29),
            3,
            date(2020, 3, 1),
            date(1969, 12, 31),
            202000,
        ),
    ]


@pytest.mark.parametrize("key", ["came", "YEAR(came)", "DATE_TRUNC('day', seen)", "came - born"])
def test_float_moments_by_dates_lose_nothing(key: str) -> None:
    """A mean far above its deviation asks the database twice and joins on the keys, NULL too."""
    schema = TableSchema(
        "visits",
        (
            *(
                Column(name, kind, lower=low, upper=high)
                for name, kind, low, high in (
                    ("born", ColumnType.DATE, date(1969, 12, 31), date(1970, 1, 1)),
                    ("came", ColumnType.DATE, date(1969, 12, 31), date(1970, 1, 1)),
                    ("seen", ColumnType.TIMESTAMP, datetime(1969, 12, 31), datetime(1970, 1, 2)),
                )
            ),
            Column("x", ColumnType.FLOAT, lower=Decimal(0), upper=Decimal(10**7)),
        ),
    )
    groups = [
        (date(1970, 1, 1), date(1969, 12, 31), datetime(1969, 12, 31, 23)),
        (date(1970, 1, 1), date(1970, 1, 1), datetime(1970, 1, 1)),
        (None, None, None),
    ]
    rows: list[Row] = [
        (*group, 1e6 * (at + 1) + 1e-3 * n) for at, group in enumerate(groups) for n in range(3)
    ]
    sql = f"SELECT {key} AS k, VAR_SAMP(x) AS v FROM visits GROUP BY k ORDER BY k NULLS LAST"
    found = answer(parse(sql, {"visits": schema}), [rows, rows, rows], schema).table
    assert found["v"].to_pylist() == [pytest.approx(0.75e-6, rel=1e-6)] * 3


# Each is 1 or so on most rows, and large where a day is the last of its year.
CARRIERS = [
    "DATE_DIFF('day', DATE_TRUNC('year', born), DATE_TRUNC('year', born + 1) + 1)",
    "DATE_DIFF('day', DATE_TRUNC('year', born), DATE_TRUNC('year', born + 1)) + 1",
    "DATE_DIFF('day', DATE '2000-01-01', DATE_TRUNC('year', born + 1)) "
    "- DATE_DIFF('day', DATE '2000-01-02', DATE_TRUNC('year', born))",
    "DATE_DIFF('year', born, born + 366)",
    "DATE_DIFF('second', CAST(born AS TIMESTAMP), CASE WHEN note = 'Bob' THEN TIMESTAMP "
    "'1970-01-01' ELSE TIMESTAMP '2020-01-01' END)",
    "ISOYEAR(born) - YEAR(born) + 1",
    "1000 * DATE_DIFF('year', born, born + 1) + 1",
]


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_date_hides_no_subgroup(carrier: str) -> None:
    """One row of 101 is of a 31st of December, and Bob's: its subgroup has one row behind it."""
    rows: list[Row] = [(date(1960, 1 + n % 11, 5), None, None, None, 1, "x") for n in range(100)]
    rows.append((date(1960, 12, 31), None, None, None, 1, "Bob"))
    asked = plan(f"SELECT SUM({carrier}) AS s FROM visits")
    behind = node_cells(asked, rows, VISITS).supports[0]
    assert int(behind[asked.measures[0].supports[0]]) <= 1


@pytest.mark.parametrize(
    "argument",
    [
        "DAY(born + 1) - DAY(born)",
        "YEAR(DATE_TRUNC('week', born - INTERVAL 3 DAY)) * 1000",
        "CASE WHEN days > 3 THEN MONTH(born + 1) ELSE 1 END",
    ],
)
def test_parts_of_moved_dates_are_not_summed(argument: str) -> None:
    with pytest.raises(CallError) as caught:
        plan(f"SELECT SUM({argument}) FROM visits")
    assert caught.value.message.endswith(
        "cannot be summed: inside an aggregate EXTRACT takes no date that is moved"
    )
    plan(f"SELECT COUNT({argument}), SUM(CASE WHEN {argument} > 1 THEN 1 ELSE 0 END) FROM visits")


def test_usual_sums_of_dates_stand_on_all_rows() -> None:
    rows: list[Row] = [
        (date(1960, 1 + n % 11, 5), date(2020, 1, 1), None, None, 1, "x") for n in range(100)
    ]
    for argument in (
        "DATE_DIFF('year', born, came)",
        "came - born + 1",
        "DATE_DIFF('day', DATE '1900-01-01', born)",
        "DATE_DIFF('month', born, came) / 12",
        "MONTH(born)",
    ):
        asked = plan(f"SELECT AVG({argument}) AS s FROM visits")
        assert node_cells(asked, rows, VISITS).supports[0].tolist() == [100] * asked.layout.supports


def test_dates_among_the_variables_of_a_statistic() -> None:
    """Levels are ISO texts, and codes follow them; parts and differences are numbers."""
    rows = parse_rows(
        "SELECT DATE_TRUNC('quarter', came) AS q, DATE_TRUNC('year', seen) AS y, came + 3 AS d, "
        "MONTH(came) AS m, DATE_DIFF('day', born, came) AS age FROM visits WHERE days >= 0",
        CATALOGUE,
    )
    quarter, year, _, month, age = rows.variables
    assert quarter.levels is not None
    assert (quarter.numeric, quarter.levels[0], quarter.levels[-1]) == (
        False,
        "2019-04-01",
        "2020-10-01",
    )
    assert year.levels is not None
    assert year.levels[0] == "2019-01-01 00:00:00"
    assert (month.numeric, age.numeric, age.levels) == (True, True, None)
    assert (rows.group_by, rows.group_bands) == ({"came"}, {"came", "seen"})
    with duckdb.connect() as connection:
        held_table(connection, "held", VISITS, EXTREMES)
        numbers, codes = read_rows(rows, connection.execute(rows_sql(rows, "held")).fetchnumpy())
    assert codes["q"].tolist() == [6, 0]
    assert codes["y"].tolist() == [0, 5]
    assert numbers["m"].tolist() == [12, 6]
    assert numbers["age"].tolist() == [33174, -1730]
    with pytest.raises(CallError, match="`seen` cannot be used in a statistic: it has too many"):
        parse_rows("SELECT seen FROM visits", CATALOGUE)


EXTREMES: list[Row] = [
    (date(1930, 3, 5), date(2020, 12, 31), datetime(2019, 1, 1), date.min, 0, "Bob"),
    (date(2024, 2, 29), date(2019, 6, 5), datetime(2024, 12, 31, 23), date.max, 120, None),
]
ANYWHERE = [
    "YEAR(free) * 1000000 + DAYOFYEAR(free)",
    "DATE_DIFF('second', free, seen)",
    "DATE_DIFF('week', free, DATE '9999-12-31')",
    "DATE_DIFF('day', born - INTERVAL 1929 YEAR, free)",
    "DATE_DIFF('minute', DATE_TRUNC('year', free), born + INTERVAL 7975 YEAR)",
    "EXTRACT(ISOYEAR FROM DATE_TRUNC('week', free))",
    "DATE_DIFF('day', CASE WHEN note = 'Bob' THEN free ELSE born END, free)",
]


@pytest.mark.parametrize("argument", ANYWHERE)
def test_no_row_makes_the_database_fail(argument: str) -> None:
    for sql in (
        f"SELECT SUM({argument}), VAR_SAMP({argument}), COUNT(*) FROM visits",
        f"SELECT COUNT(*) FROM visits WHERE {argument} > 1.5",
    ):
        asked = plan(sql)
        with duckdb.connect() as connection:
            held_table(connection, "rows", VISITS, EXTREMES)
            local_cells(asked, connection.execute(local_sql(asked, "rows")).fetchall())


def test_the_words_of_a_plan() -> None:
    asked = plan(
        "SELECT EXTRACT(YEAR FROM came), DATE_TRUNC('month', seen), AVG(came - born) FROM visits "
        "WHERE born + INTERVAL 3 MONTH < '2000-01-01' AND seen::DATE > born GROUP BY 1, 2"
    )
    assert [output.name for output in asked.outputs] == [
        "EXTRACT(YEAR FROM came)",
        "DATE_TRUNC('month', seen)",
        "AVG(DATE_DIFF('day', born, came))",
    ]
    assert (
        "where (((born + INTERVAL 3 MONTH) < DATE '2000-01-01') AND (CAST(seen AS DATE) > born))"
        in (asked.describe())
    )
