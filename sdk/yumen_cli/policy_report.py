"""Why a bundle decides as it does on one request, clause by clause."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yumen_core.policy import PolicyBundle, PolicyDecision, PolicyRequest
    from yumen_core.policy.clauses import PolicyClauses


@dataclass(frozen=True)
class Explained:
    """One request, the decision on it, and every permit with its clauses."""

    request: PolicyRequest
    decision: PolicyDecision
    permits: tuple[PolicyClauses, ...]

    def lines(self) -> Iterator[str]:
        """For a person: the decision, what would pass, then the permits."""
        what = f"table {self.request.table}, {self.request.operation}"
        if self.decision.allowed:
            yield f"{what}: allowed by {', '.join(self.decision.policy_ids)}"
        else:
            yield f"{what}: denied"
        for denial in self.decision.denials:
            yield f"  {denial.reason_code}: {denial.message}"
            if denial.observed:
                yield f"    had     {denial.subject}: {denial.observed}"
            if denial.allowed:
                yield f"    passes  {denial.subject}: {denial.allowed}"
            yield f"    remedy  {denial.remedy}"
        for found in self.permits:
            verb = "matches" if found.matches else "does not match"
            yield f"permit {found.policy.id} ({found.policy.file}) {verb}"
            for clause in found.clauses:
                yield f"  {'ok   ' if clause.holds else 'fails'}  {clause.text}"

    def document(self) -> dict[str, object]:
        """The same for a program."""
        return {
            "table": self.request.table,
            "allowed": self.decision.allowed,
            "policies": list(self.decision.policy_ids),
            "denials": [denial.to_json() for denial in self.decision.denials],
            "permits": [
                {
                    "policy": found.policy.id,
                    "matches": found.matches,
                    "clauses": [{"text": one.text, "holds": one.holds} for one in found.clauses],
                }
                for found in self.permits
            ],
        }


def explained(bundle: PolicyBundle, request: PolicyRequest) -> Explained:
    """Decide `request` and take the permits apart."""
    from yumen_core.policy.clauses import permit_clauses

    return Explained(request, bundle.decide(request), permit_clauses(bundle, request))
