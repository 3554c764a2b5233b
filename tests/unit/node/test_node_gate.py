"""The node's gate: what passes, what is refused in which words, and what is left behind."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders.federation import (
    TABLE,
    Federation,
    Job,
    Node,
    heart_plan,
    job_for,
    key_pair,
    policies,
)
from builders.site import Site
from yumen_core.errors import PeerError, StateError
from yumen_core.identity import Role, SealingKey, SignedEnvelope, open_envelope, seal
from yumen_core.identity.envelope import PayloadType
from yumen_core.identity.membership import Membership
from yumen_core.jobs.decision import Decision, parse_decision
from yumen_core.jobs.job_id import new_job_id
from yumen_core.jobs.spec import JobSpec, secret_info
from yumen_core.log import Act
from yumen_core.secret import Secret
from yumen_core.securesum import MaskKey
from yumen_core.securesum.bfv import BfvKeyPair
from yumen_node.gate import Ruling

Ask = Callable[..., Job]


def read(site: Site, ruling: Ruling) -> Decision:
    """The decision, verified as any party would."""
    member = site.node.membership
    found = open_envelope(
        ruling.envelope,
        expected_type=PayloadType.DECISION,
        anchor=member.anchor,
        revocations=member.revocations,
        now_ms=member.clock.now_ms(),
        max_bytes=1 << 18,
        role=Role.NODE,
    )
    return parse_decision(found.payload, signer=found.identity)


def refusal(site: Site, ruling: Ruling) -> tuple[str, str]:
    """Code and words of a refusal, once it is clear that it is one."""
    decision = read(site, ruling)
    assert ruling.job is None
    assert not decision.accepted
    assert {denial.node for denial in decision.denials} == {site.uri}
    assert decision.log_index == len(site.log.entries) - 1
    return decision.denials[0].reason_code, decision.denials[0].message


def refused_by_gate(site: Site, job: Job, **changes: Any) -> tuple[str, str]:
    """A refusal of a job that was verified: logged as a decision, and its id used up."""
    found = refusal(site, site.decide(job.proposal(**changes)))
    assert site.log.acts == [Act.DECISION]
    known = site.state.job(job.spec.job_id)
    assert known is not None
    assert not known.accepted
    assert site.rows.asked == 0
    return found


def refused_unopened(site: Site, job: Job) -> tuple[str, str]:
    """A refusal of bytes that could not be believed: logged, and nothing else is kept."""
    found = refusal(site, site.decide(job.proposal()))
    assert site.log.acts == [Act.REFUSAL]
    assert site.state.job(job.spec.job_id) is None
    assert site.rows.asked == 0
    return found


# What passes ------------------------------------------------------------------------------------


def test_a_good_job_is_accepted(sites: list[Site], ask: Ask) -> None:
    job = ask()
    ruling = sites[0].decide(job.proposal())
    decision = read(sites[0], ruling)
    assert (decision.accepted, decision.denials) == (True, ())
    assert (decision.job_id, decision.decider) == (job.spec.job_id, sites[0].uri)
    assert decision.policy_digest == sites[0].bundle.digest
    assert ruling.job is not None
    assert ruling.job.secret == job.secret
    assert ruling.job.asked.plan == heart_plan()
    assert set(ruling.job.descriptors) == set(job.spec.nodes)


def test_log_then_store_then_answer(sites: list[Site], ask: Ask) -> None:
    site = sites[0]
    site.decide(ask().proposal())
    assert site.happened == [("log", Act.DECISION), ("job", True)]
    entry = site.log.entries[0]
    assert entry.subject["requester"] == "spiffe://gansu.example/org/lzu/user/li"
    assert entry.detail["accepted"] is True


def test_what_cannot_be_logged_is_not_decided(
    sites: list[Site], ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object, **__: object) -> int:
        raise StateError("log_closed", "the log is closed")

    job = ask()
    monkeypatch.setattr(sites[0].log, "record", closed)
    with pytest.raises(StateError, match="the log is closed"):
        sites[0].decide(job.proposal())
    assert sites[0].state.job(job.spec.job_id) is None


def test_asked_again_it_says_the_same_bytes(sites: list[Site], ask: Ask) -> None:
    site, job = sites[0], ask()
    first = site.decide(job.proposal())
    second = site.decide(job.proposal())
    site.restart()
    third = site.decide(job.proposal())
    assert first.envelope == second.envelope == third.envelope
    assert third.job is not None
    assert third.job.secret == job.secret
    assert site.log.acts == [Act.DECISION]


def test_asked_again_about_a_refused_job_it_refuses_in_the_same_bytes(
    sites: list[Site], ask: Ask
) -> None:
    job = ask(purpose="unheard of")
    first = sites[0].decide(job.proposal())
    second = sites[0].decide(job.proposal())
    assert first.envelope == second.envelope
    assert second.job is None


def test_asked_again_about_an_ended_job_there_is_nothing_to_carry_out(
    sites: list[Site], ask: Ask
) -> None:
    site, job = sites[0], ask()
    first = site.decide(job.proposal())
    site.execution.forget(job.spec.job_id)
    again = site.decide(job.proposal())
    assert (again.envelope, again.job) == (first.envelope, None)


def test_a_dry_run_is_decided_and_never_carried_out(sites: list[Site], ask: Ask) -> None:
    site, job = sites[0], ask(dry_run=True)
    first = site.decide(job.proposal(public_key=b""))
    assert read(site, first).accepted
    assert first.job is None
    again = site.decide(job.proposal(public_key=b""))
    assert (again.envelope, again.job) == (first.envelope, None)
    assert site.rows.asked == 0


def test_each_node_speaks_for_itself(sites: list[Site], ask: Ask) -> None:
    """Decisions of two nodes on one job differ in decider and in signature only."""
    job = ask()
    first, second = (read(site, site.decide(job.proposal())) for site in sites[:2])
    assert first.spec_digest == second.spec_digest
    assert first.decider != second.decider


# Forgeries --------------------------------------------------------------------------------------

UNSIGNED = "the signature does not match the signed bytes and their signer"


def flipped(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("place", [0, 5, 40, 100, 300, -1])
def test_a_changed_byte(sites: list[Site], ask: Ask, place: int) -> None:
    job = ask()
    job.envelope = replace(job.envelope, payload=flipped(job.envelope.payload, place))
    assert refused_unopened(sites[0], job) == ("signature", UNSIGNED)


def test_each_other_field_of_the_envelope(
    sites: list[Site], ask: Ask, federation: Federation, tmp_path: Path
) -> None:
    wang = federation.member(Role.USER, "wang")
    stranger = Federation(tmp_path / "strangers").member(Role.USER, "li")
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"payload_type": PayloadType.DECISION}, "signature",
         f"expected a statement of type `{PayloadType.JOB_SPEC}`, got `{PayloadType.DECISION}`"),
        ({"signature": b""}, "signature", UNSIGNED),
        ({"signature": b"s" * 73}, "signature", "a signature has at most 72 bytes, got 73"),
        ({"signature": wang.sign(b"x", PayloadType.JOB_SPEC).signature}, "signature", UNSIGNED),
        ({"certificate": wang.sign(b"", PayloadType.JOB_SPEC).certificate}, "signature", UNSIGNED),
        ({"certificate": stranger.sign(b"", PayloadType.JOB_SPEC).certificate}, "certificate",
         "the certificate was not issued by the federation's authority"),
        ({"certificate": b"none"}, "certificate", "the bytes are not an X.509 certificate"),
    ]  # fmt: skip
    for change, code, message in cases:
        site, job = sites[0], ask()
        site.log.entries.clear()
        job.envelope = replace(job.envelope, **change)
        assert refused_unopened(site, job) == (code, message)


def test_a_job_signed_by_someone_else_in_lis_name(
    sites: list[Site], ask: Ask, federation: Federation
) -> None:
    job, wang = ask(), federation.member(Role.USER, "wang")
    job.envelope = wang.sign(job.envelope.payload, PayloadType.JOB_SPEC)
    code, message = refused_unopened(sites[0], job)
    assert code == "identity"
    assert message.startswith("expected the requester that the certificate names, `spiffe://")


def test_a_job_signed_by_a_node(sites: list[Site], ask: Ask) -> None:
    job = ask()
    member = sites[1].node.membership
    job.envelope = member.sign(job.envelope.payload, PayloadType.JOB_SPEC)
    assert refused_unopened(sites[0], job) == (
        "role",
        f"expected a signer with role user, got `{member.identity.uri}`",
    )


@pytest.mark.parametrize("payload", [b"", b"\xff\xff", b"\x0a\x03../"])
def test_bytes_that_are_no_job(sites: list[Site], li: Membership, ask: Ask, payload: bytes) -> None:
    job = ask()
    job.envelope = li.sign(payload, PayloadType.JOB_SPEC)
    assert refused_unopened(sites[0], job)[0] in {"job_spec", "identity"}


def test_an_expired_job(sites: list[Site], ask: Ask, federation: Federation) -> None:
    job = ask()
    federation.clock.advance(601_000)
    assert refused_unopened(sites[0], job) == (
        "job_expired",
        "expected a job that is still valid, got one expired 1 s ago",
    )


def test_a_revoked_requester(
    sites: list[Site], ask: Ask, federation: Federation, li: Membership
) -> None:
    job = ask()
    assert sites[0].node.membership.learn(federation.revoke(li))
    assert refused_unopened(sites[0], job) == (
        "certificate_revoked",
        f"the certificate of `{li.identity.uri}` is revoked",
    )


def test_a_revocation_list_held_back_for_too_long(
    sites: list[Site], li: Membership, federation: Federation
) -> None:
    federation.clock.advance(25 * 3_600_000)
    job = job_for(li, [(s.node, *s.node.signed()) for s in sites])
    found = sites[0].gate.decide(job.proposal())
    assert found.job is None
    decision = parse_decision(found.envelope.payload, signer=sites[0].node.identity)
    assert decision.denials[0].message == "the revocation list expired 1 hours ago"


def test_another_job_under_a_used_id(sites: list[Site], ask: Ask) -> None:
    site, first = sites[0], ask()
    answer = site.decide(first.proposal())
    second = ask(job_id=first.spec.job_id, purpose="pricing")
    assert refusal(site, site.decide(second.proposal())) == (
        "replay",
        f"expected a new job id, got `{first.spec.job_id}`, used before",
    )
    assert site.log.acts == [Act.DECISION, Act.REFUSAL]
    assert site.decide(first.proposal()).envelope == answer.envelope


def test_an_id_used_by_a_dry_run_is_used(sites: list[Site], ask: Ask) -> None:
    site, dry = sites[0], ask(dry_run=True)
    site.decide(dry.proposal(public_key=b""))
    real = ask(job_id=dry.spec.job_id)
    assert refusal(site, site.decide(real.proposal()))[0] == "replay"


# Keys and descriptors ---------------------------------------------------------------------------

SWAPPED = (
    "expected the descriptor of `{}` that the job names, got another, with other keys or tables"
)


def other_keys(node: Node) -> SignedEnvelope:
    """A true descriptor of the node's own, with a mask key that the job does not pin."""
    return node.signed(mask_key=MaskKey.generate().public_bytes)[0]


