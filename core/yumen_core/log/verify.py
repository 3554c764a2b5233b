"""Verify a whole log from its files, with nothing taken on trust but the verifier key.

Entries beyond the checkpoint are what a crash, or a running writer, leaves between writing tiles
and signing. They are allowed where every file agrees with them, and counted as `unpublished`; they
are not part of what the report vouches for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yumen_core.errors import CallError, PeerError, StateError
from yumen_core.log.checkpoint import Checkpoint, open_checkpoint
from yumen_core.log.edge import Edge
from yumen_core.log.entry import decode_entry, time_text
from yumen_core.log.merkle import HASH_BYTES
from yumen_core.log.note import MAX_NOTE_BYTES, Verifier
from yumen_core.log.storage import DiskStorage, Storage
from yumen_core.log.store import CHECKPOINT, MAX_VKEY_BYTES, REDO, VKEY
from yumen_core.log.tiles import (
    ENTRIES,
    MAX_BUNDLE_BYTES,
    MAX_LEVEL,
    TILE_BYTES,
    TILE_WIDTH,
    Tile,
    decode_bundle,
    encode_bundle,
    hashes_at,
    parse_path,
    right_edge,
)


@dataclass(frozen=True)
class LogReport:
    """What was verified.

    `root` is 32 bytes. `first_time` and `last_time` are RFC 3339, UTC, of the first and last
    entry; None where there is none or it is not an `Entry`. `key` is the verifier key as text;
    `key_source` is `given`, or `log.vkey` where the key came from the directory itself, which
    shows damage but not a log made anew. `unpublished` counts entries beyond the checkpoint.
    `since_size` is the size of the older checkpoint that the log extends, where one was given.
    """

    origin: str
    size: int
    root: bytes
    first_time: str | None
    last_time: str | None
    key: str
    key_source: str
    unpublished: int
    since_size: int | None


def verify_directory(
    directory: Path,
    verifier_key: str | None,
    *,
    since: bytes | None = None,
    storage: Storage | None = None,
    canonical: bool = False,
) -> LogReport:
    """Recompute the log in `directory` from its entries and compare every file.

    `verifier_key` is `name+hash+base64`; None takes the one in the directory. `since` is a
    checkpoint of this log seen before, which it must extend. With `canonical` every entry has to
    be one in its one spelling, which hashes alone do not show. Reads one bundle at a time. Raises
    `CallError` (argument) for a malformed key; `PeerError` (log_corrupt) for a `since` that is not
    by this log; `StateError`: `log_corrupt`, naming the file and the entry, or `log_fork` where
    the log does not extend `since`.
    """
    check = _Check(storage if storage is not None else DiskStorage(), directory, canonical)
    # 1. The key, 2. the checkpoint's signature, form and origin, 3. the older checkpoint's.
    verifier, source = check.key(verifier_key)
    signed = check.checkpoint(verifier)
    old = open_checkpoint(since, verifier) if since is not None else None
    if old is not None and old.size > signed.size:
        raise StateError(
            "log_fork", f"the log holds `{signed.size}` entries and had `{old.size}` before"
        )
    # 4. Every bundle, 5. every tile at every level, 6. nothing missing and nothing besides.
    check.take_inventory(signed.size)
    roots = check.recompute({signed.size, old.size if old else 0})
    # 7. The entries give the root that is signed, 8. and the root that was signed before.
    if roots.get(signed.size) != signed.root:
        raise check.corrupt(
            f"the {signed.size} entries do not give the root that `{CHECKPOINT}` signs"
        )
    if old is not None and roots[old.size] != old.root:
        raise StateError(
            "log_fork", f"the log does not extend the checkpoint it signed at size `{old.size}`"
        )
    # 9. Every entry reads as one, and only as one.
    if check.malformed is not None:
        raise check.corrupt(check.malformed)
    return LogReport(
        origin=signed.origin,
        size=signed.size,
        root=signed.root,
        first_time=check.time_of(0),
        last_time=check.time_of(signed.size - 1),
        key=verifier.text,
        key_source=source,
        unpublished=check.edge.size - signed.size,
        since_size=old.size if old is not None else None,
    )


class _Check:
    """One run over one directory."""

    def __init__(self, storage: Storage, directory: Path, canonical: bool) -> None:
        self._storage = storage
        self._directory = directory
        self._present: dict[tuple[int, int], set[int]] = {}
        self._size = 0
        self._last: dict[int, bytes] = {}
        self._canonical = canonical
        self.malformed: str | None = None
        self.edge = Edge()

    def key(self, given: str | None) -> tuple[Verifier, str]:
        if given is not None:
            return Verifier.parse(given), "given"
        data = self._read(VKEY, MAX_VKEY_BYTES)
        try:
            return Verifier.parse(data.decode()), VKEY
        except (CallError, UnicodeDecodeError):
            raise self.corrupt(f"`{VKEY}` is not a verifier key") from None

    def checkpoint(self, verifier: Verifier) -> Checkpoint:
        try:
            return open_checkpoint(self._read(CHECKPOINT, MAX_NOTE_BYTES), verifier)
        except PeerError as error:
            raise self.corrupt(f"`{CHECKPOINT}`: {error.message}") from None

    def take_inventory(self, size: int) -> None:
        """Note every file below tile/, and that those a log of `size` entries needs are there."""
        self._size = size
        # A writer writes bundles first, then hashes upwards. Looking in the opposite order finds
        # the bundle of every hash that it finds.
        folders = self._storage.names(self._directory / "tile")
        for folder in sorted(folders, key=lambda name: (name == "entries", -ord(name[0]))):
            try:
                names = self._storage.files_under(self._directory / "tile" / folder)
            except OSError:
                raise self.corrupt(f"`tile/{folder}` cannot be read") from None
            for name in names:
                self._note(f"tile/{folder}/{name}")
        for level in range(ENTRIES, MAX_LEVEL + 1):
            for index in range(hashes_at(size, level) // TILE_WIDTH):
                self._need(Tile(level, index))
        for tile in right_edge(size):
            self._need(tile)

    def recompute(self, stops: set[int]) -> dict[int, bytes]:
        """Grow a tree from the bundles and compare; the roots at each size in `stops`."""
        roots = {self.edge.size: self.edge.root()}
        for index in range(1 << 48):
            entries = self._bundle(index)
            start = index * TILE_WIDTH
            at = 0
            for stop in sorted({*(s - start for s in stops), len(entries)}):
                if at < stop <= len(entries):
                    self._grow(entries[at:stop])
                    at = stop
                    roots[start + stop] = self.edge.root()
            if len(entries) < TILE_WIDTH:
                break
        self._compare_rest()
        return roots

    def time_of(self, index: int) -> str | None:
        """The time of the first or the last entry."""
        data = self._last.get(index)
        if data is None:
            return None
        try:
            return time_text(decode_entry(data).time_ms)
        except PeerError:
            return None

    def corrupt(self, message: str) -> StateError:
        """The error, with advice for a log that a power cut left before anything reopened it."""
        try:
            head, _, records = self._storage.read(self._directory / REDO, 4096).partition(b"\n")
            unsettled = bool(head and records)
        except OSError:
            unsettled = False
        remedy = (
            "if the machine lost power, start the log's owner once and verify again; otherwise keep"
            " the directory as it is and call the auditor"
        )
        return StateError("log_corrupt", message, remedy=remedy if unsettled else None)

    def _note(self, path: str) -> None:
        try:
            tile = parse_path(path)
        except PeerError:
            raise self.corrupt(f"`{path}` does not belong in a log") from None
        self._present.setdefault((tile.level, tile.index), set()).add(tile.width)

    def _need(self, tile: Tile) -> None:
        widths = self._present.setdefault((tile.level, tile.index), set())
        if not {tile.width, TILE_WIDTH} & widths:
            if self._full_now(tile):
                widths.add(TILE_WIDTH)
                return
            raise self.corrupt(f"`{tile.path}` is missing from a log of {self._size} entries")

    def _bundle(self, index: int) -> list[bytes]:
        """The entries of the widest bundle there is, none beyond the last."""
        widths = self._present.get((ENTRIES, index))
        if not widths:
            return []
        tile, data = self._variant(Tile(ENTRIES, index, max(widths)), MAX_BUNDLE_BYTES)
        try:
            entries = decode_bundle(data, tile.width)
        except PeerError as error:
            first = index * TILE_WIDTH
            raise self.corrupt(
                f"`{tile.path}`, entries `{first}` to `{first + tile.width - 1}`: {error.message}"
            ) from None
        if self._canonical:
            self._decode(index * TILE_WIDTH, entries)
        for at in {0, self._size - 1} & {index * TILE_WIDTH + n for n in range(len(entries))}:
            self._last[at] = entries[at - index * TILE_WIDTH]
        for width in sorted(widths - {tile.width}):
            part = encode_bundle(entries[:width])
            self._compare(Tile(ENTRIES, index, width), part)
        del self._present[ENTRIES, index]
        return entries

    def _decode(self, first: int, entries: list[bytes]) -> None:
        """Keep the first entry of another form; hashes are compared before it is told."""
        for at, data in enumerate(entries, first):
            if self.malformed is not None:
                return
            try:
                decode_entry(data)
            except PeerError as error:
                self.malformed = f"entry `{at}`: {error.message}"

    def _grow(self, entries: list[bytes]) -> None:
        for tile, data in self.edge.grow(entries):
            if tile.level != ENTRIES and tile.full:
                self._compare_all(tile, data)

    def _compare_rest(self) -> None:
        """The tiles on the right edge; then nothing may be left over."""
        for tile, data in self.edge.right():
            if tile.level != ENTRIES:
                self._compare_all(tile, data)
        for (level, index), widths in sorted(self._present.items()):
            path = Tile(level, index, min(widths)).path
            raise self.corrupt(f"`{path}` stands for entries that the log does not have")

    def _compare_all(self, tile: Tile, data: bytes) -> None:
        for width in sorted(self._present.pop((tile.level, tile.index), set())):
            found = Tile(tile.level, tile.index, width)
            if width > tile.width:
                raise self.corrupt(f"`{found.path}` stands for entries that the log does not have")
            self._compare(found, data[: width * HASH_BYTES])

    def _compare(self, tile: Tile, expected: bytes) -> None:
        limit = MAX_BUNDLE_BYTES if tile.level == ENTRIES else TILE_BYTES
        found, data = self._variant(tile, limit)
        if data == expected or (found != tile and data.startswith(expected)):
            return
        raise self.corrupt(self._difference(found, data, expected))

    def _difference(self, tile: Tile, data: bytes, expected: bytes) -> str:
        pairs = enumerate(zip(data, expected, strict=False))
        at = next((n for n, (a, b) in pairs if a != b), min(len(data), len(expected)))
        if tile.level == ENTRIES:
            entry, end = tile.index * TILE_WIDTH, 0
            while (end := end + 2 + int.from_bytes(expected[end : end + 2], "big")) <= at:
                entry += 1
            return f"entry `{entry}` differs between `{tile.path}` and a wider bundle"
        span = TILE_WIDTH**tile.level
        first = (tile.index * TILE_WIDTH + min(at // HASH_BYTES, tile.width - 1)) * span
        if tile.level == 0:
            bundle = Tile(ENTRIES, tile.index, tile.width).path
            return f"entry `{first}` of `{bundle}` does not hash to what `{tile.path}` holds"
        return f"`{tile.path}` does not hold the hash of entries `{first}` to `{first + span - 1}`"

    def _variant(self, tile: Tile, limit: int) -> tuple[Tile, bytes]:
        """The tile's bytes; the full one's where a writer has just removed a partial tile."""
        try:
            return tile, self._read(tile.path, limit)
        except StateError:
            if tile.full or not self._full_now(tile):
                raise
        return tile.widened(), self._read(tile.widened().path, limit)

    def _full_now(self, tile: Tile) -> bool:
        """Whether the full tile is there, perhaps since the inventory."""
        path = self._directory / tile.widened().path
        return path.name in self._storage.names(path.parent)

    def _read(self, name: str, limit: int) -> bytes:
        try:
            data = self._storage.read(self._directory / name, limit)
        except FileNotFoundError:
            raise self.corrupt(f"`{name}` is missing") from None
        except OSError as error:
            raise self.corrupt(f"`{name}` cannot be read: {error.strerror or error}") from None
        if len(data) > limit:
            raise self.corrupt(f"`{name}` has more than {limit} bytes")
        return data
