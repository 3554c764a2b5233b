"""The word of people of the institution that a policy bundle comes into force at its node.

A statement names the bundle, the one in force before and the node, so that it brings nothing else
into force, nowhere else, and going back to an older bundle takes a new one.
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

FORMAT = "yumen-policy-activation-v1"
MAX_NOTE_CHARS = 500
MAX_BYTES = 8 * 1024
_FIELDS = {"digest", "federation", "format", "node", "note", "previous", "signed_at_ms"}
_LATEST_MS = 253_402_300_799_999  # the year 9999


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
        at_ms = self.signed_at_ms
        if isinstance(at_ms, bool) or not 0 <= at_ms <= _LATEST_MS:
            raise _wrong(f"expected a time from 0 to {_LATEST_MS}, got {at_ms}")

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
        if len(payload) > MAX_BYTES:
            raise _bad(f"expected an activation of at most {MAX_BYTES} bytes, got {len(payload)}")
        try:
            fields = json.loads(payload)
            if (
                not isinstance(fields, dict)
                or fields.keys() != _FIELDS
                or fields["format"] != FORMAT
            ):
                raise _bad("expected the fields of a policy activation, got others")
            found = cls(
                node=Identity.parse(fields["node"]),
                digest=bytes.fromhex(fields["digest"]),
                previous=bytes.fromhex(fields["previous"]),
                signed_at_ms=fields["signed_at_ms"],
                note=fields["note"],
            )
            same = found.to_bytes() == payload
        except CallError as error:
            raise _bad(error.message) from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise _bad("expected a policy activation in canonical JSON, got other bytes") from None
        if not same:
            raise _bad("expected a policy activation in canonical JSON, got another spelling")
        return found


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
    """Verify that somebody entitled wants `digest` in force at `node`, in place of `previous`.

    1. The signature is within 72 bytes, and the type is that of an activation.
    2. The payload is an activation in canonical form.
    3. It is of this node, this bundle and this predecessor.
    4. It is not dated in the future (5 minutes of skew).
    5. The certificate proved an identity when it was signed.
    6. The signer is a user of the node's organisation; the node's own key does not count.
    7. The certificate's key signed the payload under this type.
    8. The revocation list is current, and the certificate is not on it: last, so that
       "certificate_revoked" says that all else holds.

    Raises `PeerError` with "signature", "replay", "identity", "certificate", "role",
    "revocations" or "certificate_revoked".
    """
    # 1.
    if len(envelope.signature) > MAX_SIGNATURE_BYTES:
        raise _bad(f"a signature has at most {MAX_SIGNATURE_BYTES} bytes, got more")
    if envelope.payload_type != PayloadType.POLICY_ACTIVATION:
        raise _bad(
            f"expected a statement of type `{PayloadType.POLICY_ACTIVATION}`,"
            f" got `{ascii(envelope.payload_type[:128])[1:-1]}`"
        )
    # 2.
    found = Activation.from_bytes(envelope.payload)
    # 3.
    if found.node != node:
        raise PeerError(
            "identity", f"expected an activation at `{node}`, got one at `{found.node}`"
        )
    if found.digest != digest:
        raise _bad("expected an activation of these policies, got one of others")
    if found.previous != previous:
        raise PeerError(
            "replay",
            "expected an activation after the policies now in force, got one after others",
            remedy="sign the policies again",
        )
    # 4.
    if found.signed_at_ms > now_ms + MAX_SKEW_MS:
        raise _bad("expected an activation signed by now, got one dated in the future")
    # 5.
    signer = anchor.identify_unrevoked(envelope.certificate, now_ms=found.signed_at_ms)
    # 6.
    check_signer(signer, node)
    # 7.
    certificate = parse_certificate(envelope.certificate)
    check_signature(
        p256_key(certificate),
        pre_authentication_encoding(PayloadType.POLICY_ACTIVATION, envelope.payload),
        envelope.signature,
    )
    # 8.
    revocations.check_issuer(anchor)
    revocations.check_current(now_ms)
    if certificate.serial_number in revocations.serials:
        raise PeerError("certificate_revoked", f"the certificate of `{signer}` is revoked")
    return SignedActivation(found, signer)


def check_signer(signer: Identity, node: Identity) -> None:
    """Raise `PeerError` (`role`) unless `signer` is a user of the node's organisation."""
    home = (node.federation, node.organisation)
    if signer.role is not Role.USER or (signer.federation, signer.organisation) != home:
        raise PeerError(
            "role", f"expected an activation by a user of `{node.organisation}`, got `{signer}`"
        )


def _wrong(message: str) -> CallError:
    return CallError("argument", message)


def _bad(message: str) -> PeerError:
    return PeerError("signature", message, remedy="sign the policies again")
