"""No proof, no release: what comes of acceptances that no log of their node holds."""

from collections.abc import Callable
from pathlib import Path

import pytest
from builders.federation import Job, Node
from builders.hub import PROOF, Hub
from yumen_coordinator.link_service import LinkService
from yumen_core.identity.envelope import PayloadType
from yumen_core.jobs.decision import Decision
from yumen_core.jobs.machine import State
from yumen_core.jobs.spec import spec_digest
from yumen_core.log import Act, Signer, TileLog
from yumen_core.log.proof import LogProof, prove
from yumen_core.rpc.v1 import link_pb2

Play = Callable[..., None]


class Books:
    """The logs of the nodes, with a descriptor of each that names its log's key."""

    def __init__(self, folder: Path, nodes: list[Node]) -> None:
        self.logs: dict[str, TileLog] = {}
        for number, node in enumerate(nodes):
            signer = Signer.generate(f"log{number}")
            self.logs[node.uri] = TileLog.open(
                folder / f"log{number}",
                signer,
                origin=signer.name,
                guard=folder / f"guard{number}",
                clock=node.membership.clock,
            )

    def decided(self, job: Job, node: str, *, accepted: bool = True, job_id: str = "") -> int:
        return self.logs[node].record(
            Act.DECISION,
            subject={"job": job_id or job.spec.job_id},
            digests={"spec": digest_of(job)},
            detail={"accepted": accepted},
        )


def digest_of(job: Job) -> bytes:
    return spec_digest(job.envelope.payload)


def none_sent(books: Books, job: Job, node: str) -> tuple[int, LogProof | None]:
    return books.decided(job, node), None


def true(books: Books, job: Job, node: str) -> tuple[int, LogProof | None]:
    index = books.decided(job, node)
    return index, prove(books.logs[node], index)


def of_another_job(books: Books, job: Job, node: str) -> tuple[int, LogProof | None]:
    index = books.decided(job, node, job_id="other")
    return index, prove(books.logs[node], index)


def of_a_refusal(books: Books, job: Job, node: str) -> tuple[int, LogProof | None]:
    index = books.decided(job, node, accepted=False)
    return index, prove(books.logs[node], index)


def elsewhere(books: Books, job: Job, node: str) -> tuple[int, LogProof | None]:
    index = books.decided(job, node)
    return index + 1, prove(books.logs[node], index)


def of_another_log(books: Books, job: Job, node: str) -> tuple[int, LogProof | None]:
    other = next(name for name in books.logs if name != node)
    index = books.decided(job, other)
    return index, prove(books.logs[other], index)


def cut(books: Books, job: Job, node: str) -> tuple[int, LogProof | None]:
    books.decided(job, node)
    index = books.decided(job, node)
    found = prove(books.logs[node], index)
    return index, LogProof(found.entry, found.index, found.checkpoint, ())


BAD = [none_sent, of_another_job, of_a_refusal, elsewhere, of_another_log, cut]


def say(hub: Hub, nodes: dict[str, Node], job: Job, name: str, index: int, proof: object) -> None:
    """As the link does with a node's frame."""
    service = LinkService(
        membership=nodes[name].membership,
        registry=hub.registry,
        scheduler=hub.scheduler,
        checks=None,  # type: ignore[arg-type]
        store=hub.store,
        log=hub.log,  # type: ignore[arg-type]
        publication=None,  # type: ignore[arg-type]
        witnesses=None,  # type: ignore[arg-type]
    )
    decision = Decision(job.spec.job_id, digest_of(job), name, True, (), bytes(32), index, 0)
    envelope = nodes[name].membership.sign(decision.to_bytes(), PayloadType.DECISION)
    frame = link_pb2.DecisionFrame(decision=envelope.to_proto())
    if isinstance(proof, LogProof):
        frame.proof.CopyFrom(proof.to_proto())
    service._handle(name, link_pb2.NodeFrame(decision=frame))


@pytest.mark.parametrize("attack", BAD)
@pytest.mark.parametrize("min_nodes", [3, 4])
def test_an_acceptance_without_its_proof_does_not_count(
    play: Play,
    nodes: list[Node],
    tmp_path: Path,
    attack: Callable[[Books, Job, str], tuple[int, LogProof | None]],
    min_nodes: int,
) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        books = Books(tmp_path, nodes)
        by_name = {node.uri: node for node in nodes}
        for name, node in by_name.items():
            log_key = books.logs[name].verifier_key
            known = hub.nodes[name]
            _, signed = node.signed(log_key=log_key)
            hub.nodes[name] = type(known)(known.envelope, signed)
        hub.connect()
        hub.submit(job)
        bad, *good = names
        for name in good:
            say(hub, by_name, job, name, *true(books, job, name))
        say(hub, by_name, job, bad, *attack(books, job, bad))
        for name in good:
            hub.support(job, name)
        for name in good:
            hub.contribute(job, name)
        refused = [e for e in hub.log.entries if e.act is Act.REFUSAL]
        assert [(e.subject["node"], e.detail["code"]) for e in refused] == [(bad, "log_proof")]
        outcome, total = hub.outcome(job)
        if min_nodes == 4:
            assert hub.state(job)[0] is State.DENIED
            assert total == b""
            return
        assert hub.state(job) == (State.SUCCEEDED, "")
        assert list(outcome.participants) == good
        assert [entry.node for entry in outcome.proofs] == good
        assert [(out.node, "log" in out.reason) for out in outcome.excluded] == [(bad, True)]

    play(scenario, min_nodes=min_nodes)


def test_a_job_whose_proofs_are_gone_is_not_carried_on(play: Play) -> None:
    async def scenario(hub: Hub, job: Job, names: list[str]) -> None:
        hub.connect()
        active = hub.submit(job)
        assert active is not None
        hub.accept(job, *names)
        assert sorted(active.proofs) == names
        hub.restart()
        hub.connect()
        active = hub.scheduler.active(job.spec.job_id)
        assert active is not None
        assert active.proofs == dict.fromkeys(names, PROOF)  # a restart keeps them
        del active.proofs[names[0]]
        hub.support(job, *names)
        state, reason = hub.state(job)
        assert state is State.FAILED
        assert reason == f"expected the proof that the decision of `{names[0]}` is logged, got none"
        assert hub.outcome(job)[1] == b""

    play(scenario)
