"""Small tables for a terminal and for a notebook; every text that came from a peer is made safe.

`Grid` is the one form: texts in rows and columns, and notes below. `plain` aligns by the width of
characters on a terminal (a Chinese character takes two cells); `html` escapes everything and needs
no style sheet, script or font, so a saved notebook shows it as it was.
"""

from __future__ import annotations

import html as _html
import math
import re
import shutil
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from decimal import Decimal

from rich.cells import cell_len, set_cell_size
from yumen_core.disclosure.rounding import NO_ROUNDING
from yumen_core.errors import PeerError
from yumen_core.identity.names import Identity

MAX_ROWS = 60
MAX_CELL_CHARS = 48
SIGNIFICANT_DIGITS = 6
_HEAD_ROWS, _TAIL_ROWS = 40, 10
_GAP = "  "
_URI = re.compile(r"spiffe://[a-z0-9._/-]+")


@dataclass(frozen=True)
class Grid:
    """A table of texts. `numeric` says which columns align right; `notes` are lines below it."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...] = ()
    notes: tuple[str, ...] = ()
    title: str = ""
    max_cell_chars: int = field(default=MAX_CELL_CHARS, kw_only=True)

    def aligned_right(self, column: int) -> bool:
        return column < len(self.numeric) and self.numeric[column]


def plain(grid: Grid, *, width: int | None = None) -> str:
    """`grid` as text at most `width` cells wide, by default as wide as the terminal.

    Columns that do not fit continue in a block below, beside the first column again. Long tables
    lose their middle.
    """
    limit = width or shutil.get_terminal_size(fallback=(100, 24)).columns
    shown = [[_cut(safe(t), grid.max_cell_chars) for t in row] for row in _abridged(grid)]
    lines = [safe(grid.title)] if grid.title else []
    headers = [_cut(safe(text), grid.max_cell_chars) for text in grid.headers]
    widths = [
        max([cell_len(header), *(cell_len(row[i]) for row in shown)])
        for i, header in enumerate(headers)
    ]
    for number, block in enumerate(_blocks(widths, limit)):
        if number:
            lines.append("")
        lines.append(_line(grid, headers, widths, block))
        lines.append(_GAP.join("─" * widths[i] for i in block))
        lines += [_line(grid, row, widths, block) for row in shown]
    for note in grid.notes:
        lines += _wrapped(safe(note), limit)
    return "\n".join(lines)


def html(grid: Grid) -> str:
    """`grid` as an HTML fragment in the colours of the page around it."""
    parts = ["<div>"]
    if grid.title:
        parts.append(f"<div><strong>{_escaped(grid.title)}</strong></div>")
    parts.append('<table style="border-collapse: collapse">')
    cells = "".join(_html_cell("th", grid, i, text) for i, text in enumerate(grid.headers))
    parts.append(f"<thead><tr>{cells}</tr></thead><tbody>")
    for row in _abridged(grid):
        cells = "".join(_html_cell("td", grid, i, text) for i, text in enumerate(row))
        parts.append(f"<tr>{cells}</tr>")
    parts.append("</tbody></table>")
    notes = "<br>".join(_escaped(note) for note in grid.notes)
    if notes:
        parts.append(f'<div style="opacity: 0.75; font-size: 90%">{notes}</div>')
    parts.append("</div>")
    return "".join(parts)


def safe(text: str) -> str:
    """`text` with control and direction characters spelled out, as `\\u202e`, and no line breaks.

    A terminal would obey them: a denial or a value must not be able to rewrite the screen.
    """
    return "".join(
        char
        if unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def short_name(uri: str) -> str:
    """A party's name for people: `organisation/name`, or one word where both are the same.

    Text that is no identity comes back cut to 80 characters.
    """
    try:
        identity = Identity.parse(uri)
    except PeerError:
        return safe(uri[:80])
    return identity.name if identity.name == identity.organisation else identity.short


def shortened(text: str) -> str:
    """`text` with every SPIFFE id in it as `short_name` gives it."""
    return _URI.sub(lambda found: short_name(found.group()), text)


def format_numbers(values: Sequence[float | None]) -> list[str]:
    """Floats of one column with one number of decimals: about six significant digits of the
    largest, powers of ten only where it is very large or very small. A missing value is "null"."""
    finite = [abs(v) for v in values if v is not None and math.isfinite(v) and v]
    largest = max(finite, default=0.0)
    if finite and not 1e-4 <= largest < 1e12:
        return ["null" if v is None else f"{v:.{SIGNIFICANT_DIGITS - 1}e}" for v in values]
    before = max(1, math.floor(math.log10(largest)) + 1) if finite else 1
    decimals = max(0, SIGNIFICANT_DIGITS - before)
    texts = ["null" if v is None else f"{v:.{decimals}f}" for v in values]
    while decimals > 1 and all(t.endswith("0") or t == "null" for t in texts):
        texts = [t if t == "null" else t[:-1] for t in texts]
        decimals -= 1
    return texts


def format_moments(values: Sequence[datetime | None]) -> list[str]:
    """Timestamps of one column: all to the day, the minute, the second or the microsecond, as the
    finest among them needs. A missing value is "null"."""
    present = [v for v in values if v is not None]
    if all(v.time() == time() for v in present):
        return ["null" if v is None else v.date().isoformat() for v in values]
    finest = "microseconds" if any(v.microsecond for v in present) else "minutes"
    if finest == "minutes" and any(v.second for v in present):
        finest = "seconds"
    return ["null" if v is None else v.isoformat(" ", finest) for v in values]


def format_value(value: object) -> str:
    """One value that is no float: text as it is, `true`, `false`, `null`, `2020-01-31`."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case Decimal():
            return format(value, "f")
        case datetime():
            return format_moments([value])[0]
        case _:
            return str(value)


