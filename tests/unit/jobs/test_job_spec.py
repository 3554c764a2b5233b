"""A signed job: what was written is what is read, and each way in which it can be wrong."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from builders.federation import FEDERATION, HEART, SQL, heart_plan
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen_core.errors import PeerError
from yumen_core.identity import Identity, Role
from yumen_core.jobs.spec import (
    MAX_BYTES,
    JobSpec,
    Participant,
    parse_spec,
    secret_info,
    spec_digest,
)
from yumen_core.privacy import Privacy
from yumen_core.rpc.v1 import job_pb2

NOW_MS = 1_790_000_000_000
LI = Identity(FEDERATION, "lzu", Role.USER, "li")
NODES = tuple(Identity(FEDERATION, name, Role.NODE, "heart") for name in ("a", "b", "c", "d"))
SPEC = JobSpec(
    job_id="01980d2c-7000-7abc-8def-0123456789ab",
    requester=LI,
    purpose="research",
    table="heart",
    schema_digest=HEART.digest,
    sql=SQL,
    plan_digest=heart_plan().digest,
    participants=tuple(
        Participant(node, bytes([i] * 32), b"sealed") for i, node in enumerate(NODES)
    ),
    min_nodes=3,
    public_key_digest=b"k" * 32,
    issued_at_ms=NOW_MS,
    expires_at_ms=NOW_MS + 600_000,
)


def read(payload: bytes, *, signer: Identity = LI, now_ms: int = NOW_MS) -> JobSpec:
    return parse_spec(payload, signer=signer, now_ms=now_ms)


def test_round_trip() -> None:
    assert read(SPEC.to_bytes()) == SPEC


def test_a_private_job_of_a_project() -> None:
    spec = replace(SPEC, privacy=Privacy(17_468), project="heart atlas")
    assert read(spec.to_bytes()) == spec
    assert spec.charged_project == "lzu/heart atlas"
    assert SPEC.charged_project == "lzu/research"


def set_privacy(message: job_pb2.JobSpec, micro_rho: int, delta: str) -> None:
    message.privacy.micro_rho, message.privacy.delta = micro_rho, delta


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: set_privacy(m, 0, "1e-6"), "expected a cost of 1 to 1000000000 millionths"),
        (lambda m: set_privacy(m, 1 << 63, "1e-6"), "expected a cost of 1 to 1000000000"),
        (lambda m: set_privacy(m, 1, "tiny"), "expected a delta such as `1e-6`, got `tiny`"),
        (lambda m: setattr(m, "project", "x" * 101), "expected a project of at most 100"),
        (lambda m: setattr(m, "project", " x"), "expected a project of at most 100 characters"),
        (lambda m: setattr(m, "project", "a\x1b[2J"), "expected a purpose, a project and a table"),
    ],
)
def test_a_privacy_or_project_that_cannot_be(
    change: Callable[[job_pb2.JobSpec], None], expected: str
) -> None:
    message = job_pb2.JobSpec.FromString(SPEC.to_bytes())
    change(message)
    with pytest.raises(PeerError) as caught:
        read(message.SerializeToString())
    assert caught.value.code == "job_spec"
    assert caught.value.message.startswith(expected)


def test_participants_travel_sorted_so_that_equal_jobs_have_equal_bytes() -> None:
    turned = replace(SPEC, participants=SPEC.participants[::-1])
    assert turned.to_bytes() == SPEC.to_bytes()
    assert turned.nodes == SPEC.nodes == tuple(node.uri for node in NODES)


def test_a_dry_run_needs_no_key_and_no_secrets() -> None:
    dry = replace(
        SPEC,
        dry_run=True,
        public_key_digest=b"",
        participants=tuple(replace(p, sealed_secret=b"") for p in SPEC.participants),
    )
    assert read(dry.to_bytes()) == dry


def test_texts_beyond_ascii() -> None:
    spec = replace(SPEC, purpose="公共卫生 🏥", table="心脏病", sql='SELECT COUNT(*) FROM "心脏病"')
    assert read(spec.to_bytes()) == spec


@given(
    purpose=st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs"]), min_size=1, max_size=200),
    sql=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300),
    count=st.integers(3, 255),
    minimum=st.integers(3, 255),
    lifetime_ms=st.integers(1, 24 * 3_600_000),
)
@settings(max_examples=40, deadline=None)
def test_every_well_formed_job_round_trips(
    purpose: str, sql: str, count: int, minimum: int, lifetime_ms: int
) -> None:
    if not purpose.strip() or not sql.strip():
        return
    nodes = [Identity(FEDERATION, f"org{i:03}", Role.NODE, "n") for i in range(count)]
    spec = replace(
        SPEC,
        purpose=purpose,
        sql=sql,
        participants=tuple(Participant(node, b"d" * 32, b"s") for node in nodes),
        min_nodes=min(minimum, count),
        expires_at_ms=NOW_MS + lifetime_ms,
    )
    assert read(spec.to_bytes()) == spec


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_other_bytes_are_refused_in_words(payload: bytes) -> None:
    with pytest.raises(PeerError):
        read(payload)


Edit = Callable[[job_pb2.JobSpec], object]


def put(**fields: object) -> Edit:
    def edit(message: job_pb2.JobSpec) -> None:
        for name, value in fields.items():
            setattr(message, name, value)

    return edit


def only(count: int) -> Edit:
    def edit(message: job_pb2.JobSpec) -> None:
        del message.participants[count:]

    return edit


def first(**fields: object) -> Edit:
    def edit(message: job_pb2.JobSpec) -> None:
        for name, value in fields.items():
            setattr(message.participants[0], name, value)

    return edit


def many(message: job_pb2.JobSpec) -> None:
    for _ in range(252):
        message.participants.append(message.participants[0])


DAY_MS = 24 * 3_600_000
BAD: list[tuple[str, Edit, str, str]] = [
    ("another requester", put(requester=LI.uri.replace("/li", "/wang")), "identity",
     f"expected the requester that the certificate names, `{LI.uri}`, "
     f"got `{LI.uri.replace('/li', '/wang')}`"),
    ("another organisation", put(requester=LI.uri.replace("lzu", "gsu")), "identity",
     f"expected the requester that the certificate names, `{LI.uri}`, "
     f"got `{LI.uri.replace('lzu', 'gsu')}`"),
    ("another role", put(requester=LI.uri.replace("/user/", "/auditor/")), "identity",
     f"expected the requester that the certificate names, `{LI.uri}`, "
     f"got `{LI.uri.replace('/user/', '/auditor/')}`"),
    ("no requester", put(requester=""), "identity",
     f"expected the requester that the certificate names, `{LI.uri}`, got ``"),
    ("an endless requester", put(requester="x" * 5000), "identity",
     f"expected the requester that the certificate names, `{LI.uri}`, got `{'x' * 200}`"),
    ("another federation", put(federation="other.example"), "identity",
     f"expected a job of federation `{FEDERATION}`, got one of `other.example`"),
    ("no id", put(job_id=""), "job_spec", "expected a job id that is a UUIDv7, got ``"),
    ("a random id", put(job_id="0f8fad5b-d9cb-469f-a165-70867728950e"), "job_spec",
     "expected a job id that is a UUIDv7, got `0f8fad5b-d9cb-469f-a165-70867728950e`"),
    ("a path for an id", put(job_id="../" * 40), "job_spec",
     f"expected a job id that is a UUIDv7, got `{('../' * 40)[:64]}`"),
    ("no operation", lambda m: m.ClearField("query"), "job_spec",
     "expected an operation that this version knows (query, statistic, training), got none"),
    ("no purpose", put(purpose=""), "job_spec",
     "expected a purpose of 1 to 200 characters, got one of 0"),
    ("a blank purpose", put(purpose=" \t"), "job_spec",
     "expected a purpose of 1 to 200 characters, got one of 2"),
    ("a long purpose", put(purpose="究" * 201), "job_spec",
     "expected a purpose of 1 to 200 characters, got one of 201"),
    ("no table", put(table=""), "job_spec",
     "expected a table name of 1 to 200 characters, got one of 0"),
    ("a long table name", put(table="t" * 201), "job_spec",
     "expected a table name of 1 to 200 characters, got one of 201"),
    ("no statement", lambda m: m.query.ClearField("sql"), "job_spec",
     "expected a statement of 1 to 20000 characters, got one of 0"),
    ("a long statement", lambda m: setattr(m.query, "sql", "-" * 20_001), "job_spec",
     "expected a statement of 1 to 20000 characters, got one of 20001"),
    ("an escape sequence", put(purpose="research\x1b[2J"), "job_spec",
     "expected a purpose, a project and a table without control characters, got one"),
    ("a line break", put(table="heart\n"), "job_spec",
     "expected a purpose, a project and a table without control characters, got one"),
    ("text turned round", put(purpose="research\u202e"), "job_spec",
     "expected a purpose, a project and a table without control characters, got one"),
    ("no suite", put(suite=0), "job_spec", "expected suite bfv or stream, got suite number 0"),
    ("an unknown suite", put(suite=7), "job_spec",
     "expected suite bfv or stream, got suite number 7"),
    ("a short schema digest", put(schema_digest=b"d" * 31), "job_spec",
     "expected digests of 32 bytes, got another length"),
    ("no plan digest", lambda m: m.query.ClearField("plan_digest"), "job_spec",
     "expected digests of 32 bytes, got another length"),
    ("a long key digest", put(public_key_digest=b"d" * 33), "job_spec",
     "expected digests of 32 bytes, got another length"),
    ("a short descriptor digest", first(descriptor_digest=b""), "job_spec",
     "expected digests of 32 bytes, got another length"),
    ("issued in the future", put(issued_at_ms=NOW_MS + 61_000, expires_at_ms=NOW_MS + 90_000),
     "job_expired", "expected a job issued by now, got one issued 61 s in the future"),
    ("expired", put(issued_at_ms=NOW_MS - 9000, expires_at_ms=NOW_MS - 5000), "job_expired",
     "expected a job that is still valid, got one expired 5 s ago"),
    ("expired this moment", put(issued_at_ms=NOW_MS - 9000, expires_at_ms=NOW_MS), "job_expired",
     "expected a job that is still valid, got one expired 0 s ago"),
    ("a life too long", put(expires_at_ms=NOW_MS + DAY_MS + 1), "job_expired",
     "expected a job that lives for 24 hours at most, got 86400 s"),
    ("expired before it was issued", put(expires_at_ms=NOW_MS - 1000), "job_expired",
     "expected a job that lives for 24 hours at most, got -1 s"),
    ("no times", put(issued_at_ms=0, expires_at_ms=0), "job_expired",
     "expected a job that lives for 24 hours at most, got 0 s"),
    ("times at the ends of the scale",
     put(issued_at_ms=-(1 << 63), expires_at_ms=(1 << 63) - 1), "job_expired",
     "expected a job that lives for 24 hours at most, got 18446744073709552 s"),
    ("no node", only(0), "job_spec", "expected 3 to 255 participants, got 0"),
    ("two nodes", only(2), "job_spec", "expected 3 to 255 participants, got 2"),
    ("256 nodes", many, "job_spec", "expected 3 to 255 participants, got 256"),
    ("a minimum of two", put(min_nodes=2), "job_spec",
     "expected a minimum of 3 to 4 nodes, got 2"),
    ("no minimum", put(min_nodes=0), "job_spec", "expected a minimum of 3 to 4 nodes, got 0"),
    ("a minimum above all", put(min_nodes=5), "job_spec",
     "expected a minimum of 3 to 4 nodes, got 5"),
    ("one node twice", first(node=NODES[1].uri), "job_spec",
     "expected distinct participants, got one twice"),
    ("a user as a node", first(node=LI.uri), "job_spec",
     f"expected nodes of the job's federation, got `{LI.uri}`"),
    ("a node of elsewhere", first(node="spiffe://other.example/org/a/node/heart"), "job_spec",
     "expected nodes of the job's federation, got `spiffe://other.example/org/a/node/heart`"),
    ("a node that is no identity", first(node="a"), "identity",
     "expected an identity `spiffe://FEDERATION/org/ORGANISATION/ROLE/NAME`, got `a`"),
    ("no secret", first(sealed_secret=b""), "job_spec",
     f"expected a sealed secret of 1 to 4096 bytes for `{NODES[0].uri}`, got 0"),
    ("a huge secret", first(sealed_secret=b"s" * 4097), "job_spec",
     f"expected a sealed secret of 1 to 4096 bytes for `{NODES[0].uri}`, got 4097"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "code", "message"), [c[1:] for c in BAD], ids=[c[0] for c in BAD])
def test_bad_job(edit: Edit, code: str, message: str) -> None:
    signed = job_pb2.JobSpec.FromString(SPEC.to_bytes())
    edit(signed)
    with pytest.raises(PeerError) as caught:
        read(signed.SerializeToString())
    assert (caught.value.code, caught.value.message) == (code, message)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.USER])
def test_only_a_user_signs_jobs(role: Role) -> None:
    signer = Identity(FEDERATION, "lzu", role, "li")
    signed = job_pb2.JobSpec.FromString(SPEC.to_bytes())
    signed.requester = signer.uri
    with pytest.raises(PeerError) as caught:
        read(signed.SerializeToString(), signer=signer)
    assert caught.value.message == f"expected a job signed by a user, got one signed by a {role}"


def test_a_job_beyond_its_size() -> None:
    with pytest.raises(PeerError) as caught:
        read(bytes(MAX_BYTES + 1))
    assert (
        caught.value.message == f"expected a job of {MAX_BYTES} bytes at most, got {MAX_BYTES + 1}"
    )


def test_bytes_that_are_no_job() -> None:
    with pytest.raises(PeerError, match=re.escape("expected a job, got other bytes")):
        read(b"\xff\xff\xff")


def test_a_clock_that_is_a_little_slow_is_forgiven() -> None:
    early = replace(SPEC, issued_at_ms=NOW_MS + 60_000, expires_at_ms=NOW_MS + 70_000)
    assert read(early.to_bytes()) == early


def test_the_entry_of_a_node() -> None:
    assert SPEC.participant(NODES[2]) is SPEC.participants[2]
    stranger = Identity(FEDERATION, "z", Role.NODE, "heart")
    with pytest.raises(PeerError) as caught:
        SPEC.participant(stranger)
    assert caught.value.message == (
        f"expected a job that names `{stranger.uri}`, got one that does not"
    )


def test_a_digest_and_a_seal_depend_on_what_they_name() -> None:
    assert spec_digest(SPEC.to_bytes()) != spec_digest(replace(SPEC, min_nodes=4).to_bytes())
    infos = {secret_info(job, node) for job in ("a", "b", "ab") for node in ("a", "b", "")}
    assert len(infos) == 9
