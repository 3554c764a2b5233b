"""What a node says of itself: read back as written, and each way in which it can be wrong."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from builders.federation import FEDERATION, HEART, TABLE
from yumen_core.errors import PeerError
from yumen_core.identity import Identity, Role
from yumen_core.jobs.descriptor import (
    LIFETIME_MS,
    MAX_BYTES,
    NodeDescriptor,
    PublishedTable,
    descriptor_digest,
    parse_descriptor,
)
from yumen_core.rpc.v1 import job_pb2
from yumen_core.sql import Column, ColumnType, Grade, TableSchema

NOW_MS = 1_790_000_000_000
NODE = Identity(FEDERATION, "lanzhou", Role.NODE, "heart")
LUNGS = PublishedTable(
    TableSchema("肺", (Column("age", ColumnType.INTEGER, grade=Grade.IMPORTANT),)),
    "lungs",
    "core",
    threshold=20,
    min_nodes=5,
)
DESCRIPTOR = NodeDescriptor(
    node=NODE,
    sealing_key=b"s" * 1216,
    mask_key=b"m" * 32,
    log_key="lanzhou+01234567+key",
    tables={"heart": TABLE, "肺": LUNGS},
    issued_at_ms=NOW_MS,
    expires_at_ms=NOW_MS + LIFETIME_MS,
    software="yumen/0.1",
)


def read(payload: bytes, *, signer: Identity = NODE, now_ms: int = NOW_MS) -> NodeDescriptor:
    return parse_descriptor(payload, signer=signer, now_ms=now_ms)


def test_round_trip() -> None:
    assert read(DESCRIPTOR.to_bytes()) == DESCRIPTOR


def test_equal_descriptors_have_equal_bytes() -> None:
    turned = replace(DESCRIPTOR, tables=dict(reversed(DESCRIPTOR.tables.items())))
    assert turned.to_bytes() == DESCRIPTOR.to_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"mask_key": b"n" * 32},
        {"sealing_key": b"t" * 1216},
        {"log_key": "other"},
        {"tables": {"heart": TABLE}},
        {"tables": {"heart": replace(TABLE, threshold=11), "肺": LUNGS}},
        {"expires_at_ms": NOW_MS + 1},
    ],
)
def test_the_digest_that_jobs_pin_depends_on_every_part(change: dict[str, object]) -> None:
    changed = replace(DESCRIPTOR, **change)
    assert descriptor_digest(changed.to_bytes()) != descriptor_digest(DESCRIPTOR.to_bytes())


Edit = Callable[[job_pb2.NodeDescriptor], object]


def put(**fields: object) -> Edit:
    def edit(message: job_pb2.NodeDescriptor) -> None:
        for name, value in fields.items():
            setattr(message, name, value)

    return edit


def table(**fields: object) -> Edit:
    def edit(message: job_pb2.NodeDescriptor) -> None:
        for name, value in fields.items():
            setattr(message.tables[0], name, value)

    return edit


def lungs(**fields: object) -> Edit:
    def edit(message: job_pb2.NodeDescriptor) -> None:
        for name, value in fields.items():
            setattr(message.tables[1], name, value)

    return edit


def many(message: job_pb2.NodeDescriptor) -> None:
    for _ in range(256):
        message.tables.append(message.tables[0])


OTHER = NODE.uri.replace("lanzhou", "zurich")
MIN_TEXT = "expected a threshold from 1 and 3 to 255 nodes behind a cell of table `heart`, got "
BAD: list[tuple[str, Edit, str]] = [
    ("another node's", put(node=OTHER),
     f"expected a descriptor of its signer `{NODE.uri}`, got one of `{OTHER}`"),
    ("too long a life", put(expires_at_ms=NOW_MS + LIFETIME_MS + 1),
     "expected a descriptor valid for 24 hours at most, got a longer one"),
    ("expired", put(issued_at_ms=NOW_MS - 1000, expires_at_ms=NOW_MS),
     "expected a descriptor that is valid now, got an old one"),
    ("of the future", put(issued_at_ms=NOW_MS + 300_001),
     "expected a descriptor that is valid now, got an old one"),
    ("a short sealing key", put(sealing_key=b"s" * 1215),
     "expected a sealing key of 1216 bytes, got 1215"),
    ("no mask key", put(mask_key=b""), "expected a mask key of 32 bytes, got 0"),
    ("257 tables", many, "expected at most 256 tables, got 258"),
    ("one table twice", lungs(name="heart", schema=HEART.to_bytes()),
     "expected one schema for table `heart`, got another's or a second"),
    ("another table's schema", table(name="lungs"),
     "expected one schema for table `lungs`, got another's or a second"),
    ("no schema", table(schema=b""), "expected a table schema in JSON"),
    ("a schema with a space", table(schema=HEART.to_bytes() + b" "),
     "expected a table schema in canonical JSON"),
    ("a meaning with an escape", table(meaning="heart\x1b[31m"),
     "expected a meaning of table `heart` without control characters"),
    ("an endless meaning", table(meaning="m" * 2001),
     "expected a meaning of table `heart` of at most 2000 characters, got 2001"),
    ("an unknown grade", table(grade="secret"),
     "expected a grade of general or important or core for table `heart`, got `secret`"),
    ("no grade", table(grade=""),
     "expected a grade of general or important or core for table `heart`, got ``"),
    ("a grade milder than a column's", lungs(grade="general"),
     "expected a grade of important or core for table `肺`, got `general`"),
    ("no threshold", table(threshold=0), MIN_TEXT + "0 and 3"),
    ("two nodes behind a cell", table(min_nodes=2), MIN_TEXT + "10 and 2"),
    ("256 nodes behind a cell", table(min_nodes=256), MIN_TEXT + "10 and 256"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "message"), [c[1:] for c in BAD], ids=[c[0] for c in BAD])
def test_bad_descriptor(edit: Edit, message: str) -> None:
    signed = job_pb2.NodeDescriptor.FromString(DESCRIPTOR.to_bytes())
    edit(signed)
    with pytest.raises(PeerError) as caught:
        read(signed.SerializeToString())
    assert (caught.value.code, caught.value.message) == ("descriptor", message)


def test_a_coordinator_has_no_descriptor() -> None:
    hub = Identity(FEDERATION, "hub", Role.COORDINATOR, "main")
    with pytest.raises(PeerError, match="expected a descriptor of its signer"):
        read(replace(DESCRIPTOR, node=hub).to_bytes(), signer=hub)


def test_bytes_that_are_no_descriptor() -> None:
    with pytest.raises(PeerError) as caught:
        read(b"\xff\xff")
    assert caught.value.message == "expected a node descriptor, got other bytes"
    with pytest.raises(PeerError) as caught:
        read(bytes(MAX_BYTES + 1))
    assert caught.value.message == (
        f"expected a descriptor of {MAX_BYTES} bytes at most, got {MAX_BYTES + 1}"
    )


def test_a_long_software_name_is_cut() -> None:
    assert read(replace(DESCRIPTOR, software="y" * 500).to_bytes()).software == "y" * 100
