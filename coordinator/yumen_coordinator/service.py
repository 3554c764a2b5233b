"""One coordinator process: wiring, start, restart, stop.

Trust line: whoever controls this process can delay or drop jobs and see who asked what. He cannot
forge or change a job, read a contribution or a result, or rewrite the log unnoticed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml
from yumen_core.clock import Clock, SystemClock
from yumen_core.errors import StateError, YumenError
from yumen_core.identity.client import enrol, fetch_revocations, renew_if_due
from yumen_core.identity.envelope import SignedEnvelope
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Identity, Role
from yumen_core.jobs.admission import OpenedJob, question
from yumen_core.jobs.book import open_descriptor
from yumen_core.jobs.inputs import SignedInput, read_stored_input
from yumen_core.jobs.machine import Limits
from yumen_core.jobs.spec import read_stored_spec, spec_digest
from yumen_core.log import Act, LogAlarm, open_log
from yumen_core.log.cosigning import Cosigning
from yumen_core.log.enrolment import record_enrolment
from yumen_core.log.proof import LogProof
from yumen_core.policy import PolicyBundle, install_policies
from yumen_core.policy.in_force import put_in_force
from yumen_core.rpc.channels import aio_server, server_credentials
from yumen_core.rpc.v1 import envelope_pb2, federation_pb2_grpc, job_pb2, link_pb2, link_pb2_grpc

from yumen_coordinator.checks import Checks
from yumen_coordinator.config import FILE_NAME, CoordinatorConfig, load_config
from yumen_coordinator.federation_service import FederationService
from yumen_coordinator.gate import Gate
from yumen_coordinator.link_service import LinkService
from yumen_coordinator.publication import CoordinatorPublication
from yumen_coordinator.registry import KnownNode, Registry
from yumen_coordinator.scheduler import Scheduler
from yumen_coordinator.store import Store, StoredJob
from yumen_coordinator.witnesses import Witnesses

_LOG = logging.getLogger(__name__)
STOP_GRACE_S = 2.0


def init_coordinator(
    directory: Path,
    *,
    address: str,
    token: str,
    policies: Sequence[Path],
    purposes: Path | None = None,
    clock: Clock | None = None,
) -> Identity:
    """Enrol a coordinator into `directory` and write its configuration.

    `address` is the host:port it will listen on; policies and the purpose register are copied into
    the folder, and checked first. Raises `CallError`, `PeerError` or `StateError`.
    """
    PolicyBundle.load(policies, purposes=purposes)
    loaded = enrol(token, directory / "identity", clock=clock)
    if loaded.identity.role is not Role.COORDINATOR:
        raise StateError(
            "role",
            f"expected a token for a coordinator, got one for `{loaded.identity.uri}`",
            remedy="ask the authority for a token for `org/ORG/coordinator/NAME`",
        )
    config = {
        "listen": address,
        "authority": loaded.authority_address,
        "policies": list(install_policies(directory, policies, purposes)),
    }
    (directory / FILE_NAME).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return loaded.identity


async def serve(
    directory: Path,
    *,
    ready: Callable[[str], None] | None = None,
    clock: Clock | None = None,
) -> None:
    """Run the coordinator in `directory` until cancelled.

    `ready` is called with the address once it accepts calls. Raises `StateError`; a log that can
    no longer be written ends the process.
    """
    coordinator = Coordinator(directory, clock or SystemClock(), LogAlarm())
    try:
        await coordinator.start()
        if ready is not None:
            ready(coordinator.config.listen)
        await coordinator.run()
    finally:
        await coordinator.close()


class Coordinator:
    """The parts of one coordinator and the order in which they start."""

    def __init__(self, directory: Path, clock: Clock, alarm: LogAlarm) -> None:
        self._alarm = alarm
        self.config: CoordinatorConfig = load_config(directory)
        config = self.config
        self._clock = clock
        renew_if_due(config.identity, clock=clock)
        self._membership = Membership(config.identity, clock)
        if self._membership.identity.role is not Role.COORDINATOR:
            raise StateError("role", f"expected a coordinator's identity in `{config.identity}`")
        policies = PolicyBundle.load(config.policies, purposes=config.purposes)
        self._log = open_log(
            config.log, member=self._membership.identity, secrets=config.secrets, clock=clock
        )
        self._log.on_failure = alarm.ring
        state = directory.resolve() / "state"
        record_enrolment(self._log, self._membership, state)
        put_in_force(
            policies,
            party=self._membership.identity,
            log=self._log,
            log_folder=config.log,
            state=state,
        )
        self._store = Store(config.database)
        self._limits = Limits(
            decision_ms=int(config.decision_timeout_s * 1000),
            round_ms=int(config.round_timeout_s * 1000),
            approval_ms=int(config.approval_timeout_s * 1000),
        )
        self._registry = Registry(grace_s=config.reconnect_grace_s, on_absent=self._node_absent)
        self._scheduler = Scheduler(
            store=self._store,
            log=self._log,
            registry=self._registry,
            clock=clock,
            limits=self._limits,
            max_sum_bytes=config.max_sum_bytes,
            training_round_ms=int(config.training_round_timeout_s * 1000),
        )
        self._checks = Checks(self._registry, timeout_s=config.decision_timeout_s)
        self._gate = Gate(self._membership, policies, self._registry, self._log)
        self._publication = CoordinatorPublication(self._membership, self._log.verifier_key)
        me = self._membership.identity.uri
        self._witnesses = Witnesses(
            self._registry,
            Cosigning(self._log, me, config.log, clock, needed=config.witnesses),
            self._publication,
            me=me,
        )
        self._server = aio_server()
        self._announce_start(policies)

    def _announce_start(self, policies: PolicyBundle) -> None:
        self._log.record(
            Act.STARTUP,
            subject={"coordinator": self._membership.identity.uri},
            digests={"policies": policies.digest},
        )

    async def start(self) -> None:
        """Restore what was open, then listen. Raises `StateError` where the address is taken."""
        await self._refresh_revocations()
        self._restore()
        federation_pb2_grpc.add_FederationServicer_to_server(
            FederationService(
                config=self.config,
                membership=self._membership,
                registry=self._registry,
                scheduler=self._scheduler,
                checks=self._checks,
                gate=self._gate,
                store=self._store,
                publication=self._publication,
            ),
            self._server,
        )
        link_pb2_grpc.add_NodeLinkServicer_to_server(
            LinkService(
                membership=self._membership,
                registry=self._registry,
                scheduler=self._scheduler,
                checks=self._checks,
                store=self._store,
                log=self._log,
                publication=self._publication,
                witnesses=self._witnesses,
            ),
            self._server,
        )
        try:
            self._server.add_secure_port(
                self.config.listen, server_credentials(self._membership.tls())
            )
        except RuntimeError:
            raise StateError(
                "config",
                f"expected a free address, got `{self.config.listen}`, which is taken",
                remedy="stop the other process or change `listen`",
            ) from None
        await self._server.start()

    async def run(self) -> None:
        """Serve until cancelled, or until the log fails (`StateError`)."""
        await self._alarm.guard(self._serve())

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._witnesses.run(self.config.cosign_interval_s))
            await self._keep_current()

    async def close(self) -> None:
        """Stop in the opposite order; open jobs stay in the store."""
        self._scheduler.close()
        self._registry.close()
        await self._server.stop(STOP_GRACE_S)
        self._store.close()
        self._log.close()

    # Restart ------------------------------------------------------------------------------------

    def _restore(self) -> None:
        for node, raw in self._store.descriptors().items():
            envelope = SignedEnvelope.from_proto(envelope_pb2.Envelope.FromString(raw))
            try:
                signed = open_descriptor(envelope, self._membership)
            except YumenError as error:  # expired or revoked since: the node brings a new one
                _LOG.info("the descriptor of %s is no longer good: %s", node, error)
                continue
            self._registry.remember(node, KnownNode(envelope, signed))
        for stored in self._store.open_jobs():
            self._restore_job(stored)

    def _restore_job(self, stored: StoredJob) -> None:
        """Take up an open job. Its signature was verified before it was stored."""
        envelope = SignedEnvelope.from_proto(envelope_pb2.Envelope.FromString(stored.envelope))
        spec = read_stored_spec(envelope.payload, signer=Identity.parse(stored.requester))
        opened = OpenedJob(spec, spec_digest(envelope.payload))
        known = {node: self._registry.known(node) for node in spec.nodes}
        try:
            asked = question(
                spec, {node: k.signed.descriptor for node, k in known.items() if k is not None}
            )
        except (YumenError, StopIteration) as error:
            _LOG.warning("job %s cannot go on after the restart: %s", spec.job_id, error)
            self._scheduler.abandon(stored, "its tables are no longer published")
            return
        decisions = {
            node: SignedEnvelope.from_proto(envelope_pb2.Envelope.FromString(raw))
            for node, raw in self._store.decisions(spec.job_id).items()
        }
        proofs = {
            node: LogProof.from_proto(job_pb2.LogProof.FromString(raw))
            for node, raw in self._store.proofs(spec.job_id).items()
        }
        self._scheduler.restore(
            stored,
            opened,
            envelope,
            asked.runs,
            decisions,
            proofs,
            self._restored_input(opened),
            self._store.bundle(spec.job_id),
        )

    def _restored_input(self, opened: OpenedJob) -> tuple[SignedInput, SignedEnvelope] | None:
        """The signed input of a statistic's present run."""
        raw = self._store.run_input(opened.spec.job_id)
        if raw is None:
            return None
        envelope = SignedEnvelope.from_proto(envelope_pb2.Envelope.FromString(raw))
        return read_stored_input(envelope.payload), envelope

    # While it runs ------------------------------------------------------------------------------

    def _node_absent(self, node: str) -> None:
        self._scheduler.node_absent(node)

    async def _keep_current(self) -> None:
        """Fetch the revocation list again and again; it is a signed file, not an event stream."""
        while True:
            await asyncio.sleep(self.config.revocations_refresh_s)
            await self._refresh_revocations()
            now_ms = self._clock.now_ms()
            self._store.drop_results_before(now_ms - int(self.config.keep_results_s * 1000))

    async def _refresh_revocations(self) -> None:
        """Learn the newest list, pass it on, and cut off nodes that are on it.

        Where the authority cannot be reached the last list counts until its own end; after that
        every call is refused.
        """
        try:
            found = await asyncio.to_thread(
                fetch_revocations,
                self.config.authority,
                self._membership.anchor,
                clock=self._clock,
            )
            if not self._membership.learn(found.der):
                return
        except YumenError as error:
            _LOG.warning("no newer revocation list: %s", error)
            return
        self._log.record(Act.REVOCATIONS, detail={"number": found.number})
        frame = link_pb2.CoordinatorFrame(
            revocations=link_pb2.RevocationsFrame(revocations=found.der)
        )
        for connection in self._registry.connections():
            connection.send(frame)
            try:
                self._membership.identify_pem(connection.certificate_pem)
            except YumenError as error:
                _LOG.warning("node %s is cut off: %s", connection.node, error)
                connection.close()
