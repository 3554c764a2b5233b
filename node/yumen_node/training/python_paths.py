"""What of this machine Python needs to run the worker, found at run time."""

from __future__ import annotations

import sys
from pathlib import Path

import yumen_core

import yumen_node

_SYSTEM = ("/lib", "/lib64", "/lib32", "/usr/lib", "/usr/lib64", "/usr/local/lib")
_DATA = ("/etc/ld.so.cache", "/usr/share/zoneinfo")
_PARTS = ("bin", "lib", "lib64", "pyvenv.cfg")


def system_paths() -> list[Path]:
    """Folders and files of the system that programs read; those of this machine that exist."""
    return [path for path in map(Path, (*_SYSTEM, *_DATA)) if path.exists()]


def python_paths() -> list[Path]:
    """The interpreter, its library and packages, and this project's two packages where they are
    installed from a checkout. Never a whole prefix, which may be a home or the node's own folder.
    """
    found = [Path(sys.executable), Path(sys.executable).resolve()]
    for prefix in {Path(sys.prefix), Path(sys.base_prefix)} - {Path("/usr"), Path("/")}:
        found += [prefix / part for part in _PARTS]
    found += [Path(package.__path__[0]) for package in (yumen_core, yumen_node)]
    return [path for path in dict.fromkeys(found) if path.exists()]
