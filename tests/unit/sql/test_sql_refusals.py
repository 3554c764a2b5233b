"""What is refused: each with its code, its place and the words around."""

from __future__ import annotations

import pytest
from sql_tables import PEOPLE
from yumen_core.errors import CallError
from yumen_core.sql import parse
from yumen_core.sql.scalar import FUNCTIONS, SUPPORTED

CATALOGUE = {"people": PEOPLE}
ONE_SELECT = "is not supported: a query is one SELECT"
ONE_TABLE = (
    "is not supported: a query is one SELECT of one table, or of inner SELECTs and joins that keep "
    "its rows, with WHERE, GROUP BY, HAVING, ORDER BY and LIMIT"
)
LITERALS = "is not supported: write values as literals, without parameters"
EXPRESSIONS = f"is not supported: {SUPPORTED}"
GROUPABLE = (
    "group by a column with a declared domain, a condition, or a CASE whose results are text, "
    "integers or booleans"
)


BANDS = (
    "group by bands, such as CASE WHEN age < 50 THEN 'under 50' WHEN age >= 50 THEN '50 and over' "
    "END"
)


def no_function(name: str) -> str:
    return (
        f"is not supported: there is no function {name}; the functions are "
        f"{', '.join(FUNCTIONS[:-1])} and {FUNCTIONS[-1]}"
    )


def refusal(sql: str) -> CallError:
    with pytest.raises(CallError) as caught:
        parse(sql, CATALOGUE)
    return caught.value


