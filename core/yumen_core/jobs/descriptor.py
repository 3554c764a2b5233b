"""What a node says of itself: its keys and the tables it publishes.

A descriptor is signed by the node, and a job pins the SHA-256 of the descriptor of each
participant, so that a coordinator can neither swap a key nor change a schema unnoticed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from yumen_core.disclosure.rounding import MOST_STEP, NO_ROUNDING
from yumen_core.errors import CallError, PeerError
from yumen_core.identity.names import Identity, Role
from yumen_core.jobs.spec import MAX_PARTICIPANTS, MIN_PARTICIPANTS
from yumen_core.rpc.v1 import job_pb2
from yumen_core.sql.schema import MAX_MEANING_CHARS, Grade, TableSchema, check_text

PAYLOAD_TYPE = "application/vnd.yumen.node-descriptor.v1"
MAX_BYTES = 1 << 20
MAX_TABLES = 256
SEALING_KEY_BYTES = 1184 + 32
MASK_KEY_BYTES = 32
LIFETIME_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class PublishedTable:
    """A table as its node publishes it.

    `threshold` is the fewest rows, `min_nodes` the fewest nodes behind a released cell; `grade` is
    the strictest grade among the columns. Counts are told in multiples of `round_to`.
    """

    schema: TableSchema
    meaning: str
    grade: str
    threshold: int
    min_nodes: int
    private_only: bool = False
    micro_rho: int = 0
    project_micro_rho: int = 0
    round_to: int = NO_ROUNDING


@dataclass(frozen=True)
class NodeDescriptor:
    """A node's keys (raw public bytes), its log's verifier key, and its tables by name."""

    node: Identity
    sealing_key: bytes
    mask_key: bytes
    log_key: str
    tables: dict[str, PublishedTable]
    issued_at_ms: int
    expires_at_ms: int
    software: str
    witness_key: str = ""

    def to_bytes(self) -> bytes:
        """The payload to sign. Tables come sorted by name: equal descriptors, equal bytes."""
        message = job_pb2.NodeDescriptor(
            node=self.node.uri,
            sealing_key=self.sealing_key,
            mask_key=self.mask_key,
            log_key=self.log_key,
            issued_at_ms=self.issued_at_ms,
            expires_at_ms=self.expires_at_ms,
            software=self.software,
            witness_key=self.witness_key,
        )
        for name in sorted(self.tables):
            table = self.tables[name]
            message.tables.add(
                name=name,
                meaning=table.meaning,
                schema=table.schema.to_bytes(),
                grade=table.grade,
                threshold=table.threshold,
                min_nodes=table.min_nodes,
                private_only=table.private_only,
                micro_rho=table.micro_rho,
                project_micro_rho=table.project_micro_rho,
                round_to=0 if table.round_to == NO_ROUNDING else table.round_to,
            )
        return message.SerializeToString(deterministic=True)


def descriptor_digest(payload: bytes) -> bytes:
    """SHA-256 of a signed descriptor's payload, as a job pins it."""
    return hashlib.sha256(payload).digest()


