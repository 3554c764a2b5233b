"""One node process: wiring, start, stop.

Trust line: whoever controls this process has the institution's data already. What he gains beyond
it is the right to send false numbers about that data.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import yaml
from yumen_core.allocation import keep_freed_memory
from yumen_core.canonical import Json
from yumen_core.clock import Clock, SystemClock
from yumen_core.disclosure.rounding import NO_ROUNDING
from yumen_core.errors import StateError
from yumen_core.identity.client import enrol, renew_if_due
from yumen_core.identity.files import replace_file
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Identity, Role
from yumen_core.jobs.descriptor import PublishedTable
from yumen_core.log import Act, LogAlarm, TileLog, open_log
from yumen_core.log.cosigning import Cosigning
from yumen_core.log.enrolment import record_enrolment
from yumen_core.log.entry import Value
from yumen_core.policy import PolicyBundle, install_policies
from yumen_core.securesum.parallel import EncryptionPool

from yumen_node.activation import activate
from yumen_node.approvals import Approvals
from yumen_node.config import FILE_NAME, NodeConfig, load_config
from yumen_node.datasets import Dataset, TableDeclaration, load_declaration
from yumen_node.datasets.numbers import RowNumbers
from yumen_node.execution import Execution
from yumen_node.gate import Gate
from yumen_node.keys import load_keys
from yumen_node.ledger import Ledger
from yumen_node.link import Link
from yumen_node.local_work import LocalWork
from yumen_node.noise import load_sampler
from yumen_node.operator_spool import OperatorSpool
from yumen_node.publication import Publication
from yumen_node.refusals import Refusals
from yumen_node.released import ReleasedSets
from yumen_node.review_record import note_reviews
from yumen_node.state import NodeState
from yumen_node.table_record import record_tables
from yumen_node.training.probe import probe
from yumen_node.training.trainer import Trainer
from yumen_node.witness import Witness, load_witness_key

_LOG = logging.getLogger(__name__)


def init_node(
    directory: Path,
    *,
    coordinator: str,
    token: str,
    tables: Sequence[Path],
    policies: Sequence[Path],
    purposes: Path | None = None,
    clock: Clock | None = None,
) -> Identity:
    """Enrol a node into `directory` and write its configuration.

    Table declarations stay where they are (their sources are relative to them) and are checked
    first; policies and the purpose register are copied into the folder. Raises `CallError`,
    `PeerError` or `StateError`.
    """
    for table in tables:
        load_declaration(table)
    PolicyBundle.load(policies, purposes=purposes)
    loaded = enrol(token, directory / "identity", clock=clock)
    if loaded.identity.role is not Role.NODE:
        raise StateError(
            "role",
            f"expected a token for a node, got one for `{loaded.identity.uri}`",
            remedy="ask the authority for a token for `org/ORG/node/NAME`",
        )
    config = {
        "coordinator": coordinator,
        "tables": [str(table.resolve()) for table in tables],
        "policies": list(install_policies(directory, policies, purposes)),
    }
    (directory / FILE_NAME).write_text(
        yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
    return loaded.identity


def open_datasets(config: NodeConfig) -> dict[str, Dataset]:
    """Load every declared table of a node. Raises `StateError` naming file and column."""
    declarations = [load_declaration(path) for path in config.tables]
    names = [declaration.name for declaration in declarations]
    for name in names:
        if names.count(name) > 1:
            raise StateError("table_declaration", f"expected one table `{name}`, got two")
    return Dataset.open_all(
        declarations,
        threads=config.threads,
        memory_limit=config.memory_limit,
        row_numbers=RowNumbers(config.state, config.secrets),
    )


def publish(declaration: TableDeclaration) -> PublishedTable:
    """What the federation sees of a declared table."""
    privacy = declaration.privacy
    return PublishedTable(
        schema=declaration.schema(),
        meaning=declaration.meaning,
        grade=declaration.grade,
        threshold=declaration.disclosure.threshold,
        min_nodes=declaration.disclosure.min_nodes,
        round_to=declaration.disclosure.round_to or NO_ROUNDING,
        private_only=privacy is not None and privacy.required,
        micro_rho=0 if privacy is None else privacy.micro_rho,
        project_micro_rho=0 if privacy is None else privacy.project_micro_rho,
    )


async def serve(
    directory: Path,
    *,
    ready: Callable[[str], None] | None = None,
    clock: Clock | None = None,
) -> None:
    """Run the node in `directory` until cancelled.

    `ready` is called with the coordinator's identity at each welcome. Raises `StateError`; a log
    that can no longer be written ends the process.
    """
    keep_freed_memory()
    alarm = LogAlarm()
    node = Node(directory, clock or SystemClock(), alarm, on_connected=ready)
    try:
        await alarm.guard(node.run())
    finally:
        node.close()


class Node:
    """The parts of one node and the order in which they start."""

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        alarm: LogAlarm,
        *,
        on_connected: Callable[[str], None] | None,
    ) -> None:
        self.config = config = load_config(directory)
        renew_if_due(config.identity, clock=clock)
        membership = Membership(config.identity, clock)
        if membership.identity.role is not Role.NODE:
            raise StateError("role", f"expected a node's identity in `{config.identity}`")
        keys = load_keys(config.secrets)
        policies = PolicyBundle.load(config.policies, purposes=config.purposes)
        self._log = log = open_log(
            config.log, member=membership.identity, secrets=config.secrets, clock=clock
        )
        log.on_failure = alarm.ring
        try:
            record_enrolment(log, membership, config.state)
            activate(
                policies,
                membership=membership,
                log=log,
                log_folder=config.log,
                state=config.state,
                signers=config.policy_signers,
            )
        except StateError:
            log.close()
            raise
        self._datasets = datasets = open_datasets(config)
        self._state = state = NodeState(config.state)
        self._approvals = approvals = Approvals(config.state, membership)
        trainer, self._pool = (
            Trainer(config.training, config.state / "training-output", self._record_sandbox),
            EncryptionPool(config.threads),
        )
        self._local_work = local_work = LocalWork(
            membership.identity.uri,
            config.state / "training",
            trainer,
            datasets,
            max_norm=config.training_max_norm,
            timeout_s=config.query_timeout_s,
            check_rows=state.check_rows,
        )
        tables = {name: publish(item.declaration) for name, item in datasets.items()}
        self._ledger, self._released = ledger, released = _open_ledgers(
            config.state, membership.identity.uri, tables, datasets, log
        )
        self._refusals = refusals = Refusals(
            config.state, membership.identity.uri, clock, most=config.refusals_a_day
        )
        if any(table.micro_rho for table in tables.values()):
            load_sampler()
        witness_key = load_witness_key(config.secrets, membership.identity)
        replace_file(config.log / "witness.vkey", f"{witness_key.verifier.text}\n".encode())
        self._witness = witness = Witness(
            membership,
            witness_key,
            log,
            state=config.state,
            evidence=config.log / "evidence",
            interval_ms=min(1000, int(config.cosign_interval_s * 500)),
        )
        publication = Publication(
            membership,
            keys,
            tables,
            log.verifier_key,
            config.state / "descriptor.bin",
            witness_key.verifier.text,
        )
        gate = Gate(
            membership=membership,
            keys=keys,
            publication=publication,
            policies=policies,
            state=state,
            log=log,
            approvals=approvals,
            code_refusal=_code_refusal(),
            limits={name: str(value) for name, value in config.training.model_dump().items()},
            ledger=ledger,
            released=released,
            refusals=refusals,
        )
        execution = Execution(
            membership=membership,
            keys=keys,
            state=state,
            log=log,
            datasets=datasets,
            query_timeout_s=config.query_timeout_s,
            local_work=local_work,
            pool=self._pool,
            ledger=ledger,
            released=released,
            refusals=refusals,
        )
        told = (config.state, approvals, log, membership.identity.uri)
        spool = OperatorSpool(config.state, log, membership.identity.uri)
        self._link = Link(
            address=config.coordinator,
            membership=membership,
            publication=publication,
            gate=gate,
            execution=execution,
            log=log,
            retry_max_s=config.reconnect_max_s,
            witness=witness,
            cosigning=Cosigning(
                log, membership.identity.uri, config.log, clock, needed=config.witnesses
            ),
            cosign_interval_s=config.cosign_interval_s,
            note_reviews=partial(note_reviews, *told),
            tell_acts=spool.tell,
            on_connected=on_connected,
        )
        record_tables(config.state, tables, log, membership.identity.uri)
        note_reviews(*told)
        spool.tell()
        self._record_start(membership, policies, datasets, publication)

    def _record_start(
        self,
        membership: Membership,
        policies: PolicyBundle,
        datasets: Mapping[str, Dataset],
        publication: Publication,
    ) -> None:
        _, signed = publication.current()
        self._log.record(
            Act.STARTUP,
            subject={"node": membership.identity.uri},
            digests={"policies": policies.digest, "descriptor": signed.digest},
            detail={"tables": sorted(datasets)},
        )

    def _record_sandbox(self, job_id: str, what: str, detail: Mapping[str, Json]) -> None:
        """What a training's code was kept from, in the node's log."""
        told: dict[str, Value] = {"what": what}
        for name, value in detail.items():
            told[name] = value if isinstance(value, int | str) else str(value)
        self._log.record(Act.SANDBOX, subject={"job": job_id}, detail=told)

    async def run(self) -> None:
        await self._link.run()

    def close(self) -> None:
        self._local_work.close()
        self._pool.close()
        self._approvals.close()
        for dataset in self._datasets.values():
            dataset.close()
        self._ledger.close()
        self._released.close()
        self._witness.close()
        self._refusals.close()
        self._state.close()
        self._log.close()


def _open_ledgers(
    state: Path,
    node: str,
    tables: Mapping[str, PublishedTable],
    datasets: Mapping[str, Dataset],
    log: TileLog,
) -> tuple[Ledger, ReleasedSets]:
    """What the node spent and what left it, each as the log tells it. The log is closed where one
    of the files is not what it tells of (`StateError`)."""
    with ExitStack() as held:
        held.callback(log.close)
        ledger = Ledger(state, tables, log, node)
        held.callback(ledger.close)
        ledger.compare()
        released = ReleasedSets(
            state, node, {name: item.version for name, item in datasets.items()}
        )
        held.callback(released.close)
        released.compare(log)
        ledger.begin()
        held.pop_all()
    return ledger, released


def _code_refusal() -> StateError | None:
    """Why no code of a requester runs here, if it does not."""
    try:
        probe()
    except StateError as error:
        return error
    return None


__all__ = ["Node", "init_node", "open_datasets", "publish", "serve"]
