"""The support round: flags for the participants, nothing for anyone else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.errors import CallError, PeerError
from yumen_core.securesum import MaskKey, SealedFlags, binding, open_flags, seal_flags

NAMES = ("a", "b", "c", "d")
KEYS = {name: MaskKey.generate() for name in NAMES}
BOUND = binding("job", "support", NAMES)


def share(name: str, flags: list[int], bound: bytes = BOUND) -> SealedFlags:
    return seal_flags(
        np.array(flags, dtype=np.uint8),
        mask_key=KEYS[name],
        own_name=name,
        peers={n: KEYS[n].public_bytes for n in NAMES if n != name},
        binding=bound,
    )


def opened(
    made: SealedFlags,
    reader: str,
    length: int,
    *,
    sender: str = "a",
    bound: bytes = BOUND,
    sealed: bytes | None = None,
    commitment: bytes | None = None,
) -> list[int]:
    return open_flags(
        made.sealed[reader] if sealed is None else sealed,
        commitment=made.commitment if commitment is None else commitment,
        sender=sender,
        sender_key=KEYS[sender].public_bytes,
        mask_key=KEYS[reader],
        own_name=reader,
        binding=bound,
        length=length,
    ).tolist()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 1), min_size=1, max_size=70))
def test_every_participant_reads_the_flags(flags: list[int]) -> None:
    made = share("a", flags)
    for reader in NAMES:  # the sender itself too
        assert opened(made, reader, len(flags)) == flags


GOOD = share("a", [1, 0, 1])
OTHER = share("a", [1, 1, 1])


def flip(raw: bytes, at: int) -> bytes:
    changed = bytearray(raw)
    changed[at] ^= 1
    return bytes(changed)


UNOPENED = "expected flags that `a` sealed, got bytes that do not open"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sealed": flip(GOOD.sealed["b"], 0)}, UNOPENED),
        ({"sealed": flip(GOOD.sealed["b"], -1)}, UNOPENED),
        ({"sealed": GOOD.sealed["c"]}, UNOPENED),
        ({"sealed": b""}, "expected 3 flags of `a`, got another length"),
        ({"sealed": GOOD.sealed["b"] + b"x"}, "expected 3 flags of `a`, got another length"),
        ({"bound": binding("other", "support", NAMES)}, UNOPENED),
        ({"sender": "c"}, "expected flags that `c` sealed, got bytes that do not open"),
        (
            {"commitment": OTHER.commitment},
            "expected the flags that `a` committed to, got other flags",
        ),
        (
            {"sealed": OTHER.sealed["b"]},
            "expected the flags that `a` committed to, got other flags",
        ),
        (
            {"commitment": b""},
            "expected the flags that `a` committed to, got other flags",
        ),
    ],
)
def test_bad_shares(change: dict[str, object], message: str) -> None:
    with pytest.raises(PeerError) as caught:
        opened(GOOD, "b", 3, **change)  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.message) == ("sealed", message)


def test_a_share_says_nothing_to_who_only_carries_it() -> None:
    """Equal flags give unequal commitments and ciphertexts; their length is the plan's."""
    again = share("a", [1, 0, 1])
    assert again.commitment != GOOD.commitment
    assert all(again.sealed[name] != GOOD.sealed[name] for name in NAMES)
    assert {len(raw) for raw in GOOD.sealed.values()} == {12 + 32 + 1 + 16}


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
            binding=BOUND,
        )
    assert message in caught.value.message


@pytest.mark.parametrize("others", ["", "b", "abc"])
def test_a_set_that_cannot_be(others: str) -> None:
    with pytest.raises(CallError, match="expected 3 to 255 participants"):
        seal_flags(
            np.array([1], dtype=np.uint8),
            mask_key=KEYS["a"],
            own_name="a",
            peers={n: KEYS[n].public_bytes for n in others},
            binding=BOUND,
        )
