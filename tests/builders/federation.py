"""An authority and the members it enrolled: nodes with descriptors, a requester with jobs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from yumen_core.clock import ManualClock
from yumen_core.identity import (
    CertificateAuthority,
    Identity,
    LoadedIdentity,
    Revocations,
    Revoked,
    Role,
    SealingKey,
    SignedEnvelope,
    SigningKey,
    seal,
)
from yumen_core.identity.certificates import parse_certificate
from yumen_core.identity.envelope import PayloadType
from yumen_core.identity.membership import Membership
from yumen_core.identity.store import IdentityStore
from yumen_core.jobs.book import SignedDescriptor
from yumen_core.jobs.descriptor import NodeDescriptor, PublishedTable, descriptor_digest
from yumen_core.jobs.job_id import new_job_id
from yumen_core.jobs.spec import JobSpec, Participant, secret_info
from yumen_core.log.entry import Act, Entry, Value, decode_entry
from yumen_core.policy import PolicyBundle, Purpose, Purposes
from yumen_core.rpc.v1 import envelope_pb2, job_pb2, link_pb2
from yumen_core.secret import Secret
from yumen_core.securesum import MaskKey
from yumen_core.securesum.bfv import BfvKeyPair
from yumen_core.sql import Column, ColumnType, Plan, TableSchema, parse

FEDERATION = "gansu.example"
HOSPITALS = ("cleveland", "hungary", "lanzhou", "zurich")
SQL = "SELECT sex, COUNT(*) AS patients, SUM(age) AS years FROM heart GROUP BY sex"
HEART = TableSchema(
    "heart",
    (
        Column("sex", ColumnType.TEXT, domain=("female", "male"), nullable=False),
        Column(
            "age",
            ColumnType.INTEGER,
            lower=Decimal(0),
            upper=Decimal(120),
            nullable=False,
        ),
    ),
)
TABLE = PublishedTable(HEART, "heart disease, 心脏病", "general", threshold=10, min_nodes=3)
BOTH = '[Yumen::Action::"query", Yumen::Action::"statistic"]'
PURPOSES = Purposes((Purpose("research", "study"), Purpose("pricing", "premiums")))


@cache
def heart_plan(sql: str = SQL) -> Plan:
    return parse(sql, {"heart": HEART})


@cache
def policies(when: str = "true", actions: str = BOTH) -> PolicyBundle:
    """A bundle that permits what `when` says; the built-in forbids are in force besides."""
    permit = f'@id("all") permit (principal, action in {actions}, resource)'
    text = f'{permit} when {{ principal.federation == "{FEDERATION}" && ({when}) }};'
    return PolicyBundle.from_text({"own.cedar": text}, purposes=PURPOSES)


@cache
def key_pair() -> BfvKeyPair:
    return BfvKeyPair.generate()


class RecordingLog:
    """A log in memory that refuses what a true one would; `happened` may be shared."""

    def __init__(self, happened: list[object] | None = None) -> None:
        self.entries: list[Entry] = []
        self.happened = [] if happened is None else happened

    def record(
        self,
        act: Act,
        *,
        subject: Mapping[str, str] | None = None,
        digests: Mapping[str, bytes] | None = None,
        detail: Mapping[str, Value] | None = None,
    ) -> int:
        entry = Entry(0, act, subject or {}, digests or {}, detail or {})
        return self.append_many([entry.encode()])[0]

    def append_many(self, entries: Sequence[bytes]) -> range:
        first = len(self.entries)
        self.entries += [decode_entry(entry) for entry in entries]
        self.happened += [("log", entry.act) for entry in self.entries[first:]]
        return range(first, len(self.entries))

    @property
    def acts(self) -> list[Act]:
        return [entry.act for entry in self.entries]


@dataclass
class Node:
    """A node's membership, keys and signed descriptor."""

    membership: Membership
    sealing: SealingKey
    mask: MaskKey
    table: PublishedTable = TABLE
    others: tuple[PublishedTable, ...] = ()

    @property
    def tables(self) -> dict[str, PublishedTable]:
        return {table.schema.name: table for table in (self.table, *self.others)}

    @property
    def identity(self) -> Identity:
        return self.membership.identity

    @property
    def uri(self) -> str:
        return self.identity.uri

    def descriptor(self, **changes: Any) -> NodeDescriptor:
        now_ms = self.membership.clock.now_ms()
        base = NodeDescriptor(
            node=self.identity,
            sealing_key=self.sealing.public_bytes(),
            mask_key=self.mask.public_bytes,
            log_key="log+key",
            tables=self.tables,
            issued_at_ms=now_ms,
            expires_at_ms=now_ms + 3_600_000,
            software="yumen/test",
        )
        return replace(base, **changes)

    def signed(self, **changes: Any) -> tuple[SignedEnvelope, SignedDescriptor]:
        described = self.descriptor(**changes)
        payload = described.to_bytes()
        envelope = self.membership.sign(payload, PayloadType.NODE_DESCRIPTOR)
        return envelope, SignedDescriptor(described, descriptor_digest(payload))


