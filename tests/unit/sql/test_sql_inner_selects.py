"""WITH and SELECTs in FROM: the plan is the flat statement's, and the answer is SQL's."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sql_tables import PEOPLE, Row, answer
from test_sql_against_duckdb import CONDITION, ROWS, close, pooled, queries
from yumen_core.errors import CallError
from yumen_core.sql import parse
from yumen_core.sql.from_clause import ONE_TABLE, ROWS_ONLY

CATALOGUE = {"people": PEOPLE}
INNER = f"is not supported: {ROWS_ONLY}"

SAME_PLAN = [
    (
        "WITH old AS (SELECT * FROM people WHERE age > 60) SELECT AVG(chol) AS m FROM old",
        "SELECT AVG(chol) AS m FROM people WHERE age > 60",
    ),
    (
        "SELECT AVG(twice) AS m FROM (SELECT chol * 2 AS twice FROM people) WHERE twice > 100",
        "SELECT AVG(chol * 2) AS m FROM people WHERE chol * 2 > 100",
    ),
    (
        "WITH a AS (SELECT age AS x, chol FROM people WHERE smoker AND age > 20), "
        "b AS (SELECT x + 1 AS y, a.chol FROM a WHERE x < 90) "
        "SELECT SUM(b.y) AS s, COUNT(*) AS n FROM b WHERE chol > 100",
        "SELECT SUM(age + 1) AS s, COUNT(*) AS n FROM people "
        "WHERE smoker AND age > 20 AND age < 90 AND chol > 100",
    ),
    (
        "SELECT band, COUNT(*) AS n FROM "
        "(SELECT CASE WHEN age < 50 THEN 'young' ELSE 'old' END AS band FROM people) AS p "
        "GROUP BY p.band HAVING COUNT(*) > 3 ORDER BY band",
        "SELECT CASE WHEN age < 50 THEN 'young' ELSE 'old' END AS band, COUNT(*) AS n FROM people "
        "GROUP BY 1 HAVING COUNT(*) > 3 ORDER BY 1",
    ),
    (
        "WITH people AS (SELECT people.*, age > 50 AS old FROM people WHERE sex = 'male') "
        "SELECT old, AVG(bmi) AS m FROM people GROUP BY old",
        "SELECT age > 50 AS old, AVG(bmi) AS m FROM people WHERE sex = 'male' GROUP BY 1",
    ),
    (
        "WITH a AS MATERIALIZED (SELECT * FROM ((SELECT * FROM people))) "
        "SELECT COUNT(*) AS n FROM (WITH b AS (SELECT age FROM a) SELECT b.age AS z FROM b) "
        "WHERE z BETWEEN 3 AND 4",
        "SELECT COUNT(*) AS n FROM people WHERE age BETWEEN 3 AND 4",
    ),
    ("WITH a AS (SELECT age FROM people) SELECT COUNT(*) AS n FROM people", None),
    ("WITH a AS (SELECT 2 AS two, age FROM people) SELECT SUM(age * two) AS n FROM a x", None),
]
_FLAT = {6: "SELECT COUNT(*) AS n FROM people", 7: "SELECT SUM(age * 2) AS n FROM people"}


@pytest.mark.parametrize("at", range(len(SAME_PLAN)))
def test_the_plan_is_that_of_the_flat_statement(at: int) -> None:
    nested, flat = SAME_PLAN[at]
    assert parse(nested, CATALOGUE).to_json() == parse(flat or _FLAT[at], CATALOGUE).to_json()


def test_a_name_hides_no_subgroup() -> None:
    """What a name stands for is taken apart like what is written out (ADR 5)."""
    nested = parse(
        "SELECT SUM(x) FROM (SELECT CASE WHEN note = 'Bob' THEN 1000000 * age ELSE 1 END AS x "
        "FROM people)",
        CATALOGUE,
    )
    written = parse(
        "SELECT SUM(CASE WHEN note = 'Bob' THEN 1000000 * age ELSE 1 END) FROM people", CATALOGUE
    )
    assert nested.layout == written.layout
    assert len(nested.layout.support_parts[1].parts) == 3


def test_an_output_bears_the_name_that_its_select_gives_it() -> None:
    plan = parse("SELECT kind, SUM(x) FROM (SELECT sex AS kind, age AS x FROM people) GROUP BY 1",
                 CATALOGUE)  # fmt: skip
    assert [output.name for output in plan.outputs] == ["kind", "SUM(age)"]
    assert plan.columns == {"sex", "age"}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    nodes=st.lists(st.lists(ROWS, max_size=6), min_size=3, max_size=3),
    sql=queries(),
    inner=CONDITION,
)
def test_inner_selects_answer_as_one_database(nodes: list[list[Row]], sql: str, inner: str) -> None:
    """The middle SELECT swaps two columns, so that a name is never taken for the table's own."""
    nested = sql.replace(
        "FROM people",
        f'FROM (SELECT p.* , age + 1 AS older FROM (SELECT sex, "城市", stage, smoker, '
        "age, cost, bmi, weight, note, raw, signal, age - chol AS chol FROM people "
        f"WHERE {inner}) AS p) AS q",
    )
    try:
        plan = parse(nested, CATALOGUE)
    except CallError as refusal:
        if "38 digits" not in refusal.message:
            raise
        return
    found = answer(plan, nodes)
    ours = [tuple(row.values()) for row in found.table.drop_columns("_nodes").to_pylist()]
    theirs = pooled(nested, [row for node in nodes for row in node])
    if not plan.grouped and not any(part for part in ours):
        assert len(theirs) == 1
        return
    behind = [tuple(row.values())[:-1] for row in found.nodes.to_pylist()]
    assert len(ours) == len(theirs)
    for row, counts, wanted in zip(ours, behind, theirs, strict=True):
        for value, count, other in zip(row, counts, wanted, strict=True):
            assert value is None if count == 0 else close(value, other), (nested, row, wanted)


