"""What loading a table found wrong with its rows. For the operator only: counts of the data."""

from __future__ import annotations

from dataclasses import dataclass

from yumen_core.canonical import Json

_HEADER = ("column", "missing", "mistyped", "out of bounds", "out of domain")


@dataclass(frozen=True)
class ColumnQuality:
    """Rows of the source by what was wrong in one column: each row counts once at most."""

    name: str
    missing: int
    mistyped: int
    out_of_bounds: int
    out_of_domain: int

    def to_json(self) -> dict[str, Json]:
        return {
            "name": self.name,
            "missing": self.missing,
            "mistyped": self.mistyped,
            "out_of_bounds": self.out_of_bounds,
            "out_of_domain": self.out_of_domain,
        }


@dataclass(frozen=True)
class QualityReport:
    """`rows_read` rows of the source, of which `rows_kept` are rows of the table."""

    rows_read: int
    rows_kept: int
    columns: tuple[ColumnQuality, ...]

    def to_json(self) -> dict[str, Json]:
        return {
            "rows_read": self.rows_read,
            "rows_kept": self.rows_kept,
            "columns": [column.to_json() for column in self.columns],
        }

    def text(self) -> str:
        """A table for people, one line per column."""
        lines = [_HEADER, *(_line(column) for column in self.columns)]
        widths = [max(len(line[at]) for line in lines) for at in range(len(_HEADER))]
        shown = ["  ".join(_pad(line, widths)) for line in lines]
        rows = f"{self.rows_read} rows read, {self.rows_kept} kept"
        return "\n".join([rows, *shown])


def _line(column: ColumnQuality) -> tuple[str, ...]:
    counts = (column.missing, column.mistyped, column.out_of_bounds, column.out_of_domain)
    return (column.name, *(str(count) for count in counts))


def _pad(line: tuple[str, ...], widths: list[int]) -> list[str]:
    first, *others = line
    return [first.ljust(widths[0])] + [
        text.rjust(width) for text, width in zip(others, widths[1:], strict=True)
    ]
