"""Histograms: released counts are numpy's on the pooled rows."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from builders.in_process import InProcess, schema_of, split
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen.statistics.histogram import HELD_BACK, histogram
from yumen.statistics.table import Table
from yumen_core.errors import CallError
from yumen_core.sql import Column, ColumnType, TableSchema


def frame_of(seed: int, rows: int = 900) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "n": rng.integers(0, 21, rows),
            "x": rng.normal(5, 2, rows),
            "g": rng.choice(["a", "b"], rows),
        }
    )
    frame.loc[rng.random(rows) < 0.1, "x"] = np.nan
    return frame


def table_of(frame: pd.DataFrame, threshold: int = 10, seed: int = 0) -> Table:
    return Table(InProcess(split(frame, 3, seed), schema_of(frame), threshold=threshold))


@settings(max_examples=10, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 10]),
    st.sampled_from(["n", "x"]),
    st.sampled_from([5, 12, [0.0, 1.0, 4.0, 8.0], [-3.0, 5.0]]),
    st.booleans(),
)
def test_released_counts_are_numpys(
    seed: int, threshold: int, column: str, bins: int | list[float], grouped: bool
) -> None:
    frame = frame_of(seed)
    found = histogram(table_of(frame, threshold, seed), column, bins, by="g" if grouped else None)
    for group, edges, counts in zip(found.groups, found.edges, found.counts, strict=True):
        rows = frame if group is None else frame[frame["g"] == group]
        expected = np.histogram(rows[column].dropna(), edges)[0]
        shown = counts != HELD_BACK
        assert (counts[shown] == expected[shown]).all()
        assert (expected[shown] >= 3 * threshold).all()


def test_equal_bins_over_bounds_or_around_the_mean() -> None:
    frame = frame_of(1, 3000)
    found = histogram(table_of(frame), "n", 7)
    assert found.edges[0] == pytest.approx(np.linspace(0, 20, 8))
    assert (found.counts[0] == np.histogram(frame["n"], 7, (0, 20))[0]).all()
    found = histogram(table_of(frame), "x", 5, spread=2.0, density=True)
    mean, deviation = frame["x"].mean(), frame["x"].std()
    assert found.edges[0] == pytest.approx(
        np.linspace(mean - 2 * deviation, mean + 2 * deviation, 6)
    )
    expected = np.histogram(frame["x"].dropna(), found.edges[0], density=True)[0]
    assert found.heights[0] == pytest.approx(expected)


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 20))
def test_merged_bins_hold_every_row_and_none_back(seed: int, bins: int) -> None:
    frame = frame_of(seed)
    found = histogram(table_of(frame, 10, seed), "x", bins, by="g", merged="auto")
    for group, edges, counts in zip(found.groups, found.edges, found.counts, strict=True):
        values = frame.loc[frame["g"] == group, "x"].dropna()
        assert 1 <= len(counts) <= bins
        assert (counts == np.histogram(values, edges)[0]).all()
        assert counts.sum() == len(values)
        assert ((counts == 0) | (counts >= 30)).all()


def test_held_back_bins_are_said() -> None:
    frame = frame_of(2, 200)
    found = histogram(table_of(frame), "x", [-20.0, -10.0, 5.0, 30.0])
    assert found.counts[0][0] == HELD_BACK
    assert np.isnan(found.heights[0][0])
    assert "1 bin held back: too few rows, or none, at some node" in repr(found)
    assert found.to_pandas()["count"].isna().tolist() == [True, False, False]
    grouped = histogram(table_of(frame), "x", [-20.0, 5.0, 30.0], by="g")
    assert list(grouped.to_pandas().columns) == ["g", "lower", "upper", "count", "height"]


def test_plot_draws_each_group() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    found = histogram(table_of(frame_of(3)), "n", 4, by="g")
    axes = found.plot()
    assert axes.get_xlabel() == "n"
    assert len(axes.patches) == 8
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["g = a", "g = b"]
    assert found.plot(axes) is axes
    pyplot.close(axes.figure)


def test_plot_without_matplotlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = histogram(table_of(frame_of(3)), "n", 4)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(CallError, match="expected matplotlib for plotting") as refused:
        found.plot()
    assert refused.value.remedy == "pip install 'yumen[plot]'"


@pytest.mark.parametrize(
    ("bins", "options", "message"),
    [
        (0, {}, "expected 1 to 1000 bins, got `0`"),
        (1001, {}, "expected 1 to 1000 bins, got `1001`"),
        ([1.0], {}, "expected finite edges in rising order, and no spread"),
        ([1.0, 1.0], {}, "expected finite edges in rising order"),
        ([0.0, float("inf")], {}, "expected finite edges in rising order"),
        ([0.0, 1.0], {"spread": 2}, "and no spread"),
        (5, {"spread": 0}, "expected a spread above 0, got `0`"),
        (5, {"merged": "yes"}, 'expected merged="no" or "auto", got `yes`'),
        ([0.0, 1.0], {"merged": "auto"}, "expected the number of bins alone"),
        (5, {"by": "n"}, "expected groups with known values, got `n`"),
    ],
)
def test_wrong_calls(bins: object, options: dict[str, object], message: str) -> None:
    with pytest.raises(CallError, match=message):
        histogram(table_of(frame_of(4, 60)), "x", bins, **options)  # type: ignore[arg-type]


def test_a_column_without_bounds_needs_edges() -> None:
    schema = TableSchema("t", (Column("x", ColumnType.FLOAT),))
    frame = pd.DataFrame({"x": np.random.default_rng(3).normal(4, 1, 600)})
    table = Table(InProcess(split(frame, 3), schema, threshold=10))
    with pytest.raises(CallError, match="expected a column with declared bounds, got `x`"):
        histogram(table, "x")
    found = histogram(table, "x", 8, merged="auto")
    assert found.counts[0].sum() == 600
    assert np.isfinite(found.edges[0]).all()


def test_density_is_of_the_released_rows_and_held_back_bins_are_hatched() -> None:
    pytest.importorskip("matplotlib").use("agg")
    from matplotlib.figure import Figure

    edges = [-20.0, -10.0, 5.0, 30.0]
    found = histogram(table_of(frame_of(2, 200)), "x", edges, density=True)
    axes = found.plot(Figure().subplots())
    assert axes.get_ylabel() == "density of the released rows"
    assert [bar.get_hatch() for bar in axes.patches] == [None, None, None, "///"]
    assert "density: share of the released rows for each unit of the column" in repr(found)
    assert f"{found.heights[0][1]:.4g}" in repr(found)
