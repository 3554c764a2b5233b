"""Receipts: what holds, every field changed by a stranger, and every lie of a requester who signs
it himself."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders.federation import Federation
from builders.receipts import POLICIES, Made, made, stricter
from yumen_cli.main import main
from yumen_core.audit.proven import verify_receipt
from yumen_core.audit.receipt import JobEvidence, Out, Said, read_receipt
from yumen_core.errors import PeerError
from yumen_core.identity import Role
from yumen_core.jobs.spec import spec_digest

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("receipts"))


def refused(one: Made, data: bytes) -> str:
    with pytest.raises(PeerError) as caught:
        verify_receipt(data, one.federation.authority.anchor)
    assert caught.value.code == "audit"
    return caught.value.message


def test_what_a_receipt_proves(one: Made) -> None:
    proven = verify_receipt(one.receipt(), one.federation.authority.anchor)
    assert proven.requester == one.li.identity.uri
    (job,) = proven.jobs
    assert job.spec.to_bytes() == one.job.spec.to_bytes()
    assert job.coordinator == one.coordinator.member.identity.uri
    assert [node.node for node in job.participants] == [node.uri for node in one.nodes[:3]]
    assert {node.policies for node in job.participants} == {POLICIES}
    assert [node.rules for node in job.participants] == [{"heart": (10, 3)}] * 3
    assert all(node.log_index >= 1 for node in job.participants)
    assert [(out.node, out.denied, out.reason) for out in job.excluded] == [
        (one.nodes[3].uri, ("purpose",), "the policy refused")
    ]
    assert proven.result.sha256 == "ab" * 32


def test_it_holds_long_after_its_certificates(tmp_path: Path) -> None:
    past = made(tmp_path)
    data = past.receipt()
    past.federation.clock.advance(400 * DAY_MS)
    assert len(verify_receipt(data, past.federation.authority.anchor).jobs) == 1


def test_it_travels_as_a_file(one: Made) -> None:
    receipt, envelope = read_receipt(one.receipt())
    assert receipt.jobs == (one.evidence,)
    assert receipt.to_bytes() == envelope.payload
    two = one.evidence_of(one.other_job())
    assert len(verify_receipt(one.receipt(one.evidence, two), anchor(one)).jobs) == 2


def anchor(one: Made) -> Any:
    return one.federation.authority.anchor


# Changed by a stranger -----------------------------------------------------------------------


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for name in value:
            yield from leaves(value[name], (*path, name))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from leaves(item, (*path, at))
    else:
        yield path


def changed(value: Any) -> Any:
    if isinstance(value, int):
        return value + 1
    if value is None:
        return "x"
    middle = len(value) // 3
    return (
        value[:middle] + ("B" if value[middle : middle + 1] == "A" else "A") + value[middle + 1 :]
    )


def test_every_field_that_is_changed_is_caught(one: Made) -> None:
    document = json.loads(one.receipt())
    paths = list(leaves(document))
    assert len(paths) == 57
    for path in paths:
        spoiled = copy.deepcopy(document)
        at = spoiled
        for name in path[:-1]:
            at = at[name]
        at[path[-1]] = changed(at[path[-1]])
        assert spoiled != document
        assert refused(one, json.dumps(spoiled).encode()), path


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: b"no json",
        lambda d: b"[]",
        lambda d: json.dumps({**d, "more": 1}).encode(),
        lambda d: json.dumps({**d, "receipt": {**d["receipt"], "more": 1}}).encode(),
        lambda d: json.dumps({**d, "receipt": {**d["receipt"], "v": "2"}}).encode(),
        lambda d: json.dumps({**d, "receipt": {**d["receipt"], "jobs": []}}).encode(),
        lambda d: json.dumps({**d, "receipt": {**d["receipt"], "made_at_ms": 1.5}}).encode(),
        lambda d: json.dumps({**d, "signature": d["signature"] + " "}).encode(),
        lambda d: json.dumps(d).replace("{", '{"signature": "", ', 1).encode(),
        lambda d: b"[" * 100_000,
    ],
)
def test_another_form(one: Made, spoil: Callable[[dict[str, Any]], bytes]) -> None:
    assert refused(one, spoil(json.loads(one.receipt()))) == (
        "expected a receipt of version 2, got another form"
    )


def test_another_version(one: Made) -> None:
    document = json.loads(one.receipt())
    document["receipt"]["v"] = 1
    found = refused(one, json.dumps(document).encode())
    assert found == "expected a receipt of version 2, got version 1"


def test_too_large(one: Made) -> None:
    assert refused(one, b" " * (4 * 1024 * 1024 + 1)) == (
        "expected a receipt of 4194304 bytes at most, got more"
    )


# Lies that the requester signs -----------------------------------------------------------------


def first(evidence: JobEvidence) -> str:
    return sorted(evidence.participants)[0]


def with_said(evidence: JobEvidence, **other: Any) -> JobEvidence:
    """The first participant's decision or proof is another."""
    node = first(evidence)
    said = replace(evidence.participants[node], **other)
    return replace(evidence, participants={**evidence.participants, node: said})


