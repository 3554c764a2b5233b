"""The coordinator's signed descriptor: made anew when half of its life is over."""

from __future__ import annotations

from yumen_core.identity.envelope import PayloadType, SignedEnvelope
from yumen_core.identity.membership import Membership
from yumen_core.jobs.coordinator_descriptor import LIFETIME_MS, CoordinatorDescriptor


class CoordinatorPublication:
    """Keeps one descriptor current. It names the key of this coordinator's log."""

    def __init__(self, membership: Membership, log_key: str) -> None:
        self._membership = membership
        self.log_key = log_key
        self._envelope: SignedEnvelope | None = None
        self._renew_ms = 0

    def current(self) -> SignedEnvelope:
        """The descriptor to show now, signed."""
        now_ms = self._membership.clock.now_ms()
        if self._envelope is None or now_ms >= self._renew_ms:
            described = CoordinatorDescriptor(
                self._membership.identity, self.log_key, now_ms, now_ms + LIFETIME_MS
            )
            self._envelope = self._membership.sign(
                described.to_bytes(), PayloadType.COORDINATOR_DESCRIPTOR
            )
            self._renew_ms = now_ms + LIFETIME_MS // 2
        return self._envelope
