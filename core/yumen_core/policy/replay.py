"""A bundle over decisions of the past: which would fall otherwise. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from yumen_core.errors import PeerError
from yumen_core.log.entry import Act, Entry
from yumen_core.policy.denial import Denial
from yumen_core.policy.engine import PolicyBundle
from yumen_core.policy.facts import request_of
from yumen_core.policy.request import PolicyRequest


@dataclass(frozen=True)
class PastDecision:
    """A decision as the log of the party that made it holds it.

    `requests` are what it put to its policies, none where it refused before that (`at_gate`), or
    where the facts were too many for an entry (`too_long`). `policies` is the bundle's digest.
    """

    index: int
    time_ms: int
    subject: Mapping[str, str]
    accepted: bool
    requests: tuple[PolicyRequest, ...]
    policies: bytes
    too_long: bool = False

    @property
    def job(self) -> str:
        return self.subject.get("job", "")

    @property
    def at_gate(self) -> bool:
        return not self.requests and not self.too_long


@dataclass(frozen=True)
class Word:
    """What a bundle says of all requests of one job: an Allow only where each is allowed."""

    allowed: bool
    policy_ids: tuple[str, ...]
    denials: tuple[Denial, ...]


@dataclass(frozen=True)
class Flip:
    """A decision that `bundle` would make otherwise than it was made."""

    decision: PastDecision
    word: Word


@dataclass(frozen=True)
class Replay:
    """How many decisions came out as before, which would not, and which cannot be decided again."""

    same: int
    flips: tuple[Flip, ...]
    at_gate: int
    too_long: int


def past_decisions(entries: Iterable[tuple[int, Entry]]) -> Iterator[PastDecision]:
    """The log owner's own decisions among its entries, each with its index in the log: what a
    coordinator notes of a node's decision names the node, and is left out.

    Raises `PeerError` ("log_corrupt") where the facts of one do not read, or where its digests lack
    the policies.
    """
    for index, entry in entries:
        if entry.act is not Act.DECISION or "node" in entry.subject:
            continue
        facts = entry.detail.get("facts", ())
        texts = facts if isinstance(facts, list | tuple) else ()
        policies = entry.digests.get("policies")
        if policies is None:
            raise PeerError("log_corrupt", f"the decision `{index}` names no policies")
        yield PastDecision(
            index=index,
            time_ms=entry.time_ms,
            subject=entry.subject,
            accepted=entry.detail.get("accepted") is True,
            requests=tuple(request_of(text) for text in texts),
            policies=policies,
            too_long="facts_digest" in entry.detail,
        )


def decide_all(bundle: PolicyBundle, requests: Sequence[PolicyRequest]) -> Word:
    """Put every request of one job to `bundle`; without any, nothing is allowed."""
    decisions = [bundle.decide(request) for request in requests]
    return Word(
        allowed=bool(decisions) and all(decision.allowed for decision in decisions),
        policy_ids=tuple(dict.fromkeys(name for one in decisions for name in one.policy_ids)),
        denials=tuple(denial for one in decisions for denial in one.denials),
    )


def replay(bundle: PolicyBundle, decisions: Iterable[PastDecision]) -> Replay:
    """Decide again by `bundle`, at the moments and with the facts of then."""
    same = at_gate = too_long = 0
    flips: list[Flip] = []
    for decision in decisions:
        if not decision.requests:
            at_gate += decision.at_gate
            too_long += decision.too_long
            continue
        word = decide_all(bundle, decision.requests)
        if word.allowed == decision.accepted:
            same += 1
        else:
            flips.append(Flip(decision, word))
    return Replay(same, tuple(flips), at_gate, too_long)


def reasons(word: Word) -> str:
    """The permits or the reason codes behind a word, for a table."""
    if word.allowed:
        return ", ".join(word.policy_ids)
    return ", ".join(dict.fromkeys(denial.reason_code for denial in word.denials))
