"""A hostile coordinator: it carries every message, holds the requester's public key, and lies."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders.federation import Federation, Job, job_for, key_pair
from builders.running import PLAN, Running, refused
from builders.site import AGE, Site, added
from yumen.coordinator import CoordinatorClient
from yumen.question import PreparedJob
from yumen.submission import Submission
from yumen_core.audit.reading import open_audited
from yumen_core.clock import ManualClock
from yumen_core.errors import PeerError
from yumen_core.identity import Role
from yumen_core.identity.envelope import PayloadType
from yumen_core.identity.membership import Membership
from yumen_core.log import Act, Signer, TileLog
from yumen_core.log.proof import prove
from yumen_core.log.witness import Seen, judge
from yumen_core.rpc.v1 import job_pb2


def code_of(site: Site, job: Job, **changes: object) -> str:
    """Why the gate refuses; nothing of the table may have been read."""
    ruling = site.decide(job.proposal(**changes))
    assert ruling.job is None
    assert ruling.envelope is not None
    assert site.rows.asked == 0
    return job_pb2.Decision.FromString(ruling.envelope.payload).denials[0].reason_code


def test_forge_a_job(sites: list[Site], ask: Callable[..., Job], li: Membership) -> None:
    """He holds a job that li signed and changes its purpose: the signature breaks. Unchanged, the
    same envelope is accepted. He gets a logged refusal."""
    job = ask(sites[:3])
    message = job_pb2.JobSpec.FromString(job.envelope.payload)
    message.purpose = "pricing"
    forged = replace(job, envelope=replace(job.envelope, payload=message.SerializeToString()))
    assert code_of(sites[0], forged) == "signature"
    assert sites[0].accept(job).job_id == job.spec.job_id


def test_replay_a_job(run: Running, sites: list[Site], ask: Callable[..., Job]) -> None:
    """He proposes a job again that has ended, to have it computed once more: he gets the old
    decision and no round. A fresh job of the same content would be answered."""
    site = sites[0]
    shares = run.shares()
    run.part(site, shares)
    site.execution.forget(run.job.spec.job_id)
    again = site.decide(run.job.proposal())
    assert again.job is None
    assert refused(lambda: run.share(site)).startswith("expected a round of an open job")
    assert site.accept(ask(sites[:3])).job_id != run.job.spec.job_id


def test_swap_a_nodes_keys(sites: list[Site], ask: Callable[..., Job]) -> None:
    """He sends a descriptor with other keys than the job pins, to read what is sealed to them. The
    swapped one is validly signed by its node, so that only the pin stands against it."""
    job = ask(sites[:3])
    victim = sites[1].node
    other, _ = victim.signed(log_key="another")
    swapped = [job.descriptors[0], other.to_proto(), job.descriptors[2]]
    assert code_of(sites[0], job, descriptors=swapped) == "descriptor"
    assert sites[0].accept(ask(sites[:3]))


def test_add_a_sybil(run: Running, sites: list[Site]) -> None:
    """He adds a node of his own to the participants, to be one of the few behind a cell: the set
    has a node that the requester did not sign for."""
    names = sorted([*run.names, sites[3].uri])
    assert refused(lambda: run.share(sites[0], names)) == (
        "expected participants that the job names, got others"
    )
    run.share(sites[0])


def test_resend_a_round_over_another_set(sites: list[Site], li: Membership) -> None:
    """He asks for the sum over four nodes, and then over three of them: the difference would be the
    fourth's share, which plain sums show. A node has one set for each job."""
    job = job_for(li, [site.published() for site in sites], min_nodes=3)
    made = Running(sites, job)
    plain = [site.rows.counts[0] for site in sites]
    assert sum(plain) - sum(plain[:3]) == plain[3]
    made.share(sites[0])
    fewer = [name for name in made.names if name != sites[3].uri]
    assert "participant" in refused(lambda: made.share(sites[0], fewer)).lower()


def test_mix_the_shares_of_two_jobs(
    run: Running, sites: list[Site], ask: Callable[..., Job]
) -> None:
    """He puts a support share of one job into the sum round of another: it names its job."""
    other = Running(sites[:3], ask(sites[:3]))
    shares = run.shares()
    mixed = [shares[0], other.share(sites[1]), shares[2]]
    assert refused(lambda: run.part(sites[0], mixed)) == (
        "expected one support share a participant for this job, run and set, got another"
    )
    assert no_sum_left(sites[0])
    parts = [run.part(site, shares) for site in run.sites]
    total = sum(site.rows.counts[0] for site in run.sites)
    assert run.read(added(PLAN, parts), shares).values[0] == [total, total * AGE]


def test_drop_a_share(run: Running) -> None:
    """He withholds one node's support share, to have a cell counted without it: the node that is
    asked for its sum wants all, and gives its part once it has them."""
    shares = run.shares()
    assert refused(lambda: run.part(run.sites[0], shares[:2])) == (
        "expected the support shares of 3 participants, got 2"
    )
    assert no_sum_left(run.sites[0])
    assert run.part(run.sites[0], shares)


def no_sum_left(site: Site) -> bool:
    return Act.CONTRIBUTION not in site.log.acts


def test_sign_as_the_requester(
    sites: list[Site], ask: Callable[..., Job], federation: Federation
) -> None:
    """He signs li's words with another member's true certificate: a
    node asks no questions. li's own envelope is accepted."""
    job = ask(sites[:3])
    mallory = federation.member(sites[0].node.identity.role, "mallory")
    forged = replace(job, envelope=mallory.sign(job.envelope.payload, PayloadType.JOB_SPEC))
    assert code_of(sites[0], forged) == "role"


