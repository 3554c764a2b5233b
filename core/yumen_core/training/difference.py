"""What changed between two versions of an app, in lines for the person who approves it."""

from __future__ import annotations

import difflib

from yumen_core.training.bundle import Bundle

MAX_COMPARED_LINES = 2_000
"""Of one file. The comparison's time grows with the square, and its texts are a stranger's."""


def difference(old: Bundle, new: Bundle) -> list[str]:
    """Lines without line ends, file by file: files that came and went whole, then changed ones as
    a unified diff with three lines around each change. Empty where the two are the same."""
    lines: list[str] = []
    for path in sorted({*old.files, *new.files}):
        before = _lines(old, path)
        after = _lines(new, path)
        if path not in new.files:
            lines.append(f"removed {path} ({_count(before)})")
        elif path not in old.files:
            lines.append(f"added {path} ({_count(after)})")
            lines += [f"+{line}" for line in after]
        elif old.files[path] != new.files[path]:
            lines += _changed(path, before, after)
    return lines


def _changed(path: str, before: list[str], after: list[str]) -> list[str]:
    if before == after:
        return [f"changed {path} (line ends only)"]
    if max(len(before), len(after)) > MAX_COMPARED_LINES:
        was, now = _count(before), _count(after)
        return [f"changed {path} (too long to compare: {was} before, {now} now)"]
    diff = list(difflib.unified_diff(before, after, lineterm="", n=3))[2:]
    plus = sum(line.startswith("+") for line in diff)
    minus = sum(line.startswith("-") for line in diff)
    return [f"changed {path} (+{plus} -{minus})", *diff]


def _lines(bundle: Bundle, path: str) -> list[str]:
    if path not in bundle.files:
        return []
    text = bundle.text(path)
    return text.removesuffix("\n").split("\n") if text else []


def _count(lines: list[str]) -> str:
    return f"{len(lines)} line" + ("" if len(lines) == 1 else "s")
