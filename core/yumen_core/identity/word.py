"""The word of people of an institution, signed, about what may be done at its node.

Every such statement is canonical JSON of one form, names the node, and counts only while its
signer is a member in good standing. Reviews of code and activations of policies are two of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from yumen_core import canonical
from yumen_core.errors import CallError, PeerError
from yumen_core.identity.certificates import TrustAnchor, parse_certificate
from yumen_core.identity.envelope import (
    MAX_PAYLOAD_BYTES,
    PayloadType,
    SignedEnvelope,
    check_form,
    signed_by,
)
from yumen_core.identity.names import Identity, Role
from yumen_core.identity.revocation import MAX_SKEW_MS, Revocations

MAX_BYTES = 8 * 1024
_LATEST_MS = 253_402_300_799_999  # the year 9999, the last that a certificate can name


class Statement(Protocol):
    """What is signed; `made_at_ms` is in milliseconds since the Unix epoch."""

    @property
    def made_at_ms(self) -> int: ...

    def to_bytes(self) -> bytes: ...


S = TypeVar("S", bound=Statement)


@dataclass(frozen=True)
class Word(Generic[S]):
    """A verified statement and who made it; `serial` is of the certificate that signed."""

    statement: S
    signer: Identity
    serial: int


@dataclass(frozen=True)
class WordForm(Generic[S]):
    """One kind of statement: its `noun` with article, the type it is signed under, the name in its
    field `format`, all its fields, and what to do about a bad one. `build` makes the statement of
    its fields, with any error that a wrong type brings."""

    noun: str
    payload_type: PayloadType
    format: str
    fields: frozenset[str]
    remedy: str
    build: Callable[[dict[str, Any]], S]

    def bad(self, message: str) -> PeerError:
        return PeerError("signature", message, remedy=self.remedy)

    def read(self, payload: bytes) -> S:
        """The statement that `payload` spells, in its one canonical form; whose, is not known.

        Raises `PeerError` (`signature`) for any other bytes.
        """
        return canonical.read(
            payload,
            noun=self.noun,
            fields=self.fields,
            fixed={"format": self.format},
            max_bytes=MAX_BYTES,
            build=self.build,
            wrong=self.bad,
        )

    def open(
        self,
        envelope: SignedEnvelope,
        *,
        concerns: Callable[[S], None],
        entitled: Callable[[Identity], None],
        anchor: TrustAnchor,
        revocations: Revocations,
        now_ms: int,
    ) -> Word[S]:
        """Verify a statement, whenever it counts and not only when it comes in.

        1. The signature is within 72 bytes, and the type is that of this kind of statement.
        2. The payload is such a statement in canonical form.
        3. `concerns` holds: it is of this node, and of what is decided there.
        4. It is not dated in the future (5 minutes of skew).
        5. The certificate proved an identity when the statement was made (steps 1 to 8 of
           `TrustAnchor.identify`). That it expired since does not undo the statement.
        6. `entitled` holds of the signer.
        7. The certificate's key signed the payload under this type.
        8. The revocation list is current, and the certificate is not on it: last, so that
           "certificate_revoked" says that all else holds.

        A list names a revoked certificate until a day after it would have expired: who keeps
        statements for longer keeps what the lists said, too. Raises `PeerError` with "signature",
        "certificate", "revocations", "certificate_revoked", or what `concerns` and `entitled`
        raise.
        """
        # 1.
        try:
            check_form(envelope, self.payload_type, MAX_PAYLOAD_BYTES)
        except PeerError as error:
            raise self.bad(error.message) from None
        # 2.
        found = self.read(envelope.payload)
        # 3.
        concerns(found)
        # 4.
        if found.made_at_ms > now_ms + MAX_SKEW_MS:
            raise self.bad(f"expected {self.noun} made by now, got one dated in the future")
        # 5.
        signer = anchor.identify_unrevoked(envelope.certificate, now_ms=found.made_at_ms)
        # 6.
        entitled(signer)
        # 7.
        signed_by(signer, envelope, None)
        # 8.
        revocations.check_issuer(anchor)
        revocations.check_current(now_ms)
        serial = parse_certificate(envelope.certificate).serial_number
        if serial in revocations.serials:
            raise PeerError("certificate_revoked", f"the certificate of `{signer}` is revoked")
        return Word(found, signer, serial)


def check_time(at_ms: int) -> None:
    """Raises `CallError` (`argument`) for a time that no certificate could be valid at."""
    if isinstance(at_ms, bool) or not 0 <= at_ms <= _LATEST_MS:
        raise CallError("argument", f"expected a time from 0 to {_LATEST_MS}, got {at_ms}")


def is_colleague(signer: Identity, node: Identity) -> bool:
    """Whether `signer` is a user of the node's organisation."""
    home = (node.federation, node.organisation)
    return signer.role is Role.USER and (signer.federation, signer.organisation) == home
