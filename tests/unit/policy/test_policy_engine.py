"""A bundle fails closed, names itself by a digest, and says which file is wrong."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import cedarpy
import pytest
import yumen_core.policy as policy_package
from policy_facts import COORDINATOR, NODE, POLICIES, REGISTER, bundle, forbid, job, permit
from yumen_core.errors import StateError
from yumen_core.policy.engine import PolicyBundle, PolicyDecision
from yumen_core.policy.evaluator import Evaluator
from yumen_core.policy.purposes import Purpose, Purposes
from yumen_core.policy.syntax import parse

SCHEMA = cedarpy.Schema.from_str(
    files("yumen_core.policy").joinpath("yumen.cedarschema").read_text(encoding="utf-8")
)


def unsafe_unchecked(text: str, schema: cedarpy.Schema = SCHEMA) -> PolicyBundle:
    """A bundle that neither lint nor schema has seen."""
    policies = parse(text, "own.cedar")
    evaluator = Evaluator(text, [policy.id for policy in policies], schema)
    return PolicyBundle(policies, evaluator, REGISTER, b"\x00" * 32)


ERRING = [
    ("overflow", "context.participants + 9223372036854775807 > 0"),
    ("overflow", "context.participants * 9223372036854775807 > 0"),
    ("missing attribute", 'resource.node == "x"'),
    ("missing attribute", 'context.nodeOrganisation == "x"'),
    ("missing entity", 'Yumen::User::"nobody".name == "x"'),
    ("wrong type", 'context.participants like "x"'),
]


@pytest.mark.parametrize(("what", "condition"), ERRING)
@pytest.mark.parametrize("make", [forbid, permit])
def test_a_policy_that_errs_denies(what: str, condition: str, make: object) -> None:
    erring = make(condition, "erring")  # type: ignore[operator]
    held = unsafe_unchecked(permit("true") + erring)
    # At the coordinator, where the optional facts are absent.
    decision = held.decide(job(decider=COORDINATOR))
    assert not decision.allowed, what
    (denial,) = decision.denials
    assert denial.reason_code == "policy_error"
    assert denial.policy_id == "erring"
    assert denial.message == "policy `erring` failed while it was evaluated, so the job is refused"
    assert denial.observed == "in `own.cedar`"
    assert len(decision.errors) == 1
    # Cedar by itself would allow here: it skips the forbid that fails.
    assert unsafe_unchecked(permit("true")).decide(job(decider=COORDINATOR)).allowed


@pytest.mark.parametrize(("what", "condition"), ERRING)
def test_what_can_err_is_not_put_in_force(what: str, condition: str) -> None:
    with pytest.raises(StateError, match=r"policy file `own.cedar`, policy `forbid`: "):
        bundle(permit("true"), forbid(condition))


def test_facts_that_do_not_fit_the_schema_deny() -> None:
    text = (POLICIES / "yumen.cedarschema").read_text(encoding="utf-8")
    other = cedarpy.Schema.from_str(text.replace("purpose: String", "purpose: Long"))
    held = unsafe_unchecked(permit("true"), other)
    decision = held.decide(job())
    assert not decision.allowed
    assert [denial.reason_code for denial in decision.denials] == ["policy_request"]
    assert len(decision.errors) == 1


def test_text_that_is_not_unicode_denies() -> None:
    decision = bundle(permit("true")).decide(job(purpose="\ud800"))
    assert not decision.allowed
    assert [denial.reason_code for denial in decision.denials] == ["policy_request"]


def test_empty_denies() -> None:
    held = PolicyBundle.from_text({}, purposes=REGISTER)
    decision = held.decide(job())
    assert not decision.allowed
    assert decision.policy_ids == ()
    (denial,) = decision.denials
    assert denial.reason_code == "no_permit"
    assert denial.message == "no policy permits this job"
    assert denial.policy_id == ""
    assert PolicyBundle.load([]).decide(job()).denials[0].reason_code == "purpose_unregistered"


def test_without_a_register_no_purpose_passes() -> None:
    held = PolicyBundle.from_text({"own.cedar": permit("true")})
    (denial,) = held.decide(job()).denials
    assert (denial.reason_code, denial.allowed) == ("purpose_unregistered", "")


def test_built_in_forbids_outlive_every_permit() -> None:
    held = bundle(permit("true"))
    assert held.decide(job()).allowed
    decision = held.decide(job(participants=2, min_nodes=2, expires_at_ms=0, purpose="x"))
    assert decision.policy_ids == (
        "builtin-expired",
        "builtin-purpose-registered",
        "builtin-three-nodes",
    )
    assert [denial.policy_id for denial in decision.denials] == list(decision.policy_ids)


def test_facts_reach_the_policy() -> None:
    conditions = [
        'context.nodeOrganisation == "cleveland"',
        'resource.node == "main"',
        'principal in Yumen::Organisation::"lzu"',
        'principal == Yumen::User::"spiffe://gansu.example/org/lzu/user/li"',
        'context.now > datetime("2026-09-21") && context.now < datetime("2026-09-22")',
        "context.expiresInSeconds == 600",
        "context.joinedTables.isEmpty()",
        'context.filters == ["num"] && context.groupBy == ["sex"] && context.groupBands == ["age"]',
        'context.columns.containsAll(["age", "chol"]) && context.aggregates == ["avg", "count"]',
        'context.suite == "bfv" && !context.dryRun && context.requesterOrganisation == "lzu"',
    ]
    for condition in conditions:
        optional = "context has nodeOrganisation && resource has node && "
        assert bundle(permit(optional + condition)).decide(job()).allowed, condition
        assert not bundle(permit(f"{optional}!({condition})")).decide(job()).allowed, condition


def test_names_in_any_script_match_exactly() -> None:
    register = Purposes((Purpose("医学研究", "研究"), Purpose("études cliniques", "études")))
    text = permit('context.purpose == "医学研究" && context.columns.contains("血压")')
    held = PolicyBundle.from_text({"医院.cedar": text}, purposes=register)
    asked = job(purpose="医学研究", columns={"血压": "general"}, filters=frozenset(),
                group_by=frozenset(), group_bands=frozenset(), table="心脏\n'\"\\")  # fmt: skip
    assert held.decide(asked).allowed
    (denial,) = held.decide(job(purpose="études cliniques")).denials
    assert denial.reason_code == "no_permit"
    # The same word in decomposed form is another purpose.
    (denial,) = held.decide(job(purpose="e\u0301tudes cliniques")).denials
    assert denial.reason_code == "purpose_unregistered"


def test_the_digest_names_exactly_what_is_in_force() -> None:
    texts = {"a.cedar": permit("true"), "b.cedar": forbid("context.dryRun")}
    base = PolicyBundle.from_text(texts, purposes=REGISTER).digest
    assert len(base) == 32
    backwards = dict(reversed(texts.items()))
    assert PolicyBundle.from_text(backwards, purposes=REGISTER).digest == base
    others = [
        ({**texts, "b.cedar": forbid("!context.dryRun")}, REGISTER),
        ({**texts, "b.cedar": texts["b.cedar"] + "// a comment\n"}, REGISTER),
        ({"a.cedar": texts["a.cedar"], "c.cedar": texts["b.cedar"]}, REGISTER),
        ({"a.cedar": texts["a.cedar"] + texts["b.cedar"]}, REGISTER),
        ({"a.cedar": texts["a.cedar"]}, REGISTER),
        (texts, Purposes(REGISTER.entries[:1])),
        (texts, Purposes(REGISTER.entries[::-1])),
        (texts, None),
    ]
    digests = {PolicyBundle.from_text(t, purposes=p).digest for t, p in others}
    assert len(digests) == len(others)
    assert base not in digests


def test_a_comment_at_the_end_of_a_file_hides_nothing_of_the_next() -> None:
    texts = {"a.cedar": permit("true") + "// no line end", "b.cedar": forbid("!context.dryRun")}
    held = PolicyBundle.from_text(texts, purposes=REGISTER)
    assert held.decide(job()).policy_ids == ("forbid",)


def test_load_directory(tmp_path: Path) -> None:
    (tmp_path / "one.cedar").write_text(permit("true"), encoding="utf-8")
    for name in ("yumen.cedarschema", "purposes.yaml"):
        (tmp_path / name).write_bytes((POLICIES / name).read_bytes())
    held = PolicyBundle.load_directory(tmp_path)
    assert held.decide(job()).allowed
    assert "insurance-pricing" in held.purposes


BAD_DIRECTORIES = [
    ({"a.cedar": b"permit ("}, "policy file `a.cedar`: does not parse: unexpected end of input"),
    ({"a.cedar": b"\xff\xfe"}, "policy file `a.cedar`: expected UTF-8 text"),
    ({"a.cedar": b" " * 1_048_577}, "policy file `a.cedar`: expected at most 1048576 bytes"),
    ({"a.cedar": b" " * 262_145}, "`a.cedar`: expected at most 262144 characters, got 262145"),
    ({"builtin.cedar": b""}, "`builtin.cedar`: the name is that of the built-in policies"),
    ({"yumen.cedarschema": b"entity User;"}, "differs from the schema of this software"),
    ({"purposes.yaml": b"purposes: 3"}, "purpose register `purposes.yaml`: expected `purposes`"),
]


@pytest.mark.parametrize(("content", "message"), BAD_DIRECTORIES)
def test_a_bad_directory_is_refused(
    tmp_path: Path, content: dict[str, bytes], message: str
) -> None:
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(StateError) as caught:
        PolicyBundle.load_directory(tmp_path)
    assert caught.value.code == "policy_invalid"
    assert message in caught.value.message


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"policy file `a.cedar`: no such file or directory"):
        PolicyBundle.load([tmp_path / "a.cedar"])
    with pytest.raises(StateError, match=r"policy directory `.*none` does not exist"):
        PolicyBundle.load_directory(tmp_path / "none")
    (tmp_path / "sub").mkdir()
    for file in (tmp_path / "a.cedar", tmp_path / "sub" / "a.cedar"):
        file.write_text("", encoding="utf-8")
    with pytest.raises(StateError, match=r"policy file `a.cedar`: two files have this name"):
        PolicyBundle.load([tmp_path / "a.cedar", tmp_path / "sub" / "a.cedar"])


def test_a_decision_cannot_contradict_itself() -> None:
    (denial,) = PolicyBundle.from_text({}, purposes=REGISTER).decide(job()).denials
    for allowed, denials, errors in [(False, (), ()), (True, (denial,), ()), (True, (), ("x",))]:
        with pytest.raises(ValueError, match="a decision either allows or has denials"):
            PolicyDecision(allowed, (), denials, b"", errors)


def test_denials_need_no_policy_engine() -> None:
    program = (
        "import sys; sys.modules['cedarpy'] = None\n"
        "import yumen_core.policy as p; p.Denial, p.PolicyRequest, p.Purposes\n"
        "assert sorted(p.__all__) == p.__all__\n"
        "try: p.PolicyBundle\n"
        "except ImportError: print('as expected')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "as expected\n", done.stderr


def test_every_public_name_is_there() -> None:
    for name in policy_package.__all__:
        assert getattr(policy_package, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute `nothing`"):
        _ = policy_package.nothing


def test_one_bundle_serves_many_threads() -> None:
    held = bundle(permit('context.purpose == "research"'))
    asked = [job(purpose=name, decider=NODE) for name in ("research", "public-health")] * 50
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda item: held.decide(item).allowed, asked))
    assert answers == [True, False] * 50
