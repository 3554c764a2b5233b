from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from yumen._processes import Child, free_port, port_taken, signals_waiting, stop_all
from yumen_core.errors import StateError

READY = 'print(\'{"event": "ready"}\', flush=True)'
UNTIL_EOF = "import sys; sys.stdin.read()"


@contextmanager
def child(script: str, folder: Path) -> Iterator[Child]:
    made = Child.spawn(
        (), name="node a", stderr=folder / "a.log", program=(sys.executable, "-c", script)
    )
    try:
        yield made
    finally:
        stop_all([made], grace_s=1.0)


def test_events_come_until_ready(tmp_path: Path) -> None:
    token = """print('{"event": "token", "n": 1}')"""
    script = f"{token}\nprint()\n{READY}\n{UNTIL_EOF}"
    with child(script, tmp_path) as made:
        assert made.events_until_ready(20) == [{"event": "token", "n": 1}, {"event": "ready"}]
        assert made.alive
    assert not made.alive


def test_a_line_sent_is_read_and_the_end_of_input_ends_it(tmp_path: Path) -> None:
    answer = "json.dumps({'event': sys.stdin.readline().strip()})"
    script = f"import sys, json\nprint({answer}, flush=True)\n{UNTIL_EOF}"
    with child(script, tmp_path) as made:
        made.send_line("ready")
        assert made.events_until_ready(20) == [{"event": "ready"}]


def test_a_child_that_dies_shows_the_end_of_its_log(tmp_path: Path) -> None:
    script = "import sys\n[print('line', i, file=sys.stderr) for i in range(40)]\nsys.exit(3)"
    with child(script, tmp_path) as made, pytest.raises(StateError) as caught:
        made.events_until_ready(20)
    assert caught.value.code == "failed"
    assert caught.value.message.startswith(
        "the process of node a ended with exit code 3 before it was ready; its last lines were:\n"
        "line 28\n"
    )
    assert "line 39" in caught.value.message
    assert "line 27" not in caught.value.message


def test_a_child_killed_by_a_signal_says_so(tmp_path: Path) -> None:
    with (
        child("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", tmp_path) as made,
        pytest.raises(StateError, match=r"ended with signal 9 .* left no line in its log"),
    ):
        made.events_until_ready(20)


def test_an_error_that_a_child_reports_keeps_its_code_and_remedy(tmp_path: Path) -> None:
    script = (
        """print('{"error": {"code": "policy_invalid", "message": "bad", "remedy": "mend"}}')"""
    )
    with child(script, tmp_path) as made, pytest.raises(StateError) as caught:
        made.events_until_ready(20)
    assert (caught.value.code, str(caught.value)) == ("policy_invalid", "bad (at node a); mend")


def test_an_error_over_several_lines_is_read_whole(tmp_path: Path) -> None:
    script = (
        "import json; print(json.dumps({'error': {'code': 'token', 'message': 'x'}}, indent=2))"
    )
    with child(script, tmp_path) as made, pytest.raises(StateError) as caught:
        made.events_until_ready(20)
    assert caught.value.code == "token"


def test_half_an_object_is_a_child_that_ended(tmp_path: Path) -> None:
    with (
        child("print('{'); raise SystemExit(5)", tmp_path) as made,
        pytest.raises(StateError, match="exit code 5 before it was ready"),
    ):
        made.events_until_ready(20)


def test_an_error_with_an_unknown_code_is_a_failure(tmp_path: Path) -> None:
    with (
        child("""print('{"error": {"code": "none", "message": "bad"}}')""", tmp_path) as made,
        pytest.raises(StateError, match=r"bad \(at node a\); see the log") as caught,
    ):
        made.events_until_ready(20)
    assert caught.value.code == "failed"


@pytest.mark.parametrize("line", ["Traceback", "[1]", "1"])
def test_words_that_are_no_json_object_are_refused(tmp_path: Path, line: str) -> None:
    with (
        child(f"print({line!r})", tmp_path) as made,
        pytest.raises(StateError, match="expected JSON from the process of node a, got"),
    ):
        made.events_until_ready(20)


def test_a_child_that_says_nothing_in_time_is_named(tmp_path: Path) -> None:
    with child(UNTIL_EOF, tmp_path) as made, pytest.raises(StateError) as caught:
        made.events_until_ready(0.05)
    assert caught.value.code == "deadline"
    assert "expected the process of node a to be ready in time, got no word" in str(caught.value)


def test_a_line_to_a_child_that_has_ended_keeps_its_last_words(tmp_path: Path) -> None:
    script = """print('{"error": {"code": "config", "message": "bad"}}'); raise SystemExit(2)"""
    with child(script, tmp_path) as made:
        assert _ended_soon(made.pid)
        made.send_line("x")
        with pytest.raises(StateError, match="bad") as caught:
            made.events_until_ready(20)
    assert caught.value.code == "config"


def test_a_child_that_ignores_both_signs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    script = f"""
import json, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(json.dumps({{"event": "other", "pid": other.pid}}))
{READY}
time.sleep(60)
"""
    made = Child.spawn(
        (), name="node a", stderr=tmp_path / "a.log", program=(sys.executable, "-c", script)
    )
    other = made.events_until_ready(20)[0]["pid"]
    assert isinstance(other, int)
    started = time.monotonic()
    stop_all([made], grace_s=0.2)
    assert time.monotonic() - started < 10
    assert not made.alive
    assert _ended_soon(other)


def test_children_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    parent = f"""
import sys, time
from pathlib import Path
from yumen._processes import Child
made = Child.spawn((), name="n", stderr=Path({str(tmp_path / "a.log")!r}),
                   program=(sys.executable, "-c", {UNTIL_EOF!r}))
print(made.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
    assert _ended_soon(pid)


def _ended_soon(pid: int, within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":  # dead, not yet collected by whoever inherited it
            return True
        time.sleep(0.02)
    os.kill(pid, 9)
    return False


def test_a_free_port_is_free_and_a_taken_one_taken() -> None:
    port = free_port()
    assert not port_taken(port)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        assert port_taken(port)
    assert not port_taken(port)


def test_a_signal_waits_for_the_end_of_the_block() -> None:
    done: list[str] = []

    def interrupted() -> None:
        with signals_waiting():
            signal.raise_signal(signal.SIGINT)
            done.append("the block")
        done.append("what follows")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == ["the block"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
