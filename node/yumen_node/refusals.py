"""How often an organisation's jobs were refused by a table's rows: a brake on asking one by one.

Each refusal by rows, and each cell that the differencing guard holds back, tells a requester one
thing about them. Twenty such answers, chosen one after the other, are a number read to a millionth.
So they are counted, for each organisation and table, and beyond a limit in 24 hours the node denies
further jobs without privacy there.

Trust line: whoever can delete this file can let an organisation ask on. It is for the node's user
alone and holds no row. A file that is gone is begun anew, one that is damaged stops the node.
"""

from __future__ import annotations

import logging
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from yumen_core.clock import Clock
from yumen_core.errors import BY_ROWS, StateError
from yumen_core.identity.files import make_private_directory
from yumen_core.jobs.admission import Question
from yumen_core.jobs.spec import JobSpec
from yumen_core.policy.denial import Denial

_LOG = logging.getLogger(__name__)
FILE = "refusals.sqlite"
DAY_MS = 24 * 60 * 60 * 1000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS refusals (
    job_id TEXT NOT NULL,
    table_name TEXT NOT NULL,
    organisation TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (job_id, table_name)
) STRICT;
CREATE INDEX IF NOT EXISTS by_organisation ON refusals (organisation, table_name, at_ms);
"""


class Refusals:
    """The store. One connection, used from the node's event loop only."""

    def __init__(self, directory: Path, node: str, clock: Clock, *, most: int) -> None:
        """`most` jobs of an organisation may be refused so over a table in 24 hours; 0 is no limit.
        Raises `StateError` (`state`) for a damaged file."""
        make_private_directory(directory)
        self._node, self._clock, self._most = node, clock, most
        try:
            self._db = _opened(directory / FILE)
        except sqlite3.DatabaseError as error:
            raise StateError(
                "state",
                f"expected the count of refusals in `{FILE}`, got a file that cannot be read: "
                f"{error}",
                remedy="move the file away: refusals are then counted anew",
            ) from None

    def close(self) -> None:
        self._db.close()

    def add(self, spec: JobSpec, asked: Question) -> None:
        """Count a job once, durably, for each table that it reads; none with privacy."""
        if spec.privacy is not None or not self._most:
            return
        now = self._clock.now_ms()
        self._db.execute("DELETE FROM refusals WHERE at_ms <= ?", (now - DAY_MS,))
        self._db.executemany(
            "INSERT OR IGNORE INTO refusals VALUES (?, ?, ?, ?)",
            [(spec.job_id, t, spec.requester.organisation, now) for t in _tables(spec, asked)],
        )

    def denials(self, spec: JobSpec, asked: Question) -> tuple[Denial, ...]:
        """A refusal (`refusals`) where too many were counted. Told in a dry run too."""
        if spec.privacy is not None or not self._most:
            return ()
        organisation, since = spec.requester.organisation, self._clock.now_ms() - DAY_MS
        for table in _tables(spec, asked):
            counted = [
                at
                for (at,) in self._db.execute(
                    "SELECT at_ms FROM refusals WHERE organisation = ? AND table_name = ?"
                    " AND at_ms > ? ORDER BY at_ms",
                    (organisation, table, since),
                )
            ]
            if len(counted) >= self._most:
                passes = _utc(counted[len(counted) - self._most] + DAY_MS)
                return (self._denial(organisation, table, len(counted), passes),)
        return ()

    def _denial(self, organisation: str, table: str, counted: int, passes: str) -> Denial:
        return Denial(
            node=self._node,
            reason_code="refusals",
            message=(
                f"expected fewer than {self._most} jobs of `{organisation}` over `{table}` in 24 h "
                f"in which too few rows were refused or held back, got {counted}"
            ),
            subject="refusals",
            observed=str(counted),
            allowed=f"fewer than {self._most} in 24 h",
            remedy=f"ask again after {passes}, or ask with differential privacy",
        )


def told(error: StateError) -> StateError:
    """What a requester is told where this node's rows refuse a run: the same for every reason, as
    each is an answer about rows. The reason itself is for the node's operator."""
    if error.code not in BY_ROWS or error.code == "near_release":
        return error  # that one is told in the same words whatever the rows are
    _LOG.warning("the rows here refuse a run: %s", error)
    return StateError(
        "too_few_rows",
        "expected enough rows at every node behind each branch, term, level and column of the "
        "statement, none of them made up by a few, got too few at one node or more",
        remedy="see `When it says no` in docs/statistics.md",
    )


def _opened(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.executescript(_SCHEMA)
        for (found,) in database.execute("PRAGMA quick_check").fetchall():
            if found != "ok":
                raise sqlite3.DatabaseError("the file is damaged")
    except sqlite3.DatabaseError:
        database.close()
        raise
    return database


def _tables(spec: JobSpec, asked: Question) -> list[str]:
    return [spec.table, *(name for name in asked.plan.joined if name != spec.table)]


def _utc(at_ms: int) -> str:
    return datetime.fromtimestamp(-(-at_ms // 60_000) * 60, UTC).strftime("%Y-%m-%d %H:%M UTC")
