"""What a member asks of the federation authority: enrol, renew, fetch revocations.

These calls block; asynchronous code runs them in a thread. The server is trusted by the
authority's certificate alone (from the token, later from the identity folder), never by the
system's certificate store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import grpc

from yumen_core.clock import Clock, SystemClock
from yumen_core.errors import PeerError, YumenError
from yumen_core.identity.certificates import TrustAnchor, p256_key, parse_certificate
from yumen_core.identity.envelope import PayloadType, sign
from yumen_core.identity.keys import SigningKey, public_key_bytes
from yumen_core.identity.names import Identity
from yumen_core.identity.revocation import Revocations
from yumen_core.identity.store import IdentityStore, LoadedIdentity
from yumen_core.identity.tokens import EnrolmentToken
from yumen_core.rpc.faults import from_rpc_error
from yumen_core.rpc.v1 import authority_pb2 as wire

_LOG = logging.getLogger(__name__)
CALL_TIMEOUT_S = 10.0
# A revocation list is the largest answer: at most 1 MiB.
MAX_ANSWER_BYTES = 2 * 1024 * 1024

_Answer = TypeVar("_Answer")


def enrol(token: str, directory: Path, *, clock: Clock | None = None) -> LoadedIdentity:
    """Exchange a one-time token for an identity, stored in `directory`.

    The private key is made here and stays here. The token is spent even where the answer is lost
    on the way; the authority then has to issue another. Raises `PeerError` ("token",
    "unreachable", "certificate" and what the authority answers), `CallError` ("argument") where
    the folder holds another identity, `StateError` ("state").
    """
    clock = clock if clock is not None else SystemClock()
    parsed = EnrolmentToken.parse(token)
    if clock.now_ms() >= parsed.expires_at_ms:
        raise PeerError("token", "the enrolment token has expired")
    store = IdentityStore(directory, clock)
    store.check_free_for(parsed.identity)
    anchor = TrustAnchor(parsed.authority, parsed.identity.federation)
    key = SigningKey.generate()
    request = wire.EnrolRequest(token=parsed.text(), csr=key.csr()).SerializeToString()
    answer = _call(parsed.address, anchor, "Enrol", request, wire.EnrolResponse.FromString)
    loaded = _accept(answer, parsed.identity, key, anchor, parsed.address, clock, previous=None)
    store.save(loaded)
    return loaded


def renew(directory: Path, *, clock: Clock | None = None) -> LoadedIdentity:
    """Exchange the certificate in `directory` for a new one, with a new key.

    The old certificate stays valid until its own end, so that connections need not break. Raises
    as `enrol` does, and `StateError` where the folder is not a valid identity.
    """
    clock = clock if clock is not None else SystemClock()
    store = IdentityStore(directory, clock)
    held = store.load()
    key = SigningKey.generate()
    envelope = sign(key.csr(), PayloadType.RENEWAL, held.key, held.certificate_der)
    request = wire.RenewRequest(request=envelope.to_proto()).SerializeToString()
    address = held.authority_address
    answer = _call(address, held.anchor, "Renew", request, wire.EnrolResponse.FromString)
    loaded = _accept(
        answer, held.identity, key, held.anchor, address, clock, previous=held.revocations
    )
    store.save(loaded)
    return loaded


def renew_if_due(directory: Path, *, clock: Clock) -> None:
    """Renew the certificate in `directory` once half its life is over.

    One that cannot be renewed today serves on until its end. Raises `StateError` where the folder
    is not a valid identity.
    """
    if not IdentityStore(directory, clock).load().needs_renewal(clock.now_ms()):
        return
    try:
        renew(directory, clock=clock)
    except YumenError as error:
        _LOG.warning("the certificate was not renewed: %s", error)


def fetch_revocations(
    address: str,
    anchor: TrustAnchor,
    *,
    previous: Revocations | None = None,
    clock: Clock | None = None,
) -> Revocations:
    """The authority's newest revocation list, verified and not older than `previous`.

    Raises `PeerError` ("unreachable", "deadline" or "revocations").
    """
    clock = clock if clock is not None else SystemClock()
    request = wire.RevocationsRequest().SerializeToString()
    answer = _call(address, anchor, "Revocations", request, wire.RevocationsResponse.FromString)
    return Revocations.read(answer.revocations, anchor, now_ms=clock.now_ms(), previous=previous)


def refresh_revocations(directory: Path, *, clock: Clock | None = None) -> Revocations:
    """Fetch the newest list for the identity in `directory` and keep it there.

    Raises as `fetch_revocations` and `IdentityStore.load` do.
    """
    store = IdentityStore(directory, clock)
    held = store.load()
    newest = fetch_revocations(
        held.authority_address, held.anchor, previous=held.revocations, clock=clock
    )
    store.save_revocations(newest)
    return newest


def _accept(
    answer: wire.EnrolResponse,
    identity: Identity,
    key: SigningKey,
    anchor: TrustAnchor,
    address: str,
    clock: Clock,
    *,
    previous: Revocations | None,
) -> LoadedIdentity:
    """Verify what the authority sent before anything is stored.

    1. it names the same authority that is trusted already;
    2. its revocation list is current and not older than `previous`;
    3. the certificate passes every step that a peer will apply;
    4. it is for this identity and for the key made here.
    """
    # 1.
    if answer.authority != anchor.authority_der:
        raise PeerError("certificate", "the authority answered with another authority's name")
    # 2.
    now_ms = clock.now_ms()
    revocations = Revocations.read(answer.revocations, anchor, now_ms=now_ms, previous=previous)
    # 3.
    proven = anchor.identify(answer.certificate, now_ms=now_ms, revocations=revocations)
    # 4.
    certified = public_key_bytes(p256_key(parse_certificate(answer.certificate)))
    if proven != identity or certified != key.public_bytes():
        raise PeerError(
            "certificate", f"expected a certificate of `{identity}` for the new key, got another"
        )
    return LoadedIdentity(identity, key, answer.certificate, anchor, revocations, address)


def _call(
    address: str,
    anchor: TrustAnchor,
    method: str,
    request: bytes,
    parse: Callable[[bytes], _Answer],
) -> _Answer:
    with _channel(address, anchor) as channel:
        call = channel.unary_unary(
            f"/yumen.v1.Authority/{method}",
            request_serializer=bytes,
            response_deserializer=parse,
        )
        try:
            answer: _Answer = call(request, timeout=CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            raise from_rpc_error(error, what=f"the authority at {address}") from None
    return answer


@contextmanager
def _channel(address: str, anchor: TrustAnchor) -> Iterator[grpc.Channel]:
    credentials = grpc.ssl_channel_credentials(root_certificates=anchor.authority_pem())
    options = [
        ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
        # A pooled connection would outlive the trust anchor it was made with.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    with grpc.secure_channel(address, credentials, options=options) as channel:
        yield channel
