"""The federation authority's pen: a key, its certificate, and what they may sign.

Pure: what was issued or revoked, and who may ask, is the authority service's business.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from yumen_core.clock import Clock
from yumen_core.errors import CallError, PeerError, StateError
from yumen_core.identity.certificates import (
    BAD_STRUCTURE,
    TrustAnchor,
    from_ms,
    p256_key,
    to_ms,
)
from yumen_core.identity.keys import SigningKey, public_key_bytes
from yumen_core.identity.names import Identity, Role, check_federation, federation_uri

DAY_MS = 24 * 60 * 60 * 1000
DEFAULT_LEAF_MS = 30 * DAY_MS
DEFAULT_LIST_MS = DAY_MS
ROOT_MS = 3652 * DAY_MS
# Certificates begin a little in the past, so that a slow clock does not refuse a new one.
SKEW_MS = 5 * 60 * 1000
MAX_CSR_BYTES = 8 * 1024
MAX_DNS_NAMES = 16

_SERVERS = frozenset({Role.COORDINATOR, Role.AUTHORITY})
_DNS = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*",
    re.ASCII,
)


@dataclass(frozen=True)
class Revoked:
    """One line of a revocation list."""

    serial: int
    revoked_at_ms: int


class CertificateAuthority:
    """Signs certificates and revocation lists for one federation."""

    def __init__(self, key: SigningKey, anchor: TrustAnchor, clock: Clock) -> None:
        """Raises `StateError` ("state") where key and certificate do not belong together."""
        if public_key_bytes(anchor.public_key) != key.public_bytes():
            raise StateError("state", "the authority's key and certificate do not match")
        self.anchor = anchor
        self._key = key
        self._clock = clock

    @classmethod
    def create(cls, key: SigningKey, federation: str, clock: Clock) -> CertificateAuthority:
        """An authority with a new root certificate: CA:TRUE, no intermediates, ten years.

        Raises `CallError` ("argument") where `federation` is no domain name.
        """
        check_federation(federation)
        now_ms = clock.now_ms()
        # The authority's key identifier in the name keeps two roots of one federation apart.
        mark = x509.SubjectKeyIdentifier.from_public_key(key.public_key).digest.hex()[:16]
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Yumen authority {mark}")])
        builder = (
            _builder(key.public_key, now_ms - SKEW_MS, now_ms + ROOT_MS)
            .subject_name(name)
            .issuer_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.UniformResourceIdentifier(federation_uri(federation))]
                ),
                critical=False,
            )
        )
        return cls(key, TrustAnchor(key.sign_certificate(builder), federation), clock)

    def issue(
        self,
        csr_der: bytes,
        identity: Identity,
        *,
        dns_names: Sequence[str] = (),
        lifetime_ms: int = DEFAULT_LEAF_MS,
    ) -> bytes:
        """A certificate (DER) for the key in `csr_der` and the name `identity`.

        Of the request only the key is used, once its signature has proved possession; subject,
        names and extensions in it are ignored. `dns_names` (host names or IP addresses) and the
        server purpose go to coordinators and the authority only. Raises `PeerError`
        ("certificate") for a bad request, `CallError` ("argument") for names that do not fit the
        role or federation, `StateError` ("certificate") once the root itself has expired.
        """
        if identity.federation != self.anchor.federation:
            raise CallError(
                "argument",
                f"expected an identity in federation `{self.anchor.federation}`, got `{identity}`",
            )
        names = [
            x509.UniformResourceIdentifier(identity.uri),
            *check_dns_names(identity, dns_names),
        ]
        public_key = p256_key(parse_csr(csr_der))
        now_ms = self._clock.now_ms()
        root = self.anchor.certificate
        end_ms = min(now_ms + lifetime_ms, to_ms(root.not_valid_after_utc))
        if end_ms <= now_ms:
            raise StateError(
                "certificate",
                "the authority's own certificate has expired",
                remedy="make a new authority and enrol every member again",
            )
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if identity.role in _SERVERS:
            purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
        builder = (
            _builder(public_key, now_ms - SKEW_MS, end_ms)
            .subject_name(x509.Name([]))
            .issuer_name(root.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            # Critical because the subject is empty (RFC 5280 section 4.2.1.6).
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.anchor.public_key),
                critical=False,
            )
        )
        return self._key.sign_certificate(builder)

    def issue_revocations(
        self, revoked: Sequence[Revoked], *, number: int, validity_ms: int = DEFAULT_LIST_MS
    ) -> bytes:
        """A CRL (DER) with the given `number`, which must exceed that of every earlier list."""
        now_ms = self._clock.now_ms()
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.anchor.certificate.subject)
            .last_update(from_ms(now_ms))
            .next_update(from_ms(now_ms + validity_ms))
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.anchor.public_key),
                critical=False,
            )
        )
        for entry in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(entry.serial)
                .revocation_date(from_ms(entry.revoked_at_ms))
                .build()
            )
        return self._key.sign_revocations(builder)


def parse_csr(csr_der: bytes) -> x509.CertificateSigningRequest:
    """A PKCS #10 request whose signature holds and whose key is P-256.

    Raises `PeerError` ("certificate").
    """
    if len(csr_der) > MAX_CSR_BYTES:
        raise PeerError(
            "certificate",
            f"a certificate request has at most {MAX_CSR_BYTES} bytes, got {len(csr_der)}",
        )
    try:
        csr = x509.load_der_x509_csr(csr_der)
        p256_key(csr)
        valid = csr.is_signature_valid
    except BAD_STRUCTURE:
        raise PeerError("certificate", "the bytes are not a certificate request") from None
    if not valid:
        raise PeerError("certificate", "the certificate request is not signed by its own key")
    return csr


def check_dns_names(identity: Identity, dns_names: Sequence[str]) -> list[x509.GeneralName]:
    """The names as the certificate will hold them.

    Raises `CallError` ("argument") where the role takes none or one is not a host name.
    """
    if dns_names and identity.role not in _SERVERS:
        raise CallError(
            "argument",
            f"only a coordinator or authority has host names, and `{identity}` is neither",
        )
    if len(dns_names) > MAX_DNS_NAMES:
        raise CallError("argument", f"at most {MAX_DNS_NAMES} host names, got {len(dns_names)}")
    names: list[x509.GeneralName] = []
    for text in dns_names:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(text)))
        except ValueError:
            if not _DNS.fullmatch(text) or text.replace(".", "").isdigit():
                raise CallError(
                    "argument", f"expected a lower-case host name or IP address, got `{text}`"
                ) from None
            names.append(x509.DNSName(text))
    return names


def dns_names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The host names and addresses that a certificate of this authority holds."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = (str(address) for address in names.get_values_for_type(x509.IPAddress))
    return (*names.get_values_for_type(x509.DNSName), *addresses)


def _builder(
    public_key: ec.EllipticCurvePublicKey, begin_ms: int, end_ms: int
) -> x509.CertificateBuilder:
    """What every certificate has: key, key identifier, serial of 159 random bits, times."""
    return (
        x509.CertificateBuilder()
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(from_ms(begin_ms))
        .not_valid_after(from_ms(end_ms))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
