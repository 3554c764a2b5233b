"""The word of a person of the institution on code that is to run beside its data.

A review is a signed statement about one bundle at one node, so that it can be shown to nobody else
and altered by nobody, the node's own files included.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from yumen_core import canonical
from yumen_core.errors import CallError, PeerError
from yumen_core.identity.certificates import TrustAnchor, p256_key, parse_certificate
from yumen_core.identity.envelope import (
    MAX_SIGNATURE_BYTES,
    PayloadType,
    SignedEnvelope,
    pre_authentication_encoding,
)
from yumen_core.identity.keys import check_signature
from yumen_core.identity.names import Identity, Role
from yumen_core.identity.revocation import MAX_SKEW_MS, Revocations

FORMAT = "yumen-code-review-v1"
MAX_REASON_CHARS = 500
MAX_BYTES = 8 * 1024
_FIELDS = {"bundle", "format", "node", "reason", "reviewed_at_ms", "verdict"}
_VERDICTS = {"approve": True, "reject": False}
_LATEST_MS = 253_402_300_799_999  # the year 9999, the last that a certificate can name


@dataclass(frozen=True)
class Review:
    """What a reviewer signs.

    `bundle` is the digest of the code (32 bytes), `node` where it may run or not, `reason` one line
    of 1 to 500 characters, `reviewed_at_ms` milliseconds since the Unix epoch. Raises `CallError`
    (`argument`) for anything else.
    """

    bundle: bytes
    approved: bool
    reason: str
    node: Identity
    reviewed_at_ms: int

    def __post_init__(self) -> None:
        if len(self.bundle) != 32:
            raise _wrong(f"expected a digest of 32 bytes, got {len(self.bundle)}")
        if not self.reason.strip() or len(self.reason) > MAX_REASON_CHARS:
            raise _wrong(
                f"expected a reason of 1 to {MAX_REASON_CHARS} characters, got {len(self.reason)}"
            )
        if not self.reason.isprintable():
            raise _wrong("expected a reason on one line, without control characters")
        if self.node.role is not Role.NODE:
            raise _wrong(f"expected a review for a node, got one for `{self.node}`")
        at_ms = self.reviewed_at_ms
        if isinstance(at_ms, bool) or not 0 <= at_ms <= _LATEST_MS:
            raise _wrong(f"expected a time from 0 to {_LATEST_MS}, got {self.reviewed_at_ms}")

    def to_bytes(self) -> bytes:
        """The canonical JSON that is signed."""
        return canonical.encode(
            {
                "bundle": self.bundle.hex(),
                "format": FORMAT,
                "node": self.node.uri,
                "reason": self.reason,
                "reviewed_at_ms": self.reviewed_at_ms,
                "verdict": "approve" if self.approved else "reject",
            }
        )

    @classmethod
    def from_bytes(cls, payload: bytes) -> Review:
        """The review that `payload` spells, in its one canonical form. Whose it is, is not known.

        Raises `PeerError` (`signature`) for any other bytes.
        """
        if len(payload) > MAX_BYTES:
            raise _bad(f"expected a review of at most {MAX_BYTES} bytes, got {len(payload)}")
        try:
            fields = json.loads(payload)
            if (
                not isinstance(fields, dict)
                or fields.keys() != _FIELDS
                or fields["format"] != FORMAT
            ):
                raise _bad("expected the fields of a review, got others")
            review = cls(
                bundle=bytes.fromhex(fields["bundle"]),
                approved=_VERDICTS[fields["verdict"]],
                reason=fields["reason"],
                node=Identity.parse(fields["node"]),
                reviewed_at_ms=fields["reviewed_at_ms"],
            )
            same = review.to_bytes() == payload
        except CallError as error:
            raise _bad(error.message) from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise _bad("expected a review in canonical JSON, got other bytes") from None
        if not same:
            raise _bad("expected a review in canonical JSON, got another spelling")
        return review


@dataclass(frozen=True)
class SignedReview:
    """A verified review and who made it; `serial` is of the certificate that signed."""

    review: Review
    reviewer: Identity
    serial: int


def open_review(
    envelope: SignedEnvelope,
    *,
    node: Identity,
    anchor: TrustAnchor,
    revocations: Revocations,
    now_ms: int,
) -> SignedReview:
    """Verify a review at the node `node`, whenever it counts and not only when it comes in.

    1. The signature is within 72 bytes, and the type is that of a review.
    2. The payload is a review in canonical form.
    3. It is of this node: one given elsewhere counts for nothing here.
    4. It is not dated in the future (5 minutes of skew).
    5. The certificate proved an identity when the review was made (steps 1 to 8 of
       `TrustAnchor.identify`). That it expired since does not undo the review.
    6. The reviewer is the node itself or a user of its organisation.
    7. The certificate's key signed the payload under this type.
    8. The revocation list is current, and the certificate is not on it: last, so that
       "certificate_revoked" says that all else holds.

    A list names a revoked certificate until a day after it would have expired: who keeps reviews
    for longer keeps what the lists said, too. Raises `PeerError` with "signature", "identity",
    "certificate", "role", "revocations" or "certificate_revoked".
    """
    # 1.
    if len(envelope.signature) > MAX_SIGNATURE_BYTES:
        raise _bad(
            f"a signature has at most {MAX_SIGNATURE_BYTES} bytes, got {len(envelope.signature)}"
        )
    if envelope.payload_type != PayloadType.CODE_REVIEW:
        raise _bad(
            f"expected a statement of type `{PayloadType.CODE_REVIEW}`,"
            f" got `{ascii(envelope.payload_type[:128])[1:-1]}`"
        )
    # 2.
    review = Review.from_bytes(envelope.payload)
    # 3.
    if review.node != node:
        raise PeerError("identity", f"expected a review for `{node}`, got one for `{review.node}`")
    # 4.
    if review.reviewed_at_ms > now_ms + MAX_SKEW_MS:
        raise _bad("expected a review made by now, got one dated in the future")
    # 5.
    reviewer = anchor.identify_unrevoked(envelope.certificate, now_ms=review.reviewed_at_ms)
    # 6.
    check_reviewer(reviewer, node)
    # 7.
    certificate = parse_certificate(envelope.certificate)
    check_signature(
        p256_key(certificate),
        pre_authentication_encoding(PayloadType.CODE_REVIEW, envelope.payload),
        envelope.signature,
    )
    # 8.
    revocations.check_issuer(anchor)
    revocations.check_current(now_ms)
    if certificate.serial_number in revocations.serials:
        raise PeerError("certificate_revoked", f"the certificate of `{reviewer}` is revoked")
    return SignedReview(review, reviewer, certificate.serial_number)


def check_reviewer(reviewer: Identity, node: Identity) -> None:
    """Raise `PeerError` (`role`) unless `reviewer` is the node or a user of its organisation."""
    if reviewer == node:
        return
    home = (node.federation, node.organisation)
    if reviewer.role is not Role.USER or (reviewer.federation, reviewer.organisation) != home:
        raise PeerError(
            "role",
            f"expected a review by the node or a user of `{node.organisation}`, got `{reviewer}`",
        )


def _wrong(message: str) -> CallError:
    return CallError("argument", message)


def _bad(message: str) -> PeerError:
    return PeerError("signature", message, remedy="review the code again")
