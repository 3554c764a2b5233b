"""`yumen demo`: four hospitals on this machine, and everything the federation promises, checked."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from yumen_cli.failures import EXIT_NOT_HELD
from yumen_cli.options import AsJson
from yumen_cli.plain import command
from yumen_cli.terminal import emit


def demo(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="The folder with the four hospitals' CSV files; the checkout's if left out.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run four hospitals here: ask, attack, verify.

    Six processes on loopback with mutual TLS, real data of 920 patients, encrypted sums, and the
    pooled truth computed beside them. Exits with 1 if anything does not hold.
    """
    from yumen_cli.demo.run import run_demo

    signal.signal(signal.SIGTERM, _stop)
    report = run_demo(data, quiet=as_json)
    if as_json:
        emit(report.document())
    if not report.holds:
        raise typer.Exit(EXIT_NOT_HELD)


def _stop(number: int, frame: FrameType | None) -> None:
    """End as after Ctrl-C: with no process and no folder left, whoever sent the signal."""
    signal.signal(number, signal.SIG_IGN)  # a second one must not cut the cleaning short
    raise KeyboardInterrupt


def register(app: typer.Typer) -> None:
    """Add this command to the root."""
    command(app, "demo", example="yumen demo\nyumen demo --json > demo.json")(demo)
