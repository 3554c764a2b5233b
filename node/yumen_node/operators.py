"""What people do at their institution's node, as entries of the node's log.

The console calls `record` in the node's process. Commands run in processes of their own, which have
no log: they leave their acts in `operator_spool`, and the node tells of them from there.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from yumen_core import canonical
from yumen_core.errors import CallError, PeerError
from yumen_core.log import Act, TileLog
from yumen_core.log.entry import Value, time_text

VERSION = 1
MAX_BYTES = 4096
"""Of an act as a command leaves it."""
MAX_NAME_CHARS = 512
_SUBJECTS = frozenset({"job", "session"})
_DIGESTS = frozenset({"code", "policies"})
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_FIELDS = {"v", "act", "operator", "login", "subject", "digests", "left_at_ms"}
_NO_LOGIN = 0xFFFF_FFFF  # what Linux holds for a process that no log-in led to


class OperatorAct(StrEnum):
    """All that an operator's entry can say was done."""

    LOG_IN = "log_in"
    LOG_IN_REFUSED = "log_in_refused"
    LOG_OUT = "log_out"
    VIEW_APPROVALS = "view_approvals"
    VIEW_CODE = "view_code"
    REVIEW_CODE = "review_code"
    VIEW_QUALITY = "view_quality"
    VIEW_POLICY = "view_policy"
    SIGN_POLICY = "sign_policy"
    VIEW_LOG = "view_log"
    REPLAY_LOG = "replay_log"
    REPORT_LOG = "report_log"
    EXPORT_LOG = "export_log"
    SUSPEND = "suspend"
    RESUME = "resume"
    REBUILD_LEDGER = "rebuild_ledger"
    ACCEPT_LOSS = "accept_loss"


@dataclass(frozen=True)
class Doing:
    """One act of one operator.

    `operator` is who acts: `os:NAME` of the operating system, or the identity of a console's user.
    `login` is who logged in to the machine, where that is known and another. `subject` may name a
    `job` and a `session`, `digests` (32 bytes) `code` and `policies`: ids and digests, never data.
    Raises `CallError` (`argument`) for anything else.
    """

    act: OperatorAct
    operator: str
    login: str = ""
    subject: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_name("operator", self.operator, least=1)
        _check_name("login", self.login, least=0)
        for name, text in self.subject.items():
            if name not in _SUBJECTS or not _ID.fullmatch(text):
                raise CallError(
                    "argument", f"expected the id of a job or a session, got `{text[:80]}`"
                )
        for name, digest in self.digests.items():
            if name not in _DIGESTS or len(digest) != 32:
                raise CallError(
                    "argument", f"expected 32 bytes of `code` or `policies`, got `{name[:80]}`"
                )


@dataclass(frozen=True)
class Left:
    """An act as a command leaves it for the node; `at_ms` is when, since the Unix epoch."""

    doing: Doing
    at_ms: int

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        doing = self.doing
        return canonical.encode(
            {
                "v": VERSION,
                "act": doing.act.value,
                "operator": doing.operator,
                "login": doing.login,
                "subject": dict(doing.subject),
                "digests": {name: digest.hex() for name, digest in doing.digests.items()},
                "left_at_ms": self.at_ms,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Left:
        """Raises `PeerError` (`argument`) for an act of another name, or bytes of another form."""
        return canonical.read(
            data,
            noun="an operator's act",
            fields=_FIELDS,
            fixed={"v": VERSION},
            max_bytes=MAX_BYTES,
            build=_left,
            wrong=lambda message: PeerError("argument", message),
        )


def record(
    log: TileLog, node: str, doing: Doing, *, digest: bytes = b"", left_at_ms: int | None = None
) -> int:
    """Write `doing` at the node with the identity `node` into its log; the entry's index.

    `digest` is the SHA-256 of the act as a command left it, at `left_at_ms`; entries with the same
    one are of the same act. Raises `StateError` (`log_closed`).
    """
    login = {"login": doing.login} if doing.login else {}
    left: dict[str, Value] = {} if left_at_ms is None else {"left_at_ms": left_at_ms}
    return log.record(
        Act.OPERATOR,
        subject={"node": node, "operator": doing.operator, **login, **doing.subject},
        digests={**doing.digests, **({"left": digest} if digest else {})},
        detail={"what": doing.act.value, **left},
    )


def this_person() -> tuple[str, str]:
    """Who runs this process, as `os:NAME`, and who logged in to the machine where that is known and
    another: the kernel keeps the second over `su` and `sudo`."""
    me = os.getuid()
    try:
        login = int(Path("/proc/self/loginuid").read_text("ascii"))
    except (OSError, ValueError):
        login = _NO_LOGIN
    return _os_name(me), "" if login in (_NO_LOGIN, me) else _os_name(login)


def _left(fields: dict[str, Any]) -> Left:
    if fields["act"] not in set(OperatorAct):
        shown = ascii(str(fields["act"])[:80])[1:-1]
        raise CallError("argument", f"expected a known act, got `{shown}`")
    if type(fields["left_at_ms"]) is not int:
        raise TypeError
    time_text(fields["left_at_ms"])
    digests = {name: bytes.fromhex(text) for name, text in fields["digests"].items()}
    doing = Doing(
        OperatorAct(fields["act"]), fields["operator"], fields["login"], fields["subject"], digests
    )
    return Left(doing, fields["left_at_ms"])


def _os_name(uid: int) -> str:
    try:
        return f"os:{pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"os:{uid}"


def _check_name(what: str, text: str, *, least: int) -> None:
    if not least <= len(text) <= MAX_NAME_CHARS or not text.isprintable():
        raise CallError(
            "argument", f"expected `{what}` of {least} to {MAX_NAME_CHARS} printable characters"
        )
