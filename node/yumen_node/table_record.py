"""Which tables this node has told of in its log: a changed declaration is an entry of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from yumen_core.errors import StateError
from yumen_core.identity.files import read_file, replace_file
from yumen_core.jobs.descriptor import PublishedTable
from yumen_core.log import Act, TileLog

FILE_NAME = "published.json"


def record_tables(
    state: Path, tables: Mapping[str, PublishedTable], log: TileLog, node: str
) -> None:
    """Log every table that is published first, otherwise than before, or no longer.

    Logged first and noted next: a crash between repeats the entry. Raises `StateError`.
    """
    file = state / FILE_NAME
    before = _read(file)
    after = {name: _digest(table) for name, table in tables.items()}
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) == after.get(name):
            continue
        table = tables.get(name)
        log.record(
            Act.TABLE_PUBLISHED,
            subject={"node": node, "table": name},
            digests={"schema": table.schema.digest} if table is not None else {},
            detail={
                "grade": table.grade,
                "threshold": table.threshold,
                "min_nodes": table.min_nodes,
                "round_to": table.round_to,
                "private_only": table.private_only,
                "micro_rho": str(table.micro_rho),
                "project_micro_rho": str(table.project_micro_rho),
            }
            if table is not None
            else {"withdrawn": True},
        )
    if before != after:
        replace_file(file, json.dumps(after, sort_keys=True, ensure_ascii=False).encode())


def _digest(table: PublishedTable) -> str:
    """Over all that others see of a table."""
    seen = (
        table.schema.digest.hex(),
        table.meaning,
        table.grade,
        table.threshold,
        table.min_nodes,
        table.private_only,
        table.micro_rho,
        table.project_micro_rho,
        table.round_to,
    )
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def _read(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    try:
        found = json.loads(read_file(file))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise StateError(
            "state", f"`{file}` is damaged", remedy="delete it: the tables are told again"
        )
    return {str(name): str(digest) for name, digest in found.items()}
