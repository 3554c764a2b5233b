"""A training's runs in a node's memory: one sum each, one set at a time, and the pad counter."""

import sqlite3
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.errors import PeerError
from yumen_core.jobs.machine import Round
from yumen_node.state import KnownRun, NodeState

ALL, THREE, OTHER_THREE = ("a", "b", "c", "d"), ("a", "b", "c"), ("a", "b", "d")
OTHER_SET = "expected the participant set of the job's last run, got another set"
WHOLE_SET = "expected the whole set of a run whose sum this node has its share in, got fewer"
FIRST_INPUT = "expected the run's first input, got another"


def known(
    participants: tuple[str, ...] = ALL, *, inputs: bytes = b"i", name: str = "train"
) -> KnownRun:
    return KnownRun(name, inputs, participants)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def state(folder: Path) -> Iterator[NodeState]:
    made = opened(folder)
    yield made
    made.close()


def opened(folder: Path) -> NodeState:
    made = NodeState(folder)
    if made.job("job") is None:
        made.add_job("job", b"1" * 32, accepted=True, decision=b"yes")
    return made


def add(
    state: NodeState,
    run: int,
    step: Round,
    participants: tuple[str, ...] = ALL,
    payload: bytes = b"bytes",
    **more: Any,
) -> None:
    state.add_part("job", run, step, payload, known=known(participants, **more), may_shrink=True)


def refusal(state: NodeState, *args: Any, **more: Any) -> str:
    before = dump(state)
    with pytest.raises(PeerError) as caught:
        add(state, *args, **more)
    assert caught.value.code == "round"
    assert dump(state) == before  # all or nothing
    return caught.value.message


def dump(state: NodeState) -> list[Any]:
    return [
        state._db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
        for table in ("runs", "pads", "parts")
    ]


# The pad counter --------------------------------------------------------------------------------


def test_a_sum_is_stored_once(state: NodeState, folder: Path) -> None:
    add(state, 0, Round.SUPPORT)
    add(state, 0, Round.SUM, payload=b"sum")
    used = "expected a run from 1, whose pad is unused, got 0"
    assert refusal(state, 0, Round.SUM, payload=b"another sum") == used
    assert refusal(state, 0, Round.SUM, payload=b"sum") == used
    assert state.part("job", 0, Round.SUM) == b"sum"
    state.close()
    again = opened(folder)
    assert refusal(again, 0, Round.SUM) == used
    again.close()


def test_an_earlier_run_is_over_for_good(state: NodeState, folder: Path) -> None:
    add(state, 3, Round.SUM)
    for run in (0, 2):
        assert refusal(state, run, Round.SUPPORT) == FIRST_INPUT
        assert refusal(state, run, Round.SUM) == FIRST_INPUT
    # Even where the row of the run were lost, the counter stands.
    state._db.execute("DELETE FROM runs")
    state._db.execute("DELETE FROM parts")
    assert refusal(state, 3, Round.SUM) == "expected a run from 4, whose pad is unused, got 3"
    state.close()
    again = opened(folder)
    assert refusal(again, 2, Round.SUM) == "expected a run from 4, whose pad is unused, got 2"
    again.close()


def test_the_counter_stays_when_the_job_ends(state: NodeState) -> None:
    add(state, 0, Round.SUM)
    state.end_job("job")
    assert state._db.execute("SELECT next FROM pads WHERE job_id = 'job'").fetchone() == (1,)
    assert refusal(state, 1, Round.SUM) == (
        "expected a part of an open job, got one of an ended job"
    )


def test_another_jobs_counter_is_its_own(state: NodeState) -> None:
    state.add_job("other", b"2" * 32, accepted=True, decision=b"yes")
    add(state, 5, Round.SUM)
    state.add_part("other", 0, Round.SUM, b"sum", known=known())
    assert state.part("other", 0, Round.SUM) == b"sum"


# Runs -------------------------------------------------------------------------------------------


def test_runs_may_have_gaps_where_this_node_was_not_asked(state: NodeState) -> None:
    add(state, 0, Round.SUPPORT)
    add(state, 4, Round.SUPPORT, inputs=b"j")
    add(state, 4, Round.SUM, inputs=b"j")
    assert list(state.runs("job")) == [0, 4]
    assert refusal(state, 2, Round.SUPPORT, inputs=b"k") == FIRST_INPUT


def test_the_parts_of_earlier_runs_go(state: NodeState) -> None:
    add(state, 0, Round.SUPPORT)
    add(state, 0, Round.SUM)
    add(state, 1, Round.SUPPORT)
    assert state.part("job", 0, Round.SUPPORT) is state.part("job", 0, Round.SUM) is None
    assert list(state.runs("job")) == [0, 1]


@pytest.mark.parametrize(
    "other",
    [{"inputs": b"other"}, {"name": "evaluate"}, {"inputs": b""}],
    ids=["another input", "another round", "no input"],
)
def test_one_run_has_one_input_and_round(state: NodeState, other: dict[str, Any]) -> None:
    add(state, 0, Round.SUPPORT)
    assert refusal(state, 0, Round.SUM, **other) == FIRST_INPUT
    assert state.runs("job") == {0: known()}


# Sets that shrink -------------------------------------------------------------------------------


