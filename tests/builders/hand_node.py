"""A node of a real federation that the test speaks for, frame by frame.

It has the true gate and the true execution over its own folder, so it can be honest as far as a
test wants, stop at any point, and lie from there.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import grpc
from yumen_core.clock import SystemClock
from yumen_core.errors import YumenError
from yumen_core.identity import SignedEnvelope
from yumen_core.identity.membership import Membership
from yumen_core.log import open_log
from yumen_core.log.proof import LogProof, prove
from yumen_core.policy import PolicyBundle
from yumen_core.rpc import chunks, faults
from yumen_core.rpc.channels import channel
from yumen_core.rpc.v1 import job_pb2, link_pb2, link_pb2_grpc
from yumen_core.securesum.parallel import EncryptionPool
from yumen_node.approvals import Approvals
from yumen_node.config import load_config
from yumen_node.execution import Execution
from yumen_node.gate import AcceptedJob, Gate
from yumen_node.keys import load_keys
from yumen_node.ledger import Ledger
from yumen_node.local_work import LocalWork
from yumen_node.publication import Publication
from yumen_node.refusals import Refusals
from yumen_node.released import ReleasedSets
from yumen_node.service import open_datasets, publish
from yumen_node.state import NodeState
from yumen_node.training.trainer import Trainer

WAIT_S = 20.0


class Stream:
    """One `NodeLink.Connect` call: frames out by `send`, frames in by `next`."""

    def __init__(self, address: str, membership: Membership) -> None:
        self._channel = channel(address, membership.tls())
        self._out: queue.SimpleQueue[link_pb2.NodeFrame | None] = queue.SimpleQueue()
        self._in: queue.SimpleQueue[link_pb2.CoordinatorFrame | YumenError | None] = (
            queue.SimpleQueue()
        )
        self._call = link_pb2_grpc.NodeLinkStub(self._channel).Connect(self._outgoing())
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, frame: link_pb2.NodeFrame) -> None:
        self._out.put(frame)

    def next(self, *kinds: str) -> link_pb2.CoordinatorFrame:
        """The next frame of these kinds; others are left out. Raises what ended the stream, and
        `EOFError` where the coordinator ended it without a word."""
        while True:
            found = self._in.get(timeout=WAIT_S)
            if found is None:
                raise EOFError
            if isinstance(found, YumenError):
                raise found
            if found.WhichOneof("frame") in kinds:
                return found

    def close(self) -> None:
        self._out.put(None)
        self._call.cancel()
        self._reader.join(WAIT_S)
        self._channel.close()

    def _outgoing(self) -> Iterator[link_pb2.NodeFrame]:
        while (frame := self._out.get()) is not None:
            yield frame

    def _read(self) -> None:
        try:
            for frame in self._call:
                self._in.put(frame)
            self._in.put(None)
        except grpc.RpcError as error:
            self._in.put(faults.from_rpc_error(error, what="the coordinator"))


def _unrecorded(job_id: str, what: str, detail: object) -> None:
    """No job of this node's runs any code."""


