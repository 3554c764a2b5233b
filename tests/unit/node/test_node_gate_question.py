"""The node's gate on keys, descriptors and the question itself."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from builders.federation import (
    TABLE,
    Federation,
    Job,
    Node,
    job_for,
    key_pair,
    policies,
)
from builders.rulings import refused_by_gate
from builders.site import Site
from yumen_core.errors import PeerError
from yumen_core.identity import Role, SealingKey, SignedEnvelope, seal
from yumen_core.identity.envelope import PayloadType
from yumen_core.identity.membership import Membership
from yumen_core.jobs.job_id import new_job_id
from yumen_core.jobs.spec import JobSpec, secret_info
from yumen_core.log import Act
from yumen_core.secret import Secret
from yumen_core.securesum import MaskKey
from yumen_core.securesum.bfv import BfvKeyPair

Ask = Callable[..., Job]


SWAPPED = (
    "expected the descriptor of `{}` that the job names, got another, with other keys or tables"
)


def other_keys(node: Node) -> SignedEnvelope:
    """A true descriptor of the node's own, with a mask key that the job does not pin."""
    return node.signed(mask_key=MaskKey.generate().public_bytes)[0]


def test_another_participants_descriptor_swapped(sites: list[Site], ask: Ask) -> None:
    job = ask()
    job.descriptors[2] = other_keys(sites[2].node).to_proto()
    assert refused_by_gate(sites[0], job) == ("descriptor", SWAPPED.format(sites[2].uri))


def test_a_descriptor_that_the_coordinator_made(
    sites: list[Site], ask: Ask, federation: Federation
) -> None:
    job, node = ask(), sites[2].node
    hub = federation.member(Role.COORDINATOR, "main")
    payload = node.descriptor(mask_key=MaskKey.generate().public_bytes).to_bytes()
    job.descriptors[2] = hub.sign(payload, PayloadType.NODE_DESCRIPTOR).to_proto()
    assert refused_by_gate(sites[0], job) == (
        "role",
        f"expected a signer with role node, got `{hub.identity.uri}`",
    )


def test_a_missing_descriptor(sites: list[Site], ask: Ask) -> None:
    job = ask()
    del job.descriptors[3]
    assert refused_by_gate(sites[0], job) == (
        "descriptor",
        f"expected the descriptor of `{sites[3].uri}`, got none",
    )


def test_one_descriptor_too_many(sites: list[Site], ask: Ask) -> None:
    job = ask()
    job.descriptors.append(job.descriptors[0])
    assert refused_by_gate(sites[0], job) == (
        "descriptor",
        "expected one descriptor a participant, got more",
    )


def test_my_own_descriptor_is_an_old_one(
    sites: list[Site], li: Membership, federation: Federation
) -> None:
    old = [site.published() for site in sites]
    federation.clock.advance(13 * 3_600_000)  # past half of its life
    assert refused_by_gate(sites[0], job_for(li, old)) == (
        "descriptor",
        "expected the node's current descriptor, got a job made for another",
    )


def test_a_job_that_does_not_name_me(sites: list[Site], ask: Ask) -> None:
    assert refused_by_gate(sites[0], ask(sites[1:])) == (
        "job_spec",
        f"expected a job that names `{sites[0].uri}`, got one that does not",
    )


def test_another_public_key(sites: list[Site], ask: Ask) -> None:
    other = BfvKeyPair.generate().public.to_bytes()
    assert refused_by_gate(sites[0], ask(), public_key=other) == (
        "ciphertext",
        "expected the public key that the job names, got another",
    )


def test_a_key_of_another_kind(sites: list[Site], ask: Ask) -> None:
    size = len(key_pair().public.to_bytes())
    assert refused_by_gate(sites[0], ask(), public_key=b"") == (
        "ciphertext",
        f"expected a public key of {size} bytes, got 0",
    )


Reseal = Callable[[Site, JobSpec], bytes]
CLOSED = ("sealed", "the sealed payload does not open with this key and context")


def with_secret(site: Site, reseal: Reseal) -> Callable[[JobSpec], JobSpec]:
    """A change of the job that replaces what is sealed to `site`."""

    def change(spec: JobSpec) -> JobSpec:
        return replace(
            spec,
            participants=tuple(
                replace(p, sealed_secret=reseal(site, spec)) if p.node == site.node.identity else p
                for p in spec.participants
            ),
        )

    return change


def sealed(site: Site, secret: bytes, job_id: str, node: str) -> bytes:
    return seal(secret, site.node.sealing.public_bytes(), secret_info(job_id, node))


