"""The node's long-lived secrets: the sealing key and the mask key.

Trust line: whoever reads `secrets/` can open what is sealed to this node and strip its masks; with
the coordinator's traffic and a requester's key that gives this node's contributions. The folder is
for the node's user alone and belongs in no ordinary backup.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yumen_core.errors import StateError
from yumen_core.identity.files import (
    PRIVATE_MODE,
    make_private_directory,
    read_file,
    replace_file,
)
from yumen_core.identity.sealing import SealingKey
from yumen_core.secret import Secret
from yumen_core.securesum.masks import MaskKey


@dataclass(frozen=True)
class NodeKeys:
    """The private keys whose public halves stand in the node's descriptor."""

    sealing: SealingKey
    mask: MaskKey


def load_keys(directory: Path) -> NodeKeys:
    """Load the keys in `directory`; both are made on first use.

    Raises `StateError` (`state`) where a file is open to others or damaged.
    """
    make_private_directory(directory)
    sealing_file, mask_file = directory / "sealing.key", directory / "mask.key"
    if not sealing_file.exists():
        SealingKey.generate().save(sealing_file)
    if not mask_file.exists():
        replace_file(mask_file, MaskKey.generate().to_secret().reveal(), mode=PRIVATE_MODE)
    try:
        mask = MaskKey(Secret(read_file(mask_file, private=True)))
    except ValueError as error:
        raise StateError("state", f"`{mask_file}` is damaged: {error}") from None
    return NodeKeys(sealing=SealingKey.load(sealing_file), mask=mask)
