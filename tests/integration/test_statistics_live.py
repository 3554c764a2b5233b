"""Statistics over real processes: the numbers of the pooled rows, one job each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
import yumen
from lifelines import CoxPHFitter
from yumen.statistics.methods import FederatedTable
from yumen_core.errors import CallError, Denied, PeerError
from yumen_core.jobs.machine import State

POLICY = """
@id("members") @reason_code("members") @basis("a test") @remedy("be a member")
permit (principal, action in [Yumen::Action::"query", Yumen::Action::"statistic"], resource)
when { principal.federation == resource.federation };

@id("no-long-jobs") @reason_code("too_many_sums") @basis("a test") @remedy("ask in fewer sums")
forbid (principal, action == Yumen::Action::"statistic", resource)
when { context.rounds > 60 };

@id("no-models-of-wages") @reason_code("wages") @basis("a test") @remedy("leave out wage")
forbid (principal, action == Yumen::Action::"statistic", resource)
when { context.columns.contains("wage") && context.aggregates.contains("glm") };
"""


def people(seed: int, count: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age, sex = rng.integers(30, 80, count), rng.choice(["f", "m"], count)
    risk = 1 / (1 + np.exp(-(0.05 * (age - 55) + 0.8 * (sex == "m"))))
    return pd.DataFrame(
        {
            "age": age,
            "sex": sex,
            "chol": rng.normal(240, 40, count).round(1),
            "wage": rng.gamma(2.0, 900.0, count).round(2),
            "ill": rng.random(count) < risk,
            "weeks": rng.integers(1, 9, count),
            "died": rng.random(count) < 0.6,
        }
    )


FRAMES = {name: people(seed, 300 + 40 * seed) for seed, name in enumerate("abc")}
POOLED = pd.concat([frame.assign(node=name) for name, frame in FRAMES.items()])


@pytest.fixture(scope="module")
def fed() -> Iterator[yumen.Federation]:
    with yumen.local_federation(FRAMES, table="people", policies=POLICY) as federation:
        yield federation


@pytest.fixture
def table(fed: yumen.Federation) -> FederatedTable:
    return fed.table("people", purpose="research")


def test_a_regression_is_one_job_and_the_pooled_fit(
    fed: yumen.Federation, table: FederatedTable
) -> None:
    before = len(fed.jobs(limit=500))
    found = table.logit("ill ~ age + C(sex) + chol")
    pooled = POOLED.assign(ill=POOLED["ill"].astype(int))
    truth = smf.logit("ill ~ age + C(sex) + chol", pooled).fit(disp=0)
    np.testing.assert_allclose(found.params[truth.params.index], truth.params, rtol=1e-6)
    np.testing.assert_allclose(found.bse[truth.bse.index], truth.bse, rtol=1e-6)
    assert found.nobs == len(POOLED)
    newest, *_ = fed.jobs(limit=500)
    assert len(fed.jobs(limit=500)) == before + 1
    assert (newest.state, newest.method) == (State.SUCCEEDED, "logit")
    assert newest.runs == found.provenance.rounds
    assert "logit" in repr(fed.jobs())


def test_survival_by_node(table: FederatedTable) -> None:
    found = table.cox("weeks", "died", "~ age + chol")
    columns = ["weeks", "died", "age", "chol", "node"]
    truth = CoxPHFitter().fit(POOLED[columns], "weeks", "died", strata=["node"])
    np.testing.assert_allclose(found.params_, truth.params_, rtol=1e-5)
    np.testing.assert_allclose(found.standard_errors_, truth.standard_errors_, rtol=1e-6)


def test_description_and_quantiles_in_one_job(fed: yumen.Federation, table: FederatedTable) -> None:
    before = len(fed.jobs(limit=500))
    shown = table.describe(["age", "chol"], by="sex").to_pandas()
    assert len(fed.jobs(limit=500)) == before + 1
    means = POOLED.groupby("sex")[["age", "chol"]].mean()
    for column in ("age", "chol"):
        for sex in "fm":
            found = shown.loc[(column, sex), "mean"]
            np.testing.assert_allclose(found, means.loc[sex, column], rtol=1e-12)
    middle = table.where("sex = 'm'").median("chol").to_pandas()
    truth = POOLED.loc[POOLED["sex"] == "m", "chol"].median()
    assert middle.lower[0] <= truth <= middle.upper[0]


def test_a_policy_sees_rounds_columns_and_kinds(table: FederatedTable) -> None:
    with pytest.raises(Denied) as caught:
        table.ols("wage ~ age")
    assert {denial.policy_id for denial in caught.value.denials} == {"no-models-of-wages"}
    assert "leave out wage" in str(caught.value)
    report = table.check("logit", "ill ~ age", max_rounds=90)
    assert not report.allowed
    assert {denial.reason_code for denial in report.denials} == {"too_many_sums"}
    assert table.check("ols", "chol ~ age").allowed
    assert table.describe(["wage"], quantiles=()).to_pandas()["mean"].iloc[0] == pytest.approx(
        POOLED["wage"].mean(), rel=1e-12
    )


def test_a_node_with_too_few_rows_refuses_and_is_not_named(table: FederatedTable) -> None:
    narrow = table.where("age = 31 AND sex = 'f'")
    with pytest.raises(PeerError) as caught:
        narrow.poisson("weeks ~ chol")
    assert caught.value.code == "too_few_rows"
    assert caught.value.message.startswith("expected enough rows at every node behind each branch")
    assert "spiffe://" not in str(caught.value)


def test_rows_too_near_to_those_of_an_earlier_statistic(table: FederatedTable) -> None:
    """Said in one sentence, with what would pass."""
    assert any(0 < (frame["age"] == 30).sum() < 10 for frame in FRAMES.values())
    assert table.ols("chol ~ age").nobs == len(POOLED)
    with pytest.raises(PeerError) as caught:
        table.where("age > 30").ols("chol ~ age")
    assert caught.value.code == "near_release"
    assert caught.value.message == (  # of no node: which one it is would tell of its rows
        "expected the rows and nodes of an earlier answer, or others that differ enough from each, "
        "got a smaller difference at one node or more"
    )
    assert caught.value.remedy == (
        "ask about the same rows at the same nodes as before, or about rows that differ by more"
    )


def test_what_cannot_be_asked_is_refused_here(table: FederatedTable) -> None:
    with pytest.raises(CallError, match="near it: `age`"):
        table.ols("chol ~ agee")
    with pytest.raises(CallError, match="expected a method among"):
        table.check("ranova", "chol")
