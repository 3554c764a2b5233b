"""How an error reaches a person, or a program with `--json`, and which exit code goes with it."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from yumen_core.errors import Denied, YumenError

from yumen_cli.terminal import clean, emit, note

if TYPE_CHECKING:
    from yumen_core.policy.denial import Denial

EXIT_NOT_HELD = 1
EXIT_USAGE = 2
EXIT_UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

EXIT_CODES: tuple[tuple[int, str], ...] = (
    (0, "done"),
    (EXIT_NOT_HELD, "a check of `yumen demo` or a case of `yumen policy test` did not hold"),
    (2, "wrong call, statement, configuration or policy file"),
    (3, "refused by a policy or by the gate"),
    (4, "not authentic: certificate, signature, token, replay, ciphertext"),
    (5, "not enough nodes, or a node was lost"),
    (6, "a deadline passed, or the job was cancelled"),
    (7, "the other side could not be reached"),
    (8, "this machine's own files or services are broken"),
    (EXIT_UNEXPECTED, "an error in this program (YUMEN_DEBUG=1 shows where)"),
    (EXIT_INTERRUPTED, "stopped with Ctrl-C"),
)


def exit_code_text() -> str:
    """The table of exit codes, as `yumen --help` ends with it."""
    rows = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES)
    return f"\b\nExit codes:\n{rows}"


def show_error(error: YumenError, *, as_json: bool) -> int:
    """Print `error`; its exit code."""
    denials = error.denials if isinstance(error, Denied) else ()
    if as_json:
        emit(
            {
                "error": {
                    "code": error.code,
                    "message": error.message,
                    "node": error.node,
                    "remedy": error.remedy,
                    "exit": error.kind.exit,
                    "denials": [denial.to_json() for denial in denials],
                    "notes": list(getattr(error, "__notes__", ())),
                }
            }
        )
        return error.kind.exit
    where = f" (at {error.node})" if error.node else ""
    note(f"error: {clean(error.message + where)}")
    note(f"remedy: {clean(error.remedy)}")
    show_notes(error)
    if denials:
        show_denials(denials)
    return error.kind.exit


def show_notes(error: BaseException) -> None:
    """What was added to `error` on its way, such as how to go on."""
    for more in getattr(error, "__notes__", ()):
        note(f"note: {clean(more)}")


def show_usage(error: click.UsageError, *, as_json: bool) -> int:
    """Print what was wrong with the command line itself."""
    text = error.format_message().rstrip(".").replace("'", "`")
    message = text[:1].lower() + text[1:]
    command = error.ctx.command_path if error.ctx else "yumen"
    remedy = f"see `{command} --help`"
    if as_json:
        body = {"code": "argument", "message": message, "node": None, "remedy": remedy}
        emit({"error": {**body, "exit": EXIT_USAGE, "denials": []}})
    else:
        note(f"error: {clean(message)}")
        note(f"remedy: {remedy}")
    return EXIT_USAGE


def show_unexpected(error: Exception, *, as_json: bool) -> int:
    """Print one plain sentence for an error nobody foresaw; the traceback only on request."""
    if os.environ.get("YUMEN_DEBUG") == "1":
        traceback.print_exception(error, file=sys.stderr)
    message = f"this program met an error it does not know ({type(error).__name__})"
    remedy = "set YUMEN_DEBUG=1 and run the command again to see where"
    if as_json:
        body = {"code": "unexpected", "message": message, "node": None, "remedy": remedy}
        emit({"error": {**body, "exit": EXIT_UNEXPECTED, "denials": []}})
    else:
        note(f"error: {message}")
        note(f"remedy: {remedy}")
    return EXIT_UNEXPECTED


def show_denials(denials: Sequence[Denial]) -> None:
    """The refusals on stderr as `yumen check` shows them: who and why, and what would pass."""
    from yumen.display import Grid, plain
    from yumen.report import denial_lines, party_name

    rows = tuple((party_name(denial.node), denial.reason_code) for denial in denials)
    notes = tuple(line for denial in denials for line in ("", *denial_lines(denial)))
    note("\n" + plain(Grid(("node", "reason"), rows, notes=notes, max_cell_chars=120)))


def short_name(uri: str) -> str:
    """`organisation/name` of a SPIFFE id, or the text itself where it is none."""
    parts = uri.split("/")
    return f"{parts[4]}/{parts[6]}" if len(parts) == 7 and parts[0] == "spiffe:" else uri
