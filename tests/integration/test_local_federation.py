"""A local federation of real processes, as a notebook uses it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yumen
import yumen._stack as stack_module
from yumen._processes import free_port
from yumen.local import LocalFederation, local_federation
from yumen_core.errors import CallError, Denied, StateError

ONLY_PUBLIC_HEALTH = """
@id("public-health-only")
@reason_code("public_health")
@remedy("ask with purpose `public-health`")
permit (principal, action == Yumen::Action::"query", resource == Yumen::Table::"心脏")
when { context.purpose == "public-health" };
"""


WARDS = ("东 O'1",) * 4 + ("西",) * 2 + ("南",)


def rows(seed: int, count: int) -> pd.DataFrame:
    """Patients with Chinese columns, integers with gaps, one patient from `Xining`, and wards of
    which some have one bed."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "性别": draw.choice(["女", "男"], count),
            "city": draw.choice(["Lanzhou", "Dunhuang"], count),
            "chol": draw.integers(120, 400, count).astype(float),
            "oldpeak": draw.normal(1.0, 0.8, count).round(3),
            "sick": draw.random(count) < 0.4,
        }
    )
    days = pd.to_timedelta(draw.integers(0, 90, count), "D")
    frame["admitted"] = pd.Timestamp("2023-12-15") + days
    frame["seen"] = frame["admitted"] + pd.to_timedelta(draw.integers(0, 3000, count), "min")
    frame.loc[0, "city"] = "Xining"
    frame.loc[1::9, "chol"] = np.nan
    places = [at % 10 for at in range(count)]
    frame["ward"] = [WARDS[p] if p < 7 else f"bed {seed}-{at}" for at, p in enumerate(places)]
    return frame


THREE = ["a", "b", "c"]
FRAMES = {name: rows(seed, 90 + 20 * seed) for seed, name in enumerate(("a", "b", "c", "d"))}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFederation]:
    """Four nodes: frames, a CSV file and a Parquet file; `d` permits public health only."""
    folder = tmp_path_factory.mktemp("given")
    FRAMES["b"].to_csv(folder / "b.csv", index=False)
    FRAMES["c"].to_parquet(folder / "c.parquet")
    local = local_federation(
        {"a": FRAMES["a"], "b": folder / "b.csv", "c": str(folder / "c.parquet"), "d": FRAMES["d"]},
        table="心脏",
        policies={"d": ONLY_PUBLIC_HEALTH},
    )
    yield local
    local.close()


@pytest.fixture(scope="module")
def fed(running: LocalFederation) -> yumen.Federation:
    return running.start()


@pytest.fixture(scope="module")
def for_three() -> Iterator[yumen.Federation]:
    """The same tables, never asked at all four: what all have answered, three no longer do."""
    policies = {"d": ONLY_PUBLIC_HEALTH}
    with local_federation(dict(FRAMES), table="心脏", policies=policies) as fed:
        yield fed


def test_the_inferred_schema_is_published_by_every_node(fed: yumen.Federation) -> None:
    heart = fed.datasets()["心脏"]
    assert [node.connected for node in heart.nodes] == [True] * 4
    assert heart.conflicts == ""
    assert [(c.name, c.type.value, c.nullable) for c in heart.columns] == [
        ("性别", "text", False),
        ("city", "text", False),
        ("chol", "integer", True),
        ("oldpeak", "float", False),
        ("sick", "boolean", False),
        ("admitted", "date", False),
        ("seen", "timestamp", False),
        ("ward", "text", False),
    ]
    assert heart.column("admitted").lower == date(2023, 12, 1)
    assert "2023-12-01 to 2024-03-31" in repr(heart)
    assert heart.column("性别").domain == ("女", "男")


