"""A hostile requester on the wire: what the coordinator refuses, and that nothing is lost by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from builders.asker import Asker, refusal
from builders.live import FEDERATION, Live, node_uri, uri
from builders.tables import declared, patients
from yumen.coordinator import CoordinatorClient
from yumen_core.clock import SystemClock
from yumen_core.errors import YumenError
from yumen_core.identity import (
    CertificateAuthority,
    Identity,
    LoadedIdentity,
    Revocations,
    Role,
    SigningKey,
)
from yumen_core.identity.envelope import PayloadType
from yumen_core.identity.membership import Membership
from yumen_core.identity.store import IdentityStore
from yumen_core.jobs.machine import State
from yumen_core.log import Act
from yumen_core.rpc import faults
from yumen_core.rpc.channels import channel, channel_credentials
from yumen_core.rpc.v1 import federation_pb2, federation_pb2_grpc, job_pb2, link_pb2
from yumen_core.rpc.v1.link_pb2_grpc import NodeLinkStub
from yumen_core.securesum.bfv import BfvKeyPair

SQL = "SELECT sex, COUNT(*) AS n FROM heart GROUP BY sex"
TRUTH = {"f": 90, "m": 120}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("requester")
    nodes = {name: [declared(root / "given" / name, "heart", patients(30, 40))] for name in "abc"}
    with Live(root, nodes) as running:
        yield running


@pytest.fixture(scope="module")
def wang(live: Live) -> Iterator[Asker]:
    asker = Asker(live.address, live.member(Role.USER, "wang"))
    yield asker
    asker.close()


@pytest.fixture(autouse=True)
def _nothing_is_lost(li: Asker, live: Live, request: pytest.FixtureRequest) -> Iterator[None]:
    """After every attack the jobs are as they were, and after every kind of attack the same
    question has the same answer."""
    before = [(job.job_id, job.state) for job in li.fed.jobs(limit=500)]
    yield
    after = [(job.job_id, job.state) for job in li.fed.jobs(limit=500)]
    assert after[len(after) - len(before) :] == before
    if hasattr(request.node, "callspec"):
        return  # one of a table: the tests between the tables ask
    assert {row["sex"]: row["n"] for row in li.fed.query(SQL, purpose="research")} == TRUTH


def refused_entries(live: Live, code: str) -> list[str]:
    """The messages of refusals with this code in the coordinator's verified log."""
    found = [entry for entry in live.entries("coordinator") if entry.act is Act.REFUSAL]
    return [str(entry.detail["message"]) for entry in found if entry.detail["code"] == code]


# An envelope changed after it was signed ----------------------------------------------------------


def _flipped(data: bytes, at: int) -> bytes:
    place = at % len(data)
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize(
    ("field", "change", "code", "message"),
    [
        ("payload", lambda b: b.replace(b"research", b"resaarch"), "signature",
         "the signature does not match"),
        ("payload", lambda b: b.replace(b"COUNT(*) AS n", b"COUNT(*) AS m"), "signature",
         "the signature does not match"),
        ("payload", lambda b: b + b"\x00", "signature", "the signature does not match"),
        ("payload", lambda b: b"", "signature", "the signature does not match"),
        ("payload", lambda b: bytes((1 << 20) + 1), "payload_too_large",
         "expected a signed payload of at most 1048576 bytes, got 1048577"),
        ("signature", lambda b: _flipped(b, -1), "signature", "the signature does not match"),
        ("signature", lambda b: b"", "signature", "the signature does not match"),
        ("signature", lambda b: bytes(73), "signature",
         "a signature has at most 72 bytes, got 73"),
        ("certificate", lambda b: _flipped(b, -1), "certificate",
         "the certificate was not issued by the federation's authority"),
        ("certificate", lambda b: b"", "certificate", "the bytes are not an X.509 certificate"),
        ("payload_type", lambda t: "application/vnd.yumen.decision.v1", "signature",
         "expected a statement of type `application/vnd.yumen.job-spec.v1`, "
         "got `application/vnd.yumen.decision.v1`"),
    ],
)  # fmt: skip
def test_a_changed_envelope(
    live: Live, li: Asker, field: str, change: Callable[[Any], Any], code: str, message: str
) -> None:
    job = li.job(SQL)
    refused = li.refusal(job.altered(**{field: change(getattr(job.envelope, field))}))
    assert (refused.code, message in refused.message) == (code, True), refused
    assert refused.message in refused_entries(live, code)


