"""Reading what people type: durations, identities, lists, tokens and statements."""

from __future__ import annotations

import re
import sys

from yumen_core.errors import CallError, PeerError
from yumen_core.identity.names import Identity

MAX_STDIN_CHARS = 64 * 1024
_DURATION = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def duration_s(text: str) -> int:
    """`90s`, `30m`, `24h` or `7d` in seconds. Raises `CallError` ("argument")."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise CallError("argument", f"expected a duration such as `30m` or `24h`, got `{text}`")
    return int(match[1]) * _SECONDS[match[2]]


def identity_uri(text: str, federation: str) -> str:
    """The full identity for `org/ORG/ROLE/NAME`; a full one stays as it is.

    Raises `CallError` ("argument") for any other form.
    """
    whole = text if "://" in text else f"spiffe://{federation}/{text}"
    try:
        return Identity.parse(whole).uri
    except PeerError as error:
        raise CallError(
            "argument",
            error.message,
            remedy="write org/ORG/ROLE/NAME; ROLE is user, node, auditor or coordinator",
        ) from None


def node_list(text: str | None) -> list[str] | None:
    """The names in `a,b,c`. Raises `CallError` ("argument") for an empty or repeated one."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise CallError("argument", f"expected node names with commas between, got `{text}`")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise CallError("argument", f"expected each node once, got `{twice}` twice")
    return names


def read_token(text: str) -> str:
    """`text`, or the first line of stdin for `-`, which keeps a token out of the process list."""
    token = _line_of_stdin() if text == "-" else text
    if not token.strip():
        raise CallError("argument", "expected an enrolment token, got none")
    return token.strip()


def read_statement(text: str) -> str:
    """`text`, or all of stdin for `-`."""
    if text != "-":
        return text
    statement = sys.stdin.read(MAX_STDIN_CHARS + 1)
    if len(statement) > MAX_STDIN_CHARS:
        raise CallError(
            "argument", f"expected a statement of {MAX_STDIN_CHARS} characters at most, got more"
        )
    return statement


def _line_of_stdin() -> str:
    return sys.stdin.buffer.readline(MAX_STDIN_CHARS).decode("utf-8", errors="replace")
