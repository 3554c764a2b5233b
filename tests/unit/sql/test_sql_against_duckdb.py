"""Random tables over three nodes, random queries: the federated answer is the pooled one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sql_tables import PEOPLE, Row, answer, natural_table
from yumen_core.errors import CallError
from yumen_core.sql import Column, ColumnType, TableSchema, parse

CATALOGUE = {"people": PEOPLE}


def optional(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.one_of(st.none(), strategy, strategy, strategy)


FINITE = st.floats(-1e9, 1e9, allow_subnormal=False)
ROWS: st.SearchStrategy[Row] = st.tuples(
    st.sampled_from(["female", "male"]),
    optional(st.sampled_from(list(PEOPLE.columns[1].domain or ()))),
    optional(st.sampled_from([0, 1, 2, -3])),
    optional(st.booleans()),
    st.integers(0, 120),
    optional(st.integers(-400, 600)),
    optional(st.decimals("0", "99999.99", places=2)),
    optional(st.floats(-50, 100)),
    optional(st.floats(0.5, 2)),
    optional(st.sampled_from(["", "a", "ab%", "中文", "it's", "A_"])),
    optional(st.integers(-(2**40), 2**40)),
    optional(FINITE),
)

KEYS = st.sampled_from(
    [
        "sex",
        '"城市"',
        "stage",
        "smoker",
        "age > 50",
        "CASE WHEN age < 30 THEN 'young' WHEN age < 60 THEN 'middle' ELSE 'old' END",
        "CASE WHEN chol < 0 THEN -1 WHEN chol > 200 THEN 7 END",
        "CASE stage WHEN 0 THEN TRUE WHEN 1 THEN CASE WHEN smoker THEN FALSE END END",
    ]
)
EXACT = st.deferred(
    lambda: st.one_of(
        st.sampled_from(["age", "chol", "cost", "stage", "1", "0", "-2.5", "100", "1.25"]),
        st.tuples(EXACT, st.sampled_from("+-*"), EXACT).map(" ".join).map("({})".format),
        EXACT.map("ABS({})".format),
        EXACT.map("-({})".format),
        st.tuples(CONDITION, EXACT, EXACT).map(
            lambda parts: "CASE WHEN {} THEN {} ELSE {} END".format(*parts)
        ),
        st.tuples(CONDITION, EXACT).map(lambda parts: "CASE WHEN {} THEN {} END".format(*parts)),
    )
)
FLOATS = st.one_of(
    st.sampled_from(["bmi", "weight", "bmi / weight", "chol / 3", "cost * weight"]),
    st.sampled_from(["ABS(bmi)", "CASE WHEN smoker THEN bmi ELSE 0.5 END", "1 / weight - 1"]),
)
CONDITION = st.deferred(
    lambda: st.one_of(
        st.sampled_from(
            [
                "TRUE",
                "smoker",
                "sex = 'male'",
                "sex <> 'absent'",
                "\"城市\" = 'it''s \"so\"'",
                "\"城市\" LIKE '%水'",
                "\"城市\" IN ('兰州', NULL, 'x')",
                "note LIKE 'a%'",
                "note LIKE '__'",
                "note IN ('', 'it''s')",
                "'中文' = note",
                "stage IN (0, 1.5, 2)",
                "stage IN (1, NULL)",
                "age BETWEEN 20.5 AND 60",
                "chol > 49.5",
                "49.5 >= chol",
                "chol = 10.5",
                "chol <> 10.5",
                "cost < 500.125",
                "cost >= age * 100",
                "bmi > 20",
                "signal < 0.1",
                "raw IS NULL",
                "raw > 3.5",
                "smoker = FALSE",
                "smoker IS NOT NULL",
                "bmi > chol",
                "weight * 2 > 2.5",
                "NULL",
                "stage = NULL",
            ]
        ),
        CONDITION.map("NOT ({})".format),
        st.tuples(CONDITION, st.sampled_from(["AND", "OR"]), CONDITION)
        .map(" ".join)
        .map("({})".format),
    )
)
EXACT_MEASURES = st.one_of(
    st.just("COUNT(*)"),
    EXACT.map("SUM({})".format),
    st.sampled_from(["COUNT(chol)", "COUNT(note)", "COUNT(CASE WHEN smoker THEN 'x' END)"]),
)
FLOAT_MEASURES = st.one_of(
    st.tuples(st.sampled_from(["AVG", "VAR_SAMP", "STDDEV_SAMP"]), FLOATS),
    st.tuples(
        st.sampled_from(["AVG", "VARIANCE", "STDDEV", "VAR_POP", "STDDEV_POP"]),
        st.sampled_from(["age", "chol", "cost", "stage", "age * 2 - chol"]),
    ),
    st.tuples(st.just("SUM"), FLOATS),
).map(lambda parts: "{}({})".format(*parts))
MEASURES = st.one_of(
    EXACT_MEASURES,
    FLOAT_MEASURES,
    st.sampled_from(["COVAR_POP(chol, age)", "REGR_SLOPE(cost, age)", "CORR(stage, chol * 2)"]),
    st.tuples(EXACT_MEASURES, FLOAT_MEASURES).map("100.0 * {0[0]} + {0[1]}".format),
    st.just("100.0 * SUM(age) / COUNT(*)"),
    st.just("CASE WHEN COUNT(*) > 3 THEN AVG(age) END"),
)


@st.composite
def queries(draw: st.DrawFn) -> str:
    keys = draw(st.lists(KEYS, max_size=2, unique=True))
    measures = draw(st.lists(MEASURES, min_size=1, max_size=4, unique=True))
    named = [f"{key} AS k{at}" for at, key in enumerate(keys)]
    named += [f"{measure} AS m{at}" for at, measure in enumerate(measures)]
    where = draw(st.one_of(st.just(""), CONDITION.map(" WHERE {}".format)))
    group = f" GROUP BY {', '.join(f'{at + 1}' for at in range(len(keys)))}" if keys else ""
    having = draw(st.sampled_from(["", " HAVING COUNT(*) > 2"])) if keys else ""
    order = f" ORDER BY {', '.join(f'k{at} DESC' for at in range(len(keys)))}" if keys else ""
    return f"SELECT {', '.join(named)} FROM people{where}{group}{having}{order}"


def pooled(sql: str, rows: Sequence[Row]) -> list[tuple[object, ...]]:
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        natural_table(connection, PEOPLE, rows)
        return connection.execute(sql).fetchall()


def close(ours: object, theirs: object) -> bool:
    if isinstance(ours, float) or isinstance(theirs, float):
        if ours is None or theirs is None:
            return ours is theirs
        a, b = float(str(ours)), float(str(theirs))
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-7) or (a != a and b != b)
    if isinstance(ours, Decimal | int) and isinstance(theirs, Decimal | int):
        return Decimal(ours) == Decimal(theirs)
    return ours == theirs


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(nodes=st.lists(st.lists(ROWS, max_size=6), min_size=3, max_size=3), sql=queries())
def test_three_nodes_answer_as_one_database(nodes: list[list[Row]], sql: str) -> None:
    try:
        plan = parse(sql, CATALOGUE)
    except CallError as refusal:
        # Products of many columns may exceed what sums exactly, and of many sums what is told
        # apart; nothing else may be refused.
        if not any(limit in refusal.message for limit in ("38 digits", "branches and terms")):
            raise
        return
    rows = [row for node in nodes for row in node]
    found = answer(plan, nodes)
    ours = [tuple(row.values()) for row in found.table.drop_columns("_nodes").to_pylist()]
    theirs = pooled(sql, rows)
    if not plan.grouped and not any(part for part in ours):
        # Without a row no cell is released; SQL gives one row of zeros and NULLs.
        assert len(theirs) == 1
        return
    behind = [tuple(row.values())[:-1] for row in found.nodes.to_pylist()]
    assert len(ours) == len(theirs)
    for row, counts, wanted in zip(ours, behind, theirs, strict=True):
        for value, count, other in zip(row, counts, wanted, strict=True):
            # A value behind which no row stands is held back, also where SQL says 0.
            if count == 0:
                assert value is None
            else:
                assert close(value, other), (sql, row, wanted)


WIDE = [
    ("mean far above the deviation", [1e6 + 1e-3 * math.sin(i) for i in range(3000)]),
    ("mean 1e9 deviations away", [80.0 + 8e-8 * math.sin(i) for i in range(3000)]),
    ("negative mean", [-40.0 - 1e-6 * math.cos(i * i) for i in range(999)]),
    ("constant", [17.3] * 50),
    ("well conditioned", [math.sin(i) * 40 for i in range(5000)]),
    ("two values", [0.1, 0.2]),
    ("small", [1e-6 * i for i in range(100)]),
]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(("name", "values"), WIDE, ids=[name for name, _ in WIDE])
def test_float_moments_lose_nothing(name: str, values: list[float], grouped: bool) -> None:
    schema = TableSchema(
        "t",
        (
            Column("k", ColumnType.INTEGER, domain=(1, 2)),
            Column("x", ColumnType.FLOAT, lower=Decimal(-(10**7)), upper=Decimal(10**7)),
        ),
    )
    # Every third row also stands, far away, in the cell of NULL: one centre would not do.
    rows: list[Row] = [(1, value) for value in values]
    rows += [(None, value / 1e6) for value in values[::3]] if grouped else []
    sql = "SELECT AVG(x) AS a, VAR_SAMP(x) AS v, STDDEV_SAMP(x) AS s, SUM(x) AS t FROM t"
    sql += " GROUP BY k ORDER BY k" if grouped else ""
    found = answer(parse(sql, {"t": schema}), [rows[0::3], rows[1::3], rows[2::3]], schema)
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    variance = sum((value - mean) ** 2 for value in exact) / (len(exact) - 1)
    first = found.table.slice(0, 1).to_pylist()[0]
    assert first["a"] == pytest.approx(float(mean), rel=1e-9, abs=1e-15)
    assert first["t"] == pytest.approx(float(sum(exact)), rel=1e-9, abs=1e-9)
    assert first["v"] == pytest.approx(float(variance), rel=1e-9, abs=1e-30)
    assert first["s"] == pytest.approx(math.sqrt(variance), rel=1e-9, abs=1e-15)
