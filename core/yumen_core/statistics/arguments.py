"""Reading a signed round's arguments: what is missing, unknown or of another type is refused."""

from __future__ import annotations

from collections.abc import Sequence

from yumen_core.canonical import Json
from yumen_core.errors import CallError
from yumen_core.statistics.kinds import Arguments, Variables
from yumen_core.statistics.rows import Variable


def only(arguments: Arguments, *known: str) -> None:
    """Refuse arguments other than `known`. Raises `CallError` (`statistic`)."""
    for name in arguments:
        if name not in known:
            raise bad(f"expected the arguments {', '.join(known)}, got `{name}`")


def text(arguments: Arguments, name: str, choices: Sequence[str] | None = None) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or (choices is not None and value not in choices):
        wanted = "text" if choices is None else f"one of {', '.join(choices)}"
        raise bad(f"expected `{name}` to be {wanted}, got `{value}`")
    return value


def texts(arguments: Arguments, name: str, *, most: int = 500) -> tuple[str, ...]:
    value = arguments.get(name)
    if not isinstance(value, list | tuple) or len(value) > most:
        raise bad(f"expected `{name}` to be a list of at most {most} texts")
    found = [entry for entry in value if isinstance(entry, str)]
    if len(found) != len(value):
        raise bad(f"expected `{name}` to be a list of texts, got `{value}`")
    return tuple(found)


def whole(arguments: Arguments, name: str, low: int, high: int) -> int:
    value = arguments.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise bad(f"expected `{name}` from {low} to {high}, got `{value}`")
    return value


def number_variable(variables: Variables, name: str) -> Variable:
    """The variable of that name, which must have numbers."""
    found = _variable(variables, name)
    if not found.numeric:
        raise bad(f"expected `{name}` to be a number, got levels")
    return found


def level_variable(variables: Variables, name: str) -> tuple[Json, ...]:
    """The levels of the variable of that name, which must be known."""
    found = _variable(variables, name)
    if found.levels is None:
        raise bad(f"expected `{name}` to have a declared domain, got values not known beforehand")
    return found.levels


def bad(message: str) -> CallError:
    return CallError("statistic", message)


def _variable(variables: Variables, name: str) -> Variable:
    found = variables.get(name)
    if found is None:
        raise bad(f"expected a variable of the statement, got `{name}`")
    return found
