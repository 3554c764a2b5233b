"""A node does not start where `budgets.sqlite` or `released.sqlite` is not what its log tells of;
and how it goes on where the file is lost for good."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from builders.federation import TABLE, Federation
from pyroaring import BitMap
from yumen_cli.main import main
from yumen_core.clock import ManualClock
from yumen_core.disclosure.row_set import RowSet
from yumen_core.errors import StateError
from yumen_core.identity import Role
from yumen_core.identity.membership import Membership
from yumen_core.log import Act, Entry, TileLog, decode_entry, open_log
from yumen_core.privacy import Privacy
from yumen_node.config import load_config
from yumen_node.ledger import Ledger
from yumen_node.released import Guarded, Leaving, ReleasedSets
from yumen_node.service import _open_ledgers

ABCD = ("a", "b", "c", "d")
TABLES = {"heart": replace(TABLE, micro_rho=1_000, project_micro_rho=1_000)}
Fault = Callable[["Home", str], None]
Capture = pytest.CaptureFixture[str]


class Home:
    """A node's folder: its identity, its log, what it spent and what left it."""

    def __init__(self, root: Path, membership: Membership, identity: Path, clock: Any) -> None:
        root.mkdir()
        self.root, self.membership, self.clock = root, membership, clock
        settings = {"coordinator": "127.0.0.1:7401", "identity": str(identity)}
        (root / "node.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        self.config = load_config(root)
        self.state = self.config.state

    @property
    def uri(self) -> str:
        return self.membership.identity.uri

    def log(self) -> TileLog:
        member = self.membership.identity
        config = self.config
        return open_log(config.log, member=member, secrets=config.secrets, clock=self.clock)

    def start(self) -> tuple[TileLog, Ledger, ReleasedSets]:
        log = self.log()
        return (log, *_open_ledgers(self.state, self.uri, TABLES, {}, log))

    def run(self, act: Callable[[TileLog, Ledger, ReleasedSets], object]) -> None:
        parts = self.start()
        try:
            act(*parts)
        finally:
            for part in reversed(parts):
                part.close()

    def release(self, job: str, first: int) -> None:
        """A job leaves with 100 rows from `first` on."""

        def act(log: TileLog, _: Ledger, released: ReleasedSets) -> None:
            released.record(guarded(job), [Leaving(rows(first), ABCD)], ABCD)
            recorded = released.recorded
            log.record(
                Act.CONTRIBUTION,
                subject={"job": job},
                digests={"contribution": bytes(32), **recorded.digests},
                detail={"bytes": 1, **recorded.detail},
            )

        self.run(act)

    def spend(self, job: str, *, commit: bool = True, end: bool = False) -> None:
        def act(_: TileLog, ledger: Ledger, __: ReleasedSets) -> None:
            ledger.reserve(private(job))
            if commit:
                ledger.commit(job)
            if end:
                ledger.end(job)

        self.run(act)

    def left(self) -> int:
        found = []
        self.run(lambda _, ledger, __: found.append(ledger.left(private("new"))["heart"]))
        return found[0]

    def near(self, first: int) -> bool:
        found = []
        self.run(lambda _, __, held: found.append(held.is_near(guarded("new"), rows(first), ABCD)))
        return found[0]

    def entries(self) -> list[Entry]:
        with closing(self.log()) as log:
            return [decode_entry(data) for data in log.entries()]


def rows(first: int) -> RowSet:
    return RowSet(BitMap(range(first, first + 100)))


def guarded(job: str) -> Guarded:
    return Guarded(job, "heart", 10, 3, job.encode())


def private(job: str) -> Any:
    return SimpleNamespace(
        job_id=job, tables={"heart": b""}, privacy=Privacy(100), charged_project="org/p"
    )


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("members")
    clock = ManualClock(time.time_ns() // 1_000_000)
    federation = Federation(root, clock)
    return {
        name: (federation.member(Role.NODE, "heart", name), root / f"node-{name}-heart", clock)
        for name in ("cleveland", "zurich")
    }


@pytest.fixture
def home(tmp_path: Path, members: dict[str, Any]) -> Home:
    """Two jobs left and two were paid for; a copy of the state was taken in between."""
    made = Home(tmp_path / "cleveland", *members["cleveland"])
    made.release("one", 0)
    made.spend("paid-one")
    shutil.copytree(made.state, tmp_path / "backup")
    made.release("two", 1_000)
    made.spend("paid-two")
    other = Home(tmp_path / "zurich", *members["zurich"])
    for at in range(5):
        other.release(f"other-{at}", 10_000 * (at + 1))
        other.spend(f"other-{at}")
    return made


def lost(home: Home, name: str) -> None:
    (home.state / name).unlink()


def emptied(home: Home, name: str) -> None:
    (home.state / name).write_bytes(b"")


def cut_off(home: Home, name: str) -> None:
    file = home.state / name
    os.truncate(file, file.stat().st_size // 2)


def overwritten(home: Home, name: str) -> None:
    (home.state / name).write_bytes(b"no database" * 1000)


def older(home: Home, name: str) -> None:
    shutil.copy(home.root.parent / "backup" / name, home.state / name)


def another_nodes(home: Home, name: str) -> None:
    shutil.copy(home.root.parent / "zurich" / "state" / name, home.state / name)


def a_younger_nodes(home: Home, name: str) -> None:
    another_nodes(home, name)
    with closing(sqlite3.connect(home.state / name)) as database, database:
        database.execute("DELETE FROM records WHERE number > 1")


def fewer_rows(home: Home, name: str) -> None:
    with closing(sqlite3.connect(home.state / name)) as database, database:
        database.execute("DELETE FROM sets WHERE id = 1")


RECORDS = "expected every record of what left that the log tells of in `released.sqlite`, got "
NO_SETS = "expected the database `released.sqlite`, got a file that does not read: "
OTHERS = "others: the file is another node's, or of before a loss was accepted"
SETS: list[tuple[Fault, str, int, bool, bool]] = [
    (lost, RECORDS + "2 fewer: the file is an older copy, or was lost", 2, False, False),
    (emptied, RECORDS + "2 fewer: the file is an older copy, or was lost", 2, False, False),
    (older, RECORDS + "1 fewer: the file is an older copy, or was lost", 1, True, False),
    (fewer_rows, RECORDS + "1 fewer: the file is an older copy, or was lost", 1, False, True),
    (cut_off, NO_SETS + "database disk image is malformed", 2, False, False),
    (overwritten, NO_SETS + "file is not a database", 2, False, False),
    (another_nodes, RECORDS + OTHERS, 2, False, False),
    (a_younger_nodes, RECORDS + OTHERS, 2, False, False),
]


def refused(home: Home) -> StateError:
    with pytest.raises(StateError) as caught:
        home.start()
    home.log().close()  # nothing holds it
    assert caught.value.code == "state"
    return caught.value


@pytest.mark.parametrize(("fault", "message", "number", "one", "two"), SETS)
def test_the_memory_of_what_left(
    home: Home, capsys: Capture, fault: Fault, message: str, number: int, one: bool, two: bool
) -> None:
    """`one` and `two` are whether what left first and second is remembered after the loss."""
    good = (home.state / "released.sqlite").read_bytes()
    fault(home, "released.sqlite")
    found = refused(home)
    assert found.message == message
    assert "put the latest `released.sqlite` back; where it is lost for good" in found.remedy
    command = ["node", "accept-loss", str(home.root)]
    assert main([*command, "--missing", str(number + 1)]) == 2
    told = capsys.readouterr().err
    assert f"records that are missing, {number}, got {number + 1}" in " ".join(told.split())
    assert refused(home).message == message
    assert main([*command, "--missing", str(number), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"missing": number}
    entry = home.entries()[-1]
    assert (entry.act, entry.detail["what"], entry.detail["missing"]) == (
        "operator", "accept_loss", number,
    )  # fmt: skip
    assert entry.subject["operator"].startswith("os:")
    assert (home.near(5), home.near(1_005)) == (one, two)
    home.release("three", 2_000)
    assert home.near(2_005)
    assert main([*command, "--missing", "0"]) == 2
    assert "lacks records, got a whole one" in " ".join(capsys.readouterr().err.split())
    for end in ("", "-wal", "-shm"):
        (home.state / f"released.sqlite{end}").unlink(missing_ok=True)
    (home.state / "released.sqlite").write_bytes(good)
    assert refused(home).message.startswith(RECORDS)  # it lacks what left since


def test_the_latest_file_is_taken_again(home: Home) -> None:
    """A refusal changes neither the file nor the log."""
    for name in ("released.sqlite", "budgets.sqlite"):
        good, size = (home.state / name).read_bytes(), len(home.entries())
        older(home, name)
        refused(home)
        assert len(home.entries()) == size
        (home.state / name).write_bytes(good)
    assert home.near(1_005)
    assert home.left() == 800


COSTS = "expected every cost that the log tells of in `budgets.sqlite`, got "
NO_COSTS = "expected the database `budgets.sqlite`, got a file that does not read: "
LEDGERS: list[tuple[Fault, str]] = [
    (lost, COSTS + "2 fewer: the file is an older copy, or was lost"),
    (emptied, COSTS + "2 fewer: the file is an older copy, or was lost"),
    (older, COSTS + "1 fewer: the file is an older copy, or was lost"),
    (cut_off, NO_COSTS + "database disk image is malformed"),
    (overwritten, NO_COSTS + "file is not a database"),
    (another_nodes, COSTS + "2 fewer: the file is an older copy, or was lost"),
]


@pytest.mark.parametrize(("fault", "message"), LEDGERS)
def test_a_ledger_is_made_anew_from_the_log(
    home: Home, capsys: Capture, fault: Fault, message: str
) -> None:
    home.spend("back", commit=False, end=True)
    home.spend("killed", commit=False)
    fault(home, "budgets.sqlite")
    found = refused(home)
    assert found.message == message.replace("2 fewer", "3 fewer").replace("1 fewer", "2 fewer")
    assert "`yumen node rebuild-ledger DIR` makes it anew from the node's log" in found.remedy
    assert main(["node", "rebuild-ledger", str(home.root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"costs": 3, "micro_rho": {"heart": 300}}
    entry = home.entries()[-1]
    assert (entry.act, entry.detail) == ("operator", {"what": "rebuild_ledger", "costs": 3})
    assert home.left() == 700
    assert home.left() == 700
    if fault is not lost:
        assert list(home.state.glob("budgets.sqlite.before-*"))


@pytest.mark.parametrize("words", ["rebuild-ledger", "accept-loss"])
def test_not_beside_a_node_that_runs(home: Home, capsys: Capture, words: str) -> None:
    def act(*_: object) -> None:
        assert main(["node", words, str(home.root)]) == 8

    home.run(act)
    assert "is open in another process" in " ".join(capsys.readouterr().err.split())


def test_a_loss_that_could_not_be_logged_is_refused_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost(home, "released.sqlite")

    def fail(*_: object, **__: object) -> int:
        raise StateError("log_closed", "the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(TileLog, "record", fail)
        assert main(["node", "accept-loss", str(home.root), "--missing", "2"]) == 8
    assert refused(home).message == RECORDS + "2 fewer: the file is an older copy, or was lost"


def test_only_what_is_needed_of_a_log_is_read(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Back to the last entry that tells of a record, and to the last start at most."""
    read: list[int] = []
    whole = TileLog.entries

    def counted(self: TileLog, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        read.append((self.size if end is None else end) - start)
        return whole(self, start, end)

    def compare(log: TileLog, _: Ledger, released: ReleasedSets) -> None:
        data = Entry(0, Act.STARTUP).encode()
        log.append_many([data] * 2_000)
        monkeypatch.setattr(TileLog, "entries", counted)
        released.compare(log)
        assert sum(read) >= 2_000
        read.clear()
        released.compare(log)
        assert not read

    home.run(compare)
