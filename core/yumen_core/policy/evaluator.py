"""Cedar behind one call: typed facts in, a verdict out, closed on every kind of failure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import cedarpy

from yumen_core.policy.request import PolicyRequest

_ERRED = re.compile(r"`(policy[0-9]+)`")


@dataclass(frozen=True)
class Verdict:
    """What the policies say of one request.

    `allowed` holds only where Cedar allowed and no policy failed. `determining` are the ids of the
    permits that matched, or of the forbids where any matched. `evaluated` is false where the
    request did not fit the schema. `errors` are the engine's words, for the operator's log, and
    `erred` the ids of the policies that failed.
    """

    allowed: bool
    determining: tuple[str, ...]
    evaluated: bool = True
    errors: tuple[str, ...] = ()
    erred: tuple[str, ...] = ()


class Evaluator:
    """Parsed handles over one policy text, and its schema; safe to share between threads.

    It checks nothing about the policies: a bundle does that before it makes one. `ids` gives the
    policies' ids in the order of the text. Raises `ValueError` where text or schema do not parse.
    """

    def __init__(self, text: str, ids: Sequence[str], schema: cedarpy.Schema) -> None:
        self._policies = cedarpy.PolicySet.from_str(text)
        self._schema = schema
        self._ids = {f"policy{position}": name for position, name in enumerate(ids)}

    def evaluate(self, request: PolicyRequest, *, purpose_registered: bool) -> Verdict:
        """Decide `request`. Never raises for what the policies or the facts hold: it refuses."""
        call = {
            "principal": request.principal_uid(),
            "action": {"type": "Yumen::Action", "id": request.operation},
            "resource": request.resource_uid(),
            "context": request.context(purpose_registered=purpose_registered),
        }
        try:
            entities = cedarpy.Entities.from_json_str(json.dumps(request.entities()), self._schema)
            result = cedarpy.is_authorized(call, self._policies, entities, self._schema)
        except ValueError as error:
            return Verdict(False, (), evaluated=False, errors=(str(error),))
        errors = tuple(result.diagnostics.errors)
        decided = result.decision is not cedarpy.Decision.NoDecision
        # Cedar skips a policy that fails and decides by the others. A forbid that fails would
        # fail open, so no answer with an error in it is an Allow.
        return Verdict(
            allowed=result.decision is cedarpy.Decision.Allow and not errors,
            determining=tuple(sorted(self._name(key) for key in result.diagnostics.reasons)),
            evaluated=decided,
            errors=errors,
            erred=self._erred(errors) if decided else (),
        )

    def _erred(self, errors: Sequence[str]) -> tuple[str, ...]:
        found = {match.group(1) for error in errors if (match := _ERRED.search(error))}
        return tuple(sorted(self._name(key) for key in found))

    def _name(self, key: str) -> str:
        return self._ids.get(key, key)
