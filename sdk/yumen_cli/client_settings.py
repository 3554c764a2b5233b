"""Where a user's commands find their identity and their coordinator.

The coordinator is, in this order: `--coordinator`, `$YUMEN_COORDINATOR`, the address that
`yumen user enrol --coordinator` stored in `client.yaml` beside the identity.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import yaml
from yumen_core.errors import CallError, StateError
from yumen_core.identity.files import read_file, replace_file

FILE_NAME = "client.yaml"
MAX_FILE_BYTES = 64 * 1024
_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*):([0-9]{1,5})", re.ASCII)


def default_directory() -> Path:
    """`$YUMEN_IDENTITY`, or `~/.config/yumen`."""
    named = os.environ.get("YUMEN_IDENTITY")
    return Path(named) if named else Path.home() / ".config" / "yumen"


def check_address(address: str) -> str:
    """`address` itself, a `host:port`. Raises `CallError` ("argument") for anything else."""
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match[1]) < 65536:
        raise CallError("argument", f"expected an address like `host:7401`, got `{address[:80]}`")
    return address


def store_coordinator(directory: Path, address: str) -> None:
    """Remember `address` for the commands that use the identity in `directory`."""
    body = yaml.safe_dump({"coordinator": check_address(address)}, sort_keys=True)
    replace_file(directory / FILE_NAME, body.encode())


def stored_coordinator(directory: Path) -> str | None:
    """The stored address, or None. Raises `StateError` ("config") for a damaged file."""
    path = directory / FILE_NAME
    if not path.exists():
        return None
    try:
        fields = yaml.safe_load(read_file(path, max_bytes=MAX_FILE_BYTES))
        if not isinstance(fields, dict) or set(fields) != {"coordinator"}:
            raise ValueError("other keys")
        return check_address(str(fields["coordinator"]))
    except (yaml.YAMLError, ValueError, CallError):
        raise StateError(
            "config",
            f"expected the one key `coordinator` with a host:port in `{path}`, got other content",
        ) from None


def check_identity(directory: Path) -> None:
    """Raises `StateError` ("state") where nobody has enrolled in `directory`."""
    if not (directory / "identity.json").exists():
        raise StateError(
            "state",
            f"no identity in `{directory}`",
            remedy=f"enrol with `yumen user enrol {directory} --token TOKEN`, or give --identity",
        )


def coordinator_for(directory: Path, address: str | None) -> str:
    """The coordinator to call. Raises `CallError` ("argument") where none is known."""
    found = address or stored_coordinator(directory)
    if not found:
        raise CallError(
            "argument",
            "expected the coordinator's address, got none",
            remedy="give --coordinator HOST:PORT, set YUMEN_COORDINATOR, or enrol with"
            " --coordinator",
        )
    return check_address(found)
