"""The written forms: tile paths, bundles, notes, checkpoints, entries, redo file, guard."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yumen_core.errors import CallError, PeerError
from yumen_core.log import tiles
from yumen_core.log.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint, sign_checkpoint
from yumen_core.log.entry import MAX_INT, Act, Entry, decode_entry, parse_time, time_text
from yumen_core.log.guard import SLOT_BYTES, decode_slot, encode_slot
from yumen_core.log.merkle import EMPTY_ROOT
from yumen_core.log.note import MAX_NOTE_BYTES, Signer, Verifier, open_note, sign_note
from yumen_core.log.redo import decode_redo, encode_header, encode_record
from yumen_core.log.tiles import ENTRIES, Tile
from yumen_core.secret import Secret

# The example key and signature in the documentation of golang.org/x/mod/sumdb/note.
GO_SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
GO_NOTE = (
    GO_TEXT + "\n— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()

ALICE = Signer("log.example/alice", Secret(bytes(32)))
BOB = Signer("log.example/bob", Secret(bytes([1]) * 32))

# Tiles -------------------------------------------------------------------------------------------

PATHS = [
    (Tile(0, 0), "tile/0/000"),
    (Tile(0, 0, 1), "tile/0/000.p/1"),
    (Tile(1, 999, 255), "tile/1/999.p/255"),
    (Tile(2, 1000), "tile/2/x001/000"),
    (Tile(7, 1_234_067), "tile/7/x001/x234/067"),
    (Tile(ENTRIES, 1_234_067, 8), "tile/entries/x001/x234/067.p/8"),
]


@pytest.mark.parametrize(("tile", "path"), PATHS)
def test_tile_paths(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert tiles.parse_path(path) == tile


@given(st.integers(-1, 7), st.integers(0, (1 << 56) - 1), st.integers(1, 256))
def test_tile_paths_come_back(level: int, index: int, width: int) -> None:
    assert tiles.parse_path(Tile(level, index, width).path) == Tile(level, index, width)


BAD_PATHS = [
    *("", "tile", "tile/0", "tile/0/0", "tile/0/0000", "tile/8/000", "tile/00/000", "tile/-1/000"),
    *("tile/0/000.p", "tile/0/000.p/0", "tile/0/000.p/01", "tile/0/000.p/256", "tile/0/000.p/257"),
    *("tile/0/x000/001", "tile/0/001/002", "tile/0/x001", "tile/data/000", "/tile/0/000"),
    *("tile/0/000\n", "tile/0/../000", "tile/0/٠٠٠", "tile/0/000.p/1/2", "tile/0/.next"),
    "tile/0/" + "x999/" * 8 + "999",
]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_bad_paths(path: str) -> None:
    with pytest.raises(PeerError) as caught:
        tiles.parse_path(path)
    assert caught.value.message == f"`{path}` is not the path of a tile or an entry bundle"


def test_the_right_edge_is_the_specifications_example() -> None:
    # "a tree of size 70,000 will be represented by 273 full level 0 tiles, one partial level 0
    # tile of width 112, one full level 1 tile, one partial level 1 tile of width 17, and one
    # partial level 2 tile of width 1"
    assert tiles.right_edge(70_000) == [
        Tile(ENTRIES, 273, 112),
        Tile(0, 273, 112),
        Tile(1, 1, 17),
        Tile(2, 0, 1),
    ]
    assert tiles.right_edge(256) == [Tile(1, 0, 1)]
    assert tiles.right_edge(0) == []
    assert tiles.tile_at(70_000, 1, 0) == Tile(1, 0)
    with pytest.raises(CallError, match="a tile's width is 1 to 256, got `-239`"):
        tiles.tile_at(70_000, 1, 2)


@pytest.mark.parametrize("bad", [(-2, 0, 1), (8, 0, 1), (0, -1, 1), (0, 1 << 56, 1), (0, 0, 257)])
def test_bad_coordinates(bad: tuple[int, int, int]) -> None:
    with pytest.raises(CallError, match="a tile's "):
        Tile(*bad)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_bundles_come_back(entries: list[bytes]) -> None:
    assert tiles.decode_bundle(tiles.encode_bundle(entries), len(entries)) == entries


def test_bundle_bytes() -> None:
    assert tiles.encode_bundle([b"ab", b"", b"x" * 258]) == (
        b"\x00\x02ab\x00\x00\x01\x02" + b"x" * 258
    )
    assert len(tiles.frame(bytes(65_535))) == 65_537
    with pytest.raises(CallError, match="a log entry has at most 65535 bytes, got `65536`"):
        tiles.frame(bytes(65_536))


BAD_BUNDLES = [
    (b"", 1, "the bundle ends before its entry `0`"),
    (b"\x00\x01a\x00", 2, "the bundle ends before its entry `1`"),
    (b"\x00\x02a", 1, "the bundle ends within its entry `0`"),
    (b"\x00\x01ab", 1, "the bundle goes on after its 1 entries"),
]


@pytest.mark.parametrize(("data", "count", "message"), BAD_BUNDLES)
def test_bad_bundles(data: bytes, count: int, message: str) -> None:
    with pytest.raises(PeerError) as caught:
        tiles.decode_bundle(data, count)
    assert caught.value.message == message


def test_a_tile_of_the_wrong_length() -> None:
    with pytest.raises(PeerError, match="the tile has 64 bytes, got `63`"):
        tiles.split_hashes(bytes(63), 2)


# Notes -------------------------------------------------------------------------------------------


def test_the_note_of_the_go_documentation() -> None:
    signer = Signer.parse(GO_SECRET)
    assert signer.verifier.text == GO_PUBLIC
    assert signer.reveal_text() == GO_SECRET
    assert sign_note(GO_TEXT, [signer]) == GO_NOTE
    note = open_note(GO_NOTE, [Verifier.parse(GO_PUBLIC)])
    assert note.text == GO_TEXT
    assert [one.name for one in note.verified] == ["PeterNeumann"]


def test_unknown_signers_are_kept_apart() -> None:
    data = sign_note("text\n", [ALICE, BOB])
    note = open_note(data, [BOB.verifier])
    assert [one.name for one in note.verified] == ["log.example/bob"]
    assert [one.name for one in note.unverified] == ["log.example/alice"]
    with pytest.raises(PeerError, match="has no signature by the key expected, of `PeterNeumann`"):
        open_note(data, [Verifier.parse(GO_PUBLIC)])
    with pytest.raises(PeerError, match="has no signature by the key expected, of nobody"):
        open_note(data, [])


def test_a_bad_signature_by_a_known_key_is_refused_beside_a_good_one() -> None:
    good = sign_note("text\n", [ALICE]).decode()
    bad = sign_note("other\n", [BOB]).decode().split("\n\n")[1]
    with pytest.raises(PeerError, match=r"of `log\.example/bob` is not over this text"):
        open_note((good + bad).encode(), [ALICE.verifier, BOB.verifier])


@given(st.integers(0, len(GO_NOTE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused(at: int, flip: int) -> None:
    changed = bytearray(GO_NOTE)
    changed[at] ^= flip
    with pytest.raises(PeerError):
        open_note(bytes(changed), [Verifier.parse(GO_PUBLIC)])


LINE = GO_NOTE.decode().split("\n\n")[1]
MALFORMED = "the note is malformed: expected text, a blank line and signatures"
BAD_NOTES = [
    (b"", MALFORMED),
    (GO_NOTE[:-1], MALFORMED),
    (GO_TEXT.encode(), MALFORMED),
    (
        b"a\tb\n\n" + LINE.encode(),
        MALFORMED,
    ),
    (b"\xff\n\n" + LINE.encode(), "the note is not UTF-8"),
    (b"a\n\n\n", "a signature line of the note is malformed"),
    (b"a\n\nPeterNeumann x08go/ZJkuA=\n", "a signature line of the note is malformed"),
    ("a\n\n— PeterNeumann\n".encode(), "a signature line of the note is malformed"),
    ("a\n\n— Peter+ x08go/ZJkuA=\n".encode(), "a signature line of the note is malformed"),
    ("a\n\n— Peter x08goA==\n".encode(), "a signature line of the note is malformed"),
    ("a\n\n— Peter !!!!\n".encode(), "a signature line of the note is malformed"),
    (("a\n\n" + LINE * 101).encode(), "a note has at most 100 signatures, got `101`"),
    (bytes(MAX_NOTE_BYTES + 1), "a note has at most 1000000 bytes, got `1000001`"),
]


@pytest.mark.parametrize(("data", "message"), BAD_NOTES)
def test_bad_notes(data: bytes, message: str) -> None:
    with pytest.raises(PeerError) as caught:
        open_note(data, [Verifier.parse(GO_PUBLIC)])
    assert caught.value.message == message


BAD_KEYS = [
    ("", "a note's key has the form `name+hash+base64`"),
    ("name+c74f20a3", "a note's key has the form `name+hash+base64`"),
    ("name+c74f20+AAAA", "a note's key has the form `name+hash+base64`"),
    ("n+c74f20a3+AAAA", "expected a key of type 1 with 32 bytes, got another"),
    (GO_PUBLIC.replace("+AR", "+Ah"), "expected a key of type 1 with 32 bytes, got another"),
    (GO_PUBLIC.replace("c7", "c8"), "the key of `PeterNeumann` does not match its key id"),
    (GO_PUBLIC.replace("Peter", "Paul"), "the key of `PaulNeumann` does not match its key id"),
]


@pytest.mark.parametrize(("text", "message"), BAD_KEYS)
def test_bad_keys(text: str, message: str) -> None:
    with pytest.raises(CallError) as caught:
        Verifier.parse(text)
    assert caught.value.message == message


def test_a_bad_secret_key_is_not_repeated() -> None:
    for bad in (GO_SECRET[:-4], GO_SECRET.removeprefix("PRIVATE+KEY+"), GO_SECRET + "AAAA"):
        with pytest.raises(CallError) as caught:
            Signer.parse(bad)
        assert "AYEKFALV" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\nb", "x" * 513, "\ud800"])
def test_bad_names(name: str) -> None:
    with pytest.raises(CallError, match="a key's name has 1 to 512 bytes"):
        Signer(name, Secret(bytes(32)))


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "nul\x00\n", "cr\r\n"])
def test_bad_texts(text: str) -> None:
    with pytest.raises(CallError, match="a note's text ends with a newline"):
        sign_note(text, [ALICE])


def test_a_signer_shows_nothing() -> None:
    assert repr(Signer.parse(GO_SECRET)) == "Signer('PeterNeumann', redacted)"
    with pytest.raises(TypeError, match="a signer cannot be pickled"):
        pickle.dumps(ALICE)
    assert Signer.generate("x").verifier != Signer.generate("x").verifier
    with pytest.raises(CallError, match="a note needs at least one signer"):
        sign_note("text\n", [])


# Checkpoints -------------------------------------------------------------------------------------


def test_checkpoint_text() -> None:
    checkpoint = Checkpoint("玉门.example/node", 0, EMPTY_ROOT)
    assert checkpoint.text == (
        "玉门.example/node\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    )
    assert parse_checkpoint(checkpoint.text) == checkpoint
    extended = Checkpoint("log", 7, bytes(32), ("one", "two"))
    assert parse_checkpoint(extended.text) == extended


ROOT = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
BAD_CHECKPOINTS = [
    *("", "log\n", "log\n1\n", f"\n1\n{ROOT}\n", f"log\n01\n{ROOT}\n", f"log\n-1\n{ROOT}\n"),
    *(f"log\n+1\n{ROOT}\n", f"log\n1 \n{ROOT}\n", f"log\n1\n{ROOT}", f"log\n1\n{ROOT[:-4]}\n"),
    *(f"log\n1\n{ROOT}\n\n", f"log\n1\n {ROOT}\n", f"log\n9999999999999999999\n{ROOT}\n"),
    *(f"log\n1\n{ROOT[:-2]}V=\n", f"log\n١\n{ROOT}\n", f"log\n1\n{ROOT}\n\nx\n"),
]


@pytest.mark.parametrize("text", BAD_CHECKPOINTS)
def test_bad_checkpoints(text: str) -> None:
    with pytest.raises(PeerError, match="the checkpoint is malformed: expected an origin"):
        parse_checkpoint(text)


def test_a_checkpoint_of_another_log_is_refused() -> None:
    note = sign_checkpoint(Checkpoint("log.example/other", 0, EMPTY_ROOT), ALICE)
    with pytest.raises(PeerError) as caught:
        open_checkpoint(note, ALICE.verifier)
    assert caught.value.message == (
        "expected a checkpoint of the log `log.example/alice`, got one of `log.example/other`"
    )


# Entries -----------------------------------------------------------------------------------------


def test_entry_bytes() -> None:
    entry = Entry(
        1_790_000_000_007,
        Act.DECISION,
        {"job": "018f", "node": "spiffe://甘肃.example/org/lzu/node/a"},
        {"policies": bytes(32)},
        {"accepted": True, "reasons": ["太少", "few"], "epsilon": "0.5", "cells": 12},
    )
    assert entry.encode().decode() == (
        '{"act":"decision","detail":{"accepted":true,"cells":12,"epsilon":"0.5",'
        '"reasons":["太少","few"]},"digests":{"policies":"' + "00" * 32 + '"},'
        '"subject":{"job":"018f","node":"spiffe://甘肃.example/org/lzu/node/a"},'
        '"time":"2026-09-21T14:13:20.007Z","v":1}'
    )
    assert decode_entry(entry.encode()) == entry


@given(st.integers(0, 253_402_300_799_999))
def test_times_come_back(time_ms: int) -> None:
    assert parse_time(time_text(time_ms)) == time_ms


BAD_ENTRIES = [
    (Entry(-1, Act.STARTUP), "a time is from 1970 to 9999, got `-1` ms"),
    (Entry(0, Act.STARTUP, digests={"d": bytes(31)}), "digest `d` has 32 bytes, got `31`"),
    (Entry(0, Act.STARTUP, subject={"s": 1}), "subject `s` of a log entry is not a text"),  # type: ignore[dict-item]
    (
        Entry(0, Act.STARTUP, detail={"x": MAX_INT + 1}),
        "detail `x` has at most 53 bits; send it as text",
    ),
    (
        Entry(0, Act.STARTUP, detail={"x": 0.5}),  # type: ignore[dict-item]
        "detail `x` is not an integer, a text or a list of texts",
    ),
    (Entry(0, Act.STARTUP, detail={"x": "\ud800"}), "a log entry has text keys and UTF-8 values"),
]


@pytest.mark.parametrize(("entry", "message"), BAD_ENTRIES)
def test_bad_entries(entry: Entry, message: str) -> None:
    with pytest.raises(CallError) as caught:
        entry.encode()
    assert caught.value.message == message


def test_an_entry_has_a_limit() -> None:
    spare = 65_535 - len(Entry(0, Act.STARTUP, detail={"x": ""}).encode())
    assert len(Entry(0, Act.STARTUP, detail={"x": "a" * spare}).encode()) == 65_535
    with pytest.raises(CallError, match="a log entry has at most 65535 bytes, got `65536`"):
        Entry(0, Act.STARTUP, detail={"x": "a" * (spare + 1)}).encode()


GOOD = Entry(0, Act.STARTUP).encode()
BAD_ENTRY_BYTES = [
    *(b"", b"{}", b"[]", b"null", GOOD + b"\n", b" " + GOOD, GOOD[:-1], b"\xff", b"[" * 100_000),
    *(GOOD.replace(b'"v":1', b'"v":true'), GOOD.replace(b'"v":1', b'"v":2')),
    *(GOOD.replace(b"startup", b"other"), GOOD.replace(b'"subject":{}', b'"subject":[]')),
    *(GOOD.replace(b".000Z", b"Z"), GOOD.replace(b'"detail":{}', b'"detail":{"x":0.5}')),
    GOOD.replace(b'"digests":{}', b'"digests":{"d":"' + b"AB" * 32 + b'"}'),
]


@pytest.mark.parametrize("data", BAD_ENTRY_BYTES)
def test_bad_entry_bytes(data: bytes) -> None:
    with pytest.raises(PeerError, match="the log entry is not canonical JSON of version 1"):
        decode_entry(data)


# Redo file and guard -----------------------------------------------------------------------------


def test_a_redo_file_ends_at_the_first_record_that_is_not_whole() -> None:
    head = encode_header(7, bytes(32))
    first, second = encode_record(7, [b"a", b"b"]), encode_record(9, [b"c"])
    for cut in range(len(second)):
        redo = decode_redo(head + first + second[:cut])
        assert [(batch.start, batch.entries) for batch in redo.batches] == [(7, [b"a", b"b"])]
    assert len(decode_redo(head + first + second).batches) == 2
    assert decode_redo(head + second).batches == []
    assert decode_redo(head + first + bytes(500)).batches == decode_redo(head + first).batches
    for at in range(len(first)):
        changed = bytearray(first)
        changed[at] ^= 1
        assert decode_redo(head + bytes(changed) + second).batches == []


@pytest.mark.parametrize("cut", range(0, 150, 7))
def test_a_redo_file_needs_its_header(cut: int) -> None:
    head = encode_header(7, bytes(32))
    changed = bytearray(head)
    changed[cut % len(head)] ^= 1
    for bad in (head[:cut], bytes(changed)):
        with pytest.raises(PeerError, match="the file does not begin with a whole header"):
            decode_redo(bad)


@given(st.integers(0, SLOT_BYTES - 1), st.integers(1, 255))
def test_a_guard_slot_shows_any_change(at: int, flip: int) -> None:
    state = Checkpoint("玉门", 12, bytes(32))
    slot = encode_slot(state)
    assert len(slot) == SLOT_BYTES
    assert decode_slot(slot) == state
    changed = bytearray(slot)
    changed[at] ^= flip
    assert decode_slot(bytes(changed)) is None


@pytest.mark.parametrize("data", [b"", bytes(SLOT_BYTES), b"\n" * SLOT_BYTES, b"x" * 9])
def test_a_guard_slot_that_is_none(data: bytes) -> None:
    assert decode_slot(data) is None