UNSUPPORTED = [
    ("SELECT * FROM people", "`*`", 8, "is not supported: no row leaves a node; select aggregates"),
    (
        "SELECT people.* FROM people",
        "`*`",
        15,
        "is not supported: no row leaves a node; select aggregates",
    ),
    (
        "SELECT chol FROM people",
        "`chol`",
        8,
        "is not supported: put it in GROUP BY or inside an aggregate",
    ),
    (
        "SELECT sex FROM people GROUP BY sex",
        "`SELECT`",
        1,
        "is not supported without an aggregate: no row leaves a node",
    ),
    ("SELECT 1", "`SELECT`", 1, "is not supported without FROM and a table"),
    (
        "SELECT SUM(DISTINCT age) FROM people",
        "`DISTINCT`",
        12,
        "is not supported: only COUNT takes DISTINCT; all else takes every row",
    ),
    ("SELECT COUNT(*) FROM people UNION SELECT 1", "`UNION`", 29, ONE_SELECT),
    (
        "WITH x AS (SELECT 1) SELECT COUNT(*) FROM x",
        "`SELECT`",
        12,
        "is not supported without FROM and a table",
    ),
    (
        "SELECT COUNT(*) FROM people WHERE age IN (SELECT 1)",
        "`age IN (SELECT 1)`",
        35,
        "is not supported: IN takes a list of literals",
    ),
    (
        "SELECT COUNT(*) FROM people WHERE EXISTS (SELECT 1)",
        "`EXISTS (SELECT 1)`",
        35,
        no_function("EXISTS"),
    ),
    ("SELECT SUM(age) OVER () FROM people", "`SUM(age)`", 8, EXPRESSIONS),
    (
        "SELECT SUM(age) FILTER (WHERE age > 3) FROM people",
        "`SUM(age) FILTER (WHERE age > 3)`",
        8,
        EXPRESSIONS,
    ),
    ("SELECT MAX(age) FROM people", "`MAX(age)`", 8, no_function("MAX")),
    ("SELECT COUNT(*) FROM read_csv('/etc/passwd')", "`read_csv('/etc/passwd')`", 22, ONE_TABLE),
    (
        "SELECT COUNT(*), read_text('/etc/passwd') FROM people",
        "`read_text('/etc/passwd')`",
        18,
        no_function("READ_TEXT"),
    ),
    ("SELECT COUNT(*) FROM main.people", "`main.people`", 22, ONE_TABLE),
    ("DROP TABLE people", "`DROP`", 1, ONE_SELECT),
    ("COPY people TO 'x'", "`COPY`", 1, ONE_SELECT),
    ("PRAGMA database_list", "`PRAGMA`", 1, ONE_SELECT),
    ("FROM people", "`FROM`", 1, ONE_SELECT),
    (
        "SELECT COUNT(*) FROM people; DROP TABLE people",
        "`DROP`",
        30,
        "is not supported: a query is one SELECT, and a statement follows here",
    ),
    ("SELECT COUNT(*) FROM people WHERE age = ?", "`?`", 41, LITERALS),
    ("SELECT COUNT(*) FROM people WHERE age = $1", "`$`", 41, LITERALS),
    ("SELECT COUNT(*) FROM people WHERE age = :x", "`:`", 41, LITERALS),
    (
        "SELECT SUM(age::DOUBLE) FROM people",
        "`age`",
        12,
        "is not supported: CAST makes a DATE or a TIMESTAMP",
    ),
    (
        "SELECT age, COUNT(*) FROM people GROUP BY age",
        "`age`",
        43,
        f"cannot be grouped by: column `age` has no declared domain; {BANDS}",
    ),
    (
        "SELECT COUNT(*) FROM people GROUP BY note",
        "`note`",
        38,
        f"cannot be grouped by: column `note` has no declared domain; {GROUPABLE}",
    ),
    (
        "SELECT COUNT(*) FROM people GROUP BY FLOOR(age / 10)",
        "`FLOOR(age / 10)`",
        38,
        f"{no_function('FLOOR')}; {BANDS}",
    ),
    (
        "SELECT REGR_COUNT(age, chol) FROM people",
        "`REGR_COUNT(age, chol)`",
        8,
        f"{no_function('REGR_COUNT')}; near it: `COUNT`, `REGR_SLOPE`",
    ),
    (
        "SELECT COUNT(*) FROM people GROUP BY age + 1",
        "`age + 1`",
        38,
        f"cannot be grouped by: {GROUPABLE}",
    ),
    (
        "SELECT COUNT(*) FROM people GROUP BY CASE WHEN smoker THEN age END",
        "`CASE WHEN smoker THEN age END`",
        38,
        f"cannot be grouped by: {GROUPABLE}",
    ),
    (
        "SELECT COUNT(*) n FROM people GROUP BY n",
        "`n`",
        40,
        "is not supported: GROUP BY takes no aggregate",
    ),
    ("SELECT COUNT(*) FROM people GROUP BY 3", "`3`", 38, "is no output: SELECT has 1"),
    (
        "SELECT COUNT(*) FROM people GROUP BY ALL",
        "`ALL`",
        38,
        "is not supported: GROUP BY takes columns and expressions",
    ),
    (
        "SELECT COUNT(*) FROM people ORDER BY age",
        "`age`",
        38,
        "is not supported: put it in GROUP BY or inside an aggregate",
    ),
    (
        "SELECT COUNT(*) FROM people LIMIT -1",
        "`-1`",
        35,
        "is not supported: LIMIT takes a whole number",
    ),
    (
        "SELECT SUM(COUNT(*)) FROM people",
        "`COUNT(*)`",
        12,
        "is not supported: COUNT stands in SELECT, HAVING or ORDER BY, not inside another",
    ),
    (
        "SELECT COUNT(*) AS _nodes FROM people",
        "`COUNT(*)`",
        8,
        "is not supported: `_nodes` is the number of nodes behind a row",
    ),
    ("SELECT NULL, COUNT(*) FROM people", "`NULL`", 8, "is not supported: NULL is no output"),
    (
        "SELECT COUNT(*) FROM people WHERE age IS TRUE",
        "`age`",
        35,
        "is not supported: IS takes NULL or NOT NULL",
    ),
    ("SELECT COUNT(*) FROM people WHERE note ILIKE 'a'", "`note ILIKE 'a'`", 35, EXPRESSIONS),
    (
        "SELECT COUNT(*) FROM people WHERE note = 'a\x00b'",
        "`'a\x00b'`",
        42,
        "is not supported: text has no control characters",
    ),
    ("SELECT COUNT(*) FROM people USING SAMPLE 10", "`USING`", 29, ONE_TABLE),
]


@pytest.mark.parametrize(("sql", "shown", "column", "reason"), UNSUPPORTED)
def test_unsupported(sql: str, shown: str, column: int, reason: str) -> None:
    found = refusal(sql)
    assert (found.code, found.message) == (
        "sql_unsupported",
        f"{shown} at line 1, column {column} {reason}",
    )


