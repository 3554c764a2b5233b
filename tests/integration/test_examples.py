"""Every example script as a user runs it: the numbers it prints are those of the pooled rows."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lifelines
import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.duration.survfunc import survdiff

EXAMPLES = Path(__file__).parents[2] / "examples"
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?")


class Example:
    """A script's own loading code, and what it printed."""

    def __init__(self, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = EXAMPLES / script
        # Each folder has a `data.py` of its own.
        monkeypatch.delitem(sys.modules, "data", raising=False)
        monkeypatch.syspath_prepend(str(self.path.parent))
        self.names = runpy.run_path(str(self.path))

    def run(self, capsys: pytest.CaptureFixture[str]) -> str:
        capsys.readouterr()
        self.names["main"]()
        return capsys.readouterr().out

    def pooled(self, loader: str) -> pd.DataFrame:
        """The rows of all nodes, with the node in column `node`."""
        parts: dict[str, pd.DataFrame] = self.names[loader]()
        rows = [part.assign(node=node) for node, part in parts.items()]
        return pd.concat(rows, ignore_index=True)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Example]:
    return lambda script: Example(script, monkeypatch)


def numbers(out: str, label: str, *, after: str = "") -> list[float]:
    """The numbers of the first line that starts with `label`, below the text `after`."""
    assert after in out, out
    below = out[out.index(after) :]
    for line in below.splitlines():
        if line.startswith(label + " "):
            found = NUMBER.findall(line.removeprefix(label).replace("<", " "))
            return [float(number.replace(",", "")) for number in found]
    raise AssertionError(f"expected a line of `{label}` below `{after}`, got\n{below}")


def assert_terms(out: str, fit: Any, terms: Sequence[str]) -> None:
    """Coefficients and errors as printed, to five decimals, of `terms`."""
    for term in terms:
        coefficient, error, *_ = numbers(out, term, after="std err")
        assert coefficient == pytest.approx(fit.params[term], abs=6e-6), term
        assert error == pytest.approx(fit.bse[term], abs=6e-6), term


@pytest.mark.slow
def test_hospitals_risk_prints_the_odds_of_pooled_patients(
    example: Callable[[str], Example], capsys: pytest.CaptureFixture[str]
) -> None:
    risk = example("hospitals/risk.py")
    out = risk.run(capsys)
    parts = {
        name: pd.read_csv(EXAMPLES / f"hospitals/data/{name}.csv")
        for name in ("cleveland", "hungary", "long-beach")
    }
    rows = pd.concat([part.assign(node=name) for name, part in parts.items()])
    rows["chol"] = rows["chol"].where(rows["chol"] >= 60)
    rows["trestbps"] = rows["trestbps"].where(rows["trestbps"] >= 60)
    rows["disease"] = (rows["num"] > 0).astype(int)

    groups = [rows, rows[rows["disease"] == 0], rows[rows["disease"] == 1]]
    assert numbers(out, "n") == [len(group) for group in groups]
    for label, column, digits in (
        ("age (years), mean (SD)", "age", 2),
        ("chol (mg/dl), mean (SD)", "chol", 1),
        ("trestbps (mmHg), mean (SD)", "trestbps", 1),
        ("thalch (1/min), mean (SD)", "thalch", 1),
    ):
        expected = [
            value for group in groups for value in (group[column].mean(), group[column].std())
        ]
        assert numbers(out, label)[:6] == pytest.approx(expected, abs=0.51 * 10**-digits), label

    rows = rows.assign(
        decades=rows["age"] / 10, chol_40=rows["chol"] / 40, bp_20=rows["trestbps"] / 20
    )
    fit = smf.logit("disease ~ decades + C(sex) + chol_40 + bp_20 + C(node)", rows).fit(disp=False)
    terms = ["decades", "C(sex)[T.Male]", "chol_40", "bp_20"]
    assert_terms(out, fit, terms)
    assert numbers(out, "rows")[0] == fit.nobs
    intervals = fit.conf_int()
    for term in terms:
        ratios = np.exp([fit.params[term], *intervals.loc[term]])
        assert numbers(out, term, after="odds ratio") == pytest.approx(ratios, abs=6e-4)


@pytest.mark.slow
def test_survival_prints_the_cox_model_and_curve_of_pooled_patients(
    example: Callable[[str], Example], capsys: pytest.CaptureFixture[str]
) -> None:
    lung = example("survival/lung.py")
    out = lung.run(capsys)
    rows = lung.pooled("lung")
    assert len(rows) == 227
    model = rows.assign(male=(rows["sex"] == "male") * 1.0).drop(columns="sex").dropna()
    exact = {"precision": 1e-12, "r_precision": 1e-14}  # by default 1e-7, too little for the ratios
    fit = lifelines.CoxPHFitter().fit(model, "time", "died", strata=["node"], fit_options=exact)
    for oracle, printed in (("age", "age"), ("male", "C(sex)[T.male]"), ("ecog", "ecog")):
        coefficient, ratio, error, *_ = numbers(out, printed)
        assert coefficient == pytest.approx(fit.params_[oracle], abs=6e-6)
        assert ratio == pytest.approx(fit.hazard_ratios_[oracle], abs=6e-6)
        assert error == pytest.approx(fit.standard_errors_[oracle], abs=6e-6)

    chi2, p = survdiff(rows["time"], rows["died"] * 1, rows["sex"], strata=rows["node"])
    statistic, _, printed_p = numbers(out, "log-rank statistic")
    assert statistic == pytest.approx(chi2, rel=1e-5)
    assert printed_p == pytest.approx(p, rel=1e-3)

    steps = np.minimum(np.ceil(rows["time"] / 120), 4) * 120
    died = rows["died"] & (rows["time"] <= 480)
    curve = lifelines.KaplanMeierFitter().fit(steps, died).survival_function_["KM_estimate"]
    for time in (120.0, 240.0, 360.0, 480.0):
        assert numbers(out, str(time), after="KM_estimate") == pytest.approx(
            [curve[time]], abs=6e-4
        )


