"""What a coordinator says of itself: the key of its log. Signed by it, as a node's descriptor is.

Whoever depends on the coordinator's own decisions checks their proofs against this key, and keeps
the first one it sees: a coordinator with two keys could keep two logs.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from yumen_core.errors import CallError, PeerError
from yumen_core.identity.envelope import PayloadType, SignedEnvelope, open_envelope
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Identity, Role
from yumen_core.log.note import Verifier
from yumen_core.rpc.v1 import job_pb2

MAX_BYTES = 1 << 14
LIFETIME_MS = 24 * 3600 * 1000
_SKEW_MS = 5 * 60 * 1000


@dataclass(frozen=True)
class CoordinatorDescriptor:
    """`log_key` is the verifier key of the coordinator's log, as text."""

    coordinator: Identity
    log_key: str
    issued_at_ms: int
    expires_at_ms: int

    def to_bytes(self) -> bytes:
        """The payload to sign."""
        return job_pb2.CoordinatorDescriptor(
            coordinator=self.coordinator.uri,
            log_key=self.log_key,
            issued_at_ms=self.issued_at_ms,
            expires_at_ms=self.expires_at_ms,
        ).SerializeToString(deterministic=True)


def open_coordinator_descriptor(
    envelope: SignedEnvelope, membership: Membership
) -> CoordinatorDescriptor:
    """Verify a coordinator's signed descriptor and read it.

    1. It is signed by a coordinator of this federation. 2. It speaks of its signer. 3. It is valid
    now, for a day at most. 4. It names the key of a log.
    Raises `PeerError`: what `open_envelope` raises (1), `descriptor` (2 to 4).
    """
    now_ms = membership.clock.now_ms()
    opened = open_envelope(
        envelope,
        expected_type=PayloadType.COORDINATOR_DESCRIPTOR,
        anchor=membership.anchor,
        revocations=membership.revocations,
        now_ms=now_ms,
        max_bytes=MAX_BYTES,
        role=Role.COORDINATOR,
    )
    return parse_coordinator_descriptor(opened.payload, signer=opened.identity, now_ms=now_ms)


def parse_coordinator_descriptor(
    payload: bytes, *, signer: Identity, now_ms: int
) -> CoordinatorDescriptor:
    """Read a descriptor whose signature by `signer`, a coordinator, has been verified: steps 2 to 4
    of `open_coordinator_descriptor`. Raises `PeerError` (`descriptor`)."""
    try:
        message = job_pb2.CoordinatorDescriptor.FromString(payload)
    except DecodeError:
        raise PeerError(
            "descriptor", "expected a coordinator's descriptor, got other bytes"
        ) from None
    if message.coordinator != signer.uri:
        raise PeerError(
            "descriptor",
            f"expected a descriptor of its signer `{signer.uri}`, "
            f"got one of `{message.coordinator[:200]}`",
        )
    lifetime_ms = message.expires_at_ms - message.issued_at_ms
    begun = message.issued_at_ms - _SKEW_MS <= now_ms
    if lifetime_ms > LIFETIME_MS or not begun or now_ms >= message.expires_at_ms:
        raise PeerError("descriptor", "expected a descriptor that is valid now, got another")
    try:
        Verifier.parse(message.log_key)
    except CallError:
        raise PeerError(
            "descriptor", "expected the key of the coordinator's log, got none"
        ) from None
    return CoordinatorDescriptor(
        signer, message.log_key, message.issued_at_ms, message.expires_at_ms
    )
