"""Canonical JSON: one byte string for one value, so that digests agree between machines.

The subset of RFC 8785 (JCS) without floating-point numbers: keys sorted by code point, no
insignificant space, UTF-8, integers only. Numbers that are not integers travel as decimal text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

Json = None | bool | int | str | Sequence["Json"] | Mapping[str, "Json"]


def encode(value: Json) -> bytes:
    """The canonical bytes of `value`. Raises `TypeError` for a float or any other type."""
    _refuse_floats(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def digest(value: Json) -> bytes:
    """SHA-256 of the canonical bytes: 32 bytes."""
    return hashlib.sha256(encode(value)).digest()


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
