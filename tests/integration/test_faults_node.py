"""A hostile node on the wire: a true identity, a true stream, and lies in its frames.

Node `d` is spoken for by the test. It and three honest processes hold the same table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from builders.asker import Asker, refusal
from builders.hand_node import HandNode, Stream, decision_frame, support_frame
from builders.live import Live, node_uri, uri
from builders.tables import declared, patients
from yumen.result import Result
from yumen_core.errors import PeerError, YumenError
from yumen_core.identity import Identity, Role, SignedEnvelope
from yumen_core.identity.envelope import PayloadType
from yumen_core.jobs.decision import parse_decision
from yumen_core.jobs.descriptor import NodeDescriptor
from yumen_core.jobs.machine import State
from yumen_core.log import Act
from yumen_core.rpc import chunks
from yumen_core.rpc.v1 import federation_pb2, job_pb2, link_pb2
from yumen_core.securesum import BfvPublicKey
from yumen_core.securesum.bfv import BfvKeyPair, encrypt

SQL = "SELECT sex, COUNT(*) AS n FROM heart GROUP BY sex"
# Rows that four nodes have answered for are never answered for by three of them, nor the other way
# round: each job of three asks a table of its own.
TABLES = ("heart", "first", "second", "third")
OF_THREE = {name: SQL.replace("heart", name) for name in TABLES[1:]}
D = node_uri("d")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("node")
    nodes = {
        name: [declared(root / "given" / name, table, patients(30, 40)) for table in TABLES]
        for name in "abcd"
    }
    settings = {
        "revocations_refresh_s": 0.3,
        "reconnect_grace_s": 1.0,
        "decision_timeout_s": 8.0,
        "round_timeout_s": 8.0,
    }
    with Live(root, nodes, hand=["d"], settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def node(live: Live) -> Iterator[HandNode]:
    with HandNode(live.directory("d"), live.address) as d:
        yield d


@pytest.fixture
def d(node: HandNode, li: Asker, request: pytest.FixtureRequest) -> Iterator[HandNode]:
    """`d` on a new stream; after each kind of lie an honest job of all four gives the right
    answer. Within a table of lies the next one shows that a job still comes that far."""
    node.connect()
    yield node
    if hasattr(request.node, "callspec"):
        return
    node.connect()
    asked = li.start(SQL)
    node.take_part()
    assert counts(asked.result(20)) == {"f": (120, 4), "m": (160, 4)}


def counts(result: Result) -> dict[object, tuple[object, object]]:
    return {row["sex"]: (row["n"], row["_nodes"]) for row in result}


def failure(li: Asker, d: HandNode, lie: Callable[[], object]) -> PeerError:
    """What the requester reads where `d` lies in a query of all four."""
    asked = li.start(SQL)
    lie()
    error = asked.exception(20)
    assert isinstance(error, PeerError), error
    (job,) = li.fed.jobs(limit=1)
    assert job.state is not State.SUCCEEDED
    assert job.reason == error.message
    return error


def refusals(live: Live) -> list[tuple[str, str]]:
    found = [entry for entry in live.entries("coordinator") if entry.act is Act.REFUSAL]
    return [(entry.subject.get("node", ""), str(entry.detail["message"])) for entry in found]


# A contribution that cannot be added --------------------------------------------------------------

_WHAT = "expected a sum of 1 blocks of 4096 slots"


def _header(payload: bytes, at: int, value: bytes) -> bytes:
    return payload[:at] + value + payload[at + len(value) :]


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (lambda true, key: true[:-1], f"{_WHAT}, got 65583 bytes"),
        (lambda true, key: true[:48], f"{_WHAT}, got 0 blocks"),
        (lambda true, key: b"", f"{_WHAT} for the job's key, got 0 bytes"),
        (lambda true, key: true + b"\0", "expected a payload of 65584 bytes at most, got 65585"),
        (lambda true, key: encrypt(np.zeros(2, dtype=np.uint64), BfvKeyPair.generate().public),
         f"{_WHAT} for the job's key, got 2 slots"),
        (lambda true, key: _header(true, 16, BfvKeyPair.generate().public.digest),
         f"{_WHAT} for the job's key, got one for another key"),
        (lambda true, key: _header(true, 0, b"CKKS"), f"{_WHAT} for the job's key, got another"),
        (lambda true, key: _header(true, 6, b"\3\0"),
         "expected one contribution, got a sum of 3"),
        (lambda true, key: true[:48] + b"\xff" * 65536, "expected ciphertext integers below"),
        (lambda true, key: true[:48] + bytes(65536),
         "expected a ciphertext, got a block that hides nothing"),
    ],
)  # fmt: skip
def test_a_contribution_that_is_none(
    live: Live, li: Asker, d: HandNode, forge: Callable[[bytes, BfvPublicKey], bytes], message: str
) -> None:
    def lie() -> None:
        d.decide()
        d.support(d.round())
        request = d.round()
        key = d.jobs[request.job_id].public_key
        d.contribute(request, forge(d.contribution(request), key))
        assert d.ended().state == job_pb2.JOB_STATE_FAILED

    error = failure(li, d, lie)
    assert error.code == "failed"
    assert error.message.startswith(message)
    assert error.message.endswith(f"(at {D})")


def test_pieces_out_of_order(live: Live, li: Asker, d: HandNode) -> None:
    def lie() -> None:
        d.decide()
        d.support(d.round())
        request = d.round()
        (chunk,) = chunks.split(d.contribution(request))
        chunk.offset = 7
        part = link_pb2.ContributionFrame(job_id=request.job_id, chunk=chunk)
        d.send(link_pb2.NodeFrame(contribution=part))

    error = failure(li, d, lie)
    assert error.message == f"expected the piece at byte 0 of 65584, got one at 7 of 65584 (at {D})"
    assert (D, "expected the piece at byte 0 of 65584, got one at 7 of 65584") in refusals(live)


def test_numbers_outside_the_masks_are_noticed_by_the_requester(li: Asker, d: HandNode) -> None:
    """A well-formed ciphertext of other slots: nobody on the way can tell, the tag does."""
    asked = li.start(SQL)
    d.decide()
    d.support(d.round())
    request = d.round()
    key = d.jobs[request.job_id].public_key
    true = d.contribution(request)
    slots = int.from_bytes(true[8:12], "little")
    d.contribute(request, encrypt(np.ones(slots, dtype=np.uint64), key))
    error = asked.exception(20)
    assert isinstance(error, PeerError), error
    assert (error.code, error.message) == (
        "headroom",
        "expected slots that count 4 contributions, got masks that do not cancel "
        "or slots that were changed on the way",
    )


# Words out of place -------------------------------------------------------------------------------


def test_a_contribution_without_being_asked_counts_for_nothing(li: Asker, d: HandNode) -> None:
    """Before its decision, before the round, after its contribution and for no job at all."""
    asked = li.start(SQL)
    envelope = d.decision()
    job_id = list(d.jobs)[-1]
    nowhere = link_pb2.RoundRequest(job_id="01890a5d-ac96-774b-bcce-b302099a8057")
    here = link_pb2.RoundRequest(job_id=job_id)
    junk = bytes(100)
    d.contribute(nowhere, junk)
    d.contribute(here, junk)
    d.say(envelope)
    request = d.round()
    d.contribute(here, junk)
    d.support(request)
    last = d.round()
    d.contribute(last)
    d.contribute(last, junk)
    d.ended()
    assert counts(asked.result(20)) == {"f": (120, 4), "m": (160, 4)}


def test_a_decision_on_another_job(live: Live, li: Asker, d: HandNode) -> None:
    """A true decision with the digest of another job: the stream is closed, the node counts as
    gone and the requester is told who."""
    asked = li.start(SQL)
    decision = parse_decision(d.decision().payload, signer=d.membership.identity)
    forged = replace(decision, spec_digest=bytes(32))
    d.send(decision_frame(d.membership.sign(forged.to_bytes(), PayloadType.DECISION)))
    with pytest.raises(EOFError):
        d.next("round")
    error = asked.exception(20)
    assert isinstance(error, PeerError), error
    assert (error.code, error.message) == (
        "insufficient_nodes",
        f"expected 4 nodes to take part, got 3; not reached: {D}",
    )
    assert (D, "expected a decision on the job sent, got on another") in refusals(live)


def test_a_decision_of_another_node(live: Live, li: Asker, d: HandNode) -> None:
    asked = li.start(SQL)
    d.take_part()
    result = asked.result(20)
    outcome, _ = li.client.fetch(result.job_id)
    decisions = [SignedEnvelope.from_proto(message) for message in outcome.decisions]
    (stolen,) = [one for one in decisions if node_uri("a").encode() in one.payload]
    asked = li.start(OF_THREE["first"], nodes=["a", "b", "c", "d"], min_nodes=3)
    d.next("proposal")
    d.send(decision_frame(stolen))
    with pytest.raises(EOFError):
        d.next("round")
    assert (D, f"expected a decision of `{D}`, got another's") in refusals(live)
    result = asked.result(20)
    assert counts(result) == {"f": (90, 3), "m": (120, 3)}
    assert [(out.node, out.reason) for out in result.excluded] == [(D, "was not connected")]


def test_a_decision_for_another_party_than_its_signer(live: Live, li: Asker, d: HandNode) -> None:
    asked = li.start(OF_THREE["second"], min_nodes=3)
    decision = parse_decision(d.decision().payload, signer=d.membership.identity)
    forged = replace(decision, decider=node_uri("a"))
    d.send(decision_frame(d.membership.sign(forged.to_bytes(), PayloadType.DECISION)))
    with pytest.raises(EOFError):
        d.next("round")
    expected = f"expected a decision of its signer `{D}`, got one of `{node_uri('a')}`"
    assert (D, expected) in refusals(live)
    assert counts(asked.result(20)) == {"f": (90, 3), "m": (120, 3)}


def test_a_node_that_says_it_cannot_go_on(li: Asker, d: HandNode) -> None:
    def lie() -> None:
        d.decide()
        job_id = d.round().job_id
        problem = link_pb2.Problem(job_id=job_id, code="failed", message="no" * 1000)
        d.send(link_pb2.NodeFrame(problem=problem))

    error = failure(li, d, lie)
    assert error.message == f"{'no' * 250} (at {D})"


# Support shares -----------------------------------------------------------------------------------


def _share(
    d: HandNode, request: link_pb2.RoundRequest, change: Callable[[job_pb2.SupportShare], object]
) -> SignedEnvelope:
    """`d`'s true share with a change, signed anew."""
    true = d.share(request)
    share = job_pb2.SupportShare.FromString(true.payload)
    change(share)
    return d.membership.sign(share.SerializeToString(), PayloadType.SUPPORT)


