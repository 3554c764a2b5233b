"""A statistic's rows: what its statement may read, and the subgroups it builds."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest
from sql_tables import PEOPLE, Row, held_table
from yumen_core.errors import CallError, StateError
from yumen_core.sql import (
    RowsPlan,
    built_groups,
    parse_rows,
    read_rows,
    rows_sql,
)
from yumen_core.sql.row_groups import counted_groups, groups_sql, row_groups
from yumen_core.statistics.rows import check_groups


def plan(sql: str) -> RowsPlan:
    return parse_rows(sql, {"people": PEOPLE})


def person(**values: object) -> Row:
    row: dict[str, object] = {column.name: None for column in PEOPLE.columns}
    row |= {"sex": "female", "age": 50, **values}
    return tuple(row.values())


def groups(sql: str, rows: list[Row]) -> dict[str, list[int]]:
    asked = plan(sql)
    with duckdb.connect() as database:
        held_table(database, "held", PEOPLE, rows)
        parts = [part for _, part in built_groups(asked)]
        _, *counted = database.execute(groups_sql(asked, parts, "held")).fetchall()[0]
    found: dict[str, list[int]] = {}
    for (name, _), count in zip(built_groups(asked), counted, strict=True):
        found.setdefault(name, []).append(count)
    return found


def test_numbers_and_levels_come_as_they_are_held() -> None:
    asked = plan(
        "SELECT age, cost, bmi * 2 AS double, smoker, 城市, stage, age > 50 AS old, "
        "CASE WHEN age < 50 THEN 'young' ELSE 'old' END AS band FROM people WHERE age > 1"
    )
    rows = [
        person(age=60, cost="12.50", bmi=20.5, smoker=True, 城市="天水", stage=-3),
        person(age=40),
        person(age=0),
    ]
    with duckdb.connect() as database:
        held_table(database, "held", PEOPLE, rows)
        fetched = database.execute(rows_sql(asked, "held")).fetchnumpy()
    numbers, codes = read_rows(asked, fetched)  # type: ignore[arg-type]
    shown = {name: [None if np.isnan(x) else x for x in v] for name, v in numbers.items()}
    assert shown == {
        "age": [60, 40],
        "cost": [12.5, None],
        "double": [41, None],
        "smoker": [1, None],
        "stage": [-3, None],
        "old": [1, 0],
    }
    assert {name: v.tolist() for name, v in codes.items()} == {
        "smoker": [1, -1],
        "城市": [1, -1],
        "stage": [3, -1],
        "old": [1, 0],
        "band": [1, 0],
    }
    assert [v.levels for v in asked.variables][-1] == ("young", "old")


@pytest.mark.parametrize(
    ("sql", "code", "words"),
    [
        ("SELECT AVG(age) FROM people", "sql_unsupported", "AVG stands in SELECT, HAVING or"),
        ("SELECT age FROM people GROUP BY age", "sql_unsupported", "one SELECT with WHERE"),
        ("SELECT age FROM people LIMIT 3", "sql_unsupported", "one SELECT with WHERE"),
        ("SELECT age AS x, chol AS x FROM people", "sql_unsupported", "distinct names"),
        ("SELECT note FROM people", "sql_type", "`note` cannot be used in a statistic"),
        ("SELECT * FROM people", "sql_unsupported", "name the expressions"),
        ("SELECT age FROM people WHERE age", "sql_type", "WHERE"),
        ("SELECT weight * weight * weight * weight * weight * weight * weight AS x FROM people",
         "sql_type", "expected products of at most 6 columns in `x`"),
        ("SELECT 1 / (age + 1) AS x FROM people", "sql_type",
         "in a statistic a divisor is a number or a column"),
        ("SELECT chol / CASE WHEN age = 37 THEN 0.000001 ELSE 1 END AS x FROM people", "sql_type",
         "in a statistic a divisor is a number or a column"),
        ("SELECT chol * (age = 37) AS x FROM people", "sql_type", "boolean"),
    ],
)  # fmt: skip
def test_what_a_row_statement_may_not_be(sql: str, code: str, words: str) -> None:
    with pytest.raises(CallError) as caught:
        plan(sql)
    assert caught.value.code == code
    assert words in caught.value.message


PICKED = "CASE WHEN age = 37 THEN 1000000 * chol ELSE chol END"


@pytest.mark.parametrize(
    ("expression", "counts"),
    [
        (PICKED, {"x": [21, 1, 20]}),
        (f"chol + {PICKED}", {"x": [21, 1, 20, 21]}),
        ("CASE WHEN age = 37 THEN chol ELSE 0 END", {"x": [1]}),
        ("CASE WHEN age = 37 THEN 1 ELSE 0 END", {}),
        ("age = 37", {}),
        ("(chol - 240) / 40", {"x": [21]}),
        ("CASE WHEN bmi IS NULL THEN 25.0 ELSE bmi END", {}),
        ("CASE WHEN bmi IS NULL THEN 1000.0 ELSE bmi END", {"x": [21, 21, 0]}),
        ("CASE WHEN age = 37 THEN 25.0 ELSE bmi END", {"x": [1, 1, 20]}),
        # As an attacker would hide the one row:
        ("chol * CASE WHEN age = 37 THEN 1000000 ELSE 1 END", {"x": [21, 1, 20]}),
        ("-(" + PICKED + ")", {"x": [21, 1, 20]}),
        ("ABS(chol - " + PICKED + ")", {"x": [1, 21, 1, 20]}),
        ("2 * (chol + 5 * " + PICKED + ")", {"x": [21, 21, 1, 20]}),
        ("CASE WHEN age > 1 THEN " + PICKED + " END", {"x": [21, 1, 20, 0]}),
        ("CASE WHEN age > 1 THEN CASE WHEN age = 37 THEN chol ELSE 0 END END", {"x": [1, 1, 0]}),
        ("CASE WHEN age = 37 THEN 2 ELSE 1 END", {"x": [21, 1, 20]}),
        ("CASE WHEN age = 37 THEN 1 WHEN age = 50 THEN 2 ELSE 0 END", {"x": [2, 1, 1]}),
        ("chol + CASE WHEN age = 37 THEN 1000000 ELSE 0 END", {"x": [21, 1, 1]}),
        ("CASE WHEN chol IS NULL THEN 100 ELSE age END", {"x": [21, 21, 0]}),
        ("CASE WHEN age = 37 THEN 100 ELSE age END", {"x": [21, 1, 20]}),
        ("CASE WHEN age IS NULL OR age = 37 THEN 100 ELSE age END", {"x": [21, 1, 20]}),
        ("CASE WHEN age IS NULL THEN 100 ELSE age * 1 END", {"x": [21, 0, 21]}),
        ("(age - 37) * (age - 37)", {"x": [20]}),
        ("chol * (age - 37)", {"x": [20]}),
    ],
)
def test_the_subgroups_inside_a_variable_are_counted(
    expression: str, counts: dict[str, list[int]]
) -> None:
    rows = [person(age=37, chol=200), *(person(age=50 + at, chol=230) for at in range(20))]
    sql = f"SELECT {expression} AS x FROM people"
    found = groups(sql, rows) if built_groups(plan(sql)) else {}
    assert {name: sorted(v) for name, v in found.items()} == {
        name: sorted(v) for name, v in counts.items()
    }


def test_a_subgroup_with_few_rows_refuses_the_run() -> None:
    check_groups(["x", "y"], [None, 10], 10)
    for few in (0, 1, 9):
        with pytest.raises(StateError) as caught:
            check_groups(["x", "y"], [10, few], 10)
    assert caught.value.code == "too_few_rows"
    assert caught.value.message == (
        "expected the table's threshold of rows in each branch and term of `y`, and in none of its "
        "branches, got fewer"
    )


@pytest.mark.parametrize(
    ("expression", "counts"),
    [
        ("CASE WHEN age = 37 THEN 1 ELSE cost END", [1, 1, 20]),
        ("CASE WHEN age = 37 THEN 1 ELSE 0 END", [1, 20]),
        ("CASE WHEN age = 99 THEN 'x' ELSE 'y' END", [0, 21]),
        ("CASE WHEN age = 37 THEN 1 WHEN age > 37 THEN 2 END", [0, 0, 1, 20, 21]),
        ("age > 40", [20, 1]),
        ("chol IS NULL", []),
        ("CASE WHEN bmi IS NULL THEN 1 ELSE bmi END", []),
        ("CASE WHEN bmi IS NULL THEN age * 1.5 ELSE bmi END", [21, 21, None]),
        ("CASE WHEN sex = 'male' THEN 1 WHEN sex = 'female' THEN 2 END", [None, 21, 21, None]),
    ],
)
def test_an_empty_group_counts_unless_nobody_chose_it(
    expression: str, counts: list[int | None]
) -> None:
    asked = plan(f"SELECT {expression} AS x FROM people")
    rows = [person(age=37, chol=200), *(person(age=50 + at, chol=230) for at in range(20))]
    with duckdb.connect() as database:
        held_table(database, "held", PEOPLE, rows)
        whole, found = counted_groups(
            asked, row_groups(asked), "held", lambda sql: database.execute(sql).fetchall()[0]
        )
    assert whole == 21
    assert sorted(map(str, found)) == sorted(map(str, counts))


def test_the_rows_that_a_case_leaves_out_are_a_subgroup() -> None:
    """The difference to the rows of the column itself: one person, on purpose."""
    rows = [person(age=37, chol=200), *(person(age=50 + at, chol=230) for at in range(20))]
    for expression in ("CASE WHEN age > 40 THEN chol END", "CASE WHEN age > 40 THEN 'x' END"):
        assert 1 in groups(f"SELECT {expression} AS x FROM people", rows)["x"]