def format_bytes(count: int) -> str:
    """A size in bytes, kB or MB (powers of 1000)."""
    if count < 1_000:
        return f"{count} bytes"
    return f"{count / 1e3:.1f} kB" if count < 1_000_000 else f"{count / 1e6:.1f} MB"


def rounding_notes(step: int) -> Iterator[str]:
    """What a reader should know of counts that nodes tell in multiples of `step`."""
    if step != NO_ROUNDING:
        yield (
            f"each node tells counts in multiples of {step}, and sums as of so many rows: parts "
            "may not add up to their total"
        )


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 node`, `3 nodes`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _abridged(grid: Grid) -> list[tuple[str, ...]]:
    if len(grid.rows) <= MAX_ROWS:
        return list(grid.rows)
    gap = tuple("…" for _ in grid.headers)
    return [*grid.rows[:_HEAD_ROWS], gap, *grid.rows[-_TAIL_ROWS:]]


def _blocks(widths: Sequence[int], limit: int) -> list[list[int]]:
    """Column numbers, in groups that fit in `limit` cells or hold one column beside the first."""
    blocks: list[list[int]] = [[]]
    used = 0
    for column, width in enumerate(widths):
        needed = width + (len(_GAP) if blocks[-1] else 0)
        if used + needed > limit and len(blocks[-1]) > (len(blocks) > 1):
            blocks.append([0])
            used, needed = widths[0], width + len(_GAP)
        blocks[-1].append(column)
        used += needed
    return blocks


def _line(grid: Grid, row: Sequence[str], widths: Sequence[int], block: Sequence[int]) -> str:
    cells = []
    for column in block:
        text, width = row[column], widths[column]
        padding = " " * (width - cell_len(text))
        cells.append(padding + text if grid.aligned_right(column) else text + padding)
    return _GAP.join(cells).rstrip()


def _wrapped(note: str, limit: int) -> list[str]:
    indent = " " * (len(note) - len(note.lstrip()) + 2)
    lines = textwrap.wrap(
        note, limit, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return lines or [""]


def _cut(text: str, limit: int) -> str:
    return text if cell_len(text) <= limit else set_cell_size(text, limit - 1).rstrip() + "…"


def _html_cell(tag: str, grid: Grid, column: int, text: str) -> str:
    side = "right" if grid.aligned_right(column) else "left"
    edge = "2px" if tag == "th" else "1px"
    style = (
        f"text-align: {side}; padding: 2px 10px; vertical-align: top;"
        " font-variant-numeric: tabular-nums;"
        f" border-bottom: {edge} solid rgba(128, 128, 128, 0.35)"
    )
    return f'<{tag} style="{style}">{_escaped(text)}</{tag}>'


def _escaped(text: str) -> str:
    return _html.escape(safe(text), quote=True)
