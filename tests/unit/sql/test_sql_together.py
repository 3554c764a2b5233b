"""Joins, dates, pairs, COUNT(DISTINCT) and ROLLUP beside one another."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from join_tables import TABLES, Rows, join_answer, local, pooled_joined
from sql_tables import Row, answer, node_cells
from test_sql_against_duckdb import close
from test_sql_joins import NODES, patient, visit
from yumen_core.errors import CallError
from yumen_core.sql import Column, ColumnType, TableSchema, parse
from yumen_core.sql.plan import Touched

JOINED = [
    "SELECT COVAR_POP(v.cost, p.born) AS c, REGR_SLOPE(p.temp, v.day) AS s, "
    "CORR(v.day, p.born) AS r, VAR_POP(p.temp) AS v FROM visits v "
    "JOIN patients p ON v.patient = p.id",
    "SELECT p.sex, REGR_INTERCEPT(v.day, p.temp) AS i, COVAR_SAMP(p.born, v.day) AS c "
    "FROM visits v LEFT JOIN patients p ON v.patient = p.id GROUP BY p.sex ORDER BY 1",
    "SELECT COUNT(DISTINCT p.sex) AS n, COUNT(DISTINCT v.site) AS s FROM visits v "
    "LEFT JOIN patients p ON v.patient = p.id",
    "WITH seen AS (SELECT site, patient, day > 100 AS late FROM visits) "
    "SELECT s.late, COUNT(DISTINCT p.born < 1960) AS n FROM seen s "
    "JOIN patients p ON s.patient = p.id GROUP BY 1 ORDER BY 1",
]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(nodes=NODES, sql=st.sampled_from(JOINED))
def test_joined_tables_answer_as_one_database(nodes: tuple[Rows, ...], sql: str) -> None:
    found = join_answer(parse(sql, TABLES), nodes)
    ours = [tuple(row.values())[:-1] for row in found.table.to_pylist()]
    theirs = pooled_joined(sql, nodes)
    if not ours and len(theirs) == 1:  # no row at any node: no row at all
        return
    assert len(ours) == len(theirs)
    for mine, pooled in zip(ours, theirs, strict=True):
        assert all(close(a, b) for a, b in zip(mine, pooled, strict=True)), (mine, pooled)


def test_a_distinct_value_and_a_pair_count_joined_rows_once() -> None:
    """Twenty visits with a value, all of one patient, are one patient behind the value."""
    plan = parse(
        "SELECT COUNT(DISTINCT v.site), COVAR_POP(v.day, p.born) FROM visits v "
        "JOIN patients p ON v.patient = p.id",
        TABLES,
    )
    rows = {
        "patients": [patient(1), patient(2), patient(3), patient(4, None)],
        "visits": [
            *[visit(1, site="north")] * 20,
            *[visit(at, site="south") for at in (2, 3, 3)],
            visit(4),
            visit(9, site="north"),
        ],
    }
    supports = local(plan, rows).supports[0].tolist()
    north, south = plan.measures[0].supports
    assert (supports[0], supports[north], supports[south]) == (4, 1, 2)
    assert [supports[at] for at in plan.measures[1].supports if at] == [3]


def test_a_counted_column_of_a_joined_table_is_told_apart() -> None:
    plan = parse(
        "SELECT COUNT(DISTINCT p.sex), COUNT(DISTINCT p.born > 1950), CORR(v.day, p.temp) "
        "FROM visits v JOIN patients p ON v.patient = p.id",
        TABLES,
    )
    assert plan.touched("patients") == Touched(
        frozenset({"sex", "born", "temp", "id"}),
        frozenset({"id"}),
        frozenset({"sex"}),
        frozenset({"born"}),
    )
    assert plan.aggregates == {"count_distinct", "corr"}
    assert (plan.group_by, plan.group_bands) == (frozenset(), frozenset())


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT sex, COUNT(*) FROM visits JOIN patients ON patient = id GROUP BY ROLLUP(sex)",
        "WITH x AS (SELECT p.sex FROM visits v LEFT JOIN patients p ON v.patient = p.id) "
        "SELECT sex, COUNT(DISTINCT sex) FROM x GROUP BY ROLLUP(sex)",
    ],
)
def test_no_rollup_over_a_join(sql: str) -> None:
    with pytest.raises(CallError) as caught:
        parse(sql, TABLES)
    assert caught.value.code == "sql_unsupported"
    assert caught.value.message.endswith(
        "is not supported: GROUP BY takes no ROLLUP over a JOIN: a row of a joined table can stand "
        "behind several cells, so that the rows behind a margin are no sum over its cells"
    )


def test_a_rollup_over_an_inner_select() -> None:
    flat = "SELECT site, born, COUNT(*) FROM visits WHERE day > 3 GROUP BY ROLLUP(site, born)"
    nested = (
        "WITH late AS (SELECT * FROM visits WHERE day > 3) "
        "SELECT site, born, COUNT(*) FROM late GROUP BY ROLLUP(site, born)"
    )
    assert parse(nested, TABLES).digest == parse(flat, TABLES).digest


DATES = TableSchema(
    "t",
    (
        Column("came", ColumnType.DATE, lower=date(1969, 12, 30), upper=date(1970, 1, 3)),
        Column(
            "seen", ColumnType.TIMESTAMP, lower=datetime(1969, 11, 1), upper=datetime(1970, 2, 1)
        ),
        Column("cost", ColumnType.INTEGER, lower=Decimal(0), upper=Decimal(99)),
        Column("far", ColumnType.DATE, lower=date(1960, 1, 1), upper=date(1970, 1, 1)),
    ),
)
DAYS: list[Row] = [
    (date(1969, 12, 31), datetime(1969, 12, 31, 5), 1, None),
    (date(1970, 1, 1), datetime(1969, 12, 1), 2, date(1960, 1, 1)),
    (date(1970, 1, 1), datetime(1970, 1, 1), 4, date(1969, 1, 1)),
    (None, None, 8, None),
]


@pytest.mark.parametrize(
    ("counted", "values", "size"),
    [
        ("came", 2, 5),
        ("DATE_TRUNC('month', seen)", 2, 4),
        ("MONTH(came)", 2, 12),
        ("came - DATE '1970-01-01'", 2, 5),
        ("CASE WHEN cost < 3 THEN came ELSE DATE '1970-01-02' END", 3, 5),
        ("seen::DATE", 3, 93),
    ],
)
def test_distinct_dates_are_counted(counted: str, values: int, size: int) -> None:
    plan = parse(f"SELECT COUNT(DISTINCT {counted}) AS n FROM t", {"t": DATES})
    assert len(plan.measures[0].supports) == size
    assert answer(plan, [DAYS, DAYS], DATES).table["n"].to_pylist() == [values]


@pytest.mark.parametrize(
    ("statement", "exact", "bands"),
    [
        ("SELECT COUNT(DISTINCT came) FROM t", {"came"}, set()),
        ("SELECT COUNT(DISTINCT DATE_TRUNC('month', came)) FROM t", set(), {"came"}),
        ("SELECT COUNT(DISTINCT came > DATE '1970-01-01') FROM t", set(), {"came"}),
        # A month as a key and the days counted within it tell the date.
        ("SELECT COUNT(DISTINCT DAY(came)) FROM t GROUP BY MONTH(came)", {"came"}, {"came"}),
    ],
)
def test_policies_see_counted_dates(statement: str, exact: set[str], bands: set[str]) -> None:
    plan = parse(statement, {"t": DATES})
    assert (plan.group_by, plan.group_bands) == (exact, bands)


def test_too_many_days_to_count() -> None:
    with pytest.raises(CallError) as caught:
        parse("SELECT COUNT(DISTINCT far) FROM t", {"t": DATES})
    assert caught.value.message.endswith(
        "COUNT(DISTINCT) takes at most 1000 values, got a domain of 3654; group by it instead"
    )


def test_a_rollup_by_dates() -> None:
    plan = parse(
        "SELECT DATE_TRUNC('month', came) AS m, DAY(came) AS d, GROUPING(DAY(came)) AS g, "
        "SUM(cost) AS c FROM t WHERE came IS NOT NULL GROUP BY ROLLUP(m, d) ORDER BY 1, 2, 3",
        {"t": DATES},
    )
    rows = [tuple(row.values())[:4] for row in answer(plan, [DAYS], DATES).table.to_pylist()]
    assert (date(1970, 1, 1), 1, 0, 6) in rows
    assert (date(1970, 1, 1), None, 1, 6) in rows
    assert (None, None, 1, 7) in rows
    assert len(rows) == 5


DAY_OF_BOB = "DATE_DIFF('day', DATE_TRUNC('year', far), DATE_TRUNC('year', far + 1) + 1)"


@pytest.mark.parametrize(
    "measure",
    [
        f"CORR({DAY_OF_BOB}, cost)",
        f"REGR_SLOPE(cost, {DAY_OF_BOB})",
        f"VAR_POP({DAY_OF_BOB})",
        f"SUM(cost * {DAY_OF_BOB})",
        f"SUM(ABS({DAY_OF_BOB}))",
        "VAR_POP(DATE_DIFF('day', CASE WHEN far = '1969-12-31' OR cost < 9 THEN far ELSE came END, "
        "CASE WHEN far = '1969-12-31' OR cost > 9 THEN came ELSE far END))",
    ],
)
def test_a_date_hides_no_subgroup_in_a_pair_or_a_square(measure: str) -> None:
    rows: list[Row] = [
        (date(1970, 1, 1 + n % 2), None, 7 if n % 2 else 11, date(1965, 1 + n % 11, 5))
        for n in range(100)
    ]
    rows.append((date(1970, 1, 1), None, 9, date(1969, 12, 31)))
    plan = parse(f"SELECT {measure} FROM t", {"t": DATES})
    behind = node_cells(plan, rows, DATES).supports[0]
    (support,) = {value.support for value in plan.layout.values if value.support}
    assert int(behind[support]) <= 1


@pytest.mark.parametrize("wrapped", ["cost * ({})", "({}) + 1 + cost", "ABS({})"])
def test_repeated_terms_hide_no_subgroup(wrapped: str) -> None:
    """A limit on subgroups that counted the same one again and again would pass over the last."""
    terms = " + ".join(["cost * cost"] * 40 + ["CASE WHEN cost = 9 THEN 100000 ELSE 1 END"])
    plan = parse(f"SELECT SUM({wrapped.format(terms)}) FROM t", {"t": DATES})
    rows: list[Row] = [(None, None, 7, None)] * 100 + [(None, None, 9, None)]
    behind = node_cells(plan, rows, DATES).supports[0]
    assert int(behind[plan.measures[0].supports[0]]) == 1
