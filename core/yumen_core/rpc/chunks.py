"""Large payloads in pieces: split with a digest, joined with every bound checked first."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator

from yumen_core.errors import PeerError
from yumen_core.rpc.v1 import envelope_pb2

CHUNK_BYTES = 1 << 20
MAX_PAYLOAD_BYTES = 512 << 20


def split(payload: bytes) -> Iterator[envelope_pb2.Chunk]:
    """`payload` as chunks of `CHUNK_BYTES`; at least one, also where it is empty."""
    digest = hashlib.sha256(payload).digest()
    for offset in range(0, max(len(payload), 1), CHUNK_BYTES):
        yield envelope_pb2.Chunk(
            offset=offset,
            total_bytes=len(payload),
            sha256=digest,
            data=payload[offset : offset + CHUNK_BYTES],
        )


class Joiner:
    """Collects the chunks of one payload, in order.

    `limit_bytes` bounds what the sender may announce; memory grows only with what has arrived.
    """

    def __init__(self, *, limit_bytes: int = MAX_PAYLOAD_BYTES, sender: str | None = None) -> None:
        self._limit = limit_bytes
        self._sender = sender
        self._payload = bytearray()  # one buffer: pieces of a byte cost a byte
        self._total = -1
        self._digest = b""

    def add(self, chunk: envelope_pb2.Chunk) -> bytes | None:
        """The whole payload once its last chunk has come, `None` before.

        Raises `PeerError` (`payload_too_large`, `ciphertext`) for an announced size over the
        limit, a chunk out of order or of another payload, too much data, or a wrong digest.
        """
        if self._total < 0:
            if chunk.total_bytes > self._limit:
                raise PeerError(
                    "payload_too_large",
                    f"expected a payload of {self._limit} bytes at most, got {chunk.total_bytes}",
                    node=self._sender,
                )
            self._total, self._digest = chunk.total_bytes, chunk.sha256
        same = chunk.total_bytes == self._total and chunk.sha256 == self._digest
        received = len(self._payload)
        fits = received + len(chunk.data) <= self._total
        if not same or chunk.offset != received or not fits:
            raise PeerError(
                "ciphertext",
                f"expected the piece at byte {received} of {self._total}, "
                f"got one at {chunk.offset} of {chunk.total_bytes}",
                node=self._sender,
            )
        if not chunk.data and received < self._total:
            raise PeerError("ciphertext", "expected data, got an empty piece", node=self._sender)
        self._payload += chunk.data
        if len(self._payload) < self._total:
            return None
        payload = bytes(self._payload)
        if not hmac.compare_digest(hashlib.sha256(payload).digest(), self._digest):
            raise PeerError(
                "ciphertext", "expected a payload with the announced digest", node=self._sender
            )
        return payload
