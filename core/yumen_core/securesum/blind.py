"""The blind sum of contributions as they arrive, whatever suite hides them.

A contribution is a header of fixed length, then a fixed number of *units*, each checked and added
by itself: so a long contribution is never held whole, and hostile bytes meet lengths first. What
a header and a unit are is for `ciphertext` and `words` to say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from yumen_core.errors import CallError, PeerError
from yumen_core.securesum.modulus import MAX_CONTRIBUTIONS, MAX_SLOTS, Slots


class BlindAdder(ABC):
    """Adds hidden contributions of `slots` slots as they arrive; it can read none of them.

    Use `add` for a whole contribution, `receive` for one that comes in pieces. Not for use by
    several threads at once. Raises `CallError("argument")` for a number of slots out of range.
    """

    header_bytes: int
    unit_bytes: int
    unit_name: str

    def __init__(self, slots: int, total: Slots) -> None:
        """`total` is the sum so far, zeros, one row for each unit."""
        self._slots = slots
        self._total = total
        self._started = 0
        self.contributions = 0

    @property
    def units(self) -> int:
        """The units of one contribution."""
        return len(self._total)

    @property
    def contribution_bytes(self) -> int:
        """The length of one contribution, and of their sum."""
        return self.header_bytes + self.units * self.unit_bytes

    def add(self, raw: bytes) -> None:
        """Add one whole contribution; a refused one leaves the sum as it was.

        Raises `PeerError("ciphertext")` for bytes that are none, `PeerError("round")` beyond
        MAX_CONTRIBUTIONS.
        """
        self.check_single(raw)
        self._check_length(len(raw))
        body = memoryview(raw)[self.header_bytes :]
        self.check_units(body)
        self._start()
        self.add_units(0, body)
        self.contributions += 1

    def receive(self) -> Incoming:
        """A contribution that comes in pieces. Until it is finished there is no result."""
        self._start()
        return Incoming(self)

    def result(self) -> bytes:
        """The hidden sum of what was added.

        Raises `PeerError("round")` with no contribution, or with one begun and not finished:
        part of it is in the sum, and no part can be taken out again.
        """
        if not self.contributions or self._started != self.contributions:
            raise PeerError(
                "round",
                f"expected whole contributions, got {self.contributions} of {self._started}",
            )
        total = self._total.astype("<u8", copy=False)
        return b"".join((self._header(self.contributions), total.data))

    def check_single(self, raw: bytes | bytearray) -> None:
        """Raises `PeerError("ciphertext")` unless `raw` begins as one contribution does."""
        claimed = self._check_header(raw)
        if claimed != 1:
            raise PeerError("ciphertext", f"expected one contribution, got a sum of {claimed}")

    @abstractmethod
    def check_units(self, raw: memoryview) -> None:
        """Raises `PeerError("ciphertext")` unless `raw` is whole units that may be added."""

    @abstractmethod
    def add_units(self, first: int, raw: memoryview) -> None:
        """Add whole, checked units, of which `first` is the first one's place."""

    @abstractmethod
    def what(self) -> str:
        """A contribution of this length, in words."""

    @abstractmethod
    def _header(self, contributions: int) -> bytes: ...

    @abstractmethod
    def _check_header(self, raw: bytes | bytearray) -> int: ...

    @abstractmethod
    def _check_length(self, size: int) -> None: ...

    def _start(self) -> None:
        if self._started >= MAX_CONTRIBUTIONS:
            raise PeerError(
                "round", f"expected at most {MAX_CONTRIBUTIONS} contributions, got another"
            )
        self._started += 1


class Incoming:
    """One contribution in pieces of any size. Whole units are checked, added and forgotten."""

    def __init__(self, adder: BlindAdder) -> None:
        self._adder = adder
        self._buffer = bytearray()
        self._index = -1  # the next unit; -1 while the header is awaited
        self._left = adder.contribution_bytes

    def feed(self, piece: bytes) -> None:
        """Take the next bytes. Raises `PeerError("ciphertext")`; the sum is then lost."""
        if len(piece) > self._left:
            raise PeerError(
                "ciphertext",
                f"expected {self._adder.what()}, got {len(piece) - self._left} bytes beyond it",
            )
        self._left -= len(piece)
        self._buffer += piece
        if self._index < 0 and len(self._buffer) >= self._adder.header_bytes:
            self._adder.check_single(self._buffer)
            del self._buffer[: self._adder.header_bytes]
            self._index = 0
        if self._index >= 0:
            self._take_units()

    def _take_units(self) -> None:
        whole = len(self._buffer) // self._adder.unit_bytes
        if not whole:
            return
        ready = memoryview(bytes(self._buffer[: whole * self._adder.unit_bytes]))
        del self._buffer[: len(ready)]
        self._adder.check_units(ready)
        self._adder.add_units(self._index, ready)
        self._index += whole

    def finish(self) -> None:
        """Count the contribution. Raises `PeerError("ciphertext")` if units are missing."""
        if self._index != self._adder.units:
            raise PeerError(
                "ciphertext",
                f"expected {self._adder.what()}, got {max(self._index, 0)} whole "
                f"{self._adder.unit_name}",
            )
        self._index += 1  # a second finish is refused too
        self._adder.contributions += 1


def check_slots(slots: int) -> None:
    """Raises `CallError("argument")` unless 1 <= `slots` <= MAX_SLOTS."""
    if not 1 <= slots <= MAX_SLOTS:
        raise CallError("argument", f"expected 1 to {MAX_SLOTS} slots, got `{slots}`")
