"""What a statistic is computed through: a federation, or anything that answers like one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from yumen_core.disclosure.rounding import NO_ROUNDING
from yumen_core.privacy import Privacy
from yumen_core.sql import TableSchema
from yumen_core.statistics.kinds import Totals
from yumen_core.statistics.layout import Reals
from yumen_core.statistics.statistic import Statistic

from yumen.result import Exclusion, Result


@dataclass(frozen=True)
class Provenance:
    """Where a statistic comes from: its jobs, who took part, and what it took. `participants` and
    the nodes in `excluded` are SPIFFE ids; `rounds` counts secure sums. Nodes told counts in
    multiples of `round_to`."""

    purpose: str
    job_ids: tuple[str, ...] = ()
    participants: tuple[str, ...] = ()
    excluded: tuple[Exclusion, ...] = ()
    rounds: int = 0
    elapsed_s: float = 0.0
    round_to: int = NO_ROUNDING


class Computation(Protocol):
    """One job under way: its rounds run one after another, in the order the job names them."""

    def run(self, name: str, inputs: Mapping[str, Reals] | None = None) -> Totals:
        """One secure sum: the next run of the round `name`. A job's very first run takes no inputs.

        Raises `PeerError` where a node refuses or is lost (`too_few_rows`, `data_values`,
        `node_lost`, ...), and `Denied` where policy refuses the job.
        """

    @property
    def provenance(self) -> Provenance: ...


class Source(Protocol):
    """Answers questions about one federated table, for one purpose. One that asks with noise has
    its cost as `privacy`."""

    @property
    def schema(self) -> TableSchema: ...

    @property
    def purpose(self) -> str: ...

    def query(self, sql: str) -> Result:
        """A released aggregate, as `Federation.query`."""

    def compute(self, statistic: Statistic) -> AbstractContextManager[Computation]:
        """Submit `statistic` as one job; leaving the block ends the job."""


def privacy_of(source: object) -> Privacy | None:
    """What a job of this source may cost at each node; None without noise."""
    found: Privacy | None = getattr(source, "privacy", None)
    return found
