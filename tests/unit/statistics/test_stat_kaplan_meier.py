"""Survival curves against lifelines on the pooled rows, and what a small cell of time does."""

import numpy as np
import pandas as pd
import pytest
from builders.in_process import InProcess, schema_of, split
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from lifelines.datasets import load_rossi
from yumen.statistics.kaplan_meier import kaplan_meier
from yumen.statistics.table import Table
from yumen_core.canonical import Json
from yumen_core.disclosure import DisclosureRules
from yumen_core.errors import CallError, PeerError
from yumen_core.statistics.time_grid import TimeGrid, parse_grid, summed


def survival_frame(n: int = 600, times: int = 9, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "t": rng.integers(0, times, n),
            "e": rng.integers(0, 2, n),
            "g": rng.choice(["a", "b", "c"], n),
        }
    )


def table_of(frame: pd.DataFrame, *, threshold: int = 1, seed: int = 0, parts: int = 3) -> Table:
    return Table(InProcess(split(frame, parts, seed), schema_of(frame), threshold=threshold))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), parts=st.integers(3, 6), times=st.integers(2, 14))
def test_curves_are_those_of_the_pooled_rows(seed: int, parts: int, times: int) -> None:
    frame = survival_frame(900, times, seed)
    found = kaplan_meier(table_of(frame, seed=seed, parts=parts), "t", "e")
    wanted = KaplanMeierFitter().fit(frame["t"], frame["e"])
    assert found.cells.exact
    for name in ("survival_function_", "confidence_interval_survival_function_"):
        ours, theirs = getattr(found, name), getattr(wanted, name)
        assert list(ours.columns) == list(theirs.columns)
        np.testing.assert_allclose(ours.to_numpy(), theirs.to_numpy(), rtol=1e-12)
        np.testing.assert_array_equal(ours.index, theirs.index)
    assert found.median_survival_time_ == wanted.median_survival_time_
    np.testing.assert_array_equal(found.event_table.to_numpy(), wanted.event_table.to_numpy())


def test_groups_are_those_of_the_pooled_rows() -> None:
    frame = survival_frame(2_000)
    found = kaplan_meier(table_of(frame), "t", "e", by="g", alpha=0.1)
    for level in ("a", "b", "c"):
        rows = frame[frame["g"] == level]
        wanted = KaplanMeierFitter(alpha=0.1).fit(rows["t"], rows["e"], label=level)
        np.testing.assert_allclose(
            found.survival_function_[level], wanted.survival_function_[level], rtol=1e-12
        )
        limits = found.confidence_interval_survival_function_
        theirs = wanted.confidence_interval_survival_function_
        np.testing.assert_allclose(limits[theirs.columns], theirs, rtol=1e-12)
        assert found[level].median == wanted.median_survival_time_
        medians = found.median_survival_time_
        assert isinstance(medians, pd.Series)
        assert medians[level] == wanted.median_survival_time_
    assert list(found.event_table.loc["a"]["removed"])[1:] == list(found["a"].removed[1:])


def test_missing_rows_and_conditions_are_left_out() -> None:
    frame = survival_frame(900)
    frame["e"] = frame["e"].astype("Int64").where(np.arange(900) % 5 > 0)
    kept = frame.dropna()
    found = kaplan_meier(table_of(frame), "t", "CASE WHEN e = 1 THEN 1 WHEN e = 0 THEN 0 END")
    wanted = KaplanMeierFitter().fit(kept["t"], kept["e"].astype(int))
    np.testing.assert_allclose(
        found.survival_function_.to_numpy(), wanted.survival_function_.to_numpy(), rtol=1e-12
    )


def test_floats_are_rounded_up_to_the_resolution() -> None:
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"t": rng.uniform(0.05, 3.95, 600), "e": rng.integers(0, 2, 600)})
    found = kaplan_meier(table_of(frame), "t", "e", resolution=0.5, horizon=4)
    wanted = KaplanMeierFitter().fit(np.ceil(frame["t"] / 0.5) * 0.5, frame["e"])
    assert "times in steps of 0.5" in repr(found)
    np.testing.assert_allclose(
        found.survival_function_.to_numpy(), wanted.survival_function_.to_numpy(), rtol=1e-12
    )


def test_follow_up_ends_at_the_horizon() -> None:
    frame = survival_frame(900, 40)
    found = kaplan_meier(table_of(frame), "t", "e", horizon=7)
    cut = frame["e"].where(frame["t"] <= 7, 0)
    wanted = KaplanMeierFitter().fit(frame["t"].clip(upper=7), cut)
    np.testing.assert_allclose(
        found.survival_function_.to_numpy(), wanted.survival_function_.to_numpy(), rtol=1e-12
    )
    np.testing.assert_array_equal(found.event_table.to_numpy(), wanted.event_table.to_numpy())
    with pytest.raises(CallError, match="expected `horizon` above 0 and at most 39"):
        kaplan_meier(table_of(frame), "t", "e", horizon=40)


