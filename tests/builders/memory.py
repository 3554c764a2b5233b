"""Looks for bytes in what a process keeps: its files, and its memory as the kernel shows it."""

from __future__ import annotations

import re
from pathlib import Path


def occurs_in_files(folder: Path, needle: bytes) -> bool:
    """Whether any file below `folder` holds `needle`."""
    return any(needle in file.read_bytes() for file in folder.rglob("*") if file.is_file())


def occurs_in_memory(pid: int, needle: bytes) -> bool:
    """Whether any writable memory of the process holds `needle` (proc(5): maps and mem)."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if match is None:
                continue
            start, end = int(match[1], 16), int(match[2], 16)
            try:
                memory.seek(start)
                if needle in memory.read(end - start):
                    return True
            except (OSError, ValueError, OverflowError):
                continue  # not mapped any more, or not readable, such as [vvar]
    return False
