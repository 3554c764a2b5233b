"""Sums of magnitudes that one or two rows make up are held back at the node that has these rows."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from builders.tables import declared
from yumen_core.disclosure import DisclosureRules, margin_flags, margin_keep
from yumen_core.errors import CallError
from yumen_core.sql import LocalCells, Plan, parse
from yumen_node.datasets import Dataset, load_declaration

AMOUNT = {"bounds": {"lower": -1_000_000, "upper": 1_000_000}}
COLUMNS = [
    {"name": "farm", "type": "integer", "bounds": {"lower": 0, "upper": 10_000}, "nullable": False},
    {"name": "region", "type": "text", "domain": ["east", "south", "west"], "nullable": False},
    {"name": "crop", "type": "text", "domain": ["rice", "rye"], "nullable": False},
    {"name": "kg", "type": "integer", **AMOUNT},
    {"name": "cost", "type": "decimal", "scale": 2, **AMOUNT},
    {"name": "water", "type": "float", **AMOUNT},
    {"name": "organic", "type": "boolean"},
]  # fmt: skip
Row = Mapping[str, object]


def farms(count: int, *, big: float = 1, **given: object) -> list[Row]:
    """Farms of like size, the first of them `big` times as large."""
    sizes = [100 + at for at in range(count)]
    sizes[0] = int(sizes[0] * big)
    rows = [
        {"region": "east", "crop": "rice", "kg": size, "cost": size / 4, "water": size / 8}
        | {"organic": "true" if at % 2 else "false"} | given
        for at, size in enumerate(sizes)
    ]  # fmt: skip
    return [{"farm": at, **row} for at, row in enumerate(rows)]


def opened(folder: Path, rows: list[Row], **disclosure: object) -> Dataset:
    settings = {"disclosure": disclosure} if disclosure else {}
    return Dataset.open(load_declaration(declared(folder, "farms", rows, COLUMNS, **settings)))


def asked(dataset: Dataset, sql: str, *, private: bool = False) -> tuple[Plan, LocalCells]:
    plan = parse(sql, {"farms": dataset.schema})
    return plan, dataset.cells(plan, timeout_s=20, private=private)


def behind(dataset: Dataset, measure: str, *, private: bool = False) -> int:
    """The rows that are counted behind the only value of that kind."""
    plan, cells = asked(dataset, f"SELECT {measure} AS v FROM farms", private=private)
    return int(cells.supports[0, max(value.support for value in plan.layout.values)])


MAGNITUDES = [
    "SUM(kg)", "AVG(kg)", "SUM(cost)", "AVG(water)", "SUM(-kg)", "SUM(kg + 5)", "SUM(kg * kg)",
    "SUM(CASE WHEN crop = 'rice' THEN kg ELSE 0 END)", "VAR_SAMP(water)", "STDDEV_SAMP(kg)",
    "CORR(kg, water)",
]  # fmt: skip
COUNTS = [
    "COUNT(*)", "COUNT(kg)", "SUM(CASE WHEN kg > 100000 THEN 1 ELSE 0 END)",
    "AVG(CASE WHEN organic THEN 1.0 ELSE 0.0 END)",
]  # fmt: skip


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    even, uneven = farms(40), farms(40, big=900)
    return {
        name: opened(tmp_path_factory.mktemp(name), rows, **disclosure)
        for name, rows, disclosure in (
            ("even", even, {}),
            ("uneven", uneven, {}),
            ("off", uneven, {"dominance": "off", "p_percent": "off"}),
            ("only p", uneven, {"dominance": "off"}),
            ("only n", uneven, {"p_percent": "off"}),
        )
    }


@pytest.mark.parametrize("measure", MAGNITUDES)
def test_a_farm_that_makes_up_a_sum_holds_it_back(held: dict[str, Dataset], measure: str) -> None:
    assert behind(held["even"], measure) == 40
    assert behind(held["uneven"], measure) == 1
    assert behind(held["only p"], measure) == behind(held["only n"], measure) == 1
    assert behind(held["off"], measure) == 40
    assert behind(held["uneven"], measure, private=True) == 40


@pytest.mark.parametrize("measure", COUNTS)
def test_counts_have_no_great_values(held: dict[str, Dataset], measure: str) -> None:
    assert behind(held["uneven"], measure) == behind(held["off"], measure)


def test_only_the_cell_and_the_measure_with_the_great_farm(tmp_path: Path) -> None:
    rows = farms(30, big=900) + farms(30, region="west") + farms(30, region="south", crop="rye")
    sql = "SELECT region, COUNT(*), SUM(kg), COUNT(cost) FROM farms GROUP BY region"
    plan, cells = asked(opened(tmp_path, rows), sql)
    of_kg = next(value.support for value in plan.layout.values if value.support)
    assert cells.supports[:, 0].tolist() == [30, 30, 30]
    assert cells.supports[:, of_kg].tolist() == [1, 30, 30]


DROWNED = [
    "kg + 1000000", "1000000 - kg", "2 * kg", "farm + kg", "kg - 5 + farm", "(kg + 900000) * 3",
    "(kg + 900000) / 7", "ABS(kg + 1000000)", "-(kg + 1000000)", "(kg + 900000) * (farm + 1000)",
    "CASE WHEN farm < 3 OR farm > 25 THEN kg ELSE 900000 END",
    "CASE WHEN farm < 90 THEN kg + 900000 END", "CASE WHEN farm < 20 THEN 2 ELSE 5 END + kg",
    "2 * (CASE WHEN farm < 30 THEN kg ELSE 900000 END) + 5",
]  # fmt: skip


@pytest.mark.parametrize("expression", DROWNED)
def test_a_great_value_is_not_drowned_in_what_is_added(
    held: dict[str, Dataset], expression: str
) -> None:
    measure = f"SUM({expression})"
    assert behind(held["uneven"], measure) <= 1
    assert behind(held["off"], measure) > 1
    assert behind(held["even"], measure) == behind(held["off"], measure)


def test_below_zero_and_together(tmp_path: Path) -> None:
    rows = farms(40)
    rows[0] = {**rows[0], "kg": -500_000, "water": -500_000}
    rows[1] = {**rows[1], "kg": 500_000, "water": ""}
    dataset = opened(tmp_path, rows)
    assert behind(dataset, "SUM(kg)") == behind(dataset, "SUM(water)") == 1
    assert behind(dataset, "SUM(cost)") == 40


def test_a_joined_tables_rules_count(tmp_path: Path) -> None:
    owners = [{**COLUMNS[0], "name": "id"}]
    given = [{"id": at} for at in range(40)]
    off = {"disclosure": {"dominance": "off", "p_percent": "off"}}
    for at, settings in enumerate(({}, off)):
        files = [
            declared(tmp_path / str(at), "farms", farms(40, big=900), COLUMNS, **off),
            declared(tmp_path / str(at), "owners", given, owners, key=["id"], **settings),
        ]
        held = Dataset.open_all([load_declaration(file) for file in files])
        sql = "SELECT SUM(kg) AS v FROM farms JOIN owners ON farm = id"
        plan = parse(sql, {name: one.schema for name, one in held.items()})
        cells = held["farms"].cells(plan, timeout_s=20)
        assert (cells.supports.min() > 1) == bool(settings)


def _sums(folder: Path, nodes: list[list[Row]]) -> tuple[Plan, list[LocalCells], np.ndarray]:
    """What three nodes or more have, and which sums of kg each tells of."""
    sql = "SELECT region, crop, SUM(kg) AS kg FROM farms GROUP BY ROLLUP(region, crop)"
    parts = []
    for at, rows in enumerate(nodes):
        plan, cells = asked(opened(folder / str(at), rows), sql)
        parts.append(cells)
    margins = plan.layout.margins
    assert margins is not None
    flags = [margin_flags(part.supports, DisclosureRules(10, 3), margins) for part in parts]
    totals = np.stack(flags).sum(axis=0, dtype=np.uint8)
    support = next(value.support for value in plan.layout.values if value.support)
    keeps = [
        margin_keep(totals, own, margins, participants=len(nodes), min_nodes=3)[:, support]
        for own in flags
    ]
    return plan, parts, np.stack(keeps)


def test_no_margins_of_a_rollup_determine_a_dominated_cell(tmp_path: Path) -> None:
    cells = list(product(("east", "south", "west"), ("rice", "rye")))
    even = [row for region, crop in cells for row in farms(20, region=region, crop=crop)]
    great = [
        row
        for region, crop in cells
        for row in farms(20, big=900 if (region, crop) == cells[2] else 1, region=region, crop=crop)
    ]
    plan, _, all_even = _sums(tmp_path / "even", [even] * 4)
    assert all_even.all()
    _, _, keep = _sums(tmp_path / "great", [great, even, even, even])
    assert keep.any(axis=0).sum() >= 5  # the answer is not empty
    # By released cell a row: which node's detail cells stand in it. None may tell cell 2 of node 0.
    layout = plan.layout
    holds = [{cell} for cell in range(layout.details)]
    start, size = 0, layout.details
    for fold in layout.folds:
        groups = range(size // fold)
        holds += [set.union(*holds[start + g * fold : start + (g + 1) * fold]) for g in groups]
        start, size = start + size, size // fold
    unknowns = 4 * layout.details
    equations = np.zeros((layout.cells, unknowns))
    for cell, details in enumerate(holds):
        for node in range(4):
            if keep[node, cell]:
                equations[cell, [node * layout.details + at for at in details]] = 1
    wanted = np.zeros(unknowns)
    wanted[2] = 1
    for others in ([], [1], [1, 2], [1, 2, 3]):  # what nodes that ask together know of themselves
        known = [np.eye(unknowns)[n * layout.details + at] for n in others
                 for at in range(layout.details)]  # fmt: skip
        system = np.vstack([equations, *known]) if known else equations
        rank = np.linalg.matrix_rank(system)
        assert np.linalg.matrix_rank(np.vstack([system, wanted])) == rank + 1
    # And node 0's part of the great cell stands in no released sum unless with a rest that passes.
    assert not keep[0, 2]


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"dominance": {"n": 0}}, "dominance.n`: expected greater than or equal to 1, got `0`"),
        ({"dominance": {"n": 11}}, "dominance.n`: expected less than or equal to 10, got `11`"),
        (
            {"dominance": {"percent": 100}},
            "dominance.percent`: expected less than or equal to 99, got `100`",
        ),
        (
            {"dominance": {"k": 85}},
            "dominance.k`: expected only known keys, got an unknown one; known are: `n`, `percent`",
        ),
        ({"dominance": "on"}, "dominance`: expected `n` and `percent`, or `off`, got `on`"),
        ({"dominance": None}, "dominance`: expected `n` and `percent`, or `off`, got `None`"),
        ({"p_percent": 0}, "p_percent`: expected greater than or equal to 1, got `0`"),
        ({"p_percent": 101}, "p_percent`: expected less than or equal to 100, got `101`"),
        ({"p_percent": True}, "p_percent`: expected a valid integer, got `True`"),
        ({"p_percent": None}, "p_percent`: expected a whole number, or `off`, got `None`"),
        (
            {"min_degrees_of_freedom": -1},
            "min_degrees_of_freedom`: expected greater than or equal to 0, got `-1`",
        ),
    ],
)
def test_faults_of_the_section(tmp_path: Path, section: object, text: str) -> None:
    file = declared(tmp_path, "farms", farms(3), COLUMNS, disclosure=section)
    with pytest.raises(CallError) as caught:
        load_declaration(file)
    assert caught.value.code == "table_declaration"
    assert caught.value.message == f"`{file}`: `disclosure.{text}"


def test_the_section_as_it_is_read(tmp_path: Path) -> None:
    file = declared(tmp_path, "farms", farms(3), COLUMNS)
    section = load_declaration(file).disclosure
    assert (section.rules.top, section.rules.percent, section.rules.p_percent) == (2, 85, 10)
    assert section.min_degrees_of_freedom == 10
    text = file.read_text(encoding="utf-8")
    file.write_text(f"{text}disclosure:\n  dominance: off\n  p_percent: 20\n", encoding="utf-8")
    rules = load_declaration(file).disclosure.rules
    assert (rules.percent, rules.p_percent, rules.on) == (0, 20, True)
    file.write_text(f"{text}disclosure: {{dominance: off, p_percent: off}}\n", encoding="utf-8")
    assert not load_declaration(file).disclosure.rules.on
