"""COUNT(DISTINCT x): the values of a domain that are released, and how that is said."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sql_tables import PEOPLE, Row, answer, natural_table, node_cells
from yumen_core.disclosure import DisclosureRules, local_flags, released
from yumen_core.errors import CallError
from yumen_core.sql import Answer, Column, ColumnType, TableSchema, finish, parse

COUNTED = {
    "sex": "sex",
    "city": '"城市"',
    "stage": "stage",
    "smoker": "smoker",
    "old": "age > 50",
    "band": "CASE WHEN age < 30 THEN 'young' WHEN age < 60 THEN 'middle' END",
    "nested": "CASE WHEN smoker THEN CASE WHEN age < 30 THEN -1 ELSE 2 END ELSE 2 END",
    "truth": "CASE WHEN age < 30 THEN TRUE WHEN age < 60 THEN FALSE END",
}
ROWS: st.SearchStrategy[Row] = st.tuples(
    st.sampled_from(["female", "male"]),
    st.one_of(st.none(), st.sampled_from(list(PEOPLE.columns[1].domain or ()))),
    st.sampled_from([None, 0, 1, 2, -3]),
    st.sampled_from([None, True, False]),
    st.integers(0, 120),
    *[st.none()] * 7,
)


def person(**values: object) -> Row:
    defaults: dict[str, object] = {"sex": "male", "age": 50}
    return tuple({**defaults, **values}.get(column.name) for column in PEOPLE.columns)


def under_rules(sql: str, nodes: list[list[Row]]) -> Answer:
    plan = parse(sql, {"people": PEOPLE})
    parts = [node_cells(plan, rows) for rows in nodes]
    flags = [local_flags(part.supports, DisclosureRules(10, 3)) for part in parts]
    total = np.stack(flags).sum(axis=0, dtype=np.uint8)
    kept = sum(released(total, own, 3).astype(int) for own in flags)
    width = len(plan.layout.values)
    return finish(plan, np.asarray(kept).tolist(), [[0] * width] * plan.layout.cells)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    nodes=st.lists(st.lists(ROWS, max_size=8), min_size=3, max_size=3),
    counted=st.sampled_from(list(COUNTED.values())),
    grouped=st.booleans(),
)
def test_without_thresholds_it_counts_as_one_database(
    nodes: list[list[Row]], counted: str, grouped: bool
) -> None:
    sql = f"SELECT COUNT(DISTINCT {counted}) AS n FROM people"
    sql += " GROUP BY sex ORDER BY sex" if grouped else ""
    rows = [row for node in nodes for row in node]
    found = answer(parse(sql, {"people": PEOPLE}), nodes)
    with duckdb.connect() as connection:
        natural_table(connection, PEOPLE, rows)
        theirs = [count for (count,) in connection.execute(sql).fetchall()]
    assert found.table["n"].to_pylist() == (theirs if rows else [])
    assert found.held_back == {}


def test_a_thin_value_is_not_counted_and_that_is_said() -> None:
    many = [person(stage=0)] * 10 + [person(stage=1)] * 10
    nodes = [many + [person(stage=2)] * 9, many + [person(stage=2)] * 30, many + [person()] * 50]
    nodes[0] += [person(stage=-3)] * 10
    found = under_rules("SELECT COUNT(DISTINCT stage) AS n FROM people", nodes)
    assert found.table.to_pylist() == [{"n": 2, "_nodes": 3}]
    assert found.nodes.to_pylist() == [{"n": 3, "_nodes": 3}]
    assert found.notes == (
        "COUNT(DISTINCT stage) is a lower bound: of the 4 values in the domain it counts those "
        "with rows and nodes enough behind them",
    )
    # Three nodes with nine rows each: the value stays out, though there are 27.
    thin = [many + [person(stage=2)] * 9] * 3
    assert (
        under_rules("SELECT COUNT(DISTINCT stage) AS n FROM people", thin).table["n"][0].as_py()
        == 2
    )


def test_a_full_domain_is_no_lower_bound() -> None:
    node = [person(sex="male")] * 10 + [person(sex="female")] * 10
    found = under_rules("SELECT COUNT(DISTINCT sex) AS n FROM people", [node] * 3)
    assert found.table["n"].to_pylist() == [2]
    assert found.notes == ()


def test_what_it_says_of_itself() -> None:
    sql = "SELECT COUNT(DISTINCT stage), COUNT(DISTINCT age > 50) FROM people"
    plan = parse(sql, {"people": PEOPLE})
    assert plan.layout.values == ()
    assert plan.layout.supports == 1 + 4 + 2
    assert plan.aggregates == {"count_distinct"}
    assert (plan.group_by, plan.group_bands) == (frozenset({"stage"}), frozenset({"age"}))
    assert plan.columns == {"stage", "age"}
    assert plan.describe() == (
        "COUNT(DISTINCT stage), COUNT(DISTINCT (age > 50)) of table people "
        "(1 cells of 0 summed values)"
    )
    assert plan.digest != parse(sql.replace("DISTINCT", ""), {"people": PEOPLE}).digest


TAKES = (
    "COUNT(DISTINCT) takes a column with a declared domain, a date or a part of it within declared "
    "bounds, a condition, or a CASE whose results are text, integers or booleans"
)
WIDE = TableSchema("wide", (Column("code", ColumnType.INTEGER, domain=tuple(range(1001))),))


@pytest.mark.parametrize(
    ("asked", "shown", "column", "reason"),
    [
        ("note", "note", 23, f"column `note` has no declared domain; {TAKES}"),
        ("age", "age", 23, f"column `age` has no declared domain; {TAKES}"),
        ("bmi", "bmi", 23, f"column `bmi` has no declared domain; {TAKES}"),
        ("age + 1", "age + 1", 23, TAKES),
        ("sex, stage", "COUNT(DISTINCT sex, stage)", 8, "COUNT takes one expression"),
        ("*", "COUNT(DISTINCT *)", 8, "COUNT takes one expression"),
        ("1", "1", 23, TAKES),
    ],
)
def test_what_has_no_domain_is_refused(asked: str, shown: str, column: int, reason: str) -> None:
    with pytest.raises(CallError) as caught:
        parse(f"SELECT COUNT(DISTINCT {asked}) FROM people", {"people": PEOPLE})
    assert caught.value.code == "sql_unsupported"
    assert caught.value.message == (
        f"`{shown}` at line 1, column {column} is not supported: {reason}"
    )


def test_a_wide_domain_is_refused() -> None:
    with pytest.raises(CallError) as caught:
        parse("SELECT COUNT(DISTINCT code) FROM wide", {"wide": WIDE})
    assert caught.value.message == (
        "`code` at line 1, column 23 is not supported: COUNT(DISTINCT) takes at most 1000 values, "
        "got a domain of 1001; group by it instead"
    )


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT DISTINCT COUNT(*) FROM people",
        "SELECT SUM(DISTINCT age) FROM people",
        "SELECT AVG(DISTINCT age) FROM people",
        "SELECT COUNT(*) FROM people WHERE age IS DISTINCT FROM 3",
    ],
)
def test_any_other_distinct_is_refused(sql: str) -> None:
    with pytest.raises(CallError, match="only COUNT takes DISTINCT; all else takes every row"):
        parse(sql, {"people": PEOPLE})
