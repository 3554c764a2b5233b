"""What people type is read strictly, and refused in words."""

from __future__ import annotations

import io
import sys

import pytest
from yumen_cli import words
from yumen_core.errors import CallError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("24h", 86_400), ("7d", 604_800)]
)
def test_durations(text: str, seconds: int) -> None:
    assert words.duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "0h", "24", "1.5h", "-1h", "24H", " 24h", "99999999s"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(CallError) as caught:
        words.duration_s(text)
    assert caught.value.message == f"expected a duration such as `30m` or `24h`, got `{text}`"


def test_an_identity_is_completed_with_the_federation() -> None:
    full = "spiffe://gansu.example/org/lzu/user/li"
    assert words.identity_uri("org/lzu/user/li", "gansu.example") == full
    assert words.identity_uri(full, "other.example") == full


@pytest.mark.parametrize("text", ["lzu/user/li", "org/lzu/king/li", "org/lzu/user/LI", "", "../x"])
def test_bad_identities(text: str) -> None:
    with pytest.raises(CallError) as caught:
        words.identity_uri(text, "gansu.example")
    assert caught.value.code == "argument"
    assert caught.value.kind.exit == 2
    assert caught.value.remedy == (
        "write org/ORG/ROLE/NAME; ROLE is user, node, auditor or coordinator"
    )


def test_node_lists() -> None:
    assert words.node_list(None) is None
    assert words.node_list("a, b,c") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,,b", "expected node names with commas between, got `a,,b`"),
        ("", "expected node names with commas between, got ``"),
        ("a,b,a", "expected each node once, got `a` twice"),
    ],
)
def test_bad_node_lists(text: str, message: str) -> None:
    with pytest.raises(CallError) as caught:
        words.node_list(text)
    assert caught.value.message == message


def test_a_token_comes_from_the_first_line_of_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"yumen1.abc\nmore")))
    assert words.read_token("-") == "yumen1.abc"


def test_no_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(CallError, match="expected an enrolment token, got none"):
        words.read_token("-")


def test_a_statement_comes_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    assert words.read_statement("SELECT 1") == "SELECT 1"
    monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT COUNT(*)\nFROM heart"))
    assert words.read_statement("-") == "SELECT COUNT(*)\nFROM heart"
    monkeypatch.setattr(sys, "stdin", io.StringIO("x" * (words.MAX_STDIN_CHARS + 1)))
    with pytest.raises(CallError, match="expected a statement of 65536 characters at most"):
        words.read_statement("-")
