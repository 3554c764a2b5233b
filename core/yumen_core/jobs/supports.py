"""One node's support share as it travels: what every party that carries or reads it can check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from yumen_core.errors import PeerError
from yumen_core.identity.envelope import PayloadType, SignedEnvelope, open_envelope
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Role
from yumen_core.rpc.v1 import job_pb2

MAX_SHARE_BYTES = 4 << 20


@dataclass(frozen=True)
class SignedShare:
    """A share whose signature and frame hold; the flags in it are sealed still."""

    node: str
    message: job_pb2.SupportShare
    payload: bytes


def open_share(
    envelope: SignedEnvelope,
    *,
    job_id: str,
    spec_digest: bytes,
    participants: Sequence[str],
    binding: bytes,
    membership: Membership,
) -> SignedShare:
    """Verify a share's signature and that it is of this job, this run and this participant set.

    `binding` is `rounds.support_binding`'s. 1. A node signed it (`open_envelope`). 2. It names the
    job, the signed job's digest, the binding and its signer. 3. It has flags for each participant
    and for nobody else.

    Raises `PeerError` (`round` and what `open_envelope` raises).
    """
    opened = open_envelope(
        envelope,
        expected_type=PayloadType.SUPPORT,
        anchor=membership.anchor,
        revocations=membership.revocations,
        now_ms=membership.clock.now_ms(),
        max_bytes=MAX_SHARE_BYTES,
        role=Role.NODE,
    )
    try:
        share = job_pb2.SupportShare.FromString(opened.payload)
    except DecodeError:
        raise PeerError("round", "expected a support share, got other bytes") from None
    same = (
        share.job_id == job_id
        and share.spec_digest == spec_digest
        and share.participants_digest == binding
        and share.node == opened.identity.uri
        and sorted(share.sealed) == list(participants)
    )
    if not same:
        raise PeerError(
            "round",
            "expected one support share a participant for this job, run and set, got another",
            node=opened.identity.uri,
        )
    return SignedShare(share.node, share, opened.payload)
