"""MEDIAN and QUANTILE_CONT in SQL: the quantile lies within the error, the rest is refused."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from builders.in_process import InProcess, schema_of, split
from yumen.quantile_query import quantile_query
from yumen.quantile_statement import Means, asks_quantiles, read_statement
from yumen_core.errors import CallError
from yumen_core.sql import Column, ColumnType, TableSchema


def frame_of(rows: int = 1800) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 95, rows),
            "x": rng.normal(0, 10, rows),
            "g": rng.choice(["a", "b", "c"], rows, p=[0.6, 0.395, 0.005]),
        }
    )
    frame.loc[rng.random(rows) < 0.1, "x"] = np.nan
    return frame


FRAME = frame_of()
SOURCE = InProcess(split(FRAME, 3, 1), schema_of(FRAME), threshold=10)


def test_groups_counts_and_quantiles_in_one_job() -> None:
    jobs = len(SOURCE.jobs)
    result = quantile_query(
        SOURCE,
        "SELECT g, COUNT(*) AS n, COUNT(x) AS nx, MEDIAN(x) AS m, "
        "PERCENTILE_CONT(0.1) WITHIN GROUP (ORDER BY u.AGE DESC) AS p FROM t AS u "
        "WHERE age >= 20 GROUP BY 1 ORDER BY n DESC",
    )
    assert len(SOURCE.jobs) == jobs + 1
    assert result.columns == ["g", "n", "nx", "m", "m_error", "p", "p_error", "_nodes"]
    assert [row["g"] for row in result] == ["a", "b", "c"]
    for row in result.to_pandas().head(2).to_dict("records"):
        rows = FRAME[(FRAME["g"] == row["g"]) & (FRAME["age"] >= 20)]
        assert row["n"] == len(rows)
        assert row["nx"] == rows["x"].count()
        assert abs(row["m"] - rows["x"].median()) <= row["m_error"]
        assert abs(row["p"] - rows["age"].quantile(0.9)) <= row["p_error"]
        assert row["_nodes"] == 3
    thin = list(result)[2]
    assert {value for name, value in thin.items() if name not in ("g", "_nodes")} == {None}
    assert [held.column for held in result.held_back] == result.columns[1:-1]
    assert "held back" in repr(result)
    assert "a statistic of" in result.notes[-1]


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT MEDIAN(x) FROM t", ["MEDIAN(x)", "MEDIAN(x)_error"]),
        ("SELECT quantile_cont(x, .25) AS q FROM t", ["q", "q_error"]),
        ("SELECT APPROX_QUANTILE(x + 1, 0.9) AS q, COUNT(*) FROM t", ["q", "q_error", "COUNT(*)"]),
        ("SELECT MEDIAN(x) AS m, 1 AS one FROM t", None),
        ("SELECT MEDIAN(x) AS m, MEDIAN(age) AS m FROM t", ["m", "m_error", "m_1", "m_1_error"]),
    ],
)
def test_names(sql: str, names: list[str] | None) -> None:
    if names is None:
        with pytest.raises(CallError, match="`1` at line 1"):
            quantile_query(SOURCE, sql)
        return
    assert quantile_query(SOURCE, sql).columns == [*names, "_nodes"]


def test_all_rows_are_counted_where_the_quantile_has_gaps() -> None:
    (row,) = quantile_query(SOURCE, "SELECT COUNT(*) AS n, COUNT(x) AS k, MEDIAN(x) AS m FROM t")
    assert (row["n"], row["k"]) == (len(FRAME), FRAME["x"].count())


def test_order_limit_and_offset_are_of_the_result() -> None:
    sql = "SELECT g, MEDIAN(age) AS m FROM t GROUP BY g ORDER BY m NULLS FIRST, 1 LIMIT 1"
    assert [row["g"] for row in quantile_query(SOURCE, sql)] == ["c"]
    sql = "SELECT g, MEDIAN(age) AS m FROM t GROUP BY g ORDER BY g DESC LIMIT 5 OFFSET 1"
    assert [row["g"] for row in quantile_query(SOURCE, sql)] == ["b", "a"]


def test_months_are_dates_again() -> None:
    schema = TableSchema(
        "t",
        (
            Column("d", ColumnType.DATE, lower=date(2024, 1, 1), upper=date(2024, 2, 29)),
            Column("v", ColumnType.INTEGER, lower=Decimal(0), upper=Decimal(9), nullable=False),
        ),
    )
    days = [date(2024, 1, 5), date(2024, 2, 7)] * 150
    frame = pd.DataFrame({"d": pd.Series(days, dtype=object), "v": [at % 5 for at in range(300)]})
    source = InProcess(split(frame, 3), schema, threshold=10)
    result = quantile_query(
        source, "SELECT DATE_TRUNC('month', d) AS m, COUNT(*) AS n, MEDIAN(v) FROM t GROUP BY m"
    )
    assert [(row["m"], row["n"]) for row in result] == [
        (date(2024, 1, 1), 150),
        (date(2024, 2, 1), 150),
    ]
    assert "rows without a value of" in result.notes[1]


def test_quantile_says_how_it_is_read() -> None:
    result = quantile_query(SOURCE, "SELECT QUANTILE(age, 0.5) AS q FROM t")
    assert result.notes[1] == "QUANTILE is answered as QUANTILE_CONT: between values, linearly"


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (
            "SELECT AVG(x), MEDIAN(x) FROM t",
            "`AVG(x)` at line 1, column 8 is not supported: beside a quantile SELECT takes the "
            "group key, COUNT and quantiles; ask other aggregates in a statement of their own",
        ),
        (
            "SELECT g, age, MEDIAN(x) FROM t GROUP BY g, age",
            "`age` at line 1, column 45 is not supported: beside a quantile GROUP BY takes one key",
        ),
        (
            "SELECT MEDIAN(x) + 1 AS m FROM t",
            "`MEDIAN(x) + 1` at line 1, column 8 is not supported: beside a quantile SELECT takes "
            "the group key, COUNT and quantiles; ask other aggregates in a statement of their own",
        ),
        (
            "SELECT MEDIAN(x) FROM t HAVING COUNT(*) > 5",
            "`COUNT(*) > 5` at line 1, column 32 is not supported: a statement with a quantile is "
            "SELECT, FROM, WHERE, GROUP BY, ORDER BY, LIMIT",
        ),
        (
            "SELECT QUANTILE_CONT(x, 1.5) FROM t",
            "`QUANTILE_CONT(x, 1.5)` at line 1, column 8 is not supported: the quantile is one "
            "number from 0 to 1",
        ),
        (
            "SELECT MEDIAN(SUM(x)) FROM t",
            "`SUM(x)` at line 1, column 15 is not supported: expected an expression over a "
            "single row",
        ),
        (
            "SELECT MEDIAN(x) FROM (SELECT x FROM t) AS u",
            "`(SELECT x FROM t) AS u` at line 1, column 23 is not supported: a statement with a "
            "quantile reads one table by its name",
        ),
        (
            "SELECT g, MEDIAN(x) FROM t GROUP BY g ORDER BY age",
            "`age` at line 1, column 48 is not supported: beside a quantile ORDER BY takes outputs "
            "of the statement",
        ),
        ("SELECT MEDIAN(g) FROM t", "expected a column of numbers, got `g`"),
        ("SELECT MEDIAN(gone) FROM t", "expected a column of table `t`, got `gone`"),
    ],
)
def test_refusals(sql: str, message: str) -> None:
    assert asks_quantiles(sql)
    with pytest.raises(CallError) as caught:
        quantile_query(SOURCE, sql)
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT AVG(x) FROM t",
        "SELECT COUNT(*) FROM t WHERE g = 'median(x)'",
        'SELECT COUNT("median(") FROM t',
        "SELECT MEDIAN(x FROM t",
        "DELETE FROM median(x)",
        "SELECT MEDIAN(" + "(" * 500 + "x" + ")" * 500 + ") FROM t",
        "SELECT MEDIAN(x) FROM t WHERE g = '" + "x" * 30_000 + "'",
    ],
)
def test_other_statements_go_their_own_way(sql: str) -> None:
    assert not asks_quantiles(sql)


def test_a_percentile_from_above() -> None:
    asked = read_statement("SELECT PERCENTILE_CONT(0.25) WITHIN GROUP (ORDER BY x DESC) FROM t")
    (output,) = asked.outputs
    assert (output.means, output.argument, output.q) == (Means.QUANTILE, "x", 0.75)
    assert output.name == "PERCENTILE_CONT(0.25) WITHIN GROUP (ORDER BY x DESC)"