def test_a_job_under_the_certificate_of_another(live: Live, li: Asker, wang: Asker) -> None:
    job = li.job(SQL)
    stolen = wang.job(SQL).envelope.certificate
    refused = li.refusal(job.altered(certificate=stolen))
    assert refused.code == "signature"
    refused = wang.refusal(job.envelope)
    assert refused.code == "identity"
    assert refused.message == (
        f"expected a job of the caller `{wang.me.uri}`, got one signed by `{li.me.uri}`"
    )
    assert refused.message in refused_entries(live, "identity")


# A job that says what is not so, properly signed --------------------------------------------------

MINUTE_MS = 60_000


def _times(issued_min: int, expires_min: int) -> Callable[[job_pb2.JobSpec], None]:
    def edit(message: job_pb2.JobSpec) -> None:
        now_ms = SystemClock().now_ms()
        message.issued_at_ms = now_ms + issued_min * MINUTE_MS
        message.expires_at_ms = now_ms + expires_min * MINUTE_MS

    return edit


def _set(**fields: Any) -> Callable[[job_pb2.JobSpec], None]:
    def edit(message: job_pb2.JobSpec) -> None:
        for name, value in fields.items():
            setattr(message, name, value)

    return edit


def _two_nodes(message: job_pb2.JobSpec) -> None:
    del message.participants[2]
    message.min_nodes = 2


def _one_node_twice(message: job_pb2.JobSpec) -> None:
    message.participants[2].CopyFrom(message.participants[0])


def _no_secret(message: job_pb2.JobSpec) -> None:
    message.participants[0].sealed_secret = b""


def _long_secret(message: job_pb2.JobSpec) -> None:
    message.participants[0].sealed_secret = bytes(4097)


def _node_of_another_federation(message: job_pb2.JobSpec) -> None:
    message.participants[0].node = "spiffe://other.example/org/a/node/a"


def _long_statement(message: job_pb2.JobSpec) -> None:
    message.query.sql = SQL + " " * 20_001


@pytest.mark.parametrize(
    ("edit", "code", "message"),
    [
        (_times(-20, -10), "job_expired",
         "expected a job that is still valid, got one expired 600 s ago"),
        (_times(2, 10), "job_expired",
         "expected a job issued by now, got one issued 120 s in the future"),
        (_times(0, 25 * 60), "job_expired",
         "expected a job that lives for 24 hours at most, got 90000 s"),
        (_set(requester=uri(Role.USER, "wang")), "identity",
         f"expected the requester that the certificate names, `{uri(Role.USER, 'li')}`, "
         f"got `{uri(Role.USER, 'wang')}`"),
        (_set(requester=f"spiffe://{FEDERATION}/org/ministry/user/li"), "identity",
         f"expected the requester that the certificate names, `{uri(Role.USER, 'li')}`, "
         f"got `spiffe://{FEDERATION}/org/ministry/user/li`"),
        (_set(requester=uri(Role.AUDITOR, "li")), "identity",
         "expected the requester that the certificate names"),
        (_set(federation="other.example"), "identity",
         f"expected a job of federation `{FEDERATION}`, got one of `other.example`"),
        (_node_of_another_federation, "job_spec",
         "expected nodes of the job's federation, got `spiffe://other.example/org/a/node/a`"),
        (_two_nodes, "job_spec", "expected 3 to 255 participants, got 2"),
        (_set(min_nodes=2), "job_spec", "expected a minimum of 3 to 3 nodes, got 2"),
        (_one_node_twice, "job_spec", "expected distinct participants, got one twice"),
        (_no_secret, "job_spec",
         f"expected a sealed secret of 1 to 4096 bytes for `{node_uri('a')}`, got 0"),
        (_long_secret, "job_spec",
         f"expected a sealed secret of 1 to 4096 bytes for `{node_uri('a')}`, got 4097"),
        (_set(suite=7), "job_spec", "expected suite bfv or stream, got suite number 7"),
        (_set(purpose="x" * 201), "job_spec",
         "expected a purpose of 1 to 200 characters, got one of 201"),
        (_set(purpose="re\u202esearch"), "job_spec",
         "expected a purpose, a project and a table without control characters, got one"),
        (_long_statement, "job_spec", "expected a statement of 1 to 20000 characters"),
        (_set(schema_digest=bytes(31)), "job_spec",
         "expected digests of 32 bytes, got another length"),
        (_set(job_id="../../etc"), "job_spec", "expected a job id"),
        (_set(dry_run=True), "job_spec", "expected a job to carry out, got a dry run"),
    ],
)  # fmt: skip
def test_a_false_claim_under_a_true_signature(
    live: Live,
    li: Asker,
    wang: Asker,
    edit: Callable[[job_pb2.JobSpec], object],
    code: str,
    message: str,
) -> None:
    refused = li.refusal(li.job(SQL, edit=edit).envelope)
    assert (refused.code, refused.message.startswith(message)) == (code, True), refused
    assert refused.message in refused_entries(live, code)
    assert not wang.fed.jobs()


