"""What both parties log of a decision: never more than an entry holds."""

import json

import pytest
from yumen_core.errors import PeerError
from yumen_core.jobs.admission import MAX_DETAIL_BYTES, decision_detail, gate_denial
from yumen_core.log import Act, Entry
from yumen_core.policy.denial import Denial

NODE = "spiffe://gansu.example/org/lanzhou/node/heart"


def denial(message: str) -> Denial:
    return Denial(NODE, "purpose", message, "purpose", message, "research", message)


def test_an_ordinary_decision_is_logged_whole() -> None:
    sql = 'SELECT COUNT(*) FROM "心脏病"'
    detail = decision_detail(sql, (denial("expected research"),), dry_run=False)
    assert (detail["sql"], detail["accepted"], detail["dry_run"]) == (sql, False, False)
    (text,) = detail["denials"]  # type: ignore[misc]
    assert json.loads(text) == denial("expected research").to_json()


@pytest.mark.parametrize("char", ["x", "心", "\x00", '"', "\\"])
def test_no_text_is_too_long_to_be_logged(char: str) -> None:
    """A refusal that could not be logged would be one that nobody hears of."""
    sql, words = char * 20_000, tuple(denial(char * 5_000) for _ in range(100))
    detail = decision_detail(sql, words, dry_run=True)
    Entry(0, Act.DECISION, detail=detail).encode()
    assert sql.startswith(str(detail["sql"]))
    assert len(detail["denials"]) == 64  # type: ignore[arg-type]


def test_a_long_statement_alone_keeps_all_that_fits() -> None:
    detail = decision_detail("x" * 20_000, (), dry_run=False)
    assert detail["sql"] == "x" * 20_000
    assert detail["accepted"] is True
    assert len(str(detail)) < MAX_DETAIL_BYTES


def test_a_refusal_of_the_gate_says_what_was_expected_and_what_came() -> None:
    error = PeerError("sealed", "expected 32 bytes, got 31", remedy="seal again")
    assert gate_denial(error, node=NODE) == Denial(
        NODE, "sealed", "expected 32 bytes, got 31", "job", "31", "32 bytes", "seal again"
    )
    whole = gate_denial(PeerError("log_closed", "the log is closed"), node=NODE)
    assert (whole.allowed, whole.observed) == ("the log is closed", "")
