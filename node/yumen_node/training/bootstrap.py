"""The first code in the sandbox: limits, watch and filter, before any other code is loaded."""

from __future__ import annotations

import array
import json
import os
import resource
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass

from yumen_node.training import filter as calls
from yumen_node.training.attempts import HELLO

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = frozenset(
    f"os.{name}" for name in ("remove", "rename", "mkdir", "rmdir", "link", "symlink", "truncate")
)
_LISTS = frozenset({"os.listdir", "os.scandir"})
_DEVICES = ("/dev/", "/proc/", "/sys/")
OPEN_FILES = 256


@dataclass(frozen=True)
class Settings:
    """What the node tells its worker, in the first argument: descriptors of the two pipes and of
    the reports, limits in bytes and seconds, and the folders that exist for code to use."""

    requests: int
    replies: int
    reports: int
    memory_bytes: int
    disk_bytes: int
    cpu_s: int
    readable: tuple[str, ...]
    writable: str

    def to_json(self) -> str:
        return json.dumps(self.__dict__)

    @classmethod
    def from_json(cls, text: str) -> Settings:
        fields = json.loads(text)
        return cls(**{**fields, "readable": tuple(fields["readable"])})


def confine(settings: Settings) -> socket.socket:
    """Make this process what the sandbox needs it to be, and tell the node.

    1. Limits of the kernel, and an end with the process that started this one. 2. The filter of
    system calls. 3. Hello, with the descriptor on which the kernel asks, which this process then
    closes. Returns the socket of reports.
    """
    _limit(settings)
    calls.die_with_parent()
    listener = calls.install(settings.memory_bytes)
    reports = socket.socket(fileno=settings.reports)
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))
    reports.sendmsg([HELLO], [rights])
    os.close(listener)
    return reports


def watch(settings: Settings, report: Callable[[bytes], None]) -> None:
    """Report opens, lists and changes outside the folders of this process, by Python code. A
    process without walls is not watched."""
    if not settings.readable:
        return
    readable = (*settings.readable, settings.writable, *sys.path)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            _look(path, bool(isinstance(flags, int) and flags & _WRITES))
        elif event in _CHANGES:
            _look(arguments[0], True)
        elif event in _LISTS:
            _look(arguments[0], False)

    def _look(path: object, writes: bool) -> None:
        if not isinstance(path, str | bytes):
            return
        absolute = os.path.abspath(os.fsdecode(path))
        if absolute.startswith(_DEVICES):
            return
        if writes and not _within(absolute, (settings.writable,)):
            report(b"w")
        elif not writes and not _within(absolute, readable):
            report(b"r")

    sys.addaudithook(hook)


def _within(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


def _limit(settings: Settings) -> None:
    for kind, bound in (
        (resource.RLIMIT_DATA, settings.memory_bytes),
        (resource.RLIMIT_FSIZE, settings.disk_bytes),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        resource.setrlimit(kind, (bound, bound))
    # The node's watch comes first and says why; this holds where the node is held up.
    resource.setrlimit(resource.RLIMIT_CPU, (settings.cpu_s + 2, settings.cpu_s + 4))
