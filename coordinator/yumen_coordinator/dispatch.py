"""What the coordinator sends its nodes, built from a job as it stands."""

from __future__ import annotations

from yumen_core.jobs.machine import Job, Round
from yumen_core.rpc.v1 import job_pb2, link_pb2

from yumen_coordinator.registry import Registry
from yumen_coordinator.rounds import ActiveJob

_STEPS = {Round.SUPPORT: job_pb2.ROUND_SUPPORT, Round.SUM: job_pb2.ROUND_SUM}


class Dispatch:
    """Sends to nodes that are connected; one that is not is served when it comes back."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def propose(self, active: ActiveJob, nodes: tuple[str, ...]) -> None:
        """Send the signed job with the signed descriptors of its participants. The public key,
        128 KiB, goes along where the node has not had it on this stream."""
        spec = active.opened.spec
        known = (self._registry.known(node) for node in spec.nodes)
        proposal = link_pb2.Proposal(
            job=active.envelope.to_proto(),
            descriptors=[k.envelope.to_proto() for k in known if k is not None],
            bundle=active.bundle,
        )
        bare = link_pb2.CoordinatorFrame(proposal=proposal)
        proposal.public_key = active.public_key
        whole = link_pb2.CoordinatorFrame(proposal=proposal)
        for node in nodes:
            connection = self._registry.live(node)
            if connection is not None:
                keyed = bool(active.public_key)
                fresh = keyed and connection.needs_key(spec.public_key_digest)
                connection.send(whole if fresh else bare)

    def start_round(self, active: ActiveJob, round_: Round, nodes: tuple[str, ...]) -> None:
        """Ask for a step of the present run, with the requester's input and, for the sum, all
        shares of the support step. Nothing is asked before an input that travels apart is here."""
        if active.waits_for_payload:
            return
        request = link_pb2.RoundRequest(
            job_id=active.job.job_id,
            round=_STEPS[round_],
            participants=active.job.participants,
            run=active.job.run,
            name=active.job.runs[-1],
        )
        if active.inputs_envelope is not None:
            request.input.CopyFrom(active.inputs_envelope.to_proto())
        if round_ is Round.SUM and active.job.supported:
            request.supports.extend(active.supports[n].to_proto() for n in active.job.participants)
        frame = link_pb2.CoordinatorFrame(round=request)
        for node in nodes:
            self._send_payload(active, node)
            self._send(node, frame)

    def _send_payload(self, active: ActiveJob, node: str) -> None:
        """What the run's input names, once a stream."""
        connection, payload = self._registry.live(node), active.payload
        if connection is None or payload is None:
            return
        job_id = active.job.job_id
        if connection.needs_payload(job_id, payload.digest):
            for piece in payload.pieces:
                connection.send(
                    link_pb2.CoordinatorFrame(input=link_pb2.InputFrame(job_id=job_id, chunk=piece))
                )

    def ended(self, job: Job) -> None:
        """Tell every node of the job that it is over."""
        frame = link_pb2.CoordinatorFrame(
            ended=link_pb2.JobEnded(
                job_id=job.job_id,
                state=f"JOB_STATE_{job.state.name}",
                reason=job.reason,
            )
        )
        for node in job.steps:
            self._send(node, frame)
            connection = self._registry.live(node)
            if connection is not None:
                connection.payloads_sent.pop(job.job_id, None)

    def _send(self, node: str, frame: link_pb2.CoordinatorFrame) -> None:
        connection = self._registry.live(node)
        if connection is not None:
            connection.send(frame)
