"""One row more or less moves no exact value further than its sensitivity says."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sql_tables import PEOPLE, Row, node_cells
from yumen_core.jobs.runs import runs_of_query
from yumen_core.privacy import Privacy
from yumen_core.privacy.sensitivity import of_plan
from yumen_core.sql import Plan, finish, parse

BMI = st.one_of(st.none(), st.sampled_from([-50.0, 100.0, 0.0]), st.floats(-50, 100))
ROWS: st.SearchStrategy[Row] = st.tuples(
    st.sampled_from(["female", "male"]),
    st.sampled_from([None, "兰州", "天水"]),
    st.sampled_from([None, 0, 1, 2, -3]),
    st.sampled_from([None, True, False]),
    st.integers(0, 120),
    st.one_of(st.none(), st.sampled_from([-400, 600]), st.integers(-400, 600)),
    st.one_of(
        st.none(), st.just("99999.99"), st.integers(0, 9_999_999).map(lambda n: f"{n / 100:.2f}")
    ),
    BMI,
    st.one_of(st.none(), st.floats(0.5, 2)),
    st.none(),
    st.none(),
    st.none(),
)
MEASURES = (
    "COUNT(*)",
    "COUNT(chol)",
    "SUM(chol)",
    "AVG(bmi)",
    "SUM(bmi * weight)",
    "SUM(0 - cost)",
    "SUM(chol - 1000)",
    "SUM(age * chol)",
    "VAR_POP(chol)",
    "STDDEV_SAMP(cost)",
    "SUM(CASE WHEN age > 50 THEN chol ELSE age END)",
    "COUNT(CASE WHEN smoker THEN 1 END)",
    "SUM(CASE WHEN chol > 0 THEN bmi END)",
)
GROUPS = ("", "GROUP BY sex", "GROUP BY stage, smoker", "GROUP BY ROLLUP (sex)",
          "GROUP BY smoker, ROLLUP (sex, stage)")  # fmt: skip


def plan_of(sql: str) -> Plan:
    return parse(sql, {"people": PEOPLE})


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(ROWS, max_size=6),
    one=ROWS,
    measures=st.lists(st.sampled_from(MEASURES), min_size=1, max_size=4, unique=True),
    group=st.sampled_from(GROUPS),
    where=st.sampled_from(["", "WHERE age >= 10"]),
)
def test_one_row_moves_no_value_beyond_its_sensitivity(
    rows: list[Row], one: Row, measures: list[str], group: str, where: str
) -> None:
    shown = ", ".join(f"{measure} AS m{at}" for at, measure in enumerate(measures))
    plan = plan_of(f"SELECT {shown} FROM people {where} {group}")
    before, after = node_cells(plan, rows), node_cells(plan, [*rows, one])
    assert len(before.values) == len(after.values) == plan.layout.cells
    for at, summed in enumerate(of_plan(plan)):
        moved = [
            abs(new[at] - old[at])
            for old, new in zip(before.values, after.values, strict=True)
            if new[at] != old[at]
        ]
        assert len(moved) <= summed.cells
        assert max(moved, default=0) <= summed.sensitivity


@pytest.mark.parametrize(
    ("measure", "row", "moved"),
    [
        ("SUM(chol)", {"chol": 600}, 600),
        ("SUM(chol - 1000)", {"chol": -400}, 1400),
        ("SUM(cost)", {"cost": "99999.99"}, 9_999_999),
    ],
)
def test_a_sensitivity_is_reached_and_so_not_too_wide(
    measure: str, row: dict[str, object], moved: int
) -> None:
    plan = plan_of(f"SELECT {measure} AS m FROM people GROUP BY ROLLUP (sex)")
    one = tuple({"sex": "male", "age": 1, **row}.get(column.name) for column in PEOPLE.columns)
    before, after = node_cells(plan, []), node_cells(plan, [one])
    at = [summed.sensitivity for summed in of_plan(plan)].index(moved)
    differ = [new[at] - old[at] for old, new in zip(before.values, after.values, strict=True)]
    assert [abs(one) for one in differ if one] == [moved] * of_plan(plan)[at].cells


def test_error_bars_of_averages_and_variances_cover_the_truth() -> None:
    """The 95% intervals of 400 answers with noise drawn from a seed: 92 to 98% hold the truth."""
    plan = plan_of("SELECT AVG(chol) AS a, VAR_POP(chol) AS v, SUM(age) AS s FROM people")
    draw = np.random.default_rng(7)
    chol, age = draw.integers(-400, 600, 3000), draw.integers(0, 120, 3000)
    rows: list[Row] = [
        ("male", None, None, None, int(a), int(c), *[None] * 6)
        for a, c in zip(age, chol, strict=True)
    ]
    exact = node_cells(plan, rows).values
    answer = runs_of_query(plan, Privacy.of_epsilon(5.0)).first.answer
    noise = getattr(answer, "noise")  # noqa: B009
    deviations = [one.deviation(3) for one in noise.noises]
    behind = [[3] * plan.layout.supports] * plan.layout.cells
    truth = {"a": chol.mean(), "v": chol.var(), "s": age.sum()}
    held = dict.fromkeys(truth, 0)
    for _ in range(400):
        noisy = [
            [value + round(draw.normal(0, d)) for value, d in zip(row, deviations, strict=True)]
            for row in exact
        ]
        found = finish(plan, behind, noisy, deviations)
        assert isinstance(found.errors, pa.Table)
        for name, true in truth.items():
            error = found.errors[name][0].as_py()
            held[name] += abs(float(found.table[name][0].as_py()) - true) <= error
    assert all(368 <= count <= 392 for count in held.values()), held
