"""Reading a log's tiles and entries from its directory, at one size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from yumen_core.errors import PeerError, StateError
from yumen_core.log.edge import Edge
from yumen_core.log.merkle import root_of
from yumen_core.log.storage import Storage
from yumen_core.log.tiles import (
    ENTRIES,
    MAX_BUNDLE_BYTES,
    TILE_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    decode_bundle,
    right_edge,
    split_hashes,
    tile_at,
)


class Reader:
    """The first `size` entries of the log in `directory`, as its files have them.

    Nothing is checked against a checkpoint here; see `verify_directory`. Every method raises
    `StateError` (log_corrupt), naming the file, where one is missing or of the wrong length.
    """

    def __init__(self, storage: Storage, directory: Path, size: int) -> None:
        self._storage = storage
        self._directory = directory
        self.size = size
        self._tiles: dict[Tile, list[bytes]] = {}

    def node(self, height: int, index: int) -> bytes:
        """The hash of a complete subtree; tiles once read are kept. A `merkle.NodeSource`."""
        level, rest = divmod(height, TILE_HEIGHT)
        first = index << rest
        tile = tile_at(self.size, level, first // TILE_WIDTH)
        hashes = self._tiles.get(tile)
        if hashes is None:
            hashes = self._tiles[tile] = self._hashes(tile)
        start = first % TILE_WIDTH
        return root_of(hashes[start : start + (1 << rest)])

    def entries(self, start: int, end: int) -> Iterator[bytes]:
        """Entries `start` to `end` - 1, one bundle in memory at a time."""
        at = start
        while at < end:
            tile = tile_at(self.size, ENTRIES, at // TILE_WIDTH)
            first = tile.index * TILE_WIDTH
            yield from self._bundle(tile)[at - first : end - first]
            at = first + TILE_WIDTH

    def edge(self) -> Edge:
        """The right edge, from at most one tile of each level and one bundle."""
        found: dict[Tile, bytes] = {}
        for tile in right_edge(self.size):
            if tile.level == ENTRIES:
                found[tile] = b"".join(
                    len(entry).to_bytes(2, "big") + entry for entry in self._bundle(tile)
                )
            else:
                found[tile] = b"".join(self._hashes(tile))
        return Edge.restore(self.size, found)

    def _hashes(self, tile: Tile) -> list[bytes]:
        data, found = self._read(tile, TILE_BYTES)
        try:
            return split_hashes(data, found.width)[: tile.width]
        except PeerError as error:
            raise StateError("log_corrupt", f"`{found.path}`: {error.message}") from None

    def _bundle(self, tile: Tile) -> list[bytes]:
        data, found = self._read(tile, MAX_BUNDLE_BYTES)
        try:
            return decode_bundle(data, found.width)[: tile.width]
        except PeerError as error:
            raise StateError("log_corrupt", f"`{found.path}`: {error.message}") from None

    def _read(self, tile: Tile, limit: int) -> tuple[bytes, Tile]:
        """The tile's bytes; a partial tile may have given way to the full one."""
        for candidate in dict.fromkeys((tile, tile.widened())):
            try:
                return self._storage.read(self._directory / candidate.path, limit), candidate
            except FileNotFoundError:
                continue
            except OSError:
                raise StateError("log_corrupt", f"`{candidate.path}` cannot be read") from None
        raise StateError("log_corrupt", f"`{tile.path}` is missing from the log")
