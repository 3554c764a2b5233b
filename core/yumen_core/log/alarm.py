"""A process whose log can no longer be written must stop: it may not act unlogged."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from yumen_core.errors import StateError


class LogAlarm:
    """Ends a running service when its log fails. Made and used on one event loop; `ring` may be
    called from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """The log has failed."""
        self._loop.call_soon_threadsafe(self._rung.set)

    async def guard(self, running: Coroutine[Any, Any, None]) -> None:
        """Run the service until it ends or is cancelled; raises what it raises, of a group of tasks
        the first, and `StateError` (`log_closed`) once the log has failed, whoever met it."""
        service = asyncio.ensure_future(running)
        alarm = asyncio.ensure_future(self._rung.wait())
        try:
            await asyncio.wait({service, alarm}, return_when=asyncio.FIRST_COMPLETED)
            if not self._rung.is_set():
                _result(service)
            else:
                raise StateError(
                    "log_closed",
                    "the log can no longer be written, and nothing is done unlogged",
                    remedy="free or replace the disk, then start the process again",
                )
        finally:
            for task in (service, alarm):
                task.cancel()
            await asyncio.gather(service, alarm, return_exceptions=True)


def _result(service: asyncio.Future[None]) -> None:
    """What the service came to, without the wrapping of the tasks it consisted of."""
    try:
        service.result()
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
