"""The node's gate: what passes, and what is not what it claims to be."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders.federation import (
    Federation,
    Job,
    heart_plan,
    job_for,
)
from builders.rulings import read, refusal, refused_unopened
from builders.site import Site
from yumen_core.errors import StateError
from yumen_core.identity import Role
from yumen_core.identity.envelope import PayloadType
from yumen_core.identity.membership import Membership
from yumen_core.jobs.decision import parse_decision
from yumen_core.log import Act

Ask = Callable[..., Job]


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
