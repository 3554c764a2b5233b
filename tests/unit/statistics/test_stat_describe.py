"""Descriptions against pandas on the pooled rows, and what thin groups show."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from builders.in_process import InProcess, schema_of, split
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from yumen.statistics.describe import describe, estimate_text
from yumen.statistics.partitions import Bracket, Leaves, Support, quantile_of
from yumen.statistics.table import Table
from yumen_core.disclosure import DisclosureRules
from yumen_core.errors import CallError, StateError
from yumen_core.sql import Column, ColumnType, TableSchema
from yumen_core.statistics.moments_by import CENTRES, MomentsBy
from yumen_core.statistics.rows import Rows, Variable

seeds = st.integers(0, 2**20)


def assume_no_tiny_node(frame: pd.DataFrame, seed: int) -> None:
    """So that every node has rows in every cell: a cell needs three nodes."""
    assume(min(len(part) for part in split(frame, 3, seed)) >= 120)


partitions = settings(max_examples=10, deadline=None)


def frame_of(seed: int = 0, rows: int = 900) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "arm": rng.choice(["drug", "placebo"], rows),
            "stage": rng.choice(["I", "II", "III"], rows, p=[0.4, 0.35, 0.25]),
            "sick": rng.random(rows) < 0.3,
            "chol": rng.normal(200, 40, rows),
            "age": rng.integers(30, 80, rows),
        }
    )
    frame.loc[rng.random(rows) < 0.2, "chol"] = np.nan
    frame.loc[rng.random(rows) < 0.2, "stage"] = None
    return frame


def source_of(frame: pd.DataFrame, seed: int, threshold: int = 1, parts: int = 3) -> InProcess:
    return InProcess(split(frame, parts, seed), schema_of(frame), threshold=threshold)


@partitions
@given(seeds, st.booleans())
def test_numbers_agree_with_pandas(seed: int, grouped: bool) -> None:
    frame = frame_of(seed)
    assume_no_tiny_node(frame, seed)
    found = describe(Table(source_of(frame, seed)), by="arm" if grouped else None, quantiles=())
    shown = found.to_pandas()
    for group, part in frame.groupby("arm") if grouped else [(None, frame)]:
        for column in ("chol", "age"):
            line = shown.loc[(column, group) if grouped else column]
            want = part[column].describe()
            assert line["count"] == want["count"]
            assert line["missing"] == part[column].isna().sum()
            assert line["mean"] == pytest.approx(want["mean"], rel=1e-12)
            assert line["std"] == pytest.approx(want["std"], rel=1e-11)


@partitions
@given(seeds)
def test_levels_agree_with_pandas(seed: int) -> None:
    frame = frame_of(seed)
    assume_no_tiny_node(frame, seed)
    found = describe(Table(source_of(frame, seed)), ["stage", "sick"], by="arm").levels_frame()
    counted = found.set_index(["column", "group", "level"])
    for arm, part in frame.groupby("arm"):
        shares = part.stage.value_counts(normalize=True)
        for stage, count in part.stage.value_counts().items():
            assert counted.loc[("stage", arm, stage), "count"] == count
            assert counted.loc[("stage", arm, stage), "share"] == pytest.approx(shares[stage])
        assert counted.loc[("sick", arm, True), "count"] == part.sick.sum()
        missing = found[(found.column == "stage") & (found.group == arm) & found.level.isna()]
        assert missing["count"].item() == part.stage.isna().sum()


def test_quantiles_come_in_the_same_job() -> None:
    frame = frame_of(1, 3000)
    source = source_of(frame, 1, threshold=10)
    found = describe(Table(source), by="arm")
    assert len(source.jobs) == 1
    shown = found.to_pandas()
    assert found.quantiles is not None
    for arm, part in frame.groupby("arm"):
        want = part.chol.quantile([0.25, 0.5, 0.75])
        line = shown.loc[("chol", arm)]
        assert [line["25%"], line["50%"], line["75%"]] == pytest.approx(list(want), abs=8)
        for share, value in want.items():
            bracket = found.quantiles.at("chol", share, arm)
            assert bracket.lower <= value <= bracket.upper
    text = repr(found)
    assert "50%" in text
    assert "quantiles are estimates" in text


def test_a_view_units_and_expressions() -> None:
    frame = frame_of(2)
    schema = schema_of(frame)
    columns = tuple(
        dataclasses.replace(c, unit="mg/dL") if c.name == "chol" else c for c in schema.columns
    )
    source = InProcess(split(frame, 3, 2), TableSchema("t", columns), threshold=1)
    table = Table(source).where("age >= 40").assign(ratio="chol / 2")
    found = describe(table, ["chol", "ratio", "age >= 60"], quantiles=())
    old = frame[frame.age >= 40]
    assert found.numbers[0].moments is not None
    assert found.numbers[0].moments.mean == pytest.approx(old.chol.mean(), rel=1e-12)
    assert found.numbers[1].moments is not None
    assert found.numbers[1].moments.mean == pytest.approx(old.chol.mean() / 2, rel=1e-12)
    assert found.numbers[1].missing == old.chol.isna().sum()
    assert found.levels["age >= 60"].counts[0].tolist()[:2] == [
        (old.age < 60).sum(),
        (old.age >= 60).sum(),
    ]
    assert "chol (mg/dL)" in repr(found)
    assert "mg/dL" in found._repr_html_()


def test_few_missing_values_are_a_thin_cell() -> None:
    frame = frame_of(3)
    frame["chol"] = np.random.default_rng(0).normal(200, 40, len(frame))
    frame.loc[:3, "chol"] = np.nan
    found = describe(Table(source_of(frame, 3, threshold=10)), ["chol"], quantiles=())
    assert found.numbers[0].missing is None
    assert "few or none" in repr(found)
    assert found.to_pandas()["missing"].isna().all()
    frame.loc[:100, "chol"] = np.nan
    found = describe(Table(source_of(frame, 3, threshold=10)), ["chol"], quantiles=())
    assert found.numbers[0].missing == 101


def test_a_column_that_cannot_be_missing_is_not_counted() -> None:
    frame = frame_of(4)
    source = source_of(frame, 4, threshold=10)
    found = describe(Table(source), ["age"], quantiles=())
    assert found.numbers[0].missing == 0


def test_a_thin_group_leaves_its_node_out_and_a_tiny_one_is_held_back() -> None:
    frame = frame_of(5, 600)
    frames = split(frame, 4, 5)
    frames[0] = frames[0].drop(index=frames[0].index[frames[0].arm == "drug"][5:])
    frames = [part.reset_index(drop=True) for part in frames]
    found = describe(
        Table(InProcess(frames, schema_of(frame), threshold=10)), ["age"], by="arm", quantiles=()
    )
    drug = found.numbers[0].moments
    assert drug is not None
    rest = pd.concat(frames[1:])
    assert drug.nodes == 3
    assert drug.mean == pytest.approx(rest.age[rest.arm == "drug"].mean(), rel=1e-12)
    assert "age drug stands on 3 nodes of 4" in repr(found)
    frames[1] = frames[1][frames[1].arm == "placebo"].reset_index(drop=True)
    found = describe(
        Table(InProcess(frames, schema_of(frame), threshold=10)), ["age"], by="arm", quantiles=()
    )
    assert found.numbers[0].moments is None
    assert "held back" in repr(found)


def test_columns_of_free_text_are_passed_over() -> None:
    frame = frame_of(6)
    schema = schema_of(frame)
    free = Column("arm", ColumnType.TEXT)
    columns = tuple(free if c.name == "arm" else c for c in schema.columns)
    given_ = InProcess(split(frame, 3, 6), schema, threshold=1)
    given_.schema = TableSchema("t", columns)
    found = describe(Table(given_), quantiles=())
    assert {entry.column for entry in found.numbers} == {"chol", "age"}
    assert set(found.levels) == {"stage", "sick"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: describe(t, "age"), "expected a list of columns, got the text `age`"),
        (lambda t: describe(t, []), "expected one column or more, each once"),
        (lambda t: describe(t, ["age", "age"]), "expected one column or more, each once"),
        (lambda t: describe(t, ["age"], by="age"), "expected groups by another column, got `age`"),
        (
            lambda t: describe(t, ["chol"], by="age"),
            "expected `by` to have a declared domain or be a condition, got `age`",
        ),
        (
            lambda t: describe(t, ["chol"], quantiles=(2,)),
            "expected quantiles from 0 to 1, each once, got `[2]`",
        ),
        (
            lambda t: describe(t, ["cohl"]),
            "expected a column of table `t`, got `cohl`; near it: `chol`",
        ),
    ],
)
def test_wrong_calls(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(CallError) as raised:
        call(Table(source_of(frame_of(7), 7)))
    assert raised.value.message == message


VARIABLES = {
    "g": Variable("g", False, ("a", "b")),
    "x": Variable("x", True),
    "s": Variable("s", False, ("p", "q")),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variables": []}, "expected one variable or more, each once"),
        ({"variables": ["x", "x"]}, "expected one variable or more, each once"),
        ({"variables": ["s"]}, "expected `s` to be a number, got levels"),
        ({"groups": 3}, "expected 2 groups, got 3"),
        ({"by": ""}, "expected 1 groups, got 2"),
        ({"by": "x"}, "expected `x` to have a declared domain, got values not known beforehand"),
        ({"squares": 2}, "expected `squares` from 0 to 1, got `2`"),
        ({"power": 3}, "expected the arguments by, groups, squares, variables, got `power`"),
    ],
)
def test_bad_arguments_of_the_kind(change: dict[str, object], message: str) -> None:
    good = {"by": "g", "groups": 2, "squares": 1, "variables": ["x"]}
    assert MomentsBy().layout(good, VARIABLES).cells == 2  # type: ignore[arg-type]
    with pytest.raises(CallError) as raised:
        MomentsBy().layout({**good, **change}, VARIABLES)  # type: ignore[dict-item]
    assert raised.value.message == message


@pytest.mark.parametrize(("few", "behind"), [(0, 100), (2, 2), (4, 0), (5, 100)])
def test_a_few_rows_unlike_all_others_are_what_stands_behind_a_sum(few: int, behind: int) -> None:
    """A column that is 0 but for a few rows is a count of those rows in disguise: of 1 or 2 as they
    are, of 3 or 4 by Kish's effective rows, half the threshold."""
    x = np.zeros(100)
    x[:few] = 5.0
    x = np.random.default_rng(few).permutation(x)
    arguments = {"by": "", "groups": 1, "squares": 0, "variables": ["x"]}
    local = MomentsBy().compute(
        Rows(100, {"x": x}, {}),
        arguments,  # type: ignore[arg-type]
        {},
        DisclosureRules(threshold=10),
    )
    assert local.supports.tolist() == [[100, behind]]


