"""`yumen log`: verify what a coordinator or a node has written down."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from yumen_cli.options import AsJson
from yumen_cli.plain import command, group
from yumen_cli.terminal import aligned, emit, say

app = group("The logs: verify what was written down.")


@command(app, "verify", example="yumen log verify node/log --key node-log.vkey")
def verify(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of a log (C2SP tlog-tiles).")
    ],
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            metavar="FILE|TEXT",
            help="The log's verifier key, got from elsewhere; the one in DIR if left out.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute a log and check its signature.

    Without --key the log is checked against the key that lies beside it, which shows damage but
    not a log that was made anew; the report says which key was used.
    """
    from yumen_core.log import verify_directory

    from yumen_cli import log_report

    log_report.check_is_log(directory)
    report = verify_directory(directory, log_report.read_key(key))
    document = log_report.document(directory, report)
    if as_json:
        emit(document)
        return
    rows = [(name.replace("_", " "), str(value)) for name, value in document.items()]
    say("the log is whole\n" + aligned(("", ""), rows).lstrip("\n"))
