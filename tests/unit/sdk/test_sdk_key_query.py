"""A statement that groups by an undeclared column, rewritten over the keys that were found."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from builders.in_process import InProcess, split
from yumen.key_query import KeyStatement, find_keys, notes_of, undeclared_key
from yumen.quantile_query import check_statement, quantile_query
from yumen_core.errors import CallError
from yumen_core.sql import Column, ColumnType, TableSchema, parse

SCHEMA = TableSchema(
    "t",
    (
        Column("k", ColumnType.TEXT),
        Column("sex", ColumnType.TEXT, domain=("f", "m"), nullable=False),
        Column("n", ColumnType.INTEGER, lower=Decimal(-5), upper=Decimal(99)),
        Column("x", ColumnType.FLOAT, lower=Decimal(0), upper=Decimal(1)),
    ),
)


def statement(sql: str) -> KeyStatement:
    found = undeclared_key(sql, [SCHEMA])
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT k, COUNT(*) FROM t GROUP BY k", ["k", "COUNT(*)"]),
        ("SELECT K AS city, AVG(x) AS a FROM t AS u GROUP BY city", ["city", "a"]),
        ("SELECT AVG(u.x) AS a, u.k FROM t u WHERE u.x > 0.5 GROUP BY 2", ["a", "k"]),
        ("SELECT COUNT(*) AS c FROM t GROUP BY k", ["c"]),
        ("SELECT k, sex, COUNT(*) AS c FROM t GROUP BY sex, k", ["k", "sex", "c"]),
        (
            "SELECT k, SUM(CASE WHEN k = 'b' THEN 1 END) AS b FROM t WHERE k <> 'z' OR x > 0.5 "
            "GROUP BY k HAVING COUNT(*) > 5 AND k <> 'A' ORDER BY k DESC LIMIT 2",
            ["k", "b"],
        ),
    ],
)
def test_the_statement_over_keys_is_a_query_of_these_keys_alone(sql: str, names: list[str]) -> None:
    with pytest.raises(CallError, match="column `k` has no declared domain"):
        parse(sql, {"t": SCHEMA})
    plan = parse(statement(sql).over(["O'Brien", "b", "城市"]), {"t": SCHEMA})
    assert [output.name for output in plan.outputs] == names
    (key,) = [key for key in plan.keys if len(key.domain) == 3]
    assert key.domain == ("O'Brien", "b", "城市")
    assert not key.nullable
    assert "k" in plan.filters


def test_integers_are_written_as_numbers() -> None:
    found = statement("SELECT n, COUNT(*) FROM t GROUP BY n")
    plan = parse(found.over(["-3", "7"]), {"t": SCHEMA})
    assert plan.keys[0].domain == (-3, 7)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT x, COUNT(*) FROM t GROUP BY x",
        "SELECT k, n, COUNT(*) FROM t GROUP BY k, n",
        "SELECT sex, COUNT(*) FROM t GROUP BY sex",
        "SELECT LOWER(k), COUNT(*) FROM t GROUP BY LOWER(k)",
        "SELECT k, COUNT(*) FROM gone GROUP BY k",
        "SELECT k, COUNT(*) FROM (SELECT k FROM t) AS u GROUP BY k",
        "SELECT k, COUNT(*) FROM t JOIN t AS u ON t.k = u.k GROUP BY t.k",
        "SELECT COUNT(*) FROM t",
        "SELECT k, COUNT(*) FROM t GROUP BY k; DROP TABLE t",
        "no statement",
    ],
)
def test_other_statements_stay_as_they_are(sql: str) -> None:
    assert undeclared_key(sql, [SCHEMA]) is None


def test_hundreds_of_keys_fit_and_thousands_are_refused() -> None:
    found = statement("SELECT k, COUNT(*) FROM t GROUP BY k ORDER BY k")
    keys = [f"key {at:04}" for at in range(400)]
    assert len(parse(found.over(keys), {"t": SCHEMA}).keys[0].domain) == 400
    with pytest.raises(CallError) as caught:
        found.over([f"key {at:04}" for at in range(2000)])
    assert caught.value.message == "expected keys of `k` that fit one statement, got 2000"


def test_every_job_has_other_salts() -> None:
    found = statement("SELECT k, COUNT(*) FROM t GROUP BY k")
    rounds = [*found.statistic().rounds, *found.statistic().rounds]
    assert len({str(entry.arguments["salt"]) for entry in rounds}) == 6


def test_the_answer_is_the_pooled_truth_of_the_keys_found() -> None:
    rng = np.random.default_rng(5)
    keys = [f"城市{at}" for at in range(30)]
    share = 1 / np.arange(1, 31)
    frame = pd.DataFrame(
        {
            "k": rng.choice(keys, 1500, p=share / share.sum()),
            "sex": rng.choice(["f", "m"], 1500),
            "n": rng.integers(0, 9, 1500),
            "x": rng.random(1500),
        }
    )
    parts = split(frame, 3, 2)
    source = InProcess(parts, SCHEMA, threshold=10)
    asked = statement("SELECT k, COUNT(*) AS c FROM t WHERE x < 0.9 GROUP BY k")
    found = find_keys(source, asked, buckets=1024)
    counts = [part[part["x"] < 0.9]["k"].value_counts() for part in parts]
    truth = {k for k in keys if all(own.get(k, 0) >= 10 for own in counts)}
    assert 2 < len(truth) < 30
    assert set(found.keys) == truth
    released = {str(row["k"]): row["c"] for row in source.query(asked.over(found.keys))}
    assert released == {k: sum(int(own[k]) for own in counts) for k in truth}
    assert notes_of(found, asked)[0] == f"{len(truth)} values of k found by job job-1"


def test_a_median_by_an_undeclared_key() -> None:
    rng = np.random.default_rng(6)
    frame = pd.DataFrame({"k": rng.choice(["a", "b"], 900), "sex": "f", "n": 1, "x": 0.5})
    frame["n"] = rng.integers(0, 5, 900) + np.where(frame["k"] == "a", 0, 40)
    source = InProcess(split(frame, 3), SCHEMA, threshold=10)
    asked = statement("SELECT k, MEDIAN(n) AS m FROM t GROUP BY k ORDER BY k")
    check_statement(source, asked.over(["0"]))
    assert source.jobs == []
    rows = list(quantile_query(source, asked.over("ab")))
    assert [(row["k"], row["m"], row["m_error"]) for row in rows] == [
        ("a", frame[frame["k"] == "a"]["n"].median(), 0.0),
        ("b", frame[frame["k"] == "b"]["n"].median(), 0.0),
    ]
