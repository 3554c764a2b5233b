"""The privacy budgets of one node's tables: what was reserved, what is spent, what is left.

Trust line: whoever can write here can spend a budget twice. The file is for the node's user alone.

A cost is taken before the decision that allows the job is signed, and is spent once the first
contribution is about to leave. It is given back only by the process that took it, where the job
ends before. Whatever is still reserved when a process starts counts as spent: nobody can say what
the one before had sent.

A cost that is taken is durable here first and in the log next, one that is given back in the log
first: so what is here is never less than what the log tells. A process that finds less has an older
copy of this file, or none, and does not start: a restored backup would refill a budget.

A table without a budget gives no answers with noise: these come without a threshold, so that a
large epsilon would tell single rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from yumen_core.errors import StateError
from yumen_core.identity.files import make_private_directory
from yumen_core.jobs.decision import BudgetLeft
from yumen_core.jobs.descriptor import PublishedTable
from yumen_core.jobs.spec import JobSpec
from yumen_core.log import Act, TileLog
from yumen_core.log.entry import decode_entry
from yumen_core.policy.denial import Denial
from yumen_core.privacy import epsilon_of
from yumen_core.privacy.budget import DEFAULT_DELTA

FILE = "budgets.sqlite"
_REBUILD = (
    "where it is lost for good, `yumen node rebuild-ledger DIR` makes it anew from the node's log"
)
_BUDGET_ENTRY = b'"act":"budget"'
"""In the canonical JSON of each entry of that act and of no other: quotes in texts are escaped."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS moves (
    job_id TEXT NOT NULL,
    table_name TEXT NOT NULL,
    project TEXT NOT NULL,
    micro_rho INTEGER NOT NULL CHECK (micro_rho > 0),
    spent INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job_id, table_name)
) STRICT;
CREATE INDEX IF NOT EXISTS by_project ON moves (table_name, project);
CREATE TABLE IF NOT EXISTS limits (
    table_name TEXT PRIMARY KEY,
    micro_rho INTEGER NOT NULL,
    project_micro_rho INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS compared (
    origin TEXT PRIMARY KEY,
    size INTEGER NOT NULL
) STRICT;
"""


@dataclass(frozen=True)
class Move:
    """What an entry of the log tells of a job's cost: `reserved`, `spent` or `given back`."""

    what: str
    job_id: str
    table: str
    project: str
    micro_rho: int


def moves_of(entries: Iterable[bytes]) -> Iterator[Move]:
    """The moves among the entries of a log, in their order."""
    for data in entries:
        if _BUDGET_ENTRY not in data:
            continue
        entry = decode_entry(data)
        job_id, name = entry.subject.get("job"), entry.subject.get("table")
        cost = entry.detail.get("micro_rho")
        if job_id is not None and name is not None and isinstance(cost, int):
            what, project = str(entry.detail.get("move")), entry.subject.get("project", "")
            yield Move(what, job_id, name, project, cost)


def open_database(file: Path) -> sqlite3.Connection:
    """The tables in `file`, made on first use. Raises `StateError` (`state`) for a damaged file."""
    database = sqlite3.connect(file, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.executescript(_SCHEMA)
    except sqlite3.DatabaseError as error:
        database.close()
        raise _unreadable(error) from None
    return database


class Ledger:
    """The store. One connection, used from the node's event loop only."""

    def __init__(
        self, directory: Path, tables: Mapping[str, PublishedTable], log: TileLog, node: str
    ) -> None:
        """`node` is this node's SPIFFE id. Nothing is written before `begin`. Raises `StateError`
        (`state`) where the file is damaged."""
        make_private_directory(directory)
        self._tables, self._log, self._node = tables, log, node
        self._db = open_database(directory / FILE)

    def begin(self) -> None:
        """What a process before left reserved counts as spent, and so it does where its job goes
        on; limits that changed are told. A node calls this once `compare` has passed: the log is
        told nothing by an older copy."""
        self._settle()
        for name in sorted(self._tables):
            self._set_limits(name, self._tables[name])

    def close(self) -> None:
        self._db.close()

    def compare(self) -> None:
        """That each cost which the log tells of, and not of its return, is here as well. A node
        calls this as it starts.

        Only entries after those of the last comparison are read: what was here then still is, as
        nothing but a return takes a row away. Raises `StateError` (`state`) for an older copy.
        """
        size = self._log.size
        (start,) = self._db.execute(
            "SELECT coalesce(max(size), 0) FROM compared WHERE origin = ?", (self._log.origin,)
        ).fetchone()
        told: dict[tuple[str, str], int] = {}
        for move in moves_of(self._log.entries(start if start <= size else 0, size)):
            told[move.job_id, move.table] = 0 if move.what == "given back" else move.micro_rho
        try:
            missing = sum(cost > self._taken(*move) for move, cost in told.items())
        except sqlite3.DatabaseError as error:
            raise _unreadable(error) from None
        if missing:
            raise StateError(
                "state",
                f"expected every cost that the log tells of in `budgets.sqlite`, "
                f"got {missing} fewer: the file is an older copy, or was lost",
                remedy=f"put the latest `budgets.sqlite` back; {_REBUILD}",
            )
        self._db.execute("INSERT OR REPLACE INTO compared VALUES (?, ?)", (self._log.origin, size))

    def denials(self, spec: JobSpec) -> tuple[Denial, ...]:
        """A refusal where a table is given with noise only, or its budget does not pay for the
        job (`privacy_required`, `budget_exhausted`)."""
        found = (self._denial(spec, name) for name in spec.tables)
        return tuple(denial for denial in found if denial is not None)

    def left(self, spec: JobSpec) -> dict[str, int]:
        """What is left for the job's project, in micro-rho, by table that keeps a budget."""
        return {
            left.table: min(left.micro_rho, left.project_micro_rho) for left in self.budgets(spec)
        }

    def budgets(self, spec: JobSpec) -> tuple[BudgetLeft, ...]:
        """The same for the decision that is told, apart for the table and the project."""
        project = spec.charged_project
        return tuple(
            self._left(name, project)
            for name in spec.tables
            if name in self._tables and self._tables[name].micro_rho > 0
        )

    def reserve(self, spec: JobSpec) -> None:
        """Take the job's cost from what is left, durable on return; nothing without privacy, and
        nothing where the same job took it before. Raises `ValueError` where it does not pay: ask
        `denials` first."""
        if spec.privacy is None:
            return
        cost, project = spec.privacy.micro_rho, spec.charged_project
        taken: list[str] = []
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for name in spec.tables:
                if self._db.execute(
                    "SELECT 1 FROM moves WHERE job_id = ? AND table_name = ?", (spec.job_id, name)
                ).fetchone():
                    continue
                left = self._left(name, project)
                if cost > min(left.micro_rho, left.project_micro_rho):
                    raise ValueError(f"the budget of `{name}` does not pay for {cost}")
                self._db.execute(
                    "INSERT INTO moves (job_id, table_name, project, micro_rho) "
                    "VALUES (?, ?, ?, ?)",
                    (spec.job_id, name, project, cost),
                )
                taken.append(name)
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
        for name in taken:
            self._tell("reserved", spec.job_id, name, project, cost)

    def commit(self, job_id: str) -> None:
        """What depends on the job's noise is about to leave, the first contribution or, of a
        training, the first support share: its cost is spent."""
        for name, project, cost in self._reserved(job_id):
            self._db.execute(
                "UPDATE moves SET spent = 1 WHERE job_id = ? AND table_name = ?", (job_id, name)
            )
            self._tell("spent", job_id, name, project, cost)

    def end(self, job_id: str) -> None:
        """The job is over: a cost that was reserved and never committed is given back."""
        for name, project, cost in self._reserved(job_id):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.execute(
                    "DELETE FROM moves WHERE job_id = ? AND table_name = ? AND spent = 0",
                    (job_id, name),
                )
                self._tell("given back", job_id, name, project, cost)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _reserved(self, job_id: str) -> list[tuple[str, str, int]]:
        return self._db.execute(
            "SELECT table_name, project, micro_rho FROM moves WHERE job_id = ? AND spent = 0",
            (job_id,),
        ).fetchall()

    def _taken(self, job_id: str, name: str) -> int:
        (cost,) = self._db.execute(
            "SELECT coalesce(sum(micro_rho), 0) FROM moves WHERE job_id = ? AND table_name = ?",
            (job_id, name),
        ).fetchone()
        return int(cost)

    def _settle(self) -> None:
        """What a process before left reserved is spent."""
        for (job_id,) in self._db.execute(
            "SELECT DISTINCT job_id FROM moves WHERE spent = 0"
        ).fetchall():
            self.commit(job_id)

    def _set_limits(self, name: str, table: PublishedTable) -> None:
        """Remember a table's limits; a change is told with what was before."""
        limits = (table.micro_rho, table.project_micro_rho)
        before = self._db.execute(
            "SELECT micro_rho, project_micro_rho FROM limits WHERE table_name = ?", (name,)
        ).fetchone() or (0, 0)
        if limits == before:
            return
        self._db.execute("INSERT OR REPLACE INTO limits VALUES (?, ?, ?)", (name, *limits))
        self._log.record(
            Act.BUDGET,
            subject={"table": name},
            detail={
                "move": "limits",
                "micro_rho": limits[0],
                "project_micro_rho": limits[1],
                "micro_rho_before": before[0],
                "project_micro_rho_before": before[1],
            },
        )

    def _left(self, name: str, project: str) -> BudgetLeft:
        """Never below zero: a limit may have been lowered below what is spent."""
        (used,) = self._db.execute(
            "SELECT coalesce(sum(micro_rho), 0) FROM moves WHERE table_name = ?", (name,)
        ).fetchone()
        (by_project,) = self._db.execute(
            "SELECT coalesce(sum(micro_rho), 0) FROM moves WHERE table_name = ? AND project = ?",
            (name, project),
        ).fetchone()
        table = self._tables.get(name)
        limits = (0, 0) if table is None else (table.micro_rho, table.project_micro_rho)
        return BudgetLeft(name, project, max(0, limits[0] - used), max(0, limits[1] - by_project))

    def _tell(self, move: str, job_id: str, name: str, project: str, cost: int) -> None:
        left = self._left(name, project)
        self._log.record(
            Act.BUDGET,
            subject={"table": name, "project": project, "job": job_id},
            detail={
                "move": move,
                "micro_rho": cost,
                "left": left.micro_rho,
                "project_left": left.project_micro_rho,
            },
        )

    def _denial(self, spec: JobSpec, name: str) -> Denial | None:
        table = self._tables.get(name)
        if table is None:
            return None
        if spec.privacy is None:
            return self._required(spec, name) if table.private_only else None
        if table.micro_rho == 0:
            return Denial(
                node=self._node,
                reason_code="budget_exhausted",
                message=f"expected a table with a privacy budget, got `{name}`, which has none",
                subject=name,
                observed=_cost(spec.privacy.micro_rho, spec.privacy.delta),
                allowed="no privacy budget is declared",
                remedy="ask without privacy, or ask the institution to declare `privacy:`",
            )
        left = self._left(name, spec.charged_project)
        most = min(left.micro_rho, left.project_micro_rho)
        if spec.privacy.micro_rho <= most:
            return None
        whose = "the table" if left.micro_rho <= left.project_micro_rho else "the project"
        shown = _epsilon(most, spec.privacy.delta)
        return Denial(
            node=self._node,
            reason_code="budget_exhausted",
            message=f"expected a cost that the privacy budget of `{name}` pays for, got more than "
            f"{whose} has left",
            subject=name,
            observed=_cost(spec.privacy.micro_rho, spec.privacy.delta),
            allowed=_cost(most, spec.privacy.delta),
            remedy=f"ask with epsilon={shown}, the most that passes"
            if most and float(shown) > 0
            else "nothing is left: ask the institution for more",
        )

    def _required(self, spec: JobSpec, name: str) -> Denial:
        left = self._left(name, spec.charged_project)
        most = _epsilon(min(left.micro_rho, left.project_micro_rho), DEFAULT_DELTA)
        return Denial(
            node=self._node,
            reason_code="privacy_required",
            message=f"expected a job with privacy for table `{name}`, got one without",
            subject="privacy",
            observed="none",
            allowed="privacy",
            remedy=f"ask with privacy=yumen.DP(epsilon=...), at most {most}",
        )


def _unreadable(error: sqlite3.DatabaseError) -> StateError:
    return StateError(
        "state",
        f"expected the database `budgets.sqlite`, got a file that does not read: {error}",
        remedy=f"put the latest `budgets.sqlite` back; {_REBUILD}",
    )


def _epsilon(micro_rho: int, delta: str) -> str:
    """Rounded down, so that it passes when it is asked for."""
    if micro_rho <= 0:
        return "0"
    return f"{int(epsilon_of(micro_rho, delta) * 10_000) / 10_000:g}"


def _cost(micro_rho: int, delta: str) -> str:
    return f"epsilon {_epsilon(micro_rho, delta)} ({micro_rho} millionths of rho)"
