"""Flower projects as they are: their ServerApp here, their settings, their modules apart."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from builders.training_rounds import LocalRounds, app_node, linear_node, linear_start
from flwr.app import Context
from flwr.client import ClientApp, NumPyClient
from flwr.serverapp.strategy import FedAdam, Strategy
from yumen.training import Journal, TrainingResult, parse_settings, run_app, train
from yumen.training.project import modules_of, with_overrides
from yumen_core.errors import CallError, PeerError
from yumen_core.training.records import Action

NODES = {"a": linear_node(1, 30), "b": linear_node(2, 50), "c": linear_node(3, 21)}

SERVER = """
    import torch
    from flwr.app import ArrayRecord, ConfigRecord, Context
    from flwr.serverapp import Grid, ServerApp
    from flwr.serverapp.strategy import FedAdam, FedAvg, FedMedian

    from demo.task import start

    app = ServerApp()


    @app.main()
    def main(grid: Grid, context: Context) -> None:
        rounds: int = context.run_config["num-server-rounds"]
        strategy = FedAdam(
            eta=context.run_config["eta"],
            fraction_evaluate=context.run_config["fraction-evaluate"],
        )
        result = strategy.start(
            grid=grid,
            initial_arrays=ArrayRecord(start()),
            train_config=ConfigRecord({"lr": 0.1}),
            num_rounds=rounds,
        )
        torch.save(result.arrays.to_torch_state_dict(), context.run_config["file"])
"""
TASK = """
    import torch


    def start():
        return {"w": torch.zeros(3), "b": torch.tensor(0.0), "seen": torch.tensor(0)}