def test_cells_with_few_rows_are_taken_together() -> None:
    frame = load_rossi()
    table = table_of(frame, threshold=10)
    found = kaplan_meier(table, "week", "arrest")
    assert not found.cells.exact
    assert len(found.cells.widths) < 20
    assert int(found.event_table["removed"].sum()) == len(frame)
    assert "took several steps together for too few rows at a node" in repr(found)
    # At the end of a cell, after which no row of it is at risk, only the tied censored rows differ.
    wanted = KaplanMeierFitter().fit(frame["week"], frame["arrest"]).survival_function_
    for time, value in found.survival_function_["KM_estimate"].items():
        assert value == pytest.approx(float(wanted.loc[time, "KM_estimate"]), rel=1e-12)


@pytest.mark.parametrize("by", [None, "g"])
def test_no_released_cell_rests_on_few_rows_of_a_node(by: str | None) -> None:
    frame = survival_frame(700, 60, 3)
    parts = split(frame, 4, 3)
    table = Table(InProcess(parts, schema_of(frame), threshold=10))
    cells = kaplan_meier(table, "t", "e", by=by).cells
    assert len(cells.widths) > (1 if by is None else 0)
    for first, last in zip(cells.starts, cells.times, strict=True):
        for part in parts:
            rows = part[(part["t"] >= first) & (part["t"] <= last)]
            counts = [len(rows)] if by is None else rows["g"].value_counts().tolist()
            assert all(count == 0 or count >= DisclosureRules().few for count in counts)
        rows = frame[(frame["t"] >= first) & (frame["t"] <= last)]
        assert rows.empty or len(rows) >= 3 * 10


def test_a_curve_draws_and_prints() -> None:
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib.figure import Figure

    found = kaplan_meier(table_of(survival_frame(900)), "t", "e", by="g")
    drawn = found.plot(Figure().subplots())
    assert len(drawn.lines) == 3
    assert "median survival time" in repr(found)
    assert "<table" in found._repr_html_()
    with pytest.raises(CallError, match="expected a group among `a`, `b`, `c`, got `d`"):
        found["d"]


def test_events_and_durations_that_cannot_be() -> None:
    frame = survival_frame()
    frame.loc[0, "e"] = 2
    with pytest.raises(CallError, match="bounds from 0 to 1, got `e` with bounds from 0 to 2"):
        kaplan_meier(table_of(frame), "t", "e")
    frame = survival_frame()
    schema = schema_of(frame)
    frame.loc[:5, "t"] = -1
    with pytest.raises(CallError, match="expected durations with declared bounds from 0, got `t`"):
        kaplan_meier(table_of(frame), "t", "e")
    tables = [Table(InProcess(split(frame, 3), schema, threshold=most)) for most in (10, 1)]
    found = kaplan_meier(tables[0], "t", "e")
    assert int(found.event_table["removed"].sum()) == 594
    with pytest.raises(PeerError, match="expected finite durations from 0 in `t`, got others"):
        kaplan_meier(tables[1], "t", "e")


def test_wrong_calls_say_what_would_pass() -> None:
    frame = survival_frame()
    frame["x"] = frame["t"] + 0.5
    table = table_of(frame)
    with pytest.raises(CallError, match="expected `resolution` for `x`"):
        kaplan_meier(table, "x", "e")
    with pytest.raises(CallError, match="expected a `resolution` above 0, got `0`"):
        kaplan_meier(table, "t", "e", resolution=0)
    with pytest.raises(CallError, match=r"choose a resolution of 0\.001 or more"):
        kaplan_meier(table, "t", "e", resolution=1e-7)
    with pytest.raises(CallError, match="expected `alpha` between 0 and 1, got `5`"):
        kaplan_meier(table, "t", "e", alpha=5)
    with pytest.raises(CallError, match="expected `g` to be a number or a condition, got levels"):
        kaplan_meier(table, "t", "g")
    with pytest.raises(CallError, match="expected `x` to have a declared domain"):
        kaplan_meier(table, "t", "e", by="x")


def test_too_few_rows_release_nothing() -> None:
    with pytest.raises(CallError, match="got too few to release any cell of time"):
        kaplan_meier(table_of(survival_frame(25), threshold=10), "t", "e")


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 9, 52, 1000, 16384])
def test_steps_have_leaves_of_their_own_in_order(steps: int) -> None:
    grid = TimeGrid(0.0, 1.0, steps)
    leaves = grid.leaf_of_step()
    assert len(set(leaves.tolist())) == steps
    assert (np.diff(leaves) > 0).all()
    assert (leaves[0], leaves[-1]) == (0, grid.leaves - 1)
    bottom = np.zeros(grid.cells, dtype=np.int64)
    bottom[grid.leaves - 1 :] = 3
    found = list(grid.partition(bottom))
    assert [(first, last) for _, first, last in found] == [(at, at) for at in range(steps)]


def test_a_tree_sums_its_leaves() -> None:
    assert summed(np.array([[1], [2], [3], [4]])).ravel().tolist() == [10, 3, 7, 1, 2, 3, 4]


@pytest.mark.parametrize("bad", [{"resolution": "0"}, {"start": "x"}, {"steps": 0}, {"steps": "9"}])
def test_bad_grids_are_refused(bad: dict[str, Json]) -> None:
    arguments = {**TimeGrid(0.0, 0.1, 9).to_arguments(), **bad}
    with pytest.raises(CallError, match="expected"):
        parse_grid(arguments)
