"""Statistics with noise: by how much a row moves them, how near they are, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
from builders.in_process import schema_of, split
from builders.noisy_process import NoisyProcess
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen.statistics.methods import FederatedTable
from yumen.statistics.noisy import Noisy, NoisySums, share_of
from yumen.statistics.noisy_table import NoisyTable
from yumen.statistics.noisy_test import NoisyTTest
from yumen.statistics.source import Provenance
from yumen_core.canonical import Json
from yumen_core.errors import CallError
from yumen_core.jobs.runs import runs_of_statistic, statistic_rounds
from yumen_core.privacy import Privacy
from yumen_core.privacy.budget import MAX_MICRO_RHO
from yumen_core.sql import parse_rows
from yumen_core.statistics.bounded_moments import GRID_BITS, Bounds
from yumen_core.statistics.private import private_kind
from yumen_core.statistics.registry import KINDS, kind_of
from yumen_core.statistics.rows import Rows, Variable
from yumen_core.statistics.statistic import Round, Statistic

MOST = Privacy(MAX_MICRO_RHO)
VARIABLES = {
    "x": Variable("x", numeric=True, low=-3.0, high=50.0),
    "g": Variable("g", numeric=False, levels=("a", "b", "c")),
    "h": Variable("h", numeric=False, levels=("u", "v")),
}
ROUNDS: Mapping[str, Mapping[str, Json]] = {
    "counts_by": {"tables": [["g", 3, "", 1], ["h", 2, "g", 3], ["g", 3, "h", 2]]},
    "bins": {"by": "g", "groups": 3, "edges": ["-3", "0", "7.5", "50"], "variable": "x"},
    "bounded_moments": {"by": "g", "groups": 3, "variables": [["x", "-3", "50"]]},
}
NUMBER = st.one_of(
    st.floats(-3, 50),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e300, -1e300, 50.0, -3.0, 5e-324]),
)
ROW = st.tuples(NUMBER, st.integers(-1, 2), st.integers(-1, 1))


def rows_of(drawn: Sequence[tuple[float, int, int]]) -> Rows:
    x = np.array([row[0] for row in drawn], dtype=np.float64)
    codes = {
        name: np.array([row[at] for row in drawn], dtype=np.int32)
        for name, at in (("g", 1), ("h", 2))
    }
    return Rows(len(drawn), {"x": x}, codes)


@pytest.mark.parametrize("name", ROUNDS)
@settings(max_examples=60, deadline=None)
@given(drawn=st.lists(ROW, max_size=12), more=ROW)
def test_a_row_moves_the_integers_by_no_more_than_is_claimed(
    name: str, drawn: list[tuple[float, int, int]], more: tuple[float, int, int]
) -> None:
    kind = kind_of(name)
    layout = kind.layout(ROUNDS[name], VARIABLES)
    private = private_kind(kind)
    before = private.integers(rows_of(drawn), ROUNDS[name])
    after = private.integers(rows_of([*drawn, more]), ROUNDS[name])
    assert len(before) == len(after) == layout.cells
    moved = private.moved(ROUNDS[name], layout)
    assert len(moved) == len(layout.values)
    for at, most in enumerate(moved):
        steps = [b[at] - a[at] for a, b in zip(before, after, strict=True)]
        assert all(abs(step) <= most.sensitivity for step in steps)
        assert sum(step != 0 for step in steps) <= most.cells


def test_the_claim_of_a_row_is_no_larger_than_it_must_be() -> None:
    """The row at a bound moves each sum of moments by all that is claimed."""
    arguments = ROUNDS["bounded_moments"]
    (cell, *_) = private_kind(kind_of("bounded_moments")).integers(
        rows_of([(50.0, 0, 0)]), arguments
    )
    assert cell == [1, 1 << GRID_BITS, 1 << (2 * GRID_BITS)]


def test_sums_of_moments_are_exact_in_any_order() -> None:
    draw = np.random.default_rng(3)
    x, g = draw.uniform(-3, 50, 5000), draw.integers(-1, 3, 5000)
    listed = list(zip(x.tolist(), g.tolist(), [0] * 5000, strict=True))
    kind, arguments = private_kind(kind_of("bounded_moments")), ROUNDS["bounded_moments"]
    found = kind.integers(rows_of(listed), arguments)
    assert found == kind.integers(rows_of(listed[::-1]), arguments)
    steps = Bounds(-3, 50).grid(x).tolist()
    for group in range(3):
        own = [step for step, at in zip(steps, g.tolist(), strict=True) if at == group]
        assert found[group] == [len(own), sum(own), sum(step * step for step in own)]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    draw = np.random.default_rng(1)
    n = 3000
    made = pd.DataFrame(
        {
            "age": draw.integers(20, 90, n),
            "chol": draw.normal(5, 1, n).round(3),
            "sex": draw.choice(["f", "m"], n),
            "sick": draw.random(n) < 0.3,
        }
    )
    made.loc[draw.random(n) < 0.05, "chol"] = np.nan
    return made


@pytest.fixture(scope="module")
def table(frame: pd.DataFrame) -> NoisyTable:
    return noisy(frame, MOST)


def noisy(frame: pd.DataFrame, privacy: Privacy) -> NoisyTable:
    return NoisyTable(NoisyProcess(split(frame, 3), schema_of(frame), privacy=privacy))


def near(found: Noisy, true: float) -> bool:
    return abs(found.value - true) <= 6 * found.deviation + 1e-4


def test_a_description_is_near_the_plain_one(table: NoisyTable, frame: pd.DataFrame) -> None:
    found = table.describe(["age", "chol", "sex"], by="sick")
    assert found.numbers is not None
    assert found.levels is not None
    for (column, group), (count, mean, spread) in found.numbers:
        own = frame[frame["sick"] == group][str(column)]
        assert near(count, own.count())
        assert near(mean, own.mean())
        assert near(spread, own.std())
        assert 0 < mean.deviation < 0.5
    for (_, group, level), (count, share) in found.levels:
        own = frame[frame["sick"] == group]["sex"]
        assert near(count, (own == level).sum())
        assert near(share, (own == level).mean())
    assert " ± " in repr(found)
    assert "epsilon" in repr(found)
    assert found.numbers.errors.shape == found.to_pandas().shape == (4, 5)


def test_tables_of_counts_are_near_the_plain_ones(table: NoisyTable, frame: pd.DataFrame) -> None:
    exact = pd.crosstab(frame["sex"], frame["sick"])
    for (sex, sick), (count,) in table.crosstab("sex", "sick"):
        assert near(count, exact.loc[sex, sick])
    rows, _ = np.histogram(frame["age"], bins=[20, 40, 60, 90])
    for at, (_, (count,)) in enumerate(table.histogram("age", [20, 40, 60, 90])):
        assert near(count, rows[at])
    shares = frame.groupby("sex")["sick"].mean()
    for (sex,), (_, _, share) in table.proportions("sick", by="sex"):
        assert near(share, shares[sex])
    assert near(table.proportion("sick").at("proportion"), frame["sick"].mean())


def test_the_noise_is_what_is_told(frame: pd.DataFrame) -> None:
    """1000 empty bins: the variance is off by 9 of its deviations with a chance below 1e-17."""
    empty = noisy(frame, Privacy(5_000)).where("age > 100")
    counts = [value for _, (value,) in empty.histogram("age", 1000)]
    drawn = np.array([count.value for count in counts])
    assert len({count.deviation for count in counts}) == 1
    assert abs(drawn.var() / counts[0].deviation ** 2 - 1) < 9 * math.sqrt(2 / 1000)
    assert drawn.min() < 0  # a count is no number of rows
    # three nodes, each with half of 1 / (2 rho)
    assert counts[0].deviation ** 2 == pytest.approx(3 / (2 * 2 * 0.005), rel=0.1)


def test_each_run_has_its_share_of_the_cost() -> None:
    schema = schema_of(pd.DataFrame({"x": [0.0, 1.0]}))
    sql = 'SELECT x AS "x" FROM t'
    moments = {"by": "", "groups": 1, "variables": [["x", "0", "1"]]}
    one = Round("a", "bounded_moments", moments)
    more = [one, Round("b", "bounded_moments", moments, 3)]
    costs = []
    for rounds in ([one], more):
        named = statistic_rounds(Statistic("m", sql, tuple(rounds)), parse_rows(sql, {"t": schema}))
        runs = runs_of_statistic(named, Privacy(8_000))
        costs.append([shape.answer.noise.micro_rho for shape in runs.shapes])  # type: ignore[union-attr]
        with pytest.raises(CallError, match="expected privacy for rounds of `bounded_moments`"):
            runs_of_statistic(named)
    assert costs == [[8_000], [2_000, 2_000]]
    with pytest.raises(CallError, match="one for each sum of the job"):
        runs_of_statistic(named, Privacy(3))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_errors_of_quotients_are_those_of_the_noise(seed: int) -> None:
    """The delta method against what the noise does, drawn many times."""
    draw = np.random.default_rng(seed)
    n, s, q = draw.uniform(500, 5000), draw.uniform(-300, 300), draw.uniform(300, 450)
    noise = draw.uniform(0.5, 8, 3)
    drawn = np.array([n, s, q])[:, None] + noise[:, None] * draw.normal(size=(3, 2000))
    made = [
        NoisySums(*(Noisy(*one) for one in zip(row, noise, strict=True)), Bounds(0, 10))
        for row in drawn.T
    ]
    told = NoisySums(Noisy(n, noise[0]), Noisy(s, noise[1]), Noisy(q, noise[2]), Bounds(0, 10))
    assert np.std([one.mean.value for one in made]) == pytest.approx(told.mean.deviation, rel=0.15)
    spread = np.std([one.variance.value for one in made])
    assert spread == pytest.approx(told.variance.deviation, rel=0.15)
    shares = [share_of(one.rows, one.squares).value for one in made]
    assert np.std(shares) == pytest.approx(share_of(told.rows, told.squares).deviation, rel=0.15)


def test_too_few_rows_for_the_noise_give_no_number(frame: pd.DataFrame) -> None:
    few = noisy(frame, Privacy(2_000)).where("age > 100")
    found = few.describe(["age"]).numbers
    assert found is not None
    ((_, (count, mean, spread)),) = found.lines
    assert not math.isnan(count.value)
    assert math.isnan(mean.value)
    assert math.isnan(spread.value)
    assert "lost in the noise" in repr(found)
    assert math.isnan(few.proportion("sick").at("proportion").value)


def test_only_what_knows_of_noise_is_there(table: NoisyTable) -> None:
    for name in ("glm", "cox", "median", "anova", "mann_whitney", "chi2", "table_one"):
        with pytest.raises(CallError) as refused:
            getattr(table, name)
        assert refused.value.message == (
            f"expected counts or moments within bounds with privacy, got `{name}`"
        )
        assert "describe without quantiles, crosstab" in refused.value.remedy
        with pytest.raises(CallError, match="expected counts or moments within bounds"):
            table.check(name)
    with pytest.raises(AttributeError, match="has no attribute `descrbe`"):
        table.descrbe  # noqa: B018
    with pytest.raises(CallError, match="near it: `describe`"):
        table.check("descrbe")


def test_a_table_that_does_not_know_of_noise_asks_nothing_with_it(frame: pd.DataFrame) -> None:
    source = NoisyProcess(split(frame, 3), schema_of(frame), privacy=MOST)
    plain = FederatedTable(source)
    for ask in (
        lambda: plain.t_test("age", by="sick"),
        lambda: plain.anova("age", "sick"),
        lambda: plain.describe(["sex"]),
        lambda: plain.chi2("sex", "sick"),
        lambda: plain.logit("sick ~ age"),
        lambda: plain.standardize(["age"]),
    ):
        with pytest.raises(CallError, match="expected counts or moments within bounds"):
            ask()
    assert not source.jobs


def test_every_other_kind_of_round_is_refused_at_every_party() -> None:
    for name, kind in KINDS.items():
        if name in ROUNDS:
            continue
        with pytest.raises(CallError, match=f"with privacy, got `{name}`"):
            private_kind(kind)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (["x", "0", "nan"], "expected rising bounds of `x` within 1e\\+13 of 0"),
        (["x", "1", "1"], "expected rising bounds of `x`"),
        (["x", "0", "1e14"], "expected rising bounds of `x`"),
        (["x", "0", "one"], "expected rising bounds of `x`"),
        (["x", 0, 1], "expected a variable as its name and two bounds"),
        (["g", "0", "1"], "expected `g` to be a number"),
    ],
)
def test_bounds_that_cannot_be(entry: Json, message: str) -> None:
    arguments: dict[str, Json] = {"by": "", "groups": 1, "variables": [entry]}
    with pytest.raises(CallError, match=message):
        kind_of("bounded_moments").layout(arguments, VARIABLES)


def test_a_t_test_rejects_what_is_true_no_more_often_than_it_says() -> None:
    """2000 pairs of samples with one mean, whose noise is as large as their sampling error: 5% with
    a deviation of 0.5%; and of means that differ, most are found."""
    draw = np.random.default_rng(5)
    n, deviation, bounds = 400, np.array([4.0, 4.0, 4.0]), Bounds(-4, 4)

    def tested(shift: float) -> float:
        sums = []
        for mean in (0.0, shift):
            u = np.clip(draw.normal(mean, 1, n) / 4, -1, 1)
            exact = np.array([n, u.sum(), u @ u]) + deviation * draw.normal(size=3)
            rows, total, squares = (
                Noisy(*one) for one in zip(exact.tolist(), deviation.tolist(), strict=True)
            )
            sums.append(NoisySums(rows, total, squares, bounds))
        a, b = sums
        found = NoisyTTest(Provenance("research"), MOST, title="", groups=("a", "b"), sums=(a, b))
        return found.pvalue

    rejected = np.mean([tested(0.0) < 0.05 for _ in range(2000)])
    assert 0.01 < rejected < 0.06
    assert np.mean([tested(0.5) < 0.05 for _ in range(200)]) > 0.8


def test_a_t_test_is_near_the_plain_one(table: NoisyTable, frame: pd.DataFrame) -> None:
    found = table.t_test("age", by="sick")
    no, yes = (frame[frame["sick"] == sick]["age"] for sick in found.groups)
    assert near(found.difference, no.mean() - yes.mean())
    plain = math.sqrt(no.var() / len(no) + yes.var() / len(yes))
    assert 0.95 * plain < found.standard_error < 1.5 * plain  # the variances have noise, too
    low, high = found.confidence_interval()
    assert low < found.difference.value < high
    assert "of sample and noise" in repr(found)
    assert found.to_pandas()["pvalue"][0] == found.pvalue
    few = noisy(frame, Privacy(2_000)).where("age > 100").t_test("age", by="sick")
    assert math.isnan(few.pvalue)
    assert math.isnan(few.confidence_interval()[0])
    assert "lost in the noise" in repr(few)
    with pytest.raises(CallError, match=r"expected two groups of .*, got 3"):
        table.t_test("age", by="CASE WHEN age < 30 THEN 'a' WHEN age < 50 THEN 'b' ELSE 'c' END")
