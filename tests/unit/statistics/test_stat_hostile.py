"""No failure of a node tells of a few rows: hostile inputs are refused for what they are, whatever
the rows, and rows that no sum could hold count as missing (ADR 15)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.disclosure import DisclosureRules
from yumen_core.errors import CallError, StateError
from yumen_core.statistics.arguments import check_bounds
from yumen_core.statistics.kinds import RoundKind
from yumen_core.statistics.layout import to_integers
from yumen_core.statistics.registry import kind_of
from yumen_core.statistics.release import withheld
from yumen_core.statistics.rows import LARGEST, Rows, Variable, check_units, usable, usable_numbers

RULES = DisclosureRules(threshold=10)
FEW = "a few rows make this up"
N = 120


def numbers() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=N)
    return {
        "x": x,
        "z": rng.uniform(1, 5, N),
        "y": x + rng.normal(size=N),
        "b": (rng.random(N) < 1 / (1 + np.exp(-x))).astype(float),
        "n": rng.poisson(np.exp(0.3 * x + 1)).astype(float),
        "g": rng.gamma(2.0, 1.0, N),
        "w": rng.uniform(1, 2, N),
        "t": rng.integers(1, 6, N).astype(float),
        "e": (rng.random(N) < 0.6).astype(float),
    }


VARIABLES = {name: Variable(name, True) for name in numbers()} | {
    "k": Variable("k", False, ("p", "q"))
}


def rows(extreme: Mapping[str, float] | None = None) -> Rows:
    """The rows, with one more that has `extreme` values."""
    found, codes = numbers(), np.arange(N, dtype=np.int32) % 2
    if extreme is not None:
        found = {name: np.append(x, extreme.get(name, x[0])) for name, x in found.items()}
        codes = np.append(codes, np.int32(0))
    return Rows(len(codes), found, {"k": codes})


def outcome(kind: RoundKind, given_: Rows, arguments: Any, inputs: Any) -> str:
    """The refusal, or nothing: everything of which this node has a few rows or more is sent."""
    layout = kind.layout(arguments, VARIABLES)
    try:
        local = kind.compute(given_, arguments, inputs, RULES)
        keep = local.supports >= RULES.few
        if kind.rule == "partition":
            keep = np.repeat(keep.all(axis=1, keepdims=True), keep.shape[1], axis=1)
        to_integers(layout, withheld(layout, local, keep))
    except StateError as refused:
        few = refused.code == "too_few_rows" or "a few rows that outweigh" in refused.message
        return FEW if few else f"{refused.code}: {refused.message}"
    return ""


def model(response: str, family: str, link: str, **more: Any) -> dict[str, Any]:
    design = [["c", []], ["x", [["x", "identity", None]]], ["log(z)", [["z", "log", None]]]]
    return {
        "design": design,
        "exposure": "",
        "family": family,
        "intercepts": "shared",
        "levels": {},
        "link": link,
        "offset": "",
        "response": [response, "identity", None],
        "weights": "",
        **more,
    }


COX = {
    "design": [["x", [["x", "identity", None]]], ["log(z)", [["z", "log", None]]]],
    "duration": "t",
    "event": "e",
    "levels": {},
    "strata": "",
}
OWN = {"intercepts": "node", "design": model("y", "gaussian", "identity")["design"][1:]}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("moments_by", {"by": "k", "groups": 2, "squares": 1, "variables": ["x", "z"]}),
    ("pair_moments", {"by": "", "groups": 1, "variables": ["x", "z", "y"]}),
    ("moments", {"missing": ["y"], "products": 1, "variables": ["x", "z", "y"]}),
    ("clusters", {"clusters": 2, "variables": ["x", "z"]}),
    ("bins", {"by": "", "edges": ["0", "2", "5"], "groups": 1, "variable": "x"}),
    ("design", model("y", "gaussian", "identity", weights="w")),
    ("design", model("n", "poisson", "log", weights="w")),
    ("glm", model("y", "gaussian", "identity", fit="model", weights="w")),
    ("glm", model("b", "binomial", "logit", fit="model", offset="y")),
    ("glm", model("n", "poisson", "log", fit="model", exposure="w")),
    ("glm", model("g", "gamma", "log", fit="model")),
    ("glm", model("g", "gamma", "inverse", fit="model")),
    ("glm", {**model("b", "binomial", "logit", fit="model"), **OWN}),
    ("robust", model("y", "gaussian", "identity", covariance="HC3")),
    ("robust", model("b", "binomial", "logit", covariance="HC2")),
    ("robust", model("n", "poisson", "log", covariance="cluster", weights="w")),
    ("cox_nodes", {**COX, "ties": "efron"}),
    ("cox_grid", {**COX, "start": "0", "resolution": "1", "steps": 5, "trees": 1}),
    ("concordance", COX),
    ("covariate_moments", COX),
]
NAMES = [f"{name} {arguments.get('family', '')}" for name, arguments in CASES]
sizes = st.one_of(
    st.floats(-1e300, 1e300), st.floats(-3, 3), st.sampled_from([0.0, 1e300, -1e300, 1e-300, 1e16])
)


def drawn(data: st.DataObject, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Finite inputs, some honest: all but one or two of them, most often."""
    inputs = {}
    for name, shape in shapes.items():
        calm = np.ones(shape) if "scale" in name else np.zeros(shape)
        if name in ("transform", "bread"):
            calm = np.eye(shape[0]) * (1.0 if name == "transform" else 1e-4)
        if name == "response":
            calm = np.array([0.0, 1.0])
        if data.draw(st.integers(0, 2), label=f"hostile {name}") == 0:
            count = int(np.prod(shape))
            hostile = data.draw(st.lists(sizes, min_size=count, max_size=count), label=name)
            calm = np.array(hostile, dtype=np.float64).reshape(shape)
        inputs[name] = calm
    return inputs


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=NAMES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=12, deadline=None)
@given(st.data())
def test_one_extreme_row_never_decides_whether_a_node_fails(
    name: str, arguments: dict[str, Any], data: st.DataObject
) -> None:
    kind = kind_of(name)
    inputs = drawn(data, kind.layout(arguments, VARIABLES).inputs)
    extreme = data.draw(
        st.dictionaries(
            st.sampled_from(sorted(numbers())),
            st.one_of(sizes, st.sampled_from([np.inf, -np.inf, 0.0, 1e13, 0.5])),
            max_size=3,
        )
    )
    without, with_one = (
        outcome(kind, given_, arguments, inputs) for given_ in (rows(), rows(extreme))
    )
    assert with_one == without or FEW in (with_one, without)


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=NAMES)
def test_honest_inputs_pass(name: str, arguments: dict[str, Any]) -> None:
    """So that the test above has something to tell apart."""
    kind = kind_of(name)
    inputs = {}
    for entry, shape in kind.layout(arguments, VARIABLES).inputs.items():
        inputs[entry] = np.ones(shape) if "scale" in entry else np.zeros(shape)
        if entry == "transform":
            inputs[entry] = np.eye(shape[0])
        if entry == "bread":
            inputs[entry] = np.eye(shape[0]) * 1e-4
        if entry == "response":
            inputs[entry] = np.array([0.0, 1.0])
        if entry == "clusters":
            inputs[entry] = np.array([[0.0, 2.0], [0.0, 4.0]])
    if arguments.get("link") == "inverse":
        inputs["beta"][0] = 0.5
    assert outcome(kind, rows(), arguments, inputs) == ""


