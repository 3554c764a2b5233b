"""A real authority server on loopback: enrolment, renewal and revocation over TLS."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from yumen_authority import service
from yumen_core.clock import Clock, ManualClock, SystemClock
from yumen_core.errors import CallError, PeerError, StateError
from yumen_core.identity import (
    EnrolmentToken,
    IdentityStore,
    PayloadType,
    SigningKey,
    client,
    serial_text,
    sign,
)
from yumen_core.identity.authority import dns_names_of
from yumen_core.identity.certificates import parse_certificate
from yumen_core.rpc.v1 import authority_pb2 as wire

NODE = "spiffe://gansu.example/org/lzu/node/cleveland"
USER = "spiffe://gansu.example/org/lzu/user/li"
COORDINATOR = "spiffe://gansu.example/org/federation/coordinator/main"


@contextmanager
def serving(directory: Path, clock: Clock | None = None) -> Iterator[str]:
    """The authority in a thread of its own, until the block ends; gives its address."""
    started = threading.Event()
    seen: list[str] = []
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []

    def ready(address: str) -> None:
        seen.append(address)
        started.set()

    async def run() -> None:
        task = asyncio.ensure_future(service.serve(directory, ready=ready, clock=clock))
        running.append((asyncio.get_running_loop(), task))
        await asyncio.wait([task])
        started.set()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert started.wait(20)
        assert seen, "the server did not start"
        yield seen[0]
    finally:
        loop, task = running[0]
        loop.call_soon_threadsafe(task.cancel)
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("authority") / "home"
    service.init_authority(directory, "gansu.example", "127.0.0.1:0", ["localhost"])
    return directory


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    with serving(home) as where:
        yield where


def test_enrolled_identity_loads_and_its_token_is_spent(
    home: Path, address: str, tmp_path: Path
) -> None:
    token = service.issue_token(home, NODE)
    loaded = client.enrol(token, tmp_path / "node")
    assert str(loaded.identity) == NODE
    assert loaded.authority_address == address
    again = IdentityStore(tmp_path / "node").load()
    assert again.identity == loaded.identity
    assert again.certificate_der == loaded.certificate_der
    assert (tmp_path / "node" / "key.pem").stat().st_mode & 0o777 == 0o600
    with pytest.raises(PeerError, match="the enrolment token was used before") as refused:
        client.enrol(token, tmp_path / "thief")
    assert refused.value.code == "token"
    assert not (tmp_path / "thief").exists()


def test_renewal_gives_a_new_key_and_the_same_name(
    home: Path, address: str, tmp_path: Path
) -> None:
    folder = tmp_path / "coordinator"
    token = service.issue_token(home, COORDINATOR, dns_names=["localhost", "127.0.0.1"])
    first = client.enrol(token, folder)
    second = client.renew(folder)
    assert second.identity == first.identity
    assert second.key.public_bytes() != first.key.public_bytes()
    assert serial_text(second.certificate_der) != serial_text(first.certificate_der)
    assert dns_names_of(parse_certificate(second.certificate_der)) == ("localhost", "127.0.0.1")
    assert IdentityStore(folder).load().certificate_der == second.certificate_der


def test_revocation_shows_in_the_list_and_stops_renewal(
    home: Path, address: str, tmp_path: Path
) -> None:
    folder = tmp_path / "user"
    loaded = client.enrol(service.issue_token(home, USER), folder)
    spare = service.issue_token(home, USER)
    before = client.fetch_revocations(address, loaded.anchor)
    loaded.anchor.identify(
        loaded.certificate_der, now_ms=SystemClock().now_ms(), revocations=before
    )

    revoked = service.revoke(home, USER)

    assert [str(r.identity) for r in revoked] == [USER]
    after = client.fetch_revocations(address, loaded.anchor, previous=before)
    assert after.number > before.number
    with pytest.raises(PeerError, match=f"the certificate of `{USER}` is revoked"):
        loaded.anchor.identify(
            loaded.certificate_der, now_ms=SystemClock().now_ms(), revocations=after
        )
    with pytest.raises(PeerError, match="is revoked") as refused:
        client.renew(folder)
    assert refused.value.code == "certificate_revoked"
    with pytest.raises(PeerError, match="the enrolment token was cancelled"):
        client.enrol(spare, tmp_path / "spare")
    client.refresh_revocations(folder)
    with pytest.raises(StateError, match="is revoked"):
        IdentityStore(folder).load()
    # The same member may come back with a new key, by a new token.
    assert client.enrol(service.issue_token(home, USER), tmp_path / "back").identity.uri == USER


def test_a_renewal_envelope_works_once(home: Path, address: str, tmp_path: Path) -> None:
    loaded = client.enrol(service.issue_token(home, NODE), tmp_path / "node")
    envelope = sign(
        SigningKey.generate().csr(), PayloadType.RENEWAL, loaded.key, loaded.certificate_der
    )
    request = wire.RenewRequest(request=envelope.to_proto()).SerializeToString()
    parse = wire.EnrolResponse.FromString
    client._call(address, loaded.anchor, "Renew", request, parse)
    with pytest.raises(PeerError, match="this key was certified before"):
        client._call(address, loaded.anchor, "Renew", request, parse)


def test_a_server_of_another_authority_is_not_believed(
    home: Path, address: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    service.init_authority(other, "gansu.example", address)
    token = service.issue_token(other, NODE)
    with pytest.raises(PeerError, match="could not reach the authority at") as refused:
        client.enrol(token, tmp_path / "node")
    assert refused.value.code == "unreachable"


def test_no_answer_is_told_as_unreachable(tmp_path: Path) -> None:
    home = tmp_path / "home"
    service.init_authority(home, "gansu.example", "127.0.0.1:1")
    with pytest.raises(PeerError, match=r"could not reach the authority at 127.0.0.1:1"):
        client.enrol(service.issue_token(home, NODE), tmp_path / "node")


def test_oversized_request_is_refused_and_the_token_stays(
    home: Path, address: str, tmp_path: Path
) -> None:
    text = service.issue_token(home, NODE)
    token = EnrolmentToken.parse(text)
    anchor = client.TrustAnchor(token.authority, "gansu.example")
    request = wire.EnrolRequest(token=text, csr=bytes(70_000)).SerializeToString()
    with pytest.raises(PeerError) as refused:
        client._call(address, anchor, "Enrol", request, wire.EnrolResponse.FromString)
    assert refused.value.code == "payload_too_large"
    assert client.enrol(text, tmp_path / "node").identity.uri == NODE


def test_state_outlives_the_server(tmp_path: Path) -> None:
    home = tmp_path / "home"
    service.init_authority(home, "gansu.example", "127.0.0.1:0")
    with pytest.raises(StateError, match="the authority has no port yet"):
        service.issue_token(home, NODE)
    with serving(home):
        loaded = client.enrol(service.issue_token(home, NODE), tmp_path / "node")
        token = service.issue_token(home, USER)
        EnrolmentToken.parse(token)
    service.revoke(home, serial_text(loaded.certificate_der))
    with serving(home) as address:
        found = client.fetch_revocations(address, loaded.anchor, previous=loaded.revocations)
    assert {f"{serial:x}" for serial in found.serials} == {serial_text(loaded.certificate_der)}
    listed = service.list_issued(home)
    assert [(i.identity.uri, i.revoked_at_ms is not None) for i in listed] == [(NODE, True)]


def test_too_many_failures_are_refused_before_they_are_read(tmp_path: Path) -> None:
    home = tmp_path / "home"
    service.init_authority(home, "gansu.example", "127.0.0.1:0")
    with serving(home) as address:
        text = service.issue_token(home, NODE)
        anchor = client.TrustAnchor(EnrolmentToken.parse(text).authority, "gansu.example")
        bad = wire.EnrolRequest(token="yumen1.x", csr=b"").SerializeToString()
        codes = []
        for _ in range(11):
            with pytest.raises(PeerError) as refused:
                client._call(address, anchor, "Enrol", bad, wire.EnrolResponse.FromString)
            codes.append(refused.value.code)
        assert codes == ["token"] * 10 + ["rate_limited"]
        # Revocation lists are still given out.
        assert client.fetch_revocations(address, anchor).serials == frozenset()


def test_a_taken_port_is_told(home: Path, address: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    service.init_authority(other, "gansu.example", address)
    with pytest.raises(StateError, match=r"cannot listen on `127.0.0.1:"):
        asyncio.run(service.serve(other))


def test_certificates_make_a_mutual_tls_connection(
    home: Path, address: str, tmp_path: Path
) -> None:
    server_id = client.enrol(
        service.issue_token(home, COORDINATOR, dns_names=["127.0.0.1"]), tmp_path / "server"
    ).tls()
    node = client.enrol(service.issue_token(home, NODE), tmp_path / "node")
    seen: list[bytes] = []

    def echo(request: bytes, context: grpc.ServicerContext) -> bytes:
        seen.extend(context.auth_context()["x509_pem_cert"])
        return request

    handler = grpc.method_handlers_generic_handler(
        "t.T", {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    )
    server = grpc.server(ThreadPoolExecutor(1), handlers=[handler])
    pair = (server_id.private_key_pem, server_id.certificate_chain_pem)
    port = server.add_secure_port(
        "127.0.0.1:0",
        grpc.ssl_server_credentials([pair], server_id.root_pem, require_client_auth=True),
    )
    server.start()
    try:
        tls = node.tls()
        credentials = grpc.ssl_channel_credentials(
            tls.root_pem, tls.private_key_pem, tls.certificate_chain_pem
        )
        with grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
            assert channel.unary_unary("/t.T/Echo")(b"hello", timeout=10) == b"hello"
    finally:
        server.stop(None).wait()
    proven = node.anchor.identify_pem(
        seen[0], now_ms=SystemClock().now_ms(), revocations=node.revocations
    )
    assert str(proven) == NODE


@pytest.mark.parametrize(
    ("identity", "dns_names", "ttl_s", "message"),
    [
        ("lzu/node", (), 60, "expected an identity"),
        ("spiffe://other.example/org/lzu/node/a", (), 60, "in federation `gansu.example`"),
        ("spiffe://gansu.example/org/a/authority/b", (), 60, "the authority's own role"),
        (COORDINATOR, (), 60, "needs a host name that others dial"),
        (COORDINATOR, ("No Host",), 60, "host name or IP address, got `No Host`"),
        (NODE, ("node.example",), 60, "only a coordinator or authority has host names"),
        (NODE, (), 0, "a token is valid for up to 2592000 seconds, got 0"),
    ],
)
def test_bad_token_requests(
    home: Path, identity: str, dns_names: tuple[str, ...], ttl_s: int, message: str
) -> None:
    with pytest.raises(CallError, match=message):
        service.issue_token(home, identity, ttl_s, dns_names=dns_names)


def test_the_server_certificate_renews_itself(tmp_path: Path) -> None:
    half_life_ms = 16 * 24 * 3_600_000
    clock = ManualClock(SystemClock().now_ms() - half_life_ms)
    home = tmp_path / "home"
    service.init_authority(home, "gansu.example", "127.0.0.1:0", clock=clock)
    with serving(home, clock) as address:
        host, _, port = address.rpartition(":")
        first = ssl.get_server_certificate((host, int(port)), timeout=10)
        assert ssl.get_server_certificate((host, int(port)), timeout=10) == first
        clock.advance(half_life_ms)
        assert ssl.get_server_certificate((host, int(port)), timeout=10) != first
        assert client.enrol(service.issue_token(home, NODE), tmp_path / "node").identity.uri == NODE
