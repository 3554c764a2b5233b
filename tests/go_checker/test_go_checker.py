"""Logs made here, audited by golang.org/x/mod, which is not ours; and by `yumen audit verify`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from yumen_cli.main import main
from yumen_core.clock import ManualClock
from yumen_core.log import Act, Signer, TileLog
from yumen_core.log.entry import Entry
from yumen_core.secret import Secret

GOCODE = Path("/usr/share/gocode")
pytestmark = pytest.mark.skipif(
    shutil.which("go") is None or not (GOCODE / "src/golang.org/x/mod/sumdb/tlog").is_dir(),
    reason="needs Go: apt-get install golang-go golang-golang-x-mod-dev",
)
SIGNER = Signer("log.example/node", Secret(bytes(range(32))))


def grown(root: Path, start: int, size: int, word: str = "entry") -> Path:
    with TileLog.open(
        root / "log", SIGNER, origin=SIGNER.name, guard=root / "guard", clock=ManualClock()
    ) as log:
        entries = (Entry(n, Act.STARTUP, subject={"node": word}) for n in range(start, size))
        log.append_many([entry.encode() for entry in entries])
    return root / "log"


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("go") / "checker"
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": str(GOCODE), "GOFLAGS": ""}
    env["GOCACHE"] = str(built.parent / "cache")
    subprocess.run(
        ["go", "build", "-o", built, "main.go"],
        cwd=Path(__file__).parent,
        env=env,
        check=True,
        timeout=100,
    )
    return built


def both(checker: Path, log: Path, since: Path | None = None) -> tuple[int, int]:
    """The exit codes of Go's audit and of ours."""
    more = [] if since is None else ["-since", str(since)]
    call = [str(checker), "-log", str(log), "-key", SIGNER.verifier.text, *more]
    ours = ["audit", "verify", str(log), "--key", SIGNER.verifier.text]
    ours += [] if since is None else ["--since", str(since)]
    return subprocess.run(call, capture_output=True, timeout=60).returncode, main(ours)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_541])
def test_a_whole_log(checker: Path, tmp_path: Path, size: int) -> None:
    assert both(checker, grown(tmp_path, 0, size)) == (0, 0)


@pytest.mark.parametrize("path", ["tile/entries/000", "tile/0/000", "tile/1/000.p/2"])
def test_a_changed_byte(checker: Path, tmp_path: Path, path: str) -> None:
    log = grown(tmp_path, 0, 600)
    data = bytearray((log / path).read_bytes())
    data[40] ^= 1
    (log / path).write_bytes(data)
    assert both(checker, log) == (1, 4)


def test_a_truncated_log_and_a_fork_after_a_backup(checker: Path, tmp_path: Path) -> None:
    grown(tmp_path / "a", 0, 300)
    shutil.copytree(tmp_path / "a", tmp_path / "backup")
    log = grown(tmp_path / "a", 300, 600)
    kept = log / "checkpoint"
    forked = grown(tmp_path / "backup", 300, 700, "other")  # guard restored with it
    assert both(checker, forked) == (0, 0)  # whole in itself: only the kept checkpoint tells
    assert both(checker, forked, kept) == (1, 4)
    shutil.rmtree(tmp_path / "backup")
    short = grown(tmp_path / "backup", 0, 300)
    assert both(checker, short, kept) == (1, 4)
    (short / "checkpoint").write_bytes(kept.read_bytes())
    assert both(checker, short) == (1, 4)
