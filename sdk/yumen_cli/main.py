"""The command `yumen`: its groups, and the one place where errors become words and exit codes.

Each command imports what it needs when it runs, so `yumen --help` loads neither gRPC nor DuckDB.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import click
import typer
from yumen_core.errors import YumenError

from yumen_cli import (
    audit,
    authority,
    client,
    coordinator,
    demo_command,
    failures,
    log,
    node,
    policy,
    receipt,
    user,
)
from yumen_cli import run as training
from yumen_cli.plain import group
from yumen_cli.terminal import say

app = group(
    "Compute together on data that never leaves its institution.\n\n"
    "An authority enrols the members, nodes stand beside the data, a coordinator that can read "
    "no answer carries the jobs, and users ask.",
    epilog=failures.exit_code_text(),
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"yumen {version('yumen')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Only here so that the root itself is a group."""


client.register(app)
training.register(app)
demo_command.register(app)
app.add_typer(authority.app, name="authority")
app.add_typer(coordinator.app, name="coordinator")
app.add_typer(node.app, name="node")
app.add_typer(user.app, name="user")
app.add_typer(log.app, name="log")
app.add_typer(audit.app, name="audit")
app.add_typer(policy.app, name="policy")
app.add_typer(receipt.app, name="receipt")


def main(argv: Sequence[str]) -> int:
    """Run the command line `argv` (without the program's name) and return its exit code."""
    as_json = "--json" in argv
    try:
        code = app(args=list(argv), prog_name="yumen", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return failures.EXIT_USAGE
    except click.UsageError as error:
        return failures.show_usage(error, as_json=as_json)
    except YumenError as error:
        return failures.show_error(error, as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        return failures.EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`yumen jobs | head`): say nothing more, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return failures.EXIT_BROKEN_PIPE
    except Exception as error:  # noqa: BLE001  the last frame of the process: sysexits' 70
        return failures.show_unexpected(error, as_json=as_json)
    return code if isinstance(code, int) else 0


def run() -> None:
    """The console script."""
    # gRPC's core writes its own lines to stderr; ours say the same in words.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Only a service logs; the other commands speak through their result or their error.
    logging.getLogger().addHandler(logging.NullHandler())
    sys.exit(main(sys.argv[1:]))
