"""The sets of rows that left a node: what is near to them, and that they are kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from pyroaring import BitMap
from yumen_core.disclosure.row_set import RowSet
from yumen_core.errors import StateError
from yumen_node.released import Guarded, Leaving, Nodes, ReleasedSets

ABCD: Nodes = ("a", "b", "c", "d")
ABC: Nodes = ("a", "b", "c")


def row_set(numbers: Iterable[int] = ()) -> RowSet:
    return RowSet(BitMap(numbers))


ROWS = row_set(range(100))


def job(name: str, rows_key: bytes = b"all", threshold: int = 10) -> Guarded:
    return Guarded(name, "heart", threshold, 3, rows_key)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ReleasedSets]:
    held = ReleasedSets(tmp_path, "a")
    yield held
    held.close()


def count(folder: Path) -> int:
    with sqlite3.connect(folder / "released.sqlite") as database:
        found = database.execute("SELECT count(*) FROM sets").fetchone()
    return int(found[0])


@pytest.mark.parametrize(
    ("rows", "near"),
    [
        (range(100), False),
        (range(99), True),
        (range(91), True),
        (range(90), False),
        (range(109), True),
        (range(110), False),
        ([*range(1, 100), 100], True),
        (range(10, 110), False),
        (range(9, 109), True),
        ([], False),
    ],
)
def test_fewer_rows_than_the_threshold_are_near(
    store: ReleasedSets, rows: range, near: bool
) -> None:
    store.record(job("1"), [Leaving(ROWS, ABCD)], ABCD)
    assert store.is_near(job("2"), row_set(rows), ABCD) is near
    assert store.is_near(job("1"), row_set(rows), ABCD) is False  # within one job: other rules
    other = Guarded("2", "fields", 10, 3, b"all")
    assert store.is_near(other, row_set(rows), ABCD) is False


def test_what_left_before_over_the_same_nodes_leaves_again(store: ReleasedSets) -> None:
    """Also where one job released two sets near to one another, and where some nodes only stood
    behind the cell."""
    store.record(job("1"), [Leaving(ROWS, ABC), Leaving(row_set(range(95)), ABCD)], ABCD)
    for rows, behind in ((ROWS, ABC), (row_set(range(95)), ABCD)):
        assert not store.is_near(job("2"), rows, ABCD)
        store.record(job("2"), [Leaving(rows, behind)], ABCD)
    assert store.is_near(job("2"), ROWS, ABCD, behind=ABCD)
    with pytest.raises(StateError, match="differ enough from each") as caught:
        store.record(job("2"), [Leaving(ROWS, ABCD)], ABCD)
    assert caught.value.code == "near_release"


def test_the_same_rows_over_nearly_the_same_nodes(store: ReleasedSets) -> None:
    store.record(job("1"), [Leaving(ROWS, ABCD)], ABCD)
    assert store.is_near(job("2", b"other"), ROWS, ABC)
    assert not store.is_near(job("2", b"other"), ROWS, ("a", "e", "f", "g"))
    with pytest.raises(StateError, match="got a set that differs by 1") as caught:
        store.check_participants(job("2"), ABC)
    assert caught.value.code == "participant_set"
    assert "ask the same nodes as before: `a`, `b`, `c`, `d`;" in caught.value.remedy
    store.check_participants(job("2"), ABCD)
    store.check_participants(job("2"), ("a", "e", "f", "g"))
    store.check_participants(job("2", b"other"), ABC)
    store.check_participants(job("1"), ABC)  # a training that shrinks


def test_a_job_that_came_between_decision_and_sum(store: ReleasedSets, tmp_path: Path) -> None:
    """Both were let through; the second to record fails, and leaves nothing in the store."""
    store.check_participants(job("2"), ABC)
    store.record(job("1"), [Leaving(ROWS, ABCD)], ABCD)
    with pytest.raises(StateError) as caught:
        store.record(job("2"), [Leaving(row_set(range(500, 600)), ABC)], ABC)
    assert caught.value.code == "participant_set"
    with pytest.raises(StateError) as caught:
        store.record(
            job("3", b"x"),
            [Leaving(row_set(range(500, 600)), ABCD), Leaving(row_set(range(97)), ABCD)],
            ABCD,
        )
    assert caught.value.code == "near_release"
    assert count(tmp_path) == 1


def test_a_set_is_kept_once_and_after_the_process_died(tmp_path: Path) -> None:
    """Nothing is closed before the file is opened again: what `record` returned from is there."""
    first = ReleasedSets(tmp_path, "a")
    for name in ("1", "2", "3"):
        first.record(job(name), [Leaving(ROWS, ABCD), Leaving(row_set(), ABCD)], ABCD)
    assert count(tmp_path) == 1
    again = ReleasedSets(tmp_path, "a")
    assert again.is_near(job("4"), row_set(range(95)), ABCD)
    with pytest.raises(StateError, match="differs by 1"):
        again.check_participants(job("4"), ABC)
    assert not again.is_near(job("4"), ROWS, ABCD)
    again.close()
    first.close()


def test_a_damaged_set_is_no_free_pass(tmp_path: Path) -> None:
    first = ReleasedSets(tmp_path, "a")
    first.record(job("1"), [Leaving(ROWS, ABCD)], ABCD)
    first.close()
    with sqlite3.connect(tmp_path / "released.sqlite") as database:
        database.execute("UPDATE sets SET bits = x'00'")
    database.close()
    again = ReleasedSets(tmp_path, "a")
    with pytest.raises(StateError, match="a set of rows that was released is damaged"):
        again.is_near(job("2"), row_set(range(95)), ABCD)
    again.close()
