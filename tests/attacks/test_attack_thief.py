"""A thief: of the disk of a node, and of a backup that is put back in its place."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from builders.federation import TABLE, Federation, job_for
from builders.wards import Wards
from pyroaring import BitMap
from yumen_core.clock import ManualClock
from yumen_core.disclosure.row_set import RowSet
from yumen_core.errors import StateError
from yumen_core.identity.membership import Membership
from yumen_core.log import Act, Signer, TileLog
from yumen_core.privacy import Privacy
from yumen_node.datasets.numbers import RowNumbers
from yumen_node.ledger import Ledger
from yumen_node.released import Guarded, Leaving, ReleasedSets

PLANTED = 734_513_297
NAME = "Wang-of-ward-seven"
COLUMNS = [
    {"name": "ward", "type": "text", "domain": ["a", NAME], "nullable": False},
    {"name": "pay", "type": "integer", "bounds": {"lower": 0, "upper": 10**9}, "nullable": False},
]
ROWS = [{"ward": "a", "pay": 1_000 + at} for at in range(40)]
SQL = "SELECT ward, COUNT(*) AS n, SUM(pay) AS s FROM heart GROUP BY ward"


def found_in(folder: Path, *needles: bytes) -> set[str]:
    """The files under `folder` that hold one of these strings of bytes."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    return {
        str(file.relative_to(folder))
        for file in files
        if any(needle in file.read_bytes() for needle in needles)
    }


def forms(value: int) -> list[bytes]:
    """A number as text, and as integers of 4 and 8 bytes."""
    return [
        str(value).encode(),
        value.to_bytes(4, "little"),
        value.to_bytes(4, "big"),
        value.to_bytes(8, "little"),
    ]


def opened(folder: Path, guard: Path, clock: ManualClock, signer: Signer) -> TileLog:
    return TileLog.open(folder, signer, origin=signer.name, guard=guard, clock=clock)


@pytest.fixture
def signer() -> Signer:
    return Signer.generate("gansu.example/node")


@pytest.fixture
def victims(
    federation: Federation, li: Membership, tmp_path: Path, signer: Signer
) -> Iterator[Wards]:
    """Three nodes of 41 rows; the first has a planted one, and a log on disk."""
    planted = [*ROWS, {"ward": "a", "pay": PLANTED}]
    off = {"dominance": "off", "p_percent": "off"}
    made = Wards(
        federation, li, tmp_path, [planted, ROWS, ROWS], COLUMNS, world="disk", disclosure=off
    )
    site = made.sites[0]
    log = opened(site.folder / "log", site.folder / "log.guard", federation.clock, signer)
    site.log = log  # type: ignore[assignment]
    site.restart()
    yield made
    made.close()
    log.close()


def test_a_nodes_disk_has_no_rows_and_no_secret_of_a_requester(
    victims: Wards, tmp_path: Path
) -> None:
    """He has what the node itself has written after it answered: state, ledger, released sets and
    log. The planted row, which the node's source beside them shows, is in none of them, nor is the
    secret of the job, by which sums are read; what was asked is, in the log. The keys that a node
    keeps in `secrets/` are not encrypted: with these he is the node, until it is revoked."""
    site = victims.sites[0]
    assert found_in(site.folder.parent / "given", *forms(PLANTED))
    job = victims.job(SQL)
    totals, _ = victims.totals(job, victims.plan(SQL), victims.sites)
    assert max(row[-1] for row in totals.values) > PLANTED, "its row was summed"
    shown = found_in(site.folder, *forms(PLANTED))
    assert shown == set()
    assert found_in(site.folder, job.secret.reveal(), job.secret.reveal().hex().encode()) == set()
    assert any(name.startswith("log/tile") for name in found_in(site.folder, b"GROUP BY ward"))