def parse_descriptor(payload: bytes, *, signer: Identity, now_ms: int) -> NodeDescriptor:
    """Read a descriptor whose signature by `signer` has been verified.

    Raises `PeerError` (`descriptor`) at the first step that fails:

    1. the payload is a NodeDescriptor of at most `MAX_BYTES`;
    2. the signer is a node and the descriptor is its own;
    3. it is valid now and for no longer than its lifetime;
    4. its keys have the lengths of their kinds;
    5. its tables have distinct names and well-formed schemas that carry the same name;
    6. each table's meaning is plain text, its grade known and no milder than its columns', its
       threshold and minimum of nodes within what the disclosure rules allow.
    """
    if len(payload) > MAX_BYTES:
        raise PeerError(
            "descriptor", f"expected a descriptor of {MAX_BYTES} bytes at most, got {len(payload)}"
        )
    try:
        message = job_pb2.NodeDescriptor.FromString(payload)
    except DecodeError:
        raise PeerError("descriptor", "expected a node descriptor, got other bytes") from None
    if signer.role is not Role.NODE or message.node != signer.uri:
        raise PeerError(
            "descriptor",
            f"expected a descriptor of its signer `{signer.uri}`, "
            f"got one of `{message.node[:200]}`",
        )
    _check_times(message, signer, now_ms)
    for what, key, length in (
        ("sealing key", message.sealing_key, SEALING_KEY_BYTES),
        ("mask key", message.mask_key, MASK_KEY_BYTES),
    ):
        if len(key) != length:
            raise PeerError(
                "descriptor",
                f"expected a {what} of {length} bytes, got {len(key)}",
                node=signer.uri,
            )
    return NodeDescriptor(
        node=signer,
        sealing_key=message.sealing_key,
        mask_key=message.mask_key,
        log_key=message.log_key,
        tables=_tables(message, signer),
        issued_at_ms=message.issued_at_ms,
        expires_at_ms=message.expires_at_ms,
        software=message.software[:100],
        witness_key=message.witness_key[:1000],
    )


def _check_times(message: job_pb2.NodeDescriptor, signer: Identity, now_ms: int) -> None:
    skew_ms = 5 * 60 * 1000
    if message.expires_at_ms - message.issued_at_ms > LIFETIME_MS:
        raise PeerError(
            "descriptor",
            "expected a descriptor valid for 24 hours at most, got a longer one",
            node=signer.uri,
        )
    if not message.issued_at_ms - skew_ms <= now_ms < message.expires_at_ms:
        raise PeerError(
            "descriptor", "expected a descriptor that is valid now, got an old one", node=signer.uri
        )


def _tables(message: job_pb2.NodeDescriptor, signer: Identity) -> dict[str, PublishedTable]:
    if len(message.tables) > MAX_TABLES:
        raise PeerError(
            "descriptor",
            f"expected at most {MAX_TABLES} tables, got {len(message.tables)}",
            node=signer.uri,
        )
    tables: dict[str, PublishedTable] = {}
    for entry in message.tables:
        schema = TableSchema.from_bytes(entry.schema)
        if schema.name != entry.name or entry.name in tables:
            raise PeerError(
                "descriptor",
                f"expected one schema for table `{entry.name}`, got another's or a second",
                node=signer.uri,
            )
        _check_settings(entry, schema, signer)
        tables[entry.name] = PublishedTable(
            schema=schema,
            meaning=entry.meaning,
            grade=entry.grade,
            threshold=entry.threshold,
            min_nodes=entry.min_nodes,
            private_only=entry.private_only,
            micro_rho=entry.micro_rho,
            project_micro_rho=entry.project_micro_rho,
            round_to=entry.round_to or NO_ROUNDING,
        )
    return tables


def _check_settings(entry: job_pb2.TableDescriptor, schema: TableSchema, signer: Identity) -> None:
    """Step 6 for one table."""
    where = f"table `{entry.name}`"
    try:
        check_text(entry.meaning, f"meaning of {where}", MAX_MEANING_CHARS)
    except CallError as fault:
        raise PeerError("descriptor", fault.message, node=signer.uri) from None
    known = [grade.value for grade in Grade if grade.rank >= schema.grade.rank]
    if entry.grade not in known:
        raise PeerError(
            "descriptor",
            f"expected a grade of {' or '.join(known)} for {where}, got `{entry.grade[:40]}`",
            node=signer.uri,
        )
    low, high = MIN_PARTICIPANTS, MAX_PARTICIPANTS
    if entry.threshold < 1 or not low <= entry.min_nodes <= high:
        raise PeerError(
            "descriptor",
            f"expected a threshold from 1 and {low} to {high} nodes behind a cell of {where}, "
            f"got {entry.threshold} and {entry.min_nodes}",
            node=signer.uri,
        )
    if entry.round_to == NO_ROUNDING or entry.round_to > MOST_STEP:
        raise PeerError(
            "descriptor",
            f"expected counts of {where} in steps of 2 to {MOST_STEP}, got {entry.round_to}",
            node=signer.uri,
        )
