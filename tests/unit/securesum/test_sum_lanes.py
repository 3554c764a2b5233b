"""Tensors in lanes: stated precision, headroom, tensors of every size in one vector."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.errors import CallError, PeerError
from yumen_core.securesum import FixedPointCodec, IntegerCodec, LanesCodec, Suite, T
from yumen_core.securesum.lanes import MAX_TENSORS

LENGTHS = st.lists(st.sampled_from([0, 1, 2, 3, 17, 1000]), max_size=8)
MODULUS = {Suite.BFV: T, Suite.STREAM: 2**64}


@settings(max_examples=120, deadline=None)
@given(
    LENGTHS,
    st.sampled_from(list(Suite)),
    st.integers(1, 255),
    st.integers(0, 2**32 - 1),
    st.sampled_from([np.float32, np.float64]),
)
def test_tensors_come_back_within_half_a_step_for_each_node(
    lengths: list[int], suite: Suite, count: int, seed: int, dtype: type
) -> None:
    generator = np.random.default_rng(seed)
    codec = LanesCodec(lengths, count, suite)
    ranges = (4.0 ** generator.integers(-20, 20, len(lengths))).tolist()
    nodes = [
        [generator.uniform(-r, r, n).astype(dtype) for n, r in zip(lengths, ranges, strict=True)]
        for _ in range(min(count, 4))
    ]
    sums = np.zeros(codec.slots, dtype=np.uint64)
    for mine in nodes:
        sums += codec.encode(mine, ranges)
    found = codec.decode(sums, ranges, len(nodes))
    assert [len(tensor) for tensor in found] == lengths
    for k, tensor in enumerate(found):
        truth = np.sum([mine[k].astype(np.float64) for mine in nodes], axis=0)
        bound = len(nodes) * (codec.resolution(ranges[k]) / 2 + ranges[k] * 1e-12)
        assert (np.abs(tensor - truth) <= bound).all()


@pytest.mark.parametrize("suite", list(Suite))
def test_every_number_of_contributions_has_headroom(suite: Suite) -> None:
    for contributions in range(1, 256):
        codec = LanesCodec([7], contributions, suite)
        for end in (1.0, -1.0):
            slots = codec.encode([np.full(7, end)], [1.0])
            assert max(slots.tolist()) * contributions < MODULUS[suite]
            (found,) = codec.decode(slots * np.uint64(contributions), [1.0], contributions)
            assert found.tolist() == [end * contributions] * 7


@pytest.mark.parametrize(
    ("suite", "lanes", "contributions", "bits"),
    [
        (Suite.STREAM, None, 1, 20),
        (Suite.STREAM, None, 2, 20),
        (Suite.STREAM, None, 3, 19),
        (Suite.STREAM, None, 4, 19),
        (Suite.STREAM, None, 5, 18),
        (Suite.STREAM, None, 255, 13),
        (Suite.STREAM, 1, 255, 40),
        (Suite.BFV, None, 3, 20),
        (Suite.BFV, None, 255, 16),
        (Suite.BFV, 1, 255, 40),
    ],
)
def test_value_bits(suite: Suite, lanes: int | None, contributions: int, bits: int) -> None:
    codec = LanesCodec([10], contributions, suite, lanes=lanes)
    assert codec.value_bits == bits
    assert codec.steps == 2 ** (bits - 1) - 1
    assert codec.resolution(3.0) == 3.0 / codec.steps
    assert codec.slots == -(-10 // codec.lanes)


def test_words_are_what_the_text_says() -> None:
    codec = LanesCodec([2, 3], 3, Suite.STREAM)  # value i in lane i // 2 of word i % 2
    steps = codec.steps
    tensors = [np.array([1.0, -1.0]), np.array([2.0, 0.0, 2.0 / steps], dtype=np.float32)]
    lanes = [[2 * steps, 2 * steps, steps + 1], [0, steps, steps]]  # the last is left over
    assert codec.encode(tensors, [1.0, 2.0]).tolist() == [
        sum(value << (21 * k) for k, value in enumerate(word)) for word in lanes
    ]


@pytest.mark.parametrize("suite", list(Suite))
@pytest.mark.parametrize("length", [49_151, 49_152, 49_153, 150_001])
def test_long_tensors_cross_the_pieces(suite: Suite, length: int) -> None:
    values = np.linspace(-1, 1, length, dtype=np.float32)
    cuts = [0, 1, 16_383, 16_384, 40_000, length]
    tensors = [values[a:b] for a, b in itertools.pairwise(cuts)]
    codec = LanesCodec([t.size for t in tensors], 3, suite)
    found = codec.decode(codec.encode(tensors, [1.0] * 5), [1.0] * 5, 1)
    assert np.abs(np.concatenate(found) - values).max() <= codec.resolution(1.0) / 2 + 1e-12
    whole = FixedPointCodec(length, 1.0, 3, suite=suite)
    assert (whole.encode(values) == codec.encode(tensors, [1.0] * 5)).all()


def test_scalars_views_and_empty_tensors() -> None:
    matrix = np.arange(12, dtype=np.float64).reshape(3, 4)
    tensors = [
        np.array(-5.0),
        np.zeros((0, 7)),
        matrix.T,
        matrix[:, ::2],
        np.float32(3) * np.ones(1),
    ]
    codec = LanesCodec([1, 0, 12, 6, 1], 3, Suite.STREAM)
    ranges = [5.0, 0.0, 16.0, 16.0, 4.0]
    found = codec.decode(codec.encode(tensors, ranges), ranges, 1)
    for tensor, mine, r in zip(found, tensors, ranges, strict=True):
        assert np.allclose(tensor, mine.reshape(-1), rtol=0, atol=r / codec.steps)


@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0]])
@pytest.mark.parametrize("suite", list(Suite))
def test_nothing_at_all(lengths: list[int], suite: Suite) -> None:
    codec = LanesCodec(lengths, 3, suite)
    assert codec.slots == codec.length == 0
    ranges = [1.0] * len(lengths)
    slots = codec.encode([np.zeros(0)] * len(lengths), ranges)
    assert slots.shape == (0,)
    assert [t.tolist() for t in codec.decode(slots, ranges, 3)] == [[]] * len(lengths)


@pytest.mark.parametrize("suite", list(Suite))
def test_integers_and_lanes_in_one_payload(suite: Suite) -> None:
    integers = IntegerCodec([1, 41, 90], [False, True, True])
    lanes = LanesCodec([5, 2], 255, suite)
    payload = np.empty(integers.slots + lanes.slots, dtype=np.uint64)
    numbers = [1, -(2**40), 2**89 - 1]
    tensors = [np.linspace(-1, 1, 5), np.array([0.0, 64.0])]
    payload[: integers.slots] = integers.encode(numbers)
    written = lanes.encode(tensors, [1.0, 64.0], out=payload[integers.slots :])
    assert np.shares_memory(written, payload)
    sums = payload * np.uint64(255)
    assert integers.decode(sums[: integers.slots], 255) == [255 * n for n in numbers]
    found = lanes.decode(sums[integers.slots :], [1.0, 64.0], 255)
    assert np.abs(found[0] - 255 * tensors[0]).max() <= 255 * lanes.resolution(1.0)
    assert np.abs(found[1] - 255 * tensors[1]).max() <= 255 * lanes.resolution(64.0)


def test_a_range_of_zero_fits_zeros_alone() -> None:
    codec = LanesCodec([3], 3, Suite.STREAM)
    found = codec.decode(codec.encode([np.zeros(3)], [0.0]), [0.0], 1)
    assert found[0].tolist() == [0.0] * 3
    with pytest.raises(CallError, match="expected values of tensor 0 within its range"):
        codec.encode([np.array([0.0, 1e-300, 0.0])], [0.0])


@pytest.mark.parametrize("value", [1.0000001, -1.0000001, 1e308])
def test_values_beyond_the_range_are_refused_and_never_shown(value: float) -> None:
    codec = LanesCodec([3, 3], 3, Suite.STREAM)
    with pytest.raises(CallError) as caught:
        codec.encode([np.zeros(3), np.array([0.0, value, 0.0])], [1.0, 1.0])
    assert caught.value.code == "argument"
    assert caught.value.message == "expected values of tensor 1 within its range, got one beyond it"
    clipped = codec.encode([np.zeros(3), np.array([0.0, value, 0.0])], [1.0, 1.0], clip=True)
    assert codec.decode(clipped, [1.0, 1.0], 1)[1].tolist() == [0.0, np.sign(value), 0.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("at", [0, 1, 20_000, 39_999])
def test_values_that_are_not_finite_are_refused(bad: float, dtype: type, at: int) -> None:
    values = np.zeros(40_000, dtype=dtype)
    values[at] = bad
    for clip in (False, True):
        with pytest.raises(CallError, match="expected finite values, got one that is not"):
            LanesCodec([40_000], 3, Suite.STREAM).encode([values], [1.0], clip=clip)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1], 0), "expected 1 to 255 contributions, got `0`"),
        (([1], 256), "expected 1 to 255 contributions, got `256`"),
        (([1, -1], 3), "expected at most 10000 tensors of 0 values or more, got 2"),
        (([0] * (MAX_TENSORS + 1), 3), "expected at most 10000 tensors of 0 values or more"),
        (([2**25 + 1], 3), "expected at most 33554432 values, got `33554433`"),
        (([3 * 2**24 + 1], 3, Suite.STREAM), "expected at most 50331648 values, got `50331649`"),
    ],
)
def test_codec_refuses(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(CallError) as caught:
        LanesCodec(*arguments)
    assert message in caught.value.message


def test_lanes_are_the_suites() -> None:
    for suite, lanes, message in (
        (Suite.BFV, 3, "expected 1 or 2 lanes, got `3`"),
        (Suite.STREAM, 2, "expected 1 or 3 lanes, got `2`"),
    ):
        with pytest.raises(CallError) as caught:
            LanesCodec([1], 3, suite, lanes=lanes)
        assert caught.value.message == message


CODEC = LanesCodec([3, 0, 1], 3, Suite.STREAM)
GOOD = [np.zeros(3), np.zeros(0), np.zeros(1)]


@pytest.mark.parametrize(
    ("tensors", "ranges", "message"),
    [
        (GOOD[:2], [1.0] * 3, "expected 3 tensors, got 2"),
        (GOOD, [1.0] * 2, "expected 3 ranges, got 2"),
        (GOOD, [1.0, 1.0, -1.0], "expected ranges of 0 or from 1e-300 to 1e+300, got `-1.0`"),
        (GOOD, [1.0, float("nan"), 1.0], "got `nan`"),
        (GOOD, [1.0, float("inf"), 1.0], "got `inf`"),
        (GOOD, [1e-301, 1.0, 1.0], "got `1e-301`"),
        (
            [np.zeros(2), *GOOD[1:]],
            [1.0] * 3,
            "expected 3 values of float32 or float64, got the shape (2,) of float64",
        ),
        (
            [np.zeros(3, dtype=np.int64), *GOOD[1:]],
            [1.0] * 3,
            "expected 3 values of float32 or float64, got the shape (3,) of int64",
        ),
    ],
)
def test_encode_refuses(tensors: list[np.ndarray], ranges: list[float], message: str) -> None:
    with pytest.raises(CallError) as caught:
        CODEC.encode(tensors, ranges)
    assert message in caught.value.message


def test_encode_refuses_another_target() -> None:
    for out in (np.empty(3, dtype=np.uint64), np.empty(2, dtype=np.int64)):
        with pytest.raises(CallError, match=r"expected uint64\[2\] to write to"):
            CODEC.encode(GOOD, [1.0] * 3, out=out)


def test_decode_refuses() -> None:
    ranges = [1.0] * 3
    with pytest.raises(CallError, match="expected 1 to 3 contributions, got `4`"):
        CODEC.decode(np.zeros(2, dtype=np.uint64), ranges, 4)
    with pytest.raises(CallError, match="expected 2 slots, got the shape"):
        CODEC.decode(np.zeros(3, dtype=np.uint64), ranges, 1)
    with pytest.raises(CallError, match="expected 3 ranges, got 1"):
        CODEC.decode(np.zeros(2, dtype=np.uint64), [1.0], 1)
    full = 2 * 2 * CODEC.steps
    for lane in (0, 1):
        CODEC.decode(np.array([full << (21 * lane), 0], dtype=np.uint64), ranges, 2)
        beyond = np.array([(full + 1) << (21 * lane), 0], dtype=np.uint64)
        with pytest.raises(PeerError, match="expected lanes within 2 contributions") as caught:
            CODEC.decode(beyond, ranges, 2)
        assert caught.value.code == "headroom"
    whole = LanesCodec([3], 3, Suite.STREAM)
    for word in (1 << 63, (full + 1) << 42):  # the bits above the last lane count too
        with pytest.raises(PeerError, match="expected lanes within 2 contributions"):
            whole.decode(np.array([word], dtype=np.uint64), [1.0], 2)
