"""Tables and statements that are empty, thin, foreign or hostile, over real processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from builders.asker import Asker, refusal
from builders.live import Live
from builders.tables import SEX_AND_AGE, declared, patients
from yumen.result import Result
from yumen_core.errors import CallError
from yumen_core.rpc.v1 import job_pb2

SQL = "SELECT sex, COUNT(*) AS n FROM heart GROUP BY sex"
WARDS = ["内科", "Ærø-søen", "ΑΒΓ ☕", 'o\'Neill "x"; DROP']
NAMES = [
    {"name": "科室", "type": "text", "domain": WARDS, "nullable": False},
    {"name": "Größe", "type": "integer", "bounds": {"lower": 0, "upper": 300}},
    {"name": "select", "type": "boolean"},
]
ID = {"type": "integer", "bounds": {"lower": 0, "upper": 999}, "nullable": False}
PEOPLE = [{"name": "id", **ID}, *SEX_AND_AGE]
VISITS = [{"name": "patient", **ID}, {"name": "cost", **ID}]
COUNT = {"a": 30, "b": 40, "c": 50, "d": 0}


def _foreign(each: int) -> list[dict[str, object]]:
    quoted = [f'"{ward.replace(chr(34), chr(34) * 2)}"' for ward in WARDS]
    return [
        {"科室": ward, "Größe": 150 + at, "select": "yes"}
        for at, ward in enumerate(quoted)
        for _ in range(each)
    ]


def _people() -> list[dict[str, object]]:
    """Thirty women and five men."""
    return [{"id": at, "sex": "f" if at < 30 else "m", "age": 50 + at % 2} for at in range(35)]


def _visits() -> list[dict[str, object]]:
    """Two of each woman, twenty of each man, and twelve of people who are in no table."""
    known = [at for at in range(35) for _ in range(2 if at < 30 else 20)]
    return [{"patient": at, "cost": 10} for at in [*known, *range(100, 112)]]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """`heart` is empty at d, `nobody` everywhere; `thin` has 3 women at a, and only there few."""
    root = tmp_path_factory.mktemp("data")
    nodes = {}
    for name, men in COUNT.items():
        folder = root / "given" / name
        nodes[name] = [
            declared(folder, "heart", patients(men, men)),
            declared(folder, "nobody", []),
            declared(folder, "thin", patients(3, 20)),
            declared(folder, "sparse", patients({"a": 3, "b": 30}.get(name, 0), 20)),
            declared(folder, "病人", _foreign(10), NAMES),
            declared(folder, "people", _people(), PEOPLE, key=["id"]),
            declared(folder, "visits", _visits(), VISITS),
        ]
    with Live(root, nodes) as running:
        yield running


def rows(result: Result) -> list[dict[str, Any]]:
    return [dict(row) for row in result]


# Empty and thin -----------------------------------------------------------------------------------


def test_a_table_that_is_empty_at_one_node(li: Asker) -> None:
    result = li.fed.query(SQL + " ORDER BY sex", purpose="research")
    assert rows(result) == [
        {"sex": "f", "n": 120, "_nodes": 3},
        {"sex": "m", "n": 120, "_nodes": 3},
    ]
    assert len(result.participants) == 4
    assert result.excluded == ()
    assert result.empty_cells == 0


def test_a_table_that_is_empty_everywhere(li: Asker) -> None:
    result = li.fed.query(SQL.replace("heart", "nobody"), purpose="research")
    assert (rows(result), result.empty_cells) == ([], 2)
    total = "SELECT COUNT(*) AS n, AVG(age) AS mean FROM nobody"
    result = li.fed.query(total, purpose="research")
    assert (rows(result), result.empty_cells) == ([], 1)
    assert "1 group without a row" in repr(result)


def test_a_group_of_three_patients_at_each_node(li: Asker) -> None:
    """Twelve women in all, and never ten at one node: no row says that they exist."""
    result = li.fed.query(
        "SELECT sex, COUNT(*) AS n, SUM(age) AS years FROM thin GROUP BY sex", purpose="research"
    )
    assert rows(result) == [{"sex": "m", "n": 80, "years": 3200, "_nodes": 4}]
    assert result.empty_cells == 1
    nobody = li.fed.query("SELECT COUNT(*) AS n FROM thin WHERE sex = 'f'", purpose="research")
    assert rows(nobody) == []


def test_a_group_that_one_node_alone_may_release(li: Asker) -> None:
    """Thirty women at b, three at a: the sum would be b's own number."""
    result = li.fed.query(SQL.replace("heart", "sparse"), purpose="research")
    assert rows(result) == [{"sex": "m", "n": 80, "_nodes": 4}]


