"""Facts that cannot be right are refused before a policy sees them."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from policy_facts import COORDINATOR, NODE, NOW_MS, USER, job
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
