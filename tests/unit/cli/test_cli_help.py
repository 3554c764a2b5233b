"""Every command explains itself: a sentence, its arguments, `--json`, an example."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata

import click
import pytest
import typer
from yumen_cli.main import app, main

HEAVY = ("grpc", "duckdb", "pandas", "pyarrow", "tenseal", "cedarpy", "sqlalchemy", "sqlglot")


def _commands() -> Iterator[tuple[str, click.Command]]:
    root = typer.main.get_command(app)
    assert isinstance(root, click.Group)
    for name, command in root.commands.items():
        if isinstance(command, click.Group):
            for inner, leaf in command.commands.items():
                yield f"{name} {inner}", leaf
        else:
            yield name, command


COMMANDS = dict(_commands())


def test_the_commands() -> None:
    assert set(COMMANDS) == {
        *("authority init", "authority start", "authority token", "authority revoke"),
        *("authority issued", "coordinator init", "coordinator start", "coordinator status"),
        *("node init", "node start", "node tables", "node quality", "node approvals"),
        *("user enrol", "user show", "log verify"),
        *("policy lint", "policy test", "policy explain", "policy diff", "policy replay"),
        *("policy sign", "node rebuild-ledger", "node accept-loss"),
        *("audit verify", "audit show", "audit export", "audit replay", "audit report"),
        "receipt verify",
        *("datasets", "check", "query", "run", "resume", "jobs", "cancel", "demo"),
    }


def test_the_help_says_which_nodes_are_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "all nodes that publish the table, connected or not" in text


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_of(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: yumen {name}" in text
    assert "--json" in text or "--format" in text
    assert f"Example:\n    yumen {name}" in text
    assert "\\[" not in text
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Argument):
            line = next(x for x in text.splitlines() if x.strip().startswith(_shown(parameter)))
            assert len(line.split()) > 2, f"the argument {parameter.name} is not explained"


def _shown(argument: click.Argument) -> str:
    metavar = argument.metavar or (argument.name or "").upper()
    return metavar if argument.required else f"[{metavar}]"


def test_the_root_lists_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "Exit codes:" in text
    assert "..." not in text.partition("Commands:")[2].partition("Exit codes:")[0]


@pytest.mark.parametrize("group", ["authority", "coordinator", "node", "user", "log"])
def test_a_group_cuts_no_sentence(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([group, "--help"]) == 0
    assert "..." not in capsys.readouterr().out.partition("Commands:")[2]


@pytest.mark.parametrize("argv", [[], ["node"]])
def test_without_a_command_the_help_is_shown(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert "Commands:" in streams.err


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from yumen_cli.main import main; main(['--help']);"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"yumen {metadata.version('yumen')}\n"
