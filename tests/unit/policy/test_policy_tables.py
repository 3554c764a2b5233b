"""The shipped policies: what they must allow and what they must deny."""

from pathlib import Path
from typing import Any

import pytest
from policy_facts import COORDINATOR, NODE, NOW_MS, POLICIES, STRANGER, job, of_code, training
from yumen_core.policy.engine import PolicyBundle
from yumen_core.policy.request import PolicyRequest

REGISTER = POLICIES / "purposes.yaml"
FEDERATION = PolicyBundle.load([POLICIES / "federation.cedar"], purposes=REGISTER)
HOSPITAL = PolicyBundle.load([POLICIES / "hospital.cedar"], purposes=REGISTER)

IMPORTANT = {"chol": "important", "sex": "general"}
CORE = {"chol": "core", "sex": "general"}
WEEK_MS = 7 * 24 * 3600 * 1000


def narrow(columns: dict[str, str], **changes: Any) -> PolicyRequest:
    nothing: frozenset[str] = frozenset()
    return job(
        columns=columns,
        **{"filters": nothing, "group_by": nothing, "group_bands": nothing, **changes},
    )


MUST_ALLOW = [
    (FEDERATION, job(decider=COORDINATOR)),
    (FEDERATION, job(decider=COORDINATOR, dry_run=True)),
    (FEDERATION, job(decider=COORDINATOR, purpose="insurance-pricing")),
    (FEDERATION, job(decider=COORDINATOR, table="cows", participants=3, min_nodes=3)),
    (FEDERATION, job(decider=COORDINATOR, expires_at_ms=NOW_MS + 1000)),
    (FEDERATION, job(decider=COORDINATOR, expires_at_ms=NOW_MS + WEEK_MS)),
    (FEDERATION, narrow(IMPORTANT, decider=COORDINATOR)),
    (FEDERATION, narrow(IMPORTANT, decider=COORDINATOR, purpose="public-health")),
    # A core column that the statement does not touch does not close the table's other columns.
    (FEDERATION, job(decider=COORDINATOR, table_grade="core")),
    (HOSPITAL, job()),
    (HOSPITAL, job(purpose="public-health")),
    (HOSPITAL, job(purpose="quality-improvement")),
    (HOSPITAL, narrow({}, aggregates=frozenset({"count"}))),
    (HOSPITAL, job(threshold=25)),
    (FEDERATION, training(decider=COORDINATOR)),
    # Nobody reviews at the coordinator, which leaves code to the nodes.
    (FEDERATION, of_code(0, decider=COORDINATOR)),
    (FEDERATION, training(decider=COORDINATOR, columns={"chol": "important"}, filters=frozenset())),
    (HOSPITAL, training()),
    (HOSPITAL, training(purpose="public-health", suite="bfv")),
    (HOSPITAL, of_code(2)),
    (HOSPITAL, of_code(3, purpose="quality-improvement", dry_run=True)),
]


@pytest.mark.parametrize(("policies", "request_"), MUST_ALLOW)
def test_must_allow(policies: PolicyBundle, request_: PolicyRequest) -> None:
    decision = policies.decide(request_)
    assert decision.denials == ()
    assert decision.allowed
    assert len(decision.policy_ids) == 1
    assert decision.digest == policies.digest


