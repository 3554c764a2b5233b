"""The frames of the `stream` suite and their blind sum: what is refused, and in which words."""

import itertools
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.errors import CallError, PeerError
from yumen_core.securesum.words import HEADER_BYTES, WordAdder, body, check_header, framed, header

WORDS = np.random.default_rng(0).integers(0, 2**64, 5, dtype=np.uint64)
RAW = framed(WORDS)


def changed(offset: int, form: str, value: object) -> bytes:
    raw = bytearray(RAW)
    struct.pack_into(form, raw, offset, value)
    return bytes(raw)


WANTED = "expected a sum of 5 words"
BAD = [
    (b"", f"{WANTED}, got 0 bytes"),
    (RAW[: HEADER_BYTES - 1], f"{WANTED}, got 15 bytes"),
    (RAW[:HEADER_BYTES], f"{WANTED} in 56 bytes, got 16 bytes"),
    (RAW[:-1], f"{WANTED} in 56 bytes, got 55 bytes"),
    (RAW[:-8], f"{WANTED} in 56 bytes, got 48 bytes"),
    (RAW + b"\0", f"{WANTED} in 56 bytes, got 57 bytes"),
    (RAW + bytes(8), f"{WANTED} in 56 bytes, got 64 bytes"),
    (changed(0, "<4s", b"YBFV"), f"{WANTED}, got another format"),
    (changed(4, "<H", 0), f"{WANTED}, got another format"),
    (changed(4, "<H", 2), f"{WANTED}, got another format"),
    (changed(6, "<H", 0), f"{WANTED}, got 0 contributions"),
    (changed(6, "<H", 256), f"{WANTED}, got 256 contributions"),
    (changed(8, "<I", 4), f"{WANTED}, got 4 words"),
    (changed(8, "<I", 2**32 - 1), f"{WANTED}, got 4294967295 words"),
    (changed(12, "<I", 4), f"{WANTED}, got another format"),
]


@pytest.mark.parametrize(("raw", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_frames(raw: bytes, message: str) -> None:
    adder = WordAdder(5)

    def read() -> None:
        check_header(raw, 5)
        body(raw, 5)

    for use in (read, lambda: adder.add(raw)):
        with pytest.raises(PeerError) as caught:
            use()
        assert caught.value.code == "ciphertext"
        assert caught.value.message == message
    adder.add(RAW)  # nothing of it reached the sum
    assert adder.result() == RAW


def test_frame_round_trip() -> None:
    assert check_header(RAW, 5) == 1
    assert (body(RAW, 5) == WORDS).all()
    assert RAW[:HEADER_BYTES].hex() == "59535452010001000500000008000000"


def test_a_sum_wraps_and_is_no_contribution() -> None:
    adder = WordAdder(5)
    with pytest.raises(PeerError, match="expected whole contributions, got 0 of 0"):
        adder.result()
    for _ in range(3):
        adder.add(RAW)
    total = adder.result()
    assert body(total, 5).tolist() == [3 * word % 2**64 for word in WORDS.tolist()]
    assert check_header(total, 5) == 3
    with pytest.raises(PeerError, match="expected one contribution, got a sum of 3"):
        WordAdder(5).add(total)


def test_at_most_255_contributions() -> None:
    adder = WordAdder(5)
    for _ in range(255):
        adder.add(RAW)
    for one_more in (lambda: adder.add(RAW), adder.receive):
        with pytest.raises(PeerError, match="expected at most 255 contributions") as caught:
            one_more()
        assert caught.value.code == "round"
    assert check_header(adder.result(), 5) == 255


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(RAW)), max_size=6), st.lists(st.integers(0, len(RAW))))
def test_pieces_of_any_size_add_up(first_cuts: list[int], second_cuts: list[int]) -> None:
    adder = WordAdder(5)
    for cuts in (first_cuts, second_cuts):
        incoming = adder.receive()
        ends = [0, *sorted(cuts), len(RAW)]
        for start, end in itertools.pairwise(ends):
            incoming.feed(RAW[start:end])
        with pytest.raises(PeerError, match="expected whole contributions"):
            adder.result()
        incoming.finish()
    whole = WordAdder(5)
    whole.add(RAW)
    whole.add(RAW)
    assert adder.result() == whole.result()
    assert adder.contributions == 2


def test_bad_pieces() -> None:
    incoming = WordAdder(5).receive()
    with pytest.raises(PeerError, match=f"{WANTED}, got 0 whole words"):
        incoming.finish()
    incoming.feed(RAW[:-1])
    with pytest.raises(PeerError, match=f"{WANTED}, got 4 whole words"):
        incoming.finish()
    with pytest.raises(PeerError, match="got 1 bytes beyond it"):
        incoming.feed(RAW[-1:] + b"\0")
    incoming.feed(RAW[-1:])
    incoming.finish()
    with pytest.raises(PeerError):
        incoming.finish()
    for bad, message in (
        (changed(0, "<4s", b"YBFV"), "got another format"),
        (changed(6, "<H", 2), "expected one contribution, got a sum of 2"),
        (changed(8, "<I", 6), "got 6 words"),
    ):
        with pytest.raises(PeerError, match=message):
            WordAdder(5).receive().feed(bad)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=100))
def test_random_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(PeerError):
        WordAdder(5).add(raw)


def test_wrong_lengths() -> None:
    for count in (0, -1, 2**24 + 1):
        with pytest.raises(CallError, match=f"expected 1 to 16777216 slots, got `{count}`"):
            WordAdder(count)
    assert len(header(2**24, 255)) == HEADER_BYTES
