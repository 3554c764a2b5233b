"""Masks cancel over the participants and over nothing less; draws are uniform by rejection."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.errors import CallError, PeerError
from yumen_core.secret import Secret
from yumen_core.securesum import MaskKey, T, binding, masks
from yumen_core.securesum import keystream as streams
from yumen_core.securesum.check import P
from yumen_core.securesum.masks import net_mask, net_tag_mask

KEYS = [MaskKey(Secret(bytes([i + 1]) * 32)) for i in range(9)]


def federation(names: list[str]) -> list[tuple[MaskKey, str, dict[str, bytes]]]:
    keys = dict(zip(names, KEYS, strict=False))
    return [
        (key, name, {n: k.public_bytes for n, k in keys.items() if n != name})
        for name, key in keys.items()
    ]


NAMES = st.lists(
    st.text(min_size=1, max_size=8).filter(lambda text: text.isprintable()),
    min_size=3,
    max_size=6,
    unique=True,
)


@settings(max_examples=25, deadline=None)
@given(NAMES, st.sampled_from([1, 2, 100, 8192, 8193, 20_000]))
def test_masks_cancel_over_all_participants(names: list[str], length: int) -> None:
    bound = binding("job", "sum", names)
    parties = federation(names)
    masks = [net_mask(*party, binding=bound, length=length) for party in parties]
    assert all(int(mask.max()) < T for mask in masks)
    assert not (np.sum(masks, axis=0, dtype=np.uint64) % np.uint64(T)).any()
    assert sum(net_tag_mask(*party, binding=bound) for party in parties) % P == 0


def test_masks_of_fewer_do_not_cancel() -> None:
    names = ["a", "b", "c", "d"]
    bound = binding("job", "sum", names)
    masks = [net_mask(*party, binding=bound, length=64) for party in federation(names)[:3]]
    assert (np.sum(masks, axis=0, dtype=np.uint64) % np.uint64(T)).all()


def test_masks_look_uniform() -> None:
    names = ["a", "b", "c"]
    party = federation(names)[0]
    mask = net_mask(*party, binding=binding("job", "sum", names), length=200_000)
    counts = np.histogram(mask, bins=16, range=(0, T))[0]
    assert np.abs(counts - 12_500).max() < 6 * np.sqrt(12_500)


def test_every_field_of_the_binding_changes_the_mask() -> None:
    names = ["a", "b", "c"]
    party = federation(names)[0]
    bounds = [
        binding("job", "sum", names),
        binding("job2", "sum", names),
        binding("job", "support", names),
        binding("job", "sum", [*names, "d"]),
        binding("jo", "bsum", names),
    ]
    masks = {net_mask(*party, binding=bound, length=4).tobytes() for bound in bounds}
    assert len(set(bounds)) == len(masks) == len(bounds)


def test_binding_is_of_the_set_and_has_a_fixed_form() -> None:
    assert binding("j", "r", ["b", "a", "ü"]) == binding("j", "r", ("ü", "a", "b"))
    assert binding("j", "r", ["ab", "c", "d"]) != binding("j", "r", ["a", "bc", "d"])
    assert binding("j", "r", ["a", "b", "c"]).hex() == (
        "ddf3cb1fa5c0d5b239917d2cfb6471f04d8f6e109074521965d7158aed40d32c"
    )


def test_known_mask() -> None:
    party = federation(["a", "b", "c"])[0]
    bound = binding("job", "sum", ["a", "b", "c"])
    assert net_mask(*party, binding=bound, length=3).tolist() == [
        20565708098029,
        29547227975691,
        99774101605297,
    ]


@pytest.mark.parametrize(
    ("job", "round_name", "names", "message"),
    [
        ("", "r", ["a", "b", "c"], "got an empty name"),
        ("j", "", ["a", "b", "c"], "got an empty name"),
        ("j", "r", ["a", "", "c"], "got an empty name"),
        ("j", "r", ["a", "b", "a"], "expected each participant once, got one twice"),
        ("j", "r", ["a", "b"], "expected 3 to 255 participants, got 2"),
        ("j", "r", [], "expected 3 to 255 participants, got 0"),
        ("j", "r", [str(i) for i in range(256)], "expected 3 to 255 participants, got 256"),
    ],
)
def test_binding_refuses(job: str, round_name: str, names: list[str], message: str) -> None:
    with pytest.raises(CallError) as caught:
        binding(job, round_name, names)
    assert message in caught.value.message


def test_masking_refuses_sets_that_cannot_be_masked() -> None:
    key, _, peers = federation(["a", "b", "c"])[0]
    bound = bytes(32)
    for name, others, message in (
        ("", peers, "expected the names of the other participants beside ``"),
        ("b", peers, "expected the names of the other participants beside `b`"),
        ("a", {**peers, "": peers["b"]}, "expected the names of the other participants"),
        ("a", {"b": peers["b"]}, "expected 3 to 255 participants, got 2"),
        ("a", {}, "expected 3 to 255 participants, got 1"),
    ):
        with pytest.raises(CallError) as caught:
            net_mask(key, name, others, binding=bound, length=4)
        assert message in caught.value.message
    with pytest.raises(CallError, match="expected a binding of 32 bytes, got 31"):
        net_mask(key, "a", peers, binding=bytes(31), length=4)
    with pytest.raises(CallError, match="expected a mask of 1 to"):
        net_mask(key, "a", peers, binding=bound, length=0)


@pytest.mark.parametrize(
    ("public", "message"),
    [
        (bytes(32), "expected a mask key of `b`, got a point of low order"),
        (b"\x01" + bytes(31), "expected a mask key of `b`, got a point of low order"),
        (bytes(31), "expected a mask key of 32 bytes of `b`, got 31"),
    ],
)
def test_bad_peer_keys(public: bytes, message: str) -> None:
    key, _, peers = federation(["a", "b", "c"])[0]
    with pytest.raises(PeerError) as caught:
        net_mask(key, "a", {**peers, "b": public}, binding=bytes(32), length=4)
    assert caught.value.code == "descriptor"
    assert caught.value.message == message


def test_mask_key_round_trip_and_redaction() -> None:
    key = MaskKey.generate()
    assert MaskKey(key.to_secret()).public_bytes == key.public_bytes
    assert MaskKey.generate().public_bytes != key.public_bytes
    assert repr(key) == "MaskKey(redacted)"
    with pytest.raises(TypeError, match="cannot be pickled"):
        key.__reduce__()


def test_kept_secrets_are_those_of_the_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "MAX_SHARED", 2)
    own = MaskKey(Secret(bytes([99]) * 32))
    for _ in range(2):  # the second time from what is kept, or after it was forgotten
        for peer in (KEYS[0], KEYS[0], KEYS[1], KEYS[2]):
            assert own.shared("p", peer.public_bytes) == peer.shared("own", own.public_bytes)


def fixed(data: bytes) -> streams.Stream:
    at = 0

    def take(count: int) -> bytes:
        nonlocal at
        piece = data[at : at + count]
        assert len(piece) == count, "the draws took more than expected"
        at += count
        return piece

    return take


def test_slot_draws_reject_and_keep_the_order() -> None:
    draws = [5, T, 7, 2**48 - 1, 9, T - 1, 11]
    data = b"".join((n | 0xABCD << 48).to_bytes(8, "little") for n in draws)
    found = list(streams.slot_draws(fixed(data), 5, T))
    assert [n for _, piece in found for n in piece.tolist()] == [5, 7, 9, T - 1, 11]
    assert [offset for offset, _ in found] == [0, 3]


def test_slot_draws_do_not_depend_on_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    modulus = 2**47 + 1  # half of the draws are rejected

    def drawn() -> list[int]:
        take = streams.stream(bytes(32))
        return [n for _, p in streams.slot_draws(take, 1000, modulus) for n in p.tolist()]

    whole = drawn()
    monkeypatch.setattr(streams, "PIECE", 7)
    assert drawn() == whole
    assert len(whole) == 1000
    assert max(whole) < modulus


def test_word_draws_reject_and_keep_the_order() -> None:
    top = 2**80 - 2**16
    draws = [1, P, 2**80 - 1, P - 1, top - 1, 0xFFFF << 64, top, P + 1, 3]
    data = b"".join(n.to_bytes(10, "little") for n in draws)
    rows = np.concatenate(list(streams.word_draws(fixed(data), 6, P)))
    numbers = [int.from_bytes(row.astype("<u2").tobytes(), "little") for row in rows]
    assert numbers == [1, P - 1, top - 1, 0xFFFF << 64, top, 3]


def test_number_draw_rejects() -> None:
    data = b"".join(n.to_bytes(10, "little") for n in (P, 2**80 - 1, P - 1))
    assert streams.number_draw(fixed(data), P, 10) == P - 1


def test_streams_of_different_labels_differ() -> None:
    keys = {streams.derive(bytes(32), *f) for f in ([b"a"], [b"a", b""], [b"ab"], [b"a", b"b"])}
    assert len(keys) == 4
