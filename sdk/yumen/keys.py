"""The requester's decryption key: made in this process, kept in memory, dropped on suspicion."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from yumen_core.errors import PeerError
from yumen_core.securesum.bfv import BfvKeyPair


class RequesterKeys:
    """The key pair of one connection."""

    def __init__(self) -> None:
        self._keypair: BfvKeyPair | None = None

    def current(self) -> BfvKeyPair:
        """The key pair, made at its first use."""
        if self._keypair is None:
            self._keypair = BfvKeyPair.generate()
        return self._keypair

    @contextmanager
    def judging(self) -> Iterator[None]:
        """Decrypt within the block. Whoever changed a sum and sees how it is taken learns of the
        key: after a sum that does not hold, the next job has another."""
        try:
            yield
        except PeerError as error:
            if error.code in {"headroom", "ciphertext"}:
                self._keypair = None
            raise