def test_another_participants_descriptor_swapped(sites: list[Site], ask: Ask) -> None:
    job = ask()
    job.descriptors[2] = other_keys(sites[2].node).to_proto()
    assert refused_by_gate(sites[0], job) == ("descriptor", SWAPPED.format(sites[2].uri))


def test_a_descriptor_that_the_coordinator_made(
    sites: list[Site], ask: Ask, federation: Federation
) -> None:
    job, node = ask(), sites[2].node
    hub = federation.member(Role.COORDINATOR, "main")
    payload = node.descriptor(mask_key=MaskKey.generate().public_bytes).to_bytes()
    job.descriptors[2] = hub.sign(payload, PayloadType.NODE_DESCRIPTOR).to_proto()
    assert refused_by_gate(sites[0], job) == (
        "role",
        f"expected a signer with role node, got `{hub.identity.uri}`",
    )


def test_a_missing_descriptor(sites: list[Site], ask: Ask) -> None:
    job = ask()
    del job.descriptors[3]
    assert refused_by_gate(sites[0], job) == (
        "descriptor",
        f"expected the descriptor of `{sites[3].uri}`, got none",
    )


def test_one_descriptor_too_many(sites: list[Site], ask: Ask) -> None:
    job = ask()
    job.descriptors.append(job.descriptors[0])
    assert refused_by_gate(sites[0], job) == (
        "descriptor",
        "expected one descriptor a participant, got more",
    )


