"""What a node demands of a welcome, and how its link ends when its log fails."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders.federation import Federation, Node
from yumen_core.errors import PeerError, StateError
from yumen_core.identity import Role
from yumen_core.identity.envelope import PayloadType, SignedEnvelope
from yumen_core.identity.membership import Membership
from yumen_core.jobs.coordinator_descriptor import LIFETIME_MS, CoordinatorDescriptor
from yumen_core.log import LogAlarm, Signer
from yumen_core.rpc.v1 import link_pb2
from yumen_node import link as room
from yumen_node.link import Link

KEY = Signer.generate("main").verifier.text


def link_of(node: Node, **changes: Any) -> Link:
    parts: dict[str, Any] = dict.fromkeys(
        ("publication", "gate", "execution", "log", "witness", "cosigning")
    )
    usual = {
        "address": "127.0.0.1:1",
        "membership": node.membership,
        "retry_max_s": 60.0,
        "cosign_interval_s": 60.0,
        "note_reviews": lambda: None,
        "tell_acts": lambda: None,
    }
    return Link(**{**parts, **usual, **changes})


class World:
    def __init__(self, folder: Path) -> None:
        self.federation = Federation(folder)
        self.node = self.federation.node("cleveland")
        self.main = self.federation.member(Role.COORDINATOR, "main")
        self.other = self.federation.member(Role.COORDINATOR, "other")

    def described(
        self, by: Membership, *, of: Membership | None = None, key: str = KEY, late_ms: int = 0
    ) -> SignedEnvelope:
        now_ms = by.clock.now_ms() - late_ms
        said = CoordinatorDescriptor((of or by).identity, key, now_ms, now_ms + LIFETIME_MS)
        return by.sign(said.to_bytes(), PayloadType.COORDINATOR_DESCRIPTOR)

    def welcome(self, envelope: SignedEnvelope | None) -> link_pb2.CoordinatorFrame:
        return link_pb2.CoordinatorFrame(
            welcome=link_pb2.Welcome(
                coordinator=self.main.identity.uri,
                now_ms=self.main.clock.now_ms(),
                revocations=self.federation.revocations_der,
                descriptor=None if envelope is None else envelope.to_proto(),
            )
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_true_welcome(world: World) -> None:
    told: list[str] = []
    link = link_of(world.node, on_connected=told.append)
    link._welcomed(world.welcome(world.described(world.main)))
    assert told == [world.main.identity.uri]


def _none(world: World) -> SignedEnvelope | None:
    return None


def _anothers(world: World) -> SignedEnvelope | None:
    return world.described(world.other)


def _for_another(world: World) -> SignedEnvelope | None:
    return world.described(world.other, of=world.main)


def _by_a_node(world: World) -> SignedEnvelope | None:
    return world.described(world.node.membership, of=world.main)


def _old(world: World) -> SignedEnvelope | None:
    return world.described(world.main, late_ms=LIFETIME_MS + 1)


def _no_key(world: World) -> SignedEnvelope | None:
    return world.described(world.main, key="")


def _forged(world: World) -> SignedEnvelope | None:
    true = world.described(world.main)
    return SignedEnvelope(true.payload, true.payload_type, bytes(64), true.certificate)


BAD = [
    (_none, "descriptor", "expected a welcome with a descriptor, got none"),
    (_anothers, "identity", "expected the descriptor of `"),
    (_for_another, "descriptor", "expected a descriptor of its signer `"),
    (_by_a_node, "role", "expected"),
    (_old, "descriptor", "expected a descriptor that is valid now, got another"),
    (_no_key, "descriptor", "expected the key of the coordinator's log, got none"),
    (_forged, "signature", "signature"),
]


@pytest.mark.parametrize(("make", "code", "message"), BAD)
def test_a_welcome_without_a_good_descriptor_is_refused(
    world: World, make: Callable[[World], SignedEnvelope | None], code: str, message: str
) -> None:
    told: list[str] = []
    link = link_of(world.node, on_connected=told.append)
    with pytest.raises(PeerError) as caught:
        link._welcomed(world.welcome(make(world)))
    assert caught.value.code == code
    assert message in caught.value.message
    assert told == []


class Changed:
    """A gate for which reviews have just been written."""

    def reviews_changed(self) -> bool:
        return True


class Publication:
    def current(self) -> tuple[None, None]:
        raise PeerError("unreachable", "not now")


@pytest.mark.parametrize("rung", [True, False])
def test_a_closed_log_ends_the_link_with_one_plain_error(
    world: World, monkeypatch: pytest.MonkeyPatch, rung: bool
) -> None:
    """Whichever of its tasks met the log first."""
    monkeypatch.setattr(room, "REVIEWS_S", 0.001)

    async def run() -> None:
        alarm = LogAlarm()

        def closed() -> None:
            if rung:
                alarm.ring()
            raise StateError("log_closed", "the log can no longer be written: no space")

        link = link_of(world.node, gate=Changed(), publication=Publication(), note_reviews=closed)
        await alarm.guard(link.run())

    with pytest.raises(StateError, match="the log can no longer be written") as caught:
        asyncio.run(run())
    assert caught.value.code == "log_closed"
