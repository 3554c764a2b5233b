"""What a method says of an argument of the wrong type, before anything is asked of a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders.in_process import InProcess, schema_of, split
from yumen.statistics.methods import FederatedTable
from yumen_core.errors import CallError, PeerError

rng = np.random.default_rng(3)
FRAME = pd.DataFrame(
    {
        "age": rng.uniform(20, 80, 300),
        "years married": rng.uniform(0, 30, 300),
        "days": rng.integers(1, 2000, 300),
        "died": rng.integers(0, 2, 300),
        "sex": rng.choice(["f", "m"], 300),
        "arm": rng.choice(["a", "b"], 300),
    }
)
SOURCE = InProcess(split(FRAME, 3, 1), schema_of(FRAME), threshold=3)
ONE = "as the name of one column or an SQL expression"
LIST = "as a list of columns or SQL expressions"

WRONG: list[tuple[Callable[[Any], object], str]] = [
    (
        lambda t: t.ols("age ~ sex", weights=2),
        f'expected `weights` {ONE}, got `2`; write SQL as text: `weights="2"`',
    ),
    (
        lambda t: t.ols("age ~ sex", weights=["days"]),
        f'expected `weights` {ONE}, got a list; give one: `weights="days"`',
    ),
    (lambda t: t.describe(by=["sex"]), f'expected `by` {ONE}, got a list; give one: `by="sex"`'),
    (lambda t: t.anova("age", by=["sex"]), f"expected `by` {ONE}, got a list; give one"),
    (lambda t: t.anova("age", by=None), f"expected `by` {ONE}, got None"),
    (lambda t: t.anova("age", by=""), f"expected `by` {ONE}, got an empty text"),
    (
        lambda t: t.where(lambda d: d.age > 50),
        f"expected `condition` {ONE}, got a function; write it in SQL, such as `x > 3`; a function "
        "cannot be sent to a node",
    ),
    (lambda t: t.where(FRAME["age"] > 50), f"expected `condition` {ONE}, got `Series`"),
    (lambda t: t.assign(x=lambda d: d.age), f"expected `x` {ONE}, got a function"),
    (lambda t: t.assign(old=5), f'expected `old` {ONE}, got `5`; write SQL as text: `old="5"`'),
    (lambda t: t.t_test("age", mu="50"), "expected `mu` as a number, got the text `50`"),
    (lambda t: t.t_test("age", mu=float("nan")), "expected `mu` as a number, got `nan`"),
    (
        lambda t: t.t_test("age", by="sex", equal_var="no"),
        "expected `equal_var` as True or False, got the text `no`",
    ),
    (lambda t: t.kmeans(["age", "days"], "3"), "expected `k` as a whole number, got the text `3`"),
    (lambda t: t.kmeans(["age", "days"], 3.0), "expected `k` as a whole number, got `3.0`"),
    (
        lambda t: t.kmeans("age", 3),
        f'expected `columns` {LIST}, got the text `age`; write `["age"]',
    ),
    (lambda t: t.corr(["age", 2]), f"expected `columns` {LIST}, got one with `2`"),
    (
        lambda t: t.kaplan_meier("days", "died", horizon="2000"),
        "expected `horizon` as a number, got the text `2000`",
    ),
    (
        lambda t: t.cox("days", "died", "age", ridge="x"),
        "expected `ridge` as a number, got the text `x`",
    ),
    (
        lambda t: t.histogram("age", bins="auto"),
        "expected `bins` as a whole number or a list of edges, got the text `auto`",
    ),
    (
        lambda t: t.histogram("age", bins=3.0),
        "expected `bins` as a whole number or a list of edges, got `3.0`",
    ),
    (
        lambda t: t.describe(quantiles=0.5),
        "expected `quantiles` as a list of numbers, got `0.5`; write `[0.5]`",
    ),
    (lambda t: t.quantile("age", ["x"]), "expected `q[0]` as a number, got the text `x`"),
    (
        lambda t: t.crosstab("sex", ["arm", "died"]),
        f'expected `columns` {ONE}, got a list; give one: `columns="arm"`',
    ),
    (
        lambda t: t.query("age > 50"),
        f'expected `outputs` {LIST}, got the text `age > 50`; write `["age > 50"]`',
    ),
    (lambda t: t.query(["COUNT(*)"], by="sex"), f"expected `by` {LIST}, got the text `sex`"),
    (
        lambda t: t.check("ols", "age ~ sex", bogus=1),
        "expected the arguments of `ols` (`formula`, `weights`, `cov_type`, `fixed_effects`, "
        "`ridge`, `lasso`), got an unexpected keyword argument 'bogus'",
    ),
    (lambda t: t.check("anova", "age"), "(`column`, `by`, `use_var`), got none for 'by'"),
    (lambda t: t.logit(5), "expected `formula` as text, got `5`"),
    (lambda t: t.logit(["died", "age"]), "expected `formula` as text, got a list"),
    (lambda t: t.glm("died ~ age", family=["poisson"]), "expected `family` as text, got a list"),
    (
        lambda t: t.table_one(labels={"age": 3}),
        "expected `labels's entries` as text, got `3`",
    ),
    (
        lambda t: t.t_test("age ~ sex"),
        'expected a column or an SQL expression, got a formula; write t_test("age", by="sex")',
    ),
    (
        lambda t: t.chi2("arm ~ sex", "died"),
        "expected a column or an SQL expression, got a formula; formulas are for regressions",
    ),
    (
        lambda t: t.where("years married > 5"),
        "expected an SQL expression, got `years married > 5`; names with spaces go in double "
        'quotes: `"years married"`',
    ),
]


@pytest.fixture
def table() -> FederatedTable:
    return FederatedTable(SOURCE)


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_a_wrong_call(
    table: FederatedTable, call: Callable[[FederatedTable], object], message: str
) -> None:
    asked = len(SOURCE.jobs)
    with pytest.raises(CallError) as caught:
        call(table)
    assert message in str(caught.value)
    assert len(SOURCE.jobs) == asked


def test_numbers_and_lists_of_numpy_and_pandas(table: FederatedTable) -> None:
    columns = FRAME.columns[:1]
    found = table.quantile(columns, np.array([0.25, 0.5]), max_rounds=np.int64(2))  # type: ignore[arg-type]
    assert found.q == (0.25, 0.5)
    assert table.t_test("age", mu=np.float32(50.0)).mu == 50.0  # type: ignore[arg-type]
    assert table.t_test("age", by="sex", equal_var=np.True_).df == 298  # type: ignore[arg-type]


def test_a_missing_argument_stays_a_type_error(table: FederatedTable) -> None:
    with pytest.raises(TypeError, match="by"):
        table.anova("age")  # type: ignore[call-arg]


def test_a_name_with_spaces_stands_for_itself(table: FederatedTable) -> None:
    plain = table.t_test("years married", mu=10)
    assert plain.estimate == pytest.approx(FRAME["years married"].mean(), rel=1e-9)
    derived = table.assign(years="years married")
    assert derived.t_test("years", mu=10).pvalue == pytest.approx(plain.pvalue)
    assert derived.where("years > 5").query(["COUNT(*) AS n"]).to_pandas()["n"][0] == int(
        (FRAME["years married"] > 5).sum()
    )


def test_a_table_shows_its_columns(table: FederatedTable) -> None:
    shown = repr(table.where("age > 30").assign(old="age > 60"))
    assert shown.splitlines()[0] == "table t"
    lines = [line.split() for line in shown.splitlines()]
    assert ["age", "float", "never"] in lines
    assert ["old", "=", "age", ">", "60"] in lines
    assert "rows where age > 30" in shown
    assert "purpose research" in shown
    html = table.assign(odd="age < 3")._repr_html_()
    assert "<td" in html
    assert "= age &lt; 3" in html


def test_a_level_that_where_leaves_without_rows_can_be_left_out(table: FederatedTable) -> None:
    with pytest.raises(PeerError) as caught:
        table.where("sex = 'f'").ols("age ~ days + sex")
    assert caught.value.message.startswith("expected no or not too few rows of `sex")
    assert caught.value.remedy == (
        "merge levels, leave one out with C(x, levels=[...]), or choose other nodes"
    )


def test_a_model_without_the_levels_that_where_filters_out() -> None:
    frame = FRAME.assign(work=rng.choice(["a", "b", "c"], 300))
    table = FederatedTable(InProcess(split(frame, 3, 1), schema_of(frame), threshold=3))
    narrowed = table.where("work <> 'c'")
    with pytest.raises(PeerError, match="too few rows of `work"):
        narrowed.ols("age ~ work")
    found = narrowed.ols('age ~ C(work, levels=["a", "b"])')
    assert found.nobs == (frame.work != "c").sum()
