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
    take = streams.stream(streams.derive(SECRET.reveal(), b"yumen/v1/check", BOUND))
    return [streams.number_draw(take, P, 10) for _ in range(count)]


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([1, 3, 8191, 8192, 8193, 17_000]), st.integers(0, 2**32), st.booleans())
def test_weighted_sum_is_the_definition(length: int, seed: int, extreme: bool) -> None:
    generator = np.random.default_rng(seed)
    low = T - 2 if extreme else 0
    slots = generator.integers(low, T, length).astype(np.uint64)
    slots[0] = T - 1
    truth = sum(w * x for w, x in zip(weights(length), slots.tolist(), strict=True)) % P
    assert weighted_sum(slots, job_secret=SECRET, binding=BOUND) == truth


def test_largest_words_stay_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every weight is 2**80 - 2**16 - 1: its upper words are full and none is rejected.
    weight = 2**80 - 2**16 - 1
    monkeypatch.setattr(
        streams, "stream", lambda key: lambda n: weight.to_bytes(10, "little") * (n // 10)
    )
    slots = np.full(20_000, T - 1, dtype=np.uint64)
    found = weighted_sum(slots, job_secret=SECRET, binding=BOUND)
    assert found == weight * 20_000 * (T - 1) % P


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
