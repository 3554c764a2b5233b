"""The `stream` suite: pads are never reused, single contributions show nothing, totals are exact,
and what is changed on the way is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.errors import CallError, PeerError
from yumen_core.secret import Secret
from yumen_core.securesum import LanesCodec, MaskKey, Suite, binding
from yumen_core.securesum import keystream as streams
from yumen_core.securesum.contribution import (
    MAX_PAYLOAD_SLOTS,
    contribute,
    open_sum,
    sealed_bytes,
    total_slots,
)
from yumen_core.securesum.masks import net_mask, word_streams
from yumen_core.securesum.pads import pad_stream
from yumen_core.securesum.words import HEADER_BYTES, WordAdder, body, framed, header

NAMES = ("a", "b", "c", "d")
KEYS = {name: MaskKey(Secret(bytes([i + 1]) * 32)) for i, name in enumerate(NAMES)}
PADS = {name: Secret(bytes([i + 101]) * 32) for i, name in enumerate(NAMES)}
SECRET = Secret(bytes(range(32)))
BOUND = binding("job", "sum", NAMES)


def peers(name: str) -> dict[str, bytes]:
    return {n: KEYS[n].public_bytes for n in NAMES if n != name}


def contributed(name: str, payload: list[int], bound: bytes = BOUND) -> bytes:
    return contribute(
        np.array(payload, dtype=np.uint64),
        suite=Suite.STREAM,
        pad_key=PADS[name],
        mask_key=KEYS[name],
        own_name=name,
        peers=peers(name),
        job_secret=SECRET,
        binding=bound,
    )


def total(parts: list[bytes]) -> bytes:
    adder = WordAdder((len(parts[0]) - HEADER_BYTES) // 8)
    for raw in parts:
        adder.add(raw)
    return adder.result()


def opened(
    raw: bytes,
    payload: int,
    count: int = 4,
    pads: dict[str, Secret] | None = None,
    bound: bytes = BOUND,
    secret: Secret = SECRET,
) -> list[int]:
    found = open_sum(
        raw,
        suite=Suite.STREAM,
        pad_keys=PADS if pads is None else pads,
        job_secret=secret,
        binding=bound,
        payload_slots=payload,
        contributions=count,
    )
    return [int(word) for word in found]


ROWS = st.integers(1, 6).flatmap(
    lambda n: st.lists(
        st.lists(st.integers(0, 2**62 - 1), min_size=n, max_size=n), min_size=4, max_size=4
    )
)


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_totals_are_exact(rows: list[list[int]]) -> None:
    parts = [contributed(name, row) for name, row in zip(NAMES, rows, strict=True)]
    assert {len(raw) for raw in parts} == {sealed_bytes(len(rows[0]), Suite.STREAM)}
    assert opened(total(parts), len(rows[0])) == [sum(column) for column in zip(*rows, strict=True)]


def test_long_vectors_cross_the_pieces() -> None:
    codec = LanesCodec([60_001, 3], 4, Suite.STREAM)
    generator = np.random.default_rng(1)
    tensors = [[generator.uniform(-1, 1, n) for n in codec.lengths] for _ in NAMES]
    parts = [
        contributed(name, codec.encode(mine, [1.0, 1.0]).tolist())
        for name, mine in zip(NAMES, tensors, strict=True)
    ]
    sums = np.array(opened(total(parts), codec.slots), dtype=np.uint64)
    for k, found in enumerate(codec.decode(sums, [1.0, 1.0], 4)):
        truth = np.sum([mine[k] for mine in tensors], axis=0)
        assert np.abs(found - truth).max() <= 4 * codec.resolution(1.0) / 2 + 1e-12


# Pads


def pad(key: bytes, name: str, bound: bytes) -> bytes:
    return pad_stream(Secret(key), name, binding=bound)(64)


BYTES = st.binary(min_size=32, max_size=32)
TEXT = st.text(min_size=1, max_size=6)
USES = st.tuples(TEXT, TEXT, st.sets(TEXT, min_size=3, max_size=4).map(frozenset))


@settings(max_examples=100, deadline=None)
@given(USES, USES, BYTES, BYTES, TEXT, TEXT)
def test_no_two_uses_share_a_pad(
    one: tuple[str, str, frozenset[str]],
    two: tuple[str, str, frozenset[str]],
    key: bytes,
    other_key: bytes,
    name: str,
    other_name: str,
) -> None:
    uses = {
        (k, n, binding(*use))
        for use in (one, two)
        for k in (key, other_key)
        for n in (name, other_name)
    }
    fields = {
        (k, n, *use) for use in (one, two) for k in (key, other_key) for n in (name, other_name)
    }
    assert len(uses) == len(fields)
    assert len({pad(*use) for use in uses}) == len(uses)


@settings(max_examples=40, deadline=None)
@given(BYTES, TEXT, BYTES, st.lists(st.integers(1, 300), max_size=5))
def test_a_pad_depends_on_key_name_and_binding_alone(
    key: bytes, name: str, bound: bytes, cuts: list[int]
) -> None:
    whole = pad_stream(Secret(key), name, binding=bound)(8 * sum(cuts))
    take = pad_stream(Secret(key), name, binding=bound)
    assert b"".join(take(8 * cut) for cut in cuts) == whole


def test_pads_and_masks_of_one_binding_are_different_streams() -> None:
    # Even where a pad key were a pair's secret, and in each use that a pair's key has.
    shared = KEYS["a"].shared("b", KEYS["b"].public_bytes)
    mask = dict(
        zip(peers("a"), word_streams(KEYS["a"], "a", peers("a"), binding=BOUND), strict=True)
    )
    drawn = {
        "mask": mask["b"][1](64),
        "pad of a": pad(shared, "a", BOUND),
        "pad of b": pad(shared, "b", BOUND),
        "first": streams.stream(streams.derive(shared, b"yumen/v1/check", b"first", BOUND))(64),
        "slots": streams.stream(
            streams.derive(shared, b"yumen/v1/mask", b"slots", BOUND, b"a", b"b")
        )(64),
    }
    assert len(set(drawn.values())) == len(drawn)
    words = np.zeros(4, dtype=np.uint64)
    streams.combine_words(words, word_streams(KEYS["a"], "a", peers("a"), binding=BOUND))
    assert not (words == net_mask(KEYS["a"], "a", peers("a"), binding=BOUND, length=4)).any()


def test_known_pad() -> None:
    assert pad(bytes(32), "a", bytes(32))[:16].hex() == "ef32bea455354cd6d7aa184b9389a2f9"


def test_pads_refuse() -> None:
    with pytest.raises(CallError, match="expected a binding of 32 bytes, got 31"):
        pad_stream(SECRET, "a", binding=bytes(31))
    with pytest.raises(CallError, match="expected the name of a participant, got an empty one"):
        pad_stream(SECRET, "", binding=bytes(32))


def blinded(names: tuple[str, ...], *, masks: bool, pads: bool, length: int) -> np.ndarray:
    """The sum of what these nodes add to their words."""
    words = np.zeros(length, dtype=np.uint64)
    for name in names:
        if masks:
            streams.combine_words(words, word_streams(KEYS[name], name, peers(name), binding=BOUND))
        if pads:
            streams.combine_words(words, [(True, pad_stream(PADS[name], name, binding=BOUND))])
    return words


@pytest.mark.parametrize(
    ("names", "masks", "pads"),
    [
        (("a",), True, False),
        (("a",), False, True),
        (("a",), True, True),
        (("a", "b", "c"), True, False),  # masks of all but one
        (NAMES, True, True),  # the total: the pads are left
    ],
)
def test_what_hides_words_is_uniform(names: tuple[str, ...], masks: bool, pads: bool) -> None:
    words = blinded(names, masks=masks, pads=pads, length=65_536)
    for shift in (0, 8, 31, 56):
        counts = np.bincount((words >> np.uint64(shift) & np.uint64(255)).astype(np.int64))
        # Chi-square with 255 degrees of freedom: 380 is passed with probability 5e-7.
        assert counts.size == 256
        assert ((counts - 256) ** 2 / 256).sum() < 380


def test_one_contribution_shows_nothing_of_its_payload() -> None:
    zeros, ones = ([value] * 20_000 for value in (0, 2**63))
    for payload in (zeros, ones):
        found = body(contributed("a", payload), 20_003)
        counts = np.bincount((found >> np.uint64(56)).astype(np.int64), minlength=256)
        assert ((counts - 20_003 / 256) ** 2 / (20_003 / 256)).sum() < 380
        assert np.unique(found).size == found.size


def test_masks_cancel_over_all_and_pads_over_none() -> None:
    assert not blinded(NAMES, masks=True, pads=False, length=9000).any()
    assert blinded(NAMES[:3], masks=True, pads=False, length=64).all()
    assert blinded(NAMES, masks=True, pads=True, length=64).all()


# What is refused

PAYLOAD = {name: [i, 7 * i] for i, name in enumerate(NAMES)}
PARTS = {name: contributed(name, row) for name, row in PAYLOAD.items()}
TOTAL = total(list(PARTS.values()))
COUNTED = "expected slots that count 4 contributions, got masks that do not cancel"
CHANGED = "expected the sum of the nodes' contributions, got slots that passed their headroom"


def refuse(raw: bytes, message: str, **how: object) -> None:
    with pytest.raises(PeerError) as caught:
        opened(raw, 2, **how)
    assert caught.value.code == "headroom"
    assert message in caught.value.message


def test_honest_total_opens() -> None:
    assert opened(TOTAL, 2) == [6, 42]


@pytest.mark.parametrize("missing", NAMES)
def test_pads_come_off_with_all_keys_only(missing: str) -> None:
    refuse(TOTAL, COUNTED, pads={**PADS, missing: Secret(bytes(32))})
    others = {**PADS, "e": PADS[missing]}
    del others[missing]
    refuse(TOTAL, COUNTED, pads=others)
    swapped = dict(zip(PADS, [*list(PADS.values())[1:], PADS["a"]], strict=True))
    refuse(TOTAL, COUNTED, pads=swapped)


def test_a_missing_or_doubled_contribution_is_refused() -> None:
    parts = list(PARTS.values())
    refuse(total(parts[:3]), "expected 4 contributions, got 3")
    refuse(total([*parts, parts[0]]), "expected 4 contributions, got 5")
    refuse(total([*parts[:3], parts[0]]), COUNTED)
    refuse(header(5, 4) + total(parts[:3])[HEADER_BYTES:], COUNTED)
    three = {name: PADS[name] for name in NAMES[:3]}
    refuse(total(parts[:3]), "expected slots that count 3 contributions", count=3, pads=three)


def test_contributions_of_two_runs_do_not_mix() -> None:
    later = binding("job", "sum/2", NAMES)
    parts = {name: contributed(name, row, later) for name, row in PAYLOAD.items()}
    assert opened(total(list(parts.values())), 2, bound=later) == [6, 42]
    refuse(total(list(parts.values())), COUNTED)
    mixed = {**parts, "b": PARTS["b"]}
    refuse(total(list(mixed.values())), COUNTED, bound=later)
    refuse(total(list({**PARTS, "b": parts["b"]}.values())), COUNTED)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 4), st.integers(1, 2**64 - 1))
def test_whatever_is_added_to_a_word_is_refused(word: int, added: int) -> None:
    words = body(TOTAL, 5).copy()
    words[word : word + 1] += np.uint64(added)
    refuse(header(5, 4) + words.tobytes(), COUNTED if word == 0 else CHANGED)


@settings(max_examples=60, deadline=None)
@given(st.integers(8 * HEADER_BYTES, 8 * len(TOTAL) - 1))
def test_any_flipped_bit_is_refused(bit: int) -> None:
    raw = bytearray(TOTAL)
    raw[bit // 8] ^= 1 << (bit % 8)
    refuse(bytes(raw), "")


def test_dropped_and_swapped_words_are_refused() -> None:
    words = body(TOTAL, 5)
    zeroed = words.copy()
    zeroed[2] = 0
    refuse(header(5, 4) + zeroed.tobytes(), CHANGED)
    refuse(header(5, 4) + words[[0, 2, 1, 3, 4]].tobytes(), CHANGED)
    for shorter in (framed(words[:4]), header(5, 4) + words[:4].tobytes()):
        with pytest.raises(PeerError, match="expected a sum of 5 words") as caught:
            opened(shorter, 2)
        assert caught.value.code == "ciphertext"


def test_a_wrap_past_64_bits_is_refused() -> None:
    def summed(last: int) -> bytes:
        rows = [[2**62, 0]] * 3 + [[last, 0]]
        return total([contributed(n, row) for n, row in zip(NAMES, rows, strict=True)])

    assert opened(summed(2**62 - 1), 2) == [2**64 - 1, 0]
    refuse(summed(2**62), CHANGED)


def test_another_secret_is_refused() -> None:
    refuse(TOTAL, CHANGED, secret=Secret(bytes(32)))


def test_tag_totals_tell_nothing_of_single_contributions() -> None:
    # Under other mask keys the same contributions leave the same tag mod P, in other limbs: what
    # the requester sees of the tags follows from the sum.
    seen = set()
    for seed in range(8):
        keys = {name: MaskKey(Secret(bytes([seed, i]) * 16)) for i, name in enumerate(NAMES)}
        parts = [
            contribute(
                np.array([5], dtype=np.uint64),
                suite=Suite.STREAM,
                pad_key=PADS[name],
                mask_key=keys[name],
                own_name=name,
                peers={n: keys[n].public_bytes for n in NAMES if n != name},
                job_secret=SECRET,
                binding=BOUND,
            )
            for name in NAMES
        ]
        words = body(total(parts), 4).copy()
        streams.combine_words(
            words, [(False, pad_stream(PADS[n], n, binding=BOUND)) for n in NAMES]
        )
        seen.add((int(words[2]), int(words[3])))
        assert words[:2].tolist() == [4, 20]
    assert len({(low + (high << 40)) % (2**80 - 65) for low, high in seen}) == 1
    assert len(seen) > 1


def test_wrong_calls() -> None:
    with pytest.raises(CallError, match="expected a vector of uint64 slots"):
        contribute(
            np.array([1]),
            suite=Suite.STREAM,
            pad_key=PADS["a"],
            mask_key=KEYS["a"],
            own_name="a",
            peers=peers("a"),
            job_secret=SECRET,
            binding=BOUND,
        )
    with pytest.raises(CallError, match=f"expected 1 to {MAX_PAYLOAD_SLOTS} slots, got 0"):
        contributed("a", [])
    with pytest.raises(CallError, match="expected a binding of 32 bytes, got 31"):
        contributed("a", [1], BOUND[:31])
    with pytest.raises(CallError, match="expected 3 contributions or more, got `2`"):
        opened(TOTAL, 2, count=2)
    assert total_slots(2) == 5
