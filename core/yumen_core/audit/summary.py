"""What a log says of a period, counted. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass, field

from yumen_core.audit.rows import is_own_decision, people_of, reason_codes
from yumen_core.log.entry import Act, Entry, time_text

MAX_LISTED = 500
"""Entries that are listed one by one, of each kind; the rest is counted."""


@dataclass
class Purpose:
    """Jobs that the log's owner decided on; a dry run touches no row and counts apart."""

    accepted: int = 0
    denied: int = 0
    dry_runs: int = 0


@dataclass
class Budget:
    """Millionths of rho of one table and project in the period; `project_left` after the last move,
    None where there was none."""

    reserved: int = 0
    given_back: int = 0
    spent: int = 0
    project_left: int | None = None


@dataclass(frozen=True)
class Listed:
    """One entry in words: index in the log, time, and cells by the kind of list."""

    index: int
    time: str
    cells: tuple[str, ...]


@dataclass
class Summary:
    """`entries` in the period; `denials` counts reason codes, one job possibly under several;
    `refusals` counts what could not be verified, `stopped` accepted jobs that were refused while
    they ran. `left` is what tables had after their last move; `limits` of tables, of the last
    entry that tells them, in millionths of rho: all, and for one project. `operators` counts acts
    by who and what."""

    origin: str
    entries: int = 0
    purposes: dict[str, Purpose] = field(default_factory=dict)
    denials: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    stopped: Counter[str] = field(default_factory=Counter)
    left: dict[str, int] = field(default_factory=dict)
    budgets: dict[tuple[str, str], Budget] = field(default_factory=dict)
    limits: dict[str, tuple[int, int]] = field(default_factory=dict)
    requesters: Counter[str] = field(default_factory=Counter)
    releases: Counter[str] = field(default_factory=Counter)
    contributions: int = 0
    operators: Counter[tuple[str, str]] = field(default_factory=Counter)
    reviews: list[Listed] = field(default_factory=list)
    activations: list[Listed] = field(default_factory=list)
    tables: list[Listed] = field(default_factory=list)
    left_out: int = 0


def summarise(
    origin: str, entries: Iterable[tuple[int, Entry]], since_ms: int, until_ms: int
) -> Summary:
    """Of the entries from `since_ms` and before `until_ms`, milliseconds since the Unix epoch."""
    found = Summary(origin)
    accepted: set[str] = set()
    for index, entry in entries:
        if entry.act is Act.DECISION and entry.detail.get("accepted"):
            accepted.add(entry.subject.get("job", ""))
        if since_ms <= entry.time_ms < until_ms:
            found.entries += 1
            _count(found, index, entry, accepted)
    return found


def _was_accepted(entry: Entry, accepted: Set[str]) -> bool:
    job = entry.subject.get("job", "")
    return bool(job) and job in accepted


def _count(found: Summary, index: int, entry: Entry, accepted: Set[str]) -> None:
    subject, detail = entry.subject, entry.detail
    match entry.act:
        case Act.DECISION if is_own_decision(entry):
            _decision(found, index, entry)
        case Act.REFUSAL:
            counted = found.stopped if _was_accepted(entry, accepted) else found.refusals
            counted.update(reason_codes(entry) or ["unknown"])
        case Act.BUDGET:
            _budget(found, entry)
        case Act.RELEASE:
            found.releases[subject.get("requester", "")] += 1
        case Act.CONTRIBUTION if "node" not in subject:
            found.contributions += 1
        case Act.OPERATOR:
            what = str(detail.get("what", "")).replace("_", " ")
            found.operators[subject.get("operator", ""), what] += 1
        case Act.POLICY_ACTIVATED:
            cells = (", ".join(people_of(entry)[1:]), entry.digests.get("policies", b"").hex())
            _list(found, found.activations, index, entry, cells)
        case Act.TABLE_PUBLISHED:
            what = "withdrawn" if detail.get("withdrawn") else str(detail.get("grade", "published"))
            names = detail.get("tables")  # a coordinator notes all tables of a node
            told = ", ".join(map(str, names)) if isinstance(names, list | tuple) else ""
            published = (subject.get("node", ""), subject.get("table", "") or told, what)
            _list(found, found.tables, index, entry, published)


def _decision(found: Summary, index: int, entry: Entry) -> None:
    detail = entry.detail
    purpose = found.purposes.setdefault(entry.subject.get("purpose", ""), Purpose())
    if detail.get("dry_run"):
        purpose.dry_runs += 1
    elif detail.get("accepted"):
        purpose.accepted += 1
        found.requesters[entry.subject.get("requester", "")] += 1
    else:
        purpose.denied += 1
    if not detail.get("accepted") and not detail.get("dry_run"):
        found.denials.update(reason_codes(entry) or ["unknown"])
    reviewers = detail.get("reviewers")
    if isinstance(reviewers, list | tuple) and reviewers:
        outcome = "accepted" if detail.get("accepted") else "denied"
        cells = (entry.subject.get("job", ""), ", ".join(reviewers), outcome)
        _list(found, found.reviews, index, entry, cells)


def _budget(found: Summary, entry: Entry) -> None:
    table, detail = entry.subject.get("table", ""), entry.detail
    if detail.get("move") == "limits":
        found.limits[table] = (_int(entry, "micro_rho"), _int(entry, "project_micro_rho"))
        return
    budget = found.budgets.setdefault((table, entry.subject.get("project", "")), Budget())
    cost = _int(entry, "micro_rho")
    match detail.get("move"):
        case "reserved":
            budget.reserved += cost
        case "given back":
            budget.given_back += cost
        case "spent":
            budget.spent += cost
    found.left[table], budget.project_left = _int(entry, "left"), _int(entry, "project_left")


def _int(entry: Entry, name: str) -> int:
    value = entry.detail.get(name)
    return value if isinstance(value, int) else 0


def _list(
    found: Summary, where: list[Listed], index: int, entry: Entry, cells: tuple[str, ...]
) -> None:
    if len(where) < MAX_LISTED:
        where.append(Listed(index, time_text(entry.time_ms), cells))
    else:
        found.left_out += 1
