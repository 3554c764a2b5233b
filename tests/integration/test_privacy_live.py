"""Questions with noise through real processes: budgets, error bars, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import numpy as np
import pandas as pd
import pytest
import typer
import yumen
from yumen_cli import client
from yumen_core.errors import CallError, Denied

SCHEMA = {
    "columns": [
        {"name": "sex", "type": "text", "domain": ["f", "m", "x"], "nullable": False},
        {"name": "chol", "type": "integer", "bounds": {"lower": 80, "upper": 440}},
        {"name": "st", "type": "float", "bounds": {"lower": -2, "upper": 8}},
    ]
}
SQL = "SELECT sex, COUNT(*) AS n, SUM(chol) AS s, SUM(st) AS t FROM heart GROUP BY sex ORDER BY sex"


def frame(seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "sex": draw.choice(["f", "m"], 400),
            "chol": draw.integers(100, 400, 400),
            "st": draw.normal(1, 0.5, 400).round(3),
        }
    )


FRAMES = {name: frame(seed) for seed, name in enumerate("abc")}


@pytest.fixture(scope="module")
def fed() -> Iterator[yumen.Federation]:
    budget = {"epsilon": 6, "project_epsilon": 4}
    with yumen.local_federation(FRAMES, table="heart", schema=SCHEMA, privacy=budget) as made:
        yield made


def test_a_private_query_is_near_the_plain_one_and_says_how_near(fed: yumen.Federation) -> None:
    asked = fed.query(SQL, purpose="research", privacy=yumen.DP(epsilon=2.0), project="one")
    whole = pd.concat(FRAMES.values())
    with duckdb.connect() as pooled:
        pooled.register("whole", whole)
        exact = pooled.execute(SQL.replace("heart", "whole")).df().set_index("sex")
    assert len(whole) == 1200
    found, errors = asked.to_pandas().set_index("sex"), asked.errors.to_pydict()
    assert list(found.index) == ["f", "m", "x"]  # a group without rows is told as any other
    for at, sex in enumerate(["f", "m", "x"]):
        for name in ("n", "s", "t"):
            true = exact[name].get(sex, 0)
            assert abs(float(found[name][sex]) - true) < errors[name][at] / 1.96 * 6
    assert " ± " in repr(asked)
    assert "epsilon 2" in repr(asked)
    assert asked.to_arrow()["_nodes"].to_pylist() == [3, 3, 3]


def test_what_is_spent_is_gone(fed: yumen.Federation) -> None:
    fed.query(
        "SELECT COUNT(*) AS n FROM heart",
        purpose="research", privacy=yumen.DP(epsilon=3.0), project="two",
    )  # fmt: skip
    with pytest.raises(Denied) as denied:
        fed.query(
            "SELECT COUNT(*) AS n FROM heart",
            purpose="research", privacy=yumen.DP(epsilon=3.0), project="two",
        )  # fmt: skip
    refusal = denied.value.denials[0]
    assert refusal.reason_code == "budget_exhausted"
    assert "ask with epsilon=" in refusal.remedy


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT COUNT(DISTINCT sex) FROM heart", "no COUNT(DISTINCT) with privacy"),
        ("SELECT VAR_SAMP(st) FROM heart", "squares or products of floats"),
        ("SELECT MEDIAN(chol) FROM heart", "expected counts or moments within bounds with privacy"),
    ],
)
def test_what_has_no_bound_is_refused(fed: yumen.Federation, sql: str, message: str) -> None:
    with pytest.raises(CallError) as refused:
        fed.query(sql, purpose="research", privacy=yumen.DP(epsilon=0.1))
    assert message in refused.value.message


def test_a_private_statistic_is_near_the_plain_one_and_is_paid_once(fed: yumen.Federation) -> None:
    cost = yumen.DP(epsilon=1.5)
    table = fed.table("heart", purpose="research", privacy=cost, project="three")
    report = table.check("describe", ["chol", "st", "sex"])
    assert report.allowed
    assert "privacy budget: epsilon 1.5" in repr(report)
    assert "every cell is told" in repr(report)
    before = report.decisions[0].budgets or report.decisions[1].budgets
    found = table.describe(["chol", "st", "sex"])
    again = table.check("describe", ["chol", "st", "sex"])
    after = again.decisions[0].budgets or again.decisions[1].budgets
    assert before[0].micro_rho - after[0].micro_rho == cost.micro_rho
    assert found.provenance.rounds == 2
    whole = pd.concat(FRAMES.values())
    assert found.numbers is not None
    assert found.levels is not None
    for (name,), (count, mean, spread) in found.numbers:
        own = whole[str(name)]
        for value, true in ((count, 1200), (mean, own.mean())):
            assert abs(value.value - true) < 6 * value.deviation
        if name == "chol":  # that of `st` is less than its noise over bounds so wide
            assert abs(spread.value - own.std()) < 6 * spread.deviation
    for (_, level), (count, _) in found.levels:
        assert abs(count.value - (whole["sex"] == level).sum()) < 6 * count.deviation
    with pytest.raises(CallError, match="counts or moments within bounds with privacy, got `ols`"):
        table.ols  # noqa: B018


def test_the_command_line_asks_with_noise(
    fed: yumen.Federation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def connected(*_: object) -> Iterator[yumen.Federation]:
        yield fed

    monkeypatch.setattr(client, "open_federation", connected)
    sql, purpose = "SELECT COUNT(*) AS n FROM heart", "research"
    terms = {"epsilon": 0.25, "delta": "1e-6", "project": "line"}
    client.check(sql, purpose, **terms)  # type: ignore[arg-type]
    said = capsys.readouterr().out
    assert "what would leave the nodes, each sum with noise:" in said
    assert "privacy budget: epsilon 0.25 (rho 0.00112) at each node" in said
    assert said.count("left at") == 3
    assert "project local/line" in " ".join(said.split())
    client.query(sql, purpose, as_json=True, **terms)  # type: ignore[arg-type]
    answer = json.loads(capsys.readouterr().out)
    assert answer["privacy"] == {"micro_rho": 1120, "delta": "1e-6"}
    assert 40 < answer["errors"][0]["n"] < 60
    client.query(sql, purpose, as_csv=True, **terms)  # type: ignore[arg-type]
    rows, remarks = capsys.readouterr()
    assert rows.splitlines()[0] == '"n","_nodes","n_error"'
    assert "noise added: epsilon 0.2499 at delta 1e-6" in remarks
    with pytest.raises(typer.Exit) as ended:
        client.check(sql, purpose, epsilon=5.5, delta="1e-6", project="line")
    assert ended.value.exit_code == 3
    assert "ask with epsilon=" in capsys.readouterr().out
    with pytest.raises(CallError, match="delta"):
        client.query(sql, purpose, epsilon=1.0, delta="0.3", project="line")
