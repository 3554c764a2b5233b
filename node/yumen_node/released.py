"""Which rows earlier answers of this node were made of, and with which other nodes.

Trust line: whoever can write here can have a difference of two answers computed. The file is for
the node's user alone. It holds numbers of rows, no value.
"""

from __future__ import annotations

from pathlib import Path

from yumen_core.jobs.admission import Question
from yumen_core.jobs.spec import JobSpec
from yumen_core.policy.denial import Denial


class ReleasedSets:
    """The store. One connection, used from the node's event loop only."""

    def __init__(self, directory: Path, node: str) -> None:
        """`node` is this node's SPIFFE id."""

    def close(self) -> None:
        pass

    def denials(self, spec: JobSpec, asked: Question) -> tuple[Denial, ...]:
        """A refusal where the same rows were released over nearly the same nodes
        (`participant_set`). Told in a dry run too."""
        return ()
