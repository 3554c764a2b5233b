"""What a training shows: table, state dict, file, curves, progress, and a run read as it goes."""

from __future__ import annotations

import io
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders.training_rounds import LocalRounds, linear_node, linear_start
from flwr.serverapp.strategy import FedAvg
from yumen.result import Exclusion
from yumen.training import RoundReport, TrainingResult, TrainingRun, train
from yumen.training.progress import (
    ReportedRounds,
    TrainingProgress,
    describe,
    format_left,
)
from yumen_core.errors import CallError, PeerError
from yumen_core.training.records import Action, Arrays, Config

A, B, C = (f"spiffe://t.example/org/{n}/node/{n}" for n in "abc")
NODES = {"a": linear_node(1, 30), "b": linear_node(2, 50), "c": linear_node(3, 21)}
JOB = "0199b2f4-1111-7abc-8def-000000000001"
ARRAYS = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "seen": np.asarray(7, dtype=np.int64),
    "on": np.array([True, False]),
}


def _report(number: int, action: Action, loss: float, **named: Any) -> RoundReport:
    facts = {"examples": 1200, "nodes": 3, "seconds": 1.0, **named}
    return RoundReport(number, action, {"loss": loss}, **facts)


def _result(**named: Any) -> TrainingResult:
    reports = [
        _report(1, Action.TRAIN, 0.5),
        _report(1, Action.EVALUATE, 0.6, examples=300, nodes=2),
        _report(2, Action.TRAIN, 0.25, lost=(C,), nodes=2, examples=800),
        _report(2, Action.EVALUATE, 0.375, lost=(C,), nodes=2, examples=200),
    ]
    facts: dict[str, Any] = {
        "reports": reports,
        "server_metrics": {0: {"accuracy": 0.5}, 2: {"accuracy": 0.75}},
        "strategy": "FedAdam",
        "participants": (A, B),
        "excluded": (Exclusion("spiffe://t.example/org/d/node/d", "unreachable"),),
        "job_ids": (JOB,),
        "elapsed_s": 4.0,
        "notes": ("a remark",),
    }
    return TrainingResult(ARRAYS, **(facts | named))


def test_one_row_a_round() -> None:
    frame = _result().metrics
    assert list(frame.index) == [0, 1, 2]
    assert list(frame.columns) == [
        *("train_loss", "evaluate_loss", "server_accuracy"),
        *("examples", "nodes", "clipped", "lost", "seconds"),
    ]
    assert frame.loc[1, ["train_loss", "evaluate_loss"]].tolist() == [0.5, 0.6]
    assert frame["examples"].tolist() == [0, 1200, 800]
    assert frame["lost"].tolist() == [0, 0, 1]
    assert frame["seconds"].tolist() == [0.0, 2.0, 2.0]
    assert frame["server_accuracy"].isna().tolist() == [False, True, False]
    assert _result().lost_nodes() == {2: (C,)}


def test_what_it_prints() -> None:
    assert repr(_result()).splitlines() == [
        "round  train loss  evaluate loss  server accuracy  examples  nodes",
        "─────  ──────────  ─────────────  ───────────────  ────────  ─────",
        "    0                                        0.50",
        "    1        0.50          0.600                      1,200      3",
        "    2        0.25          0.375             0.75       800      2",
        "",
        "2 nodes in: a, b",
        "1 node out: d (unreachable)",
        "lost in round 2: c",
        "a remark",
        f"FedAdam, 9 values, 4.00 s, job {JOB}",
    ]


def test_what_a_peer_wrote_cannot_steer_the_page() -> None:
    result = _result(notes=("<script>\u202e",))
    assert "<script>" not in result._repr_html_()
    assert "\u202e" not in result._repr_html_() + repr(result)


def test_a_state_dict_of_copies_in_order() -> None:
    result = _result()
    state = result.state_dict()
    assert list(state) == ["w", "seen", "on"]
    assert (state["w"].dtype, state["seen"].dtype) == (torch.float32, torch.int64)
    assert state["seen"].shape == ()
    state["w"] += 1
    assert result.arrays["w"][0, 0] == 0


