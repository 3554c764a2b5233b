"""Whether `released.sqlite` is the file that the node's log tells of.

What the guard records is numbered, and each record has a digest over itself and the record before
it. The log's entry of a contribution carries the last number and its digest, under `guard`: it
speaks for all records up to then. A file with fewer records, or with others, is an older copy, was
lost, or is another node's, and a node that went on with it would let two answers differ by a few
rows. Where records are lost for good, the operator's entry that accepts it carries the number and
digest that count from then on.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from yumen_core import canonical
from yumen_core.errors import StateError
from yumen_core.log.entry import Value, decode_entry
from yumen_core.log.tiles import TILE_WIDTH

FIELD = "guard"
_ENTRY = b'"guard":'
"""In the canonical JSON of each entry with a record's number: quotes in texts are escaped."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    number INTEGER PRIMARY KEY,
    digest BLOB NOT NULL,
    sets INTEGER NOT NULL,
    asked INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS compared (
    origin TEXT PRIMARY KEY,
    size INTEGER NOT NULL
) STRICT;
"""


class Entries(Protocol):
    """What is read of a log."""

    @property
    def origin(self) -> str: ...

    @property
    def size(self) -> int: ...

    def entries(self, start: int = 0, end: int | None = None) -> Iterable[bytes]: ...


@dataclass(frozen=True)
class Recorded:
    """The last record: its number, from 1, and its digest, 32 bytes; and how many rows the tables
    `sets` and `asked` have with it."""

    number: int = 0
    digest: bytes = bytes(32)
    sets: int = 0
    asked: int = 0

    @property
    def detail(self) -> Mapping[str, Value]:
        """For a log entry, as `digests` is; both empty where nothing was recorded."""
        return {FIELD: self.number} if self.number else {}

    @property
    def digests(self) -> Mapping[str, bytes]:
        return {FIELD: self.digest} if self.number else {}


def prepare(database: sqlite3.Connection) -> Recorded:
    """Make the tables on first use; the last record there is."""
    database.executescript(_SCHEMA)
    row = database.execute(
        "SELECT number, digest, sets, asked FROM records ORDER BY number DESC LIMIT 1"
    ).fetchone()
    return Recorded() if row is None else Recorded(*row)


def add(
    database: sqlite3.Connection,
    last: Recorded,
    *,
    job_id: str,
    table: str,
    sets: Sequence[tuple[bytes, Sequence[str]]],
    asked: int,
) -> Recorded:
    """Number one record more, within the transaction that adds its rows: `sets` by digest with the
    nodes behind each, and `asked` rows of that table. Without either there is no new record."""
    if not sets and not asked:
        return last
    told: dict[str, canonical.Json] = {
        "before": last.digest.hex(),
        "job": job_id,
        "table": table,
        "sets": [[digest.hex(), list(behind)] for digest, behind in sets],
    }
    made = Recorded(
        last.number + 1,
        hashlib.sha256(canonical.encode(told)).digest(),
        last.sets + len(sets),
        last.asked + asked,
    )
    _insert(database, made)
    return made


@dataclass(frozen=True)
class Missing:
    """What a file lacks: `number` records that the log tells of, or rows that its own records tell
    of; `foreign` where it is not this node's, so that nothing in it counts."""

    number: int
    foreign: bool = False


def missing(database: sqlite3.Connection, last: Recorded, log: Entries) -> Missing | None:
    """What the file lacks of what the log tells of.

    1. A file with records was made under this log, or compared with it.
    2. The record that the last entry with `guard` tells of is in it, with the same digest. Entries
       are read from the log's end, and none that was there at the last comparison.
    3. It has as many rows as its own last record says.
    """
    size = log.size
    row = database.execute("SELECT size FROM compared WHERE origin = ?", (log.origin,)).fetchone()
    if row is None and last.number:
        return Missing(told_of(log).number, foreign=True)
    told = told_of(log, 0 if row is None or row[0] > size else row[0])
    held = database.execute(
        "SELECT digest FROM records WHERE number = ?", (told.number,)
    ).fetchone()
    if held is not None and held[0] != told.digest:
        return Missing(told.number, foreign=True)
    sets, asked = _rows(database)
    fewer = max(0, last.sets - sets) + max(0, last.asked - asked)
    fewer += max(0, told.number - last.number)
    return Missing(fewer) if fewer else None


def accept_loss(
    database: sqlite3.Connection,
    last: Recorded,
    found: Missing,
    log: Entries,
    tell: Callable[[Recorded], None],
) -> Recorded:
    """Record that records are lost, and what rows there are from here on. `tell` logs it, before
    the file has it: one that is not logged is refused again."""
    sets, asked = _rows(database)
    told: dict[str, canonical.Json] = {"before": last.digest.hex(), "lost": found.number}
    digest = hashlib.sha256(canonical.encode(told)).digest()
    made = Recorded(last.number + 1, digest, sets, asked)
    tell(made)
    _insert(database, made)
    settle(database, log)
    return made


def settle(database: sqlite3.Connection, log: Entries) -> None:
    """Entries up to here need not be read at the next start."""
    database.execute("INSERT OR REPLACE INTO compared VALUES (?, ?)", (log.origin, log.size))


def refusal(found: Missing) -> StateError:
    """What a node that lacks records says instead of starting."""
    got = (
        "others: the file is another node's, or of before a loss was accepted"
        if found.foreign
        else f"{found.number} fewer: the file is an older copy, or was lost"
    )
    return StateError(
        "state",
        f"expected every record of what left that the log tells of in `released.sqlite`, got {got}",
        remedy=remedy(found.number),
    )


def unreadable(error: sqlite3.DatabaseError) -> StateError:
    """What a node says of a file that is cut off, or is no database."""
    return StateError(
        "state",
        f"expected the database `released.sqlite`, got a file that does not read: {error}",
        remedy="put the latest `released.sqlite` back; where it is lost for good, "
        "`yumen node accept-loss DIR` says what is missing",
    )


def remedy(number: int) -> str:
    return (
        "put the latest `released.sqlite` back; where it is lost for good, "
        f"`yumen node accept-loss DIR --missing {number}` starts without and says so in the log"
    )


def told_of(log: Entries, start: int = 0) -> Recorded:
    """The last record that an entry from `start` on tells of; number 0 where none does."""
    end = log.size
    while end > start:
        first = max(start, (end - 1) // TILE_WIDTH * TILE_WIDTH)
        for data in reversed(list(log.entries(first, end))):
            if _ENTRY not in data:
                continue
            entry = decode_entry(data)
            number, digest = entry.detail.get(FIELD), entry.digests.get(FIELD)
            if isinstance(number, int) and digest is not None:
                return Recorded(number, digest)
        end = first
    return Recorded()


def _rows(database: sqlite3.Connection) -> tuple[int, int]:
    (sets,) = database.execute("SELECT count(*) FROM sets").fetchone()
    (asked,) = database.execute("SELECT count(*) FROM asked").fetchone()
    return sets, asked


def _insert(database: sqlite3.Connection, made: Recorded) -> None:
    database.execute(
        "INSERT INTO records VALUES (?, ?, ?, ?)",
        (made.number, made.digest, made.sets, made.asked),
    )
