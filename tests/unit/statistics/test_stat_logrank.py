"""The log-rank test against lifelines on the pooled rows, and statsmodels within nodes."""

import numpy as np
import pandas as pd
import pytest
from builders.in_process import InProcess, schema_of, split
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines.datasets import load_rossi
from lifelines.statistics import multivariate_logrank_test
from statsmodels.duration.survfunc import survdiff
from yumen.statistics.logrank import logrank
from yumen.statistics.table import Table
from yumen_core.errors import CallError, PeerError


def grouped(n: int, groups: int, seed: int, times: int = 8) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    levels = np.array(["a", "b", "c", "d"])[:groups]
    return pd.DataFrame(
        {
            "t": rng.integers(1, times + 1, n),
            "e": rng.integers(0, 2, n),
            "g": rng.choice(levels, n),
        }
    )


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), groups=st.integers(2, 4), parts=st.integers(3, 5))
def test_pooled_rows_give_the_same(seed: int, groups: int, parts: int) -> None:
    frame = grouped(2_500, groups, seed)
    table = Table(InProcess(split(frame, parts, seed), schema_of(frame)))
    found = logrank(table, "t", "e", "g")
    wanted = multivariate_logrank_test(frame["t"], frame["g"], frame["e"])
    assert found.test_statistic == pytest.approx(wanted.test_statistic, rel=1e-9)
    assert found.p_value == pytest.approx(wanted.p_value, rel=1e-9)
    assert found.degrees_of_freedom == groups - 1
    assert found.expected.sum() == pytest.approx(found.observed.sum())


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), groups=st.integers(2, 4))
def test_nodes_as_strata_give_the_stratified_test(seed: int, groups: int) -> None:
    frame = grouped(600, groups, seed, times=300)
    parts = split(frame, 3, seed)
    pooled = pd.concat([p.assign(n=at) for at, p in enumerate(parts)], ignore_index=True)
    table = Table(InProcess(parts, schema_of(frame), threshold=10))
    found = logrank(table, "t", "e", "g", strata="node")
    wanted, p = survdiff(pooled["t"], pooled["e"], pooled["g"], strata=pooled["n"])
    assert found.test_statistic == pytest.approx(float(wanted), rel=1e-9)
    assert found.p_value == pytest.approx(float(p), rel=1e-9)


def test_real_rows_with_conditions_as_groups() -> None:
    frame = load_rossi()
    parts = split(frame, 3, 1)
    table = Table(InProcess(parts, schema_of(frame), threshold=10))
    found = logrank(table, "week", "arrest", "wexp = 1", strata="node")
    assert found.p_value == pytest.approx(0.0016915880123533622, rel=1e-9)
    assert found.groups == (False, True)
    assert "1 degree of freedom, p = 0.001692" in repr(found)
    with pytest.raises(CallError) as caught:
        logrank(table, "week", "arrest", "wexp = 1")
    assert caught.value.code == "too_few_rows"
    assert "several cells of time, got one from 1 to 52; " in str(caught.value)
    assert 'strata="node"' in caught.value.remedy
    assert found.to_pandas().loc[0, "p"] == found.p_value


def test_wrong_calls_say_what_would_pass() -> None:
    frame = grouped(600, 2, 0)
    frame["one"] = "x"
    table = Table(InProcess(split(frame, 3), schema_of(frame)))
    with pytest.raises(CallError, match='expected `strata` to be "node" or None, got `g`'):
        logrank(table, "t", "e", "g", strata="g")
    for strata in (None, "node"):
        with pytest.raises(CallError, match="expected two groups or more of `one`, got 1"):
            logrank(table, "t", "e", "one", strata=strata)


def test_no_events_is_said_plainly() -> None:
    frame = grouped(600, 2, 0)
    frame["none"] = 0
    table = Table(InProcess(split(frame, 3), schema_of(frame)))
    with pytest.raises(CallError, match="expected events of `none`, got none"):
        logrank(table, "t", "none", "g")
    with pytest.raises(PeerError, match="of `events` at each node"):
        logrank(table, "t", "none", "g", strata="node")


def test_a_rare_group_is_refused_by_name() -> None:
    frame = grouped(600, 2, 0)
    frame.loc[:4, "g"] = "rare"
    table = Table(InProcess(split(frame, 3), schema_of(frame), threshold=10))
    with pytest.raises(PeerError, match=r"`g\[rare\]` at each node"):
        logrank(table, "t", "e", "g", strata="node")
    with pytest.raises(CallError, match="too few to release any cell of time"):
        logrank(table, "t", "e", "g")