@pytest.mark.parametrize("bad", [np.inf, -np.inf, 1e14, -1e300])
def test_numbers_beyond_a_sum_are_missing_below_the_threshold(bad: float) -> None:
    x = np.concatenate([np.arange(20.0), np.full(9, bad), [np.nan]])
    found = usable_numbers(Rows(30, {"x": x}, {}), "x", 10)
    np.testing.assert_array_equal(found[:20], x[:20])
    assert np.isnan(found[20:]).all()
    with pytest.raises(StateError) as caught:
        usable_numbers(Rows(30, {"x": x}, {}), "x", 9)
    assert caught.value.code == "data_values"
    assert caught.value.message == (
        "expected numbers within 1e+13 of 0 in `x`, got others in the table's threshold of rows or "
        "more"
    )


def test_only_rows_that_are_present_are_at_fault() -> None:
    present = np.arange(20) < 10
    fit = np.arange(20) % 2 == 0
    np.testing.assert_array_equal(usable("x", present, fit, 6), present & fit)
    with pytest.raises(StateError, match="expected counts in `x`, got others"):
        usable("x", present, fit, 5, wanted="counts")


@pytest.mark.parametrize(
    ("bounds", "most", "message"),
    [
        ((0.0, 9.0), None, ""),
        ((None, None), 1.0, ""),
        ((-1e-12, 1 + 1e-12), 1.0, ""),
        ((-57.0, 9.0), None, "from 0, got `w` with bounds from -57 to 9"),
        ((0.0, 2.0), 1.0, "from 0 to 1, got `w` with bounds from 0 to 2"),
        ((-1.0, None), None, "from 0, got `w` with bounds from -1"),
    ],
)  # fmt: skip
def test_bounds_are_asked_before_any_row(
    bounds: tuple[float | None, float | None], most: float | None, message: str
) -> None:
    if not message:
        check_bounds("w", "weights", bounds, least=0.0, most=most)
        return
    with pytest.raises(CallError) as caught:
        check_bounds("w", "weights", bounds, least=0.0, most=most)
    assert caught.value.message == f"expected weights with declared bounds {message}"
    assert caught.value.remedy == ("declare narrower bounds of `w`, or choose another expression")


@pytest.mark.parametrize("centre", [2e13, -1e300])
def test_units_beyond_range_are_refused(centre: float) -> None:
    check_units(np.array([LARGEST, -LARGEST]), np.array([1e-20, 1e13]))
    with pytest.raises(StateError, match="expected centres within"):
        check_units(np.array([0.0, centre]))
    for scale in (0.0, -1.0, 9e-21, 2e13):
        with pytest.raises(StateError, match="expected scales from 1e-20"):
            check_units(np.zeros(1), np.array([scale]))
