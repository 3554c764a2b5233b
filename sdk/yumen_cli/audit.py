"""`yumen audit`: what an auditor does with a log's files and public keys, connected to nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from yumen_core.errors import CallError
from yumen_core.identity.files import read_file

from yumen_cli import log_report
from yumen_cli.operator_acts import leave_for
from yumen_cli.options import AsJson, LogFolder, LogKey, option
from yumen_cli.plain import command, group
from yumen_cli.terminal import aligned, clean, emit, note, say, utc

if TYPE_CHECKING:
    from yumen_core.audit.reading import AuditedLog

app = group("Audit logs from their files and public keys alone.")
EXIT_DIFFERS = 4


class Format(StrEnum):
    """What an export is written as."""

    CSV = "csv"
    JSON = "json"
    SYSLOG = "syslog"


DATE = "a date such as 2026-11-23, or a time; UTC where it names no zone"


def _text(name: str, help_text: str) -> typer.models.OptionInfo:
    """An option that filters by a text; everything if left out."""
    return option(name, "TEXT", help_text)


def _open(directory: Path, key: str | None) -> AuditedLog:
    from yumen_core.audit.reading import open_audited

    log_report.check_is_log(directory)
    return open_audited(directory, log_report.read_key(key))


def _write(output: Path, lines: Iterable[str]) -> None:
    """Whole or not at all: the log may prove to be changed at its last line."""
    part = output.with_name(output.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            file.writelines(lines)
        part.replace(output)
    except OSError as error:
        raise CallError("argument", f"`{output}` cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def _check_act(act: str) -> None:
    from yumen_core.log.entry import Act

    known = sorted(one.value for one in Act)
    if act and act not in known:
        raise CallError("argument", f"expected an act of {', '.join(known)}, got `{act}`")


def _note(path: Path | None) -> bytes | None:
    return None if path is None else read_file(path, max_bytes=1_000_000)


def _time_ms(text: str | None, otherwise: int) -> int:
    if text is None:
        return otherwise
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CallError("argument", f"expected a date such as `2026-11-23`, got `{text}`") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


@command(app, "verify", example="yumen audit verify node/log --key node.vkey --since kept.note")
def verify(
    directory: LogFolder,
    key: LogKey = None,
    since: Annotated[
        Path | None,
        option("--since", "FILE", "A checkpoint kept from before, which the log has to extend."),
    ] = None,
    other: Annotated[
        Path | None,
        option(
            "--other",
            "FILE",
            "A checkpoint that somebody else was shown: both have to be of one log.",
        ),
    ] = None,
    cosigned: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="How many of the given witnesses have to have signed it; one if left out.",
            show_default=False,
        ),
    ] = 0,
    witness: Annotated[
        list[str] | None,
        option("--witness", "FILE|TEXT", "A witness's verifier key; may be given several times."),
    ] = None,
    max_unwitnessed: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="How many entries may come after those that the witnesses have signed.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute a log; check it against older checkpoints, other views and its witnesses.

    Without --key the log is checked against the key that lies beside it, which shows damage but
    not a log that was made anew; the report says which key was used.
    """
    from yumen_core.audit.reading import open_audited
    from yumen_core.log.cosign import WitnessVerifier

    log_report.check_is_log(directory)
    keys = [WitnessVerifier.parse(log_report.read_key(text) or "") for text in witness or ()]
    if cosigned > len({one.public for one in keys}):
        raise CallError(
            "argument",
            f"expected the keys of {cosigned} witnesses or more, got {len(keys)}",
            remedy="give the key of each with --witness",
        )
    if max_unwitnessed is not None and not keys:
        raise CallError("argument", "expected --witness with --max-unwitnessed, got none")
    found = open_audited(
        directory,
        log_report.read_key(key),
        max_unwitnessed=max_unwitnessed,
        since=_note(since),
        other=_note(other),
        cosigned=cosigned,
        witnesses=keys,
    )
    document = log_report.document(directory, found.report)
    document |= {
        "since": found.report.since_size,
        "cosigned_entries": found.cosigned_size,
        "cosigned_by": sorted(found.cosigned),
        "unwitnessed": found.unwitnessed if found.cosigned else None,
    }
    if as_json:
        emit(document)
        return
    if not found.cosigned:
        document["cosigned_entries"], document["cosigned_by"] = "-", "not asked (--witness)"
        document["unwitnessed"] = "-"
    else:
        document["cosigned_by"] = ", ".join(
            f"{name} at {utc(second * 1000)}" for name, second in sorted(found.cosigned.items())
        )
    if found.report.since_size is None:
        document["since"] = "not asked (--since)"
    say(log_report.words(document))


