"""The sandbox's walls: bubblewrap around the worker, and whether it can stand on this machine.

Trust line: what is in the sandbox sees the system's libraries, Python, one Parquet file and one
bundle, all read-only, and writes to one folder in memory that goes with it. It has its own user,
network, process, message and mount namespaces, no capability, no variable of the node's
environment, and the limits and the filter of `bootstrap`, which it cannot take off.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yumen_core.errors import StateError

from yumen_node.training import filter as calls
from yumen_node.training.python_paths import python_paths, system_paths

DATA_PATH = "/data/rows.parquet"
BUNDLE_PATH = "/app"
SCRATCH = "/tmp"
_NOBODY = "65534"
_MODULE = "yumen_node.training.worker"
_BINARY = "bwrap"
_KEPT_BYTES = 256 << 20
_LARGEST_BLOCK_BYTES = 32 << 20  # the most that mallopt(3) takes
_PROC = Path("/proc/sys")
# Set to 0, or to 1, these keep an ordinary user from making namespaces.
_SWITCHES = (
    ("kernel/unprivileged_userns_clone", "0", "run `sysctl kernel.unprivileged_userns_clone=1`"),
    ("user/max_user_namespaces", "0", "run `sysctl user.max_user_namespaces=10000`"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "add an AppArmor profile for bwrap with `userns`, as docs/sandbox.md shows",
    ),
)


@dataclass(frozen=True)
class Walls:
    """What one worker may see: the rows' file, the bundle's folder if it runs one, and the bytes
    that it may write."""

    data: Path | None
    bundle: Path | None
    disk_bytes: int

    def arguments(self) -> list[str]:
        """bubblewrap's. They go through a descriptor, as a command line can be read inside."""
        made = [
            *("--unshare-user", "--unshare-all", "--uid", _NOBODY, "--gid", _NOBODY),
            *("--hostname", "sandbox", "--die-with-parent", "--new-session"),
            *("--cap-drop", "ALL", "--clearenv"),
        ]
        # First, so that an interpreter or a checkout that lies below it is shown all the same.
        made += ["--perms", "0700", "--size", str(self.disk_bytes), "--tmpfs", SCRATCH]
        for path in _outermost([*system_paths(), *python_paths()]):
            made += _shown(path)
        made += ["--proc", "/proc", "--dev", "/dev"]
        # Shared maps of /dev/zero are memory that no limit counts.
        made += ["--ro-bind", "/dev/null", "/dev/zero"]
        if self.data is not None:
            made += ["--ro-bind", str(self.data), DATA_PATH]
        if self.bundle is not None:
            made += ["--ro-bind", str(self.bundle), BUNDLE_PATH]
        # A worker of root's node is root to /proc/sys, whatever its namespace says.
        for folder in ("/proc", "/dev", "/"):
            made += ["--remount-ro", folder]
        return [*made, "--chdir", SCRATCH]

    def readable(self) -> tuple[str, ...]:
        """The folders that code inside may read."""
        shown = [str(path) for path in [*system_paths(), *python_paths()]]
        return (*shown, DATA_PATH.rpartition("/")[0], BUNDLE_PATH)


def environment(threads: int, scratch: str) -> dict[str, str]:
    """The worker's whole environment."""
    count = str(threads)
    return {
        **{f"{name}_NUM_THREADS": count for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")},
        "ARROW_DEFAULT_MEMORY_POOL": "system",  # the other one takes a gigabyte at once
        "ARROW_IO_THREADS": count,
        "FLWR_TELEMETRY_ENABLED": "0",
        "HOME": scratch,
        "KMP_SHM_DISABLE": "1",
        "LANG": "C.UTF-8",
        # Keep freed memory for the next step: taking it from the kernel again costs more than the
        # copies that it is for.
        "MALLOC_MMAP_THRESHOLD_": str(_LARGEST_BLOCK_BYTES),
        "MALLOC_TRIM_THRESHOLD_": str(_KEPT_BYTES),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": scratch,
        "USER": "app",
    }


def worker_command(settings: str) -> list[str]:
    return [sys.executable, "-I", "-B", "-m", _MODULE, settings]


def binary() -> str:
    """Where bubblewrap is. Raises `StateError` (`sandbox`) where this machine cannot have it."""
    machine = calls.architecture()
    if sys.platform != "linux" or machine is None:
        raise unavailable(
            "expected Linux on x86_64 or aarch64, got another system",
            "run this node on such a machine to train with custom code",
        )
    found = shutil.which(_BINARY)
    if found is None:
        raise unavailable(
            "expected the program `bwrap`, got none", "install the package `bubblewrap`"
        )
    return found


def refused(words: str) -> StateError:
    """Why bubblewrap ended before the worker spoke; `words` is what it wrote to its errors."""
    for name, value, remedy in _SWITCHES:
        file = _PROC / name
        # The first and the last hold for ordinary users only.
        bound = os.geteuid() != 0 or name.startswith("user/")
        if bound and file.exists() and file.read_text().strip() == value:
            switch = name.replace("/", ".")
            return unavailable(f"expected user namespaces, got `{switch}` at {value}", remedy)
    last = words.strip().rpartition("\n")[2][:200]
    return unavailable(
        f"expected a sandbox that starts, got `{last or 'no reason'}`",
        "let this user make namespaces and use seccomp, as docs/sandbox.md shows",
    )


def unavailable(message: str, remedy: str) -> StateError:
    return StateError("sandbox", message, remedy=remedy)


def _shown(path: Path) -> list[str]:
    """A path at its own place. A link such as /lib stays a link."""
    if path.is_symlink() and path.parent == Path("/"):
        return ["--symlink", os.readlink(path), str(path)]
    return ["--ro-bind", str(path), str(path)]


def _outermost(paths: Sequence[Path]) -> list[Path]:
    """Without those that another of them shows."""
    distinct = list(dict.fromkeys(paths))
    return [
        path
        for path in distinct
        if not any(other in path.parents for other in distinct if not other.is_symlink())
    ]