@pytest.mark.parametrize(
    ("reseal", "found"),
    [
        (lambda s, spec: sealed(s, bytes(32), new_job_id(s.node.membership.clock), s.uri), CLOSED),
        (lambda s, spec: sealed(s, bytes(32), spec.job_id, spec.nodes[-1]), CLOSED),
        (lambda s, spec: spec.participants[1].sealed_secret, CLOSED),
        (
            lambda s, spec: seal(
                bytes(32), SealingKey.generate().public_bytes(), secret_info(spec.job_id, s.uri)
            ),
            CLOSED,
        ),
        (
            lambda s, spec: b"s" * 100,
            ("sealed", "a sealed payload has 1136 to 67110000 bytes, got 100"),
        ),
        (
            lambda s, spec: sealed(s, bytes(31), spec.job_id, s.uri),
            ("sealed", "expected a sealed secret of 32 bytes for the suite `bfv`, got 31"),
        ),
    ],
    ids=["another job", "another node", "taken from another node", "another key", "short", "31"],
)
def test_a_secret_sealed_otherwise(
    sites: list[Site], ask: Ask, reseal: Reseal, found: tuple[str, str]
) -> None:
    job = ask(change=with_secret(sites[0], reseal))
    assert refused_by_gate(sites[0], job) == found


# The question -----------------------------------------------------------------------------------


def test_a_plan_of_another_version(sites: list[Site], ask: Ask) -> None:
    assert refused_by_gate(sites[0], ask(plan_digest=b"p" * 32)) == (
        "job_spec",
        "expected the plan that the job names, got another from the same statement",
    )


def test_a_schema_that_is_not_published(sites: list[Site], ask: Ask) -> None:
    assert refused_by_gate(sites[0], ask(schema_digest=b"s" * 32)) == (
        "job_spec",
        "expected the schema of `heart` that the job names, got another",
    )


def test_a_table_that_is_not_published(sites: list[Site], ask: Ask) -> None:
    assert refused_by_gate(sites[0], ask(table="lungs")) == (
        "job_spec",
        "expected a table `lungs`, got none",
    )


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM heart",
        "SELECT COUNT(*) FROM read_csv('/etc/passwd')",
        "SELECT COUNT(*) FROM heart; DROP TABLE heart",
        "SELECT COUNT(*) FROM lungs",
    ],
)
def test_a_statement_that_is_not_supported(sites: list[Site], ask: Ask, sql: str) -> None:
    assert refused_by_gate(sites[0], ask(sql=sql))[0].startswith("sql_")


def test_a_minimum_below_one_tables(federation: Federation, li: Membership, tmp_path: Path) -> None:
    strict = replace(TABLE, min_nodes=4)
    nodes = [*federation.nodes(3), federation.node("zurich", strict)]
    sites = [Site(node, tmp_path / f"strict{i}") for i, node in enumerate(nodes)]
    job = job_for(li, [site.published() for site in sites], min_nodes=3)
    for site in sites:  # each holds the others' tables to their word, not its own only
        assert refused_by_gate(site, job) == (
            "min_nodes",
            "expected a job that needs 4 nodes at least, got one that goes on with 3",
        )
        site.close()


def test_a_policy_says_no(federation: Federation, li: Membership, tmp_path: Path) -> None:
    bundle = policies('context.purpose == "research"')
    nodes = federation.nodes(3)
    site = Site(nodes[0], tmp_path / "own", bundle=bundle)
    published = [site.published(), *((node, *node.signed()) for node in nodes[1:])]
    job = job_for(li, published, purpose="pricing")
    code, _ = refused_by_gate(site, job)
    assert code == "no_permit"
    assert site.happened == [("log", Act.DECISION), ("job", False)]
    detail = site.log.entries[0].detail
    assert detail["accepted"] is False
    assert site.uri in str(detail["denials"])
    site.close()


def test_a_purpose_that_is_not_registered(sites: list[Site], ask: Ask) -> None:
    assert refused_by_gate(sites[0], ask(purpose="unheard of"))[0] == "purpose_unregistered"


def test_the_secret_is_not_shown(sites: list[Site], ask: Ask) -> None:
    accepted = sites[0].accept(ask())
    assert accepted.secret.reveal().hex() not in repr(accepted)
    assert isinstance(accepted.secret, Secret)


def test_a_refused_proposal_leaves_the_id_to_the_true_job(sites: list[Site], ask: Ask) -> None:
    """A coordinator that forges first cannot use up an id."""
    site, job = sites[0], ask()
    forged = replace(job.envelope, signature=b"")
    assert site.decide(job.proposal(job=forged.to_proto())).job is None
    assert site.decide(job.proposal()).job is not None


def test_an_accepted_job_comes_back_only_with_its_own_key(sites: list[Site], ask: Ask) -> None:
    """After a restart a coordinator could try to bring the node another key for the old yes."""
    site, job = sites[0], ask()
    site.decide(job.proposal())
    site.restart()
    other = BfvKeyPair.generate().public.to_bytes()
    with pytest.raises(PeerError, match="expected the public key that the job names, got another"):
        site.decide(job.proposal(public_key=other))
