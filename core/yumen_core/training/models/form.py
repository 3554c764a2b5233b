"""The JSON form of a ready model, read strictly, and the checks of what a model is made from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from yumen_core.canonical import Json
from yumen_core.errors import CallError

MAX_TEXT_CHARS = 256


class Form:
    """A JSON object with exactly the keys `keys`. Each reader raises `CallError` (`training`) for a
    value of another type."""

    def __init__(self, document: object, what: str, keys: Sequence[str]) -> None:
        if not isinstance(document, Mapping) or set(document) != set(keys):
            wanted = f"with the keys {', '.join(keys)}" if keys else "that is an empty object"
            raise bad(f"expected {what} {wanted}, got another form")
        self._document: Mapping[str, Any] = document

    def raw(self, key: str) -> Any:
        return self._document[key]

    def entries(self, key: str, limit: int) -> list[Any]:
        """A list of at most `limit` entries."""
        value = self._document[key]
        if not isinstance(value, list | tuple) or len(value) > limit:
            raise bad(f"expected `{key}` as a list of at most {limit} entries")
        return list(value)

    def whole(self, key: str) -> int:
        value = self._document[key]
        if not isinstance(value, int) or isinstance(value, bool):
            raise bad(f"expected `{key}` as an integer")
        return value

    def real(self, key: str) -> float:
        """A number that travels as its shortest decimal text."""
        value = self._document[key]
        try:
            number = float(value) if isinstance(value, str) and len(value) <= 32 else math.nan
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or real_json(number) != value:
            raise bad(f"expected `{key}` as a number in decimal text")
        return number

    def text(self, key: str) -> str:
        value = self._document[key]
        if not isinstance(value, str):
            raise bad(f"expected `{key}` as a text")
        return value

    def flag(self, key: str) -> bool:
        value = self._document[key]
        if not isinstance(value, bool):
            raise bad(f"expected `{key}` as true or false")
        return value


def real_json(value: float) -> Json:
    """The text of a number: canonical JSON has no floating-point numbers."""
    return repr(float(value))


def check_whole(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise bad(f"expected `{name}` to be an integer from {low} to {high}, got `{short(value)}`")


def check_real(name: str, value: object, low: float, high: float) -> None:
    """Refuse what is not a number in [low, high]."""
    right = isinstance(value, int | float) and not isinstance(value, bool)
    if not right or not low <= float(value) <= high:  # type: ignore[arg-type]
        raise bad(f"expected `{name}` from {low:g} to {high:g}, got `{short(value)}`")


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise bad(f"expected `{name}` to be one of {', '.join(choices)}, got `{short(value)}`")


def check_sizes(name: str, values: tuple[int, ...], *, most: int, high: int) -> None:
    """Refuse more than `most` sizes, or one that is not from 1 to `high`."""
    if not isinstance(values, tuple) or len(values) > most:
        raise bad(f"expected at most {most} sizes in `{name}`, got `{short(values)}`")
    for value in values:
        check_whole(name, value, 1, high)


def short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


def bad(message: str) -> CallError:
    return CallError("training", message)
