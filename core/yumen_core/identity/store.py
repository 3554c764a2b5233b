"""One member's identity on disk: a folder that every role has in the same form.

    key.pem            private key, PKCS #8, mode 600
    certificate.pem    the member's certificate
    authority.pem      the federation authority's certificate
    revocations.crl    the newest revocation list seen, DER
    identity.json      identity and authority address, for people and for enrolling again

Trust line: whoever can write here can pass as this member and choose whom it believes. Whoever
can only read here without the private key learns nothing secret.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from yumen_core import canonical
from yumen_core.clock import Clock, SystemClock
from yumen_core.errors import CallError, PeerError, StateError
from yumen_core.identity.certificates import (
    BAD_STRUCTURE,
    TlsMaterial,
    TrustAnchor,
    needs_renewal,
    p256_key,
    parse_certificate,
    pem_from_der,
)
from yumen_core.identity.files import (
    make_private_directory,
    move_file,
    read_file,
    replace_file,
)
from yumen_core.identity.keys import SigningKey, public_key_bytes
from yumen_core.identity.names import Identity
from yumen_core.identity.revocation import MAX_LIST_BYTES, Revocations
from yumen_core.identity.tokens import check_address

_ENROL = "enrol with a token from the federation authority"
_ENROL_AGAIN = "enrol again with a new token into an empty folder"
_FETCH = "fetch the list from the federation authority again"
_MAX_TEXT_BYTES = 64 * 1024


@dataclass(frozen=True)
class LoadedIdentity:
    """A verified identity with its key, as one process uses it.

    `authority_address` is the authority's `host:port` for renewal and revocation lists.
    """

    identity: Identity
    key: SigningKey
    certificate_der: bytes
    anchor: TrustAnchor
    revocations: Revocations
    authority_address: str

    def tls(self) -> TlsMaterial:
        """Pieces for gRPC credentials. The chain is the leaf alone: every peer holds the root."""
        return TlsMaterial(
            private_key_pem=self.key.reveal_pem(),
            certificate_chain_pem=pem_from_der(self.certificate_der),
            root_pem=self.anchor.authority_pem(),
        )

    def needs_renewal(self, now_ms: int) -> bool:
        """Whether half of the certificate's life has passed."""
        return needs_renewal(self.certificate_der, now_ms)


