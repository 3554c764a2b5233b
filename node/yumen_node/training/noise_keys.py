"""The key of this node's noise in each private training: random, one a job, kept while it lasts.

A job's noise is made from its key, so that a step done again after a restart has the same noise:
a second draw would be a second answer about the same rows. Trust line: whoever reads a key can take
this node's noise off sums that he has.
"""

from __future__ import annotations

import time
from pathlib import Path

from yumen_core.identity.files import (
    PRIVATE_MODE,
    make_private_directory,
    read_file,
    replace_file,
)
from yumen_core.secret import Secret

_KEPT_S = 48 * 3600
"""Twice the longest life of a job: what is older was left by a process that was killed."""


class NoiseKeys:
    """A folder of keys, one file a job."""

    def __init__(self, folder: Path) -> None:
        """Raises `StateError` (`state`) where the folder is open to others."""
        make_private_directory(folder)
        self._folder = folder
        now_s = time.time()
        for file in folder.iterdir():
            if now_s - file.stat().st_mtime > _KEPT_S:
                file.unlink()

    def of(self, job_id: str) -> Secret:
        """The job's key, made and durable on the first call."""
        file = self._folder / job_id
        if not file.exists():
            replace_file(file, Secret.generate().reveal(), mode=PRIVATE_MODE)
        return Secret(read_file(file, private=True))

    def forget(self, job_id: str) -> None:
        """The job is over."""
        (self._folder / job_id).unlink(missing_ok=True)
