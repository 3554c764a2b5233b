"""One process's standing in its federation: who it is, and whom it believes at this moment."""

from __future__ import annotations

from pathlib import Path

from yumen_core.clock import Clock
from yumen_core.identity.certificates import TlsMaterial, TrustAnchor
from yumen_core.identity.envelope import SignedEnvelope, sign
from yumen_core.identity.names import Identity
from yumen_core.identity.revocation import Revocations
from yumen_core.identity.store import IdentityStore, LoadedIdentity


class Membership:
    """A loaded identity together with the newest revocation list this process has seen.

    The list only ever moves forward, and is kept on disk, so that neither a coordinator nor a
    restart can bring an older one back.
    """

    def __init__(self, directory: Path, clock: Clock) -> None:
        """Load the identity folder `directory`. Raises `StateError`."""
        self._store = IdentityStore(directory, clock)
        self._loaded: LoadedIdentity = self._store.load()
        self._revocations = self._loaded.revocations
        self.clock = clock

    @property
    def identity(self) -> Identity:
        return self._loaded.identity

    @property
    def certificate(self) -> bytes:
        """DER, as it stood at the start."""
        return self._loaded.certificate_der

    @property
    def anchor(self) -> TrustAnchor:
        return self._loaded.anchor

    @property
    def revocations(self) -> Revocations:
        return self._revocations

    @property
    def authority_address(self) -> str:
        return self._loaded.authority_address

    def tls(self) -> TlsMaterial:
        return self._loaded.tls()

    def sign(self, payload: bytes, payload_type: str) -> SignedEnvelope:
        """`payload` as this member's signed statement."""
        return sign(payload, payload_type, self._loaded.key, self._loaded.certificate_der)

    def learn(self, revocations_der: bytes) -> bool:
        """Take up a revocation list from a peer; whether it was newer than the one known.

        Raises `PeerError` (`revocations`) where it is not the authority's, expired, or differs
        from a known list of the same number. An older list is ignored: it may be on its way still.
        """
        found = Revocations.parse(revocations_der, self.anchor)
        if found.number < self._revocations.number:
            return False
        if found.number == self._revocations.number and found.der == self._revocations.der:
            return False
        found = Revocations.read(
            revocations_der,
            self.anchor,
            now_ms=self.clock.now_ms(),
            previous=self._revocations,
        )
        self._store.save_revocations(found)
        self._revocations = found
        return True

    def identify_pem(self, certificate_pem: bytes) -> Identity:
        """The identity a TLS peer's certificate proves now. Raises `PeerError`."""
        return self.anchor.identify_pem(
            certificate_pem, now_ms=self.clock.now_ms(), revocations=self._revocations
        )
