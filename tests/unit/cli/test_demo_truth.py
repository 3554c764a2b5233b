"""The demo's pooled truth over the real files, and the comparison that must notice any fault."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest
from yumen.result import Result
from yumen_cli.demo import hospitals, truth
from yumen_cli.demo.compare import compare, relative_difference
from yumen_cli.demo.questions import MEASURES, QUESTIONS, Question
from yumen_cli.demo.truth import HeldCell, Truth, Value

BY_SEX, BY_AGE = QUESTIONS


@pytest.fixture(scope="module")
def frames() -> dict[str, pd.DataFrame]:
    return truth.read({one.name: one.data for one in hospitals.find(None).hospitals})


def test_by_sex(frames: dict[str, pd.DataFrame]) -> None:
    found = truth.compute(BY_SEX, frames)
    female, male = found.groups["Female"], found.groups["Male"]
    # Long Beach's 6 women stay there; 188 = 97 + 81 + 10.
    assert female["patients"] == Value(188.0, 3)
    assert female["mean_disease"] == Value((52 + 12 + 15) / 188, 3)
    assert female["mean_chol"] == Value(None, 0)
    assert female["sd_chol"] == Value(None, 0)
    assert male["patients"] == Value(726.0, 4)
    assert male["mean_chol"].nodes == 3
    assert HeldCell("long-beach", "Female", "patients", "6 patients") in found.held_cells
    assert found.held_values == (
        HeldCell(
            "",
            "Female",
            "mean_chol",
            "only cleveland, hungary stand behind it, 3 must",
        ),
    )


def test_by_age_band(frames: dict[str, pd.DataFrame]) -> None:
    found = truth.compute(BY_AGE, frames)
    assert {group: row["patients"].value for group, row in found.groups.items()} == {
        "<50": 292.0,
        "50-59": 375.0,
        "60+": 253.0,
    }
    assert {row["mean_disease"].nodes for row in found.groups.values()} == {4}
    assert found.held_values == ()
    assert found.groups["<50"]["mean_disease"].value == pytest.approx((48 + 52 + 40 + 16) / 292)


def test_a_group_with_two_hospitals_has_no_row() -> None:
    frame = pd.DataFrame(
        {"sex": ["F"] * 12, "chol": [200.0] * 12, "num": [1] * 12, "age_band": ["60+"] * 12}
    )
    found = truth.compute(Question("by sex", "sex", ""), {"a": frame, "b": frame})
    assert found.groups == {}
    assert [cell.reason for cell in found.held_values] == ["only a, b stand behind it, 3 must"]


def _result(found: Truth, question: Question) -> Result:
    rows, nodes = [], []
    for group, row in found.groups.items():
        values = {name: row[name].value for name in MEASURES}
        behind = row["patients"].nodes
        rows.append({question.key: group, **values, "_nodes": behind})
        counts = {name: row[name].nodes for name in MEASURES}
        nodes.append({question.key: behind, **counts, "_nodes": behind})
    return Result(
        pa.Table.from_pylist(rows),
        job_id="x",
        sql=question.sql,
        purpose="research",
        participants=("a",),
        measure_nodes=pa.Table.from_pylist(nodes),
    )


def test_the_truth_equals_itself(frames: dict[str, pd.DataFrame]) -> None:
    found = truth.compute(BY_SEX, frames)
    same = compare(BY_SEX, _result(found, BY_SEX), found)
    assert same.faults == ()
    assert same.difference == 0.0
    assert [line.group for line in same.lines] == ["Female", "Male"]


@pytest.mark.parametrize(
    ("measure", "value", "fault"),
    [
        ("patients", Value(189.0, 3), "patients of Female: expected 189.0, got 188.0"),
        ("mean_chol", Value(250.0, 3), "mean_chol of Female: expected 250.0, got None"),
        ("mean_chol", Value(None, 2), "mean_chol of Female: expected 2 nodes, got 0"),
        ("mean_disease", Value(None, 0), "mean_disease of Female: expected None, got"),
        ("mean_disease", Value(79 / 188 * (1 + 3e-9), 3), "mean_disease of Female: expected 0.42"),
    ],
)
def test_any_difference_is_a_fault(
    frames: dict[str, pd.DataFrame], measure: str, value: Value, fault: str
) -> None:
    found = truth.compute(BY_SEX, frames)
    other = replace(
        found,
        groups={**found.groups, "Female": {**found.groups["Female"], measure: value}},
    )
    faults = compare(BY_SEX, _result(found, BY_SEX), other).faults
    assert faults
    assert faults[0].startswith(fault)


def test_a_missing_group_is_a_fault(frames: dict[str, pd.DataFrame]) -> None:
    found = truth.compute(BY_SEX, frames)
    fewer = replace(found, groups={"Male": found.groups["Male"]})
    faults = compare(BY_SEX, _result(fewer, BY_SEX), found).faults
    assert faults == ("expected the groups ['Female', 'Male'], got ['Male']",)


def test_relative_differences() -> None:
    assert relative_difference(None, None) == 0.0
    assert relative_difference(None, 1.0) == math.inf
    assert relative_difference(0.0, None) == math.inf
    assert relative_difference(2.0, 2.0) == 0.0
    assert relative_difference(1.0 + 1e-6, 1.0) == pytest.approx(1e-6)
