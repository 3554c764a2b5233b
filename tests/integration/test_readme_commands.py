"""The README's commands, run as they stand there: only ports and folders are this test's own."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# Wait at each `start ... &` for one more ready line, as the README tells a person to.
PRELUDE = """\
set -euo pipefail
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
started=0
wait_ready() {
  started=$((started + 1))
  for _ in $(seq 1200); do
    test "$(cat ready.* 2>/dev/null | grep -c ' ready: ')" -ge "$started" && return
    sleep 0.05
  done
  echo "not ready: service $started" >&2; cat log.* >&2; exit 99
}
"""


def _block(language: str) -> str:
    """All blocks of a language, one after another."""
    found = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    assert found, f"expected {language} blocks in README.md, got none"
    return "\n".join(found)


def _script(commands: str) -> str:
    lines = []
    for line in commands.splitlines():
        if line.endswith(" &"):
            line = f"{line[:-2]} > ready.$started 2> log.$started &\nwait_ready"
        if expected := re.search(r"# exits with (\d+)", line):
            line = f"{line.partition('  #')[0]} || test $? -eq {expected[1]}"
        lines.append(line)
    return PRELUDE + "\n".join(lines) + "\n"


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like the checkout, so that `state/` is made here."""
    for name in ("examples", "policies"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def _environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "COLUMNS": "100"}


@pytest.mark.slow
def test_the_federation_by_hand(checkout: Path) -> None:
    commands = _block("bash")
    for port, free in zip(("7400", "7401"), _free_ports(2), strict=True):
        assert f"127.0.0.1:{port}" in commands
        commands = commands.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free}")
    done = subprocess.run(
        ["bash", "-c", _script(commands)],
        cwd=checkout,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    assert done.stdout.count("the log is whole") == 2
    answer = json.loads(done.stdout[done.stdout.index("\n{") : done.stdout.index("\n}") + 2])
    rows = {row["sex"]: row for row in answer["rows"]}
    # Long Beach has six women, and fewer than three hospitals measured their cholesterol.
    assert (rows["Female"]["patients"], rows["Female"]["_nodes"]) == (188, 3)
    assert (rows["Male"]["patients"], rows["Male"]["_nodes"]) == (726, 4)
    assert rows["Female"]["mean_chol"] is None
    # By kind of pain, after sex: what would tell of these six women is held back.
    assert "2 kinds of pain, 683 patients" in done.stdout
    assert "insurance-pricing" in done.stdout


@pytest.mark.slow
def test_the_notebook_example(checkout: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _block("python")],
        cwd=checkout,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stderr == ""
    assert "Female" in done.stdout
    assert "188" in done.stdout