UNSUPPORTED = [
    ("SELECT AVG(x) FROM (SELECT age AS x FROM people LIMIT 3)", "`3`", 55, INNER),
    ("SELECT AVG(x) FROM (SELECT age AS x FROM people ORDER BY 1)", "`1`", 58, INNER),
    (
        "SELECT AVG(n) FROM (SELECT COUNT(*) AS n FROM people GROUP BY sex)",
        "`sex`",
        63,
        INNER,
    ),
    ("SELECT AVG(n) FROM (SELECT SUM(age) AS n FROM people)", "`SUM(age)`", 28, INNER),
    ("SELECT COUNT(*) FROM (SELECT FROM people)", "`people`", 35, INNER),
    ("WITH a AS (VALUES (1)) SELECT COUNT(*) FROM a", "`1`", 20, f"is not supported: {ONE_TABLE}"),
    (
        "SELECT AVG(x) FROM (SELECT age + 1 FROM people)",
        "`age + 1`",
        28,
        "is not supported: name it with AS, for the outer SELECT to call it",
    ),
    (
        "SELECT AVG(x) FROM (SELECT age AS x, chol AS X FROM people)",
        "`chol AS X`",
        38,
        "is not supported: another column of this SELECT is called `X`",
    ),
    (
        "WITH RECURSIVE a AS (SELECT * FROM a) SELECT COUNT(*) FROM a",
        "`RECURSIVE`",
        6,
        "is not supported: a WITH names SELECTs that do not call themselves",
    ),
    (
        "WITH a AS (SELECT * FROM people), A AS (SELECT * FROM a) SELECT COUNT(*) FROM a",
        "`A`",
        35,
        "is not supported: another SELECT of this WITH has its name",
    ),
    (
        "WITH a(x) AS (SELECT age FROM people) SELECT COUNT(*) FROM a",
        "`a(x)`",
        6,
        "is not supported: name columns with AS in the inner SELECT",
    ),
    (
        "WITH a AS (SELECT * FROM people) SELECT * FROM a",
        "`*`",
        41,
        "is not supported: no row leaves a node; select aggregates",
    ),
    (
        "WITH a AS (SELECT * FROM people) SELECT sex FROM a GROUP BY sex",
        "`SELECT`",
        34,
        "is not supported without an aggregate: no row leaves a node",
    ),
    (
        "SELECT AVG(older) FROM (SELECT age + 1 AS older FROM people) GROUP BY older",
        "`older`",
        71,
        "cannot be grouped by: group by a column with a declared domain, a condition, or a CASE "
        "whose results are text, integers or booleans",
    ),
]


