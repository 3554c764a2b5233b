"""`yumen node approvals`: the operator's view of code that waits, and the word on it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from builders.federation import Federation
from builders.project import pyproject
from yumen_cli.main import main
from yumen_core.clock import ManualClock, SystemClock
from yumen_core.identity import Identity, Role
from yumen_core.identity.membership import Membership
from yumen_core.training.bundle import Bundle
from yumen_node.approvals import open_approvals
from yumen_node.ask import Ask, AskedColumn

NODE = "spiffe://gansu.example/org/cleveland/node/heart"


def bundle(body: str = "", name: str = "cardio") -> Bundle:
    source = f"{body}\nserver = client = None\n"
    return Bundle({"app.py": source.encode(), "pyproject.toml": pyproject(name).encode()})


class Desk:
    """An operator's desk: the node's folder, and a colleague's identity."""

    def __init__(self, folder: Path) -> None:
        self.federation = Federation(folder / "members", ManualClock(time.time_ns() // 1_000_000))
        self.federation.member(Role.NODE, "heart", "cleveland")
        self.federation.member(Role.USER, "wang", "cleveland")
        self.federation.member(Role.USER, "li", "lzu")
        self.members = folder / "members"
        self.node = folder / "node"
        self.node.mkdir()
        settings = {
            "coordinator": "127.0.0.1:7401",
            "identity": str(self.members / "node-cleveland-heart"),
        }
        (self.node / "node.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")

    def offer(self, offered: Bundle, **changes: object) -> str:
        now_ms = self.federation.clock.now_ms()
        facts: dict[str, object] = {
            "job_id": "job-1",
            "requester": Identity("gansu.example", "lzu", Role.USER, "li"),
            "purpose": "research",
            "table": "heart",
            "sql": 'SELECT "age" FROM "heart"',
            "columns": (AskedColumn("age", "general", "年龄"),),
            "runs": {"train": 3},
            "min_nodes": 3,
            "parameters": 7,
            "metrics": ("loss",),
            "expires_at_ms": now_ms + 600_000,
        }
        approvals = open_approvals(self.node)
        approvals.offer(offered, Ask(**{**facts, **changes}))  # type: ignore[arg-type]
        approvals.close()
        return offered.digest.hex()

    def run(self, *argv: str) -> int:
        return main(["node", "approvals", str(self.node), *argv])


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    return Desk(tmp_path)


def test_nothing_waits(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.run() == 0
    assert desk.run("--all") == 0
    assert desk.run("--json") == 0
    assert capsys.readouterr().out == (
        'no code waits for a review\nno code is held here\n{\n  "code": []\n}\n'
    )


def test_the_list(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    digest = desk.offer(bundle())
    assert desk.run() == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == [
        *("code", "app", "version", "requester", "job", "table", "since", "(UTC)", "reviews"),
    ]
    assert line.split()[:6] == [digest[:12], "cardio", "1.0", "lzu/li", "job-1", "heart"]
    assert line.endswith("none")
    assert desk.run("approve", digest[:8], "--reason", "read it") == 0
    assert capsys.readouterr().out == (
        f"approved {digest} as {NODE}\napproved by 1; the node's policy says how many are needed\n"
    )
    assert desk.run() == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("approved by cleveland/heart")


def test_two_people_review(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    digest = desk.offer(bundle())
    wang = str(desk.members / "user-cleveland-wang")
    assert desk.run("approve", digest, "--reason", "fine", "--json") == 0
    assert json.loads(capsys.readouterr().out)["approvers"] == [NODE]
    assert desk.run("reject", digest, "--reason", "it 读 too much", "--as", wang) == 0
    assert capsys.readouterr().out == (
        f"rejected {digest} as spiffe://gansu.example/org/cleveland/user/wang\n"
        "it does not run here: rejected, it 读 too much\n"
    )
    assert desk.run("--json") == 0
    (code,) = json.loads(capsys.readouterr().out)["code"]
    assert [(one["approved"], one["counts"]) for one in code["reviews"]] == [
        *((True, True), (False, True)),
    ]
    assert desk.run() == 0
    assert capsys.readouterr().out.rstrip().endswith("rejected by cleveland/wang")
    assert desk.run("approve", digest, "--reason", "fine now", "--as", wang, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "digest": digest,
        "approved": True,
        "reviewer": "spiffe://gansu.example/org/cleveland/user/wang",
        "approvers": [NODE, "spiffe://gansu.example/org/cleveland/user/wang"],
        "rejected": None,
    }


def test_a_stranger_s_identity_is_refused(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    digest = desk.offer(bundle())
    stranger = str(desk.members / "user-lzu-li")
    assert desk.run("approve", digest, "--reason", "mine", "--as", stranger) == 3
    assert capsys.readouterr().err == (
        "error: expected a review by the node or a user of `cleveland`,"
        " got `spiffe://gansu.example/org/lzu/user/li`\n"
        "remedy: use an identity with the role that is needed\n"
    )
    nowhere = str(desk.node / "nobody")
    assert desk.run("approve", digest, "--reason", "x", "--as", nowhere) == 8
    assert f"error: no identity in `{nowhere}`" in capsys.readouterr().err


def test_the_card(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    first = desk.offer(bundle())
    assert desk.run("approve", first, "--reason", "fine") == 0
    digest = desk.offer(bundle("import socket"), job_id="job-2")
    capsys.readouterr()
    assert desk.run("show", digest[:10]) == 0
    text = capsys.readouterr().out
    assert "Who asks\n  spiffe://gansu.example/org/lzu/user/li, proven by certificate\n" in text
    assert "  column `age`, grade general: 年龄\n" in text
    assert "the sum over at least 3 nodes of 7 model values" in text
    assert "  warning: app.py, line 1: `import socket` speaks to a network\n" in text
    assert f"Difference from the last approved version, {first[:12]}\n" in text
    assert "  +import socket\n" in text
    assert desk.run("show", digest, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["previous"] == first
    assert found["jobs"][0]["runs"] == {"train": 3}


def test_hostile_texts_cannot_steer_the_terminal(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "a\x1b[2J\u202e\r\nReviews so far\n  approved"
    digest = desk.offer(bundle(), purpose=hostile, sql=hostile, table=hostile, job_id="j\x1b[A")
    for argv in ([], ["show", digest], ["files", digest], ["files", digest, "app.py"]):
        assert desk.run(*argv) == 0
        shown = capsys.readouterr().out
        assert not set(shown) & set("\x1b\r\u202e")
        assert shown.count("\nReviews so far\n") == (argv[:1] == ["show"])


def test_the_files(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    digest = desk.offer(bundle("if True:\n\tx = '心'"))
    assert desk.run("files", digest) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        *("file", "app.py", "pyproject.toml"),
    ]
    assert desk.run("files", digest, "app.py") == 0
    assert capsys.readouterr().out == "if True:\n    x = '心'\nserver = client = None\n"
    assert desk.run("files", digest, "app.py", "--json") == 0
    assert json.loads(capsys.readouterr().out)["text"].startswith("if True:\n\tx")
    assert desk.run("files", digest, "../node.yaml") == 2
    assert capsys.readouterr().err == (
        "error: expected a file of this code, got `../node.yaml`\nremedy: correct the argument\n"
    )


BAD = [
    (["show", "12345678"], 2, "expected the digest of one bundle held here, got `12345678`"),
    (["show", "123"], 2, "expected the first 8 hexadecimal characters of a digest, or more"),
    (["approve", "12345678"], 2, "missing option `--reason`"),
    (["approve", "12345678", "--reason", "x"], 2, "which none has"),
    (["--json", "show", "12345678"], 2, "expected options behind the command, got one before"),
    (["download"], 2, "no such command `download`"),
]


@pytest.mark.parametrize(("argv", "code", "told"), BAD)
def test_a_wrong_call(
    desk: Desk, argv: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.run(*argv) == code
    streams = capsys.readouterr()
    assert told in streams.err + streams.out


def test_a_reason_is_needed(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    digest = desk.offer(bundle())
    assert desk.run("approve", digest, "--reason", " ") == 2
    assert "expected a reason of 1 to 500 characters, got 0" in capsys.readouterr().err


def test_a_folder_without_a_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node", "approvals", str(tmp_path)]) == 2
    assert "node.yaml" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("name", ["show", "files", "approve", "reject"])
def test_help_of(name: str, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.run(name, "--help") == 0
    text = capsys.readouterr().out
    assert f"Example:\n    yumen node approvals node {name}" in text
    assert "--json" in text
    assert "DIGEST" in text


def test_the_clock_is_the_machine_s(desk: Desk) -> None:
    # A review made by the command counts for a process with the system's clock.
    digest = desk.offer(bundle())
    assert desk.run("approve", digest, "--reason", "fine") == 0
    approvals = open_approvals(desk.node)
    node = Membership(desk.members / "node-cleveland-heart", SystemClock())
    assert approvals.verdict(bytes.fromhex(digest)).approvers == (node.identity,)
    approvals.close()
