import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from identity_world import FEDERATION, HOUR_MS, Federation, new_federation
from yumen_core import canonical
from yumen_core.errors import PeerError
from yumen_core.identity import EnrolmentToken, Identity, Role
from yumen_core.identity.tokens import TokenRecord, check_token, secret_digest
from yumen_core.secret import Secret

LI = Identity(FEDERATION, "lzu", Role.USER, "li")
WORLD = new_federation()
TOKEN = EnrolmentToken.create(
    LI,
    address="authority.gansu.example:7400",
    authority=WORLD.anchor.authority_der,
    expires_at_ms=WORLD.now_ms + HOUR_MS,
)
RECORD = TokenRecord(TOKEN.id, LI, (), secret_digest(TOKEN), TOKEN.expires_at_ms)


def test_a_token_reads_back_and_does_not_show_its_secret() -> None:
    text = TOKEN.text()
    assert EnrolmentToken.parse(f"  {text}\n") == TOKEN
    assert len(text) < 1500
    shown = repr(TOKEN)
    assert TOKEN.secret.reveal().hex() not in shown
    assert repr(TOKEN.secret.reveal()) not in shown
    assert "Secret(redacted)" in shown
    assert TOKEN.secret.reveal() not in canonical.encode(RECORD.secret_digest.hex())


def _text(**changes: object) -> str:
    body = TOKEN.text().removeprefix("yumen1.")
    fields = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    fields = {name: value for name, value in (fields | changes).items() if value is not ...}
    raw = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    return "yumen1." + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_the_forging_helper_is_faithful() -> None:
    assert _text() == TOKEN.text()


@pytest.mark.parametrize(
    "text",
    [
        "yumen1.",
        "yumen1.!!!",
        "yumen1.bnVsbA",
        TOKEN.text()[:-4],
        TOKEN.text() + "=",
        TOKEN.text() + "AAAA",
        _text(more="x"),
        _text(secret=...),
        _text(secret="AAAA"),
        _text(secret=7),
        _text(id="../../x"),
        _text(identity="spiffe://other.example/org/lzu/user/li"),
        _text(identity="li"),
        _text(authority="AAAA"),
        _text(address="authority"),
        _text(address="authority:99999"),
        _text(address="dns:///evil:1"),
        _text(expires_at_ms=True),
        _text(expires_at_ms="1"),
        _text(expires_at_ms=1.5),
    ],
)
def test_damaged_tokens(text: str) -> None:
    with pytest.raises(PeerError, match=r"^the enrolment token is damaged or cut short; ") as bad:
        EnrolmentToken.parse(text)
    assert bad.value.code == "token"


@given(st.text(max_size=200))
def test_any_other_text_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(PeerError, match="enrolment token"):
        EnrolmentToken.parse(text)
    with pytest.raises(PeerError, match="enrolment token"):
        EnrolmentToken.parse("yumen1." + text)
    with pytest.raises(PeerError, match=r"begins with `yumen1.`"):
        EnrolmentToken.parse("yumen1." + "A" * 9000)


def test_a_good_token_is_accepted_once_and_in_time(federation: Federation) -> None:
    now_ms = WORLD.now_ms
    assert check_token(RECORD, TOKEN, now_ms) is RECORD
    forged = replace(TOKEN, secret=Secret.generate())
    used = replace(RECORD, used_at_ms=now_ms)
    for record, token, at_ms, message in (
        (None, TOKEN, now_ms, "is not one of this authority's"),
        (RECORD, forged, now_ms, "is not one of this authority's"),
        (used, forged, now_ms, "is not one of this authority's"),
        (replace(RECORD, cancelled=True), TOKEN, now_ms, "was cancelled"),
        (used, TOKEN, now_ms, "was used before"),
        (RECORD, TOKEN, now_ms + HOUR_MS, "has expired"),
    ):
        with pytest.raises(PeerError, match=message) as refused:
            check_token(record, token, at_ms)
        assert refused.value.code == "token"
    check_token(RECORD, TOKEN, now_ms + HOUR_MS - 1)
