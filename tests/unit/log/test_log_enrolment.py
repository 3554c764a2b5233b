"""The certificate with which a party acts is an entry of its log, and each renewal."""

import hashlib
from pathlib import Path

import pytest
from builders.federation import Federation, RecordingLog
from yumen_core.identity import Role
from yumen_core.log import Act
from yumen_core.log.enrolment import record_enrolment


@pytest.mark.parametrize("role", [Role.NODE, Role.COORDINATOR])
def test_enrolment_and_renewal_are_told_once(tmp_path: Path, role: Role) -> None:
    federation = Federation(tmp_path / "members")
    log = RecordingLog()
    first = federation.member(role, "main")
    for _ in range(2):
        record_enrolment(log, first, tmp_path / "state")  # type: ignore[arg-type]
    renewed = federation.member(role, "main")
    for _ in range(2):
        record_enrolment(log, renewed, tmp_path / "state")  # type: ignore[arg-type]
    assert log.acts == [Act.ENROLMENT] * 2
    assert [one.detail["what"] for one in log.entries] == ["enrolled", "renewed"]
    assert [one.subject for one in log.entries] == [{str(role): first.identity.uri}] * 2
    assert [one.digests["certificate"] for one in log.entries] == [
        hashlib.sha256(member.certificate).digest() for member in (first, renewed)
    ]
