"""The grid: strategies on one mean give what they give on single replies; the rest is refused."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from builders.training_rounds import LocalRounds, linear_node, linear_start
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import (
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedProx,
    FedYogi,
    Strategy,
)
from flwr.supercore.run import Run
from yumen.training import course
from yumen.training.convert import array_record, arrays_of, records_of
from yumen.training.grid import YumenGrid, node_id
from yumen.training.train import train
from yumen_core.errors import CallError, PeerError
from yumen_core.training.records import Action

STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "FedAvg": FedAvg,
    "FedProx": lambda: FedProx(proximal_mu=0.3),
    "FedAvgM": lambda: FedAvgM(server_learning_rate=0.9, server_momentum=0.8),
    "FedAdam": lambda: FedAdam(eta=0.05, tau=0.01),
    "FedYogi": lambda: FedYogi(eta=0.05, tau=0.01),
    "FedAdagrad": lambda: FedAdagrad(eta=0.05, tau=0.01),
}
NODES = {"a": linear_node(1, 30), "b": linear_node(2, 50), "c": linear_node(3, 21)}


class PlainGrid(Grid):
    """Flower's way: one reply for each node. Its arrays go out in the first types, as ours do."""

    def __init__(self) -> None:
        self._run = Run.create_empty(1)
        self._grid = YumenGrid(LocalRounds(NODES))

    def set_run(self, run: Run) -> None:
        self._run = run

    @property
    def run(self) -> Run:
        return self._run

    def create_message(self, *args: Any, **named: Any) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> list[int]:
        return list(range(2, 2 + len(NODES)))

    def push_messages(self, messages: Any) -> list[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: Any) -> list[Message]:
        raise NotImplementedError

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> list[Message]:
        replies = []
        for message in messages:
            work = list(NODES.values())[message.metadata.dst_node_id - 2]
            action = Action(message.metadata.message_type)
            records = self._grid._narrowed(records_of(message.content))
            tensors, metrics, examples = work(action, records)
            content = RecordDict({"m": MetricRecord({**metrics, "num-examples": examples})})
            if action is Action.TRAIN:
                content["arrays"] = array_record(tensors)
            replies.append(Message(content, reply_to=message))
        return replies


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_gives_on_the_mean_what_it_gives_on_single_replies(name: str) -> None:
    rounds = LocalRounds(NODES)
    found = train(lambda: rounds, STRATEGIES[name](), rounds=6, initial=linear_start())
    plain = PlainGrid()
    expected = STRATEGIES[name]().start(plain, array_record(linear_start()), num_rounds=6)
    arrays = arrays_of(expected.arrays)
    assert found.arrays.keys() == arrays.keys()
    for key in ("w", "b"):
        np.testing.assert_allclose(found.arrays[key], arrays[key], rtol=1e-6, atol=1e-6)
    frame = found.metrics
    for number in range(1, 7):
        for kind, metrics in (
            ("train", expected.train_metrics_clientapp),
            ("evaluate", expected.evaluate_metrics_clientapp),
        ):
            for metric in ("loss", "largest"):
                value = frame.loc[number, f"{kind}_{metric}"]
                assert value == pytest.approx(metrics[number][metric], rel=1e-5)
    assert rounds.calls == [Action.TRAIN, Action.EVALUATE] * 6
    assert rounds.completed
    assert not rounds.abandoned


def test_arrays_stay_in_their_first_types_though_a_strategy_widens_them() -> None:
    rounds = LocalRounds(NODES)
    result = train(lambda: rounds, FedAdam(), rounds=2, initial=linear_start())
    for records in rounds.sent:
        types = {n: v.dtype.name for n, v in records["arrays"].tensors.items()}  # type: ignore[union-attr]
        assert types == {"w": "float32", "b": "float32", "seen": "int64"}
    assert {n: v.dtype.name for n, v in result.arrays.items()} == types


