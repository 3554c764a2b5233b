"""Errors cross the wire: every code, every kind, and whatever a hostile server may say."""

import asyncio
import json
from collections.abc import Sequence

import grpc
import grpc.aio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.errors import CATALOGUE, CallError, Denied, PeerError, StateError, YumenError
from yumen_core.policy.denial import Denial
from yumen_core.rpc import faults

NODE = "spiffe://gansu.example/org/lanzhou/node/heart"
WHAT = "the coordinator at 127.0.0.1:7401"


def denial(message: str = "expected a purpose 研究, got `pricing`") -> Denial:
    return Denial(
        node=NODE,
        reason_code="purpose",
        message=message,
        subject="purpose",
        observed="pricing",
        allowed="research",
        remedy="ask for research",
        policy_id="only-research",
        policy_digest=bytes(range(32)),
    )


def rpc_error(
    code: grpc.StatusCode, metadata: Sequence[tuple[str, str | bytes]] = ()
) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), grpc.aio.Metadata(*metadata), details="details"
    )


def over_the_wire(error: YumenError) -> YumenError:
    sent = rpc_error(faults.status_of(error), faults.to_metadata(error))
    return faults.from_rpc_error(sent, what=WHAT)


def parts(error: YumenError) -> tuple[object, ...]:
    return type(error), error.code, error.message, error.node, error.remedy


@pytest.mark.parametrize("code", CATALOGUE)
@pytest.mark.parametrize("kind", [CallError, PeerError, StateError])
def test_every_code_has_a_status_and_comes_back(code: str, kind: type[YumenError]) -> None:
    error = kind(code, 'expected 三 nodes, got `"2"`', node=NODE, remedy="wait")
    assert faults.status_of(error).name == CATALOGUE[code].grpc
    assert faults.status_of(error) is not grpc.StatusCode.OK
    back = over_the_wire(error)
    assert parts(back) == parts(error)
    assert str(back) == str(error)


def test_an_error_of_no_particular_party() -> None:
    assert over_the_wire(PeerError("role", "no")).node is None


def test_a_refusal_comes_back_with_its_denials() -> None:
    error = Denied("denied by 2 parties", [denial(), denial("no rows")], code="policy_denied")
    back = over_the_wire(error)
    assert isinstance(back, Denied)
    assert back.denials == error.denials
    assert parts(back) == parts(error)


def test_denials_that_do_not_fit_are_left_out_from_the_end() -> None:
    error = Denied("denied", [denial(f"{i} " + "究" * 300) for i in range(40)])
    ((key, body),) = faults.to_metadata(error)
    assert key == "yumen-error-bin"
    assert len(body) <= faults.MAX_METADATA_BYTES
    back = over_the_wire(error)
    assert isinstance(back, Denied)
    assert 1 < len(back.denials) < 40
    assert back.denials == error.denials[: len(back.denials)]


def test_a_denial_too_long_for_the_wire_leaves_the_refusal() -> None:
    back = over_the_wire(Denied("denied", [denial("究" * 10_000)]))
    assert (back.code, back.message) == ("job_denied", "denied")


@pytest.mark.parametrize("text", ["x" * 50_000, "究" * 50_000, "\x00" * 50_000, '"' * 50_000])
def test_a_long_message_is_cut_and_its_code_kept(text: str) -> None:
    error = CallError("sql_syntax", text, remedy=text)
    ((_, body),) = faults.to_metadata(error)
    assert len(body) <= faults.MAX_METADATA_BYTES
    back = over_the_wire(error)
    assert (type(back), back.code) == (CallError, "sql_syntax")
    assert back.message == text[: len(back.message)] != ""
    assert len(faults.details_of(error).encode()) <= faults.MAX_DETAILS_BYTES


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        ("UNAVAILABLE", "unreachable",
         f"could not reach {WHAT}, or its certificate is not of this federation"),
        ("DEADLINE_EXCEEDED", "deadline", f"expected an answer of {WHAT} in time, got none"),
        ("CANCELLED", "cancelled", f"the call to {WHAT} was cancelled"),
        ("RESOURCE_EXHAUSTED", "payload_too_large", f"the message was too large for {WHAT}"),
        ("UNIMPLEMENTED", "failed", f"{WHAT} ended the call with unimplemented"),
        ("UNKNOWN", "failed", f"{WHAT} ended the call with unknown"),
    ],
)  # fmt: skip
def test_a_server_that_says_nothing(status: str, code: str, message: str) -> None:
    found = faults.from_rpc_error(rpc_error(grpc.StatusCode[status]), what=WHAT)
    assert (type(found), found.code, found.message) == (PeerError, code, message)


