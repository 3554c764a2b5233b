"""Who is who: names, keys, certificates, revocation, signed envelopes, sealed payloads.

The calls to the authority over the network are in `yumen_core.identity.client`, which is not
imported here because it loads gRPC.
"""

from yumen_core.identity.authority import CertificateAuthority, Revoked
from yumen_core.identity.certificates import (
    TlsMaterial,
    TrustAnchor,
    der_from_pem,
    needs_renewal,
    pem_from_der,
    serial_text,
)
from yumen_core.identity.envelope import (
    Opened,
    PayloadType,
    SignedEnvelope,
    open_envelope,
    sign,
)
from yumen_core.identity.keys import SigningKey
from yumen_core.identity.names import Identity, Role
from yumen_core.identity.revocation import Revocations
from yumen_core.identity.sealing import SealingKey, seal
from yumen_core.identity.store import IdentityStore, LoadedIdentity
from yumen_core.identity.tokens import EnrolmentToken

__all__ = [
    "CertificateAuthority",
    "EnrolmentToken",
    "Identity",
    "IdentityStore",
    "LoadedIdentity",
    "Opened",
    "PayloadType",
    "Revocations",
    "Revoked",
    "Role",
    "SealingKey",
    "SignedEnvelope",
    "SigningKey",
    "TlsMaterial",
    "TrustAnchor",
    "der_from_pem",
    "needs_renewal",
    "open_envelope",
    "pem_from_der",
    "seal",
    "serial_text",
    "sign",
]
