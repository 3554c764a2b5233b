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


def permit(condition: str, name: str = "permit") -> str:
    return (
        f'@id("{name}") permit (principal, action == Yumen::Action::"query", resource)'
        f' when {{ principal.name == "li" && ({condition}) }};\n'
    )


def forbid(condition: str, name: str = "forbid", reason: str = "test_reason") -> str:
    return (
        f'@id("{name}") @reason_code("{reason}") @remedy("change the job")'
        f" forbid (principal, action, resource) when {{ {condition} }};\n"
    )


def bundle(*texts: str) -> PolicyBundle:
    return PolicyBundle.from_text({"own.cedar": "".join(texts)}, purposes=REGISTER)