def test_my_own_descriptor_is_an_old_one(
    sites: list[Site], li: Membership, federation: Federation
) -> None:
    old = [site.published() for site in sites]
    federation.clock.advance(13 * 3_600_000)  # past half of its life
    assert refused_by_gate(sites[0], job_for(li, old)) == (
        "descriptor",
        "expected the node's current descriptor, got a job made for another",
    )


def test_a_job_that_does_not_name_me(sites: list[Site], ask: Ask) -> None:
    assert refused_by_gate(sites[0], ask(sites[1:])) == (
        "job_spec",
        f"expected a job that names `{sites[0].uri}`, got one that does not",
    )


def test_another_public_key(sites: list[Site], ask: Ask) -> None:
    other = BfvKeyPair.generate().public.to_bytes()
    assert refused_by_gate(sites[0], ask(), public_key=other) == (
        "ciphertext",
        "expected the public key that the job names, got another",
    )


def test_a_key_of_another_kind(sites: list[Site], ask: Ask) -> None:
    size = len(key_pair().public.to_bytes())
    assert refused_by_gate(sites[0], ask(), public_key=b"") == (
        "ciphertext",
        f"expected a public key of {size} bytes, got 0",
    )


Reseal = Callable[[Site, JobSpec], bytes]
CLOSED = ("sealed", "the sealed payload does not open with this key and context")