def _other_job(share: job_pb2.SupportShare) -> None:
    share.job_id = "01890a5d-ac96-774b-bcce-b302099a8057"


def _other_node(share: job_pb2.SupportShare) -> None:
    share.node = node_uri("a")


def _other_set(share: job_pb2.SupportShare) -> None:
    share.participants_digest = bytes(32)


def _short(share: job_pb2.SupportShare) -> None:
    share.sealed[node_uri("a")] = share.sealed[node_uri("a")][:-1]


def _unreadable(share: job_pb2.SupportShare) -> None:
    true = share.sealed[node_uri("a")]
    share.sealed[node_uri("a")] = true[:-1] + bytes([true[-1] ^ 1])


def _one_left_out(share: job_pb2.SupportShare) -> None:
    del share.sealed[node_uri("a")]


def _other_flags(share: job_pb2.SupportShare) -> None:
    share.commitment = bytes(32)


ANOTHER_SHARE = "expected one support share a participant for this job, run and set, got another"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_job, ANOTHER_SHARE),
        (_other_node, ANOTHER_SHARE),
        (_other_set, ANOTHER_SHARE),
        (_one_left_out,
         ANOTHER_SHARE),
        (_other_flags, f"expected the flags that `{D}` committed to, got other flags"),
        (_short, f"expected 2 flags of `{D}`, got another length"),
        (_unreadable, f"expected flags that `{D}` sealed, got bytes that do not open"),
    ],
)  # fmt: skip
def test_a_share_that_the_nodes_refuse(
    li: Asker, d: HandNode, change: Callable[[job_pb2.SupportShare], object], message: str
) -> None:
    def lie() -> None:
        d.decide()
        request = d.round()
        d.send(support_frame(request.job_id, _share(d, request, change)))

    error = failure(li, d, lie)
    assert error.code in {"failed", "sealed"}  # who refused it: coordinator, or a node
    assert message in error.message
    assert D in error.message


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (SignedEnvelope(b"x", "y", b"", b""),
         "expected a statement of type `application/vnd.yumen.support.v1`, got `y`"),
        (SignedEnvelope(b"x", "application/vnd.yumen.support.v1", b"", b""),
         "the bytes are not an X.509 certificate"),
        (SignedEnvelope(bytes((4 << 20) + 1), "y", b"", b""),
         "expected a signed payload of at most 4194304 bytes, got 4194305"),
    ],
)  # fmt: skip
def test_a_share_that_nobody_signed(
    live: Live, li: Asker, d: HandNode, share: SignedEnvelope, message: str
) -> None:
    def lie() -> None:
        d.decide()
        d.send(support_frame(d.round().job_id, share))

    assert failure(li, d, lie).message == f"{message} (at {D})"
    assert (D, message) in refusals(live)


