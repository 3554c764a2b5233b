"""`yumen run` and `yumen resume`: what they pass on, print, and refuse before anyone is asked."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from yumen.progress import JobProgress
from yumen.training import RoundReport, TrainingResult
from yumen_cli import run
from yumen_cli.plain import group
from yumen_core.errors import CallError
from yumen_core.rpc.v1 import job_pb2
from yumen_core.training.records import Action

JOB = "0199b2f4-1111-7abc-8def-000000000001"
NODE = "spiffe://t.example/org/a/node/a"
RUN = ["run", "app", "--table", "heart", "--columns", "age, sex", "--purpose", "research"]


class Federation:
    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def run(self, path: Path, **asked: Any) -> TrainingResult:
        self.asked = {"path": path, **asked}
        return _result()

    def resume(self, job: str) -> TrainingResult:
        self.asked = {"job": job}
        return _result()


def _result() -> TrainingResult:
    report = RoundReport(1, Action.TRAIN, {"loss": 0.5, "odd": float("nan")}, 100, 3, 1.5)
    return TrainingResult(
        {"w": np.float32([1, 2])},
        reports=[report],
        strategy="FedAvg",
        participants=(NODE,),
        job_ids=(JOB,),
        elapsed_s=2.0,
    )


@pytest.fixture
def federation(monkeypatch: pytest.MonkeyPatch) -> Federation:
    found = Federation()

    @contextlib.contextmanager
    def opened(identity: object, coordinator: object) -> Iterator[Federation]:
        yield found

    monkeypatch.setattr(run, "open_federation", opened)
    return found


@pytest.fixture
def call() -> Callable[[list[str]], None]:
    app: typer.Typer = group("")
    run.register(app)

    def called(argv: list[str]) -> None:
        app(args=argv, prog_name="yumen", standalone_mode=False)

    return called


def test_it_passes_on_what_was_said(
    federation: Federation, call: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--run-config", "lr=0.1 name='a b'", "-c", "n=3", "--suite", "bfv"]
    call([*RUN, *more, "--where", "age > 20", "--timeout", "30m", "--min-nodes", "3"])
    assert federation.asked == {
        "path": Path("app"),
        "table": "heart",
        "columns": ["age", "sex"],
        "purpose": "research",
        "where": "age > 20",
        "suite": "bfv",
        "run_config": {"lr": 0.1, "name": "a b", "n": 3},
        "nodes": None,
        "min_nodes": 3,
        "timeout_s": 1800.0,
    }
    assert capsys.readouterr().out == f"{_result()}\n"


def test_json_says_all_but_the_weights_which_save_writes(
    federation: Federation,
    call: Callable[[list[str]], None],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    path = tmp_path / "model.pt"
    call([*RUN, "--save", str(path), "--json"])
    assert json.loads(capsys.readouterr().out) == {
        "jobs": [JOB],
        "strategy": "FedAvg",
        "participants": [NODE],
        "excluded": [],
        "runs": [
            {
                "round": 1,
                "action": "train",
                "metrics": {"loss": 0.5, "odd": None},
                "examples": 100,
                "nodes": 3,
                "lost": [],
                "seconds": 1.5,
                "replayed": False,
            }
        ],
        "server_metrics": {},
        "arrays": [{"name": "w", "type": "float32", "shape": [2]}],
        "saved": str(path),
        "elapsed_s": 2.0,
        "notes": [],
    }
    assert torch.load(path, weights_only=True)["w"].tolist() == [1.0, 2.0]


def test_resume(federation: Federation, call: Callable[[list[str]], None], tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"old")
    call(["resume", JOB, "--save", str(path), "--overwrite"])
    assert federation.asked == {"job": JOB}
    assert torch.load(path, weights_only=True)["w"].tolist() == [1.0, 2.0]


def _waiting() -> job_pb2.JobStatus:
    nodes = [job_pb2.NodeProgress(node=NODE, step="awaiting")]
    return job_pb2.JobStatus(
        job_id=JOB, state="JOB_STATE_AWAITING_APPROVAL", nodes=nodes, deadline_ms=1_790_000_000_000
    )


def test_off_a_terminal_a_wait_for_approval_is_told_once(
    federation: Federation,
    call: Callable[[list[str]], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def waits(path: Path, **asked: Any) -> TrainingResult:
        with JobProgress("training") as progress:
            progress.update(_waiting())
            progress.update(_waiting())
        return _result()

    monkeypatch.setattr(federation, "run", waits)
    call(RUN)
    until = datetime.fromtimestamp(1_790_000_000).strftime("%Y-%m-%d %H:%M")
    line = f"job {JOB} waits until {until} for approval at 1 node: a\n"
    assert capsys.readouterr().err == line
    with JobProgress("training") as progress:
        progress.update(_waiting())
    assert capsys.readouterr().err == ""


def test_ctrl_c_says_how_to_go_on(
    federation: Federation,
    call: Callable[[list[str]], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(*args: object, **asked: object) -> TrainingResult:
        stop = KeyboardInterrupt()
        stop.add_note("3 finished rounds kept: `yumen resume JOB` goes on")
        raise stop

    for command, argv in (("run", RUN), ("resume", ["resume", JOB])):
        monkeypatch.setattr(federation, command, stopped)
        call(argv)
        told = capsys.readouterr().err.strip()
        assert told == "note: 3 finished rounds kept: `yumen resume JOB` goes on"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--columns", "a,,b"], "expected column names with commas between, got `a,,b`"),
        (["--columns", "a,b,a"], "expected each column once, got `a` twice"),
        (["-c", "lr"], "expected settings as `name=value`, got `lr`"),
        (["--timeout", "soon"], "expected a duration such as `30m` or `24h`, got `soon`"),
        (
            ["--save", "{file}"],
            "expected a path without a file for --save, got `{file}`, which exists",
        ),
        (["--save", "{file}/x"], "expected a folder for --save, found none at `{file}`"),
    ],
)
def test_what_is_refused_before_anyone_is_asked(
    more: list[str],
    message: str,
    federation: Federation,
    call: Callable[[list[str]], None],
    tmp_path: Path,
) -> None:
    file = tmp_path / "there"
    file.write_text("")
    with pytest.raises(CallError) as caught:
        call([*RUN, *(text.format(file=file) for text in more)])
    assert caught.value.message == message.format(file=file)
    assert federation.asked == {}
