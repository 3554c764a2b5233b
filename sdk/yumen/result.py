"""The released answer to a query, and who stands behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa
from yumen_core.errors import CallError
from yumen_core.privacy import Privacy

from yumen.display import (
    Grid,
    counted,
    format_bytes,
    format_moments,
    format_numbers,
    format_value,
    html,
    plain,
    short_name,
    shortened,
)

if TYPE_CHECKING:
    import pandas as pd

NODES_COLUMN = "_nodes"


@dataclass(frozen=True)
class Exclusion:
    """A node (SPIFFE id) that was asked and took no part, and why."""

    node: str
    reason: str


@dataclass(frozen=True)
class HeldBack:
    """How many rows of the result lack a value in `column` because too little stood behind it."""

    column: str
    rows: int


class Result:
    """A released table.

    Parameters: `table` holds the released rows, with the number of contributing nodes per row in
    column `_nodes`. `participants` and the nodes in `excluded` are SPIFFE ids. `empty_cells`
    counts the groups that nobody stands behind, so that they have no row. `ciphertext_bytes` and
    `ciphertexts` are what the coordinator saw; `elapsed_s` is the time from the call to the
    decrypted answer. `measure_nodes`, where given, has the shape of `table` and holds the number
    of nodes behind each value (0 = held back). `notes` say what else a reader should know, such
    as which values are lower bounds. `errors`, of an answer with noise for `privacy`, has half the
    width of the 95% interval of each value.

    Raises `CallError` where the two tables differ in shape.

    `len`, iteration over rows as dicts (dates are `datetime.date`, timestamps
    `datetime.datetime`), `columns`, `to_pandas` and `to_arrow` read it; printing it shows the
    table, the nodes in and out, and what was held back.
    """

    def __init__(
        self,
        table: pa.Table,
        *,
        job_id: str,
        sql: str,
        purpose: str,
        participants: tuple[str, ...],
        excluded: tuple[Exclusion, ...] = (),
        held_back: tuple[HeldBack, ...] = (),
        empty_cells: int = 0,
        ciphertext_bytes: int = 0,
        ciphertexts: int = 0,
        elapsed_s: float = 0.0,
        measure_nodes: pa.Table | None = None,
        notes: tuple[str, ...] = (),
        errors: pa.Table | None = None,
        privacy: Privacy | None = None,
    ) -> None:
        if measure_nodes is not None and (
            measure_nodes.num_rows != table.num_rows
            or measure_nodes.column_names != table.column_names
        ):
            raise CallError(
                "argument",
                f"expected node counts for {table.num_rows} rows of {table.column_names}, "
                f"got {measure_nodes.num_rows} rows of {measure_nodes.column_names}",
            )
        self._table = table
        self.job_id = job_id
        self.sql = sql
        self.purpose = purpose
        self.participants = participants
        self.excluded = excluded
        self.held_back = held_back
        self.empty_cells = empty_cells
        self.ciphertext_bytes = ciphertext_bytes
        self.ciphertexts = ciphertexts
        self.elapsed_s = elapsed_s
        self.measure_nodes = measure_nodes
        self.notes = notes
        self.errors = errors
        self.privacy = privacy

    @property
    def columns(self) -> list[str]:
        """The column names, `_nodes` among them."""
        return list(self._table.column_names)

    def to_arrow(self) -> pa.Table:
        """The table as pyarrow holds it: exact integers and decimals."""
        return self._table

    def to_pandas(self) -> pd.DataFrame:
        """The table as a pandas frame.

        An integer or boolean column with missing values takes pandas' nullable type, so that a
        large sum is not rounded to a float; decimals are `decimal.Decimal` objects; dates and
        timestamps are pandas' `datetime64` without a zone.
        """
        import pandas as pd  # takes most of a second, and many callers never need it

        frame = pd.DataFrame(self._table.to_pandas(date_as_object=False))
        for name in self._table.column_names:
            column = self._table[name]
            if not column.null_count:
                continue
            if pa.types.is_int64(column.type):
                frame[name] = pd.array(column.to_pylist(), dtype="Int64")
            elif pa.types.is_boolean(column.type):
                frame[name] = pd.array(column.to_pylist(), dtype="boolean")
        return frame

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __iter__(self) -> Iterator[dict[str, object]]:
        return iter(self._table.to_pylist())

    def __repr__(self) -> str:
        return plain(self._grid)

    def _repr_html_(self) -> str:
        return html(self._grid)

    @cached_property
    def _grid(self) -> Grid:
        names = self.columns
        columns = [self._texts(name) for name in names]
        return Grid(
            headers=tuple(names),
            rows=tuple(zip(*columns, strict=True)) if columns else (),
            numeric=tuple(_is_numeric(self._table.schema.field(name).type) for name in names),
            notes=("", *self._notes()),
        )

    def _texts(self, name: str) -> list[str]:
        """The column as texts; a value on fewer nodes than its row carries their number, as [3]."""
        column = self._table[name]
        values = column.to_pylist()
        if pa.types.is_floating(column.type):
            texts = format_numbers(values)
        elif pa.types.is_timestamp(column.type):
            texts = format_moments(values)
        else:
            texts = [format_value(v) for v in values]
        counts = self._counts(name)
        marks = [f" [{count}]" if count else "" for count in self._fewer(name)]
        if self.errors is not None and name in self.errors.column_names:
            errors = self.errors[name].to_pylist()
            for row, error in enumerate(errors):
                if values[row] is not None and (error is not None or _is_measured(errors)):
                    texts[row] += f" ± {'?' if error is None else f'{error:.3g}'}"
        width = max((len(mark) for mark in marks), default=0)
        numeric = _is_numeric(column.type)
        shown = []
        for row, text in enumerate(texts):
            if values[row] is None and counts is not None and counts[row] == 0:
                shown.append("held back" + " " * width)
            else:
                shown.append(text + (marks[row].ljust(width) if numeric else marks[row]))
        return shown

    def _counts(self, name: str) -> list[int | None] | None:
        if self.measure_nodes is None or name == NODES_COLUMN:
            return None
        return list(self.measure_nodes[name].to_pylist())

    def _fewer(self, name: str) -> list[int]:
        """Per row: the nodes behind the value where they are fewer than its row's, else 0."""
        counts = self._counts(name)
        if counts is None or NODES_COLUMN not in self._table.column_names:
            return [0] * len(self)
        rows = self._table[NODES_COLUMN].to_pylist()
        return [n if n and n < all_ else 0 for n, all_ in zip(counts, rows, strict=True)]

    def _notes(self) -> Iterator[str]:
        fewer = sorted({n for name in self.columns for n in self._fewer(name) if n})
        for count in fewer:
            yield f"[{count}] stands on {counted(count, 'node')}, fewer than its row in `_nodes`"
        names = ", ".join(short_name(uri) for uri in self.participants)
        yield f"{counted(len(self.participants), 'node')} in: {names}"
        if self.excluded:
            out = "; ".join(f"{short_name(e.node)} ({shortened(e.reason)})" for e in self.excluded)
            yield f"{counted(len(self.excluded), 'node')} out: {out}"
        if self._fewest_nodes() < len(self.participants):
            yield (
                f"a row with fewer than {len(self.participants)} in `_nodes` leaves out the nodes "
                "with too few rows in its group"
            )
        yield from self._held_back_notes()
        yield from self.privacy_notes()
        yield from self.notes
        yield (
            f"{counted(len(self), 'row')}, {self.elapsed_s:.2f} s, purpose {self.purpose}, "
            f"job {self.job_id}"
        )

    def privacy_notes(self) -> Iterator[str]:
        """What noise the values carry, in words; nothing of exact ones."""
        if self.privacy is not None:
            yield (
                f"noise added: epsilon {self.privacy.epsilon:.4g} at delta {self.privacy.delta}, "
                f"{self.privacy.micro_rho:,} millionths of rho at each node; ± is 95%"
            )

    def _fewest_nodes(self) -> int:
        """The fewest nodes behind a row that is not held back; with no such row, all of them."""
        if NODES_COLUMN not in self._table.column_names:
            return len(self.participants)
        behind = [int(n) for n in self._table[NODES_COLUMN].to_pylist() if n]
        return min(behind, default=len(self.participants))

    def _held_back_notes(self) -> Iterator[str]:
        if self.held_back:
            cells = ", ".join(f"{h.column} in {counted(h.rows, 'row')}" for h in self.held_back)
            yield f"held back, too few rows or nodes behind the value: {cells}"
        if self.empty_cells:
            groups = counted(self.empty_cells, "group")
            yield f"{groups} without a row: no data, or too few rows or nodes behind it"
        if not len(self) and not self.empty_cells:
            yield "no row fits the conditions on the released result"

    @property
    def ciphertext_note(self) -> str:
        """What the coordinator saw, in words."""
        return f"{counted(self.ciphertexts, 'ciphertext')} of {format_bytes(self.ciphertext_bytes)}"


def _is_measured(errors: list[float | None]) -> bool:
    return any(error is not None for error in errors)


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )
