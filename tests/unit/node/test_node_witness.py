"""What a node cosigns for others, what it keeps of that, and that no request does it harm."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders.federation import Federation, Node
from builders.member_log import MemberLog
from yumen_core.errors import StateError
from yumen_core.identity import Role
from yumen_core.identity.envelope import PayloadType, SignedEnvelope
from yumen_core.jobs.coordinator_descriptor import LIFETIME_MS, CoordinatorDescriptor
from yumen_core.log import Act, Entry, TileLog, decode_entry
from yumen_core.log.cosign import read_cosignature
from yumen_core.log.note import split_note
from yumen_core.rpc.v1 import link_pb2
from yumen_node import witness as room
from yumen_node.witness import Witness, load_witness_key


class Pair:
    """A node `me` that witnesses the log of the node `owner`."""

    def __init__(self, federation: Federation, folder: Path) -> None:
        self.federation = federation
        self.folder = folder
        self.me = federation.member(Role.NODE, "heart", "zurich")
        self.owner: Node = federation.node("cleveland")
        self.mine = MemberLog(self.me, folder / "mine")
        self.theirs = MemberLog(self.owner.membership, folder / "theirs")
        for _ in range(3):
            self.theirs.log.record(Act.STARTUP)
        self.start()

    def start(self) -> None:
        self.signer = load_witness_key(self.folder / "secrets", self.me.identity)
        self.witness = Witness(
            self.me,
            self.signer,
            self.mine.log,
            state=self.folder / "state",
            evidence=self.folder / "evidence",
        )

    def restart(self) -> None:
        self.witness.close()
        self.start()

    def close(self) -> None:
        self.witness.close()
        self.mine.log.close()
        self.theirs.log.close()

    def request(
        self,
        old_size: int = 0,
        *,
        log: TileLog | None = None,
        described: SignedEnvelope | None = None,
        owner: str = "",
    ) -> link_pb2.CosignRequest:
        shown = log or self.theirs.log
        signed = described or self.owner.signed(log_key=shown.verifier_key)[0]
        return link_pb2.CosignRequest(
            witness=self.me.identity.uri,
            owner=owner or self.owner.uri,
            descriptor=signed.to_proto(),
            old_size=old_size,
            hashes=shown.consistency_proof(old_size) if old_size else [],
            checkpoint=shown.checkpoint,
        )

    def told(self) -> list[Entry]:
        found = [decode_entry(entry) for entry in self.mine.log.entries(0)]
        return [entry for entry in found if entry.act is Act.WITNESS]


@pytest.fixture
def pair(federation: Federation, tmp_path: Path) -> Iterator[Pair]:
    made = Pair(federation, tmp_path)
    yield made
    made.close()


def cosigned(pair: Pair, request: link_pb2.CosignRequest) -> int:
    """The size that was cosigned, the cosignature verified."""
    answer = pair.witness.answer(request)
    assert answer.refusal == ""
    text, _ = split_note(request.checkpoint)
    read_cosignature(answer.line, text, pair.signer.verifier)
    return int(answer.size)


def test_a_restart_keeps_what_was_cosigned(pair: Pair) -> None:
    key = pair.signer.verifier.text
    assert cosigned(pair, pair.request()) == 3
    pair.restart()
    assert pair.signer.verifier.text == key
    pair.theirs.log.record(Act.STARTUP)
    stale = pair.witness.answer(pair.request())
    assert (stale.line, stale.size, stale.refusal) == ("", 3, "")
    assert cosigned(pair, pair.request(3)) == 4
    assert [entry.detail["what"] for entry in pair.told()] == ["first_sight"]


def test_the_log_of_the_coordinator(pair: Pair) -> None:
    main = pair.federation.member(Role.COORDINATOR, "main")
    log = MemberLog(main, pair.folder / "main")
    log.log.record(Act.STARTUP)
    now_ms = main.clock.now_ms()
    described = CoordinatorDescriptor(main.identity, log.key, now_ms, now_ms + LIFETIME_MS)
    signed = main.sign(described.to_bytes(), PayloadType.COORDINATOR_DESCRIPTOR)
    request = pair.request(log=log.log, described=signed, owner=log.uri)
    assert cosigned(pair, request) == 1
    log.log.close()


def test_a_log_with_another_key_than_before(pair: Pair) -> None:
    """The owner lost its key, or somebody else has its certificate: people have to look."""
    assert cosigned(pair, pair.request()) == 3
    other = MemberLog(pair.owner.membership, pair.folder / "other")
    other.log.record(Act.STARTUP)
    pair.restart()
    answer = pair.witness.answer(pair.request(log=other.log))
    origin = pair.owner.uri.removeprefix("spiffe://")
    assert answer.refusal == f"expected the key first seen of the log `{origin}`"
    assert answer.line == ""
    assert pair.told()[-1].detail["code"] == "descriptor"
    other.log.close()


def test_a_log_of_another_federation(pair: Pair, tmp_path: Path) -> None:
    away = Federation(tmp_path / "away", pair.federation.clock).node("cleveland")
    answer = pair.witness.answer(pair.request(described=away.signed()[0]))
    assert answer.line == ""
    assert answer.refusal == pair.told()[-1].detail["message"] != ""
    assert pair.told()[-1].subject == {"owner": pair.owner.uri}


def _for_another(pair: Pair, request: link_pb2.CosignRequest) -> None:
    request.witness = pair.owner.uri


def _of_its_own(pair: Pair, request: link_pb2.CosignRequest) -> None:
    request.owner = pair.me.identity.uri


def _others_descriptor(pair: Pair, request: link_pb2.CosignRequest) -> None:
    request.owner = "spiffe://gansu.example/org/lanzhou/node/heart"


def _no_descriptor(pair: Pair, request: link_pb2.CosignRequest) -> None:
    request.ClearField("descriptor")


def _no_checkpoint(pair: Pair, request: link_pb2.CosignRequest) -> None:
    request.checkpoint = b""


@pytest.mark.parametrize(
    "change", [_for_another, _of_its_own, _others_descriptor, _no_descriptor, _no_checkpoint]
)
def test_requests_that_are_refused_and_logged_once(pair: Pair, change: object) -> None:
    assert callable(change)
    request = pair.request()
    change(pair, request)
    for _ in range(3):
        answer = pair.witness.answer(request)
        assert (answer.line, answer.size) == ("", 0)
        assert answer.refusal != ""
    assert [entry.detail["what"] for entry in pair.told()] == ["refusal"]


def test_the_evidence_of_forks_is_bounded(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner of a log, who can sign as many forks as he likes, fills no disk but his own."""
    monkeypatch.setattr(room, "MAX_TWO_ROOTS", 3)
    assert cosigned(pair, pair.request()) == 3
    key = pair.folder / "theirs" / "secrets" / "log.key"
    for number in range(8):
        folder = pair.folder / f"fork{number}"
        (folder / "secrets").mkdir(parents=True, mode=0o700)
        (folder / "secrets" / "log.key").write_bytes(key.read_bytes())
        (folder / "secrets" / "log.key").chmod(0o600)
        fork = MemberLog(pair.owner.membership, folder)
        for _ in range(3):
            fork.log.record(Act.REFUSAL, detail={"number": number})
        assert fork.key == pair.theirs.key
        answer = pair.witness.answer(pair.request(log=fork.log))
        assert answer.refusal.endswith("at size 3, got two")
        fork.log.close()
    kept = sorted((pair.folder / "evidence").iterdir())
    assert len(kept) == 4
    assert pair.theirs.log.checkpoint in [file.read_bytes() for file in kept]
    refused = [entry for entry in pair.told() if entry.detail["what"] == "refusal"]
    assert [entry.detail["code"] for entry in refused] == ["log_fork"] * 3
    assert pair.witness._dropped == 5
    pair.federation.clock.advance(room.SUMMARY_MS)
    pair.witness.answer(pair.request(3))
    told = pair.told()[-1].detail
    assert (told["what"], told["count"]) == ("refusals_dropped", 5)