def test_an_answer_equals_the_pooled_truth(fed: yumen.Federation) -> None:
    result = fed.query(
        'SELECT "性别", COUNT(*) AS n, SUM(chol) AS total, AVG(oldpeak) AS mean, '
        "STDDEV_SAMP(chol) AS sd FROM 心脏 GROUP BY 1 ORDER BY 1",
        purpose="public-health",
    )
    pooled = pd.concat(FRAMES.values()).groupby("性别", sort=True)
    truth = pd.DataFrame(
        {
            "n": pooled.size(),
            "total": pooled["chol"].sum().astype(int),
            "mean": pooled["oldpeak"].mean(),
            "sd": pooled["chol"].std(),
        }
    ).loc[["女", "男"]]
    frame = result.to_pandas().set_index("性别").loc[["女", "男"]]
    assert frame["n"].tolist() == truth["n"].tolist()
    assert frame["total"].tolist() == truth["total"].tolist()
    np.testing.assert_allclose(frame["mean"], truth["mean"], rtol=1e-9)
    np.testing.assert_allclose(frame["sd"], truth["sd"], rtol=1e-9)
    assert frame["_nodes"].tolist() == [4, 4]
    assert len(result.participants) == 4
    assert result.ciphertexts == 4
    assert "4 nodes in: a, b, c, d" in repr(result)


def test_dates_are_grouped_and_compared_as_pooled(fed: yumen.Federation) -> None:
    result = fed.query(
        "SELECT DATE_TRUNC('month', admitted) AS month, COUNT(*) AS n, "
        "AVG(DATE_DIFF('hour', admitted, seen)) AS hours FROM 心脏 "
        "WHERE seen < '2024-03-01' AND EXTRACT(ISODOW FROM admitted) <= 5 GROUP BY 1 ORDER BY 1",
        purpose="public-health",
    )
    rows = pd.concat(FRAMES.values())
    rows = rows[(rows["seen"] < "2024-03-01") & (rows["admitted"].dt.dayofweek < 5)]
    hours = (rows["seen"].dt.floor("h") - rows["admitted"]) // pd.Timedelta(hours=1)
    months = rows["admitted"].dt.to_period("M").dt.start_time
    truth = hours.groupby(months).agg(["size", "mean"])
    frame = result.to_pandas()
    assert frame["month"].tolist() == truth.index.tolist()
    assert frame["n"].tolist() == truth["size"].tolist()
    np.testing.assert_allclose(frame["hours"], truth["mean"], rtol=1e-9)
    assert next(iter(result))["month"] == date(2023, 12, 1)


def test_pairs_distinct_values_and_margins(fed: yumen.Federation) -> None:
    pooled = pd.concat(FRAMES.values())
    # Of all rows the cities but `Xining` are too near to what was answered before.
    some = "WHERE oldpeak > 0.5 OR city = 'Xining'"
    result = fed.query(
        "SELECT CORR(chol, oldpeak) AS r, REGR_SLOPE(oldpeak, chol) AS b, "
        f"COUNT(DISTINCT city) AS cities FROM 心脏 {some}",
        purpose="public-health",
    )
    (row,) = list(result)
    chosen = pooled[(pooled["oldpeak"] > 0.5) | (pooled["city"] == "Xining")]
    pairs = chosen[["chol", "oldpeak"]].dropna()
    np.testing.assert_allclose(row["r"], pairs.corr().iloc[0, 1], rtol=1e-9)
    slope = np.polyfit(pairs["chol"], pairs["oldpeak"], 1)[0]
    np.testing.assert_allclose(row["b"], slope, rtol=1e-9)
    assert row["cities"] == 2
    assert "COUNT(DISTINCT city) is a lower bound: of the 3 values" in repr(result)
    rolled = fed.query(
        'SELECT sick, "性别", GROUPING("性别") AS g, COUNT(*) AS n FROM 心脏 '
        'GROUP BY ROLLUP(sick, "性别")',
        purpose="public-health",
    )
    margins = {row["sick"]: row["n"] for row in rolled if row["g"] == 1}
    assert margins == {**pooled.groupby("sick").size().to_dict(), None: len(pooled)}
    # Each node has one patient of `Xining`, whom the total would tell of.
    held = fed.query(
        "SELECT city, COUNT(*) AS n FROM 心脏 WHERE oldpeak < 1.0 OR city = 'Xining' "
        "GROUP BY ROLLUP(city)",
        purpose="public-health",
    )
    assert [row["city"] for row in held] == ["Dunhuang", "Lanzhou"]


