"""Keys, ciphertexts and the blind sum: what is refused, with which words, and what gets through."""

import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yumen_core.errors import CallError, PeerError
from yumen_core.securesum import Adder, BfvPublicKey, T
from yumen_core.securesum.bfv import BfvKeyPair, encrypt
from yumen_core.securesum.ciphertext import BLOCK_BYTES, HEADER_BYTES
from yumen_core.securesum.public_key import KEY_BYTES, Q_SPECIAL, Q

PAIR = BfvKeyPair.generate()
OTHER = BfvKeyPair.generate()
PUBLIC = PAIR.public
SLOTS = 5000  # two blocks, the second in part
VALUES = np.random.default_rng(0).integers(0, T, SLOTS).astype(np.uint64)
SEALED = encrypt(VALUES, PUBLIC)


def test_parameters_are_those_of_the_library() -> None:
    from tenseal import sealapi

    primes = [p.value() for p in sealapi.CoeffModulus.Create(4096, [60, 49])]
    assert primes == [Q, Q_SPECIAL]
    assert sum(prime.bit_length() for prime in primes) <= sealapi.CoeffModulus.MaxBitCount(
        4096, sealapi.SEC_LEVEL_TYPE.TC128
    )


def test_round_trip() -> None:
    assert len(SEALED) == HEADER_BYTES + 2 * BLOCK_BYTES
    assert (PAIR.decrypt(SEALED, SLOTS) == VALUES).all()
    assert encrypt(VALUES, PUBLIC)[HEADER_BYTES:] != SEALED[HEADER_BYTES:]


@pytest.mark.parametrize("slots", [1, 4095, 4096, 4097])
def test_round_trip_at_block_edges(slots: int) -> None:
    values = np.full(slots, T - 1, dtype=np.uint64)
    assert (PAIR.decrypt(encrypt(values, PUBLIC), slots) == values).all()


def test_255_contributions_decrypt_exactly() -> None:
    generator = np.random.default_rng(1)
    adder, truth = Adder(PUBLIC, 4096), np.zeros(4096, dtype=np.uint64)
    for _ in range(255):
        values = generator.integers(0, T, 4096).astype(np.uint64)
        truth = (truth + values) % np.uint64(T)
        adder.add(encrypt(values, PUBLIC))
    assert (PAIR.decrypt(adder.result(), 4096) == truth).all()
    with pytest.raises(PeerError, match="expected at most 255 contributions, got another"):
        adder.add(encrypt(truth, PUBLIC))


def test_a_key_that_travelled_encrypts_for_its_owner() -> None:
    key = BfvPublicKey.from_bytes(PUBLIC.to_bytes())
    assert key == PUBLIC
    assert len(key.to_bytes()) == KEY_BYTES
    assert (PAIR.decrypt(encrypt(VALUES, key), SLOTS) == VALUES).all()
    assert not (OTHER.decrypt(encrypt(VALUES, OTHER.public), SLOTS) != VALUES).any()


def test_secrets_stay() -> None:
    assert repr(PAIR) == "BfvKeyPair(redacted)"
    with pytest.raises(TypeError, match="cannot be pickled"):
        PAIR.__reduce__()
    assert PUBLIC.to_bytes().hex() not in repr(PUBLIC)


def changed_key(offset: int, form: str, value: object) -> bytes:
    raw = bytearray(PUBLIC.to_bytes())
    struct.pack_into(form, raw, offset, value)
    return bytes(raw)