class HandNode:
    """The node in `directory`. Enter it to connect."""

    def __init__(self, directory: Path, address: str) -> None:
        config = load_config(directory)
        self.address = address
        self.membership = Membership(config.identity, SystemClock())
        self.uri = self.membership.identity.uri
        self._log = open_log(
            config.log,
            member=self.membership.identity,
            secrets=config.secrets,
            clock=self.membership.clock,
        )
        self._state = NodeState(config.state)
        self._datasets = open_datasets(config)
        keys = load_keys(config.secrets)
        self.publication = Publication(
            self.membership,
            keys,
            {name: publish(held.declaration) for name, held in self._datasets.items()},
            self._log.verifier_key,
            config.state / "descriptor.bin",
        )
        self._approvals = Approvals(config.state, self.membership)
        tables = {name: publish(held.declaration) for name, held in self._datasets.items()}
        ledger = Ledger(config.state, tables, self._log, self.uri)
        ledger.begin()
        released = ReleasedSets(
            config.state,
            self.uri,
            {name: held.version for name, held in self._datasets.items()},
        )
        refusals = Refusals(
            config.state, self.uri, self.membership.clock, most=config.refusals_a_day
        )
        self._gate = Gate(
            membership=self.membership,
            keys=keys,
            publication=self.publication,
            policies=PolicyBundle.load(config.policies, purposes=config.purposes),
            state=self._state,
            log=self._log,
            approvals=self._approvals,
            code_refusal=None,
            limits={},
            ledger=ledger,
            released=released,
            refusals=refusals,
        )
        self._pool = EncryptionPool(1)
        self._local_work = LocalWork(
            self.membership.identity.uri,
            config.state / "training",
            Trainer(config.training, config.state / "training-output", _unrecorded),
            self._datasets,
            max_norm=config.training_max_norm,
            timeout_s=config.query_timeout_s,
            check_rows=self._state.check_rows,
        )
        self.execution = Execution(
            membership=self.membership,
            keys=keys,
            state=self._state,
            log=self._log,
            datasets=self._datasets,
            query_timeout_s=config.query_timeout_s,
            local_work=self._local_work,
            pool=self._pool,
            ledger=ledger,
            released=released,
            refusals=refusals,
        )
        self.jobs: dict[str, AcceptedJob] = {}
        self.stream: Stream | None = None

    def __enter__(self) -> HandNode:
        self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.disconnect()
        for held in self._datasets.values():
            held.close()
        self._state.close()
        self._log.close()

    # The stream ---------------------------------------------------------------------------------

    def connect(self, descriptor: SignedEnvelope | None = None) -> None:
        """Say hello on a new stream and wait for the welcome. Raises what the coordinator says."""
        self.disconnect()
        self.stream = self.hello(descriptor)

    def hello(self, descriptor: SignedEnvelope | None = None) -> Stream:
        """A second stream of this node, beside the first."""
        shown = descriptor or self.publication.current()[0]
        stream = Stream(self.address, self.membership)
        stream.send(link_pb2.NodeFrame(hello=link_pb2.Hello(descriptor=shown.to_proto())))
        try:
            stream.next("welcome")
        except BaseException:
            stream.close()
            raise
        return stream

    def disconnect(self) -> None:
        if self.stream is not None:
            self.stream.close()
            self.stream = None

    def next(self, kind: str) -> link_pb2.CoordinatorFrame:
        assert self.stream is not None
        return self.stream.next(kind)

    def send(self, frame: link_pb2.NodeFrame) -> None:
        assert self.stream is not None
        self.stream.send(frame)

    # What an honest node says -------------------------------------------------------------------

    def decision(self) -> SignedEnvelope:
        """Take the next proposal and decide on it, without a word yet."""
        ruling = self._gate.decide(self.next("proposal").proposal)
        if ruling.job is not None:
            self.jobs[ruling.job_id] = ruling.job
        assert ruling.envelope is not None
        return ruling.envelope

    def say(self, decision: SignedEnvelope) -> None:
        """Say it with the proof of what stands at its place in this node's log."""
        self.send(decision_frame(decision, self.proof(decision)))

    def proof(self, decision: SignedEnvelope) -> LogProof:
        return prove(self._log, job_pb2.Decision.FromString(decision.payload).log_index)

    def decide(self) -> None:
        self.say(self.decision())

    def round(self) -> link_pb2.RoundRequest:
        """The next round this node is asked for."""
        assert self.stream is not None
        found = self.stream.next("round", "ended")
        assert found.WhichOneof("frame") == "round", f"the job ended: {found.ended.reason}"
        return found.round

    def share(self, request: link_pb2.RoundRequest) -> SignedEnvelope:
        """This node's true share of the support round, not sent."""
        return asyncio.run(self.execution.support(self.jobs[request.job_id], request))

    def support(self, request: link_pb2.RoundRequest) -> None:
        self.send(support_frame(request.job_id, self.share(request)))

    def contribution(self, request: link_pb2.RoundRequest) -> bytes:
        """This node's true contribution, not sent."""
        return asyncio.run(self.execution.contribution(self.jobs[request.job_id], request))

    def contribute(self, request: link_pb2.RoundRequest, payload: bytes | None = None) -> None:
        """Send a contribution: the true one, or any other bytes."""
        whole = self.contribution(request) if payload is None else payload
        for chunk in chunks.split(whole):
            self.send(
                link_pb2.NodeFrame(
                    contribution=link_pb2.ContributionFrame(job_id=request.job_id, chunk=chunk)
                )
            )

    def ended(self) -> link_pb2.JobEnded:
        """Wait for the end of the job and forget it."""
        ended = self.next("ended").ended
        self.execution.forget(ended.job_id)
        return ended

    def take_part(self) -> None:
        """One whole job, as an honest node does it."""
        self.decide()
        self.finish()

    def finish(self) -> None:
        """The rounds of a job that this node has accepted, to its end."""
        self.support(self.round())
        self.contribute(self.round())
        self.ended()


def decision_frame(envelope: SignedEnvelope, proof: LogProof | None = None) -> link_pb2.NodeFrame:
    frame = link_pb2.DecisionFrame(decision=envelope.to_proto())
    if proof is not None:
        frame.proof.CopyFrom(proof.to_proto())
    return link_pb2.NodeFrame(decision=frame)


def support_frame(job_id: str, share: SignedEnvelope) -> link_pb2.NodeFrame:
    return link_pb2.NodeFrame(
        support=link_pb2.SupportFrame(job_id=job_id, support=share.to_proto())
    )