def test_old_checkpoints_and_bad_notes_take_no_room_from_forks(pair: Pair) -> None:
    """Neither do those in the name of one log from another, nor before a restart from after."""
    olds = []
    for _ in range(2 * room.MAX_LOGGED):
        pair.theirs.log.record(Act.STARTUP)
        olds.append(pair.request())
    assert cosigned(pair, pair.request()) == 3 + 2 * room.MAX_LOGGED
    for request in olds[:-1]:
        assert "it was cut, or an old one" in pair.witness.answer(request).refusal
    junk = pair.request()
    for number in range(2 * room.MAX_OTHER):
        junk.checkpoint = b"junk %d" % number
        assert pair.witness.answer(junk).refusal
    pair.restart()
    folder = pair.folder / "fork"
    (folder / "secrets").mkdir(parents=True, mode=0o700)
    (folder / "secrets" / "log.key").write_bytes(
        (pair.folder / "theirs" / "secrets" / "log.key").read_bytes()
    )
    (folder / "secrets" / "log.key").chmod(0o600)
    fork = MemberLog(pair.owner.membership, folder)
    for _ in range(pair.theirs.log.size):
        fork.log.record(Act.REFUSAL)
    assert pair.witness.answer(pair.request(log=fork.log)).refusal.endswith("got two")
    assert pair.told()[-1].detail["code"] == "log_fork"
    kept = [file.read_bytes() for file in (pair.folder / "evidence").iterdir()]
    assert {fork.log.checkpoint, pair.theirs.log.checkpoint} <= set(kept)
    fork.log.close()


