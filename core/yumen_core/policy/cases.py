"""Tables of cases: what a bundle must allow and what it must deny."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from yumen_core.errors import StateError, YumenError
from yumen_core.identity.names import Identity
from yumen_core.policy.engine import PolicyBundle
from yumen_core.policy.purposes import StrictLoader
from yumen_core.policy.replay import Word, decide_all
from yumen_core.policy.request import PolicyRequest

MAX_CASES = 2000
MAX_CASES_BYTES = 1024 * 1024
_DEFAULTS: dict[str, Any] = {
    "requester": "spiffe://federation.example/org/university/user/asker",
    "decider": "spiffe://federation.example/org/institution/node/main",
    "table_grade": "general",
    "purpose": "research",
    "aggregates": ["count"],
    "participants": 3,
    "min_nodes": 3,
    "threshold": 10,
    "suite": "bfv",
    "now": "2026-06-01",
    "expires_in_seconds": 600,
}
_TRAINING = {"suite": "stream", "program": "model", "program_name": "logistic", "rounds": 20}
_SETS = ("filters", "group_by", "group_bands", "joined", "aggregates")
_TIMES = frozenset({"now", "expires_in_seconds"})


@dataclass(frozen=True)
class Case:
    """`because` is the id of a policy that decided, or a denial's reason code; empty: any."""

    name: str
    allow: bool
    because: str
    request: PolicyRequest


@dataclass(frozen=True)
class Outcome:
    """A case and what the bundle says of it."""

    case: Case
    word: Word

    @property
    def held(self) -> bool:
        if self.word.allowed != self.case.allow:
            return False
        codes = {denial.reason_code for denial in self.word.denials}
        return not self.case.because or self.case.because in {*self.word.policy_ids, *codes}


def read_cases(text: str, *, file: str) -> tuple[Case, ...]:
    """Cases from YAML: `cases`, each with `name`, `decide`, `because` and `facts`, and `defaults`,
    facts of every case that does not say otherwise.

    Facts are named as the fields of `PolicyRequest`, times as `now` (a date) and
    `expires_in_seconds`. Raises `StateError` ("policy_invalid") naming the case.
    """
    if len(text) > MAX_CASES_BYTES:
        raise _invalid(file, f"expected at most {MAX_CASES_BYTES} characters")
    try:
        document = yaml.load(text, Loader=StrictLoader)  # a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        raise _invalid(file, f"expected YAML: {str(error).splitlines()[0][:200]}") from None
    if not isinstance(document, dict) or not {"cases"} <= document.keys() <= {"cases", "defaults"}:
        raise _invalid(file, "expected the keys `cases` and `defaults`")
    cases, defaults = document["cases"], document.get("defaults") or {}
    if not isinstance(cases, list) or not 0 < len(cases) <= MAX_CASES:
        raise _invalid(file, f"expected `cases` to be a list of 1 to {MAX_CASES}")
    if not isinstance(defaults, dict):
        raise _invalid(file, "expected `defaults` to be facts by name")
    found = tuple(_case(item, n, defaults, file) for n, item in enumerate(cases, start=1))
    names = [case.name for case in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise _invalid(file, f"the case `{twice}` is listed twice")
    return found


def run_cases(bundle: PolicyBundle, cases: tuple[Case, ...]) -> tuple[Outcome, ...]:
    """Every case put to `bundle`."""
    return tuple(Outcome(case, decide_all(bundle, (case.request,))) for case in cases)


def _case(item: object, number: int, defaults: Mapping[str, Any], file: str) -> Case:
    keys = {"name", "decide", "because", "facts"}
    if not isinstance(item, dict) or not {"name", "decide"} <= item.keys() <= keys:
        raise _invalid(file, f"case {number}: expected the keys name, decide, because and facts")
    name, because = item["name"], item.get("because", "")
    if not isinstance(name, str) or not isinstance(because, str):
        raise _invalid(file, f"case {number}: expected texts for `name` and `because`")
    if item["decide"] not in ("allow", "deny"):
        raise _invalid(file, f"case `{name}`: expected `decide` to be allow or deny")
    own = item.get("facts") or {}
    if not isinstance(own, dict):
        raise _invalid(file, f"case `{name}`: expected `facts` by name")
    try:
        request = _request(dict(defaults), own)
    except YumenError as error:
        raise _invalid(file, f"case `{name}`: {error.message}") from None
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        reason = f"the facts do not read: {str(error)[:200]}"
        raise _invalid(file, f"case `{name}`: {reason}") from None
    return Case(name, item["decide"] == "allow", because, request)


def _request(defaults: dict[str, Any], own: dict[str, Any]) -> PolicyRequest:
    operation = own.get("operation", defaults.get("operation", "query"))
    facts = {**_DEFAULTS, **(_TRAINING if operation == "train" else {}), **defaults, **own}
    unknown = facts.keys() - PolicyRequest.__dataclass_fields__.keys() - _TIMES
    if unknown:
        raise ValueError(f"unknown fact `{min(unknown)}`")
    moment = datetime.fromisoformat(str(facts.pop("now")))
    now_ms = int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)
    expires_at_ms = now_ms + int(facts.pop("expires_in_seconds")) * 1000
    for name in ("requester", "decider"):
        facts[name] = Identity.parse(facts[name])
    for name in _SETS:
        if isinstance(facts.get(name, []), str):
            raise ValueError(f"expected a list for `{name}`")
        facts[name] = frozenset(facts.get(name, []))
    facts.setdefault("columns", {})
    return PolicyRequest(now_ms=now_ms, expires_at_ms=expires_at_ms, **facts)


def _invalid(file: str, reason: str) -> StateError:
    return StateError("policy_invalid", f"cases `{file}`: {reason}")
