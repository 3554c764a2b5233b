"""The privacy budgets of one node's tables: what was reserved, what is spent, what is left.

Trust line: whoever can write here can spend a budget twice. The file is for the node's user alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from yumen_core.jobs.decision import BudgetLeft
from yumen_core.jobs.descriptor import PublishedTable
from yumen_core.jobs.spec import JobSpec
from yumen_core.log import TileLog
from yumen_core.policy.denial import Denial


class Ledger:
    """The store. One connection, used from the node's event loop only."""

    def __init__(
        self, directory: Path, tables: Mapping[str, PublishedTable], log: TileLog, node: str
    ) -> None:
        """`node` is this node's SPIFFE id. What was reserved by a process that was killed counts as
        spent, unless its job goes on."""

    def close(self) -> None:
        pass

    def denials(self, spec: JobSpec) -> tuple[Denial, ...]:
        """A refusal where a table is given with noise only, or its budget does not pay for the
        job (`privacy_required`, `budget_exhausted`)."""
        return ()

    def left(self, spec: JobSpec) -> dict[str, int]:
        """What is left for the job's project, in micro-rho, by table that keeps a budget."""
        return {}

    def budgets(self, spec: JobSpec) -> tuple[BudgetLeft, ...]:
        """The same for the decision that is told."""
        return ()

    def reserve(self, spec: JobSpec) -> None:
        """Take the job's cost from what is left, durable on return; nothing without privacy."""

    def commit(self, job_id: str) -> None:
        """The first contribution of the job is about to leave: its cost is spent."""

    def end(self, job_id: str) -> None:
        """The job is over: a cost that was reserved and never committed is given back."""
