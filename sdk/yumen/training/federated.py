"""Training as a federation offers it: from a call's arguments to signed terms and a kept course."""

from __future__ import annotations

import importlib
import inspect
import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from yumen_core.clock import SystemClock
from yumen_core.errors import CallError, StateError, YumenError
from yumen_core.identity.files import PRIVATE_MODE, read_file, replace_file
from yumen_core.jobs.job_id import new_job_id
from yumen_core.privacy import Privacy
from yumen_core.privacy.budget import MAX_MICRO_RHO
from yumen_core.rpc.v1 import training_pb2
from yumen_core.securesum.suite import Suite
from yumen_core.training.bundle import Bundle
from yumen_core.training.models import ReadyModel
from yumen_core.training.records import (
    MAX_TENSORS,
    Action,
    Arrays,
    Values,
    parse_input,
    to_proto,
)
from yumen_core.training.source import metric_names
from yumen_core.training.spec import MAX_VALUES, Program, Setting

from yumen.report import CheckReport
from yumen.session import Session, Terms
from yumen.training.aggregate import DEFAULT_WEIGHT
from yumen.training.course import OnReport
from yumen.training.fitting import check_initial
from yumen.training.journal import Journal, find_journal, trainings_folder
from yumen.training.plain import from_plain
from yumen.training.project import with_overrides
from yumen.training.result import TrainingResult
from yumen.training.rounds import FederatedRounds, TrainingTerms, program_of
from yumen.training.train import check_rounds, rounds_setting, run_app, train

if TYPE_CHECKING:
    from flwr.serverapp.strategy import Strategy

DEFAULT_TIMEOUT_S = 6 * 3600.0
DEFAULT_ROUND_S = 600
DEFAULT_APP_ROUNDS = 200
"""The most rounds of an app that does not say how many it asks for."""
_INITIAL = "initial.bin"


@dataclass(frozen=True)
class TrainingRequest:
    """Everything a call of `Federation.train` or `.run` says, as plain values.

    `path` is a Flower project, or `model` a ready model; `rounds` is None for a project whose
    ServerApp decides.
    """

    terms: Terms
    table: str
    columns: Sequence[str] | None
    where: str | None
    suite: str
    model: ReadyModel | None = None
    path: Path | None = None
    rounds: int | None = None
    clip_norm: float | None = None
    round_timeout_s: int = DEFAULT_ROUND_S
    run_config: Mapping[str, Setting] = field(default_factory=dict)
    metrics: Sequence[str] | None = None
    train_config: Mapping[str, Any] = field(default_factory=dict)
    evaluate_config: Mapping[str, Any] = field(default_factory=dict)
    server_app: bool = False


class FederatedTraining:
    """One training of one connection: its terms, its journal, and the call that runs it."""

    def __init__(self, session: Session, asked: TrainingRequest, journal: Journal) -> None:
        self._session = session
        self._asked = asked
        self._journal = journal
        self._bundle = None if asked.path is None else Bundle.from_folder(asked.path)
        self._rounds: FederatedRounds | None = None
        self._strategy: Strategy | None = None

    def with_strategy(
        self,
        strategy: Strategy,
        initial: Mapping[str, Any],
        evaluate_fn: Any,
        on_report: OnReport | None = None,
        cancel: threading.Event | None = None,
    ) -> TrainingResult:
        """Run a strategy of the caller's. Raises as `train.train`."""
        assert self._asked.rounds is not None
        self._strategy = strategy
        with _Kept(self._journal):
            result = train(
                self._start,
                strategy,
                rounds=self._asked.rounds,
                initial=initial,
                train_config=self._asked.train_config,
                evaluate_config=self._asked.evaluate_config,
                evaluate_fn=evaluate_fn,
                journal=self._journal,
                on_report=on_report,
                cancel=cancel,
            )
        return self._noted(result)

    def with_app(
        self, on_report: OnReport | None = None, cancel: threading.Event | None = None
    ) -> TrainingResult:
        """Run the project's own ServerApp. Raises as `train.run_app`."""
        assert self._asked.path is not None
        assert self._bundle is not None
        with _Kept(self._journal):
            result = run_app(
                self._asked.path,
                self._bundle.app,
                self._start,
                run_config=self._asked.run_config,
                journal=self._journal,
                on_report=on_report,
                cancel=cancel,
            )
        return self._noted(result)

    @property
    def job_id(self) -> str | None:
        """The job of the present or last run; None before there is one."""
        jobs = () if self._rounds is None else tuple(self._rounds.job_ids)
        return jobs[-1] if jobs else None

    def cancel(self) -> None:
        """End the job of a run that is under way."""
        if self._rounds is not None:
            self._rounds.abandon()

    def _start(self) -> FederatedRounds:
        private = self._asked.terms.privacy is not None
        done = Counter(kept.action for kept in self._journal.read()) if private else Counter()
        terms = terms_of(self._asked, self._bundle, done=done, evaluates=evaluates(self._strategy))
        privacy = terms.terms.privacy

        def accepted(job_id: str) -> None:
            self._journal.add_jobs([job_id])
            if privacy is not None:
                self._journal.add_cost(job_id, privacy.micro_rho)

        self._rounds = FederatedRounds(self._session, terms, on_job=accepted)
        return self._rounds

    def _noted(self, result: TrainingResult) -> TrainingResult:
        """`result`, with a note on each metric that the caller named and no run gave, and on what
        the training cost in privacy."""
        privacy = self._asked.terms.privacy
        if privacy is not None:
            paid = min(MAX_MICRO_RHO, sum(self._journal.costs.values()))
            result.privacy = replace(privacy, micro_rho=paid or privacy.micro_rho)
        given = {name for report in result.reports for name in report.metrics}
        absent = dict.fromkeys(n for n in self._asked.metrics or () if n not in given)
        absent.pop(DEFAULT_WEIGHT, None)
        result.notes += tuple(f"no node gave `{name}`" for name in absent)
        return result


