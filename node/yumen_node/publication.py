"""The node's signed descriptor: made anew when its content changes or half its life is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from google.protobuf.message import DecodeError
from yumen_core import __version__
from yumen_core.errors import YumenError
from yumen_core.identity.envelope import PayloadType, SignedEnvelope
from yumen_core.identity.files import read_file, replace_file
from yumen_core.identity.membership import Membership
from yumen_core.jobs.book import SignedDescriptor, open_descriptor
from yumen_core.jobs.descriptor import (
    LIFETIME_MS,
    MAX_BYTES,
    NodeDescriptor,
    PublishedTable,
    descriptor_digest,
)
from yumen_core.rpc.v1 import envelope_pb2

from yumen_node.keys import NodeKeys


class Publication:
    """Keeps one descriptor current. Jobs pin its digest, so it changes as seldom as it can."""

    def __init__(
        self,
        membership: Membership,
        keys: NodeKeys,
        tables: Mapping[str, PublishedTable],
        log_key: str,
        file: Path,
        witness_key: str = "",
    ) -> None:
        self._membership = membership
        self._keys = keys
        self._tables = dict(tables)
        self._log_key = log_key
        self._witness_key = witness_key
        self._file = file
        self._envelope: SignedEnvelope | None = None
        self._signed: SignedDescriptor | None = None

    def current(self) -> tuple[SignedEnvelope, SignedDescriptor]:
        """The descriptor to show now, as signed and as read."""
        now_ms = self._membership.clock.now_ms()
        if self._envelope is None or self._signed is None:
            self._load()
        if self._envelope is None or self._signed is None or not self._fresh(now_ms):
            self._issue(now_ms)
        assert self._envelope is not None
        assert self._signed is not None
        return self._envelope, self._signed

    def renewal_in_s(self) -> float:
        """Seconds until half of the descriptor's life is over, at least one."""
        _, signed = self.current()
        descriptor = signed.descriptor
        half_ms = (descriptor.issued_at_ms + descriptor.expires_at_ms) // 2
        return max((half_ms - self._membership.clock.now_ms()) / 1000, 1.0)

    def _wanted(self, now_ms: int) -> NodeDescriptor:
        return NodeDescriptor(
            node=self._membership.identity,
            sealing_key=self._keys.sealing.public_bytes(),
            mask_key=self._keys.mask.public_bytes,
            log_key=self._log_key,
            tables=self._tables,
            issued_at_ms=now_ms,
            expires_at_ms=now_ms + LIFETIME_MS,
            software=f"yumen/{__version__}",
            witness_key=self._witness_key,
        )

    def _fresh(self, now_ms: int) -> bool:
        assert self._signed is not None
        held = self._signed.descriptor
        wanted = replace(
            self._wanted(now_ms), issued_at_ms=held.issued_at_ms, expires_at_ms=held.expires_at_ms
        )
        half_ms = (held.issued_at_ms + held.expires_at_ms) // 2
        return now_ms < half_ms and wanted.to_bytes() == held.to_bytes()

    def _load(self) -> None:
        """Take up the descriptor of the last run, so that a restart breaks no open job."""
        if not self._file.exists():
            return
        try:
            raw = read_file(self._file, max_bytes=2 * MAX_BYTES)
            envelope = SignedEnvelope.from_proto(envelope_pb2.Envelope.FromString(raw))
            self._signed = open_descriptor(envelope, self._membership)
            self._envelope = envelope
        except (YumenError, DecodeError):
            self._signed = None  # expired, of another key, or damaged: a new one is made

    def _issue(self, now_ms: int) -> None:
        descriptor = self._wanted(now_ms)
        payload = descriptor.to_bytes()
        self._envelope = self._membership.sign(payload, PayloadType.NODE_DESCRIPTOR)
        self._signed = SignedDescriptor(descriptor, descriptor_digest(payload))
        replace_file(self._file, self._envelope.to_proto().SerializeToString())
