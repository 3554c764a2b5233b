import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from identity_world import Federation
from yumen_core.errors import CallError, PeerError
from yumen_core.identity import (
    Opened,
    PayloadType,
    Role,
    SignedEnvelope,
    SigningKey,
    open_envelope,
    serial_text,
    sign,
)
from yumen_core.identity.envelope import pre_authentication_encoding

JOB = PayloadType.JOB_SPEC


def opened(federation: Federation, envelope: SignedEnvelope, **options: object) -> Opened:
    arguments: dict[str, object] = {
        "expected_type": JOB,
        "anchor": federation.anchor,
        "revocations": federation.revocations(),
        "now_ms": federation.now_ms,
        "max_bytes": 1000,
    }
    return open_envelope(envelope, **(arguments | options))  # type: ignore[arg-type]


def test_the_encoding_of_the_dsse_specification() -> None:
    made = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert made == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pre_authentication_encoding("", b"") == b"DSSEv1 0  0 "
    assert pre_authentication_encoding("é", b"\xff") == b"DSSEv1 2 \xc3\xa9 1 \xff"


@given(st.text(max_size=20), st.binary(max_size=20), st.text(max_size=20), st.binary(max_size=20))
def test_no_two_statements_have_one_encoding(
    kind: str, payload: bytes, other_kind: str, other: bytes
) -> None:
    same = (kind, payload) == (other_kind, other)
    encoded = pre_authentication_encoding(kind, payload)
    assert (encoded == pre_authentication_encoding(other_kind, other)) == same


def test_a_statement_opens(federation: Federation) -> None:
    key, leaf = federation.member()
    envelope = sign(b"ask", JOB, key, leaf)
    assert sign(b"ask", JOB, key, leaf) == envelope
    back = SignedEnvelope.from_proto(envelope.to_proto())
    assert back == envelope
    for role in (None, Role.USER, {Role.USER, Role.NODE}):
        result = opened(federation, back, role=role)
        assert result.payload == b"ask"
        assert result.identity.short == "lzu/li"
        assert result.digest == hashlib.sha256(b"ask").digest()


def test_each_field_is_bound(federation: Federation) -> None:
    key, leaf = federation.member()
    other_key, other_leaf = federation.member("wang")
    good = sign(b"ask", JOB, key, leaf)
    signature = bytearray(good.signature)
    signature[-1] ^= 1
    decision = sign(b"ask", PayloadType.DECISION, key, leaf)
    for bad, code, message in (
        (replace(good, payload=b"asks"), "signature", "does not match the signed bytes"),
        (replace(good, payload=b""), "signature", "does not match the signed bytes"),
        (replace(good, signature=bytes(signature)), "signature", "does not match"),
        (replace(good, signature=b""), "signature", "does not match"),
        (replace(good, signature=bytes(73)), "signature", "at most 72 bytes, got 73"),
        (replace(good, certificate=other_leaf), "signature", "does not match"),
        (replace(good, certificate=b""), "certificate", "not an X.509 certificate"),
        (replace(good, payload_type="x\n"), "signature", r"of type `application.*, got `x\\n`"),
        (decision, "signature", "expected a statement of type .*job-spec"),
        (replace(decision, payload_type=JOB), "signature", "does not match"),
        (sign(b"ask", JOB, other_key, leaf), "signature", "does not match"),
        (sign(bytes(1001), JOB, key, leaf), "payload_too_large", "at most 1000 bytes, got 1001"),
    ):
        with pytest.raises(PeerError, match=message) as refused:
            opened(federation, bad)
        assert refused.value.code == code


@pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")
def test_every_changed_byte_of_an_envelope_is_refused(federation: Federation) -> None:
    key, leaf = federation.member()
    good = sign(b"ask", JOB, key, leaf)
    for name in ("payload", "signature", "certificate"):
        data: bytes = getattr(good, name)
        for place in range(len(data)):
            changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            with pytest.raises(PeerError):
                opened(federation, replace(good, **{name: changed}))


def test_roles_are_enforced_and_none_given_means_none(federation: Federation) -> None:
    key, leaf = federation.member("cleveland", Role.NODE)
    envelope = sign(b"ask", JOB, key, leaf)
    for role, message in (
        (Role.USER, "a signer with role user, got `spiffe://gansu.example/org/lzu/node/"),
        ({Role.USER, Role.AUDITOR}, "a signer with role auditor or user, got"),
        (set(), "a signer with role none, got"),
    ):
        with pytest.raises(PeerError, match=message) as refused:
            opened(federation, envelope, role=role)
        assert refused.value.code == "role"


def test_signer_must_be_valid_now(federation: Federation, stranger: Federation) -> None:
    key, leaf = federation.member()
    envelope = sign(b"ask", JOB, key, leaf)
    revoked = federation.revocations(int(serial_text(leaf), 16))
    with pytest.raises(PeerError, match="is revoked"):
        opened(federation, envelope, revocations=revoked)
    with pytest.raises(PeerError, match="was not issued by the federation's authority"):
        opened(stranger, envelope)
    stale = federation.revocations()
    federation.clock.advance(25 * 3_600_000)
    with pytest.raises(PeerError, match="the revocation list expired 1 hours ago"):
        opened(federation, envelope, revocations=stale)


def test_signing_wants_our_types_and_sizes() -> None:
    key = SigningKey.generate()
    for kind in ("", "job", "application/json", JOB + "\n", "application/vnd.yumen.Job.v1"):
        with pytest.raises(CallError, match="expected a payload type like `application/vnd"):
            sign(b"", kind, key, b"")
    with pytest.raises(CallError, match="at most 4194304 bytes, got 4194305"):
        sign(bytes(4 * 1024 * 1024 + 1), JOB, key, b"")
