"""Disclosure control: which cells may leave a node."""

from yumen_core.disclosure.margins import (
    FLAGS_OF_A_MARGIN,
    Margins,
    margin_flags,
    margin_keep,
)
from yumen_core.disclosure.rules import (
    LOWEST_MIN_NODES,
    DisclosureRules,
    local_flags,
    released,
    withhold,
)

__all__ = [
    "FLAGS_OF_A_MARGIN",
    "LOWEST_MIN_NODES",
    "DisclosureRules",
    "Margins",
    "local_flags",
    "margin_flags",
    "margin_keep",
    "released",
    "withhold",
]
