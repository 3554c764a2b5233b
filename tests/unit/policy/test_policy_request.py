"""Facts that cannot be right are refused before a policy sees them."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from policy_facts import COORDINATOR, NODE, NOW_MS, USER, job, of_code, training
from yumen_core.errors import CallError

BAD: list[tuple[dict[str, Any], str]] = [
    ({"requester": NODE}, "expected a requester of role user, got `node`"),
    ({"decider": USER}, "expected a decider of role coordinator or node, got `user`"),
    ({"table_grade": "secret"}, "expected a grade of general, important, core for table `heart`"),
    ({"columns": {"age": "Core"}}, "for column `age`, got `Core`"),
    ({"columns": {"age": "general"}}, "`filters` names column `num`, which `columns` lacks"),
    ({"group_by": frozenset({"x"})}, "`group_by` names column `x`, which `columns` lacks"),
    ({"group_bands": frozenset({"x"})}, "`group_bands` names column `x`, which `columns` lacks"),
    (
        {"columns": {f"c{n}": "general" for n in range(2001)}},
        "expected at most 2000 columns, got 2001",
    ),
    ({"participants": -1}, "expected `participants` from 0 to 9223372036854775807, got -1"),
    ({"min_nodes": 2**63}, "expected `min_nodes` from 0 to 9223372036854775807"),
    ({"threshold": True}, "expected `threshold` from 0 to 9223372036854775807, got True"),
    ({"now_ms": 10**15}, "expected `now_ms` from -62135596800000 to 253402300799999"),
    ({"expires_at_ms": -(10**15)}, "expected `expires_at_ms` from"),
    ({"purpose": "x" * 257}, "expected `purpose` of at most 256 characters, got 257"),
    ({"columns": {"x" * 257: "general"}}, "expected `column` of at most 256 characters, got 257"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_facts_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CallError) as caught:
        job(**changes)
    assert caught.value.code == "argument"
    assert message in caught.value.message


BAD_TRAININGS: list[tuple[dict[str, Any], str]] = [
    ({"program": ""}, "expected a program of model, code in a training, got ``"),
    ({"program": "Code"}, "expected a program of model, code in a training, got `Code`"),
    ({"program_name": "x" * 257}, "expected `program_name` of at most 256 characters, got 257"),
    ({"parameters": -1}, "expected `parameters` from 0 to 9223372036854775807, got -1"),
    ({"code_reviewers": 65}, "expected `code_reviewers` from 0 to 64, got 65"),
    ({"code_reviewers": True}, "expected `code_reviewers` from 0 to 64, got True"),
    ({"code_reviewers": 1}, "only code has reviewers, and only at a node"),
    (
        {"program": "code", "code_reviewers": 1, "decider": COORDINATOR},
        "only code has reviewers, and only at a node",
    ),
    ({"operation": "query"}, "a query has no program, reviewers or parameters"),
    (
        {"operation": "statistic", "program": "", "program_name": ""},
        "a statistic has no program, reviewers or parameters",
    ),
    ({"operation": "download"}, "expected an operation of query, statistic, train, got `download`"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_TRAININGS)
def test_bad_facts_of_a_training_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CallError) as caught:
        training(**changes)
    assert caught.value.code == "argument"
    assert message in caught.value.message


def test_a_training_states_its_program() -> None:
    context = of_code(3).context(purpose_registered=True)
    assert (context["program"], context["programName"]) == ("code", "cardio")
    assert (context["codeReviewers"], context["parameters"]) == (3, 12)
    assert "program" not in job().context(purpose_registered=True)


def test_facts_cannot_change_after_the_check() -> None:
    columns = {"age": "general", "num": "general", "sex": "general"}
    asked = job(columns=columns)
    columns["age"] = "core"
    assert asked.columns["age"] == "general"
    with pytest.raises(TypeError):
        asked.columns["age"] = "core"  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        asked.purpose = "x"  # type: ignore[misc]


def test_the_coordinator_s_facts_have_no_node() -> None:
    assert "nodeOrganisation" not in job(decider=COORDINATOR).context(purpose_registered=True)
    assert job().context(purpose_registered=True)["nodeOrganisation"] == "cleveland"


@pytest.mark.parametrize(
    ("now_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (NOW_MS + 7, "2026-09-21T14:13:20.007Z"),
        (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_time_is_exact_to_the_millisecond(now_ms: int, text: str) -> None:
    context = job(now_ms=now_ms).context(purpose_registered=True)
    assert context["now"] == {"__extn": {"fn": "datetime", "arg": text}}