def _swapped(message: job_pb2.JobSpec) -> None:
    digests = [participant.descriptor_digest for participant in message.participants]
    message.participants[0].descriptor_digest = digests[1]
    message.participants[1].descriptor_digest = digests[0]


def test_a_descriptor_digest_of_another_node_is_denied(live: Live, li: Asker) -> None:
    job = li.job(SQL, edit=_swapped)
    status = li.submit(job.envelope)
    assert status.state == job_pb2.JOB_STATE_DENIED
    check = li.job(SQL, dry_run=True, edit=_swapped)
    own, decisions, _ = li.client.check(check.envelope, timeout_s=10)
    assert decisions == []
    (denial,) = own.denials
    assert denial.reason_code == "descriptor"
    assert denial.message == (
        f"expected the descriptor of `{node_uri('a')}` that the job names, "
        "got another, with other keys or tables"
    )
    assert denial.remedy == "ask for the catalogue again"
    assert li.refusal(job.envelope).code == "replay"


# Once and never again -----------------------------------------------------------------------------


def test_a_finished_job_sent_again(live: Live, li: Asker) -> None:
    job = li.job(SQL)
    li.submit(job.envelope)
    assert li.ended(job.spec.job_id).state == job_pb2.JOB_STATE_SUCCEEDED
    outcome, total = li.client.fetch(job.spec.job_id)
    refused = li.refusal(job.envelope)
    assert (refused.code, refused.message) == (
        "replay",
        f"expected a new job id, got `{job.spec.job_id}`, which was used before",
    )
    other = li.job(SQL, change=lambda spec: replace(spec, job_id=job.spec.job_id))
    assert li.refusal(other.envelope).message == refused.message
    assert li.client.fetch(job.spec.job_id) == (outcome, total)


def test_a_dry_run_sent_again(li: Asker) -> None:
    job = li.job(SQL, dry_run=True)
    own, decisions, excluded = li.client.check(job.envelope, timeout_s=10)
    assert (own.accepted, [d.accepted for d in decisions], excluded) == (True, [True] * 3, [])
    expected = f"expected a new job id, got `{job.spec.job_id}`, which was used before"
    again = refusal(lambda: li.client.check(job.envelope, timeout_s=10))
    assert (again.code, again.message) == ("replay", expected)
    as_job = li.job(SQL, change=lambda spec: replace(spec, job_id=job.spec.job_id))
    assert li.refusal(as_job.envelope).message == expected
    to_carry_out = refusal(lambda: li.client.check(li.job(SQL).envelope, timeout_s=10))
    assert to_carry_out.message == "expected a dry run, got a job to carry out"


# Keys and sizes -----------------------------------------------------------------------------------


def test_a_public_key_that_was_not_signed_for(live: Live, li: Asker) -> None:
    job = li.job(SQL)
    other = BfvKeyPair.generate().public.to_bytes()
    refused = li.refusal(job.envelope, other)
    assert (refused.code, refused.message) == (
        "ciphertext",
        "expected the public key that the job names, got another",
    )
    for length in (0, len(other) - 1, len(other) + 1):
        refused = li.refusal(job.envelope, other.ljust(length + 1, b"\0")[:length])
        assert refused.code == "ciphertext"
        assert refused.message == (f"expected a public key of {len(other)} bytes, got {length}")
    assert refused.message in refused_entries(live, "ciphertext")
    # A job that was refused before a decision may be sent again as it should have been.
    li.submit(job.envelope)
    assert li.ended(job.spec.job_id).state == job_pb2.JOB_STATE_SUCCEEDED


