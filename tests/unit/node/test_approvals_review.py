"""The bytes that a reviewer signs: one spelling, and nothing else is a review."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yumen_core import canonical
from yumen_core.errors import CallError, PeerError
from yumen_core.identity import Identity, Role
from yumen_core.identity.word import MAX_BYTES
from yumen_core.training.review import Review

NODE = Identity("gansu.example", "cleveland", Role.NODE, "heart")
REVIEW = Review(b"\x07" * 32, True, "只有总和离开", NODE, 1_790_000_000_000)
PAYLOAD = REVIEW.to_bytes()


def test_what_is_signed() -> None:
    assert json.loads(PAYLOAD) == {
        "bundle": "07" * 32,
        "format": "yumen-code-review-v1",
        "node": "spiffe://gansu.example/org/cleveland/node/heart",
        "reason": "只有总和离开",
        "reviewed_at_ms": 1_790_000_000_000,
        "verdict": "approve",
    }
    assert Review.from_bytes(PAYLOAD) == REVIEW


@given(
    st.binary(min_size=32, max_size=32),
    st.booleans(),
    st.text(min_size=1, max_size=500).filter(lambda text: text.isprintable() and text.strip()),
    st.integers(0, 253_402_300_799_999),
)
def test_a_review_is_read_as_it_was_written(
    bundle: bytes, approved: bool, reason: str, at_ms: int
) -> None:
    review = Review(bundle, approved, reason, NODE, at_ms)
    assert Review.from_bytes(review.to_bytes()) == review


def spelled(**changes: Any) -> bytes:
    fields = {**json.loads(PAYLOAD), **changes}
    return canonical.encode({key: value for key, value in fields.items() if value is not ...})


FIELDS = "expected the fields of a review, got others"
BYTES = "expected a review in canonical JSON, got other bytes"
SPELLING = "expected a review in canonical JSON, got another spelling"

BAD = [
    (b"", BYTES),
    (b"\xff", BYTES),
    (b"[" * 5000, BYTES),
    (b"[]", FIELDS),
    (b"null", FIELDS),
    (spelled(extra=1), FIELDS),
    (spelled(reason=...), FIELDS),
    (spelled(format="yumen-code-review-v2"), FIELDS),
    (spelled(verdict="APPROVE"), BYTES),
    (spelled(verdict=[]), BYTES),
    (spelled(bundle="07" * 31), "expected a digest of 32 bytes, got 31"),
    (spelled(bundle="0G" * 32), BYTES),
    (spelled(bundle="AB" * 32), SPELLING),
    (spelled(bundle=7), BYTES),
    (spelled(reason=""), "expected a reason of 1 to 500 characters, got 0"),
    (spelled(reason="x" * 501), "expected a reason of 1 to 500 characters, got 501"),
    (spelled(reason="a\u202eb"), "expected a reason on one line, without control characters"),
    (spelled(reason=[1]), BYTES),
    (spelled(node="spiffe://x"), "expected an identity"),
    (spelled(node="spiffe://gansu.example/org/lzu/user/li"), "expected a review for a node, got"),
    (spelled(reviewed_at_ms=-1), "expected a time from 0 to 253402300799999, got -1"),
    (spelled(reviewed_at_ms=True), "expected a time from 0 to 253402300799999, got True"),
    (spelled(reviewed_at_ms="1"), BYTES),
    (PAYLOAD.replace(b"1790000000000", b"1790000000000.0"), BYTES),
    (PAYLOAD + b" ", SPELLING),
    (PAYLOAD.replace(b'{"bundle"', b'{"bundle":"","bundle"'), SPELLING),
    (
        b" " * (MAX_BYTES + 1),
        f"expected a review of at most {MAX_BYTES} bytes, got {MAX_BYTES + 1}",
    ),
]


@pytest.mark.parametrize(("payload", "told"), BAD)
def test_nothing_else_is_a_review(payload: bytes, told: str) -> None:
    with pytest.raises(PeerError) as caught:
        Review.from_bytes(payload)
    assert told in caught.value.message


def test_a_wrong_review_is_the_caller_s_fault() -> None:
    with pytest.raises(CallError, match="expected a digest of 32 bytes, got 3"):
        Review(b"abc", True, "fine", NODE, 0)