def test_another_user_signs_her_job(
    sites: list[Site], ask: Callable[..., Job], federation: Federation
) -> None:
    """He enrols a user of his own and has that one sign li's words, to be answered in her name and
    at her budget: whoever signs a job must be the one it names."""
    job = ask(sites[:3])
    mallory = federation.member(Role.USER, "mallory")
    forged = replace(job, envelope=mallory.sign(job.envelope.payload, PayloadType.JOB_SPEC))
    assert code_of(sites[0], forged) == "identity"
    assert sites[0].accept(job).opened.spec.requester.name == "li"


# The log --------------------------------------------------------------------------------------


class Heard:
    """What the SDK asks its coordinator for, of sites with true logs."""

    def __init__(self, li: Membership, sites: list[Site]) -> None:
        self.membership = li
        self._keys = {site.uri: true_log(site).verifier_key for site in sites}

    decision = CoordinatorClient.decision

    def log_key(self, node: str, descriptor_digest: bytes) -> str:
        return self._keys[node]


def true_log(site: Site) -> TileLog:
    assert isinstance(site.log, TileLog)
    return site.log


@pytest.fixture
def logged(sites: list[Site], tmp_path: Path) -> Iterator[list[Site]]:
    for at, site in enumerate(sites[:3]):
        signer = Signer.generate(site.uri.removeprefix("spiffe://"))
        site.log = TileLog.open(  # type: ignore[assignment]
            tmp_path / f"log{at}",
            signer,
            origin=signer.name,
            guard=tmp_path / f"guard{at}",
            clock=site.node.membership.clock,
        )
        site.restart()
    yield sites[:3]
    for site in sites[:3]:
        true_log(site).close()


Outcome = job_pb2.Outcome


def whole(outcome: Outcome) -> None: ...


def no_proof(outcome: Outcome) -> None:
    del outcome.proofs[1]


def no_decision(outcome: Outcome) -> None:
    del outcome.decisions[1]


def proof_of_another(outcome: Outcome) -> None:
    outcome.proofs[1].proof.CopyFrom(outcome.proofs[0].proof)


def changed_proof(outcome: Outcome) -> None:
    outcome.proofs[1].proof.index += 1


def fewer_nodes(outcome: Outcome) -> None:
    del outcome.participants[1]


SAID = [
    (whole, ""),
    (no_proof, "log_proof"),
    (no_decision, "round"),
    (proof_of_another, "log_proof"),
    (changed_proof, "log_proof"),
    (fewer_nodes, "round"),
]


@pytest.mark.parametrize(("drop", "code"), SAID)
def test_drop_a_decision_or_its_proof(
    logged: list[Site],
    ask: Callable[..., Job],
    li: Membership,
    drop: Callable[..., None],
    code: str,
) -> None:
    """He hides a node's decision or the proof that its log has it, so that nobody could show later
    that it took part: the requester does not read the sum. With all of them he does."""
    job = ask(logged)
    outcome = job_pb2.Outcome()
    for site in sorted(logged, key=lambda one: one.uri):
        ruling = site.decide(job.proposal())
        assert ruling.job is not None
        assert ruling.envelope is not None
        index = job_pb2.Decision.FromString(ruling.envelope.payload).log_index
        outcome.participants.append(site.uri)
        outcome.decisions.append(ruling.envelope.to_proto())
        outcome.proofs.add(node=site.uri, proof=prove(true_log(site), index).to_proto())
    drop(outcome)
    client: Any = Heard(li, logged)
    submission = Submission(client, PreparedJob(job.spec, job.secret), key_pair())
    if not code:
        assert submission.participants(outcome) == tuple(outcome.participants)
        return
    with pytest.raises(PeerError) as caught:
        submission.participants(outcome)
    assert caught.value.code == code


def test_show_two_logs(tmp_path: Path) -> None:
    """He keeps one log for the auditor and one for the requester, under one key. Each is whole by
    itself. A checkpoint of one beside the files of the other shows it, and a witness that has
    cosigned the one does not cosign the other."""
    signer = Signer.generate("gansu.example/main")
    made = []
    for name, last in (("auditor", b"denied"), ("requester", b"accepted")):
        log = TileLog.open(
            tmp_path / name / "log",
            signer,
            origin=signer.name,
            guard=tmp_path / name / "guard",
            clock=ManualClock(),
        )
        log.record(Act.TABLE_PUBLISHED, subject={"table": "heart"})
        early = log.checkpoint
        log.record(Act.DECISION, detail={"said": last.decode()})
        made.append((log, early))
    (shown, before), (hidden, _) = made
    key = shown.verifier_key
    assert open_audited(tmp_path / "auditor" / "log", key).report.size == 2
    assert open_audited(tmp_path / "requester" / "log", key).report.size == 2
    assert open_audited(tmp_path / "auditor" / "log", key, other=before).report.size == 2
    with pytest.raises(PeerError, match="split view") as caught:
        open_audited(tmp_path / "auditor" / "log", key, other=hidden.checkpoint)
    assert caught.value.code == "audit"
    seen = Seen(key, shown.size, shown.root, shown.checkpoint)
    asked = {"origin": signer.name, "log_key": key, "old_size": 2, "hashes": []}
    assert judge(seen, **asked, note=shown.checkpoint)  # type: ignore[arg-type]
    with pytest.raises(PeerError) as refusal:
        judge(seen, **asked, note=hidden.checkpoint)  # type: ignore[arg-type]
    assert refusal.value.code == "log_fork"
    for log, _ in made:
        log.close()