def test_one_cosignature_per_log_and_interval(pair: Pair) -> None:
    pair.witness._interval_ms = 1000
    assert cosigned(pair, pair.request()) == 3
    again = pair.witness.answer(pair.request(3))
    assert (again.line, again.refusal) == ("", "expected one request in 1000 ms, got another")
    pair.federation.clock.advance(1000)
    assert cosigned(pair, pair.request(3)) == 3


def test_more_logs_than_are_witnessed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is refused with an answer; those known go on."""
    monkeypatch.setattr(room, "MAX_OWNERS", 1)
    assert cosigned(pair, pair.request()) == 3
    other = pair.federation.node("lanzhou")
    theirs = MemberLog(other.membership, pair.folder / "lanzhou")
    theirs.log.record(Act.STARTUP)
    described = other.signed(log_key=theirs.key)[0]
    answer = pair.witness.answer(pair.request(log=theirs.log, described=described, owner=other.uri))
    assert answer.refusal == "expected at most 1 logs to witness, got more"
    assert (answer.line, answer.owner) == ("", other.uri)
    pair.theirs.log.record(Act.STARTUP)
    assert cosigned(pair, pair.request(3)) == 4
    theirs.log.close()


def test_what_cannot_be_kept_is_not_cosigned(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(pair.witness, "_keep", full)
    answer = pair.witness.answer(pair.request())
    assert answer.line == ""
    assert answer.refusal == "the witness cannot keep what it would cosign"


def test_the_witness_key_is_private_and_kept(federation: Federation, tmp_path: Path) -> None:
    member = federation.member(Role.NODE, "heart", "zurich").identity
    first = load_witness_key(tmp_path / "secrets", member)
    assert (tmp_path / "secrets" / "witness.key").stat().st_mode & 0o777 == 0o600
    assert load_witness_key(tmp_path / "secrets", member).verifier == first.verifier
    assert first.verifier.name == member.uri.removeprefix("spiffe://") + "/witness"


@pytest.mark.parametrize("text", [b"", b"PRIVATE+KEY+x", b"\xff\xfe", b"log+00000000+AAAA"])
def test_a_damaged_witness_key(federation: Federation, tmp_path: Path, text: bytes) -> None:
    """The node does not start with a fresh one: what it said before would be of nobody."""
    member = federation.member(Role.NODE, "heart", "zurich").identity
    load_witness_key(tmp_path / "secrets", member)
    file = tmp_path / "secrets" / "witness.key"
    file.write_bytes(text)
    with pytest.raises(StateError, match=f"`{file}` is no secret key of a witness"):
        load_witness_key(tmp_path / "secrets", member)
