"""The rows of each cell, made once: against the same by plain DuckDB and by hand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap
from yumen_core.disclosure.row_set import RowSet
from yumen_core.errors import StateError
from yumen_core.sql import parse, parse_rows
from yumen_core.sql.row_sets import cells_key, numbers_by_cell, row_sets_sql
from yumen_node.datasets import Dataset, load_declaration
from yumen_node.datasets.cell_sets import CellSets, KeptSets

COLUMNS = [
    {"name": "sex", "type": "text", "domain": ["f", "m"], "nullable": True},
    {"name": "size", "type": "integer", "domain": [-70_000, 3, 9, 5_000_000_000]},
    {"name": "near", "type": "integer", "domain": [4, 2, 7], "nullable": True},
    {"name": "ill", "type": "boolean", "nullable": False},
    {"name": "pay", "type": "integer", "bounds": {"lower": 1, "upper": 900}, "nullable": False},
    {"name": "born", "type": "date", "bounds": {"lower": "1990-01-01", "upper": "1999-12-31"}},
]  # fmt: skip
ROWS = [
    (sex, size, near, ill, 100 + at, f"199{(at * 7) % 10}-0{at % 9 + 1}-1{at % 9}")
    for at, (sex, size, near, ill) in enumerate(
        product(("f", "m", ""), (-70_000, 3, 9, 5_000_000_000), (4, 2, 7, ""), ("true", "false"))
    )
]
PLANS = [
    "SELECT sex, COUNT(*) FROM t GROUP BY sex",
    "SELECT size, near, COUNT(*) FROM t GROUP BY size, near",
    "SELECT near, ill, COUNT(*) FROM t WHERE size < 5 GROUP BY near, ill",
    "SELECT EXTRACT(YEAR FROM born) AS y, sex, COUNT(*) FROM t GROUP BY y, sex",
    "SELECT CASE WHEN size > 3 THEN 'big' ELSE 'small' END AS s, COUNT(*) FROM t GROUP BY s",
    "SELECT COUNT(*) FROM t",
    "SELECT COUNT(*) FROM t WHERE near = 4",
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("table")
    lines = [",".join(str(value) for value in row) for row in ROWS * 4]
    (folder / "rows.csv").write_text(
        "sex,size,near,ill,pay,born\n" + "\n".join(lines) + "\n", "utf-8"
    )
    document = {"name": "t", "source": {"type": "csv", "path": "rows.csv"}, "columns": COLUMNS}
    (folder / "t.yaml").write_text(yaml.safe_dump(document), "utf-8")
    return Dataset.open(load_declaration(folder / "t.yaml"))


@pytest.mark.parametrize("sql", PLANS)
def test_the_rows_of_a_cell_are_those_that_its_count_counts(dataset: Dataset, sql: str) -> None:
    plan = parse(sql, {"t": dataset.schema})
    cells = dataset.cells(plan, timeout_s=20)
    sets = dataset.row_sets(plan, timeout_s=20).rows
    counts = {at: int(n) for at, n in enumerate(cells.supports[: plan.layout.details, 0]) if n}
    assert {cell: len(rows) for cell, rows in sets.details.items()} == counts
    assert len(sets.union(frozenset(counts))) == sum(counts.values())
    assert dataset.row_sets(plan, timeout_s=20).rows is sets  # the same plan is not asked twice


def test_the_rows_of_a_cell_are_known_by_their_place(dataset: Dataset) -> None:
    plan = parse("SELECT sex, near, COUNT(*) FROM t GROUP BY sex, near", {"t": dataset.schema})
    expected: dict[int, set[int]] = {}
    sexes, nears = ("f", "m", ""), (*plan.keys[1].domain, "")
    for place, (sex, _, near, *_) in enumerate(ROWS * 4):
        cell = sexes.index(sex) * 4 + nears.index(near)
        expected.setdefault(cell, set()).add(place)
    found = dataset.row_sets(plan, timeout_s=20).rows.details
    assert {cell: set(rows.rows) for cell, rows in found.items()} == expected


def test_margins_are_unions_and_other_aggregates_share_the_sets(dataset: Dataset) -> None:
    rollup = parse(
        "SELECT sex, ill, COUNT(*) FROM t GROUP BY ROLLUP (sex, ill)", {"t": dataset.schema}
    )
    sets = dataset.row_sets(rollup, timeout_s=20).rows
    whole = sets.all(rollup.layout)
    assert set(whole[rollup.layout.cells - 1].rows) == set(range(len(ROWS) * 4))
    assert sets.all(rollup.layout) is whole
    other = parse("SELECT sex, ill, AVG(near) FROM t GROUP BY sex, ill", {"t": dataset.schema})
    assert dataset.row_sets(other, timeout_s=20).rows is sets


def test_what_names_the_cells_tells_plans_apart(dataset: Dataset) -> None:
    keys = {cells_key(parse(sql, {"t": dataset.schema})) for sql in PLANS}
    assert len(keys) == len(PLANS)
    swapped = parse("SELECT near, size, COUNT(*) FROM t GROUP BY near, size", {"t": dataset.schema})
    assert cells_key(swapped) not in keys


def test_all_rows_need_no_question(dataset: Dataset) -> None:
    counted = parse("SELECT COUNT(*) FROM t", {"t": dataset.schema})
    with pytest.raises(ValueError, match="expected a plan with keys, a choice of rows"):
        row_sets_sql(counted, "rows 0")
    numbers = np.array([7, 5], dtype=np.uint32)
    assert numbers_by_cell(counted, {}, [numbers])[0][0].tolist() == [7, 5]
    assert numbers_by_cell(counted, {}, [numbers[:0]]) == [{}]


def test_keys_of_other_rows_are_no_answer(dataset: Dataset) -> None:
    plan = parse(PLANS[0], {"t": dataset.schema})
    numbers = np.arange(3, dtype=np.uint32)
    with pytest.raises(StateError, match="expected the keys of every row, got others"):
        numbers_by_cell(plan, {"k0": np.zeros(2, dtype=np.uint8)}, [numbers])
    with pytest.raises(StateError, match="expected a key of whole numbers, got `float64`"):
        numbers_by_cell(plan, {"k0": np.zeros(3, dtype=np.float64)}, [numbers])


def test_a_value_outside_the_domain_is_in_no_cell(dataset: Dataset) -> None:
    plan = parse("SELECT size, COUNT(*) FROM t GROUP BY size", {"t": dataset.schema})
    column = np.array([3, 4, 9, -70_000, 5_000_000_000, 5_000_000_002], dtype=np.int64)
    (found,) = numbers_by_cell(plan, {"k0": column}, [np.arange(6, dtype=np.uint32)])
    by_value = {plan.keys[0].domain[cell]: rows.tolist() for cell, rows in found.items()}
    assert by_value == {3: [0], 9: [2], -70_000: [3], 5_000_000_000: [4]}
    near = parse("SELECT near, COUNT(*) FROM t GROUP BY near", {"t": dataset.schema})
    small = np.array([4, 5, 7, -3, 9], dtype=np.int64)
    (found,) = numbers_by_cell(near, {"k0": small}, [np.arange(5, dtype=np.uint32)])
    assert sorted(int(n) for rows in found.values() for n in rows) == [0, 2]


@given(st.sets(st.integers(0, 200_000), max_size=400), st.integers(1, 7), st.booleans())
def test_a_digest_does_not_hang_on_how_a_set_came_about(
    members: set[int], parts: int, in_a_row: bool
) -> None:
    rows = sorted(members)
    if in_a_row and rows:
        rows = list(range(rows[0], rows[0] + 40 * len(rows)))
    whole = np.array(rows, dtype=np.uint32)
    split = [RowSet.of(whole[at::parts]) for at in range(parts)]
    forms = [RowSet.union(split), RowSet.of(whole), RowSet.of(whole[::-1].copy()),
             RowSet(BitMap(rows))]  # fmt: skip
    assert len({entry.digest for entry in forms}) == 1
    assert {len(entry) for entry in forms} == {len(rows)}
    if rows:
        assert RowSet.of(whole[1:]).digest != forms[0].digest


def test_sets_are_kept_within_their_bound() -> None:
    made: list[int] = []

    def asked(kept: KeptSets, *wanted: int) -> list[CellSets]:
        def make(lacking: Sequence[int]) -> list[CellSets]:
            made.extend(wanted[at] for at in lacking)
            return [CellSets({0: RowSet.of(np.arange(100, dtype=np.uint32))}) for _ in lacking]

        return kept.of([bytes([at]) for at in wanted], make)

    kept = KeptSets(most_bytes=450)
    for at in (1, 2, 1, 3, 1, 2):
        asked(kept, at)
    assert made == [1, 2, 3, 2]
    assert len(asked(kept, 1, 4)) == 2  # the one that is kept, and one more
    assert made[4:] == [4]
    nothing = KeptSets(most_bytes=10)
    assert len(asked(nothing, 5)[0].details[0]) == 100
    asked(nothing, 5)
    assert made[5:] == [5, 5]


PARTS: list[tuple[str, list[tuple[int, set[str], str]]]] = [
    ("SELECT COUNT(*) FROM t", [(0, {""}, "all")]),
    ("SELECT ill, COUNT(*) FROM t GROUP BY ill", [(0, {""}, "all")]),
    ("SELECT SUM(pay) FROM t", [(0, {"", "t.pay"}, "all")]),
    ("SELECT SUM(near), COUNT(*) FROM t", [(0, {""}, "all"), (1, {"t.near"}, "near")]),
    (
        "SELECT SUM(pay), SUM(pay + near - near) FROM t",
        [(0, {"", "t.pay"}, "all"), (1, {"t.pay", "t.near"}, "near")],
    ),
    (
        "SELECT SUM(CASE WHEN size > 3 THEN pay ELSE 0 END) FROM t",
        [(0, {""}, "all"), (1, {"", "t.pay", "t.size"}, "big")],
    ),
    (
        "SELECT COUNT(CASE WHEN size > 3 THEN 1 END) FROM t",
        [(0, {""}, "all"), (1, {"", "t.size"}, "big")],
    ),
    ("SELECT COUNT(DISTINCT sex) FROM t", [(0, {""}, "all")]),
]


@pytest.mark.parametrize(("sql", "parts"), PARTS, ids=[sql for sql, _ in PARTS])
def test_each_sum_has_the_rows_behind_it(
    dataset: Dataset, sql: str, parts: list[tuple[int, set[str], str]]
) -> None:
    places = {
        "all": set(range(len(ROWS) * 4)),
        "near": {at for at, row in enumerate(ROWS * 4) if row[2] != ""},
        "big": {at for at, row in enumerate(ROWS * 4) if int(row[1]) > 3},
    }
    found = dataset.row_sets(parse(sql, {"t": dataset.schema}), timeout_s=20)
    told = [
        (part.support, set(part.label), {int(n) for s in held.details.values() for n in s.rows})
        for part, _, held in found
    ]
    assert told == [(support, label, places[which]) for support, label, which in parts]


def test_the_groups_of_a_statistic_have_rows_too(dataset: Dataset) -> None:
    plan = parse_rows(
        "SELECT CASE WHEN size > 3 THEN pay END AS d, near AS n FROM t", {"t": dataset.schema}
    )
    sizes = {len(held.union(frozenset({0}))) for _, _, held in dataset.row_sets(plan, timeout_s=20)}
    big = sum(int(row[1]) > 3 for row in ROWS * 4)
    assert sizes >= {len(ROWS) * 4, big}
