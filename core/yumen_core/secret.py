"""Secret bytes as a type: they cannot be printed, pickled or compared in variable time."""

from __future__ import annotations

import hmac
import secrets
from typing import NoReturn


class Secret:
    """Key material of a fixed length.

    Raises `ValueError` when the length is not the one expected. `reveal()` is the only way to the
    bytes: call it where they are used and keep no copy.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes, *, length: int = 32) -> None:
        if len(value) != length:
            raise ValueError(f"expected a secret of {length} bytes, got {len(value)}")
        self._value = bytes(value)

    @classmethod
    def generate(cls, length: int = 32) -> Secret:
        """Fresh bytes from the operating system's generator."""
        return cls(secrets.token_bytes(length), length=length)

    def reveal(self) -> bytes:
        return self._value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "Secret(redacted)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")
