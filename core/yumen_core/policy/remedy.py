"""Denials: why a request was refused, and the nearest change that would pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from yumen_core.policy.counterfactual import Change, Search, observed_facts
from yumen_core.policy.denial import Denial
from yumen_core.policy.evaluator import Verdict
from yumen_core.policy.purposes import Purposes
from yumen_core.policy.request import PolicyRequest
from yumen_core.policy.syntax import ParsedPolicy

# The suites a job can ask for, in order of preference.
SUITES = ("bfv",)
TRAINING_SUITES = ("stream", "bfv")

_NOTHING = "no single change of purpose, columns, grouping or nodes would pass"


def explain(
    request: PolicyRequest,
    verdict: Verdict,
    *,
    evaluate: Callable[[PolicyRequest], Verdict],
    policies: Mapping[str, ParsedPolicy],
    purposes: Purposes,
    numbers: frozenset[int],
    policy_digest: bytes,
) -> tuple[Denial, ...]:
    """The denials behind a `verdict` that does not allow; never empty.

    One for each forbid that matched, in order of id; one where no permit matched; one for each
    policy that failed, and one where the request did not fit the schema.
    """
    writer = _Writer(request, policy_digest)
    if not verdict.evaluated:
        return (writer.unfit(),)
    failed = tuple(writer.failed(policies.get(name), name) for name in verdict.erred or ("",))
    if verdict.errors:
        return failed
    names = [purpose.name for purpose in purposes]
    suites = TRAINING_SUITES if request.operation == "train" else SUITES
    search = Search(request, evaluate, purposes=names, suites=suites, numbers=numbers)
    if not verdict.determining:
        return (writer.unpermitted(search),)
    registered = request.purpose in purposes
    context = request.context(purpose_registered=registered)
    return tuple(writer.forbidden(policies[name], search, context) for name in verdict.determining)


class _Writer:
    """Writes denials in the name of the party that decides."""

    def __init__(self, request: PolicyRequest, policy_digest: bytes) -> None:
        self._request = request
        self._digest = policy_digest

    def forbidden(
        self, policy: ParsedPolicy, search: Search, context: Mapping[str, object]
    ) -> Denial:
        """The policy's own remedy, with observed and allowed values found by trying."""
        notes = policy.annotations
        basis = f": {notes['basis']}" if notes.get("basis") else ""
        # A change that makes the whole request pass; else one that at least ends this forbid,
        # the other denials of the same decision telling what remains.
        found = search.nearest(lambda verdict: verdict.allowed) or search.nearest(
            lambda verdict: (
                verdict.evaluated and not verdict.errors and policy.id not in verdict.determining
            )
        )
        reads = sorted(policy.reads)
        return self._denial(
            notes["reason_code"],
            f"policy `{policy.id}` forbids this job{basis}",
            subject=found.subject if found else ", ".join(reads) or "job",
            observed=found.observed if found else observed_facts(context, reads),
            allowed=found.allowed if found else "",
            remedy=notes["remedy"],
            policy_id=policy.id,
        )

    def unpermitted(self, search: Search) -> Denial:
        found: Change | None = search.nearest(lambda verdict: verdict.allowed)
        nothing = _NOTHING
        if search.exhausted:
            nothing = f"{_NOTHING}, among the {search.tried} tried"
        return self._denial(
            "no_permit",
            "no policy permits this job",
            subject=found.subject if found else "job",
            observed=found.observed if found else "",
            allowed=found.allowed if found else "",
            remedy=found.remedy if found else nothing,
        )

    def failed(self, policy: ParsedPolicy | None, name: str) -> Denial:
        return self._denial(
            "policy_error",
            f"policy `{name}` failed while it was evaluated, so the job is refused"
            if name
            else "a policy failed while it was evaluated, so the job is refused",
            subject="policy",
            observed=f"in `{policy.file}`" if policy else "",
            allowed="",
            remedy="ask the operator of the refusing party to correct the policy",
            policy_id=name,
        )

    def unfit(self) -> Denial:
        return self._denial(
            "policy_request",
            "the facts of this job do not fit the policy schema, so the job is refused",
            subject="job",
            observed="",
            allowed="",
            remedy="ask the operator of the refusing party to look into its log",
        )

    def _denial(
        self,
        reason_code: str,
        message: str,
        *,
        subject: str,
        observed: str,
        allowed: str,
        remedy: str,
        policy_id: str = "",
    ) -> Denial:
        return Denial(
            node=self._request.decider.uri,
            reason_code=reason_code,
            message=message,
            subject=subject,
            observed=observed,
            allowed=allowed,
            remedy=remedy,
            policy_id=policy_id,
            policy_digest=self._digest,
        )
