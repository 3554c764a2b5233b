"""The files of a Flower project on disk that make its bundle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from yumen_core.errors import CallError

# What Flower packs by default, and notes; pictures, weights and tables of data stay behind.
SUFFIXES = (".py", ".toml", ".json", ".jsonl", ".yaml", ".yml", ".md", ".txt")
_PLAIN_NAMES = frozenset({"LICENSE"})
_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules"})
# As Flower does, at the top of the project only.
_SKIPPED_AT_TOP = frozenset(
    {"build", "eggs", "lib", "lib64", "parts", "env", "venv", "ENV", "env.bak", "venv.bak"}
)
_MAX_ENTRIES = 20_000


def read_folder(folder: Path, *, max_files: int, max_bytes: int) -> dict[str, bytes]:
    """The bytes of each file that belongs to the project, by relative path with `/`.

    Taken are `SUFFIXES` and `LICENSE`. Left behind are hidden files and folders, `__pycache__`,
    `*.egg-info`, test modules (`test_*.py`, `*_test.py`), and at the top build folders and virtual
    environments, as Flower leaves them. Raises `CallError` (`bundle`) for a folder that is missing
    or cannot be read, a symbolic link, and more than `max_files` files or `max_bytes` bytes.
    """
    if not folder.is_dir():
        raise _bad(f"expected the folder of a Flower app, got `{folder}`, which is none")
    if not (folder / "pyproject.toml").is_file():
        raise _bad(f"expected a `pyproject.toml` in `{folder}`, got none")
    files: dict[str, bytes] = {}
    left = max_bytes
    try:
        for path in _walk(folder):
            if len(files) >= max_files:
                raise _bad(f"expected at most {max_files} files in `{folder}`, got more")
            with path.open("rb") as stream:
                content = stream.read(left + 1)
            left -= len(content)
            if left < 0:
                raise _bad(f"expected at most {max_bytes} bytes in `{folder}`, got more")
            files[path.relative_to(folder).as_posix()] = content
    except OSError as error:
        raise _bad(f"expected a readable folder `{folder}`, got: {error.strerror}") from None
    return files


def _walk(folder: Path) -> Iterator[Path]:
    seen = 0
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        with os.scandir(here) as listing:
            entries = list(islice(listing, _MAX_ENTRIES + 1 - seen))
        seen += len(entries)
        if seen > _MAX_ENTRIES:
            raise _bad(f"expected the folder of one app, got `{folder}` with far more files")
        for entry in entries:
            if _skipped(entry.name, top=here == folder):
                continue
            if entry.is_symlink():
                raise _bad(f"expected files and folders, got the symbolic link `{entry.path}`")
            if entry.is_dir():
                waiting.append(Path(entry.path))
            elif entry.is_file() and _taken(entry.name):
                yield Path(entry.path)


def _skipped(name: str, *, top: bool) -> bool:
    if name.startswith(".") or name in _SKIPPED_FOLDERS or name.endswith((".egg-info", ".egg")):
        return True
    return top and name in _SKIPPED_AT_TOP


def _taken(name: str) -> bool:
    if name.endswith("_test.py") or (name.startswith("test_") and name.endswith(".py")):
        return False
    return name in _PLAIN_NAMES or name.endswith(SUFFIXES)


def _bad(message: str) -> CallError:
    return CallError("bundle", message)