def terms_of(
    asked: TrainingRequest,
    bundle: Bundle | None,
    *,
    done: Mapping[Action, int] = MappingProxyType({}),
    evaluates: bool = True,
) -> TrainingTerms:
    """What is signed of a request, but the shape of the model. `done` counts the runs of a private
    training that an earlier job has paid for; without `evaluates` it has nothing evaluated at the
    nodes, and need not pay for it.
    """
    model = asked.model
    config: Mapping[str, Setting] = {}
    program: Program
    if bundle is not None:
        config = with_overrides(bundle.app.run_config, asked.run_config)
        program, known = program_of(bundle), metric_names(bundle)
    else:
        assert model is not None
        program, known = model, list(model.metric_names)
    runs = asked.rounds or rounds_setting(config) or DEFAULT_APP_ROUNDS
    terms, evaluations = asked.terms, None
    if terms.privacy is not None:
        whole, evaluations = runs, 0
        if evaluates:
            evaluations = max(0, whole - done.get(Action.EVALUATE, 0))
        runs = max(0, whole - done.get(Action.TRAIN, 0))
        if not runs and not evaluations:
            runs = 1  # all is kept, and nothing will be asked
        terms = replace(terms, privacy=share_of(terms.privacy, max(runs, evaluations), whole))
    return TrainingTerms(
        terms=terms,
        sql=rows_statement(asked.table, _columns(asked), asked.where),
        program=program,
        metrics=tuple(asked.metrics if asked.metrics is not None else known),
        runs=runs,
        suite=_suite(asked.suite),
        clip_norm=asked.clip_norm,
        round_timeout_s=asked.round_timeout_s,
        run_config=config,
        bundle=bundle,
        evaluations=evaluations,
    )


