"""The check tags: the arithmetic, what they catch, what a smaller prime would miss."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.errors import CallError, PeerError
from yumen_core.secret import Secret
from yumen_core.securesum import LIMB_BITS, T
from yumen_core.securesum import keystream as streams
from yumen_core.securesum.check import P, to_slots, verify, weighted_sum

SECRET = Secret(bytes(range(32)))
BOUND = bytes(32)


def weights(count: int) -> list[int]:
    """The weights by the definition, one at a time."""

    def drawn(use: bytes, number: int) -> list[int]:
        take = streams.stream(streams.derive(SECRET.reveal(), b"yumen/v1/check", use, BOUND))
        return [streams.number_draw(take, P, 10) for _ in range(number)]

    columns = drawn(b"columns", 8192)
    rows = drawn(b"rows", -(-count // 8192))
    behind = (rows[i // 8192] * columns[i % 8192] for i in range(count - 1))
    return [*drawn(b"first", 1), *behind]


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([1, 2, 3, 8192, 8193, 8194, 17_000]),
    st.integers(0, 2**32),
    st.booleans(),
    st.sampled_from([T, 2**64]),
)
def test_weighted_sum_is_the_definition(
    length: int, seed: int, extreme: bool, modulus: int
) -> None:
    generator = np.random.default_rng(seed)
    low = modulus - 2 if extreme else 0
    slots = generator.integers(low, modulus, length, dtype=np.uint64)
    slots[0] = modulus - 1
    truth = sum(w * x for w, x in zip(weights(length), slots.tolist(), strict=True)) % P
    assert weighted_sum(slots, job_secret=SECRET, binding=BOUND) == truth


def test_largest_words_stay_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every weight is 2**80 - 2**16 - 1: its upper words are full and none is rejected.
    weight = 2**80 - 2**16 - 1
    monkeypatch.setattr(
        streams, "stream", lambda key: lambda n: weight.to_bytes(10, "little") * (n // 10)
    )
    slots = np.full(20_000, 2**64 - 1, dtype=np.uint64)
    found = weighted_sum(slots, job_secret=SECRET, binding=BOUND)
    assert found == (weight + weight * weight * 19_999) * (2**64 - 1) % P


def tagged(contributions: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Decoded sums mod T and the sums of tags, as an honest round gives them."""
    vectors = [np.array([1, *payload], dtype=np.uint64) for payload in contributions]
    tags = [to_slots(weighted_sum(v, job_secret=SECRET, binding=BOUND)) for v in vectors]
    total = [sum(column) % T for column in zip(*(v.tolist() for v in vectors), strict=True)]
    return np.array(total, dtype=np.uint64), np.sum(tags, axis=0, dtype=np.uint64)


def test_honest_sums_pass() -> None:
    verify(*tagged([[1, 2], [3, 4], [5, T // 2]]), job_secret=SECRET, binding=BOUND)
    verify(*tagged([[T // 300, 0]] * 255), job_secret=SECRET, binding=BOUND)


def refuse(slots: np.ndarray, tags: np.ndarray, bound: bytes = BOUND) -> None:
    with pytest.raises(PeerError) as caught:
        verify(slots, tags, job_secret=SECRET, binding=bound)
    assert caught.value.code == "headroom"
    assert "slots that passed their headroom or were changed on the way" in caught.value.message


def test_a_wrap_past_t_is_refused() -> None:
    verify(*tagged([[T - 2, 0], [1, 0], [0, 0]]), job_secret=SECRET, binding=BOUND)
    refuse(*tagged([[T - 2, 0], [1, 0], [1, 0]]))
    refuse(*tagged([[T - 1, T - 1]] * 3))


@pytest.mark.parametrize("added", [1, T - 1, 2**40 - 87, 2**40, 2**41 - 174])
@pytest.mark.parametrize("slot", [1, 2])
def test_something_added_is_refused(added: int, slot: int) -> None:
    # 2**40 - 87 is a prime below T: a check modulo it would let this through.
    slots, tags = tagged([[1, 2], [3, 4], [5, 6]])
    slots[slot] = (int(slots[slot]) + added) % T
    refuse(slots, tags)


@pytest.mark.parametrize("last", [1, 2])
def test_a_wrap_past_64_bits_is_refused(last: int) -> None:
    vectors = [np.array([1, x], dtype=np.uint64) for x in (2**64 - 2, 0, last)]
    tags = [to_slots(weighted_sum(v, job_secret=SECRET, binding=BOUND)) for v in vectors]
    sums = np.sum(vectors, axis=0, dtype=np.uint64)
    totals = np.sum(tags, axis=0, dtype=np.uint64)
    if last == 1:  # the largest word there is
        verify(sums, totals, job_secret=SECRET, binding=BOUND)
    else:
        assert sums.tolist() == [3, 0]
        refuse(sums, totals)


def test_errors_that_cancel_in_a_row_or_a_column_are_refused() -> None:
    # The weights factor by row and column; what cancels in neither alone must not cancel in both.
    slots = np.arange(3 * 8192 + 1, dtype=np.uint64)
    slots[0] = 1
    tags = to_slots(weighted_sum(slots, job_secret=SECRET, binding=BOUND))
    one = np.uint64(1)
    for plus, minus in (([1], [2]), ([1], [8193]), ([1, 8194], [2, 8193])):
        wrong = slots.copy()
        wrong[plus] += one
        wrong[minus] -= one
        refuse(wrong, tags)


def test_scaled_sums_are_refused_by_slot_zero() -> None:
    slots, tags = tagged([[1, 2], [3, 4], [5, 6]])
    verify(slots * np.uint64(2), tags * np.uint64(2), job_secret=SECRET, binding=BOUND)
    scaled = slots * np.uint64(2)
    scaled[0] = slots[0]  # the requester compares slot 0 with the count first
    refuse(scaled, tags * np.uint64(2))


def test_changed_tags_and_another_binding_are_refused() -> None:
    slots, tags = tagged([[1, 2], [3, 4], [5, 6]])
    for k in (0, 1):
        changed = tags.copy()
        changed[k] += np.uint64(1)
        refuse(slots, changed)
    refuse(slots, tags, bytes(31) + b"\x01")


def test_tags_are_two_limbs() -> None:
    low, high = to_slots(P - 1).tolist()
    assert low + (high << LIMB_BITS) == P - 1
    assert max(low, high) < 2**LIMB_BITS
    for tag in (-1, P):
        with pytest.raises(CallError, match="expected a tag below"):
            to_slots(tag)