def with_secret(site: Site, reseal: Reseal) -> Callable[[JobSpec], JobSpec]:
    """A change of the job that replaces what is sealed to `site`."""

    def change(spec: JobSpec) -> JobSpec:
        return replace(
            spec,
            participants=tuple(
                replace(p, sealed_secret=reseal(site, spec)) if p.node == site.node.identity else p
                for p in spec.participants
            ),
        )

    return change


def sealed(site: Site, secret: bytes, job_id: str, node: str) -> bytes:
    return seal(secret, site.node.sealing.public_bytes(), secret_info(job_id, node))


@pytest.mark.parametrize(
    ("reseal", "found"),
    [
        (lambda s, spec: sealed(s, bytes(32), new_job_id(s.node.membership.clock), s.uri), CLOSED),
        (lambda s, spec: sealed(s, bytes(32), spec.job_id, spec.nodes[-1]), CLOSED),
        (lambda s, spec: spec.participants[1].sealed_secret, CLOSED),
        (
            lambda s, spec: seal(
                bytes(32), SealingKey.generate().public_bytes(), secret_info(spec.job_id, s.uri)
            ),
            CLOSED,
        ),
        (
            lambda s, spec: b"s" * 100,
            ("sealed", "a sealed payload has 1136 to 67110000 bytes, got 100"),
        ),
        (
            lambda s, spec: sealed(s, bytes(31), spec.job_id, s.uri),
            ("sealed", "expected a job secret of 32 bytes, got another length"),
        ),
    ],
    ids=["another job", "another node", "taken from another node", "another key", "short", "31"],
)
def test_a_secret_sealed_otherwise(
    sites: list[Site], ask: Ask, reseal: Reseal, found: tuple[str, str]
) -> None:
    job = ask(change=with_secret(sites[0], reseal))
    assert refused_by_gate(sites[0], job) == found


