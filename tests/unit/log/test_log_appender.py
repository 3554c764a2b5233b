"""The log on a real disk: what it writes, what it proves, and when it refuses to open."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from log_disk_model import MemoryDisk
from yumen_core.clock import ManualClock
from yumen_core.errors import CallError, StateError
from yumen_core.log import merkle
from yumen_core.log.appender import TileLog
from yumen_core.log.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from yumen_core.log.entry import Act, decode_entry
from yumen_core.log.guard import SLOT_BYTES, encode_slot
from yumen_core.log.note import Signer
from yumen_core.log.verify import verify_directory
from yumen_core.secret import Secret

SIGNER = Signer("log.example/node", Secret(bytes(range(32))))


def open_log(root: Path, signer: Signer = SIGNER) -> TileLog:
    return TileLog.open(
        root / "log",
        signer,
        origin=signer.name,
        guard=root / "kept" / "guard",
        clock=ManualClock(1_790_000_000_000),
    )


def entry(number: int) -> bytes:
    return f"entry {number}".encode()


def files(root: Path) -> list[str]:
    found = (path for path in (root / "log").rglob("*") if path.is_file())
    return sorted(path.relative_to(root / "log").as_posix() for path in found)


def test_an_empty_log_is_published(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        assert (log.size, log.root, log.origin) == (0, merkle.EMPTY_ROOT, SIGNER.name)
        assert (tmp_path / "log/checkpoint").read_bytes() == log.checkpoint
        assert (tmp_path / "log/log.vkey").read_text() == SIGNER.verifier.text + "\n"
        assert list(log.entries()) == []
    assert files(tmp_path) == ["checkpoint", "log.vkey", "redo"]


def test_the_files_of_a_log_of_300_are_the_specifications(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        for number in range(300):
            assert log.append(entry(number)) == number
    published = [name for name in files(tmp_path) if name.startswith("tile")]
    widths = range(1, 45)
    assert published == sorted(
        [
            *("tile/0/000", "tile/1/000.p/1", "tile/entries/000"),
            *(f"tile/{level}/001.p/{width}" for level in (0, "entries") for width in widths),
        ]
    )
    leaves = [hashlib.sha256(b"\x00" + entry(n)).digest() for n in range(300)]
    tile = (tmp_path / "log/tile/0/001.p/44").read_bytes()
    assert tile == b"".join(leaves[256:])
    assert (tmp_path / "log/tile/1/000.p/1").read_bytes() == merkle.root_of(leaves[:256])
    bundle = (tmp_path / "log/tile/entries/000").read_bytes()
    assert bundle.startswith(b"\x00\x07entry 0\x00\x07entry 1")
    text = (tmp_path / "log/checkpoint").read_text().split("\n")
    assert text[:3] == [SIGNER.name, "300", base64.b64encode(merkle.root_of(leaves)).decode()]


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 600])
def test_one_by_one_and_together_make_the_same_log(tmp_path: Path, size: int) -> None:
    entries = [entry(number) for number in range(size)]
    with open_log(tmp_path / "a") as one, open_log(tmp_path / "b") as many:
        for data in entries:
            one.append(data)
        assert many.append_many(entries) == range(size)
        assert many.append_many([]) == range(size, size)
        assert one.checkpoint == many.checkpoint
    wanted = [name for name in files(tmp_path / "b") if name != "redo"]
    for name in wanted:
        assert (tmp_path / "a/log" / name).read_bytes() == (tmp_path / "b/log" / name).read_bytes()


def test_proofs_hold_at_every_size(tmp_path: Path) -> None:
    chance = random.Random(1)
    with open_log(tmp_path) as log:
        old: list[tuple[int, bytes]] = []
        for count in (1, 1, 3, 250, 1, 1, 300, 70_000):
            log.append_many([entry(log.size + number) for number in range(count)])
            for index in {0, log.size - 1, chance.randrange(log.size)}:
                leaf = merkle.leaf_hash(log.entry(index))
                assert log.entry(index) == entry(index)
                proof = log.inclusion_proof(index)
                merkle.verify_inclusion(leaf, index, log.size, proof, log.root)
            for size, root in old:
                proof = log.consistency_proof(size)
                merkle.verify_consistency(size, root, log.size, log.root, proof)
            old.append((log.size, log.root))
        assert list(log.entries(250, 600)) == [entry(number) for number in range(250, 600)]
        assert list(log.entries(7, 7)) == []
    with open_log(tmp_path) as again:
        assert (again.size, again.root) == old[-1]


def test_wrong_calls(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.append(b"")
        with pytest.raises(CallError, match="a log entry has at most 65535 bytes, got `65536`"):
            log.append_many([b"fine", bytes(65_536)])
        assert log.size == 1
        for bad in (-1, 1):
            with pytest.raises(CallError, match=f"entry `{bad}` is not in a log of 1 entries"):
                log.entry(bad)
            with pytest.raises(CallError, match=f"entry `{bad}` is not in a log of 1 entries"):
                log.inclusion_proof(bad)
        with pytest.raises(CallError, match="size `2` is not within a log of 1 entries"):
            log.consistency_proof(2)
        with pytest.raises(CallError, match="entries `1` to `0` are not in a log of 1 entries"):
            log.entries(1, 0)
    with pytest.raises(StateError, match="is closed") as caught:
        log.append(b"late")
    assert caught.value.code == "log_closed"
    log.close()
    assert log.entry(0) == b""


def test_the_largest_entries_fit(tmp_path: Path) -> None:
    entries = [bytes([number]) * 65_535 for number in range(70)]
    with open_log(tmp_path) as log:
        log.append_many(entries)
        log.append(entries[0])
    with open_log(tmp_path) as log:
        assert list(log.entries()) == [*entries, entries[0]]


def test_record_takes_the_time_of_the_clock(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        index = log.record(Act.STARTUP, subject={"node": "spiffe://x/node/甲"})
        found = decode_entry(log.entry(index))
    assert (found.act, found.time_ms) == (Act.STARTUP, 1_790_000_000_000)
    assert found.subject == {"node": "spiffe://x/node/甲"}


def test_the_origin_is_the_keys_name(tmp_path: Path) -> None:
    with pytest.raises(CallError) as caught:
        TileLog.open(tmp_path, SIGNER, origin="o", guard=tmp_path / "g", clock=ManualClock())
    assert caught.value.message == "the log `o` needs a key of its name, got `log.example/node`"


def test_the_guard_lies_elsewhere(tmp_path: Path) -> None:
    guard = tmp_path / "log" / "guard"
    with pytest.raises(CallError, match="lies within the log's directory"):
        TileLog.open(tmp_path / "log", SIGNER, origin=SIGNER.name, guard=guard, clock=ManualClock())


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.append(b"one")
        with pytest.raises(StateError) as caught:
            open_log(tmp_path)
        assert caught.value.message == f"the log `{tmp_path}/log` is open in another process"
        log.append(b"two")
    with open_log(tmp_path) as log:
        assert log.size == 2


def test_threads_may_append(tmp_path: Path) -> None:
    found: list[int] = []
    with open_log(tmp_path) as log:

        def work(name: int) -> None:
            found.extend(log.append(f"{name}".encode()) for _ in range(40))

        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == list(range(320))
    assert verify_directory(tmp_path / "log", None).size == 320


def test_a_log_can_be_verified_while_it_is_written(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        done = threading.Event()

        def work() -> None:
            for number in range(700):
                log.append(entry(number))
            done.set()

        writer = threading.Thread(target=work)
        writer.start()
        while not done.is_set():
            report = verify_directory(tmp_path / "log", SIGNER.verifier.text)
            assert report.unpublished <= 700
        writer.join()


# Logs that must not open -------------------------------------------------------------------------


def grow(root: Path, count: int) -> None:
    with open_log(root) as log:
        log.append_many([entry(log.size + number) for number in range(count)])


def test_a_restored_backup_is_a_fork(tmp_path: Path) -> None:
    grow(tmp_path, 5)
    shutil.copytree(tmp_path / "log", tmp_path / "backup")
    grow(tmp_path, 2)
    shutil.rmtree(tmp_path / "log")
    shutil.copytree(tmp_path / "backup", tmp_path / "log")
    before = {name: (tmp_path / "log" / name).read_bytes() for name in files(tmp_path)}
    with pytest.raises(StateError) as caught:
        open_log(tmp_path)
    assert caught.value.code == "log_fork"
    assert caught.value.message == (
        "the log holds `5` entries and `7` were signed: it was restored from a backup or cut short"
    )
    assert {name: (tmp_path / "log" / name).read_bytes() for name in files(tmp_path)} == before


def test_a_log_that_was_lost_is_a_fork(tmp_path: Path) -> None:
    grow(tmp_path, 5)
    shutil.rmtree(tmp_path / "log")
    with pytest.raises(StateError, match="the log holds `0` entries and `5` were signed") as caught:
        open_log(tmp_path)
    assert caught.value.code == "log_fork"


def test_another_log_of_the_same_size_is_a_fork(tmp_path: Path) -> None:
    grow(tmp_path / "a", 5)
    with open_log(tmp_path / "b") as log:
        log.append_many([b"other"] * 5)
    shutil.rmtree(tmp_path / "a/log")
    shutil.copytree(tmp_path / "b/log", tmp_path / "a/log")
    with pytest.raises(StateError, match="the log's root at size `5` is not the one") as caught:
        open_log(tmp_path / "a")
    assert caught.value.code == "log_fork"


def test_a_longer_log_must_extend_its_guard(tmp_path: Path) -> None:
    grow(tmp_path / "a", 300)
    grow(tmp_path / "b", 5)
    shutil.copy(tmp_path / "b/kept/guard", tmp_path / "a/kept/guard")
    with open_log(tmp_path / "a") as log:
        assert log.size == 300
    wrong = Checkpoint(SIGNER.name, 5, bytes(32))
    (tmp_path / "a/kept/guard").write_bytes(encode_slot(wrong) * 2)
    with pytest.raises(StateError, match="the log's root at size `5` is not the one"):
        open_log(tmp_path / "a")


def test_a_log_without_its_guard_does_not_open(tmp_path: Path) -> None:
    grow(tmp_path, 1)
    (tmp_path / "kept/guard").unlink()
    with pytest.raises(StateError, match="of a log with entries is missing") as caught:
        open_log(tmp_path)
    assert caught.value.code == "log_fork"


def test_a_guard_with_one_torn_slot_is_still_a_guard(tmp_path: Path) -> None:
    grow(tmp_path, 1)
    grow(tmp_path, 1)
    guard = tmp_path / "kept/guard"
    data = guard.read_bytes()
    for at in (0, SLOT_BYTES):
        guard.write_bytes(data[:at] + bytes(9) + data[at + 9 :])
        with open_log(tmp_path) as log:
            assert log.size == 2


@pytest.mark.parametrize("data", [b"", bytes(2 * SLOT_BYTES), b"x" * 100])
def test_a_damaged_guard_is_refused(tmp_path: Path, data: bytes) -> None:
    grow(tmp_path, 1)
    (tmp_path / "kept/guard").write_bytes(data)
    with pytest.raises(StateError, match=r"the log's guard `.*/kept/guard` is damaged"):
        open_log(tmp_path)


def test_another_key_or_guard_is_refused(tmp_path: Path) -> None:
    grow(tmp_path / "a", 1)
    same_name = Signer(SIGNER.name, Secret(bytes(32)))
    with pytest.raises(StateError, match="was begun with another key"):
        open_log(tmp_path / "a", same_name)
    other = Signer("log.example/other", Secret(bytes(32)))
    with open_log(tmp_path / "b", other):
        pass
    shutil.copy(tmp_path / "b/kept/guard", tmp_path / "a/kept/guard")
    with pytest.raises(StateError) as caught:
        open_log(tmp_path / "a")
    assert caught.value.message == (
        f"the guard `{tmp_path}/a/kept/guard` belongs to the log `log.example/other`, "
        "not to `log.example/node`"
    )


DAMAGE = [
    ("tile/0/000.p/5", None, "`tile/0/000.p/5` is missing from the log"),
    ("tile/0/000.p/5", b"x", "`tile/0/000.p/5`: the tile has 160 bytes, got `1`"),
    ("tile/0/000.p/5", bytes(160), "do not give the root signed at size `5`"),
    ("tile/entries/000.p/5", b"", "`tile/entries/000.p/5`: the bundle ends before its entry `0`"),
    ("redo", b"", "`redo`: the file does not begin with a whole header"),
]


@pytest.mark.parametrize(("name", "data", "message"), DAMAGE)
def test_a_damaged_edge_is_refused(
    tmp_path: Path, name: str, data: bytes | None, message: str
) -> None:
    grow(tmp_path, 5)
    path = tmp_path / "log" / name
    path.unlink() if data is None else path.write_bytes(data)
    with pytest.raises(StateError) as caught:
        open_log(tmp_path)
    assert caught.value.code == "log_corrupt"
    assert message in caught.value.message


def test_a_checkpoint_by_another_key_is_refused(tmp_path: Path) -> None:
    grow(tmp_path, 5)
    state = open_checkpoint((tmp_path / "log/checkpoint").read_bytes(), SIGNER.verifier)
    forged = sign_checkpoint(state, Signer(SIGNER.name, Secret(bytes(32))))
    (tmp_path / "log/checkpoint").write_bytes(forged)
    with pytest.raises(StateError, match="`checkpoint`: the note has no signature by the key"):
        open_log(tmp_path)


def test_a_record_slipped_into_the_redo_file_is_not_signed(tmp_path: Path) -> None:
    from yumen_core.log.redo import encode_record

    grow(tmp_path, 5)
    with open(tmp_path / "log/redo", "ab") as file:
        file.write(encode_record(5, [b"forged"]))
    with open_log(tmp_path) as log:
        assert log.size == 5


def test_a_log_without_its_redo_file_opens_at_its_checkpoint(tmp_path: Path) -> None:
    grow(tmp_path, 5)
    (tmp_path / "log/redo").unlink()
    with open_log(tmp_path) as log:
        assert log.append(entry(5)) == 5
    (tmp_path / "log/redo").unlink()
    (tmp_path / "log/checkpoint").unlink()
    with pytest.raises(StateError, match="has tiles and no checkpoint to check them"):
        open_log(tmp_path)


def test_opening_reads_the_right_edge_only() -> None:
    class Counting(MemoryDisk):
        reads = 0

        def read(self, path: Path, limit: int) -> bytes:
            self.reads += 1
            return super().read(path, limit)

    disk = Counting()
    arguments = {"origin": SIGNER.name, "guard": Path("/g/guard"), "clock": ManualClock()}
    log = TileLog.open(Path("/log"), SIGNER, storage=disk, **arguments)  # type: ignore[arg-type]
    log.append_many([entry(number) for number in range(70_001)])
    log.close()
    disk.reads = 0
    TileLog.open(Path("/log"), SIGNER, storage=disk, **arguments)  # type: ignore[arg-type]
    assert disk.reads < 15


CHILD = """
import sys
from pathlib import Path
from yumen_core.clock import SystemClock
from yumen_core.log.appender import TileLog
from yumen_core.log.note import Signer
from yumen_core.secret import Secret

