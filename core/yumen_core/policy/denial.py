"""Why something was refused, and what would pass."""

from __future__ import annotations

from dataclasses import dataclass

from yumen_core.canonical import Json


@dataclass(frozen=True)
class Denial:
    """One refusal, as the requester sees it.

    `node` is who refused (its SPIFFE id); `reason_code` is stable and documented in
    docs/policies.md; `policy_id` and `policy_digest` (SHA-256, 32 bytes) name the policy, both
    empty where the gate itself refused; `subject` is the column or parameter at fault, `observed`
    what the job had, `allowed` what would have passed, `remedy` the nearest change that would
    pass, in words.
    """

    node: str
    reason_code: str
    message: str
    subject: str
    observed: str
    allowed: str
    remedy: str
    policy_id: str = ""
    policy_digest: bytes = b""

    def to_json(self) -> dict[str, Json]:
        return {
            "node": self.node,
            "reason_code": self.reason_code,
            "message": self.message,
            "subject": self.subject,
            "observed": self.observed,
            "allowed": self.allowed,
            "remedy": self.remedy,
            "policy_id": self.policy_id,
            "policy_digest": self.policy_digest.hex(),
        }
