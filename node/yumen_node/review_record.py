"""Which reviews of code this node has told of in its log: each is an entry of its own.

Reviews are written by the command line, in another process that has no log: the node tells of them
when it sees them, at most half a second later, or at its next start.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from pathlib import Path

from yumen_core.errors import StateError
from yumen_core.identity.files import read_file, replace_file
from yumen_core.log import Act, TileLog

from yumen_node.approvals import Approvals

_LOG = logging.getLogger(__name__)
FILE_NAME = "reviews-told.json"


def note_reviews(state: Path, approvals: Approvals, log: TileLog, node: str) -> None:
    """As `record_reviews`; a store that cannot be read now is read at the next change."""
    try:
        record_reviews(state, approvals, log, node)
    except (StateError, sqlite3.Error) as error:
        _LOG.error("reviews of code could not be told in the log: %s", error)


def record_reviews(state: Path, approvals: Approvals, log: TileLog, node: str) -> None:
    """Log every stored review that is new. Its reason stays in the store: it may name people.

    Logged first and noted next: a crash between repeats the entry. Raises `StateError`.
    """
    file = state / FILE_NAME
    told = _read(file)
    stored = approvals.stored_reviews()
    for one in stored:
        if one.statement.hex() in told:
            continue
        log.record(
            Act.CODE_REVIEW,
            subject={"node": node, "reviewer": one.reviewed.reviewer},
            digests={"code": one.bundle, "review": one.statement},
            detail={
                "approved": one.reviewed.approved,
                "reviewed_at_ms": one.reviewed.reviewed_at_ms,
                "holds": one.reviewed.genuine and one.reviewed.fault is None,
            },
        )
    after = {one.statement.hex() for one in stored}
    if after != told:
        replace_file(file, json.dumps(sorted(after)).encode())


def _read(file: Path) -> set[str]:
    if not file.exists():
        return set()
    try:
        found = json.loads(read_file(file))
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise StateError(
            "state", f"`{file}` is damaged", remedy="delete it: the reviews are told again"
        )
    return {str(digest) for digest in found}
