"""A statistic as it is signed: its rows, and all its rounds named beforehand."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from yumen_core import canonical
from yumen_core.canonical import Json
from yumen_core.errors import CallError, PeerError

MAX_BYTES = 200_000
MAX_ROUNDS = 16
MAX_RUNS = 200
MAX_SQL_BYTES = 100_000
_T = TypeVar("_T")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class Round:
    """One named round of secure sums: run up to `at_most` times, with new inputs each time.

    `kind` is a key of `registry.KINDS`; `arguments` are the kind's, in canonical JSON's types.
    """

    name: str
    kind: str
    arguments: Mapping[str, Json]
    at_most: int = 1

    def to_json(self) -> dict[str, Json]:
        return {
            "arguments": self.arguments,
            "at_most": self.at_most,
            "kind": self.kind,
            "name": self.name,
        }


@dataclass(frozen=True)
class Statistic:
    """`method` is what a person calls it, such as `logit`; it decides nothing. `sql` is the
    statement of the rows (`sql.parse_rows`). Rounds run in this order; one may be left out.

    Raises `CallError` (`statistic`) for names, counts or sizes beyond the limits.
    """

    method: str
    sql: str
    rounds: tuple[Round, ...]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.method):
            raise _bad("expected a method's name in small letters")
        if not 0 < len(self.sql.encode()) <= MAX_SQL_BYTES:
            raise _bad(f"expected a statement of 1 to {MAX_SQL_BYTES} bytes")
        if not 1 <= len(self.rounds) <= MAX_ROUNDS:
            raise _bad(f"expected 1 to {MAX_ROUNDS} rounds, got {len(self.rounds)}")
        if len({entry.name for entry in self.rounds}) != len(self.rounds):
            raise _bad("expected rounds with distinct names, got one twice")
        for entry in self.rounds:
            if not (_NAME.fullmatch(entry.name) and _NAME.fullmatch(entry.kind)):
                raise _bad("expected names of rounds in small letters")
            if not 1 <= entry.at_most <= MAX_RUNS:
                raise _bad(f"expected a round to run 1 to {MAX_RUNS} times, got {entry.at_most}")
        if len(self.to_bytes()) > MAX_BYTES:
            raise _bad(f"expected a statistic of at most {MAX_BYTES} bytes")

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of `to_bytes()`: 32 bytes."""
        return canonical.digest(self.to_json())

    def to_json(self) -> dict[str, Json]:
        return {
            "method": self.method,
            "rounds": [entry.to_json() for entry in self.rounds],
            "sql": self.sql,
        }

    def to_bytes(self) -> bytes:
        return canonical.encode(self.to_json())


def parse_statistic(data: bytes) -> Statistic:
    """Read another party's statistic: 1. size, 2. JSON of the known keys and types, 3. the limits
    of `Statistic`, 4. the canonical bytes. Raises `PeerError` (`job_spec`)."""
    if len(data) > MAX_BYTES:
        raise _malformed(f"expected a statistic of at most {MAX_BYTES} bytes, got {len(data)}")
    try:
        document = json.loads(data, parse_float=_no_float, parse_constant=_no_float)
        statistic = Statistic(
            _of(document, "method", str), _of(document, "sql", str), _rounds(document)
        )
        same = statistic.to_bytes() == data
    except CallError as fault:
        raise _malformed(fault.message) from None
    except (ValueError, RecursionError, TypeError):
        raise _malformed("expected a statistic in JSON, got other bytes") from None
    if not same:
        raise _malformed("expected a statistic in canonical JSON, got another form")
    return statistic


def _rounds(document: object) -> tuple[Round, ...]:
    entries = _of(document, "rounds", list)
    return tuple(
        Round(
            _of(entry, "name", str),
            _of(entry, "kind", str),
            _of(entry, "arguments", dict),
            _of(entry, "at_most", int),
        )
        for entry in entries[: MAX_ROUNDS + 1]
    )


def _of(document: object, key: str, kind: type[_T]) -> _T:
    value = document.get(key) if isinstance(document, dict) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _bad(f"expected `{key}` of a statistic as {kind.__name__}")
    return value


def _no_float(_: str) -> float:
    raise ValueError("no floating-point numbers")


def _bad(message: str) -> CallError:
    return CallError("statistic", message)


def _malformed(message: str) -> PeerError:
    return PeerError("job_spec", message)
