"""Running a service in the foreground: one ready line, readable log lines, a clean stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import typer
from yumen_core.errors import StateError

from yumen_cli.failures import EXIT_INTERRUPTED
from yumen_cli.options import LogLevel
from yumen_cli.terminal import clean, emit_line, say

STOP_GRACE_S = 10.0

Ready = Callable[[str], None]
Service = Callable[[Ready], Coroutine[Any, Any, None]]


class LineFormatter(logging.Formatter):
    """`2026-11-23T13:00:00.000Z INFO yumen_node.link: text`, one line for one event."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{moment}.{int(record.msecs):03d}Z"

    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record))


def log_to_stderr(level: LogLevel) -> None:
    """Send every log record of `level` and above to stderr in `LineFormatter`'s form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level.value.upper(), handlers=[handler], force=True)


def serve(
    service: Service, *, role: str, as_json: bool, with_parent: bool, log_level: LogLevel
) -> None:
    """Run `service` until SIGTERM, Ctrl-C, or with `with_parent` the end of stdin.

    The service calls its argument when it can be used, with its address or for a node with the
    coordinator it has reached; the first call prints the ready line. Raises `typer.Exit` with 130
    after Ctrl-C, and whatever the service raises.
    """
    log_to_stderr(log_level)
    said: list[str] = []

    def ready(address: str) -> None:
        if said:
            return
        said.append(address)
        if as_json:
            emit_line({"event": "ready", "role": role, "address": address})
        else:
            say(f"{role} ready: {clean(address)}")

    stopped_by = asyncio.run(_until_stopped(service(ready), with_parent))
    logging.getLogger("yumen_cli").info("%s stopped: %s", role, stopped_by)
    if stopped_by == "SIGINT":
        raise typer.Exit(EXIT_INTERRUPTED)


async def _until_stopped(running: Coroutine[Any, Any, None], with_parent: bool) -> str:
    """Why the service was stopped. Raises what the service raised if it ended by itself."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[str] = loop.create_future()
    task = asyncio.ensure_future(running)

    def ask(reason: str) -> None:
        if not stop.done():
            stop.set_result(reason)
        for number in (signal.SIGTERM, signal.SIGINT):
            # The second signal does what it does to any process.
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask, number.name)
    if with_parent:
        _watch_stdin(lambda: loop.call_soon_threadsafe(ask, "end of stdin"))
    waiting: set[asyncio.Future[Any]] = {task, stop}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    if not stop.done():
        task.result()
        raise StateError("failed", "the service ended by itself")
    task.cancel()
    await asyncio.wait({task}, timeout=STOP_GRACE_S)
    if not task.done():
        logging.getLogger("yumen_cli").warning("the service did not stop in %.0f s", STOP_GRACE_S)
    elif not task.cancelled():
        task.result()
    return stop.result()


def _watch_stdin(at_end: Callable[[], object]) -> None:
    def watch() -> None:
        # The descriptor and not sys.stdin: a daemon thread must not hold that object's lock.
        while os.read(0, 4096):
            pass
        at_end()

    threading.Thread(target=watch, name="stdin", daemon=True).start()
