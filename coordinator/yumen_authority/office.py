"""What the authority does: give out tokens, certify, renew, revoke. No network in here.

Each action is one transaction of the register, and is on disk before its result is handed out.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from yumen_core.clock import Clock
from yumen_core.errors import CallError, PeerError
from yumen_core.identity import (
    CertificateAuthority,
    EnrolmentToken,
    Identity,
    PayloadType,
    Revocations,
    Role,
    SignedEnvelope,
    open_envelope,
    serial_text,
)
from yumen_core.identity.authority import (
    DAY_MS,
    MAX_CSR_BYTES,
    check_dns_names,
    dns_names_of,
    parse_csr,
)
from yumen_core.identity.certificates import p256_key, parse_certificate, validity_ms
from yumen_core.identity.keys import public_key_bytes
from yumen_core.identity.tokens import TokenRecord, check_token, secret_digest

from yumen_authority.config import AuthorityConfig
from yumen_authority.register import Issued, Register, Session, StoredList

MAX_TOKEN_MS = 30 * DAY_MS
# Enough for a member that renews at half-life and enrols anew now and then.
MAX_LIVE_CERTIFICATES = 16

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Granted:
    """The answer to an enrolment or renewal, all DER."""

    certificate: bytes
    authority: bytes
    revocations: bytes


class Office:
    """The authority's actions over its key, register and settings."""

    def __init__(
        self,
        authority: CertificateAuthority,
        register: Register,
        config: AuthorityConfig,
        clock: Clock,
    ) -> None:
        self._authority = authority
        self._register = register
        self._config = config
        self._clock = clock

    def issue_token(
        self, identity: Identity, *, address: str, ttl_ms: int, dns_names: Sequence[str] = ()
    ) -> EnrolmentToken:
        """A one-time token for `identity`, valid for `ttl_ms`, at most 30 days.

        A coordinator's token fixes the host names of its certificate. Raises `CallError`
        ("argument").
        """
        anchor = self._authority.anchor
        if identity.federation != anchor.federation:
            raise CallError(
                "argument",
                f"expected an identity in federation `{anchor.federation}`, got `{identity}`",
            )
        if identity.role is Role.AUTHORITY:
            raise CallError("argument", f"`{identity}` is the authority's own role")
        if identity.role is Role.COORDINATOR and not dns_names:
            raise CallError(
                "argument", f"the coordinator `{identity}` needs a host name that others dial"
            )
        check_dns_names(identity, dns_names)
        if not 1 <= ttl_ms <= MAX_TOKEN_MS:
            raise CallError(
                "argument",
                f"a token is valid for up to {MAX_TOKEN_MS // 1000} seconds, got {ttl_ms // 1000}",
            )
        token = EnrolmentToken.create(
            identity,
            address=address,
            authority=anchor.authority_der,
            expires_at_ms=self._clock.now_ms() + ttl_ms,
        )
        record = TokenRecord(
            token.id, identity, tuple(dns_names), secret_digest(token), token.expires_at_ms
        )
        with self._register.transaction() as session:
            session.add_token(record)
        _log.info("token %s issued for %s", token.id, identity)
        return token

    def enrol(self, token_text: str, csr_der: bytes) -> Granted:
        """Exchange a token and a request for a certificate; the token is then used.

        Raises `PeerError` ("token", "certificate", "replay" or "rate_limited"); the token stays
        usable where the request was at fault.
        """
        token = EnrolmentToken.parse(token_text)
        parse_csr(csr_der)
        now_ms = self._clock.now_ms()
        with self._register.transaction() as session:
            record = check_token(session.token(token.id), token, now_ms)
            granted = self._grant(session, csr_der, record.identity, record.dns_names)
            session.use_token(token.id, now_ms)
        _log.info(
            "certificate %s for %s by token %s",
            serial_text(granted.certificate),
            record.identity,
            token.id,
        )
        return granted

    def renew(self, envelope: SignedEnvelope) -> Granted:
        """Certify a new key for the holder of a valid certificate.

        1. the envelope is a renewal signed now by an unrevoked member (`open_envelope`);
        2. its payload is a certificate request, signed by the new key;
        3. by the register, which is newer than any list, the certificate is not revoked;
        4. the new key was never certified before, so that an envelope works once.

        Name and host names are those of the current certificate. Raises `PeerError`.
        """
        now_ms = self._clock.now_ms()
        with self._register.transaction() as session:
            # 1.
            opened = open_envelope(
                envelope,
                expected_type=PayloadType.RENEWAL,
                anchor=self._authority.anchor,
                revocations=self._current_list(session),
                now_ms=now_ms,
                max_bytes=MAX_CSR_BYTES,
                role={Role.USER, Role.NODE, Role.AUDITOR, Role.COORDINATOR},
            )
            # 2.
            parse_csr(opened.payload)
            # 3.
            held = session.certificate(serial_text(envelope.certificate))
            if held is None or held.revoked_at_ms is not None:
                raise PeerError(
                    "certificate_revoked", f"the certificate of `{opened.identity}` is revoked"
                )
            # 4. is in _grant
            dns_names = dns_names_of(parse_certificate(envelope.certificate))
            granted = self._grant(session, opened.payload, opened.identity, dns_names)
        _log.info("certificate %s renews %s", serial_text(granted.certificate), opened.identity)
        return granted

    def revocations(self) -> bytes:
        """The newest list (DER), made anew where a quarter of its validity has passed."""
        with self._register.transaction() as session:
            return self._current_list(session).der

    def revoke(self, wanted: Identity | str) -> list[Issued]:
        """Revoke one serial number (hexadecimal), or all of an identity.

        For an identity its unused tokens are cancelled too. The new list is signed in the same
        transaction, so that a server in another process gives it out at once. Returns what was
        revoked. Raises `CallError` ("argument") where there is nothing to revoke.
        """
        now_ms = self._clock.now_ms()
        with self._register.transaction() as session:
            cancelled = 0
            if isinstance(wanted, Identity):
                cancelled = session.cancel_tokens(wanted)
                found = session.certificates(identity=wanted)
            else:
                one = session.certificate(wanted.lower().removeprefix("0x").lstrip("0"))
                found = [one] if one is not None else []
            chosen = [c for c in found if c.revoked_at_ms is None and c.not_after_ms >= now_ms]
            if not chosen and not cancelled:
                raise CallError(
                    "argument",
                    f"expected a certificate that is valid, and `{wanted}` has none",
                    remedy="list them with `yumen authority list`",
                )
            for issued in chosen:
                session.revoke(issued.serial, now_ms)
            self._new_list(session)
        for issued in chosen:
            _log.warning("certificate %s of %s revoked", issued.serial, issued.identity)
        return chosen

    def issued(self) -> list[Issued]:
        """Every certificate that was ever signed for a member, oldest first."""
        with self._register.transaction() as session:
            return session.certificates()

    def _grant(
        self, session: Session, csr_der: bytes, identity: Identity, dns_names: Sequence[str]
    ) -> Granted:
        now_ms = self._clock.now_ms()
        key_digest = hashlib.sha256(public_key_bytes(p256_key(parse_csr(csr_der)))).digest()
        if session.knows_key(key_digest):
            raise PeerError(
                "replay",
                "this key was certified before, and each certificate needs a new one",
                remedy="make a new key and request",
            )
        live = [
            c
            for c in session.certificates(identity=identity)
            if c.revoked_at_ms is None and c.not_after_ms >= now_ms
        ]
        if len(live) >= MAX_LIVE_CERTIFICATES:
            raise PeerError(
                "rate_limited",
                f"`{identity}` holds {len(live)} valid certificates,"
                f" and at most {MAX_LIVE_CERTIFICATES} are allowed",
                remedy="revoke those that are not in use",
            )
        certificate = self._authority.issue(
            csr_der, identity, dns_names=dns_names, lifetime_ms=self._config.certificate_ms
        )
        not_after_ms = validity_ms(certificate)[1]
        issued = Issued(serial_text(certificate), identity, now_ms, not_after_ms, None)
        session.add_certificate(issued, key_digest)
        return Granted(
            certificate=certificate,
            authority=self._authority.anchor.authority_der,
            revocations=self._current_list(session).der,
        )

    def _current_list(self, session: Session) -> Revocations:
        stored = session.newest_list()
        age_ms = self._clock.now_ms() - stored.issued_at_ms if stored is not None else 0
        # A negative age means that the clock was set back: sign anew then too.
        if stored is None or not 0 <= age_ms < self._config.revocations_ms // 4:
            stored = self._new_list(session)
        return Revocations.parse(stored.der, self._authority.anchor)

    def _new_list(self, session: Session) -> StoredList:
        now_ms = self._clock.now_ms()
        previous = session.newest_list()
        # Time as the number keeps lists in order even when the register came from a backup.
        number = max(now_ms, previous.number + 1 if previous is not None else 0)
        # A certificate stays listed for a day after it expired, for readers with slow clocks.
        der = self._authority.issue_revocations(
            session.revoked(expired_before_ms=now_ms - DAY_MS),
            number=number,
            validity_ms=self._config.revocations_ms,
        )
        stored = StoredList(number, der, now_ms)
        session.put_list(stored)
        return stored
