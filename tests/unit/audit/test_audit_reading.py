"""A log against older checkpoints, other views and witnesses; and decisions made again."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from builders.audited import BEGIN_MS, SIGNER, WITNESSES, Audited, audited, request
from yumen_core.audit.again import decide_again
from yumen_core.audit.reading import AuditedLog, open_audited
from yumen_core.clock import ManualClock
from yumen_core.errors import PeerError
from yumen_core.jobs.admission import decision_detail
from yumen_core.log import Act, Entry, TileLog
from yumen_core.log.cosign import WitnessVerifier
from yumen_core.log.cosigning import COSIGNED


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    return audited(tmp_path_factory.mktemp("audited"))


@pytest.fixture
def made(base: Audited, tmp_path: Path) -> Audited:
    """A copy that a test may spoil."""
    shutil.copytree(base.log.parent, tmp_path / "copy")
    return Audited(tmp_path / "copy" / "log", base.key, base.bundle)


def grow(made: Audited, word: str, times: int = 2) -> bytes:
    """The checkpoint after more entries."""
    with TileLog.open(
        made.log,
        SIGNER,
        origin=SIGNER.name,
        guard=made.log.parent / "guard",
        clock=ManualClock(BEGIN_MS),
    ) as log:
        for _ in range(times):
            log.record(Act.STARTUP, detail={"what": word})
    return (made.log / "checkpoint").read_bytes()


def refused(made: Audited, **options: object) -> str:
    with pytest.raises(PeerError) as caught:
        open_audited(made.log, made.key, **options)  # type: ignore[arg-type]
    assert caught.value.code == "audit"
    return caught.value.message


def keys(count: int) -> list[WitnessVerifier]:
    return [witness.verifier for witness in WITNESSES[:count]]


def test_since_and_other_of_the_same_log(made: Audited) -> None:
    before = (made.log / "checkpoint").read_bytes()
    after = grow(made, "later")
    log = open_audited(made.log, made.key, since=before, other=before)
    assert (log.report.size, log.report.since_size) == (15, 13)
    assert open_audited(made.log, made.key, other=after).report.size == 15


def test_a_split_view(made: Audited, tmp_path: Path) -> None:
    shutil.copytree(made.log.parent, tmp_path / "twin")
    twin = Audited(tmp_path / "twin" / "log", made.key, made.bundle)
    shown = grow(twin, "one")
    grow(made, "two", 3)
    message = refused(made, other=shown)
    assert message.startswith("split view: `gansu.example/cleveland` signed size `16` with root `")
    assert "` and size `15` with root `" in message
    assert message.endswith("`, and neither extends the other")


def test_an_other_view_that_is_longer_or_no_checkpoint(made: Audited, tmp_path: Path) -> None:
    shutil.copytree(made.log.parent, tmp_path / "twin")
    longer = grow(Audited(tmp_path / "twin" / "log", made.key, made.bundle), "one")
    assert refused(made, other=longer) == (
        "the other checkpoint signs `15` entries and these files hold `13`: they are older, cut "
        "short, or of another view; ask for the newest"
    )
    assert refused(made, other=b"nothing").startswith("the other checkpoint: ")
    forged = (made.log / "checkpoint").read_bytes().replace(b"\n13\n", b"\n12\n")
    assert refused(made, other=forged).startswith("the other checkpoint: ")


@pytest.mark.parametrize(
    ("signed", "given", "needed", "words"),
    [
        (0, 2, 1, "expected 1 cosignatures by the given witnesses, got 0"),
        (1, 2, 2, "expected 2 cosignatures by the given witnesses, got 1"),
        (1, 2, 1, ""),
        (1, 2, 0, ""),
        (2, 1, 2, "expected 2 cosignatures by the given witnesses, got 1"),
        (2, 2, 2, ""),
        (2, 0, 1, "expected 1 cosignatures by the given witnesses, got 0"),
    ],
)
def test_cosigned(made: Audited, signed: int, given: int, needed: int, words: str) -> None:
    made.cosign(*WITNESSES[:signed])
    if words:
        assert refused(made, cosigned=needed, witnesses=keys(given)) == words
        return
    log = open_audited(made.log, made.key, cosigned=needed, witnesses=keys(given))
    assert log.cosigned == {one.verifier.name: 1_793_500_000 for one in WITNESSES[:signed]}
    assert log.cosigned_size == 13


def test_cosignatures_that_do_not_hold(made: Audited) -> None:
    assert refused(made, cosigned=1, witnesses=keys(1)) == (
        f"`{COSIGNED}` is missing: no witness has signed this log"
    )
    made.cosign(*WITNESSES)
    file = made.log / COSIGNED
    good = file.read_bytes()
    file.write_bytes(good.replace(b"\n13\n", b"\n12\n"))
    assert refused(made, cosigned=1, witnesses=keys(2)).startswith(f"`{COSIGNED}`: ")
    lines = good.decode().splitlines()
    name, _, signature = lines[-1].rpartition(" ")
    spoiled = signature[:20] + ("A" if signature[20] != "A" else "B") + signature[21:]
    file.write_text("\n".join([*lines[:-1], f"{name} {spoiled}"]) + "\n")
    assert refused(made, cosigned=1, witnesses=keys(2)).startswith(f"`{COSIGNED}`: ")


def test_a_cosigned_checkpoint_that_the_log_no_longer_extends(
    made: Audited, tmp_path: Path
) -> None:
    shutil.copytree(made.log.parent, tmp_path / "twin")
    twin = Audited(tmp_path / "twin" / "log", made.key, made.bundle)
    grow(twin, "shown to the witness")
    twin.cosign(*WITNESSES)
    grow(made, "shown to the auditor", 3)
    shutil.copy(twin.log / COSIGNED, made.log / COSIGNED)
    assert refused(made, cosigned=2, witnesses=keys(2)) == (
        "the log does not extend the checkpoint it signed at size `15`"
    )


def test_files_that_change_while_they_are_read(made: Audited) -> None:
    log = open_audited(made.log, made.key)
    tile = next((made.log / "tile" / "entries").rglob("13"))
    data = tile.read_bytes()
    tile.chmod(0o600)
    tile.write_bytes(data.replace(b"research", b"reserach", 1))
    with pytest.raises(PeerError) as caught:
        list(log.entries())
    assert (caught.value.code, caught.value.message) == (
        "audit",
        "the log changed while it was read: verify it again",
    )


def test_entries_of_another_form(tmp_path: Path) -> None:
    with TileLog.open(
        tmp_path / "log", SIGNER, origin=SIGNER.name, guard=tmp_path / "guard", clock=ManualClock()
    ) as log:
        log.append_many([b"not an entry"])
    with pytest.raises(PeerError, match=r"entry `0`: the log entry is not canonical JSON"):
        open_audited(tmp_path / "log", None)


def test_a_pipe_in_place_of_a_file(made: Audited) -> None:
    (made.log / "checkpoint").unlink()
    os.mkfifo(made.log / "checkpoint")
    assert refused(made) == (
        "`checkpoint` cannot be read: expected a regular file, got another kind"
    )


def test_entries_after_those_that_witnesses_have_signed(made: Audited) -> None:
    made.cosign(*WITNESSES)
    grow(made, "later", 2)
    found = open_audited(made.log, made.key, witnesses=keys(2))
    assert found.unwitnessed > 0
    most = found.unwitnessed
    open_audited(made.log, made.key, witnesses=keys(2), max_unwitnessed=most)
    assert refused(made, witnesses=keys(2), max_unwitnessed=most - 1) == (
        f"expected at most {most - 1} entries after the 13 that witnesses have signed, got {most}"
    )


# Decided again --------------------------------------------------------------------------------


def again(made: Audited, job: str, entries: list[tuple[int, Entry]] | None = None) -> list[object]:
    log: AuditedLog = open_audited(made.log, made.key)
    found = decide_again(entries or log.entries(), job, made.log / "policies")
    return [(one.index, one.logged, one.now, one.agrees, one.note) for one in found]


def test_decisions_that_agree(made: Audited) -> None:
    assert again(made, "job-1") == [(2, "accepted", "accepted", True, "")]
    assert again(made, "job-2") == [(3, "denied (no_permit)", "denied (no_permit)", True, "")]
    assert again(made, "job-9") == []


def test_a_decision_that_differs(made: Audited) -> None:
    """What a node would have to write to let somebody in against its policies, and the reverse."""
    for accepted, purpose, words in (
        (True, "pricing", ("accepted", "denied (no_permit)")),
        (False, "research", ("denied (no_permit)", "accepted")),
    ):
        asked = request(purpose="pricing")
        denials = () if accepted else made.bundle.decide(asked).denials
        detail = decision_detail("", denials, dry_run=False, requests=[request(purpose=purpose)])
        digests = {"policies": made.bundle.digest, "spec": b"s" * 32}
        entry = Entry(0, Act.DECISION, {"job": "j"}, digests, detail)
        assert again(made, "j", [(5, entry)]) == [(5, *words, False, "")]


def test_what_a_coordinator_notes_of_a_node_is_not_its_own_decision(made: Audited) -> None:
    digests = {"policies": made.bundle.digest, "decision": b"d" * 32}
    noted = Entry(0, Act.DECISION, {"job": "j", "node": "n"}, digests, {"accepted": True})
    assert again(made, "j", [(5, noted)]) == []


def test_what_cannot_be_decided_again(made: Audited) -> None:
    assert again(made, "job-3") == [
        (
            4,
            "denied (too_few_nodes)",
            "",
            None,
            "it was refused before any policy was asked",
        )
    ]
    assert again(made, "job-6") == [
        (11, "accepted", "", None, "the entry holds no facts of this decision")
    ]
    (saved,) = (made.log / "policies").glob("*.json")
    document = json.loads(saved.read_bytes())
    document["purposes"].append(["pricing2", "x"])
    saved.chmod(0o600)
    saved.write_text(json.dumps(document))
    ((index, logged, now, agrees, note),) = again(made, "job-1")  # type: ignore[misc]
    assert (index, logged, now, agrees) == (2, "accepted", "", None)
    assert "the bytes are not what the name says" in note
    saved.unlink()
    assert again(made, "job-1")[0][3] is None  # type: ignore[index]
