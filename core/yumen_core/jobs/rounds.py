"""What masks, seals and tags of one run are bound to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from yumen_core.jobs.machine import Round
from yumen_core.securesum.masks import binding


def participants_binding(job_id: str, participants: Sequence[str]) -> bytes:
    """The name of one participant set of one job: 32 bytes."""
    return binding(job_id, "participants", participants)


def support_binding(
    job_id: str, participants: Sequence[str], *, run: int = 0, inputs: bytes = b""
) -> bytes:
    """What a support step's seals are bound to: 32 bytes. `inputs` is the digest of the run's
    signed input, empty where it has none."""
    return binding(job_id, f"{Round.SUPPORT}/{run}/{inputs.hex()}", participants)


def sum_binding(
    job_id: str, participants: Sequence[str], supports: bytes, *, run: int = 0, inputs: bytes = b""
) -> bytes:
    """What a sum's masks and tags are bound to: 32 bytes. `supports` is `support_digest`'s, empty
    where the run had no support step."""
    return binding(job_id, f"{Round.SUM}/{run}/{inputs.hex()}/{supports.hex()}", participants)


def support_digest(shares: Mapping[str, bytes]) -> bytes:
    """SHA-256 over the signed payloads of all support shares, by participant: 32 bytes."""
    whole = hashlib.sha256()
    for node in sorted(shares):
        whole.update(hashlib.sha256(node.encode()).digest())
        whole.update(hashlib.sha256(shares[node]).digest())
    return whole.digest()
