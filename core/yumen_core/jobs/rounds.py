"""What each round's masks and tags are bound to. Pure.

Masks cancel only among nodes that agree on the binding, so whatever enters it cannot be told to
two nodes in two ways. The sum is bound to the support shares themselves: a node that showed one
share to some and another to others, so that they disagree on which cells to release, leaves a sum
that nobody can read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from yumen_core.jobs.machine import Round
from yumen_core.securesum.masks import binding


def participants_binding(job_id: str, participants: Sequence[str]) -> bytes:
    """The name of one participant set of one job: 32 bytes."""
    return binding(job_id, "participants", participants)


def support_binding(job_id: str, participants: Sequence[str]) -> bytes:
    """What the support round's masks and seals are bound to: 32 bytes."""
    return binding(job_id, Round.SUPPORT, participants)


def sum_binding(job_id: str, participants: Sequence[str], supports: bytes) -> bytes:
    """What the sum's masks and tags are bound to; `supports` is `support_digest`'s: 32 bytes."""
    return binding(job_id, f"{Round.SUM}/{supports.hex()}", participants)


def support_digest(shares: Mapping[str, bytes]) -> bytes:
    """SHA-256 over the signed payloads of all support shares, by participant: 32 bytes."""
    whole = hashlib.sha256()
    for node in sorted(shares):
        whole.update(hashlib.sha256(node.encode()).digest())
        whole.update(hashlib.sha256(shares[node]).digest())
    return whole.digest()
