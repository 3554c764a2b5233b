"""gRPC channels and servers with mutual TLS, and the limits that hold on each of them.

Who the peer is comes from its certificate (`peer_identity`), never from a message.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc
import grpc.aio

from yumen_core.errors import PeerError
from yumen_core.identity.certificates import TlsMaterial
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Identity

MAX_MESSAGE_BYTES = 16 << 20
"""The largest single gRPC message. Larger payloads travel in chunks (`rpc.chunks`)."""

MAX_STREAMS = 4096

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
"""A server call's context, whatever its messages."""

_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
]
_SERVER_OPTIONS: list[tuple[str, int]] = [
    *_OPTIONS,
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.max_concurrent_streams", MAX_STREAMS),
    ("grpc.so_reuseport", 0),  # a second coordinator on the same port must fail, not share it
]
_CHANNEL_OPTIONS: list[tuple[str, int]] = [
    *_OPTIONS,
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
]


def server_credentials(tls: TlsMaterial) -> grpc.ServerCredentials:
    """Credentials of a server that demands a certificate of the federation from every client."""
    return grpc.ssl_server_credentials(
        [(tls.private_key_pem, tls.certificate_chain_pem)],
        root_certificates=tls.root_pem,
        require_client_auth=True,
    )


def channel_credentials(tls: TlsMaterial) -> grpc.ChannelCredentials:
    """Credentials of a client that shows its certificate and trusts the federation only."""
    return grpc.ssl_channel_credentials(
        root_certificates=tls.root_pem,
        private_key=tls.private_key_pem,
        certificate_chain=tls.certificate_chain_pem,
    )


def aio_server() -> grpc.aio.Server:
    return grpc.aio.server(options=_SERVER_OPTIONS)


def aio_channel(address: str, tls: TlsMaterial) -> grpc.aio.Channel:
    """A channel to `address` (host:port); the server's certificate must carry that host name."""
    return grpc.aio.secure_channel(address, channel_credentials(tls), options=_CHANNEL_OPTIONS)


def channel(address: str, tls: TlsMaterial) -> grpc.Channel:
    """The blocking kind of `aio_channel`."""
    return grpc.secure_channel(address, channel_credentials(tls), options=_CHANNEL_OPTIONS)


def peer_certificate(context: Context) -> bytes:
    """The caller's certificate, PEM. Raises `PeerError` (`certificate`) where there is none."""
    pem = context.auth_context().get("x509_pem_cert")
    if not pem:
        raise PeerError("certificate", "expected a client certificate, got none")
    return bytes(next(iter(pem)))


def peer_identity(context: Context, membership: Membership) -> Identity:
    """The identity in the caller's certificate, checked anew for validity and revocation.

    Raises `PeerError` (`certificate`, `certificate_revoked`, `revocations`). TLS has verified the
    chain already; it knows nothing of revocation or of our names.
    """
    return membership.identify_pem(peer_certificate(context))
