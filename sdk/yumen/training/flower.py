"""Flower in this process: loaded on demand, without its telemetry, and quiet."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from yumen_core.errors import CallError

REMEDY = "pip install 'yumen[train]'"
_SERVER_NODE_ID = 1
_TELEMETRY = "FLWR_TELEMETRY_ENABLED"
_lock = threading.Lock()
_quiet_users = 0
_level_before = logging.NOTSET


def require() -> None:
    """Load Flower and PyTorch.

    Flower's telemetry is off before its first line runs, and off again where the caller had
    loaded Flower before. Raises `CallError` (`training`) where one of the two is not installed.
    """
    os.environ[_TELEMETRY] = "0"
    for package in ("torch", "flwr"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                import_module(package)
                if package == "flwr":
                    import_module("flwr.serverapp")
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != package:
                raise
            raise CallError(
                "training", f"expected `{package}` for training, got none", remedy=REMEDY
            ) from None
    telemetry = sys.modules.get("flwr.supercore.telemetry")
    if telemetry is not None:
        setattr(telemetry, _TELEMETRY, "0")


@contextmanager
def quiet() -> Iterator[None]:
    """Flower's logger at warnings and above within the block; the level before comes back.

    Blocks may overlap in several threads: the last one out restores. No other logger is touched.
    """
    global _quiet_users, _level_before
    logger = logging.getLogger("flwr")
    with _lock:
        _quiet_users += 1
        if _quiet_users == 1:
            _level_before = logger.level
            logger.setLevel(max(_level_before, logging.WARNING))
    try:
        yield
    finally:
        with _lock:
            _quiet_users -= 1
            if not _quiet_users:
                logger.setLevel(_level_before)


def identify(run_id: int) -> None:
    """Give this process the identity that Flower's `Message` asks for, once: a later run keeps it,
    since messages of both would read it."""
    from flwr.supercore.task_identity import TaskIdentity

    with _lock:
        try:
            _ = TaskIdentity.run_id
        except RuntimeError:
            TaskIdentity.task_id = 1
            TaskIdentity.run_id = run_id
            TaskIdentity.node_id = _SERVER_NODE_ID