@pytest.mark.slow
def test_wind_leaves_the_absurd_speed_out_of_every_number(
    example: Callable[[str], Example], capsys: pytest.CaptureFixture[str]
) -> None:
    wind = example("wind/wind.py")
    out = wind.run(capsys)
    rows = wind.pooled("weather")
    assert "the highest of 1048 mph" in out
    rows["wind_speed"] = rows["wind_speed"].where(rows["wind_speed"] <= 100)
    count, mean, sd, *_ = numbers(out, "wind_speed (mph)", after="column")
    assert count == rows["wind_speed"].count() == 26_110
    assert mean == pytest.approx(rows["wind_speed"].mean(), abs=6e-5)
    assert sd == pytest.approx(rows["wind_speed"].std(), abs=6e-5)

    edges = [0, 5, 10, 15, 20, 25, 30, 100]
    expected, _ = np.histogram(rows["wind_speed"].dropna(), edges)
    found = [numbers(out, f"{low:4.1f}", after="rows")[-1] for low in edges[:-1]]
    assert found == list(expected)

    matrix = rows[["wind_speed", "pressure", "temp"]].corr()
    assert numbers(out, "temp", after="corr") == pytest.approx(
        [matrix["temp"]["wind_speed"], matrix["temp"]["pressure"], 1], abs=6e-5
    )

    formula = "wind_speed ~ pressure + temp + C(month) + C(node)"
    fit = smf.ols(formula, rows).fit(cov_type="HC3")
    months = [f"C(month)[T.{month}]" for month in range(2, 13)]
    assert_terms(out, fit, ["pressure", "temp", *months])
    more, error = -10 * fit.params["pressure"], 10 * fit.bse["pressure"]
    assert f"10 hPa less pressure: {more:.2f} mph more wind (standard error {error:.2f})." in out


@pytest.mark.slow
def test_credit_prints_what_pooled_loans_give_within_the_errors_it_states(
    example: Callable[[str], Example], capsys: pytest.CaptureFixture[str]
) -> None:
    credit = example("credit/loans.py")
    out = credit.run(capsys)
    rows = credit.pooled("loans")
    for q in ("0.1", "0.25", "0.5", "0.75", "0.9"):
        line = next(line for line in out.splitlines() if re.match(rf"income +{q} ", line))
        _, estimate, _, lower, upper, count = map(float, NUMBER.findall(line))
        exact = rows["income"].quantile(float(q))
        assert lower <= exact <= upper
        assert lower <= estimate <= upper
        assert upper - lower < 0.15 * exact
        assert count == len(rows)

    short, long = (rows.loc[rows["months"] == months, "income"] for months in (36, 60))
    exact = stats.mannwhitneyu(short, long).statistic
    [u], [error] = numbers(out, "U"), numbers(out, "error of U")
    assert abs(u - exact) <= error
    assert error < 0.06 * len(short) * len(long)

    rows = rows.assign(bad=rows["bad"] * 1, income_10k=rows["income"] / 10_000)
    formula = "bad ~ rate + income_10k + C(months) + utilisation + C(node)"
    fit = smf.logit(formula, rows).fit(disp=False)
    assert_terms(out, fit, ["rate", "income_10k", "C(months)[T.60]", "utilisation"])


@pytest.mark.slow
def test_farms_prints_the_yields_that_villages_have_harvests_enough_for(
    example: Callable[[str], Example], capsys: pytest.CaptureFixture[str]
) -> None:
    farms = example("farms/rice.py")
    out = farms.run(capsys)
    rows = farms.pooled("farms")
    rows["tonnes"] = rows["goutput"] / rows["size"] / 1000
    by_village = rows.groupby(["node", "varieties"])["tonnes"].transform("count")
    for variety in ("trad", "high"):
        enough = rows.loc[
            (rows["varieties"] == variety) & (by_village > 10), "tonnes"
        ]  # ten must vary
        printed = numbers(out, f"tonnes  {variety}", after="column")
        assert printed == pytest.approx([len(enough), enough.mean(), enough.std()], abs=6e-6)

    kept = rows[rows["varieties"] != "mixed"].assign(
        high=lambda part: part["varieties"] == "high",
        urea_100kg=lambda part: part["urea"] / part["size"] / 100,
        labour_100h=lambda part: part["totlabor"] / part["size"] / 100,
    )
    formula = "tonnes ~ high + urea_100kg + labour_100h + C(node)"
    fit = smf.ols(formula, kept).fit(cov_type="HC3")
    assert_terms(out, fit, ["high[T.True]", "urea_100kg", "labour_100h"])
    low, high = fit.conf_int().loc["high[T.True]"]
    more = fit.params["high[T.True]"]
    assert f"{more:.2f} t/ha more (95 % interval {low:.2f} to {high:.2f})" in out
