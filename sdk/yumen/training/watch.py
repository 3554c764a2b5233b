"""What a strategy inside an app's own `main` is started with and gives back. Loads Flower.

An app hands neither to its caller, and the arrays that FedAdam ends with are in no message. So
`Strategy.start` is wrapped while an app runs, for the thread that runs it.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from flwr.serverapp.strategy import Result, Strategy


@dataclass
class Seen:
    """The strategy that started last, and its result. `on_start` hears of a strategy and of the
    rounds it runs, `on_end` that it ended."""

    strategy: object | None = None
    result: Result | None = None
    on_start: Callable[[Strategy, int], None] = lambda strategy, rounds: None
    on_end: Callable[[], None] = lambda: None


_seen: ContextVar[Seen | None] = ContextVar("yumen_training_seen", default=None)
_lock = threading.Lock()
_watchers = 0
_start = Strategy.start


@contextmanager
def watching() -> Iterator[Seen]:
    """What strategies that start within the block, in this thread, show."""
    global _watchers
    with _lock:
        _watchers += 1
        Strategy.start = _watched  # type: ignore[method-assign]
    seen = Seen()
    token = _seen.set(seen)
    try:
        yield seen
    finally:
        _seen.reset(token)
        with _lock:
            _watchers -= 1
            if not _watchers:
                Strategy.start = _start  # type: ignore[method-assign]


@functools.wraps(_start)
def _watched(
    self: Strategy, grid: Any, initial_arrays: Any, num_rounds: int = 3, *args: Any, **named: Any
) -> Result:
    seen = _seen.get()
    if seen is None:
        return _start(self, grid, initial_arrays, num_rounds, *args, **named)
    seen.strategy, seen.result = self, None
    seen.on_start(self, num_rounds)
    try:
        seen.result = _start(self, grid, initial_arrays, num_rounds, *args, **named)
    finally:
        seen.on_end()
    return seen.result