BAD_KEYS = [
    (b"", "expected a public key of 131104 bytes, got 0"),
    (PUBLIC.to_bytes()[:-1], "expected a public key of 131104 bytes, got 131103"),
    (PUBLIC.to_bytes() + b"\0", "expected a public key of 131104 bytes, got 131105"),
    (changed_key(0, "<4s", b"YBFV"), "with magic `b'YBPK'`, got `b'YBFV'`"),
    (changed_key(4, "<H", 2), "with version `1`, got `2`"),
    (changed_key(6, "<H", 15), "with log2 of N `12`, got `15`"),
    (changed_key(8, "<Q", 65537), f"with t `{T}`, got `65537`"),
    (changed_key(16, "<Q", Q - 2), f"with first prime `{Q}`, got `{Q - 2}`"),
    (changed_key(24, "<Q", 3), f"with second prime `{Q_SPECIAL}`, got `3`"),
    (changed_key(32, "<Q", Q), f"with numbers below {Q}, got one above"),
    (changed_key(32 + 8 * 4096, "<Q", Q_SPECIAL), f"below {Q_SPECIAL}, got one above"),
    (PUBLIC.to_bytes()[:32] + bytes(KEY_BYTES - 32), "got one that is partly zero"),
    (
        PUBLIC.to_bytes()[: 32 + 16 * 4096] + bytes(16 * 4096),
        "expected a public key, got one that is partly zero",
    ),
]


@pytest.mark.parametrize(("raw", "message"), BAD_KEYS, ids=[m for _, m in BAD_KEYS])
def test_bad_keys(raw: bytes, message: str) -> None:
    with pytest.raises(PeerError) as caught:
        BfvPublicKey.from_bytes(raw)
    assert caught.value.code == "ciphertext"
    assert message in caught.value.message


def changed(offset: int, form: str, value: object) -> bytes:
    raw = bytearray(SEALED)
    struct.pack_into(form, raw, offset, value)
    return bytes(raw)


WANTED = "expected a sum of 2 blocks of 4096 slots"
BAD_CIPHERTEXTS = [
    (b"", f"{WANTED} for the job's key, got 0 bytes"),
    (SEALED[: HEADER_BYTES - 1], f"{WANTED} for the job's key, got 47 bytes"),
    (SEALED[:HEADER_BYTES], f"{WANTED}, got 0 blocks"),
    (SEALED[:-1], f"{WANTED}, got {len(SEALED) - 1} bytes"),
    (SEALED[:-BLOCK_BYTES], f"{WANTED}, got 1 blocks"),
    (SEALED + SEALED[-BLOCK_BYTES:], f"{WANTED}, got 3 blocks"),
    (changed(0, "<4s", b"YBPK"), "got another format"),
    (changed(4, "<H", 2), "got another format"),
    (changed(6, "<H", 0), "got 0 contributions"),
    (changed(6, "<H", 256), "got 256 contributions"),
    (changed(8, "<I", 8192), "got 8192 slots"),
    (changed(12, "<I", 8), "got another format"),
    (changed(16, "<B", SEALED[16] ^ 1), "got one for another key"),
    (encrypt(VALUES, OTHER.public), "got one for another key"),
    (encrypt(VALUES[:4096], PUBLIC), "got 4096 slots"),
    (changed(HEADER_BYTES, "<Q", Q), f"expected ciphertext integers below {Q}, got one above"),
    (changed(len(SEALED) - 8, "<Q", 2**64 - 1), f"expected ciphertext integers below {Q}"),
    (
        SEALED[:-BLOCK_BYTES] + SEALED[-BLOCK_BYTES : -BLOCK_BYTES // 2] + bytes(BLOCK_BYTES // 2),
        "expected a ciphertext, got a block that hides nothing",
    ),
]


@pytest.mark.parametrize(("raw", "message"), BAD_CIPHERTEXTS, ids=[m for _, m in BAD_CIPHERTEXTS])
def test_bad_ciphertexts(raw: bytes, message: str) -> None:
    adder = Adder(PUBLIC, SLOTS)
    for use in (lambda: PAIR.decrypt(raw, SLOTS), lambda: adder.add(raw)):
        with pytest.raises(PeerError) as caught:
            use()
        assert caught.value.code == "ciphertext"
        assert message in caught.value.message
    # Nothing of it reached the sum.
    adder.add(SEALED)
    assert adder.result()[HEADER_BYTES:] == SEALED[HEADER_BYTES:]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=200) | st.integers(0, len(SEALED) - 1).map(lambda n: SEALED[:n]))