def test_a_city_of_one_patient_a_node_has_no_row(fed: yumen.Federation) -> None:
    result = fed.query(
        "SELECT city, COUNT(*) AS n FROM 心脏 WHERE oldpeak < 1.5 OR city = 'Xining' GROUP BY city",
        purpose="public-health",
    )
    cities = {row["city"] for row in result}
    assert "Dunhuang" in cities
    assert "Xining" not in cities  # nor Lanzhou, where earlier answers of this federation are near
    assert result.empty_cells == 3 - len(cities)
    assert "without a row" in repr(result)


def test_a_node_whose_policy_refuses_is_named(for_three: yumen.Federation) -> None:
    report = for_three.check("SELECT COUNT(*) AS n FROM 心脏", purpose="research")
    assert not report.allowed
    assert [d.node for d in report.decisions if not d.accepted] == [
        "spiffe://local.example/org/d/node/d"
    ]
    with pytest.raises(Denied) as caught:
        for_three.query("SELECT COUNT(*) AS n FROM 心脏", purpose="research")
    (denial,) = caught.value.denials
    assert denial.node == "spiffe://local.example/org/d/node/d"
    assert "public-health" in denial.allowed + denial.remedy
    result = for_three.query("SELECT COUNT(*) AS n FROM 心脏", purpose="research", min_nodes=3)
    assert [e.node for e in result.excluded] == ["spiffe://local.example/org/d/node/d"]
    assert next(iter(result))["n"] == sum(len(FRAMES[name]) for name in "abc")
    assert "1 node out: d" in repr(result)


def test_an_unregistered_purpose_is_refused(fed: yumen.Federation) -> None:
    with pytest.raises(Denied, match="curiosity"):
        fed.query("SELECT COUNT(*) AS n FROM 心脏", purpose="curiosity")


def test_jobs_are_listed_newest_first(fed: yumen.Federation) -> None:
    jobs = fed.jobs()
    states = {job.state.value for job in jobs}
    assert {"succeeded", "denied"} <= states
    assert list(jobs) == sorted(jobs, key=lambda job: job.job_id, reverse=True)


def test_a_job_that_expires_at_once_leaves_the_list_readable(fed: yumen.Federation) -> None:
    with pytest.raises(yumen.YumenError) as caught:
        fed.query("SELECT COUNT(*) AS n FROM 心脏", purpose="public-health", timeout_s=0.01)
    assert caught.value.code in {"job_denied", "job_expired", "deadline"}
    assert fed.jobs(limit=5)
    assert len(fed.query("SELECT COUNT(*) AS n FROM 心脏", purpose="public-health")) == 1


def test_a_median_comes_with_its_error(for_three: yumen.Federation) -> None:
    sql = 'SELECT "性别", COUNT(*) AS n, MEDIAN(chol) AS m FROM 心脏 GROUP BY 1 ORDER BY m'
    assert for_three.check(sql, purpose="research", nodes=THREE).allowed
    result = for_three.query(sql, purpose="research", nodes=THREE)
    pooled = pd.concat(FRAMES[name] for name in THREE).groupby("性别")
    assert result.columns == ["性别", "n", "m", "m_error", "_nodes"]
    assert len(result) == 2
    for row in result:
        assert row["n"] == pooled.size()[row["性别"]]
        assert abs(row["m"] - pooled["chol"].median()[row["性别"]]) <= row["m_error"] < 140
        assert row["_nodes"] == 3
    assert "the quantile of all rows lies within" in repr(result)
    with pytest.raises(CallError, match=r"`AVG\(chol\)` at line 1, column 8 is not supported"):
        for_three.query("SELECT AVG(chol), MEDIAN(chol) FROM 心脏", purpose="research", nodes=THREE)


