"""The entrance of a table's methods: every argument is of its declared type, or the call is wrong.

What an argument must be follows from its name and its annotation, so each method says it once. What
it must be beyond its type (a range, one of a few words) the method itself says.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar, cast

from yumen_core.errors import CallError

from yumen import _arguments
from yumen.statistics.table import Table

P = ParamSpec("P")
R = TypeVar("R")
Check = Callable[[str, object], object]

WORDS = (
    *("alternative", "cov_type", "family", "formula", "link", "merged", "method", "normalize"),
    *("suffix", "ties", "use_var"),
)
"""Parameters that are texts and no SQL."""


def checked(method: Callable[P, R]) -> Callable[P, R]:
    """`method`, whose first argument is a table, with its other arguments checked first.

    Raises `CallError` (`argument`) that names the first wrong one. Numbers of numpy become plain
    ones, arrays and tuples lists.
    """
    signature = inspect.signature(method)

    @functools.wraps(method)
    def entered(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return method(*args, **kwargs)  # says what is missing or unknown
        table, *_ = bound.arguments.values()
        columns = table.columns if isinstance(table, Table) else []
        for name, value in list(bound.arguments.items())[1:]:
            parameter = signature.parameters[name]
            if value is parameter.default or (value is None and _optional(parameter)):
                continue
            if isinstance(value, str) and name not in WORDS and value not in columns:
                _not_a_formula(value, method)
            bound.arguments[name] = _check_of(parameter)(name, value)
        return method(*bound.args, **bound.kwargs)

    return cast("Callable[P, R]", entered)


def bindable(method: Callable[..., object], args: object, kwargs: object) -> None:
    """Whether a bound `method` takes these arguments. Raises `CallError` (`argument`)."""
    signature = inspect.signature(method)
    assert isinstance(args, tuple)
    assert isinstance(kwargs, dict)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        got = str(error).removeprefix("got ").replace("missing a required argument:", "none for")
        known = ", ".join(f"`{name}`" for name in signature.parameters)
        raise CallError(
            "argument",
            f"expected the arguments of `{method.__name__}` ({known}), got {got}",
        ) from None


def _optional(parameter: inspect.Parameter) -> bool:
    return str(parameter.annotation).endswith(" | None")


def _check_of(parameter: inspect.Parameter) -> Check:
    annotation = str(parameter.annotation).removesuffix(" | None")
    if parameter.name in WORDS:
        return _arguments.text
    return _CHECKS.get(annotation, _anything)


def _anything(name: str, value: object) -> object:
    return value


def _one_or_more(name: str, value: object) -> object:
    return value if isinstance(value, str) else _arguments.names(name, value)


def _number_or_more(name: str, value: object) -> object:
    single = isinstance(value, str) or not hasattr(value, "__len__")
    return (_arguments.number if single else _arguments.number_list)(name, value)


def _whole_or_edges(name: str, value: object) -> object:
    """The bins of a histogram: how many, or their edges."""
    if isinstance(value, str) or not hasattr(value, "__len__"):
        try:
            return _arguments.whole(name, value)
        except CallError as error:
            got = error.message.rpartition(", got ")[2]
            raise CallError(
                "argument",
                f"expected `{name}` as a whole number or a list of edges, got {got}",
            ) from None
    return _arguments.number_list(name, value)


def _labels(name: str, value: object) -> object:
    if isinstance(value, Mapping):
        for entry in (*value, *value.values()):
            _arguments.text(f"{name}'s entries", entry)
        return value
    raise CallError(
        "argument", f"expected `{name}` as a dict of columns and texts, got another type"
    )


_CHECKS: Mapping[str, Check] = {
    "str": _arguments.expression,
    "str | Sequence[str]": _one_or_more,
    "Sequence[str]": _arguments.names,
    "float": _arguments.number,
    "float | Sequence[float]": _number_or_more,
    "Sequence[float]": _arguments.number_list,
    "int | Sequence[float]": _whole_or_edges,
    "int": _arguments.whole,
    "bool": _arguments.flag,
    "Mapping[str, str]": _labels,
}


def _not_a_formula(value: str, method: Callable[..., object]) -> None:
    """Raise `CallError` for `y ~ x` where a column stands, as other languages write it."""
    left, tilde, right = re.sub(r"'[^']*'", "", value).partition("~")
    if not tilde:
        return
    left, right = left.strip(), right.strip()
    remedy = "formulas are for regressions"
    if left and right and "by" in inspect.signature(method).parameters:
        remedy = f'write {method.__name__}("{left}", by="{right}")'
    raise CallError(
        "argument", "expected a column or an SQL expression, got a formula", remedy=remedy
    )
