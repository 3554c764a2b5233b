"""Tables of one node in one database: what joins, and the keys that are verified."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from builders.tables import declared
from yumen_core.errors import CallError, StateError
from yumen_core.sql import parse
from yumen_core.sql.row_sets import rows_key
from yumen_node.datasets import Dataset, load_declaration
from yumen_node.guard import bases, thinned
from yumen_node.released import Guarded, Leaving, ReleasedSets

WHOLE = {"type": "integer", "bounds": {"lower": 0, "upper": 99}}
PEOPLE = [
    {"name": "id", **WHOLE, "nullable": False},
    {"name": "town", "type": "text", "domain": ["x", "y"], "nullable": False},
]
VISITS = [{"name": "patient", **WHOLE}, {"name": "town", "type": "text", "domain": ["y", "x"]}]
ROWS = [{"id": 1, "town": "x"}, {"id": 2, "town": "y"}]
SEEN = [{"patient": at, "town": "x"} for at in (1, 1, 2, 3)]
JOIN = "SELECT people.town, COUNT(*) AS n FROM visits JOIN people ON patient = id GROUP BY 1"


def opened(folder: Path, people: object = ROWS, **settings: object) -> dict[str, Dataset]:
    files = [
        declared(folder, "people", people, PEOPLE, **{"key": ["id"], **settings}),  # type: ignore[arg-type]
        declared(folder, "visits", SEEN, VISITS),
    ]
    return Dataset.open_all([load_declaration(file) for file in files])


def test_tables_of_a_node_join(tmp_path: Path) -> None:
    held = opened(tmp_path)
    plan = parse(JOIN, {name: one.schema for name, one in held.items()})
    cells = held["visits"].cells(plan, timeout_s=20)
    assert cells.values == [[2], [1]]
    assert cells.supports.tolist() == [[1], [1]]
    held["people"].close()
    assert held["visits"].cells(plan, timeout_s=20).values == [[2], [1]]
    held["visits"].close()
    with pytest.raises(duckdb.Error):
        held["visits"].cells(plan, timeout_s=20)


def test_a_plan_of_another_joined_table_is_refused(tmp_path: Path) -> None:
    held = opened(tmp_path)
    catalogue = {name: one.schema for name, one in held.items()}
    alone = Dataset.open(held["visits"].declaration)
    other = Dataset.open_all([held["visits"].declaration, held["people"].declaration])
    plan = parse(JOIN, catalogue)
    assert other["visits"].cells(plan, timeout_s=20).values == [[2], [1]]
    with pytest.raises(StateError, match="expected a plan of the table `people` as held"):
        alone.cells(plan, timeout_s=20)
    changed = opened(tmp_path, key=["town", "id"])
    with pytest.raises(StateError, match="expected a plan of the table `people` as held"):
        changed["visits"].cells(plan, timeout_s=20)


VISITED = "SELECT COUNT(*) AS n FROM visits"
NEAR = [
    (f"{VISITED} JOIN people ON patient = id WHERE id < 90", False),
    (f"{VISITED} JOIN people ON patient = id WHERE id < 89", True),
    (f"{VISITED} JOIN people ON patient = id WHERE people.town = 'x' AND id < 90", False),
    (f"{VISITED} JOIN people ON patient = id WHERE id < 91 OR people.town = 'z'", True),
    (f"{VISITED} WHERE patient < 90", False),
    (f"{VISITED} WHERE patient < 87", True),
    (f"{VISITED} WHERE patient < 80", False),
]


def test_the_guard_sees_which_rows_a_join_has_chosen(tmp_path: Path) -> None:
    """Rows of the table that is asked: near whether they were chosen by a join or without one."""
    people = [{"id": at, "town": "xy"[at % 2]} for at in range(100)]
    files = [
        declared(tmp_path, "people", people, PEOPLE, key=["id"]),
        declared(tmp_path, "visits", [{"patient": at, "town": "x"} for at in range(100)], VISITS),
    ]
    held = Dataset.open_all([load_declaration(file) for file in files])
    catalogue = {name: one.schema for name, one in held.items()}
    versions = {name: one.version for name, one in held.items()}
    released, nodes = ReleasedSets(tmp_path, "a"), ("a", "b", "c")
    found = []
    for at, (sql, _) in enumerate(NEAR):
        plan = parse(sql, catalogue)
        guarded = Guarded(str(at), "visits", 10, 3, rows_key(plan, versions))
        rows = held["visits"].row_sets(plan, timeout_s=20).rows.union(frozenset({0}))
        found.append(released.is_near(guarded, rows, nodes))
        if at == 0:
            released.record(guarded, [Leaving(rows, nodes)], nodes)
    assert found == [near for _, near in NEAR]
    released.close()


def test_a_sum_of_a_joined_table_has_rows_of_that_table(tmp_path: Path) -> None:
    """One visit of each patient but two: SUM(age) over the join and over the patients differ by
    these two. A count of visits tells of no patient."""
    age = {"name": "age", "type": "integer", "bounds": {"lower": 1, "upper": 120},
           "nullable": False}  # fmt: skip
    people = [{"id": at, "town": "xy"[at % 2], "age": 30 + at % 50} for at in range(100)]
    visits = [{"patient": at, "town": "x"} for at in range(98)]
    files = [
        declared(tmp_path, "people", people, [*PEOPLE, age], key=["id"]),
        declared(tmp_path, "visits", visits, VISITS),
    ]
    held = Dataset.open_all([load_declaration(file) for file in files])
    catalogue = {name: one.schema for name, one in held.items()}
    joined = "FROM visits v JOIN people p ON v.patient = p.id"
    plan = parse(f"SELECT SUM(p.age) AS s {joined}", catalogue)
    sets = held["visits"].row_sets(plan, timeout_s=20)
    whole = [
        (table, set(part.label), len(rows.union(frozenset({0})))) for part, table, rows in sets
    ]
    assert whole == [("visits", {"", "people.age"}, 98), ("people", {"people.age"}, 98)]
    counted = parse(f"SELECT COUNT(*) AS n {joined}", catalogue)
    assert [table for _, table, _ in held["visits"].row_sets(counted, timeout_s=20)] == ["visits"]

    alone = parse("SELECT SUM(age) AS s FROM people", catalogue)
    released, nodes = ReleasedSets(tmp_path, "a"), ("a", "b", "c")
    guarded = Guarded("1", "people", 10, 3, b"alone")
    released.record(guarded, bases(held["people"].row_sets(alone, timeout_s=20), nodes), nodes)
    asked = Guarded("2", "visits", 10, 3, b"joined")
    rules = {"released": released, "guarded": asked, "nodes": nodes}
    cells = held["visits"].cells(plan, timeout_s=20)
    assert cells.supports.tolist() == [[98]]
    assert thinned(cells, sets, plan.layout, **rules).supports.tolist() == [[1]]  # type: ignore[arg-type]
    only_visits = held["visits"].row_sets(counted, timeout_s=20)
    cells = held["visits"].cells(counted, timeout_s=20)
    assert thinned(cells, only_visits, counted.layout, **rules).supports.tolist() == [[98]]  # type: ignore[arg-type]
    released.close()


def test_rows_that_share_a_key_are_no_table(tmp_path: Path) -> None:
    """The words tell the operator which key, and nobody which value."""
    with pytest.raises(StateError) as caught:
        opened(tmp_path, [*ROWS, {"id": 2, "town": "x"}])
    assert (caught.value.code, caught.value.message) == (
        "data_source",
        "expected one row of table `people` for each key `id`, got several",
    )
    both = opened(tmp_path, [*ROWS, {"id": 2, "town": "x"}], key=["id", "town"])
    assert both["people"].schema.key == ("id", "town")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (
            ["patient"],
            "expected a column of the table for the key of table `people`, got `patient`",
        ),
        (["id", "id"], "expected at most 8 distinct columns for the key of table `people`"),
        (
            ["age"],
            "expected columns that are never missing for the key of table `people`, got `age`; "
            "declare it with nullable: false",
        ),
        (["bmi"], "expected integers or text for the key of table `people`, got float `bmi`"),
    ],
)
def test_a_key_that_cannot_be(tmp_path: Path, key: list[str], text: str) -> None:
    more = [{"name": "age", **WHOLE}, {"name": "bmi", "type": "float", "nullable": False}]
    file = declared(tmp_path, "people", [], [*PEOPLE, *more], key=key)
    with pytest.raises(CallError) as caught:
        load_declaration(file)
    assert (caught.value.code, caught.value.message) == ("table_declaration", f"`{file}`: {text}")
