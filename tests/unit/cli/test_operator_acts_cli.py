"""Which commands leave an act at a node, and that they show nothing where they cannot."""

from __future__ import annotations

import errno
import shutil
import time
from pathlib import Path

import pytest
import yaml
from builders.audited import SIGNER, Audited, audited
from builders.federation import Federation
from builders.project import pyproject
from yumen_cli.main import main
from yumen_core.audit.rows import HEADER, Wanted, row_of
from yumen_core.clock import ManualClock
from yumen_core.identity import Role
from yumen_core.log import Act, Entry, TileLog
from yumen_core.policy import PolicyBundle
from yumen_core.training.bundle import Bundle
from yumen_node.approvals import open_approvals
from yumen_node.operator_spool import FOLDER, OperatorSpool
from yumen_node.operators import Doing, Left, this_person

POLICIES = Path(__file__).parents[3] / "policies"
CODE = Bundle({"app.py": b"server = client = None\n", "pyproject.toml": pyproject().encode()})
Capture = pytest.CaptureFixture[str]


class Desk:
    """A node's folder with its log, its policies, code that waits, and a colleague's identity."""

    def __init__(self, root: Path, made: Audited) -> None:
        self.root = root
        self.node = root / "node"
        shutil.copytree(made.log.parent, self.node)
        (self.node / "guard").rename(root / "guard")
        (self.node / "policies").mkdir()
        for name in ("hospital.cedar", "purposes.yaml"):
            shutil.copy(POLICIES / name, self.node / "policies" / name)
        shutil.copy(POLICIES / "hospital.cases.yaml", self.node / "policies" / "cases.yaml")
        federation = Federation(root / "members", ManualClock(time.time_ns() // 1_000_000))
        federation.member(Role.NODE, "heart", "cleveland")
        federation.member(Role.USER, "wang", "cleveland")
        settings = {
            "coordinator": "127.0.0.1:7401",
            "identity": str(root / "members" / "node-cleveland-heart"),
            "policies": ["policies/hospital.cedar"],
        }
        (self.node / "node.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        approvals = open_approvals(self.node)
        approvals.keep(CODE)
        approvals.close()

    @property
    def policies(self) -> str:
        folder = self.node / "policies"
        found = PolicyBundle.load([folder / "hospital.cedar"], purposes=folder / "purposes.yaml")
        return found.digest.hex()

    def words(self, text: str) -> list[str]:
        places = {
            "NODE": self.node,
            "LOG": self.node / "log",
            "RULES": self.node / "policies",
            "OUT": self.root / "out",
            "WANG": self.root / "members" / "user-cleveland-wang",
            "CODE": CODE.digest.hex(),
        }
        return [str(places.get(word, word)) for word in text.split()]

    def left(self) -> list[Doing]:
        files = sorted((self.node / "state" / FOLDER).glob("*.json"))
        return [Left.from_bytes(file.read_bytes()).doing for file in files]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    return audited(tmp_path_factory.mktemp("audited"))


@pytest.fixture
def desk(tmp_path: Path, made: Audited) -> Desk:
    return Desk(tmp_path, made)


TOLD = [
    ("node approvals NODE", "view_approvals", {}, ""),
    ("node approvals NODE --all --json", "view_approvals", {}, ""),
    ("node approvals NODE show CODE", "view_code", {}, "code"),
    ("node approvals NODE files CODE", "view_code", {}, "code"),
    ("node approvals NODE files CODE app.py", "view_code", {}, "code"),
    ("node approvals NODE approve CODE --reason read", "review_code", {}, "code"),
    ("node approvals NODE reject CODE --reason no --as WANG", "review_code", {}, "code"),
    ("node quality NODE", "view_quality", {}, ""),
    ("audit show LOG", "view_log", {}, ""),
    ("audit show LOG --job job-1 --json", "view_log", {"job": "job-1"}, ""),
    ("audit export LOG --format json", "export_log", {}, ""),
    ("audit replay LOG job-1", "replay_log", {"job": "job-1"}, ""),
    ("audit report LOG --output OUT", "report_log", {}, ""),
    ("policy explain RULES --log LOG --job job-1", "view_policy", {"job": "job-1"}, "policies"),
    ("policy explain RULES/hospital.cedar --log LOG --job job-1", "view_policy",
     {"job": "job-1"}, "policies"),
    ("policy replay RULES --log LOG", "replay_log", {}, "policies"),
    ("policy diff RULES RULES --log LOG", "replay_log", {}, "policies"),
    ("policy diff RULES RULES", "view_policy", {}, "policies"),
    ("policy sign NODE --as WANG", "sign_policy", {}, "policies"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "act", "subject", "digest"), TOLD)
def test_a_command_leaves_its_act(
    desk: Desk, command: str, act: str, subject: dict[str, str], digest: str
) -> None:
    words = [word.replace("RULES/", f"{desk.node}/policies/") for word in desk.words(command)]
    assert main(words) == 0
    (doing,) = desk.left()
    assert (doing.act.value, doing.operator) == (act, this_person()[0])
    assert dict(doing.subject) == subject
    known = {"code": CODE.digest.hex(), "policies": desk.policies}
    assert {name: one.hex() for name, one in doing.digests.items()} == (
        {digest: known[digest]} if digest else {}
    )


@pytest.mark.parametrize(("command", "act", "subject", "digest"), TOLD)
def test_where_it_cannot_be_left_nothing_is_shown_or_done(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    command: str,
    act: str,
    subject: dict[str, str],
    digest: str,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("yumen_core.identity.files.os.replace", full)
    words = [word.replace("RULES/", f"{desk.node}/policies/") for word in desk.words(command)]
    assert main(words) == 8
    found = capsys.readouterr()
    text = found.out + found.err
    assert "this act could not be left for the node's log: `" in text
    assert "cannot be written: No space left on device" in text
    assert "job-1" not in text
    assert "app.py" not in text
    assert found.out == "" or '"error"' in found.out
    assert desk.left() == []
    assert not (desk.root / "out").exists()
    assert not (desk.node / "state" / "activations").exists()
    approvals = open_approvals(desk.node)
    assert approvals.held()[0].reviews == ()
    approvals.close()


UNTOLD = [
    "audit verify LOG",
    "log verify LOG",
    "node tables NODE",
    "policy lint RULES",
    "policy test RULES",
    "node approvals NODE show 12345678",
    "audit show LOG --since soon",
]


@pytest.mark.parametrize("command", UNTOLD)
def test_what_shows_no_entry_and_no_code_leaves_nothing(desk: Desk, command: str) -> None:
    main(desk.words(command))
    assert desk.left() == []


def test_an_auditor_s_copy_leaves_nothing(desk: Desk, capsys: Capture) -> None:
    """Nor does a copy that lies in the folder of another node."""
    copies = [desk.root / "copy" / "log", desk.node / "copies" / "log"]
    for copy in copies:
        shutil.copytree(desk.node / "log", copy)
        assert main(["audit", "show", str(copy), "--denied"]) == 0
        assert "job-2" in capsys.readouterr().out
    assert desk.left() == []
    assert not (desk.root / "copy" / "state").exists()


def test_a_link_to_the_log_is_the_log(desk: Desk) -> None:
    link = desk.root / "elsewhere"
    link.symlink_to(desk.node / "log")
    assert main(["audit", "show", str(link)]) == 0
    assert [one.act for one in desk.left()] == ["view_log"]


def test_beside_a_configuration_that_cannot_be_read_nothing_is_shown(
    desk: Desk, capsys: Capture
) -> None:
    (desk.node / "node.yaml").write_text("log: [")
    assert main(["audit", "show", str(desk.node / "log")]) == 2
    assert "job-1" not in capsys.readouterr().out


def test_a_job_of_another_form(desk: Desk, capsys: Capture) -> None:
    assert main(["audit", "show", str(desk.node / "log"), "--job", "Li Wang"]) == 2
    assert "expected the id of a job or a session, got `Li Wang`" in capsys.readouterr().err


def test_the_acts_in_the_log_in_words(desk: Desk, capsys: Capture) -> None:
    """From the command to the entry, and back to whoever reads the log."""
    assert main(["node", "approvals", str(desk.node), "show", CODE.digest.hex()]) == 0
    assert main(["audit", "show", str(desk.node / "log"), "--job", "job-1"]) == 0
    clock = ManualClock(time.time_ns() // 1_000_000)
    with TileLog.open(
        desk.node / "log", SIGNER, origin=SIGNER.name, guard=desk.root / "guard", clock=clock
    ) as log:
        OperatorSpool(desk.node / "state", log, "spiffe://n").tell()
    capsys.readouterr()
    who = this_person()[0]
    copy = shutil.copytree(desk.node / "log", desk.root / "copy")
    assert main(["audit", "show", str(copy), "--act", "operator", "--user", who]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["13", "14"]
    assert who in lines[1]
    assert lines[1].endswith(f"code {CODE.digest.hex()}  view code")
    assert lines[2].endswith("job job-1".ljust(69) + "  view log")
    out = desk.root / "report.html"
    assert main(["audit", "report", str(copy), "--output", str(out)]) == 0
    text = out.read_text("utf-8")
    assert "Acts of operators" in text
    assert f"<td>{who}</td><td>view code</td>" in text


def _row(entry: Entry) -> dict[str, str]:
    return dict(zip(HEADER, row_of(0, entry).cells, strict=True))


def test_rows_of_operators_and_reviewers() -> None:
    node = {"node": "spiffe://n", "operator": "os:heart", "login": "os:li"}
    late = Entry(3_600_000, Act.OPERATOR, node, {}, {"what": "view_log", "left_at_ms": 1000})
    found = _row(late)
    assert found["who"] == "os:heart, logged in as os:li"
    assert (found["outcome"], found["reason"]) == ("view log", "done at 1970-01-01T00:00:01.000Z")
    assert Wanted(user="os:li").holds(late)
    soon = Entry(2000, Act.OPERATOR, node, {}, {"what": "view_log", "left_at_ms": 1000})
    assert _row(soon)["reason"] == ""
    odd = Entry(0, Act.OPERATOR, node, {}, {"what": "view_log", "left_at_ms": 1 << 52})
    assert _row(odd)["reason"] == f"done at {1 << 52} ms"
    refused = Entry(0, Act.OPERATOR, {"operator": "li", "session": "s1"}, {},
                    {"what": "log_in_refused"})  # fmt: skip
    assert Wanted(denied=True).holds(refused)
    assert not Wanted(denied=True).holds(late)
    assert _row(refused)["what"] == "session s1"
    review = Entry(0, Act.CODE_REVIEW, {"node": "spiffe://n", "reviewer": "spiffe://w"},
                   {"code": b"c" * 32}, {"approved": False})  # fmt: skip
    assert _row(review)["who"] == "spiffe://w"
    assert (_row(review)["what"], _row(review)["outcome"]) == (f"code {'63' * 32}", "rejected")