TYPES = [
    (
        "SELECT COUNT(*) FROM people WHERE note + 1 > 2",
        "`note`",
        35,
        "cannot be used here: arithmetic takes numbers, got text",
    ),
    (
        "SELECT COUNT(*) + 'a' FROM people",
        "`'a'`",
        19,
        "cannot be used here: arithmetic takes numbers, got text",
    ),
    (
        "SELECT COUNT(*) FROM people WHERE sex = 1",
        "`sex = 1`",
        35,
        "cannot be used here: cannot compare text with integer",
    ),
    (
        "SELECT COUNT(*) FROM people WHERE sex > 'a'",
        "`sex > 'a'`",
        35,
        "cannot be used here: compare text with =, <>, IN or LIKE only",
    ),
    (
        "SELECT COUNT(*) FROM people WHERE age",
        "`age`",
        35,
        "cannot be used here: WHERE takes a condition, got integer",
    ),
    (
        "SELECT COUNT(*) FROM people WHERE smoker = 1",
        "`smoker = 1`",
        35,
        "cannot be used here: cannot compare boolean with integer",
    ),
    (
        "SELECT COUNT(*) FROM people WHERE sex = note",
        "`sex = note`",
        35,
        "cannot be used here: compare a text column with a text literal",
    ),
    (
        "SELECT COUNT(*) FROM people WHERE age IN (chol)",
        "`chol`",
        43,
        "cannot be used here: IN takes literals",
    ),
    (
        "SELECT COUNT(*) FROM people WHERE note LIKE sex",
        "`sex`",
        45,
        "cannot be used here: LIKE takes a literal pattern",
    ),
    (
        "SELECT AVG(sex) FROM people",
        "`sex`",
        12,
        "cannot be used here: AVG takes a number, got text",
    ),
    (
        "SELECT SUM(smoker) FROM people",
        "`smoker`",
        12,
        "cannot be used here: SUM takes a number, got "
        "boolean; write CASE WHEN condition THEN 1 ELSE 0 END",
    ),
    (
        "SELECT SUM(raw) FROM people",
        "`raw`",
        12,
        "cannot be summed: column `raw` has no declared bounds",
    ),
    (
        "SELECT AVG(CASE WHEN smoker THEN signal ELSE 0 END) FROM people",
        "`CASE WHEN smoker THEN signal ELSE 0 END`",
        12,
        "cannot be summed: column `signal` has no declared bounds",
    ),
    (
        "SELECT COUNT(*) FROM people WHERE raw + 1 > 2",
        "`raw`",
        35,
        "cannot be used here: column `raw` has no declared bounds",
    ),
    (
        "SELECT AVG(age / chol) FROM people",
        "`chol`",
        18,
        "cannot be used here: the divisor may be 0: it lies from -400 to 600",
    ),
    (
        "SELECT SUM(cost*cost*cost*cost*cost) FROM people",
        "`cost*cost*cost*cost*cost`",
        12,
        "cannot be summed: the sum may need more than 38 digits; narrow the column's bounds",
    ),
    (
        "SELECT VAR_SAMP(cost*cost) FROM people",
        "`cost*cost`",
        17,
        "cannot be summed: the sum of "
        "squares may need more than 38 digits; narrow the column's bounds",
    ),
    (
        "SELECT SUM(1e400) FROM people",
        "`1e400`",
        12,
        "cannot be used here: expected a number within 1e150",
    ),
    (
        "SELECT COUNT(*) FROM people HAVING COUNT(*)",
        "`COUNT(*)`",
        36,
        "cannot be used here: HAVING takes a condition, got integer",
    ),
    (
        "SELECT COUNT(CASE WHEN smoker THEN 1 ELSE 'x' END) FROM people",
        "`CASE WHEN smoker THEN 1 ELSE 'x' END`",
        14,
        "cannot be used here: expected results of one type in a CASE, got integer and text",
    ),
]


@pytest.mark.parametrize(("sql", "shown", "column", "reason"), TYPES)
def test_types(sql: str, shown: str, column: int, reason: str) -> None:
    found = refusal(sql)
    assert (found.code, found.message) == (
        "sql_type",
        f"{shown} at line 1, column {column} {reason}",
    )