def test_a_call_that_never_began() -> None:
    found = faults.from_rpc_error(grpc.RpcError(), what=WHAT)
    assert (found.code, found.message) == ("unreachable", f"could not reach {WHAT}")


GOOD = json.loads(faults.to_metadata(Denied("denied", [denial()]))[0][1])


def body(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def body_without(key: str) -> bytes:
    return json.dumps({k: v for k, v in GOOD.items() if k != key}).encode()


HOSTILE = {
    "nothing": b"",
    "no JSON": b"\xff\xfe",
    "cut JSON": body()[:-5],
    "a list": b"[]",
    "a number": b"7",
    "nested without end": b"[" * 100_000,
    "an unknown code": body(code="root"),
    "a code that is a list": body(code=["role"]),
    "a message that is a number": body(message=7),
    "a message that is a list": body(message=["x"]),
    "no remedy": body(remedy=None),
    "a node that is a mapping": body(node={"a": 1}),
    "a kind that is a number": body(kind=1),
    "denials that are text": body(denials="denied"),
    "a denial that is text": body(denials=["denied"]),
    "a denial without a node": body(denials=[{"policy_digest": ""}]),
    "a denial with more": body(denials=[{**GOOD["denials"][0], "more": "x"}]),
    "a denial with a number": body(denials=[{**GOOD["denials"][0], "message": 7}]),
    "a digest that is no hexadecimal": body(denials=[{**GOOD["denials"][0], "policy_digest": "z"}]),
    **{f"no {key}": body_without(key) for key in GOOD},
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_metadata_that_is_not_ours_is_as_none(value: bytes) -> None:
    sent = rpc_error(grpc.StatusCode.UNKNOWN, [(faults.METADATA_KEY, value)])
    found = faults.from_rpc_error(sent, what=WHAT)
    assert (found.code, found.message) == ("failed", f"{WHAT} ended the call with unknown")


def test_an_unknown_kind_is_a_peer_error() -> None:
    sent = rpc_error(
        grpc.StatusCode.UNKNOWN, [(faults.METADATA_KEY, body(kind="SystemExit", denials=[]))]
    )
    found = faults.from_rpc_error(sent, what=WHAT)
    assert (type(found), found.code, found.message) == (PeerError, "job_denied", "denied")


def test_the_key_must_be_ours() -> None:
    sent = rpc_error(grpc.StatusCode.UNKNOWN, [("other-bin", body())])
    assert faults.from_rpc_error(sent, what=WHAT).code == "failed"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), json_values))
@settings(max_examples=150)
def test_no_words_of_a_server_break_the_caller(changes: dict[str, object]) -> None:
    sent = rpc_error(grpc.StatusCode.UNKNOWN, [(faults.METADATA_KEY, body(**changes))])
    found = faults.from_rpc_error(sent, what=WHAT)
    assert isinstance(str(found), str)
    assert found.code in CATALOGUE


class FakeContext:
    """As much of a server's call as `abort` uses."""

    def __init__(self) -> None:
        self.ended: tuple[object, ...] = ()

    async def abort(self, *ended: object) -> None:
        self.ended = ended


def test_abort_says_it_in_all_three_ways() -> None:
    context, error = FakeContext(), PeerError("role", "expected a user, got a node", node=NODE)
    asyncio.run(faults.abort(context, error))  # type: ignore[arg-type]
    assert context.ended == (
        grpc.StatusCode.PERMISSION_DENIED,
        f"expected a user, got a node (at {NODE}); use an identity with the role that is needed",
        faults.to_metadata(error),
    )


def test_words_of_a_peer_cannot_steer_a_terminal() -> None:
    shown = str(PeerError("failed", "\x1b[2J\u202egnp\nERROR 研究", node="n\x07"))
    assert shown.startswith("\\x1b[2J\\u202egnp\\nERROR 研究 (at n\\x07); ")
