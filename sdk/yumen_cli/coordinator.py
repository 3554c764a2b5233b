"""`yumen coordinator`: the party that carries jobs and sums and can read neither answer nor row."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from yumen_cli.options import (
    AsJson,
    Coordinator,
    IdentityFolder,
    Level,
    LogLevel,
    Policies,
    Purposes,
    Start,
    StateFolder,
    Token,
    WithParent,
)
from yumen_cli.plain import command, group
from yumen_cli.serving import serve
from yumen_cli.terminal import emit, say
from yumen_cli.words import read_token

app = group("The coordinator: it adds what it cannot read.")


@command(app, "init", example="yumen coordinator init coordinator --token TOKEN \\\n"
         "    --address coordinator.gansu.example:7401 --policy policies/federation.cedar \\\n"
         "    --purposes policies/purposes.yaml")  # fmt: skip
def init(
    directory: StateFolder,
    address: Annotated[
        str, typer.Option("--address", metavar="HOST:PORT", help="Where nodes and users reach it.")
    ],
    token: Token,
    policies: Policies = None,
    purposes: Purposes = None,
    start: Start = False,
    with_parent: WithParent = False,
    log_level: Level = LogLevel.INFO,
    as_json: AsJson = False,
) -> None:
    """Enrol a coordinator into DIR."""
    from yumen_coordinator import service
    from yumen_core.clock import SystemClock

    service.init_coordinator(
        directory,
        address=address,
        token=read_token(token),
        policies=policies or [],
        purposes=purposes,
        clock=SystemClock(),
    )
    if start:
        _serve(directory, as_json, with_parent, log_level)
    elif as_json:
        emit({"directory": str(directory), "address": address})
    else:
        say(f"coordinator enrolled in {directory}; start it with `yumen coordinator start`")


@command(app, "start", example="yumen coordinator start coordinator")
def start_(
    directory: StateFolder,
    with_parent: WithParent = False,
    log_level: Level = LogLevel.INFO,
    as_json: AsJson = False,
) -> None:
    """Serve nodes and users until stopped."""
    _serve(directory, as_json, with_parent, log_level)


@command(app, "status", example="yumen coordinator status")
def status(
    identity: IdentityFolder = None, coordinator: Coordinator = None, as_json: AsJson = False
) -> None:
    """Show a coordinator's nodes and latest jobs.

    Asks the running coordinator, with your own identity.
    """
    from yumen_cli import client_settings, documents
    from yumen_cli.client import open_federation

    folder = identity or client_settings.default_directory()
    address = client_settings.coordinator_for(folder, coordinator)
    with open_federation(folder, address) as federation:
        datasets = federation.datasets()
        jobs = federation.jobs(limit=10)
    if as_json:
        emit(documents.status(address, datasets, jobs))
    else:
        say(documents.status_text(address, datasets, jobs))


def _serve(directory: Path, as_json: bool, with_parent: bool, log_level: LogLevel) -> None:
    from yumen_coordinator import service

    serve(
        lambda ready: service.serve(directory, ready=ready),
        role="coordinator",
        as_json=as_json,
        with_parent=with_parent,
        log_level=log_level,
    )