def test_a_message_over_the_limit_of_the_wire(live: Live, li: Asker) -> None:
    refused = _raw_submit(live, li, bytes((16 << 20) + 1))
    assert (refused.code, refused.message) == (
        "payload_too_large",
        "the message was too large for the coordinator",
    )


def test_bytes_that_are_no_message(live: Live, li: Asker) -> None:
    refused = _raw_submit(live, li, b"\xff" * 100)
    assert refused.code == "failed"
    assert refused.message.startswith("the coordinator ended the call with ")


def _raw_submit(live: Live, li: Asker, raw: bytes) -> YumenError:
    """Send bytes to Submit on a channel of which no limit of the client's own holds."""
    credentials = channel_credentials(li.client.membership.tls())
    options = [("grpc.max_send_message_length", -1)]
    with grpc.secure_channel(live.address, credentials, options=options) as wire:
        submit = wire.unary_unary(
            "/yumen.v1.Federation/Submit",
            request_serializer=bytes,
            response_deserializer=federation_pb2.SubmitResponse.FromString,
        )
        with pytest.raises(grpc.RpcError) as caught:
            submit(raw, timeout=10)
    return faults.from_rpc_error(caught.value, what="the coordinator")


# Roles --------------------------------------------------------------------------------------------


def _stub(live: Live, identity: Path) -> tuple[grpc.Channel, federation_pb2_grpc.FederationStub]:
    wire = channel(live.address, Membership(identity, SystemClock()).tls())
    return wire, federation_pb2_grpc.FederationStub(wire)


def test_a_node_cannot_ask(live: Live, li: Asker) -> None:
    identity = live.directory("a") / "identity"
    node = Membership(identity, SystemClock())
    payload = li.job(SQL, edit=_set(requester=node.identity.uri)).envelope.payload
    envelope = node.sign(payload, PayloadType.JOB_SPEC)
    calls: list[Callable[[Any], object]] = [
        lambda stub: stub.Submit(
            federation_pb2.SubmitRequest(
                job=envelope.to_proto(), public_key=li.keys.public.to_bytes()
            )
        ),
        lambda stub: stub.Check(federation_pb2.CheckRequest(job=envelope.to_proto())),
        lambda stub: stub.Catalogue(federation_pb2.CatalogueRequest()),
        lambda stub: stub.Jobs(federation_pb2.JobsRequest()),
        lambda stub: list(stub.Watch(federation_pb2.WatchRequest(job_id="x"))),
        lambda stub: list(stub.Fetch(federation_pb2.FetchRequest(job_id="x"))),
        lambda stub: stub.Cancel(federation_pb2.CancelRequest(job_id="x")),
    ]
    wire, stub = _stub(live, identity)
    with wire:
        for call in calls:
            with pytest.raises(grpc.RpcError) as caught:
                call(stub)
            refused = faults.from_rpc_error(caught.value, what="the coordinator")
            assert refused.code == "role"
            assert refused.message.endswith(f", got `{node.identity.uri}`")
    # Sent by a user, the node's signature is not a user's either.
    assert li.refusal(envelope).message == (
        f"expected a signer with role user, got `{node.identity.uri}`"
    )


def test_a_user_cannot_be_a_node(live: Live, li: Asker) -> None:
    with channel(live.address, li.client.membership.tls()) as wire:
        hello = link_pb2.NodeFrame(hello=link_pb2.Hello())
        with pytest.raises(grpc.RpcError) as caught:
            next(NodeLinkStub(wire).Connect(iter([hello])))
    refused = faults.from_rpc_error(caught.value, what="the coordinator")
    assert (refused.code, refused.message) == (
        "role",
        f"expected a caller with role node, got `{li.me.uri}`",
    )


def test_an_auditor_reads_and_does_nothing_else(live: Live, li: Asker) -> None:
    mine = li.fed.query(SQL, purpose="research").job_id
    auditor = CoordinatorClient(live.address, live.member(Role.AUDITOR, "chen"))
    try:
        assert mine in {status.job_id for status in auditor.jobs(500)}
        (status,) = auditor.watch(mine, timeout_s=10)
        assert status.state == job_pb2.JOB_STATE_SUCCEEDED
        job = li.job(SQL)
        for call in (
            lambda: auditor.fetch(mine),
            lambda: auditor.cancel(mine),
            lambda: auditor.submit(job.envelope, li.keys.public.to_bytes()),
        ):
            refused = refusal(call)
            assert (refused.code, refused.message) == (
                "role",
                f"expected a caller with role user, got `{uri(Role.AUDITOR, 'chen')}`",
            )
    finally:
        auditor.close()


