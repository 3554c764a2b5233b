"""Cox's model against lifelines: nodes as strata, one baseline over cells of time, and refusals."""

import warnings

import numpy as np
import pandas as pd
import pytest
from builders.in_process import InProcess, schema_of, split
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lifelines import CoxPHFitter
from lifelines.datasets import load_rossi
from lifelines.utils import concordance_index
from yumen.statistics.cox import cox
from yumen.statistics.cox_result import CoxResult
from yumen.statistics.table import Table
from yumen_core.canonical import Json
from yumen_core.disclosure import DisclosureRules
from yumen_core.errors import CallError, PeerError, StateError
from yumen_core.statistics.cox_grid import CoxGrid
from yumen_core.statistics.partial_likelihood import (
    concordant_pairs,
    partial_likelihood,
    strata_of,
)
from yumen_core.statistics.rows import Rows, Variable
from yumen_core.statistics.survival import CoxNodes, largest_leverage

TIGHT = {"precision": 1e-17, "r_precision": 0.0}  # lifelines leaves out its last step


def frame_of(n: int, seed: int, times: int | None = None) -> pd.DataFrame:
    """Rows with effects of a number far from 0, a small one and a level; whole times from 1."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "x": rng.normal(5_000, 30, n),
            "z": rng.normal(0, 0.01, n),
            "s": rng.choice(["a", "b", "c"], n),
        }
    )
    hazard = np.exp(0.01 * (frame["x"] - 5_000) + 30 * frame["z"] + 0.5 * (frame["s"] == "b"))
    ended, left = rng.exponential(6 / hazard), rng.exponential(10, n)
    seen = np.minimum(ended, left)
    frame["t"] = seen + 0.001 if times is None else np.ceil(seen).clip(1, times).astype(int)
    frame["e"] = (ended <= left).astype(int)
    return frame


def lifelines_fit(
    parts: list[pd.DataFrame], *, strata: list[str] | None, ridge: float = 0.0
) -> CoxPHFitter:
    pooled = pd.concat([p.assign(node=at) for at, p in enumerate(parts)], ignore_index=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CoxPHFitter(penalizer=ridge).fit(
            pooled, "t", "e", formula="x + z + s", strata=strata, fit_options=TIGHT
        )


def check_same(found: CoxResult, wanted: CoxPHFitter, rel: float = 1e-6) -> None:
    names = list(wanted.params_.index)
    assert sorted(found.names) == sorted(names)
    for name in ("params_", "standard_errors_"):
        ours = getattr(found, name)[names]
        np.testing.assert_allclose(ours, getattr(wanted, name)[names], rtol=rel)
    assert found.log_likelihood_ == pytest.approx(wanted.log_likelihood_, rel=1e-9)
    test, theirs = found.log_likelihood_ratio_test(), wanted.log_likelihood_ratio_test()
    assert test.test_statistic == pytest.approx(theirs.test_statistic, rel=1e-6)
    columns = [c for c in wanted.summary.columns if not c.startswith("-log2")]
    ours = found.summary.loc[names, columns]
    np.testing.assert_allclose(ours, wanted.summary[columns], rtol=1e-5, atol=1e-300)


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    parts=st.integers(3, 5),
    ridge=st.sampled_from([0.0, 0.0, 0.05]),
    times=st.sampled_from([None, 12]),
)
def test_nodes_as_strata_give_the_stratified_model(
    seed: int, parts: int, ridge: float, times: int | None
) -> None:
    frame = frame_of(700, seed, times)
    nodes = split(frame, parts, seed)
    table = Table(InProcess(nodes, schema_of(frame)))
    found = cox(table, "t", "e", "~ x + z + s", ridge=ridge)
    wanted = lifelines_fit(nodes, strata=["node"], ridge=ridge)
    check_same(found, wanted)
    assert found.concordance_index_ == pytest.approx(wanted.concordance_index_, abs=1e-9)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000), parts=st.integers(3, 4), ridge=st.sampled_from([0.0, 0.02]))
def test_one_baseline_over_distinct_times_gives_the_pooled_model(
    seed: int, parts: int, ridge: float
) -> None:
    frame = frame_of(3_000, seed, 6)
    nodes = split(frame, parts, seed)
    table = Table(InProcess(nodes, schema_of(frame)))
    found = cox(table, "t", "e", "x + z + s", strata=None, ridge=ridge)
    assume(found.cells[0].exact)  # a level without an event at some node merges cells
    wanted = lifelines_fit(nodes, strata=None, ridge=ridge)
    check_same(found, wanted)
    ours, theirs = found.baseline_cumulative_hazard_, wanted.baseline_cumulative_hazard_
    np.testing.assert_allclose(ours.to_numpy(), theirs.to_numpy(), rtol=1e-6)
    np.testing.assert_array_equal(ours.index, theirs.index)


def test_a_column_as_strata_with_and_without_the_nodes() -> None:
    frame = frame_of(4_000, 1, 5)
    frame["k"] = np.random.default_rng(0).choice(["u", "v"], len(frame))
    nodes = split(frame, 3, 1)
    table = Table(InProcess(nodes, schema_of(frame)))
    check_same(cox(table, "t", "e", "x + z + s", strata="k"), lifelines_fit(nodes, strata=["k"]))
    check_same(
        cox(table, "t", "e", "x + z + s", strata=["node", "k"]),
        lifelines_fit(nodes, strata=["node", "k"]),
    )


def test_cells_with_few_rows_are_taken_together_and_told() -> None:
    frame = frame_of(6_000, 2, 30)
    source = InProcess(split(frame, 3, 2), schema_of(frame), threshold=10)
    found = cox(Table(source), "t", "e", "x + z + s", strata=None, horizon=8)
    cut = frame.assign(t=frame["t"].clip(upper=8), e=frame["e"].where(frame["t"] <= 8, 0))
    wanted = lifelines_fit([cut], strata=None)
    names = list(wanted.params_.index)
    away = (found.params_[names] - wanted.params_) / wanted.standard_errors_
    assert np.abs(away).max() < 1.0
    assert "took several steps together" in repr(found)
    assert 'for exact times ask with strata="node"' in repr(found)
    assert len(source.jobs) == 1


def test_real_rows_at_the_default_threshold() -> None:
    frame = load_rossi()
    nodes = split(frame, 3, 1)
    table = Table(InProcess(nodes, schema_of(frame), threshold=10))
    found = cox(table, "week", "arrest", "fin + age + race + prio")
    assert (found.nobs, found.n_events) == (432, 114)
    pooled = pd.concat([p.assign(node=at) for at, p in enumerate(nodes)], ignore_index=True)
    columns = ["week", "arrest", "fin", "age", "race", "prio", "node"]
    wanted = CoxPHFitter().fit(
        pooled[columns], "week", "arrest", strata=["node"], fit_options=TIGHT
    )
    np.testing.assert_allclose(found.params_, wanted.params_, rtol=1e-9)
    np.testing.assert_allclose(found.standard_errors_, wanted.standard_errors_, rtol=1e-8)
    np.testing.assert_allclose(found.variance_matrix_, wanted.variance_matrix_, rtol=1e-6)
    np.testing.assert_allclose(found.hazard_ratios_, wanted.hazard_ratios_, rtol=1e-9)
    assert wanted.AIC_partial_ == pytest.approx(found.AIC_partial_)
    assert found.runs <= 8
    assert "baseline hazard: one for each node" in repr(found)
    with pytest.raises(CallError, match="whose baselines are not released"):
        _ = found.baseline_cumulative_hazard_


def test_a_forest_plot_is_drawn() -> None:
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib.figure import Figure

    frame = frame_of(600, 0)
    found = cox(Table(InProcess(split(frame, 3), schema_of(frame))), "t", "e", "x + z")
    drawn = found.plot(Figure().subplots())
    assert [text.get_text() for text in drawn.get_yticklabels()] == ["x", "z"]
    assert "<table" in found._repr_html_()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 80), times=st.integers(1, 12))
def test_pairs_are_those_of_lifelines(seed: int, n: int, times: int) -> None:
    rng = np.random.default_rng(seed)
    durations = rng.integers(0, times, n).astype(float)
    events = rng.random(n) < 0.6
    risk = rng.integers(0, 6, n).astype(float)
    codes = np.zeros(n, dtype=np.int64)
    concordant, tied, pairs = concordant_pairs(durations, events, codes, risk)
    if pairs:
        wanted = concordance_index(durations, -risk, events)
        assert (concordant + tied / 2) / pairs == pytest.approx(wanted, rel=1e-12)
    split_codes = rng.integers(0, 3, n)
    apart = concordant_pairs(durations, events, split_codes, risk)
    single = [
        concordant_pairs(durations[at], events[at], codes[at], risk[at])
        for at in (split_codes == code for code in range(3))
    ]
    assert apart == tuple(np.sum(single, axis=0))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), ties=st.sampled_from(["efron", "breslow"]))
def test_derivatives_are_those_of_the_likelihood(seed: int, ties: str) -> None:
    rng = np.random.default_rng(seed)
    n, p = 60, 3
    x = rng.normal(size=(n, p))
    strata = strata_of(
        x, rng.integers(1, 8, n).astype(float), rng.random(n) < 0.7, rng.integers(0, 2, n)
    )
    beta = rng.normal(size=p) * 0.5
    terms = partial_likelihood(strata, beta, ties)
    step = 1e-5
    for at in range(p):
        move = np.eye(p)[at] * step
        up, down = (partial_likelihood(strata, beta + sign * move, ties) for sign in (1, -1))
        slope = (up.log_likelihood - down.log_likelihood) / (2 * step)
        assert slope == pytest.approx(terms.gradient[at], rel=1e-5, abs=1e-5)
        bend = -(up.gradient - down.gradient) / (2 * step)
        np.testing.assert_allclose(bend, terms.information[at], rtol=1e-5, atol=1e-5)
    assert terms.expected.sum() == pytest.approx(sum(len(s.events) for s in strata))


def test_a_monotone_likelihood_is_said_plainly() -> None:
    frame = frame_of(400, 0)
    frame["hit"] = ((frame["e"] == 1) & (frame["t"] < 9)).astype(int)
    table = Table(InProcess(split(frame, 3), schema_of(frame)))
    with pytest.raises(CallError, match="a finite coefficient of `hit`, got a likelihood that"):
        cox(table, "t", "e", "x + hit")


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("x + again", "expected columns that vary by themselves, got collinear ones: `x`, `again`"),
        ("1", "expected a formula with a column besides the intercept"),
        ("x + nothing", "nothing"),
    ],
)
def test_formulas_that_no_model_has(formula: str, message: str) -> None:
    frame = frame_of(400, 0)
    table = Table(InProcess(split(frame, 3), schema_of(frame))).assign(again="2 * x + 3")
    with pytest.raises(CallError, match=message):
        cox(table, "t", "e", formula)


def test_wrong_calls_say_what_would_pass() -> None:
    frame = frame_of(400, 0)
    table = Table(InProcess(split(frame, 3), schema_of(frame)))
    bad: list[tuple[dict[str, object], str]] = [
        ({"ties": "exact"}, "expected `ties` among efron, breslow, got `exact`"),
        ({"ridge": -1.0}, "expected `ridge` from 0"),
        ({"max_rounds": 1}, "expected `max_rounds` from 2 to 100"),
        ({"strata": ["s", "node", "s"]}, "one column, or both"),
        ({"strata": None}, "expected `resolution` for `t`"),
        ({"resolution": 1.0}, 'expected no resolution or horizon with strata="node"'),
        ({"strata": "x"}, "expected `x` to have a declared domain"),
    ]
    for options, message in bad:
        with pytest.raises(CallError, match=message):
            cox(table, "t", "e", "x", **options)  # type: ignore[arg-type]


def test_an_event_is_0_or_1_by_its_bounds() -> None:
    frame = frame_of(400, 0).assign(status=lambda f: f["e"] + 1)
    table = Table(InProcess(split(frame, 3), schema_of(frame)))
    with pytest.raises(CallError, match="bounds from 0 to 1, got `status` with bounds from 1 to 2"):
        cox(table, "t", "status", "x")
    found = cox(table, "t", "status = 2", "x")
    assert found.params_["x"] == cox(table, "t", "e", "x").params_["x"]


@pytest.mark.parametrize("strata", ["node", None])
def test_rows_of_no_use_count_as_missing_until_they_are_many(strata: str | None) -> None:
    frame = frame_of(900, 0, 6)
    bad = frame.copy()
    bad.loc[:4, "t"] = -1
    step = {} if strata else {"horizon": 4.0}
    options = {"strata": strata, **step}
    few = Table(InProcess(split(bad, 3), schema_of(frame), threshold=10))
    found = cox(few, "t", "e", "x", **options)  # type: ignore[arg-type]
    assert found.nobs == 895
    bad.loc[:99, "t"] = -1
    many = Table(InProcess(split(bad, 3), schema_of(frame), threshold=10))
    with pytest.raises(PeerError, match="expected finite durations from 0 in `t`, got others"):
        cox(many, "t", "e", "x", **options)  # type: ignore[arg-type]
    declared = Table(InProcess(split(bad, 3), schema_of(bad), threshold=10))
    with pytest.raises(CallError, match="expected durations with declared bounds from 0, got `t`"):
        cox(declared, "t", "e", "x", **options)  # type: ignore[arg-type]


def test_few_rows_events_or_differing_values_are_refused_by_name() -> None:
    frame = frame_of(400, 0)
    frame["flag"] = (np.arange(400) == 7).astype(int)
    nodes = split(frame, 3)
    table = Table(InProcess(nodes, schema_of(frame), threshold=10))
    with pytest.raises(PeerError, match="got one with `flag` that a single row makes up half of"):
        cox(table, "t", "e", "x + flag")
    flagged = frame.assign(rare=(np.arange(400) % 20 == 7).astype(int))
    rare = Table(InProcess(split(flagged, 3), schema_of(flagged), threshold=10))
    with pytest.raises(PeerError, match="of `rare other than its median` at each node"):
        cox(rare, "t", "e", "x + rare")
    with pytest.raises(PeerError, match="of `events` at each node"):
        cox(table.where("e = 0 OR x < 4950"), "t", "e", "x")
    few = Table(InProcess([node.iloc[:11] for node in nodes], schema_of(frame)))
    with pytest.raises(PeerError, match="expected 3 complete rows or more for each of 4 columns"):
        cox(few, "t", "e", "x + z + s")
    some = Table(InProcess([node.iloc[:60] for node in nodes], schema_of(frame), threshold=10))
    with pytest.raises(CallError, match='too few; use strata="node" or use fewer columns'):
        cox(some, "t", "e", "x + z + s", strata=None, resolution=1)


@pytest.mark.parametrize("term", ["far", "exp(wide)", "beside"])
@pytest.mark.parametrize("strata", ["node", None])
def test_columns_that_a_single_row_makes_up_are_refused(term: str, strata: str | None) -> None:
    frame = frame_of(900, 0, 6)
    rng = np.random.default_rng(0)
    frame["far"] = np.where(np.arange(900) == 7, 1e4, rng.normal(0, 1, 900))
    frame["wide"] = np.where(np.arange(900) == 7, 25.0, rng.uniform(0, 9, 900))
    frame["beside"] = frame["x"] + np.where(np.arange(900) == 7, 40.0, rng.normal(0, 0.01, 900))
    table = Table(InProcess(split(frame, 3), schema_of(frame), threshold=10))
    with pytest.raises(PeerError, match="that a single row makes up half of"):
        cox(table, "t", "e", f"x + z + {term}", strata=strata)


def test_a_column_that_a_few_rows_make_up_is_refused() -> None:
    """Each has a third, so none of them half."""
    frame = frame_of(900, 0, 6)
    noise = np.random.default_rng(0).normal(0, 1, 900)
    frame["peak"] = np.where(np.arange(900) % 300 < 3, 1e4, noise)
    nodes = [frame[at : at + 300].reset_index(drop=True) for at in (0, 300, 600)]
    table = Table(InProcess(nodes, schema_of(frame), threshold=10))
    with pytest.raises(PeerError, match="expected values of `peak` that vary among the table's"):
        cox(table, "t", "e", "x + peak", strata="node")


def test_leverage_is_that_of_the_hat_matrix() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)) * [1.0, 1e6, 1e-6] + [0.0, 1e8, 1.0]
    full = np.column_stack([np.ones(40), (x - x.mean(axis=0)) / x.std(axis=0)])
    hat = full @ np.linalg.pinv(full)
    assert largest_leverage(x)[0] == pytest.approx(float(np.diag(hat).max()) - 1 / 40, rel=1e-6)
    doubled = np.column_stack([x, 2 * x[:, 0], np.ones(40)])
    assert largest_leverage(doubled)[0] == pytest.approx(largest_leverage(x)[0], rel=1e-6)
    x[7, 1] *= 2
    assert largest_leverage(x) == (pytest.approx(0.97, abs=0.01), 1)


def _rows(n: int = 300) -> tuple[Rows, dict[str, Variable], dict[str, Json]]:
    rng = np.random.default_rng(0)
    numbers = {
        "t": rng.integers(1, 5, n).astype(float),
        "e": (rng.random(n) < 0.5).astype(float),
        "x": rng.normal(size=n),
    }
    variables = {name: Variable(name, True) for name in numbers}
    arguments: dict[str, Json] = {
        "design": [["x", [["x", "identity", None]]]],
        "duration": "t",
        "event": "e",
        "levels": {},
        "strata": "",
    }
    return Rows(n, numbers, {}), variables, arguments


@pytest.mark.parametrize("size", [30.0, -30.0, 1e4])
def test_coefficients_that_pick_rows_are_refused(size: float) -> None:
    rows, variables, arguments = _rows()
    rules = DisclosureRules()
    nodes = {**arguments, "ties": "efron"}
    grid = {**arguments, "start": "0", "resolution": "1", "steps": 5, "trees": 1}
    for kind, given_arguments in ((CoxNodes(), nodes), (CoxGrid(), grid)):
        layout = kind.layout(given_arguments, variables)
        calm = {name: np.zeros(shape) for name, shape in layout.inputs.items()}
        kind.compute(rows, given_arguments, calm, rules)
        steep = {**calm, "beta": np.array([size])}
        with pytest.raises(StateError, match="got a few rows that outweigh the others"):
            kind.compute(rows, given_arguments, steep, rules)
        beyond = {**calm, "beta": np.array([-1e5])}
        with pytest.raises(StateError, match="expected coefficients within 10000 of 0"):
            kind.compute(rows, given_arguments, beyond, rules)


def test_supports_do_not_depend_on_the_inputs() -> None:
    rows, _, arguments = _rows()
    grid = {**arguments, "start": "0", "resolution": "1", "steps": 5, "trees": 1}
    found = [
        CoxGrid().compute(
            rows,
            grid,
            {"beta": np.array([b]), "centre": np.array([c])},
            DisclosureRules(),
        )
        for b, c in ((0.0, 0.0), (0.3, 2.0), (-0.5, -1.0))
    ]
    assert all((one.supports == found[0].supports).all() for one in found)
    assert not np.array_equal(found[0].values, found[1].values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": {"x": 2}}, "expected `levels` to count the levels"),
        ({"more": 1}, "expected the arguments"),
        ({"duration": "y"}, "expected a variable of the statement, got `y`"),
        ({"design": [["Intercept", []]]}, "expected a design without an intercept, got one"),
        ({"ties": "exact"}, "expected `ties` to be one of efron, breslow, got `exact`"),
    ],
)
def test_signed_arguments_that_no_party_takes(change: dict[str, Json], message: str) -> None:
    _, variables, arguments = _rows()
    with pytest.raises(CallError, match=message):
        CoxNodes().layout({**arguments, "ties": "efron", **change}, variables)


def test_a_long_range_of_whole_numbers_is_coarsened_and_merged_cells_are_said_first() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"x": rng.normal(size=600), "e": rng.integers(0, 2, 600)})
    frame["t"] = rng.integers(0, 40_000, 600)
    table = Table(InProcess(split(frame, 3, 1), schema_of(frame), threshold=10))
    found = cox(table, "t", "e", "~ x", strata=None)
    assert found.cells[0].resolution >= 3
    assert found.cells[0].resolution.is_integer()
    assert repr(found).startswith("Times are merged: ")
    assert f"times in steps of {found.cells[0].resolution:g}; " in repr(found)