def test_a_far_mean_keeps_its_deviation_and_one_value_has_none() -> None:
    frame = frame_of(8)
    frame["chol"] = 1e9 + np.random.default_rng(1).normal(0, 1e-2, len(frame))
    frame["one"] = 0.1
    found = describe(Table(source_of(frame, 8)), ["chol", "one"], quantiles=())
    chol, one = (entry.moments for entry in found.numbers)
    assert chol is not None
    assert one is not None
    exact = [x - 1e9 for x in frame.chol.tolist()]
    assert chol.standard_deviation == pytest.approx(np.std(exact, ddof=1), rel=1e-9)
    assert one.variance == 0.0


def test_hostile_centres_are_refused_whatever_the_rows() -> None:
    rows = Rows(20, {"x": np.arange(20.0)}, {})
    arguments = {"by": "", "groups": 1, "squares": 1, "variables": ["x"]}
    with pytest.raises(StateError) as raised:
        MomentsBy().compute(
            rows,
            arguments,  # type: ignore[arg-type]
            {CENTRES: np.array([[1e308]])},
            DisclosureRules(threshold=10),
        )
    assert raised.value.message == "expected centres within 1e+13 of 0, got another"


def test_dates_are_left_out_unless_they_are_named() -> None:
    frame = frame_of(9)
    frame["seen"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(900) % 60, unit="D")
    frame["seen"] = frame["seen"].dt.date
    columns = schema_of(frame.drop(columns="seen")).columns
    seen = Column("seen", ColumnType.DATE, lower=frame["seen"].min(), upper=frame["seen"].max())
    table = Table(InProcess(split(frame, 3, 9), TableSchema("t", (*columns, seen)), threshold=1))
    found = describe(table, quantiles=())
    assert "seen" not in found.levels
    assert "dates are left out (seen)" in repr(found)
    named = describe(table, ["seen"])
    assert len(named.levels["seen"].levels) == 60
    assert "seen: 20 of 60 levels shown, the largest that are released" in repr(named)


