"""t-tests and analysis of variance against scipy and statsmodels on the pooled rows."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from builders.in_process import InProcess, schema_of, split
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.meta_analysis import effectsize_smd
from statsmodels.stats.oneway import anova_oneway
from yumen.statistics.moments_table import Moments, group_moments, pooled_moments
from yumen.statistics.source import Provenance
from yumen.statistics.table import Table
from yumen.statistics.tests_of_means import anova, t_test
from yumen_core.errors import CallError

RTOL = 1e-9
seeds = st.integers(0, 2**20)
partitions = settings(max_examples=12, deadline=None)


def frame_of(seed: int = 0, rows: int = 240) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    arm = rng.choice(["drug", "placebo"], rows)
    stage = rng.choice(["I", "II", "III"], rows, p=[0.5, 0.3, 0.2])
    before = rng.normal(140, 15, rows)
    after = before - rng.normal(4, 6, rows) - 3 * (arm == "drug")
    after[rng.random(rows) < 0.1] = np.nan
    age = rng.integers(30, 80, rows)
    frame = pd.DataFrame({"arm": arm, "stage": stage, "before": before, "after": after, "age": age})
    frame.loc[rng.random(rows) < 0.05, "stage"] = None
    frame["one"] = 1
    return frame


def table_of(frame: pd.DataFrame, seed: int, threshold: int = 1, parts: int = 4) -> Table:
    frames = split(frame, parts, seed)
    return Table(InProcess(frames, schema_of(frame), threshold=threshold))


@partitions
@given(seeds, st.booleans(), st.sampled_from(["two-sided", "less", "greater"]))
def test_two_groups_agree_with_scipy(seed: int, equal: bool, alternative: str) -> None:
    frame = frame_of(seed)
    found = t_test(
        table_of(frame, seed), "after", by="arm", equal_var=equal, alternative=alternative
    )
    a, b = (frame.after[frame.arm == arm].dropna() for arm in ("drug", "placebo"))
    want = scipy.stats.ttest_ind(a, b, equal_var=equal, alternative=alternative)
    assert found.statistic == pytest.approx(want.statistic, rel=RTOL)
    assert found.pvalue == pytest.approx(want.pvalue, rel=RTOL)
    assert found.df == pytest.approx(want.df, rel=RTOL)
    interval = want.confidence_interval(0.9)
    assert found.confidence_interval(0.9) == pytest.approx(tuple(interval), rel=RTOL)
    assert found.conf_int(0.1) == found.confidence_interval(0.9)
    assert found.means == pytest.approx({"drug": a.mean(), "placebo": b.mean()}, rel=RTOL)
    smd, variance = effectsize_smd(a.mean(), a.std(), len(a), b.mean(), b.std(), len(b))
    assert found.hedges_g.estimate == pytest.approx(smd, rel=RTOL)
    error = (found.hedges_g.high - found.hedges_g.low) / 2 / scipy.stats.norm.ppf(0.975)
    assert error == pytest.approx(math.sqrt(variance), rel=0.02)  # another small-sample form


@partitions
@given(seeds)
def test_one_sample_and_pairs_agree_with_scipy(seed: int) -> None:
    frame = frame_of(seed)
    table = table_of(frame, seed)
    one = t_test(table, "before", mu=138)
    want = scipy.stats.ttest_1samp(frame.before, 138)
    assert (one.statistic, one.pvalue, one.df) == pytest.approx(
        (want.statistic, want.pvalue, want.df), rel=RTOL
    )
    assert one.confidence_interval() == pytest.approx(tuple(want.confidence_interval()), rel=RTOL)
    pairs = t_test(table, "after", paired="before")
    both = frame.dropna(subset="after")
    want = scipy.stats.ttest_rel(both.after, both.before)
    assert (pairs.statistic, pairs.pvalue) == pytest.approx((want.statistic, want.pvalue), rel=RTOL)
    assert pairs.confidence_interval() == pytest.approx(tuple(want.confidence_interval()), rel=RTOL)
    assert pairs.moments[0].count == len(both)


@partitions
@given(seeds, st.sampled_from(["equal", "unequal"]))
def test_anova_agrees_with_statsmodels(seed: int, use_var: str) -> None:
    frame = frame_of(seed)
    found = anova(table_of(frame, seed), "after", "stage", use_var=use_var)
    known = frame.dropna()
    want = anova_oneway(
        known.after.to_numpy(), known.stage.to_numpy(), use_var=use_var, welch_correction=True
    )
    assert found.statistic == pytest.approx(want.statistic, rel=RTOL)
    assert found.pvalue == pytest.approx(want.pvalue, rel=RTOL)
    assert (found.df_num, found.df_denom) == pytest.approx(want.df, rel=RTOL)
    groups = [part.after for _, part in known.groupby("stage")]
    within = sum(((g - g.mean()) ** 2).sum() for g in groups)
    total = ((known.after - known.after.mean()) ** 2).sum()
    assert found.eta_squared == pytest.approx(1 - within / total, rel=1e-8)
    assert found.table()["PR(>F)"].iloc[0] == pytest.approx(
        scipy.stats.f_oneway(*groups).pvalue, rel=RTOL
    )


def test_one_job_each_and_a_far_mean_keeps_its_precision() -> None:
    frame = frame_of(3)
    frame["after"] = frame["after"] + 1e7
    source = InProcess(split(frame, 3, 1), schema_of(frame), threshold=1)
    found = t_test(Table(source), "after", by="arm")
    assert len(source.jobs) == 1
    a, b = (frame.after[frame.arm == arm].dropna() for arm in ("drug", "placebo"))
    assert found.statistic == pytest.approx(scipy.stats.ttest_ind(a, b, equal_var=False)[0], 1e-7)


def test_expressions_and_views() -> None:
    frame = frame_of(4)
    table = table_of(frame, 4).where("age >= 50").assign(fall="before - after")
    found = t_test(table, "fall", by="age >= 65")
    old = frame[frame.age >= 50]
    a, b = ((old.before - old.after)[(old.age >= 65) == flag].dropna() for flag in (False, True))
    assert found.groups == (False, True)
    assert found.pvalue == pytest.approx(scipy.stats.ttest_ind(a, b, equal_var=False)[1], rel=RTOL)


def test_a_group_too_small_at_a_node_is_named() -> None:
    frame = frame_of(5)
    frames = [frame.iloc[start : start + 60] for start in range(0, 240, 60)]
    frames[0] = frames[0][(frames[0].arm == "drug") | (frames[0].index < 4)]
    frames = [part.reset_index(drop=True) for part in frames]
    table = Table(InProcess(frames, schema_of(frame), threshold=10))
    found = t_test(table, "before", by="arm")
    assert [part.nodes for part in found.moments] == [4, 3]
    pooled = pd.concat(frames[1:])
    assert found.means["placebo"] == pytest.approx(pooled.before[pooled.arm == "placebo"].mean())
    assert "placebo stands on 3 nodes of 4: the others have too few rows" in repr(found)


def test_printing() -> None:
    found = t_test(table_of(frame_of(6), 6), "after", by="arm")
    text = repr(found)
    assert "after by arm" in text
    assert "Hedges' g" in text
    assert "drug" in found._repr_html_()
    assert list(found.to_pandas().columns)[:3] == ["estimate", "std err", "statistic"]
    table = anova(table_of(frame_of(6), 6), "after", "stage")
    assert "eta²" in repr(table)
    assert list(table.to_pandas().index) == ["I", "II", "III"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda t: t_test(t, "after", by="stage"),
            "expected two groups of `stage` with rows enough, got 3: `I`, `II`, `III`",
        ),
        (
            lambda t: t_test(t, "after", by="arm", paired="before"),
            "expected `by` or `paired`, got both",
        ),
        (
            lambda t: t_test(t, "after", alternative="smaller"),
            "expected `alternative` to be one of `two-sided`, `less`, `greater`, got `smaller`",
        ),
        (
            lambda t: t_test(t, "one"),
            "expected values of `one` that differ within groups",
        ),
        (
            lambda t: t_test(t, "afte"),
            "expected a column of table `t`, got `afte`; near it: `after`",
        ),
        (lambda t: t_test(t, " "), "expected a column or an SQL expression, got an empty text"),
        (
            lambda t: t_test(t.where("age > 200"), "after"),
            "expected rows enough of `after` at enough nodes, got a mean that was held back",
        ),
        (
            lambda t: anova(t.where("stage = 'I'"), "after", "stage"),
            "expected two groups or more of `stage` with rows enough, got 1: `I`",
        ),
        (
            lambda t: anova(t, "after", "stage", use_var="bf"),
            "expected `use_var` to be one of `equal`, `unequal`, got `bf`",
        ),
        (
            lambda t: t_test(t, "after").confidence_interval(95),
            "expected a confidence level from 0 to 1, got `95`",
        ),
    ],
)
def test_wrong_calls(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(CallError) as raised:
        call(table_of(frame_of(7), 7))
    assert raised.value.message == message


def test_pooled_moments() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(at, 1 + at, 5 + at) for at in range(4)]
    whole = np.concatenate(parts)
    found = pooled_moments(Moments(len(p), p.mean(), p.var(ddof=1), 3) for p in parts)
    assert found.variance == pytest.approx(whole.var(ddof=1), rel=1e-12)
    assert found.mean == pytest.approx(whole.mean(), rel=1e-12)
    assert pooled_moments([]).count == 0


def test_provenance() -> None:
    found = group_moments(table_of(frame_of(8), 8), "after", "arm")
    assert isinstance(found.provenance, Provenance)
    assert found.provenance.rounds == 1
    assert len(found.provenance.participants) == 4
