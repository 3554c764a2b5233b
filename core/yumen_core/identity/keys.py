"""The signing key behind a certificate.

It is made where it lives, is stored at mode 600, and leaves this process only into the TLS
library. Sealing keys are in `sealing`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from yumen_core.errors import PeerError, StateError
from yumen_core.identity.files import PRIVATE_MODE, read_file, replace_file

MAX_KEY_FILE_BYTES = 16 * 1024


class SigningKey:
    """An ECDSA P-256 private key (FIPS 186-5). It cannot be printed or pickled."""

    __slots__ = ("_key",)

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        if not isinstance(key.curve, ec.SECP256R1):
            raise ValueError(f"expected a P-256 key, got {key.curve.name}")
        self._key = key

    @classmethod
    def generate(cls) -> SigningKey:
        """A fresh key from the operating system's generator."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """Read PKCS #8 PEM. Raises `StateError` ("state") for a missing, damaged or open file."""
        pem = read_file(path, private=True, max_bytes=MAX_KEY_FILE_BYTES)
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise StateError("state", f"`{path}` holds no readable private key") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise StateError("state", f"`{path}` holds another kind of key, expected ECDSA P-256")
        return cls(key)

    def save(self, path: Path) -> None:
        """Write PKCS #8 PEM at mode 600, whole or not at all."""
        replace_file(path, self.reveal_pem(), mode=PRIVATE_MODE)

    def reveal_pem(self) -> bytes:
        """The private key as PKCS #8 PEM: for the TLS library only. Keep no copy."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._key.public_key()

    def public_bytes(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return public_key_bytes(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """ECDSA with SHA-256 over `message`, ASN.1 DER.

        The nonce is derived from key and message (RFC 6979), so that a weak generator cannot
        reveal the key and a statement signed again is the same bytes.
        """
        return self._key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))

    def csr(self) -> bytes:
        """A PKCS #10 request (RFC 2986), DER, with an empty subject.

        It proves possession of the key and says nothing else: the authority takes the name from
        the token or the certificate shown with the request.
        """
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def sign_certificate(self, builder: x509.CertificateBuilder) -> bytes:
        """The finished X.509 certificate, DER; for the certificate authority."""
        made = builder.sign(self._key, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.DER)

    def sign_revocations(self, builder: x509.CertificateRevocationListBuilder) -> bytes:
        """The finished X.509 CRL, DER; for the certificate authority."""
        made = builder.sign(self._key, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.DER)

    def __repr__(self) -> str:
        return "SigningKey(redacted)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signing key cannot be pickled")


def public_key_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """SubjectPublicKeyInfo of `key`, DER: the form that is compared and digested."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def check_signature(key: ec.EllipticCurvePublicKey, message: bytes, signature: bytes) -> None:
    """Raise `PeerError` ("signature") unless `signature` is the key's over `message`."""
    try:
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise PeerError(
            "signature", "the signature does not match the signed bytes and their signer"
        ) from None
