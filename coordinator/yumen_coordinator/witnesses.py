"""Cosignatures at the coordinator: it carries the nodes' and collects those for its own log.

The coordinator is believed in none of it: what it drops is missed by the log's owner, what it
changes no key has signed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from yumen_core.errors import PeerError, StateError
from yumen_core.log.cosigning import MAX_FRAME_BYTES, MAX_WITNESSES, Cosigning
from yumen_core.rpc.v1 import link_pb2

from yumen_coordinator.publication import CoordinatorPublication
from yumen_coordinator.registry import Registry

_LOG = logging.getLogger(__name__)
REPEAT_S = 2.0
"""How soon a witness that has not answered is asked again for the same log."""


class Witnesses:
    """Requests on their way. Used from the event loop only."""

    def __init__(
        self,
        registry: Registry,
        cosigning: Cosigning,
        publication: CoordinatorPublication,
        *,
        me: str,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._cosigning = cosigning
        self._publication = publication
        self._me = me
        self._now_s = now_s
        self._open: dict[str, dict[str, float]] = {}  # by owner and witness, since when

    async def run(self, interval_s: float) -> None:
        """Have this coordinator's own log cosigned, again and again."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                found = self._cosigning.begin(self._keys(), self._publication.current().to_proto())
                for request in found:
                    self._send(request)
            except StateError as error:  # one file or another; a closed log rings its own alarm
                _LOG.error("this log cannot be shown to its witnesses: %s", error)

    def asked(self, node: str, request: link_pb2.CosignRequest) -> None:
        """Carry a node's request to its witness. Raises `PeerError` for one that is not its own,
        to itself, or too large.

        Left out are a witness that is not connected, one that still has this node's last request,
        and those beyond 8: nobody fills another's stream with them.
        """
        own = request.owner == node and request.witness != node
        if not own or request.ByteSize() > MAX_FRAME_BYTES:
            raise PeerError("identity", f"expected a request of `{node}` for its own log")
        since = self._now_s() - REPEAT_S
        waiting = {w: at for w, at in self._open.get(node, {}).items() if at > since}
        self._open[node] = waiting
        if request.witness not in waiting and len(waiting) < MAX_WITNESSES:
            self._send(request)

    def answered(self, node: str, message: link_pb2.Cosigned) -> None:
        """Carry a witness's answer to the log's owner; one that nobody asked for is dropped."""
        if message.witness != node or message.ByteSize() > MAX_FRAME_BYTES:
            raise PeerError("identity", f"expected an answer of `{node}`, got another's")
        if self._open.get(message.owner, {}).pop(node, None) is None:
            return
        if message.owner != self._me:
            owner = self._registry.live(message.owner)
            if owner is not None:
                owner.send(link_pb2.CoordinatorFrame(cosigned=message))
            return
        again = self._cosigning.answered(message, self._keys().get(node, ""))
        if again is not None:
            self._send(again)

    def _send(self, request: link_pb2.CosignRequest) -> None:
        witness = self._registry.live(request.witness)
        if witness is None:
            return
        self._open.setdefault(request.owner, {})[request.witness] = self._now_s()
        witness.send(link_pb2.CoordinatorFrame(cosign=request))

    def _keys(self) -> dict[str, str]:
        known = {c.node: self._registry.known(c.node) for c in self._registry.connections()}
        return {n: k.signed.descriptor.witness_key for n, k in known.items() if k is not None}
