"""Joins by a declared key: the pooled answer, each row once, and what is refused and why."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from join_tables import DISTRICTS, PATIENTS, TABLES, VISITS, Rows, join_answer, local, pooled_joined
from test_sql_against_duckdb import close
from yumen_core.errors import CallError
from yumen_core.sql import parse
from yumen_core.sql.plan import Touched

NAMES = ("east", "west", "hill")


@st.composite
def node_rows(draw: st.DrawFn, number: int) -> Rows:
    """Tables of node `number`: its patients' ids are its own, as every node joins by itself."""
    ids = [100 * number + at for at in range(draw(st.integers(0, 4)))]
    known = st.sampled_from([*ids, 99, None]) if ids else st.sampled_from([99, None])
    names = st.sampled_from([*(f"{name}{number}" for name in NAMES), "nowhere", None])
    patients = [
        (
            one,
            draw(st.sampled_from(["female", "male", None])),
            draw(st.sampled_from([1950, 1980, 2001, None])),
            draw(st.sampled_from([36.5, 37.25, 1e6, None])),
            draw(names),
            draw(known),
        )
        for one in ids
    ]
    visit = st.tuples(
        known,
        st.integers(0, 365),
        st.one_of(st.none(), st.decimals("0", "999.99", places=2)),
        st.sampled_from(["north", "south", None]),
        st.sampled_from([1, 2, 3, 4, None]),
        st.sampled_from([True, False, None]),
    )
    wards = [(code, site, 10 * code) for code in (1, 2) for site in ("north", "south")]
    return {
        "districts": [(f"{n}{number}", draw(st.sampled_from([True, False, None]))) for n in NAMES],
        "patients": patients,
        "wards": wards,
        "visits": draw(st.lists(visit, max_size=8)),
    }


NODES = st.tuples(*(node_rows(number) for number in range(3)))
QUERIES = [
    "SELECT p.sex, COUNT(*) AS n, SUM(v.cost) AS c, AVG(p.born) AS b FROM visits AS v "
    "JOIN patients AS p ON v.patient = p.id WHERE v.day > 100 GROUP BY p.sex ORDER BY 1",
    "SELECT sex, COUNT(id) AS n, COUNT(*) AS m, SUM(CASE WHEN p.id IS NULL THEN 1 ELSE 0 END) AS s "
    "FROM visits LEFT JOIN patients AS p ON p.id = patient GROUP BY p.sex ORDER BY sex DESC",
    "SELECT wards.site, SUM(beds) AS b, COUNT(*) AS n FROM visits JOIN wards USING (code, site) "
    "WHERE site <> 'west' AND beds > code GROUP BY wards.site ORDER BY 1",
    "SELECT site, COUNT(beds) AS b, COUNT(*) AS n FROM visits LEFT OUTER JOIN wards "
    "USING (site, code) GROUP BY site ORDER BY 1",
    "WITH old AS (SELECT id, sex AS kind, born + 1 AS b FROM patients WHERE born < 1990) "
    "SELECT kind, SUM(old.b * day) AS s FROM visits INNER JOIN old ON (patient = old.id) "
    "WHERE b > 1900 GROUP BY kind ORDER BY kind",
    "SELECT d.rural, p.sex, COUNT(*) AS n, AVG(day) AS m FROM visits v "
    "LEFT JOIN patients p ON v.patient = p.id LEFT JOIN districts d ON d.name = p.district "
    "GROUP BY d.rural, p.sex ORDER BY 1, 2",
    "SELECT d.rural, COUNT(*) AS n FROM visits v LEFT JOIN patients p ON v.patient = p.id "
    "JOIN districts d ON d.name = p.district WHERE p.born > 1960 OR v.born GROUP BY 1 ORDER BY 1",
    "SELECT m.sex, AVG(p.born - m.born) AS gap, COUNT(*) AS n FROM patients p "
    "JOIN patients m ON p.mother = m.id GROUP BY m.sex ORDER BY 1",
    "SELECT AVG(age) AS a, COUNT(*) AS n FROM (SELECT 2026 - p.born AS age, v.* FROM visits v "
    "JOIN patients p ON v.patient = p.id WHERE p.sex = 'male') AS x WHERE x.day < 300",
    "SELECT v.born, VAR_SAMP(temp) AS t, SUM(temp) AS s FROM visits v JOIN patients p "
    "ON v.patient = p.id GROUP BY v.born ORDER BY 1",
]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(nodes=NODES)
@pytest.mark.parametrize("sql", QUERIES)
def test_joins_answer_as_one_database(sql: str, nodes: tuple[Rows, ...]) -> None:
    plan = parse(sql, TABLES)
    found = join_answer(plan, nodes)
    ours = [tuple(row.values()) for row in found.table.drop_columns("_nodes").to_pylist()]
    theirs = pooled_joined(sql, nodes)
    if not plan.grouped and not any(part for part in ours):
        return
    behind = [tuple(row.values())[:-1] for row in found.nodes.to_pylist()]
    assert len(ours) == len(theirs)
    for row, counts, wanted in zip(ours, behind, theirs, strict=True):
        for value, count, other in zip(row, counts, wanted, strict=True):
            assert value is None if count == 0 else close(value, other), (row, wanted)


