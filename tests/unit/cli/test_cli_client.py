"""What the commands of a person who asks say before they reach anyone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from yumen.jobs import JobSummary
from yumen_cli import client
from yumen_cli.main import main
from yumen_core.jobs.machine import State

JOB = "0199b2f4-1111-7abc-8def-000000000001"


@pytest.mark.parametrize(
    "argv",
    [
        ["datasets", "--identity"],
        ["jobs", "--identity"],
        ["cancel", JOB, "--identity"],
        ["query", "SELECT 1", "--purpose", "x", "--identity"],
        ["user", "show"],
    ],
)
def test_a_missing_identity_comes_first(
    argv: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("YUMEN_COORDINATOR", raising=False)
    folder = tmp_path / "nowhere"
    assert main([*argv, str(folder)]) == 8
    assert capsys.readouterr().err == (
        f"error: no identity in `{folder}`\n"
        f"remedy: enrol with `yumen user enrol {folder} --token TOKEN`, or give --identity\n"
    )


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_without_a_log_is_no_alarm(
    exists: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "node"
    if exists:
        folder.mkdir()
    assert main(["log", "verify", str(folder)]) == 2
    assert capsys.readouterr().err == (
        f"error: no log in `{folder}`\nremedy: give the folder of a log, such as `node/log`\n"
    )


def test_the_folder_above_a_log_names_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "checkpoint").write_text("x")
    assert main(["log", "verify", str(tmp_path)]) == 2
    assert f"remedy: give the log's folder: `{tmp_path / 'log'}`" in capsys.readouterr().err


@pytest.mark.parametrize("left", ["checkpoint", "log.vkey", "tile"])
def test_a_part_of_a_log_is_a_damaged_log(
    left: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / left).write_text("x")
    assert main(["log", "verify", str(tmp_path)]) != 2
    assert "no log in" not in capsys.readouterr().err


def test_a_token_for_a_wrong_role_is_a_wrong_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = str(tmp_path / "home")
    made = ["authority", "init", home, "--federation", "g.example", "--address", "127.0.0.1:7400"]
    assert main(made) == 0
    for role in ("king", "authority"):
        assert main(["authority", "token", home, f"org/lzu/{role}/li"]) == 2
        assert role in capsys.readouterr().err


class _Federation:
    def cancel(self, job_id: str) -> JobSummary:
        now = datetime(2026, 1, 1, tzinfo=UTC)
        return JobSummary(
            job_id, State.CANCELLED, "by li", "li", "p", "t", "SELECT 1", (), (), now, now
        )


@pytest.fixture
def federation(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def opened(identity: Path | None, coordinator: str | None) -> Iterator[_Federation]:
        yield _Federation()

    monkeypatch.setattr(client, "open_federation", opened)


@pytest.mark.usefixtures("federation")
def test_cancel_says_how_the_job_stands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cancel", JOB]) == 0
    assert capsys.readouterr().out == f"job {JOB}: cancelled\n"
    assert main(["cancel", JOB, "--json"]) == 0
    assert '"state": "cancelled"' in capsys.readouterr().out
