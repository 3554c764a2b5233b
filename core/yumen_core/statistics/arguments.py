"""Reading a signed round's arguments: what is missing, unknown or of another type is refused."""

from __future__ import annotations

from collections.abc import Sequence

from yumen_core.canonical import Json
from yumen_core.errors import CallError
from yumen_core.statistics.kinds import Arguments, Variables
from yumen_core.statistics.rows import Variable

_SLACK = 1e-9
"""Bounds of an expression are widened by its rounding."""


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


def check_bounds(
    name: str,
    what: str,
    bounds: tuple[float | None, float | None],
    *,
    least: float,
    most: float | None = None,
    remedy: str = "",
) -> None:
    """Refuse the variable `name` where its declared `bounds` (None: not declared) allow numbers
    below `least` or above `most`. What must hold of all rows is asked of their bounds, before
    anything is computed: the failure of a check of rows would tell of one row (ADR 15). Where none
    are declared, rows beyond count as missing. Raises `CallError` (`statistic`)."""
    low, high = bounds
    below = low is not None and low < least - _SLACK
    above = most is not None and high is not None and high > most + _SLACK
    if below or above:
        wanted = f"from {least:g}" + ("" if most is None else f" to {most:g}")
        got = ("" if low is None else f" from {low:g}") + ("" if high is None else f" to {high:g}")
        raise CallError(
            "statistic",
            f"expected {what} with declared bounds {wanted}, got `{name}` with bounds{got}",
            remedy=remedy or f"declare narrower bounds of `{name}`, or choose another expression",
        )


def bad(message: str) -> CallError:
    return CallError("statistic", message if len(message) <= 400 else f"{message[:400]}…")


def _variable(variables: Variables, name: str) -> Variable:
    found = variables.get(name)
    if found is None:
        raise bad(f"expected a variable of the statement, got `{name}`")
    return found
