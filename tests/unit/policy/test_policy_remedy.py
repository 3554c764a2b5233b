"""Counterfactuals: what a denial says would pass, does pass."""

from collections.abc import Callable
from typing import Any

import pytest
from policy_facts import (
    COORDINATOR,
    NODE,
    REGISTER,
    bundle,
    forbid,
    job,
    of_code,
    permit,
    training,
)
from yumen_core.policy import reviews_missing
from yumen_core.policy.counterfactual import KINDS, MAX_EVALUATIONS, Search
from yumen_core.policy.denial import Denial
from yumen_core.policy.engine import PolicyBundle
from yumen_core.policy.evaluator import Verdict
from yumen_core.policy.purposes import Purpose, Purposes
from yumen_core.policy.request import PolicyRequest


def only(held: PolicyBundle, **changes: Any) -> Denial:
    (denial,) = held.decide(job(**changes)).denials
    return denial


def told(denial: Denial) -> tuple[str, str, str, str]:
    return (denial.subject, denial.observed, denial.allowed, denial.remedy)


DEFAULTS = [
    (
        'context.purpose == "public-health"',
        ("purpose", "research", "public-health", "ask with purpose `public-health`"),
    ),
    (
        '!context.columns.contains("chol")',
        ("column `chol`", "read", "left out", "leave out column `chol`"),
    ),
    (
        '!context.columns.containsAll(["chol", "num"])',
        ("columns", "read", "all but one of `chol`, `num`", "leave out column `chol`"),
    ),
    ("context.minNodes >= 4", ("min_nodes", "3", "4", "set min_nodes to 4")),
    ("context.minNodes > 3", ("min_nodes", "3", "4", "set min_nodes to 4")),
    (
        "context.participants >= 6",
        ("participants", "4", "6", "ask 6 nodes and set min_nodes to 6"),
    ),
    (
        '!context.groupBy.contains("sex")',
        ("column `sex`", "grouped by exact value", "grouped in bands", "group `sex` in bands"),
    ),
    (
        '!context.groupBands.contains("age")',
        ("column `age`", "grouped in bands", "left out", "leave out the group key `age`"),
    ),
    # Two changes are needed, so no single one is told.
    (
        'context.purpose == "public-health" && context.minNodes >= 4',
        ("job", "", "", "no single change of purpose, columns, grouping or nodes would pass"),
    ),
    (
        "context.threshold > 20",
        ("job", "", "", "no single change of purpose, columns, grouping or nodes would pass"),
    ),
    # Where several kinds would pass, the first in the stated order is told.
    (
        'context.minNodes >= 4 || context.purpose == "public-health"',
        ("purpose", "research", "public-health", "ask with purpose `public-health`"),
    ),
]


@pytest.mark.parametrize(("condition", "expected"), DEFAULTS)
def test_the_nearest_change_for_a_default_denial(
    condition: str, expected: tuple[str, str, str, str]
) -> None:
    denial = only(bundle(permit(condition)))
    assert denial.reason_code == "no_permit"
    assert told(denial) == expected


FORBIDS = [
    ('context.purpose == "research"', ("purpose", "research", "public-health")),
    ('context.columns.contains("chol")', ("column `chol`", "read", "left out")),
    ("context.minNodes < 4", ("min_nodes", "3", "4")),
    ("context.participants <= 6", ("participants", "4", "7")),
    (
        'context.groupBy.contains("sex")',
        ("column `sex`", "grouped by exact value", "grouped in bands"),
    ),
    # Nothing the requester can change alone: the facts it reads are told as they are.
    ("context.threshold < 20", ("threshold", "10", "")),
    (
        'context.now > datetime("2026-01-01") && context.threshold < 20',
        ("now, threshold", "now 2026-09-21T14:13:20.000Z; threshold 10", ""),
    ),
    ('principal.name == "li"', ("job", "", "")),
]


@pytest.mark.parametrize(("condition", "expected"), FORBIDS)
def test_a_forbid_gives_its_own_remedy_and_the_values_that_pass(
    condition: str, expected: tuple[str, str, str]
) -> None:
    denial = only(bundle(permit("true"), forbid(condition)))
    assert denial.reason_code == "test_reason"
    assert denial.message == "policy `forbid` forbids this job"
    assert told(denial) == (*expected, "change the job")


