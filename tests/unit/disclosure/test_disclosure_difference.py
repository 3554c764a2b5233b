"""Sets of rows too near to one another, against Python's own sets."""

from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap
from yumen_core.disclosure.difference import near_nodes, too_close

ROWS = st.sets(st.integers(0, 40))


@given(old=ROWS, new=ROWS, k=st.integers(1, 12))
def test_as_sets_say(old: set[int], new: set[int], k: int) -> None:
    apart = max(len(old - new), len(new - old))
    assert too_close(BitMap(old), BitMap(new), k) == (0 < apart < k)


def test_nodes() -> None:
    assert near_nodes("abcd", "abc", 3)
    assert near_nodes("abc", "abd", 3)
    assert not near_nodes("abc", "cba", 3)
    assert not near_nodes("abcdef", "abc", 3)
