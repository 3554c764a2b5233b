"""The word of people of the institution that a policy bundle comes into force at its node.

A statement names the bundle, the one in force before and the node, so that it brings nothing else
into force, nowhere else, and going back to an older bundle takes a new one.
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

FORMAT = "yumen-policy-activation-v1"
MAX_NOTE_CHARS = 500


@dataclass(frozen=True)
class Activation:
    """What a signer signs.

    `digest` names the bundle (32 bytes), `previous` the one in force at the node until then (32
    bytes, or none where it is the first), `note` is one line of at most 500 characters,
    `signed_at_ms` milliseconds since the Unix epoch. Raises `CallError` (`argument`).
    """

    node: Identity
    digest: bytes
    previous: bytes
    signed_at_ms: int
    note: str = ""

    def __post_init__(self) -> None:
        if len(self.digest) != 32 or len(self.previous) not in (0, 32):
            raise _wrong("expected digests of 32 bytes, got others")
        if self.node.role is not Role.NODE:
            raise _wrong(f"expected an activation at a node, got one at `{self.node}`")
        if len(self.note) > MAX_NOTE_CHARS or not self.note.isprintable():
            raise _wrong(f"expected a note on one line of at most {MAX_NOTE_CHARS} characters")
        check_time(self.signed_at_ms)

    @property
    def made_at_ms(self) -> int:
        return self.signed_at_ms

    def to_bytes(self) -> bytes:
        """The canonical JSON that is signed."""
        return canonical.encode(
            {
                "digest": self.digest.hex(),
                "federation": self.node.federation,
                "format": FORMAT,
                "node": self.node.uri,
                "note": self.note,
                "previous": self.previous.hex(),
                "signed_at_ms": self.signed_at_ms,
            }
        )

    @classmethod
    def from_bytes(cls, payload: bytes) -> Activation:
        """The statement that `payload` spells, in its one canonical form; whose, is not known.

        Raises `PeerError` (`signature`) for any other bytes.
        """
        return _FORM.read(payload)


@dataclass(frozen=True)
class SignedActivation:
    """A verified statement and who made it."""

    activation: Activation
    signer: Identity


def open_activation(
    envelope: SignedEnvelope,
    *,
    node: Identity,
    digest: bytes,
    previous: bytes,
    anchor: TrustAnchor,
    revocations: Revocations,
    now_ms: int,
) -> SignedActivation:
    """Verify that somebody entitled wants `digest` in force at `node`, in place of `previous`: the
    steps of `WordForm.open`. The signer is a user of the node's organisation; the node's own key
    does not count.

    Raises `PeerError` with "signature", "replay", "identity", "certificate", "role",
    "revocations" or "certificate_revoked".
    """

    def concerns(found: Activation) -> None:
        if found.node != node:
            raise PeerError(
                "identity", f"expected an activation at `{node}`, got one at `{found.node}`"
            )
        if found.digest != digest:
            raise _FORM.bad("expected an activation of these policies, got one of others")
        if found.previous != previous:
            raise PeerError(
                "replay",
                "expected an activation after the policies now in force, got one after others",
                remedy="sign the policies again",
            )

    word = _FORM.open(
        envelope,
        concerns=concerns,
        entitled=lambda signer: check_signer(signer, node),
        anchor=anchor,
        revocations=revocations,
        now_ms=now_ms,
    )
    return SignedActivation(word.statement, word.signer)


def check_signer(signer: Identity, node: Identity) -> None:
    """Raise `PeerError` (`role`) unless `signer` is a user of the node's organisation."""
    if not is_colleague(signer, node):
        raise PeerError(
            "role", f"expected an activation by a user of `{node.organisation}`, got `{signer}`"
        )


def _wrong(message: str) -> CallError:
    return CallError("argument", message)


def _built(fields: dict[str, Any]) -> Activation:
    return Activation(
        node=Identity.parse(fields["node"]),
        digest=bytes.fromhex(fields["digest"]),
        previous=bytes.fromhex(fields["previous"]),
        signed_at_ms=fields["signed_at_ms"],
        note=fields["note"],
    )


_FORM = WordForm(
    noun="a policy activation",
    payload_type=PayloadType.POLICY_ACTIVATION,
    format=FORMAT,
    fields=frozenset(
        {"digest", "federation", "format", "node", "note", "previous", "signed_at_ms"}
    ),
    remedy="sign the policies again",
    build=_built,
)
