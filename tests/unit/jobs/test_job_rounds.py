"""What masks and tags are bound to: every part counts, and no two uses share a binding."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st
from yumen_core.jobs.rounds import (
    participants_binding,
    sum_binding,
    support_binding,
    support_digest,
)

JOBS = ("01980d2c-7000-7abc-8def-0123456789ab", "01980d2c-7000-7abc-8def-0123456789ac")
SETS = (("a", "b", "c"), ("a", "b", "d"), ("a", "b", "c", "d"), ("ab", "c", "d"), ("a", "bc", "d"))
DIGESTS = (b"s" * 32, b"t" * 32)


def test_no_two_uses_share_a_binding() -> None:
    found = [
        bound
        for job, nodes in product(JOBS, SETS)
        for bound in (
            participants_binding(job, nodes),
            support_binding(job, nodes),
            *(sum_binding(job, nodes, digest) for digest in DIGESTS),
        )
    ]
    assert len(set(found)) == len(found) == 2 * 5 * 4
    assert {len(bound) for bound in found} == {32}


def test_a_set_has_no_order() -> None:
    assert support_binding(JOBS[0], ("c", "a", "b")) == support_binding(JOBS[0], ("a", "b", "c"))


shares = st.dictionaries(st.text(max_size=5), st.binary(max_size=5), max_size=4)


@given(shares, shares)
def test_the_digest_of_shares_tells_any_two_apart(
    first: dict[str, bytes], second: dict[str, bytes]
) -> None:
    assert (support_digest(first) == support_digest(second)) == (first == second)


@given(shares)
def test_the_digest_of_shares_does_not_depend_on_how_they_came(given: dict[str, bytes]) -> None:
    assert support_digest(given) == support_digest(dict(reversed(given.items())))