def test_the_share_of_another_node(live: Live, li: Asker, d: HandNode) -> None:
    """`a`'s own share, which every participant is sent in the sum round, in place of `d`'s."""
    asked = li.start(SQL)
    d.decide()
    d.support(d.round())
    request = d.round()
    stolen = [SignedEnvelope.from_proto(message) for message in request.supports]
    d.contribute(request)
    d.ended()
    assert counts(asked.result(20)) == {"f": (120, 4), "m": (160, 4)}

    def lie() -> None:
        d.decide()
        d.send(support_frame(d.round().job_id, stolen[0]))

    assert failure(li, d, lie).message.endswith(f"for this job, run and set, got another (at {D})")


# Descriptors --------------------------------------------------------------------------------------


def _other_table(described: NodeDescriptor) -> NodeDescriptor:
    return replace(described, tables={"other": described.tables["heart"]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda it: replace(it, node=Identity.parse(node_uri("a"))),
         f"expected a descriptor of its signer `{D}`, got one of `{node_uri('a')}`"),
        (lambda it: replace(it, sealing_key=bytes(32)),
         "expected a sealing key of 1216 bytes, got 32"),
        (lambda it: replace(it, mask_key=bytes(31)), "expected a mask key of 32 bytes, got 31"),
        (lambda it: replace(it, expires_at_ms=it.issued_at_ms + 25 * 3_600_000),
         "expected a descriptor valid for 24 hours at most, got a longer one"),
        (lambda it: replace(it, issued_at_ms=0, expires_at_ms=1000),
         "expected a descriptor that is valid now, got an old one"),
        (_other_table, "expected one schema for table `other`, got another's or a second"),
    ],
)  # fmt: skip
def test_a_descriptor_that_cannot_be(
    d: HandNode, change: Callable[[NodeDescriptor], NodeDescriptor], message: str
) -> None:
    _, true = d.publication.current()
    payload = change(true.descriptor).to_bytes()
    refused = refusal(lambda: d.hello(d.membership.sign(payload, PayloadType.NODE_DESCRIPTOR)))
    assert (refused.code, refused.message) == ("descriptor", message)