def test_a_set_shrinks_where_the_last_run_had_no_sum_of_this_node(state: NodeState) -> None:
    add(state, 0, Round.SUPPORT)
    add(state, 1, Round.SUPPORT, THREE)
    add(state, 1, Round.SUM, THREE)
    assert state.runs("job")[1].participants == THREE


def test_a_set_stays_after_this_nodes_share_in_the_last_sum(state: NodeState, folder: Path) -> None:
    add(state, 0, Round.SUPPORT)
    add(state, 0, Round.SUM)
    for run in (1, 2, 100):
        assert refusal(state, run, Round.SUPPORT, THREE) == WHOLE_SET
    state.close()
    again = opened(folder)
    assert refusal(again, 1, Round.SUPPORT, THREE) == WHOLE_SET
    add(again, 1, Round.SUPPORT)  # the whole set goes on, and may then lose a node
    add(again, 2, Round.SUPPORT, THREE)
    again.close()


@pytest.mark.parametrize(
    ("run", "participants"),
    [
        (0, THREE),
        (1, (*ALL, "e")),
        (1, ("a", "b", "c", "e")),
        (1, ("a", "e")),
        (1, tuple(reversed(ALL))),
    ],
    ids=["the same run", "more", "another", "fewer and another", "the same unsorted"],
)
def test_other_sets(state: NodeState, run: int, participants: tuple[str, ...]) -> None:
    add(state, 0, Round.SUPPORT)
    assert refusal(state, run, Round.SUPPORT, participants) == OTHER_SET
    assert refusal(state, run, Round.SUM, participants) == OTHER_SET


def test_a_set_that_shrank_does_not_grow_back(state: NodeState) -> None:
    add(state, 0, Round.SUPPORT)
    add(state, 1, Round.SUPPORT, THREE)
    assert refusal(state, 2, Round.SUPPORT, ALL) == OTHER_SET
    assert refusal(state, 2, Round.SUPPORT, OTHER_THREE) == OTHER_SET


def test_only_a_training_shrinks(state: NodeState) -> None:
    add(state, 0, Round.SUPPORT)
    with pytest.raises(PeerError, match=OTHER_SET):
        state.add_part("job", 1, Round.SUPPORT, b"s", known=known(THREE))
    assert state.runs("job") == {0: known()}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 4),
            st.sampled_from([Round.SUPPORT, Round.SUM]),
            st.sampled_from([ALL, THREE, OTHER_THREE, ("a", "b")]),
            st.booleans(),
        ),
        max_size=14,
    )
)
def test_whatever_is_asked_no_two_sums_tell_a_difference(
    tmp_path_factory: pytest.TempPathFactory,
    asked: list[tuple[int, Round, tuple[str, ...], bool]],
) -> None:
    """Each run has one sum, of one set; sets only shrink, and never right after a sum."""
    folder = tmp_path_factory.mktemp("state")
    state = opened(folder)
    sums: list[tuple[int, tuple[str, ...]]] = []
    supported: list[tuple[int, tuple[str, ...]]] = []
    for run, step, participants, reopen in asked:
        if reopen:
            state.close()
            state = opened(folder)
        try:
            add(state, run, step, participants)
        except (PeerError, sqlite3.IntegrityError):
            continue
        (sums if step is Round.SUM else supported).append((run, participants))
    state.close()
    assert [run for run, _ in sums] == sorted({run for run, _ in sums})
    for (_, before), (run, after) in pairwise(sums):
        assert set(after) <= set(before)
        if after != before:  # a run of the larger set lay between, which ended without a sum
            assert any(b < run and set(after) < set(s) for b, s in supported)


# Faults -----------------------------------------------------------------------------------------


class _Failing:
    """A connection that fails at the n-th statement that writes."""

    def __init__(self, real: sqlite3.Connection, at: int) -> None:
        self.real, self.at, self.seen = real, at, 0

    def execute(self, sql: str, *args: Any) -> Any:
        if sql.split()[0] in ("INSERT", "DELETE", "UPDATE", "COMMIT"):
            self.seen += 1
            if self.seen == self.at:
                raise sqlite3.OperationalError("disk I/O error")
        return self.real.execute(sql, *args)

    @property
    def in_transaction(self) -> bool:
        return self.real.in_transaction


@pytest.mark.parametrize("at", range(1, 6))
def test_a_part_is_stored_whole_or_not_at_all(state: NodeState, folder: Path, at: int) -> None:
    add(state, 0, Round.SUPPORT)
    before = dump(state)
    real = state._db
    failing = _Failing(real, at)
    state._db = failing  # type: ignore[assignment]
    with pytest.raises(sqlite3.OperationalError):
        add(state, 1, Round.SUM, payload=b"first")
    assert failing.seen == at
    state._db = real
    assert dump(state) == before  # in this process too: a part is sent again as it was stored
    again = opened(folder)
    assert dump(again) == before
    again.close()
    add(state, 1, Round.SUM, payload=b"second")
    assert state.part("job", 1, Round.SUM) == b"second"


def test_the_writes_of_a_part_are_the_five_that_were_broken(state: NodeState) -> None:
    add(state, 0, Round.SUPPORT)
    counting = _Failing(state._db, 0)
    real, state._db = state._db, counting  # type: ignore[assignment]
    add(state, 1, Round.SUM)
    state._db = real
    assert counting.seen == 5
