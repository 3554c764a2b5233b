"""Verifying a directory: whole logs pass, and every kind of change is found and named."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from yumen_core.clock import ManualClock
from yumen_core.errors import CallError, PeerError, StateError
from yumen_core.log.appender import TileLog
from yumen_core.log.checkpoint import Checkpoint, sign_checkpoint
from yumen_core.log.entry import Act
from yumen_core.log.merkle import leaf_hash, root_of
from yumen_core.log.note import Signer, sign_note
from yumen_core.log.tiles import decode_bundle, encode_bundle, frame
from yumen_core.log.verify import verify_directory
from yumen_core.secret import Secret

SIGNER = Signer("log.example/node", Secret(bytes(range(32))))
KEY = SIGNER.verifier.text
SIZE = 600


def entry(number: int) -> bytes:
    return f"entry {number}".encode()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    with open_log(root) as log:
        log.append_many([entry(number) for number in range(598)])
        log.append(entry(598))
        log.append(entry(599))
    return root / "log"


def open_log(root: Path) -> TileLog:
    return TileLog.open(
        root / "log", SIGNER, origin=SIGNER.name, guard=root / "guard", clock=ManualClock()
    )


@pytest.fixture
def log(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "log"))


def refused(directory: Path, key: str | None = KEY, since: bytes | None = None) -> StateError:
    with pytest.raises(StateError) as caught:
        verify_directory(directory, key, since=since)
    return caught.value


def test_a_whole_log(whole: Path) -> None:
    report = verify_directory(whole, KEY)
    assert (report.origin, report.size, report.unpublished) == (SIGNER.name, SIZE, 0)
    assert report.root == root_of(leaf_hash(entry(number)) for number in range(SIZE))
    assert (report.key, report.key_source, report.since_size) == (KEY, "given", None)
    assert (report.first_time, report.last_time) == (None, None)


def test_the_key_may_come_from_the_directory_and_the_report_says_so(whole: Path) -> None:
    assert verify_directory(whole, None).key_source == "log.vkey"


def test_the_times_are_those_of_the_first_and_last_entry(tmp_path: Path) -> None:
    clock = ManualClock(1_790_000_000_000)
    guard = tmp_path / "guard"
    with TileLog.open(
        tmp_path / "log", SIGNER, origin=SIGNER.name, guard=guard, clock=clock
    ) as log:
        for _ in range(300):
            log.record(Act.STARTUP)
            clock.advance(1)
    report = verify_directory(tmp_path / "log", KEY)
    assert report.first_time == "2026-09-21T14:13:20.000Z"
    assert report.last_time == "2026-09-21T14:13:20.299Z"


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257])
def test_logs_of_every_shape(tmp_path: Path, size: int) -> None:
    with open_log(tmp_path) as log:
        log.append_many([entry(number) for number in range(size)])
    assert verify_directory(tmp_path / "log", KEY).size == size


def change_entry(log: Path, name: str, at: int, count: int) -> None:
    path = log / name
    entries = decode_bundle(path.read_bytes(), count)
    entries[at] = b"changed"
    path.write_bytes(encode_bundle(entries))


def flip(log: Path, name: str, at: int) -> None:
    data = bytearray((log / name).read_bytes())
    data[at] ^= 1
    (log / name).write_bytes(bytes(data))


def cut(log: Path, name: str, count: int) -> None:
    data = (log / name).read_bytes()
    (log / name).write_bytes(data[:-count])


def put(log: Path, name: str, data: bytes) -> None:
    (log / name).parent.mkdir(parents=True, exist_ok=True)
    (log / name).write_bytes(data)


def resign(log: Path, text: str) -> None:
    put(log, "checkpoint", sign_note(text, [SIGNER]))


def forge_all(log: Path) -> None:
    """An entry and every hash above it changed, as one would who can write the directory."""
    change_entry(log, "tile/entries/000", 7, 256)
    entries = [b"changed" if number == 7 else entry(number) for number in range(SIZE)]
    leaves = [leaf_hash(one) for one in entries]
    put(log, "tile/0/000", b"".join(leaves[:256]))
    put(log, "tile/1/000.p/2", root_of(leaves[:256]) + root_of(leaves[256:512]))


EMPTY_TEXT = Checkpoint(SIGNER.name, 0, root_of([])).text
SHORT_TEXT = Checkpoint(SIGNER.name, 599, bytes(32)).text
LONG_TEXT = Checkpoint(SIGNER.name, 601, bytes(32)).text
OTHER_TEXT = Checkpoint("log.example/other", SIZE, bytes(32)).text
LAST = "tile/entries/002.p/88"

# (what is done to a whole log, what the refusal says)
CHANGES: list[tuple[str, Callable[[Path], object], str]] = [
    (
        "an entry changed in a full bundle",
        lambda log: change_entry(log, "tile/entries/001", 5, 256),
        "entry `261` of `tile/entries/001` does not hash to what `tile/0/001` holds",
    ),
    (
        "an entry changed in the last bundle",
        lambda log: change_entry(log, LAST, 86, 88),
        "entry `598` differs between `tile/entries/002.p/87` and a wider bundle",
    ),
    (
        "the last entry changed",
        lambda log: change_entry(log, LAST, 87, 88),
        f"entry `599` of `{LAST}` does not hash to what `tile/0/002.p/88` holds",
    ),
    (
        "an entry changed with all hashes above it",
        forge_all,
        "the 600 entries do not give the root that `checkpoint` signs",
    ),
    (
        "a leaf hash changed",
        lambda log: flip(log, "tile/0/000", 32 * 9 + 3),
        "entry `9` of `tile/entries/000` does not hash to what `tile/0/000` holds",
    ),
    (
        "a hash of the level above changed",
        lambda log: flip(log, "tile/1/000.p/2", 40),
        "`tile/1/000.p/2` does not hold the hash of entries `256` to `511`",
    ),
    (
        "a tile cut short",
        lambda log: cut(log, "tile/0/001", 1),
        "entry `511` of `tile/entries/001` does not hash to what `tile/0/001` holds",
    ),
    (
        "a tile too long",
        lambda log: put(log, "tile/0/001", bytes(9000)),
        "`tile/0/001` has more than 8192 bytes",
    ),
    (
        "a bundle cut short",
        lambda log: cut(log, "tile/entries/001", 3),
        "`tile/entries/001`, entries `256` to `511`: the bundle ends within its entry `255`",
    ),
    (
        "a bundle with one entry more than its name says",
        lambda log: put(log, LAST, (log / LAST).read_bytes() + frame(b"more")),
        f"`{LAST}`, entries `512` to `599`: the bundle goes on after its 88 entries",
    ),
    (
        "a bundle missing",
        lambda log: (log / "tile/entries/000").unlink(),
        "`tile/entries/000` is missing from a log of 600 entries",
    ),
    (
        "the last bundle missing",
        lambda log: (log / LAST).unlink(),
        f"`{LAST}` is missing from a log of 600 entries",
    ),
    (
        "a tile missing",
        lambda log: (log / "tile/1/000.p/2").unlink(),
        "`tile/1/000.p/2` is missing from a log of 600 entries",
    ),
    (
        "everything missing",
        lambda log: shutil.rmtree(log / "tile"),
        "`tile/entries/000` is missing from a log of 600 entries",
    ),
    (
        "an older partial tile changed",
        lambda log: flip(log, "tile/0/002.p/87", 0),
        "entry `512` of `tile/entries/002.p/87` does not hash to what `tile/0/002.p/87` holds",
    ),
    (
        "a stray file",
        lambda log: put(log, "tile/0/notes.txt", b"x"),
        "`tile/0/notes.txt` does not belong in a log",
    ),
    (
        "a stray level",
        lambda log: put(log, "tile/9/000", b"x"),
        "`tile/9/000` does not belong in a log",
    ),
    ("a file for a level", lambda log: put(log, "tile/3", b"x"), "`tile/3` cannot be read"),
    (
        "a folder for a tile",
        lambda log: ((log / "tile/0/000").unlink(), put(log, "tile/0/000/001", b"x")),
        "`tile/0/000/001` does not belong in a log",
    ),
    (
        "garbage beyond the checkpoint",
        lambda log: put(log, "tile/entries/002.p/89", b"\x00"),
        "`tile/entries/002.p/89`, entries `512` to `600`: the bundle ends before its entry `0`",
    ),
    (
        "a bundle beyond the last",
        lambda log: put(log, "tile/entries/003.p/1", frame(b"more")),
        "`tile/entries/003.p/1` stands for entries that the log does not have",
    ),
    (
        "hashes beyond the last entry",
        lambda log: put(log, "tile/0/003.p/1", bytes(32)),
        "`tile/0/003.p/1` stands for entries that the log does not have",
    ),
    (
        "a wider tile than there are entries",
        lambda log: put(log, "tile/0/002.p/89", (log / "tile/0/002.p/88").read_bytes() + bytes(32)),
        "`tile/0/002.p/89` stands for entries that the log does not have",
    ),
    (
        "an unpublished entry that does not hash to its tile",
        lambda log: (
            put(log, "tile/entries/002.p/89", (log / LAST).read_bytes() + frame(b"more")),
            put(log, "tile/0/002.p/89", (log / "tile/0/002.p/88").read_bytes() + bytes(32)),
        ),
        "entry `600` of `tile/entries/002.p/89` does not hash to what `tile/0/002.p/89` holds",
    ),
    ("no checkpoint", lambda log: (log / "checkpoint").unlink(), "`checkpoint` is missing"),
    (
        "a changed checkpoint",
        lambda log: flip(log, "checkpoint", 19),
        "`checkpoint`: the signature of `log.example/node` is not over this text",
    ),
    (
        "a checkpoint of another log",
        lambda log: resign(log, OTHER_TEXT),
        "`checkpoint`: expected a checkpoint of the log `log.example/node`, got one of "
        "`log.example/other`",
    ),
    (
        "a note that is no checkpoint",
        lambda log: resign(log, "hello\n"),
        "`checkpoint`: the checkpoint is malformed: expected an origin, a size and a root",
    ),
    (
        "a checkpoint over fewer entries with a wrong root",
        lambda log: resign(log, SHORT_TEXT),
        "the 599 entries do not give the root that `checkpoint` signs",
    ),
    (
        "a checkpoint over more entries than there are",
        lambda log: resign(log, LONG_TEXT),
        "`tile/entries/002.p/89` is missing from a log of 601 entries",
    ),
]


@pytest.mark.parametrize(
    ("change", "message"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES]
)
def test_every_change_is_found(log: Path, change: Callable[[Path], object], message: str) -> None:
    change(log)
    error = refused(log)
    assert (error.code, error.message) == ("log_corrupt", message)
    assert error.remedy == "keep the directory as it is and call the auditor"


def test_every_byte_of_a_small_log_counts(tmp_path: Path) -> None:
    with open_log(tmp_path) as small:
        small.append_many([b"one", b"two", b"three"])
    for path in sorted((tmp_path / "log").rglob("*")):
        if not path.is_file() or path.name in ("redo", "log.vkey"):
            continue
        good = path.read_bytes()
        for at in range(len(good)):
            path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
            assert refused(tmp_path / "log").code == "log_corrupt"
        path.write_bytes(good)
    assert verify_directory(tmp_path / "log", KEY).size == 3


def test_another_key(log: Path) -> None:
    other = Signer(SIGNER.name, Secret(bytes(32))).verifier.text
    assert refused(log, other).message == (
        "`checkpoint`: the note has no signature by the key expected, of `log.example/node`"
    )
    (log / "log.vkey").write_text("not a key")
    assert refused(log, None).message == "`log.vkey` is not a verifier key"
    (log / "log.vkey").unlink()
    assert refused(log, None).message == "`log.vkey` is missing"
    with pytest.raises(CallError, match="a note's key has the form"):
        verify_directory(log, "nonsense")


def test_consistent_entries_beyond_the_checkpoint_are_counted(log: Path, tmp_path: Path) -> None:
    short = root_of(leaf_hash(entry(number)) for number in range(590))
    put(log, "checkpoint", sign_checkpoint(Checkpoint(SIGNER.name, 512, bytes(32)), SIGNER))
    assert refused(log).message == "the 512 entries do not give the root that `checkpoint` signs"
    assert short != bytes(32)
    half = root_of(leaf_hash(entry(number)) for number in range(512))
    put(log, "checkpoint", sign_checkpoint(Checkpoint(SIGNER.name, 512, half), SIGNER))
    report = verify_directory(log, KEY)
    assert (report.size, report.unpublished) == (512, 88)
    resign(log, EMPTY_TEXT)
    assert verify_directory(log, KEY).unpublished == SIZE


def test_an_older_checkpoint_must_be_a_prefix(log: Path) -> None:
    for size in (0, 1, 256, 300, 599, 600):
        root = root_of(leaf_hash(entry(number)) for number in range(size))
        since = sign_checkpoint(Checkpoint(SIGNER.name, size, root), SIGNER)
        assert verify_directory(log, KEY, since=since).since_size == size
        wrong = sign_checkpoint(Checkpoint(SIGNER.name, size, bytes(32)), SIGNER)
        error = refused(log, since=wrong)
        assert error.code == "log_fork"
        assert error.message == (
            f"the log does not extend the checkpoint it signed at size `{size}`"
        )
    ahead = sign_checkpoint(Checkpoint(SIGNER.name, 601, bytes(32)), SIGNER)
    assert refused(log, since=ahead).message == "the log holds `600` entries and had `601` before"
    with pytest.raises(PeerError, match="the note is malformed"):
        verify_directory(log, KEY, since=b"nonsense")
    stranger = Signer(SIGNER.name, Secret(bytes(32)))
    with pytest.raises(PeerError, match="has no signature by the key expected"):
        verify_directory(log, KEY, since=sign_note(EMPTY_TEXT, [stranger]))


def test_a_log_that_lost_power_is_told_apart(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.append(b"one")
    (tmp_path / "log/tile/0/000.p/1").write_bytes(b"")
    error = refused(tmp_path / "log")
    assert error.remedy.startswith("if the machine lost power, start the log's owner once")
    log._held.close()  # as a process that ends without closing its log
    open_log(tmp_path).close()
    assert verify_directory(tmp_path / "log", KEY).size == 1


def test_a_hundred_thousand_entries_verify_in_seconds(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.append_many([b"%0200d" % number for number in range(100_000)])
    start = time.perf_counter()
    assert verify_directory(tmp_path / "log", KEY).size == 100_000
    assert time.perf_counter() - start < 10  # 0.4 to 1.4 s measured, on shared cores
