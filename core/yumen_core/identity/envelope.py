"""Signed statements: DSSE v1 with the signer's certificate beside the signature.

https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md. The payload type is part of
what is signed, so a statement of one type can never be shown as one of another.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from yumen_core.errors import CallError, PeerError
from yumen_core.identity.certificates import TrustAnchor, p256_key, parse_certificate
from yumen_core.identity.keys import SigningKey, check_signature
from yumen_core.identity.names import Identity, Role
from yumen_core.identity.revocation import Revocations

if TYPE_CHECKING:
    from yumen_core.rpc.v1 import envelope_pb2

MAX_PAYLOAD_BYTES = 4 * 1024 * 1024
# ASN.1 DER of two 32-byte integers is at most 72 bytes.
MAX_SIGNATURE_BYTES = 72

_TYPE = re.compile(r"application/vnd\.yumen\.[a-z][a-z-]{0,62}\.v[1-9][0-9]{0,2}", re.ASCII)


class PayloadType(StrEnum):
    """Every type of statement that one member signs for another."""

    JOB_SPEC = "application/vnd.yumen.job-spec.v1"
    NODE_DESCRIPTOR = "application/vnd.yumen.node-descriptor.v1"
    DECISION = "application/vnd.yumen.decision.v1"
    SUPPORT = "application/vnd.yumen.support.v1"
    ROUND_INPUT = "application/vnd.yumen.round-input.v1"
    RENEWAL = "application/vnd.yumen.renewal.v1"
    CODE_REVIEW = "application/vnd.yumen.code-review.v1"
    COORDINATOR_DESCRIPTOR = "application/vnd.yumen.coordinator-descriptor.v1"
    POLICY_ACTIVATION = "application/vnd.yumen.policy-activation.v1"
    RECEIPT = "application/vnd.yumen.receipt.v1"


@dataclass(frozen=True)
class SignedEnvelope:
    """A statement as it travels, not yet believed: every field may be hostile."""

    payload: bytes
    payload_type: str
    signature: bytes
    certificate: bytes

    @classmethod
    def from_proto(cls, message: envelope_pb2.Envelope) -> SignedEnvelope:
        return cls(
            payload=message.payload,
            payload_type=message.payload_type,
            signature=message.signature,
            certificate=message.certificate,
        )

    def to_proto(self) -> envelope_pb2.Envelope:
        # Here, so that the identity package loads without the generated stubs.
        from yumen_core.rpc.v1 import envelope_pb2

        return envelope_pb2.Envelope(
            payload=self.payload,
            payload_type=self.payload_type,
            signature=self.signature,
            certificate=self.certificate,
        )


@dataclass(frozen=True)
class Opened:
    """A verified statement: `digest` is the SHA-256 of `payload`, `identity` who signed it."""

    payload: bytes
    identity: Identity
    digest: bytes


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed: DSSE v1 PAE.

    `DSSEv1 LEN(type) type LEN(payload) payload`, single spaces between, lengths in bytes as
    decimal numbers.
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(
    payload: bytes, payload_type: str, key: SigningKey, certificate_der: bytes
) -> SignedEnvelope:
    """Sign `payload` as a statement of `payload_type`.

    `certificate_der` is the signer's own certificate for `key`. Raises `CallError` ("argument")
    for another type syntax, ("payload_too_large") above 4 MiB.
    """
    if not _TYPE.fullmatch(payload_type):
        raise CallError(
            "argument",
            f"expected a payload type like `{PayloadType.JOB_SPEC}`, got `{payload_type}`",
        )
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise CallError(
            "payload_too_large",
            f"a signed payload has at most {MAX_PAYLOAD_BYTES} bytes, got {len(payload)}",
        )
    signature = key.sign(pre_authentication_encoding(payload_type, payload))
    return SignedEnvelope(payload, str(payload_type), signature, certificate_der)


def open_envelope(
    envelope: SignedEnvelope,
    *,
    expected_type: str,
    anchor: TrustAnchor,
    revocations: Revocations,
    now_ms: int,
    max_bytes: int,
    role: Role | Collection[Role] | None = None,
) -> Opened:
    """Verify a statement and say who made it.

    1. payload and signature are within `max_bytes` and 72 bytes;
    2. the payload type is exactly `expected_type`;
    3. the certificate proves an identity now (the ten steps of `TrustAnchor.identify`);
    4. the identity has `role`, or one of them where several are given; with None any role may
       sign, and the caller decides on the identity;
    5. the certificate's key signed the pre-authentication encoding of type and payload.

    Not checked here: whether the payload was seen before, or has expired by its own words. An
    ECDSA signature can be altered into a second valid one, so replays are told by `digest`, never
    by the signature. Raises `PeerError` with "payload_too_large", "signature", "role" or the
    codes of step 3.
    """
    check_form(envelope, expected_type, max_bytes)  # 1. and 2.
    # 3.
    identity = anchor.identify(envelope.certificate, now_ms=now_ms, revocations=revocations)
    return signed_by(identity, envelope, role)  # 4. and 5.


def open_past(
    envelope: SignedEnvelope,
    *,
    expected_type: str,
    anchor: TrustAnchor,
    at_ms: int,
    max_bytes: int,
    role: Role | Collection[Role] | None = None,
) -> Opened:
    """As `open_envelope`, for a statement of the past: its signer's certificate has to have been
    valid at `at_ms`, and whether it was revoked then is not known, so not checked.

    For auditors, who have no list of that time. Nobody acts on what this opens. Raises as
    `open_envelope`.
    """
    check_form(envelope, expected_type, max_bytes)
    identity = anchor.identify_unrevoked(envelope.certificate, now_ms=at_ms)
    return signed_by(identity, envelope, role)


def check_form(envelope: SignedEnvelope, expected_type: str, max_bytes: int) -> None:
    """Steps 1 and 2 of `open_envelope`."""
    # 1.
    if len(envelope.payload) > max_bytes:
        raise PeerError(
            "payload_too_large",
            f"expected a signed payload of at most {max_bytes} bytes, got {len(envelope.payload)}",
        )
    if len(envelope.signature) > MAX_SIGNATURE_BYTES:
        raise PeerError(
            "signature",
            f"a signature has at most {MAX_SIGNATURE_BYTES} bytes, got {len(envelope.signature)}",
        )
    # 2.
    if envelope.payload_type != expected_type:
        raise PeerError(
            "signature",
            f"expected a statement of type `{expected_type}`,"
            f" got `{ascii(envelope.payload_type[:128])[1:-1]}`",
        )


def signed_by(
    identity: Identity, envelope: SignedEnvelope, role: Role | Collection[Role] | None
) -> Opened:
    """Steps 4 and 5 of `open_envelope`: `identity` is the certificate's."""
    # 4.
    _check_role(identity, role)
    # 5.
    check_signature(
        p256_key(parse_certificate(envelope.certificate)),
        pre_authentication_encoding(envelope.payload_type, envelope.payload),
        envelope.signature,
    )
    digest = hashlib.sha256(envelope.payload).digest()
    return Opened(payload=envelope.payload, identity=identity, digest=digest)


def _check_role(identity: Identity, role: Role | Collection[Role] | None) -> None:
    if role is None:
        return
    allowed = {role} if isinstance(role, Role) else set(role)
    if identity.role not in allowed:
        wanted = " or ".join(sorted(allowed)) or "none"
        raise PeerError("role", f"expected a signer with role {wanted}, got `{identity}`")
