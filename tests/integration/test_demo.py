"""`yumen demo` as a person and as a program sees it: real processes, real data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def _demo(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "yumen_cli", "demo", *options],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.fixture(scope="module")
def document() -> dict[str, object]:
    done = _demo("--json")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stderr == ""
    loaded = json.loads(done.stdout)
    assert isinstance(loaded, dict)
    return loaded


def test_everything_holds(document: dict[str, object]) -> None:
    assert document["holds"] is True
    assert document["faults"] == []
    assert document["processes"] == 6


def test_the_answers_are_the_pooled_truth(document: dict[str, object]) -> None:
    answers = document["answers"]
    assert isinstance(answers, list)
    assert [answer["question"] for answer in answers] == ["by sex", "by age band"]
    for answer in answers:
        assert answer["equal"] is True
        assert answer["largest_relative_difference"] <= 1e-9
        assert answer["ciphertexts"] == 4
    female = next(row for row in answers[0]["rows"] if row["sex"] == "Female")
    assert (female["patients"], female["mean_chol"], female["_nodes"]) == (188, None, 3)
    held = [cell["reason"] for cell in answers[0]["held_back_cells"]]
    assert "6 patients" in held


def test_the_forbidden_purpose_is_denied_by_nodes(document: dict[str, object]) -> None:
    denied = document["denied"]
    assert isinstance(denied, dict)
    assert len(denied["denials"]) == 4
    for denial in denied["denials"]:
        assert "/node/" in denial["node"]
        assert denial["observed"] == "insurance-pricing"
        assert "research" in denial["allowed"]
    assert denied["remedied"]["allowed"] is True


def test_attacks_and_logs(document: dict[str, object]) -> None:
    attacks, logs = document["attacks"], document["logs"]
    assert isinstance(attacks, list)
    assert isinstance(logs, list)
    assert [(one["code"], one["refused"]) for one in attacks] == [
        ("signature", True),
        ("replay", True),
    ]
    assert [log["party"] for log in logs] == [
        *("coordinator", "cleveland", "hungary", "switzerland", "long-beach")
    ]
    assert all(log["whole"] and log["entries"] > 0 for log in logs)


@pytest.mark.slow
def test_it_fits_a_terminal_of_100_columns() -> None:
    done = _demo(COLUMNS="100")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stderr == ""
    assert max(len(line) for line in done.stdout.splitlines()) <= 100
    assert done.stdout.splitlines()[-1].startswith("everything holds: 6 processes")


def test_a_folder_without_data_is_a_wrong_call(tmp_path: Path) -> None:
    done = _demo("--data", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: expected the demo's file `{tmp_path}/cleveland.csv`")
    assert done.stdout == ""
