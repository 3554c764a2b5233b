"""Text that people review must read as it runs: no hidden or look-alike characters.

Direction controls can make a comment look like code (Boucher and Anderson, "Trojan Source", 2021);
letters of two scripts in one word can make two names look like one (Unicode UTS 39, section 5).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

# Cf: direction and zero-width controls, tags; Cc: other controls; Co, Cn, Cs: no agreed meaning;
# Zl, Zp: line ends that an editor shows and a parser does not see.
_HIDDEN = frozenset({"Cf", "Cc", "Co", "Cn", "Cs", "Zl", "Zp"})
_LAYOUT = frozenset("\n\r\t")
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0")
_WORD = re.compile(r"\w+")

# UTS 39, "highly restrictive": scripts that one word may mix.
_MIXTURES = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
)
# Letters that every script uses, by the first word of their Unicode name.
_COMMON = frozenset({"MICRO", "FEMININE", "MASCULINE", "MODIFIER", "KATAKANA-HIRAGANA"})
_ALIASES = {"IDEOGRAPHIC": "CJK"}


@dataclass(frozen=True)
class TextFault:
    """What is wrong at a place; `line` and `column` count from 1."""

    line: int
    column: int
    reason: str


def faults(text: str) -> Iterator[TextFault]:
    """Every hidden character and every word of mixed scripts in `text`, comments included."""
    for number, line in enumerate(text.split("\n"), start=1):
        # Kept apart from plain ASCII, which is nearly every line.
        if line.isascii() and line.isprintable():
            continue
        for column, character in enumerate(line, start=1):
            if _is_hidden(character):
                reason = f"hidden character U+{ord(character):04X}"
                yield TextFault(number, column, reason)
        for word in _WORD.finditer(line):
            scripts = _scripts(word.group())
            if len(scripts) > 1 and not any(scripts <= mixture for mixture in _MIXTURES):
                names = " and ".join(sorted(script.lower() for script in scripts))
                reason = f"the word `{word.group()}` mixes {names} letters"
                yield TextFault(number, word.start() + 1, reason)


def _is_hidden(character: str) -> bool:
    if character in _LAYOUT:
        return False
    return unicodedata.category(character) in _HIDDEN or character in _BLANK_LETTERS


def _scripts(word: str) -> frozenset[str]:
    found = set()
    for character in word:
        if character.isalpha():
            script = unicodedata.name(character, "UNNAMED").split(" ")[0]
            script = _ALIASES.get(script, script)
            if script not in _COMMON:
                found.add(script)
    return frozenset(found)