def test_each_of_several_forbids_is_told_what_ends_it() -> None:
    held = bundle(
        permit("true"),
        forbid('context.purpose == "research"', "one"),
        forbid('context.columns.contains("chol")', "two"),
    )
    denials = held.decide(job()).denials
    assert [(denial.policy_id, *told(denial)[:3]) for denial in denials] == [
        ("one", "purpose", "research", "public-health"),
        ("two", "column `chol`", "read", "left out"),
    ]


def test_a_change_that_passes_is_told_before_one_that_only_ends_the_forbid() -> None:
    # Another purpose would end the forbid and then lack a permit; four nodes pass.
    held = bundle(
        permit('context.purpose == "research"'),
        forbid('context.purpose == "research" && context.minNodes < 4'),
    )
    assert told(only(held))[:3] == ("min_nodes", "3", "4")


def test_the_last_column_is_left_out_only_where_a_count_remains() -> None:
    bare = {
        "columns": {"chol": "general"},
        "filters": frozenset[str](),
        "group_by": frozenset[str](),
        "group_bands": frozenset[str](),
    }
    held = bundle(permit('!context.columns.contains("chol")'))
    assert told(only(held, **bare, aggregates=frozenset({"avg"})))[0] == "job"
    assert told(only(held, **bare, aggregates=frozenset({"count"})))[0] == "column `chol`"


def test_the_strictest_grade_is_left_out_first() -> None:
    tried: list[PolicyRequest] = []
    asked = job(
        columns={"a": "general", "b": "core", "c": "important", "age": "general", "sex": "core"},
        filters=frozenset({"c"}),
    )
    search = Search(asked, _recording(tried), purposes=(), suites=(), numbers=frozenset())
    assert search.nearest(lambda verdict: verdict.allowed) is None
    left_out = [asked.columns.keys() - item.columns.keys() for item in tried]
    assert left_out == [{"b"}, {"c"}, {"a"}, set(), {"age"}, {"sex"}]
    assert tried[1].filters == frozenset()


def test_the_order_of_kinds_is_the_documented_one() -> None:
    tried: list[PolicyRequest] = []
    asked = job(operation="statistic")
    search = Search(
        asked,
        _recording(tried),
        purposes=("research", "other"),
        suites=("bfv", "stream"),
        numbers=frozenset({4, 10}),
    )
    search.nearest(lambda verdict: False)
    kinds = [change.kind for change, _ in search._tried]
    of_training = ("reviewers", "rounds", "parameters")
    assert tuple(dict.fromkeys(kinds)) == tuple(kind for kind in KINDS if kind not in of_training)
    assert tried[-2].suite == "stream"
    assert tried[-1].operation == "query"
    assert len(tried) == len(search._tried)
    # A second question costs no further evaluation.
    search.nearest(lambda verdict: False)
    assert len(tried) == len(search._tried)
    assert all(item.dry_run == asked.dry_run for item in tried)


def test_the_order_of_kinds_of_a_training() -> None:
    tried: list[PolicyRequest] = []
    search = Search(
        of_code(1),
        _recording(tried),
        purposes=("research", "other"),
        suites=("stream", "bfv"),
        numbers=frozenset({2, 4, 10}),
    )
    search.nearest(lambda verdict: False)
    kinds = tuple(dict.fromkeys(change.kind for change, _ in search._tried))
    assert kinds == tuple(kind for kind in KINDS if kind != "grouping")
    assert [item.code_reviewers for item in tried[:5]] == [2, 3, 4, 5, 10]
    assert tried[-1].program == "model"


TRAININGS = [
    (
        of_code(1),
        "context.codeReviewers >= 3",
        ("code reviewers", "1", "3", "wait until 3 people have approved the code at this node"),
    ),
    (
        training(parameters=500_000),
        "context.parameters <= 100000 || context.parameters < 7",
        ("parameters", "500000", "100000", "train a model of at most 100000 values"),
    ),
    (
        training(),
        "context.rounds < 10",
        ("rounds", "20", "9", "ask for at most 9 rounds"),
    ),
    (training(), 'context.suite == "bfv"', ("suite", "stream", "bfv", "use the suite `bfv`")),
    (
        of_code(2),
        'context.program == "model" && ["linear", "logistic"].contains(context.programName)',
        (
            *("program", "code", "model `logistic`, model `linear`"),
            "train a ready model, or ask the operator to permit code",
        ),
    ),
]