@command(app, "show", example="yumen audit show node/log --denied --since 2026-11-01")
def show(
    directory: LogFolder,
    key: LogKey = None,
    user: Annotated[str, _text("--user", "Part of an identity: who asked, signed or did it.")] = "",
    table: Annotated[str, _text("--table", "A table's name.")] = "",
    purpose: Annotated[str, _text("--purpose", "A registered purpose.")] = "",
    job: Annotated[str, _text("--job", "A job's id.")] = "",
    act: Annotated[str, _text("--act", "A kind of entry, such as decision or budget.")] = "",
    since: Annotated[str | None, _text("--since", f"From {DATE}.")] = None,
    until: Annotated[str | None, _text("--until", f"Before {DATE}.")] = None,
    denied: Annotated[bool, typer.Option("--denied", help="Only what was refused.")] = False,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many entries at most.")
    ] = 1000,
    as_json: AsJson = False,
) -> None:
    """List a log's entries in words, verified before they are shown."""
    from yumen_core.audit.rows import HEADER, Wanted, rows

    start, end = _time_ms(since, 0), _time_ms(until, 1 << 62)
    _check_act(act)
    wanted = Wanted(user, table, purpose, job, act, start, end, denied)
    log = _open(directory, key)
    leave_for(directory, act="view_log", job=job)
    shown = rows(log.entries(), wanted)
    found = [row.cells for row in islice(shown, limit)]
    more = sum(1 for _ in shown)  # to the end, where the log is seen not to have changed
    if as_json:
        emit({"entries": [dict(zip(HEADER, cells, strict=True)) for cells in found], "more": more})
        return
    say(aligned(HEADER, found) if found else "no entry of this kind")
    if more:
        note(f"{more} more entries; show them with --limit {len(found) + more}")


@command(app, "export", example="yumen audit export node/log --format syslog")
def export(
    directory: LogFolder,
    form: Annotated[Format, typer.Option("--format", help="csv, json (lines) or syslog.")],
    key: LogKey = None,
    output: Annotated[
        Path | None,
        option("--output", "FILE", "Where to write it; stdout if left out."),
    ] = None,
) -> None:
    """Write every entry for other tools."""
    from yumen_core.audit import export as lines

    log = _open(directory, key)
    leave_for(directory, act="export_log")
    if form is Format.JSON:
        found = lines.json_lines(log.entries())
    elif form is Format.CSV:
        found = lines.csv_lines(log.entries())
    else:
        found = lines.syslog_lines(log.report.origin, log.entries())
    if output is None:
        sys.stdout.writelines(found)
        return
    _write(output, found)


@command(app, "replay", example="yumen audit replay node/log 0199b2f4-1111-7abc-8def-000000000001")
def replay(
    directory: LogFolder,
    job: Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")],
    key: LogKey = None,
    as_json: AsJson = False,
) -> None:
    """Decide a job again from the logged facts and policies. Exits with 4 where it differs."""
    from yumen_core.audit.again import decide_again

    log = _open(directory, key)
    leave_for(directory, act="replay_log", job=job)
    found = list(decide_again(log.entries(), job, directory / "policies"))
    if not found:
        raise CallError("argument", f"expected a job that this log decided on, got `{job}`")
    if as_json:
        emit({"decisions": [vars(one) for one in found]})
    for one in () if as_json else found:
        words = {True: "the same", False: "DIFFERS", None: "not decided again"}[one.agrees]
        why = f": {clean(one.note)}" if one.note else ""
        say(f"entry {one.index}: logged {one.logged}; now {one.now or '-'}; {words}{why}")
    if any(one.agrees is False for one in found):
        raise typer.Exit(EXIT_DIFFERS)


@command(
    app,
    "report",
    example="yumen audit report a/log b/log --from 2026-10-01 --to 2026-11-01 --output oct.html",
)
def report(
    directories: Annotated[
        list[Path], typer.Argument(metavar="LOGDIR...", help="The folders of one or more logs.")
    ],
    output: Annotated[Path, option("--output", "FILE", "The page to write, HTML.")],
    key: Annotated[
        list[str] | None,
        option(
            "--key",
            "FILE|TEXT",
            "The verifier key of each log, in their order; those in the folders if left out.",
        ),
    ] = None,
    since: Annotated[str | None, _text("--from", f"From {DATE}.")] = None,
    until: Annotated[str | None, _text("--to", f"Before {DATE}.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a period's report as one page: jobs, denials, budgets, releases and policies.

    Every log is verified first. The page needs nothing else and prints on A4.
    """
    from yumen_core.audit.page import page
    from yumen_core.audit.summary import summarise

    keys: list[str | None] = list(key) if key else [None] * len(directories)
    if len(keys) != len(directories):
        raise CallError("argument", f"expected {len(directories)} keys or none, got {len(keys)}")
    start, end = _time_ms(since, 0), _time_ms(until, 1 << 62)
    leave_for(*directories, act="report_log")
    found = []
    for directory, one in zip(directories, keys, strict=True):
        log = _open(directory, one)
        found.append((log.report, summarise(log.report.origin, log.entries(), start, end)))
    period = f"From {since or 'the first entry'} to {until or 'the last entry'}, UTC"
    _write(output, page(found, period))
    if as_json:
        logs = [{"origin": one.origin, "entries": one.entries} for _, one in found]
        emit({"output": str(output), "logs": logs})
        return
    for _, summary in found:
        say(f"{summary.origin}: {summary.entries:,} entries")
    say(f"written to {output}")
