"""What an operator's entry can say, and in which form a command leaves it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from builders.federation import RecordingLog
from yumen_core.errors import CallError, PeerError
from yumen_core.log import Act
from yumen_node import operators as room
from yumen_node.operators import Doing, Left, OperatorAct, record, this_person

NODE = "spiffe://gansu.example/org/cleveland/node/heart"
SEEN = Doing(
    OperatorAct.VIEW_CODE, "os:heart", "os:wang", {"job": "job-1"}, {"code": bytes(range(32))}
)
AT_MS = 1_790_000_000_000
SEEN_BYTES = Left(SEEN, AT_MS).to_bytes()


@pytest.mark.parametrize("act", OperatorAct)
def test_every_act_is_left_and_recorded(act: OperatorAct) -> None:
    doing = Doing(act, "os:heart")
    assert Left.from_bytes(Left(doing, AT_MS).to_bytes()) == Left(doing, AT_MS)
    log = RecordingLog()
    assert record(log, NODE, doing) == 0  # type: ignore[arg-type]
    (entry,) = log.entries
    assert (entry.act, entry.subject) == (Act.OPERATOR, {"node": NODE, "operator": "os:heart"})
    assert (entry.digests, entry.detail) == ({}, {"what": act.value})


def test_the_entry_of_an_act_that_was_left() -> None:
    log = RecordingLog()
    record(log, NODE, SEEN, digest=b"d" * 32, left_at_ms=AT_MS)  # type: ignore[arg-type]
    (entry,) = log.entries
    assert entry.subject == {
        "node": NODE, "operator": "os:heart", "login": "os:wang", "job": "job-1"
    }  # fmt: skip
    assert entry.digests == {"code": bytes(range(32)), "left": b"d" * 32}
    assert entry.detail == {"what": "view_code", "left_at_ms": AT_MS}


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"operator": ""}, "expected `operator` of 1 to 512 printable characters"),
        ({"operator": "o" * 513}, "expected `operator` of 1 to 512 printable characters"),
        ({"operator": "wang\n"}, "expected `operator` of 1 to 512 printable characters"),
        ({"operator": "os:a", "login": "\x1b[2J"}, "expected `login` of 0 to 512 printable"),
        ({"operator": "os:a", "subject": {"row": "7"}}, "expected the id of a job or a session"),
        ({"operator": "os:a", "subject": {"job": "Li Wang, 63"}}, "got `Li Wang, 63`"),
        ({"operator": "os:a", "digests": {"code": b"1"}}, "expected 32 bytes of `code` or"),
        ({"operator": "os:a", "digests": {"rows": bytes(32)}}, "`policies`, got `rows`"),
    ],
)
def test_an_act_holds_ids_and_digests_and_never_data(facts: dict[str, Any], told: str) -> None:
    with pytest.raises(CallError) as caught:
        Doing(OperatorAct.VIEW_LOG, **facts)
    assert told in caught.value.message


def _changed(**changes: object) -> bytes:
    fields = {**json.loads(SEEN_BYTES), **changes}
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


BAD = [
    (b"", "expected an operator's act in canonical JSON, got other bytes"),
    (SEEN_BYTES[:-1], "expected an operator's act in canonical JSON, got other bytes"),
    (b"[" * 4000, "expected an operator's act in canonical JSON, got other bytes"),
    (b"{}", "expected the fields of an operator's act, got others"),
    (b"[]", "expected the fields of an operator's act, got others"),
    (_changed(v=2), "expected the fields of an operator's act, got others"),
    (_changed(more=1), "expected the fields of an operator's act, got others"),
    (_changed(act="delete_log"), "expected a known act, got `delete_log`"),
    (_changed(act="\x1b[2J"), "expected a known act, got `\\x1b[2J`"),
    (_changed(act=["view_log"]), "in canonical JSON, got other bytes"),
    (_changed(operator=7), "in canonical JSON, got other bytes"),
    (_changed(operator="\ud800"), "printable characters"),
    (_changed(subject=["job"]), "in canonical JSON, got other bytes"),
    (_changed(subject={"job": ""}), "expected the id of a job or a session, got ``"),
    (_changed(digests={"code": "xy"}), "in canonical JSON, got other bytes"),
    (_changed(digests={"code": "AB" * 32}), "got another spelling"),
    (_changed(left_at_ms=True), "in canonical JSON, got other bytes"),
    (_changed(left_at_ms=-1), "a time is from 1970 to 9999, got `-1` ms"),
    (_changed(left_at_ms=1 << 60), "a time is from 1970 to 9999"),
    (_changed(left_at_ms="1"), "in canonical JSON, got other bytes"),
    (SEEN_BYTES + b"\n", "got another spelling"),
    (b" " * 4097, "expected an operator's act of at most 4096 bytes, got 4097"),
]


@pytest.mark.parametrize(("data", "told"), BAD)
def test_bytes_of_another_form_are_no_act(data: bytes, told: str) -> None:
    with pytest.raises(PeerError) as caught:
        Left.from_bytes(data)
    assert told in caught.value.message


class Login:
    """What the kernel says of the log-in."""

    def __init__(self, text: str | None) -> None:
        self._text = text

    def __call__(self, path: str) -> Login:
        assert path == "/proc/self/loginuid"
        return self

    def read_text(self, encoding: str) -> str:
        if self._text is None:
            raise FileNotFoundError
        return self._text


@pytest.mark.parametrize(
    ("login", "who"),
    [
        ("999999", ("os:4242", "os:999999")),
        ("4242", ("os:4242", "")),
        ("4294967295", ("os:4242", "")),
        (None, ("os:4242", "")),
        ("?", ("os:4242", "")),
    ],
)
def test_who_runs_this(
    monkeypatch: pytest.MonkeyPatch, login: str | None, who: tuple[str, str]
) -> None:
    monkeypatch.setattr(room.os, "getuid", lambda: 4242)
    monkeypatch.setattr(room, "Path", Login(login))
    assert this_person() == who
