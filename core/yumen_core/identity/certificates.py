"""Reading certificates: from bytes that anyone may have sent to the identity they prove."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from yumen_core.errors import PeerError, YumenError
from yumen_core.identity.names import Identity, federation_uri

if TYPE_CHECKING:
    from yumen_core.identity.revocation import Revocations

MAX_CERTIFICATE_BYTES = 16 * 1024
MAX_REMEMBERED = 4096

# Everything that reading a hostile structure can raise; none of these derive from one another.
BAD_STRUCTURE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_UNDERSTOOD = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.SubjectAlternativeName,
)


@dataclass(frozen=True)
class TlsMaterial:
    """What a TLS library needs for one end of mutual TLS, each in PEM."""

    private_key_pem: bytes = field(repr=False)
    certificate_chain_pem: bytes
    root_pem: bytes


class TrustAnchor:
    """The federation authority's certificate: all that a member needs to recognise the others.

    Trust line: whoever can replace the stored anchor decides whom this process believes.
    """

    def __init__(self, authority_der: bytes, federation: str) -> None:
        """`authority_der` is the authority's own X.509 certificate, learned out of band.

        Raises `PeerError` ("certificate") unless it is a self-signed P-256 certificate that may
        sign certificates and names `federation`.
        """
        self._certificate = parse_certificate(authority_der)
        self._key = p256_key(self._certificate)
        self._members: OrderedDict[bytes, tuple[x509.Certificate, Identity]] = OrderedDict()
        self.authority_der = authority_der
        self.federation = federation
        try:
            self._certificate.verify_directly_issued_by(self._certificate)
            extensions = self._certificate.extensions
            basic = extensions.get_extension_for_class(x509.BasicConstraints).value
            usage = extensions.get_extension_for_class(x509.KeyUsage).value
            uris = _uris(self._certificate)
        except (InvalidSignature, x509.ExtensionNotFound, *BAD_STRUCTURE):
            raise _bad("the authority's certificate is not a signing certificate") from None
        if not basic.ca or not usage.key_cert_sign or not usage.crl_sign:
            raise _bad("the authority's certificate is not a signing certificate")
        if uris != [federation_uri(federation)]:
            raise _bad(f"the authority's certificate is not that of federation `{federation}`")

    @classmethod
    def read(cls, authority_der: bytes) -> TrustAnchor:
        """The anchor of whichever federation the certificate names. Raises `PeerError`
        ("certificate")."""
        try:
            (uri,) = _uris(parse_certificate(authority_der))
        except (x509.ExtensionNotFound, *BAD_STRUCTURE):
            raise _bad("the authority's certificate names no federation") from None
        return cls(authority_der, uri.removeprefix(federation_uri("")))

    @property
    def certificate(self) -> x509.Certificate:
        return self._certificate

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._key

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the authority's certificate, 32 bytes."""
        return self._certificate.fingerprint(hashes.SHA256())

    def authority_pem(self) -> bytes:
        return pem_from_der(self.authority_der)

    def identify(self, leaf_der: bytes, *, now_ms: int, revocations: Revocations) -> Identity:
        """The identity that a certificate proves now.

        Steps 1 to 8 are `identify_unrevoked`'s; then, of RFC 5280 section 6.3:

        9.  the revocation list is this authority's and has not passed its next update: a stale
            list would let a revoked key pass, so it fails closed;
        10. the serial number is not on the list.

        There is no path building: the only accepted path is leaf, authority. Raises `PeerError`
        "certificate", "revocations" or "certificate_revoked".
        """
        leaf, identity = self._check_member(leaf_der, now_ms)
        # 9.
        revocations.check_issuer(self)
        revocations.check_current(now_ms)
        # 10.
        if leaf.serial_number in revocations.serials:
            raise PeerError("certificate_revoked", f"the certificate of `{identity}` is revoked")
        return identity

    def identify_pem(self, leaf_pem: bytes, *, now_ms: int, revocations: Revocations) -> Identity:
        """`identify` for a certificate in PEM, the form in which TLS libraries give a peer's."""
        return self.identify(der_from_pem(leaf_pem), now_ms=now_ms, revocations=revocations)

    def identify_unrevoked(self, leaf_der: bytes, *, now_ms: int) -> Identity:
        """Steps 1 to 8 of `identify`, for one's own certificate, which others check for revocation.

        1. size and structure: one X.509 certificate, at most 16 KiB, DER;
        2. issuer is the anchor's subject and the anchor's key signed it, ECDSA with SHA-256, with
           the signature in its one DER form, as no byte of it is itself signed;
        3. now lies within not-before and not-after (both inclusive, RFC 5280 section 4.1.2.5);
        4. it is no signing certificate: CA:FALSE, digitalSignature and no certificate signing;
        5. it is good for client authentication and has no critical extension unknown here;
        6. its key is ECDSA P-256;
        7. exactly one URI among its alternative names, and that URI is an identity;
        8. the identity belongs to the anchor's federation.

        Raises `PeerError` ("certificate").
        """
        return self._check_member(leaf_der, now_ms)[1]

    def _check_member(self, leaf_der: bytes, now_ms: int) -> tuple[x509.Certificate, Identity]:
        """Steps 1 to 8. All but 3 depend on the bytes alone and are not repeated for bytes that
        passed before; the time is looked at whenever the certificate is shown."""
        known = self._members.get(leaf_der)
        if known is not None:
            _check_times(known[0], now_ms)
            return known
        checked = self._check_new_member(leaf_der, now_ms)
        self._members[leaf_der] = checked
        if len(self._members) > MAX_REMEMBERED:
            self._members.popitem(last=False)
        return checked

    def _check_new_member(self, leaf_der: bytes, now_ms: int) -> tuple[x509.Certificate, Identity]:
        # 1.
        leaf = parse_certificate(leaf_der)
        # 2.
        self._check_issued(leaf, leaf_der)
        # 3.
        _check_times(leaf, now_ms)
        try:
            # 4. and 5.
            _check_leaf(leaf)
            # 6.
            p256_key(leaf)
            # 7.
            uris = _uris(leaf)
        except (x509.ExtensionNotFound, *BAD_STRUCTURE):
            raise _bad("the certificate lacks an extension or has one that is damaged") from None
        if len(uris) != 1:
            raise _bad(f"expected exactly one URI in the certificate, got {len(uris)}")
        try:
            identity = Identity.parse(uris[0])
        except YumenError as error:
            raise _bad(f"the certificate names no identity: {error.message}") from None
        # 8.
        if identity.federation != self.federation:
            raise _bad(
                f"expected a certificate of federation `{self.federation}`,"
                f" got `{identity.federation}`"
            )
        return leaf, identity

    def _check_issued(self, leaf: x509.Certificate, leaf_der: bytes) -> None:
        try:
            if leaf.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA256:
                raise _bad("the certificate is not signed with ECDSA and SHA-256")
            leaf.verify_directly_issued_by(self._certificate)
            # A BIT STRING may declare trailing zero bits unused, and would verify all the same.
            if not leaf_der.endswith(b"\x00" + leaf.signature):
                raise _bad("the certificate's signature is not in its canonical form")
        except (InvalidSignature, *BAD_STRUCTURE):
            raise _bad("the certificate was not issued by the federation's authority") from None


