"""The federation as a data scientist uses it: ask in SQL, get a released aggregate."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from yumen_core.errors import CallError

from yumen._arguments import check_address, check_job, check_terms, check_timeout
from yumen.coordinator import CoordinatorClient
from yumen.datasets import Datasets
from yumen.jobs import Jobs, JobSummary
from yumen.question import DEFAULT_LIFETIME_S
from yumen.report import CheckReport
from yumen.result import Result
from yumen.session import Session, Terms
from yumen.statements import answer, decide
from yumen.statistics.federated import FederationSource
from yumen.statistics.methods import FederatedTable

IDENTITY_VARIABLE = "YUMEN_IDENTITY"


def connect(address: str, identity: str | os.PathLike[str] | None = None) -> Federation:
    """Connect to the coordinator at `address` (host:port).

    `identity` is the folder that `yumen user enrol` made; by default that of the environment
    variable YUMEN_IDENTITY. Raises `CallError` for another form of address, `StateError` where the
    folder is not a valid identity; that the coordinator cannot be reached shows at the first call.
    """
    folder = identity if identity is not None else os.environ.get(IDENTITY_VARIABLE)
    if folder is None:
        raise CallError(
            "argument",
            f"expected an identity folder or the variable {IDENTITY_VARIABLE}, got neither",
            remedy="enrol with `yumen user enrol DIR --token TOKEN`",
        )
    return Federation(CoordinatorClient(check_address(address), Path(folder).expanduser()))


class Federation:
    """A connection to one federation. Close it, or use it as a context manager.

    The decryption key is made here at the first query and never leaves this process.
    """

    def __init__(self, client: CoordinatorClient) -> None:
        self._session = Session(client)
        me = client.membership.identity
        self._name = f"{me.federation} at {client.address} as {me.short}"

    def __enter__(self) -> Federation:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Federation {self._name}>"

    def close(self) -> None:
        """End the connection; every later question raises `CallError`."""
        self._session.close()

    def datasets(self) -> Datasets:
        """The tables that the nodes publish, with what each column means."""
        return Datasets.from_descriptors(
            [
                (signed.descriptor, connected)
                for signed, connected in self._session.client.catalogue()
            ]
        )

    def check(
        self,
        sql: str,
        *,
        purpose: str,
        nodes: Sequence[str] | None = None,
        min_nodes: int | None = None,
    ) -> CheckReport:
        """Ask every node whether it would take part. No row is touched.

        Takes what `query` takes; where that asks two jobs, the first is put to the nodes. Raises
        `CallError` for a statement that is not supported.
        """
        return decide(self._session, sql, Terms(purpose, nodes, min_nodes))

    def query(
        self,
        sql: str,
        *,
        purpose: str,
        nodes: Sequence[str] | None = None,
        min_nodes: int | None = None,
        timeout_s: float = DEFAULT_LIFETIME_S,
    ) -> Result:
        """Ask the nodes for an aggregate; only the released totals come back.

        `purpose` is signed into the job and decided on by every node. `nodes` chooses nodes by
        name, `organisation/name`, or an organisation with one node (default: all that publish the
        table, connected or not). With `min_nodes=None` every chosen node must
        take part; with a number the job goes on with those that accept, and the result names who
        is out and why. Counts, sums of integers and of decimals are exact; floats agree with the
        pooled computation to 1e-9 relative.

        MEDIAN and QUANTILE_CONT are answered by a statistic of several secure sums, in one job,
        with the bound of the error in a column beside each. GROUP BY a column of texts or integers
        without a declared domain takes two jobs: the first finds the values that have rows enough
        at enough nodes, the second asks by these; the result's notes name the first.

        Raises `CallError` for a statement that is not supported, `Denied` with every denial where
        policy refuses, `PeerError` where nodes are missing or lost, the job's time is over, or the
        sum was tampered with.
        """
        check_timeout(timeout_s)
        return answer(self._session, sql, Terms(purpose, nodes, min_nodes, timeout_s))

    def table(
        self,
        name: str,
        *,
        purpose: str,
        nodes: Sequence[str] | None = None,
        min_nodes: int | None = None,
        timeout_s: float = DEFAULT_LIFETIME_S,
    ) -> FederatedTable:
        """A table to compute statistics over: `fed.table("heart", purpose="research").ols(...)`.

        Takes what `query` takes. Each statistic is one job, however many secure sums it needs:
        signed once, decided on once by every party, with all its rounds named in it.

        Raises `CallError` where no chosen node publishes the table, or their schemas differ.
        """
        check_timeout(timeout_s)
        check_terms(purpose, min_nodes)
        terms = Terms(purpose, nodes, min_nodes, timeout_s)
        return FederatedTable(FederationSource(self._session, name, terms))

    def jobs(self, limit: int = 50) -> Jobs:
        """Your jobs at this coordinator, newest first."""
        return Jobs(JobSummary.from_status(status) for status in self._session.client.jobs(limit))

    def cancel(self, job_id: str) -> JobSummary:
        """Cancel one of your jobs; an ended job stays as it is.

        Raises `CallError` for what is no job id, or no job of yours.
        """
        check_job(job_id)
        return JobSummary.from_status(self._session.client.cancel(job_id))
