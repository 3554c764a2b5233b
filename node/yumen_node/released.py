"""Which rows earlier answers of this node were made of, and with which other nodes.

Trust line: whoever can write here can have a difference of two answers computed. The file is for
the node's user alone. It holds numbers of rows, no value.

Nothing is forgotten: a set of rows that was released stays, once for each set of nodes. In memory
are the sets' sizes; the sets of a size near to a new one are read when they are needed.
"""

from __future__ import annotations

import json
import sqlite3
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pyroaring import BitMap
from yumen_core.disclosure.difference import near_nodes, too_close
from yumen_core.disclosure.row_set import RowSet
from yumen_core.errors import StateError
from yumen_core.identity.files import make_private_directory
from yumen_core.jobs.admission import Question
from yumen_core.jobs.spec import JobSpec
from yumen_core.policy.denial import Denial
from yumen_core.sql.row_parts import JUST_ROWS, Label, meets
from yumen_core.sql.row_sets import rows_key

from yumen_node import released_log

Nodes = tuple[str, ...]
FILE = "released.sqlite"
BITMAPS_KEPT = 256
"""Sets held in memory: 125 KiB each at most for a table of a million rows."""
NEAR = (
    "expected the rows and nodes of an earlier answer, or others that differ enough from each, got "
    "a smaller difference at one node or more"
)
"""The same words at every node: which one it is would tell of its rows."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sets (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,
    size INTEGER NOT NULL,
    asked TEXT NOT NULL,
    behind TEXT NOT NULL,
    label TEXT NOT NULL,
    job TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    bits BLOB NOT NULL,
    UNIQUE (name, digest, asked, behind, label)
) STRICT;
CREATE TABLE IF NOT EXISTS asked (
    rows_key BLOB NOT NULL,
    nodes TEXT NOT NULL,
    job TEXT NOT NULL,
    PRIMARY KEY (rows_key, nodes)
) STRICT;
CREATE TABLE IF NOT EXISTS requesters (
    job TEXT PRIMARY KEY,
    requester TEXT NOT NULL
) STRICT;
"""


@dataclass(frozen=True)
class Guarded:
    """What the guard of a job goes by: its rows' table, the threshold and minimum of nodes that
    hold there, the key of the rows that it asks about, and who asks."""

    job_id: str
    table: str
    threshold: int
    min_nodes: int
    rows_key: bytes
    requester: str = ""

    def of(self, table: str) -> Guarded:
        """The same for rows of another table of the statement."""
        return self if table == self.table else replace(self, table=table)


class Leaving(NamedTuple):
    """A set of rows that is about to leave: the nodes behind it, what it tells of
    (`sql.row_parts`), and whose rows these are; the job's own table where it is empty."""

    rows: RowSet
    behind: Nodes
    label: Label = JUST_ROWS
    table: str = ""


class _Known(NamedTuple):
    """Where a set was released: the nodes that took part, those behind it, what it told of."""

    asked: Nodes
    behind: Nodes
    label: Label
    job: str


@dataclass
class _Table:
    sizes: list[tuple[int, int]] = field(default_factory=list)
    """Size and id of each set, in order."""
    sets: dict[int, _Known] = field(default_factory=dict)
    by_digest: dict[bytes, list[_Known]] = field(default_factory=dict)

    def add(self, size: int, number: int, digest: bytes, known: _Known) -> None:
        self.sizes.append((size, number))
        self.sets[number] = known
        self.by_digest.setdefault(digest, []).append(known)


