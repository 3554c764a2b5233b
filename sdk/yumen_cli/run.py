"""`yumen run`: a Flower project over the federation, as it is."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from yumen_core.errors import CallError
from yumen_core.securesum.suite import Suite

from yumen_cli.client import open_federation
from yumen_cli.failures import show_notes
from yumen_cli.options import AsJson, Coordinator, IdentityFolder, MinNodes, Nodes, Purpose
from yumen_cli.plain import command
from yumen_cli.terminal import clean, emit, note, say
from yumen_cli.words import duration_s, node_list

if TYPE_CHECKING:
    from yumen.training import RoundReport, TrainingResult
    from yumen_core.rpc.v1.job_pb2 import JobStatus

Save = Annotated[
    Path | None,
    typer.Option(
        "--save",
        metavar="FILE",
        help="Write the trained weights there, as PyTorch's state dict.",
        show_default=False,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Let --save replace a file that is there.")
]


def run(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="The folder of the Flower project.", show_default=False
        ),
    ],
    table: Annotated[str, typer.Option("--table", metavar="NAME", help="The table to train on.")],
    columns: Annotated[
        str,
        typer.Option(
            "--columns", metavar="A,B,...", help="The columns that the project's code may read."
        ),
    ],
    purpose: Purpose,
    where: Annotated[
        str | None,
        typer.Option(
            "--where", metavar="SQL", help="Which rows: a condition in SQL.", show_default=False
        ),
    ] = None,
    run_config: Annotated[
        list[str] | None,
        typer.Option(
            "--run-config",
            "-c",
            metavar="TEXT",
            help="Settings of the project to override, as \"lr=0.1 name='a b'\"; may be given "
            "several times.",
            show_default=False,
        ),
    ] = None,
    suite: Annotated[
        Suite, typer.Option("--suite", help="What hides the sums: one-time pads, or BFV.")
    ] = Suite.STREAM,
    timeout: Annotated[
        str,
        typer.Option(
            "--timeout",
            metavar="TIME",
            help="For the whole training, as 30m, 6h or 2d; waits for approval included.",
        ),
    ] = "6h",
    save: Save = None,
    overwrite: Overwrite = False,
    nodes: Nodes = None,
    min_nodes: MinNodes = None,
    identity: IdentityFolder = None,
    coordinator: Coordinator = None,
    as_json: AsJson = False,
) -> None:
    """Train with a Flower project.

    Its ServerApp runs here, its ClientApp in the nodes' sandboxes.
    Each node has to approve the project's code first: until then the job waits.
    """
    from yumen.training import parse_settings

    settings = parse_settings(run_config or [])
    seconds, names, chosen = duration_s(timeout), _columns(columns), node_list(nodes)
    _check_target(save, overwrite)
    with open_federation(identity, coordinator) as federation, _watched():
        result = federation.run(
            path,
            table=table,
            columns=names,
            purpose=purpose,
            where=where,
            suite=suite.value,
            run_config=settings,
            nodes=chosen,
            min_nodes=min_nodes,
            timeout_s=float(seconds),
        )
    _show(result, save, overwrite, as_json)


def resume(
    job: Annotated[
        str,
        typer.Argument(
            metavar="JOB",
            help="The id of the training's job, or of one that resumed it.",
            show_default=False,
        ),
    ],
    save: Save = None,
    overwrite: Overwrite = False,
    identity: IdentityFolder = None,
    coordinator: Coordinator = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a training that ended early.

    From its last finished round, as a new job.
    """
    _check_target(save, overwrite)
    with open_federation(identity, coordinator) as federation, _watched():
        result = federation.resume(job)
    _show(result, save, overwrite, as_json)


def document(result: TrainingResult, saved: Path | None) -> dict[str, object]:
    """A training for `--json`: everything but the weights, which `--save` writes."""
    return {
        "jobs": list(result.job_ids),
        "strategy": result.strategy,
        "participants": list(result.participants),
        "excluded": [{"node": out.node, "reason": out.reason} for out in result.excluded],
        "runs": [_report(report) for report in result.reports],
        "server_metrics": {
            str(number): _metrics(metrics) for number, metrics in result.server_metrics.items()
        },
        "arrays": [
            {"name": name, "type": values.dtype.name, "shape": list(values.shape)}
            for name, values in result.arrays.items()
        ],
        "saved": None if saved is None else str(saved),
        "elapsed_s": result.elapsed_s,
        "notes": list(result.notes),
    }


def register(app: typer.Typer) -> None:
    """Add these commands to the root."""
    question = "--table heart --columns age,chol,sick --purpose research"
    command(app, "run", example=f"yumen run examples/app {question}\n  --save model.pt")(run)
    job = "0199b2f4-1111-7abc-8def-000000000001"
    command(app, "resume", example=f"yumen resume {job} --save model.pt")(resume)


@contextmanager
def _watched() -> Iterator[None]:
    """Off a terminal one line for each job that waits for approval; at Ctrl-C what is kept."""
    from yumen.jobs import state_of
    from yumen.progress import approval_line, heard_by
    from yumen_core.jobs.machine import State

    told: set[str] = set()

    def hear(status: JobStatus) -> None:
        if state_of(status) is State.AWAITING_APPROVAL and status.job_id not in told:
            told.add(status.job_id)
            if not sys.stderr.isatty():
                note(clean(f"job {status.job_id} {approval_line(status)}"))

    try:
        with heard_by(hear):
            yield
    except KeyboardInterrupt as stop:
        show_notes(stop)
        raise


def _show(result: TrainingResult, save: Path | None, overwrite: bool, as_json: bool) -> None:
    saved = None if save is None else result.save(save, overwrite=overwrite)
    if as_json:
        emit(document(result, saved))
        return
    say(str(result))
    if saved is not None:
        note(f"saved: {clean(str(saved))}")


def _report(report: RoundReport) -> dict[str, object]:
    return {
        "round": report.round,
        "action": report.action.value,
        "metrics": _metrics(report.metrics),
        "examples": report.examples,
        "nodes": report.nodes,
        "lost": list(report.lost),
        "seconds": report.seconds,
        "replayed": report.replayed,
    }


def _metrics(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no number for what is not finite."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _columns(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise CallError("argument", f"expected column names with commas between, got `{text}`")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise CallError("argument", f"expected each column once, got `{twice}` twice")
    return names


def _check_target(save: Path | None, overwrite: bool) -> None:
    """A training of hours must not end at a file that is there."""
    if save is None:
        return
    if save.exists() and not overwrite:
        raise CallError(
            "argument",
            f"expected a path without a file for --save, got `{save}`, which exists",
            remedy="choose another path, or add --overwrite",
        )
    if not save.parent.is_dir():
        raise CallError("argument", f"expected a folder for --save, found none at `{save.parent}`")
