"""The calls to a coordinator, and the checks on everything it answers.

The coordinator is not trusted: descriptors and decisions count only with their signers' names, and
the encrypted sum only with the tag that nodes and requester share.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from yumen_core.clock import Clock, SystemClock
from yumen_core.errors import PeerError, YumenError
from yumen_core.identity.envelope import PayloadType, SignedEnvelope, open_envelope
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Identity, Role
from yumen_core.jobs import decision as decisions
from yumen_core.jobs.book import DescriptorBook, SignedDescriptor
from yumen_core.jobs.coordinator_descriptor import open_coordinator_descriptor
from yumen_core.jobs.decision import Decision
from yumen_core.log.proof import LogProof, verify_decision
from yumen_core.rpc import chunks
from yumen_core.rpc.channels import channel
from yumen_core.rpc.faults import from_rpc_error
from yumen_core.rpc.v1 import envelope_pb2, federation_pb2, federation_pb2_grpc, job_pb2

from yumen.evidence import EvidenceBook

CALL_TIMEOUT_S = 30.0


class CoordinatorClient:
    """One requester's connection to one coordinator."""

    def __init__(self, address: str, identity: Path, clock: Clock | None = None) -> None:
        self.address = address
        self.membership = Membership(identity, clock or SystemClock())
        if self.membership.identity.role not in (Role.USER, Role.AUDITOR):
            raise PeerError(
                "role",
                "expected the identity of a user or an auditor, "
                f"got `{self.membership.identity.uri}`",
            )
        self._book = DescriptorBook(self.membership)
        self._log_keys: dict[tuple[str, bytes], str] = {}
        self._shown: dict[tuple[str, bytes], SignedEnvelope] = {}
        self.coordinator_descriptor: SignedEnvelope | None = None
        self.coordinator_decision: SignedEnvelope | None = None  # on the last job submitted
        self.evidence = EvidenceBook()
        self._coordinator_key = ""
        self.coordinator_proof: LogProof | None = None  # of the decision on the last job submitted
        self._channel = channel(address, self.membership.tls())
        self._stub = federation_pb2_grpc.FederationStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def catalogue(self) -> list[tuple[SignedDescriptor, bool]]:
        """Every node's verified descriptor, and whether it is connected.

        A descriptor that does not verify, or a node shown twice, raises `PeerError`: the
        coordinator would have let it in only if it were not doing its work.
        """
        with self._faults():
            answer = self._stub.Catalogue(federation_pb2.CatalogueRequest(), timeout=CALL_TIMEOUT_S)
        self.membership.learn(answer.revocations)
        self._pin(answer.descriptor)
        found: dict[Identity, tuple[SignedDescriptor, bool]] = {}
        for entry in answer.nodes:
            envelope = SignedEnvelope.from_proto(entry.descriptor)
            try:
                signed = self._book.open(envelope)
            except PeerError as error:
                if error.code == "certificate_revoked":
                    continue  # still in the coordinator's book, not in ours
                raise
            if signed.descriptor.node in found:
                raise PeerError(
                    "descriptor", f"expected one entry for `{signed.descriptor.node.uri}`, got two"
                )
            found[signed.descriptor.node] = (signed, entry.connected)
            name = (signed.descriptor.node.uri, signed.digest)
            self._log_keys[name] = signed.descriptor.log_key
            self._shown[name] = envelope
        return [found[node] for node in sorted(found)]

    def log_key(self, node: str, descriptor_digest: bytes) -> str:
        """The key of a node's log in the descriptor with this digest, which the catalogue showed.
        Raises `PeerError` (`log_proof`)."""
        key = self._log_keys.get((node, descriptor_digest))
        if key is None:
            raise PeerError("log_proof", f"expected the descriptor of `{node}` that the job names")
        return key

    def descriptor(self, node: str, descriptor_digest: bytes) -> SignedEnvelope:
        """The signed descriptor with this digest, which the catalogue showed. Raises `PeerError`
        (`log_proof`)."""
        self.log_key(node, descriptor_digest)
        return self._shown[node, descriptor_digest]

    def _pin(self, message: envelope_pb2.Envelope) -> None:
        """The coordinator's log has one key for as long as this connection lasts."""
        envelope = SignedEnvelope.from_proto(message)
        key = open_coordinator_descriptor(envelope, self.membership).log_key
        if self._coordinator_key not in ("", key):
            raise PeerError(
                "log_proof", "expected the coordinator's log key as before, got another"
            )
        self._coordinator_key = key
        self.coordinator_descriptor = envelope

    def check(
        self, job: SignedEnvelope, *, timeout_s: float
    ) -> tuple[Decision, list[Decision], list[job_pb2.Exclusion]]:
        """The coordinator's and the nodes' verified decisions on a dry run."""
        request = federation_pb2.CheckRequest(job=job.to_proto())
        with self._faults():
            answer = self._stub.Check(request, timeout=timeout_s)
        own = self.decision(answer.coordinator, role=Role.COORDINATOR)
        nodes = [self.decision(d, role=Role.NODE) for d in answer.decisions]
        return own, nodes, list(answer.excluded)

    def submit(
        self, job: SignedEnvelope, public_key: bytes, bundle: bytes = b""
    ) -> tuple[job_pb2.JobStatus, Decision]:
        """Submit a signed job. The decision is the coordinator's: verified, and proved to stand in
        its log. Raises `PeerError` (`log_proof`)."""
        if not self._coordinator_key:
            self.catalogue()
        request = federation_pb2.SubmitRequest(
            job=job.to_proto(), public_key=public_key, bundle=bundle
        )
        with self._faults():
            answer = self._stub.Submit(request, timeout=CALL_TIMEOUT_S)
        decision = self.decision(answer.decision, role=Role.COORDINATOR)
        self.coordinator_decision = SignedEnvelope.from_proto(answer.decision)
        self.coordinator_proof = LogProof.from_proto(answer.proof)
        verify_decision(
            self.coordinator_proof,
            self._coordinator_key,
            job_id=decision.job_id,
            spec_digest=decision.spec_digest,
            accepted=decision.accepted,
            index=decision.log_index,
        )
        return answer.status, decision

    def watch(self, job_id: str, *, timeout_s: float) -> Iterator[job_pb2.JobStatus]:
        """The job's status now and at every change, until it ends."""
        with self._faults():
            request = federation_pb2.WatchRequest(job_id=job_id)
            yield from self._stub.Watch(request, timeout=timeout_s)

    def fetch(self, job_id: str) -> tuple[job_pb2.Outcome, bytes]:
        """The ended job's outcome and encrypted sum (empty where there is none)."""
        outcome: job_pb2.Outcome | None = None
        total = b""
        joiner = chunks.Joiner(sender=f"the coordinator at {self.address}")
        with self._faults():
            request = federation_pb2.FetchRequest(job_id=job_id)
            for part in self._stub.Fetch(request, timeout=CALL_TIMEOUT_S * 10):
                if part.WhichOneof("part") == "outcome":
                    outcome = part.outcome
                else:
                    total = joiner.add(part.sum) or total
        if outcome is None:
            raise PeerError("failed", f"expected the outcome of job `{job_id}`, got none")
        return outcome, total

    def next_run(
        self,
        job_id: str,
        run: int,
        round_name: str,
        inputs: SignedEnvelope | None,
        timeout_s: float,
    ) -> tuple[job_pb2.RunOutcome, bytes]:
        """Start a statistic's next run, or attach to the present one: its outcome and its sum."""
        outcome: job_pb2.RunOutcome | None = None
        total = b""
        joiner = chunks.Joiner(sender=f"the coordinator at {self.address}")
        request = federation_pb2.NextRunRequest(job_id=job_id, run=run, round=round_name)
        if inputs is not None:
            request.input.CopyFrom(inputs.to_proto())
        with self._faults():
            for part in self._stub.NextRun(request, timeout=timeout_s):
                if part.WhichOneof("part") == "outcome":
                    outcome = part.outcome
                else:
                    total = joiner.add(part.sum) or total
        if outcome is None:
            raise PeerError("failed", f"expected the sum of run {run} of `{job_id}`, got none")
        return outcome, total

    def upload(self, job_id: str, payload: bytes, *, timeout_s: float) -> None:
        """Bring what the input of a training's next run names."""

        def pieces() -> Iterator[federation_pb2.UploadRequest]:
            for number, chunk in enumerate(chunks.split(payload)):
                yield federation_pb2.UploadRequest(job_id="" if number else job_id, chunk=chunk)

        with self._faults():
            self._stub.Upload(pieces(), timeout=timeout_s)

    def complete(self, job_id: str) -> job_pb2.JobStatus:
        """The requester needs no further run of a statistic."""
        with self._faults():
            request = federation_pb2.CompleteRequest(job_id=job_id)
            status: job_pb2.JobStatus = self._stub.Complete(request, timeout=CALL_TIMEOUT_S)
        return status

    def cancel(self, job_id: str) -> job_pb2.JobStatus:
        with self._faults():
            request = federation_pb2.CancelRequest(job_id=job_id)
            status: job_pb2.JobStatus = self._stub.Cancel(request, timeout=CALL_TIMEOUT_S)
        return status

    def jobs(self, limit: int) -> list[job_pb2.JobStatus]:
        with self._faults():
            request = federation_pb2.JobsRequest(limit=limit)
            answer = self._stub.Jobs(request, timeout=CALL_TIMEOUT_S)
        return list(answer.jobs)

    def decision(self, message: envelope_pb2.Envelope, *, role: Role) -> Decision:
        """A decision with its signature verified. Raises `PeerError`."""
        opened = open_envelope(
            SignedEnvelope.from_proto(message),
            expected_type=PayloadType.DECISION,
            anchor=self.membership.anchor,
            revocations=self.membership.revocations,
            now_ms=self.membership.clock.now_ms(),
            max_bytes=decisions.MAX_BYTES,
            role=role,
        )
        return decisions.parse_decision(opened.payload, signer=opened.identity)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            found: YumenError = from_rpc_error(error, what=f"the coordinator at {self.address}")
            raise found from None
