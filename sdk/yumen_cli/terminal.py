"""What this command prints: documents and results on stdout, everything else on stderr."""

from __future__ import annotations

import datetime
import decimal
import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence

_BIDI_AND_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def say(text: str) -> None:
    """One result for a person, on stdout."""
    sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A remark beside the result, on stderr, so that stdout stays usable in a pipe."""
    sys.stderr.write(text.rstrip("\n") + "\n")
    sys.stderr.flush()


def emit(document: object) -> None:
    """The one JSON document of a `--json` command, on stdout."""
    say(json.dumps(document, ensure_ascii=False, indent=2, default=_plain))


def emit_line(document: object) -> None:
    """One JSON line of a `start --json` command, on stdout and flushed at once."""
    say(json.dumps(document, ensure_ascii=False, default=_plain))


def clean(text: str) -> str:
    """`text` on one line without control, formatting or direction characters.

    Words of other parties reach the terminal only through here, so that they can neither move the
    cursor nor reorder what a person reads.
    """
    return "".join(
        " " if char == "\n" else f"\\u{ord(char):04x}" if _is_unsafe(char) else char
        for char in text
    )


def aligned(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A plain table: columns two spaces apart, wide characters counted as two cells."""
    from rich.cells import cell_len

    lines = [[clean(cell) for cell in row] for row in (header, *rows)]
    widths = [max(cell_len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def utc(milliseconds: int) -> str:
    """A time for a person and for JSON: `2026-11-23T13:00:00Z`, empty for 0."""
    if not milliseconds:
        return ""
    moment = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _is_unsafe(char: str) -> bool:
    return unicodedata.category(char) in _BIDI_AND_INVISIBLE


def _plain(value: object) -> object:
    """JSON for the types that results hold besides JSON's own. Exact decimals travel as text."""
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    if isinstance(value, set | frozenset | tuple):
        return sorted(value) if isinstance(value, set | frozenset) else list(value)
    raise TypeError(f"no JSON form for {type(value).__name__}")
