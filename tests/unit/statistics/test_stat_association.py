"""Correlations and covariances against pandas and scipy on the pooled rows."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from builders.in_process import InProcess, schema_of, split
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen.statistics.association import corr, cov
from yumen.statistics.table import Table
from yumen_core.disclosure import DisclosureRules
from yumen_core.errors import CallError, StateError
from yumen_core.statistics.pair_moments import PairMoments
from yumen_core.statistics.rows import Rows, Variable

mpl.use("Agg")
seeds = st.integers(0, 2**20)
NUMBERS = ["x", "y", "z", "w"]


def frame_of(seed: int = 0, rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(5, 2, rows)
    frame = pd.DataFrame(
        {
            "x": x,
            "y": 0.5 * x + rng.normal(0, 1, rows),
            "z": 1e-6 * rng.normal(3, 1, rows) - 2e-7 * x,
            "w": rng.integers(0, 50, rows),
            "arm": rng.choice(["a", "b"], rows),
        }
    )
    for name in ("x", "y", "z"):
        frame.loc[rng.random(rows) < 0.15, name] = np.nan
    return frame


def source_of(frame: pd.DataFrame, seed: int, threshold: int = 1) -> InProcess:
    return InProcess(split(frame, 3, seed), schema_of(frame), threshold=threshold)


@settings(max_examples=12, deadline=None)
@given(seeds, st.sampled_from([0.0, 1e6]))
def test_pairs_agree_with_pandas(seed: int, far: float) -> None:
    frame = frame_of(seed)
    frame["x"] += far
    source = source_of(frame, seed)
    found = corr(Table(source), NUMBERS)
    assert len(source.jobs) == 1
    exact = frame.assign(x=frame.x - far)
    np.testing.assert_allclose(found.to_pandas(), exact[NUMBERS].corr(), rtol=1e-9, atol=1e-12)
    covariances = cov(Table(source), NUMBERS).to_pandas()
    np.testing.assert_allclose(covariances, exact[NUMBERS].cov(), rtol=1e-8, atol=1e-16)
    both = exact.dropna(subset=["x", "y"])
    assert found.nobs[0, 0, 1] == len(both)
    assert found.pvalues[0, 0, 1] == pytest.approx(
        scipy.stats.pearsonr(both.x, both.y).pvalue, rel=1e-6, abs=1e-300
    )


@settings(max_examples=8, deadline=None)
@given(seeds)
def test_groups_agree_with_pandas(seed: int) -> None:
    frame = frame_of(seed)
    found = corr(Table(source_of(frame, seed)), ["x", "y", "w"], by="arm")
    want = frame.groupby("arm")[["x", "y", "w"]].corr()
    np.testing.assert_allclose(found.to_pandas(), want, rtol=1e-9, atol=1e-12)
    assert found.groups == ("a", "b")


def test_a_pair_with_few_rows_at_a_node_leaves_the_node_out() -> None:
    frame = frame_of(1, 600)
    frames = split(frame, 4, 1)
    frames[0].loc[frames[0].x.notna(), "y"] = np.nan
    frames[1] = frames[1].iloc[:200]
    found = corr(Table(InProcess(frames, schema_of(frame), threshold=10)), ["x", "y"])
    rest = pd.concat(frames[1:])
    assert found.nodes[0].tolist() == [[4, 3], [3, 4]]
    assert found.values[0, 0, 1] == pytest.approx(rest.x.corr(rest.y), rel=1e-9)
    assert "2 values stand on fewer nodes than 4" in repr(found)
    frames[1].loc[frames[1].x.notna(), "y"] = np.nan
    found = corr(Table(InProcess(frames, schema_of(frame), threshold=10)), ["x", "y"])
    assert np.isnan(found.values[0, 0, 1])
    assert "held back" in repr(found)


def test_a_column_of_one_value_has_no_correlation() -> None:
    frame = frame_of(2)
    frame["one"] = 0.3
    found = corr(Table(source_of(frame, 2)), ["x", "one"])
    assert np.isnan(found.values[0, 0, 1])
    assert np.isnan(found.values[0, 1, 1])
    assert cov(Table(source_of(frame, 2)), ["x", "one"]).values[0, 1, 1] == pytest.approx(
        0, abs=1e-20
    )


def test_printing_and_plotting() -> None:
    found = corr(Table(source_of(frame_of(3), 3)), ["x", "y", "w"], by="arm")
    assert "arm a" in repr(found)
    assert "each pair over the rows that have both" in found._repr_html_()
    assert len(found.plot(group="b").texts) == 9
    with pytest.raises(CallError, match="expected a group of `arm`, got `c`"):
        found.plot(group="c")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: corr(t, "x"), "expected a list of columns, got the text `x`"),
        (lambda t: corr(t, ["x"]), "expected two columns or more, each once"),
        (lambda t: cov(t, ["x", "x"]), "expected two columns or more, each once"),
        (lambda t: corr(t, ["x", "y"], by="x"), "expected groups by another column, got `x`"),
        (
            lambda t: corr(t, ["x", "y"], by="w"),
            "expected `by` to have a declared domain or be a condition, got `w`",
        ),
        (lambda t: corr(t, ["x", "arm"]), "expected `arm` to be a number, got levels"),
    ],
)
def test_wrong_calls(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(CallError) as raised:
        call(Table(source_of(frame_of(4), 4)))
    assert raised.value.message == message


VARIABLES = {"a": Variable("a", True), "b": Variable("b", True), "g": Variable("g", False, ("p",))}
GOOD = {"by": "", "groups": 1, "variables": ["a", "b"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variables": ["a"]}, "expected two variables or more, each once"),
        ({"variables": ["a", "g"]}, "expected `g` to be a number, got levels"),
        ({"groups": 2}, "expected 1 groups, got 2"),
        ({"depth": 2}, "expected the arguments by, groups, variables, got `depth`"),
    ],
)
def test_bad_arguments_of_the_kind(change: dict[str, object], message: str) -> None:
    assert PairMoments().layout(GOOD, VARIABLES).cells == 1  # type: ignore[arg-type]
    with pytest.raises(CallError) as raised:
        PairMoments().layout({**GOOD, **change}, VARIABLES)  # type: ignore[dict-item]
    assert raised.value.message == message


def test_hostile_inputs_of_the_kind() -> None:
    rng = np.random.default_rng(0)
    rows = Rows(100, {"a": rng.uniform(0, 16, 100), "b": rng.normal(size=100)}, {})
    rules = DisclosureRules(threshold=10)
    ones = np.ones((1, 2))
    with pytest.raises(StateError) as raised:
        PairMoments().compute(rows, GOOD, {"centres": ones, "scales": 0 * ones}, rules)  # type: ignore[arg-type]
    assert raised.value.message == "expected scales above 0, got another"
    # Far centres must not round single rows to one side of an edge: the sum stays that of n rows.
    local = PairMoments().compute(
        rows,
        GOOD,  # type: ignore[arg-type]
        {"centres": 1e17 * ones, "scales": ones},
        rules,
    )
    assert local.values[0, 1] == pytest.approx(-100 * 1e17, rel=1e-15)


def test_a_disguised_count_of_a_few_rows_is_held_back() -> None:
    flag = np.zeros(100)
    flag[:4] = 1.0
    rows = Rows(100, {"a": np.arange(100.0), "b": flag}, {})
    ones = np.ones((1, 2))
    local = PairMoments().compute(
        rows,
        GOOD,  # type: ignore[arg-type]
        {"centres": ones, "scales": ones},
        DisclosureRules(threshold=10),
    )
    assert local.supports.tolist() == [[0]]
