"""What is called without knowing the suite: lengths, adders, the secrets sealed to a node."""

import subprocess
import sys

import numpy as np
import pytest
from yumen_core.errors import CallError, PeerError
from yumen_core.secret import Secret
from yumen_core.securesum import Adder, MaskKey, Suite, adder, binding, join_secret, split_secret
from yumen_core.securesum import sum_bytes as sum_bytes_of
from yumen_core.securesum.bfv import BfvKeyPair
from yumen_core.securesum.contribution import contribute, open_sum, sealed_bytes, total_slots
from yumen_core.securesum.words import WordAdder

PAIR = BfvKeyPair.generate()
NAMES = ("a", "b", "c")
KEYS = {name: MaskKey.generate() for name in NAMES}
PADS = {name: Secret.generate() for name in NAMES}
SECRET = Secret.generate()
BOUND = binding("job", "sum", NAMES)


@pytest.mark.parametrize("suite", list(Suite))
def test_one_round_for_every_suite(suite: Suite) -> None:
    payloads = {name: np.array([i, 2**40 * i], dtype=np.uint64) for i, name in enumerate(NAMES)}
    total = adder(suite, PAIR.public, total_slots(2))
    for name, payload in payloads.items():
        raw = contribute(
            payload,
            suite=suite,
            public=PAIR.public,
            pad_key=PADS[name],
            mask_key=KEYS[name],
            own_name=name,
            peers={n: k.public_bytes for n, k in KEYS.items() if n != name},
            job_secret=SECRET,
            binding=BOUND,
        )
        assert len(raw) == sealed_bytes(2, suite) == sum_bytes_of(suite, total_slots(2))
        assert len(raw) == total.contribution_bytes
        incoming = total.receive()
        for start in range(0, len(raw), 1000):
            incoming.feed(raw[start : start + 1000])
        incoming.finish()
    assert total.contributions == 3
    found = open_sum(
        total.result(),
        suite=suite,
        keypair=PAIR,
        pad_keys=PADS,
        job_secret=SECRET,
        binding=BOUND,
        payload_slots=2,
        contributions=3,
    )
    assert found.tolist() == [3, 3 * 2**40]


def test_adders_of_the_suites() -> None:
    assert isinstance(adder(Suite.BFV, PAIR.public, 5), Adder)
    assert isinstance(adder(Suite.STREAM, None, 5), WordAdder)
    with pytest.raises(CallError, match="expected a public key for the suite `bfv`, got none"):
        adder(Suite.BFV, None, 5)
    for suite in Suite:
        for slots in (0, 2**24 + 1):
            with pytest.raises(CallError, match="expected 1 to 16777216 slots"):
                adder(suite, PAIR.public, slots)
            with pytest.raises(CallError, match="expected 1 to 16777216 slots"):
                sum_bytes_of(suite, slots)


def test_a_million_values_take_2_67_bytes_each() -> None:
    assert sum_bytes_of(Suite.STREAM, 333_334 + 3) / 1e6 == pytest.approx(2.6667, abs=1e-4)


@pytest.mark.parametrize("suite", list(Suite))
def test_a_contribution_needs_its_suites_key(suite: Suite) -> None:
    wanted = {Suite.BFV: "a public key", Suite.STREAM: "a pad key"}[suite]
    with pytest.raises(CallError) as caught:
        contribute(
            np.ones(1, dtype=np.uint64),
            suite=suite,
            mask_key=KEYS["a"],
            own_name="a",
            peers={n: KEYS[n].public_bytes for n in ("b", "c")},
            job_secret=SECRET,
            binding=BOUND,
        )
    assert caught.value.message == f"expected {wanted} for the suite `{suite}`, got none"


def test_opening_needs_its_suites_keys() -> None:
    for suite, pads, message in (
        (Suite.BFV, PADS, "expected a key pair for the suite `bfv`, got none"),
        (Suite.STREAM, None, "expected the pad keys of 3 nodes, got 0"),
        (Suite.STREAM, {"a": SECRET}, "expected the pad keys of 3 nodes, got 1"),
    ):
        with pytest.raises(CallError) as caught:
            open_sum(
                b"",
                suite=suite,
                pad_keys=pads,
                job_secret=SECRET,
                binding=BOUND,
                payload_slots=1,
                contributions=3,
            )
        assert caught.value.message == message


def test_sealed_secrets() -> None:
    pad = Secret.generate()
    assert split_secret(join_secret(SECRET, None), Suite.BFV) == (SECRET, None)
    assert split_secret(join_secret(SECRET, pad), Suite.STREAM) == (SECRET, pad)


@pytest.mark.parametrize(
    ("suite", "raw", "message"),
    [
        (Suite.BFV, b"", "expected a sealed secret of 32 bytes for the suite `bfv`, got 0"),
        (Suite.BFV, bytes(64), "expected a sealed secret of 32 bytes for the suite `bfv`, got 64"),
        (Suite.STREAM, bytes(32), "expected a sealed secret of 64 bytes for the suite `stream`"),
        (Suite.STREAM, bytes(65), "expected a sealed secret of 64 bytes for the suite `stream`"),
        (Suite.STREAM, bytes(64), "expected a pad key of its own, got the job's secret again"),
    ],
)
def test_bad_sealed_secrets(suite: Suite, raw: bytes, message: str) -> None:
    with pytest.raises(PeerError) as caught:
        split_secret(raw, suite)
    assert caught.value.code == "sealed"
    assert message in caught.value.message


def test_a_coordinator_needs_no_cryptographic_library() -> None:
    code = (
        "import sys\n"
        "from yumen_core.securesum.suite import Suite, adder, sum_bytes\n"
        "adder(Suite.STREAM, None, 5)\n"
        "sys.exit('tenseal' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