def test_the_descriptor_of_another_node(live: Live, li: Asker, d: HandNode) -> None:
    answer = li.client._stub.Catalogue(federation_pb2.CatalogueRequest())
    shown = [SignedEnvelope.from_proto(message.descriptor) for message in answer.nodes]
    (other,) = [envelope for envelope in shown if node_uri("a").encode() in envelope.payload]
    refused = refusal(lambda: d.hello(other))
    assert (refused.code, refused.message) == (
        "identity",
        f"expected the descriptor of `{D}`, got one of `{node_uri('a')}`",
    )


def test_a_descriptor_that_is_older_than_the_last(d: HandNode) -> None:
    """The stream that is there goes on: an old descriptor cannot push its node out either."""
    newest, true = d.publication.current()
    held = true.descriptor
    older = replace(
        held, issued_at_ms=held.issued_at_ms - 1000, expires_at_ms=held.expires_at_ms - 1000
    )
    envelope = d.membership.sign(older.to_bytes(), PayloadType.NODE_DESCRIPTOR)
    refused = refusal(lambda: d.hello(envelope))
    assert (refused.code, refused.message) == (
        "descriptor",
        "expected a descriptor at least as new as the last one, got an older one",
    )
    assert d.hello(newest).close() is None


def test_a_stream_that_begins_with_anything_but_a_hello(d: HandNode) -> None:
    stream = Stream(d.address, d.membership)
    stream.send(link_pb2.NodeFrame(problem=link_pb2.Problem(job_id="x")))
    refused = refusal(lambda: stream.next("welcome"))
    stream.close()
    assert (refused.code, refused.message) == (
        "descriptor",
        "expected a hello first, got another frame",
    )


