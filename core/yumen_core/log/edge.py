"""The right edge of a log: all that an append needs to know. Pure.

Holds the incomplete tile of each level and the incomplete entry bundle, so its memory is
O(log size) hashes and at most 255 entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from yumen_core.log.merkle import Frontier, leaf_hash
from yumen_core.log.tiles import (
    ENTRIES,
    MAX_LEVEL,
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    decode_bundle,
    frame,
    right_edge,
    split_hashes,
)

Output = tuple[Tile, bytes]


class Edge:
    """The right edge of a tree of `size` entries; a new one is empty."""

    def __init__(self) -> None:
        self._frontier = Frontier()
        self._pending: dict[int, list[bytes]] = {
            level: [] for level in range(ENTRIES, MAX_LEVEL + 1)
        }

    @classmethod
    def restore(cls, size: int, tiles: Mapping[Tile, bytes]) -> Edge:
        """The edge of a log of `size` entries, from the bytes of each tile in `right_edge(size)`.

        Raises `PeerError` (log_corrupt) for a tile or bundle of the wrong length. The caller
        compares `root()` with the root it expects.
        """
        edge = cls()
        for tile in reversed(right_edge(size)):
            if tile.level == ENTRIES:
                entries = decode_bundle(tiles[tile], tile.width)
                edge._pending[ENTRIES] = [frame(entry) for entry in entries]
                continue
            hashes = split_hashes(tiles[tile], tile.width)
            edge._pending[tile.level] = hashes
            for value in hashes:
                edge._frontier.push(value, TILE_HEIGHT * tile.level)
        return edge

    @property
    def size(self) -> int:
        return self._frontier.size

    def root(self) -> bytes:
        return self._frontier.root()

    def copy(self) -> Edge:
        twin = Edge()
        twin._frontier = self._frontier.copy()
        twin._pending = {level: list(held) for level, held in self._pending.items()}
        return twin

    def grow(self, entries: Sequence[bytes]) -> list[Output]:
        """Append entries; returns the tiles and bundles to write, bundles before hashes.

        A tile that filled comes out full, a tile that only widened comes out once, at its width
        after the last entry. Raises `CallError` (argument) for an entry too long, with nothing
        appended.
        """
        framed = [frame(entry) for entry in entries]
        bundles: list[Output] = []
        hashes: list[Output] = []
        touched: set[int] = set()
        for entry, piece in zip(entries, framed, strict=True):
            made = self._frontier.push(leaf_hash(entry))
            self._hold(ENTRIES, piece, bundles)
            for height, value in made:
                if height % TILE_HEIGHT == 0:
                    level = height // TILE_HEIGHT
                    touched.add(level)
                    self._hold(level, value, hashes)
        if entries:
            bundles += self._partial(ENTRIES)
        for level in sorted(touched):
            hashes += self._partial(level)
        return bundles + hashes

    def right(self) -> list[Output]:
        """The partial tiles as they are now, bundle first."""
        return [output for level in self._pending for output in self._partial(level)]

    def _hold(self, level: int, piece: bytes, full: list[Output]) -> None:
        held = self._pending[level]
        held.append(piece)
        if len(held) == TILE_WIDTH:
            full.append((Tile(level, self._index(level) - 1), b"".join(held)))
            held.clear()

    def _partial(self, level: int) -> list[Output]:
        held = self._pending[level]
        if not held:
            return []
        return [(Tile(level, self._index(level), len(held)), b"".join(held))]

    def _index(self, level: int) -> int:
        """How many full tiles the level has."""
        return self.size >> (TILE_HEIGHT * (max(level, 0) + 1))


class Unpublished:
    """Tiles that wait to be written: of each tile only its newest, widest form."""

    def __init__(self) -> None:
        self._newest: dict[tuple[int, int], Output] = {}

    def __bool__(self) -> bool:
        return bool(self._newest)

    def add(self, outputs: Sequence[Output]) -> None:
        for tile, data in outputs:
            self._newest[tile.level, tile.index] = (tile, data)

    def take(self) -> list[Output]:
        """All of them, bundles first, then hashes from the lowest level up, each in order."""
        taken = [self._newest[key] for key in sorted(self._newest)]
        self._newest.clear()
        return taken
