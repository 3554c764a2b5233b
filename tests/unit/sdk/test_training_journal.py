"""Checkpoints: kept, replayed to the bit, and never believed when damaged."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders.training_rounds import LocalRounds, linear_node, linear_start
from flwr.serverapp.strategy import FedAdam, FedAvg, Strategy
from hypothesis import given
from hypothesis import strategies as st
from yumen.result import Exclusion
from yumen.training import Aggregate, Journal, content_digest, find_journal, train, trainings_folder
from yumen.training.checkpoint import Finished, from_bytes, to_parts
from yumen.training.federated import _Kept
from yumen.training.plain import from_plain, plain_json
from yumen.training.replay import JournalledRounds
from yumen_core.errors import CallError, PeerError, StateError
from yumen_core.training.records import Action, Arrays, Config

NODES = {"a": linear_node(1, 30), "b": linear_node(2, 50), "c": linear_node(3, 21)}
JOB = "0199b2f4-1111-7abc-8def-000000000001"
OTHER = "0199b2f4-2222-7abc-8def-000000000002"
AGGREGATE = Aggregate(
    tensors={
        "w": np.arange(6, dtype=np.float32).reshape(2, 3),
        "n": np.asarray(3, dtype=np.int64),
        "on": np.array([True, False]),
    },
    metrics={"loss": 0.1 + 0.2, "accuracy": 1.0},
    examples=101,
    nodes=3,
    clipped=1,
    participants=("spiffe://t.example/org/a/node/a",),
    lost=(Exclusion("spiffe://t.example/org/b/node/b", "node_lost"),),
)
FINISHED = Finished(Action.TRAIN, b"d" * 32, AGGREGATE, 1.5)


def _strategy() -> Strategy:
    return FedAdam(eta=0.05, tau=0.01)


def _train(journal: Journal | None, rounds: LocalRounds, strategy: Strategy | None = None) -> Any:
    return train(
        lambda: rounds, strategy or _strategy(), rounds=4, initial=linear_start(), journal=journal
    )


def _stopped(folder: Path, fail_at: int) -> None:
    journal = Journal.create(folder, {"rounds": 4}, strategy=_strategy())
    with pytest.raises(PeerError):
        _train(journal, LocalRounds(NODES, fail_at=fail_at))


def test_a_resumed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = _train(None, LocalRounds(NODES))
    for fail_at in range(8):
        folder = tmp_path / str(fail_at)
        _stopped(folder, fail_at)
        again = LocalRounds(NODES, job_ids=[OTHER])
        result = _train(Journal.open(folder), again)
        assert len(again.calls) == 8 - fail_at
        for name, values in whole.arrays.items():
            assert result.arrays[name].tobytes() == values.tobytes()
            assert result.arrays[name].dtype == values.dtype
        facts = [name for name in whole.metrics.columns if name != "seconds"]
        assert result.metrics[facts].equals(whole.metrics[facts])
        assert result.job_ids == (JOB, OTHER)
        assert [r.replayed for r in result.reports] == [True] * fail_at + [False] * (8 - fail_at)


def test_a_training_that_ended_is_not_resumed_and_keeps_its_last_arrays(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "t", {})
    _train(journal, LocalRounds(NODES))
    assert Journal.open(tmp_path / "t").finished
    kept = sorted(path.name for path in (tmp_path / "t").glob("*.bin"))
    assert kept == [f"round-{n:06d}.bin" for n in (2, 4, 6, 7, 8)]
    with pytest.raises(CallError) as caught:
        _train(Journal.open(tmp_path / "t"), LocalRounds(NODES))
    assert caught.value.message == (
        f"expected a training that is not over, got the finished one in `{tmp_path / 't'}`"
    )


def test_another_content_is_refused_in_words(tmp_path: Path) -> None:
    _stopped(tmp_path / "t", 3)
    rounds = LocalRounds(NODES)
    with pytest.raises(StateError) as caught:
        _train(Journal.open(tmp_path / "t"), rounds, FedAvg())
    assert caught.value.code == "state"
    assert caught.value.message == (
        "expected what the training asked for in run 2 before, got another content: the strategy "
        "or the app is not deterministic, as with the time, random numbers of an own generator, or "
        "changed code or settings"
    )
    assert caught.value.remedy == (
        "take these from fixed seeds and undo the change, or start a new training with the last "
        "arrays as its initial ones"
    )
    assert rounds.calls == []
    assert rounds.abandoned


def test_every_cut_and_every_flipped_byte_loses_that_run_alone(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    journal = Journal.create(folder, {})
    small = Aggregate({"w": np.float32([1, 2])}, {"loss": 0.5}, 10, 3)
    for number in (1, 2):
        journal.write(number, Finished(Action.TRAIN, bytes([number]) * 32, small, 0.1))
    last = folder / "round-000002.bin"
    whole = last.read_bytes()
    assert [run.digest[0] for run in Journal.open(folder).read()] == [1, 2]
    cuts = [whole[:length] for length in range(len(whole))]
    flips = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    for damaged in (*cuts, *flips, whole + b"x"):
        last.write_bytes(damaged)
        opened = Journal.open(folder)
        assert [run.digest[0] for run in opened.read()] == [1]
        assert opened.notes == [
            "the checkpoint of run 2 is damaged: the training goes on from run 1"
        ]


def test_after_damage_the_training_goes_on_and_says_so(tmp_path: Path) -> None:
    whole = _train(None, LocalRounds(NODES))
    folder = tmp_path / "t"
    _stopped(folder, 5)
    path = folder / "round-000003.bin"
    path.write_bytes(path.read_bytes()[:-1])
    rounds = LocalRounds(NODES)
    result = _train(Journal.open(folder), rounds)
    assert len(rounds.calls) == 6
    assert result.arrays["w"].tobytes() == whole.arrays["w"].tobytes()
    assert result.notes == ("the checkpoint of run 3 is damaged: the training goes on from run 2",)
    assert "the checkpoint of run 3 is damaged" in repr(result)


def test_what_lay_beyond_the_damage_is_of_another_course(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    _stopped(folder, 6)
    path = folder / "round-000002.bin"
    path.write_bytes(path.read_bytes()[:-1])
    other = {**NODES, "c": linear_node(4, 40)}
    with pytest.raises(PeerError):
        _train(Journal.open(folder), LocalRounds(other, fail_at=2))
    assert len(list(Journal.open(folder).read())) == 3
    rounds = LocalRounds(other)
    _train(Journal.open(folder), rounds)
    assert len(rounds.calls) == 5


def test_a_checkpoint_open_to_others_is_not_believed(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "t", {})
    journal.write(1, FINISHED)
    (tmp_path / "t" / "round-000001.bin").chmod(0o644)
    assert list(Journal.open(tmp_path / "t").read()) == []


def test_a_checkpoint_reads_back_as_it_was() -> None:
    found = from_bytes(b"".join(to_parts(FINISHED)))
    assert (found.action, found.digest, found.seconds) == (Action.TRAIN, b"d" * 32, 1.5)
    for name, values in AGGREGATE.tensors.items():
        assert found.aggregate.tensors[name].tobytes() == values.tobytes()
        assert found.aggregate.tensors[name].shape == values.shape
        assert found.aggregate.tensors[name].dtype == values.dtype
    for field in ("metrics", "examples", "nodes", "clipped", "participants", "lost"):
        assert getattr(found.aggregate, field) == getattr(AGGREGATE, field)


@given(st.binary(max_size=200))
def test_no_bytes_read_as_a_checkpoint_by_chance(raw: bytes) -> None:
    with pytest.raises(PeerError, match="expected a checkpoint of a finished run"):
        from_bytes(b"yumen-round-1\n" + raw)


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        journal = Journal.create(tmp_path / "deep" / "t", {})
        journal.write(1, FINISHED)
    finally:
        os.umask(before)
    folder = tmp_path / "deep" / "t"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {0o600}
    assert sorted(p.name for p in folder.iterdir()) == ["round-000001.bin", "training.json"]


def test_what_was_asked_is_kept(tmp_path: Path) -> None:
    asked = {"purpose": "research", "rounds": 4, "lr": 0.1, "columns": ["a", "b"], "fn": print}
    Journal.create(tmp_path / "t", asked, jobs=[JOB], strategy=FedAdam(eta=0.25))
    journal = Journal.open(tmp_path / "t")
    assert from_plain(journal.asked) == {  # type: ignore[arg-type]
        **asked,
        "fn": {"type": "builtin_function_or_method"},
    }
    assert journal.strategy is not None
    assert journal.strategy["class"] == "flwr.serverapp.strategy.fedadam.FedAdam"
    assert from_plain(journal.strategy["attributes"])["eta"] == 0.25  # type: ignore[index]
    journal.add_jobs([JOB, OTHER])
    assert Journal.open(tmp_path / "t").jobs == (JOB, OTHER)
    with pytest.raises(StateError, match="expected a folder without a training, found one in"):
        Journal.create(tmp_path / "t", {})


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"{}", b'{"version":1}', b"[" * 100_000])
def test_a_damaged_description_is_told(tmp_path: Path, raw: bytes) -> None:
    Journal.create(tmp_path / "t", {})
    (tmp_path / "t" / "training.json").write_bytes(raw)
    with pytest.raises(StateError) as caught:
        Journal.open(tmp_path / "t")
    path = tmp_path / "t" / "training.json"
    assert caught.value.message == f"expected a training in `{path}`, got another form"


def test_a_training_is_found_by_each_of_its_jobs(tmp_path: Path) -> None:
    Journal.create(tmp_path / "x", {}, jobs=[JOB, OTHER])
    Journal.create(tmp_path / "broken", {})
    (tmp_path / "broken" / "training.json").write_bytes(b"{")
    assert find_journal(OTHER, tmp_path) == tmp_path / "x"
    for unknown in ("0199b2f4-3333-7abc-8def-000000000003", "../x", ""):
        with pytest.raises(StateError) as caught:
            find_journal(unknown, tmp_path)
        assert caught.value.message == (
            f"expected a training of job `{unknown}` in `{tmp_path}`, found none"
        )


def test_where_trainings_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert trainings_folder() == tmp_path / "yumen" / "trainings"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert trainings_folder() == tmp_path / ".local" / "state" / "yumen" / "trainings"


class Wandering(FedAvg):
    """Draws from every global generator in each round."""

    def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
        config["draw"] = [random.random(), float(np.random.normal()), float(torch.rand(1))]
        return super().configure_train(server_round, arrays, config, grid)


def test_global_random_numbers_come_again_and_the_callers_own_stay(tmp_path: Path) -> None:
    np.random.standard_normal()  # leaves a second one in store
    journal = Journal.create(tmp_path / "t", {})
    with pytest.raises(PeerError):
        _train(journal, LocalRounds(NODES, fail_at=5), Wandering())
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    rounds = LocalRounds(NODES)
    _train(Journal.open(tmp_path / "t"), rounds, Wandering())
    assert len(rounds.calls) == 3
    after = (random.random(), float(np.random.normal()), float(torch.rand(1)))
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    assert after == (random.random(), float(np.random.normal()), float(torch.rand(1)))


CONTENT = {"arrays": Arrays({"w": np.float32([1, 2])}), "config": Config({"lr": 0.1})}


@pytest.mark.parametrize(
    "other",
    [
        {"arrays": Arrays({"w": np.float32([1, 3])}), "config": Config({"lr": 0.1})},
        {"arrays": Arrays({"w": np.float64([1, 2])}), "config": Config({"lr": 0.1})},
        {"arrays": Arrays({"w": np.float32([[1, 2]])}), "config": Config({"lr": 0.1})},
        {"arrays": Arrays({"v": np.float32([1, 2])}), "config": Config({"lr": 0.1})},
        {"arrays": Arrays({"w": np.float32([1, 2])}), "config": Config({"lr": 0.2})},
        {"arrays": Arrays({"w": np.float32([1, 2])}), "settings": Config({"lr": 0.1})},
        {"config": Config({"lr": 0.1}), "arrays": Arrays({"w": np.float32([1, 2])})},
        {"arrays": Arrays({"w": np.float32([1, 2])})},
    ],
)
def test_a_digest_tells_contents_apart(other: Any) -> None:
    assert content_digest(Action.TRAIN, CONTENT) != content_digest(Action.TRAIN, other)
    assert content_digest(Action.TRAIN, CONTENT) != content_digest(Action.EVALUATE, CONTENT)


def test_a_digest_does_not_depend_on_how_an_array_lies_in_memory() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    lying = np.asfortranarray(values)
    swapped = values.astype(">f4")
    digests = {
        content_digest(Action.TRAIN, {"a": Arrays({"w": v})}) for v in (values, lying, swapped)
    }
    assert len(digests) == 1


def test_replay_counts_from_the_journal(tmp_path: Path) -> None:
    live = LocalRounds(NODES)
    rounds = JournalledRounds(live, Journal.create(tmp_path / "t", {}))
    assert rounds.participants == live.participants
    records = {"arrays": Arrays(linear_start())}
    first = rounds.run(Action.TRAIN, records)
    again = JournalledRounds(live, Journal.open(tmp_path / "t"))
    found = again.run(Action.TRAIN, records)
    assert (again.replayed, rounds.replayed, len(live.calls)) == (True, False, 1)
    assert found.tensors["w"].tobytes() == first.tensors["w"].tobytes()
    assert plain_json(dict(found.metrics)) == plain_json(dict(first.metrics))


def test_how_much_is_kept_in_words(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "t", {})
    assert journal.kept == ""
    told = Finished(Action.EVALUATE, b"e" * 32, AGGREGATE, 0.1)
    for number, finished in enumerate((FINISHED, told, FINISHED, told, FINISHED), 1):
        journal.write(number, finished)
    assert journal.kept == "3 finished rounds"
    again = Journal.open(tmp_path / "t")
    assert again.kept == "5 finished runs"
    assert len(list(again.read())) == 5
    assert again.kept == "3 finished rounds"


def test_ctrl_c_says_what_is_kept_and_what_goes_on(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "t", {}, jobs=[JOB])
    with pytest.raises(KeyboardInterrupt) as caught, _Kept(journal):
        raise KeyboardInterrupt
    assert not hasattr(caught.value, "__notes__")
    journal.write(1, FINISHED)
    with pytest.raises(KeyboardInterrupt) as caught, _Kept(journal):
        raise KeyboardInterrupt
    assert caught.value.__notes__ == [
        f"1 finished round kept: fed.resume('{JOB}') or `yumen resume {JOB}` goes on"
    ]
