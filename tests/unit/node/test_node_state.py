"""What a node remembers: each thing once, whatever comes after, also over a restart."""

import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from yumen_core.errors import PeerError, StateError
from yumen_core.jobs.machine import Round
from yumen_node.state import KnownJob, KnownRun, NodeState

ONE, TWO = b"1" * 32, b"2" * 32
QUERY = KnownRun("query", b"", ("a", "b", "c"))
SMALLER = replace(QUERY, participants=("a", "b"))
OTHER_SET = "expected the participant set of the job's last run, got another set"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def state(folder: Path) -> Iterator[NodeState]:
    made = NodeState(folder)
    made.add_job("job", ONE, accepted=True, decision=b"yes")
    yield made
    made.close()


def test_an_unknown_job(state: NodeState) -> None:
    assert state.job("other") is None
    assert state.runs("other") == {}
    assert state.part("other", 0, Round.SUM) is None


def test_a_job_is_known_as_it_was_decided(state: NodeState) -> None:
    assert state.job("job") == KnownJob(ONE, True, b"yes", False)
    state.add_job("refused", TWO, accepted=False, decision=b"no")
    assert state.job("refused") == KnownJob(TWO, False, b"no", False)


def test_a_job_id_is_decided_on_once(state: NodeState) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        state.add_job("job", TWO, accepted=False, decision=b"no")
    assert state.job("job") == KnownJob(ONE, True, b"yes", False)


def test_the_participants_are_fixed_once(state: NodeState) -> None:
    state.check_participants("job", 0, SMALLER.participants)  # nothing before the first part
    state.add_part("job", 0, Round.SUPPORT, b"share", known=QUERY)
    state.check_participants("job", 0, QUERY.participants)
    with pytest.raises(PeerError) as caught:
        state.check_participants("job", 0, SMALLER.participants)
    with pytest.raises(PeerError, match=OTHER_SET):
        state.add_part("job", 0, Round.SUM, b"sum", known=SMALLER)
    assert state.part("job", 0, Round.SUM) is None
    assert (caught.value.code, caught.value.message) == ("round", OTHER_SET)
    assert state.runs("job") == {0: QUERY}


def test_a_part_of_a_job_never_decided_on(state: NodeState) -> None:
    with pytest.raises(PeerError, match="expected a part of an open job, got one of an ended job"):
        state.add_part("other", 0, Round.SUM, b"sum", known=QUERY)
    assert state.runs("other") == {}


def test_a_part_is_sent_once_and_again_as_it_was(state: NodeState) -> None:
    state.add_part("job", 0, Round.SUPPORT, b"share", known=QUERY)
    state.add_part("job", 0, Round.SUM, b"sum", known=QUERY)
    with pytest.raises(PeerError, match="expected a run from 1, whose pad is unused, got 0"):
        state.add_part("job", 0, Round.SUM, b"another sum", known=QUERY)
    with pytest.raises(sqlite3.IntegrityError):
        state.add_part("job", 0, Round.SUPPORT, b"another share", known=QUERY)
    assert state.part("job", 0, Round.SUPPORT) == b"share"
    assert state.part("job", 0, Round.SUM) == b"sum"


def test_an_ended_job_keeps_its_id_and_no_part(state: NodeState) -> None:
    state.add_job("other", TWO, accepted=True, decision=b"yes")
    state.add_part("job", 0, Round.SUM, b"sum", known=QUERY)
    state.add_part("other", 0, Round.SUM, b"other sum", known=QUERY)
    state.end_job("job")
    assert state.job("job") == KnownJob(ONE, True, b"yes", True)
    assert state.part("job", 0, Round.SUM) is None
    assert state.part("other", 0, Round.SUM) == b"other sum"
    with pytest.raises(sqlite3.IntegrityError):
        state.add_job("job", TWO, accepted=True, decision=b"yes")


def test_all_of_it_outlives_the_process(state: NodeState, folder: Path) -> None:
    state.add_part("job", 0, Round.SUM, b"sum", known=QUERY)
    state.add_job("ended", TWO, accepted=True, decision=b"yes")
    state.end_job("ended")
    state.close()
    again = NodeState(folder)
    assert again.job("job") == KnownJob(ONE, True, b"yes", False)
    assert again.part("job", 0, Round.SUM) == b"sum"
    assert again.runs("job") == {0: QUERY}
    assert again.job("ended") == KnownJob(TWO, True, b"yes", True)
    with pytest.raises(PeerError, match=OTHER_SET):
        again.check_participants("job", 0, SMALLER.participants)
    again.close()


def test_a_process_that_died_lost_nothing_it_had_stored(state: NodeState, folder: Path) -> None:
    """Without a clean close: what `add_part` returned from is in the file."""
    state.add_part("job", 0, Round.SUM, b"sum", known=QUERY)
    again = NodeState(folder)
    assert again.part("job", 0, Round.SUM) == b"sum"
    again.close()


def test_the_folder_is_for_its_user_alone(state: NodeState, folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_no_part_of_an_ended_job_is_kept(state: NodeState) -> None:
    """A job can end while its part is computed."""
    state.end_job("job")
    with pytest.raises(PeerError, match="expected a part of an open job"):
        state.add_part("job", 0, Round.SUM, b"sum", known=QUERY)
    assert state.part("job", 0, Round.SUM) is None


def test_the_rows_of_a_job_are_those_of_its_first_run(state: NodeState, folder: Path) -> None:
    state.check_rows("job", ONE)
    state.check_rows("job", ONE)
    again = NodeState(folder)
    with pytest.raises(StateError) as caught:
        again.check_rows("job", TWO)
    again.close()
    assert (caught.value.code, caught.value.message) == (
        "data_source",
        "expected the rows of the job's first run, got others after a restart",
    )
    state.check_rows("other", TWO)
    state.end_job("job")
    state.check_rows("job", TWO)  # an ended job is bound to nothing
