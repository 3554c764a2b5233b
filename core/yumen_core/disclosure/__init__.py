"""Disclosure control: which cells may leave a node."""

from yumen_core.disclosure.rules import (
    LOWEST_MIN_NODES,
    DisclosureRules,
    local_flags,
    released,
    withhold,
)

__all__ = [
    "LOWEST_MIN_NODES",
    "DisclosureRules",
    "local_flags",
    "released",
    "withhold",
]
