"""Quantiles hold the pooled rows' quantile between their bounds, whatever the partition."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from builders.in_process import InProcess, schema_of, split
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen.statistics.partitions import Leaves, Support, quantile_of
from yumen.statistics.quantiles import Quantiles, median, quantile
from yumen.statistics.table import Table
from yumen_core.errors import CallError, PeerError
from yumen_core.sql import Column, ColumnType, TableSchema

Q = (0.0, 0.25, 0.5, 0.77, 1.0)


def frame_of(seed: int, rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 95, rows),
            "few": rng.choice([-7, 0, 3, 1000], rows),
            "x": rng.normal(rng.normal(0, 50), rng.exponential(10), rows),
            "income": np.exp(rng.normal(9, 1.5, rows)),
            "flag": rng.random(rows) < 0.3,
            "g": rng.choice(["a", "b"], rows, p=[0.7, 0.3]),
        }
    )
    frame.loc[rng.random(rows) < 0.1, "x"] = np.nan
    return frame


def check(found: Quantiles, frame: pd.DataFrame) -> None:
    lines = found.to_pandas()
    for line in lines.to_dict("records"):
        rows = frame if not found.by else frame[frame[found.by] == line[found.by]]
        values = rows[line["column"]].dropna().to_numpy(dtype=np.float64)
        if not line["rows"]:
            assert math.isnan(line["estimate"])
            continue
        assert line["rows"] == len(values)
        expected = np.quantile(values, line["q"])
        assert line["lower"] <= expected <= line["upper"]
        assert line["lower"] <= line["estimate"] <= line["upper"]
        assert abs(line["estimate"] - expected) <= line["error"]


@settings(max_examples=5, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([40, 300, 1500]),
    st.sampled_from([1, 10]),
    st.booleans(),
)
def test_the_bounds_hold_the_pooled_quantile(
    seed: int, rows: int, threshold: int, grouped: bool
) -> None:
    frame = frame_of(seed, rows)
    table = Table(InProcess(split(frame, 3, seed), schema_of(frame), threshold=threshold))
    columns = ["age", "few", "x", "income", "flag"]
    check(quantile(table, columns, Q, by="g" if grouped else None, max_rounds=3), frame)


def test_integers_and_booleans_are_exact_where_enough_rows_share_a_value() -> None:
    frame = frame_of(3, 6000)
    table = Table(InProcess(split(frame, 3, 1), schema_of(frame), threshold=10))
    found = quantile(table, ["age", "few", "flag"], (0.25, 0.5, 0.75))
    assert (found.error == 0).all()
    expected = [
        np.quantile(frame[name].to_numpy(dtype=np.float64), q)
        for name in ("age", "few", "flag")
        for q in (0.25, 0.5, 0.75)
    ]
    assert found.estimate.tolist() == expected


def test_decimals_are_exact_where_enough_rows_share_a_value() -> None:
    schema = TableSchema(
        "t",
        (Column("p", ColumnType.DECIMAL, scale=2, lower=Decimal(0), upper=Decimal(5)),),
    )
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"p": rng.choice(["0.10", "0.11", "1.29", "4.35"], 900)})
    table = Table(InProcess(split(frame, 3), schema, threshold=10))
    found = quantile(table, "p", (0.4, 0.5, 0.6))
    values = frame["p"].astype(float)
    assert found.estimate.tolist() == [np.quantile(values, q) for q in (0.4, 0.5, 0.6)]
    assert (found.error == 0).all()


def test_outliers_do_not_blunt_the_rest() -> None:
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"x": np.append(rng.normal(500, 60, 3000), [1e9, -1e9, 7e8])})
    table = Table(InProcess(split(frame, 3), schema_of(frame), threshold=10))
    found = median(table, "x", max_rounds=8)
    assert found.error[0] < 10
    check(found, frame)


def test_looking_stops_within_the_tolerance() -> None:
    frame = frame_of(5, 3000)
    source = InProcess(split(frame, 3), schema_of(frame))
    coarse = median(Table(source), "income", tolerance=50_000.0)
    fine = median(Table(source), "income", tolerance=100.0)
    assert coarse.provenance.rounds < fine.provenance.rounds
    assert fine.upper[0] - fine.lower[0] <= 100.0
    assert len(source.jobs) == 2


def test_a_column_without_known_bounds_and_a_narrowed_table() -> None:
    frame = frame_of(6, 3000)
    table = Table(InProcess(split(frame, 3), schema_of(frame), threshold=10))
    found = median(table.where("age < 60").assign(half="x / 2"), ["half", "few * 2"], by="g")
    kept = frame[frame["age"] < 60]
    check(found, kept.assign(half=kept["x"] / 2, **{"few * 2": kept["few"] * 2}))
    assert (found.error[:2] < 1).all()
    assert (found.error[2:] == 0).all()


def test_a_group_with_too_few_rows_is_held_back() -> None:
    frame = frame_of(7, 300)
    frame.loc[:4, "g"] = "c"
    table = Table(InProcess(split(frame, 3), schema_of(frame), threshold=10))
    found = median(table, "age", by="g")
    assert found.rows[2] == 0
    assert math.isnan(found.at("age", 0.5, "c").estimate)
    assert "held back: too few rows or nodes behind the group" in repr(found)
    assert "<table" in found._repr_html_()


def test_infinite_values_are_refused() -> None:
    schema = TableSchema("t", (Column("x", ColumnType.FLOAT),))
    frame = pd.DataFrame({"x": [1.0, math.inf] * 50})
    table = Table(InProcess(split(frame, 3), schema))
    with pytest.raises(PeerError, match="expected finite numbers in `x`, got others"):
        median(table, "x")


def test_a_column_without_bounds() -> None:
    schema = TableSchema("t", (Column("x", ColumnType.FLOAT),))
    frame = pd.DataFrame({"x": np.random.default_rng(3).normal(1e5, 30, 3000)})
    table = Table(InProcess(split(frame, 3), schema, threshold=10))
    found = quantile(table, "x", (0.0, 0.5, 1.0), max_rounds=8)
    assert found.lower[0] == -math.inf
    assert found.upper[2] == math.inf
    assert found.error[1] < 3
    expected = np.quantile(frame["x"], (0.0, 0.5, 1.0))
    assert ((found.lower <= expected) & (expected <= found.upper)).all()


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ([], {}, "expected one column or more, each once"),
        (["age", "age"], {}, "expected one column or more, each once"),
        ("g", {}, "expected a column of numbers, got `g`"),
        ("agee", {}, "expected a column of table `t`, got `agee`; near it: `age`"),
        ("age", {"by": "age"}, "expected groups by another column, got `age`"),
        ("age", {"by": "few"}, "expected groups with known values, got `few`"),
        ("age", {"q": 1.5}, "expected quantiles from 0 to 1, got `\\[1.5\\]`"),
        ("age", {"q": []}, "expected quantiles from 0 to 1"),
        ("age", {"q": [math.nan]}, "expected quantiles from 0 to 1"),
        ("age", {"q": [0.5, 0.5]}, "expected at most 50 quantiles, each once"),
        ("age", {"tolerance": -1.0}, "expected a tolerance from 0, got `-1.0`"),
        ("age", {"max_rounds": 0}, "expected 1 to 20 rounds, got `0`"),
    ],
)
def test_wrong_calls(columns: object, options: dict[str, object], message: str) -> None:
    frame = frame_of(8, 60)
    source = InProcess(split(frame, 3), schema_of(frame))
    with pytest.raises(CallError, match=message):
        quantile(Table(source), columns, **options)  # type: ignore[arg-type]
    assert not source.jobs


@given(
    st.lists(st.integers(-50, 50), min_size=1, max_size=40),
    st.sets(st.integers(-60, 60), max_size=8),
    st.floats(0, 1),
    st.booleans(),
)
def test_any_edges_bracket_the_quantile(
    values: list[int], chosen: set[int], q: float, known: bool
) -> None:
    rows = np.sort(np.array(values, dtype=np.float64))
    edges = np.array(sorted(chosen), dtype=np.float64) / 2
    below = np.searchsorted(rows, edges, side="left").reshape(-1, 1).astype(np.int64)
    leaves = Leaves(edges, below, np.array([len(rows)]))
    grain = Fraction(1) if known else None
    support = Support(Fraction(-50), Fraction(50), grain) if known else Support()
    found = quantile_of(leaves, q, support)
    assert found.lower <= np.quantile(rows, q) <= found.upper
    if known:
        assert found.lower <= found.estimate <= found.upper


def test_what_a_grain_says_of_an_edge() -> None:
    cents = Support(Fraction(0), Fraction(5), Fraction(1, 100))
    assert cents.least_from(0.1) == 0.1
    assert cents.greatest_below(0.1) == 0.09
    assert cents.least_from(0.101) == 0.11
    assert cents.greatest_below(7.0) == 5.0
    assert Support().least_from(0.101) == 0.101