MUST_DENY = [
    (FEDERATION, job(decider=COORDINATOR, requester=STRANGER), ["no_permit"]),
    (FEDERATION, job(decider=COORDINATOR, purpose="marketing"), ["purpose_unregistered"]),
    (FEDERATION, job(decider=COORDINATOR, purpose=""), ["purpose_unregistered"]),
    (FEDERATION, job(decider=COORDINATOR, purpose="Research"), ["purpose_unregistered"]),
    (FEDERATION, job(decider=COORDINATOR, participants=2, min_nodes=2), ["too_few_nodes"]),
    (FEDERATION, job(decider=COORDINATOR, min_nodes=2), ["too_few_nodes"]),
    (FEDERATION, job(decider=COORDINATOR, expires_at_ms=NOW_MS), ["authorisation_expired"]),
    (FEDERATION, job(decider=COORDINATOR, expires_at_ms=NOW_MS + 999), ["authorisation_expired"]),
    (FEDERATION, job(decider=COORDINATOR, expires_at_ms=0), ["authorisation_expired"]),
    (
        FEDERATION,
        job(decider=COORDINATOR, expires_at_ms=NOW_MS + WEEK_MS + 1000),
        ["lifetime_too_long"],
    ),
    (FEDERATION, narrow(CORE, decider=COORDINATOR), ["core_data"]),
    (FEDERATION, narrow({}, decider=COORDINATOR, table_grade="core"), ["core_data"]),
    (
        FEDERATION,
        narrow(IMPORTANT, decider=COORDINATOR, purpose="quality-improvement"),
        ["important_data_purpose"],
    ),
    (HOSPITAL, job(purpose="insurance-pricing"), ["purpose_forbidden"]),
    (HOSPITAL, job(purpose="marketing"), ["purpose_unregistered", "purpose_forbidden"]),
    (HOSPITAL, job(group_by=frozenset({"age"})), ["quasi_identifier"]),
    (HOSPITAL, job(group_by=frozenset({"age", "sex"})), ["quasi_identifier"]),
    (HOSPITAL, job(table="kidney"), ["no_permit"]),
    (HOSPITAL, job(threshold=9), ["no_permit"]),
    (HOSPITAL, narrow(CORE), ["core_data"]),
    (HOSPITAL, job(participants=2, min_nodes=2), ["too_few_nodes"]),
    (HOSPITAL, job(expires_at_ms=NOW_MS - 1), ["authorisation_expired"]),
    (FEDERATION, training(decider=COORDINATOR, requester=STRANGER), ["no_permit"]),
    (FEDERATION, training(decider=COORDINATOR, min_nodes=2), ["too_few_nodes"]),
    (FEDERATION, training(decider=COORDINATOR, purpose="x"), ["purpose_unregistered"]),
    (FEDERATION, training(decider=COORDINATOR, expires_at_ms=NOW_MS), ["authorisation_expired"]),
    (
        FEDERATION,
        training(
            decider=COORDINATOR,
            columns={"chol": "important"},
            filters=frozenset(),
            purpose="quality-improvement",
        ),
        ["important_data_purpose"],
    ),
    (
        FEDERATION,
        training(decider=COORDINATOR, expires_at_ms=NOW_MS + WEEK_MS + 1000),
        ["lifetime_too_long"],
    ),
    (HOSPITAL, training(columns=CORE, filters=frozenset()), ["core_data"]),
    (HOSPITAL, training(participants=2, min_nodes=2), ["too_few_nodes"]),
    (HOSPITAL, training(purpose="insurance-pricing"), ["purpose_forbidden"]),
    (HOSPITAL, training(table="kidney"), ["no_permit"]),
    (HOSPITAL, training(threshold=9), ["no_permit"]),
    (HOSPITAL, of_code(0), ["code_unreviewed", "too_few_reviewers"]),
    (HOSPITAL, of_code(1), ["too_few_reviewers"]),
    (HOSPITAL, of_code(2, purpose="public-health"), ["no_permit"]),
]


@pytest.mark.parametrize(("policies", "request_", "reasons"), MUST_DENY)
def test_must_deny(policies: PolicyBundle, request_: PolicyRequest, reasons: list[str]) -> None:
    decision = policies.decide(request_)
    assert not decision.allowed
    assert [denial.reason_code for denial in decision.denials] == reasons
    for denial in decision.denials:
        assert denial.node == request_.decider.uri
        assert denial.policy_digest == policies.digest
        assert denial.remedy


