"""The shipped templates: each against its own table, and fit to come into force together."""

from collections import Counter
from pathlib import Path

import pytest
from policy_facts import POLICIES, REGISTER, forbid, job, permit
from yumen_core.errors import StateError
from yumen_core.policy.cases import read_cases, run_cases
from yumen_core.policy.engine import PolicyBundle, policy_findings

NAMES = sorted(file.stem for file in POLICIES.glob("*.cedar"))


def template(name: str) -> PolicyBundle:
    return PolicyBundle.load([POLICIES / f"{name}.cedar"], purposes=POLICIES / "purposes.yaml")


def test_there_is_a_template_for_each_kind_of_institution() -> None:
    assert NAMES == ["bank", "farm", "federation", "hospital", "utility"]


@pytest.mark.parametrize("name", NAMES)
def test_every_case_of_the_table_holds(name: str) -> None:
    file = POLICIES / f"{name}.cases.yaml"
    outcomes = run_cases(template(name), read_cases(file.read_text("utf-8"), file=file.name))
    assert [outcome.case.name for outcome in outcomes if not outcome.held] == []
    verdicts = Counter(outcome.case.allow for outcome in outcomes)
    assert verdicts[True] >= 4
    assert verdicts[False] >= 6


@pytest.mark.parametrize("name", NAMES)
def test_every_policy_of_a_template_decides_some_case(name: str) -> None:
    """A policy that no case reaches could say anything."""
    bundle = template(name)
    file = POLICIES / f"{name}.cases.yaml"
    decided = {
        policy
        for outcome in run_cases(bundle, read_cases(file.read_text("utf-8"), file=file.name))
        for policy in outcome.word.policy_ids
    }
    own = {policy.id for policy in bundle.policies if policy.file != "builtin.cedar"}
    assert own - decided == set()


def test_templates_carry_every_annotation_and_are_fit_together() -> None:
    assert policy_findings([POLICIES / f"{name}.cedar" for name in NAMES]) == ()
    for policy in PolicyBundle.load_directory(POLICIES).policies:
        assert policy.annotations.keys() == {"id", "reason_code", "basis", "remedy"}, policy.id


def test_findings_name_every_fault_at_once(tmp_path: Path) -> None:
    file = tmp_path / "bad.cedar"
    file.write_text(
        '@id("open") permit (principal, action, resource);\n'
        + forbid("context.rounds + 1 > 2", name="sum")
        + '@id("alien") permit (principal == Other::User::"x",'
        ' action == Yumen::Action::"query", resource);\n'
    )
    found = [str(finding) for finding in policy_findings([file])]
    assert any("Other::User" in one for one in found)
    file.write_text(
        '@id("open") permit (principal, action, resource);\n'
        + forbid("context.rounds + 1 > 2", name="sum")
    )
    found = [str(finding) for finding in policy_findings([file])]
    assert any("policy `open`: a permit must name its action" in one for one in found)
    assert any("policy `open`: a permit must say who or which table" in one for one in found)
    assert any("policy `sum`: arithmetic (`+`)" in one for one in found)


BAD_CASES = {
    "[]": "expected the keys `cases` and `defaults`",
    "cases: []": "expected `cases` to be a list of 1 to 2000",
    "cases: [{name: a}]": "case 1: expected the keys name, decide, because and facts",
    "cases: [{name: a, decide: maybe}]": "case `a`: expected `decide` to be allow or deny",
    "cases: [{name: a, decide: deny, facts: {table: t, colour: red}}]": "unknown fact `colour`",
    "cases: [{name: a, decide: deny, facts: {table: t, filters: x}}]": "a list for `filters`",
    "cases: [{name: a, decide: deny}]": "the facts do not read",
    "cases: [{name: a, decide: deny, facts: {table: t, columns: {x: secret}}}]": "expected a grade",
    "cases: [{name: a, decide: deny, facts: {table: t, requester: x}}]": "expected an identity",
    "cases: [{name: a, name: b, decide: deny}]": "expected YAML",
    "cases: [{name: a, decide: deny, facts: {table: t}}, {name: a, decide: deny,"
    " facts: {table: t}}]": "the case `a` is listed twice",
}


@pytest.mark.parametrize(("text", "reason"), BAD_CASES.items())
def test_bad_cases_are_refused(text: str, reason: str) -> None:
    with pytest.raises(StateError) as caught:
        read_cases(text, file="x.yaml")
    assert caught.value.message.startswith("cases `x.yaml`: ")
    assert reason in caught.value.message


def test_a_case_that_does_not_hold_is_found() -> None:
    bundle = PolicyBundle.from_text({"own.cedar": permit("true")}, purposes=REGISTER)
    text = (
        "defaults: {table: t, requester: spiffe://f.example/org/o/user/li}\n"
        "cases:\n"
        "  - {name: passes, decide: allow, because: permit}\n"
        "  - {name: wrong word, decide: deny}\n"
        "  - {name: wrong policy, decide: allow, because: other}\n"
        "  - {name: wrong reason, decide: deny, because: no_permit, facts: {min_nodes: 2}}\n"
    )
    held = [outcome.held for outcome in run_cases(bundle, read_cases(text, file="x"))]
    assert held == [True, False, False, False]
    assert bundle.decide(job()).allowed
