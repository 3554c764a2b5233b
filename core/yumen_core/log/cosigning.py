"""A log's owner collects cosignatures: whom it asks for what, and what it has.

Whoever carries the frames can hold them back: then there are none, and the owner says so in its
log. He cannot forge one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from yumen_core.clock import Clock
from yumen_core.errors import CallError, PeerError
from yumen_core.identity.files import replace_file
from yumen_core.log.appender import TileLog
from yumen_core.log.cosign import WitnessVerifier, add_cosignatures, read_cosignature
from yumen_core.log.entry import Act
from yumen_core.log.note import NoteSignature, split_note
from yumen_core.rpc.v1 import envelope_pb2, link_pb2

_LOG = logging.getLogger(__name__)
COSIGNED = "checkpoint.cosigned"
MAX_WITNESSES = 8
MAX_FRAME_BYTES = 1 << 16
PATIENCE_ROUNDS = 6
"""Rounds without enough cosignatures until the owner's log says so."""


class Cosigning:
    """For one log. Used from its owner's event loop only."""

    def __init__(
        self, log: TileLog, owner: str, directory: Path, clock: Clock, *, needed: int
    ) -> None:
        """`owner` is a SPIFFE id, `directory` the log's; `needed` cosignatures are written as
        `checkpoint.cosigned`, and more as they come."""
        self._log = log
        self._owner = owner
        self._file = directory / COSIGNED
        self._clock = clock
        self._needed = needed
        self._sizes: dict[str, int] = {}  # what each witness has cosigned last
        self._note = b""
        self._size = -1
        self._lines: dict[str, NoteSignature] = {}
        self._descriptor = envelope_pb2.Envelope()
        self._short = 0
        self._told: set[tuple[str, str]] = set()
        self._redirected: set[str] = set()  # witnesses asked anew since `begin`

    def begin(
        self, witnesses: Mapping[str, str], descriptor: envelope_pb2.Envelope
    ) -> list[link_pb2.CosignRequest]:
        """What to ask the witnesses for now, each by its SPIFFE id with its key as text; nothing
        where the log has not grown and there are cosignatures enough."""
        chosen = {name: key for name, key in sorted(witnesses.items()) if key}
        chosen = dict(list(chosen.items())[:MAX_WITNESSES])
        if not chosen:
            return []
        enough = min(self._needed, len(chosen))
        self._watch(enough)
        if self._size == self._log.size and len(self._lines) >= enough:
            return []
        if self._size != self._log.size:
            self._note, self._lines = self._log.checkpoint, {}
            self._size = int(split_note(self._note)[0].split("\n")[1])
        self._descriptor = descriptor
        self._redirected.clear()
        wanted = [name for name in chosen if name not in self._lines]
        return [self._request(name) for name in wanted]

    def answered(
        self, message: link_pb2.Cosigned, witness_key: str
    ) -> link_pb2.CosignRequest | None:
        """Take a witness's answer; a further request where the proof has to start elsewhere.

        `witness_key` is from the witness's verified descriptor.
        """
        if message.refusal:
            self._alarm(message.witness, message.refusal[:500])
            return None
        if not message.line:
            return self._again(message)
        try:
            verifier = WitnessVerifier.parse(witness_key)
            text, _ = split_note(self._note)
            line = read_cosignature(message.line, text, verifier)
        except (PeerError, CallError) as error:  # of an earlier checkpoint, or forged on the way
            _LOG.info("an answer of %s does not count: %s", message.witness, error)
            return None
        self._sizes[message.witness] = self._size
        self._lines[message.witness] = line
        if len(self._lines) >= self._needed:
            self._short = 0
            lines = [self._lines[name] for name in sorted(self._lines)]
            replace_file(self._file, add_cosignatures(self._note, lines))
        return None

    def _again(self, message: link_pb2.Cosigned) -> link_pb2.CosignRequest | None:
        if message.witness in self._redirected or self._sizes.get(message.witness) == message.size:
            return None  # the next round asks again
        self._redirected.add(message.witness)
        if message.size > self._size:
            what = f"has cosigned {message.size} entries of this log, which holds {self._size}"
            self._alarm(message.witness, what)
            return None
        self._sizes[message.witness] = message.size
        return self._request(message.witness)

    def _request(self, witness: str) -> link_pb2.CosignRequest:
        old_size = self._sizes.get(witness, 0)
        hashes = self._log.consistency_proof(old_size, self._size) if old_size else []
        return link_pb2.CosignRequest(
            witness=witness,
            owner=self._owner,
            descriptor=self._descriptor,
            old_size=old_size,
            hashes=hashes,
            checkpoint=self._note,
        )

    def _watch(self, enough: int) -> None:
        """Say in the log, once, that cosignatures do not come."""
        missing = self._size >= 0 and len(self._lines) < enough
        self._short = self._short + 1 if missing else 0
        if self._short != PATIENCE_ROUNDS:
            return
        _LOG.warning(
            "no %d cosignatures for this log's checkpoint of %d entries: other nodes are away, or "
            "the coordinator does not carry them",
            enough,
            self._size,
        )
        self._log.record(
            Act.WITNESS,
            subject={"owner": self._owner},
            detail={"what": "unwitnessed", "size": self._size, "cosignatures": len(self._lines)},
        )

    def _alarm(self, witness: str, what: str) -> None:
        """A witness does not go along with this log: keep its word, once."""
        if (witness, what) in self._told or len(self._told) >= 256:
            return
        self._told.add((witness, what))
        _LOG.error("witness %s: %s", witness, what)
        self._log.record(
            Act.WITNESS,
            subject={"owner": self._owner, "witness": witness[:400]},
            detail={"what": "refused", "message": what, "size": self._size},
        )
