"""The system calls that local work may not make: a seccomp filter, assembled here.

Namespaces hide what is outside; the filter keeps code from making new processes, sockets and
namespaces, and from the parts of the kernel where most of its faults were found. A forbidden call
is not only refused: the kernel asks the node, which refuses and counts it (seccomp_unotify(2)), so
an attempt is known whatever language it was made in. Once the node is gone the call fails too.

The worker installs the filter before it loads any other code; it cannot be removed afterwards
(seccomp(2)). This module is imported inside the sandbox and needs only the standard library.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import struct
from dataclasses import dataclass

# linux/audit.h, linux/filter.h, linux/seccomp.h, linux/prctl.h
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_EQUAL, _MORE, _AT_LEAST, _ANY_BIT = 0x15, 0x25, 0x35, 0x45
_ALLOW, _NOTIFY, _KILL, _ERRNO = 0x7FFF0000, 0x7FC00000, 0x80000000, 0x00050000
_SET_MODE_FILTER, _NEW_LISTENER = 1, 1 << 3
_SET_PARENT_DEATH_SIGNAL, _SET_NO_NEW_PRIVS = 1, 38
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_X32 = 0x40000000
_THREAD = 0x00010000  # CLONE_THREAD
_SHARED_ANONYMOUS = 0x21  # MAP_SHARED | MAP_ANONYMOUS
_WRITABLE = 0x02  # PROT_WRITE

# Attempts, by the word that the node records: name, number on x86_64 and on aarch64 (None: the
# architecture has no such call).
_Calls = tuple[tuple[str, int | None, int | None], ...]
FORBIDDEN: dict[str, _Calls] = {
    "process": (
        *(("fork", 57, None), ("vfork", 58, None)),
        *(("execve", 59, 221), ("execveat", 322, 281)),
    ),
    "network": (("socket", 41, 198),),
    "memory": (
        *(("memfd_create", 319, 279), ("memfd_secret", 447, 447)),
        *(("shmget", 29, 194), ("shmat", 30, 196), ("msgget", 68, 186), ("semget", 64, 190)),
        ("mq_open", 240, 180),
    ),
    "other processes": (
        *(("ptrace", 101, 117), ("process_vm_readv", 310, 270), ("process_vm_writev", 311, 271)),
        *(("kcmp", 312, 272), ("pidfd_open", 434, 434), ("pidfd_getfd", 438, 438)),
        ("process_madvise", 440, 440),
    ),
    "mounts": (
        *(("mount", 165, 40), ("umount2", 166, 39), ("pivot_root", 155, 41), ("chroot", 161, 51)),
        *(("open_tree", 428, 428), ("move_mount", 429, 429), ("fsopen", 430, 430)),
        *(("fsconfig", 431, 431), ("fsmount", 432, 432), ("fspick", 433, 433)),
        *(("mount_setattr", 442, 442), ("open_by_handle_at", 304, 265)),
        *(("name_to_handle_at", 303, 264), ("unshare", 272, 97), ("setns", 308, 268)),
    ),
    "kernel": (
        *(("bpf", 321, 280), ("perf_event_open", 298, 241), ("userfaultfd", 323, 282)),
        *(("io_uring_setup", 425, 425), ("io_uring_enter", 426, 426)),
        *(("io_uring_register", 427, 427), ("seccomp", 317, 277), ("personality", 135, 92)),
        *(("keyctl", 250, 219), ("add_key", 248, 217), ("request_key", 249, 218)),
        *(("init_module", 175, 105), ("finit_module", 313, 273), ("delete_module", 176, 106)),
        *(("kexec_load", 246, 104), ("kexec_file_load", 320, 294), ("reboot", 169, 142)),
        *(("swapon", 167, 224), ("swapoff", 168, 225), ("syslog", 103, 116), ("acct", 163, 89)),
        *(("quotactl", 179, 60), ("quotactl_fd", 443, 443), ("modify_ldt", 154, None)),
        *(("iopl", 172, None), ("ioperm", 173, None)),
    ),
}


@dataclass(frozen=True)
class Architecture:
    """Numbers of one machine type. `words` gives an attempt's word by system call number."""

    audit: int
    clone: int
    clone3: int
    mmap: int
    seccomp: int
    words: dict[int, str]