def test_wards_that_nobody_declared_are_found_and_grouped_by(for_three: yumen.Federation) -> None:
    sql = "SELECT ward, COUNT(*) AS n, AVG(oldpeak) AS mean FROM 心脏 GROUP BY ward ORDER BY n"
    assert for_three.check(sql, purpose="research", nodes=THREE).allowed
    assert not for_three.check(sql, purpose="research", nodes=list("abcd")).allowed
    result = for_three.query(sql, purpose="research", nodes=THREE)
    pooled = pd.concat(FRAMES[name] for name in THREE).groupby("ward")
    assert [row["ward"] for row in result] == ["西", "东 O'1"]
    for row in result:
        assert row["n"] == pooled.size()[row["ward"]]
        assert row["mean"] == pytest.approx(pooled["oldpeak"].mean()[row["ward"]], rel=1e-9)
    first = for_three.jobs(limit=2)[1]
    assert result.notes[0] == f"2 values of ward found by job {first.job_id}"
    assert "bed" not in repr(result)
    with pytest.raises(yumen.YumenError) as caught:
        for_three.query(
            "SELECT chol, COUNT(*) FROM 心脏 GROUP BY chol", purpose="research", nodes=THREE
        )
    assert caught.value.code == "too_few_rows"
    assert "expected a value of `chol` with rows enough" in caught.value.message


def test_a_check_tells_of_nodes_that_would_give_one_away(fed: yumen.Federation) -> None:
    """The same rows at all four nodes, and then at three."""
    sql = "SELECT COUNT(*) AS n FROM 心脏 WHERE chol < 250"
    asked = {"purpose": "public-health", "nodes": THREE}
    assert fed.check(sql, **asked).allowed
    assert len(fed.query(sql, purpose="public-health")) == 1
    report = fed.check(sql, **asked)
    assert not report.allowed
    assert [denial.reason_code for denial in report.denials] == ["participant_set"] * 3
    told = report.denials[0]
    assert told.message == (
        "expected the nodes over which the same rows were released before, "
        "got a set that differs by 1"
    )
    assert told.remedy.startswith("ask the same nodes as before: `")
    assert fed.check(sql, purpose="public-health").allowed


def test_every_process_and_file_is_gone_at_the_end(
    running: LocalFederation, fed: yumen.Federation
) -> None:
    """Runs last in this module: it ends the federation that the others share."""
    folder = running.directory
    stack = running._running.stack
    assert stack is not None
    processes = [child._process for child in stack.children]
    assert len(processes) == 2 + 4
    assert folder.is_dir()
    running.close()
    assert [process.returncode for process in processes] == [0] * 6
    assert not folder.exists()
    assert not folder.parent.exists()
    with pytest.raises(CallError, match="that is running"):
        _ = running.directory


KILLED = """
import pandas, sys, time, yumen
frame = pandas.DataFrame({"x": range(30)})
local = yumen.local_federation({"a": frame, "b": frame, "c": frame}, table="t")
local.start()
print(local.directory, *(child.pid for child in local._running.stack.children), flush=True)
time.sleep(60)
"""


def test_every_process_ends_where_the_caller_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE) as caller:
        assert caller.stdout is not None
        folder, *pids = caller.stdout.readline().decode().split()
        caller.kill()
    deadline = time.monotonic() + 20
    while (alive := [pid for pid in pids if _alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    shutil.rmtree(Path(folder).parent)
    assert len(pids) == 2 + 3
    assert alive == []


def _alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_policy_that_does_not_validate_says_so(tmp_path: Path) -> None:
    tables = {name: FRAMES[name] for name in "abc"}
    broken = local_federation(tables, table="heart", policies="permit (principal, nonsense);")
    with pytest.raises(StateError) as caught:
        broken.start()
    assert caught.value.code == "policy_invalid"
    assert caught.value.node == "node a"


def test_a_schema_with_an_unknown_key_says_so() -> None:
    tables = {name: FRAMES[name] for name in "abc"}
    schema = {"columns": [{"name": "chol", "type": "integer", "boundz": {"lower": 0}}]}
    with pytest.raises(StateError, match="boundz") as caught:
        local_federation(tables, table="heart", schema=schema).start()
    assert caught.value.code == "table_declaration"


@pytest.mark.slow
def test_a_port_that_was_taken_in_the_meantime_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {name: FRAMES[name] for name in "abc"}
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        ports = [free_port(), int(stranger.getsockname()[1])]
        monkeypatch.setattr(
            stack_module, "free_port", lambda: ports.pop(0) if ports else free_port()
        )
        with local_federation(tables, table="heart") as fed:
            result = fed.query("SELECT COUNT(*) AS n FROM heart", purpose="testing")
    assert next(iter(result))["n"] == sum(len(FRAMES[name]) for name in "abc")
