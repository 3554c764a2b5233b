"""The commands of a person who asks: datasets, check, query, jobs, cancel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from yumen_core.errors import CallError
from yumen_core.privacy import Privacy
from yumen_core.privacy.budget import DEFAULT_DELTA

from yumen_cli import client_settings
from yumen_cli.options import (
    AsJson,
    Coordinator,
    IdentityFolder,
    MinNodes,
    Nodes,
    Purpose,
    Statement,
)
from yumen_cli.plain import command
from yumen_cli.terminal import clean, emit, note, say
from yumen_cli.words import node_list, read_statement

if TYPE_CHECKING:
    from yumen import Federation

EXIT_DENIED = 3
Epsilon = Annotated[
    float | None,
    typer.Option("--epsilon", help="Ask with noise that costs this much.", show_default=False),
]
Delta = Annotated[str, typer.Option("--delta", help="The delta of --epsilon, a power of ten.")]
Project = Annotated[
    str, typer.Option("--project", help="Whose privacy budget pays; the purpose's if left out.")
]


@contextmanager
def open_federation(identity: Path | None, coordinator: str | None) -> Iterator[Federation]:
    """A connection with the identity and to the coordinator that the options name."""
    import yumen

    directory = identity or client_settings.default_directory()
    client_settings.check_identity(directory)
    address = client_settings.coordinator_for(directory, coordinator)
    federation = yumen.connect(address, identity=directory)
    try:
        yield federation
    finally:
        federation.close()


def datasets(
    identity: IdentityFolder = None, coordinator: Coordinator = None, as_json: AsJson = False
) -> None:
    """List the tables that the nodes publish.

    With their columns, types, units, domains or bounds, grades, and the nodes that hold them.
    """
    from yumen_cli import documents

    with open_federation(identity, coordinator) as federation:
        found = federation.datasets()
    if as_json:
        emit(documents.datasets(found))
    else:
        say(str(found))


def check(
    sql: Statement,
    purpose: Purpose,
    nodes: Nodes = None,
    min_nodes: MinNodes = None,
    epsilon: Epsilon = None,
    delta: Delta = DEFAULT_DELTA,
    project: Project = "",
    identity: IdentityFolder = None,
    coordinator: Coordinator = None,
    as_json: AsJson = False,
) -> None:
    """Ask every node whether it would take part. No row is touched. Exits with 3 if denied."""
    from yumen_cli import documents

    statement, chosen = read_statement(sql), node_list(nodes)
    with open_federation(identity, coordinator) as federation:
        report = federation.check(
            statement,
            purpose=purpose,
            nodes=chosen,
            min_nodes=min_nodes,
            privacy=None if epsilon is None else Privacy.of_epsilon(epsilon, delta),
            project=project,
        )
    if as_json:
        emit(documents.check(report))
    else:
        say(str(report))
    if not report.allowed:
        raise typer.Exit(EXIT_DENIED)


def query(
    sql: Statement,
    purpose: Purpose,
    nodes: Nodes = None,
    min_nodes: MinNodes = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print the rows as CSV; remarks go to stderr.")
    ] = False,
    epsilon: Epsilon = None,
    delta: Delta = DEFAULT_DELTA,
    project: Project = "",
    identity: IdentityFolder = None,
    coordinator: Coordinator = None,
    as_json: AsJson = False,
) -> None:
    """Ask a question over all nodes. The answer is decrypted here and nowhere else."""
    from yumen_cli import documents

    if as_csv and as_json:
        raise CallError("argument", "expected one of --csv and --json, got both")
    statement, chosen = read_statement(sql), node_list(nodes)
    with open_federation(identity, coordinator) as federation:
        result = federation.query(
            statement,
            purpose=purpose,
            nodes=chosen,
            min_nodes=min_nodes,
            privacy=None if epsilon is None else Privacy.of_epsilon(epsilon, delta),
            project=project,
        )
    if as_json:
        emit(documents.result(result))
    elif as_csv:
        say(documents.result_csv(result))
        for remark in documents.remarks(result):
            note(remark)
    else:
        say(str(result))


def jobs(
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, max=500, help="How many at most.")
    ] = 20,
    identity: IdentityFolder = None,
    coordinator: Coordinator = None,
    as_json: AsJson = False,
) -> None:
    """List the latest jobs, the newest first."""
    from yumen_cli import documents

    with open_federation(identity, coordinator) as federation:
        found = federation.jobs(limit=limit)
    if as_json:
        emit(documents.jobs(found))
    else:
        say(str(found))


def cancel(
    job: Annotated[
        str, typer.Argument(metavar="JOB", help="The job's id, as `yumen jobs` lists it.")
    ],
    identity: IdentityFolder = None,
    coordinator: Coordinator = None,
    as_json: AsJson = False,
) -> None:
    """Cancel one of your jobs. A job that has ended stays as it is."""
    from yumen_cli import documents

    with open_federation(identity, coordinator) as federation:
        ended = federation.cancel(job)
    if as_json:
        emit(documents.job(ended))
    else:
        say(f"job {clean(ended.job_id)}: {ended.state.value.replace('_', ' ')}")


def register(app: typer.Typer) -> None:
    """Add these commands to the root."""
    question = '"SELECT sex, COUNT(*) FROM heart GROUP BY sex" --purpose research'
    command(app, "datasets", example="yumen datasets")(datasets)
    command(app, "check", example=f"yumen check {question}")(check)
    command(app, "query", example=f"yumen query {question}")(query)
    command(app, "jobs", example="yumen jobs --limit 5")(jobs)
    job = "0199b2f4-1111-7abc-8def-000000000001"
    command(app, "cancel", example=f"yumen cancel {job}")(cancel)
