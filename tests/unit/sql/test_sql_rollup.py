"""GROUP BY ROLLUP: margins as one database has them, and what the rules leave of them."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sql_tables import PEOPLE, Row, add, answer, natural_table, node_cells
from yumen_core.disclosure import DisclosureRules, margin_flags, margin_keep, withhold
from yumen_core.errors import CallError
from yumen_core.jobs.runs import runs_of_query
from yumen_core.sql import Answer, LocalCells, Plan, finish, parse

ROWS: st.SearchStrategy[Row] = st.tuples(
    st.sampled_from(["female", "male"]),
    st.none(),
    st.sampled_from([None, 0, 1, 2, -3]),
    st.sampled_from([None, True, False]),
    st.integers(0, 120),
    st.one_of(st.none(), st.integers(-400, 600)),
    st.none(),
    st.one_of(st.none(), st.integers(-50, 100).map(lambda n: n / 8)),
    *[st.none()] * 4,
)
MEASURES = (
    "COUNT(*) AS n, SUM(chol) AS s, AVG(bmi) AS a, VAR_SAMP(bmi) AS v, CORR(age, chol) AS c, "
    "COUNT(DISTINCT smoker) AS d"
)
GROUPS = {
    "ROLLUP(sex)": ["sex"],
    "ROLLUP(sex, stage)": ["sex", "stage"],
    "ROLLUP(stage, sex, k2)": ["stage", "sex", "age > 50"],
    "ROLLUP(stage, CASE WHEN age > 50 THEN 'old' END)": [
        "stage",
        "CASE WHEN age > 50 THEN 'old' END",
    ],
    "smoker, ROLLUP(sex, stage)": ["smoker", "sex", "stage"],
    "ROLLUP(sex, stage), smoker": ["smoker", "sex", "stage"],
}


def plan_of(sql: str) -> Plan:
    return parse(sql, {"people": PEOPLE})


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    nodes=st.lists(st.lists(ROWS, max_size=8), min_size=3, max_size=3),
    group=st.sampled_from(list(GROUPS)),
)
def test_any_partition_gives_what_one_database_gives(nodes: list[list[Row]], group: str) -> None:
    keys = GROUPS[group]
    shown = [f"{key} AS k{at}" for at, key in enumerate(keys)]
    shown += [f"GROUPING({key}) AS g{at}" for at, key in enumerate(keys)]
    sql = f"SELECT {', '.join(shown)}, {MEASURES} FROM people GROUP BY {group}"
    rows = [row for node in nodes for row in node]
    found = answer(plan_of(sql), nodes)
    ours = [tuple(row.values())[:-1] for row in found.table.to_pylist()]
    behind = [tuple(row.values())[:-1] for row in found.nodes.to_pylist()]
    with duckdb.connect() as connection:
        natural_table(connection, PEOPLE, rows)
        theirs = connection.execute(sql).fetchall() if rows else []
    width = 2 * len(keys)
    by_key = {row[:width]: (row, counts) for row, counts in zip(ours, behind, strict=True)}
    assert len(by_key) == len(ours) == len(theirs)
    for wanted in theirs:
        row, counts = by_key[wanted[:width]]
        for value, count, other in zip(row, counts, wanted, strict=True):
            if count == 0:
                assert value is None
            elif isinstance(value, float) and isinstance(other, float):
                assert value == pytest.approx(other, rel=1e-9, abs=1e-9, nan_ok=True)
            else:
                assert value == other


def person(**values: object) -> Row:
    defaults: dict[str, object] = {"sex": "male", "age": 50}
    return tuple({**defaults, **values}.get(column.name) for column in PEOPLE.columns)


def under_rules(plan: Plan, nodes: list[list[Row]]) -> Answer:
    margins = plan.layout.margins
    assert margins is not None
    parts = [node_cells(plan, rows) for rows in nodes]
    flags = [margin_flags(part.supports, DisclosureRules(10, 3), margins) for part in parts]
    totals = np.stack(flags).sum(axis=0, dtype=np.uint8)
    supports = [value.support for value in plan.layout.values]
    given: list[LocalCells] = []
    behind = np.zeros((plan.layout.cells, plan.layout.supports), dtype=int)
    for part, own in zip(parts, flags, strict=True):
        keep = margin_keep(totals, own, margins, participants=len(nodes), min_nodes=3)
        behind += keep
        given.append(LocalCells(part.supports, withhold(part.values, supports, keep)))
    return finish(plan, behind.tolist(), add(given))


ROLLED = (
    "SELECT sex, smoker, GROUPING(smoker) AS g, COUNT(*) AS n FROM people "
    "GROUP BY ROLLUP(sex, smoker)"
)
FULL = [person(sex=sex, smoker=smoker) for sex in ("female", "male") for smoker in (True, False)]


def test_margins_beside_full_cells() -> None:
    found = under_rules(plan_of(ROLLED), [FULL * 12] * 3).table.to_pylist()
    assert [(row["sex"], row["smoker"], row["g"], row["n"]) for row in found] == [
        ("female", False, 0, 36),
        ("female", True, 0, 36),
        ("male", False, 0, 36),
        ("male", True, 0, 36),
        ("female", None, 1, 72),
        ("male", None, 1, 72),
        (None, None, 1, 144),
    ]


def test_a_thin_cell_at_one_node_takes_its_margins_with_it() -> None:
    thin = [person(sex="male")] * 3  # smoker is not known of three men
    found = under_rules(plan_of(ROLLED), [FULL * 12 + thin, FULL * 12, FULL * 12, FULL * 12])
    shown = [(row["sex"], row["g"], row["n"]) for row in found.table.to_pylist()]
    # Without this the women's margin and the total would tell of the three men.
    assert ("male", 1, 195) not in shown
    assert [row for row in shown if row[1] == 1] == [("female", 1, 96)]


def test_thin_cells_that_are_many_together_are_a_rest() -> None:
    sql = "SELECT stage, COUNT(*) AS n FROM people GROUP BY ROLLUP(stage)"
    node = [person(stage=0)] * 20 + [person(stage=1)] * 6 + [person(stage=2)] * 6
    found = under_rules(plan_of(sql), [node] * 3)
    assert [tuple(row.values()) for row in found.table.to_pylist()] == [(0, 60, 3), (None, 96, 3)]
    two = under_rules(plan_of(sql), [node, node, [person(stage=0)] * 20])
    assert [tuple(row.values()) for row in two.table.to_pylist()] == [(0, 60, 3)]


def test_a_measure_has_its_own_rest() -> None:
    sql = "SELECT sex, COUNT(*) AS n, AVG(chol) AS m FROM people GROUP BY ROLLUP(sex)"
    node = [person(sex="male", chol=200)] * 20 + [person(sex="female", chol=100)] * 5
    node += [person(sex="female")] * 20
    found = under_rules(plan_of(sql), [node] * 3).table.to_pylist()
    assert [tuple(row.values()) for row in found] == [
        ("female", 75, None, 3),
        ("male", 60, 200.0, 3),
        (None, 135, None, 3),
    ]
    none = [person(sex="male", chol=200)] * 20 + [person(sex="female")] * 20
    found = under_rules(plan_of(sql), [none] * 3).table.to_pylist()
    assert found[-1] == {"sex": None, "n": 120, "m": 200.0, "_nodes": 3}


def test_what_a_rollup_says_of_itself() -> None:
    plan = plan_of("SELECT smoker, sex, COUNT(*) FROM people GROUP BY smoker, ROLLUP(sex, stage)")
    assert (plan.layout.cells, plan.layout.details) == (3 * 2 * 5 + 3 * 2 + 3, 30)
    assert plan.layout.folds == (5, 2)
    assert plan.layout.flags == runs_of_query(plan).first.flags == 3
    assert plan.group_by == {"smoker", "sex", "stage"}
    assert plan.describe() == (
        "smoker, sex, COUNT(*) of table people by smoker, ROLLUP(sex, stage) "
        "(39 cells of 1 summed values)"
    )
    flat = plan_of("SELECT smoker, sex, COUNT(*) FROM people GROUP BY smoker, sex, stage")
    assert (flat.layout.details, flat.layout.margins, flat.layout.flags) == (30, None, 1)
    assert flat.digest != plan.digest


def test_order_and_having_see_margins() -> None:
    sql = (
        "SELECT sex, COUNT(*) AS n FROM people GROUP BY ROLLUP(sex) "
        "HAVING GROUPING(sex) = 1 OR COUNT(*) > 40 ORDER BY GROUPING(sex) DESC"
    )
    nodes = [FULL * 12 + [person(sex="male", smoker=True)] * 9] * 3
    assert under_rules(plan_of(sql), nodes).table["sex"].to_pylist() == [None, "female", "male"]


OVERLAP = (
    "GROUP BY takes keys and one ROLLUP of keys; margins that overlap, as those of CUBE and "
    "GROUPING SETS do, can be subtracted down to few rows"
)


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        ("CUBE(sex, stage)", OVERLAP),
        ("GROUPING SETS ((sex), (stage))", OVERLAP),
        ("ROLLUP((sex, stage), smoker)", OVERLAP),
        ("ROLLUP(sex), ROLLUP(stage)", "GROUP BY takes one ROLLUP, of one key or more"),
        ("sex, ROLLUP(sex, stage)", "GROUP BY with ROLLUP takes each key once"),
        ("ROLLUP(age)", "cannot be grouped by: column `age` has no declared domain"),
        ("sex WITH ROLLUP", "GROUP BY takes columns and expressions"),
    ],
)
def test_groupings_that_are_refused(group: str, reason: str) -> None:
    with pytest.raises(CallError) as caught:
        plan_of(f"SELECT COUNT(*) FROM people GROUP BY {group}")
    assert caught.value.code == "sql_unsupported"
    assert reason in caught.value.message


@pytest.mark.parametrize("asked", ["GROUPING(sex, stage)", "GROUPING(smoker)", "GROUPING(1)"])
def test_grouping_takes_one_key(asked: str) -> None:
    with pytest.raises(CallError, match="GROUPING takes one key of GROUP BY"):
        plan_of(f"SELECT {asked}, COUNT(*) FROM people GROUP BY ROLLUP(sex, stage)")
