"""`yumen policy`: what the commands print and how they end."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml
from builders.audited import LI, NODE, request
from builders.federation import Federation
from yumen_cli.main import main
from yumen_core.clock import ManualClock
from yumen_core.identity import Role
from yumen_core.identity.names import Identity
from yumen_core.jobs.admission import decision_detail
from yumen_core.log import Act, open_log

POLICIES = Path(__file__).parents[3] / "policies"
HOSPITAL, FARM = str(POLICIES / "hospital.cedar"), str(POLICIES / "farm.cedar")


@pytest.fixture
def log(tmp_path: Path) -> str:
    """A real log of two allowed jobs."""
    member = Identity.parse(NODE)
    found = open_log(
        tmp_path / "log", member=member, secrets=tmp_path / "secrets", clock=ManualClock()
    )
    for job, purpose in (("job-1", "research"), ("job-2", "public-health")):
        found.record(
            Act.DECISION,
            subject={"job": job, "requester": LI, "table": "heart", "purpose": purpose},
            digests={"policies": b"1" * 32},
            detail=decision_detail("SELECT 1", (), dry_run=False,
                                   requests=[request(purpose=purpose)]),
        )  # fmt: skip
    found.close()
    return str(tmp_path / "log")


@pytest.fixture
def draft(tmp_path: Path) -> str:
    folder = tmp_path / "draft"
    folder.mkdir()
    text = (POLICIES / "hospital.cedar").read_text("utf-8")
    text = text.replace('"research", "public-health", "quality', '"research", "quality')
    (folder / "hospital.cedar").write_text(text, encoding="utf-8")
    (folder / "purposes.yaml").write_bytes((POLICIES / "purposes.yaml").read_bytes())
    return str(folder)


def test_lint(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["policy", "lint", str(POLICIES)]) == 0
    assert "policies in 5 files are fit; digest " in capsys.readouterr().out
    bad = tmp_path / "bad.cedar"
    bad.write_text('@id("open") permit (principal, action, resource);')
    assert main(["policy", "lint", str(bad)]) == 2
    out = capsys.readouterr().out
    assert "bad.cedar  open    a permit must name its action" in out
    assert main(["policy", "lint", str(tmp_path / "none")]) == 2
    assert "expected policies in" in capsys.readouterr().err


def test_test(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["policy", "test", FARM]) == 0
    assert "16 cases, 0 failed" in capsys.readouterr().out
    cases = tmp_path / "cases.yaml"
    cases.write_text("cases: [{name: open, decide: allow, facts: {table: harvest, threshold: 1}}]")
    assert main(["policy", "test", FARM, str(cases)]) == 1
    out = capsys.readouterr().out
    assert "FAILED  open  allow     deny: no_permit" in out
    assert "1 cases, 1 failed" in out


def test_explain(capsys: pytest.CaptureFixture[str], log: str) -> None:
    assert main(["policy", "explain", HOSPITAL, "--case", "a low threshold"]) == 0
    out = capsys.readouterr().out
    assert "table heart, query: denied" in out
    assert "permit heart-research (hospital.cedar) does not match" in out
    assert "  fails  when { (context.threshold) >= 10 }" in out
    assert main(["policy", "explain", FARM, "--log", log, "--job", "job-1"]) == 0
    out = capsys.readouterr().out
    assert '  fails  resource == Yumen::Table::"harvest"' in out
    assert main(["policy", "explain", FARM, "--log", log, "--job", "job-9"]) == 2
    assert main(["policy", "explain", FARM]) == 2


def test_replay(capsys: pytest.CaptureFixture[str], log: str, draft: str) -> None:
    assert main(["policy", "replay", HOSPITAL, "--log", log]) == 0
    assert "2 decisions stay, 0 would flip" in capsys.readouterr().out
    assert main(["policy", "replay", draft, "--log", log]) == 0
    out = capsys.readouterr().out
    assert "1 decisions stay, 1 would flip" in out
    assert "job-2" in out
    assert "deny: no_permit" in out
    assert main(["policy", "replay", draft, "--log", log, "--since", "2099-01-01", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["same"] == 0
    assert main(["policy", "replay", draft, "--log", log, "--since", "soon"]) == 2


def test_diff(capsys: pytest.CaptureFixture[str], log: str, draft: str) -> None:
    assert main(["policy", "diff", HOSPITAL, HOSPITAL, "--log", log]) == 0
    assert capsys.readouterr().out == "the two say the same\n0 of 13 decisions flip\n"
    assert main(["policy", "diff", HOSPITAL, draft, "--log", log]) == 0
    out = capsys.readouterr().out
    assert "changed: heart-ready-models, heart-research" in out
    assert "2 of 13 decisions flip" in out
    assert main(["policy", "diff", draft, HOSPITAL]) == 0  # the cases that lie with them
    assert "1 of 11 decisions flip" in capsys.readouterr().out


def test_sign(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    federation = Federation(tmp_path / "m", ManualClock(time.time_ns() // 1_000_000))
    federation.member(Role.NODE, "heart", "cleveland")
    federation.member(Role.USER, "wang", "cleveland")
    node = tmp_path / "node"
    node.mkdir()
    settings = {
        "coordinator": "127.0.0.1:7401",
        "identity": str(tmp_path / "m" / "node-cleveland-heart"),
        "policies": [HOSPITAL],
        "purposes": str(POLICIES / "purposes.yaml"),
        "policy_signers": 2,
    }
    (node / "node.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    signer = str(tmp_path / "m" / "user-cleveland-wang")
    assert main(["policy", "sign", str(node), "--as", signer, "--note", "read"]) == 0
    out = capsys.readouterr().out
    assert "as spiffe://gansu.example/org/cleveland/user/wang" in out
    assert "the node asks for 2; start it again" in out
    assert len(list((node / "state" / "activations").iterdir())) == 1