def test_it_saves_what_torch_loads_without_pickled_code(tmp_path: Path) -> None:
    path = _result().save(tmp_path / "model.pt")
    loaded = torch.load(path, weights_only=True)
    assert all(torch.equal(loaded[name], t) for name, t in _result().state_dict().items())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with pytest.raises(CallError) as caught:
        _result().save(path)
    assert caught.value.message == f"expected a path without a file, got `{path}`, which exists"
    assert path.read_bytes() == before
    assert _result().save(path, overwrite=True) == path
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


def test_learning_curves(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    figure = _result().plot(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    loss, accuracy = figure.axes
    assert [line.get_label() for line in loss.get_lines()] == ["train", "evaluate"]
    assert loss.get_lines()[0].get_ydata().tolist() == [0.5, 0.25]
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy")
    from matplotlib import pyplot

    pyplot.close(figure)
    with pytest.raises(CallError) as caught:
        _result(reports=[], server_metrics={}).plot()
    assert caught.value.message == "expected metrics to plot, got none from this training"


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(CallError) as caught:
        _result().plot()
    assert caught.value.remedy == "pip install 'yumen[plot]'"


@pytest.mark.parametrize("package", ["flwr", "torch"])
def test_without_the_extra_it_says_what_to_install(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(CallError) as caught:
        train(lambda: LocalRounds(NODES), FedAvg(), rounds=1, initial=linear_start())
    assert caught.value.message == f"expected `{package}` for training, got none"
    assert caught.value.remedy == "pip install 'yumen[train]'"


def test_importing_loads_neither_flower_nor_pytorch() -> None:
    program = (
        "import sys, yumen, yumen.training\n"
        "assert not {'flwr', 'torch'} & set(sys.modules), 'loaded'\n"
        "from yumen.training import flower\n"
        "flower.require()\n"
        "from flwr.supercore import telemetry\n"
        "assert telemetry.FLWR_TELEMETRY_ENABLED == '0'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("initial", "message"),
    [
        ({}, "expected initial arrays by name, got `dict`"),
        ([1], "expected initial arrays by name, got `list`"),
        ({"w": [1.0]}, "expected initial arrays of numpy or PyTorch, got `w` of another type"),
        (
            {"w": torch.zeros(2, dtype=torch.bfloat16)},
            "expected initial arrays of numpy or PyTorch, got `w` of another type",
        ),
    ],
)
def test_initial_arrays_that_are_none(initial: Any, message: str) -> None:
    with pytest.raises(CallError) as caught:
        train(lambda: LocalRounds(NODES), FedAvg(), rounds=1, initial=initial)
    assert (caught.value.code, caught.value.message) == ("training", message)


@pytest.mark.parametrize("rounds", [0, -1, 10_001, True, 2.0, "3"])
def test_a_number_of_rounds_that_cannot_be(rounds: Any) -> None:
    with pytest.raises(CallError) as caught:
        train(lambda: LocalRounds(NODES), FedAvg(), rounds=rounds, initial=linear_start())
    kind = "" if type(rounds) is int else f" of type `{type(rounds).__name__}`"
    assert caught.value.message == (
        f"expected rounds as a whole number from 1 to 10000, got `{rounds}`{kind}"
    )


def test_nodes_that_count_for_nothing_are_told() -> None:
    reports = [
        _report(1, Action.TRAIN, 0.5, asked=3),
        _report(2, Action.TRAIN, 0.5, asked=3, nodes=2),
        _report(2, Action.EVALUATE, 0.5, asked=4, nodes=2),
        _report(3, Action.TRAIN, 0.5, asked=3, nodes=2),
    ]
    lines = repr(_result(reports=reports)).splitlines()
    why = "too few rows, or a model that diverged"
    assert f"1 node counted for nothing in 2 rounds: {why}" in lines
    assert f"2 nodes counted for nothing in the evaluation of 1 round: {why}" in lines
    assert "counted for nothing" not in repr(_result(reports=reports[:1]))


def test_the_models_load_when_they_are_named() -> None:
    program = (
        "import sys, yumen\n"
        "assert 'models' in dir(yumen) and 'models' in yumen.__all__\n"
        "assert 'yumen.models' not in sys.modules\n"
        "yumen.models.Number('age', center=54, scale=9)\n"
        "assert not {'flwr', 'torch'} & set(sys.modules), 'loaded'\n"
        "try:\n    yumen.model\nexcept AttributeError as e:\n    print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b"module 'yumen' has no attribute 'model'\n"


def test_a_model_or_its_state_dict_may_be_given() -> None:
    model = torch.nn.Linear(2, 1)
    for given in (model, model.state_dict()):
        nodes = {"a": _echo, "b": _echo, "c": _echo}
        result = train(lambda n=nodes: LocalRounds(n), FedAvg(), rounds=1, initial=given)  # type: ignore[misc]
        model.load_state_dict(result.state_dict())


def _echo(action: Action, records: Any) -> Any:
    return dict(records["arrays"].tensors), {}, 1


def test_a_dict_from_evaluate_fn_will_do() -> None:
    result = train(
        lambda: LocalRounds(NODES),
        FedAvg(),
        rounds=1,
        initial=linear_start(),
        evaluate_fn=lambda number, arrays: {"accuracy": number / 2},
    )
    assert result.metrics["server_accuracy"].tolist() == [0.0, 0.5]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_is_of_what_is_still_to_come() -> None:
    clock, reports = Clock(), []
    seconds = {Action.TRAIN: 3.0, Action.EVALUATE: 1.0}

    class Timed(LocalRounds):
        def run(self, action: Action, records: Any) -> Any:
            clock.now += seconds[action]
            return super().run(action, records)

    rounds = ReportedRounds(
        Timed(NODES),
        lambda report, _: reports.append(report),
        total=lambda: 3,
        replayed=lambda: len(reports) == 0,
        clock=clock,
    )
    for number in (1, 2, 3):
        content = {"arrays": Arrays(linear_start()), "c": Config({"server-round": number})}
        for action in (Action.TRAIN, Action.EVALUATE):
            rounds.run(action, content)
    assert [report.left_s for report in reports] == [None, None, 5.0, 4.0, 1.0, 0.0]
    assert [report.round for report in reports] == [1, 1, 2, 2, 3, 3]
    assert [report.seconds for report in reports] == [0.0, 1.0, 3.0, 1.0, 3.0, 1.0]


def test_the_start_of_the_nodes_is_not_in_the_time_left() -> None:
    clock, reports, seconds = Clock(), [], iter([60.0, 2.0, 4.0])

    class Timed(LocalRounds):
        def run(self, action: Action, records: Any) -> Any:
            clock.now += next(seconds)
            return super().run(action, records)

    heard = ReportedRounds(
        Timed(NODES), lambda r, _: reports.append(r), total=lambda: 4, replayed=lambda: False,
        clock=clock,
    )  # fmt: skip
    for _ in range(3):
        heard.run(Action.TRAIN, {"arrays": Arrays(linear_start())})
    assert [report.left_s for report in reports] == [180.0, 4.0, 3.0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00"), (0.1, "00:01"), (60, "01:00"), (725, "12:05"), (10931, "3:02:11")],
)
def test_time_left_in_words(seconds: float, text: str) -> None:
    assert format_left(seconds) == text


def test_a_line_of_progress() -> None:
    report = RoundReport(3, Action.TRAIN, {"loss": 0.41234, "x": 1}, 10, 3, 1.0, left_s=41.0)
    assert describe(report, 10) == "round 3 of 10, loss 0.4123, 00:41 left"
    assert str(report) == "round 3 train, loss 0.4123, 3 nodes, 00:41 left"
    ready = RoundReport(1, Action.EVALUATE, {"eval_acc": 0.5, "a": 1, "eval_loss": 2.0}, 9, 3, 1)
    assert str(ready) == "round 1 evaluate, eval_loss 2, eval_acc 0.5, 3 nodes"
    evaluated = RoundReport(3, Action.EVALUATE, {"accuracy": 0.5}, 10, 3, 1.0)
    assert describe(evaluated, None) == "round 3, evaluate, accuracy 0.5"
    stream = io.StringIO()
    with TrainingProgress("training", stream=stream) as progress:
        progress.report(report, 10)
    assert stream.getvalue() == ""


class Slow(LocalRounds):
    """Each run waits to be let on."""

    def __init__(self) -> None:
        super().__init__(NODES)
        self.gate = threading.Semaphore(0)

    def run(self, action: Action, records: Any) -> Any:
        assert self.gate.acquire(timeout=20)
        return super().run(action, records)


def _running(rounds: LocalRounds, number: int = 3) -> TrainingRun:
    return TrainingRun(
        lambda heard, cancel: train(
            lambda: rounds,
            FedAvg(),
            rounds=number,
            initial=linear_start(),
            on_report=heard,
            cancel=cancel,
        )
    )


def test_a_training_read_as_it_goes() -> None:
    rounds = Slow()
    run = _running(rounds)
    seen = []
    rounds.gate.release()
    for report in run:
        seen.append((report.round, report.action))
        rounds.gate.release()
    assert seen == [(n, a) for n in (1, 2, 3) for a in (Action.TRAIN, Action.EVALUATE)]
    assert list(run) == []
    assert [(r.round, r.action) for r in run.result().reports] == seen
    assert not run.running


def test_a_consumer_that_stops_ends_the_training() -> None:
    rounds = Slow()
    with _running(rounds) as run:
        rounds.gate.release()
        for report in run:
            assert report.round == 1
            break
        rounds.gate.release()
        with pytest.raises(CallError) as caught:
            run.result()
    assert caught.value.code == "cancelled"
    assert caught.value.message == "expected a training that goes on, got one that was cancelled"
    assert len(rounds.calls) <= 2
    assert rounds.abandoned


def test_cancelling_raises_one_error_whatever_it_met() -> None:
    gate = threading.Event()

    def work(heard: Any, cancel: threading.Event) -> TrainingResult:
        assert gate.wait(20)
        error = PeerError("failed", "expected a job, got one that ended")
        error.add_note("1 finished round kept")
        raise error

    run = TrainingRun(work, on_cancel=gate.set, job_id=lambda: JOB)
    assert run.job_id == JOB
    run.cancel()
    with pytest.raises(CallError) as caught:
        run.result(20)
    assert caught.value.code == "cancelled"
    assert caught.value.message == "expected a training that goes on, got one that was cancelled"
    assert caught.value.remedy == f"fed.resume('{JOB}') goes on"
    assert caught.value.__notes__ == ["1 finished round kept"]


def test_cancel_may_reach_a_run_under_way() -> None:
    rounds = Slow()
    reached = []
    run = TrainingRun(
        lambda heard, cancel: train(
            lambda: rounds, FedAvg(), rounds=3, initial=linear_start(), cancel=cancel
        ),
        on_cancel=lambda: (reached.append(1), rounds.gate.release())[0],
    )
    run.cancel()
    run.cancel()
    with pytest.raises(CallError, match="cancelled"):
        run.result(20)
    assert reached == [1]


def test_errors_are_raised_where_it_is_read() -> None:
    run = _running(LocalRounds(NODES, fail_at=2))
    seen: list[RoundReport] = []
    with pytest.raises(PeerError, match="expected all participants, got one that was lost"):
        seen.extend(run)
    assert len(seen) == 2
    with pytest.raises(PeerError):
        run.result()


def test_waiting_for_a_result_has_a_limit() -> None:
    rounds = Slow()
    with _running(rounds, 1) as run:
        with pytest.raises(CallError) as caught:
            run.result(0.05)
        assert caught.value.message == (
            "expected the training to end within 0.05 s, got no end yet"
        )
        rounds.gate.release(2)
        assert run.result(20).arrays
