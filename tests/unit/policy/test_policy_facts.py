"""Facts in a log entry and bundles beside it: enough to decide again, and nothing is cut."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_facts import COORDINATOR, POLICIES, bundle, forbid, job, of_code, permit, training
from yumen_core.errors import PeerError, StateError
from yumen_core.jobs.admission import decision_detail
from yumen_core.log.entry import Act, Entry, decode_entry
from yumen_core.policy import PolicyBundle, PolicyRequest, facts_text, logged_facts, request_of
from yumen_core.policy.changes import bundle_changes
from yumen_core.policy.clauses import permit_clauses
from yumen_core.policy.replay import past_decisions, replay

REQUESTS = [
    job(),
    job(decider=COORDINATOR, dry_run=True, joined=frozenset({"visits", "药品"})),
    job(project="lzu/heart", micro_rho=1000, micro_rho_left=0),
    training(),
    of_code(2),
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_facts_read_back_as_they_were(request_: PolicyRequest) -> None:
    assert request_of(facts_text(request_)) == request_


@given(
    st.dictionaries(st.text(max_size=8), st.sampled_from(["general", "important"]), max_size=4),
    st.integers(0, 2**63 - 1),
    st.none() | st.integers(0, 2**63 - 1),
)
def test_any_facts_read_back(columns: dict[str, str], cost: int, left: int | None) -> None:
    nothing: frozenset[str] = frozenset()
    request = job(
        columns=columns,
        filters=nothing,
        group_by=nothing,
        group_bands=nothing,
        micro_rho=cost,
        micro_rho_left=left,
    )
    assert request_of(facts_text(request)) == request


def _changed(**changes: object) -> str:
    facts = json.loads(facts_text(job())) | changes
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


BAD_FACTS = [
    ("", "canonical JSON"),
    ("[]", "other fields"),
    (_changed(extra=1), "other fields"),
    (_changed(format="v2"), "other fields"),
    (_changed(table=1), "canonical JSON"),
    (_changed(filters="num"), "canonical JSON"),
    (_changed(filters=["num", "num"]), "another spelling"),
    (_changed(filters=["elsewhere"]), "which `columns` lacks"),
    (_changed(rounds=-1), "expected `rounds` from 0"),
    (_changed(rounds=True), "expected `rounds` from 0"),
    (_changed(dry_run=1), "canonical JSON"),
    (_changed(requester=COORDINATOR.uri), "expected a requester of role user"),
    (facts_text(job()) + " ", "another spelling"),
    ("x" * (1 << 20) + "x", "at most 1048576 characters"),
]


@pytest.mark.parametrize(("text", "reason"), BAD_FACTS)
def test_other_facts_are_refused(text: str, reason: str) -> None:
    with pytest.raises(PeerError, match=reason) as caught:
        request_of(text)
    assert caught.value.code == "log_corrupt"


def test_too_many_facts_are_named_by_digest_and_never_cut() -> None:
    wide = job(columns={f"{n:0>200}": "general" for n in range(500)},
               filters=frozenset(), group_by=frozenset(), group_bands=frozenset())  # fmt: skip
    texts = [facts_text(wide)]
    encoded = json.dumps(texts, separators=(",", ":"), ensure_ascii=False).encode()
    assert logged_facts([wide]) == {"facts_digest": hashlib.sha256(encoded).hexdigest()}
    detail = decision_detail("S" * 60_000, (), dry_run=False, requests=[wide])
    assert "facts" not in detail


def test_facts_stay_whole_beside_a_statement_that_is_cut() -> None:
    requests = [replace(job(), table=f"t{n}") for n in range(20)]
    detail = decision_detail('"' * 60_000, (), dry_run=False, requests=requests)
    entry = decode_entry(Entry(0, Act.DECISION, {}, {"policies": b"\0" * 32}, detail).encode())
    assert len(str(entry.detail["sql"])) < 60_000
    (past,) = past_decisions([(7, entry)])
    assert past.requests == tuple(requests)


# Bundles beside the log -------------------------------------------------------------------------


def test_a_saved_bundle_decides_as_it_did(tmp_path: Path) -> None:
    kept = PolicyBundle.load_directory(POLICIES)
    file = kept.save(tmp_path / "policies")
    assert file.name == f"{kept.digest.hex()}.json"
    assert hashlib.sha256(file.read_bytes()).digest() == kept.digest
    again = PolicyBundle.load_saved(file)
    assert again.digest == kept.digest
    for request in REQUESTS:
        assert again.decide_facts(facts_text(request)) == kept.decide(request)


def test_a_damaged_copy_is_written_anew(tmp_path: Path) -> None:
    kept = bundle(permit("true"))
    file = kept.save(tmp_path)
    file.write_bytes(b"{}")
    with pytest.raises(StateError, match="the bytes are not what the name says"):
        PolicyBundle.load_saved(file)
    assert PolicyBundle.load_saved(kept.save(tmp_path)).digest == kept.digest


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files":[],"purposes":[],"schema":""}'])
def test_other_files_are_no_bundle(tmp_path: Path, text: str) -> None:
    file = tmp_path / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
    file.write_text(text)
    with pytest.raises(StateError, match="expected a policy bundle"):
        PolicyBundle.load_saved(file)


# Replay, changes, clauses -----------------------------------------------------------------------


def _logged(request: PolicyRequest, accepted: bool) -> Entry:
    denials = () if accepted else bundle().decide(request).denials
    detail = decision_detail("SELECT 1", denials, dry_run=False, requests=[request])
    return Entry(5, Act.DECISION, {"job": "j"}, {"policies": b"\1" * 32}, detail)


def test_replay_lists_what_would_flip() -> None:
    at_gate = replace(_logged(job(), False), detail={"accepted": False, "facts": []})
    too_long = replace(_logged(job(), True), detail={"accepted": True, "facts_digest": "00"})
    entries = [
        _logged(job(), True),
        _logged(job(purpose="public-health"), True),
        Entry(0, Act.RELEASE),
        at_gate,
        too_long,
    ]
    draft = bundle(permit('context.purpose == "research"'))
    found = replay(draft, past_decisions(enumerate(entries)))
    assert (found.same, found.at_gate, found.too_long) == (1, 1, 1)
    (flip,) = found.flips
    assert (flip.decision.index, flip.decision.accepted, flip.word.allowed) == (1, True, False)
    assert [denial.reason_code for denial in flip.word.denials] == ["no_permit"]


def test_what_a_coordinator_notes_of_nodes_is_no_decision_of_its_own() -> None:
    note = Entry(
        6,
        Act.DECISION,
        {"job": "j", "node": "spiffe://gansu.example/org/cleveland/node/heart"},
        {"decision": b"\2" * 32, "policies": b"\1" * 32},
        {"accepted": False, "log_index": 3},
    )
    entries = [_logged(job(), True), note]
    assert [past.index for past in past_decisions(enumerate(entries))] == [0]
    found = replay(bundle(permit("true")), past_decisions(enumerate(entries)))
    assert (found.same, found.flips, found.at_gate) == (1, (), 0)


def test_a_decision_without_policies_is_no_decision() -> None:
    entry = replace(_logged(job(), True), digests={})
    with pytest.raises(PeerError, match="the decision `3` names no policies"):
        list(past_decisions([(3, entry)]))


def test_layout_and_comments_are_no_change() -> None:
    text = permit("context.threshold >= 10")
    assert not bundle_changes(bundle(text), bundle("// why\n" + text.replace(" when", "\n when")))


def test_changes_are_told_by_id() -> None:
    old = bundle(permit("true", name="a") + permit("true", name="b"))
    new = bundle(permit("true", name="b", action="statistic") + forbid("true", name="c"))
    found = bundle_changes(old, new)
    assert (found.added, found.removed, found.changed) == (("c",), ("a",), ("b",))
    assert "a" in bundle_changes(None, old).added


def test_clauses_say_which_part_fails() -> None:
    policies = bundle(permit('context.threshold >= 50 && context.purpose == "research"'))
    (found,) = permit_clauses(policies, job())
    failing = [clause.text for clause in found.clauses if not clause.holds]
    assert failing == ["when { (context.threshold) >= 50 }"]
    assert not found.matches
    assert permit_clauses(policies, job(threshold=50))[0].matches


def test_a_clause_that_reads_what_is_not_there_does_not_hold() -> None:
    policies = bundle(permit("context has microRhoLeft && context.microRhoLeft > 5"))
    (found,) = permit_clauses(policies, job())
    assert [clause.holds for clause in found.clauses[-2:]] == [False, False]
    assert permit_clauses(policies, job(micro_rho_left=6))[0].matches