def test_the_numbers_of_rows_are_keyed(victims: Wards, tmp_path: Path) -> None:
    """He has `row-numbers.sqlite` without its key, and guesses a row: the same table under another
    key leaves another file, so that no guess can be tested."""
    stored = []
    for name in ("one", "two"):
        numbers = RowNumbers(tmp_path / name, tmp_path / name / "secrets")
        with duckdb.connect() as connection:
            connection.execute(f"CREATE TABLE held AS SELECT 0::UTINYINT AS ward, {PLANTED} AS pay")
            numbers.of(connection, "heart", "held", victims.schema.columns)
        held = sqlite3.connect(tmp_path / name / "row-numbers.sqlite")
        (known,) = held.execute("SELECT known FROM numbers").fetchone()
        held.close()
        stored.append(known)
        assert not any(form in known for form in forms(PLANTED))
    assert stored[0] != stored[1]


def test_a_log_from_a_backup(tmp_path: Path, signer: Signer) -> None:
    """He puts an old copy of a log in its place, to take back an entry: the guard, which is kept
    apart, attests more. With an old guard too the node itself sees nothing: those that have
    cosigned do (`test_witnesses_live.py`)."""
    folder, guard, clock = tmp_path / "log", tmp_path / "secrets" / "guard", ManualClock()
    with opened(folder, guard, clock, signer) as log:
        log.append(b"before")
    shutil.copytree(folder, tmp_path / "backup")
    shutil.copy(guard, tmp_path / "old-guard")
    with opened(folder, guard, clock, signer) as log:
        log.append(b"what he wants away")
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "backup", folder)
    with pytest.raises(StateError) as caught:
        opened(folder, guard, clock, signer)
    assert caught.value.code == "log_fork"
    shutil.copy(tmp_path / "old-guard", guard)
    with opened(folder, guard, clock, signer) as log:
        assert log.size == 1


def test_a_ledger_from_a_backup(
    tmp_path: Path, signer: Signer, federation: Federation, li: Membership
) -> None:
    """He puts an old ledger back, to have a spent budget again: the log tells of more than it,
    and the node does not start."""
    table = replace(TABLE, micro_rho=1_000, project_micro_rho=1_000)
    node = federation.node("cleveland", table)
    job = job_for(li, [(node, *node.signed())] * 1, privacy=Privacy(900))
    state, log = tmp_path / "state", opened(tmp_path / "log", tmp_path / "g", ManualClock(), signer)
    Ledger(state, node.tables, log, node.uri).close()
    shutil.copytree(state, tmp_path / "backup")
    ledger = Ledger(state, node.tables, log, node.uri)
    ledger.reserve(job.spec)
    ledger.commit(job.spec.job_id)
    assert ledger.left(job.spec) == {"heart": 100}
    ledger.close()
    as_it_is = Ledger(state, node.tables, log, node.uri)
    as_it_is.compare()  # the control
    as_it_is.close()
    shutil.rmtree(state)
    shutil.copytree(tmp_path / "backup", state)
    older = Ledger(state, node.tables, log, node.uri)
    assert older.left(job.spec) == {"heart": 1_000}
    with pytest.raises(StateError) as caught:
        older.compare()
    assert caught.value.code == "state"
    assert "the file is an older copy, or was lost" in caught.value.message
    older.close()
    log.close()


def test_released_sets_from_a_backup(tmp_path: Path, signer: Signer) -> None:
    """He puts the sets of before an answer back, to ask for all rows but one; or another node's,
    with as many records."""
    nodes, whole = ("a", "b", "c"), RowSet(BitMap(range(100)))
    log = opened(tmp_path / "log", tmp_path / "g", ManualClock(), signer)
    for folder in ("backup", "other", "state"):
        made = ReleasedSets(tmp_path / folder, "a")
        if folder != "other":
            made.compare(log)
        if folder != "backup":
            made.record(Guarded(folder, "heart", 10, 3, b"all"), [Leaving(whole, nodes)], nodes)
        recorded = made.recorded
        if folder == "state":
            log.record(Act.CONTRIBUTION, digests=recorded.digests, detail=recorded.detail)
            made.compare(log)  # the control
        made.close()
    for folder, got in (("backup", "got 1 fewer"), ("other", "got others")):
        put_back = ReleasedSets(tmp_path / folder, "a")
        near = RowSet(BitMap(range(99)))
        asked = Guarded("new", "heart", 10, 3, b"all")
        assert put_back.is_near(asked, near, nodes) is (folder == "other")
        with pytest.raises(StateError, match=got) as caught:
            put_back.compare(log)
        assert caught.value.code == "state"
        put_back.close()
    log.close()
