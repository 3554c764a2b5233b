"""Facts of one ordinary job, for the tests of policies."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from yumen_core.identity.names import Identity
from yumen_core.policy.engine import PolicyBundle
from yumen_core.policy.purposes import Purpose, Purposes
from yumen_core.policy.request import PolicyRequest

POLICIES = Path(__file__).parents[3] / "policies"
NOW_MS = 1_790_000_000_000

USER = Identity.parse("spiffe://gansu.example/org/lzu/user/li")
STRANGER = Identity.parse("spiffe://other.example/org/lzu/user/li")
NODE = Identity.parse("spiffe://gansu.example/org/cleveland/node/main")
COORDINATOR = Identity.parse("spiffe://gansu.example/org/hub/coordinator/main")

REGISTER = Purposes((Purpose("research", "study"), Purpose("public-health", "planning")))

_ORDINARY = PolicyRequest(
    requester=USER,
    decider=NODE,
    table="heart",
    table_grade="general",
    purpose="research",
    columns={"age": "general", "chol": "general", "num": "general", "sex": "general"},
    filters=frozenset({"num"}),
    group_by=frozenset({"sex"}),
    group_bands=frozenset({"age"}),
    aggregates=frozenset({"avg", "count"}),
    participants=4,
    min_nodes=3,
    threshold=10,
    suite="bfv",
    now_ms=NOW_MS,
    expires_at_ms=NOW_MS + 600_000,
)


def job(**changes: Any) -> PolicyRequest:
    return replace(_ORDINARY, **changes)


def training(**changes: Any) -> PolicyRequest:
    """The training of a ready model over the same columns."""
    facts: dict[str, Any] = {
        "operation": "train",
        "rounds": 20,
        "group_by": frozenset(),
        "group_bands": frozenset(),
        "aggregates": frozenset({"evaluate", "train"}),
        "suite": "stream",
        "program": "model",
        "program_name": "logistic",
        "parameters": 12,
    }
    return job(**{**facts, **changes})


def of_code(reviewers: int, **changes: Any) -> PolicyRequest:
    """The training of a requester's own code that `reviewers` people have approved."""
    facts = {"program": "code", "program_name": "cardio", "code_reviewers": reviewers}
    return training(**{**facts, **changes})


def permit(condition: str, name: str = "permit", action: str = "query") -> str:
    return (
        f'@id("{name}") permit (principal, action == Yumen::Action::"{action}", resource)'
        f' when {{ principal.name == "li" && ({condition}) }};\n'
    )


def forbid(
    condition: str, name: str = "forbid", reason: str = "test_reason", action: str = "action"
) -> str:
    return (
        f'@id("{name}") @reason_code("{reason}") @remedy("change the job")'
        f" forbid (principal, {action}, resource) when {{ {condition} }};\n"
    )


def bundle(*texts: str) -> PolicyBundle:
    return PolicyBundle.from_text({"own.cedar": "".join(texts)}, purposes=REGISTER)
