"""Counts, contingency tables and proportions: numbers, and what is held back."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from builders.in_process import InProcess, schema_of, split
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    proportion_confint,
    proportions_ztest,
)
from yumen.statistics.crosstab import Crosstab, chi2, crosstab, fisher
from yumen.statistics.proportions import proportion, proportions
from yumen.statistics.source import Provenance
from yumen.statistics.table import Table
from yumen_core.disclosure import DisclosureRules
from yumen_core.errors import CallError, PeerError
from yumen_core.statistics.counts_by import CountsBy
from yumen_core.statistics.rows import Rows, Variable

mpl.use("Agg")
seeds = st.integers(0, 2**20)


def assume_no_tiny_node(frame: pd.DataFrame, seed: int) -> None:
    """So that every node has rows in every cell: a cell needs three nodes."""
    assume(min(len(part) for part in split(frame, 3, seed)) >= 120)


partitions = settings(max_examples=12, deadline=None)


def frame_of(seed: int = 0, rows: int = 900) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    arm = rng.choice(["drug", "placebo"], rows)
    stage = rng.choice(["I", "II", "III"], rows, p=[0.4, 0.35, 0.25])
    sick = rng.random(rows) < np.where(arm == "drug", 0.3, 0.45)
    age = rng.integers(30, 80, rows)
    frame = pd.DataFrame({"arm": arm, "stage": stage, "sick": sick, "age": age})
    frame.loc[rng.random(rows) < 0.05, "stage"] = None
    return frame


def table_of(frame: pd.DataFrame, seed: int, threshold: int = 1) -> Table:
    return Table(InProcess(split(frame, 3, seed), schema_of(frame), threshold=threshold))


@partitions
@given(seeds, st.booleans())
def test_chi2_agrees_with_scipy(seed: int, correction: bool) -> None:
    frame = frame_of(seed)
    assume_no_tiny_node(frame, seed)
    table = table_of(frame, seed)
    for a, b in (("stage", "arm"), ("sick", "arm")):
        found = chi2(table, a, b, correction=correction)
        observed = pd.crosstab(frame[a], frame[b])
        want = scipy.stats.chi2_contingency(observed, correction=correction)
        assert (found.observed.to_numpy() == observed.to_numpy()).all()
        assert found.statistic == pytest.approx(want.statistic, rel=1e-10)
        assert found.pvalue == pytest.approx(want.pvalue, rel=1e-9)
        assert found.dof == want.dof
        assert found.expected_freq == pytest.approx(want.expected_freq, rel=1e-12)
        v = scipy.stats.contingency.association(observed.to_numpy(), "cramer")
        assert found.cramers_v == pytest.approx(v, rel=1e-9)


@partitions
@given(seeds, st.sampled_from(["two-sided", "less", "greater"]))
def test_fisher_agrees_with_scipy(seed: int, alternative: str) -> None:
    frame = frame_of(seed)
    assume_no_tiny_node(frame, seed)
    found = fisher(table_of(frame, seed), "sick", "arm", alternative=alternative)
    want = scipy.stats.fisher_exact(pd.crosstab(frame.sick, frame.arm), alternative=alternative)
    assert (found.odds_ratio, found.pvalue) == pytest.approx(tuple(want), rel=1e-12)


@partitions
@given(seeds, st.sampled_from([0.9, 0.95, 0.99]))
def test_proportions_agree_with_statsmodels(seed: int, level: float) -> None:
    frame = frame_of(seed)
    assume_no_tiny_node(frame, seed)
    table = table_of(frame, seed)
    found = proportions(table, "sick", by="arm", level=level)
    counts = frame.groupby("arm").sick.agg(["sum", "count"])
    for share, (count, nobs) in zip(found.shares, counts.to_numpy(), strict=True):
        want = proportion_confint(count, nobs, 1 - level, method="wilson")
        assert (share.low, share.high) == pytest.approx(want, rel=1e-10)
    (c1, n1), (c2, n2) = counts.to_numpy()
    for size, compare, method in (
        (found.risk_difference, "diff", "newcomb"),
        (found.risk_ratio, "ratio", "log"),
        (found.odds_ratio, "odds-ratio", "logit"),
    ):
        assert size is not None
        want = confint_proportions_2indep(
            c2, n2, c1, n1, compare=compare, method=method, alpha=1 - level
        )
        assert (size.low, size.high) == pytest.approx(want, rel=1e-9)
    assert (found.statistic, found.pvalue) == pytest.approx(
        proportions_ztest([c2, c1], [n2, n1]), rel=1e-9
    )
    one = proportion(table, "sick", value=0.35)
    assert one.pvalue == pytest.approx(
        scipy.stats.binomtest(int(c1 + c2), int(n1 + n2), 0.35).pvalue
    )
    assert one.estimate == (c1 + c2) / (n1 + n2)
    more = proportions(table, "sick", by="stage")
    want = scipy.stats.chi2_contingency(pd.crosstab(frame.sick, frame.stage), correction=False)
    assert more.statistic == pytest.approx(want.statistic, rel=1e-10)


def test_crosstab_counts_shares_and_totals() -> None:
    frame = frame_of(1, 1200)
    source = InProcess(split(frame, 3, 1), schema_of(frame), threshold=10)
    found = crosstab(Table(source), "stage", "arm", normalize="columns")
    want = pd.crosstab(frame.stage, frame.arm)
    assert (found.counts == want.to_numpy()).all()
    assert found.total == want.to_numpy().sum()
    assert found.row_totals == want.sum(axis=1).tolist()
    assert found.to_pandas().sum().tolist() == pytest.approx([1.0, 1.0])
    assert len(source.jobs) == 1
    text = repr(found)
    assert "stage by arm" in text
    assert "%" in text
    assert "total" in found._repr_html_()
    assert len(found.plot().patches) == 6
    assert proportions(Table(source), "sick", by="arm").plot().get_ylabel() == "arm"


def test_a_node_without_any_row_of_a_cell_does_not_spoil_the_table() -> None:
    frame = frame_of(2, 1200)
    frames = split(frame, 4, 2)
    frames[0] = frames[0][~((frames[0].stage == "III") & (frames[0].arm == "drug"))]
    frames = [part.reset_index(drop=True) for part in frames]
    pooled = pd.concat(frames)
    table = Table(InProcess(frames, schema_of(pooled), threshold=10))
    found = chi2(table, "stage", "arm")
    want = scipy.stats.chi2_contingency(pd.crosstab(pooled.stage, pooled.arm))
    assert found.statistic == pytest.approx(want.statistic, rel=1e-10)


def thin_table() -> tuple[Table, pd.DataFrame]:
    """Node 0 has 2 rows of stage III with the drug."""
    frames = split(frame_of(3, 900), 3, 3)
    cell = (frames[0].stage == "III") & (frames[0].arm == "drug")
    frames[0] = frames[0].drop(index=frames[0].index[cell][2:]).reset_index(drop=True)
    pooled = pd.concat(frames)
    return Table(InProcess(frames, schema_of(pooled), threshold=10)), pooled


def test_three_rows_at_a_node_may_stand_in_a_cell() -> None:
    """As among the threshold of rows of each of three other nodes (ADR 15)."""
    frames = split(frame_of(3, 1200), 4, 3)
    cell = (frames[0].stage == "III") & (frames[0].arm == "drug")
    frames[0] = frames[0].drop(index=frames[0].index[cell][3:]).reset_index(drop=True)
    pooled = pd.concat(frames)
    found = crosstab(Table(InProcess(frames, schema_of(pooled), threshold=10)), "stage", "arm")
    assert (found.counts == pd.crosstab(pooled.stage, pooled.arm).to_numpy()).all()
    only_two = Table(InProcess(frames[:3], schema_of(pooled), threshold=10))
    assert crosstab(only_two, "stage", "arm").counts[2, 0] == -1  # enough at two nodes alone


def test_few_rows_at_a_node_hold_back_the_cell_and_cover_it() -> None:
    table, _ = thin_table()
    found = crosstab(table, "stage", "arm")
    held = {
        (found.row_levels[r], found.column_levels[c]) for r, c in np.argwhere(found.counts == -1)
    }
    assert ("III", "drug") in held
    by_arm = [sum(1 for _, arm in held if arm == name) for name in ("drug", "placebo")]
    by_stage = [sum(1 for stage, _ in held if stage == name) for name in ("I", "II", "III")]
    assert by_arm[0] >= 2  # not found from the group's rows
    assert by_stage[2] == 2  # nor from the level's
    assert found.total is None
    assert found.column_totals[0] is None
    assert "held back" in repr(found)
    with pytest.raises(CallError) as raised:
        found.chi2()
    assert raised.value.code == "too_few_rows"
    assert raised.value.message == (
        "expected every level with rows enough, got a table that lacks stage I, III (no rows, or "
        "held back)"
    )
    with pytest.raises(CallError, match="expected two levels or more of `stage`"):
        found.chi2(skip_empty=True)


def test_a_cell_held_back_beside_others_is_named() -> None:
    levels = (["x", "y"], ["p", "q"])
    found = Crosstab(("a", "b"), levels, np.array([[20, 30], [40, -1]]), Provenance("research"))
    with pytest.raises(CallError) as raised:
        found.fisher()
    assert raised.value.message == (
        "expected every cell to be released: each with no or not too few rows at every node, and "
        "the table's threshold at enough nodes, got `y` with `q` held back"
    )
    assert found.row_totals == [50, None]
    assert found.column_totals == [60, None]


def test_levels_without_rows_are_left_out_and_named() -> None:
    frame = frame_of(4)
    table = table_of(frame, 4).where("stage <> 'II'")
    found = chi2(table, "stage", "arm", skip_empty=True)
    assert list(found.observed.index) == ["I", "III"]
    assert "the table lacks stage II (no rows, or held back)" in repr(found)
    want = scipy.stats.fisher_exact(
        pd.crosstab(frame.stage[frame.stage != "II"], frame.arm).to_numpy()
    )
    assert fisher(table, "stage", "arm", skip_empty=True).pvalue == pytest.approx(want[1])
    with pytest.raises(CallError, match="expected every level with rows enough"):
        chi2(table, "stage", "arm")


def test_a_rare_outcome_is_refused() -> None:
    frame = frame_of(5)
    table = table_of(frame, 5, threshold=10)
    for outcome in ("age = 33", "age = 119"):  # a few rows, and none
        with pytest.raises(PeerError) as raised:
            proportion(table, outcome)
        assert raised.value.code == "too_few_rows"
        assert raised.value.message == (
            f"expected the table's threshold of rows in each branch and term of `{outcome}`, and "
            "in none of its branches, got fewer"
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: crosstab(t, "arm", "arm"), "expected two columns, got `arm` twice"),
        (
            lambda t: crosstab(t, "arm", "stage", normalize="rows"),
            "expected `normalize` to be `all`, `index` or `columns`, got `rows`",
        ),
        (
            lambda t: chi2(t, "age", "stage"),
            "expected `age` to have a declared domain or to be a condition, got values not known "
            "beforehand",
        ),
        (
            lambda t: proportion(t, "stage"),
            "expected `stage` to be a condition or a boolean column, got 3 levels",
        ),
        (lambda t: proportion(t, "sick", value=2), "expected `value` from 0 to 1, got `2`"),
        (
            lambda t: proportions(t, "sick", by="arm", level=95),
            "expected a confidence level from 0 to 1, got `95`",
        ),
        (lambda t: proportions(t, "sick", by="sick"), "expected two columns, got `sick` twice"),
        (
            lambda t: fisher(t, "stage", "arm"),
            "expected two levels of each column for Fisher's test, got 3 by 2",
        ),
        (
            lambda t: fisher(t, "sick", "arm", alternative="more"),
            "expected `alternative` to be one of `two-sided`, `less`, `greater`, got `more`",
        ),
        (
            lambda t: chi2(t.where("arm = 'drug'"), "stage", "arm", skip_empty=True),
            "expected two levels or more of `arm` with rows enough, got 1",
        ),
    ],
)
def test_wrong_calls(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(CallError) as raised:
        call(table_of(frame_of(6), 6))
    assert raised.value.message == message


VARIABLES = {
    "a": Variable("a", False, ("x", "y", "z")),
    "b": Variable("b", True, (False, True)),
    "n": Variable("n", True),
}


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ([], "expected `tables` to be a list of 1 to 500 tables"),
        ("a", "expected `tables` to be a list of 1 to 500 tables"),
        (
            [["a", 3, "b"]],
            "expected a table as column, number of levels, group column, number of groups",
        ),
        (
            [["a", 10**9, "", 1]],
            "expected a table as column, number of levels, group column, number of groups",
        ),
        ([["a", 2, "", 1]], "expected the 3 levels of `a`, got 2"),
        ([["a", 3, "b", 3]], "expected the 2 levels of `b`, got 3"),
        ([["a", 3, "", 2]], "expected one group without `by`, got 2"),
        (
            [["n", 3, "", 1]],
            "expected `n` to have a declared domain, got values not known beforehand",
        ),
        ([["q", 3, "", 1]], "expected a variable of the statement, got `q`"),
    ],
)
def test_bad_tables_are_refused_before_anything_is_computed(tables: object, message: str) -> None:
    with pytest.raises(CallError) as raised:
        CountsBy().layout({"tables": tables}, VARIABLES)  # type: ignore[dict-item]
    assert raised.value.code == "statistic"
    assert raised.value.message == message


@given(
    st.lists(st.lists(st.integers(0, 12), min_size=3, max_size=3), min_size=2, max_size=4),
)
@settings(max_examples=200, deadline=None)
def test_hidden_cells_of_a_group_or_level_have_rows_enough_together(cells: list[list[int]]) -> None:
    """Unless nothing else of the group, or level, could be held back to cover them."""
    rows = [(g, v) for g, line in enumerate(cells) for v, n in enumerate(line) for _ in range(n)]
    group = np.array([g for g, _ in rows], dtype=np.int32)
    level = np.array([v for _, v in rows], dtype=np.int32)
    table = ["of", 3, "by", len(cells)]
    local = CountsBy().compute(
        Rows(len(rows), {}, {"of": level, "by": group}),
        {"tables": [table]},  # type: ignore[dict-item]
        {},
        DisclosureRules(threshold=10),
    )
    counted = np.array(cells)
    assert (local.values.reshape(-1, 4)[:, :3] == counted).all()
    shown = local.supports.reshape(-1, 4)[:, :3]
    hidden = (shown > 0) & (shown < 3)
    assert hidden[(counted > 0) & (counted < 3)].all()
    for lines, masks in ((counted, hidden), (counted.T, hidden.T)):
        for line, mask in zip(lines, masks, strict=True):
            covered = mask.sum() >= 2 and line[mask].sum() >= 3
            assert not mask.any() or covered or (line[~mask] == 0).all()


def test_totals_of_groups_and_levels_do_not_give_a_held_back_cell_away() -> None:
    """Whoever knows every total has as many unknowns as there are cells held back: the system of
    the cells held back must not determine the thin one."""
    counted = np.array([[100, 80, 2], [90, 70, 60]])
    rows = [(g, v) for g, line in enumerate(counted) for v, n in enumerate(line) for _ in range(n)]
    group, level = (np.array(part, dtype=np.int32) for part in zip(*rows, strict=True))
    local = CountsBy().compute(
        Rows(len(rows), {}, {"of": level, "by": group}),
        {"tables": [["of", 3, "by", 2]]},
        {},
        DisclosureRules(threshold=10),
    )
    shown = local.supports.reshape(-1, 4)[:, :3]
    held = np.argwhere((shown > 0) & (shown < 3)).tolist()
    totals = np.zeros((5, len(held)))
    for at, (g, v) in enumerate(held):
        totals[g, at] = totals[2 + v, at] = 1
    thin = np.zeros(len(held))
    thin[held.index([0, 2])] = 1
    assert np.linalg.matrix_rank(np.vstack([totals, thin])) > np.linalg.matrix_rank(totals)


def test_a_column_with_a_cell_held_back_is_hatched_in_the_plot() -> None:
    counts = np.array([[20, -1], [30, 40]])
    levels = (("I", "II"), ("drug", "placebo"))
    for normalize, heights, label in (
        (None, [20, 30], "rows"),
        ("columns", [0.4, 0.6], "share of arm"),
    ):
        found = Crosstab(("stage", "arm"), levels, counts, Provenance(""), normalize)  # type: ignore[arg-type]
        axes = found.plot()
        *known, hatched = axes.patches
        assert [bar.get_height() for bar in known] == heights
        assert hatched.get_hatch() == "///"
        assert axes.get_ylabel() == label
