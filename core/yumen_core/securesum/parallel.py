"""Encryption of large vectors in worker processes.

TenSEAL holds the interpreter's lock while it encrypts, so threads do not help. Workers are
started afresh (not forked, so that no lock or generator state is copied) and kept. Slots go out and
ciphertext comes back through shared memory, readable by this user only and removed at once after
use, also when a worker dies. What the memory holds is masked slots and ciphertext.
"""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from multiprocessing.shared_memory import SharedMemory
from types import TracebackType

import numpy as np

from yumen_core.errors import CallError
from yumen_core.securesum import ciphertext
from yumen_core.securesum.bfv import encrypt, encrypt_blocks
from yumen_core.securesum.modulus import SLOTS, Slots, blocks, checked
from yumen_core.securesum.public_key import BfvPublicKey

# Below this a vector is encrypted (about 1 ms a block) before workers would have been told of it.
SMALLEST_BLOCKS = 32
MAX_WORKERS = 64


class EncryptionPool:
    """`workers` processes that encrypt vectors of SMALLEST_BLOCKS blocks or more.

    Smaller vectors, and all of them with fewer than two workers, are encrypted in this process.
    The processes start at the first large vector and end with `close` or the `with` block. As they
    are started afresh, a program's main module must be importable without side effects. Not for use
    by several threads at once. Raises `CallError("argument")` for a number of workers out of range.
    """

    def __init__(self, workers: int) -> None:
        if not 1 <= workers <= MAX_WORKERS:
            raise CallError("argument", f"expected 1 to {MAX_WORKERS} workers, got `{workers}`")
        self._workers = workers
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> EncryptionPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes. The pool starts new ones if it is used again."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def encrypt(self, slots: Slots, public: BfvPublicKey) -> bytes:
        """As `bfv.encrypt`. A worker that dies costs time, not the result."""
        if self._workers < 2 or blocks(checked(slots).size) < SMALLEST_BLOCKS:
            return encrypt(slots, public)
        try:
            return self._encrypt_shared(slots, public)
        except BrokenProcessPool:
            self.close()
            return encrypt(slots, public)

    def _encrypt_shared(self, slots: Slots, public: BfvPublicKey) -> bytes:
        executor = self._start()
        count = blocks(slots.size)
        raw_key = public.to_bytes()
        with (
            _shared(len(raw_key)) as key,
            _shared(slots.nbytes) as source,
            _shared(count * ciphertext.BLOCK_BYTES) as target,
        ):
            _bytes(key)[: len(raw_key)] = raw_key
            _view(source, slots.size)[:] = slots
            memories = (key.name, source.name, target.name)
            cuts = [count * k // self._workers for k in range(self._workers + 1)]
            # What goes through the executor's pipe fits into it: before Python 3.11.5 one that
            # fills it waits for ever for a worker that died (gh-94777).
            jobs = [
                executor.submit(_encrypt_range, memories, len(raw_key), slots.size, *cut)
                for cut in itertools.pairwise(cuts)
                if cut[0] < cut[1]
            ]
            wait(jobs)  # all of them, so that no worker is left with memory that is gone
            for job in jobs:
                job.result()
            with _bytes(target)[: count * ciphertext.BLOCK_BYTES] as written:
                body = b"".join((ciphertext.header(public, slots.size, 1), written))
        return body

    def _start(self) -> ProcessPoolExecutor:
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                self._workers, mp_context=multiprocessing.get_context("spawn")
            )
        return self._executor


@contextmanager
def _shared(size: int) -> Iterator[SharedMemory]:
    memory = SharedMemory(create=True, size=size)
    try:
        yield memory
    finally:
        memory.close()
        memory.unlink()


def _bytes(memory: SharedMemory) -> memoryview:
    if memory.buf is None:
        raise AssertionError("shared memory was closed while in use")
    return memory.buf


def _view(memory: SharedMemory, slots: int) -> Slots:
    return np.ndarray((slots,), dtype=np.uint64, buffer=memory.buf)


@lru_cache(maxsize=8)
def _public(raw: bytes) -> BfvPublicKey:
    return BfvPublicKey.from_bytes(raw)


def _encrypt_range(
    memories: tuple[str, str, str], key_bytes: int, slots: int, first: int, last: int
) -> None:
    """In a worker: encrypt the blocks from `first` to before `last`. The memories hold the public
    key, the slots and what becomes of them."""
    with ExitStack() as opened:
        key, source, target = (_opened(opened, name) for name in memories)
        part = _view(source, slots)[first * SLOTS : last * SLOTS].copy()
        size = ciphertext.BLOCK_BYTES
        with _bytes(target)[first * size : last * size] as out:
            encrypt_blocks(part, _public(bytes(_bytes(key)[:key_bytes])), out)


def _opened(opened: ExitStack, name: str) -> SharedMemory:
    memory = SharedMemory(name)
    opened.callback(memory.close)
    return memory
