"""`yumen audit`: what the commands print and how they end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from builders.audited import SIGNER, WANG, WITNESSES, Audited, audited, request
from yumen_cli.main import main
from yumen_core.clock import ManualClock
from yumen_core.jobs.admission import decision_detail
from yumen_core.log import Act, TileLog

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    return audited(tmp_path_factory.mktemp("audited"))


@pytest.fixture
def made(base: Audited, tmp_path: Path) -> Audited:
    shutil.copytree(base.log.parent, tmp_path / "copy")
    return Audited(tmp_path / "copy" / "log", base.key, base.bundle)


def said(capsys: Capture, *words: str | Path, code: int = 0) -> tuple[str, str]:
    assert main(["audit", *map(str, words)]) == code
    found = capsys.readouterr()
    return found.out, found.err


def document(capsys: Capture, *words: str | Path, code: int = 0) -> dict[str, object]:
    out, err = said(capsys, *words, "--json", code=code)
    assert err == ""
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


# verify -----------------------------------------------------------------------------------------


def test_verify(base: Audited, capsys: Capture) -> None:
    out, _ = said(capsys, "verify", base.log, "--key", base.key)
    assert out.startswith("the log is whole\n")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "entries 13" in lines
    assert "key source given" in lines
    assert "since not asked (--since)" in lines
    assert "cosigned by not asked (--witness)" in lines


def test_verify_in_full(made: Audited, capsys: Capture) -> None:
    made.cosign(*WITNESSES)
    witnesses = [word for one in WITNESSES for word in ("--witness", one.verifier.text)]
    kept = made.log / "checkpoint"
    words = [made.log, "--key", made.key, "--since", kept, "--other", kept, "--cosigned", "2"]
    found = document(capsys, "verify", *words, *witnesses)
    assert (found["entries"], found["since"], found["cosigned_entries"]) == (13, 13, 13)
    assert found["cosigned_by"] == ["gansu.example/hungary", "gansu.example/zurich"]
    out, _ = said(capsys, "verify", *words, *witnesses)
    assert "gansu.example/hungary at 2026-11-01T02:26:40Z, gansu.example/zurich at" in out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--cosigned", "2"], 2, "expected the keys of 2 witnesses or more, got 0"),
        (["--witness", WITNESSES[0].verifier.text], 4, "`checkpoint.cosigned` is missing: no"),
        (["--witness", SIGNER.verifier.text], 2, "argument"),
        (["--since", "missing"], 9, "missing"),
        (["--key", WITNESSES[0].verifier.text], 2, "argument"),
    ],
)
def test_verify_refuses(
    base: Audited, capsys: Capture, words: Sequence[str], code: int, message: str
) -> None:
    got = main(["audit", "verify", str(base.log), *words, "--json"])
    text = capsys.readouterr()
    assert message in text.out + text.err
    assert got != 0
    if code != 9:
        assert got == code


def test_a_folder_without_a_log(tmp_path: Path, capsys: Capture) -> None:
    _, err = said(capsys, "verify", tmp_path, code=2)
    assert f"no log in `{tmp_path}`" in err


# show -------------------------------------------------------------------------------------------


def test_show(base: Audited, capsys: Capture) -> None:
    out, err = said(capsys, "show", base.log, "--denied", "--user", "wang")
    assert err == ""
    assert out.splitlines()[0].split() == [
        "index", "time", "act", "who", "what", "outcome", "reason"
    ]  # fmt: skip
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["3", "4"]
    assert "no_permit" in out


@pytest.mark.parametrize(
    ("words", "indices"),
    [
        (["--user", "wang"], [3, 4]),
        (["--table", "wells"], [4]),
        (["--purpose", "pricing"], [3, 4]),
        (["--job", "job-2"], [3]),
        (["--act", "budget"], [6, 7, 8]),
        (["--since", "2026-11-12"], [11, 12]),
        (["--since", "2026-11-12T00:00:00+00:00", "--until", "2026-11-13"], [11]),
        (["--until", "2026-11-02"], [0]),
        (["--denied"], [3, 4, 5]),
        (["--denied", "--act", "refusal"], [5]),
        (["--user", "nobody"], []),
    ],
)
def test_show_filters(
    base: Audited, capsys: Capture, words: Sequence[str], indices: list[int]
) -> None:
    found = document(capsys, "show", base.log, *words)
    entries = found["entries"]
    assert isinstance(entries, list)
    assert [int(entry["index"]) for entry in entries] == indices
    assert found["more"] == 0


def test_show_says_what_it_leaves_out(base: Audited, capsys: Capture) -> None:
    out, err = said(capsys, "show", base.log, "--limit", "2")
    assert len(out.splitlines()) == 3
    assert err == "11 more entries; show them with --limit 13\n"
    assert document(capsys, "show", base.log, "--limit", "2")["more"] == 11
    assert said(capsys, "show", base.log, "--user", "nobody")[0] == "no entry of this kind\n"


def test_show_keeps_the_terminal(base: Audited, capsys: Capture) -> None:
    out, _ = said(capsys, "show", base.log, "--act", "refusal")
    assert "signature" in out
    assert len(out.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--act", "denied"],
            "expected an act of budget, code_review, contribution, decision, enrolment, job_ended,"
            " job_received, operator, policy_activated, refusal, release, revocations,"
            " run_dropped, sandbox, startup, support, table_published, witness, got `denied`",
        ),
        (["--since", "yesterday"], "expected a date such as `2026-11-23`, got `yesterday`"),
    ],
)
def test_show_refuses(base: Audited, capsys: Capture, words: Sequence[str], message: str) -> None:
    assert main(["audit", "show", str(base.log), *words, "--json"]) == 2
    found = capsys.readouterr()
    assert json.loads(found.out or found.err)["error"]["message"] == message


# export -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "json", "syslog"])
def test_export_to_a_file_or_stdout(
    base: Audited, tmp_path: Path, capsys: Capture, form: str
) -> None:
    out, _ = said(capsys, "export", base.log, "--format", form)
    file = tmp_path / "entries"
    assert said(capsys, "export", base.log, "--format", form, "--output", file) == ("", "")
    assert file.read_bytes().decode() == out
    assert out.count("job-2") >= 1
    assert list(tmp_path.iterdir()) == [file]


def test_export_of_a_log_that_is_not_whole(made: Audited, tmp_path: Path, capsys: Capture) -> None:
    tile = next((made.log / "tile" / "entries").rglob("13"))
    tile.chmod(0o600)
    tile.write_bytes(tile.read_bytes().replace(b"pricing", b"research", 1))
    file = tmp_path / "entries.csv"
    said(capsys, "export", made.log, "--format", "csv", "--output", file, code=4)
    assert not file.exists()


def test_export_to_where_nothing_can_be_written(base: Audited, capsys: Capture) -> None:
    _, err = said(
        capsys, "export", base.log, "--format", "csv", "--output", "/nowhere/x.csv", code=2
    )
    assert "`/nowhere/x.csv` cannot be written: No such file or directory" in err


# replay -----------------------------------------------------------------------------------------


def test_replay(base: Audited, capsys: Capture) -> None:
    assert said(capsys, "replay", base.log, "job-1")[0] == (
        "entry 2: logged accepted; now accepted; the same\n"
    )
    assert said(capsys, "replay", base.log, "job-2")[0] == (
        "entry 3: logged denied (no_permit); now denied (no_permit); the same\n"
    )
    assert said(capsys, "replay", base.log, "job-6")[0] == (
        "entry 11: logged accepted; now -; not decided again: "
        "the entry holds no facts of this decision\n"
    )
    assert document(capsys, "replay", base.log, "job-1") == {
        "decisions": [
            {"index": 2, "logged": "accepted", "now": "accepted", "agrees": True, "note": ""}
        ]
    }
    _, err = said(capsys, "replay", base.log, "job-9", code=2)
    assert "expected a job that this log decided on, got `job-9`" in err


def test_replay_of_a_decision_against_the_policies(made: Audited, capsys: Capture) -> None:

    with TileLog.open(
        made.log,
        SIGNER,
        origin=SIGNER.name,
        guard=made.log.parent / "guard",
        clock=ManualClock(),
    ) as log:
        log.record(
            Act.DECISION,
            subject={"job": "job-7", "requester": WANG},
            digests={"policies": made.bundle.digest, "spec": b"s" * 32},
            detail=decision_detail("", (), dry_run=False, requests=[request(purpose="pricing")]),
        )
    out, _ = said(capsys, "replay", made.log, "job-7", code=4)
    assert out == "entry 13: logged accepted; now denied (no_permit); DIFFERS\n"
    found = document(capsys, "replay", made.log, "job-7", code=4)
    assert isinstance(found["decisions"], list)
    assert found["decisions"][0]["agrees"] is False


# report -----------------------------------------------------------------------------------------


def test_report(base: Audited, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "november.html"
    words = ["report", base.log, "--from", "2026-11-03", "--to", "2026-11-06", "--output", file]
    assert said(capsys, *words)[0] == (f"gansu.example/cleveland: 3 entries\nwritten to {file}\n")
    text = file.read_text("utf-8")
    assert "From 2026-11-03 to 2026-11-06, UTC" in text
    assert "no_permit" in text
    assert "Privacy budgets" not in text
    found = document(capsys, "report", base.log, base.log, "--output", file)
    assert found["logs"] == [{"origin": "gansu.example/cleveland", "entries": 13}] * 2
    assert "Audit of 2 logs" in file.read_text("utf-8")


def test_report_refuses(base: Audited, made: Audited, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "r.html"
    _, err = said(capsys, "report", base.log, base.log, "--key", base.key, "--output", file, code=2)
    assert "expected 2 keys or none, got 1" in err
    tile = next((made.log / "tile" / "entries").rglob("13"))
    tile.chmod(0o600)
    tile.write_bytes(tile.read_bytes().replace(b"pricing", b"research", 1))
    said(capsys, "report", base.log, made.log, "--output", file, code=4)
    assert not file.exists()
