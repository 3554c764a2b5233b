"""A closed log ends a service with one plain error, however many tasks the service has."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from yumen_core.errors import PeerError, StateError
from yumen_core.log import LogAlarm

Service = Callable[[LogAlarm], Coroutine[Any, Any, None]]


async def _closed(alarm: LogAlarm) -> None:
    """As `TileLog.record` does when its disk is full."""
    alarm.ring()
    raise StateError("log_closed", "the log `x` cannot be written: no space")


async def _in_a_task(alarm: LogAlarm) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_closed(alarm))
        await asyncio.sleep(60)


async def _in_two_groups(alarm: LogAlarm) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_in_a_task(alarm))
        group.create_task(_in_a_task(alarm))


async def _survived(alarm: LogAlarm) -> None:
    alarm.ring()
    await asyncio.sleep(60)


@pytest.mark.parametrize("service", [_closed, _in_a_task, _in_two_groups, _survived])
def test_a_closed_log_is_one_state_error(service: Service) -> None:
    async def run() -> None:
        alarm = LogAlarm()
        await alarm.guard(service(alarm))

    with pytest.raises(StateError, match="the log can no longer be written") as caught:
        asyncio.run(run())
    assert caught.value.code == "log_closed"


async def _other(alarm: LogAlarm) -> None:
    raise PeerError("unreachable", "expected a peer")


async def _other_in_a_task(alarm: LogAlarm) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_other(alarm))
        await asyncio.sleep(60)


@pytest.mark.parametrize("service", [_other, _other_in_a_task])
def test_another_error_stays_what_it_is(service: Service) -> None:
    async def run() -> None:
        alarm = LogAlarm()
        await alarm.guard(service(alarm))

    with pytest.raises(PeerError, match="expected a peer"):
        asyncio.run(run())
