"""Who is connected: the nodes' streams, their signed descriptors, and for how long one was away.

Everything here runs on the event loop of the coordinator and needs no lock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from yumen_core.errors import PeerError
from yumen_core.identity.envelope import SignedEnvelope
from yumen_core.jobs.book import SignedDescriptor
from yumen_core.rpc.v1 import link_pb2

MAX_WAITING_FRAMES = 4096
KEYS_REMEMBERED = 16
"""Public keys a node is not sent again on one stream; a node keeps more (`gate.KEYS_KEPT`)."""


@dataclass
class Connection:
    """One node's live stream. `outgoing` ends with `None` when the coordinator closes it."""

    node: str
    certificate_pem: bytes
    keys_sent: deque[bytes] = field(default_factory=lambda: deque(maxlen=KEYS_REMEMBERED))
    payloads_sent: dict[str, bytes] = field(default_factory=dict)
    outgoing: asyncio.Queue[link_pb2.CoordinatorFrame | None] = field(
        default_factory=lambda: asyncio.Queue(MAX_WAITING_FRAMES)
    )

    def needs_key(self, digest: bytes) -> bool:
        """Whether the public key must travel with the next proposal; noted as sent if so."""
        if digest in self.keys_sent:
            return False
        self.keys_sent.append(digest)
        return True

    def needs_payload(self, job_id: str, digest: bytes) -> bool:
        """Whether this input of a job must travel on this stream; noted as sent if so."""
        if self.payloads_sent.get(job_id) == digest:
            return False
        self.payloads_sent[job_id] = digest
        return True

    def send(self, frame: link_pb2.CoordinatorFrame) -> None:
        """Queue a frame. A node too slow to read thousands of frames is cut off."""
        try:
            self.outgoing.put_nowait(frame)
        except asyncio.QueueFull:
            self.close()

    def close(self) -> None:
        while not self.outgoing.empty():
            self.outgoing.get_nowait()
        self.outgoing.put_nowait(None)


@dataclass(frozen=True)
class KnownNode:
    """A node's newest descriptor, as signed and as read."""

    envelope: SignedEnvelope
    signed: SignedDescriptor


class Registry:
    """The nodes this coordinator knows."""

    def __init__(self, *, grace_s: float, on_absent: Callable[[str], None]) -> None:
        """`on_absent(node)` is called once a node has been away for longer than `grace_s`."""
        self._grace_s = grace_s
        self._on_absent = on_absent
        self._known: dict[str, KnownNode] = {}
        self._live: dict[str, Connection] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def remember(self, node: str, known: KnownNode) -> None:
        """Note a descriptor from the store; its node has the grace time to come back."""
        self._known[node] = known
        self._start_timer(node)

    def connect(self, connection: Connection, known: KnownNode) -> None:
        """A node has said hello. A second stream of the same node replaces the first.

        Raises `PeerError` (`descriptor`) for an older descriptor; the first stream then goes on.
        """
        newest = self._known.get(connection.node)
        issued_ms = known.signed.descriptor.issued_at_ms
        if newest is not None and newest.signed.descriptor.issued_at_ms > issued_ms:
            raise PeerError(
                "descriptor",
                "expected a descriptor at least as new as the last one, got an older one",
                node=connection.node,
            )
        before = self._live.get(connection.node)
        if before is not None:
            before.close()
        self._known[connection.node] = known
        self._live[connection.node] = connection
        timer = self._timers.pop(connection.node, None)
        if timer is not None:
            timer.cancel()

    def disconnect(self, connection: Connection) -> None:
        """A stream has ended; ignored where another has replaced it."""
        if self._live.get(connection.node) is not connection:
            return
        del self._live[connection.node]
        self._start_timer(connection.node)

    def live(self, node: str) -> Connection | None:
        return self._live.get(node)

    def connections(self) -> Iterator[Connection]:
        yield from list(self._live.values())

    def may_return(self, node: str) -> bool:
        """Whether the node is away but within its grace time."""
        return node in self._timers

    def known(self, node: str) -> KnownNode | None:
        return self._known.get(node)

    def catalogue(self, *, now_ms: int) -> list[tuple[str, KnownNode, bool]]:
        """Every node with a descriptor that is still valid, by name, and if it is connected."""
        return [
            (node, known, node in self._live)
            for node, known in sorted(self._known.items())
            if known.signed.descriptor.expires_at_ms > now_ms
        ]

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        for connection in self.connections():
            connection.close()

    def _start_timer(self, node: str) -> None:
        loop = asyncio.get_running_loop()
        self._timers[node] = loop.call_later(self._grace_s, self._absent, node)

    def _absent(self, node: str) -> None:
        self._timers.pop(node, None)
        self._on_absent(node)
