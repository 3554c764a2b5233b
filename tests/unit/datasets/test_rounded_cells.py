"""A node's cells and rounds with rounded counts, over a real table."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import yaml
from builders.tables import declared
from yumen_core.errors import CallError
from yumen_core.sql import LocalCells, Plan, parse
from yumen_core.sql.rounded_cells import grain, rounded_cells
from yumen_core.statistics.kinds import Local
from yumen_core.statistics.registry import KINDS
from yumen_core.statistics.rounded_counts import can_round, rounded_counts
from yumen_node.datasets import Dataset, load_declaration
from yumen_node.service import publish

COLUMNS = [
    {"name": "sex", "type": "text", "domain": ["f", "m"], "nullable": False},
    {"name": "ill", "type": "integer", "bounds": {"lower": 0, "upper": 1}, "nullable": False},
    {"name": "pay", "type": "float", "bounds": {"lower": 0, "upper": 900}, "nullable": True},
    {"name": "age", "type": "integer", "bounds": {"lower": 0, "upper": 120}, "nullable": False},
]
ROWS = [
    {"sex": "f" if at % 3 else "m", "ill": int(at % 4 == 0), "pay": at * 1.7, "age": 20 + at % 60}
    for at in range(173)
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("rounded")
    return Dataset.open(load_declaration(declared(folder, "t", ROWS, COLUMNS)))


def cells_of(dataset: Dataset, sql: str) -> tuple[Plan, LocalCells]:
    plan = parse(sql, {"t": dataset.schema})
    return plan, dataset.cells(plan, timeout_s=20)


def test_every_count_is_a_multiple_and_means_stay_near(dataset: Dataset) -> None:
    plan, cells = cells_of(
        dataset,
        "SELECT sex, COUNT(*), COUNT(pay), SUM(ill), AVG(pay), STDDEV_SAMP(pay), SUM(age), "
        "SUM(CASE WHEN age > 50 THEN 1 ELSE 0 END) FROM t GROUP BY ROLLUP (sex)",
    )
    told = rounded_cells(plan, cells, 10)
    assert rounded_cells(plan, cells, 1) is cells
    assert (told.supports == cells.supports).all()  # the threshold is of exact rows
    rows = next(at for at, v in enumerate(plan.layout.values) if v.argument is None)
    for before, after in zip(cells.values, told.values, strict=True):
        for at, value in enumerate(plan.layout.values):
            argument = None if value.argument is None else plan.arguments[value.argument]
            bounds = None if argument is None else argument.bounds
            if value.argument is None or value.kind.value == "count" or (
                bounds is not None and bounds.high <= 1
            ):  # fmt: skip
                assert after[at] % 10 == 0
                assert abs(after[at] - before[at]) <= 5
            else:
                mean, kept = before[at] / before[rows], after[at] / after[rows]
                assert kept == pytest.approx(mean, rel=0.01)
    women, men, all_ = (row[rows] for row in told.values)
    assert (women, men, all_) == (120, 60, 170)  # each by itself: no difference is exact


def test_a_cell_that_rounds_to_no_row_is_thin(dataset: Dataset) -> None:
    """It must not be one of three nodes behind what is the other two's."""
    plan, cells = cells_of(dataset, "SELECT COUNT(*), SUM(pay) FROM t WHERE age < 30")
    assert 10 < cells.values[0][0] < 500
    told = rounded_cells(plan, cells, 1000)
    assert told.values == [[0] * len(plan.layout.values)]
    assert told.supports.max() == 1
    few = Local(np.array([[12], [30], [0]]), np.array([[12.0], [30.0], [0.0]]))
    round_ = rounded_counts(KINDS["counts_by"], few, 40)
    assert round_.supports.tolist() == [[1], [30], [0]]
    assert round_.values.tolist() == [[0.0], [40.0], [0.0]]
    assert rounded_counts(KINDS["counts_by"], few, 1) is few
    assert rounded_counts(KINDS["keys"], few, 40) is few  # its values are no counts


GRAINS = [
    ("SUM(age)", 1),
    ("SUM(age * 1000000000)", 10**9),
    ("SUM(age * 1000000000 + ill)", 120 * 10**9 + 1),
    ("SUM(CASE WHEN age > 50 THEN age * 7 ELSE 3 END)", 120 * 7),
    ("SUM(age * age)", 120),
]


@pytest.mark.parametrize(("asked", "size"), GRAINS, ids=[asked for asked, _ in GRAINS])
def test_a_sum_is_told_in_steps_of_its_bounds(dataset: Dataset, asked: str, size: int) -> None:
    """The second told the counts of three nodes of 23, 31 and 41 rows by itself."""
    plan, cells = cells_of(dataset, f"SELECT {asked} AS s, COUNT(*) AS n FROM t")
    at = next(i for i, value in enumerate(plan.layout.values) if value.argument is not None)
    assert grain(plan, plan.layout.values[at]) == size
    assert rounded_cells(plan, cells, 10).values[0][at] % size == 0


def exact_counts(total: int, factor: int) -> set[int]:
    """The counts near 25, of whole numbers from 20 to 80, whose sum scaled to 25 is `total`."""
    return {
        n
        for n in range(23, 28)
        for s in range(20 * n, 80 * n + 1)
        if abs(Fraction(s * factor * 25, n) - total) <= factor / 2
    }


@pytest.mark.parametrize("factor", [1, 10**9])
def test_a_factor_does_not_tell_the_count(tmp_path: Path, factor: int) -> None:
    rows = [{**row, "age": 20 + (7 * at) % 61} for at, row in enumerate(ROWS[:23])]
    held = Dataset.open(load_declaration(declared(tmp_path, "t", rows, COLUMNS)))
    plan = parse(f"SELECT SUM(age * {factor}) AS s FROM t", {"t": held.schema})
    cells = held.cells(plan, timeout_s=20)
    (told,) = rounded_cells(plan, cells, 5).values[0]
    assert len(exact_counts(told, factor)) == 5
    held.close()


def test_only_tables_of_counts_can_be_rounded() -> None:
    assert {name for name, kind in KINDS.items() if can_round(kind)} == {
        "bins",
        "counts_by",
        "keys",
    }


@pytest.mark.parametrize(
    ("written", "told"),
    [(5, 5), ("off", 1), (False, 1), (1000, 1000)],
)
def test_a_table_declares_its_step(tmp_path: Path, written: object, told: int) -> None:
    file = declared(tmp_path, "t", ROWS, COLUMNS, disclosure={"round_to": written})
    assert publish(load_declaration(file)).round_to == told


@pytest.mark.parametrize("written", [0, 1, 1001, -5, 2.5, "five", True])
def test_a_bad_step_is_refused(tmp_path: Path, written: object) -> None:
    file = declared(tmp_path, "t", ROWS, COLUMNS, disclosure={"round_to": written})
    with pytest.raises(CallError, match="round_to"):
        load_declaration(file)
    assert yaml.safe_load(file.read_text("utf-8"))["disclosure"] == {"round_to": written}