"""
SETTINGS: dict[str, Any] = {
    "num-server-rounds": 3,
    "eta": 0.05,
    "fraction-evaluate": 1.0,
    "file": "final_model.pt",
}


@dataclass(frozen=True)
class App:
    serverapp: str = "demo.server_app:app"
    run_config: Mapping[str, Any] = field(default_factory=lambda: SETTINGS)


def _project(folder: Path, server: str = SERVER, task: str = TASK) -> Path:
    (folder / "demo").mkdir(parents=True)
    (folder / "demo" / "__init__.py").write_text("")
    (folder / "demo" / "server_app.py").write_text(dedent(server))
    (folder / "demo" / "task.py").write_text(dedent(task))
    return folder


def _run(folder: Path, rounds: LocalRounds | None = None, **named: Any) -> TrainingResult:
    app = named.pop("app", App())
    return run_app(folder, app, lambda: rounds or LocalRounds(NODES), **named)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_a_project_runs_as_it_is(tmp_path: Path) -> None:
    project = _project(tmp_path / "p")
    rounds = LocalRounds(NODES)
    modules, path = set(sys.modules), list(sys.path)
    result = _run(project, rounds)
    expected = train(
        lambda: LocalRounds(NODES),
        FedAdam(eta=0.05),
        rounds=3,
        initial=linear_start(),
        train_config={"lr": 0.1},
    )
    assert result.arrays["w"].tobytes() == expected.arrays["w"].tobytes()
    assert result.strategy == "FedAdam"
    saved = torch.load("final_model.pt", weights_only=True)
    torch.testing.assert_close(saved["w"].float(), result.state_dict()["w"])
    assert rounds.calls == [Action.TRAIN, Action.EVALUATE] * 3
    assert list(result.metrics.index) == [1, 2, 3]
    assert {name for name in set(sys.modules) - modules if name.startswith("demo")} == set()
    assert sys.path == path


def test_settings_are_overridden_as_flower_does(tmp_path: Path) -> None:
    project = _project(tmp_path / "p")
    rounds = LocalRounds(NODES)
    changes = parse_settings(["num-server-rounds=1 file='a b.pt'", "fraction-evaluate=0.0"])
    _run(project, rounds, run_config=changes)
    assert rounds.calls == [Action.TRAIN]
    assert Path("a b.pt").is_file()


def test_two_projects_with_modules_of_one_name_do_not_mix(tmp_path: Path) -> None:
    one = _project(tmp_path / "one")
    two = _project(tmp_path / "two", task=TASK.replace("torch.zeros(3)", "torch.ones(3)"))
    first, second, third = _run(one), _run(two), _run(one)
    assert first.arrays["w"].tobytes() == third.arrays["w"].tobytes()
    assert first.arrays["w"].tobytes() != second.arrays["w"].tobytes()


def test_the_callers_module_of_the_same_name_comes_back(tmp_path: Path) -> None:
    project = _project(tmp_path / "p")
    mine = type(sys)("demo")
    sys.modules["demo"] = mine
    try:
        _run(project)
        assert sys.modules["demo"] is mine
        with pytest.raises(CallError):
            _run(_project(tmp_path / "q", server="1 / 0"))
        assert sys.modules["demo"] is mine
    finally:
        del sys.modules["demo"]


def test_one_project_at_a_time(tmp_path: Path) -> None:
    project = _project(tmp_path / "p")
    with modules_of(project), pytest.raises(CallError) as caught:
        _run(project)
    assert caught.value.message == "expected one app at a time in this process, got a second one"
    assert _run(project).arrays


def test_installed_packages_are_not_hidden_by_a_folder_of_data(tmp_path: Path) -> None:
    project = _project(tmp_path / "p")
    (project / "torch").mkdir()
    (project / "torch" / "notes.py").write_text("")
    with modules_of(project):
        assert sys.modules["torch"] is torch


REFUSED_APPS = [
    (
        SERVER.replace("FedAdam(", "FedMedian(").replace('eta=context.run_config["eta"],', ""),
        "strategy",
        "expected a strategy that needs the mean alone, got `FedMedian`, which orders the single "
        "updates value by value, and no party sees one node's",
    ),
    (
        SERVER.replace("FedAdam(", "FedAdam(\n            fraction_train=0.4,"),
        "strategy",
        "expected fraction_train=1.0, got `0.4`: a round asks all nodes, since the difference of "
        "two subsets would be one node's update",
    ),
    (
        SERVER.replace("FedAdam(", "FedAdam(\n            min_available_nodes=9,"),
        "strategy",
        "expected min_available_nodes of at most 3, the nodes that take part, got `9`",
    ),
    (
        "import no_such_package\n",
        "bundle",
        "expected the package `no_such_package` for the server app, got none",
    ),
    (
        "def broken(:\n",
        "bundle",
        "expected the server app `demo.server_app:app` to import, got `SyntaxError`: invalid "
        "syntax (server_app.py, line 1)",
    ),
    ("app = 3\n", "bundle", "expected a ServerApp at `demo.server_app:app`, got `int`"),
    ("", "bundle", "expected a ServerApp at `demo.server_app:app`, got `NoneType`"),
    (
        SERVER.replace("rounds: int =", "raise KeyError('x')\n        rounds: int ="),
        "training",
        "expected the server app to end well, got `KeyError`: 'x'",
    ),
    (
        SERVER.replace("rounds: int =", "raise SystemExit(3)\n        rounds: int ="),
        "training",
        "expected the server app to end well, got `SystemExit`: 3",
    ),
    (
        SERVER.replace("rounds: int =", "return\n        rounds: int ="),
        "training",
        "expected the app to ask for a round, got none",
    ),
]


@pytest.mark.parametrize(("server", "code", "message"), REFUSED_APPS)
def test_an_app_that_cannot_run_is_told_in_words(
    tmp_path: Path, server: str, code: str, message: str
) -> None:
    project = _project(tmp_path / "p", server=server)
    rounds = LocalRounds(NODES)
    start = Strategy.start
    with pytest.raises(CallError) as caught:
        _run(project, rounds)
    assert (caught.value.code, caught.value.message) == (code, message)
    assert rounds.calls == []
    assert Strategy.start is start
    assert "demo" not in sys.modules


def test_an_app_that_swallows_errors_still_ends_with_them(tmp_path: Path) -> None:
    server = SERVER.replace(
        "rounds: int =",
        "try: strategy = FedMedian().start(grid, ArrayRecord(start()))\n"
        "        except Exception: return\n        rounds: int =",
    )
    with pytest.raises(CallError, match="got `FedMedian`"):
        _run(_project(tmp_path / "p", server=server))


OWN_LOOP = """
    from flwr.app import ArrayRecord, ConfigRecord
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import FedAdagrad

    from demo.task import start

    app = ServerApp()


    class Own(FedAdagrad):
        def start(self, grid, initial_arrays, num_rounds=2, **named):
            arrays = initial_arrays
            for number in range(1, num_rounds + 1):
                sent = self.configure_train(number, arrays, ConfigRecord(), grid)
                arrays, _ = self.aggregate_train(number, list(grid.send_and_receive(sent)))
                sent = self.configure_evaluate(number, arrays, ConfigRecord(), grid)
                self.aggregate_evaluate(number, list(grid.send_and_receive(sent)))


    @app.main()
    def main(grid, context):
        Own(eta=0.05).start(grid, ArrayRecord(start()))
