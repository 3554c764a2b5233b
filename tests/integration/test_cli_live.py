"""The client commands against a running federation: results, refusals and exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pandas as pd
import pytest
import yaml
import yumen

Run = Callable[..., subprocess.CompletedProcess[str]]
COUNT = "SELECT 科室, COUNT(*) AS n FROM 病人 GROUP BY 科室"


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs `yumen ...` with the identity and coordinator of a local federation."""
    frame = pd.DataFrame({"科室": ["内科", "外科"] * 20, "年龄": list(range(20, 60))})
    frame["入院"] = pd.date_range("2020-02-10", periods=40)
    local = yumen.local_federation(dict.fromkeys("abc", frame), table="病人")
    federation = local.start()
    config = yaml.safe_load((local.directory / "coordinator" / "coordinator.yaml").read_text())
    environment = {
        **os.environ,
        "YUMEN_IDENTITY": str(local.directory / "user"),
        "YUMEN_COORDINATOR": config["listen"],
        "PYTHONUTF8": "1",
    }

    def call(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "yumen_cli", *argv],
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    yield call
    federation.close()
    local.close()


def test_csv_has_the_rows_alone(run: Run) -> None:
    done = run("query", "-", "--purpose", "research", "--csv", stdin=COUNT)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert rows == [
        {"科室": "内科", "n": "60", "_nodes": "3"},
        {"科室": "外科", "n": "60", "_nodes": "3"},
    ]


def test_dates_in_csv_and_json_are_iso_texts(run: Run) -> None:
    by_month = "SELECT DATE_TRUNC('month', 入院) AS m, COUNT(*) AS n FROM 病人 GROUP BY m"
    done = run("query", "-", "--purpose", "research", "--csv", stdin=by_month)
    assert done.stdout.splitlines()[1:] == ["2020-02-01,60,3", "2020-03-01,60,3"]
    done = run("query", "-", "--purpose", "research", "--json", stdin=by_month)
    assert [row["m"] for row in json.loads(done.stdout)["rows"]] == ["2020-02-01", "2020-03-01"]


def test_the_catalogue_as_json(run: Run) -> None:
    done = run("datasets", "--json")
    assert done.returncode == 0, done.stderr
    (dataset,) = json.loads(done.stdout)["datasets"]
    assert dataset["name"] == "病人"
    assert len(dataset["nodes"]) == 3
    admitted = dataset["columns"][2]
    assert (admitted["type"], admitted["lower"]) == ("date", "2020-02-01")


def test_jobs_and_status(run: Run) -> None:
    assert run("query", COUNT, "--purpose", "research").returncode == 0
    jobs = json.loads(run("jobs", "--limit", "1", "--json").stdout)["jobs"]
    assert [(job["state"], job["sql"]) for job in jobs] == [("succeeded", COUNT)]
    status = json.loads(run("coordinator", "status", "--json").stdout)
    assert [node["connected"] for node in status["nodes"]] == [True] * 3


@pytest.mark.parametrize(
    ("argv", "exit_code", "words"),
    [
        (["query", "SELECT COUNT(*) FROM 病", "--purpose", "research"], 2, "`病`"),
        (["query", "SELECT * FROM 病人", "--purpose", "research"], 2, "line 1"),
        (["check", "SELECT SUM(身高) FROM 病人", "--purpose", "research"], 2, "`身高`"),
        (["query", COUNT, "--purpose", "fishing"], 3, "fishing"),
        (["check", COUNT, "--purpose", "fishing"], 3, "fishing"),
        (["query", COUNT, "--purpose", "research", "--nodes", "a,b"], 5, "3 nodes"),
        (["query", COUNT, "--purpose", "research", "--nodes", "a,b,d"], 2, "`d`"),
        (["query", COUNT, "--purpose", "x", "--csv", "--json"], 2, "one of --csv and --json"),
        (["datasets", "--coordinator", "127.0.0.1:1"], 7, "127.0.0.1:1"),
        (["datasets", "--identity", "/nowhere"], 8, "no identity in `/nowhere`"),
        (["cancel", "0199b2f4-1111-7abc-8def-000000000001"], 2, "expected a job of yours"),
    ],
)
def test_exit_codes(run: Run, argv: list[str], exit_code: int, words: str) -> None:
    done = run(*argv)
    assert done.returncode == exit_code, done.stdout + done.stderr
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    as_json = run(*argv, "--json")
    assert as_json.returncode == exit_code
    assert as_json.stderr == ""
    document = json.loads(as_json.stdout)
    if argv[0] == "check" and exit_code == 3:
        assert document["allowed"] is False
    else:
        assert document["error"]["exit"] == exit_code