def without(evidence: JobEvidence, *nodes: str) -> JobEvidence:
    """These participants are said to be out."""
    stay = {n: s for n, s in evidence.participants.items() if n not in nodes}
    out = {node: Out("never asked") for node in nodes}
    return replace(evidence, participants=stay, excluded={**evidence.excluded, **out})


def lie_other_job(one: Made, e: JobEvidence) -> JobEvidence:
    return replace(e, job=one.other_job().envelope)


def lie_other_decision(one: Made, e: JobEvidence) -> JobEvidence:
    return with_said(e, decision=one.parties[first(e)].word(one.other_job()).decision)


def lie_other_proof(one: Made, e: JobEvidence) -> JobEvidence:
    return with_said(e, proof=one.parties[first(e)].word(one.other_job()).proof)


def lie_same_job_logged_again(one: Made, e: JobEvidence) -> JobEvidence:
    """The proof is of a second entry on the same job, not of the place that the decision names."""
    return with_said(e, proof=one.parties[first(e)].word(one.job).proof)


def lie_neighbours_proof(one: Made, e: JobEvidence) -> JobEvidence:
    return with_said(e, proof=e.participants[sorted(e.participants)[1]].proof)


def lie_refusal_as_participant(one: Made, e: JobEvidence) -> JobEvidence:
    node = one.nodes[3].uri
    said = one.parties[node].word(one.job, accepted=False)
    return replace(e, participants={**e.participants, node: said}, excluded={})


def lie_neighbours_word(one: Made, e: JobEvidence) -> JobEvidence:
    one_, two = sorted(e.participants)[:2]
    return replace(e, participants={**e.participants, one_: e.participants[two]})


def lie_unknown_policies(one: Made, e: JobEvidence) -> JobEvidence:
    node = first(e)
    logged = one.parties[node].word(
        one.job,
        logged={"digests": {"spec": spec_digest(one.job.envelope.payload), "policies": b"q" * 32}},
    )
    return replace(e, participants={**e.participants, node: logged})


def lie_missing_node(one: Made, e: JobEvidence) -> JobEvidence:
    return replace(e, excluded={})


def lie_both_in_and_out(one: Made, e: JobEvidence) -> JobEvidence:
    return replace(e, excluded={**e.excluded, first(e): Out("x")})


def lie_fewer(one: Made, e: JobEvidence) -> JobEvidence:
    return without(e, first(e))


def lie_missing_descriptor(one: Made, e: JobEvidence) -> JobEvidence:
    rest = {n: d for n, d in e.descriptors.items() if n != first(e)}
    return replace(e, descriptors=rest)


def lie_new_descriptor(one: Made, e: JobEvidence) -> JobEvidence:
    """The node's own, and true, but another than the job names: with another log key."""
    envelope, _ = one.nodes[0].signed(log_key=one.coordinator.key)
    return replace(e, descriptors={**e.descriptors, one.nodes[0].uri: envelope})


def lie_out_without_its_descriptor(one: Made, e: JobEvidence) -> JobEvidence:
    envelope, _ = one.nodes[3].signed()
    return replace(e, descriptors={**e.descriptors, one.nodes[3].uri: envelope})


def lie_coordinators_key(one: Made, e: JobEvidence) -> JobEvidence:
    return replace(e, coordinator_descriptor=one.described(one.parties[first(e)].key))


def lie_coordinators_other_word(one: Made, e: JobEvidence) -> JobEvidence:
    other = one.coordinator.word(one.other_job())
    return replace(e, coordinator=Said(other.decision, other.proof))


def lie_node_as_coordinator(one: Made, e: JobEvidence) -> JobEvidence:
    return replace(e, coordinator=e.participants[first(e)])


def lie_outs_other_word(one: Made, e: JobEvidence) -> JobEvidence:
    word = one.parties[one.nodes[3].uri].word(one.other_job(), accepted=False)
    return replace(e, excluded={one.nodes[3].uri: Out("x", word.decision)})


def lie_outs_neighbours_word(one: Made, e: JobEvidence) -> JobEvidence:
    word = one.parties[one.nodes[0].uri].word(one.job, accepted=False)
    return replace(e, excluded={one.nodes[3].uri: Out("x", word.decision)})