def test_settings_pass_to_the_nodes() -> None:
    rounds = LocalRounds(NODES)
    train(
        lambda: rounds,
        FedAvg(fraction_evaluate=0.0),
        rounds=1,
        initial=linear_start(),
        train_config={"lr": 0.5, "names": ["a", "b"], "on": True},
    )
    assert rounds.calls == [Action.TRAIN]
    sent = dict(rounds.sent[0]["config"].scalars)  # type: ignore[union-attr]
    assert sent == {"lr": 0.5, "names": ["a", "b"], "on": True, "server-round": 1}


def test_node_numbers_follow_from_the_names() -> None:
    name = "spiffe://t.example/org/a/node/a"
    assert node_id(name) == node_id(name)
    assert 0 < node_id(name) < 1 << 63
    assert node_id(name) != node_id(name + "b")
    grid = YumenGrid(LocalRounds(NODES))
    assert len(set(grid.get_node_ids())) == 3


def _grid(**named: Any) -> tuple[YumenGrid, LocalRounds, list[int]]:
    rounds = LocalRounds(NODES, **named)
    grid = YumenGrid(rounds)
    return grid, rounds, list(grid.get_node_ids())


def _content(value: float = 0.0, **config: Any) -> RecordDict:
    tensors = linear_start()
    tensors["w"] = tensors["w"] + np.float32(value)
    return RecordDict({"arrays": array_record(tensors), "config": ConfigRecord(config)})


def test_one_reply_for_all_with_the_total_as_weight() -> None:
    grid, _, ids = _grid()
    content = RecordDict({"model": array_record(linear_start()), "config": ConfigRecord()})
    replies = list(grid.send_and_receive([Message(content, n, "train") for n in ids]))
    assert len(replies) == 1
    answer = replies[0].content
    assert list(answer.array_records) == ["model"]
    assert answer["metrics"]["num-examples"] == 101
    assert replies[0].metadata.src_node_id in ids
    types = [v.dtype.name for v in arrays_of(answer.array_records["model"]).values()]
    assert types == ["float32", "float32", "int64"]


def test_no_message_is_no_run() -> None:
    grid, rounds, _ = _grid()
    assert list(grid.send_and_receive([])) == []
    assert rounds.calls == []


@pytest.mark.parametrize(
    ("make", "code", "text"),
    [
        (
            lambda ids: [Message(_content(), n, "train") for n in ids[:2]],
            "strategy",
            "expected a round that asks all 3 participants, got one that asks 2: the difference of "
            "two subsets would be one node's update",
        ),
        (
            lambda ids: [Message(_content(float(n == ids[1])), n, "train") for n in ids],
            "strategy",
            "expected the same content for all nodes, got another one for some: a mean of "
            "different tasks is none, and one node's task would show its answer",
        ),
        (
            lambda ids: [Message(_content(rank=n == ids[1]), n, "train") for n in ids],
            "strategy",
            "expected the same content for all nodes, got another one for some: a mean of "
            "different tasks is none, and one node's task would show its answer",
        ),
        (
            lambda ids: [Message(_content(), n, "train") for n in (*ids, ids[0])],
            "strategy",
            "expected one message to each participant, got two to one node",
        ),
        (
            lambda ids: [Message(_content(), n, "train") for n in (*ids, 77)],
            "strategy",
            "expected messages to the 3 participants, got one to node `77`",
        ),
        (
            lambda ids: [
                Message(_content(), n, "evaluate" if n == ids[0] else "train") for n in ids
            ],
            "strategy",
            "expected one action for all nodes, got `evaluate` and `train`",
        ),
        (
            lambda ids: [Message(_content(), n, "train.fine_tune") for n in ids],
            "training",
            "expected messages of `train`, `evaluate` or `query`, got `train.fine_tune`",
        ),
        (
            lambda ids: [Message(RecordDict(), ids[0], "get_parameters")],
            "strategy",
            "expected initial parameters from the server app, got a question to one node for its "
            "own",
        ),
    ],
    ids=["subset", "arrays", "config", "twice", "unknown", "actions", "custom", "parameters"],
)
def test_what_is_no_round_of_all_is_refused_before_any_node_is_asked(
    make: Callable[[list[int]], list[Message]], code: str, text: str
) -> None:
    grid, rounds, ids = _grid()
    with pytest.raises(CallError) as caught:
        grid.send_and_receive(make(ids))
    assert (caught.value.code, caught.value.message) == (code, text)
    assert rounds.calls == []
    assert grid.fault is caught.value
    with pytest.raises(CallError) as again:
        grid.send_and_receive([Message(_content(), n, "train") for n in ids])
    assert again.value is caught.value


