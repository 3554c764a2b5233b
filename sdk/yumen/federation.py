"""The federation as a data scientist uses it: ask in SQL, get a released aggregate."""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

from yumen_core.errors import CallError
from yumen_core.privacy import Privacy
from yumen_core.training.models import ReadyModel
from yumen_core.training.spec import Setting

from yumen._arguments import check_address, check_job, check_terms, check_timeout
from yumen.coordinator import CoordinatorClient
from yumen.datasets import Datasets
from yumen.jobs import Jobs, JobSummary
from yumen.question import DEFAULT_LIFETIME_S
from yumen.receipt import save_receipt
from yumen.report import CheckReport
from yumen.result import Result
from yumen.session import Session, Terms
from yumen.statements import answer, decide
from yumen.statistics.federated import FederationSource
from yumen.statistics.methods import FederatedTable
from yumen.statistics.noisy_table import NoisyTable
from yumen.statistics.released import Released
from yumen.training import TrainingResult, TrainingRun
from yumen.training.course import OnReport
from yumen.training.federated import (
    DEFAULT_ROUND_S,
    DEFAULT_TIMEOUT_S,
    FederatedTraining,
    TrainingRequest,
    begin,
    by_name,
    check_training,
    reopen,
    with_path,
)

if TYPE_CHECKING:
    from flwr.serverapp.strategy import Strategy

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
        privacy: Privacy | None = None,
        project: str = "",
    ) -> CheckReport:
        """Ask every node whether it would take part. No row is touched.

        Takes what `query` takes; where that asks two jobs, the first is put to the nodes. Raises
        `CallError` for a statement that is not supported.
        """
        return decide(
            self._session,
            sql,
            Terms(purpose, nodes, min_nodes, privacy=privacy, project=project),
        )

    def query(
        self,
        sql: str,
        *,
        purpose: str,
        nodes: Sequence[str] | None = None,
        min_nodes: int | None = None,
        timeout_s: float = DEFAULT_LIFETIME_S,
        privacy: Privacy | None = None,
        project: str = "",
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

        With `privacy=yumen.DP(epsilon=...)` every value carries noise, and the result its error
        bars; `project` says whose privacy budget pays, by default the purpose's. One table, its
        declared groups, and sums of bounded values can be asked so.

        Raises `CallError` for a statement that is not supported, `Denied` with every denial where
        policy refuses, `PeerError` where nodes are missing or lost, the job's time is over, or the
        sum was tampered with.
        """
        check_timeout(timeout_s)
        terms = Terms(purpose, nodes, min_nodes, timeout_s, privacy, project)
        return answer(self._session, sql, terms)

    @overload
    def table(
        self,
        name: str,
        *,
        purpose: str,
        nodes: Sequence[str] | None = None,
        min_nodes: int | None = None,
        timeout_s: float = DEFAULT_LIFETIME_S,
        privacy: None = None,
        project: str = "",
    ) -> FederatedTable: ...

    @overload
    def table(
        self,
        name: str,
        *,
        purpose: str,
        nodes: Sequence[str] | None = None,
        min_nodes: int | None = None,
        timeout_s: float = DEFAULT_LIFETIME_S,
        privacy: Privacy,
        project: str = "",
    ) -> NoisyTable: ...

    def table(
        self,
        name: str,
        *,
        purpose: str,
        nodes: Sequence[str] | None = None,
        min_nodes: int | None = None,
        timeout_s: float = DEFAULT_LIFETIME_S,
        privacy: Privacy | None = None,
        project: str = "",
    ) -> FederatedTable | NoisyTable:
        """A table to compute statistics over: `fed.table("heart", purpose="research").ols(...)`.

        Takes what `query` takes. Each statistic is one job, however many secure sums it needs:
        signed once, decided on once by every party, with all its rounds named in it. With
        `privacy=yumen.DP(epsilon=...)` each statistic costs so much and its values carry noise:
        counts, means and deviations are offered (`NoisyTable`), and nothing else.

        Raises `CallError` where no chosen node publishes the table, or their schemas differ.
        """
        check_timeout(timeout_s)
        check_terms(purpose, min_nodes)
        terms = Terms(purpose, nodes, min_nodes, timeout_s, privacy, project)
        source = FederationSource(self._session, name, terms)
        return FederatedTable(source) if privacy is None else NoisyTable(source)

    def train(
        self,
        model_or_app: ReadyModel | str | os.PathLike[str],
        strategy: Strategy,
        *,
        table: str,
        purpose: str,
        rounds: int,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        suite: str = "stream",
        initial: Mapping[str, Any] | None = None,
        train_config: Mapping[str, Any] | None = None,
        evaluate_config: Mapping[str, Any] | None = None,
        evaluate_fn: Any = None,
        metrics: Sequence[str] | None = None,
        clip_norm: float | None = None,
        privacy: Privacy | None = None,
        project: str = "",
        nodes: Sequence[str] | None = None,
        min_nodes: int | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        round_timeout_s: int = DEFAULT_ROUND_S,
        folder: str | os.PathLike[str] | None = None,
    ) -> TrainingResult:
        """Train a model over the nodes' rows with a strategy of Flower's.

            from flwr.serverapp.strategy import FedAvg
            model = yumen.models.logistic(["age", "chol"], "sick", epochs=5)
            trained = fed.train(model, FedAvg(), table="heart", purpose="research", rounds=20)

        Parameters:
            model_or_app: a model of `yumen.models`, which nodes train with their own code, or the
                folder of a Flower project, whose ClientApp each node has to approve.
            strategy: one that takes means (`flwr.serverapp.strategy`). It runs here; of each round
                it gets one reply, the mean over all nodes, and no node's own.
            columns, where: what the nodes' work may read. A ready model names its own columns.
            suite: "stream" (one-time pads, for large models) or "bfv".
            initial: the first weights by name; of a ready model drawn from its seed.
            clip_norm: the L2 norm to which each node clips its change of a round.
            privacy: what the training may cost in differential privacy at each node, in all; of a
                ready model. Each row's gradient is then clipped to the model's `max_grad_norm`.
            project: whose privacy budget pays; by default the purpose's.
            metrics: names of the metrics that nodes may tell; by default those of the model, or
                the texts of the project's code.
            nodes, min_nodes: as `query`; with `min_nodes` a training goes on without lost nodes.
            timeout_s, round_timeout_s: of the whole training, waits for approval included, and of
                one round, in seconds.
            folder: where finished rounds are kept; see `resume`.

        Raises `CallError` for a strategy that needs single updates, or asks for fewer nodes,
        `Denied` where policy refuses, `PeerError` where the code fails at a node, nodes are lost or
        the time is over.
        """
        asked = _training_request(locals())
        work, _ = self._with_strategy(asked, strategy, initial, evaluate_fn, folder)
        return work(None, None)

    def check_training(
        self,
        model_or_app: ReadyModel | str | os.PathLike[str],
        strategy: Strategy | None = None,
        *,
        initial: Mapping[str, Any] | None = None,
        **asked: Any,
    ) -> CheckReport:
        """Ask every node whether it would take part in a training. No row is touched.

        Takes what `train` takes; without the strategy it counts on one that evaluates. `initial`
        says which arrays would leave. For a statistic ask `fed.table(...).check("logit", ...)`.
        """
        given = inspect.signature(self.train).bind(model_or_app, strategy, initial=initial, **asked)
        given.apply_defaults()
        request = _training_request(given.arguments)
        weights = _first_weights(request, by_name(initial))
        return check_training(self._session, request, weights, strategy)

    def start_training(
        self, model_or_app: ReadyModel | str | os.PathLike[str], strategy: Strategy, **asked: Any
    ) -> TrainingRun:
        """As `train`, beside its caller: iterate over the rounds, then ask for `result()`."""
        given = inspect.signature(self.train).bind(model_or_app, strategy, **asked)
        given.apply_defaults()
        request = _training_request(given.arguments)
        rest = [given.arguments[name] for name in ("initial", "evaluate_fn", "folder")]
        work, training = self._with_strategy(request, strategy, *rest)
        return TrainingRun(work, on_cancel=training.cancel, job_id=lambda: training.job_id)

    def run(
        self,
        path: str | os.PathLike[str],
        *,
        table: str,
        columns: Sequence[str],
        purpose: str,
        where: str | None = None,
        suite: str = "stream",
        run_config: Mapping[str, Setting] | None = None,
        metrics: Sequence[str] | None = None,
        clip_norm: float | None = None,
        nodes: Sequence[str] | None = None,
        min_nodes: int | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        round_timeout_s: int = DEFAULT_ROUND_S,
        folder: str | os.PathLike[str] | None = None,
    ) -> TrainingResult:
        """Run a Flower project as it is: its ServerApp here, its ClientApp in the nodes' sandboxes.

        The ClientApp finds its rows at `context.node_config["data-path"]`, a Parquet file of
        `columns`. Each node has to approve the project's code; until then the job waits.
        `run_config` overrides settings of its `pyproject.toml`. Otherwise as `train`.

        Raises `CallError` (`bundle`) for a folder that is no Flower project, and as `train`.
        """
        asked = replace(_training_request(locals() | {"model_or_app": path}), server_app=True)
        journal = begin(asked, strategy=None, initial=None, folder=folder)
        return FederatedTraining(self._session, asked, journal).with_app()

    def resume(
        self, job_id: str, *, strategy: Strategy | None = None, evaluate_fn: Any = None
    ) -> TrainingResult:
        """Go on with a training that ended early, from its last finished round, as a new job.

        `job_id` is of any of its jobs; its rounds are kept on the machine that ran it. The strategy
        runs again from the start with the means that are kept, so that what it remembers is as it
        was; it is built anew where it is one of Flower's, and given again otherwise.

        Raises `StateError` where nothing is kept of such a job, and as `train`.
        """
        kept = reopen(check_job(job_id), strategy)
        training = FederatedTraining(self._session, kept.asked, kept.journal)
        if kept.asked.server_app:
            return training.with_app()
        assert kept.strategy is not None
        return training.with_strategy(
            kept.strategy, _first_weights(kept.asked, kept.initial), evaluate_fn
        )

    def _with_strategy(
        self,
        asked: TrainingRequest,
        strategy: Strategy,
        initial: Mapping[str, Any] | None,
        evaluate_fn: Any,
        folder: str | os.PathLike[str] | None,
    ) -> tuple[
        Callable[[OnReport | None, threading.Event | None], TrainingResult], FederatedTraining
    ]:
        initial = by_name(initial)
        weights = _first_weights(asked, initial)
        journal = begin(asked, strategy=strategy, initial=initial, folder=folder)
        training = FederatedTraining(self._session, asked, journal)

        def work(on_report: OnReport | None, cancel: threading.Event | None) -> TrainingResult:
            return training.with_strategy(strategy, weights, evaluate_fn, on_report, cancel)

        return work, training

    def jobs(self, limit: int = 50) -> Jobs:
        """Your jobs at this coordinator, newest first."""
        return Jobs(JobSummary.from_status(status) for status in self._session.client.jobs(limit))

    def save_receipt(
        self,
        result: Result | Released | TrainingResult,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
    ) -> Path:
        """Write a receipt for `result` to `path` and give the path.

        It holds what you and others signed of its jobs and the proofs that every party logged its
        decision, and is signed by you; `yumen receipt verify` needs nothing else but the federation
        authority's certificate. It holds the digest of the result, not the result. The evidence is
        kept with this connection: ask it before it is closed, not many hundred jobs later.

        Raises `CallError` (`argument`) for a result of another connection, or where a file is there
        and `overwrite` is not set; `StateError` where it cannot be written.
        """
        return save_receipt(self._session.client, result, path, overwrite=overwrite)

    def cancel(self, job_id: str) -> JobSummary:
        """Cancel one of your jobs; an ended job stays as it is.

        Raises `CallError` for what is no job id, or no job of yours.
        """
        check_job(job_id)
        return JobSummary.from_status(self._session.client.cancel(job_id))


def _training_request(given: Mapping[str, Any]) -> TrainingRequest:
    """The arguments of `train` or `run` as plain values, checked as far as they stand alone."""
    check_terms(given["purpose"], given["min_nodes"])
    check_timeout(given["timeout_s"])
    asked = TrainingRequest(
        terms=Terms(
            given["purpose"],
            given["nodes"],
            given["min_nodes"],
            given["timeout_s"],
            given.get("privacy"),
            given.get("project", ""),
        ),
        table=given["table"],
        columns=given["columns"],
        where=given["where"],
        suite=given["suite"],
        rounds=given.get("rounds"),
        clip_norm=given["clip_norm"],
        round_timeout_s=given["round_timeout_s"],
        run_config=given.get("run_config") or {},
        metrics=given["metrics"],
        train_config=given.get("train_config") or {},
        evaluate_config=given.get("evaluate_config") or {},
    )
    return with_path(asked, given["model_or_app"])


def _first_weights(asked: TrainingRequest, initial: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if initial is not None:
        return initial
    if asked.model is None:
        raise CallError(
            "argument",
            "expected `initial`, the first weights by name, for code of your own, got none",
            remedy="give initial=net.state_dict(), or use fed.run with the project's ServerApp",
        )
    from yumen_core.training.models import initial as drawn

    return drawn(asked.model)
