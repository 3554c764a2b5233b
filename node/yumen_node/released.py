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
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from pyroaring import BitMap
from yumen_core.disclosure.difference import near_nodes, too_close
from yumen_core.disclosure.row_set import RowSet
from yumen_core.errors import StateError
from yumen_core.identity.files import make_private_directory
from yumen_core.jobs.admission import Question
from yumen_core.jobs.spec import JobSpec
from yumen_core.policy.denial import Denial
from yumen_core.sql.row_sets import rows_key

from yumen_node import released_log

Nodes = tuple[str, ...]
FILE = "released.sqlite"
BITMAPS_KEPT = 256
"""Sets held in memory: 125 KiB each at most for a table of a million rows."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sets (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,
    size INTEGER NOT NULL,
    asked TEXT NOT NULL,
    behind TEXT NOT NULL,
    job TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    bits BLOB NOT NULL,
    UNIQUE (name, digest, asked, behind)
) STRICT;
CREATE TABLE IF NOT EXISTS asked (
    rows_key BLOB NOT NULL,
    nodes TEXT NOT NULL,
    job TEXT NOT NULL,
    PRIMARY KEY (rows_key, nodes)
) STRICT;
"""


@dataclass(frozen=True)
class Guarded:
    """What the guard of a job goes by: its rows' table, the threshold and minimum of nodes that
    hold there, and the key of the rows that it asks about."""

    job_id: str
    table: str
    threshold: int
    min_nodes: int
    rows_key: bytes


