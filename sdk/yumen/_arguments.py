"""What a caller hands over, checked before anything is sent. Everything here raises `CallError`."""

from __future__ import annotations

import contextlib
import json
import math
import numbers
import re
from collections.abc import Sequence

from yumen_core.errors import CallError, PeerError
from yumen_core.identity.names import Identity
from yumen_core.jobs.job_id import check_job_id
from yumen_core.jobs.spec import MAX_LIFETIME_MS, MAX_PURPOSE_CHARS

MAX_TIMEOUT_S = MAX_LIFETIME_MS // 1000
_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*):([0-9]{1,5})", re.ASCII)
_SHOWN_CHARS = 80


def check_question(sql: object, purpose: object, min_nodes: object) -> None:
    """The statement is a text; the terms are as `check_terms` says."""
    if not isinstance(sql, str):
        raise CallError("argument", f"expected `sql` as text, got {_shown(sql)}")
    check_terms(purpose, min_nodes)


def check_terms(purpose: object, min_nodes: object) -> None:
    """The purpose is 1 to 200 characters, `min_nodes` an integer or None."""
    if not isinstance(purpose, str):
        raise CallError("argument", f"expected `purpose` as text, got {_shown(purpose)}")
    if not purpose.strip() or len(purpose) > MAX_PURPOSE_CHARS:
        raise CallError(
            "argument",
            f"expected a purpose of 1 to {MAX_PURPOSE_CHARS} characters, "
            f"got `{purpose[:_SHOWN_CHARS]}`",
        )
    if min_nodes is not None and (not isinstance(min_nodes, int) or isinstance(min_nodes, bool)):
        raise CallError("argument", f"expected `min_nodes` as an integer, got {_shown(min_nodes)}")


def check_timeout(timeout_s: object) -> None:
    """A time above 0 s and of 24 hours at most, as long as a job may live."""
    number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
    if not (
        number
        and isinstance(timeout_s, int | float)
        and math.isfinite(timeout_s)
        and 0 < timeout_s <= MAX_TIMEOUT_S
    ):
        raise CallError(
            "argument",
            f"expected `timeout_s` above 0 and at most {MAX_TIMEOUT_S} seconds, "
            f"got {_shown(timeout_s)}",
        )


def check_job(job_id: object) -> str:
    """`job_id` itself, in the form that `jobs` lists it."""
    if isinstance(job_id, str):
        with contextlib.suppress(PeerError):
            return check_job_id(job_id)
    raise CallError(
        "argument",
        f"expected a job's id, got {_shown(job_id)}",
        remedy="list your jobs with `yumen jobs` or `fed.jobs()`",
    )


def check_address(address: object) -> str:
    """`address` itself, a `host:port`."""
    match = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
    if isinstance(address, str) and match is not None and 0 < int(match[1]) < 65536:
        return address
    scheme = isinstance(address, str) and "://" in address
    raise CallError(
        "argument",
        f"expected a coordinator's address like `host:7401`, got {_shown(address)}",
        remedy="leave the scheme out: host and port alone" if scheme else "give host and port",
    )


def node_names(nodes: Sequence[Identity]) -> dict[Identity, str]:
    """How to write each node: its name where it is unique among `nodes`, else `org/name`."""
    names = [node.name for node in nodes]
    return {node: node.name if names.count(node.name) == 1 else node.short for node in nodes}


def find_node(wanted: object, nodes: Sequence[Identity], table: str) -> Identity:
    """The one of `nodes`, which publish `table`, that `wanted` names.

    A name, `organisation/name` or SPIFFE id goes before an organisation that has one node.
    """
    found = [node for node in nodes if wanted in (node.name, node.short, node.uri)]
    found = found or [node for node in nodes if wanted == node.organisation]
    if len(found) == 1:
        return found[0]
    known = ", ".join(node_names(nodes).values())
    example = (found or list(nodes))[0].short if nodes else "organisation/name"
    raise CallError(
        "argument",
        f"expected a node that publishes `{table}` ({known}), got {_shown(wanted)}, "
        f"which names {'several' if found else 'none'}",
        remedy=f"write a node as organisation/name, such as `{example}`",
    )


def _shown(value: object) -> str:
    if value is None:
        return "None"
    return f"`{str(value)[:_SHOWN_CHARS]}`"


