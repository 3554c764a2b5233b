"""A node's cells and rounds with rounded counts, over a real table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from builders.tables import declared
from yumen_core.disclosure import DisclosureRules
from yumen_core.errors import CallError
from yumen_core.sql import LocalCells, Plan, parse
from yumen_core.sql.rounded_cells import rounded_cells
from yumen_core.statistics.kinds import Local
from yumen_core.statistics.layout import Layout, count, real
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


def test_every_count_is_a_multiple_and_every_mean_stays(dataset: Dataset) -> None:
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


def test_a_cell_that_rounds_to_no_row_tells_nothing(dataset: Dataset) -> None:
    plan, cells = cells_of(dataset, "SELECT COUNT(*), SUM(pay) FROM t WHERE age < 30")
    assert 0 < cells.values[0][0] < 500
    assert rounded_cells(plan, cells, 1000).values == [[0] * len(plan.layout.values)]


def test_a_round_tells_counts_in_steps(dataset: Dataset) -> None:
    layout = Layout(3, ("rows", "group"), (count(), real(), count(1), real(1)))
    values = np.array([[13, 26.0, 7, 3.5], [12, -6.0, 0, 0.0], [0, 0.0, 0, 0.0]])
    local = Local(np.array([[13, 7], [12, 0], [0, 0]]), values)
    told = rounded_counts(KINDS["moments_by"], layout, local, 5).values
    assert told.tolist() == [[15, 30.0, 5, 2.5], [10, -5.0, 0, 0.0], [0, 0.0, 0, 0.0]]
    assert rounded_counts(KINDS["moments_by"], layout, local, 1) is local
    assert rounded_counts(KINDS["keys"], layout, local, 5) is local  # its values are no counts
    uncounted = Layout(1, ("rows",), (real(),))
    alone = Local(np.array([[12]]), np.array([[24.0]]))
    assert rounded_counts(KINDS["moments"], uncounted, alone, 5).values.tolist() == [[20.0]]


def test_rounds_of_models_and_quantiles_cannot_be_rounded() -> None:
    able = {name for name, kind in KINDS.items() if can_round(kind)}
    assert able == {"bins", "counts_by", "keys", "moments", "moments_by", "pair_moments"}
    assert DisclosureRules().threshold == 10  # rounding comes beside the threshold, not for it


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