@pytest.mark.parametrize(("sql", "shown", "column", "reason"), UNSUPPORTED)
def test_unsupported(sql: str, shown: str, column: int, reason: str) -> None:
    with pytest.raises(CallError) as caught:
        parse(sql, CATALOGUE)
    assert (caught.value.code, caught.value.message) == (
        "sql_unsupported",
        f"{shown} at line 1, column {column} {reason}",
    )


def _doubling(steps: int) -> str:
    names = ["a0 AS (SELECT age AS x FROM people)"]
    names += [f"a{at} AS (SELECT x - x AS x FROM a{at - 1})" for at in range(1, steps)]
    return f"WITH {', '.join(names)} SELECT SUM(x) FROM a{steps - 1}"


def _between(levels: int) -> str:
    nested = "age"
    for _ in range(levels):
        nested = f"CASE WHEN {nested} BETWEEN 0 AND 1 THEN 1 ELSE 0 END"
    return f"SELECT COUNT(*) FROM people WHERE {nested} = 1"


def _subject(levels: int) -> str:
    nested = "age"
    for _ in range(levels):
        nested = f"CASE {nested} WHEN 1 THEN 1 WHEN 2 THEN 3 ELSE 4 END"
    return f"SELECT COUNT(*) FROM people WHERE {nested} = 1"


@pytest.mark.parametrize("sql", [_doubling(40), _between(20), _subject(30)])
def test_a_short_text_makes_no_long_plan(sql: str) -> None:
    with pytest.raises(CallError, match="longer than 20000 operations, written out") as caught:
        parse(sql, CATALOGUE)
    assert caught.value.code == "sql_too_large"


def test_names_of_names_are_not_nested_without_end() -> None:
    names = ["a0 AS (SELECT age AS x FROM people)"]
    names += [f"a{at} AS (SELECT x + 1 AS x FROM a{at - 1})" for at in range(1, 90)]
    with pytest.raises(CallError) as caught:
        parse(f"WITH {', '.join(names)} SELECT COUNT(*) FROM a89", CATALOGUE)
    assert caught.value.message == "the statement is nested deeper than 80 levels"


@pytest.mark.parametrize(
    ("sql", "code", "message"),
    [
        (
            "WITH a AS (SELECT sex FROM people) SELECT AVG(age) FROM a",
            "sql_unknown_column",
            "`age` at line 1, column 47 is no column of `a`",
        ),
        (
            "SELECT AVG(people.age) FROM (SELECT age FROM people) AS s",
            "sql_unknown_column",
            "`people.age` at line 1, column 12 names a table other than `s`",
        ),
        (
            "SELECT AVG(ages) FROM (SELECT age FROM people)",
            "sql_unknown_column",
            "`ages` at line 1, column 12 is no column of the inner SELECT; near it: `age`",
        ),
        (
            "WITH older AS (SELECT * FROM people) SELECT COUNT(*) FROM oldr",
            "sql_unknown_table",
            "`oldr` at line 1, column 59 is no table of this federation; near it: `older`",
        ),
        (
            "SELECT SUM(x) FROM (SELECT raw AS x FROM people)",
            "sql_type",
            "`x` at line 1, column 12 cannot be summed: column `raw` has no declared bounds",
        ),
        (
            "SELECT SUM(x) FROM (SELECT age AS x FROM people WHERE age)",
            "sql_type",
            "`age` at line 1, column 55 cannot be used here: WHERE takes a condition, got integer",
        ),
    ],
)
def test_other_refusals(sql: str, code: str, message: str) -> None:
    with pytest.raises(CallError) as caught:
        parse(sql, CATALOGUE)
    assert (caught.value.code, caught.value.message) == (code, message)
