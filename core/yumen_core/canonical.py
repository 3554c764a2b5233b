"""Canonical JSON: one byte string for one value, so that digests agree between machines.

The subset of RFC 8785 (JCS) without floating-point numbers: keys sorted by code point, no
insignificant space, UTF-8, integers only. Numbers that are not integers travel as decimal text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol, TypeVar

from yumen_core.errors import CallError, PeerError

MAX_CHARS = 1 << 16
MAX_DEPTH = 32
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
"""A text, of which brackets are no part, or a bracket."""

Json = None | bool | int | str | Sequence["Json"] | Mapping[str, "Json"]


class Written(Protocol):
    """What has one canonical spelling."""

    def to_bytes(self) -> bytes: ...


W = TypeVar("W", bound=Written)


def encode(value: Json) -> bytes:
    """The canonical bytes of `value`. Raises `TypeError` for a float or any other type."""
    _refuse_floats(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def digest(value: Json) -> bytes:
    """SHA-256 of the canonical bytes: 32 bytes."""
    return hashlib.sha256(encode(value)).digest()


def read(
    data: bytes,
    *,
    noun: str,
    fields: AbstractSet[str],
    fixed: Mapping[str, Json],
    max_bytes: int,
    build: Callable[[dict[str, Any]], W],
    wrong: Callable[[str], PeerError],
) -> W:
    """What another party spelled as `data`, an object with just these `fields`.

    1. Size, 2. JSON with the known keys and the `fixed` values, 3. the limits of what `build` makes
    of them, with any error that a wrong type brings, 4. the one canonical spelling. Raises what
    `wrong` makes of a message; `noun` stands in it with its article.
    """
    if len(data) > max_bytes:
        raise wrong(f"expected {noun} of at most {max_bytes} bytes, got {len(data)}")
    try:
        found = json.loads(data)
        if (
            not isinstance(found, dict)
            or found.keys() != fields
            or any(found[name] != value for name, value in fixed.items())
        ):
            raise wrong(f"expected the fields of {noun}, got others")
        built = build(found)
        same = built.to_bytes() == data
    except CallError as error:
        raise wrong(error.message) from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise wrong(f"expected {noun} in canonical JSON, got other bytes") from None
    if not same:
        raise wrong(f"expected {noun} in canonical JSON, got another spelling")
    return built


def parse(
    text: str,
    *,
    max_chars: int = MAX_CHARS,
    max_depth: int = MAX_DEPTH,
    pairs: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """What a text from outside spells as JSON, with a limit on its length and its nesting.

    `pairs`, where given, makes each object. Raises `ValueError` beyond a limit and for any
    text that is no JSON.
    """
    if len(text) > max_chars:
        raise ValueError(f"expected JSON of at most {max_chars} characters, got {len(text)}")
    depth = 0
    for mark in _MARKS.findall(text):
        depth += 1 if mark in "[{" else -1 if mark in "]}" else 0
        if depth > max_depth:
            raise ValueError(f"expected JSON nested at most {max_depth} deep, got more")
    return json.loads(text, object_pairs_hook=pairs)


def _refuse_floats(value: object) -> None:
    if value is None or isinstance(value, bool | int | str):
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"canonical JSON has text keys only, got {type(key).__name__}")
            _refuse_floats(item)
        return
    if isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)
        return
    raise TypeError(f"canonical JSON has no {type(value).__name__}; send it as text")
