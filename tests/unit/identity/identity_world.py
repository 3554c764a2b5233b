"""One small federation for the tests: an authority, a member, and a way to forge certificates."""

from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from yumen_core.clock import ManualClock
from yumen_core.identity import (
    CertificateAuthority,
    Identity,
    Revocations,
    Revoked,
    Role,
    SigningKey,
    TrustAnchor,
)
from yumen_core.identity.certificates import from_ms

FEDERATION = "gansu.example"
HOUR_MS = 3_600_000


@dataclass
class Federation:
    """An authority whose clock and key the test holds."""

    clock: ManualClock
    key: SigningKey
    authority: CertificateAuthority
    numbers: list[int] = field(default_factory=lambda: [0])

    @property
    def anchor(self) -> TrustAnchor:
        return self.authority.anchor

    @property
    def now_ms(self) -> int:
        return self.clock.now_ms()

    def member(self, name: str = "li", role: Role = Role.USER) -> tuple[SigningKey, bytes]:
        key = SigningKey.generate()
        return key, self.authority.issue(key.csr(), Identity(FEDERATION, "lzu", role, name))

    def revocations(self, *serials: int) -> Revocations:
        self.numbers.append(self.numbers[-1] + 1)
        der = self.authority.issue_revocations(
            [Revoked(serial, self.now_ms) for serial in serials], number=self.numbers[-1]
        )
        return Revocations.read(der, self.anchor, now_ms=self.now_ms)

    def forge(self, change: Callable[["Leaf"], None] = lambda leaf: None) -> bytes:
        """A certificate from the true authority key, altered in one way before signing."""
        leaf = Leaf(self)
        change(leaf)
        return leaf.signed()


class Leaf:
    """The parts of a member's certificate, each open to change."""

    def __init__(self, federation: Federation) -> None:
        now_ms = federation.now_ms
        self.issuer = federation.anchor.certificate.subject
        self.signer: object = serialization.load_pem_private_key(
            federation.key.reveal_pem(), password=None
        )
        self.hash: hashes.HashAlgorithm = hashes.SHA256()
        self.public_key: object = SigningKey.generate().public_key
        self.begin_ms = now_ms - HOUR_MS
        self.end_ms = now_ms + HOUR_MS
        self.uris = [f"spiffe://{FEDERATION}/org/lzu/user/li"]
        self.basic: x509.BasicConstraints | None = x509.BasicConstraints(False, None)
        self.usage = {"digital_signature": True, "key_cert_sign": False, "crl_sign": False}
        self.purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
        self.more: list[x509.ExtensionType] = []

    def signed(self) -> bytes:
        off = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        flags = dict.fromkeys((*off, "encipher_only", "decipher_only"), False) | self.usage
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.issuer)
            .public_key(self.public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(from_ms(self.begin_ms))
            .not_valid_after(from_ms(self.end_ms))
            .add_extension(x509.KeyUsage(**flags), critical=True)
            .add_extension(x509.ExtendedKeyUsage(self.purposes), critical=False)
        )
        if self.basic is not None:
            builder = builder.add_extension(self.basic, critical=True)
        names = [x509.UniformResourceIdentifier(uri) for uri in self.uris]
        names = names or [x509.DNSName("a.example")]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        for extension in self.more:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(self.signer, self.hash).public_bytes(serialization.Encoding.DER)


def new_federation(name: str = FEDERATION) -> Federation:
    clock = ManualClock()
    key = SigningKey.generate()
    return Federation(clock, key, CertificateAuthority.create(key, name, clock))