@pytest.mark.parametrize(
    ("sql", "code", "message"),
    [
        (
            "SELECT COUNT(*) FROM peple",
            "sql_unknown_table",
            "`peple` at line 1, column 22 is no table of this federation; near it: `people`",
        ),
        (
            "SELECT COUNT(*) FROM 'people.csv'",
            "sql_unknown_table",
            "`'people.csv'` at line 1, column 22 is no table of this federation; near it: `people`",
        ),
        (
            "SELECT AVG(coll)\nFROM people\n WHERE nope = 1",
            "sql_unknown_column",
            "`nope` at line 3, column 8 is no column of table `people`; near it: `note`",
        ),
        (
            "SELECT AVG(x.chol) FROM people",
            "sql_unknown_column",
            "`x.chol` at line 1, column 12 names a table other than `people`",
        ),
        (
            "SELECT COUNT(*) FRM people",
            "sql_syntax",
            "`people` at line 1, column 21 is not where the grammar allows it",
        ),
        (
            "SELECT 'abc FROM people",
            "sql_syntax",
            "the statement ends inside a quoted text, name or comment",
        ),
        ("", "sql_syntax", "expected a SELECT, got an empty statement"),
        ("-- nothing", "sql_syntax", "expected a SELECT, got an empty statement"),
        (
            "SELECT " + "(" * 100 + "1" + ")" * 100,
            "sql_too_large",
            "`(` at line 1, column 88 is nested deeper than 80 levels",
        ),
        (
            "SELECT COUNT(*) FROM people WHERE " + "NOT " * 100 + "TRUE",
            "sql_too_large",
            "`NOT` at line 1, column 355 is nested deeper than 80 levels",
        ),
        (
            "SELECT SUM(age" + " + age" * 100 + ") FROM people",
            "sql_too_large",
            "the statement is nested deeper than 80 levels",
        ),
        (
            "SELECT '" + "长" * 7_000 + "'",
            "sql_too_large",
            "expected a statement of at most 20000 bytes, got 21009",
        ),
        (
            "SELECT COUNT(*) FROM people WHERE age IN (1" + ",1" * 2_600 + ")",
            "sql_too_large",
            "expected a statement of at most 5000 words and signs, got 5213",
        ),
    ],
)
def test_other_faults(sql: str, code: str, message: str) -> None:
    found = refusal(sql)
    assert (found.code, found.message) == (code, message)


UNQUOTED = [
    ("sex = 女", "`女`", 41, ""),
    ('sex = "男性"', '`"男性"`', 41, ""),
    ("sex IN (f, 'm')", "`f`", 43, ""),
    ("sex LIKE male", "`male`", 44, "; near it: `age`"),
    ("CASE WHEN smoker THEN 是 ELSE 'n' END = 'n'", "`是`", 57, ""),
]


@pytest.mark.parametrize(("condition", "shown", "column", "near"), UNQUOTED)
def test_a_text_without_its_quotes(condition: str, shown: str, column: int, near: str) -> None:
    found = refusal(f"SELECT COUNT(*) FROM people WHERE {condition}")
    assert (found.code, found.message) == (
        "sql_unknown_column",
        f"{shown} at line 1, column {column} is no column of table `people`{near}; "
        "text goes in single quotes",
    )


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(*), agee FROM people",
        "SELECT COUNT(*) FROM people GROUP BY agee",
        "SELECT SUM(chol + agee) FROM people",
    ],
)
def test_a_misspelt_column_is_not_taken_for_a_text(sql: str) -> None:
    assert refusal(sql).message.endswith("near it: `age`, `stage`")


def test_a_remedy_does_not_contradict_its_message() -> None:
    for sql in ("SELECT MAX(age) FROM people", "SELECT AVG(sex) FROM people"):
        assert refusal(sql).remedy == "change the statement"


def test_too_many_cells_names_the_product() -> None:
    keys = ", ".join(f"age > {at}" for at in range(16))
    found = refusal(f"SELECT sex, AVG(chol) FROM people GROUP BY sex, {keys}")
    assert found.code == "sql_too_large"
    assert found.message.startswith(
        "expected at most 200000 summed values, got 262144: `sex (2) x (age > 0) (2) x "
    )
    assert found.message.endswith("makes 131072 cells of 2 values")
