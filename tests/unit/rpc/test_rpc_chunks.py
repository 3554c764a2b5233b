"""Payloads in pieces: what is split is joined, and nothing else is."""

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.errors import PeerError
from yumen_core.rpc import chunks
from yumen_core.rpc.chunks import Joiner, split
from yumen_core.rpc.v1.envelope_pb2 import Chunk

SENDER = "spiffe://gansu.example/org/a/node/heart"


def cut(payload: bytes, at: list[int]) -> list[Chunk]:
    """`payload` in pieces that end at the places `at`."""
    digest = hashlib.sha256(payload).digest()
    places = [0, *sorted({a for a in at if 0 < a < len(payload)}), len(payload)]
    return [
        Chunk(offset=a, total_bytes=len(payload), sha256=digest, data=payload[a:b])
        for a, b in pairwise(places)
    ]


def join(pieces: list[Chunk], limit_bytes: int = 1000) -> bytes | None:
    joiner = Joiner(limit_bytes=limit_bytes, sender=SENDER)
    result = None
    for piece in pieces:
        assert result is None
        result = joiner.add(piece)
    return result


@given(st.binary(min_size=1, max_size=200), st.lists(st.integers(1, 199), max_size=20))
def test_pieces_of_any_size_join(payload: bytes, at: list[int]) -> None:
    assert join(cut(payload, at)) == payload


@given(st.binary(max_size=100))
@settings(max_examples=50)
def test_what_is_split_is_joined(payload: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_BYTES", 7)
        pieces = list(split(payload))
    assert len(pieces) == max(-(-len(payload) // 7), 1)
    assert join(pieces) == payload


def test_pieces_have_their_stated_size() -> None:
    pieces = list(split(bytes(chunks.CHUNK_BYTES * 2 + 1)))
    assert [len(p.data) for p in pieces] == [chunks.CHUNK_BYTES, chunks.CHUNK_BYTES, 1]
    assert join(pieces, limit_bytes=1 << 22) == bytes(chunks.CHUNK_BYTES * 2 + 1)


@given(st.binary(min_size=2, max_size=60), st.data())
def test_no_other_order_joins(payload: bytes, data: st.DataObject) -> None:
    pieces = cut(payload, data.draw(st.lists(st.integers(1, 59), min_size=2)))
    turned = data.draw(st.permutations(pieces))
    if turned == pieces:
        assert join(turned) == payload
        return
    with pytest.raises(PeerError, match="expected the piece at byte"):
        join(turned)


@given(st.binary(min_size=1, max_size=60), st.data())
def test_a_changed_byte_never_joins(payload: bytes, data: st.DataObject) -> None:
    pieces = cut(payload, data.draw(st.lists(st.integers(1, 59))))
    victim = data.draw(st.sampled_from(pieces))
    place = data.draw(st.integers(0, len(victim.data) - 1))
    changed = bytearray(victim.data)
    changed[place] ^= data.draw(st.integers(1, 255))
    victim.data = bytes(changed)
    with pytest.raises(PeerError) as caught:
        join(pieces)
    assert caught.value.message == "expected a payload with the announced digest"
    assert caught.value.node == SENDER


DIGEST = hashlib.sha256(b"abcdef").digest()


def piece(offset: int, data: bytes, total: int = 6, digest: bytes = DIGEST) -> Chunk:
    return Chunk(offset=offset, total_bytes=total, sha256=digest, data=data)


HOSTILE: list[tuple[str, list[Chunk], str, str]] = [
    ("a huge announcement", [piece(0, b"a", total=(1 << 64) - 1)], "payload_too_large",
     "expected a payload of 1000 bytes at most, got 18446744073709551615"),
    ("one byte too much announced", [piece(0, b"a", total=1001)], "payload_too_large",
     "expected a payload of 1000 bytes at most, got 1001"),
    ("a first piece from the middle", [piece(3, b"def")], "ciphertext",
     "expected the piece at byte 0 of 6, got one at 3 of 6"),
    ("a gap", [piece(0, b"ab"), piece(3, b"def")], "ciphertext",
     "expected the piece at byte 2 of 6, got one at 3 of 6"),
    ("an overlap", [piece(0, b"abc"), piece(2, b"cdef")], "ciphertext",
     "expected the piece at byte 3 of 6, got one at 2 of 6"),
    ("a piece twice", [piece(0, b"abc"), piece(0, b"abc")], "ciphertext",
     "expected the piece at byte 3 of 6, got one at 0 of 6"),
    ("more than announced", [piece(0, b"abcdefg")], "ciphertext",
     "expected the piece at byte 0 of 6, got one at 0 of 6"),
    ("another total in mid-way", [piece(0, b"abc"), piece(3, b"def", total=7)], "ciphertext",
     "expected the piece at byte 3 of 6, got one at 3 of 7"),
    ("another digest in mid-way", [piece(0, b"abc"), piece(3, b"def", digest=bytes(32))],
     "ciphertext", "expected the piece at byte 3 of 6, got one at 3 of 6"),
    ("an empty piece", [piece(0, b"")], "ciphertext", "expected data, got an empty piece"),
    ("an empty piece in mid-way", [piece(0, b"abc"), piece(3, b"")], "ciphertext",
     "expected data, got an empty piece"),
    ("another digest", [piece(0, b"abcdef", digest=bytes(32))], "ciphertext",
     "expected a payload with the announced digest"),
    ("no digest", [piece(0, b"abcdef", digest=b"")], "ciphertext",
     "expected a payload with the announced digest"),
    ("half a digest", [piece(0, b"abcdef", digest=DIGEST[:16])], "ciphertext",
     "expected a payload with the announced digest"),
    ("nothing at all", [Chunk()], "ciphertext", "expected a payload with the announced digest"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("pieces", "code", "message"), [c[1:] for c in HOSTILE], ids=[c[0] for c in HOSTILE]
)
def test_hostile_pieces(pieces: list[Chunk], code: str, message: str) -> None:
    with pytest.raises(PeerError) as caught:
        join(pieces)
    assert (caught.value.code, caught.value.message) == (code, message)
    assert caught.value.node == SENDER


def test_the_largest_payload_allowed() -> None:
    assert join(cut(bytes(1000), [500])) == bytes(1000)
