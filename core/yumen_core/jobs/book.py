"""Descriptors that were verified before, so that the same bytes are not verified again.

A descriptor comes back with every job and every catalogue. What was verified stays verified until
the revocation list changes, or the time of the descriptor or of its signer's certificate is over.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from yumen_core.identity.certificates import validity_ms
from yumen_core.identity.envelope import SignedEnvelope, open_envelope
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Role
from yumen_core.jobs import descriptor as descriptors
from yumen_core.jobs.descriptor import NodeDescriptor

MAX_REMEMBERED = 4096


@dataclass(frozen=True)
class SignedDescriptor:
    """A node's descriptor whose signature and signer hold, with the digest of its payload."""

    descriptor: NodeDescriptor
    digest: bytes


class DescriptorBook:
    """Opens signed descriptors for one member."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._opened: OrderedDict[bytes, tuple[SignedDescriptor, int]] = OrderedDict()
        self._list = b""

    def open(self, envelope: SignedEnvelope) -> SignedDescriptor:
        """Verify a node's signed descriptor and read it, or find that this was done.

        Raises `PeerError`: what `open_envelope` and `parse_descriptor` raise.
        """
        if self._list != self._membership.revocations.der:
            self._opened.clear()
            self._list = self._membership.revocations.der
        name = _fingerprint(envelope)
        now_ms = self._membership.clock.now_ms()
        self._membership.revocations.check_current(now_ms)
        held = self._opened.get(name)
        if held is not None and now_ms < held[1]:
            return held[0]
        found = open_descriptor(envelope, self._membership)
        _, not_after_ms = validity_ms(envelope.certificate)
        self._opened[name] = (found, min(not_after_ms, found.descriptor.expires_at_ms))
        if len(self._opened) > MAX_REMEMBERED:
            self._opened.popitem(last=False)
        return found


def open_descriptor(envelope: SignedEnvelope, membership: Membership) -> SignedDescriptor:
    """Verify a node's signed descriptor and read it. Raises `PeerError`."""
    now_ms = membership.clock.now_ms()
    opened = open_envelope(
        envelope,
        expected_type=descriptors.PAYLOAD_TYPE,
        anchor=membership.anchor,
        revocations=membership.revocations,
        now_ms=now_ms,
        max_bytes=descriptors.MAX_BYTES,
        role=Role.NODE,
    )
    parsed = descriptors.parse_descriptor(opened.payload, signer=opened.identity, now_ms=now_ms)
    return SignedDescriptor(parsed, descriptors.descriptor_digest(opened.payload))


def _fingerprint(envelope: SignedEnvelope) -> bytes:
    """A digest over every byte that was verified."""
    whole = hashlib.sha256()
    parts = (envelope.payload, envelope.payload_type.encode(), envelope.signature)
    for part in (*parts, envelope.certificate):
        whole.update(hashlib.sha256(part).digest())
    return whole.digest()