@pytest.mark.parametrize(
    ("bracket", "text"),
    [
        (Bracket(2.6e-23, 0.0, 5.29396e-23), "0.0"),
        (Bracket(27.00000000001, 27.0, 27.00000000002), "27.0"),
        (Bracket(27.0, 26.9999, 27.0001), "27.0000"),
        (Bracket(123456.789, 123456.5, 123457.0), "123457"),
        (Bracket(3000.0, 0.0, 6000.0, unknown=True), ""),
        (Bracket(20.0, -0.0, 40.0), "0.0–40.0"),
        (Bracket(float("nan"), float("nan"), float("nan")), ""),
    ],
)
def test_a_quantile_has_no_noise_of_floats(bracket: Bracket, text: str) -> None:
    assert estimate_text(bracket) == text


def test_a_quantile_of_which_only_the_declared_bounds_are_known_is_blank() -> None:
    support = Support(Fraction(0), Fraction(6000))
    rows = np.array([90])
    bracket = quantile_of(Leaves(np.empty(0), np.empty((0, 1), dtype=np.int64), rows), 0.5, support)
    assert bracket.unknown
    assert estimate_text(bracket) == ""
    told = quantile_of(Leaves(np.array([4096.0]), np.array([[60]]), rows), 0.5, support)
    assert not told.unknown
    assert estimate_text(told) == "0.0–4096.0"
