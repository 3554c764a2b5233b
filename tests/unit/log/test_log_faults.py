"""What a crash, a failing disk or a power cut may leave behind: no entry lost, no fork."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from log_disk_model import Fault, MemoryDisk
from yumen_core.clock import ManualClock
from yumen_core.errors import StateError
from yumen_core.log.appender import TileLog
from yumen_core.log.checkpoint import open_checkpoint
from yumen_core.log.merkle import leaf_hash, root_of
from yumen_core.log.note import Signer
from yumen_core.log.verify import verify_directory
from yumen_core.secret import Secret

SIGNER = Signer("log.example/node", Secret(bytes(range(32))))
DIRECTORY = Path("/log")
GUARD = Path("/guards/log.guard")


def open_log(disk: MemoryDisk) -> TileLog:
    return TileLog.open(
        DIRECTORY, SIGNER, origin=SIGNER.name, guard=GUARD, clock=ManualClock(), storage=disk
    )


def entry(number: int) -> bytes:
    return f"entry {number}".encode()


def root_at(size: int) -> bytes:
    return root_of(leaf_hash(entry(number)) for number in range(size))


def disk_with(size: int, unsettled: int = 0) -> tuple[MemoryDisk, TileLog]:
    """An open log of `size` entries; the last `unsettled` are synced in the redo file only."""
    disk = MemoryDisk()
    log = open_log(disk)
    log.append_many([entry(number) for number in range(size - unsettled)])
    log.close()
    disk = disk.clone()
    log = open_log(disk)
    for number in range(size - unsettled, size):
        log.append(entry(number))
    return disk, log


def assert_whole(disk: MemoryDisk, acknowledged: int, attempted: int) -> int:
    """Reopens: nothing acknowledged is lost, what is there is what was appended; the size."""
    log = open_log(disk)
    assert acknowledged <= log.size <= attempted
    assert list(log.entries()) == [entry(number) for number in range(log.size)]
    assert log.root == root_at(log.size)
    log.close()
    report = verify_directory(DIRECTORY, SIGNER.verifier.text, storage=disk)
    assert (report.size, report.root, report.unpublished) == (log.size, log.root, 0)
    return log.size


def steps_of_append(size: int, unsettled: int) -> list[str]:
    disk, log = disk_with(size, unsettled)
    disk.fault = Fault(at=10_000, how="failed")
    log.append(entry(size))
    return disk.fault.steps


# (entries before, how many of them are not synced yet): the first entry of a log, one in mid-tile,
# the one that fills a tile, the first of the next tile.
TABLE = [(0, 0), (3, 0), (3, 2), (255, 0), (255, 3), (256, 0), (257, 1)]


@pytest.mark.parametrize("how", ["failed", "persisted", "torn"])
@pytest.mark.parametrize(("size", "unsettled"), TABLE)
def test_an_append_that_fails_at_any_step_loses_nothing(
    size: int, unsettled: int, how: str
) -> None:
    steps = steps_of_append(size, unsettled)
    assert len(steps) >= 10
    for at in range(len(steps)):
        disk, log = disk_with(size, unsettled)
        disk.fault = Fault(at, how)
        with pytest.raises(StateError) as caught:
            log.append(entry(size))
        assert caught.value.message == "the log `/log` cannot be written: input/output error"
        with pytest.raises(StateError, match="the log `/log` is closed") as closed:
            log.append(entry(size))
        assert closed.value.code == "log_closed"
        for crashed in (disk.killed(), *(disk.unplugged(seed) for seed in range(4))):
            reached = assert_whole(crashed, acknowledged=size, attempted=size + 1)
            assert assert_appends(crashed, reached) == reached + 1


def assert_appends(disk: MemoryDisk, size: int) -> int:
    log = open_log(disk)
    assert log.append(entry(size)) == size
    log.close()
    return log.size


def test_the_guard_is_written_after_the_redo_file_and_before_any_tile() -> None:
    steps = [step.replace("/log/", "") for step in steps_of_append(3, 0)]
    assert [step for step in steps if not step.startswith("make_dir")] == [
        "extend redo",
        "sync_file redo",
        "patch /guards/log.guard",
        "sync_file /guards/log.guard",
        "write .next",
        "rename tile/entries/000.p/4",
        "write .next",
        "rename tile/0/000.p/4",
        "write .next",
        "rename checkpoint",
    ]


@pytest.mark.parametrize("seed", range(40))
def test_a_power_cut_between_appends_loses_nothing_acknowledged(seed: int) -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    count = 250 + seed
    log.append_many([entry(number) for number in range(246)])
    for number in range(246, count):
        log.append(entry(number))
    assert assert_whole(disk.unplugged(seed), acknowledged=count, attempted=count) == count


@pytest.mark.parametrize("how", ["failed", "persisted", "torn"])
@pytest.mark.parametrize("unsettled", [0, 3])
def test_a_failure_while_opening_loses_nothing(how: str, unsettled: int) -> None:
    before = disk_with(5, unsettled)[0].clone()
    counted = before.clone()
    counted.fault = Fault(10_000, "failed")
    open_log(counted)
    for at in range(len(counted.fault.steps)):
        disk = before.clone()
        disk.fault = Fault(at, how)
        with pytest.raises(StateError, match="the log `/log` cannot be opened: input/output"):
            open_log(disk)
        assert not disk.held
        for crashed in (disk.killed(), *(disk.unplugged(seed) for seed in range(4))):
            assert_whole(crashed, acknowledged=5, attempted=5)


@pytest.mark.parametrize("how", ["failed", "persisted", "torn"])
def test_a_failure_while_a_log_begins_leaves_a_log_that_can_begin(how: str) -> None:
    counted = MemoryDisk()
    counted.fault = Fault(10_000, "failed")
    open_log(counted)
    for at in range(len(counted.fault.steps)):
        disk = MemoryDisk()
        disk.fault = Fault(at, how)
        with pytest.raises(StateError, match="cannot be opened"):
            open_log(disk)
        for crashed in (disk.killed(), *(disk.unplugged(seed) for seed in range(4))):
            assert assert_whole(crashed, acknowledged=0, attempted=0) == 0


def test_a_failure_in_the_middle_of_many_leaves_a_first_part() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    disk.fault = Fault(at=60, how="failed")
    with pytest.raises(StateError):
        log.append_many([entry(number) for number in range(9000)])
    assert log.size == 0
    assert assert_whole(disk.killed(), acknowledged=0, attempted=9000) % 4096 == 0


def test_a_failure_while_closing_loses_nothing() -> None:
    disk, log = disk_with(4, unsettled=1)
    log.append(entry(4))
    disk.fault = Fault(at=0, how="failed")
    with pytest.raises(StateError, match="cannot be written"):
        log.close()
    assert not disk.held
    assert assert_whole(disk.unplugged(1), acknowledged=5, attempted=5) == 5


def test_a_crash_between_guard_and_checkpoint_is_finished() -> None:
    disk, log = disk_with(3)
    disk.fault = Fault(at=4, how="failed")  # the first step after the guard's sync
    with pytest.raises(StateError):
        log.append(entry(3))
    left = disk.killed()
    assert open_checkpoint(left.read(DIRECTORY / "checkpoint", 4096), SIGNER.verifier).size == 3
    assert assert_whole(left, acknowledged=4, attempted=4) == 4


def test_a_record_beyond_the_guard_is_dropped() -> None:
    disk, log = disk_with(3)
    disk.fault = Fault(at=2, how="failed")  # the redo file is synced, the guard is not written
    with pytest.raises(StateError):
        log.append(b"never acknowledged")
    assert assert_whole(disk.killed(), acknowledged=3, attempted=3) == 3


class Crashes(RuleBasedStateMachine):
    """Appends, crashes at any step in any way, reopens; what was acknowledged stays."""

    @initialize(size=st.sampled_from([0, 1, 250, 255]))
    def begin(self, size: int) -> None:
        self.disk = MemoryDisk()
        self.log: TileLog | None = open_log(self.disk)
        self.acknowledged = self.attempted = size
        self.log.append_many([entry(number) for number in range(size)])
        self.seen: dict[int, bytes] = {}

    @precondition(lambda self: self.log is not None)
    @rule(count=st.integers(1, 6), together=st.booleans())
    def append(self, count: int, together: bool) -> None:
        assert self.log is not None
        entries = [entry(self.acknowledged + number) for number in range(count)]
        if together:
            self.log.append_many(entries)
        else:
            for one in entries:
                self.log.append(one)
        self.acknowledged = self.attempted = self.acknowledged + count

    @precondition(lambda self: self.log is not None)
    @rule(
        at=st.integers(0, 40),
        how=st.sampled_from(["failed", "persisted", "torn"]),
        power=st.none() | st.integers(0, 10_000),
    )
    def crash(self, at: int, how: str, power: int | None) -> None:
        assert self.log is not None
        self.disk.fault = Fault(at, how)
        with pytest.raises(StateError, match="cannot be written"):
            self._append_until_it_fails(self.log)
        self.log = None
        self.disk = self.disk.killed() if power is None else self.disk.unplugged(power)

    def _append_until_it_fails(self, log: TileLog) -> None:
        while True:
            self.attempted = self.acknowledged + 1
            log.append(entry(self.acknowledged))
            self.acknowledged += 1

    @precondition(lambda self: self.log is None)
    @rule(at=st.integers(0, 30), power=st.none() | st.integers(0, 10_000))
    def crash_while_opening(self, at: int, power: int | None) -> None:
        self.disk.fault = Fault(at, "torn")
        with suppress(StateError):
            open_log(self.disk)
        self.disk = self.disk.killed() if power is None else self.disk.unplugged(power)

    @precondition(lambda self: self.log is None)
    @rule()
    def reopen(self) -> None:
        self.log = open_log(self.disk)
        assert self.acknowledged <= self.log.size <= self.attempted
        self.acknowledged = self.attempted = self.log.size

    @precondition(lambda self: self.log is not None)
    @rule()
    def close(self) -> None:
        assert self.log is not None
        self.log.close()
        self.log = None
        self.disk = self.disk.unplugged(7)

    @invariant()
    def no_checkpoint_forks(self) -> None:
        if getattr(self, "log", None) is None:
            return
        assert self.log is not None
        assert self.log.root == root_at(self.log.size)
        assert self.seen.setdefault(self.log.size, self.log.checkpoint) == self.log.checkpoint
        report = verify_directory(DIRECTORY, None, storage=self.disk)
        assert report.size == self.log.size == self.acknowledged


Crashes.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestCrashes = Crashes.TestCase