def text(name: str, value: object, what: str = "text") -> str:
    """`value` itself, a text."""
    if isinstance(value, str):
        return value
    raise CallError("argument", f"expected `{name}` as {what}, got {_kind(value)}")


def expression(name: str, value: object) -> str:
    """`value` itself: a column's name or SQL, which are texts that are not empty."""
    if isinstance(value, str) and value.strip():
        return value
    remedy = ""
    if isinstance(value, list | tuple) and value and all(isinstance(v, str) for v in value):
        remedy = f"give one: `{name}={_literal(value[0])}`"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        remedy = f'write SQL as text: `{name}="{value}"`'
    elif callable(value):
        remedy = "write it in SQL, such as `x > 3`; a function cannot be sent to a node"
    raise CallError(
        "argument",
        f"expected `{name}` as the name of one column or an SQL expression, got {_kind(value)}",
        remedy=remedy,
    )


def names(name: str, value: object) -> list[str]:
    """The entries of `value`: a list of columns' names or SQL expressions."""
    wanted = f"expected `{name}` as a list of columns or SQL expressions"
    if isinstance(value, str):
        raise CallError(
            "argument",
            f"{wanted}, got {_kind(value)}",
            remedy=f"write `[{_literal(value)}]`",
        )
    entries = _entries(value)
    if entries is None:
        raise CallError("argument", f"{wanted}, got {_kind(value)}")
    for entry in entries:
        if not isinstance(entry, str) or not entry.strip():
            raise CallError("argument", f"{wanted}, got one with {_kind(entry)}")
    return [str(entry) for entry in entries]


def number(
    name: str, value: object, *, low: float | None = None, high: float | None = None
) -> float:
    """`value` as a finite number from `low` to `high`."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value):
        plain = int(value) if isinstance(value, numbers.Integral) else float(value)
        if (low is None or plain >= low) and (high is None or plain <= high):
            return plain
    raise CallError(
        "argument", f"expected `{name}` as a number{_range(low, high)}, got {_kind(value)}"
    )


def number_list(name: str, value: object) -> list[float]:
    """The entries of `value`: a list of finite numbers."""
    entries = None if isinstance(value, str) else _entries(value)
    if entries is None:
        remedy = f"write `[{value}]`" if isinstance(value, int | float) else ""
        raise CallError(
            "argument", f"expected `{name}` as a list of numbers, got {_kind(value)}", remedy=remedy
        )
    return [number(f"{name}[{at}]", entry) for at, entry in enumerate(entries)]


def whole(name: str, value: object, low: int | None = None, high: int | None = None) -> int:
    """`value` as an integer from `low` to `high`."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        plain = int(value)
        if (low is None or plain >= low) and (high is None or plain <= high):
            return plain
    raise CallError(
        "argument", f"expected `{name}` as a whole number{_range(low, high)}, got {_kind(value)}"
    )


def flag(name: str, value: object) -> bool:
    """`value` as True or False."""
    if isinstance(value, bool) or type(value).__name__ == "bool":  # numpy's own
        return bool(value)
    raise CallError("argument", f"expected `{name}` as True or False, got {_kind(value)}")


def _entries(value: object) -> list[object] | None:
    """The entries of a list, tuple, array, series or index; None for anything else."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return list(value)
    plain = value.tolist() if hasattr(value, "tolist") and hasattr(value, "__len__") else None
    return plain if isinstance(plain, list) else None


def _range(low: float | None, high: float | None) -> str:
    if high is None:
        return "" if low is None else f" from {low}"
    return f" up to {high}" if low is None else f" from {low} to {high}"


def _literal(value: str) -> str:
    return json.dumps(value[:_SHOWN_CHARS], ensure_ascii=False)


def _kind(value: object) -> str:
    """What a value is, in a word or two: a text and a number are shown."""
    match value:
        case None:
            return "None"
        case str():
            return f"the text `{value[:_SHOWN_CHARS]}`" if value.strip() else "an empty text"
        case bool() | int() | float():
            return f"`{str(value)[:_SHOWN_CHARS]}`"
        case list() | tuple() | dict() | set():
            return f"a {type(value).__name__}"
    return "a function" if callable(value) else f"`{type(value).__name__}`"
