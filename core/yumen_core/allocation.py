"""How this process takes memory from the system: models of megabytes come and go in every round."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_KEPT_BYTES = 256 << 20
_LARGE_BYTES = 32 << 20  # glibc takes no more


def keep_freed_memory() -> None:
    """Let blocks of up to 32 MiB be reused where they would go back to the system and come again
    page by page: copying a model of 4 MB costs twice as much on fresh pages. mallopt(3); where the
    C library has none, nothing changes."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
    mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
