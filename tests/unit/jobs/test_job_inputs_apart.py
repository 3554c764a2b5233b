"""The input of a training's run: its sealed bytes travel apart from what the requester signs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from builders.federation import Federation
from yumen_core.errors import CallError, PeerError
from yumen_core.identity.envelope import PayloadType
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Role
from yumen_core.jobs import inputs as room
from yumen_core.jobs.inputs import (
    MAX_APART_BYTES,
    SignedInput,
    open_apart,
    open_input,
    open_signed_input,
    read_stored_input,
    seal_apart,
)
from yumen_core.rpc.v1 import job_pb2
from yumen_core.secret import Secret

JOB, OTHER_JOB = "0190aaaa-0000-7000-8000-000000000001", "0190aaaa-0000-7000-8000-000000000002"
DIGEST, SECRET = b"d" * 32, Secret(b"s" * 32)
MODEL = bytes(range(256)) * 40
NOT_SIGNED = "expected the input that the requester signed, got other bytes"
NOT_SEALED = "expected an input sealed for this run, got other bytes"
NAMED = f"expected an input of at most {MAX_APART_BYTES} bytes, named by its SHA-256"


def sealed(
    plain: bytes = MODEL,
    *,
    job_id: str = JOB,
    digest: bytes = DIGEST,
    run: int = 2,
    name: str = "train",
    secret: Secret = SECRET,
) -> tuple[SignedInput, bytes]:
    payload, body = seal_apart(
        plain, job_id=job_id, spec_digest=digest, run=run, round_name=name, secret=secret
    )
    return read_stored_input(payload), body


def read(signed: SignedInput, body: bytes, secret: Secret = SECRET, job_id: str = JOB) -> bytes:
    return open_apart(signed, body, job_id=job_id, spec_digest=DIGEST, secret=secret)


def refusal(signed: SignedInput, body: bytes) -> str:
    with pytest.raises(PeerError) as caught:
        read(signed, body)
    assert caught.value.code == "sealed"
    return caught.value.message


@pytest.mark.parametrize("plain", [b"", b"x", MODEL, bytes(3 << 20)])
def test_bytes_come_back(plain: bytes) -> None:
    signed, body = sealed(plain)
    assert read(signed, body) == plain
    assert (signed.run, signed.round, signed.sealed) == (2, "train", b"")
    assert (signed.apart, signed.size) == (hashlib.sha256(body).digest(), len(body))


def test_what_travels_shows_nothing_and_is_new_each_time() -> None:
    signed, body = sealed()
    other, again = sealed()
    assert MODEL[:16] not in body
    assert body != again
    assert (signed.digest, signed.apart) != (other.digest, other.apart)


# Other bytes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda body: b"",
        lambda body: body[:-1],
        lambda body: body[: len(body) // 2],
        lambda body: body[:12],
        lambda body: body + b"\x00",
        lambda body: body[1:] + body[:1],
        lambda body: bytes([body[0] ^ 1]) + body[1:],
        lambda body: body[:-1] + bytes([body[-1] ^ 0x80]),
        lambda body: sealed()[1],
    ],
    ids=[
        *("none", "one short", "half", "a nonce", "one more", "turned"),
        *("the nonce", "the tag", "another sealing"),
    ],
)
def test_bytes_that_the_requester_did_not_sign(change: Callable[[bytes], bytes]) -> None:
    signed, body = sealed()
    assert refusal(signed, change(body)) == NOT_SIGNED


@pytest.mark.parametrize("at", [0, 11, 12, 500, -17, -16, -1])
def test_bytes_tampered_with_by_one_who_could_sign_them(at: int) -> None:
    """The digest matches; what is inside is protected besides."""
    signed, body = sealed()
    changed = bytearray(body)
    changed[at] ^= 1
    digest = hashlib.sha256(changed).digest()
    assert refusal(replace(signed, apart=digest), bytes(changed)) == NOT_SEALED


@pytest.mark.parametrize("size", [0, 1, 11, 12, 13, 27])
def test_bytes_too_short_to_be_sealed(size: int) -> None:
    signed, body = sealed()
    short = body[:size]
    found = refusal(replace(signed, apart=hashlib.sha256(short).digest()), short)
    assert found == NOT_SEALED


@pytest.mark.parametrize(
    "other",
    [
        {"job_id": OTHER_JOB},
        {"digest": b"e" * 32},
        {"run": 3},
        {"run": 0},
        {"name": "evaluate"},
        {"name": ""},
        {"secret": Secret(b"t" * 32)},
    ],
    ids=str,
)
def test_bytes_sealed_for_something_else(other: dict[str, object]) -> None:
    """Signed under this run's frame they still do not open."""
    _, body = sealed(**other)  # type: ignore[arg-type]
    signed, _ = sealed()
    moved = replace(signed, apart=hashlib.sha256(body).digest(), size=len(body))
    assert refusal(moved, body) == NOT_SEALED