# Tables that join ---------------------------------------------------------------------------------


def test_five_patients_with_a_hundred_visits_are_five(li: Asker) -> None:
    result = li.fed.query(
        "SELECT p.sex, COUNT(*) AS n, SUM(v.cost) AS cost, AVG(p.age) AS mean FROM visits v "
        "JOIN people p ON v.patient = p.id GROUP BY p.sex",
        purpose="research",
    )
    assert rows(result) == [{"sex": "f", "n": 240, "cost": 2400, "mean": 50.5, "_nodes": 4}]
    assert result.empty_cells == 1


def test_rows_that_meet_none_are_kept_by_a_left_join(li: Asker) -> None:
    result = li.fed.query(
        "WITH v AS (SELECT patient AS id, cost + 1 AS more FROM visits) "
        "SELECT COUNT(*) AS n, SUM(more) AS s FROM v LEFT JOIN people USING (id) "
        "WHERE people.sex IS NULL",
        purpose="research",
    )
    assert rows(result) == [{"n": 48, "s": 528, "_nodes": 4}]


# Names and values of any script -------------------------------------------------------------------


def test_foreign_names_and_values(li: Asker) -> None:
    result = li.fed.query(
        'SELECT "科室", COUNT(*) AS "人数", AVG("Größe") AS "⌀", '
        'SUM(CASE WHEN "select" THEN 1 ELSE 0 END) AS ja FROM "病人" GROUP BY "科室"',
        purpose="医学研究",
    )
    found = {row["科室"]: row for row in rows(result)}
    assert list(result.to_pandas().columns) == ["科室", "人数", "⌀", "ja", "_nodes"]
    assert found == {
        ward: {"科室": ward, "人数": 40, "⌀": 150.0 + at, "ja": 40, "_nodes": 4}
        for at, ward in enumerate(WARDS)
    }


@pytest.mark.parametrize("ward", WARDS)
def test_a_value_that_would_break_a_quoted_statement(li: Asker, ward: str) -> None:
    literal = ward.replace("'", "''")
    result = li.fed.query(
        f"SELECT COUNT(*) AS n FROM 病人 WHERE 科室 = '{literal}'", purpose="医学研究"
    )
    assert rows(result) == [{"n": 40, "_nodes": 4}]


# Statements ---------------------------------------------------------------------------------------