"""


def test_an_app_with_its_own_loop_ends_with_what_it_evaluated_last(tmp_path: Path) -> None:
    from flwr.serverapp.strategy import FedAdagrad

    result = _run(_project(tmp_path / "p", server=OWN_LOOP))
    expected = train(
        lambda: LocalRounds(NODES), FedAdagrad(eta=0.05), rounds=2, initial=linear_start()
    )
    assert result.arrays["w"].tobytes() == expected.arrays["w"].tobytes()


UNSEEDED = TASK.replace("torch.zeros(3)", "torch.randn(3)")


def test_an_app_with_unseeded_weights_is_resumed(tmp_path: Path) -> None:
    project = _project(tmp_path / "p", task=UNSEEDED)
    journal = Journal.create(tmp_path / "t", {})
    with pytest.raises(PeerError):
        _run(project, LocalRounds(NODES, fail_at=3), journal=journal)
    kept = list(Journal.open(tmp_path / "t").read())
    rounds = LocalRounds(NODES)
    torch.manual_seed(11)
    result = _run(project, rounds, journal=Journal.open(tmp_path / "t"))
    assert len(kept) == 3
    assert len(rounds.calls) == 3
    assert [report.replayed for report in result.reports] == [True] * 3 + [False] * 3


LEGACY = """
    from flwr.common import ndarrays_to_parameters
    from flwr.server import ServerApp, ServerAppComponents, ServerConfig
    from flwr.server.strategy import {strategy}

    import numpy as np


    def weighted(pairs):
        total = sum(n for n, _ in pairs)
        return {{"accuracy": sum(n * m["accuracy"] for n, m in pairs) / total}}


    def server_fn(context):
        strategy = {strategy}(
            {arguments}
            evaluate_metrics_aggregation_fn=weighted,
            on_fit_config_fn=lambda number: {{"round": number, "lr": 0.1}},
        )
        return ServerAppComponents(
            strategy=strategy, config=ServerConfig(num_rounds=context.run_config["rounds"])
        )


    app = ServerApp(server_fn=server_fn)
"""
START = "initial_parameters=ndarrays_to_parameters([np.zeros(2, np.float32)]),"
LEGACY_APP = App(run_config={"rounds": 3})


class _Client(NumPyClient):
    def __init__(self, target: float, rows: int) -> None:
        self._target, self._rows = target, rows

    def fit(self, parameters: Any, config: Any) -> Any:
        step = config["lr"] * (self._target - parameters[0])
        return [(parameters[0] + step).astype("float32")], self._rows, {"target": self._target}

    def evaluate(self, parameters: Any, config: Any) -> Any:
        loss = float(((parameters[0] - self._target) ** 2).mean())
        return loss, self._rows, {"accuracy": 1.0 / (1.0 + loss)}


def _legacy_nodes(count: int) -> dict[str, Any]:
    def client_fn(context: Context) -> Any:
        number = context.node_id
        return _Client(float(number), 10 + number).to_client()

    app = ClientApp(client_fn=client_fn)
    return {f"n{index}": app_node(app, index, {}) for index in range(count)}


@pytest.mark.parametrize("count", [3, 17])
def test_an_older_app_runs_as_it_is(tmp_path: Path, count: int) -> None:
    """Seventeen nodes are more than Flower's older server has threads."""
    project = _project(tmp_path / "p", server=LEGACY.format(strategy="FedAvg", arguments=START))
    rounds = LocalRounds(_legacy_nodes(count))
    threads = threading.active_count()
    result = _run(project, rounds, app=LEGACY_APP)
    assert rounds.calls == [Action.TRAIN, Action.EVALUATE] * 3
    assert threading.active_count() == threads
    weights = [10 + index for index in range(count)]
    mean = sum(index * n for index, n in enumerate(weights)) / sum(weights)
    expected = 0.0
    for _ in range(3):
        expected += 0.1 * (mean - expected)
    assert result.arrays["0"] == pytest.approx([expected, expected], rel=1e-6)
    assert result.arrays["0"].dtype == "float32"
    assert result.strategy == "FedAvg"
    losses = [sum(n * (expected - index) ** 2 for index, n in enumerate(weights)) / sum(weights)]
    assert result.metrics.loc[3, "evaluate_loss"] == pytest.approx(losses[0], rel=1e-6)
    assert result.metrics.loc[3, "examples"] == sum(weights)