def test_an_input_of_arrays_is_not_one_apart_nor_the_other_way_round() -> None:
    signed, body = sealed()
    assert refusal(replace(signed, apart=b""), body) == NOT_SIGNED
    with pytest.raises(PeerError, match=NOT_SEALED):
        open_input(signed, job_id=JOB, spec_digest=DIGEST, secret=SECRET, shapes={})


def test_more_than_a_model_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_APART_BYTES", 3 << 20)
    seal = {"job_id": JOB, "spec_digest": DIGEST, "run": 0, "round_name": "train"}
    seal_apart(bytes((3 << 20) - 28), **seal, secret=SECRET)  # type: ignore[arg-type]
    with pytest.raises(CallError) as caught:
        seal_apart(bytes((3 << 20) - 27), **seal, secret=SECRET)  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.message) == (
        "payload_too_large",
        "expected a model of at most 3 MiB, got 3145701 bytes",
    )


# What is signed -----------------------------------------------------------------------------------


def message(**changes: object) -> job_pb2.RoundInput:
    fields = {
        "job_id": JOB,
        "spec_digest": DIGEST,
        "run": 2,
        "round": "train",
        "sealed_digest": b"h" * 32,
        "sealed_bytes": 1000,
        **changes,
    }
    return job_pb2.RoundInput(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"sealed_digest": b"h" * 31},
        {"sealed_digest": b"h" * 33},
        {"sealed_digest": b"h"},
        {"sealed": b"sealed here too"},
        {"sealed_bytes": 0},
        {"sealed_bytes": 27},
        {"sealed_bytes": MAX_APART_BYTES + 1},
        {"sealed_bytes": (1 << 63) - 1},
    ],
    ids=str,
)
def test_a_frame_of_another_form(changes: dict[str, object]) -> None:
    with pytest.raises(PeerError) as caught:
        read_stored_input(message(**changes).SerializeToString())
    assert (caught.value.code, caught.value.message) == ("round", NAMED)


@pytest.mark.parametrize("size", [28, MAX_APART_BYTES])
def test_a_frame_at_the_limits(size: int) -> None:
    found = read_stored_input(message(sealed_bytes=size).SerializeToString())
    assert (found.size, found.apart) == (size, b"h" * 32)


def test_bytes_that_are_no_frame() -> None:
    with pytest.raises(PeerError, match="expected a round's input, got other bytes"):
        read_stored_input(b"\xff\xff")


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return Federation(tmp_path_factory.mktemp("apart"))


@pytest.fixture(scope="module")
def li(federation: Federation) -> Membership:
    return federation.member(Role.USER, "li")


def test_only_the_jobs_requester_signs_it(federation: Federation, li: Membership) -> None:
    payload, body = seal_apart(
        MODEL, job_id=JOB, spec_digest=DIGEST, run=2, round_name="train", secret=SECRET
    )

    def opened(signer: Membership, job_id: str = JOB, digest: bytes = DIGEST) -> SignedInput:
        return open_signed_input(
            signer.sign(payload, PayloadType.ROUND_INPUT),
            job_id=job_id,
            spec_digest=digest,
            requester=li.identity,
            membership=li,
        )

    assert read(opened(li), body) == MODEL
    another = "expected an input of the job's requester for this job, got another"
    wang = federation.member(Role.USER, "wang")
    for refused in (
        lambda: opened(wang),
        lambda: opened(li, OTHER_JOB),
        lambda: opened(li, JOB, b"e" * 32),
    ):
        with pytest.raises(PeerError, match=another):
            refused()
    forged = message(sealed_bytes=1).SerializeToString()
    with pytest.raises(PeerError, match="named by its SHA-256"):
        open_signed_input(
            li.sign(forged, PayloadType.ROUND_INPUT),
            job_id=JOB,
            spec_digest=DIGEST,
            requester=li.identity,
            membership=li,
        )
