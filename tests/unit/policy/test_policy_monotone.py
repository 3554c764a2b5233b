"""Fewer permits or more forbids never open anything; errors never do either."""

from hypothesis import given, settings
from hypothesis import strategies as st
from policy_facts import COORDINATOR, NODE, bundle, forbid, job, permit
from yumen_core.policy.engine import PolicyBundle
from yumen_core.policy.request import PolicyRequest

ATOMS = [
    'context.purpose == "research"',
    'context.purpose like "pub*"',
    'context.columns.contains("chol")',
    'context.columnGrades.contains("important")',
    'context.groupBy.contains("sex")',
    "context.groupBands.isEmpty()",
    "context.participants >= 5",
    "context.minNodes < 4",
    "context.threshold >= 10",
    "context.dryRun",
    "context has nodeOrganisation",
    'context has nodeOrganisation && context.nodeOrganisation == "cleveland"',
    'resource.name == "heart"',
    "resource has node",
]

conditions = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        st.builds("!({})".format, inner),
    ),
    max_leaves=5,
)

GRADES = st.sampled_from(["general", "important", "core"])
requests = st.builds(
    lambda grade, keys, bands, **rest: job(
        columns={"chol": grade, "age": "general", "sex": "general"},
        filters=frozenset(),
        group_by=keys,
        group_bands=bands,
        **rest,
    ),
    GRADES,
    st.frozensets(st.sampled_from(["age", "sex"])),
    st.frozensets(st.sampled_from(["age", "sex"])),
    purpose=st.sampled_from(["research", "public-health", "other"]),
    table=st.sampled_from(["heart", "kidney"]),
    decider=st.sampled_from([NODE, COORDINATOR]),
    participants=st.integers(2, 6),
    min_nodes=st.integers(2, 5),
    threshold=st.integers(8, 12),
    dry_run=st.booleans(),
)


def held(permits: list[str], forbids: list[str]) -> PolicyBundle:
    texts = [permit(condition, f"permit-{n}") for n, condition in enumerate(permits)]
    texts += [forbid(condition, f"forbid-{n}") for n, condition in enumerate(forbids)]
    return bundle(*texts)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(conditions, min_size=1, max_size=4),
    st.lists(conditions, max_size=3),
    st.lists(requests, min_size=1, max_size=6),
    st.data(),
)
def test_removing_a_permit_opens_nothing(
    permits: list[str], forbids: list[str], asked: list[PolicyRequest], data: st.DataObject
) -> None:
    gone = data.draw(st.integers(0, len(permits) - 1))
    before = held(permits, forbids)
    after = held(permits[:gone] + permits[gone + 1 :], forbids)
    for request in asked:
        assert before.decide(request).allowed or not after.decide(request).allowed


@settings(max_examples=60, deadline=None)
@given(
    st.lists(conditions, max_size=4),
    st.lists(conditions, max_size=3),
    conditions,
    st.lists(requests, min_size=1, max_size=6),
)
def test_adding_a_forbid_opens_nothing(
    permits: list[str], forbids: list[str], added: str, asked: list[PolicyRequest]
) -> None:
    before, after = held(permits, forbids), held(permits, [*forbids, added])
    for request in asked:
        assert before.decide(request).allowed or not after.decide(request).allowed


@settings(max_examples=60, deadline=None)
@given(st.lists(conditions, min_size=1, max_size=3), st.lists(conditions, max_size=2), requests)
def test_a_decision_is_whole(
    permits: list[str], forbids: list[str], request: PolicyRequest
) -> None:
    decision = held(permits, forbids).decide(request)
    # Exactly one of the two: an Allow by permits, or denials that each say what to do.
    assert decision.allowed == (decision.denials == ())
    assert decision.errors == ()
    if decision.allowed:
        assert decision.policy_ids
        assert all(name.startswith("permit-") for name in decision.policy_ids)
    for denial in decision.denials:
        assert denial.remedy
        assert denial.message
        assert denial.policy_id in (*decision.policy_ids, "")