def parse_certificate(der: bytes) -> x509.Certificate:
    """One X.509 certificate. Raises `PeerError` ("certificate"); nothing is verified."""
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise _bad(f"a certificate has at most {MAX_CERTIFICATE_BYTES} bytes, got {len(der)}")
    try:
        return x509.load_der_x509_certificate(der)
    except BAD_STRUCTURE:
        raise _bad("the bytes are not an X.509 certificate") from None


def p256_key(
    signed: x509.Certificate | x509.CertificateSigningRequest,
) -> ec.EllipticCurvePublicKey:
    """The P-256 key within. Raises `PeerError` ("certificate") for any other kind of key."""
    try:
        key = signed.public_key()
    except BAD_STRUCTURE:
        raise _bad("the public key is damaged or of an unknown kind") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _bad("expected an ECDSA P-256 key, got another kind")
    return key


def pem_from_der(certificate_der: bytes) -> bytes:
    """The PEM form, as the TLS library wants it."""
    return parse_certificate(certificate_der).public_bytes(serialization.Encoding.PEM)


def der_from_pem(pem: bytes) -> bytes:
    """The DER form of the first certificate in `pem`, as a TLS peer's is given.

    Raises `PeerError` ("certificate").
    """
    if len(pem) > 2 * MAX_CERTIFICATE_BYTES:
        raise _bad(f"a certificate has at most {MAX_CERTIFICATE_BYTES} bytes, got more")
    try:
        return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    except BAD_STRUCTURE:
        raise _bad("the text is not an X.509 certificate in PEM") from None


def serial_text(certificate_der: bytes) -> str:
    """The serial number in lower-case hexadecimal, as people name a certificate."""
    return f"{parse_certificate(certificate_der).serial_number:x}"


def validity_ms(certificate_der: bytes) -> tuple[int, int]:
    """Not-before and not-after in milliseconds since the epoch."""
    certificate = parse_certificate(certificate_der)
    return to_ms(certificate.not_valid_before_utc), to_ms(certificate.not_valid_after_utc)


def needs_renewal(certificate_der: bytes, now_ms: int) -> bool:
    """Whether half of the certificate's life has passed."""
    begin_ms, end_ms = validity_ms(certificate_der)
    return now_ms >= begin_ms + (end_ms - begin_ms) // 2


def to_ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000


def from_ms(ms: int) -> datetime:
    """UTC, cut to the whole seconds that X.509 can hold."""
    return datetime.fromtimestamp(ms // 1000, UTC)


def _check_times(leaf: x509.Certificate, now_ms: int) -> None:
    # Seconds, as in the certificate: not-after is the last second in which it is valid.
    now = from_ms(now_ms)
    if now < leaf.not_valid_before_utc:
        raise _bad(
            f"the certificate is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC"
        )
    if now > leaf.not_valid_after_utc:
        raise _bad(f"the certificate expired on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC")


def _check_leaf(leaf: x509.Certificate) -> None:
    extensions = leaf.extensions
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        raise _bad("expected a member's certificate, got one that may sign certificates")
    if not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:
        raise _bad("the certificate's key usage is not digital signature alone")
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    if ExtendedKeyUsageOID.CLIENT_AUTH not in purposes:
        raise _bad("the certificate is not for client authentication")
    for extension in extensions:
        if extension.critical and not isinstance(extension.value, _UNDERSTOOD):
            raise _bad(f"the certificate has the unknown critical extension {extension.oid}")


def _uris(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _bad(message: str) -> PeerError:
    return PeerError("certificate", message)
