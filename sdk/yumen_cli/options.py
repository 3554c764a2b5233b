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
    typer.Option(
        "--identity",
        metavar="DIR",
        envvar="YUMEN_IDENTITY",
        help="The folder of your identity; ~/.config/yumen if left out.",
        show_default=False,
    ),
]

Coordinator = Annotated[
    str | None,
    typer.Option(
        "--coordinator",
        metavar="HOST:PORT",
        envvar="YUMEN_COORDINATOR",
        help="The coordinator; the one stored at enrolment if left out.",
        show_default=False,
    ),
]

Token = Annotated[
    str,
    typer.Option(
        "--token",
        metavar="TOKEN",
        envvar="YUMEN_TOKEN",
        help="The one-time token from the authority; - reads it from the first line of stdin.",
        show_default=False,
    ),
]

Policies = Annotated[
    list[Path] | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        help="A Cedar policy file; may be given several times. Without one, every job is denied.",
        show_default=False,
    ),
]

Purposes = Annotated[
    Path | None,
    typer.Option(
        "--purposes", metavar="FILE", help="The registered purposes, YAML.", show_default=False
    ),
]

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
    typer.Option(
        "--nodes",
        metavar="A,B,...",
        help="The nodes to ask, as NAME, ORG/NAME or an organisation with one node; if left out, "
        "all nodes that publish the table, connected or not.",
        show_default=False,
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

Start = Annotated[bool, typer.Option("--start", help="Start the service in the same process.")]

WithParent = Annotated[bool, typer.Option("--with-parent", help="Stop when stdin reaches its end.")]

Level = Annotated[LogLevel, typer.Option("--log-level", help="How much to say on stderr.")]
