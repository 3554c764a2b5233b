"""Whose word on code counts at a node, whatever is done to the file that keeps it."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from approval_facts import DAY_MS, MINUTE_MS, REQUESTER, Hospital, app
from builders.federation import Federation
from yumen_core.errors import CallError, PeerError, StateError
from yumen_core.identity import Role, SignedEnvelope
from yumen_core.identity.envelope import PayloadType
from yumen_core.identity.membership import Membership
from yumen_core.training.review import Review
from yumen_node.approvals import Approvals


@pytest.fixture
def hospital(federation: Federation, tmp_path: Path) -> Iterator[Hospital]:
    made = Hospital(federation, tmp_path / "state")
    yield made
    made.approvals.close()


def test_code_nobody_has_looked_at_has_no_approver(hospital: Hospital) -> None:
    verdict = hospital.approvals.verdict(hospital.offered())
    assert (verdict.approvers, verdict.rejected) == ((), None)


def test_the_node_and_users_of_its_organisation_count_once_each(hospital: Hospital) -> None:
    digest = hospital.offered()
    for by in (None, hospital.wang, hospital.wang, hospital.zhao, None):
        hospital.approve(digest, by)
    assert hospital.names(digest) == ["cleveland/heart", "cleveland/wang", "cleveland/zhao"]


def test_one_person_with_two_certificates_counts_once(
    hospital: Hospital, federation: Federation
) -> None:
    digest = hospital.offered()
    hospital.approve(digest, hospital.wang)
    hospital.approve(digest, federation.member(Role.USER, "wang", "cleveland"))
    assert hospital.names(digest) == ["cleveland/wang"]


def test_a_review_is_of_one_bundle(hospital: Hospital) -> None:
    digest, other = hospital.offered(), hospital.offered(app("x = 1"))
    hospital.approve(digest)
    assert hospital.names(other) == []


def test_any_rejection_refuses_until_its_signer_takes_it_back(hospital: Hospital) -> None:
    digest = hospital.offered()
    hospital.approve(digest)
    hospital.reject(digest, hospital.wang)
    hospital.approve(digest, hospital.zhao)
    assert hospital.approvals.verdict(digest).rejected == "it opens a socket"
    hospital.approve(digest, hospital.wang)
    verdict = hospital.approvals.verdict(digest)
    assert verdict.rejected is None
    assert len(verdict.approvers) == 3


def test_the_requester_does_not_review_his_own_code(hospital: Hospital) -> None:
    digest = hospital.offered(requester=hospital.wang.identity)
    hospital.approve(digest, hospital.wang)
    hospital.approve(digest, hospital.zhao)
    assert hospital.names(digest, requester=hospital.wang.identity) == ["cleveland/zhao"]
    hospital.reject(digest, hospital.wang)
    asked = hospital.approvals.verdict(digest, requester=hospital.wang.identity)
    assert asked.rejected == "it opens a socket"


STRANGERS = [
    (Role.USER, "li", "lzu"),
    (Role.NODE, "other", "cleveland"),
    (Role.AUDITOR, "wang", "cleveland"),
    (Role.COORDINATOR, "wang", "cleveland"),
]


@pytest.mark.parametrize(("role", "name", "organisation"), STRANGERS)
def test_nobody_else_reviews(
    hospital: Hospital, federation: Federation, role: Role, name: str, organisation: str
) -> None:
    digest = hospital.offered()
    stranger = federation.member(role, name, organisation)
    message = f"expected a review by the node or a user of `cleveland`, got `{stranger.identity}`"
    with pytest.raises(PeerError) as caught:
        hospital.approve(digest, stranger)
    assert (caught.value.code, caught.value.message) == ("role", message)
    with pytest.raises(PeerError) as caught:
        hospital.approvals.review(statement(hospital, stranger, digest))
    assert (caught.value.code, caught.value.message) == ("role", message)
    assert hospital.names(digest) == []


def statement(
    hospital: Hospital,
    by: Membership,
    digest: bytes,
    *,
    node: Membership | None = None,
    late_ms: int = 0,
    kind: str = PayloadType.CODE_REVIEW,
) -> SignedEnvelope:
    review = Review(
        digest, True, "fine", (node or hospital.node).identity, hospital.now_ms - late_ms
    )
    return by.sign(review.to_bytes(), kind)


def test_a_review_of_another_node_counts_for_nothing(
    hospital: Hospital, federation: Federation
) -> None:
    digest = hospital.offered()
    second = federation.member(Role.NODE, "kidney", "cleveland")
    with pytest.raises(PeerError) as caught:
        hospital.approvals.review(statement(hospital, hospital.wang, digest, node=second))
    assert caught.value.code == "identity"
    assert caught.value.message == (
        f"expected a review for `{hospital.node.identity}`, got one for `{second.identity}`"
    )


def test_a_statement_of_another_type_is_no_review(hospital: Hospital) -> None:
    digest = hospital.offered()
    decision = statement(hospital, hospital.wang, digest, kind=PayloadType.DECISION)
    with pytest.raises(PeerError, match=r"expected a statement of type .*code-review.*decision"):
        hospital.approvals.review(decision)
    renamed = SignedEnvelope(
        decision.payload, PayloadType.CODE_REVIEW, decision.signature, decision.certificate
    )
    with pytest.raises(PeerError) as caught:
        hospital.approvals.review(renamed)
    assert caught.value.code == "signature"


def test_a_forged_review_is_refused(hospital: Hospital) -> None:
    digest = hospital.offered()
    mine = statement(hospital, hospital.wang, digest)
    theirs = statement(hospital, hospital.zhao, digest)
    forged = SignedEnvelope(mine.payload, mine.payload_type, mine.signature, theirs.certificate)
    with pytest.raises(PeerError) as caught:
        hospital.approvals.review(forged)
    assert caught.value.code == "signature"
    long = SignedEnvelope(mine.payload, mine.payload_type, b"x" * 73, mine.certificate)
    with pytest.raises(PeerError, match="a signature has at most 72 bytes, got 73"):
        hospital.approvals.review(long)


def test_an_old_review_is_not_brought_up_again(hospital: Hospital) -> None:
    digest = hospital.offered()
    approval = statement(hospital, hospital.wang, digest)
    hospital.approvals.review(approval)
    with pytest.raises(PeerError) as caught:
        hospital.approvals.review(approval)
    assert (caught.value.code, caught.value.message) == (
        "replay",
        "expected a review later than its signer's last, got an earlier",
    )
    hospital.reject(digest, hospital.wang)
    with pytest.raises(PeerError, match="expected a review later than its signer's last"):
        hospital.approvals.review(approval)
    hospital.federation.clock.advance(6 * MINUTE_MS)
    with pytest.raises(PeerError, match="expected a review made within the last 5 minutes"):
        hospital.approvals.review(approval)
    assert hospital.approvals.verdict(digest).rejected == "it opens a socket"


def test_a_review_from_the_future_is_refused(hospital: Hospital) -> None:
    digest = hospital.offered()
    with pytest.raises(PeerError, match="expected a review made by now, got one dated in the"):
        hospital.approvals.review(
            statement(hospital, hospital.wang, digest, late_ms=-6 * MINUTE_MS)
        )


def test_a_revoked_reviewer_counts_no_more_for_good(
    hospital: Hospital, federation: Federation
) -> None:
    digest = hospital.offered()
    hospital.approve(digest, hospital.wang)
    hospital.approve(digest, hospital.zhao)
    hospital.node.learn(federation.revoke(hospital.wang))
    assert hospital.names(digest) == ["cleveland/zhao"]
    with pytest.raises(PeerError) as caught:
        hospital.approve(digest, hospital.wang)
    assert caught.value.code == "certificate_revoked"
    # The authority's list names it until a day after it expired; the node remembers.
    hospital.node.learn(federation.revoke())
    assert hospital.names(digest) == ["cleveland/zhao"]
    faults = {one.reviewer: one.fault for one in hospital.approvals.about(digest).reviews}
    assert faults == {
        hospital.wang.identity.uri: f"the certificate of `{hospital.wang.identity}` was revoked",
        hospital.zhao.identity.uri: None,
    }
    # Enrolled again, the same person may review again.
    hospital.approve(digest, federation.member(Role.USER, "wang", "cleveland"))
    assert hospital.names(digest) == ["cleveland/wang", "cleveland/zhao"]


def test_the_rejection_of_a_revoked_reviewer_stands(
    hospital: Hospital, federation: Federation
) -> None:
    digest = hospital.offered()
    hospital.reject(digest, hospital.wang)
    hospital.approve(digest)
    hospital.node.learn(federation.revoke(hospital.wang))
    assert hospital.approvals.verdict(digest).rejected == "it opens a socket"


def test_a_review_outlives_its_certificate_and_needs_a_current_list(
    hospital: Hospital, federation: Federation
) -> None:
    digest = hospital.offered()
    hospital.approve(digest, hospital.wang)
    federation.clock.advance(31 * DAY_MS)
    assert hospital.names(digest) == []  # the list is a month old
    hospital.node.learn(federation.revoke())
    assert hospital.names(digest) == ["cleveland/wang"]
    with pytest.raises(PeerError) as caught:
        hospital.approve(digest, hospital.wang)
    assert caught.value.code == "certificate"
    backdated = statement(hospital, hospital.wang, digest, late_ms=5 * DAY_MS)
    with pytest.raises(PeerError, match="the certificate expired on"):
        hospital.approvals.review(backdated)


def _other_verdict(raw: bytes) -> bytes:
    changed = raw.replace(b'"verdict":"reject"', b'"verdict":"approve"')
    # One byte longer twice over: the field's length and the message's stay as they must be.
    return changed.replace(b'"reason":"it opens a socket"', b'"reason":"it opens a socke"')


CHANGES: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("a signed review", lambda raw: b"\xff" + raw),
    ("", lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])),
    ("expected a review in canonical JSON", lambda raw: raw.replace(b"it opens", b'it op"ns')),
    ("", lambda raw: raw.replace(b"it opens", b"it Opens")),
    ("", _other_verdict),
]


@pytest.mark.parametrize(("told", "change"), CHANGES)
def test_a_changed_review_stops_the_decision(
    hospital: Hospital, told: str, change: Callable[[bytes], bytes]
) -> None:
    digest = hospital.offered()
    hospital.approve(digest)
    hospital.reject(digest, hospital.wang)
    with tampered(hospital) as db:
        raw = db.execute("SELECT envelope FROM reviews ORDER BY rowid DESC").fetchone()[0]
        assert change(raw) != raw
        db.execute("UPDATE reviews SET envelope = ? WHERE envelope = ?", (change(raw), raw))
    with pytest.raises(StateError) as caught:
        hospital.approvals.verdict(digest)
    assert caught.value.code == "state"
    assert caught.value.message.startswith(
        f"a stored review of code `{digest.hex()[:12]}` does not hold: "
    )
    assert told in caught.value.message
    assert caught.value.remedy == (
        "restore approvals.sqlite, or remove it and review the code again"
    )
    # Its signer can put it right.
    hospital.approve(digest, hospital.wang)
    assert hospital.names(digest) == ["cleveland/heart", "cleveland/wang"]


def tampered(hospital: Hospital) -> sqlite3.Connection:
    return sqlite3.connect(hospital.folder / "approvals.sqlite")


def test_a_review_copied_to_other_code_or_another_name_is_caught(hospital: Hospital) -> None:
    digest, other = hospital.offered(), hospital.offered(app("x = 1"))
    hospital.approve(digest, hospital.wang)
    copy = "INSERT INTO reviews SELECT ?, ?, envelope, 0 FROM reviews WHERE digest = ? LIMIT 1"
    with tampered(hospital) as db:
        db.execute(copy, (other, hospital.wang.identity.uri, digest))
        db.execute(copy, (digest, hospital.zhao.identity.uri, digest))
    with pytest.raises(StateError, match="does not hold: it is about other code"):
        hospital.approvals.verdict(other)
    with pytest.raises(StateError, match="it stands under another signer's name"):
        hospital.approvals.verdict(digest)


def test_changed_code_is_caught(hospital: Hospital) -> None:
    digest, other = hospital.offered(), app("import socket")
    with tampered(hospital) as db:
        db.execute("UPDATE bundles SET content = ?", (other.to_bytes(),))
    with pytest.raises(StateError, match="is not what its digest names"):
        hospital.approvals.bundle(digest)
    with pytest.raises(StateError, match="is not what its digest names"):
        hospital.approve(digest)
    with tampered(hospital) as db:
        db.execute("UPDATE bundles SET content = x'00'")
    with pytest.raises(StateError, match="is not what its digest names"):
        hospital.approvals.bundle(digest)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"columns":[["a"]]}', "null"])
def test_a_changed_job_is_caught(hospital: Hospital, text: str) -> None:
    hospital.offered()
    with tampered(hospital) as db:
        db.execute("UPDATE asks SET ask = ?", (text,))
    with pytest.raises(StateError, match="a stored job that waits for a review is damaged"):
        hospital.approvals.waiting()


def test_a_review_is_of_code_held_here_and_gives_a_reason(hospital: Hospital) -> None:
    digest = hospital.offered()
    with pytest.raises(CallError, match="expected code held here, got `0101010101"):
        hospital.approve(b"\x01" * 32)
    for reason, told in (
        (" ", "expected a reason of 1 to 500 characters, got 0"),
        ("x" * 501, "expected a reason of 1 to 500 characters, got 501"),
        ("a\nb", "expected a reason on one line, without control characters"),
    ):
        with pytest.raises(CallError, match=told):
            hospital.approvals.give(digest, approved=True, reason=reason)
    assert hospital.names(digest) == []


def test_reviews_outlive_the_process(hospital: Hospital) -> None:
    digest = hospital.offered()
    hospital.approve(digest, hospital.wang)
    again = Approvals(hospital.folder, hospital.node)
    assert [one.short for one in again.verdict(digest).approvers] == ["cleveland/wang"]
    assert again.waiting()[0].asks[0].requester == REQUESTER
    again.close()