def visit(patient: int | None, **changes: object) -> tuple[object, ...]:
    whole = {"patient": patient, "day": 3, "cost": Decimal(5), "site": None, "code": 1, "b": True}
    return tuple({**whole, **changes}.values())


def patient(number: int, born: int | None = 1950, mother: int | None = None) -> tuple[object, ...]:
    return (number, "female", born, 36.5, "east", mother)


def test_one_patient_counts_once_however_many_visits() -> None:
    """Without this a patient with ten visits would pass a threshold of ten alone."""
    plan = parse(
        "SELECT COUNT(*), AVG(p.born), SUM(CASE WHEN p.born < 1940 THEN 1 ELSE 0 END) "
        "FROM visits v JOIN patients p ON v.patient = p.id",
        TABLES,
    )
    rows = {
        "patients": [patient(1), patient(2), patient(3, None), patient(4, 1930)],
        "visits": [visit(1)] * 20 + [visit(2)] * 5 + [visit(3)] * 5 + [visit(4)] * 7 + [visit(9)],
    }
    cells = local(plan, rows)
    assert cells.values[0][0] == 37
    # Of four patients, three have a year of birth, and one was born before 1940.
    assert cells.supports.tolist() == [[4, 3, 1]]


def test_a_row_that_meets_none_counts_for_itself() -> None:
    plan = parse(
        "SELECT COUNT(*), AVG(day), COUNT(p.born) FROM visits v "
        "LEFT JOIN patients p ON v.patient = p.id",
        TABLES,
    )
    rows = {
        "patients": [patient(1), patient(2)],
        "visits": [visit(1)] * 20 + [visit(None)] * 3 + [visit(9)] * 4,
    }
    assert local(plan, rows).supports.tolist() == [[8, 1]]
    plan = parse("SELECT COUNT(*) FROM visits LEFT JOIN patients ON patient = id WHERE id IS NULL",
                 TABLES)  # fmt: skip
    assert local(plan, rows).supports.tolist() == [[7]]


def test_every_joined_table_counts_its_rows() -> None:
    """Ten patients of one district are one row of the table of districts."""
    plan = parse(
        "SELECT COUNT(*) FROM patients p JOIN districts d ON p.district = d.name "
        "JOIN patients m ON p.mother = m.id",
        TABLES,
    )
    everyone = [patient(at, mother=at % 2) for at in range(10)]
    rows = {"patients": everyone, "districts": [("east", True), ("west", False)]}
    assert local(plan, rows).supports.tolist() == [[1]]
    plan = parse("SELECT COUNT(*) FROM patients p JOIN patients m ON p.mother = m.id", TABLES)
    assert local(plan, rows).supports.tolist() == [[2]]


def test_a_key_of_two_columns_tells_rows_apart() -> None:
    plan = parse("SELECT COUNT(*) FROM visits LEFT JOIN wards USING (site, code)", TABLES)
    wards = [(1, "north", 5), (2, "north", 5), (1, "south", 5)]
    visits = [visit(1, site=site, code=code) for _, site, _ in wards for code in (1, 2)]
    # north 1 and 2 four times, south 1 once; south 2 meets none.
    assert local(plan, {"wards": wards, "visits": visits}).supports.tolist() == [[4]]


def test_what_a_plan_touches_by_table() -> None:
    plan = parse(
        "SELECT p.sex, d.rural AND p.born > 1950 AS c, SUM(v.cost), COUNT(*) FROM visits v "
        "JOIN patients p ON v.patient = p.id LEFT JOIN districts d ON p.district = d.name "
        "WHERE v.day > 3 AND p.temp < 40 GROUP BY 1, 2",
        TABLES,
    )
    empty: frozenset[str] = frozenset()
    assert plan.touched("visits") == Touched(
        frozenset({"cost", "patient", "day"}), frozenset({"patient", "day"}), empty, empty
    )
    assert plan.touched("patients") == Touched(
        frozenset({"sex", "born", "id", "district", "temp"}),
        frozenset({"id", "district", "temp"}),
        frozenset({"sex"}),
        frozenset({"born"}),
    )
    assert plan.touched("districts") == Touched(
        frozenset({"rural", "name"}), frozenset({"name"}), empty, frozenset({"rural"})
    )
    assert plan.table == "visits"
    assert list(plan.joined) == ["patients", "districts"]
    assert " of table visits joined with table patients by its key joined" in plan.describe()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("JOIN patients ON patient = id", "LEFT JOIN patients ON patient = id"),
        ("JOIN patients ON patient = id", "JOIN patients ON day = id"),
        ("JOIN patients ON patient = id", ""),
    ],
)
def test_another_join_is_another_plan(one: str, other: str) -> None:
    first, second = (parse(f"SELECT COUNT(*) FROM visits {join}", TABLES) for join in (one, other))
    assert first.digest != second.digest


