"""A service in the foreground: ready line, log lines, and each way to stop it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import Iterator

import pytest
import typer
from yumen_cli import serving
from yumen_cli.options import LogLevel
from yumen_core.errors import StateError


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


def _run(service: serving.Service, **options: bool) -> None:
    settings = {"as_json": True, "with_parent": False, **options}
    serving.serve(service, role="node", log_level=LogLevel.INFO, **settings)


def _signalling(number: int, stopped: list[str]) -> serving.Service:
    async def service(ready: serving.Ready) -> None:
        try:
            ready("127.0.0.1:1")
            ready("127.0.0.1:1")
            os.kill(os.getpid(), number)
            await asyncio.sleep(30)
        finally:
            stopped.append("cleaned up")

    return service


def test_sigterm_stops_cleanly(capsys: pytest.CaptureFixture[str]) -> None:
    stopped: list[str] = []
    _run(_signalling(signal.SIGTERM, stopped))
    assert stopped == ["cleaned up"]
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"event": "ready", "role": "node", "address": "127.0.0.1:1"}
    ]


def test_ctrl_c_stops_cleanly_and_exits_130() -> None:
    stopped: list[str] = []
    with pytest.raises(typer.Exit) as caught:
        _run(_signalling(signal.SIGINT, stopped))
    assert caught.value.exit_code == 130
    assert stopped == ["cleaned up"]


def test_the_end_of_stdin_stops_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    real_read = os.read
    monkeypatch.setattr(os, "read", lambda _, size: real_read(reader, size))

    async def service(ready: serving.Ready) -> None:
        ready("somewhere")
        os.write(writer, b"words are ignored")
        os.close(writer)
        await asyncio.sleep(30)

    _run(service, as_json=False, with_parent=True)
    os.close(reader)
    streams = capsys.readouterr()
    assert streams.out == "node ready: somewhere\n"
    assert "node stopped: end of stdin" in streams.err


def test_what_a_service_raises_is_raised() -> None:
    async def service(ready: serving.Ready) -> None:
        raise StateError("log_closed", "the log is closed")

    with pytest.raises(StateError, match="the log is closed"):
        _run(service)


def test_a_service_that_ends_by_itself_is_an_error() -> None:
    async def service(ready: serving.Ready) -> None:
        return None

    with pytest.raises(StateError, match="the service ended by itself"):
        _run(service)


def test_what_it_raises_while_stopping_is_raised() -> None:
    async def service(ready: serving.Ready) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(30)
        finally:
            raise StateError("state", "could not close")

    with pytest.raises(StateError, match="could not close"):
        _run(service)


def test_one_line_for_one_event() -> None:
    record = logging.LogRecord("yumen_node.link", 20, "", 0, "a\nb \x1b[2J %s", ("x",), None)
    record.created, record.msecs = 1_790_000_000.5, 500.0
    assert serving.LineFormatter().format(record) == (
        "2026-09-21T14:13:20.500Z INFO yumen_node.link: a b \\u001b[2J x"
    )
