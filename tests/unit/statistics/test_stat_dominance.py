"""Rules of dominance and degrees of freedom in the rounds of statistics and models."""

from __future__ import annotations

import numpy as np
import pytest
from yumen_core.canonical import Json
from yumen_core.disclosure import DisclosureRules
from yumen_core.disclosure.dominance import Dominance
from yumen_core.errors import StateError
from yumen_core.statistics.clusters import Clusters
from yumen_core.statistics.model import MODEL, model_rows
from yumen_core.statistics.moments import Moments, few_behind
from yumen_core.statistics.moments_by import MomentsBy
from yumen_core.statistics.pair_moments import PairMoments
from yumen_core.statistics.rows import Rows
from yumen_core.statistics.spread import check_peak
from yumen_core.statistics.survival import cox_model, cox_rows

# Of 30 farms the first 3 have more than half; few_behind alone lets them pass.
SIZES = np.concatenate([[120.0, 110.0, 100.0], np.linspace(1.0, 13.0, 27)])
OTHERS = np.linspace(5.0, 9.0, 30)
ROWS = Rows(30, {"kg": SIZES, "age": OTHERS}, {})
NONE = DisclosureRules(threshold=4)
STRICT = DisclosureRules(threshold=4, dominance=(Dominance(3, 60, 0),))
UNITS = {"centres": np.zeros((1, 2)), "scales": np.ones((1, 2))}
FLAT = {name: value[0] for name, value in UNITS.items()}


def test_the_farms_are_dominated_though_their_spread_passes() -> None:
    assert not few_behind(SIZES, 4)
    assert STRICT.dominance[0].fails([120, 110, 100], SIZES.sum())


def behind(kind: str, names: list[str], rules: DisclosureRules) -> list[int]:
    rows = Rows(30, dict(ROWS.numbers), {})
    arguments: dict[str, Json] = {"variables": names}
    if kind == "moments_by":
        more: dict[str, Json] = {"by": "", "groups": 1, "squares": 0}
        local = MomentsBy().compute(rows, {**arguments, **more}, {}, rules)
        return [int(count) for count in local.supports[0, 1:]]
    if kind == "pairs":
        local = PairMoments().compute(rows, {**arguments, "by": "", "groups": 1}, UNITS, rules)
    elif kind == "moments":
        local = Moments().compute(rows, {**arguments, "missing": [], "products": 0}, {}, rules)
    else:
        given = {**FLAT, "clusters": np.zeros((1, 2))}
        local = Clusters().compute(rows, {**arguments, "clusters": 1}, given, rules)
    return [int(count) for count in local.supports[0]]


@pytest.mark.parametrize("kind", ["moments_by", "pairs", "moments", "clusters"])
def test_a_dominated_variable_is_held_back(kind: str) -> None:
    width = 2 if kind == "moments_by" else 1
    assert behind(kind, ["age", "kg"], NONE) == [30] * width
    assert behind(kind, ["age", "kg"], STRICT) == ([30, 0] if width == 2 else [0])


def test_a_models_column_may_not_be_dominated() -> None:
    check_peak("kg", SIZES, NONE)
    with pytest.raises(StateError) as caught:
        check_peak("kg", SIZES, STRICT)
    assert caught.value.code == "too_few_rows"
    assert caught.value.message == (
        "expected values of `kg` that vary among the table's threshold of rows, got a few "
        "rows far from all others"
    )


LINEAR: dict[str, Json] = {
    **dict.fromkeys(MODEL, ""),
    "design": [["Intercept", []], ["age", [["age", "identity", None]]]],
    "family": "gaussian",
    "intercepts": "shared",
    "levels": {},
    "link": "identity",
    "response": ["y", "identity", None],
}


def people(count: int) -> Rows:
    rng = np.random.default_rng(count)
    numbers = {"y": rng.normal(size=count), "age": rng.normal(size=count)}
    return Rows(count, numbers, {})


def test_a_model_needs_rows_beyond_its_coefficients() -> None:
    rules = DisclosureRules(threshold=10, degrees_of_freedom=20)
    assert model_rows(people(22), LINEAR, rules).count == 22
    with pytest.raises(StateError) as caught:
        model_rows(people(21), LINEAR, rules)
    assert caught.value.code == "too_few_rows"
    assert caught.value.message == (
        "expected 20 rows at least beyond the 2 coefficients of the model, got fewer"
    )
    assert model_rows(people(21), LINEAR, DisclosureRules(threshold=10)).count == 21


@pytest.mark.parametrize(("events", "fits"), [(0, True), (1, False), (11, False), (12, True)])
def test_coxs_model_needs_events_beyond_its_columns(events: int, fits: bool) -> None:
    count = 60
    rng = np.random.default_rng(events)
    numbers = {
        "time": rng.uniform(1, 9, count),
        "dead": (np.arange(count) < events).astype(float),
        "x": rng.normal(size=count),
        "z": rng.normal(size=count),
    }
    rows = Rows(count, numbers, {})
    design = [[name, [[name, "identity", None]]] for name in ("x", "z")]
    arguments: dict[str, Json] = {
        "design": design, "duration": "time", "event": "dead", "levels": {}, "strata": ""
    }  # fmt: skip
    rules = DisclosureRules(threshold=10, degrees_of_freedom=10)
    if fits:
        found = cox_rows(rows, arguments, cox_model(rows, arguments), rules)
        assert int(found.times.events.sum()) == events
        return
    with pytest.raises(StateError) as caught:
        cox_rows(rows, arguments, cox_model(rows, arguments), rules)
    assert caught.value.code == "too_few_rows"
    assert caught.value.message == (
        "expected 10 events at least beyond the 2 columns of the model, or none, got fewer"
    )