def test_the_order_of_conditions_changes_no_plan() -> None:
    texts = ("v.site = w.site AND v.code = w.code", "(w.code = v.code) AND w.site = v.site")
    plans = [parse(f"SELECT COUNT(*) FROM visits v JOIN wards w ON {on}", TABLES) for on in texts]
    assert plans[0].to_json() == plans[1].to_json()


MANY = "so one row may count many times toward the threshold; "
BEGIN = "table `patients` declares the key `id`: begin with `visits` and join `patients`"
ON_KEY = "set `id` equal to columns of what stands before"
LEFT_AS_IS = (
    "the right side of a LEFT JOIN is a table, or an inner SELECT of its columns as they are and "
    "without WHERE; compute and filter in the outer SELECT"
)
REFUSED = [
    (
        "patients JOIN visits ON patients.id = visits.patient",
        "`JOIN visits ON patients.id = visits.pat…` at line 1, column 31",
        f"table `visits` declares no key and a row may meet many of its rows, {MANY}{BEGIN}",
    ),
    (
        "visits AS a JOIN visits AS b ON a.day = b.day",
        "`JOIN visits AS b ON a.day = b.day` at line 1, column 34",
        f"table `visits` declares no key and a row may meet many of its rows, {MANY}"
        "join a table by its declared key: see `yumen datasets`",
    ),
    (
        "visits JOIN patients ON visits.day = patients.born",
        "`JOIN patients ON visits.day = patients.…` at line 1, column 29",
        f"a row may meet many rows of table `patients` unless its whole key is given, {MANY}"
        f"{ON_KEY}",
    ),
    (
        "visits JOIN wards USING (code)",
        "`JOIN wards USING (code)` at line 1, column 29",
        f"a row may meet many rows of table `wards` unless its whole key is given, {MANY}"
        "set `site` and `code` equal to columns of what stands before",
    ),
    (
        "visits JOIN patients ON patient = id AND day = id",
        "`JOIN patients ON patient = id AND day =…` at line 1, column 29",
        f"a row may meet many rows of table `patients` unless its whole key is given, {MANY}"
        f"{ON_KEY}",
    ),
    (
        "visits, patients",
        "`patients` at line 1, column 30",
        f"without ON or USING a row meets every row of table `patients`, {MANY}{ON_KEY}",
    ),
    (
        "visits CROSS JOIN patients",
        "`CROSS JOIN patients` at line 1, column 29",
        f"without ON or USING a row meets every row of table `patients`, {MANY}{ON_KEY}",
    ),
    (
        "visits NATURAL JOIN wards",
        "`NATURAL JOIN wards` at line 1, column 29",
        f"without ON or USING a row meets every row of table `wards`, {MANY}"
        "set `site` and `code` equal to columns of what stands before",
    ),
    (
        "visits RIGHT JOIN patients ON patient = id",
        "`RIGHT JOIN patients ON patient = id` at line 1, column 29",
        "a join is JOIN or LEFT JOIN, with ON or USING",
    ),
    (
        "visits FULL JOIN patients ON patient = id",
        "`FULL JOIN patients ON patient = id` at line 1, column 29",
        "a join is JOIN or LEFT JOIN, with ON or USING",
    ),
    (
        "visits SEMI JOIN patients ON patient = id",
        "`SEMI JOIN patients ON patient = id` at line 1, column 29",
        "a join is JOIN or LEFT JOIN, with ON or USING",
    ),
    (
        "visits JOIN patients ON patient > id",
        "`patient > id` at line 1, column 46",
        "ON takes columns set equal, joined by AND; other conditions go in WHERE",
    ),
    (
        "visits JOIN patients ON patient = id OR TRUE",
        "`patient = id` at line 1, column 46",
        "ON takes columns set equal, joined by AND; other conditions go in WHERE",
    ),
    (
        "visits JOIN patients ON id = 5",
        "`id = 5` at line 1, column 46",
        "ON sets a column of table `patients` equal to one of what stands before it",
    ),
    (
        "visits JOIN patients ON patient = day",
        "`patient = day` at line 1, column 46",
        "ON sets a column of table `patients` equal to one of what stands before it",
    ),
    (
        "visits JOIN (SELECT id + 1 AS id FROM patients) AS p ON patient = id",
        "`patient = id` at line 1, column 78",
        "a join compares columns as their tables hold them",
    ),
    (
        "visits LEFT JOIN (SELECT id, 1 AS one FROM patients) AS p ON patient = id",
        "`LEFT JOIN (SELECT id, 1 AS one FROM pat…` at line 1, column 29",
        LEFT_AS_IS,
    ),
    (
        "visits LEFT JOIN (SELECT * FROM patients WHERE born > 1950) AS p ON patient = id",
        "`LEFT JOIN (SELECT * FROM patients WHERE…` at line 1, column 29",
        LEFT_AS_IS,
    ),
    (
        "visits JOIN (SELECT p.* FROM patients p JOIN districts d ON p.district = d.name) AS p "
        "ON patient = id",
        "`JOIN (SELECT p.* FROM patients p JOIN d…` at line 1, column 29",
        "join one table after the other: the right side is one table",
    ),
    (
        "patients JOIN patients ON mother = id",
        "`JOIN patients ON mother = id` at line 1, column 31",
        "another entry of FROM is called `patients`; name this one with AS",
    ),
]


