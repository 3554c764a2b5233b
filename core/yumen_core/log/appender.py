"""The log that a process writes: durable, append-only, readable by others at all times."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from yumen_core.clock import Clock
from yumen_core.errors import CallError, StateError
from yumen_core.log import merkle
from yumen_core.log.checkpoint import Checkpoint, sign_checkpoint
from yumen_core.log.edge import Edge, Unpublished
from yumen_core.log.entry import Act, Entry, Value
from yumen_core.log.guard import Guard
from yumen_core.log.note import Signer
from yumen_core.log.reader import Reader
from yumen_core.log.recovery import recover
from yumen_core.log.redo import BATCH_BYTES, BATCH_ENTRIES, encode_record
from yumen_core.log.storage import DiskStorage, Storage
from yumen_core.log.store import LogStore
from yumen_core.log.tiles import MAX_ENTRY_BYTES

_LOG = logging.getLogger(__name__)


class TileLog:
    """One writer's log. Safe to use from several threads.

    `on_failure`, where set, is called once a write has failed and the log is closed by that.

    An append is durable when it returns. It costs two syncs: the redo file, then the guard. Tiles
    and checkpoint follow for readers, at once or together with those of other appends within the
    publication delay, and are synced once a tile is full and on `close`; a log whose machine lost
    power in between is made whole by the next `open`.
    """

    def __init__(
        self,
        store: LogStore,
        guard: Guard,
        signer: Signer,
        clock: Clock,
        held: ExitStack,
        publish_delay_s: float,
    ) -> None:
        """Private: use `open`."""
        self._store = store
        self._guard = guard
        self._signer = signer
        self._clock = clock
        self._held = held
        self._lock = threading.RLock()
        self._writable = True
        self._edge: Edge = recover(store, guard, signer)
        self._state = Checkpoint(signer.name, self._edge.size, self._edge.root())
        self._note = sign_checkpoint(self._state, signer)
        self._publish_delay_s = publish_delay_s
        self.on_failure: Callable[[], None] | None = None
        self._unpublished = Unpublished()
        self._timer: threading.Timer | None = None

    @classmethod
    def open(
        cls,
        directory: Path,
        signer: Signer,
        *,
        origin: str,
        guard: Path,
        clock: Clock,
        storage: Storage | None = None,
        publish_delay_s: float = 0.0,
    ) -> TileLog:
        """Open the log in `directory`, or begin one there.

        `origin` names the log and must be the name of the signer's key. `guard` is a file outside
        `directory`, best on another disk. `publish_delay_s` is how long readers may wait for the
        tiles and the checkpoint of an entry that is durable already.

        Raises `CallError` (argument); `StateError`: `log_fork` where the log is older than its
        guard or differs from it, `log_corrupt` where files are damaged, `state` where another
        process has it open or the disk fails.
        """
        if origin != signer.name:
            raise CallError(
                "argument", f"the log `{origin}` needs a key of its name, got `{signer.name}`"
            )
        if guard.absolute().is_relative_to(directory.absolute()):
            raise CallError("argument", f"the guard `{guard}` lies within the log's directory")
        disk = storage if storage is not None else DiskStorage()
        try:
            with ExitStack() as held:
                for folder in (directory, guard.parent):
                    _make_folder(disk, folder.absolute())
                held.enter_context(disk.lock(directory))
                held.callback(disk.close)
                store = LogStore(disk, directory)
                log = cls(store, Guard(disk, guard), signer, clock, ExitStack(), publish_delay_s)
                log._held = held.pop_all()
                return log
        except BlockingIOError:
            raise StateError(
                "state",
                f"the log `{directory}` is open in another process",
                remedy="stop the other process first",
            ) from None
        except OSError as error:
            raise StateError(
                "state", f"the log `{directory}` cannot be opened: {error.strerror or error}"
            ) from error

    def append(self, entry: bytes) -> int:
        """Append one entry of at most 65535 bytes; returns its index, durable.

        Raises `CallError` (argument) for an entry too long; `StateError` (log_closed) where the
        disk failed, now or before: the entry may or may not be in the log once it is opened again.
        """
        return self.append_many([entry])[0]

    def append_many(self, entries: Sequence[bytes]) -> range:
        """Append entries in order; returns their indexes, all durable.

        Cheaper than one by one. A failure may leave a first part of them in the log. Raises as
        `append`, with nothing appended where one entry is too long.
        """
        for entry in entries:
            if len(entry) > MAX_ENTRY_BYTES:
                raise CallError(
                    "argument",
                    f"a log entry has at most {MAX_ENTRY_BYTES} bytes, got `{len(entry)}`",
                )
        with self._lock:
            start = self._state.size
            for batch in _batches(entries):
                self._append_batch(batch)
            return range(start, self._state.size)

    def record(
        self,
        act: Act,
        *,
        subject: Mapping[str, str] | None = None,
        digests: Mapping[str, bytes] | None = None,
        detail: Mapping[str, Value] | None = None,
    ) -> int:
        """Append an `Entry` with the time of the log's clock. Raises as `append` and `Entry`."""
        with self._lock:
            now_ms = self._clock.now_ms()
            return self.append(
                Entry(now_ms, act, subject or {}, digests or {}, detail or {}).encode()
            )

    @property
    def origin(self) -> str:
        return self._signer.name

    @property
    def verifier_key(self) -> str:
        """The key that verifies this log's checkpoints, as text: `name+hash+base64`."""
        return self._signer.verifier.text

    @property
    def size(self) -> int:
        """How many entries the last checkpoint has."""
        return self._state.size

    @property
    def root(self) -> bytes:
        """The root of the last checkpoint: 32 bytes."""
        return self._state.root

    @property
    def checkpoint(self) -> bytes:
        """The last checkpoint: a signed note."""
        self.publish()
        return self._note

    def inclusion_proof(self, index: int) -> list[bytes]:
        """The proof that entry `index` is in the log of the last checkpoint.

        Raises `CallError` (argument) for an index beyond it, `StateError` (log_corrupt).
        """
        self.publish()
        state = self._state
        reader = self._reader(state.size)
        return merkle.inclusion_proof(index, state.size, reader.node)

    def proof(self, index: int) -> tuple[bytes, list[bytes]]:
        """The last checkpoint, a signed note, and the proof that entry `index` is under it. Both
        are of one moment. Raises as `inclusion_proof`."""
        with self._lock:
            return self.checkpoint, self.inclusion_proof(index)

    def consistency_proof(self, old_size: int, size: int | None = None) -> list[bytes]:
        """The proof that the log's first `size` entries, by default those of the last checkpoint,
        extend its first `old_size`.

        Raises `CallError` (argument) for a size beyond it, `StateError` (log_corrupt).
        """
        self.publish()
        held = self._state.size
        wanted = held if size is None else size
        if wanted > held:
            raise CallError("argument", f"size `{wanted}` is not within a log of {held} entries")
        return merkle.consistency_proof(old_size, wanted, self._reader(held).node)

    def entry(self, index: int) -> bytes:
        """Raises `CallError` (argument) for an index beyond the log, `StateError` (log_corrupt)."""
        self.publish()
        size = self._state.size
        if not 0 <= index < size:
            raise CallError("argument", f"entry `{index}` is not in a log of {size} entries")
        return next(self._reader(size).entries(index, index + 1))

    def entries(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Entries `start` to `end` - 1, by default to the last there is now.

        Raises `CallError` (argument) for a range beyond the log, `StateError` (log_corrupt).
        """
        self.publish()
        size = self._state.size
        stop = size if end is None else end
        if not 0 <= start <= stop <= size:
            raise CallError(
                "argument", f"entries `{start}` to `{stop}` are not in a log of {size} entries"
            )
        return self._reader(size).entries(start, stop)

    def close(self) -> None:
        """Sync what is written and let go of the directory. Closing again does nothing.

        Raises `StateError` (log_closed) where the disk fails: no entry is lost by that.
        """
        with self._lock, self._held:
            if self._writable:
                self._writable = False
                try:
                    self._write_public(self._state)
                    self._store.settle(self._state.size, self._state.root)
                except OSError as error:
                    raise self._failed(error) from error

    def __enter__(self) -> TileLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _append_batch(self, batch: Sequence[bytes]) -> None:
        if not self._writable:
            raise StateError("log_closed", f"the log `{self._store.directory}` is closed")
        # Whatever interrupts what follows leaves the log closed: it stops rather than forks.
        self._writable = False
        try:
            # 1. The entries are durable, 2. the guard attests them; 3. readers find the tiles,
            # 4. then the checkpoint over them; 5. from time to time all of it is synced.
            self._store.extend_redo(encode_record(self._state.size, batch))
            outputs = self._edge.grow(batch)
            state = Checkpoint(self._signer.name, self._edge.size, self._edge.root())
            self._guard.store(state)
            self._unpublished.add(outputs)
            if self._publish_delay_s <= 0:
                self._write_public(state)
            self._state = state
        except OSError as error:
            raise self._failed(error) from error
        self._writable = True
        if self._unpublished and self._timer is None:
            self._timer = threading.Timer(self._publish_delay_s, self._publish_late)
            self._timer.daemon = True
            self._timer.start()

    def publish(self) -> None:
        """Show readers every entry there is now. Raises `StateError` (log_closed)."""
        with self._lock:
            if not self._unpublished or not self._writable:
                return
            self._writable = False
            try:
                self._write_public(self._state)
            except OSError as error:
                raise self._failed(error) from error
            self._writable = True

    def _publish_late(self) -> None:
        try:
            self.publish()
        except StateError:
            # The log is closed by now, and the next append says so to whoever depends on it.
            _LOG.exception("the log could not be published")

    def _write_public(self, state: Checkpoint) -> None:
        """Steps 3 to 5 of an append, for all entries that wait for them."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._unpublished:
            return
        self._store.write_tiles(self._unpublished.take())
        self._note = sign_checkpoint(state, self._signer)
        self._store.publish(self._note)
        if self._store.due:
            self._store.settle(state.size, state.root)

    def _failed(self, error: OSError) -> StateError:
        if self.on_failure is not None:
            self.on_failure()
        reason = error.strerror or str(error)
        return StateError(
            "log_closed", f"the log `{self._store.directory}` cannot be written: {reason}"
        )

    def _reader(self, size: int) -> Reader:
        return Reader(self._store.storage, self._store.directory, size)


def _make_folder(storage: Storage, folder: Path) -> None:
    for path in (*reversed(folder.parents), folder):
        if storage.make_dir(path):
            storage.sync_dir(path.parent)


def _batches(entries: Sequence[bytes]) -> Iterator[list[bytes]]:
    """The entries, cut so that a redo file stays within its limit."""
    batch: list[bytes] = []
    length = 0
    for entry in entries:
        batch.append(entry)
        length += 2 + len(entry)
        if length >= BATCH_BYTES or len(batch) == BATCH_ENTRIES:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch
