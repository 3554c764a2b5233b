"""Where a tree's hashes and entries lie: tile coordinates, paths and entry bundles. Pure.

Source: https://c2sp.org/tlog-tiles. A tile of level l holds up to 256 hashes of complete subtrees
of height 8l; an entry bundle holds up to 256 entries, each behind its length as a big-endian
uint16. A tile that is not full carries its width in its path.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from yumen_core.errors import CallError, PeerError
from yumen_core.log.merkle import HASH_BYTES

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
TILE_BYTES = TILE_WIDTH * HASH_BYTES
MAX_ENTRY_BYTES = 65_535
MAX_BUNDLE_BYTES = TILE_WIDTH * (2 + MAX_ENTRY_BYTES)
MAX_LEVEL = 7  # 256^8 entries: the whole range of a 64-bit index

# The "level" of an entry bundle.
ENTRIES = -1

_PATH = re.compile(
    r"tile/(entries|[0-9])/((?:x[0-9]{3}/)*)([0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII
)


@dataclass(frozen=True, order=True)
class Tile:
    """One tile: `level` 0 to 7 or `ENTRIES`, `index` within the level, `width` 1 to 256.

    Raises `CallError` for coordinates out of range.
    """

    level: int
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if not ENTRIES <= self.level <= MAX_LEVEL:
            raise CallError("argument", f"a tile's level is -1 to {MAX_LEVEL}, got `{self.level}`")
        if not 0 <= self.index < 1 << 56:
            raise CallError("argument", f"a tile's index has at most 56 bits, got `{self.index}`")
        if not 1 <= self.width <= TILE_WIDTH:
            raise CallError("argument", f"a tile's width is 1 to 256, got `{self.width}`")

    @property
    def full(self) -> bool:
        return self.width == TILE_WIDTH

    def widened(self) -> Tile:
        """The same tile when full."""
        return Tile(self.level, self.index)

    @property
    def path(self) -> str:
        """The path below the log's directory, such as `tile/0/x001/067.p/8`."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        groups = [f"{self.index % 1000:03d}"]
        rest = self.index // 1000
        while rest:
            groups.append(f"x{rest % 1000:03d}")
            rest //= 1000
        suffix = "" if self.full else f".p/{self.width}"
        return f"tile/{level}/{'/'.join(reversed(groups))}{suffix}"


def parse_path(path: str) -> Tile:
    """The tile at `path`. Raises `PeerError` (log_corrupt) for any but the one canonical form."""
    match = _PATH.fullmatch(path) if len(path) <= 64 else None
    if match is not None:
        level, groups, last, width = match.groups()
        index = int(groups.replace("x", "").replace("/", "") + last)
        number = ENTRIES if level == "entries" else int(level)
        size = int(width) if width else TILE_WIDTH
        if number <= MAX_LEVEL and index < 1 << 56 and size <= TILE_WIDTH:
            tile = Tile(number, index, size)
            if tile.path == path:
                return tile
    raise PeerError("log_corrupt", f"`{path}` is not the path of a tile or an entry bundle")


def hashes_at(size: int, level: int) -> int:
    """How many hashes level `level` has in a tree of `size` entries; entries for `ENTRIES`."""
    return size >> (TILE_HEIGHT * max(level, 0))


def tile_at(size: int, level: int, index: int) -> Tile:
    """Tile `index` of `level` as it is in a tree of `size` entries.

    Raises `CallError` where that tree has no such tile.
    """
    width = min(TILE_WIDTH, hashes_at(size, level) - index * TILE_WIDTH)
    return Tile(level, index, width)


def right_edge(size: int) -> list[Tile]:
    """The partial tiles and the partial bundle of a tree of `size` entries, bundle first."""
    edge: list[Tile] = []
    for level in range(ENTRIES, MAX_LEVEL + 1):
        count = hashes_at(size, level)
        if count % TILE_WIDTH:
            edge.append(Tile(level, count // TILE_WIDTH, count % TILE_WIDTH))
    return edge


def frame(entry: bytes) -> bytes:
    """One entry as it lies in a bundle. Raises `CallError` (argument) beyond 65535 bytes."""
    if len(entry) > MAX_ENTRY_BYTES:
        raise CallError(
            "argument", f"a log entry has at most {MAX_ENTRY_BYTES} bytes, got `{len(entry)}`"
        )
    return struct.pack(">H", len(entry)) + entry


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """The bytes of an entry bundle."""
    return b"".join(frame(entry) for entry in entries)


def decode_bundle(data: bytes, count: int) -> list[bytes]:
    """The `count` entries of a bundle.

    Raises `PeerError` (log_corrupt) unless it holds exactly those.
    """
    entries: list[bytes] = []
    at = 0
    for number in range(count):
        start = at + 2
        if start > len(data):
            raise PeerError("log_corrupt", f"the bundle ends before its entry `{number}`")
        at = start + int.from_bytes(data[at:start], "big")
        if at > len(data):
            raise PeerError("log_corrupt", f"the bundle ends within its entry `{number}`")
        entries.append(data[start:at])
    if at != len(data):
        raise PeerError("log_corrupt", f"the bundle goes on after its {count} entries")
    return entries


def split_hashes(data: bytes, count: int) -> list[bytes]:
    """The `count` hashes of a tile. Raises `PeerError` (log_corrupt) for another length."""
    if len(data) != count * HASH_BYTES:
        raise PeerError(
            "log_corrupt", f"the tile has {count * HASH_BYTES} bytes, got `{len(data)}`"
        )
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]