def test_the_demo_denial_says_what_would_pass() -> None:
    (denial,) = HOSPITAL.decide(job(purpose="insurance-pricing")).denials
    assert denial.to_json() == {
        "node": NODE.uri,
        "reason_code": "purpose_forbidden",
        "message": "policy `no-commercial-purposes` forbids this job: Personal Information"
        " Protection Law, article 28: sensitive data needs a specific purpose",
        "subject": "purpose",
        "observed": "insurance-pricing",
        "allowed": "research, public-health, quality-improvement",
        "remedy": "ask for a purpose of care or research, not of pricing or marketing",
        "policy_id": "no-commercial-purposes",
        "policy_digest": HOSPITAL.digest.hex(),
    }


def test_a_denial_says_how_many_reviewers_there_are_and_how_many_are_needed() -> None:
    (denial,) = HOSPITAL.decide(of_code(1)).denials
    assert denial.to_json() == {
        "node": NODE.uri,
        "reason_code": "too_few_reviewers",
        "message": "policy `two-reviewers` forbids this job: the hospital's rule for foreign"
        " software: two people of the hospital read it",
        "subject": "code reviewers",
        "observed": "1",
        "allowed": "2",
        "remedy": "wait until two people of the hospital have approved the code, or train a"
        " ready model",
        "policy_id": "two-reviewers",
        "policy_digest": HOSPITAL.digest.hex(),
    }


LOCAL = POLICIES.parent / "sdk" / "yumen" / "local_policy.cedar"
EXAMPLES = sorted((POLICIES.parent / "examples" / "hospitals" / "policies").glob("*.cedar"))


@pytest.mark.parametrize("file", [LOCAL, *EXAMPLES], ids=lambda file: file.stem)
def test_the_examples_allow_training_for_research_and_code_that_was_reviewed(file: Path) -> None:
    held = PolicyBundle.load([file], purposes=REGISTER)
    assert held.decide(training()).allowed
    assert held.decide(of_code(1)).allowed
    (denial,) = held.decide(of_code(0)).denials
    assert (denial.reason_code, denial.subject, denial.observed, denial.allowed) == (
        *("code_unreviewed", "code reviewers"),
        *("0", "1"),
    )


def test_every_shipped_policy_carries_all_annotations() -> None:
    shipped = {policy.id: policy for held in (FEDERATION, HOSPITAL) for policy in held.policies}
    assert len(shipped) >= 10
    for policy in shipped.values():
        assert policy.annotations.keys() == {"id", "reason_code", "basis", "remedy"}, policy.id


def test_the_reason_codes_are_documented() -> None:
    document = (POLICIES.parent / "docs" / "policies.md").read_text(encoding="utf-8")
    codes = {
        policy.annotations["reason_code"]
        for held in (FEDERATION, HOSPITAL)
        for policy in held.policies
        if policy.is_forbid
    }
    for code in codes | {"no_permit", "policy_error", "policy_request"}:
        assert f"`{code}`" in document, code


def test_the_schema_in_policies_is_the_one_in_force() -> None:
    packaged = POLICIES.parent / "core" / "yumen_core" / "policy" / "yumen.cedarschema"
    assert (POLICIES / "yumen.cedarschema").read_bytes() == packaged.read_bytes()


def test_the_context_is_the_one_of_the_schema() -> None:
    # Cedar refuses a record with a field too many or too few, so a decision shows both agree.
    assert HOSPITAL.decide(job()).errors == ()
    schema = (POLICIES / "yumen.cedarschema").read_text(encoding="utf-8")
    document = (POLICIES.parent / "docs" / "policies.md").read_text(encoding="utf-8")
    assert HOSPITAL.decide(training()).errors == ()
    assert (
        job().context(purpose_registered=True).keys()
        < training().context(purpose_registered=True).keys()
    )
    for name in training().context(purpose_registered=True):
        assert f" {name}: " in schema or f" {name}?: " in schema
        assert f"| `{name}`" in document
