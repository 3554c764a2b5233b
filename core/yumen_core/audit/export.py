"""Entries for other tools, line by line. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from yumen_core.audit.rows import HEADER, is_denied, row_of
from yumen_core.audit.spelling import spelled
from yumen_core.log.entry import Entry

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
# Facility 13, log audit (RFC 5424, section 6.2.1): informational, and notice for what says no.
_PRIORITY, _PRIORITY_DENIED = 13 * 8 + 6, 13 * 8 + 5
# 32473 is the enterprise number that RFC 5612 keeps for examples.
_STRUCTURE = "yumen@32473"


def csv_lines(entries: Iterable[tuple[int, Entry]]) -> Iterator[str]:
    """RFC 4180, a header first. A cell that a spreadsheet could take for a formula stands behind an
    apostrophe; what cannot be printed is spelled out."""
    yield _csv(HEADER)
    for index, entry in entries:
        yield _csv(row_of(index, entry).cells)


def json_lines(entries: Iterable[tuple[int, Entry]]) -> Iterator[str]:
    """Each entry's canonical JSON, as it was hashed, beside its index."""
    for index, entry in entries:
        yield f'{{"index":{index},"entry":{entry.encode().decode()}}}\n'


def syslog_lines(origin: str, entries: Iterable[tuple[int, Entry]]) -> Iterator[str]:
    """RFC 5424 with structured data and no free text."""
    host = "".join(c for c in origin if "!" <= c <= "~")[:255] or "-"
    for index, entry in entries:
        row = row_of(index, entry)
        priority = _PRIORITY_DENIED if is_denied(entry) else _PRIORITY
        named = zip(HEADER, row.cells, strict=True)
        fields = " ".join(
            f'{k}="{_escaped(v)}"' for k, v in named if k not in ("time", "act") and v
        )
        head = f"<{priority}>1 {row.time} {host} yumen - {entry.act.value}"
        yield f"{head} [{_STRUCTURE} {fields}]\n"


def _csv(cells: Iterable[str]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow([_harmless(cell) for cell in cells])
    return out.getvalue()


def _harmless(cell: str) -> str:
    shown = spelled(cell)
    return "'" + shown if cell.lstrip(" ").startswith(_FORMULA) else shown


def _escaped(text: str) -> str:
    """A parameter's value, section 6.3.3."""
    return spelled(text).replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
