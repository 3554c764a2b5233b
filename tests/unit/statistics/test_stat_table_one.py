"""The first table of a paper: its numbers against pandas and scipy, and what it holds back."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from builders.in_process import InProcess, schema_of, split
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen.statistics.table import Table
from yumen.statistics.table_one import TableOne, level_difference, table_one
from yumen_core.errors import CallError

seeds = st.integers(0, 2**20)


def frame_of(seed: int = 0, rows: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    arm = rng.choice(["drug", "placebo"], rows)
    frame = pd.DataFrame(
        {
            "arm": arm,
            "stage": rng.choice(["I", "II", "III"], rows, p=[0.4, 0.35, 0.25]),
            "sick": rng.random(rows) < np.where(arm == "drug", 0.3, 0.45),
            "chol": rng.normal(200, 40, rows) + 8 * (arm == "drug"),
            "age": rng.integers(30, 80, rows),
        }
    )
    frame.loc[rng.random(rows) < 0.2, "chol"] = np.nan
    frame.loc[rng.random(rows) < 0.2, "stage"] = None
    return frame


def source_of(frame: pd.DataFrame, seed: int, threshold: int = 1) -> InProcess:
    return InProcess(split(frame, 3, seed), schema_of(frame), threshold=threshold)


def line_of(found: TableOne, start: str) -> object:
    return next(line for line in found.lines if line.label.startswith(start))


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_two_groups(seed: int) -> None:
    frame = frame_of(seed)
    source = source_of(frame, seed)
    found = table_one(Table(source), by="arm")
    assert len(source.jobs) == 1
    drug, placebo = (frame[frame.arm == arm] for arm in ("drug", "placebo"))
    shown = found.to_pandas()
    assert shown.loc["n", ["overall", "drug", "placebo"]].tolist() == [
        f"{len(part)}" for part in (frame, drug, placebo)
    ]
    chol = line_of(found, "chol")
    a, b = drug.chol.dropna(), placebo.chol.dropna()
    assert chol.pvalue == pytest.approx(scipy.stats.ttest_ind(a, b, equal_var=False)[1], rel=1e-9)
    assert chol.smd == pytest.approx(
        abs(a.mean() - b.mean()) / math.sqrt((a.var() + b.var()) / 2), rel=1e-9
    )
    numbers = [float(text) for text in re.findall(r"[\d.]+", chol.overall)]
    assert numbers == pytest.approx([frame.chol.mean(), frame.chol.std()], abs=1e-3)
    stage = line_of(found, "stage")
    observed = pd.crosstab(frame.stage, frame.arm)
    assert stage.pvalue == pytest.approx(scipy.stats.chi2_contingency(observed)[1], rel=1e-9)
    assert (found.counts["stage"] == observed.to_numpy().T).all()
    sick = line_of(found, "sick")
    assert sick.pvalue == pytest.approx(
        scipy.stats.chi2_contingency(pd.crosstab(frame.sick, frame.arm))[1], rel=1e-9
    )
    p, q = drug.sick.mean(), placebo.sick.mean()
    assert sick.smd == pytest.approx(
        abs(p - q) / math.sqrt((p * (1 - p) + q * (1 - q)) / 2), rel=1e-9
    )
    assert sick.cells[0] == f"{drug.sick.sum()} ({100 * p:.1f}%)"
    assert sick.overall == f"{frame.sick.sum()} ({100 * frame.sick.mean():.1f}%)"


def test_more_groups_and_no_group() -> None:
    frame = frame_of(1)
    found = table_one(Table(source_of(frame, 1)), by="stage", columns=["age", "sick"])
    groups = [part.age for _, part in frame.groupby("stage")]
    assert line_of(found, "age").pvalue == pytest.approx(
        scipy.stats.f_oneway(*groups).pvalue, rel=1e-9
    )
    assert line_of(found, "n").overall == str(frame.stage.notna().sum())
    alone = table_one(Table(source_of(frame, 1)), columns=["age", "stage"])
    assert alone.to_pandas().columns.tolist() == ["overall"]
    assert alone.to_pandas().loc["\u2003II", "overall"].startswith(str((frame.stage == "II").sum()))


def test_medians_missing_and_labels_in_one_job() -> None:
    frame = frame_of(2, 3000)
    source = source_of(frame, 2, threshold=10)
    found = table_one(
        Table(source),
        by="arm",
        columns=["chol", "age", "stage"],
        labels={"chol": "Serum cholesterol"},
        medians=["chol"],
        missing=True,
    )
    assert len(source.jobs) == 1
    line = line_of(found, "Serum cholesterol, median [IQR]")
    middle, low, high = (float(text) for text in re.findall(r"[\d.]+", line.cells[0]))
    drug = frame.chol[frame.arm == "drug"]
    assert middle == pytest.approx(drug.median(), abs=10)
    assert low < middle < high
    assert line_of(found, "\u2003missing").cells[0] == str(drug.isna().sum())
    assert line_of(found, "age, mean (SD)").overall


def test_a_thin_level_hides_what_would_give_it_away() -> None:
    frame = frame_of(3, 900)
    frames = split(frame, 3, 3)
    cell = (frames[0].stage == "III") & (frames[0].arm == "drug")
    frames[0] = frames[0].drop(index=frames[0].index[cell][4:]).reset_index(drop=True)
    found = table_one(Table(InProcess(frames, schema_of(frame), threshold=10)), by="arm")
    three = line_of(found, "\u2003III")
    assert three.cells == ("held back", "held back")
    assert three.overall == "held back"
    stage = line_of(found, "stage")
    assert math.isnan(stage.pvalue)
    assert math.isnan(stage.smd)
    assert "%" not in line_of(found, "\u2003I").cells[0]
    assert "held back: no rows" in repr(found)


def test_levels_that_a_view_excludes_are_no_lines() -> None:
    frame = frame_of(4, 900)
    frame["stage"] = frame["stage"].fillna("I")
    found = table_one(
        Table(source_of(frame, 4, threshold=10)).where("stage <> 'II'"),
        by="arm",
        columns=["stage"],
    )
    assert [line.label for line in found.lines] == ["n", "stage, n (%)", "\u2003I", "\u2003III"]
    assert "%" in line_of(found, "\u2003III").cells[0]
    part = frame[frame.stage != "II"]
    assert line_of(found, "stage").pvalue == pytest.approx(
        scipy.stats.chi2_contingency(pd.crosstab(part.stage, part.arm))[1], rel=1e-9
    )


def test_a_group_held_back_is_no_part_of_overall() -> None:
    frame = frame_of(5, 900)
    frames = split(frame, 3, 5)
    few = frames[0].index[frames[0].stage == "III"][6:]
    frames[0] = frames[0].drop(index=few).reset_index(drop=True)
    pooled = pd.concat(frames)
    found = table_one(
        Table(InProcess(frames, schema_of(frame), threshold=10)), by="stage", columns=["age"]
    )
    assert found.groups == ("I",)  # II covers for III
    assert line_of(found, "n").overall == str((pooled.stage == "I").sum())
    assert "left out, no rows or held back: II, III" in repr(found)


def test_texts() -> None:
    found = table_one(Table(source_of(frame_of(6), 6)), by="arm", labels={"sick": "ill | 50%_x"})
    markdown = found.to_markdown().splitlines()
    assert markdown[0].startswith("| arm | overall | drug | placebo | p | SMD |")
    assert markdown[1].startswith("| --- | ---: |")
    assert any(line.startswith(r"| ill \| 50%_x, n (%) |") for line in markdown)
    assert any(line.startswith("| &emsp;II |") for line in markdown)
    latex = found.to_latex()
    assert latex.startswith(r"\begin{tabular}{lrrrrr}")
    assert r"ill | 50\%\_x, n (\%) &" in latex
    assert r"\quad II &" in latex
    assert "<table" in found._repr_html_()


def test_level_differences() -> None:
    a, b = np.array([0.2, 0.3, 0.5]), np.array([0.3, 0.3, 0.4])
    difference = (a - b)[1:]
    spread = (np.diag(a[1:]) - np.outer(a[1:], a[1:]) + np.diag(b[1:]) - np.outer(b[1:], b[1:])) / 2
    want = math.sqrt(difference @ np.linalg.inv(spread) @ difference)
    assert level_difference(a, b) == pytest.approx(want, rel=1e-12)
    assert level_difference(a[::-1], b[::-1]) == pytest.approx(want, rel=1e-12)
    assert math.isnan(level_difference(np.array([1.0, 0.0]), np.array([1.0, 0.0])))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda t: table_one(t, by="arm", columns=["age"], medians=["stage"]),
            "expected medians of number columns of the table, got `stage`",
        ),
        (
            lambda t: table_one(t, by="age", columns=["chol"]),
            "expected `by` to have a declared domain or be a condition, got `age`",
        ),
        (lambda t: table_one(t, by="arm", columns=[]), "expected one column or more, each once"),
        (
            lambda t: table_one(t.where("age > 200"), by="arm"),
            "expected a group of `arm` with rows enough at every node, got none",
        ),
    ],
)
def test_wrong_calls(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(CallError) as raised:
        call(Table(source_of(frame_of(7), 7)))
    assert raised.value.message == message
