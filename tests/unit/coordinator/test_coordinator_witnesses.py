"""The coordinator carries requests for cosignatures: whose, to whom, how many."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders.federation import Federation, Node
from builders.member_log import MemberLog
from yumen_coordinator.publication import CoordinatorPublication
from yumen_coordinator.registry import Connection, KnownNode, Registry
from yumen_coordinator.witnesses import REPEAT_S, Witnesses
from yumen_core.errors import PeerError
from yumen_core.identity import Role
from yumen_core.log import Act
from yumen_core.log.cosign import WitnessSigner, open_cosigned
from yumen_core.log.cosigning import COSIGNED, MAX_FRAME_BYTES, MAX_WITNESSES, Cosigning
from yumen_core.log.note import Verifier, split_note
from yumen_core.rpc.v1 import link_pb2


class Post:
    """A coordinator with twelve connected nodes, each of which has a witness key."""

    def __init__(self, federation: Federation, folder: Path) -> None:
        self.registry = Registry(grace_s=60, on_absent=lambda _: None)
        self.signers: dict[str, WitnessSigner] = {}
        self.wires: dict[str, Connection] = {}
        self.now_s = 100.0
        for number in range(12):
            node: Node = federation.node(f"h{number:02}")
            signer = WitnessSigner.generate(f"h{number:02}/witness")
            envelope, signed = node.signed(witness_key=signer.verifier.text)
            self.wires[node.uri] = Connection(node.uri, b"")
            self.signers[node.uri] = signer
            self.registry.connect(self.wires[node.uri], KnownNode(envelope, signed))
        self.names = sorted(self.wires)
        self.member = federation.member(Role.COORDINATOR, "main")
        self.own = MemberLog(self.member, folder)
        self.own.log.record(Act.STARTUP)
        self.file = folder / COSIGNED
        self.witnesses = Witnesses(
            self.registry,
            Cosigning(self.own.log, self.own.uri, folder, self.member.clock, needed=2),
            CoordinatorPublication(self.member, self.own.key),
            me=self.own.uri,
            now_s=lambda: self.now_s,
        )

    def ask(self, owner: str, witness: str) -> None:
        self.witnesses.asked(owner, link_pb2.CosignRequest(owner=owner, witness=witness))

    def got(self, node: str) -> list[link_pb2.CoordinatorFrame]:
        queue = self.wires[node].outgoing
        found = [queue.get_nowait() for _ in range(queue.qsize())]
        return [frame for frame in found if frame is not None]


@pytest.fixture
def post(federation: Federation, tmp_path: Path) -> Iterator[Post]:
    async def make() -> Post:
        return Post(federation, tmp_path)

    made = asyncio.run(make())
    yield made
    made.own.log.close()


def test_a_request_and_its_answer_find_their_way(post: Post) -> None:
    a, b, c = post.names[:3]
    post.ask(a, b)
    assert [frame.cosign.owner for frame in post.got(b)] == [a]
    answer = link_pb2.Cosigned(witness=b, owner=a, line="line")
    post.witnesses.answered(c, link_pb2.Cosigned(witness=c, owner=a, line="unasked"))
    assert post.got(a) == []
    post.witnesses.answered(b, answer)
    assert [frame.cosigned.line for frame in post.got(a)] == ["line"]
    post.witnesses.answered(b, answer)  # once
    assert post.got(a) == []


def test_what_is_not_ones_own_is_refused(post: Post) -> None:
    a, b = post.names[:2]
    bad = [
        link_pb2.CosignRequest(owner=b, witness=a),
        link_pb2.CosignRequest(owner=a, witness=a),
        link_pb2.CosignRequest(owner=a, witness=b, checkpoint=bytes(MAX_FRAME_BYTES)),
    ]
    for request in bad:
        with pytest.raises(PeerError, match=f"expected a request of `{a}` for its own log"):
            post.witnesses.asked(a, request)
    for answer in (
        link_pb2.Cosigned(witness=b, owner=b),
        link_pb2.Cosigned(witness=a, owner=b, line="x" * MAX_FRAME_BYTES),
    ):
        with pytest.raises(PeerError, match=f"expected an answer of `{a}`, got another's"):
            post.witnesses.answered(a, answer)
    assert all(post.got(name) == [] for name in post.names)


def test_an_unknown_witness_is_left_out(post: Post) -> None:
    post.ask(post.names[0], "spiffe://gansu.example/org/nobody/node/heart")
    post.ask(post.names[0], post.own.uri)
    assert all(post.got(name) == [] for name in post.names)


def test_a_flood_by_one_node_reaches_nobody_and_stops_nobody(post: Post) -> None:
    a, b, *others = post.names
    for _ in range(10_000):
        for witness in others:
            post.ask(a, witness)
    reached = [name for name in others if post.got(name)]
    assert len(reached) == MAX_WITNESSES
    post.ask(b, reached[0])
    assert [frame.cosign.owner for frame in post.got(reached[0])] == [b]
    assert post.registry.live(reached[0]) is post.wires[reached[0]]
    post.now_s += REPEAT_S + 0.1  # a witness that never answered is asked again
    post.ask(a, reached[1])
    assert [frame.cosign.owner for frame in post.got(reached[1])] == [a]


def test_its_own_log_is_cosigned(post: Post) -> None:
    async def scenario() -> None:
        running = asyncio.create_task(post.witnesses.run(0.01))
        await asyncio.sleep(0.05)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    asyncio.run(scenario())
    asked = {name: [f.cosign for f in post.got(name)] for name in post.names}
    assert [name for name in post.names if asked[name]] == post.names[:MAX_WITNESSES]
    for name in post.names[:2]:
        request = asked[name][0]
        text, _ = split_note(request.checkpoint)
        line = post.signers[name].cosign(text, 9).line
        said = link_pb2.Cosigned(witness=name, owner=request.owner, size=1, line=line)
        post.witnesses.answered(name, said)
    known = [signer.verifier for signer in post.signers.values()]
    log = Verifier.parse(post.own.key)
    checkpoint, times = open_cosigned(post.file.read_bytes(), log, known)
    assert (checkpoint.size, len(times)) == (1, 2)
