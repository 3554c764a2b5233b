"""Log entries in people's words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from yumen_core.canonical import parse
from yumen_core.errors import CallError
from yumen_core.log.entry import Act, Entry, time_text

_WHO = (
    *("requester", "caller", "operator", "login", "reviewer"),
    *("witness", "node", "member", "owner", "party"),
)
_LATE_MS = 60_000
"""An operator's act that the log tells of later than this shows its own time beside it."""


@dataclass(frozen=True)
class Row:
    """One entry: when, which act, who, about what, how it came out, and why."""

    index: int
    time: str
    act: str
    who: str
    what: str
    outcome: str
    reason: str

    @property
    def cells(self) -> tuple[str, ...]:
        return (
            str(self.index),
            self.time,
            self.act,
            self.who,
            self.what,
            self.outcome,
            self.reason,
        )


HEADER = ("index", "time", "act", "who", "what", "outcome", "reason")


@dataclass(frozen=True)
class Wanted:
    """Which entries to show; an empty field asks for all. Times in milliseconds, from `since_ms`
    and before `until_ms`; `user` is any part of an identity."""

    user: str = ""
    table: str = ""
    purpose: str = ""
    job: str = ""
    act: str = ""
    since_ms: int = 0
    until_ms: int = 1 << 62
    denied: bool = False

    def holds(self, entry: Entry) -> bool:
        subject = entry.subject
        tables = [text for name, text in subject.items() if name.startswith(("table", "joined_"))]
        return (
            self.since_ms <= entry.time_ms < self.until_ms
            and (not self.act or entry.act.value == self.act)
            and (not self.job or subject.get("job") == self.job)
            and (not self.purpose or subject.get("purpose") == self.purpose)
            and (not self.table or self.table in tables)
            and (not self.user or any(self.user in name for name in people_of(entry)))
            and (not self.denied or is_denied(entry))
        )


def is_denied(entry: Entry) -> bool:
    """Whether the entry says no."""
    if entry.act is Act.REFUSAL or entry.detail.get("what") == "log_in_refused":
        return True
    return entry.act is Act.DECISION and not entry.detail.get("accepted")


def is_own_decision(entry: Entry) -> bool:
    """A decision of the log's owner, not one that a coordinator notes of a node."""
    own = {"spec", "policies"} <= entry.digests.keys()
    return entry.act is Act.DECISION and own and "node" not in entry.subject


def people_of(entry: Entry) -> list[str]:
    """The identities that the entry names: who asked or did it, and who signed for it."""
    found = [entry.subject[name] for name in _WHO if entry.subject.get(name)]
    for name in ("by", "reviewers"):
        more = entry.detail.get(name)
        found += more if isinstance(more, list | tuple) else ()
    return found


def reason_codes(entry: Entry) -> list[str]:
    """The reason codes of a decision's denials or of a refusal, sorted, each once."""
    found = {str(entry.detail["code"])} if "code" in entry.detail else set()
    denials = entry.detail.get("denials")
    for text in denials if isinstance(denials, list | tuple) else ():
        try:
            denial = parse(text)
        except ValueError:
            continue
        if isinstance(denial, dict) and isinstance(denial.get("reason_code"), str):
            found.add(denial["reason_code"])
    return sorted(found)


def row_of(index: int, entry: Entry) -> Row:
    subject, detail = entry.subject, entry.detail
    who = next(iter(people_of(entry)), "")
    if entry.act is Act.OPERATOR and subject.get("login"):
        who += f", logged in as {subject['login']}"
    names = ("table", "purpose", "project", "job", "session")
    about = [f"{name} {subject[name]}" for name in names if subject.get(name)]
    if entry.act in (Act.OPERATOR, Act.CODE_REVIEW):
        digests = ("code", "policies")
        about += [
            f"{name} {entry.digests[name].hex()}" for name in digests if name in entry.digests
        ]
    what = ", ".join(about)
    if entry.act is Act.DECISION:
        outcome = "accepted" if detail.get("accepted") else "denied"
    elif entry.act is Act.REFUSAL:
        outcome = "refused"
    elif entry.act is Act.POLICY_ACTIVATED:
        outcome = f"by {', '.join(people_of(entry)[1:])}"
    elif entry.act is Act.CODE_REVIEW:
        outcome = "approved" if detail.get("approved") else "rejected"
    elif entry.act is Act.OPERATOR:
        outcome = str(detail.get("what", "")).replace("_", " ")
    else:
        outcome = str(detail.get("state") or detail.get("move") or detail.get("what") or "done")
    reason = ", ".join(reason_codes(entry)) or str(
        detail.get("reason") or detail.get("message") or _done_at(entry)
    )
    return Row(
        index, time_text(entry.time_ms), entry.act.replace("_", " "), who, what, outcome, reason
    )


def _done_at(entry: Entry) -> str:
    """When an operator's act was done, where the log tells of it later: the node was down."""
    at_ms = entry.detail.get("left_at_ms")
    if not isinstance(at_ms, int) or abs(entry.time_ms - at_ms) <= _LATE_MS:
        return ""
    try:
        return f"done at {time_text(at_ms)}"
    except CallError:
        return f"done at {at_ms} ms"


def rows(entries: Iterable[tuple[int, Entry]], wanted: Wanted) -> Iterator[Row]:
    """The wanted entries, in order. One that names a job alone is about whom and what its first
    decision names."""
    about: dict[str, Mapping[str, str]] = {}
    for index, entry in entries:
        subject, job = entry.subject, entry.subject.get("job", "")
        if entry.act is Act.DECISION and job and "requester" in subject:
            about.setdefault(job, {name: subject[name] for name in subject if name != "node"})
        whole = entry
        if entry.act not in (Act.OPERATOR, Act.CODE_REVIEW):
            whole = replace(entry, subject={**about.get(job, {}), **subject})
        if wanted.holds(whole):
            yield row_of(index, entry if people_of(entry) else whole)
