"""What a caller hands over, checked before anything is sent. Everything here raises `CallError`."""

from __future__ import annotations

import contextlib
import math
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
