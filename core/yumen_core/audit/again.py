"""A logged decision, decided again from its logged facts by its logged policies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from yumen_core.audit.rows import is_own_decision, reason_codes
from yumen_core.errors import PeerError, StateError
from yumen_core.log.entry import Entry
from yumen_core.policy import PolicyBundle
from yumen_core.policy.engine import saved_path


@dataclass(frozen=True)
class Again:
    """`logged` and `now` are `accepted` or `denied`, with the reason codes; `agrees` is None where
    nothing can be decided again, and `note` says why."""

    index: int
    logged: str
    now: str
    agrees: bool | None
    note: str = ""


def decide_again(entries: Iterable[tuple[int, Entry]], job: str, policies: Path) -> Iterator[Again]:
    """Every own decision on `job` in a log; `policies` is the folder of its saved bundles."""
    for index, entry in entries:
        if is_own_decision(entry) and entry.subject.get("job") == job:
            yield _again(index, entry, policies)


def _again(index: int, entry: Entry, policies: Path) -> Again:
    logged = _words(bool(entry.detail.get("accepted")), reason_codes(entry))
    facts = entry.detail.get("facts")
    if not isinstance(facts, list | tuple):
        return Again(index, logged, "", None, "the entry holds no facts of this decision")
    if not facts:
        return Again(index, logged, "", None, "it was refused before any policy was asked")
    try:
        bundle = PolicyBundle.load_saved(saved_path(policies, entry.digests["policies"]))
        if bundle.digest != entry.digests["policies"]:
            return Again(index, logged, "", None, "the saved policies have another digest")
        decided = [bundle.decide_facts(text) for text in facts]
    except (StateError, PeerError) as error:
        return Again(index, logged, "", None, error.message)
    codes = sorted({denial.reason_code for one in decided for denial in one.denials})
    now = _words(all(one.allowed for one in decided), codes)
    return Again(index, logged, now, now == logged)


def _words(accepted: bool, codes: list[str]) -> str:
    return "accepted" if accepted else f"denied ({', '.join(codes)})"
