"""What reaches the terminal: clean text, aligned tables, JSON that others can read."""

from __future__ import annotations

import decimal
import json
from datetime import UTC, datetime

import pytest
from yumen_cli import terminal


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain 玉门", "plain 玉门"),
        ("two\nlines", "two lines"),
        ("\x1b[2Jgone", "\\u001b[2Jgone"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u200bb\x07", "a\\u200bb\\u0007"),
    ],
)
def test_words_of_others_cannot_steer_the_terminal(text: str, shown: str) -> None:
    assert terminal.clean(text) == shown


def test_wide_characters_take_two_cells() -> None:
    table = terminal.aligned(("name", "n"), [("玉门", "1"), ("abcde", "2")])
    assert table.splitlines() == ["name   n", "玉门   1", "abcde  2"]


def test_json_keeps_decimals_exact_and_text_readable(capsys: pytest.CaptureFixture[str]) -> None:
    moment = datetime(2026, 11, 23, tzinfo=UTC)
    terminal.emit({"sum": decimal.Decimal("0.1"), "at": moment, "名": "兰州", "key": b"\x01"})
    out = capsys.readouterr().out
    assert "兰州" in out
    assert json.loads(out) == {
        "sum": "0.1",
        "at": "2026-11-23T00:00:00+00:00",
        "名": "兰州",
        "key": "01",
    }


def test_json_refuses_types_it_does_not_know() -> None:
    with pytest.raises(TypeError, match="no JSON form for object"):
        terminal.emit({"x": object()})


def test_times() -> None:
    assert terminal.utc(0) == ""
    assert terminal.utc(1_790_000_000_000) == "2026-09-21T14:13:20Z"
