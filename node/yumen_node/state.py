"""What the node remembers of jobs, in SQLite: ids, its own signed words, what it has sent.

Trust line: whoever can write here can make the node answer a job twice, under other masks, which
would give away a difference of contributions. The file is for the node's user alone. It holds no
row and no key.

A part is stored before it is sent and sent again as it was: a node contributes to one run of one
job once, whatever the coordinator asks. The counter in `pads` moves on in the same transaction, so
that masks and pads of a run that it has passed are never drawn for what could leave.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from yumen_core.errors import PeerError, StateError
from yumen_core.identity.files import make_private_directory

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    job_id TEXT PRIMARY KEY,
    spec_digest BLOB NOT NULL,
    accepted INTEGER NOT NULL,
    decision BLOB NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS rows (
    job_id TEXT PRIMARY KEY,
    digest BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS runs (
    job_id TEXT NOT NULL,
    run INTEGER NOT NULL,
    round TEXT NOT NULL,
    input BLOB NOT NULL,
    participants TEXT NOT NULL,
    PRIMARY KEY (job_id, run)
) STRICT;
CREATE TABLE IF NOT EXISTS pads (
    job_id TEXT PRIMARY KEY,
    next INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS parts (
    job_id TEXT NOT NULL,
    run INTEGER NOT NULL,
    step TEXT NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (job_id, run, step)
) STRICT;
"""


@dataclass(frozen=True)
class KnownJob:
    """A job this node has decided on; `decision` is its signed envelope."""

    spec_digest: bytes
    accepted: bool
    decision: bytes
    ended: bool


@dataclass(frozen=True)
class KnownRun:
    """A run this node has sent a part of: its round, the digest of its signed input (empty where it
    has none), and the set of participants that its parts are bound to, sorted."""

    round: str
    input: bytes
    participants: tuple[str, ...]


@lru_cache(maxsize=64)
def _participants(stored: str) -> tuple[str, ...]:
    """A set as it is stored. All runs of a job, and there may be thousands, have one or a few."""
    return tuple(json.loads(stored))