root = Path(sys.argv[1])
signer = Signer("log.example/node", Secret(bytes(range(32))))
guard = root / "kept" / "guard"
log = TileLog.open(root / "log", signer, origin=signer.name, guard=guard, clock=SystemClock())
print(log.size, flush=True)
while True:
    sys.stdout.write(f"{log.append(b'entry %d' % log.size)}\\n")
    sys.stdout.flush()
"""


def test_a_killed_process_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    acknowledged = 0
    for lines in (3, 120, 260):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        with child, child.stdout:
            assert acknowledged <= int(child.stdout.readline())
            for _ in range(lines):
                acknowledged = int(child.stdout.readline()) + 1
            os.kill(child.pid, signal.SIGKILL)
            rest = child.stdout.read().split("\n")[:-1]
            acknowledged = int(rest[-1]) + 1 if rest else acknowledged
    with open_log(tmp_path) as log:
        assert acknowledged <= log.size <= acknowledged + 1
        assert list(log.entries()) == [entry(number) for number in range(log.size)]
    assert verify_directory(tmp_path / "log", SIGNER.verifier.text).size == log.size


def test_entries_within_the_publication_delay_share_one_checkpoint(tmp_path: Path) -> None:
    """Durable at once: a copy taken before publication opens with every entry."""
    directory, guard = tmp_path / "log", tmp_path / "guard" / "log.guard"
    log = TileLog.open(
        directory,
        SIGNER,
        origin=SIGNER.name,
        guard=guard,
        clock=ManualClock(),
        publish_delay_s=60.0,
    )
    before = (directory / "checkpoint").read_bytes()
    log.append(b"one")
    log.append(b"two")
    assert (directory / "checkpoint").read_bytes() == before
    copied = tmp_path / "copy"
    shutil.copytree(directory, copied / "log")
    shutil.copytree(guard.parent, copied / "guard")
    assert list(log.entries()) == [b"one", b"two"]  # a reader in the process sees them
    assert verify_directory(directory, SIGNER.verifier.text).size == 2
    log.append(b"three")
    log.close()
    assert verify_directory(directory, SIGNER.verifier.text).size == 3
    with TileLog.open(
        copied / "log",
        SIGNER,
        origin=SIGNER.name,
        guard=copied / "guard" / "log.guard",
        clock=ManualClock(),
    ) as again:
        assert list(again.entries()) == [b"one", b"two"]


def test_a_delayed_publication_comes_by_itself(tmp_path: Path) -> None:
    with TileLog.open(
        tmp_path / "log",
        SIGNER,
        origin=SIGNER.name,
        guard=tmp_path / "guard" / "log.guard",
        clock=ManualClock(),
        publish_delay_s=0.01,
    ) as log:
        log.append(b"one")
        deadline = time.monotonic() + 10
        while verify_directory(tmp_path / "log", SIGNER.verifier.text).size != 1:
            assert time.monotonic() < deadline
            time.sleep(0.005)
