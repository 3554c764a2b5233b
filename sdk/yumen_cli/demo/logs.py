"""The logs of coordinator and nodes, verified after their processes have ended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from yumen_core.errors import YumenError

from yumen_cli.demo.report import VerifiedLog

if TYPE_CHECKING:
    from yumen._stack import Stack


def published_keys(coordinator: str, identity: Path) -> dict[str, str]:
    """Each node's log key by node name, from the descriptor that the node itself signed."""
    from yumen.coordinator import CoordinatorClient

    client = CoordinatorClient(coordinator, identity)
    try:
        described = [signed.descriptor for signed, _ in client.catalogue()]
    finally:
        client.close()
    return {one.node.name: one.log_key for one in described}


def verify_all(stack: Stack, keys: dict[str, str]) -> list[VerifiedLog]:
    """The coordinator's log against the key beside it, each node's against its signed key."""
    found = [_verify("coordinator", stack.coordinator_directory / "log", None)]
    for node in stack.setup.nodes:
        directory = stack.node_directories[node.name] / "log"
        found.append(_verify(node.name, directory, keys.get(node.name, "")))
    return found


def _verify(party: str, directory: Path, key: str | None) -> VerifiedLog:
    from yumen_core.log import verify_directory

    try:
        report = verify_directory(directory, key)
    except YumenError as error:
        return VerifiedLog(party, 0, "", "", problem=error.message)
    source = "the key in its folder" if key is None else "the key in its signed descriptor"
    return VerifiedLog(party, report.size, report.root.hex(), source)