REFUSED = [
    ("SELECT COUNT(*) FROM hearts", "sql_unknown_table",
     "`hearts` at line 1, column 22 is no table of this federation"),
    ("SELECT SUM(weight) FROM heart", "sql_unknown_column",
     "`weight` at line 1, column 12 is no column of table `heart`"),
    ("SELECT SUM(体重) FROM heart", "sql_unknown_column",
     "`体重` at line 1, column 12 is no column of table `heart`"),
    ("SELECT * FROM heart", "sql_unsupported",
     "`*`"),
    ("SELECT age FROM heart", "sql_unsupported",
     "`age`"),
    ("SELECT MAX(age) FROM heart", "sql_unsupported",
     "MAX"),
    ("SELECT COUNT(DISTINCT age) FROM heart", "sql_unsupported",
     "DISTINCT"),
    ("SELECT COUNT(*) FROM heart GROUP BY age / 7, sex", "sql_unsupported",
     "`age / 7` at line 1, column 37 cannot be grouped by"),
    ("SELECT COUNT(*) FROM heart JOIN heart AS h ON heart.age = h.age", "sql_unsupported",
     "table `heart` declares no key and a row may meet many of its rows"),
    ("SELECT COUNT(*) FROM (SELECT * FROM heart LIMIT 3)", "sql_unsupported",
     "`3` at line 1, column 49 is not supported: an inner SELECT has columns, FROM, JOIN and"),
    ("WITH x AS (SELECT 1) SELECT COUNT(*) FROM x", "sql_unsupported",
     "`SELECT` at line 1, column 12 is not supported without FROM and a table"),
    ("SELECT COUNT(*) FROM heart UNION SELECT COUNT(*) FROM nobody", "sql_unsupported",
     "UNION"),
    ("SELECT COUNT(*) FROM heart WHERE age > (SELECT 1)", "sql_unsupported",
     "`(SELECT 1)` at line 1, column 40 is not supported"),
    ("SELECT COUNT(*) FROM heart; DROP TABLE heart", "sql_unsupported",
     "`DROP` at line 1, column 29 is not supported"),
    ("DELETE FROM heart", "sql_unsupported",
     "SELECT"),
    ("COPY heart TO '/tmp/out.csv'", "sql_unsupported",
     "`COPY` at line 1, column 1 is not supported"),
    ("ATTACH '/etc/passwd' AS x", "sql_unsupported",
     "`ATTACH` at line 1, column 1 is not supported"),
    ("PRAGMA database_list", "sql_unsupported",
     "`PRAGMA` at line 1, column 1 is not supported"),
    ("SELECT COUNT(*) FROM read_csv('/etc/passwd')", "sql_unsupported",
     "`read_csv('/etc/passwd')` at line 1, column 22 is not supported"),
    ("SELECT COUNT(*) FROM '/etc/passwd'", "sql_unknown_table",
     "`'/etc/passwd'` at line 1, column 22 is no table of this federation"),
    ("SELECT COUNT(*) FROM information_schema.tables", "sql_unsupported",
     "`information_schema.tables` at line 1, column 22 is not supported"),
    ("SELECT SUM(getenv('HOME')) FROM heart", "sql_unsupported",
     "`getenv('HOME')` at line 1, column 12 is not supported"),
    ("SELECT COUNT(*) FROM heart WHERE read_text('/etc/passwd') = 'x'", "sql_unsupported",
     "`read_text('/etc/passwd')` at line 1, column 34 is not supported"),
    ("SELEKT COUNT(*) FROM heart", "sql_unsupported",
     "`SELEKT` at line 1, column 1 is not supported"),
    ("", "sql_syntax",
     "expected a SELECT, got an empty statement"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "code", "word"), REFUSED)
def test_the_library_refuses(li: Asker, sql: str, code: str, word: str) -> None:
    refused = refusal(lambda: li.fed.query(sql, purpose="research"))
    assert isinstance(refused, CallError)
    assert refused.code == code, refused
    assert word in refused.message


@pytest.mark.parametrize(("sql", "code", "word"), [row for row in REFUSED if row[0]])
def test_the_coordinator_refuses_by_itself(
    live: Live, li: Asker, sql: str, code: str, word: str
) -> None:
    """A job signed by hand, with the plan digest of a statement that would pass."""
    job = li.job(SQL, change=lambda spec: replace(spec, sql=sql))
    assert li.submit(job.envelope).state == job_pb2.JOB_STATE_DENIED
    dry = li.job(SQL, dry_run=True, change=lambda spec: replace(spec, sql=sql))
    own, decisions, _ = li.client.check(dry.envelope, timeout_s=10)
    (denial,) = own.denials
    assert denial.reason_code == code, denial
    assert word in denial.message
    assert decisions == []


def test_another_plan_than_the_statements_is_denied(live: Live, li: Asker) -> None:
    job = li.job(SQL, dry_run=True, change=lambda spec: replace(spec, plan_digest=bytes(32)))
    own, decisions, _ = li.client.check(job.envelope, timeout_s=10)
    assert [denial.message for denial in own.denials] == [
        "expected the plan that the job names, got another from the same statement"
    ]
    other = li.job(SQL, dry_run=True, change=lambda spec: replace(spec, table="nobody"))
    own, decisions, _ = li.client.check(other.envelope, timeout_s=10)
    assert own.denials
    assert decisions == []


def test_nothing_is_lost(live: Live, li: Asker) -> None:
    assert rows(li.fed.query(SQL + " ORDER BY sex", purpose="research"))[0]["n"] == 120
    for name in ("coordinator", *COUNT):
        entries = live.entries(name)
        statements = {entry.detail.get("sql") for entry in entries}
        assert name == "coordinator" or "DELETE FROM heart" not in statements
