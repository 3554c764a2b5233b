"""`yumen node`: the party beside the data. It dials out and listens to nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from yumen_cli import approvals
from yumen_cli.operator_acts import leave_at
from yumen_cli.options import (
    AsJson,
    Level,
    LogLevel,
    Policies,
    Purposes,
    Start,
    StateFolder,
    Token,
    WithParent,
    option,
)
from yumen_cli.plain import command, group
from yumen_cli.serving import serve
from yumen_cli.terminal import aligned, emit, say
from yumen_cli.words import read_token

app = group("A node: it stands beside the data and decides.")
app.add_typer(approvals.app, name="approvals")

Declared = Annotated[
    Path,
    typer.Argument(metavar="PATH", help="A node's folder, or one table's YAML file."),
]


@command(app, "init", example="yumen node init node --coordinator coordinator.example:7401 \\\n"
         "    --token TOKEN --table heart.yaml --policy hospital.cedar \\\n"
         "    --purposes policies/purposes.yaml")  # fmt: skip
def init(
    directory: StateFolder,
    coordinator: Annotated[
        str, typer.Option("--coordinator", metavar="HOST:PORT", help="The coordinator to dial.")
    ],
    token: Token,
    tables: Annotated[
        list[Path],
        typer.Option("--table", metavar="FILE", help="A table's YAML file; may be repeated."),
    ],
    policies: Policies = None,
    purposes: Purposes = None,
    approve: Annotated[
        list[Path] | None,
        option(
            "--approve",
            "PATH",
            "Approve the app in this project folder, as it is now; may be repeated.",
        ),
    ] = None,
    start: Start = False,
    with_parent: WithParent = False,
    log_level: Level = LogLevel.INFO,
    as_json: AsJson = False,
) -> None:
    """Enrol a node into DIR.

    The tables' declarations stay where they are; policies and purposes are copied into DIR.
    """
    from yumen_core.clock import SystemClock
    from yumen_node import service

    service.init_node(
        directory,
        coordinator=coordinator,
        token=read_token(token),
        tables=tables,
        policies=policies or [],
        purposes=purposes,
        clock=SystemClock(),
    )
    if approve:
        _approve(directory, approve)
    if start:
        _serve(directory, as_json, with_parent, log_level)
    elif as_json:
        emit({"directory": str(directory), "coordinator": coordinator})
    else:
        say(f"node enrolled in {directory}; start it with `yumen node start`")


@command(app, "start", example="yumen node start node")
def start_(
    directory: StateFolder,
    with_parent: WithParent = False,
    log_level: Level = LogLevel.INFO,
    as_json: AsJson = False,
) -> None:
    """Answer jobs until stopped.

    Loads the tables and dials the coordinator; when the connection is lost it dials again.
    """
    _serve(directory, as_json, with_parent, log_level)


@command(app, "tables", example="yumen node tables node\nyumen node tables heart.yaml")
def tables(path: Declared, as_json: AsJson = False) -> None:
    """Show what the tables publish; reads no data."""
    from yumen_cli import declared

    found = declared.load(path)
    if as_json:
        emit({"tables": [declared.table_document(one) for one in found]})
        return
    for one in found:
        say(f"{one.name}: {one.meaning}")
        say(aligned(declared.COLUMN_HEADER, declared.column_rows(one)) + "\n")


@command(app, "quality", example="yumen node quality node\nyumen node quality heart.yaml")
def quality(path: Declared, as_json: AsJson = False) -> None:
    """Report missing and unusable values.

    Loads the declared tables and counts missing, mistyped and out-of-range values by column.
    For the operator: these counts come from the data and are shown to nobody else.
    """
    from yumen_cli import declared

    if path.is_dir():
        leave_at(path, "view_quality")
    reports = declared.quality(path)
    if as_json:
        emit({"tables": [{"name": name, **report.to_json()} for name, report in reports]})
        return
    for name, report in reports:
        say(f"{name}: {report.text()}\n")


@command(app, "rebuild-ledger", example="yumen node rebuild-ledger node")
def rebuild_ledger(directory: StateFolder, as_json: AsJson = False) -> None:
    """Make a lost `budgets.sqlite` anew.

    The node's log tells every cost that was taken or given back. The node must be stopped; the file
    that was there is set aside, and the log tells who did it.
    """
    from yumen_core.clock import SystemClock
    from yumen_node import lost_files

    made = lost_files.rebuild_ledger(directory, SystemClock())
    if as_json:
        emit({"costs": made.costs, "micro_rho": dict(made.micro_rho)})
        return
    say(f"{made.costs} costs of the log stand in `budgets.sqlite`; start the node")


@command(app, "accept-loss", example="yumen node accept-loss node --missing 12")
def accept_loss(
    directory: StateFolder,
    missing: Annotated[
        int,
        typer.Option(
            "--missing", metavar="N", min=0, help="How many records the node says are missing."
        ),
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Go on without records of what left.

    Nothing can rebuild `released.sqlite`. Once the loss is accepted, an answer may differ by a few
    rows from one that left before and is not remembered. The node must be stopped; what is of no
    use is set aside, and the log tells who did it.
    """
    from yumen_core.clock import SystemClock
    from yumen_node import lost_files

    number = lost_files.accept_loss(directory, SystemClock(), missing)
    if as_json:
        emit({"missing": number})
        return
    say(f"{number} records of what left are given up; start the node")


def _approve(directory: Path, folders: list[Path]) -> None:
    from yumen_node.approvals import approve_folder

    for folder in folders:
        approve_folder(directory, folder, "approved when the node was set up")


def _serve(directory: Path, as_json: bool, with_parent: bool, log_level: LogLevel) -> None:
    from yumen_node import service

    serve(
        lambda ready: service.serve(directory, ready=ready),
        role="node",
        as_json=as_json,
        with_parent=with_parent,
        log_level=log_level,
    )