@dataclass
class Job:
    """A job as its requester holds it."""

    spec: JobSpec
    envelope: SignedEnvelope
    secret: Secret
    descriptors: list[envelope_pb2.Envelope]

    def proposal(self, **changes: Any) -> link_pb2.Proposal:
        fields = {
            "job": self.envelope.to_proto(),
            "descriptors": self.descriptors,
            "public_key": key_pair().public.to_bytes(),
        }
        return link_pb2.Proposal(**{**fields, **changes})


@dataclass
class Federation:
    """The authority and everyone it has enrolled, under one clock that the test moves."""

    directory: Path
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self._key = SigningKey.generate()
        self.authority = CertificateAuthority.create(self._key, FEDERATION, self.clock)
        self._list_number = 0
        self.revocations_der = self.revoke()

    def revoke(self, *members: Membership) -> bytes:
        """A new list with these members on it and no others."""
        self._list_number += 1
        serials = [parse_certificate(certificate_of(m)).serial_number for m in members]
        self.revocations_der = self.authority.issue_revocations(
            [Revoked(serial, self.clock.now_ms()) for serial in serials], number=self._list_number
        )
        return self.revocations_der

    def member(self, role: Role, name: str, organisation: str = "lzu") -> Membership:
        identity = Identity(FEDERATION, organisation, role, name)
        key = SigningKey.generate()
        anchor = self.authority.anchor
        loaded = LoadedIdentity(
            identity=identity,
            key=key,
            certificate_der=self.authority.issue(key.csr(), identity),
            anchor=anchor,
            revocations=Revocations.parse(self.revocations_der, anchor),
            authority_address="127.0.0.1:7400",
        )
        folder = self.directory / f"{role}-{organisation}-{name}"
        IdentityStore(folder, self.clock).save(loaded)
        return Membership(folder, self.clock)

    def node(self, organisation: str, table: PublishedTable = TABLE) -> Node:
        membership = self.member(Role.NODE, "heart", organisation)
        return Node(membership, SealingKey.generate(), MaskKey.generate(), table)

    def nodes(self, count: int = 3) -> list[Node]:
        return [self.node(name) for name in HOSPITALS[:count]]


def certificate_of(member: Membership) -> bytes:
    return member.sign(b"", PayloadType.SUPPORT).certificate


def job_for(
    requester: Membership,
    nodes: Sequence[tuple[Node, SignedEnvelope, SignedDescriptor]],
    *,
    change: Callable[[JobSpec], JobSpec] = lambda spec: spec,
    edit: Callable[[job_pb2.JobSpec], object] = lambda message: None,
    **changes: Any,
) -> Job:
    """A signed job over these nodes.

    `changes` are fields of the spec; `change` alters the spec and `edit` its protobuf message
    before it is signed.
    """
    secret = Secret.generate()
    job_id = changes.get("job_id") or new_job_id(requester.clock)
    now_ms = requester.clock.now_ms()
    participants = tuple(
        Participant(
            node.identity,
            signed.digest,
            seal(secret.reveal(), signed.descriptor.sealing_key, secret_info(job_id, node.uri)),
        )
        for node, _, signed in nodes
    )
    spec = JobSpec(
        job_id=job_id,
        requester=requester.identity,
        purpose="research",
        table="heart",
        schema_digest=HEART.digest,
        sql=SQL,
        plan_digest=heart_plan().digest,
        participants=participants,
        min_nodes=len(participants),
        public_key_digest=key_pair().public.digest,
        issued_at_ms=now_ms,
        expires_at_ms=now_ms + 600_000,
    )
    spec = change(replace(spec, **changes))
    message = job_pb2.JobSpec.FromString(spec.to_bytes())
    edit(message)
    payload = message.SerializeToString(deterministic=True)
    return Job(
        spec=spec,
        envelope=requester.sign(payload, PayloadType.JOB_SPEC),
        secret=secret,
        descriptors=[envelope.to_proto() for _, envelope, _ in nodes],
    )
