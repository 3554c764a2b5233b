"""The word of a person of the institution on code that is to run beside its data.

A review is a signed statement about one bundle at one node, so that it can be shown to nobody else
and altered by nobody, the node's own files included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from yumen_core import canonical
from yumen_core.errors import CallError, PeerError
from yumen_core.identity.certificates import TrustAnchor
from yumen_core.identity.envelope import PayloadType, SignedEnvelope
from yumen_core.identity.names import Identity, Role
from yumen_core.identity.revocation import Revocations
from yumen_core.identity.word import WordForm, check_time, is_colleague

FORMAT = "yumen-code-review-v1"
MAX_REASON_CHARS = 500
_VERDICTS = {"approve": True, "reject": False}


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
        check_time(self.reviewed_at_ms)

    @property
    def made_at_ms(self) -> int:
        return self.reviewed_at_ms

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
        return _FORM.read(payload)


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
    """Verify a review at the node `node`, by the node itself or a user of its organisation: the
    steps of `WordForm.open`. One given at another node counts for nothing here.

    Raises `PeerError` with "signature", "identity", "certificate", "role", "revocations" or
    "certificate_revoked".
    """

    def concerns(review: Review) -> None:
        if review.node != node:
            raise PeerError(
                "identity", f"expected a review for `{node}`, got one for `{review.node}`"
            )

    word = _FORM.open(
        envelope,
        concerns=concerns,
        entitled=lambda signer: check_reviewer(signer, node),
        anchor=anchor,
        revocations=revocations,
        now_ms=now_ms,
    )
    return SignedReview(word.statement, word.signer, word.serial)


def check_reviewer(reviewer: Identity, node: Identity) -> None:
    """Raise `PeerError` (`role`) unless `reviewer` is the node or a user of its organisation."""
    if reviewer != node and not is_colleague(reviewer, node):
        raise PeerError(
            "role",
            f"expected a review by the node or a user of `{node.organisation}`, got `{reviewer}`",
        )


def _wrong(message: str) -> CallError:
    return CallError("argument", message)


def _built(fields: dict[str, Any]) -> Review:
    return Review(
        bundle=bytes.fromhex(fields["bundle"]),
        approved=_VERDICTS[fields["verdict"]],
        reason=fields["reason"],
        node=Identity.parse(fields["node"]),
        reviewed_at_ms=fields["reviewed_at_ms"],
    )


_FORM = WordForm(
    noun="a review",
    payload_type=PayloadType.CODE_REVIEW,
    format=FORMAT,
    fields=frozenset({"bundle", "format", "node", "reason", "reviewed_at_ms", "verdict"}),
    remedy="review the code again",
    build=_built,
)
