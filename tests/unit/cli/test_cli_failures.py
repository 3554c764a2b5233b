"""Errors become words on stderr or one JSON document on stdout, and a documented exit code."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import typer
from yumen_cli import failures, main
from yumen_core.errors import CATALOGUE, CallError, Denied, PeerError
from yumen_core.policy.denial import Denial

NODE = "spiffe://gansu.example/org/lzu/node/heart"
DENIAL = Denial(
    node=NODE,
    reason_code="purpose_forbidden",
    message="the purpose is forbidden",
    subject="purpose",
    observed="insurance-pricing",
    allowed="research",
    remedy="ask with purpose `research`",
)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """A root command `fail` that raises the one exception put into the list."""
    to_raise: list[BaseException] = []
    app = typer.Typer()

    @app.callback()
    def root() -> None:
        """As the real root."""

    @app.command("fail")
    def fail(as_json: bool = typer.Option(False, "--json")) -> None:
        raise to_raise[0]

    monkeypatch.setattr(main, "app", app)
    return to_raise


def test_every_exit_code_of_the_catalogue_is_documented() -> None:
    documented = dict(failures.EXIT_CODES)
    assert {kind.exit for kind in CATALOGUE.values()} <= documented.keys()
    text = failures.exit_code_text()
    for code, meaning in documented.items():
        assert f"{code:>3}  {meaning}" in text


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_each_code_has_its_exit(
    failing: list[BaseException], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(PeerError(code, "expected this, got `that`"))
    assert main.main(["fail"]) == CATALOGUE[code].exit
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err == (f"error: expected this, got `that`\nremedy: {CATALOGUE[code].remedy}\n")


def test_an_error_as_json(failing: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(CallError("sql_type", "expected text, got a number", node=NODE))
    assert main.main(["fail", "--json"]) == 2
    streams = capsys.readouterr()
    assert streams.err == ""
    assert json.loads(streams.out) == {
        "error": {
            "code": "sql_type",
            "message": "expected text, got a number",
            "node": NODE,
            "remedy": CATALOGUE["sql_type"].remedy,
            "exit": 2,
            "denials": [],
            "notes": [],
        }
    }


def test_denials_are_shown_with_what_would_pass(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(Denied("the job was denied by `lzu/heart`", [DENIAL]))
    assert main.main(["fail"]) == 3
    err = capsys.readouterr().err
    assert err.startswith("error: the job was denied by `lzu/heart`\nremedy: ask with purpose")
    for part in ("lzu/heart", "purpose_forbidden", "would pass: purpose research"):
        assert part in err
    assert "lzu/heart refuses: the purpose is forbidden" in err


def test_the_table_of_denials_breaks_no_word(
    failing: list[BaseException],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    failing.append(Denied("denied", [replace(DENIAL, message="word " * 40)]))
    assert main.main(["fail"]) == 3
    lines = capsys.readouterr().err.partition("refuses: ")[2].splitlines()
    assert set(" ".join(lines[:4]).split()) <= {"word", "what", "to", "do:"}
    assert max(map(len, lines)) <= 60


def test_denials_as_json(failing: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(Denied("denied", [DENIAL, DENIAL]))
    assert main.main(["fail", "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["error"]["denials"] == [DENIAL.to_json(), DENIAL.to_json()]


def test_a_denial_cannot_steer_the_terminal(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(PeerError("failed", "\x1b[31mred\u202e", node="a\nb"))
    main.main(["fail"])
    assert capsys.readouterr().err.startswith("error: \\u001b[31mred\\u202e (at a b)\n")


def test_an_unknown_error_is_one_sentence(
    failing: list[BaseException],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("YUMEN_DEBUG", raising=False)
    failing.append(ZeroDivisionError("secret value 42"))
    assert main.main(["fail"]) == 70
    streams = capsys.readouterr()
    assert streams.err == (
        "error: this program met an error it does not know (ZeroDivisionError)\n"
        "remedy: set YUMEN_DEBUG=1 and run the command again to see where\n"
    )
    assert main.main(["fail", "--json"]) == 70
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unexpected"


def test_the_traceback_comes_only_on_request(
    failing: list[BaseException],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("YUMEN_DEBUG", "1")
    failing.append(ZeroDivisionError("why"))
    assert main.main(["fail"]) == 70
    assert "ZeroDivisionError: why" in capsys.readouterr().err


def test_ctrl_c_exits_130(failing: list[BaseException]) -> None:
    failing.append(KeyboardInterrupt())
    assert main.main(["fail"]) == 130


def test_a_chosen_exit_code_is_kept(failing: list[BaseException]) -> None:
    failing.append(typer.Exit(3))
    assert main.main(["fail"]) == 3


@pytest.mark.parametrize(
    ("argv", "message", "remedy"),
    [
        (["querry"], "no such command `querry`", "see `yumen --help`"),
        (["query", "SELECT 1"], "missing option `--purpose`", "see `yumen query --help`"),
        (["node", "init"], "missing argument `DIR`", "see `yumen node init --help`"),
        (
            ["jobs", "--limitt", "3"],
            "no such option `--limitt`. Did you mean `--limit`?",
            "see `yumen jobs --help`",
        ),
        (["jobs", "--wat"], "no such option `--wat`", "see `yumen jobs --help`"),
        (
            ["query", "SELECT 1", "--purpose", "x", "--min-nodes", "2"],
            "invalid value for `--min-nodes`: 2 is not in the range x>=3",
            "see `yumen query --help`",
        ),
    ],
)
def test_a_wrong_command_line(
    argv: list[str], message: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(argv) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {message}")
    assert err.endswith(f"remedy: {remedy}\n")
    assert main.main([*argv, "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["error"]["message"].startswith(message)
    assert document["error"]["exit"] == 2
