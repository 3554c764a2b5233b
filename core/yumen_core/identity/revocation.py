"""Which certificates no longer count: the authority's X.509 CRL (RFC 5280 section 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import SignatureAlgorithmOID

from yumen_core.errors import PeerError
from yumen_core.identity.certificates import BAD_STRUCTURE, to_ms

if TYPE_CHECKING:
    from yumen_core.identity.certificates import TrustAnchor

MAX_LIST_BYTES = 1024 * 1024
# How far the authority's clock may run ahead of the reader's.
MAX_SKEW_MS = 5 * 60 * 1000


@dataclass(frozen=True)
class Revocations:
    """A list whose signature was verified. Its freshness is checked at each use.

    `number` is the CRL number, which only grows; `serials` the certificates that are revoked;
    `authority` the SHA-256 fingerprint of the anchor that verified it.
    """

    der: bytes
    number: int
    this_update_ms: int
    next_update_ms: int
    serials: frozenset[int]
    authority: bytes

    @classmethod
    def read(
        cls,
        der: bytes,
        anchor: TrustAnchor,
        *,
        now_ms: int,
        previous: Revocations | None = None,
    ) -> Revocations:
        """A list as it comes from a peer: steps 1 to 5 of `parse`, then

        6. this update is not in the future (5 minutes of skew) and next update has not passed;
        7. it does not go back behind `previous`, the newest list known so far.

        Raises `PeerError` ("revocations").
        """
        revocations = cls.parse(der, anchor)
        # 6.
        revocations.check_current(now_ms)
        # 7.
        if previous is not None:
            revocations.check_follows(previous)
        return revocations

    @classmethod
    def parse(cls, der: bytes, anchor: TrustAnchor) -> Revocations:
        """A list from this machine's own store, whose age is checked when it is used.

        1. size and structure: one CRL, at most 1 MiB, DER;
        2. issuer is the anchor's subject;
        3. the anchor's key signed it, ECDSA with SHA-256;
        4. it has a CRL number and a next update;
        5. no critical extension, neither of the list nor of an entry: a partial (delta) or
           indirect list is marked by one.

        Raises `PeerError` ("revocations").
        """
        # 1.
        if len(der) > MAX_LIST_BYTES:
            raise _bad(f"a revocation list has at most {MAX_LIST_BYTES} bytes, got {len(der)}")
        try:
            crl = x509.load_der_x509_crl(der)
            # 2.
            if crl.issuer != anchor.certificate.subject:
                raise _bad("the revocation list is not from the federation's authority")
            # 3.
            if crl.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA256 or (
                not crl.is_signature_valid(anchor.public_key)
            ):
                raise _bad("the revocation list is not signed by the federation's authority")
            # 4.
            number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            if crl.next_update_utc is None:
                raise _bad("the revocation list does not say when it expires")
            # 5.
            entries = list(crl)
            parts = [crl.extensions, *(entry.extensions for entry in entries)]
            if any(extension.critical for part in parts for extension in part):
                raise _bad("the revocation list has a critical extension, which none may have")
        except (x509.ExtensionNotFound, *BAD_STRUCTURE):
            raise _bad("the bytes are not a numbered X.509 revocation list") from None
        return cls(
            der=der,
            number=number,
            this_update_ms=to_ms(crl.last_update_utc),
            next_update_ms=to_ms(crl.next_update_utc),
            serials=frozenset(entry.serial_number for entry in entries),
            authority=anchor.fingerprint,
        )

    def check_current(self, now_ms: int) -> None:
        """Raise `PeerError` ("revocations") outside this update (less skew) and next update."""
        if now_ms + MAX_SKEW_MS < self.this_update_ms:
            raise _bad("the revocation list is dated in the future", "check this machine's clock")
        if now_ms >= self.next_update_ms:
            hours = (now_ms - self.next_update_ms) // 3_600_000
            raise _bad(f"the revocation list expired {hours} hours ago")

    def check_follows(self, previous: Revocations) -> None:
        """Raise `PeerError` ("revocations") unless this is `previous` or a later list.

        Lists of one number are compared by content: an ECDSA signature can be rewritten without
        the key, so whoever relays a list could else make the true one look like a second.
        """
        if self.number < previous.number:
            raise _bad(
                f"expected a revocation list numbered {previous.number} or later, got {self.number}"
            )
        if self.number == previous.number and self._content() != previous._content():
            raise _bad(f"two different revocation lists have the number {self.number}")

    def _content(self) -> tuple[int, int, frozenset[int], bytes]:
        return self.this_update_ms, self.next_update_ms, self.serials, self.authority

    def check_issuer(self, anchor: TrustAnchor) -> None:
        """Raise `PeerError` ("revocations") unless `anchor` is the one that verified this list."""
        if self.authority != anchor.fingerprint:
            raise _bad("the revocation list belongs to another authority")


def _bad(message: str, remedy: str | None = None) -> PeerError:
    return PeerError("revocations", message, remedy=remedy)
