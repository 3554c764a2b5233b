"""What a requester believes of an outcome: proofs by the logs that his job pins, and no others."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders.federation import Federation, Job, Node, job_for
from builders.member_log import MemberLog
from yumen.coordinator import CoordinatorClient
from yumen.question import PreparedJob
from yumen.submission import Submission
from yumen_core.errors import PeerError
from yumen_core.identity import Role
from yumen_core.identity.envelope import PayloadType
from yumen_core.identity.membership import Membership
from yumen_core.jobs.coordinator_descriptor import LIFETIME_MS, CoordinatorDescriptor
from yumen_core.jobs.decision import Decision
from yumen_core.log.proof import LogProof
from yumen_core.rpc.v1 import envelope_pb2, federation_pb2, job_pb2


class World:
    """Three nodes and a coordinator, each with its log, and what the coordinator answers."""

    def __init__(self, folder: Path) -> None:
        self.federation = Federation(folder / "members")
        self.li = self.federation.member(Role.USER, "li")
        self.nodes = self.federation.nodes(3)
        self.logs = [MemberLog(n.membership, folder / f"n{i}") for i, n in enumerate(self.nodes)]
        self.coordinator = self.federation.member(Role.COORDINATOR, "main")
        self.own = MemberLog(self.coordinator, folder / "coordinator")
        published = [
            (node, *node.signed(log_key=log.key))
            for node, log in zip(self.nodes, self.logs, strict=True)
        ]
        self.shown = [envelope for _, envelope, _ in published]
        self.job: Job = job_for(self.li, published)
        self.log_key = self.own.key
        self.described_by: Membership = self.coordinator
        self.accepted = True
        self.own_proof: LogProof | None = None
        self.own_index: int | None = None
        self.client = CoordinatorClient(
            "127.0.0.1:1", folder / "members" / "user-lzu-li", self.federation.clock
        )
        self.client._stub = self
        self.submission = Submission(self.client, PreparedJob(self.job.spec, self.job.secret), None)

    def accept(self, node: Node, index: int) -> envelope_pb2.Envelope:
        return self.word(node.membership, index).to_proto()

    def word(self, member: Membership, index: int, *, accepted: bool = True) -> Any:
        spec, uri = self.job.spec, member.identity.uri
        said = Decision(spec.job_id, self.submission.digest, uri, accepted, (), bytes(32), index, 0)
        return member.sign(said.to_bytes(), PayloadType.DECISION)

    def outcome(self) -> job_pb2.Outcome:
        """A true one."""
        made = job_pb2.Outcome()
        for node, log in sorted(zip(self.nodes, self.logs, strict=True), key=lambda p: p[0].uri):
            index, proof = log.decision(self.job.spec.job_id, self.submission.digest)
            made.participants.append(node.uri)
            made.decisions.append(self.accept(node, index))
            made.proofs.add(node=node.uri, proof=proof.to_proto())
        return made

    # The coordinator's calls ----------------------------------------------------------------------

    def Catalogue(self, request: object, timeout: float) -> federation_pb2.CatalogueResponse:
        now_ms = self.federation.clock.now_ms()
        described = CoordinatorDescriptor(
            self.described_by.identity, self.log_key, now_ms, now_ms + LIFETIME_MS
        )
        signed = self.described_by.sign(described.to_bytes(), PayloadType.COORDINATOR_DESCRIPTOR)
        return federation_pb2.CatalogueResponse(
            nodes=[
                federation_pb2.CatalogueNode(descriptor=one.to_proto(), connected=True)
                for one in self.shown
            ],
            revocations=self.federation.revocations_der,
            descriptor=signed.to_proto(),
        )

    def Submit(self, request: object, timeout: float) -> federation_pb2.SubmitResponse:
        index, proof = self.own.decision(self.job.spec.job_id, self.submission.digest)
        index = index if self.own_index is None else self.own_index
        sent = proof if self.own_proof is None else self.own_proof
        return federation_pb2.SubmitResponse(
            decision=self.word(self.coordinator, index).to_proto(), proof=sent.to_proto()
        )

    def close(self) -> None:
        self.client.close()
        for log in (*self.logs, self.own):
            log.log.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


# Participants -------------------------------------------------------------------------------------


def test_a_true_outcome_is_believed_and_its_proofs_are_kept(world: World) -> None:
    world.client.catalogue()
    outcome = world.outcome()
    assert world.submission.participants(outcome) == tuple(outcome.participants)
    assert list(world.submission.proofs) == list(outcome.participants)
    # a later run sends none again: they are checked once a job
    del outcome.proofs[:]
    assert world.submission.participants(outcome) == tuple(outcome.participants)


def _missing(world: World, outcome: job_pb2.Outcome) -> None:
    del outcome.proofs[1]


def _empty(world: World, outcome: job_pb2.Outcome) -> None:
    outcome.proofs[1].proof.Clear()


def _of_another_job(world: World, outcome: job_pb2.Outcome) -> None:
    log = _log(world, outcome, 1)
    index, proof = log.decision("another", world.submission.digest)
    _say(world, outcome, index, proof)


def _of_another_spec(world: World, outcome: job_pb2.Outcome) -> None:
    log = _log(world, outcome, 1)
    index, proof = log.decision(world.job.spec.job_id, bytes(32))
    _say(world, outcome, index, proof)


def _of_a_refusal(world: World, outcome: job_pb2.Outcome) -> None:
    log = _log(world, outcome, 1)
    _say(
        world,
        outcome,
        *log.decision(world.job.spec.job_id, world.submission.digest, accepted=False),
    )


def _of_another_nodes_log(world: World, outcome: job_pb2.Outcome) -> None:
    log = _log(world, outcome, 2)
    _say(world, outcome, *log.decision(world.job.spec.job_id, world.submission.digest))


def _at_another_place(world: World, outcome: job_pb2.Outcome) -> None:
    log = _log(world, outcome, 1)
    index, proof = log.decision(world.job.spec.job_id, world.submission.digest)
    _say(world, outcome, index + 1, proof)


def _cut(world: World, outcome: job_pb2.Outcome) -> None:
    log = _log(world, outcome, 1)
    log.decision(world.job.spec.job_id, world.submission.digest)
    index, proof = log.decision(world.job.spec.job_id, world.submission.digest)
    _say(world, outcome, index, replace(proof, hashes=()))


def _log(world: World, outcome: job_pb2.Outcome, place: int) -> MemberLog:
    return next(log for log in world.logs if log.uri == outcome.participants[place])


def _say(world: World, outcome: job_pb2.Outcome, index: int, proof: LogProof) -> None:
    """The second participant decides anew, and this comes as its proof."""
    node = next(node for node in world.nodes if node.uri == outcome.participants[1])
    outcome.decisions[1].CopyFrom(world.accept(node, index))
    outcome.proofs[1].proof.CopyFrom(proof.to_proto())


ANOTHER = "expected the log entry of the decision on job `{job}`, got another"
FORGED = [
    (_missing, "expected the proof that the decision of `{node}` is logged, got none"),
    (_empty, "expected an entry of the log: the note is malformed"),
    (_of_another_job, ANOTHER),
    (_of_another_spec, ANOTHER),
    (_of_a_refusal, ANOTHER),
    (_of_another_nodes_log, "has no signature by the key expected"),
    (_at_another_place, ANOTHER),
    (_cut, "expected an entry of the log: "),
]


@pytest.mark.parametrize(("forge", "message"), FORGED)
def test_a_participant_without_its_proof_is_not_believed(
    world: World, forge: Callable[[World, job_pb2.Outcome], None], message: str
) -> None:
    world.client.catalogue()
    outcome = world.outcome()
    forge(world, outcome)
    with pytest.raises(PeerError) as caught:
        world.submission.participants(outcome)
    assert caught.value.code == "log_proof"
    node = outcome.participants[1]
    assert message.format(node=node, job=world.job.spec.job_id) in caught.value.message
    assert node not in world.submission.proofs


def test_the_key_of_a_descriptor_that_the_job_does_not_pin_does_not_count(world: World) -> None:
    """The coordinator shows another descriptor, of the same node, once the job is signed."""
    world.shown[0] = world.nodes[0].signed(log_key=world.logs[1].key)[0]
    world.client.catalogue()
    with pytest.raises(PeerError) as caught:
        world.submission.participants(world.outcome())
    assert caught.value.code == "log_proof"
    uri = world.nodes[0].uri
    assert caught.value.message == f"expected the descriptor of `{uri}` that the job names"


# The coordinator's own decision -------------------------------------------------------------------


def test_the_coordinators_own_decision_with_its_proof(world: World) -> None:
    world.submission.submit()
    assert world.submission.coordinator_proof is not None


NONE = LogProof(b"", 0, b"", ())


def _own_none(world: World) -> None:
    world.own_proof = NONE


def _own_of_a_node(world: World) -> None:
    found = world.logs[0].decision(world.job.spec.job_id, world.submission.digest)
    world.own_index, world.own_proof = found


def _own_of_another_job(world: World) -> None:
    world.own_index, world.own_proof = world.own.decision("another", world.submission.digest)


def _own_elsewhere(world: World) -> None:
    world.own_index = 7


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (_own_none, "expected an entry of the log: the note is malformed"),
        (_own_of_a_node, "has no signature by the key expected"),
        (_own_of_another_job, ANOTHER),
        (_own_elsewhere, ANOTHER),
    ],
)
def test_an_own_decision_that_is_not_proved(
    world: World, forge: Callable[[World], None], message: str
) -> None:
    forge(world)
    with pytest.raises(PeerError) as caught:
        world.submission.submit()
    assert caught.value.code == "log_proof"
    assert message.format(job=world.job.spec.job_id) in caught.value.message
    assert world.submission.coordinator_proof is None


def test_the_coordinator_keeps_one_log_key(world: World) -> None:
    world.client.catalogue()
    world.log_key = world.logs[0].key
    with pytest.raises(PeerError) as caught:
        world.client.catalogue()
    assert caught.value.code == "log_proof"
    assert caught.value.message == "expected the coordinator's log key as before, got another"


def test_a_node_does_not_describe_the_coordinator(world: World) -> None:
    world.described_by = world.nodes[0].membership
    with pytest.raises(PeerError, match="role") as caught:
        world.client.catalogue()
    assert caught.value.code == "role"
