"""Hostile text: what a statement, a literal or a name cannot do to the parser or the database."""

from __future__ import annotations

import contextlib

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sql_tables import PEOPLE, answer, held_table
from yumen_core.errors import CallError
from yumen_core.sql import Column, ColumnType, TableSchema, local_sql, parse

CATALOGUE = {"people": PEOPLE}


HOSTILE = [
    "'; DROP TABLE held; --",
    '"; DROP TABLE held; --',
    "it''s",
    "\\'; SELECT 1",
    "/* */ -- ",
    "%' OR 1=1 --",
    "read_csv('/etc/passwd')",
    "\u202e\u2066txet",
    "＇ OR 1=1",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("condition", ["note = {}", "note LIKE {}", "note IN ({}, 'x')"])
def test_text_stays_text(text: str, condition: str) -> None:
    quoted = "'" + text.replace("'", "''") + "'"
    plan = parse(f"SELECT COUNT(*) FROM people WHERE {condition.format(quoted)}", CATALOGUE)
    row = ("male", None, None, None, 1, None, None, None, None, text, None, None)
    other = (*row[:9], "y", None, None)
    assert answer(plan, [[row, other], [row], [row]]).table["COUNT(*)"].to_pylist() == [3]


@pytest.mark.parametrize("name", ['a"b', '"; DROP TABLE t; --', "a.b", "select", "名 字", "$1"])
def test_names_stay_names(name: str) -> None:
    schema = TableSchema(name, (Column(name, ColumnType.INTEGER, domain=(1, 2)),))
    quoted = '"' + name.replace('"', '""') + '"'
    plan = parse(
        f"SELECT {quoted} AS {quoted}, SUM({quoted}) AS s FROM {quoted} AS {quoted} "
        f"WHERE {quoted}.{quoted} > 0 GROUP BY {quoted} ORDER BY {quoted}",
        {name: schema},
    )
    found = answer(plan, [[(1,)], [(2,)], [(2,)]], schema).table
    assert found.to_pydict() == {name: [1, 2], "s": [1, 4], "_nodes": [3, 3]}
    with duckdb.connect() as connection:
        held_table(connection, name, schema, [(2,)])
        assert connection.execute(local_sql(plan, name)).fetchall() == [(2, 1, 1, 2)]


def test_only_literals_against_free_text_reach_the_database() -> None:
    plan = parse(
        "SELECT CASE WHEN sex = 'male' THEN 'secret band' END AS secret_alias, COUNT(*) "
        "FROM people AS secret_table WHERE \"城市\" LIKE '%兰%' AND sex IN ('female', 'secret') "
        "/* secret comment */ GROUP BY 1 HAVING COUNT(*) > 12345",
        CATALOGUE,
    )
    text = local_sql(plan, "held")
    assert "secret" not in text
    assert "兰" not in text
    assert "12345" not in text


@pytest.mark.parametrize("part", ["LIMIT", "OFFSET", "GROUP BY", "ORDER BY"])
def test_a_number_without_end_is_refused(part: str) -> None:
    """Python refuses to read more than 4,300 digits, with an error that is none of ours."""
    with pytest.raises(CallError):
        parse(f"SELECT COUNT(*) FROM people {part} " + "9" * 6_000, CATALOGUE)


def test_half_a_character_is_refused() -> None:
    with pytest.raises(CallError, match="expected a statement in Unicode"):
        parse('SELECT COUNT(*) AS "\ud800" FROM people', CATALOGUE)


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for sql in (text, f"SELECT {text} FROM people", f"SELECT COUNT(*) FROM people WHERE {text}"):
        with contextlib.suppress(CallError):
            parse(sql, CATALOGUE)


WORDS = (
    "SELECT FROM people WHERE age chol sex ( ) , * + - / = < > AND OR NOT NULL IS IN BETWEEN LIKE "
    "CASE WHEN THEN ELSE END 'a' 1 2.5 COUNT SUM AVG GROUP BY ORDER HAVING LIMIT AS ; \" . :: [ ] "
    "DISTINCT JOIN EXISTS OVER INTERVAL DATE ARRAY STRUCT @ $ ? { } -- /* */ 1e5 TRUE"
)


@given(st.lists(st.sampled_from(WORDS.split()), max_size=40))
def test_any_words_are_parsed_or_refused(words: list[str]) -> None:
    for sql in (" ".join(words), "SELECT COUNT(*) FROM people WHERE " + " ".join(words)):
        with contextlib.suppress(CallError):
            parse(sql, CATALOGUE)