@dataclass
class _Table:
    sizes: list[tuple[int, int, str]] = field(default_factory=list)
    """Size, id and job of each set, in order."""
    nodes: dict[bytes, list[tuple[Nodes, Nodes, str]]] = field(default_factory=dict)
    """By digest the nodes that took part, those behind the cell, and the job."""


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
        )

    def denials(self, spec: JobSpec, asked: Question) -> tuple[Denial, ...]:
        """A refusal where the same rows were released over nearly the same nodes
        (`participant_set`). Told in a dry run too; no row is touched."""
        if spec.privacy is not None:
            return ()
        near = self._near_asked(self.guarded(spec, asked), spec.nodes)
        if near is None:
            return ()
        return (
            Denial(
                node=self._node,
                reason_code="participant_set",
                message=_differ(near, spec.nodes),
                subject="nodes",
                observed=", ".join(spec.nodes),
                allowed=", ".join(near),
                remedy=_remedy(near),
            ),
        )

    def check_participants(self, guarded: Guarded, nodes: Nodes) -> None:
        """The same with the nodes that take part in the end. Raises `StateError`
        (`participant_set`)."""
        near = self._near_asked(guarded, nodes)
        if near is not None:
            raise StateError("participant_set", _differ(near, nodes), remedy=_remedy(near))

    def is_near(
        self, guarded: Guarded, rows: RowSet, nodes: Nodes, *, behind: Nodes | None = None
    ) -> bool:
        """Whether `rows` and an earlier release, of another job, would tell of fewer rows than the
        threshold, or of fewer nodes than the minimum, by their difference. `nodes` take part;
        `behind` are those of them that have flagged the cell, once that is known. What was
        released before over the same nodes is not near to anything: it tells nothing new."""
        if not len(rows):
            return False
        held = self._table(guarded.table)
        over = nodes if behind is None else behind
        same = [
            (asked if behind is None else flagged, job)
            for asked, flagged, job in held.nodes.get(rows.digest, ())
        ]
        if any(known == over for known, _ in same):
            return False
        if any(
            near_nodes(known, over, guarded.min_nodes)
            for known, job in same
            if job != guarded.job_id
        ):
            return True
        size, k = len(rows), guarded.threshold
        start = bisect_left(held.sizes, (size - k + 1, -1, ""))
        end = bisect_left(held.sizes, (size + k, -1, ""))
        return any(
            too_close(self._bits(number), rows.rows, k)
            for _, number, job in held.sizes[start:end]
            if job != guarded.job_id
        )

    def record(self, guarded: Guarded, sets: Iterable[tuple[RowSet, Nodes]], nodes: Nodes) -> None:
        """Remember what is about to leave, each set with the nodes behind it: durable on return,
        all or nothing.

        Raises `StateError` (`near_release`, `participant_set`) where a set has come too near to
        what another job released, since this one began or by the nodes behind it.
        """
        self.check_participants(guarded, nodes)
        kept = [(rows, behind) for rows, behind in sets if len(rows)]
        if any(self.is_near(guarded, rows, nodes, behind=behind) for rows, behind in kept):
            raise StateError(
                "near_release",
                "expected rows that differ enough from those of earlier releases, got others",
            )
        held = self._table(guarded.table)
        added: list[tuple[int, int, bytes, Nodes]] = []
        self._db.execute("BEGIN IMMEDIATE")
        try:
            asked = self._db.execute(
                "INSERT OR IGNORE INTO asked VALUES (?, ?, ?)",
                (guarded.rows_key, json.dumps(nodes), guarded.job_id),
            ).rowcount
            for rows, behind in kept:
                known = held.nodes.get(rows.digest, ())
                if any(entry[:2] == (nodes, behind) for entry in known):
                    continue
                found = self._db.execute(
                    "INSERT OR IGNORE INTO sets"
                    " (name, digest, size, asked, behind, job, at_ms, bits)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (guarded.table, rows.digest, len(rows), json.dumps(nodes), json.dumps(behind),
                     guarded.job_id, time.time_ns() // 1_000_000, rows.rows.serialize()),
                )  # fmt: skip
                if found.rowcount and found.lastrowid is not None:
                    added.append((len(rows), found.lastrowid, rows.digest, behind))
            recorded = released_log.add(
                self._db,
                self._recorded,
                job_id=guarded.job_id,
                table=guarded.table,
                sets=[(digest, behind) for _, _, digest, behind in added],
                asked=asked,
            )
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._recorded = recorded
        for size, number, digest, behind in added:
            insort(held.sizes, (size, number, guarded.job_id))
            held.nodes.setdefault(digest, []).append((nodes, behind, guarded.job_id))

    def _near_asked(self, guarded: Guarded, nodes: Nodes) -> Nodes | None:
        """A set over which the same rows were released, too near to `nodes`."""
        rows = self._db.execute(
            "SELECT nodes, job FROM asked WHERE rows_key = ?", (guarded.rows_key,)
        ).fetchall()
        known: list[tuple[Nodes, str]] = [(tuple(json.loads(text)), job) for text, job in rows]
        if any(before == nodes for before, _ in known):
            return None
        return next(
            (
                before
                for before, job in known
                if job != guarded.job_id and near_nodes(before, nodes, guarded.min_nodes)
            ),
            None,
        )

    def _table(self, name: str) -> _Table:
        """What memory has of a table, read when it is first asked."""
        held = self._tables.get(name)
        if held is None:
            held = self._tables[name] = _Table()
            for size, number, job, digest, asked, behind in self._db.execute(
                "SELECT size, id, job, digest, asked, behind FROM sets WHERE name = ?", (name,)
            ):
                held.sizes.append((size, number, job))
                held.nodes.setdefault(digest, []).append(
                    (tuple(json.loads(asked)), tuple(json.loads(behind)), job)
                )
            held.sizes.sort()
        return held

    def _read(self, number: int) -> BitMap:
        row = self._db.execute("SELECT bits FROM sets WHERE id = ?", (number,)).fetchone()
        try:
            return BitMap.deserialize(row[0])
        except ValueError:
            raise StateError("state", "a set of rows that was released is damaged") from None


def _differ(before: Sequence[str], nodes: Sequence[str]) -> str:
    apart = len(set(before) ^ set(nodes))
    return (
        "expected the nodes over which the same rows were released before, "
        f"got a set that differs by {apart}"
    )


def _remedy(before: Sequence[str]) -> str:
    return "ask the same nodes as before: " + ", ".join(f"`{node}`" for node in before)
