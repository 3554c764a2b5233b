"""The nodes' side of the coordinator: one bidirectional stream a node."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import grpc.aio
from yumen_core.errors import PeerError, YumenError
from yumen_core.identity.envelope import PayloadType, SignedEnvelope, open_envelope
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Identity, Role
from yumen_core.jobs import decision as decisions
from yumen_core.jobs.admission import gate_denial
from yumen_core.jobs.book import open_descriptor
from yumen_core.jobs.machine import Round
from yumen_core.jobs.rounds import support_binding
from yumen_core.jobs.supports import open_share
from yumen_core.log import Act, TileLog
from yumen_core.log.proof import LogProof, verify_decision
from yumen_core.rpc import faults
from yumen_core.rpc.channels import peer_certificate, peer_identity
from yumen_core.rpc.v1 import job_pb2, link_pb2, link_pb2_grpc

from yumen_coordinator.answers import Answers
from yumen_coordinator.checks import Checks
from yumen_coordinator.publication import CoordinatorPublication
from yumen_coordinator.registry import Connection, KnownNode, Registry
from yumen_coordinator.scheduler import Scheduler
from yumen_coordinator.store import Store
from yumen_coordinator.witnesses import Witnesses

_LOG = logging.getLogger(__name__)
HELLO_TIMEOUT_S = 15.0

Context = grpc.aio.ServicerContext[link_pb2.NodeFrame, link_pb2.CoordinatorFrame]


class LinkService(link_pb2_grpc.NodeLinkServicer):
    """Serves `NodeLink`. A node is who its certificate says, for as long as that holds."""

    def __init__(
        self,
        *,
        membership: Membership,
        registry: Registry,
        scheduler: Scheduler,
        checks: Checks,
        store: Store,
        log: TileLog,
        publication: CoordinatorPublication,
        witnesses: Witnesses,
    ) -> None:
        self._membership = membership
        self._registry = registry
        self._scheduler = scheduler
        self._answers = Answers(scheduler, membership.clock)
        self._checks = checks
        self._store = store
        self._log = log
        self._publication = publication
        self._witnesses = witnesses

    async def Connect(
        self, request_iterator: AsyncIterator[link_pb2.NodeFrame], context: Context
    ) -> AsyncIterator[link_pb2.CoordinatorFrame]:
        try:
            node = self._node(context)
            known = await self._hello(node, request_iterator)
            connection = Connection(node.uri, peer_certificate(context))
            self._welcome(connection, known)
        except YumenError as error:
            _LOG.warning("a node was refused: %s", error)
            await faults.abort(context, error)
            return
        reader = asyncio.create_task(self._read(connection, request_iterator))
        try:
            while (frame := await connection.outgoing.get()) is not None:
                yield frame
        finally:
            reader.cancel()
            self._registry.disconnect(connection)
            _LOG.info("node %s disconnected", node.uri)

    def _node(self, context: Context) -> Identity:
        identity = peer_identity(context, self._membership)
        if identity.role is not Role.NODE:
            raise PeerError("role", f"expected a caller with role node, got `{identity.uri}`")
        return identity

    async def _hello(self, node: Identity, frames: AsyncIterator[link_pb2.NodeFrame]) -> KnownNode:
        """The node's descriptor, from its first frame."""
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                first = await anext(frames)
        except (TimeoutError, StopAsyncIteration):
            raise PeerError("deadline", "expected a hello in time, got none") from None
        if first.WhichOneof("frame") != "hello":
            raise PeerError("descriptor", "expected a hello first, got another frame")
        envelope = SignedEnvelope.from_proto(first.hello.descriptor)
        signed = open_descriptor(envelope, self._membership)
        if signed.descriptor.node != node:
            raise PeerError(
                "identity",
                f"expected the descriptor of `{node.uri}`, "
                f"got one of `{signed.descriptor.node.uri}`",
            )
        return KnownNode(envelope, signed)

    def _welcome(self, connection: Connection, known: KnownNode) -> None:
        before = self._registry.known(connection.node)
        self._registry.connect(connection, known)
        if before is None or before.signed.digest != known.signed.digest:
            self._log.record(
                Act.TABLE_PUBLISHED,
                subject={"node": connection.node},
                digests={"descriptor": known.signed.digest},
                detail={"tables": sorted(known.signed.descriptor.tables)},
            )
            self._store.save_descriptor(
                connection.node, known.envelope.to_proto().SerializeToString()
            )
        connection.send(
            link_pb2.CoordinatorFrame(
                welcome=link_pb2.Welcome(
                    coordinator=self._membership.identity.uri,
                    now_ms=self._membership.clock.now_ms(),
                    revocations=self._membership.revocations.der,
                    descriptor=self._publication.current().to_proto(),
                )
            )
        )
        _LOG.info("node %s connected", connection.node)
        self._scheduler.node_connected(connection.node)

    async def _read(
        self, connection: Connection, frames: AsyncIterator[link_pb2.NodeFrame]
    ) -> None:
        try:
            async for frame in frames:
                self._handle(connection.node, frame)
        except YumenError as error:
            _LOG.warning("node %s sent what is not acceptable: %s", connection.node, error)
            self._log.record(
                Act.REFUSAL,
                subject={"node": connection.node},
                detail={"code": error.code, "message": error.message},
            )
        except grpc.aio.UsageError:
            pass  # the stream was closed from this side while a read was under way
        finally:
            connection.close()

    def _handle(self, node: str, frame: link_pb2.NodeFrame) -> None:
        match frame.WhichOneof("frame"):
            case "decision":
                word = frame.decision
                self._decision(node, SignedEnvelope.from_proto(word.decision), word.proof)
            case "support":
                self._support(node, frame.support)
            case "contribution":
                part = frame.contribution
                self._answers.contributed(node, part.job_id, part.run, part.chunk)
            case "awaiting":
                self._answers.awaits(node, frame.awaiting.job_id)
            case "cosign":
                self._witnesses.asked(node, frame.cosign)
            case "cosigned":
                self._witnesses.answered(node, frame.cosigned)
            case "problem":
                problem = frame.problem
                self._answers.failed(node, problem.job_id, problem.code, problem.message)
            case other:
                raise PeerError("round", f"expected a part of a job, got a frame `{other}`")

    def _decision(self, node: str, envelope: SignedEnvelope, proof: job_pb2.LogProof) -> None:
        opened = open_envelope(
            envelope,
            expected_type=PayloadType.DECISION,
            anchor=self._membership.anchor,
            revocations=self._membership.revocations,
            now_ms=self._membership.clock.now_ms(),
            max_bytes=decisions.MAX_BYTES,
            role=Role.NODE,
        )
        decision = decisions.parse_decision(opened.payload, signer=opened.identity)
        if opened.identity.uri != node:
            raise PeerError("identity", f"expected a decision of `{node}`, got another's")
        active = self._scheduler.active(decision.job_id)
        digest = active.opened.digest if active else self._checks.spec_digest(decision.job_id)
        if digest is None:
            return  # the job ended meanwhile
        if decision.spec_digest != digest:
            raise PeerError("signature", "expected a decision on the job sent, got on another")
        if active is not None:
            self._decided(node, decision, envelope, proof)
            return
        self._log.record(
            Act.DECISION,
            subject={"job": decision.job_id, "node": node},
            digests={"decision": opened.digest, "policies": decision.policy_digest},
            detail={"accepted": decision.accepted, "log_index": decision.log_index},
        )
        self._checks.decided(node, decision.job_id, envelope)

    def _decided(
        self,
        node: str,
        decision: decisions.Decision,
        envelope: SignedEnvelope,
        message: job_pb2.LogProof,
    ) -> None:
        """Hand on a decision on an open job; an acceptance only with the proof that the node's log
        holds it: without, the node does not take part."""
        if not decision.accepted:
            self._answers.decided(node, decision, envelope, None)
            return
        known = self._registry.known(node)
        try:
            proof = LogProof.from_proto(message)
            verify_decision(
                proof,
                "" if known is None else known.signed.descriptor.log_key,
                job_id=decision.job_id,
                spec_digest=decision.spec_digest,
                accepted=True,
                index=decision.log_index,
            )
        except PeerError as error:
            _LOG.warning("node %s, job %s: %s", node, decision.job_id, error)
            denial = gate_denial(error, node=node)
            self._answers.unproved(node, decision.job_id, denial)
            return
        self._answers.decided(node, decision, envelope, proof)

    def _support(self, node: str, frame: link_pb2.SupportFrame) -> None:
        """Carry on a share only where its signature and frame hold: the other nodes would refuse
        it too, and then the job would end in the name of one of them."""
        envelope = SignedEnvelope.from_proto(frame.support)
        active = self._scheduler.active(frame.job_id)
        if active is None or active.job.run != frame.run:
            return
        try:
            share = open_share(
                envelope,
                job_id=frame.job_id,
                spec_digest=active.opened.digest,
                participants=active.job.participants,
                binding=support_binding(
                    frame.job_id,
                    active.job.participants,
                    run=frame.run,
                    inputs=active.inputs_digest,
                ),
                membership=self._membership,
            )
            if share.node != node:
                raise PeerError("identity", f"expected a support share of `{node}`, got another's")
        except PeerError as error:
            self._answers.refused(node, frame.job_id, Round.SUPPORT, error)
            return
        self._answers.supported(node, frame.job_id, frame.run, envelope)
