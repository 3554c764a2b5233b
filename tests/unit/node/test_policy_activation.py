"""Policies come into force by a signed, logged act: every way in which a signature may be short."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from builders.federation import Federation, RecordingLog, policies
from yumen_core.errors import CallError, PeerError, StateError
from yumen_core.identity import Role, SignedEnvelope
from yumen_core.identity.envelope import PayloadType
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Identity
from yumen_core.log import Act
from yumen_core.policy import PolicyBundle
from yumen_core.policy.activation import Activation, open_activation
from yumen_core.policy.in_force import read_in_force
from yumen_core.rpc.v1 import envelope_pb2
from yumen_node.activation import activate, sign_activation

OLD, NEW = policies("true"), policies("context.threshold >= 10")


@dataclass
class Desk:
    """A node's folder, its log, and people of its institution."""

    folder: Path
    log: RecordingLog = field(default_factory=RecordingLog)

    def __post_init__(self) -> None:
        self.federation = Federation(self.folder / "members")
        self.node = self.federation.member(Role.NODE, "heart", "cleveland")
        self.wang = self.federation.member(Role.USER, "wang", "cleveland")
        self.zhao = self.federation.member(Role.USER, "zhao", "cleveland")
        self.state = self.folder / "state"

    def start(self, bundle: PolicyBundle, signers: int = 2) -> None:
        activate(
            bundle,
            membership=self.node,
            log=self.log,
            log_folder=self.folder / "log",
            state=self.state,
            signers=signers,
        )

    def sign(self, bundle: PolicyBundle, *people: Membership, note: str = "") -> None:
        for one in people:
            sign_activation(bundle, node=self.node.identity, state=self.state, by=one, note=note)

    def put(self, statement: Activation, by: Membership, kind: str | None = None) -> None:
        """A statement as a hostile hand would lay it down, unchecked."""
        envelope = by.sign(statement.to_bytes(), kind or PayloadType.POLICY_ACTIVATION)
        folder = self.state / "activations"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{NEW.digest.hex()[:12]}-{len(list(folder.iterdir()))}.bin"
        (folder / name).write_bytes(envelope.to_proto().SerializeToString())

    def statement(self, **changes: object) -> Activation:
        fields: dict[str, object] = {
            "node": self.node.identity,
            "digest": NEW.digest,
            "previous": OLD.digest,
            "signed_at_ms": self.node.clock.now_ms(),
        }
        return Activation(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    found = Desk(tmp_path)
    found.start(OLD, signers=0)
    return found


def test_the_operators_start_is_the_act_where_nobody_must_sign(desk: Desk) -> None:
    (entry,) = desk.log.entries
    assert entry.act is Act.POLICY_ACTIVATED
    assert entry.detail["by"] == ["operator"]
    assert entry.digests == {"policies": OLD.digest}
    assert str(entry.detail["engine"]).startswith("cedarpy ")
    desk.start(OLD, signers=0)
    assert len(desk.log.entries) == 1
    desk.start(NEW, signers=0)
    second = desk.log.entries[1]
    assert second.digests == {"policies": NEW.digest, "previous": OLD.digest}
    assert (second.detail["added"], second.detail["changed"]) == ([], ["all"])
    saved = desk.folder / "log" / "policies" / f"{NEW.digest.hex()}.json"
    assert PolicyBundle.load_saved(saved).digest == NEW.digest


def test_two_people_bring_policies_into_force(desk: Desk) -> None:
    desk.sign(NEW, desk.wang, desk.zhao, note="read with the committee")
    desk.start(NEW)
    entry = desk.log.entries[-1]
    assert entry.detail["by"] == [desk.wang.identity.uri, desk.zhao.identity.uri]
    signed = entry.detail["signed"]
    assert isinstance(signed, list | tuple)
    raw = base64.b64decode(signed[0])
    statement = Activation.from_bytes(envelope_pb2.Envelope.FromString(raw).payload)
    assert (statement.digest, statement.note) == (NEW.digest, "read with the committee")
    desk.start(NEW)  # a restart needs no further act
    assert len(desk.log.entries) == 2


def _damage(desk: Desk) -> None:
    desk.sign(NEW, desk.wang, desk.zhao)
    next(iter(sorted((desk.state / "activations").iterdir()))).write_bytes(b"\xff\xff")


def _forge(desk: Desk) -> None:
    desk.sign(NEW, desk.wang)
    file = next(iter((desk.state / "activations").iterdir()))
    message = envelope_pb2.Envelope.FromString(file.read_bytes())
    good = SignedEnvelope.from_proto(message)
    other = desk.zhao.sign(b"", PayloadType.SUPPORT)
    message = SignedEnvelope(
        payload_type=good.payload_type,
        payload=good.payload,
        certificate=other.certificate,
        signature=good.signature,
    ).to_proto()
    file.with_name(f"{file.stem}x.bin").write_bytes(message.SerializeToString())


def _revoked(desk: Desk) -> None:
    desk.sign(NEW, desk.wang, desk.zhao)
    desk.node.learn(desk.federation.revoke(desk.zhao))


def _from_elsewhere(desk: Desk) -> None:
    desk.sign(NEW, desk.wang)
    desk.put(desk.statement(), desk.federation.member(Role.USER, "li", "lzu"))


def _other_node(desk: Desk) -> None:
    desk.sign(NEW, desk.wang)
    other = Identity("gansu.example", "cleveland", Role.NODE, "second")
    desk.put(desk.statement(node=other), desk.zhao)


FAULTS: dict[str, tuple[Callable[[Desk], None], int, str]] = {
    "nobody": (lambda desk: None, 0, ""),
    "one of two": (lambda desk: desk.sign(NEW, desk.wang), 1, ""),
    "one twice": (lambda desk: desk.sign(NEW, desk.wang, desk.wang), 1, ""),
    "a stranger": (_from_elsewhere, 1, "expected an activation by a user of `cleveland`"),
    "the node itself": (
        lambda desk: (desk.sign(NEW, desk.wang), desk.put(desk.statement(), desk.node))[0],
        1,
        "expected an activation by a user of `cleveland`",
    ),
    "a revoked one": (_revoked, 1, "user/zhao` is revoked"),
    "other policies": (
        lambda desk: desk.put(desk.statement(digest=b"\1" * 32), desk.zhao),
        0,
        "expected an activation of these policies, got one of others",
    ),
    "after others": (
        lambda desk: desk.put(desk.statement(previous=b"\1" * 32), desk.zhao),
        0,
        "expected an activation after the policies now in force",
    ),
    "another node": (_other_node, 1, "expected an activation at `spiffe://"),
    "of the future": (
        lambda desk: desk.put(
            desk.statement(signed_at_ms=desk.node.clock.now_ms() + 600_000), desk.zhao
        ),
        0,
        "got one dated in the future",
    ),
    "another type": (
        lambda desk: desk.put(desk.statement(), desk.zhao, PayloadType.CODE_REVIEW),
        0,
        "expected a statement of type `application/vnd.yumen.policy-activation.v1`",
    ),
    "damaged": (_damage, 1, "got other bytes"),
    "another's signature": (_forge, 1, "signature"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_short_signature_keeps_the_node_from_starting(desk: Desk, name: str) -> None:
    fault, counted, why = FAULTS[name]
    fault(desk)
    with pytest.raises(StateError) as caught:
        desk.start(NEW)
    assert caught.value.code == "policy_unsigned"
    message = caught.value.message
    wanted = (
        f"expected policies `{NEW.digest.hex()[:12]}` signed by 2 of `cleveland`, got {counted}"
    )
    assert message.startswith(wanted)
    assert why in message
    assert len(desk.log.entries) == 1
    kept = read_in_force(desk.state)
    assert kept is not None
    assert kept.digest == OLD.digest
    desk.start(OLD, signers=0)  # the earlier files can be put back


def test_going_back_takes_new_signatures(desk: Desk) -> None:
    desk.sign(OLD, desk.wang, desk.zhao)
    desk.sign(NEW, desk.wang, desk.zhao)
    desk.start(NEW)
    with pytest.raises(StateError, match="got 0; not counted: expected an activation after"):
        desk.start(OLD)
    desk.sign(OLD, desk.wang, desk.zhao)
    desk.start(OLD)
    with pytest.raises(StateError, match="got 0"):  # nor do the first signatures serve again
        desk.start(NEW)
    assert [entry.digests["policies"] for entry in desk.log.entries] == [
        *(OLD.digest, NEW.digest, OLD.digest)
    ]


def test_a_certificate_revoked_later_takes_nothing_out_of_force(desk: Desk) -> None:
    desk.sign(NEW, desk.wang, desk.zhao)
    desk.start(NEW)
    desk.node.learn(desk.federation.revoke(desk.zhao))
    desk.start(NEW)


def test_a_node_that_asks_for_signers_only_now_wants_them_of_what_is_in_force(desk: Desk) -> None:
    with pytest.raises(StateError, match="signed by 1 of `cleveland`, got 0"):
        desk.start(OLD, signers=1)
    desk.sign(OLD, desk.wang)
    desk.start(OLD, signers=1)


def test_a_damaged_record_of_what_is_in_force_stops_the_node(desk: Desk) -> None:
    (desk.state / "policies-in-force.json").write_text("{}")
    with pytest.raises(StateError, match="is not a record of the policies in force"):
        desk.start(NEW, signers=0)


def test_a_stranger_cannot_even_sign(desk: Desk) -> None:
    with pytest.raises(PeerError, match="a user of `cleveland`, got"):
        desk.sign(NEW, desk.federation.member(Role.USER, "li", "lzu"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"digest": b"short"}, "digests of 32 bytes"),
        ({"previous": b"short"}, "digests of 32 bytes"),
        ({"note": "a\nb"}, "a note on one line"),
        ({"note": "x" * 501}, "a note on one line"),
        ({"signed_at_ms": -1}, "expected a time from 0"),
    ],
)
def test_wrong_statements_are_refused(desk: Desk, changes: dict[str, object], reason: str) -> None:
    with pytest.raises(CallError, match=reason):
        desk.statement(**changes)


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"{}", b" " * 9000, b'{"format":"yumen-policy-activation-v1"}']
)
def test_other_bytes_are_no_statement(payload: bytes) -> None:
    with pytest.raises(PeerError, match="activation"):
        Activation.from_bytes(payload)


def test_a_statement_reads_back(desk: Desk) -> None:
    statement = desk.statement(previous=b"", note="第一次")
    assert Activation.from_bytes(statement.to_bytes()) == statement
    spaced = statement.to_bytes().replace(b'":', b'": ')
    with pytest.raises(PeerError, match="activation"):
        Activation.from_bytes(spaced)
    opened = open_activation(
        desk.wang.sign(statement.to_bytes(), PayloadType.POLICY_ACTIVATION),
        node=desk.node.identity,
        digest=NEW.digest,
        previous=b"",
        anchor=desk.node.anchor,
        revocations=desk.node.revocations,
        now_ms=desk.node.clock.now_ms(),
    )
    assert opened.signer == desk.wang.identity
