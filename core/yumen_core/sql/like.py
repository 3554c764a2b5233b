"""SQL LIKE in Python: % is any run, _ any one character, all else itself."""

from __future__ import annotations

import re


class LikePattern:
    """A literal pattern. Matching takes text times pattern steps, so no pattern can stall it."""

    def __init__(self, pattern: str) -> None:
        self._pattern = re.sub("%+", "%", pattern)

    def matches(self, text: str) -> bool:
        """Whether the whole of `text` matches."""
        # reachable[i]: the first i signs of the pattern match what was read so far.
        pattern = self._pattern
        reachable = self._skip([True] + [False] * len(pattern))
        for character in text:
            following = [False] * (len(pattern) + 1)
            for at, sign in enumerate(pattern):
                if reachable[at] and sign == "%":
                    following[at] = True
                elif reachable[at] and sign in ("_", character):
                    following[at + 1] = True
            reachable = self._skip(following)
        return reachable[-1]

    def _skip(self, reachable: list[bool]) -> list[bool]:
        for at, sign in enumerate(self._pattern):
            if reachable[at] and sign == "%":
                reachable[at + 1] = True
        return reachable