# Another's job ------------------------------------------------------------------------------------


def test_another_users_job_is_as_unknown_as_none(li: Asker, wang: Asker) -> None:
    mine = li.fed.query(SQL, purpose="research").job_id
    calls: list[Callable[[str], object]] = [
        lambda job_id: list(wang.client.watch(job_id, timeout_s=10)),
        wang.client.fetch,
        wang.client.cancel,
    ]
    for job_id in (mine, "01890a5d-ac96-774b-bcce-b302099a8057"):
        for call in calls:
            refused = refusal(partial(call, job_id))
            assert (refused.code, refused.message) == (
                "job_unknown",
                f"expected a job of yours, got `{job_id}`",
            )
    assert mine not in {job.job_id for job in wang.fed.jobs(limit=500)}
    malformed = refusal(lambda: wang.client.fetch("' OR 1=1 --"))
    assert malformed.code == "job_spec"
    (kept,) = [job for job in li.fed.jobs(limit=500) if job.job_id == mine]
    assert kept.state is State.SUCCEEDED


# Strangers ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stranger(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Membership:
    """Li's name under an authority of the attacker's own, which calls itself the federation."""
    clock = SystemClock()
    own = CertificateAuthority.create(SigningKey.generate(), FEDERATION, clock)
    identity = Identity.parse(uri(Role.USER, "li"))
    key = SigningKey.generate()
    folder = tmp_path_factory.mktemp("stranger") / "user"
    IdentityStore(folder, clock).save(
        LoadedIdentity(
            identity=identity,
            key=key,
            certificate_der=own.issue(key.csr(), identity),
            anchor=own.anchor,
            revocations=Revocations.parse(own.issue_revocations([], number=1), own.anchor),
            authority_address="127.0.0.1:7400",
        )
    )
    return Membership(folder, clock)


def _catalogue(wire: grpc.Channel) -> YumenError:
    with wire, pytest.raises(grpc.RpcError) as caught:
        federation_pb2_grpc.FederationStub(wire).Catalogue(
            federation_pb2.CatalogueRequest(), timeout=10
        )
    return faults.from_rpc_error(caught.value, what="the coordinator")


def test_tls_refuses_a_certificate_of_an_unknown_authority(
    live: Live, li: Asker, stranger: Membership
) -> None:
    tls = replace(stranger.tls(), root_pem=li.client.membership.tls().root_pem)
    refused = _catalogue(channel(live.address, tls))
    assert (refused.code, refused.message) == (
        "unreachable",
        "could not reach the coordinator, or its certificate is not of this federation",
    )


def test_tls_refuses_a_caller_without_a_certificate(live: Live, li: Asker) -> None:
    root = li.client.membership.tls().root_pem
    bare = grpc.secure_channel(live.address, grpc.ssl_channel_credentials(root))
    assert _catalogue(bare).code == "unreachable"
    assert _catalogue(grpc.insecure_channel(live.address)).code == "unreachable"


def test_a_strangers_client_does_not_believe_the_coordinator(
    live: Live, stranger: Membership
) -> None:
    assert _catalogue(channel(live.address, stranger.tls())).code == "unreachable"


def test_a_strangers_signature_sent_by_a_member(
    live: Live, li: Asker, stranger: Membership
) -> None:
    envelope = stranger.sign(li.job(SQL).envelope.payload, PayloadType.JOB_SPEC)
    refused = li.refusal(envelope)
    assert refused.code == "certificate"
    assert refused.message in refused_entries(live, "certificate")


def test_every_log_is_whole_at_the_end(live: Live, li: Asker) -> None:
    """The coordinator's decisions are all there, and no node saw what was refused before it."""
    jobs = {job.job_id for job in li.fed.jobs(limit=500)}
    for name in ("coordinator", "a", "b", "c"):
        entries = live.entries(name)
        ended = {e.subject["job"] for e in entries if e.act in (Act.RELEASE, Act.JOB_ENDED)}
        assert ended <= jobs
        assert name == "coordinator" or not [e for e in entries if e.act is Act.REFUSAL]
    succeeded = {job.job_id for job in li.fed.jobs(limit=500) if job.state is State.SUCCEEDED}
    released = {e.subject["job"] for e in live.entries("coordinator") if e.act is Act.RELEASE}
    assert released == succeeded