class ReleasedSets:
    """The store. One connection, used from the node's event loop only."""

    def __init__(
        self, directory: Path, node: str, versions: Mapping[str, bytes] | None = None
    ) -> None:
        """`node` is this node's SPIFFE id, `versions` names the present rows of each table."""
        make_private_directory(directory)
        self._node = node
        self._versions = dict(versions or {})
        self._db = sqlite3.connect(directory / FILE, isolation_level=None)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
            self._recorded = released_log.prepare(self._db)
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise released_log.unreadable(error) from None
        self._tables: dict[str, _Table] = {}
        self._bits = lru_cache(maxsize=BITMAPS_KEPT)(self._read)

    def close(self) -> None:
        self._db.close()

    @property
    def recorded(self) -> released_log.Recorded:
        """The last record, for the log entry of what leaves with it."""
        return self._recorded

    def compare(self, log: released_log.Entries) -> None:
        """That each record which the log tells of is here as well. A node calls this as it starts.
        Raises `StateError` (`state`) for an older copy, another node's file, or none."""
        found = self.missing(log)
        if found is not None:
            raise released_log.refusal(found)
        released_log.settle(self._db, log)

    def missing(self, log: released_log.Entries) -> released_log.Missing | None:
        """What `compare` finds missing. Raises `StateError` (`state`) for a damaged file."""
        try:
            return released_log.missing(self._db, self._recorded, log)
        except sqlite3.DatabaseError as error:
            raise released_log.unreadable(error) from None

    def accept_loss(
        self,
        found: released_log.Missing,
        log: released_log.Entries,
        tell: Callable[[released_log.Recorded], None],
    ) -> None:
        """What is missing is lost for good; `tell` says so in the log. What is here is all there
        is from then on."""
        self._recorded = released_log.accept_loss(self._db, self._recorded, found, log, tell)

    def guarded(self, spec: JobSpec, asked: Question) -> Guarded:
        return Guarded(
            spec.job_id,
            spec.table,
            asked.threshold(self._node),
            asked.min_nodes,
            rows_key(asked.plan, self._versions),
            spec.requester.uri,
        )

    def denials(self, spec: JobSpec, asked: Question) -> tuple[Denial, ...]:
        """A refusal where the same rows were released over nearly the same nodes
        (`participant_set`). Told in a dry run too; no row is touched."""
        if spec.privacy is not None:
            return ()
        near = self._near_asked(self.guarded(spec, asked), spec.nodes)
        if near is None:
            return ()
        fewest = asked.min_nodes
        return (
            Denial(
                node=self._node,
                reason_code="participant_set",
                message=_differ(near, spec.nodes, fewest),
                subject="nodes",
                observed=", ".join(spec.nodes),
                allowed=", ".join(near),
                remedy=_remedy(near, fewest),
            ),
        )

    def check_participants(self, guarded: Guarded, nodes: Nodes) -> None:
        """The same with the nodes that take part in the end. Raises `StateError`
        (`participant_set`)."""
        near = self._near_asked(guarded, nodes)
        if near is not None:
            raise StateError(
                "participant_set",
                _differ(near, nodes, guarded.min_nodes),
                remedy=_remedy(near, guarded.min_nodes),
            )

    def is_near(
        self,
        guarded: Guarded,
        rows: RowSet,
        nodes: Nodes,
        *,
        behind: Nodes | None = None,
        label: Label = JUST_ROWS,
    ) -> bool:
        """Whether `rows` and an earlier release, of another job and of the same thing (`label`),
        would tell of fewer rows than the threshold, or of fewer nodes than the minimum, by their
        difference. `nodes` take part; `behind` are those of them that have flagged the cell, once
        that is known. What was released before over the same nodes is not near to anything: it
        tells nothing new."""
        if not len(rows):
            return False
        held = self._table(guarded.table)
        over = nodes if behind is None else behind
        same = [
            (known, known.asked if behind is None else known.behind)
            for known in held.by_digest.get(rows.digest, ())
        ]
        if any(at == over and label <= known.label for known, at in same):
            return False
        others = [(known, at) for known, at in same if known.job != guarded.job_id]
        if any(
            meets(label, known.label) and near_nodes(at, over, guarded.min_nodes)
            for known, at in others
        ):
            return True
        size, k = len(rows), guarded.threshold
        start = bisect_left(held.sizes, (size - k + 1, -1))
        end = bisect_left(held.sizes, (size + k, -1))
        return any(
            meets(label, held.sets[number].label) and too_close(self._bits(number), rows.rows, k)
            for _, number in held.sizes[start:end]
            if held.sets[number].job != guarded.job_id
        )

    def record(self, guarded: Guarded, sets: Iterable[Leaving], nodes: Nodes) -> None:
        """Remember what is about to leave: durable on return, all or nothing.

        Raises `StateError` (`near_release`, `participant_set`) where a set has come too near to
        what another job released, since this one began or by the nodes behind it.
        """
        self.check_participants(guarded, nodes)
        kept = [
            entry._replace(table=entry.table or guarded.table) for entry in sets if len(entry.rows)
        ]
        if any(
            self.is_near(guarded.of(table), rows, nodes, behind=behind, label=label)
            for rows, behind, label, table in kept
        ):
            raise StateError("near_release", NEAR)
        added: list[tuple[Leaving, int]] = []
        self._db.execute("BEGIN IMMEDIATE")
        try:
            asked = self._db.execute(
                "INSERT OR IGNORE INTO asked VALUES (?, ?, ?)",
                (guarded.rows_key, json.dumps(nodes), guarded.job_id),
            ).rowcount
            self._db.execute(
                "INSERT OR IGNORE INTO requesters VALUES (?, ?)",
                (guarded.job_id, guarded.requester),
            )
            for entry in kept:
                number = self._insert(guarded, entry, nodes)
                if number is not None:
                    added.append((entry, number))
            recorded = released_log.add(
                self._db,
                self._recorded,
                job_id=guarded.job_id,
                table=guarded.table,
                sets=[(entry.rows.digest, entry.behind) for entry, _ in added],
                asked=asked,
            )
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._recorded = recorded
        for entry, number in added:
            held = self._table(entry.table)
            if number in held.sets:
                continue  # read with the table just now
            held.add(len(entry.rows), number, entry.rows.digest,
                     _Known(nodes, entry.behind, entry.label, guarded.job_id))  # fmt: skip
            held.sizes.sort()

    def _insert(self, guarded: Guarded, entry: Leaving, nodes: Nodes) -> int | None:
        """The number of a set that is new, None of one that is known."""
        known = self._table(entry.table).by_digest.get(entry.rows.digest, ())
        if any(
            (at.asked, at.behind) == (nodes, entry.behind) and entry.label <= at.label
            for at in known
        ):
            return None
        found = self._db.execute(
            "INSERT OR IGNORE INTO sets"
            " (name, digest, size, asked, behind, label, job, at_ms, bits)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (entry.table, entry.rows.digest, len(entry.rows), json.dumps(nodes),
             json.dumps(entry.behind), json.dumps(sorted(entry.label)), guarded.job_id,
             time.time_ns() // 1_000_000, entry.rows.rows.serialize()),
        )  # fmt: skip
        return found.lastrowid if found.rowcount else None

    def _near_asked(self, guarded: Guarded, nodes: Nodes) -> Nodes | None:
        """A set over which the same rows were released, too near to `nodes`; an empty one where it
        was another requester's, who is not to be told of."""
        rows = self._db.execute(
            "SELECT nodes, asked.job, requester FROM asked"
            " LEFT JOIN requesters ON requesters.job = asked.job WHERE rows_key = ?",
            (guarded.rows_key,),
        ).fetchall()
        known: list[tuple[Nodes, str, str | None]] = [
            (tuple(json.loads(text)), job, requester) for text, job, requester in rows
        ]
        if any(before == nodes for before, _, _ in known):
            return None
        near = [
            (before, requester)
            for before, job, requester in known
            if job != guarded.job_id and near_nodes(before, nodes, guarded.min_nodes)
        ]
        own = (before for before, requester in near if requester == guarded.requester)
        return next(own, ()) if near else None

    def _table(self, name: str) -> _Table:
        """What memory has of a table, read when it is first asked."""
        held = self._tables.get(name)
        if held is None:
            held = self._tables[name] = _Table()
            for size, number, job, digest, asked, behind, label in self._db.execute(
                "SELECT size, id, job, digest, asked, behind, label FROM sets WHERE name = ?",
                (name,),
            ):
                held.add(
                    size,
                    number,
                    digest,
                    _Known(
                        tuple(json.loads(asked)),
                        tuple(json.loads(behind)),
                        frozenset(json.loads(label)),
                        job,
                    ),
                )
            held.sizes.sort()
        return held

    def _read(self, number: int) -> BitMap:
        row = self._db.execute("SELECT bits FROM sets WHERE id = ?", (number,)).fetchone()
        try:
            return BitMap.deserialize(row[0])
        except ValueError:
            raise StateError("state", "a set of rows that was released is damaged") from None


def _differ(before: Sequence[str], nodes: Sequence[str], fewest: int) -> str:
    if not before:
        return (
            f"expected participants that differ by {fewest} nodes or more from those of an earlier "
            "answer over the same rows, got a set that comes too near"
        )
    apart = len(set(before) ^ set(nodes))
    return (
        "expected the nodes over which the same rows were released before, "
        f"got a set that differs by {apart}"
    )


def _remedy(before: Sequence[str], fewest: int) -> str:
    if not before:
        return f"ask all nodes, or {fewest} fewer"
    named = ", ".join(f"`{node}`" for node in before)
    return f"ask the same nodes as before: {named}; what they released is compared as it runs"
