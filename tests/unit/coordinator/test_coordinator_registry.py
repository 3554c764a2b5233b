"""Who is connected: one stream a node, grace after it breaks, and no way back to an old key."""

import asyncio
from pathlib import Path

import pytest
from builders.federation import Federation, Node
from yumen_coordinator import registry as registries
from yumen_coordinator.registry import Connection, KnownNode, Registry
from yumen_core.errors import PeerError
from yumen_core.rpc.v1 import link_pb2

GRACE_S = 0.02
OLDER = "expected a descriptor at least as new as the last one, got an older one"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Federation(tmp_path).node("lanzhou")


def known(node: Node, *, age_ms: int = 0) -> KnownNode:
    now_ms = node.membership.clock.now_ms()
    return KnownNode(*node.signed(issued_at_ms=now_ms - age_ms))


def frame() -> link_pb2.CoordinatorFrame:
    return link_pb2.CoordinatorFrame(ended=link_pb2.JobEnded(job_id="job"))


def waiting(connection: Connection) -> list[link_pb2.CoordinatorFrame | None]:
    return [connection.outgoing.get_nowait() for _ in range(connection.outgoing.qsize())]


class Absences:
    """A registry, and whom it has declared absent."""

    def __init__(self) -> None:
        self.absent: list[str] = []
        self.registry = Registry(grace_s=GRACE_S, on_absent=self.absent.append)


def test_a_node_is_live_from_hello_to_the_end_of_its_stream(node: Node) -> None:
    async def scenario() -> None:
        made = Absences()
        registry, connection, said = made.registry, Connection(node.uri, b"pem"), known(node)
        assert registry.live(node.uri) is registry.known(node.uri) is None
        registry.connect(connection, said)
        assert registry.live(node.uri) is connection
        assert registry.known(node.uri) is said
        assert list(registry.connections()) == [connection]
        assert not registry.may_return(node.uri)
        registry.disconnect(connection)
        assert registry.live(node.uri) is None
        assert registry.known(node.uri) is said
        assert registry.may_return(node.uri)
        assert made.absent == []
        await asyncio.sleep(GRACE_S * 2)
        assert made.absent == [node.uri]
        assert not registry.may_return(node.uri)

    asyncio.run(scenario())


def test_a_node_that_is_back_within_its_grace_was_never_absent(node: Node) -> None:
    async def scenario() -> None:
        made = Absences()
        first, second = Connection(node.uri, b"pem"), Connection(node.uri, b"pem")
        made.registry.connect(first, known(node))
        made.registry.disconnect(first)
        made.registry.connect(second, known(node))
        assert not made.registry.may_return(node.uri)
        await asyncio.sleep(GRACE_S * 2)
        assert made.absent == []

    asyncio.run(scenario())


def test_a_second_stream_replaces_the_first(node: Node) -> None:
    async def scenario() -> None:
        made = Absences()
        first, second = Connection(node.uri, b"pem"), Connection(node.uri, b"pem")
        made.registry.connect(first, known(node))
        first.send(frame())
        made.registry.connect(second, known(node))
        assert made.registry.live(node.uri) is second
        assert waiting(first) == [None]  # it ends, and what was not sent on it is not sent
        made.registry.disconnect(first)  # late word of the first says nothing of the second
        assert made.registry.live(node.uri) is second
        await asyncio.sleep(GRACE_S * 2)
        assert made.absent == []

    asyncio.run(scenario())


def test_an_older_descriptor_is_refused_and_the_first_stream_goes_on(node: Node) -> None:
    async def scenario() -> None:
        made = Absences()
        first, newest = Connection(node.uri, b"pem"), known(node)
        made.registry.connect(first, newest)
        with pytest.raises(PeerError) as caught:
            made.registry.connect(Connection(node.uri, b"pem"), known(node, age_ms=1))
        assert (caught.value.code, caught.value.message) == ("descriptor", OLDER)
        assert caught.value.node == node.uri
        assert made.registry.live(node.uri) is first
        assert made.registry.known(node.uri) is newest
        assert waiting(first) == []

    asyncio.run(scenario())


def test_a_restart_does_not_bring_an_older_descriptor_back(node: Node) -> None:
    async def scenario() -> None:
        made = Absences()
        made.registry.remember(node.uri, known(node))
        with pytest.raises(PeerError, match=OLDER):
            made.registry.connect(Connection(node.uri, b"pem"), known(node, age_ms=1))
        made.registry.connect(Connection(node.uri, b"pem"), known(node))
        made.registry.close()

    asyncio.run(scenario())


def test_a_node_known_from_the_store_has_its_grace_to_come_back(node: Node) -> None:
    async def scenario() -> None:
        made = Absences()
        made.registry.remember(node.uri, known(node))
        assert made.registry.may_return(node.uri)
        assert made.registry.live(node.uri) is None
        await asyncio.sleep(GRACE_S * 2)
        assert made.absent == [node.uri]

    asyncio.run(scenario())


def test_the_catalogue_is_sorted_and_leaves_out_what_has_expired(tmp_path: Path) -> None:
    async def scenario() -> None:
        federation = Federation(tmp_path)
        now_ms = federation.clock.now_ms()
        made = Absences()
        zurich, aachen, old = (federation.node(name) for name in ("zurich", "aachen", "old"))
        made.registry.connect(Connection(zurich.uri, b"pem"), known(zurich))
        made.registry.remember(aachen.uri, known(aachen))
        expiring = KnownNode(*old.signed(expires_at_ms=now_ms + 1))
        made.registry.connect(Connection(old.uri, b"pem"), expiring)
        listed = [(n, live) for n, _, live in made.registry.catalogue(now_ms=now_ms)]
        assert listed == [(aachen.uri, False), (old.uri, True), (zurich.uri, True)]
        listed = [(n, live) for n, _, live in made.registry.catalogue(now_ms=now_ms + 1)]
        assert listed == [(aachen.uri, False), (zurich.uri, True)]
        made.registry.close()

    asyncio.run(scenario())


def test_closing_ends_every_stream_and_every_timer(node: Node) -> None:
    async def scenario() -> None:
        made = Absences()
        connection = Connection(node.uri, b"pem")
        made.registry.connect(connection, known(node))
        made.registry.remember("spiffe://f/org/x/node/1", known(node))
        made.registry.close()
        await asyncio.sleep(GRACE_S * 2)
        assert made.absent == []
        assert waiting(connection) == [None]

    asyncio.run(scenario())


def test_a_node_too_slow_to_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registries, "MAX_WAITING_FRAMES", 3)
    connection = Connection("node", b"pem")
    for _ in range(3):
        connection.send(frame())
    assert waiting(connection) == [frame()] * 3
    for _ in range(4):
        connection.send(frame())
    assert waiting(connection) == [None]


def test_closing_twice_is_as_once() -> None:
    connection = Connection("node", b"pem")
    connection.send(frame())
    connection.close()
    connection.close()
    connection.send(frame())
    assert waiting(connection)[0] is None
