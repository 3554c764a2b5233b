"""A request to the policies as one canonical text, so that a log can hold what was decided on.

Ids, columns, grades and counts: no row and no literal of the statement. Whether the purpose was
registered is not among them: that is the register's word, and the register is part of the bundle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from yumen_core import canonical
from yumen_core.canonical import Json, parse
from yumen_core.errors import CallError, PeerError
from yumen_core.identity.names import Identity
from yumen_core.policy.request import PolicyRequest

FORMAT = "yumen-policy-facts-v1"
MAX_FACTS_BYTES = 1024 * 1024
# Of a log entry, which holds the statement and the denials too.
MAX_LOGGED_BYTES = 24_000

_SETS = ("filters", "group_by", "group_bands", "joined", "aggregates")
_TEXTS = (
    *("operation", "table", "table_grade", "purpose", "suite", "project"),
    *("program", "program_name"),
)
_NUMBERS = (
    *("rounds", "participants", "min_nodes", "threshold", "now_ms", "expires_at_ms"),
    *("micro_rho", "code_reviewers", "parameters"),
)
_OTHERS = ("format", "requester", "decider", "columns", "dry_run", "micro_rho_left")
_FIELDS = frozenset({*_SETS, *_TEXTS, *_NUMBERS, *_OTHERS})


def facts_text(request: PolicyRequest) -> str:
    """All that `request` states, as canonical JSON; `request_of` reads it back."""
    facts: dict[str, Json] = {
        "format": FORMAT,
        "requester": request.requester.uri,
        "decider": request.decider.uri,
        "columns": dict(request.columns),
        "dry_run": request.dry_run,
        "micro_rho_left": request.micro_rho_left,
    }
    facts |= {name: sorted(getattr(request, name)) for name in _SETS}
    facts |= {name: getattr(request, name) for name in (*_TEXTS, *_NUMBERS)}
    return canonical.encode(facts).decode()


def request_of(text: str) -> PolicyRequest:
    """The request that `text` states, in its one canonical form.

    Raises `PeerError` ("log_corrupt") for any other text, and for facts that cannot be right.
    """
    if len(text) > MAX_FACTS_BYTES:
        raise _wrong(f"expected facts of at most {MAX_FACTS_BYTES} characters, got {len(text)}")
    try:
        facts = parse(text, max_chars=MAX_FACTS_BYTES)
        if not isinstance(facts, dict) or facts.keys() != _FIELDS or facts["format"] != FORMAT:
            raise _wrong("expected the facts of a decision, got other fields")
        request = _request(facts)
        same = facts_text(request) == text
    except CallError as error:
        raise _wrong(error.message) from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _wrong("expected the facts of a decision as canonical JSON, got other text") from None
    if not same:
        raise _wrong("expected the facts of a decision as canonical JSON, got another spelling")
    return request


def logged_facts(requests: Sequence[PolicyRequest]) -> dict[str, str | Sequence[str]]:
    """What a decision's log entry says of the facts: whole, or by their digest alone.

    `facts` holds one text for each request put to the policies, in their order, and is empty where
    none was asked. Together longer than 24,000 bytes, `facts` is left out and `facts_digest` names
    them, SHA-256 over the canonical JSON of the list: facts are never cut, for cut ones would
    decide otherwise.
    """
    texts = [facts_text(request) for request in requests]
    encoded = canonical.encode(texts)
    if len(encoded) <= MAX_LOGGED_BYTES:
        return {"facts": texts}
    return {"facts_digest": canonical.digest(texts).hex()}


def _request(facts: Mapping[str, Any]) -> PolicyRequest:
    for name in _TEXTS:
        if not isinstance(facts[name], str):
            raise TypeError(name)
    for name in _SETS:
        if not isinstance(facts[name], list) or not all(isinstance(i, str) for i in facts[name]):
            raise TypeError(name)
    if not isinstance(facts["dry_run"], bool):
        raise TypeError("dry_run")
    fields: dict[str, Any] = {name: frozenset(facts[name]) for name in _SETS}
    fields |= {name: facts[name] for name in (*_TEXTS, *_NUMBERS)}
    return PolicyRequest(
        requester=Identity.parse(facts["requester"]),
        decider=Identity.parse(facts["decider"]),
        columns=facts["columns"],
        dry_run=facts["dry_run"],
        micro_rho_left=facts["micro_rho_left"],
        **fields,
    )


def _wrong(message: str) -> PeerError:
    return PeerError("log_corrupt", message)
