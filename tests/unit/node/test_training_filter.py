"""The filter of system calls, run by a small interpreter of its instructions (bpf(4))."""

from __future__ import annotations

import struct

import pytest
from yumen_node.training.filter import FORBIDDEN, Architecture, architecture, program

ALLOW, NOTIFY, KILL, NO_SUCH_CALL = 0x7FFF0000, 0x7FC00000, 0x80000000, 0x00050026
MEMORY = 5 << 30
X86, ARM = architecture("x86_64"), architecture("aarch64")
assert X86 is not None
assert ARM is not None
ANONYMOUS, SHARED, PRIVATE, WRITE = 0x20, 0x01, 0x02, 0x02
THREAD, FORK = 0x3D0F00, 0x1200011


def verdict(machine: Architecture, call: int, *args: int, audit: int | None = None) -> int:
    """What the kernel would answer for `call` with `args`."""
    raw = program(machine, MEMORY)
    data = struct.pack("<iIQ6Q", call, audit or machine.audit, 0, *args, *[0] * (6 - len(args)))
    at = held = 0
    while True:
        code, yes, no, value = struct.unpack_from("HBBI", raw, at * 8)
        at += 1
        match code:
            case 0x20:
                (held,) = struct.unpack_from("<I", data, value)
            case 0x54:
                held &= value
            case 0x15:
                at += yes if held == value else no
            case 0x25:
                at += yes if held > value else no
            case 0x35:
                at += yes if held >= value else no
            case 0x45:
                at += yes if held & value else no
            case 0x06:
                return value
            case _:
                raise AssertionError(f"instruction {code:#x}")


@pytest.mark.parametrize(
    ("machine", "call"),
    [
        (machine, number)
        for calls in FORBIDDEN.values()
        for _, there, here in calls
        for machine, number in ((X86, there), (ARM, here))
        if number is not None
    ],
)
def test_each_call_of_the_list_is_asked_about(machine: Architecture, call: int) -> None:
    assert verdict(machine, call) == NOTIFY


@pytest.mark.parametrize("machine", [X86, ARM])
class TestRules:
    def test_reading_and_writing_are_allowed(self, machine: Architecture) -> None:
        calls = (0, 1, 3, 20, 202, 257) if machine is X86 else (56, 57, 63, 64, 98)
        assert {verdict(machine, call) for call in calls} == {ALLOW}

    def test_threads_are_allowed_and_processes_are_not(self, machine: Architecture) -> None:
        assert verdict(machine, machine.clone, THREAD) == ALLOW
        assert verdict(machine, machine.clone, FORK) == NOTIFY
        assert verdict(machine, machine.clone, 0) == NOTIFY

    def test_the_newer_clone_does_not_exist(self, machine: Architecture) -> None:
        assert verdict(machine, machine.clone3) == NO_SUCH_CALL

    @pytest.mark.parametrize(
        ("length", "protection", "flags", "expected"),
        [
            (4096, WRITE, PRIVATE | ANONYMOUS, ALLOW),
            (4096, WRITE, SHARED, ALLOW),  # of a file, which has its own limit
            (4096, WRITE, SHARED | ANONYMOUS, NOTIFY),
            (4096, 0, SHARED | ANONYMOUS, NOTIFY),  # could be made writable later
            (4096, WRITE, 0x03 | ANONYMOUS, NOTIFY),  # MAP_SHARED_VALIDATE
            (MEMORY, WRITE, PRIVATE | ANONYMOUS, ALLOW),
            (MEMORY + 1, WRITE, PRIVATE | ANONYMOUS, NOTIFY),
            (1 << 40, WRITE, PRIVATE | ANONYMOUS, NOTIFY),
            (1 << 40, 0, PRIVATE | ANONYMOUS, ALLOW),  # addresses only
            ((1 << 32) + 4096, WRITE, PRIVATE | ANONYMOUS, ALLOW),
        ],
    )
    def test_memory(
        self, machine: Architecture, length: int, protection: int, flags: int, expected: int
    ) -> None:
        assert verdict(machine, machine.mmap, 0, length, protection, flags) == expected

    def test_calls_of_another_architecture_end_the_process(self, machine: Architecture) -> None:
        assert verdict(machine, 0, audit=0x40000003) == KILL
        other = ARM if machine is X86 else X86
        assert other is not None
        assert verdict(machine, 0, audit=other.audit) == KILL

    def test_calls_of_the_x32_kind_end_the_process(self, machine: Architecture) -> None:
        assert verdict(machine, 0x40000000 + 41) == KILL
        assert verdict(machine, -1) == KILL

    def test_every_asked_call_has_a_word(self, machine: Architecture) -> None:
        assert set(machine.words.values()) == set(FORBIDDEN)


def test_other_machines_have_no_filter() -> None:
    assert architecture("riscv64") is None
