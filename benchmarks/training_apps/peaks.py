"""The most memory that each process of a federation held, seen from outside."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from training_apps.flower_engine import descendants

_PERIOD_S = 0.1
_WORKER = "yumen_node.training"


class Peaks:
    """Within `with`: the peak resident memory in MB, by role, of `processes` (role to process id),
    of what they start, and of this process.

    The kernel keeps the peak (VmHWM, proc_pid_status(5)); it is read until a process is gone, so
    that what a process does in its last tenth of a second may be missed.
    """

    def __init__(self, processes: Mapping[str, int]) -> None:
        self.megabytes: dict[str, float] = {}
        self._processes = {**processes}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peaks:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # this process's peak begins anew
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_PERIOD_S):
            self._look()
        self._look()

    def _look(self) -> None:
        self._note("requester", os.getpid())
        for role, process in self._processes.items():
            self._note(role, process)
            for child, _ in descendants(process):
                self._note(f"{role}, {_kind(child)}", child)

    def _note(self, role: str, process: int) -> None:
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{process}/status").read_text().splitlines()
            line = next(line for line in lines if line.startswith("VmHWM:"))
            peak = int(line.split()[1]) * 1024 / 1e6
            self.megabytes[role] = max(peak, self.megabytes.get(role, 0.0))


def _kind(process: int) -> str:
    """What a child of a node is, by its command line."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")
        if words[0].endswith("bwrap"):
            return "bubblewrap"
        if any(word.startswith(_WORKER) for word in words):
            return "sandbox worker"
    return "encryption worker"