ON_ANOTHER = "` on this job, got one on another"
LIES: list[tuple[Callable[[Made, JobEvidence], JobEvidence], str]] = [
    (lie_other_job, ON_ANOTHER),
    (lie_other_decision, ON_ANOTHER),
    (lie_other_proof, "expected the log entry of the decision on job `"),
    (lie_same_job_logged_again, "expected the log entry of the decision on job `"),
    (lie_neighbours_proof, "expected an entry of the log: "),
    (lie_refusal_as_participant, "accepted the job, got a refusal"),
    (lie_neighbours_word, "expected the decision of `"),
    (lie_unknown_policies, "to name the policies of its decision"),
    (lie_missing_node, "expected participants and nodes out to be those that the job names"),
    (lie_both_in_and_out, "expected participants and nodes out to be those that the job names"),
    (lie_fewer, "expected 3 participants or more, got 2"),
    (lie_missing_descriptor, "expected the descriptor of every node that the job names"),
    (lie_new_descriptor, "that the job names, got another"),
    (lie_out_without_its_descriptor, "that the job names, got another"),
    (lie_coordinators_key, "expected an entry of the log: "),
    (lie_coordinators_other_word, ON_ANOTHER),
    (lie_node_as_coordinator, "expected a signer with role coordinator, got `"),
    (lie_outs_other_word, ON_ANOTHER),
    (lie_outs_neighbours_word, "expected the decision of `"),
]


@pytest.mark.parametrize(("lie", "words"), LIES, ids=[lie.__name__ for lie, _ in LIES])
def test_a_lie_that_the_requester_signs(
    one: Made, lie: Callable[[Made, JobEvidence], JobEvidence], words: str
) -> None:
    assert words in refused(one, one.receipt(lie(one, one.evidence)))


def test_the_job_of_somebody_else(one: Made) -> None:
    wang = one.federation.member(Role.USER, "wang")
    assert refused(one, one.receipt(by=wang)) == (
        f"expected a job of `{wang.identity.uri}`, got one of `{one.li.identity.uri}`"
    )
    assert "expected a signer with role user" in refused(
        one, one.receipt(by=one.nodes[0].membership)
    )


def test_one_job_twice_and_a_dry_run(one: Made) -> None:
    assert refused(one, one.receipt(one.evidence, one.evidence)) == (
        "expected different jobs in a receipt, got one twice"
    )
    dry = one.evidence_of(one.other_job(dry_run=True))
    assert refused(one, one.receipt(dry)) == ("expected a job that was carried out, got a dry run")


def test_a_table_that_demands_more_nodes(tmp_path: Path) -> None:
    strict = made(
        tmp_path, lambda node: stricter(4 if node.identity.organisation == "hungary" else 3)
    )
    assert refused(strict, strict.receipt()) == "expected 4 participants or more, got 3"


def test_another_authority(one: Made, tmp_path: Path) -> None:
    other = Federation(tmp_path)
    with pytest.raises(PeerError) as caught:
        verify_receipt(one.receipt(), other.authority.anchor)
    assert caught.value.message == "the certificate was not issued by the federation's authority"


# The command -----------------------------------------------------------------------------------


@pytest.fixture
def files(one: Made, tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "r.json").write_bytes(one.receipt())
    (tmp_path / "ca.pem").write_bytes(one.federation.authority.anchor.authority_pem())
    return str(tmp_path / "r.json"), str(tmp_path / "ca.pem")


def test_the_command(one: Made, files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    file, authority = files
    assert main(["receipt", "verify", file, "--authority", authority]) == 0
    out = capsys.readouterr().out
    proven, _, word = out.partition("the requester's word:\n")
    word, _, rest = word.partition("not proven:\n")
    assert "under the authority of gansu.example\n" in proven
    assert f"  job         {one.job.spec.job_id}, a query\n" in proven
    assert "privacy     500000 millionths of rho, read at delta 1e-6\n" in proven
    assert "purpose     research; project lzu/heart\n" in proven
    assert "at least heart: 10 rows, 3 nodes\n" in proven
    assert f"refused by  {one.nodes[3].uri}: purpose\n" in proven
    assert "ab" * 32 in word
    assert "ab" * 32 not in proven
    assert "not checked: whether a certificate was revoked at that time\n" in rest
    assert main(["receipt", "verify", file, "--authority", authority, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["word_of_the_requester"]["result"]["sha256"] == "ab" * 32
    assert [n["log_index"] >= 1 for n in document["jobs"][0]["participants"]] == [True] * 3


def test_the_command_refuses(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    file, authority = files
    text = Path(file).read_text()
    Path(file).write_text(text.replace('"form": "table"', '"form": "tablf"'))
    assert main(["receipt", "verify", file, "--authority", authority]) == 4
    assert "do not rely on the result" in capsys.readouterr().err
    Path(authority).write_text("no certificate")
    assert main(["receipt", "verify", file, "--authority", authority]) == 4
    assert "the text is not an X.509 certificate in PEM" in capsys.readouterr().err
