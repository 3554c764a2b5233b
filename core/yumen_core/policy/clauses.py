"""Which clause of which permit a request fails: each put to the engine on its own.

For those who may read the policy; a requester gets the denial.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cedarpy

from yumen_core.policy.engine import PolicyBundle
from yumen_core.policy.request import PolicyRequest
from yumen_core.policy.syntax import ParsedPolicy

_ALL: dict[str, Any] = {"op": "All"}
_BARE = {"effect": "permit", "principal": _ALL, "action": _ALL, "resource": _ALL}


@dataclass(frozen=True)
class Clause:
    """One part of a policy, as Cedar text, and whether the request fulfils it."""

    text: str
    holds: bool


@dataclass(frozen=True)
class PolicyClauses:
    """A policy and its parts: scope, then each condition, split at its outermost `&&`.

    A clause that fails while it is evaluated, such as one that reads an attribute which is not
    there, does not hold.
    """

    policy: ParsedPolicy
    clauses: tuple[Clause, ...]

    @property
    def matches(self) -> bool:
        return all(clause.holds for clause in self.clauses)


def permit_clauses(bundle: PolicyBundle, request: PolicyRequest) -> tuple[PolicyClauses, ...]:
    """Every permit with its clauses: first the ones that fail in the fewest."""
    found = [
        PolicyClauses(policy, tuple(_clauses(bundle, policy, request)))
        for policy in bundle.policies
        if not policy.is_forbid
    ]
    return tuple(sorted(found, key=lambda one: sum(not clause.holds for clause in one.clauses)))


def _clauses(
    bundle: PolicyBundle, policy: ParsedPolicy, request: PolicyRequest
) -> Iterator[Clause]:
    for scope in ("principal", "action", "resource"):
        if policy.tree[scope]["op"] != "All":
            tree = {**_BARE, scope: policy.tree[scope], "conditions": []}
            yield _clause(bundle, tree, request)
    for condition in policy.tree["conditions"]:
        # `unless` is one whole: a part of it that does not hold is what it asks for.
        bodies = _split(condition["body"]) if condition["kind"] == "when" else [condition["body"]]
        for body in bodies:
            tree = {**_BARE, "conditions": [{"kind": condition["kind"], "body": body}]}
            yield _clause(bundle, tree, request)


def _split(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "&&" not in body:
        yield body
        return
    yield from _split(body["&&"]["left"])
    yield from _split(body["&&"]["right"])


def _clause(bundle: PolicyBundle, tree: Mapping[str, Any], request: PolicyRequest) -> Clause:
    document = {"staticPolicies": {"policy0": tree}, "templates": {}, "templateLinks": []}
    text = cedarpy.policies_from_json_str(json.dumps(document))
    return Clause(_shown(text), bundle.holds(text, request))


def _shown(text: str) -> str:
    """`when { … }`, or the part of the scope that says something."""
    scope, _, condition = text.strip().rstrip(";").partition(") ")
    if condition.strip():
        return " ".join(condition.split())
    parts = scope.removeprefix("permit(").rstrip(")").split(", ")
    named = [part for part in parts if part not in ("principal", "action", "resource")]
    return " ".join(", ".join(named).split())
