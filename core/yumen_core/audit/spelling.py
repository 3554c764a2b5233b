"""Texts of a log as they may be shown: nothing in them steers a terminal or a reader. Pure."""

from __future__ import annotations


def spelled(text: str) -> str:
    """`text`; what cannot be seen or turns the direction of reading is spelled out."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
