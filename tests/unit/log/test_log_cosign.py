"""Cosignatures, and the rule by which a witness gives them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from yumen_core.clock import ManualClock
from yumen_core.errors import CallError, PeerError
from yumen_core.log import Act, Signer, TileLog, sign_note
from yumen_core.log.checkpoint import Checkpoint, sign_checkpoint
from yumen_core.log.cosign import (
    WitnessSigner,
    WitnessVerifier,
    add_cosignatures,
    open_cosigned,
    read_cosignature,
)
from yumen_core.log.cosigning import COSIGNED, PATIENCE_ROUNDS, Cosigning
from yumen_core.log.entry import decode_entry
from yumen_core.log.note import parse_signature, split_note
from yumen_core.log.witness import Seen, Stale, judge
from yumen_core.rpc.v1 import envelope_pb2, link_pb2
from yumen_core.secret import Secret

# The example of the specification: the log's text, and the cosignature of its witness `w1`.
SPEC_TEXT = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
SPEC_LINE = (
    "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2"
    "oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="
)
# A public witness's key, with the key id that its operator published.
KNOWN_KEY = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
ORIGIN = "log.example/alice"
ALICE = Signer(ORIGIN, Secret(bytes(32)))
MALLORY = Signer(ORIGIN, Secret(bytes([9]) * 32))
BOB = WitnessSigner("log.example/bob/witness", Secret(bytes([1]) * 32))
EVE = WitnessSigner("log.example/bob/witness", Secret(bytes([2]) * 32))


def test_the_specifications_example_is_read() -> None:
    signature = parse_signature(SPEC_LINE)
    assert signature.name == "witness.example.com/w1"
    assert signature.key_id.hex() == "8d66cf3f"
    assert int.from_bytes(signature.signature[:8], "big") == 1_679_315_147
    assert len(signature.signature) == 72


def test_a_published_key_has_its_published_id() -> None:
    verifier = WitnessVerifier.parse(KNOWN_KEY)
    assert (verifier.key_id.hex(), verifier.text) == ("da77ade7", KNOWN_KEY)
    with pytest.raises(CallError, match="does not match its key id"):
        WitnessVerifier.parse(KNOWN_KEY.replace("da77ade7", "da77ade8"))
    with pytest.raises(CallError, match="type 4 with 32 bytes"):
        WitnessVerifier.parse(ALICE.verifier.text)


def test_what_is_signed() -> None:
    line = BOB.cosign(SPEC_TEXT, 1_679_315_147)
    message = b"cosignature/v1\ntime 1679315147\n" + SPEC_TEXT.encode()
    plain = Signer("x", Secret(bytes([1]) * 32))
    assert line.signature == (1_679_315_147).to_bytes(8, "big") + plain.sign(message)
    assert BOB.verifier.check(SPEC_TEXT, line) == 1_679_315_147


def test_a_key_comes_back_and_is_not_told() -> None:
    again = WitnessSigner.parse(BOB.reveal_text())
    assert again.cosign("a\n", 5) == BOB.cosign("a\n", 5)
    assert repr(BOB) == "WitnessSigner('log.example/bob/witness', redacted)"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(BOB)
    with pytest.raises(CallError, match="not a secret key of a witness"):
        WitnessSigner.parse(BOB.verifier.text)
    with pytest.raises(CallError, match="has 63 bits, got `-1`"):
        BOB.cosign("a\n", -1)


GOOD = BOB.cosign(SPEC_TEXT, 5)
BAD_LINES = [
    (EVE.cosign(SPEC_TEXT, 5).line, "got another's"),
    (BOB.cosign(SPEC_TEXT + "more\n", 5).line, "is not over this text"),
    (replace(GOOD, signature=GOOD.signature[:-1]).line, "is malformed"),
    (replace(GOOD, signature=b"\xff" + GOOD.signature[1:]).line, "is malformed"),
    (replace(GOOD, signature=(6).to_bytes(8, "big") + GOOD.signature[8:]).line, "not over this"),
    (GOOD.line + GOOD.line, "malformed"),
    (GOOD.line[:-1], "malformed"),
    ("", "malformed"),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES)
def test_bad_lines(line: str, message: str) -> None:
    with pytest.raises(PeerError, match=message):
        read_cosignature(line, SPEC_TEXT, BOB.verifier)


def test_a_cosigned_checkpoint() -> None:
    note = sign_checkpoint(Checkpoint(ORIGIN, 3, bytes(32)), ALICE)
    text, _ = split_note(note)
    whole = add_cosignatures(note, [BOB.cosign(text, 7)])
    assert open_cosigned(whole, ALICE.verifier, [BOB.verifier])[1] == {BOB.verifier.name: 7}
    assert open_cosigned(whole, ALICE.verifier, [EVE.verifier])[1] == {}
    with pytest.raises(PeerError, match="no signature by the key expected"):
        open_cosigned(whole, MALLORY.verifier, [BOB.verifier])
    forged = add_cosignatures(note, [replace(GOOD)])
    with pytest.raises(PeerError, match="not over this text"):
        open_cosigned(forged, ALICE.verifier, [BOB.verifier])


# The rule -----------------------------------------------------------------------------------------


@dataclass
class Two:
    """A log with a backup of its folder and guard: both go on by themselves."""

    log: TileLog
    fork: TileLog


@pytest.fixture
def two(tmp_path: Path) -> Two:
    def grown(name: str, last: bytes) -> TileLog:
        log = TileLog.open(
            tmp_path / name / "log",
            ALICE,
            origin=ORIGIN,
            guard=tmp_path / name / "guard",
            clock=ManualClock(),
        )
        log.append_many([b"%d" % i for i in range(5)])
        log.append(last)
        return log

    return Two(grown("a", b"true"), grown("b", b"false"))


def seen_at(log: TileLog) -> Seen:
    return Seen(ALICE.verifier.text, log.size, log.root, log.checkpoint)


def asked(seen: Seen | None, log: TileLog, **changes: object) -> Checkpoint | Stale:
    old_size = seen.size if seen is not None and seen.size <= log.size else 0
    request: dict[str, object] = {
        "origin": ORIGIN,
        "log_key": ALICE.verifier.text,
        "old_size": old_size,
        "hashes": log.consistency_proof(old_size) if old_size else [],
        "note": log.checkpoint,
    }
    return judge(seen, **{**request, **changes})  # type: ignore[arg-type]


def test_what_extends_is_cosigned(two: Two) -> None:
    first = asked(None, two.log)
    assert isinstance(first, Checkpoint)
    assert first.size == 6
    seen = seen_at(two.log)
    assert asked(seen, two.log) == first  # the same again
    two.log.append_many([b"more"] * 9)
    last = asked(seen, two.log)
    assert isinstance(last, Checkpoint)
    assert last.size == 15


def test_a_proof_from_elsewhere_is_asked_for_again(two: Two) -> None:
    seen = seen_at(two.log)
    two.log.append(b"more")
    assert asked(seen, two.log, old_size=0, hashes=[]) == Stale(6)
    assert asked(seen, two.log, old_size=5) == Stale(6)
    assert asked(None, two.log, old_size=5) == Stale(0)


def _fork(two: Two) -> object:
    return asked(seen_at(two.log), two.fork)


def _fork_later(two: Two) -> object:
    seen = seen_at(two.log)
    two.fork.append(b"more")
    return asked(seen, two.fork)


def _rollback(two: Two) -> object:
    old = two.log.checkpoint
    two.log.append(b"more")
    return asked(seen_at(two.log), two.log, note=old)


def _cut_proof(two: Two) -> object:
    seen = seen_at(two.log)
    two.log.append_many([b"more"] * 9)
    return asked(seen, two.log, hashes=two.log.consistency_proof(6)[:-1])


def _other_key(two: Two) -> object:
    seen = replace(seen_at(two.log), log_key=MALLORY.verifier.text)
    return asked(seen, two.log)


def _signed_by_another(two: Two) -> object:
    return asked(None, two.log, log_key=MALLORY.verifier.text)


def _other_log(two: Two) -> object:
    return asked(None, two.log, origin="log.example/carol")


def _no_key(two: Two) -> object:
    return asked(None, two.log, log_key="log+key")


def _no_checkpoint(two: Two) -> object:
    return asked(None, two.log, note=sign_note("hello\n", [ALICE]))


def _long_proof(two: Two) -> object:
    return asked(None, two.log, hashes=[bytes(32)] * 1000)


REFUSED: list[tuple[Callable[[Two], object], str, str]] = [
    (_fork, "log_fork", "expected one root of the log `log.example/alice` at size 6, got two"),
    (_fork_later, "log_fork", "expected the log `log.example/alice` to go on from size 6: "),
    (_cut_proof, "log_fork", "to go on from size 6: the consistency proof is too short"),
    (_rollback, "log_fork", "to hold 7 entries or more, got a checkpoint of 6: it was cut"),
    (_other_key, "descriptor", "expected the key first seen of the log `log.example/alice`"),
    (_signed_by_another, "log_proof", "has no signature by the key expected"),
    (_other_log, "log_proof", "expected the key of the log `log.example/carol`, got another's"),
    (_no_key, "log_proof", "expected a descriptor that names a log's key"),
    (_no_checkpoint, "log_proof", "the checkpoint is malformed"),
    (_long_proof, "log_proof", "expected a request within its limits, got a larger one"),
]


@pytest.mark.parametrize(("attack", "code", "message"), REFUSED)
def test_what_is_refused(
    two: Two, attack: Callable[[Two], object], code: str, message: str
) -> None:
    with pytest.raises(PeerError) as caught:
        attack(two)
    assert caught.value.code == code
    assert message in caught.value.message


# The owner ----------------------------------------------------------------------------------------

WITNESSES = {name: WitnessSigner.generate(f"{name}/witness") for name in ("bob", "eve", "kim")}
KEYS = {name: signer.verifier.text for name, signer in WITNESSES.items()}


def owner(two: Two, folder: Path) -> Cosigning:
    return Cosigning(two.log, "spiffe://alice", folder, ManualClock(), needed=2)


def said(request: link_pb2.CosignRequest) -> link_pb2.Cosigned:
    text, _ = split_note(request.checkpoint)
    line = WITNESSES[request.witness].cosign(text, 9).line
    return link_pb2.Cosigned(witness=request.witness, line=line)


def test_enough_cosignatures_are_written_with_the_checkpoint(two: Two, tmp_path: Path) -> None:
    cosigning = owner(two, tmp_path)
    verifiers = [signer.verifier for signer in WITNESSES.values()]
    requests = cosigning.begin(KEYS, envelope_pb2.Envelope())
    assert [request.witness for request in requests] == ["bob", "eve", "kim"]
    cosigning.answered(said(requests[0]), KEYS["bob"])
    cosigning.answered(said(requests[1]), KEYS["bob"])  # not by the key of who says it
    assert not (tmp_path / COSIGNED).exists()
    for request in requests[1:]:
        cosigning.answered(said(request), KEYS[request.witness])
    note = (tmp_path / COSIGNED).read_bytes()
    checkpoint, times = open_cosigned(note, ALICE.verifier, verifiers)
    assert (checkpoint.size, len(times)) == (6, 3)
    assert cosigning.begin(KEYS, envelope_pb2.Envelope()) == []  # nothing new
    two.log.append(b"more")
    requests = cosigning.begin(KEYS, envelope_pb2.Envelope())
    assert {request.old_size for request in requests} == {6}
    assert asked(seen_at(two.log), two.log)


def test_a_witness_that_is_elsewhere_is_asked_again_once(two: Two, tmp_path: Path) -> None:
    cosigning = owner(two, tmp_path)
    cosigning.begin(KEYS, envelope_pb2.Envelope())
    stale = link_pb2.Cosigned(witness="bob", size=4)
    again = cosigning.answered(stale, KEYS["bob"])
    assert again is not None
    assert (again.old_size, list(again.hashes)) == (4, two.log.consistency_proof(4))
    assert cosigning.answered(stale, KEYS["bob"]) is None


def test_what_an_owner_hears_of_its_own_log_is_logged_once(two: Two, tmp_path: Path) -> None:
    """A witness ahead of the log: it was restored from a backup. And silence."""
    cosigning = owner(two, tmp_path)
    cosigning.begin(KEYS, envelope_pb2.Envelope())
    for _ in range(3):
        assert cosigning.answered(link_pb2.Cosigned(witness="bob", size=9), KEYS["bob"]) is None
    refusal = link_pb2.Cosigned(witness="eve", refusal="expected one root, got two")
    cosigning.answered(refusal, KEYS["eve"])
    found = [decode_entry(entry) for entry in two.log.entries(6)]
    assert [entry.act for entry in found] == [Act.WITNESS] * 2
    assert [entry.detail["message"] for entry in found] == [
        "has cosigned 9 entries of this log, which holds 6",
        "expected one root, got two",
    ]
    for _ in range(3 * PATIENCE_ROUNDS):
        cosigning.begin(KEYS, envelope_pb2.Envelope())
    last = [decode_entry(entry) for entry in two.log.entries(8)]
    assert [entry.detail["what"] for entry in last] == ["unwitnessed"]