def architecture(machine: str | None = None) -> Architecture | None:
    """Of `platform.machine()`, this machine's by default; None where the filter knows it not."""
    name = machine or platform.machine()
    if name not in _ARCHITECTURES:
        return None
    clone, mmap, seccomp = (56, 9, 317) if name == "x86_64" else (220, 222, 277)
    words = {
        number: word
        for word, calls in FORBIDDEN.items()
        for _, there, here in calls
        if (number := there if name == "x86_64" else here) is not None
    }
    words |= {clone: "process", mmap: "memory"}
    return Architecture(_ARCHITECTURES[name], clone, 435, mmap, seccomp, words)


def program(machine: Architecture, memory_bytes: int) -> bytes:
    """The filter as an array of `struct sock_filter`.

    1. Another architecture's calls end the process; so do the x32 ones. 2. clone3 does not exist,
    as its flags cannot be read: the C library then uses clone. 3. clone may make threads only.
    4. Memory may not be shared, as a limit on data does not count it; nor taken in one piece of
    more than `memory_bytes`, which that limit would refuse without a word. 5. The list above.
    6. All else is allowed.
    """
    steps = [
        _step(_LOAD, _ARCHITECTURE_AT),
        _step(_EQUAL, machine.audit, yes=1),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER_AT),
        _step(_AT_LEAST, _X32, no=1),
        _step(_RETURN, _KILL),
        _step(_EQUAL, machine.clone3, no=1),
        _step(_RETURN, _ERRNO | errno.ENOSYS),
        _step(_EQUAL, machine.clone, no=4),
        _step(_LOAD, _ARGUMENTS_AT),
        _step(_ANY_BIT, _THREAD, no=1),
        _step(_RETURN, _ALLOW),
        _step(_RETURN, _NOTIFY),
        _step(_EQUAL, machine.mmap, no=12),
        _step(_LOAD, _ARGUMENTS_AT + 3 * 8),
        _step(_AND, _SHARED_ANONYMOUS),
        _step(_EQUAL, _SHARED_ANONYMOUS, yes=7),
        _step(_LOAD, _ARGUMENTS_AT + 2 * 8),
        _step(_ANY_BIT, _WRITABLE, no=6),
        _step(_LOAD, _ARGUMENTS_AT + 8 + 4),
        _step(_MORE, memory_bytes >> 32, yes=3),
        _step(_EQUAL, memory_bytes >> 32, no=3),
        _step(_LOAD, _ARGUMENTS_AT + 8),
        _step(_MORE, memory_bytes & 0xFFFFFFFF, no=1),
        _step(_RETURN, _NOTIFY),
        _step(_RETURN, _ALLOW),
    ]
    for number in sorted(machine.words.keys() - {machine.clone, machine.mmap}):
        steps += [_step(_EQUAL, number, no=1), _step(_RETURN, _NOTIFY)]
    return b"".join([*steps, _step(_RETURN, _ALLOW)])


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def install(memory_bytes: int) -> int:
    """Put the filter on this process for good; returns the descriptor on which the kernel asks.

    Raises `OSError` where the kernel (before 5.0, or configured without) has no such filter.
    """
    machine = architecture()
    if machine is None:
        raise OSError(errno.ENOSYS, "no filter for this machine")
    raw = program(machine, memory_bytes)
    buffer = ctypes.create_string_buffer(raw, len(raw))
    header = struct.pack("HxxxxxxP", len(raw) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    listener: int = libc.syscall(machine.seccomp, _SET_MODE_FILTER, _NEW_LISTENER, header)
    if listener < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return listener


def _step(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", code, yes, no, value)
