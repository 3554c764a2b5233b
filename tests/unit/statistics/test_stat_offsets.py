"""Offsets and exposures with a level of their own, and imputed columns with few missing values."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from builders.in_process import InProcess, schema_of, split
from yumen.statistics.methods import FederatedTable
from yumen_core.errors import PeerError
from yumen_core.sql import Column, ColumnType, TableSchema


def _table(frame: pd.DataFrame) -> FederatedTable:
    return FederatedTable(InProcess(split(frame, 3, 1), schema_of(frame), threshold=10))


def _frame(unit: float, size: float) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    d = pd.DataFrame({"x": rng.normal(size=400), "time": rng.uniform(0.2, 3, 400) * unit})
    mean = size * np.exp(0.3 * d.x) * d.time / unit
    d["y"] = rng.poisson(mean)
    d["cost"] = rng.gamma(2.0, mean / 2) + 1e-3
    d["log_time"] = np.log(d.time)
    d["b"] = (rng.random(400) < 1 / (1 + np.exp(-0.5 * d.x - 0.2))).astype(int)
    return d


@pytest.mark.parametrize(("unit", "size"), [(1, 5), (365, 0.5), (365, 500), (1e9, 5)])
def test_exposures_in_days(unit: float, size: float) -> None:
    d = _frame(unit, size)
    found = _table(d).poisson("y ~ x", exposure="time")
    wanted = smf.glm("y ~ x", d, family=sm.families.Poisson(), exposure=d.time).fit(tol=1e-12)
    np.testing.assert_allclose(found.params, wanted.params, rtol=1e-6)
    np.testing.assert_allclose(found.bse, wanted.bse, rtol=1e-6)
    assert found.null_deviance == pytest.approx(wanted.null_deviance, rel=1e-6)
    assert found.provenance.rounds <= 14


@pytest.mark.parametrize("unit", [1e-6, 365])
def test_offsets_of_gamma_and_logit(unit: float) -> None:
    d = _frame(unit, 5)
    table = _table(d)
    # statsmodels itself fails with an exposure of 1e-6; a constant in the offset moves the
    # intercept alone
    d["offset"] = np.log(d.time / unit)
    for family, response, link in (
        (sm.families.Gamma(sm.families.links.Log()), "cost", table.gamma),
        (sm.families.Binomial(), "b", table.logit),
    ):
        found = link(f"{response} ~ x", offset="log_time")
        wanted = smf.glm(f"{response} ~ x", d, family=family, offset=d.offset).fit(tol=1e-12)
        assert found.params.iloc[1] == pytest.approx(wanted.params.iloc[1], rel=1e-6)
        level = wanted.params.iloc[0] - np.log(unit)
        assert found.params.iloc[0] == pytest.approx(level, rel=1e-6)
        np.testing.assert_allclose(found.bse, wanted.bse, rtol=1e-6)


def test_a_column_with_few_missing_values_can_be_used_with_their_mean() -> None:
    rng = np.random.default_rng(1)
    d = pd.DataFrame(
        {
            "children": rng.integers(0, 6, 600).astype(object),
            "years married": rng.uniform(0, 20, 600).astype(object),
            "dose": [Decimal(int(v)).scaleb(-1) for v in rng.integers(0, 90, 600)],
            "y": rng.normal(size=600),
        }
    )
    few = ["children", "years married", "dose"]
    for name in few:
        d.loc[rng.choice(600, 12, replace=False), name] = None
    bounds = {"lower": Decimal(0), "upper": Decimal(30), "nullable": True}
    schema = TableSchema(
        "t",
        (
            Column("children", ColumnType.INTEGER, **bounds),  # type: ignore[arg-type]
            Column("years married", ColumnType.FLOAT, **bounds),  # type: ignore[arg-type]
            Column("dose", ColumnType.DECIMAL, scale=1, **bounds),  # type: ignore[arg-type]
            Column("y", ColumnType.FLOAT, lower=Decimal(-9), upper=Decimal(9)),
        ),
    )
    table = FederatedTable(InProcess(split(d, 3, 1), schema, threshold=10))
    for name in (*few, '"years married"'):
        imputed = table.impute([name])
        plain = name.strip('"')
        assert imputed.columns[-1] == f"{plain}_imputed"
        whole = d[plain].astype(float)
        slope = np.polyfit(whole.fillna(whole.mean()), d.y, 1)[0]
        found = imputed.ols(f"y ~ `{plain}_imputed`").params
        assert found.iloc[1] == pytest.approx(slope, rel=1e-7)
    regressed = table.impute(["children", "y"], method="regression")
    with pytest.raises(PeerError, match="in each branch and term of `children_imputed`"):
        regressed.ols("y ~ children_imputed")
