"""A review of code is an entry of the node's log, once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from approval_facts import Hospital, app
from builders.federation import Federation, RecordingLog
from yumen_core.errors import StateError
from yumen_core.log import Act
from yumen_node.review_record import FILE_NAME, note_reviews, record_reviews


@pytest.fixture
def hospital(federation: Federation, tmp_path: Path) -> Iterator[Hospital]:
    made = Hospital(federation, tmp_path / "state")
    yield made
    made.approvals.close()


def record(hospital: Hospital, log: RecordingLog) -> None:
    record_reviews(hospital.folder, hospital.approvals, log, "spiffe://n")  # type: ignore[arg-type]


def test_reviews_are_told_when_they_are_new(hospital: Hospital) -> None:
    log = RecordingLog()
    record(hospital, log)
    first = hospital.offered()
    hospital.approve(first, hospital.wang)
    for _ in range(2):
        record(hospital, log)
    second = hospital.offered(app("x = 1"))
    hospital.reject(second)
    hospital.reject(first, hospital.wang)  # in the place of his first
    for _ in range(2):
        record(hospital, log)
    assert log.acts == [Act.CODE_REVIEW] * 3
    told = [
        (one.subject["reviewer"], one.digests["code"], one.detail["approved"])
        for one in log.entries
    ]
    wang = hospital.wang.identity.uri
    assert told[0] == (wang, first, 1)
    assert sorted(told[1:]) == sorted([(hospital.node.identity.uri, second, 0), (wang, first, 0)])
    assert len({one.digests["review"] for one in log.entries}) == 3
    assert all(one.detail["holds"] for one in log.entries)
    text = "".join(one.encode().decode() for one in log.entries)
    assert "opens a socket" not in text
    assert "read all files" not in text


def test_a_review_that_does_not_hold_is_told_as_that(hospital: Hospital) -> None:
    digest = hospital.offered()
    hospital.approve(digest, hospital.wang)
    hospital.approvals._db.execute("UPDATE reviews SET reviewer = 'spiffe://x'")
    log = RecordingLog()
    record(hospital, log)
    assert [one.detail["holds"] for one in log.entries] == [0]


def test_a_damaged_note_of_them(hospital: Hospital, caplog: pytest.LogCaptureFixture) -> None:
    hospital.folder.mkdir(exist_ok=True)
    (hospital.folder / FILE_NAME).write_text("{1")
    log = RecordingLog()
    with pytest.raises(StateError, match="is damaged"):
        record(hospital, log)
    note_reviews(hospital.folder, hospital.approvals, log, "n")  # type: ignore[arg-type]
    assert "could not be told in the log" in caplog.text
    assert log.entries == []
