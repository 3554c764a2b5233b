"""The card that a reviewer reads before a word on somebody's code: plain sentences, then the code.

Its lines hold words of the requester and of the code's author. Whoever shows them makes each line
safe for a terminal; a line break inside one is an author's try to write lines of his own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from yumen_core.canonical import Json
from yumen_core.training.bundle import Bundle
from yumen_core.training.difference import difference
from yumen_core.training.source import imports

from yumen_node.approvals import Held
from yumen_node.ask import Ask
from yumen_node.code_concerns import concerns
from yumen_node.reviews import Reviewed

MAX_WORD_CHARS = 300
MAX_NAMES = 40
MAX_SETTINGS = 200
_ORDER = {"train": 0, "evaluate": 1, "query": 2}


@dataclass(frozen=True)
class Section:
    """A heading and its lines."""

    heading: str
    lines: tuple[str, ...]


def card(bundle: Bundle, held: Held, previous: Bundle | None) -> tuple[Section, ...]:
    """All that a reviewer needs of one bundle; `previous` is the version approved last."""
    sections = [Section("Code", tuple(_code(bundle)))]
    for ask in held.asks:
        sections += [
            Section("Who asks", tuple(_who(ask))),
            Section("What the code reads here", tuple(_reads(ask))),
            Section("What leaves this node", tuple(_leaves(ask))),
        ]
        if ask.run_config:
            sections.append(Section("What the requester sets for the code", tuple(_set(ask))))
        if ask.limits:
            limits = tuple(f"{name}: {value}" for name, value in sorted(ask.limits.items()))
            sections.append(Section("What the sandbox gives the code", limits))
    if not held.asks:
        sections.append(Section("Who asks", ("no job waits for this code now",)))
    sections.append(Section("Look at these places first", tuple(_concerns(bundle))))
    sections.append(Section("Reviews so far", tuple(map(_review, held.reviews)) or ("none",)))
    sections.append(_difference(bundle, previous))
    return tuple(sections)


def document(bundle: Bundle, held: Held, previous: Bundle | None) -> dict[str, Json]:
    """The same as JSON."""
    return {
        **summary(held),
        "publisher": bundle.app.publisher,
        "files": [{"path": path, "bytes": len(raw)} for path, raw in sorted(bundle.files.items())],
        "imports": imports(bundle),
        "concerns": [
            {"path": one.path, "line": one.line, "what": one.what, "why": one.why}
            for one in concerns(bundle)
        ],
        "jobs": [_ask_document(ask) for ask in held.asks],
        "previous": previous.digest.hex() if previous else None,
        "difference": difference(previous, bundle) if previous else [],
    }


def summary(held: Held) -> dict[str, Json]:
    """One bundle in a list, as JSON."""
    return {
        "digest": held.digest.hex(),
        "name": held.name,
        "version": held.version,
        "since": utc(held.since_ms),
        "jobs": [
            {"job_id": ask.job_id, "requester": ask.requester.uri, "table": ask.table}
            for ask in held.asks
        ],
        "reviews": [
            {
                "reviewer": one.reviewer,
                "approved": one.approved,
                "reason": one.reason,
                "reviewed_at": utc(one.reviewed_at_ms),
                "counts": one.fault is None,
                "fault": one.fault,
            }
            for one in held.reviews
        ],
    }


def utc(time_ms: int) -> str:
    """`2026-11-23T13:00:00Z`."""
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _code(bundle: Bundle) -> Iterator[str]:
    app = bundle.app
    size = sum(len(raw) for raw in bundle.files.values())
    yield f"digest: {bundle.digest.hex()}"
    yield (
        f"calls itself `{_cut(app.name)}`, version `{_cut(app.version)}`, by"
        f" `{_cut(app.publisher)}`; none of this is verified"
    )
    yield f"{len(bundle.files)} files, {size} bytes; it imports {_listed(imports(bundle))}"


def _who(ask: Ask) -> Iterator[str]:
    yield f"{ask.requester.uri}, proven by certificate"
    yield f"for purpose `{_cut(ask.purpose)}`, as the requester signed it"
    yield f"job {_cut(ask.job_id)}, which waits until {utc(ask.expires_at_ms)}"


def _reads(ask: Ask) -> Iterator[str]:
    yield f"table `{ask.table}`, the rows of: {ask.sql}"
    for column in ask.columns:
        meaning = f": {column.meaning}" if column.meaning else ""
        yield f"column `{column.name}`, grade {column.grade}{meaning}"


def _leaves(ask: Ask) -> Iterator[str]:
    nodes = f"over at least {ask.min_nodes} nodes"
    means = _means(ask.metrics)
    for action, count in sorted(ask.runs.items(), key=lambda run: _ORDER.get(run[0], len(_ORDER))):
        runs = f"each of at most {count} runs of `{action}`"
        if action == "train":
            yield f"after {runs}: the sum {nodes} of {ask.parameters} model values, and {means}"
        else:
            yield f"after {runs}: {means}, {nodes}"
    if ask.weight:
        yield f"in a mean each node counts by: {_cut(ask.weight)}"
    if ask.clip_norm:
        yield f"a change of the model longer than this norm is cut to it: {_cut(ask.clip_norm)}"
    yield "with each sum: the rows used, the nodes counted and those cut to the norm, as totals"
    yield (
        "to the other nodes alone: whether enough rows stand behind it, and the rough size (a"
        " power of four) of each array of the model"
    )
    yield "nothing else: no row, no file, no text; of a failure one word of a fixed list"
    yield "a sum of model values can still tell of rows: what it tells is up to this code"


def _set(ask: Ask) -> Iterator[str]:
    settings = sorted(ask.run_config.items())
    for name, value in settings[:MAX_SETTINGS]:
        yield f"`{_cut(name)}`: `{_cut(value)}`"
    if len(settings) > MAX_SETTINGS:
        yield f"and {len(settings) - MAX_SETTINGS} more, which `show --json` lists"


def _means(metrics: Sequence[str]) -> str:
    if not metrics:
        return "no metric"
    noun = (
        "the mean of this metric"
        if len(metrics) == 1
        else (f"the means of these {len(metrics)} metrics")
    )
    return f"{noun}: {_listed(metrics)}"


def _concerns(bundle: Bundle) -> Iterator[str]:
    found = concerns(bundle)
    for one in found:
        yield f"warning: {one.path}, line {one.line}: `{_cut(one.what)}` {one.why}"
    if not found:
        yield "none that this software knows; read the files all the same"


def _review(one: Reviewed) -> str:
    word = "approved" if one.approved else "rejected"
    if not one.genuine:
        return f"under the name {one.reviewer}: damaged, {one.fault}"
    fault = f" (does not count: {one.fault})" if one.fault and one.approved else ""
    return f"{word} by {one.reviewer} on {utc(one.reviewed_at_ms)}: {one.reason}{fault}"


def _difference(bundle: Bundle, previous: Bundle | None) -> Section:
    if previous is None:
        line = f"no version of `{_cut(bundle.app.name)}` was approved here before: read every file"
        return Section("Difference from the last approved version", (line,))
    heading = f"Difference from the last approved version, {previous.digest.hex()[:12]}"
    return Section(heading, tuple(difference(previous, bundle)) or ("none",))


def _ask_document(ask: Ask) -> Mapping[str, Json]:
    return {
        "job_id": ask.job_id,
        "requester": ask.requester.uri,
        "purpose": ask.purpose,
        "table": ask.table,
        "sql": ask.sql,
        "columns": [
            {"name": one.name, "grade": one.grade, "meaning": one.meaning} for one in ask.columns
        ],
        "runs": dict(ask.runs),
        "min_nodes": ask.min_nodes,
        "parameters": ask.parameters,
        "metrics": list(ask.metrics),
        "limits": dict(ask.limits),
        "run_config": dict(ask.run_config),
        "weight": ask.weight,
        "clip_norm": ask.clip_norm,
        "expires_at": utc(ask.expires_at_ms),
    }


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(_cut(name) for name in names[:MAX_NAMES]) or "nothing"
    more = len(names) - MAX_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def _cut(text: str) -> str:
    return text if len(text) <= MAX_WORD_CHARS else text[:MAX_WORD_CHARS] + "…"
