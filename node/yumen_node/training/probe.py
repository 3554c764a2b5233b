"""Whether the sandbox can stand on this machine: tried, not guessed."""

from __future__ import annotations

import tempfile
from pathlib import Path

from yumen_node.training.limits import TrainingLimits
from yumen_node.training.process import Launch, Worker
from yumen_node.training.sandbox import Walls


def probe() -> None:
    """Start an empty worker in the sandbox and end it: about a tenth of a second.

    Raises `StateError` (`sandbox`) with the reason and what would mend it.
    """
    limits = TrainingLimits()
    with tempfile.TemporaryDirectory() as folder:
        walls = Walls(None, None, limits.disk_bytes)
        Worker(Launch(walls, Path(folder, "output"), Path(folder)), limits).close()
