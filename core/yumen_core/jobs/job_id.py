"""Job ids: UUID version 7 (RFC 9562, section 5.7), so that ids sort by the time they were made."""

from __future__ import annotations

import re
import secrets
import uuid

from yumen_core.clock import Clock
from yumen_core.errors import PeerError

_FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def new_job_id(clock: Clock) -> str:
    """A fresh id: 48 bits of milliseconds, then 74 bits from the operating system."""
    value = (clock.now_ms() & ((1 << 48) - 1)) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def check_job_id(text: str) -> str:
    """`text`, if it is a lower-case UUIDv7. Raises `PeerError` (`job_spec`) otherwise."""
    if not _FORM.fullmatch(text):
        raise PeerError("job_spec", f"expected a job id that is a UUIDv7, got `{text[:64]}`")
    return text
