"""A disk in memory that can fail at any step and lose power, behind the log's `Storage` seam.

`MemoryDisk` keeps what is durable apart from what is only written: bytes become durable by
`sync_file`, names by `sync_dir`. A power cut keeps, of everything not synced, an arbitrary part.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class Inode:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.durable = b""


class MemoryDisk:
    """Paths are absolute. A directory is known by its durable and its live names."""

    def __init__(self) -> None:
        self.live: dict[Path, Inode | None] = {Path("/"): None}
        self.kept: dict[Path, Inode | None] = {Path("/"): None}
        self.held: set[Path] = set()
        self.fault: Fault | None = None

    # Storage ------------------------------------------------------------------------------------

    @contextmanager
    def lock(self, directory: Path) -> Iterator[None]:
        if directory in self.held:
            raise BlockingIOError(errno.EAGAIN, "held")
        self.held.add(directory)
        try:
            yield
        finally:
            self.held.discard(directory)

    def make_dir(self, path: Path) -> bool:
        if path in self.live:
            return False
        self._step(f"make_dir {path}", lambda: self.live.__setitem__(path, None))
        return True

    def names(self, path: Path) -> list[str]:
        return sorted(p.name for p in self.live if p.parent == path and p != path)

    def files_under(self, path: Path) -> list[str]:
        if self.live.get(path) is not None:
            raise NotADirectoryError(path)
        below = [p for p, node in self.live.items() if node and p.is_relative_to(path)]
        return sorted(p.relative_to(path).as_posix() for p in below)

    def read(self, path: Path, limit: int) -> bytes:
        node = self.live.get(path)
        if node is None:
            raise FileNotFoundError(path)
        return node.data[: limit + 1]

    def write(self, path: Path, data: bytes) -> None:
        assert path.parent in self.live, f"no directory for {path}"

        def do(piece: bytes) -> None:
            node = self.live.setdefault(path, Inode(b""))
            assert node is not None
            node.data = piece

        self._step(f"write {path}", lambda: do(data), lambda: do(data[: len(data) // 2]))

    def extend(self, path: Path, data: bytes) -> None:
        node = self._file(path)
        old = node.data

        def do(piece: bytes) -> None:
            node.data = old + piece

        self._step(f"extend {path}", lambda: do(data), lambda: do(data[: len(data) // 2]))

    def patch(self, path: Path, offset: int, data: bytes) -> None:
        node = self._file(path)
        old = node.data

        def do(piece: bytes) -> None:
            node.data = old[:offset] + piece + old[offset + len(piece) :]

        self._step(f"patch {path}", lambda: do(data), lambda: do(data[: len(data) // 40]))

    def rename(self, source: Path, target: Path) -> None:
        assert target.parent in self.live, f"no directory for {target}"
        self._step(f"rename {target}", lambda: self.live.__setitem__(target, self.live.pop(source)))

    def remove(self, path: Path) -> None:
        self._file(path)
        self._step(f"remove {path}", lambda: self.live.__delitem__(path))

    def remove_dir(self, path: Path) -> None:
        assert not self.names(path)
        self._step(f"remove_dir {path}", lambda: self.live.__delitem__(path))

    def sync_file(self, path: Path) -> None:
        node = self._file(path)
        self._step(f"sync_file {path}", lambda: setattr(node, "durable", node.data))

    def sync_dir(self, path: Path) -> None:
        assert path in self.live, f"no directory {path}"
        self._step(f"sync_dir {path}", lambda: self._keep_names(path))

    def close(self) -> None:
        pass

    # The model ----------------------------------------------------------------------------------

    def clone(self) -> MemoryDisk:
        """The same disk, with no fault and no lock."""
        twins: dict[int, Inode] = {}

        def twin(node: Inode | None) -> Inode | None:
            if node is None:
                return None
            if id(node) not in twins:
                twins[id(node)] = made = Inode(node.data)
                made.durable = node.durable
            return twins[id(node)]

        copy = MemoryDisk()
        copy.live = {path: twin(node) for path, node in self.live.items()}
        copy.kept = {path: twin(node) for path, node in self.kept.items()}
        return copy

    def killed(self) -> MemoryDisk:
        """The disk after the process was killed: all that was written is there."""
        return self.clone()

    def unplugged(self, seed: int) -> MemoryDisk:
        """The disk after a power cut; `seed` decides what survived of all that was not synced."""
        chance = random.Random(seed)
        disk = self.clone()
        for path in sorted({*disk.live, *disk.kept}):
            source = disk.live if chance.random() < 0.5 else disk.kept
            if disk.live.get(path, False) is disk.kept.get(path, False):
                source = disk.kept
            for view in (disk.live, disk.kept):
                if path in source:
                    view.setdefault(path, source[path])
                    view[path] = source[path]
                else:
                    view.pop(path, None)
        lost = [path for path in disk.live if not all(p in disk.live for p in path.parents)]
        for path in lost:
            del disk.live[path]
        for node in disk.live.values():
            if node is not None:
                node.data = node.durable = _survivor(node, chance)
        disk.kept = dict(disk.live)
        return disk

    def _keep_names(self, folder: Path) -> None:
        for path in [p for p in self.kept if p.parent == folder and p not in self.live]:
            del self.kept[path]
        for path, node in self.live.items():
            if path.parent == folder:
                self.kept[path] = node

    def _file(self, path: Path) -> Inode:
        node = self.live.get(path)
        if node is None:
            raise FileNotFoundError(path)
        return node

    def _step(
        self, name: str, do: Callable[[], object], half: Callable[[], object] | None = None
    ) -> None:
        if self.fault is None:
            do()
        else:
            self.fault.step(name, do, half)


class Fault:
    """Fails the step number `at`, from 0, and every one after it.

    `how`: `failed` leaves the step undone, `persisted` does it and still reports a failure,
    `torn` writes part of it.
    """

    def __init__(self, at: int, how: str) -> None:
        self.at = at
        self.how = how
        self.steps: list[str] = []

    def step(self, name: str, do: Callable[[], object], half: Callable[[], object] | None) -> None:
        self.steps.append(name)
        number = len(self.steps) - 1
        if number < self.at:
            do()
            return
        if number == self.at and self.how == "persisted":
            do()
        if number == self.at and self.how == "torn" and half is not None:
            half()
        raise OSError(errno.EIO, "input/output error")


def _survivor(node: Inode, chance: random.Random) -> bytes:
    if node.data == node.durable:
        return node.data
    cut = chance.randrange(len(node.data) + 1)
    zeros = node.data[:cut] + bytes(len(node.data) - cut)
    kinds = [node.data, node.durable, node.data[:cut], zeros]
    # What was synced and only grew since keeps its synced part.
    if node.durable and node.data.startswith(node.durable):
        whole = len(node.durable)
        cut = chance.randrange(whole, len(node.data) + 1)
        kinds = [node.data, node.durable, node.data[:cut]]
    elif len(node.durable) == len(node.data) and node.durable:
        # Patched in place: sectors of 512 bytes are written or not.
        mixed = bytearray(node.durable)
        for at in range(0, len(mixed), 512):
            if chance.random() < 0.5:
                mixed[at : at + 512] = node.data[at : at + 512]
        kinds = [node.data, node.durable, bytes(mixed)]
    return chance.choice(kinds)
