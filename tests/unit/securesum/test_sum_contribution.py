"""Whole rounds: nodes contribute, a blind adder adds, the requester opens; and every bad ending."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.errors import CallError, PeerError
from yumen_core.secret import Secret
from yumen_core.securesum import (
    LIMB_BITS,
    Adder,
    FixedPointCodec,
    IntegerCodec,
    MaskKey,
    T,
    binding,
)
from yumen_core.securesum.bfv import BfvKeyPair, encrypt
from yumen_core.securesum.check import P
from yumen_core.securesum.ciphertext import BLOCK_BYTES, HEADER_BYTES
from yumen_core.securesum.contribution import (
    MAX_PAYLOAD_SLOTS,
    contribute,
    masked,
    open_sum,
    sealed_bytes,
    total_slots,
)
from yumen_core.securesum.parallel import SMALLEST_BLOCKS, EncryptionPool
from yumen_core.securesum.public_key import Q

PAIR = BfvKeyPair.generate()
SECRET = Secret.generate()
NAMES = ("spiffe://f/org/a/node/1", "spiffe://f/org/b/node/1", "spiffe://f/org/c/node/1", "d")
KEYS = {name: MaskKey.generate() for name in NAMES}
BOUND = binding("job", "sum", NAMES)


def contributions(payloads: list[np.ndarray], names: tuple[str, ...] = NAMES) -> list[bytes]:
    return [
        contribute(
            payload,
            public=PAIR.public,
            mask_key=KEYS[name],
            own_name=name,
            peers={n: KEYS[n].public_bytes for n in names if n != name},
            job_secret=SECRET,
            binding=binding("job", "sum", names),
        )
        for name, payload in zip(names, payloads, strict=True)
    ]


def total(sealed: list[bytes], payload: int) -> bytes:
    adder = Adder(PAIR.public, total_slots(payload))
    for raw in sealed:
        adder.add(raw)
    return adder.result()


def opened(raw: bytes, payload: int, count: int = 4, bound: bytes = BOUND) -> np.ndarray:
    return open_sum(
        raw,
        keypair=PAIR,
        job_secret=SECRET,
        binding=bound,
        payload_slots=payload,
        contributions=count,
    )


def test_integers_through_a_whole_round() -> None:
    codec = IntegerCodec([20, 80, 120] * 600, [True, False, True] * 600)
    rows = [[-i, 2**79 + i, -(2**119) + i] * 600 for i in range(4)]
    sealed = contributions([codec.encode(row) for row in rows])
    assert {len(raw) for raw in sealed} == {sealed_bytes(codec.slots)}
    sums = codec.decode(opened(total(sealed, codec.slots), codec.slots), 4)
    assert sums == [sum(column) for column in zip(*rows, strict=True)]


def test_reals_through_a_whole_round() -> None:
    codec = FixedPointCodec(9001, 0.5, 4)
    vectors = [np.random.default_rng(i).normal(size=9001).astype(np.float32) for i in range(4)]
    sealed = contributions([codec.encode(vector) for vector in vectors])
    found = codec.decode(opened(total(sealed, codec.slots), codec.slots), 4)
    truth = np.sum([np.clip(v.astype(np.float64), -0.5, 0.5) for v in vectors], axis=0)
    assert np.abs(found - truth).max() <= 4 * codec.resolution / 2 + 1e-12


def test_one_contribution_alone_is_masked() -> None:
    payload = np.zeros(1000, dtype=np.uint64)
    peers = {n: KEYS[n].public_bytes for n in NAMES[1:]}
    slots = masked(
        payload,
        mask_key=KEYS[NAMES[0]],
        own_name=NAMES[0],
        peers=peers,
        job_secret=SECRET,
        binding=BOUND,
    )
    assert len(slots) == 1003
    assert np.unique(slots).size == 1003
    assert slots.min() < 2**44  # spread over the whole range, count and tags too
    assert slots.max() > T - 2**44


PAYLOAD = [np.array([i, 7 * i], dtype=np.uint64) for i in range(4)]
SEALED = contributions(PAYLOAD)
TOTAL = total(SEALED, 2)


def refuse(raw: bytes, message: str, code: str = "headroom", count: int = 4) -> None:
    with pytest.raises(PeerError) as caught:
        opened(raw, 2, count)
    assert caught.value.code == code
    assert message in caught.value.message


def test_honest_total_opens() -> None:
    assert opened(total(SEALED, 2), 2).tolist() == [6, 42]


def test_a_missing_or_doubled_contribution_is_refused() -> None:
    refuse(total(SEALED[:3], 2), "expected 4 contributions, got 3")
    refuse(total(SEALED[:3], 2), "expected slots that count 3 contributions", count=3)
    refuse(total([*SEALED[:3], SEALED[0]], 2), "expected slots that count 4 contributions")
    refuse(total([*SEALED, SEALED[0]], 2), "expected 4 contributions, got 5")


def test_a_lie_about_the_count_is_refused() -> None:
    raw = bytearray(total(SEALED[:3], 2))
    raw[6] = 4
    refuse(bytes(raw), "expected slots that count 4 contributions, got masks that do not cancel")


def test_something_added_to_the_sum_is_refused() -> None:
    for slot in range(5):
        change = np.zeros(5, dtype=np.uint64)
        change[slot] = 2**40 - 87
        raw = np.frombuffer(total(SEALED, 2)[HEADER_BYTES:], dtype="<u8")
        more = np.frombuffer(encrypt(change, PAIR.public)[HEADER_BYTES:], dtype="<u8")
        forged = total(SEALED, 2)[:HEADER_BYTES] + ((raw + more) % np.uint64(Q)).tobytes()
        refuse(forged, "expected slots that count 4" if slot == 0 else "were changed on the way")


def test_a_wrap_past_t_is_refused() -> None:
    high = [np.array([T // 4 + 1, 0], dtype=np.uint64)] * 4
    refuse(total(contributions(high), 2), "slots that passed their headroom")


def test_a_flipped_high_bit_in_the_ciphertext_is_refused() -> None:
    raw = bytearray(total(SEALED, 2))
    raw[HEADER_BYTES + 8 * 100 + 6] ^= 8  # bit 51 of an integer of c0: every slot changes
    refuse(bytes(raw), "expected slots that count 4 contributions")


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 8 * sealed_bytes(2) - 1))
def test_any_flipped_bit_is_refused_or_changes_nothing(bit: int) -> None:
    raw = bytearray(TOTAL)
    raw[bit // 8] ^= 1 << (bit % 8)
    try:
        found = opened(bytes(raw), 2).tolist()
    except PeerError:
        return
    assert found == [6, 42]  # low bits are lost in the noise, which decryption rounds away
    assert bit // 8 >= HEADER_BYTES


def test_another_round_or_secret_is_refused() -> None:
    with pytest.raises(PeerError, match="were changed on the way"):
        opened(total(SEALED, 2), 2, bound=binding("job2", "sum", NAMES))
    with pytest.raises(PeerError, match="were changed on the way"):
        open_sum(
            total(SEALED, 2),
            keypair=PAIR,
            job_secret=Secret(bytes(32)),
            binding=BOUND,
            payload_slots=2,
            contributions=4,
        )


def test_wrong_calls() -> None:
    with pytest.raises(CallError, match="expected 3 contributions or more, got `2`"):
        opened(total(SEALED, 2), 2, count=2)
    with pytest.raises(CallError, match=f"expected 1 to {MAX_PAYLOAD_SLOTS} payload slots"):
        total_slots(0)
    with pytest.raises(CallError, match="expected slots below"):
        contributions([np.array([T], dtype=np.uint64)] * 4)
    with pytest.raises(CallError, match="expected a vector of uint64 slots"):
        contributions([np.array([1])] * 4)


def test_tag_totals_tell_nothing_of_single_contributions() -> None:
    # The same contributions and weights under fresh masks: totals of plain tags would repeat, and
    # their carries would say something of the single contributions; these agree mod P alone.
    payload = np.array([5], dtype=np.uint64)
    tag_totals = []
    for _ in range(40):  # all agree by chance once in 10**13
        keys = {name: MaskKey.generate() for name in NAMES}
        slots = [
            masked(
                payload,
                mask_key=keys[name],
                own_name=name,
                peers={n: keys[n].public_bytes for n in NAMES if n != name},
                job_secret=SECRET,
                binding=BOUND,
            ).tolist()
            for name in NAMES
        ]
        count, value, low, high = (sum(column) % T for column in zip(*slots, strict=True))
        assert (count, value) == (4, 20)
        tag_totals.append(low + (high << LIMB_BITS))
    assert len({tag % P for tag in tag_totals}) == 1
    assert len(set(tag_totals)) > 1


BIG = np.random.default_rng(3).integers(0, T, 4096 * SMALLEST_BLOCKS + 5).astype(np.uint64)


def test_workers_encrypt_large_vectors() -> None:
    with EncryptionPool(2) as pool:
        raw = pool.encrypt(BIG, PAIR.public)
        assert (PAIR.decrypt(raw, BIG.size) == BIG).all()
        assert len(multiprocessing.active_children()) == 2
        for child in multiprocessing.active_children():  # a worker that dies costs no result
            os.kill(child.pid or 0, signal.SIGKILL)
            break
        raw = pool.encrypt(BIG, PAIR.public)
        assert (PAIR.decrypt(raw, BIG.size) == BIG).all()
    assert not multiprocessing.active_children()


def test_small_vectors_start_no_worker() -> None:
    with EncryptionPool(2) as pool, EncryptionPool(1) as single:
        assert (PAIR.decrypt(pool.encrypt(BIG[:9000], PAIR.public), 9000) == BIG[:9000]).all()
        assert len(single.encrypt(BIG, PAIR.public)) == HEADER_BYTES + 33 * BLOCK_BYTES
        assert not multiprocessing.active_children()
    for workers in (0, 65):
        with pytest.raises(CallError, match=f"expected 1 to 64 workers, got `{workers}`"):
            EncryptionPool(workers)


def test_workers_leave_nothing_behind() -> None:
    code = (
        "import numpy as np\n"
        "from yumen_core.securesum.bfv import BfvKeyPair\n"
        "from yumen_core.securesum.parallel import EncryptionPool\n"
        "if __name__ == '__main__':\n"
        "    with EncryptionPool(2) as pool:\n"
        "        values = np.ones(4096 * 32, dtype=np.uint64)\n"
        "        pool.encrypt(values, BfvKeyPair.generate().public)\n"
    )
    shared = Path("/dev/shm")
    before = set(shared.iterdir()) if shared.is_dir() else set()
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert (run.stdout, run.stderr) == (b"", b"")
    after = set(shared.iterdir()) if shared.is_dir() else set()
    assert not {path for path in after - before if path.name.startswith("psm_")}