@pytest.mark.parametrize(("tables", "where", "reason"), REFUSED)
def test_a_join_that_is_refused(tables: str, where: str, reason: str) -> None:
    with pytest.raises(CallError) as caught:
        parse(f"SELECT COUNT(*) FROM {tables}", TABLES)
    assert (caught.value.code, caught.value.message) == (
        "sql_unsupported",
        f"{where} is not supported: {reason}",
    )


@pytest.mark.parametrize(
    ("sql", "code", "message"),
    [
        (
            "SELECT AVG(born) FROM visits JOIN patients ON patient = id",
            "sql_unknown_column",
            "`born` at line 1, column 12 is a column of table `visits` and of table `patients`: "
            "write which, as in visits.born",
        ),
        (
            "SELECT AVG(x.day) FROM visits v JOIN patients p ON patient = id",
            "sql_unknown_column",
            "`x.day` at line 1, column 12 names a table other than `visits` and `patients`",
        ),
        (
            "SELECT AVG(weight) FROM visits JOIN patients ON patient = id",
            "sql_unknown_column",
            "`weight` at line 1, column 12 is no column of table `visits` or of table `patients`",
        ),
        (
            "SELECT COUNT(*) FROM visits JOIN patients ON patient = idd",
            "sql_unknown_column",
            "`idd` at line 1, column 56 is no column of table `visits` or of table `patients`; "
            "near it: `id`; text goes in single quotes",
        ),
        (
            "SELECT COUNT(*) FROM visits JOIN patients USING (id)",
            "sql_unknown_column",
            "`id` at line 1, column 50 is no column of both sides; "
            "USING takes a column that each side has once",
        ),
        (
            "SELECT COUNT(*) FROM visits JOIN patients ON site = id",
            "sql_type",
            "`site = id` at line 1, column 46 cannot be used here: "
            "cannot compare text `site` with integer `id`",
        ),
        (
            "SELECT COUNT(*) FROM visits JOIN districts ON site = name",
            "sql_type",
            "`site = name` at line 1, column 47 cannot be used here: "
            "`site` and `name` declare different domains",
        ),
        (
            "SELECT COUNT(*) FROM visits JOIN salaries ON patient = id",
            "sql_unknown_table",
            "`salaries` at line 1, column 34 is no table of this federation; near it: `patients`",
        ),
        (
            "SELECT COUNT(*) FROM visits "
            + " ".join(f"JOIN patients AS p{at} ON patient = p{at}.id" for at in range(9)),
            "sql_too_large",
            "`JOIN patients AS p8 ON patient = p8.id` at line 1, column 341 "
            "expected at most 8 joins",
        ),
    ],
)
def test_other_refusals(sql: str, code: str, message: str) -> None:
    with pytest.raises(CallError) as caught:
        parse(sql, TABLES)
    assert (caught.value.code, caught.value.message) == (code, message)


def test_tables_with_a_key_are_published_with_it() -> None:
    schema = PATIENTS.from_bytes(PATIENTS.to_bytes())
    assert schema == PATIENTS
    assert (schema.key, DISTRICTS.key, VISITS.key) == (("id",), ("name",), ())
    assert b'"key"' not in VISITS.to_bytes()
