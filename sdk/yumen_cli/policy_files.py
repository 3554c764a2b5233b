"""What the commands of `yumen policy` read: bundles, cases and the decisions of a log."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from yumen_core.errors import CallError
from yumen_core.identity.files import read_file

from yumen_cli.terminal import note

if TYPE_CHECKING:
    from yumen_core.policy import PolicyBundle
    from yumen_core.policy.cases import Case
    from yumen_core.policy.replay import PastDecision

_HELP = "give a folder with `*.cedar` and `purposes.yaml`, or one `.cedar` file"


def policy_files(path: Path) -> tuple[list[Path], Path | None]:
    """The policy files at `path`, a folder or one file, and the register of purposes beside them.

    Raises `CallError` (`argument`) where there is no such file or folder.
    """
    if not path.exists():
        raise CallError("argument", f"expected policies in `{path}`, got none", remedy=_HELP)
    folder = path if path.is_dir() else path.parent
    register = folder / "purposes.yaml"
    files = sorted(path.glob("*.cedar")) if path.is_dir() else [path]
    return files, register if register.exists() else None


def load_bundle(path: Path) -> PolicyBundle:
    """The bundle at `path`. Raises `CallError` and `StateError` (`policy_invalid`)."""
    from yumen_core.policy import PolicyBundle

    files, register = policy_files(path)
    if register is None:
        note(f"no purposes.yaml beside `{path}`: every job is denied, with `purpose_unregistered`")
    if path.is_dir():
        return PolicyBundle.load_directory(path)
    return PolicyBundle.load(files, purposes=register)


def cases_beside(path: Path) -> Path:
    """Where the cases of the policies at `path` lie, if there are any."""
    return path / "cases.yaml" if path.is_dir() else path.with_suffix(".cases.yaml")


def load_cases(path: Path, cases: Path | None) -> tuple[Case, ...]:
    """The cases in the file `cases`, or else those that lie with the policies at `path`:
    `cases.yaml` in a folder, `NAME.cases.yaml` beside `NAME.cedar`."""
    from yumen_core.policy.cases import MAX_CASES_BYTES, read_cases

    beside = cases_beside(path)
    file = cases or beside
    if not file.exists():
        known = ", ".join(f"`{one.name}`" for one in sorted(beside.parent.glob("*.cases.yaml")))
        raise CallError(
            "argument",
            f"expected cases in `{file}`, got no such file",
            remedy="give the file with --cases" + (f"; there are {known}" if known else ""),
        )
    raw = read_file(file, max_bytes=MAX_CASES_BYTES, remedy="give the file of cases")
    try:
        return read_cases(raw.decode(), file=file.name)
    except UnicodeDecodeError:
        raise CallError("argument", f"expected UTF-8 text in `{file}`, got other bytes") from None


def load_decisions(directory: Path, since: str | None = None) -> list[PastDecision]:
    """The decisions in a log that was verified against the key beside it, oldest first.

    Raises `CallError` (`argument`), `StateError` (`log_corrupt`) and `PeerError` (`log_corrupt`).
    """
    from yumen_core.log import decode_entry, verify_directory
    from yumen_core.log.reader import Reader
    from yumen_core.log.storage import DiskStorage
    from yumen_core.policy.replay import past_decisions

    from yumen_cli.log_report import check_is_log

    first_ms = _time_ms(since) if since else 0
    check_is_log(directory)
    report = verify_directory(directory, None)
    reader = Reader(DiskStorage(), directory, report.size)
    entries = (
        (index, decode_entry(raw)) for index, raw in enumerate(reader.entries(0, report.size))
    )
    return [found for found in past_decisions(entries) if found.time_ms >= first_ms]


def decision_of(directory: Path, job: str) -> PastDecision:
    """The one decision on `job`. Raises `CallError` (`argument`) where none holds its facts."""
    found = [decision for decision in load_decisions(directory) if decision.job == job]
    if not found:
        raise CallError("argument", f"expected a job of this log, got `{job[:80]}`")
    decision = found[-1]
    if decision.too_long:
        raise CallError("argument", f"the facts of job `{job}` were too many for the log")
    if decision.at_gate:
        raise CallError(
            "argument",
            f"job `{job}` was refused before its policies were asked",
            remedy="see the denials of the log entry",
        )
    return decision


def _time_ms(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CallError(
            "argument", f"expected a date such as `2026-06-01`, got `{text[:80]}`"
        ) from None
    return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)