@pytest.mark.parametrize(("asked", "condition", "expected"), TRAININGS)
def test_the_nearest_change_of_a_training(
    asked: PolicyRequest, condition: str, expected: tuple[str, str, str, str]
) -> None:
    (denial,) = bundle(permit(condition, action="train")).decide(asked).denials
    assert denial.reason_code == "no_permit"
    assert told(denial) == expected


NEEDED = [
    ("true", 0, 1),  # the built-in forbid
    ("true", 1, None),  # passes as it is
    ("context.codeReviewers >= 2", 0, 2),
    ("context.codeReviewers > 2", 1, 3),
    ("context.codeReviewers >= 64", 2, 64),
    ("context.codeReviewers >= 65", 2, None),
    ('context.purpose == "public-health" && context.codeReviewers >= 2', 0, None),
    ('context.program == "model"', 0, None),
]


@pytest.mark.parametrize(("condition", "there", "needed"), NEEDED)
def test_whether_reviewers_are_all_that_a_job_lacks(
    condition: str, there: int, needed: int | None
) -> None:
    held = bundle(permit(condition, action="train"))
    assert held.reviewers_needed(of_code(there)) == needed
    assert reviews_missing(held, of_code(there)) == (needed is not None)


def test_only_code_at_a_node_waits_for_reviewers() -> None:
    held = bundle(forbid("true"))
    assert held.reviewers_needed(training()) is None
    assert held.reviewers_needed(job()) is None
    assert held.reviewers_needed(of_code(0)) is None
    demanding = bundle(permit("context.codeReviewers >= 2", action="train"))
    assert demanding.reviewers_needed(of_code(0, decider=COORDINATOR)) is None
    (denial,) = demanding.decide(of_code(0, decider=COORDINATOR)).denials
    assert denial.reason_code == "no_permit"


@pytest.mark.parametrize(
    ("columns", "tried"), [(90, 91), (99, 200), (100, 198), (500, 39), (2000, 20)]
)
def test_the_search_is_bounded(columns: int, tried: int) -> None:
    # One column is tried after another, with as many purposes as leave the bound to be met.
    names = [f"purpose-{number}" for number in range(200 if columns >= 99 else 1)]
    asked = job(
        columns={f"c{number}": "general" for number in range(columns)},
        filters=frozenset(),
        group_by=frozenset(),
        group_bands=frozenset(),
    )
    seen: list[PolicyRequest] = []
    search = Search(asked, _recording(seen), purposes=names, suites=(), numbers=frozenset())
    for _ in range(2):
        assert search.nearest(lambda verdict: False) is None
    assert len(seen) == search.tried == tried
    assert search.exhausted == (columns >= 99)
    assert tried <= MAX_EVALUATIONS


def test_a_search_cut_short_says_so() -> None:
    columns = {f"c{number}": "general" for number in range(500)}
    nothing: frozenset[str] = frozenset()
    held = bundle(permit("context.threshold > 20"))
    denial = only(held, columns=columns, filters=nothing, group_by=nothing, group_bands=nothing)
    assert denial.remedy == (
        "no single change of purpose, columns, grouping or nodes would pass, among the 39 tried"
    )


def test_long_facts_are_cut() -> None:
    columns = {f"c{number:02}": "general" for number in range(14)}
    plain = {"filters": frozenset[str](), "group_by": frozenset[str]()}
    held = bundle(permit("true"), forbid('context.columns.containsAll(["c00", "c01"]) || true'))
    denial = only(held, columns=columns, **plain, group_bands=frozenset())
    assert denial.subject == "columns"
    assert denial.observed.startswith("`c00`, `c01`, ")
    assert denial.observed.endswith("`c09` and 4 more")


def test_purposes_in_any_script_are_told() -> None:
    register = Purposes((Purpose("医学研究", "研究"), Purpose("公共卫生", "卫生")))
    texts = {"own.cedar": permit('context.purpose == "医学研究"')}
    held = PolicyBundle.from_text(texts, purposes=register)
    denial = only(held, purpose="公共卫生")
    assert told(denial) == ("purpose", "公共卫生", "医学研究", "ask with purpose `医学研究`")


def test_a_denial_is_in_the_decider_s_name() -> None:
    denial = only(PolicyBundle.from_text({}, purposes=REGISTER))
    assert denial.node == NODE.uri


def _recording(tried: list[PolicyRequest]) -> Callable[[PolicyRequest], Verdict]:
    def evaluate(request: PolicyRequest) -> Verdict:
        tried.append(request)
        return Verdict(allowed=False, determining=())

    return evaluate
