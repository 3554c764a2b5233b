"""Values as canonical JSON can hold them, and back."""

from __future__ import annotations

from collections.abc import Mapping

from yumen_core.canonical import Json


def plain_json(value: object) -> Json:
    """`value` as canonical JSON can hold it: a real number as `{"real": text}`, anything else by
    its type's name as `{"type": name}`."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return {"real": repr(value)}
        case Mapping() if all(isinstance(key, str) for key in value):
            return {key: plain_json(entry) for key, entry in value.items()}
        case list() | tuple():
            return [plain_json(entry) for entry in value]
        case _:
            return {"type": type(value).__qualname__}


def from_plain(value: Json) -> object:
    """What `plain_json` was given, real numbers back as such."""
    if isinstance(value, Mapping):
        if value.keys() == {"real"}:
            return float(str(value["real"]))
        return {key: from_plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [from_plain(entry) for entry in value]
    return value