@pytest.mark.parametrize(
    ("strategy", "arguments", "message"),
    [
        (
            "FedMedian",
            START,
            "expected a strategy that needs the mean alone, got `FedMedian`, which orders the "
            "single updates value by value, and no party sees one node's",
        ),
        (
            "FedAvg",
            START + "fraction_fit=0.5,",
            "expected fraction_fit=1.0, got `0.5`: a round asks all nodes, since the difference of "
            "two subsets would be one node's update",
        ),
        (
            "FedAvg",
            "",
            "expected initial parameters from the server app, got a question to one node for its "
            "own",
        ),
    ],
)
def test_an_older_app_that_cannot_run(
    tmp_path: Path, strategy: str, arguments: str, message: str
) -> None:
    server = LEGACY.format(strategy=strategy, arguments=arguments)
    rounds = LocalRounds(_legacy_nodes(3))
    with pytest.raises(CallError) as caught:
        _run(_project(tmp_path / "p", server=server), rounds, app=LEGACY_APP)
    assert (caught.value.code, caught.value.message) == ("strategy", message)
    assert rounds.calls == []


def test_a_lost_node_ends_an_older_app_though_it_would_go_on(tmp_path: Path) -> None:
    project = _project(tmp_path / "p", server=LEGACY.format(strategy="FedAvg", arguments=START))
    rounds = LocalRounds(_legacy_nodes(3), fail_at=2)
    with pytest.raises(PeerError) as caught:
        _run(project, rounds, app=LEGACY_APP)
    assert caught.value.code == "node_lost"
    assert len(rounds.calls) == 2


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], {}),
        ([""], {}),
        (["a=1"], {"a": 1}),
        (["a=1 b.c=0.5", "d=true"], {"a": 1, "b.c": 0.5, "d": True}),
        (["s='x y' t=\"z\""], {"s": "x y", "t": "z"}),
        (["a=1", "a=2"], {"a": 2}),
        (["lr=1e-3"], {"lr": 1e-3}),
    ],
)
def test_settings_are_read_as_flower_reads_them(texts: list[str], expected: object) -> None:
    assert parse_settings(texts) == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a", "a"),
        ("a=", "a="),
        ("a=b", "a=b"),
        ("a=1 b", "b"),
        ("=1", "=1"),
        ("a=[1]", "a=[1]"),
        ("a={x=1}", "a={x=1}"),
        ("a='x", "a='x"),
        ("a='x'y", "a='x'y"),
        ("a=2020-01-01", "a=2020-01-01"),
        ("a=1,b=2", "a=1,b=2"),
    ],
)
def test_settings_of_another_form_are_refused(text: str, shown: str) -> None:
    with pytest.raises(CallError) as caught:
        parse_settings([text])
    assert caught.value.message == f"expected settings as `name=value`, got `{shown}`"


def test_a_setting_the_app_does_not_have_is_refused() -> None:
    with pytest.raises(CallError) as caught:
        with_overrides({"lr": 0.1, "rounds": 3}, {"Lr": 0.2})
    assert caught.value.message == "expected settings of the app (`lr`, `rounds`), got `Lr`"
    with pytest.raises(CallError, match="true or false for `lr`, got `list`"):
        with_overrides({"lr": 0.1}, {"lr": [1]})  # type: ignore[dict-item]
