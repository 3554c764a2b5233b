"""A number for each row of a table that stays the same when the table is loaded again.

A row is known by its content, all declared columns as held, and its place among equal rows. New
ones get the next numbers; a number is never given twice.

Trust line: whoever can write here can make two releases look farther apart than they are. The file
holds keyed hashes of rows: with the key, which is among the node's secrets, guesses of whole rows
could be tested against it.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
from yumen_core.errors import StateError
from yumen_core.identity.files import PRIVATE_MODE, make_private_directory, read_file, replace_file
from yumen_core.sql import Column, ColumnType
from yumen_core.sql.storage import identifier, text_literal

Numbers = npt.NDArray[np.uint32]
MOST_ROWS = 1 << 32
_KEY_BYTES = 32
_KNOWN = np.dtype([("high", "<u8"), ("low", "<u8"), ("among", "<u4"), ("number", "<u4")])
_SCHEMA = """
CREATE TABLE IF NOT EXISTS numbers (
    name TEXT PRIMARY KEY, key BLOB NOT NULL, known BLOB NOT NULL
) STRICT;
"""


class RowNumbers:
    """The numbers of a node's tables, in `row-numbers.sqlite` of its state folder."""

    def __init__(self, directory: Path, secrets_directory: Path) -> None:
        """The key is made on first use. Raises `StateError` (`state`)."""
        make_private_directory(directory)
        make_private_directory(secrets_directory)
        file = secrets_directory / "rows.key"
        if not file.exists():
            replace_file(file, secrets.token_bytes(_KEY_BYTES), mode=PRIVATE_MODE)
        self._key = read_file(file, private=True)
        if len(self._key) != _KEY_BYTES:
            raise StateError("state", f"`{file}` is damaged: expected {_KEY_BYTES} bytes")
        self._file = directory / "row-numbers.sqlite"

    def of(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: str,
        relation: str,
        columns: Sequence[Column],
    ) -> Numbers:
        """The number of each row of `relation`, which holds `table`, in order; durable on return.

        Raises `StateError` (`state`) where the key is not the one the numbers were made with, or
        the file is damaged.
        """
        high, low = _hashes(connection, relation, columns, self._key)
        check = hashlib.sha256(b"yumen/v1/rows-key" + self._key).digest()
        try:
            return self._numbered(table, check, high, low)
        except (sqlite3.DatabaseError, ValueError):
            raise StateError("state", f"the numbers of the rows of `{table}` are damaged") from None

    def _numbered(
        self,
        table: str,
        check: bytes,
        high: npt.NDArray[np.uint64],
        low: npt.NDArray[np.uint64],
    ) -> Numbers:
        with closing(sqlite3.connect(self._file, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous=FULL")
            database.executescript(_SCHEMA)
            database.execute("BEGIN IMMEDIATE")
            row = database.execute(
                "SELECT key, known FROM numbers WHERE name = ?", (table,)
            ).fetchone()
            if row is not None and row[0] != check:
                raise StateError("state", f"the numbers of the rows of `{table}` have another key")
            known = np.frombuffer(b"" if row is None else row[1], dtype=_KNOWN)
            numbers, after = assign(known, high, low)
            if row is None or after.size > known.size:
                database.execute(
                    "INSERT INTO numbers VALUES (?, ?, ?) ON CONFLICT (name)"
                    " DO UPDATE SET known = excluded.known",
                    (table, check, after.tobytes()),
                )
            database.execute("COMMIT")
        return numbers


def assign(
    known: npt.NDArray[np.void], high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64]
) -> tuple[Numbers, npt.NDArray[np.void]]:
    """The number of each row by the halves of its hash, uint32[n], and all that is known then.

    Raises `StateError` (`state`) beyond MOST_ROWS numbers.
    """
    among = _among_equals(high, low)
    old, rows = known.size, high.size
    highs, lows = np.concatenate([known["high"], high]), np.concatenate([known["low"], low])
    amongs = np.concatenate([known["among"], among])
    fresh = np.arange(old + rows) >= old
    order = np.lexsort((fresh, amongs, lows, highs))
    first, second = order[:-1], order[1:]
    met = fresh[second] & ~fresh[first] & (amongs[first] == amongs[second])
    met &= (lows[first] == lows[second]) & (highs[first] == highs[second])
    numbers = np.zeros(rows, dtype=np.int64)
    new = np.ones(rows, dtype=np.bool_)
    at = second[met] - old
    numbers[at], new[at] = known["number"][first[met]], False
    count = int(np.count_nonzero(new))
    if old + count > MOST_ROWS:
        raise StateError("state", f"expected {MOST_ROWS} rows at most over time, got more")
    numbers[new] = old + np.arange(count)
    added = np.empty(count, dtype=_KNOWN)
    for name, values in (("high", high), ("low", low), ("among", among), ("number", numbers)):
        added[name] = values[new]
    return numbers.astype(np.uint32), np.concatenate([known, added])


def _among_equals(high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64]) -> Numbers:
    """0 for the first of equal rows, 1 for the second, and so on."""
    order = np.lexsort((low, high))
    starts = np.ones(order.size, dtype=np.bool_)
    starts[1:] = (high[order][1:] != high[order][:-1]) | (low[order][1:] != low[order][:-1])
    place = np.arange(order.size)
    among = np.zeros(order.size, dtype=np.uint32)
    among[order] = place - np.maximum.accumulate(np.where(starts, place, 0))
    return among


def _hashes(
    connection: duckdb.DuckDBPyConnection, relation: str, columns: Sequence[Column], key: bytes
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The halves of a keyed hash of each row, in the order held."""
    texts = " || '|' || ".join(_text(column) for column in columns)
    salted = text_literal(key.hex() + "|") + " || " + texts + " || " + text_literal("|" + key.hex())
    fetched = connection.execute(
        "SELECT (h >> 64)::UBIGINT AS high, (h & 18446744073709551615::UHUGEINT)::UBIGINT AS low "  # noqa: S608
        f"FROM (SELECT md5_number({salted}) AS h, rowid AS place FROM {identifier(relation)}) "
        "ORDER BY place"
    ).fetchnumpy()
    return (
        np.asarray(fetched["high"], dtype=np.uint64),
        np.asarray(fetched["low"], dtype=np.uint64),
    )


def _text(column: Column) -> str:
    """A value as a text that says where it ends."""
    name = identifier(column.name)
    if column.type is ColumnType.TEXT and column.domain is None:
        return f"coalesce(strlen({name}) || ':' || {name}, '-')"
    return f"coalesce(CAST({name} AS VARCHAR), '-')"
