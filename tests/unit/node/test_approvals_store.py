"""What waits for a review: how long, how much of it, and with two processes at the file."""

import logging
import multiprocessing
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from approval_facts import MINUTE_MS, REQUESTER, Hospital, app, ask, files, write
from builders.federation import Federation
from yumen_core.clock import ManualClock
from yumen_core.errors import CallError, StateError
from yumen_core.identity import Identity, Role
from yumen_core.identity.membership import Membership
from yumen_node import approvals as store
from yumen_node.approvals import Approvals, approve_folder, open_approvals


@pytest.fixture
def hospital(federation: Federation, tmp_path: Path) -> Iterator[Hospital]:
    made = Hospital(federation, tmp_path / "state")
    yield made
    made.approvals.close()


def test_what_waits_and_for_whom(hospital: Hospital) -> None:
    first = hospital.offered()
    since_ms = hospital.now_ms
    hospital.federation.clock.advance(5)
    hospital.offered(job_id="job-2")
    second = hospital.offered(app("x = 1", name="lungs", version="2"))
    one, two = hospital.approvals.waiting()
    assert (one.digest, one.name, one.version, one.since_ms) == (first, "cardio", "1.0", since_ms)
    assert [wanted.job_id for wanted in one.asks] == ["job-1", "job-2"]
    assert one.asks[0] == ask(since_ms)
    assert (two.digest, two.name, two.version) == (second, "lungs", "2")
    assert hospital.approvals.bundle(first) == app()


def test_the_same_offer_again_changes_nothing(hospital: Hospital) -> None:
    hospital.offered()
    before = hospital.approvals.waiting()
    hospital.federation.clock.advance(MINUTE_MS)
    hospital.offered()
    assert hospital.approvals.waiting() == before


def test_a_job_waits_until_it_is_decided_or_expires(hospital: Hospital) -> None:
    digest = hospital.offered()
    hospital.offered(job_id="job-2", expires_at_ms=hospital.now_ms + 90 * MINUTE_MS)
    hospital.approvals.settle("job-2")
    assert [one.job_id for one in hospital.approvals.waiting()[0].asks] == ["job-1"]
    hospital.federation.clock.advance(60 * MINUTE_MS)
    assert hospital.approvals.waiting() == ()
    assert [one.digest for one in hospital.approvals.held()] == [digest]


def test_a_bundle_keeps_the_latest_jobs(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_ASKS", 3)
    for number in range(5):
        hospital.offered(job_id=f"job-{number}")
    asks = hospital.approvals.waiting()[0].asks
    assert [one.job_id for one in asks] == ["job-2", "job-3", "job-4"]


def test_one_requester_cannot_push_out_another(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store, "MAX_WAITING_PER_REQUESTER", 2)
    other = Identity("gansu.example", "lzu", Role.USER, "chen")
    kept = hospital.offered(app("y = 0"), requester=other)
    with caplog.at_level(logging.WARNING):
        digests = [hospital.offered(app(f"x = {n}"), job_id=f"job-{n}") for n in range(4)]
    assert {one.digest for one in hospital.approvals.held()} == {kept, *digests[2:]}
    assert caplog.messages == [
        f"too much code waits for review: dropped {digest.hex()[:12]} of {REQUESTER}, the oldest"
        for digest in digests[:2]
    ]
    with pytest.raises(CallError, match="expected code held here"):
        hospital.approvals.bundle(digests[0])


def test_the_oldest_go_first_and_reviewed_code_stays(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_WAITING", 2)
    reviewed = hospital.offered(app("reviewed = 1"))
    hospital.approve(reviewed)
    digests = [hospital.offered(app(f"x = {n}")) for n in range(3)]
    assert {one.digest for one in hospital.approvals.held()} == {reviewed, *digests[1:]}


def test_reviews_outlive_the_code_they_are_about(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_REVIEWED", 1)
    digests = [hospital.offered(app(f"x = {n}")) for n in range(2)]
    for digest in digests:
        hospital.approve(digest)
    hospital.offered(app("x = 2"))
    assert digests[0] not in {one.digest for one in hospital.approvals.held()}
    assert hospital.names(digests[0]) == ["cleveland/heart"]


def test_a_digest_is_found_by_its_beginning(hospital: Hospital) -> None:
    digest = hospital.offered()
    for text in (
        digest.hex(),
        digest.hex()[:8],
        digest.hex()[:9].upper(),
        f"sha256:{digest.hex()}",
    ):
        assert hospital.approvals.find(text) == digest


@pytest.mark.parametrize(
    ("prefix", "told"),
    [
        ("0123456", "expected the first 8 hexadecimal characters of a digest, or more, got"),
        ("xyzxyzxyz", "or more, got `xyzxyzxyz`"),
        ("", "or more, got ``"),
        ("00000000", "expected the digest of one bundle held here, got `00000000`, which none has"),
    ],
)
def test_a_bad_digest(hospital: Hospital, prefix: str, told: str) -> None:
    hospital.offered()
    with pytest.raises(CallError) as caught:
        hospital.approvals.find(prefix)
    assert told in caught.value.message


def test_a_prefix_of_two_digests_is_refused(hospital: Hospital) -> None:
    digest = hospital.offered()
    twin = digest[:4] + bytes(28)
    with sqlite3.connect(hospital.folder / "approvals.sqlite") as db:
        db.execute(
            "INSERT INTO bundles SELECT ?, name, version, requester, content, offered_at"
            " FROM bundles",
            (twin,),
        )
    with pytest.raises(CallError, match="which 2 has"):
        hospital.approvals.find(digest.hex()[:8])
    assert hospital.approvals.find(digest.hex()[:16]) == digest


def test_the_version_approved_last(hospital: Hospital) -> None:
    first, second, third, other = (
        hospital.offered(app(f"x = {n}", name=name))
        for n, name in enumerate(("cardio", "cardio", "cardio", "lungs"))
    )
    assert hospital.approvals.latest_approved("cardio") is None
    for digest in (second, first, other):
        hospital.approve(digest)
    found = hospital.approvals.latest_approved("cardio", but=third)
    assert found is not None
    assert found.digest == first
    hospital.reject(first, hospital.wang)
    found = hospital.approvals.latest_approved("cardio")
    assert found is not None
    assert found.digest == second
    assert hospital.approvals.latest_approved("cardio", but=second) is None


def test_the_file_is_for_its_user_alone(hospital: Hospital) -> None:
    hospital.offered()
    files_ = sorted(hospital.folder.iterdir())
    assert [path.name for path in files_] == [
        *("approvals.sqlite", "approvals.sqlite-shm", "approvals.sqlite-wal"),
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files_} == {0o600}
    assert stat.S_IMODE(hospital.folder.stat().st_mode) == 0o700


def test_a_file_open_to_others_is_refused(hospital: Hospital) -> None:
    path = hospital.folder / "approvals.sqlite"
    path.chmod(0o640)
    with pytest.raises(StateError) as caught:
        Approvals(hospital.folder, hospital.node)
    assert caught.value.message == (f"`{path}` is open to others: expected mode 600, got 640")


def test_a_file_that_is_no_database_is_refused(hospital: Hospital, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir(mode=0o700)
    path = folder / "approvals.sqlite"
    path.write_bytes(b"no database" * 100)
    path.chmod(0o600)
    with pytest.raises(StateError, match="cannot be read: file is not a database"):
        Approvals(folder, hospital.node)
    path.unlink()
    path.symlink_to(hospital.folder / "approvals.sqlite")
    with pytest.raises(StateError, match="is not a file"):
        Approvals(folder, hospital.node)


def test_a_file_held_by_another_is_said(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yumen_node.approvals_file.BUSY_TIMEOUT_S", 0.05)
    digest = hospital.offered()
    impatient = Approvals(hospital.folder, hospital.node)
    holder = sqlite3.connect(hospital.folder / "approvals.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateError) as caught:
        impatient.give(digest, approved=True, reason="fine")
    assert caught.value.message == "`approvals.sqlite` cannot be written: database is locked"
    assert impatient.verdict(digest).approvers == ()  # reading goes on
    holder.close()
    impatient.give(digest, approved=True, reason="fine")
    impatient.close()


def test_a_node_sees_that_another_process_wrote(hospital: Hospital) -> None:
    digest = hospital.offered()
    before = hospital.approvals.version
    hospital.offered(app("x = 1"))
    assert hospital.approvals.version == before  # its own writing is no news
    other = Approvals(hospital.folder, hospital.node)
    other.give(digest, approved=True, reason="fine")
    assert hospital.approvals.version != before
    assert hospital.names(digest) == ["cleveland/heart"]
    other.close()


ROUNDS = 25


def _review_many(folder: Path, identity: Path, now_ms: int, digest: bytes) -> None:
    clock = ManualClock(now_ms)
    approvals = Approvals(folder, Membership(identity, clock))
    for number in range(ROUNDS):
        clock.advance(1)
        approvals.give(digest, approved=number % 2 == 0, reason=f"word {number}")
    approvals.close()


def test_the_command_line_writes_while_the_node_runs(
    hospital: Hospital, federation: Federation
) -> None:
    digest = hospital.offered()
    identity = federation.directory / "node-cleveland-heart"
    federation.clock.advance(MINUTE_MS)  # ahead of the other's clock
    spawn = multiprocessing.get_context("spawn")
    other = spawn.Process(
        target=_review_many,
        args=(hospital.folder, identity, hospital.now_ms - MINUTE_MS, digest),
    )
    other.start()
    number = 0
    while other.is_alive() or number < ROUNDS:
        number += 1
        hospital.offered(app(f"x = {number % 10}"), job_id=f"job-{number}")
        verdict = hospital.approvals.verdict(digest)
        assert len(verdict.approvers) + (verdict.rejected is not None) <= 1
    other.join()
    assert other.exitcode == 0
    assert hospital.names(digest) == ["cleveland/heart"]
    assert len(hospital.approvals.waiting()) == 11


def test_a_folder_is_approved_at_set_up(
    hospital: Hospital, federation: Federation, tmp_path: Path
) -> None:
    node = tmp_path / "node"
    node.mkdir()
    settings = {
        "coordinator": "127.0.0.1:7401",
        "identity": str(federation.directory / "node-cleveland-heart"),
    }
    (node / "node.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    project = write(tmp_path / "project", files())
    digest = approve_folder(node, project, "our own app", clock=federation.clock)
    assert digest == app().digest
    approvals = open_approvals(node, federation.clock)
    assert approvals.verdict(digest).approvers == (hospital.node.identity,)
    assert [one.name for one in approvals.held()] == ["cardio"]
    assert approvals.waiting() == ()
    approvals.close()
    with pytest.raises(CallError) as caught:
        approve_folder(node, tmp_path / "nowhere", "x", clock=federation.clock)
    assert caught.value.code == "bundle"
