"""The authority on the network: TLS with its own certificate, three calls, limits on each.

No call needs a client certificate: a new member has none, a renewing one proves its key with a
signed envelope, and revocation lists are public and signed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

import grpc
import grpc.aio
from yumen_core.clock import Clock
from yumen_core.errors import PeerError, StateError, YumenError
from yumen_core.identity import (
    CertificateAuthority,
    SignedEnvelope,
    SigningKey,
    needs_renewal,
    pem_from_der,
)
from yumen_core.rpc.faults import abort
from yumen_core.rpc.v1 import authority_pb2 as wire
from yumen_core.rpc.v1 import authority_pb2_grpc

from yumen_authority.config import AuthorityConfig, authority_identity
from yumen_authority.limits import FailureLimit
from yumen_authority.office import Granted, Office

MAX_REQUEST_BYTES = 64 * 1024
MAX_CALLS = 64
CALL_LIMIT_S = 10.0

_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_concurrent_streams", MAX_CALLS),
    # Calls are single questions: an idle connection is not kept for long.
    ("grpc.max_connection_idle_ms", 60_000),
    ("grpc.so_reuseport", 0),
]

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")
_Context = grpc.aio.ServicerContext[object, object]


class AuthorityService(authority_pb2_grpc.AuthorityServicer):
    """Maps the wire to the office and its errors back; disk work runs in threads."""

    def __init__(self, office: Office, failures: FailureLimit, clock: Clock) -> None:
        self._office = office
        self._failures = failures
        self._clock = clock

    async def Enrol(self, request: wire.EnrolRequest, context: _Context) -> wire.EnrolResponse:
        def act() -> Granted:
            return self._office.enrol(request.token, request.csr)

        return _granted(await self._answer(context, act, counted=True))

    async def Renew(self, request: wire.RenewRequest, context: _Context) -> wire.EnrolResponse:
        def act() -> Granted:
            return self._office.renew(SignedEnvelope.from_proto(request.request))

        return _granted(await self._answer(context, act, counted=True))

    async def Revocations(
        self, request: wire.RevocationsRequest, context: _Context
    ) -> wire.RevocationsResponse:
        answer = await self._answer(context, self._office.revocations, counted=False)
        return wire.RevocationsResponse(revocations=answer)

    async def _answer(
        self, context: _Context, act: Callable[[], _Answer], *, counted: bool
    ) -> _Answer:
        """Run `act` in a thread and end the call with its error, if any.

        With `counted`, failures count against the peer, and a peer with too many is refused
        before anything is read.
        """
        peer = _host(context.peer())
        try:
            if counted and self._failures.blocks(peer, self._clock.now_ms()):
                raise PeerError("rate_limited", "too many failed attempts from this address")
            async with asyncio.timeout(CALL_LIMIT_S):
                return await asyncio.to_thread(act)
        except TimeoutError:
            error: YumenError = PeerError("deadline", "the authority was too busy to answer")
        except StateError as fault:
            # The detail names files of this machine: it is for the operator alone.
            _log.error("cannot answer: %s", fault)
            error = PeerError("failed", "the authority cannot answer at present")
        except YumenError as refusal:
            if counted and refusal.code != "rate_limited":
                self._failures.record(peer, self._clock.now_ms())
            _log.warning("refused %s: %s", peer, refusal.message)
            error = refusal
        await abort(context, error)
        raise AssertionError("abort does not return")


def tls_credentials(
    authority: CertificateAuthority, config: AuthorityConfig, clock: Clock
) -> grpc.ServerCredentials:
    """Server credentials that renew themselves at half-life.

    The key lives in memory only: each start makes a new one, and so does each renewal.
    """
    identity = authority_identity(config.federation)

    def make() -> tuple[bytes, grpc.ServerCertificateConfiguration]:
        key = SigningKey.generate()
        certificate = authority.issue(
            key.csr(), identity, dns_names=config.dns_names, lifetime_ms=config.certificate_ms
        )
        pair = (key.reveal_pem(), pem_from_der(certificate))
        return certificate, grpc.ssl_server_certificate_configuration([pair])

    held, current = make()

    def fetch() -> grpc.ServerCertificateConfiguration:
        # Called in a gRPC thread before each handshake. Two at once may both renew: harmless.
        nonlocal held, current
        if needs_renewal(held, clock.now_ms()):
            held, current = make()
        return current

    return grpc.dynamic_ssl_server_credentials(current, fetch)


def new_server(service: AuthorityService) -> grpc.aio.Server:
    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=MAX_CALLS)
    authority_pb2_grpc.add_AuthorityServicer_to_server(service, server)
    return server


def _granted(granted: Granted) -> wire.EnrolResponse:
    return wire.EnrolResponse(
        certificate=granted.certificate,
        authority=granted.authority,
        revocations=granted.revocations,
    )


def _host(peer: str) -> str:
    """The address of a gRPC peer such as `ipv4:10.0.0.7:51234`, without its port."""
    return peer.rpartition(":")[0]
