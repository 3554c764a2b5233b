"""Codecs: exact integers, stated precision of reals, and headroom."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.errors import CallError, PeerError
from yumen_core.securesum import FixedPointCodec, IntegerCodec, T

COLUMN = st.tuples(
    st.sampled_from([1, 2, 8, 39, 40, 41, 61, 62, 63, 64, 80, 81, 200]), st.booleans()
)


def bounds(bits: int, signed: bool) -> tuple[int, int]:
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


@st.composite
def integer_sums(draw: st.DrawFn) -> tuple[list[tuple[int, bool]], list[list[int]]]:
    columns = draw(st.lists(COLUMN, min_size=1, max_size=8))
    rows = st.tuples(*(st.integers(*bounds(*column)) for column in columns))
    return columns, [list(row) for row in draw(st.lists(rows, min_size=1, max_size=6))]


@given(integer_sums())
def test_integer_sums_are_exact(case: tuple[list[tuple[int, bool]], list[list[int]]]) -> None:
    columns, rows = case
    codec = IntegerCodec([bits for bits, _ in columns], [signed for _, signed in columns])
    sums = np.sum([codec.encode(row) for row in rows], axis=0, dtype=np.uint64)
    assert codec.decode(sums, len(rows)) == [sum(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("pick", [0, 1])
@pytest.mark.parametrize("bits", [1, 40, 62, 63, 1000])
def test_255_extreme_contributions_stay_below_t(bits: int, pick: int) -> None:
    codec = IntegerCodec([bits, bits], [True, False])
    values = [bounds(bits, True)[pick], bounds(bits, False)[pick]]
    sums = codec.encode(values) * np.uint64(255)
    assert int(sums.max()) < T
    assert codec.decode(sums, 255) == [255 * value for value in values]


def test_slot_count() -> None:
    assert IntegerCodec([1, 40, 41, 80, 81], [False] * 5).slots == 1 + 1 + 2 + 2 + 3


@pytest.mark.parametrize(
    ("bits", "signed", "value", "message"),
    [
        (8, False, 256, "expected value 1 from 0 to 255, got one outside"),
        (8, False, -1, "expected value 1 from 0 to 255"),
        (8, True, 128, "expected value 1 from -128 to 127"),
        (62, True, 1 << 62, "expected value 1 from"),
        (62, True, (1 << 63) - 1, "expected value 1 from"),
        (62, False, 1 << 63, "expected value 1 from"),
        (62, False, -(1 << 63) - 1, "expected value 1 from"),
        (100, False, 1 << 100, "expected value 1 from"),
        (100, True, -(1 << 99) - 1, "expected value 1 from"),
        (8, True, 1.0, "expected integers, got a value of type `float`"),
        (8, True, True, "expected integers, got a value of type `bool`"),
    ],
)
def test_encode_refuses_and_never_shows_the_value(
    bits: int, signed: bool, value: object, message: str
) -> None:
    codec = IntegerCodec([8, bits, 100], [False, signed, True])
    with pytest.raises(CallError) as caught:
        codec.encode([0, value, 0])
    assert caught.value.code == "argument"
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("bits", "signed", "message"),
    [
        ([], [], "expected a width and a sign for each value, got 0 and 0"),
        ([8], [], "expected a width and a sign for each value, got 1 and 0"),
        ([0], [True], "expected widths of 1 to 4096 bits, got `0`"),
        ([4097], [True], "expected widths of 1 to 4096 bits, got `4097`"),
    ],
)
def test_integer_codec_refuses(bits: list[int], signed: list[bool], message: str) -> None:
    with pytest.raises(CallError, match="expected") as caught:
        IntegerCodec(bits, signed)
    assert caught.value.message == message


def test_decode_refuses() -> None:
    codec = IntegerCodec([8, 50], [False, False])
    with pytest.raises(CallError, match="expected 2 values, got 1"):
        codec.encode([1])
    with pytest.raises(CallError, match="expected 3 slots, got the shape"):
        codec.decode(np.zeros(2, dtype=np.uint64), 1)
    with pytest.raises(CallError, match="expected 1 to 255 contributions, got `256`"):
        codec.decode(np.zeros(3, dtype=np.uint64), 256)
    for slots in ([3 * 255 + 1, 0, 0], [0, 3 * (2**40 - 1) + 1, 0], [0, 0, 3 * 1023 + 1]):
        with pytest.raises(PeerError, match="expected slots within 3 contributions") as caught:
            codec.decode(np.array(slots, dtype=np.uint64), 3)
        assert caught.value.code == "headroom"


def test_every_number_of_contributions_has_headroom() -> None:
    for lanes in (1, 2):
        for contributions in range(1, 256):
            codec = FixedPointCodec(2, 1.0, contributions, lanes)
            largest = codec.encode(np.ones(2)) * np.uint64(contributions)
            assert int(codec.encode(np.ones(2)).max()) * contributions < T
            assert codec.decode(largest, contributions).tolist() == [contributions] * 2
            lowest = codec.encode(-np.ones(2)) * np.uint64(contributions)
            assert codec.decode(lowest, contributions).tolist() == [-contributions] * 2


@pytest.mark.parametrize(
    ("contributions", "lanes", "bits"),
    [(1, 2, 20), (3, 2, 20), (16, 2, 20), (17, 2, 19), (255, 2, 16), (3, 1, 40), (255, 1, 40)],
)
def test_value_bits(contributions: int, lanes: int, bits: int) -> None:
    codec = FixedPointCodec(5, 2.0, contributions, lanes)
    assert codec.value_bits == bits
    assert codec.headroom == contributions
    assert codec.resolution == 2.0 / (2 ** (bits - 1) - 1)
    assert codec.slots == (3 if lanes == 2 else 5)


@settings(max_examples=40)
@given(
    st.integers(1, 30),
    st.integers(1, 255),
    st.sampled_from([1, 2]),
    st.sampled_from([1e-3, 1.0, 7.5, 1e6]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([np.float32, np.float64]),
)
def test_reals_come_back_within_the_resolution(
    length: int, count: int, lanes: int, clip: float, seed: int, dtype: type
) -> None:
    generator = np.random.default_rng(seed)
    codec = FixedPointCodec(length, clip, count, lanes)
    vectors = [(generator.normal(size=length) * clip).astype(dtype) for _ in range(min(count, 5))]
    sums = np.sum([codec.encode(v) for v in vectors], axis=0, dtype=np.uint64)
    truth = np.sum([np.clip(v.astype(np.float64), -clip, clip) for v in vectors], axis=0)
    error = np.abs(codec.decode(sums, len(vectors)) - truth).max()
    assert error <= len(vectors) * codec.resolution * 0.5 + clip * 1e-12


def test_long_vectors_cross_the_pieces() -> None:
    values = np.linspace(-1, 1, 40_001)
    for lanes in (1, 2):
        codec = FixedPointCodec(values.size, 1.0, 3, lanes)
        assert np.abs(codec.decode(codec.encode(values), 1) - values).max() <= codec.resolution / 2


def test_ties_go_to_even() -> None:
    codec = FixedPointCodec(4, 2**19 - 1, 3)
    assert codec.resolution == 1.0
    values = codec.decode(codec.encode(np.array([0.5, 1.5, 2.5, -0.5])), 1)
    assert values.tolist() == [0.0, 2.0, 2.0, 0.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1.0, 3), "expected 1 to 33554432 values, got `0`"),
        ((1, 0.0, 3), "expected a clip above zero, got `0.0`"),
        ((1, float("nan"), 3), "expected a clip above zero, got `nan`"),
        ((1, float("inf"), 3), "expected a clip above zero, got `inf`"),
        ((1, 1.0, 256), "expected 1 to 255 contributions, got `256`"),
        ((1, 1.0, 3, 3), "expected 1 or 2 lanes, got `3`"),
    ],
)
def test_fixed_point_refuses(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(CallError) as caught:
        FixedPointCodec(*arguments)
    assert caught.value.message == message


def test_fixed_point_refuses_vectors() -> None:
    codec = FixedPointCodec(3, 1.0, 3)
    for bad in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(CallError, match="expected finite values, got one that is not"):
            codec.encode(np.array([0.0, 0.0, bad]))
    with pytest.raises(CallError, match="expected 3 values of float32 or float64"):
        codec.encode(np.zeros(3, dtype=np.int64))
    with pytest.raises(CallError, match="expected 3 values of float32 or float64"):
        codec.encode(np.zeros(4))
    with pytest.raises(CallError, match="expected 1 to 3 contributions, got `4`"):
        codec.decode(np.zeros(2, dtype=np.uint64), 4)
    with pytest.raises(CallError, match="expected 2 slots"):
        codec.decode(np.zeros(3, dtype=np.uint64), 1)
    beyond = np.array([2 * (2**20 - 2) + 1, 0], dtype=np.uint64)
    for slots in (beyond, beyond << np.uint64(24)):
        with pytest.raises(PeerError, match="expected lanes within 2 contributions"):
            codec.decode(slots, 2)