def test_every_log_is_whole(live: Live) -> None:
    for name in ("coordinator", "a", "b", "c"):
        assert live.entries(name)


# Revocation: from here on members are missing, so these tests come last ---------------------------


def _refused_soon(call: Callable[[], object]) -> YumenError:
    """What `call` raises once the revocation has come round; the list is fetched every 0.3 s."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            call()
        except YumenError as error:
            return error
        time.sleep(0.05)
    raise AssertionError("the revocation did not take effect")


def test_a_revoked_user_is_refused(live: Live, li: Asker, d: HandNode) -> None:
    wang = Asker(live.address, live.member(Role.USER, "wang"))
    try:
        job = wang.job(SQL, dry_run=True)
        assert wang.fed.jobs() is not None
        live.revoke(uri(Role.USER, "wang"))
        refused = _refused_soon(wang.fed.jobs)
        expected = f"the certificate of `{uri(Role.USER, 'wang')}` is revoked"
        assert (refused.code, refused.message) == ("certificate_revoked", expected)
        for call in (
            wang.client.catalogue,
            lambda: wang.client.check(job.envelope, timeout_s=10),
            lambda: wang.submit(job.envelope),
            lambda: wang.client.fetch(job.spec.job_id),
        ):
            assert refusal(call).message == expected
        # Sent on by a member, his signature counts no more either.
        assert li.refusal(job.envelope).message == expected
    finally:
        wang.close()


def test_a_revoked_node_is_cut_off(live: Live, li: Asker, node: HandNode) -> None:
    node.connect()
    pinned = li.job(SQL, min_nodes=3)
    live.revoke(D)
    with pytest.raises(EOFError):
        node.next("proposal")
    refused = refusal(node.connect)
    assert (refused.code, refused.message) == (
        "certificate_revoked",
        f"the certificate of `{D}` is revoked",
    )
    li.submit(pinned.envelope)
    ended = li.ended(pinned.spec.job_id)
    assert ended.state == job_pb2.JOB_STATE_DENIED
    assert f"the certificate of `{D}` is revoked" in ended.reason
    # Asked anew, the requester's own library leaves the node out.
    assert counts(li.fed.query(OF_THREE["third"], purpose="research")) == {
        "f": (90, 3),
        "m": (120, 3),
    }


def test_a_revoked_process_is_cut_off_and_says_why(live: Live, li: Asker) -> None:
    live.revoke(node_uri("c"))
    deadline = time.monotonic() + 5
    while "c" in {signed.descriptor.node.name for signed, _ in li.client.catalogue()}:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    refused = refusal(lambda: li.fed.query(SQL, purpose="research"))
    assert (refused.code, refused.message) == (
        "insufficient_nodes",
        "expected 3 nodes at least, got 2: a, b",
    )
    deadline = time.monotonic() + 5
    while f"the certificate of `{node_uri('c')}` is revoked" not in live.log_text("c"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert live.entries("coordinator")
    assert {s.descriptor.node.name for s, there in li.client.catalogue() if there} == {"a", "b"}