class NodeState:
    """The store. One connection, used from the node's event loop only."""

    def __init__(self, directory: Path) -> None:
        make_private_directory(directory)
        self._db = sqlite3.connect(directory / "node.sqlite", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    def job(self, job_id: str) -> KnownJob | None:
        row = self._db.execute(
            "SELECT spec_digest, accepted, decision, ended FROM jobs WHERE job_id = ?",
            (job_id,),
        ).fetchone()
        if row is None:
            return None
        return KnownJob(row[0], bool(row[1]), row[2], bool(row[3]))

    def add_job(self, job_id: str, spec_digest: bytes, *, accepted: bool, decision: bytes) -> None:
        """Remember a decision. A job id is decided on once (primary key)."""
        self._db.execute(
            "INSERT INTO jobs (job_id, spec_digest, accepted, decision) VALUES (?, ?, ?, ?)",
            (job_id, spec_digest, int(accepted), decision),
        )

    def check_participants(
        self, job_id: str, run: int, participants: tuple[str, ...], *, may_shrink: bool = False
    ) -> None:
        """Raise `PeerError` (`round`) where the job is bound to another participant set than that
        of `run`: summing over two sets would give the difference between them.

        A training `may_shrink`: a later run may be of fewer participants, unless this node has sent
        its part of the last run's sum and would now be asked for the same without them.
        """
        last = self._db.execute(
            "SELECT run, participants FROM runs WHERE job_id = ? ORDER BY run DESC LIMIT 1",
            (job_id,),
        ).fetchone()
        known = None if last is None else _participants(last[1])
        if known is None or known == participants:
            return
        number = last[0]
        if not (may_shrink and run > number and set(participants) < set(known)):
            raise PeerError(
                "round", "expected the participant set of the job's last run, got another set"
            )
        if self.part(job_id, number, "sum") is not None:
            raise PeerError(
                "round",
                "expected the whole set of a run whose sum this node has its share in, got fewer",
            )

    def check_rows(self, job_id: str, digest: bytes) -> None:
        """Bind a statistic to its rows when they are first read; raise `StateError` (`data_source`)
        where others are read later: two sums over rows that differ tell the difference."""
        self._db.execute(
            "INSERT OR IGNORE INTO rows (job_id, digest) VALUES (?, ?)", (job_id, digest)
        )
        known = self._db.execute("SELECT digest FROM rows WHERE job_id = ?", (job_id,)).fetchone()
        if known[0] != digest:
            raise StateError(
                "data_source",
                "expected the rows of the job's first run, got others after a restart",
                remedy="submit a new job",
            )

    def runs(self, job_id: str) -> dict[int, KnownRun]:
        """The runs of which this node has sent a part, by number, in order."""
        rows = self._db.execute(
            "SELECT run, round, input, participants FROM runs WHERE job_id = ? ORDER BY run",
            (job_id,),
        )
        return {
            run: KnownRun(name, inputs, _participants(participants))
            for run, name, inputs, participants in rows
        }

    def part(self, job_id: str, run: int, step: str) -> bytes | None:
        """What the node sent in this step of this run, if it has."""
        row = self._db.execute(
            "SELECT payload FROM parts WHERE job_id = ? AND run = ? AND step = ?",
            (job_id, run, step),
        ).fetchone()
        return None if row is None else row[0]

    def add_part(
        self,
        job_id: str,
        run: int,
        step: str,
        payload: bytes,
        *,
        known: KnownRun,
        may_shrink: bool = False,
    ) -> None:
        """Keep what the node is about to send, and bind the run to its round, input and participant
        set: all or nothing. Parts of earlier runs can go: a requester who has sent this run's input
        has their sums, or there are none.

        Raises as `check_participants`, and where the job has ended meanwhile, the run is known with
        another round or input, or its pads were drawn before.
        """
        with self._transaction():
            self.check_participants(job_id, run, known.participants, may_shrink=may_shrink)
            job = self.job(job_id)
            if job is None or job.ended:
                raise PeerError("round", "expected a part of an open job, got one of an ended job")
            before = self.runs(job_id)
            if run not in before and all(earlier < run for earlier in before):
                self._db.execute(
                    "INSERT INTO runs (job_id, run, round, input, participants)"
                    " VALUES (?, ?, ?, ?, ?)",
                    (job_id, run, known.round, known.input, json.dumps(known.participants)),
                )
            elif before.get(run) != known:
                raise PeerError("round", "expected the run's first input, got another")
            if step == "sum":
                self._use_pad(job_id, run)
            self._db.execute("DELETE FROM parts WHERE job_id = ? AND run < ?", (job_id, run))
            self._db.execute(
                "INSERT INTO parts (job_id, run, step, payload) VALUES (?, ?, ?, ?)",
                (job_id, run, step, payload),
            )

    def _use_pad(self, job_id: str, run: int) -> None:
        """The masks and the pad of a run are used up; of earlier runs too."""
        row = self._db.execute("SELECT next FROM pads WHERE job_id = ?", (job_id,)).fetchone()
        due = 0 if row is None else row[0]
        if run < due:
            raise PeerError("round", f"expected a run from {due}, whose pad is unused, got {run}")
        self._db.execute(
            "INSERT INTO pads (job_id, next) VALUES (?, ?)"
            " ON CONFLICT (job_id) DO UPDATE SET next = excluded.next",
            (job_id, run + 1),
        )

    def end_job(self, job_id: str) -> None:
        """The job is over: no further part of it will be sent, and what was sent can go."""
        with self._transaction():
            self._db.execute("UPDATE jobs SET ended = 1 WHERE job_id = ?", (job_id,))
            self._db.execute("DELETE FROM parts WHERE job_id = ?", (job_id,))
            self._db.execute("DELETE FROM rows WHERE job_id = ?", (job_id,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # what is not durable must not be read back either
                self._db.execute("ROLLBACK")
            raise
