"""A party's signed word on a job."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from builders.federation import FEDERATION
from yumen_core.errors import PeerError
from yumen_core.identity import Identity, Role
from yumen_core.jobs.decision import (
    MAX_BUDGETS,
    MAX_BYTES,
    MAX_DENIALS,
    BudgetLeft,
    Decision,
    denial_from_proto,
    denial_to_proto,
    parse_decision,
)
from yumen_core.policy.denial import Denial
from yumen_core.rpc.v1 import job_pb2

NODE = Identity(FEDERATION, "lanzhou", Role.NODE, "heart")
DENIAL = Denial(
    node=NODE.uri,
    reason_code="purpose",
    message="expected a purpose 研究, got `pricing`",
    subject="purpose",
    observed="pricing",
    allowed="research",
    remedy="ask for research",
    policy_id="only-research",
    policy_digest=b"p" * 32,
)
YES = Decision(
    job_id="01980d2c-7000-7abc-8def-0123456789ab",
    spec_digest=b"s" * 32,
    decider=NODE.uri,
    accepted=True,
    denials=(),
    policy_digest=b"p" * 32,
    log_index=17,
    decided_at_ms=1_790_000_000_000,
)
NO = replace(
    YES, accepted=False, denials=(DENIAL, replace(DENIAL, policy_id="", policy_digest=b""))
)


PRICED = replace(YES, budgets=(BudgetLeft("heart", "lzu/research", 17_000, 0),))


@pytest.mark.parametrize("decision", [YES, NO, PRICED])
def test_round_trip(decision: Decision) -> None:
    assert parse_decision(decision.to_bytes(), signer=NODE) == decision


def test_a_denial_round_trips_on_its_own() -> None:
    assert denial_from_proto(denial_to_proto(DENIAL)) == DENIAL


def test_more_budgets_than_a_job_has_tables() -> None:
    wide = replace(YES, budgets=PRICED.budgets * (MAX_BUDGETS + 1))
    with pytest.raises(PeerError) as caught:
        parse_decision(wide.to_bytes(), signer=NODE)
    assert caught.value.message == "expected at most 16 budgets in a decision, got more"


def many(message: job_pb2.Decision) -> None:
    message.denials.extend([message.denials[0]] * MAX_DENIALS)


NEITHER = "expected a decision that accepts or says why not, got neither"
DIGESTS = "expected a decision with digests of 32 bytes and a place in the log, got others"
OTHER = NODE.uri.replace("lanzhou", "zurich")
BAD: list[tuple[str, Callable[[job_pb2.Decision], object], str, str]] = [
    ("another's word", lambda m: setattr(m, "decider", OTHER), "identity",
     f"expected a decision of its signer `{NODE.uri}`, got one of `{OTHER}`"),
    ("yes with a reason", lambda m: setattr(m, "accepted", True), "signature", NEITHER),
    ("no without a reason", lambda m: m.ClearField("denials"), "signature", NEITHER),
    ("reasons without end", many, "signature", NEITHER),
    ("half a digest", lambda m: setattr(m, "policy_digest", b"p" * 16), "signature", DIGESTS),
    ("no digest", lambda m: m.ClearField("spec_digest"), "signature", DIGESTS),
    ("a place beyond any log", lambda m: setattr(m, "log_index", 1 << 53), "signature", DIGESTS),
    ("a reason in another's name", lambda m: setattr(m.denials[1], "node", OTHER), "identity",
     f"expected denials of `{NODE.uri}`, got another's"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "code", "message"), [c[1:] for c in BAD], ids=[c[0] for c in BAD])
def test_bad_decision(edit: Callable[[job_pb2.Decision], object], code: str, message: str) -> None:
    signed = job_pb2.Decision.FromString(NO.to_bytes())
    edit(signed)
    with pytest.raises(PeerError) as caught:
        parse_decision(signed.SerializeToString(), signer=NODE)
    assert (caught.value.code, caught.value.message) == (code, message)


def test_bytes_that_are_no_decision() -> None:
    with pytest.raises(PeerError, match="expected a decision, got other bytes") as caught:
        parse_decision(b"\xff", signer=NODE)
    assert caught.value.node == NODE.uri
    with pytest.raises(PeerError, match="expected a decision, got too many bytes"):
        parse_decision(bytes(MAX_BYTES + 1), signer=NODE)
