"""The report of a log verification as a document, and the key to verify against."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from yumen_core.errors import CallError
from yumen_core.identity.files import read_file

from yumen_cli.terminal import aligned

if TYPE_CHECKING:
    from yumen_core.log import LogReport

MAX_KEY_BYTES = 4096
_PARTS = ("checkpoint", "log.vkey", "tile", "redo")


def check_is_log(directory: Path) -> None:
    """Raises `CallError` ("argument") where `directory` holds no part of a log.

    A folder with any part of one goes on to be verified: what is missing there is damage.
    """
    if _holds_log(directory):
        return
    inner = directory / "log"
    raise CallError(
        "argument",
        f"no log in `{directory}`",
        remedy=f"give the log's folder: `{inner}`"
        if _holds_log(inner)
        else "give the folder of a log, such as `node/log`",
    )


def _holds_log(directory: Path) -> bool:
    return any((directory / name).exists() for name in _PARTS)


def read_key(key: str | None) -> str | None:
    """A verifier key from its text `name+hash+base64`, or from the file that holds it."""
    if key is None or (key.count("+") >= 2 and not Path(key).exists()):
        return key
    raw = read_file(Path(key), max_bytes=MAX_KEY_BYTES, remedy="give the key's file or its text")
    try:
        return raw.decode("ascii").strip()
    except UnicodeDecodeError:
        raise CallError(
            "argument", f"expected a verifier key in `{key}`, got other bytes"
        ) from None


def words(document: dict[str, object]) -> str:
    """A document of a log that is whole, for a person."""
    rows = [(name.replace("_", " "), str(value)) for name, value in document.items()]
    return "the log is whole\n" + aligned(("", ""), rows).lstrip("\n")


def document(directory: Path, report: LogReport) -> dict[str, object]:
    """What was verified: the log's name, its size and root, and which key vouched for it."""
    return {
        "directory": str(directory),
        "origin": report.origin,
        "entries": report.size,
        "root": report.root.hex(),
        "first_entry": report.first_time,
        "last_entry": report.last_time,
        "unpublished": report.unpublished,
        "key": report.key,
        "key_source": report.key_source,
    }
