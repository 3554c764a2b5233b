"""The support round: totals for the nodes, nothing for anyone else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.errors import CallError, PeerError
from yumen_core.secret import Secret
from yumen_core.securesum import MaskKey, binding, open_support, seal_flags

SECRET = Secret(bytes(range(32)))
NAMES = ("a", "b", "c", "d")
KEYS = {name: MaskKey.generate() for name in NAMES}
BOUND = binding("job", "support", NAMES)


def shares(flags: dict[str, list[int]], bound: bytes = BOUND) -> dict[str, bytes]:
    return {
        name: seal_flags(
            np.array(own, dtype=np.uint8),
            mask_key=KEYS[name],
            own_name=name,
            peers={n: KEYS[n].public_bytes for n in flags if n != name},
            job_secret=SECRET,
            binding=bound,
        )
        for name, own in flags.items()
    }


def opened(given_shares: dict[str, bytes], length: int = 3, bound: bytes = BOUND) -> list[int]:
    return open_support(given_shares, job_secret=SECRET, binding=bound, length=length).tolist()


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 40).flatmap(
        lambda n: st.tuples(*[st.lists(st.integers(0, 1), min_size=n, max_size=n)] * 4)
    )
)
def test_totals(rows: tuple[list[int], ...]) -> None:
    found = opened(shares(dict(zip(NAMES, rows, strict=True))), len(rows[0]))
    assert found == [sum(column) for column in zip(*rows, strict=True)]


GOOD = shares({"a": [1, 0, 1], "b": [1, 0, 0], "c": [1, 1, 0], "d": [1, 0, 0]})


def test_known_totals() -> None:
    assert opened(GOOD) == [4, 1, 1]


def flip(share: bytes, at: int) -> bytes:
    raw = bytearray(share)
    raw[at] ^= 1
    return bytes(raw)


BAD = [
    ({}, "round", "expected the shares of 3 to 255 participants, got 0"),
    ({n: GOOD[n] for n in "ab"}, "round", "expected the shares of 3 to 255 participants, got 2"),
    ({**GOOD, "a": flip(GOOD["a"], 0)}, "sealed", "expected flags that `a` sealed"),
    ({**GOOD, "a": flip(GOOD["a"], 13)}, "sealed", "expected flags that `a` sealed"),
    ({**GOOD, "d": flip(GOOD["d"], -1)}, "sealed", "expected flags that `d` sealed"),
    ({**GOOD, "a": GOOD["b"]}, "sealed", "expected flags that `a` sealed"),
    ({**GOOD, "a": GOOD["a"][:-1]}, "sealed", "expected 3 flags of `a`, got another length"),
    ({**GOOD, "a": b""}, "sealed", "expected 3 flags of `a`, got another length"),
]


@pytest.mark.parametrize(("bad", "code", "message"), BAD)
def test_bad_shares(bad: dict[str, bytes], code: str, message: str) -> None:
    with pytest.raises(PeerError) as caught:
        opened(bad)
    assert caught.value.code == code
    assert message in caught.value.message


def test_a_missing_participant_shows() -> None:
    many = shares({name: [1] * 200 for name in NAMES})
    del many["d"]
    with pytest.raises(PeerError, match="expected at most 3 nodes behind a cell") as caught:
        opened(many, 200)
    assert caught.value.code == "round"


def test_shares_of_another_job_or_secret_do_not_open() -> None:
    other = binding("job2", "support", NAMES)
    with pytest.raises(PeerError, match="bytes that do not open"):
        opened(GOOD, bound=other)
    with pytest.raises(PeerError, match="bytes that do not open"):
        open_support(GOOD, job_secret=Secret(bytes(32)), binding=BOUND, length=3)


def test_shares_are_fresh_and_masked() -> None:
    flags = {name: [0] * 500 for name in NAMES}
    first, second = shares(flags), shares(flags)
    assert all(first[name] != second[name] for name in NAMES)
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from yumen_core.securesum.keystream import derive

    cipher = AESGCM(derive(SECRET.reveal(), b"yumen/v1/support", BOUND))
    plain = cipher.decrypt(first["a"][:12], first["a"][12:], BOUND + b"a")
    assert len(set(plain)) > 150  # the node's own zeros are not to be seen, even by its peers


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (np.array([2], dtype=np.uint8), "expected flags of 0 and 1, got `2`"),
        (np.array([1]), "expected a vector of 1 to 16777216 flags of type uint8"),
        (np.zeros(0, dtype=np.uint8), "expected a vector of 1 to 16777216 flags"),
        (np.zeros((1, 1), dtype=np.uint8), "expected a vector of 1 to 16777216 flags"),
    ],
)
def test_wrong_flags(flags: np.ndarray, message: str) -> None:
    with pytest.raises(CallError) as caught:
        seal_flags(
            flags,
            mask_key=KEYS["a"],
            own_name="a",
            peers={n: KEYS[n].public_bytes for n in "bcd"},
            job_secret=SECRET,
            binding=BOUND,
        )
    assert message in caught.value.message