class IdentityStore:
    """Reads and replaces the files of one identity folder."""

    def __init__(self, directory: Path, clock: Clock | None = None) -> None:
        self.directory = directory
        self._clock = clock if clock is not None else SystemClock()
        self._key = directory / "key.pem"
        self._next_key = directory / "key.next.pem"
        self._certificate = directory / "certificate.pem"
        self._authority = directory / "authority.pem"
        self._revocations = directory / "revocations.crl"
        self._description = directory / "identity.json"

    def load(self) -> LoadedIdentity:
        """Read and verify the folder.

        1. every file is there, and no other user can read the key;
        2. the authority's certificate is that of the described federation;
        3. the key belongs to the certificate (a renewal cut short is finished first);
        4. the certificate is valid now, from that authority, and names the described identity;
        5. the revocation list is the authority's. Its age is checked at each use, so that a
           process that was off for a day can start and fetch a new one;
        6. this member itself is not on that list.

        Raises `StateError` ("state", "certificate", "certificate_revoked" or "revocations").
        """
        # 1.
        identity, address = self._read_description()
        certificate_der = _read_pem(self._certificate)
        authority_der = _read_pem(self._authority)
        list_der = read_file(self._revocations, max_bytes=MAX_LIST_BYTES, remedy=_FETCH)
        try:
            # 2.
            anchor = TrustAnchor(authority_der, identity.federation)
            # 3.
            key = self._read_key(certificate_der)
            # 4.
            proven = anchor.identify_unrevoked(certificate_der, now_ms=self._clock.now_ms())
            # 5.
            revocations = Revocations.parse(list_der, anchor)
        except PeerError as error:
            remedy = _FETCH if error.code == "revocations" else _ENROL_AGAIN
            raise StateError(
                error.code, f"in `{self.directory}`: {error.message}", remedy=remedy
            ) from None
        if proven != identity:
            raise StateError(
                "state",
                f"`{self._description}` says `{identity}`, the certificate `{proven}`",
                remedy=_ENROL_AGAIN,
            )
        # 6.
        if parse_certificate(certificate_der).serial_number in revocations.serials:
            raise StateError("certificate_revoked", f"the certificate of `{identity}` is revoked")
        return LoadedIdentity(identity, key, certificate_der, anchor, revocations, address)

    def check_free_for(self, identity: Identity) -> None:
        """Refuse to mix identities: the folder is new, or holds this very identity already.

        Raises `CallError` ("argument").
        """
        if self._description.exists():
            held, _ = self._read_description()
            if held != identity:
                raise CallError(
                    "argument",
                    f"`{self.directory}` already holds `{held}`, and the token is for `{identity}`",
                    remedy="choose another folder",
                )
        elif self._key.exists():
            raise CallError(
                "argument",
                f"`{self._key}` exists and belongs to no enrolled identity",
                remedy="choose another folder",
            )

    def save(self, loaded: LoadedIdentity) -> None:
        """Write a new identity, or replace the key and certificate of the same one.

        The new key is on disk before the certificate that needs it, and takes its final name
        after, so that whenever the process dies `load` finds a matching pair.
        """
        self.check_free_for(loaded.identity)
        make_private_directory(self.directory)
        loaded.key.save(self._next_key)
        replace_file(self._authority, loaded.anchor.authority_pem())
        replace_file(self._revocations, loaded.revocations.der)
        replace_file(
            self._description,
            canonical.encode(
                {"authority": loaded.authority_address, "identity": loaded.identity.uri}
            )
            + b"\n",
        )
        replace_file(self._certificate, pem_from_der(loaded.certificate_der))
        move_file(self._next_key, self._key)

    def save_revocations(self, revocations: Revocations) -> None:
        """Keep a newer list, so that a restart cannot be shown an older one.

        Raises `PeerError` ("revocations") where the stored list is newer than this one.
        """
        identity, _ = self._read_description()
        anchor = TrustAnchor(_read_pem(self._authority), identity.federation)
        revocations.check_issuer(anchor)
        if self._revocations.exists():
            stored = read_file(self._revocations, max_bytes=MAX_LIST_BYTES)
            revocations.check_follows(Revocations.parse(stored, anchor))
        replace_file(self._revocations, revocations.der)

    def _read_key(self, certificate_der: bytes) -> SigningKey:
        wanted = public_key_bytes(p256_key(parse_certificate(certificate_der)))
        if self._next_key.exists():
            key = SigningKey.load(self._next_key)
            if key.public_bytes() == wanted:
                move_file(self._next_key, self._key)
                return key
        key = SigningKey.load(self._key)
        if key.public_bytes() != wanted:
            raise StateError(
                "state",
                f"`{self._key}` does not belong to `{self._certificate}`",
                remedy=_ENROL_AGAIN,
            )
        return key

    def _read_description(self) -> tuple[Identity, str]:
        raw = read_file(self._description, max_bytes=_MAX_TEXT_BYTES, remedy=_ENROL)
        try:
            fields = json.loads(raw)
            if set(fields) != {"authority", "identity"}:
                raise ValueError("wrong fields")
            return Identity.parse(fields["identity"]), check_address(fields["authority"])
        except (ValueError, TypeError, AttributeError, RecursionError, PeerError):
            raise StateError(
                "state", f"`{self._description}` is damaged", remedy=_ENROL_AGAIN
            ) from None


def _read_pem(path: Path) -> bytes:
    """The one certificate in a PEM file, as DER."""
    pem = read_file(path, max_bytes=_MAX_TEXT_BYTES, remedy=_ENROL)
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except BAD_STRUCTURE:
        raise StateError(
            "state", f"`{path}` holds no readable certificate", remedy=_ENROL_AGAIN
        ) from None
    return certificate.public_bytes(serialization.Encoding.DER)
