"""One-time enrolment tokens: how a new member and the authority first know each other.

The text is `yumen1.` and the base64url of canonical JSON. It carries the authority's whole
certificate, so the new member needs no other channel to trust the server it dials, and a secret,
of which the authority keeps only the SHA-256. Whoever reads a token before it is used can enrol
in its holder's place: send it as you would a password.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass

from yumen_core import canonical
from yumen_core.errors import PeerError, YumenError
from yumen_core.identity.certificates import TrustAnchor
from yumen_core.identity.names import Identity
from yumen_core.secret import Secret

MAX_TOKEN_CHARS = 8 * 1024
MAX_ADDRESS_CHARS = 300
SECRET_BYTES = 32

_PREFIX = "yumen1."
_FIELDS = {"address", "authority", "expires_at_ms", "id", "identity", "secret"}
_ADDRESS = re.compile(r"(?:\[[0-9a-f:.]+\]|[a-z0-9][a-z0-9.-]*):[0-9]{1,5}", re.ASCII)
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True)
class EnrolmentToken:
    """What the text says. `address` is the authority's `host:port`, `authority` its certificate.

    `repr` shows no secret; `text()` is the only way to the whole token.
    """

    id: str
    identity: Identity
    address: str
    authority: bytes
    expires_at_ms: int
    secret: Secret

    @classmethod
    def create(
        cls, identity: Identity, *, address: str, authority: bytes, expires_at_ms: int
    ) -> EnrolmentToken:
        """A token with a fresh id and secret from the operating system's generator."""
        return cls(
            id=secrets.token_hex(16),
            identity=identity,
            address=address,
            authority=authority,
            expires_at_ms=expires_at_ms,
            secret=Secret.generate(SECRET_BYTES),
        )

    def text(self) -> str:
        """The token as it is handed over. It holds the secret: never log it."""
        body = canonical.encode(
            {
                "address": self.address,
                "authority": _encode(self.authority),
                "expires_at_ms": self.expires_at_ms,
                "id": self.id,
                "identity": self.identity.uri,
                "secret": _encode(self.secret.reveal()),
            }
        )
        return _PREFIX + _encode(body)

    @classmethod
    def parse(cls, text: str) -> EnrolmentToken:
        """Read a token, in its one canonical spelling.

        Its authority must be that of its identity's federation. Raises `PeerError` ("token")
        without repeating any of the text.
        """
        text = text.strip()
        if len(text) > MAX_TOKEN_CHARS or not text.startswith(_PREFIX):
            raise PeerError("token", f"expected an enrolment token that begins with `{_PREFIX}`")
        try:
            fields = json.loads(_decode(text.removeprefix(_PREFIX)))
            token = cls._from_fields(fields)
        except (ValueError, TypeError, KeyError, RecursionError, YumenError):
            raise PeerError("token", "the enrolment token is damaged or cut short") from None
        if not hmac.compare_digest(token.text().encode(), text.encode()):
            raise PeerError("token", "the enrolment token is damaged or cut short")
        return token

    @classmethod
    def _from_fields(cls, fields: object) -> EnrolmentToken:
        if not isinstance(fields, dict) or set(fields) != _FIELDS:
            raise ValueError("wrong fields")
        expires_at_ms = fields["expires_at_ms"]
        values = {name: value for name, value in fields.items() if isinstance(value, str)}
        if values.keys() != _FIELDS - {"expires_at_ms"} or type(expires_at_ms) is not int:
            raise ValueError("wrong types")
        if not _ID.fullmatch(values["id"]):
            raise ValueError("wrong id")
        identity = Identity.parse(values["identity"])
        authority = _decode(values["authority"])
        TrustAnchor(authority, identity.federation)
        return cls(
            id=values["id"],
            identity=identity,
            address=check_address(values["address"]),
            authority=authority,
            expires_at_ms=expires_at_ms,
            secret=Secret(_decode(values["secret"]), length=SECRET_BYTES),
        )


@dataclass(frozen=True)
class TokenRecord:
    """What the authority keeps of a token: enough to check one, not to make one."""

    id: str
    identity: Identity
    dns_names: tuple[str, ...]
    secret_digest: bytes
    expires_at_ms: int
    used_at_ms: int | None = None
    cancelled: bool = False


def secret_digest(token: EnrolmentToken) -> bytes:
    """SHA-256 of the token's secret. 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(token.secret.reveal()).digest()


def check_token(record: TokenRecord | None, token: EnrolmentToken, now_ms: int) -> TokenRecord:
    """The authority's own `record` of `token`, once it is clear that it may be exchanged now.

    1. the authority knows the token's id;
    2. the secret is the one it made, compared in constant time; an unknown id and a wrong secret
       are answered alike;
    3. it was not cancelled;
    4. it was not used;
    5. it has not expired.

    The identity and host names come from the record, never from the token's text. The caller
    marks the record as used in the transaction that read it. Raises `PeerError` ("token").
    """
    # 1. and 2.
    known = record.secret_digest if record is not None else bytes(32)
    if not hmac.compare_digest(known, secret_digest(token)) or record is None:
        raise PeerError("token", "the enrolment token is not one of this authority's")
    # 3.
    if record.cancelled:
        raise PeerError("token", "the enrolment token was cancelled")
    # 4.
    if record.used_at_ms is not None:
        raise PeerError("token", "the enrolment token was used before")
    # 5.
    if now_ms >= record.expires_at_ms:
        raise PeerError("token", "the enrolment token has expired")
    return record


def check_address(address: str) -> str:
    """`address` itself, a `host:port`. Raises `PeerError` ("token") for anything else."""
    port = address.rpartition(":")[2]
    if len(address) > MAX_ADDRESS_CHARS or not _ADDRESS.fullmatch(address) or int(port) > 65535:
        raise PeerError("token", "the enrolment token names no authority address")
    return address


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
