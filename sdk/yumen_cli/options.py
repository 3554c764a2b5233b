"""The options that several commands share, so that each is spelled and explained once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class LogLevel(StrEnum):
    """How much a service says on stderr."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def option(
    name: str, metavar: str, help_text: str, *, envvar: str | None = None
) -> typer.models.OptionInfo:
    """An option whose default the help text explains, so that it is not shown beside it."""
    made: typer.models.OptionInfo = typer.Option(
        name, metavar=metavar, help=help_text, envvar=envvar, show_default=False
    )
    return made


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]

StateFolder = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder of this service.", show_default=False)
]

UserFolder = Annotated[
    Path | None,
    typer.Argument(
        metavar="DIR",
        help="The folder of the identity; $YUMEN_IDENTITY or ~/.config/yumen if left out.",
        show_default=False,
    ),
]

IdentityFolder = Annotated[
    Path | None,
    option(
        "--identity",
        "DIR",
        "The folder of your identity; ~/.config/yumen if left out.",
        envvar="YUMEN_IDENTITY",
    ),
]

Coordinator = Annotated[
    str | None,
    option(
        "--coordinator",
        "HOST:PORT",
        "The coordinator; the one stored at enrolment if left out.",
        envvar="YUMEN_COORDINATOR",
    ),
]

Token = Annotated[
    str,
    option(
        "--token",
        "TOKEN",
        "The one-time token from the authority; - reads it from the first line of stdin.",
        envvar="YUMEN_TOKEN",
    ),
]

Policies = Annotated[
    list[Path] | None,
    option(
        "--policy",
        "FILE",
        "A Cedar policy file; may be given several times. Without one, every job is denied.",
    ),
]

Purposes = Annotated[Path | None, option("--purposes", "FILE", "The registered purposes, YAML.")]

Statement = Annotated[
    str,
    typer.Argument(
        metavar="SQL", help="One SELECT statement; - reads it from stdin.", show_default=False
    ),
]

Purpose = Annotated[
    str, typer.Option("--purpose", metavar="TEXT", help="What the result is for; policies see it.")
]

Nodes = Annotated[
    str | None,
    option(
        "--nodes",
        "A,B,...",
        "The nodes to ask, as NAME, ORG/NAME or an organisation with one node; if left out, "
        "all nodes that publish the table, connected or not.",
    ),
]

MinNodes = Annotated[
    int | None,
    typer.Option(
        "--min-nodes",
        metavar="N",
        help="Go on with those that accept if there are N; all must take part if left out.",
        show_default=False,
        min=3,
    ),
]

LogFolder = Annotated[
    Path, typer.Argument(metavar="LOGDIR", help="The folder of a log (C2SP tlog-tiles).")
]

LogKey = Annotated[
    str | None,
    option(
        "--key",
        "FILE|TEXT",
        "The log's verifier key, got from elsewhere; the one in LOGDIR if left out.",
    ),
]

Start = Annotated[bool, typer.Option("--start", help="Start the service in the same process.")]

WithParent = Annotated[bool, typer.Option("--with-parent", help="Stop when stdin reaches its end.")]

Level = Annotated[LogLevel, typer.Option("--log-level", help="How much to say on stderr.")]
