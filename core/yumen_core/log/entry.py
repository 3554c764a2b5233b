"""One log entry: who or what it is about, digests and details, as canonical JSON. Pure.

Entries hold ids, digests and decisions, never rows, results or personal data (design, section 8).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from yumen_core import canonical
from yumen_core.errors import CallError, PeerError
from yumen_core.log.tiles import MAX_ENTRY_BYTES

VERSION = 1

# Beyond this, JSON readers that hold numbers as floats would read another number.
MAX_INT = (1 << 53) - 1
_MAX_TIME_MS = 253_402_300_799_999  # the last millisecond of the year 9999

_FIELDS = {"v", "time", "act", "subject", "digests", "detail"}
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z", re.ASCII)

Value = int | str | Sequence[str]


class Act(StrEnum):
    """What happened."""

    ENROLMENT = "enrolment"
    TABLE_PUBLISHED = "table_published"
    POLICY_ACTIVATED = "policy_activated"
    JOB_RECEIVED = "job_received"
    DECISION = "decision"
    CONTRIBUTION = "contribution"
    SUPPORT = "support"
    RELEASE = "release"
    RUN_DROPPED = "run_dropped"
    CODE_REVIEW = "code_review"
    SANDBOX = "sandbox"
    JOB_ENDED = "job_ended"
    REFUSAL = "refusal"
    REVOCATIONS = "revocations"
    BUDGET = "budget"
    WITNESS = "witness"
    OPERATOR = "operator"
    STARTUP = "startup"


@dataclass(frozen=True)
class Entry:
    """One act.

    `time_ms` is milliseconds since the Unix epoch, UTC. `subject` names what the act is about,
    such as {"job": id, "node": identity}. `digests` are SHA-256, 32 bytes each, by name. `detail`
    holds integers (at most 53 bits, booleans included), texts and lists of texts.
    """

    time_ms: int
    act: Act
    subject: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, bytes] = field(default_factory=dict)
    detail: Mapping[str, Value] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The canonical JSON bytes. Raises `CallError` (argument)."""
        for name, text in self.subject.items():
            if not isinstance(text, str):
                raise CallError("argument", f"subject `{name}` of a log entry is not a text")
        for name, digest in self.digests.items():
            if len(digest) != 32:
                raise CallError("argument", f"digest `{name}` has 32 bytes, got `{len(digest)}`")
        for name, value in self.detail.items():
            _check_detail(name, value)
        record: dict[str, canonical.Json] = {
            "v": VERSION,
            "time": time_text(self.time_ms),
            "act": Act(self.act).value,
            "subject": dict(self.subject),
            "digests": {name: digest.hex() for name, digest in self.digests.items()},
            "detail": dict(self.detail),
        }
        try:
            data = canonical.encode(record)
        except (TypeError, UnicodeEncodeError):
            raise CallError("argument", "a log entry has text keys and UTF-8 values") from None
        if len(data) > MAX_ENTRY_BYTES:
            raise CallError(
                "argument", f"a log entry has at most {MAX_ENTRY_BYTES} bytes, got `{len(data)}`"
            )
        return data


def decode_entry(data: bytes) -> Entry:
    """The entry in `data`. Raises `PeerError` (log_corrupt) unless the bytes are canonical."""
    try:
        record = json.loads(data)
        if not isinstance(record, dict) or set(record) != _FIELDS or record["v"] != VERSION:
            raise ValueError
        digests = {name: bytes.fromhex(text) for name, text in record["digests"].items()}
        entry = Entry(
            parse_time(record["time"]),
            Act(record["act"]),
            record["subject"],
            digests,
            record["detail"],
        )
        same = entry.encode() == data
    except (ValueError, TypeError, AttributeError, RecursionError, CallError):
        same = False
    if not same:
        raise PeerError("log_corrupt", "the log entry is not canonical JSON of version 1")
    return entry


def time_text(time_ms: int) -> str:
    """RFC 3339, UTC, with milliseconds: `2026-09-21T14:13:20.000Z`. Raises `CallError`."""
    if not 0 <= time_ms <= _MAX_TIME_MS:
        raise CallError("argument", f"a time is from 1970 to 9999, got `{time_ms}` ms")
    seconds, rest = divmod(time_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


def parse_time(text: str) -> int:
    """Milliseconds since the Unix epoch. Raises `ValueError` for another form."""
    if not _TIME.fullmatch(text):
        raise ValueError(text)
    moment = datetime.fromisoformat(text[:-5] + "+00:00")
    return int(moment.timestamp()) * 1000 + int(text[-4:-1])


def _check_detail(name: str, value: object) -> None:
    if isinstance(value, int):
        if abs(value) > MAX_INT:
            raise CallError("argument", f"detail `{name}` has at most 53 bits; send it as text")
        return
    if isinstance(value, str):
        return
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return
    raise CallError("argument", f"detail `{name}` is not an integer, a text or a list of texts")
