"""That an entry stands in its author's log: what holds, and every way in which it does not."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from yumen_core.clock import ManualClock
from yumen_core.errors import PeerError
from yumen_core.log import Act
from yumen_core.log.appender import TileLog
from yumen_core.log.merkle import MAX_PROOF_HASHES
from yumen_core.log.note import MAX_NOTE_BYTES, Signer
from yumen_core.log.proof import LogProof, prove, verify_decision, verify_proof
from yumen_core.log.tiles import MAX_ENTRY_BYTES
from yumen_core.rpc.v1 import job_pb2
from yumen_core.secret import Secret

SIGNER = Signer("log.example/node", Secret(bytes(range(32))))
OTHER = Signer("log.example/node", Secret(bytes(range(1, 33))))
SPEC = b"s" * 32
AT = 300  # beyond one full tile


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TileLog]:
    root: Path = tmp_path_factory.mktemp("log")
    with TileLog.open(
        root / "log", SIGNER, origin=SIGNER.name, guard=root / "guard", clock=ManualClock()
    ) as opened:
        for number in range(AT):
            opened.record(Act.SUPPORT, subject={"job": str(number)})
        index = opened.record(
            Act.DECISION,
            subject={"job": "one"},
            digests={"spec": SPEC},
            detail={"accepted": True, "denials": []},
        )
        assert index == AT
        opened.record(Act.JOB_ENDED, subject={"job": "one"})
        yield opened


@pytest.fixture
def proof(log: TileLog) -> LogProof:
    return prove(log, AT)


def check(proof: LogProof, **other: Any) -> None:
    asked: dict[str, Any] = {
        "job_id": "one",
        "spec_digest": SPEC,
        "accepted": True,
        "index": AT,
        "log_key": SIGNER.verifier.text,
    }
    asked.update(other)
    verify_decision(proof, asked.pop("log_key"), **asked)


def refused(proof: LogProof, **other: Any) -> str:
    with pytest.raises(PeerError) as caught:
        check(proof, **other)
    assert caught.value.code == "log_proof"
    return caught.value.message


def test_a_decision_is_proved(log: TileLog, proof: LogProof) -> None:
    check(proof)
    entry, checkpoint = verify_proof(proof, SIGNER.verifier)
    assert entry.subject == {"job": "one"}
    assert (checkpoint.size, checkpoint.root) == (log.size, log.root)


def test_every_entry_is_proved(log: TileLog) -> None:
    for index in (0, 1, 255, 256, AT, log.size - 1):
        proof = prove(log, index)
        entry, _ = verify_proof(proof, SIGNER.verifier)
        assert entry.encode() == log.entry(index)


def test_it_travels_as_a_message_and_in_a_file(proof: LogProof) -> None:
    assert LogProof.from_proto(proof.to_proto()) == proof
    assert LogProof.from_json(json.loads(json.dumps(proof.to_json()))) == proof


@pytest.mark.parametrize(
    "other",
    [{"job_id": "two"}, {"spec_digest": b"t" * 32}, {"accepted": False}, {"index": AT + 1}],
)
def test_the_decision_of_another_job_is_no_proof(proof: LogProof, other: dict[str, Any]) -> None:
    job = other.get("job_id", "one")
    expected = f"expected the log entry of the decision on job `{job}`, got another"
    assert refused(proof, **other) == expected


def test_another_act_is_no_decision(log: TileLog) -> None:
    assert refused(prove(log, AT + 1), index=AT + 1).endswith("got another")


@pytest.mark.parametrize(
    "broken",
    [
        lambda p: replace(p, entry=p.entry.replace(b'"one"', b'"two"')),
        lambda p: replace(p, entry=p.entry + b" "),
        lambda p: replace(p, entry=b""),
        lambda p: replace(p, index=AT - 1),
        lambda p: replace(p, index=1 << 62),
        lambda p: replace(p, hashes=p.hashes[:-1]),
        lambda p: replace(p, hashes=(*p.hashes, p.hashes[0])),
        lambda p: replace(p, hashes=(p.hashes[0][:31], *p.hashes[1:])),
        lambda p: replace(p, hashes=(bytes(32), *p.hashes[1:])),
        lambda p: replace(p, checkpoint=p.checkpoint.replace(b"302", b"303")),
        lambda p: replace(p, checkpoint=b""),
    ],
)
def test_a_proof_that_was_changed(proof: LogProof, broken: Callable[[LogProof], LogProof]) -> None:
    changed = broken(proof)
    assert changed != proof
    assert refused(changed).startswith("expected an entry of the log: ")


def test_a_checkpoint_by_another_key(proof: LogProof) -> None:
    assert "no signature by the key expected" in refused(proof, log_key=OTHER.verifier.text)


@pytest.mark.parametrize("key", ["", "log+key", SIGNER.verifier.text + "x"])
def test_a_descriptor_without_a_key(proof: LogProof, key: str) -> None:
    assert refused(proof, log_key=key) == "expected a descriptor that names a log's key"


@pytest.mark.parametrize(
    "message",
    [
        job_pb2.LogProof(entry=bytes(MAX_ENTRY_BYTES + 1)),
        job_pb2.LogProof(checkpoint=bytes(MAX_NOTE_BYTES + 1)),
        job_pb2.LogProof(hashes=[bytes(32)] * (MAX_PROOF_HASHES + 1)),
    ],
)
def test_a_message_beyond_the_limits(message: job_pb2.LogProof) -> None:
    with pytest.raises(PeerError) as caught:
        LogProof.from_proto(message)
    assert caught.value.message == "expected a proof within its limits, got a larger one"


@pytest.mark.parametrize(
    "change",
    [
        {"entry": 1},
        {"index": "0"},
        {"index": True},
        {"checkpoint": None},
        {"hashes": "x"},
        {"hashes": [1]},
        {"hashes": ["*"]},
        {"entry": "x" * 5 * MAX_ENTRY_BYTES},
    ],
)
def test_a_file_of_another_form(proof: LogProof, change: dict[str, Any]) -> None:
    value = proof.to_json()
    assert isinstance(value, dict)
    with pytest.raises(PeerError) as caught:
        LogProof.from_json({**value, **change})
    assert caught.value.message == "expected the proof of a log entry, got another"


@pytest.mark.parametrize("value", [None, [], "x", {}])
def test_no_proof_at_all(value: Any) -> None:
    with pytest.raises(PeerError):
        LogProof.from_json(value)