# The question -----------------------------------------------------------------------------------


def test_a_plan_of_another_version(sites: list[Site], ask: Ask) -> None:
    assert refused_by_gate(sites[0], ask(plan_digest=b"p" * 32)) == (
        "job_spec",
        "expected the plan that the job names, got another from the same statement",
    )


def test_a_schema_that_is_not_published(sites: list[Site], ask: Ask) -> None:
    assert refused_by_gate(sites[0], ask(schema_digest=b"s" * 32)) == (
        "job_spec",
        "expected the schema of `heart` that the job names, got another",
    )


def test_a_table_that_is_not_published(sites: list[Site], ask: Ask) -> None:
    assert refused_by_gate(sites[0], ask(table="lungs")) == (
        "job_spec",
        "expected a table `lungs`, got none",
    )


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM heart",
        "SELECT COUNT(*) FROM read_csv('/etc/passwd')",
        "SELECT COUNT(*) FROM heart; DROP TABLE heart",
        "SELECT COUNT(*) FROM lungs",
    ],
)
def test_a_statement_that_is_not_supported(sites: list[Site], ask: Ask, sql: str) -> None:
    assert refused_by_gate(sites[0], ask(sql=sql))[0].startswith("sql_")


def test_a_minimum_below_one_tables(federation: Federation, li: Membership, tmp_path: Path) -> None:
    strict = replace(TABLE, min_nodes=4)
    nodes = [*federation.nodes(3), federation.node("zurich", strict)]
    sites = [Site(node, tmp_path / f"strict{i}") for i, node in enumerate(nodes)]
    job = job_for(li, [site.published() for site in sites], min_nodes=3)
    for site in sites:  # each holds the others' tables to their word, not its own only
        assert refused_by_gate(site, job) == (
            "min_nodes",
            "expected a job that needs 4 nodes at least, got one that goes on with 3",
        )
        site.state.close()


def test_a_policy_says_no(federation: Federation, li: Membership, tmp_path: Path) -> None:
    bundle = policies('context.purpose == "research"')
    nodes = federation.nodes(3)
    site = Site(nodes[0], tmp_path / "own", bundle=bundle)
    published = [site.published(), *((node, *node.signed()) for node in nodes[1:])]
    job = job_for(li, published, purpose="pricing")
    code, _ = refused_by_gate(site, job)
    assert code == "no_permit"
    assert site.happened == [("log", Act.DECISION), ("job", False)]
    detail = site.log.entries[0].detail
    assert detail["accepted"] is False
    assert site.uri in str(detail["denials"])
    site.state.close()


def test_a_purpose_that_is_not_registered(sites: list[Site], ask: Ask) -> None:
    assert refused_by_gate(sites[0], ask(purpose="unheard of"))[0] == "purpose_unregistered"


def test_the_secret_is_not_shown(sites: list[Site], ask: Ask) -> None:
    accepted = sites[0].accept(ask())
    assert accepted.secret.reveal().hex() not in repr(accepted)
    assert isinstance(accepted.secret, Secret)


def test_a_refused_proposal_leaves_the_id_to_the_true_job(sites: list[Site], ask: Ask) -> None:
    """A coordinator that forges first cannot use up an id."""
    site, job = sites[0], ask()
    forged = replace(job.envelope, signature=b"")
    assert site.decide(job.proposal(job=forged.to_proto())).job is None
    assert site.decide(job.proposal()).job is not None


def test_an_accepted_job_comes_back_only_with_its_own_key(sites: list[Site], ask: Ask) -> None:
    """After a restart a coordinator could try to bring the node another key for the old yes."""
    site, job = sites[0], ask()
    site.decide(job.proposal())
    site.restart()
    other = BfvKeyPair.generate().public.to_bytes()
    with pytest.raises(PeerError, match="expected the public key that the job names, got another"):
        site.decide(job.proposal(public_key=other))
