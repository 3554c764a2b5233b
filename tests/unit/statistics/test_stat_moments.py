"""The rounds of joint moments and of clusters at one node: what leaves it, and what never does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.canonical import Json
from yumen_core.disclosure import DisclosureRules
from yumen_core.errors import CallError, StateError
from yumen_core.statistics import moments as moments_module
from yumen_core.statistics.clusters import Clusters
from yumen_core.statistics.kinds import Inputs, Local
from yumen_core.statistics.layout import to_integers
from yumen_core.statistics.moments import Moments, few_behind, few_differ, made_by_few
from yumen_core.statistics.rows import Rows, Variable
from yumen_core.statistics.spread import check_values

RULES = DisclosureRules(threshold=10)
VARIABLES = {
    "x": Variable("x", True),
    "y": Variable("y", True),
    "a": Variable("a", False, ("p", "q")),
}


def _rows(x: np.ndarray, y: np.ndarray) -> Rows:
    return Rows(len(x), {"x": x, "y": y}, {})


def _moments(rows: Rows, inputs: Inputs | None = None, missing: tuple[str, ...] = ()) -> Local:
    arguments: dict[str, Json] = {"variables": ["x", "y"], "missing": list(missing)}
    arguments["products"] = 0 if inputs is None else 1
    return Moments().compute(rows, arguments, inputs or {}, RULES)


def test_rows_are_told_apart_by_what_they_lack() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=100), rng.normal(size=100)
    x[:20] = np.nan
    y[15:45] = np.nan
    local = _moments(_rows(x, y), missing=("x", "y"))
    assert local.values[:, 0].tolist() == [55, 15, 25, 5]
    assert local.supports.tolist() == [[55], [15], [25], [5]]
    np.testing.assert_allclose(local.values[1, 1:], [0, y[:15].sum(), 0, (y[:15] ** 2).sum()])
    both = {"centres": np.array([1.0, 2.0]), "scales": np.array([2.0, 4.0])}
    second = _moments(_rows(x, y), both, missing=("x", "y"))
    z = (x[20:45] - 1) / 2
    np.testing.assert_allclose(second.values[2], [25, z.sum(), 0, z @ z, 0, 0])


def test_a_column_that_may_not_be_missing_leaves_its_rows_out() -> None:
    x, y = np.arange(40.0), np.arange(40.0)
    y[3] = np.nan
    assert _moments(_rows(x, y), missing=("x",)).values[:, 0].tolist() == [39, 0]


def test_products_are_the_same_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    rows = _rows(rng.normal(size=101), rng.normal(size=101))
    inputs = {"centres": np.zeros(2), "scales": np.ones(2)}
    whole = _moments(rows, inputs).values
    monkeypatch.setattr(moments_module, "_CHUNK_VALUES", 14)
    np.testing.assert_allclose(_moments(rows, inputs).values, whole, rtol=1e-13)


@pytest.mark.parametrize(
    ("others", "behind"), [(0, 60), (1, 0), (4, 0), (5, 60), (30, 60), (55, 60), (56, 0), (59, 0)]
)
def test_a_column_of_one_value_in_all_rows_but_a_few_is_not_given(others: int, behind: int) -> None:
    x = np.full(60, 3.5)
    x[:others] = 1.5
    assert _moments(_rows(x, np.arange(60.0))).supports.tolist() == [[behind]]


def test_rows_must_be_three_for_each_column() -> None:
    x = np.arange(5.0)
    few = DisclosureRules(threshold=1)
    arguments: dict[str, Json] = {"variables": ["x", "y"], "missing": [], "products": 0}
    assert Moments().compute(_rows(x, x), arguments, {}, few).supports.tolist() == [[0]]
    x = np.arange(6.0)
    assert Moments().compute(_rows(x, x), arguments, {}, few).supports.tolist() == [[6]]


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=25, max_size=60), st.integers(1, 12))
def test_two_values_need_3_rows_each_and_half_the_threshold(
    values: list[float], threshold: int
) -> None:
    x = np.array(values)
    fewest = min(int(x.sum()), len(x) - int(x.sum()))
    assert few_behind(x, threshold) == (0 < fewest < max(min(3, threshold), threshold / 2))


SPREAD = np.random.default_rng(6).normal(size=200)


@pytest.mark.parametrize(
    ("values", "few"),
    [
        (SPREAD, False),
        (SPREAD[:12], False),
        (SPREAD * 1e-300, False),
        (SPREAD * 1e300, False),
        (np.exp(SPREAD), False),
        (np.where(np.arange(200) == 7, 1e9, SPREAD), True),  # one row in the high digits
        (np.exp(-((np.arange(200.0) - 7) ** 2)), True),  # a peak at one row
        (np.concatenate([[-1e300, 1e300], SPREAD]), True),
        (np.concatenate([[-1.7e308, 1.7e308], SPREAD]), True),
    ],
)
def test_a_few_rows_that_make_up_a_column_are_seen(values: np.ndarray, few: bool) -> None:
    assert few_behind(values, 10) is few


@pytest.mark.parametrize(
    "inputs",
    [
        {"centres": np.zeros(2), "scales": np.zeros(2)},
        {"centres": np.full(2, 1e300), "scales": np.full(2, 1e-300)},
        {"centres": np.zeros(2), "scales": np.full(2, 1e-40)},
    ],
)
def test_hostile_inputs_of_moments_are_refused_whatever_the_rows(inputs: Inputs) -> None:
    for rows in (_rows(np.arange(40.0), np.arange(40.0)), _rows(np.empty(0), np.empty(0))):
        with pytest.raises(StateError) as caught:
            _moments(rows, inputs)
        assert caught.value.code == "data_values"


def _clusters(rows: Rows, centres: np.ndarray, rules: DisclosureRules = RULES) -> Local:
    inputs = {"centres": np.zeros(2), "scales": np.ones(2), "clusters": centres}
    arguments: dict[str, Json] = {"variables": ["x", "y"], "clusters": len(centres)}
    return Clusters().compute(rows, arguments, inputs, rules)


def test_a_cluster_has_rows_and_distances_to_its_centre() -> None:
    x = np.concatenate([np.arange(20.0), np.arange(20.0) + 100])
    rows = _rows(x, np.arange(40.0))
    centres = np.array([[10.0, 10.0], [110.0, 30.0], [1e6, 0.0]])
    local = _clusters(rows, centres)
    assert local.supports.ravel().tolist() == [20, 20, 0]
    expected = [20, (x[:20] - 10).sum(), (np.arange(20.0) - 10).sum()]
    squares = ((x[:20] - 10) ** 2).sum() + ((np.arange(20.0) - 10) ** 2).sum()
    np.testing.assert_allclose(local.values[0], [*expected, squares])
    assert not local.values[2].any()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.lists(
        st.lists(st.tuples(st.integers(-30, 30), st.integers(-30, 30)), min_size=3, max_size=3),
        min_size=2,
        max_size=12,
    ),
)
def test_no_two_steps_differ_by_fewer_rows_than_the_threshold(
    seed: int, steps: list[list[tuple[int, int]]]
) -> None:
    rng = np.random.default_rng(seed)
    n = 150
    rows = _rows(np.round(rng.normal(size=n) * 10), np.round(rng.normal(size=n) * 10))
    labels = []
    for step in steps:
        local = _clusters(rows, np.array(step, dtype=np.float64))
        assert all(count == 0 or count >= 10 for count in local.supports.ravel().tolist())
        history = next(v for v in rows._kept.values() if hasattr(v, "part"))
        labels.append(history.part.copy())  # type: ignore[attr-defined]
    assert np.bincount(labels[-1]).min() >= 10
    for earlier in labels[:-1]:  # every step's clusters are unions of the last one's parts
        pairs = set(zip(labels[-1].tolist(), earlier.tolist(), strict=True))
        assert len(pairs) == len(set(labels[-1].tolist()))


def test_a_border_moved_over_one_row_moves_no_row() -> None:
    x = np.arange(100.0)
    rows = _rows(x, x % 7)
    counts = []
    for border in range(40, 62):
        centres = np.array([[border - 50.5, 3.0], [border + 50.5, 3.0]])
        counts.append(int(_clusters(rows, centres).supports[0, 0]))
    assert set(counts) == {41, 51, 61}


def test_the_same_centres_again_give_the_same_sums() -> None:
    rng = np.random.default_rng(4)
    rows = _rows(rng.normal(size=90), rng.normal(size=90))
    centres = rng.normal(size=(4, 2))
    first = _clusters(rows, centres)
    np.testing.assert_array_equal(first.values, _clusters(rows, centres).values)


def test_a_node_with_too_few_rows_gives_no_cluster() -> None:
    rows = _rows(np.arange(9.0), np.arange(9.0))
    local = _clusters(rows, np.array([[0.0, 0], [8, 8]]))
    assert max(local.supports.ravel().tolist()) < 10
    empty = _clusters(_rows(np.empty(0), np.empty(0)), np.array([[0.0, 0], [8, 8]]))
    assert not empty.supports.any()
    assert not empty.values.any()


def test_no_cluster_is_given_where_few_rows_differ() -> None:
    x = np.full(60, 2.0)
    x[0] = 99.0
    assert not _clusters(_rows(x, np.arange(60.0)), np.array([[2.0, 10], [2, 50]])).supports.any()


@pytest.mark.parametrize("value", [1e30, -1e30, 1e20])
def test_far_centres_do_not_pick_rows(value: float) -> None:
    rows = _rows(np.arange(60.0), np.arange(60.0))
    local = _clusters(rows, np.array([[value, value], [0.0, value]]))
    assert all(count == 0 or count >= 10 for count in local.supports.ravel().tolist())
    for farther in (value * 1e20, value * 1e100):
        with pytest.raises(StateError) as caught:
            _clusters(rows, np.array([[farther, farther], [0.0, farther]]))
        assert "expected centres of clusters within 1e+30 of 0" in caught.value.message


def test_far_centres_do_not_round_rows() -> None:
    """(x - centre) by single rows would count the rows above an edge between two doubles."""
    x = np.arange(60.0) / 7
    rows = _rows(x, x)
    inputs = {
        "centres": np.full(2, 1e13),
        "scales": np.full(2, 1e-20),
        "clusters": np.full((1, 2), -1e13),
    }
    arguments: dict[str, Json] = {"variables": ["x", "y"], "clusters": 1}
    local = Clusters().compute(rows, arguments, inputs, RULES)
    away = float(x.mean()) - 1e13 - 1e-20 * -1e13
    assert local.values[0, 1] == pytest.approx(60 * away / 1e-20, rel=1e-14)
    assert to_integers(Clusters().layout(arguments, VARIABLES), local.values)


MOMENTS = {"variables": ["x", "y"], "missing": [], "products": 0}
CLUSTERS = {"variables": ["x", "y"], "clusters": 2}
BAD = [
    (Moments(), {**MOMENTS, "z": 1}, "expected the arguments missing, products, variables"),
    (Moments(), {**MOMENTS, "variables": []}, "expected one variable or more, each once"),
    (Moments(), {**MOMENTS, "variables": ["x", "x"]}, "expected one variable or more, each once"),
    (Moments(), {**MOMENTS, "variables": ["x", "a"]}, "expected `a` to be a number, got levels"),
    (Moments(), {**MOMENTS, "variables": ["v"]}, "expected a variable of the statement, got `v`"),
    (Moments(), {**MOMENTS, "missing": ["y", "x"]}, "expected `missing` among the variables"),
    (Moments(), {**MOMENTS, "missing": ["a"]}, "expected `missing` among the variables"),
    (Moments(), {**MOMENTS, "products": 2}, "expected `products` from 0 to 1, got `2`"),
    (Clusters(), {**CLUSTERS, "clusters": 51}, "expected `clusters` from 1 to 50, got `51`"),
    (Clusters(), {**CLUSTERS, "variables": ["a"]}, "expected `a` to be a number, got levels"),
    (Clusters(), {**CLUSTERS, "variables": []}, "expected one variable or more, each once"),
    (Clusters(), {**CLUSTERS, "k": 1}, "expected the arguments clusters, variables"),
]


@pytest.mark.parametrize(("kind", "arguments", "message"), BAD)
def test_arguments_that_do_not_fit_are_refused(
    kind: Moments | Clusters, arguments: dict[str, Json], message: str
) -> None:
    with pytest.raises(CallError) as caught:
        kind.layout(arguments, VARIABLES)
    assert caught.value.code == "statistic"
    assert message in caught.value.message


@pytest.mark.parametrize("differing", [0, 1, 9, 10])
def test_a_built_column_of_one_value_is_as_one_of_few_others(differing: int) -> None:
    values = np.array([float(at) for at in range(1, differing + 1)] + [0.0] * 40)
    rules = DisclosureRules(threshold=10, min_nodes=3)
    assert few_differ(values, 10, built=True) is (differing < 10)
    assert few_differ(values, 10) is (0 < differing < 10)
    assert made_by_few(values, rules, built=True) or differing == 10
    assert not made_by_few(np.zeros(40), rules)
    if differing < 10:
        with pytest.raises(StateError, match="threshold of rows that differ in `d` from"):
            check_values("d", values, rules, built=True)