def test_random_and_truncated_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(PeerError):
        PAIR.decrypt(raw, SLOTS)
    with pytest.raises(PeerError):
        Adder(PUBLIC, SLOTS).add(raw)
    with pytest.raises(PeerError):
        BfvPublicKey.from_bytes(raw)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(SEALED) * 8 - 1))
def test_a_flipped_bit_is_refused_or_decrypts_to_slots(bit: int) -> None:
    raw = bytearray(SEALED)
    raw[bit // 8] ^= 1 << (bit % 8)
    try:
        found = PAIR.decrypt(bytes(raw), SLOTS)
    except PeerError:
        return
    # The header's count is for the caller to compare, the slots for the check tags.
    assert bit // 8 >= HEADER_BYTES or bit // 16 == 3
    assert found.shape == (SLOTS,)
    assert int(found.max()) < T


def test_pieces_of_any_size_add_up() -> None:
    whole = Adder(PUBLIC, SLOTS)
    whole.add(SEALED)
    whole.add(SEALED)
    for size in (1000, HEADER_BYTES, BLOCK_BYTES, BLOCK_BYTES + 7, len(SEALED)):
        adder = Adder(PUBLIC, SLOTS)
        first, second = adder.receive(), adder.receive()
        for start in range(0, len(SEALED), size):  # interleaved, as two nodes send
            first.feed(SEALED[start : start + size])
            second.feed(SEALED[start : start + size])
        first.finish()
        with pytest.raises(PeerError, match="expected whole contributions, got 1 of 2"):
            adder.result()
        second.finish()
        assert adder.contributions == 2
        assert adder.result() == whole.result()


def test_bad_pieces() -> None:
    incoming = Adder(PUBLIC, SLOTS).receive()
    with pytest.raises(PeerError, match="got 0 whole blocks"):
        incoming.finish()
    incoming.feed(SEALED[:-1])
    with pytest.raises(PeerError, match="got 1 whole blocks"):
        incoming.finish()
    with pytest.raises(PeerError, match="got 1 bytes beyond it"):
        incoming.feed(SEALED[-1:] + b"\0")
    incoming.feed(SEALED[-1:])
    incoming.finish()
    with pytest.raises(PeerError):
        incoming.finish()
    with pytest.raises(PeerError, match="got one for another key"):
        Adder(OTHER.public, SLOTS).receive().feed(SEALED)
    with pytest.raises(PeerError, match="integers below"):
        Adder(PUBLIC, SLOTS).receive().feed(changed(HEADER_BYTES, "<Q", Q))


def test_a_sum_is_no_contribution() -> None:
    adder = Adder(PUBLIC, SLOTS)
    with pytest.raises(PeerError, match="expected whole contributions, got 0 of 0"):
        adder.result()
    adder.add(SEALED)
    adder.add(SEALED)
    with pytest.raises(PeerError, match="expected one contribution, got a sum of 2"):
        Adder(PUBLIC, SLOTS).add(adder.result())


def test_wrong_calls() -> None:
    for slots in (0, 4096 * 4096 + 1):
        with pytest.raises(CallError, match="expected 1 to 16777216 slots"):
            Adder(PUBLIC, slots)
    with pytest.raises(CallError, match="expected a vector of uint64 slots"):
        encrypt(VALUES.astype(np.int64), PUBLIC)


def test_the_process_stays_quiet() -> None:
    code = (
        "import numpy as np\n"
        "from yumen_core.securesum.bfv import BfvKeyPair, encrypt\n"
        "k = BfvKeyPair.generate()\n"
        "k.decrypt(encrypt(np.ones(20000, dtype=np.uint64), k.public), 20000)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert (run.stdout, run.stderr) == (b"", b"")


def test_the_coordinators_part_does_not_load_the_library() -> None:
    code = "import sys, yumen_core.securesum; sys.exit('tenseal' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
