"""The constants, proved by search, and the slot arithmetic against Python's integers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yumen_core.errors import CallError
from yumen_core.securesum import LIMB_BITS, MAX_CONTRIBUTIONS, SLOTS, T
from yumen_core.securesum.check import P
from yumen_core.securesum.modulus import MAX_BLOCKS, MAX_SLOTS, add, blocks, checked, subtract
from yumen_core.securesum.public_key import Q_SPECIAL, Q

SLOT = st.integers(0, T - 1)


def is_prime(n: int) -> bool:
    """Miller-Rabin with the first 13 primes: a proof below 3.3e24, which exceeds 2**80."""
    bases = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)
    if any(n % base == 0 for base in bases):
        return n in bases
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in bases:
        x = pow(base, odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def test_primality_test_knows_primes_from_composites() -> None:
    assert [n for n in range(2, 60) if is_prime(n)] == [
        *(2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59)
    ]
    assert not is_prime(561)
    assert not is_prime((2**31 - 1) * (2**19 - 1))


def test_t_is_the_largest_batching_prime_below_2_to_48() -> None:
    step = 2 * SLOTS
    candidates = range(2**48 - step + 1, 0, -step)
    assert next(n for n in candidates if is_prime(n)) == T
    assert T % step == 1


def test_p_is_the_largest_prime_below_2_to_80() -> None:
    assert next(n for n in range(2**80 - 1, 0, -1) if is_prime(n)) == P
    assert MAX_CONTRIBUTIONS * T < P


def test_ciphertext_primes() -> None:
    assert is_prime(Q)
    assert is_prime(Q_SPECIAL)
    assert Q.bit_length() == 60
    assert Q_SPECIAL.bit_length() == 49
    assert Q % (2 * SLOTS) == Q_SPECIAL % (2 * SLOTS) == 1


def test_limbs_of_all_contributions_stay_below_t() -> None:
    assert MAX_CONTRIBUTIONS * (2**LIMB_BITS - 1) < T


@given(st.lists(st.tuples(SLOT, SLOT), min_size=1, max_size=20))
def test_add_and_subtract_agree_with_integers(pairs: list[tuple[int, int]]) -> None:
    left = np.array([a for a, _ in pairs], dtype=np.uint64)
    right = np.array([b for _, b in pairs], dtype=np.uint64)
    assert add(left, right).tolist() == [(a + b) % T for a, b in pairs]
    assert subtract(left, right).tolist() == [(a - b) % T for a, b in pairs]


@pytest.mark.parametrize(("a", "b"), [(0, 0), (T - 1, 1), (T - 1, T - 1), (0, T - 1), (1, 0)])
def test_add_and_subtract_at_the_ends(a: int, b: int) -> None:
    left, right = np.array([a], dtype=np.uint64), np.array([b], dtype=np.uint64)
    assert int(add(left, right)[0]) == (a + b) % T
    assert int(subtract(left, right)[0]) == (a - b) % T


@pytest.mark.parametrize(("slots", "expected"), [(1, 1), (4096, 1), (4097, 2), (12288, 3)])
def test_blocks(slots: int, expected: int) -> None:
    assert blocks(slots) == expected


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        (np.zeros(3, dtype=np.int64), "expected a vector of uint64 slots, got 1 dimensions of"),
        (np.zeros((2, 2), dtype=np.uint64), "got 2 dimensions of uint64"),
        (np.zeros(0, dtype=np.uint64), f"expected 1 to {MAX_SLOTS} slots, got 0"),
        (np.array([T], dtype=np.uint64), f"expected slots below {T}, got `{T}`"),
    ],
)
def test_checked_refuses(slots: np.ndarray, message: str) -> None:
    with pytest.raises(CallError) as caught:
        checked(slots)
    assert caught.value.code == "argument"
    assert message in caught.value.message
    assert MAX_SLOTS == MAX_BLOCKS * SLOTS
