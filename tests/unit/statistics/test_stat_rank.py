"""Rank statistics lie within their stated error of scipy's on the pooled rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from builders.in_process import InProcess, schema_of, split
from builders.statistics import LOGIT
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from yumen.statistics.rank import (
    SCORE_CELLS,
    SCORE_DEPTH,
    RocCurve,
    kruskal,
    mann_whitney,
    roc_cells,
    roc_curve,
    roc_round,
)
from yumen.statistics.table import Table
from yumen_core.errors import CallError, PeerError
from yumen_core.statistics.statistic import Statistic


def frame_of(seed: int, rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    group = rng.choice(["a", "b"], rows)
    return pd.DataFrame(
        {
            "score": rng.integers(1, 6, rows) + (group == "a") * rng.integers(0, 2, rows),
            "x": rng.normal(10, 3, rows) + (group == "a"),
            "g": group,
            "arm": rng.choice(["p", "q", "r"], rows),
        }
    )


def table_of(frame: pd.DataFrame, threshold: int = 1, seed: int = 0) -> Table:
    return Table(InProcess(split(frame, 3, seed), schema_of(frame), threshold=threshold))


def by(frame: pd.DataFrame, column: str, group: str) -> list[np.ndarray]:
    return [part.to_numpy() for _, part in frame.groupby(group)[column]]


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 10]), st.sampled_from(["score", "x"]))
def test_u_is_within_its_error(seed: int, threshold: int, column: str) -> None:
    frame = frame_of(seed, 900)
    found = mann_whitney(table_of(frame, threshold, seed), column, "g")
    # Of one frame in forty a node has too few rows beside every value, and nothing can be told.
    assume(not (threshold > 1 and "nothing could be told" in repr(found)))
    expected = scipy.stats.mannwhitneyu(*by(frame, column, "g"), method="asymptotic")
    assert abs(found.statistic - expected.statistic) <= found.u_error
    product = found.nobs[0] * found.nobs[1]
    assert found.common_language == pytest.approx(found.statistic / product)
    assert found.effect_error == pytest.approx(found.u_error / product)
    assert found.nobs == tuple(len(part) for part in by(frame, column, "g"))


@pytest.mark.parametrize("alternative", ["two-sided", "less", "greater"])
def test_it_is_scipys_where_each_leaf_holds_one_value(alternative: str) -> None:
    frame = frame_of(1, 3000)
    frame["score"] = frame["score"].clip(upper=5)
    found = mann_whitney(table_of(frame, 10), "score", "g", alternative=alternative)  # type: ignore[arg-type]
    expected = scipy.stats.mannwhitneyu(
        *by(frame, "score", "g"), method="asymptotic", alternative=alternative
    )
    assert found.u_error == 0
    assert found.statistic == expected.statistic
    assert found.pvalue == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.rank_biserial == pytest.approx(
        2 * expected.statistic / (found.nobs[0] * found.nobs[1]) - 1
    )


def test_the_pvalue_is_that_of_the_binned_values() -> None:
    frame = frame_of(2, 900)
    found = mann_whitney(table_of(frame, 10), "x", "g")
    bins = np.searchsorted(found.leaves.edges, frame["x"], side="right")
    frame = frame.assign(bins=bins)
    expected = scipy.stats.mannwhitneyu(*by(frame, "bins", "g"), method="asymptotic")
    assert found.statistic == expected.statistic
    assert found.pvalue == pytest.approx(expected.pvalue, rel=1e-9)


def test_kruskal_is_scipys_on_values_and_near_it_on_bins() -> None:
    frame = frame_of(3, 3000)
    frame["score"] = frame["score"].clip(upper=5)
    table = table_of(frame, 10)
    found = kruskal(table, "score", "arm")
    expected = scipy.stats.kruskal(*by(frame, "score", "arm"))
    assert (found.rank_errors == 0).all()
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-9)
    assert found.pvalue == pytest.approx(expected.pvalue, rel=1e-9)
    found = kruskal(table, "x", "arm")
    ranks = frame.assign(rank=scipy.stats.rankdata(frame["x"])).groupby("arm")["rank"].mean()
    assert (np.abs(found.mean_ranks - ranks) <= found.rank_errors).all()
    assert "Kruskal-Wallis of x: H = " in repr(found)


def test_one_value_only_has_no_evidence() -> None:
    frame = frame_of(4, 300).assign(score=3)
    found = mann_whitney(table_of(frame, 10), "score", "g")
    assert (found.pvalue, found.common_language, found.u_error) == (1.0, 0.5, 0.0)


def test_too_few_rows_are_held_back() -> None:
    frame = frame_of(5, 20)
    found = mann_whitney(table_of(frame, 10), "x", "g")
    assert np.isnan([found.statistic, found.pvalue, found.u_error]).all()
    assert "Mann-Whitney" in repr(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "arm"}, "expected two groups, got 3 values of `arm`"),
        ({"by": "x"}, "expected groups with known values, got `x`, which has no domain"),
        ({"by": "g", "alternative": "both"}, "expected two-sided, less or greater, got `both`"),
        ({"by": "g", "tolerance": -1}, "expected a tolerance from 0 to below 1, got `-1`"),
        ({"by": "g", "max_rounds": 99}, "expected 1 to 20 rounds, got `99`"),
    ],
)
def test_wrong_calls(options: dict[str, object], message: str) -> None:
    with pytest.raises(CallError, match=message):
        mann_whitney(table_of(frame_of(6, 50)), "score", **options)  # type: ignore[arg-type]


# The area under a ROC curve -----------------------------------------------------------------------


def scored(
    threshold: int, betas: list[tuple[float, float]], at_most: int = 1
) -> tuple[RocCurve, pd.DataFrame]:
    rng = np.random.default_rng(7)
    x = rng.normal(50, 10, 3000)
    y = (rng.random(3000) < 1 / (1 + np.exp(-(x - 55) / 5))).astype(np.int64)
    frame = pd.DataFrame({"x": x, "y": y})
    table = table_of(frame, threshold)
    score = roc_round("roc", LOGIT)
    score = type(score)(score.name, score.kind, score.arguments, at_most)
    statement = table.rows({"x": "x", "y": "y"})
    first = type(score)("moments", "design", LOGIT)
    with table.compute(Statistic("logit", statement, (first, score))) as job:
        job.run("moments")
        for beta in betas:
            inputs = {
                "beta": np.array(beta),
                "cells": roc_cells(),
                "centre": np.zeros(2),
                "response": np.array([0.0, 1.0]),
                "scale": np.ones(2),
                "transform": np.eye(2),
            }
            totals = job.run("roc", inputs)
        return roc_curve(totals), frame


def test_auc_is_within_its_error() -> None:
    for threshold, most in ((1, 0.01), (10, 0.06)):
        found, frame = scored(threshold, [(-11.0, 0.2)])
        positive, negative = (frame.loc[frame["y"] == y, "x"] for y in (1, 0))
        u = scipy.stats.mannwhitneyu(positive, negative).statistic
        auc = u / (len(positive) * len(negative))
        assert abs(found.auc - auc) <= found.error < most
        score = -11.0 + 0.2 * frame["x"]
        at = found.thresholds[len(found.thresholds) // 2]
        place = len(found.thresholds) // 2
        rates = [(score[frame["y"] == y] >= at).mean() for y in (0, 1)]
        assert found.false_positive_rate[place] == pytest.approx(rates[0])
        assert found.true_positive_rate[place] == pytest.approx(rates[1])


def test_a_score_that_ranks_nothing_has_no_edge() -> None:
    found, _ = scored(10, [(0.3, 0.0)])
    assert (found.auc, found.error, len(found.thresholds)) == (0.5, 0.5, 0)


def test_a_job_has_one_score() -> None:
    scored(10, [(-11.0, 0.2), (-11.0, 0.2)], 2)
    with pytest.raises(PeerError, match="expected the coefficients of the job's earlier score"):
        scored(10, [(-11.0, 0.2), (-11.001, 0.2)], 2)


def test_the_score_needs_a_binomial_model() -> None:
    from yumen_core.statistics.rows import Variable
    from yumen_core.statistics.score_tree import ScoreTrees

    known = {name: Variable(name, True) for name in ("x", "y")}
    arguments = dict(roc_round("roc", LOGIT).arguments)
    assert ScoreTrees().layout(arguments, known).trees == len(SCORE_CELLS)
    assert arguments["depth"] == SCORE_DEPTH
    arguments |= {"family": "gaussian", "link": "identity"}
    with pytest.raises(CallError, match="expected a binomial model, got `gaussian`"):
        ScoreTrees().layout(arguments, known)


@pytest.mark.parametrize("alternative", ["two-sided", "less", "greater"])
@pytest.mark.parametrize("seed", range(3))
def test_p_of_the_pooled_rows_is_within_its_range(seed: int, alternative: str) -> None:
    frame = frame_of(seed, 400)
    table = table_of(frame, 10, seed)
    found = mann_whitney(table, "x", "g", alternative=alternative, max_rounds=2)  # type: ignore[arg-type]
    exact = scipy.stats.mannwhitneyu(
        *by(frame, "x", "g"), alternative=alternative, method="asymptotic"
    ).pvalue
    low, high = found.pvalue_range
    assert low <= min(exact, found.pvalue)
    assert high >= max(exact, found.pvalue)
    if found.u_error > 0 and f"{low:.2g}" != f"{high:.2g}":
        assert f"from {low:.2g} to {high:.2g}" in repr(found)
    assert found.to_pandas()["pvalue_upper"].item() == high


@pytest.mark.parametrize("seed", range(3))
def test_p_of_kruskal_is_within_its_range(seed: int) -> None:
    frame = frame_of(seed, 900)
    found = kruskal(table_of(frame, 10, seed), "x", "arm", max_rounds=2)
    low, high = found.pvalue_range
    exact = scipy.stats.kruskal(*by(frame, "x", "arm")).pvalue
    assert low <= min(exact, found.pvalue)
    assert high >= max(exact, found.pvalue)
    assert "undetermined at 0.05: rows that share a leaf count as ties" in repr(found)