def share_of(privacy: Privacy, rounds: int, of: int) -> Privacy:
    """What `rounds` rounds of `of` cost, rounded down: a training that is resumed pays for the
    rounds that are left, at the same noise."""
    return replace(privacy, micro_rho=max(1, privacy.micro_rho * rounds // of))


def evaluates(strategy: Strategy | None) -> bool:
    """Whether it has anything evaluated at the nodes, by the setting that Flower's all have."""
    return bool(getattr(strategy, "fraction_evaluate", 1.0) > 0)


def check_training(
    session: Session,
    asked: TrainingRequest,
    weights: Mapping[str, Any],
    strategy: Strategy | None = None,
) -> CheckReport:
    """Every party's decision on a training, nothing computed, nothing kept. The runs, and with
    privacy the noise, are those with which `strategy` would train. Raises as `begin`."""
    _check_alone(asked)
    bundle = None if asked.path is None else Bundle.from_folder(asked.path)
    terms = terms_of(asked, bundle, evaluates=evaluates(strategy))
    return FederatedRounds(session, terms).check(_as_arrays(weights))


def begin(
    asked: TrainingRequest,
    *,
    strategy: object | None,
    initial: Mapping[str, Any] | None,
    folder: str | os.PathLike[str] | None,
) -> Journal:
    """Check what can be checked without a federation, and begin the journal of a new training."""
    _check_alone(asked)
    if initial is not None and asked.model is not None:
        check_initial(asked.model, initial)
    digest = "" if asked.path is None else Bundle.from_folder(asked.path).digest.hex()
    where = Path(folder) if folder is not None else trainings_folder() / new_job_id(SystemClock())
    journal = Journal.create(where, {**_plain(asked), "bundle": digest}, strategy=strategy)
    if initial is not None:
        records = to_proto({"arrays": Arrays(_as_arrays(initial))})
        raw = training_pb2.TrainingInput(records=records).SerializeToString()
        replace_file(where / _INITIAL, raw, mode=PRIVATE_MODE)
    return journal


@dataclass(frozen=True)
class Resumed:
    """A training as its journal holds it."""

    asked: TrainingRequest
    journal: Journal
    initial: Mapping[str, Values] | None
    strategy: Strategy | None


def reopen(job_id: str, strategy: Strategy | None) -> Resumed:
    """The kept training that `job_id` is a job of.

    Raises `StateError` (`state`) where there is none, or its project has changed, `CallError`
    (`argument`) where its strategy cannot be built anew from what was kept.
    """
    journal = Journal.open(find_journal(job_id))
    document = cast("dict[str, Any]", from_plain(journal.asked))
    digest = document.pop("bundle")
    asked = _request(document)
    if asked.path is not None and Bundle.from_folder(asked.path).digest.hex() != digest:
        raise StateError(
            "state",
            f"expected the project `{asked.path}` as it was when the training began, got another",
            remedy="restore its files, or start a new training",
        )
    file = journal.folder / _INITIAL
    initial = None
    if file.exists():
        record = parse_input(read_file(file, max_bytes=9 * MAX_VALUES, private=True))["arrays"]
        assert isinstance(record, Arrays)
        initial = record.tensors
    if strategy is None and not asked.server_app:
        strategy = _strategy(journal)
    return Resumed(asked, journal, initial, strategy)


def rows_statement(table: str, columns: Sequence[str], where: str | None) -> str:
    """The statement that the job signs."""
    names = ", ".join(_quoted(column) for column in columns)
    condition = "" if where is None else f" WHERE {where}"
    return f"SELECT {names} FROM {_quoted(table)}{condition}"  # noqa: S608  names are quoted


def _columns(asked: TrainingRequest) -> tuple[str, ...]:
    if asked.columns is not None:
        if isinstance(asked.columns, str) or not all(isinstance(c, str) for c in asked.columns):
            raise CallError("argument", "expected `columns` as a list of texts, got another type")
        if not asked.columns:
            raise CallError("argument", "expected at least one column, got none")
        missing = [] if asked.model is None else set(asked.model.columns) - set(asked.columns)
        if missing:
            raise CallError(
                "argument",
                f"expected the columns that the model reads, got none of `{min(missing)}`",
                remedy="leave `columns` out: a ready model names its own",
            )
        return tuple(asked.columns)
    if asked.model is not None:
        return asked.model.columns
    raise CallError("argument", "expected `columns` for code of your own, got none")


def _suite(name: object) -> Suite:
    try:
        return Suite(str(name))
    except ValueError:
        raise CallError("argument", f"expected suite `stream` or `bfv`, got `{name}`") from None


def _check_alone(asked: TrainingRequest) -> None:
    """What can be checked of a request without its federation. Raises `CallError`."""
    _suite(asked.suite)
    _columns(asked)
    if asked.rounds is not None:
        check_rounds(asked.rounds)
    _check_round_timeout(asked.round_timeout_s)
    if asked.terms.privacy is not None and asked.model is None:
        raise CallError(
            "training",
            "expected a model of `yumen.models` with `privacy`, got code of your own",
            remedy="train a ready model: no reader of code can show that it clips each row",
        )


def _check_round_timeout(seconds: object) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 1 <= seconds <= 86_400:
        raise CallError(
            "argument",
            f"expected `round_timeout_s` from 1 to 86400, a whole number, got `{seconds}`",
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def by_name(initial: Any) -> Mapping[str, Any] | None:
    """First weights by name, also those of a PyTorch module. Raises `CallError` (`training`)."""
    if hasattr(initial, "state_dict"):
        initial = initial.state_dict()
    if initial is None or isinstance(initial, Mapping):
        return initial
    raise CallError(
        "training",
        f"expected initial arrays by name, got `{type(initial).__name__}`",
        remedy="give a model's state_dict(), or a dict of numpy arrays",
    )


def _as_arrays(initial: Mapping[str, Any]) -> dict[str, Values]:
    if len(initial) > MAX_TENSORS:
        raise CallError("training", f"expected at most {MAX_TENSORS} arrays, got {len(initial)}")
    return {
        name: np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)
        for name, value in initial.items()
    }


class _Kept:
    """An error that ends a training says how to go on with it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        jobs, kept = self._journal.jobs, self._journal.kept
        if error is not None and jobs and kept:
            job = jobs[-1]
            error.add_note(f"{kept} kept: fed.resume('{job}') or `yumen resume {job}` goes on")


def _plain(asked: TrainingRequest) -> dict[str, object]:
    terms = asked.terms
    return {
        "clip_norm": asked.clip_norm,
        "columns": None if asked.columns is None else list(asked.columns),
        "evaluate_config": dict(asked.evaluate_config),
        "metrics": None if asked.metrics is None else list(asked.metrics),
        "min_nodes": terms.min_nodes,
        "model": None if asked.model is None else asked.model.to_json(),
        "nodes": None if terms.nodes is None else list(terms.nodes),
        "path": None if asked.path is None else str(asked.path.resolve()),
        "privacy": None
        if terms.privacy is None
        else {"delta": terms.privacy.delta, "micro_rho": terms.privacy.micro_rho},
        "project": terms.project,
        "purpose": terms.purpose,
        "round_timeout_s": asked.round_timeout_s,
        "rounds": asked.rounds,
        "run_config": dict(asked.run_config),
        "server_app": asked.server_app,
        "suite": asked.suite,
        "table": asked.table,
        "timeout_s": terms.timeout_s,
        "train_config": dict(asked.train_config),
        "where": asked.where,
    }


def _request(document: dict[str, Any]) -> TrainingRequest:
    model, path = document["model"], document["path"]
    privacy = document.get("privacy")
    terms = Terms(
        document["purpose"],
        document["nodes"],
        document["min_nodes"],
        document["timeout_s"],
        None if privacy is None else Privacy(privacy["micro_rho"], privacy["delta"]),
        document.get("project", ""),
    )
    named = (
        *("clip_norm", "columns", "evaluate_config", "metrics", "round_timeout_s", "rounds"),
        *("run_config", "server_app", "suite", "table", "train_config", "where"),
    )
    return TrainingRequest(
        terms=terms,
        model=None if model is None else ReadyModel.from_json(model),
        path=None if path is None else Path(path),
        **{name: document[name] for name in named},
    )


def _strategy(journal: Journal) -> Strategy:
    """The strategy of the journal, built anew from the attributes that bear its arguments' names.

    Only classes of Flower's own are looked up: a name in a file must not choose what is imported.
    """
    described = journal.strategy or {}
    name = str(described.get("class", ""))
    attributes = cast("dict[str, Any]", from_plain(described.get("attributes", {})))
    module, _, kind = name.rpartition(".")
    with suppress(ImportError, AttributeError, TypeError, YumenError):
        if module.split(".")[:3] == ["flwr", "serverapp", "strategy"]:
            found = getattr(importlib.import_module(module), kind)
            wanted = inspect.signature(found.__init__).parameters
            return cast("Strategy", found(**{k: v for k, v in attributes.items() if k in wanted}))
    raise CallError(
        "argument",
        f"expected the strategy to go on with, since `{name}` cannot be built anew from what was "
        "kept, got none",
        remedy="give it again: fed.resume(job_id, strategy=...)",
    )


def with_path(asked: TrainingRequest, model_or_app: object) -> TrainingRequest:
    """The request for a ready model or the folder of a Flower project."""
    if isinstance(model_or_app, ReadyModel):
        return replace(asked, model=model_or_app)
    if isinstance(model_or_app, str | os.PathLike):
        return replace(asked, path=Path(model_or_app))
    raise CallError(
        "argument",
        "expected a model of `yumen.models` or the folder of a Flower project, "
        f"got `{type(model_or_app).__name__}`",
        remedy="a network of your own goes into a Flower project, whose code each node approves",
    )
