import pickle
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.errors import CallError, PeerError, StateError
from yumen_core.identity import SealingKey, SigningKey, seal
from yumen_core.identity.keys import check_signature
from yumen_core.identity.sealing import OVERHEAD_BYTES, PUBLIC_KEY_BYTES

NODE_KEY = SealingKey.generate()
INFO = b"yumen job 1 node a"


def test_signing_key_survives_the_disk_and_stays_private(tmp_path: Path) -> None:
    key = SigningKey.generate()
    path = tmp_path / "key.pem"
    key.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SigningKey.load(path).public_bytes() == key.public_bytes()
    assert list(tmp_path.iterdir()) == [path]
    assert repr(key) == "SigningKey(redacted)"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(key)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666])
@pytest.mark.parametrize("kind", [SigningKey, SealingKey])
def test_open_key_files_are_refused(
    tmp_path: Path, mode: int, kind: type[SigningKey] | type[SealingKey]
) -> None:
    path = tmp_path / "key"
    kind.generate().save(path)
    path.chmod(mode)
    with pytest.raises(StateError, match=f"expected mode 600, got {mode:o}; run `chmod 600"):
        kind.load(path)


def test_bad_key_files(tmp_path: Path, p384: object) -> None:
    with pytest.raises(StateError, match="is missing"):
        SigningKey.load(tmp_path / "none.pem")
    with pytest.raises(StateError, match="is not a file"):
        SigningKey.load(tmp_path)
    pem = p384.private_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for body, message in (
        (b"", "no readable private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no readable"),
        (pem, "expected ECDSA P-256"),
        (bytes(20_000), "larger than the 16384 bytes allowed"),
    ):
        path = tmp_path / "bad.pem"
        path.write_bytes(body)
        path.chmod(0o600)
        with pytest.raises(StateError, match=message):
            SigningKey.load(path)


def test_signatures_are_repeatable_and_bound_to_key_and_message() -> None:
    key = SigningKey.generate()
    signature = key.sign(b"m")
    assert signature == key.sign(b"m")
    check_signature(key.public_key, b"m", signature)
    for public, message, signed in (
        (key.public_key, b"n", signature),
        (SigningKey.generate().public_key, b"m", signature),
        (key.public_key, b"m", signature[:-1]),
        (key.public_key, b"m", b""),
    ):
        with pytest.raises(PeerError, match="does not match the signed bytes"):
            check_signature(public, message, signed)


def test_a_request_says_nothing_but_the_key() -> None:
    key = SigningKey.generate()
    csr = x509.load_der_x509_csr(key.csr())
    assert csr.is_signature_valid
    assert list(csr.subject) == []
    assert list(csr.extensions) == []


@given(st.binary(max_size=300), st.binary(min_size=1, max_size=100))
@settings(max_examples=25)
def test_sealed_bytes_open_with_key_and_context(plaintext: bytes, info: bytes) -> None:
    sealed = seal(plaintext, NODE_KEY.public_bytes(), info)
    assert len(sealed) == len(plaintext) + OVERHEAD_BYTES
    assert NODE_KEY.open(sealed, info) == plaintext


def test_sealed_bytes_open_nowhere_else() -> None:
    sealed = seal(b"secret", NODE_KEY.public_bytes(), INFO)
    assert seal(b"secret", NODE_KEY.public_bytes(), INFO) != sealed
    changed = [sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :] for i in (0, 1100, -1 + 1136)]
    for key, data, info in (
        (SealingKey.generate(), sealed, INFO),
        (NODE_KEY, sealed, INFO + b"x"),
        (NODE_KEY, sealed[:-1], INFO),
        (NODE_KEY, sealed + b"\0", INFO),
        *((NODE_KEY, data, INFO) for data in changed),
    ):
        with pytest.raises(PeerError, match="does not open with this key and context") as refused:
            key.open(data, info)
        assert refused.value.code == "sealed"
    with pytest.raises(PeerError, match=r"1136 to .* bytes, got 1135"):
        NODE_KEY.open(bytes(OVERHEAD_BYTES - 1), INFO)


def test_sealing_key_survives_the_disk_and_stays_private(tmp_path: Path) -> None:
    path = tmp_path / "sealing.key"
    NODE_KEY.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SealingKey.load(path).open(seal(b"x", NODE_KEY.public_bytes(), INFO), INFO) == b"x"
    assert repr(NODE_KEY) == "SealingKey(redacted)"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(NODE_KEY)
    path.write_bytes(bytes(95))
    with pytest.raises(StateError, match="expected 96 bytes, got 95"):
        SealingKey.load(path)


@pytest.mark.parametrize(
    ("public", "message"),
    [
        (b"", "1216 bytes, got 0"),
        (NODE_KEY.public_bytes()[:-1], "1216 bytes, got 1215"),
        (NODE_KEY.public_bytes() + b"\0", "1216 bytes, got 1217"),
        (b"\xff" * PUBLIC_KEY_BYTES, "not a valid public key"),
        (NODE_KEY.public_bytes()[:-32] + bytes(32), "not a valid public key"),
    ],
)
def test_bad_sealing_keys(public: bytes, message: str) -> None:
    with pytest.raises(PeerError, match=message):
        seal(b"x", public, INFO)


def test_sealing_wants_a_context_and_a_bounded_payload(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CallError, match="a sealing context has 1 to 1024 bytes, got 0"):
        seal(b"x", NODE_KEY.public_bytes(), b"")
    monkeypatch.setattr("yumen_core.identity.sealing.MAX_PLAINTEXT_BYTES", 8)
    with pytest.raises(CallError, match="at most 8 bytes can be sealed at once, got 9"):
        seal(bytes(9), NODE_KEY.public_bytes(), INFO)
