"""A role's own copy of its policies, so that what is in force lies in one folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from yumen_core.policy.engine import REGISTER_FILE, PolicyBundle

FOLDER = "policies"


def install_policies(
    directory: Path, policies: Sequence[Path], purposes: Path | None
) -> tuple[str, ...]:
    """Check the policies and copy them, with the register of purposes, into `directory/policies`.

    Returns the copies' names relative to `directory`. Raises `StateError` (`policy_invalid`)
    before anything is written.
    """
    PolicyBundle.load(policies, purposes=purposes)
    target = directory / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    for source in policies:
        shutil.copyfile(source, target / source.name)
    register = target / REGISTER_FILE
    if purposes is None:
        register.write_text("purposes: []\n", encoding="utf-8")
    else:
        shutil.copyfile(purposes, register)
    return tuple(f"{FOLDER}/{source.name}" for source in policies)