def test_an_array_in_a_foreign_form_is_refused() -> None:
    grid, _, ids = _grid()
    content = _content()
    content.array_records["arrays"]["w"].stype = "torch.save"
    with pytest.raises(CallError) as caught:
        grid.send_and_receive([Message(content, n, "train") for n in ids])
    assert caught.value.message == ("expected arrays that numpy can hold, got `w` in another form")


def test_push_one_by_one_then_pull() -> None:
    grid, rounds, ids = _grid()
    pushed: list[str] = []
    for number in ids:
        message = grid.create_message(_content(), "train", number, "1")
        pushed += grid.push_messages([message])
    assert rounds.calls == [Action.TRAIN]
    replies = list(grid.pull_messages(pushed))
    assert [r.metadata.reply_to_message_id for r in replies] == pushed[:1]
    with pytest.raises(CallError) as caught:
        grid.pull_messages(pushed)
    assert caught.value.message == (
        "expected an app that takes one reply a round, got one that waits for a reply of every node"
    )


def test_a_pull_before_everyone_was_asked_is_refused() -> None:
    grid, rounds, ids = _grid()
    pushed = grid.push_messages([Message(_content(), ids[0], "train")])
    with pytest.raises(CallError, match="asks all 3 participants, got one that asks 1"):
        grid.pull_messages(pushed)
    assert rounds.calls == []


def test_a_fault_of_a_run_ends_the_training() -> None:
    rounds = LocalRounds(NODES, fail_at=3)
    with pytest.raises(PeerError) as caught:
        train(lambda: rounds, FedAvg(), rounds=5, initial=linear_start())
    assert caught.value.code == "node_lost"
    assert rounds.abandoned


@pytest.mark.slow
def test_models_of_earlier_rounds_do_not_lie_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower's records hold themselves in cycles, which Python alone frees late."""
    monkeypatch.setattr(course, "_COLLECT_BYTES", 1)
    alive: list[int] = []

    class Counted(LocalRounds):
        def run(self, action: Action, records: Any) -> Any:
            alive.append(sum(type(each) is ArrayRecord for each in gc.get_objects()))
            return super().run(action, records)

    gc.collect()
    gc.disable()
    try:
        train(lambda: Counted(NODES), FedAvg(), rounds=8, initial=linear_start())
    finally:
        gc.enable()
    assert max(alive[4:]) <= alive[3]


class OwnLoop(FedAvg):
    """A strategy with a start of its own, as users write it."""

    def start(self, grid: Grid, initial_arrays: ArrayRecord, *args: Any, **named: Any) -> Any:
        messages = self.configure_train(1, initial_arrays, ConfigRecord(), grid)
        return grid.send_and_receive(messages)


def test_a_strategy_with_its_own_loop_is_checked_too() -> None:
    grid, rounds, _ = _grid()
    strategy = OwnLoop(min_available_nodes=4)
    with pytest.raises(CallError) as caught:
        strategy.start(grid, array_record(linear_start()))
    assert caught.value.message == (
        "expected min_available_nodes of at most 3, the nodes that take part, got `4`"
    )
    assert rounds.calls == []
