"""The stored reviews of code, each verified whenever it is read."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from yumen_core.errors import PeerError, StateError
from yumen_core.identity.certificates import parse_certificate
from yumen_core.identity.envelope import SignedEnvelope
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Identity
from yumen_core.identity.revocation import MAX_SKEW_MS
from yumen_core.rpc.v1 import envelope_pb2
from yumen_core.training.review import Review, SignedReview, open_review

from yumen_node.approvals_file import transaction

# Faults of a review whose signature holds all the same: its signer is not believed any more, or
# nobody can say now whether he is.
_LAPSED = frozenset({"certificate_revoked", "revocations"})


@dataclass(frozen=True)
class Verdict:
    """What the institution says of one bundle: who approves, and the reason of a rejection.

    Where `rejected` is not None the code does not run, however many approve.
    """

    approvers: tuple[Identity, ...]
    rejected: str | None


@dataclass(frozen=True)
class Reviewed:
    """One stored review as the operator sees it.

    `fault` says why an approval counts for nothing, None where it counts. `genuine` is whether
    the review is its signer's own words; where it is not the other fields are not to be believed.
    """

    reviewer: str
    approved: bool
    reason: str
    reviewed_at_ms: int
    fault: str | None = None
    genuine: bool = True


@dataclass(frozen=True)
class StoredReview:
    """A review of the code with the digest `bundle`; `statement` is the SHA-256 of what was
    stored."""

    bundle: bytes
    statement: bytes
    reviewed: Reviewed


class Reviews:
    """The table of reviews: the latest of each signer for each bundle."""

    def __init__(self, db: sqlite3.Connection, membership: Membership) -> None:
        self._db = db
        self._member = membership
        self._list_seen = -1

    def verdict(self, digest: bytes, *, requester: Identity | None = None) -> Verdict:
        """The institution's word on a bundle.

        Signers count once each, by identity. The approval of `requester`, who asks for the job,
        does not count: nobody reviews his own code. An approval whose signer was revoked, or that
        no current revocation list vouches for, does not count; a rejection stands all the same.
        Raises `StateError` (`state`) where a stored review does not verify: the file was changed.
        """
        approvers: set[Identity] = set()
        rejected: str | None = None
        for found in self.of(digest):
            if not found.genuine:
                raise StateError(
                    "state",
                    f"a stored review of code `{digest.hex()[:12]}` does not hold: {found.fault}",
                    remedy="restore approvals.sqlite, or remove it and review the code again",
                )
            if not found.approved:
                rejected = found.reason
            elif found.fault is None and found.reviewer != (requester and requester.uri):
                approvers.add(Identity.parse(found.reviewer))
        return Verdict(tuple(sorted(approvers)), rejected)

    def of(self, digest: bytes) -> tuple[Reviewed, ...]:
        """The reviews of a bundle in the order of their coming, faulty ones among them."""
        self._remember_revoked()
        rows = self._db.execute(
            "SELECT reviewer, envelope, revoked FROM reviews WHERE digest = ? ORDER BY rowid",
            (digest,),
        )
        return tuple(self._verified(digest, *row) for row in rows.fetchall())

    def stored(self) -> tuple[StoredReview, ...]:
        """Every review of any code, faulty ones among them, in the order of their coming."""
        self._remember_revoked()
        rows = self._db.execute(
            "SELECT digest, reviewer, envelope, revoked FROM reviews ORDER BY rowid"
        ).fetchall()
        return tuple(
            StoredReview(row[0], hashlib.sha256(row[2]).digest(), self._verified(*row))
            for row in rows
        )

    def add(self, envelope: SignedEnvelope) -> SignedReview:
        """Take up a signed review; it replaces its signer's earlier one of the same bundle.

        1. It holds (`open_review`), and its certificate is valid now too.
        2. It was made within the last 5 minutes: an old one is not brought up again.
        3. It is later than the one of its signer that is stored, where that one is genuine.

        Raises `PeerError` as `open_review`, and "replay" for 2 and 3.
        """
        # 1.
        now_ms = self._member.clock.now_ms()
        signed = self._open(envelope)
        self._member.anchor.identify_unrevoked(envelope.certificate, now_ms=now_ms)
        # 2.
        review, name = signed.review, signed.reviewer.uri
        if review.reviewed_at_ms < now_ms - MAX_SKEW_MS:
            raise _replayed("expected a review made within the last 5 minutes, got an older one")
        with transaction(self._db):
            # 3.
            earlier = [one for one in self.of(review.bundle) if one.genuine]
            if any(
                one.reviewer == name and one.reviewed_at_ms >= review.reviewed_at_ms
                for one in earlier
            ):
                raise _replayed("expected a review later than its signer's last, got an earlier")
            self._db.execute(
                "INSERT OR REPLACE INTO reviews (digest, reviewer, envelope, revoked)"
                " VALUES (?, ?, ?, 0)",
                (review.bundle, name, envelope.to_proto().SerializeToString()),
            )
        return signed

    def _open(self, envelope: SignedEnvelope) -> SignedReview:
        return open_review(
            envelope,
            node=self._member.identity,
            anchor=self._member.anchor,
            revocations=self._member.revocations,
            now_ms=self._member.clock.now_ms(),
        )

    def _verified(self, digest: bytes, name: str, raw: bytes, revoked: int) -> Reviewed:
        try:
            envelope = _unpacked(raw)
            review = Review.from_bytes(envelope.payload)
        except PeerError as error:
            return Reviewed(name, False, "", 0, error.message, genuine=False)
        fault, genuine = None, True
        try:
            signed = self._open(envelope)
            if signed.reviewer.uri != name:
                fault, genuine = "it stands under another signer's name", False
        except PeerError as error:
            fault, genuine = error.message, error.code in _LAPSED
        if review.bundle != digest:
            fault, genuine = "it is about other code", False
        if fault is None and revoked:
            fault = f"the certificate of `{name}` was revoked"
        return Reviewed(name, review.approved, review.reason, review.reviewed_at_ms, fault, genuine)

    def _remember_revoked(self) -> None:
        """Mark the reviews by revoked certificates for good: a list names a certificate until a
        day after it would have expired, and a review outlives that."""
        known = self._member.revocations
        if known.number == self._list_seen:
            return
        for rowid, raw in self._db.execute(
            "SELECT rowid, envelope FROM reviews WHERE revoked = 0"
        ).fetchall():
            try:
                serial = parse_certificate(_unpacked(raw).certificate).serial_number
            except PeerError:
                continue  # said where the review is read
            if serial in known.serials:
                self._db.execute("UPDATE reviews SET revoked = 1 WHERE rowid = ?", (rowid,))
        self._list_seen = known.number


def _unpacked(raw: bytes) -> SignedEnvelope:
    try:
        return SignedEnvelope.from_proto(envelope_pb2.Envelope.FromString(raw))
    except DecodeError:
        raise PeerError("signature", "expected a signed review, got other bytes") from None


def _replayed(message: str) -> PeerError:
    return PeerError("replay", message, remedy="make the review again")
