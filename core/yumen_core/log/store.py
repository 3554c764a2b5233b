"""The files of a log's directory: written whole, named atomically, synced in batches.

Trust line: the writing process may change this directory. Whoever else can, can stop the log or
destroy it, and cannot change what it says unnoticed: every checkpoint seen elsewhere, and the
guard, commit to each entry.

    checkpoint   the signed note                        log.vkey   the verifier key, one line
    tile/        tiles and entry bundles                redo       entries whose tiles are not
    .next        a file not yet named                              synced yet
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from yumen_core.errors import PeerError, StateError
from yumen_core.log.edge import Output
from yumen_core.log.note import MAX_NOTE_BYTES
from yumen_core.log.redo import (
    BATCH_BYTES,
    MAX_REDO_BYTES,
    Redo,
    decode_redo,
    encode_header,
)
from yumen_core.log.storage import Storage
from yumen_core.log.tiles import TILE_WIDTH, Tile

CHECKPOINT = "checkpoint"
REDO = "redo"
VKEY = "log.vkey"
MAX_VKEY_BYTES = 1024
_NEXT = ".next"


class LogStore:
    """Every method raises `OSError` when the disk does; the caller then stops writing."""

    def __init__(self, storage: Storage, directory: Path) -> None:
        self.storage = storage
        self.directory = directory
        self._dirs: set[PurePosixPath] = {PurePosixPath()}
        self._dirty_dirs: set[PurePosixPath] = set()
        self._dirty: dict[tuple[int, int], set[int]] = {}
        self._redo_bytes = 0

    def read_optional(self, name: str, limit: int = MAX_NOTE_BYTES) -> bytes | None:
        """The bytes of a file in the directory; None where there is none."""
        try:
            return self.storage.read(self.directory / name, limit)
        except FileNotFoundError:
            return None

    def read_redo(self) -> Redo | None:
        """None where there is no redo file. Raises `StateError` (log_corrupt)."""
        data = self.read_optional(REDO, MAX_REDO_BYTES)
        if data is None:
            return None
        try:
            return decode_redo(data)
        except PeerError as error:
            raise StateError("log_corrupt", f"`{REDO}`: {error.message}") from None

    def extend_redo(self, record: bytes) -> None:
        """Durable on return."""
        path = self.directory / REDO
        self.storage.extend(path, record)
        self.storage.sync_file(path)
        self._redo_bytes += len(record)

    def begin_redo(self, size: int, root: bytes) -> None:
        """Begin a new redo file on a new base; durable on return."""
        self.write_durable(REDO, encode_header(size, root))
        self._redo_bytes = 0

    def write_durable(self, name: str, data: bytes) -> None:
        """Replace a file in the directory; durable on return."""
        fresh = self.directory / _NEXT
        self.storage.write(fresh, data)
        self.storage.sync_file(fresh)
        self.storage.rename(fresh, self.directory / name)
        self.storage.sync_dir(self.directory)

    def write_tiles(self, outputs: list[Output]) -> None:
        """Name tiles and bundles in the order given; not durable before `settle`."""
        for tile, data in outputs:
            path = PurePosixPath(tile.path)
            self._make_dirs(path.parent)
            self._replace(path, data)
            self._dirty_dirs.add(path.parent)
            self._dirty.setdefault((tile.level, tile.index), set()).add(tile.width)

    def publish(self, note: bytes) -> None:
        """Replace the checkpoint; not durable before `settle`."""
        self._replace(PurePosixPath(CHECKPOINT), note)

    @property
    def due(self) -> bool:
        """Whether a tile filled up, or the redo file grew long, since the last `settle`."""
        filled = any(TILE_WIDTH in widths for widths in self._dirty.values())
        return filled or self._redo_bytes >= BATCH_BYTES

    def settle(self, size: int, root: bytes) -> None:
        """Make everything written so far durable, then begin a new redo file on it.

        The order is what a crash relies on: 1. tiles and checkpoint, 2. the names, 3. partial
        tiles that gave way to a full one, 4. the redo file, which until then can restore the rest.
        """
        filled = [key for key, widths in self._dirty.items() if TILE_WIDTH in widths]
        for (level, index), widths in self._dirty.items():
            for width in {TILE_WIDTH} if TILE_WIDTH in widths else widths:
                self.storage.sync_file(self.directory / Tile(level, index, width).path)
        self.storage.sync_file(self.directory / CHECKPOINT)
        for folder in sorted({*self._dirty_dirs, PurePosixPath()}):
            self.storage.sync_dir(self.directory / folder)
        for level, index in filled:
            self._remove_partials(Tile(level, index))
        self.begin_redo(size, root)
        self._dirty.clear()
        self._dirty_dirs.clear()

    def _remove_partials(self, tile: Tile) -> None:
        folder = self.directory / f"{tile.path}.p"
        names = self.storage.names(folder)
        for name in names:
            self.storage.remove(folder / name)
        if names:
            self.storage.remove_dir(folder)
            self.storage.sync_dir(folder.parent)
            self._dirs.discard(PurePosixPath(f"{tile.path}.p"))
            self._dirty_dirs.discard(PurePosixPath(f"{tile.path}.p"))

    def _make_dirs(self, folder: PurePosixPath) -> None:
        if folder in self._dirs:
            return
        self._make_dirs(folder.parent)
        self.storage.make_dir(self.directory / folder)
        self._dirs.add(folder)
        self._dirty_dirs.add(folder.parent)

    def _replace(self, path: PurePosixPath, data: bytes) -> None:
        fresh = self.directory / _NEXT
        self.storage.write(fresh, data)
        self.storage.rename(fresh, self.directory / path)
