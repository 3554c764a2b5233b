"""What local work tried and was kept from, as the node hears of it.

Forbidden system calls come from the kernel. Files outside come from the worker's own audit hook,
which code can evade; evading it gains nothing, since those files do not exist in the sandbox.
"""

from __future__ import annotations

import array
import errno
import fcntl
import socket
import struct
import threading
from collections import Counter

from yumen_node.training.filter import Architecture

# linux/seccomp.h: SECCOMP_IOCTL_NOTIF_RECV and _SEND, of 80 and 24 bytes
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_NOTICE = struct.Struct("<QIIiIQ6Q")
_ANSWER = struct.Struct("<QqiI")
_CREDENTIALS = struct.Struct("3i")
HELLO = b"h"
REPORTS = {b"r": "file outside", b"w": "write outside", b"d": "disk full"}
MAX_ATTEMPTS = 1_000


class Attempts:
    """Counts by word. Any thread may call its methods."""

    def __init__(self, machine: Architecture) -> None:
        self._machine = machine
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self.total = 0

    def taken(self) -> dict[str, int]:
        """The counts since the last call."""
        with self._lock:
            counts, self._counts = dict(self._counts), Counter()
        return counts

    def add(self, word: str) -> None:
        with self._lock:
            self._counts[word] += 1
            self.total += 1

    def refuse(self, listener: int) -> None:
        """Refuse one call that the kernel asks about. A caller that died is passed over."""
        raw = bytearray(_NOTICE.size)
        try:
            fcntl.ioctl(listener, _RECEIVE, raw, True)
            number, call = struct.unpack_from("<Q8xi", raw)
            word = self._machine.words.get(call, "kernel")
            self.add(word)
            code = errno.ENOMEM if word == "memory" else errno.EPERM
            fcntl.ioctl(listener, _SEND, _ANSWER.pack(number, 0, -code, 0))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINTR, errno.EINPROGRESS):
                raise

    def read(self, reports: socket.socket) -> None:
        """Count what the worker reported since. Words that are not in the list are passed over."""
        while True:
            try:
                word = reports.recv(1, socket.MSG_DONTWAIT)
            except (BlockingIOError, ConnectionError):
                return
            if not word:
                return
            if word in REPORTS:
                self.add(REPORTS[word])


def said_hello(reports: socket.socket) -> tuple[int, int] | None:
    """The worker's first report: its process id as this process sees it, and the descriptor on
    which the kernel asks. None where it is something else."""
    room = socket.CMSG_SPACE(4) + socket.CMSG_SPACE(_CREDENTIALS.size)
    word, ancillary, _, _ = reports.recvmsg(1, room)
    listener, process = array.array("i"), 0
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            listener.frombytes(data[: len(data) - len(data) % listener.itemsize])
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            process = _CREDENTIALS.unpack(data)[0]
    if word != HELLO or len(listener) != 1 or process <= 0:
        return None
    return process, listener[0]
