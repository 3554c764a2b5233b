"""A requester who asks by what is refused: each refusal is a bit, twenty bits are a pay."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders.federation import Federation, Job, job_for
from builders.running import Running
from builders.wards import Wards
from yumen_core.clock import ManualClock
from yumen_core.errors import Denied, StateError
from yumen_core.identity import Role
from yumen_core.identity.membership import Membership
from yumen_core.jobs.decision import parse_decision
from yumen_core.policy.denial import Denial
from yumen_core.sql import parse_rows
from yumen_core.statistics.statistic import Round, Statistic
from yumen_node.datasets import dataset
from yumen_node.refusals import DAY_MS, Refusals

COLUMNS = [
    {"name": "ward", "type": "text", "domain": ["a", "b"], "nullable": False},
    {"name": "age", "type": "integer", "bounds": {"lower": 0, "upper": 120}, "nullable": False},
    {"name": "pay", "type": "integer", "bounds": {"lower": 0, "upper": 10**6}, "nullable": False},
]
PAY = 712_345
"""Of the only one aged 101, at the first node."""
MOMENTS = Round("moments", "moments_by", {"by": "", "groups": 1, "squares": 0, "variables": ["d"]})
BUILT = (
    "CASE WHEN age = 101 AND pay <= {} THEN 1 ELSE pay END",
    "CASE WHEN age = 101 AND pay <= {} THEN 1 ELSE 0 END",
    "CASE WHEN NOT (age = 101 AND pay <= {}) THEN pay END",
)


def table(node: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = [
        {"ward": "ab"[at % 2], "age": 30 + at % 50, "pay": 600_000 + at * 1_000} for at in range(60)
    ]
    return [*rows, *([{"ward": "a", "age": 101, "pay": PAY}] if node == 0 else [])]


@pytest.fixture
def wards(federation: Federation, li: Membership, tmp_path: Path) -> Iterator[Wards]:
    made = Wards(federation, li, tmp_path, [table(n) for n in range(3)], COLUMNS, world="refusals")
    yield made
    made.close()


def job_of(wards: Wards, expression: str, **changes: object) -> Job:
    sql = f"SELECT {expression} AS d FROM heart"
    return job_for(
        wards.li,
        [site.published() for site in wards.sites],
        sql=sql,
        plan_digest=parse_rows(sql, {"heart": wards.schema}).digest,
        schema_digest=wards.schema.digest,
        statistic=Statistic("describe", sql, (MOMENTS,)),
        **changes,  # type: ignore[arg-type]
    )


def said(wards: Wards, expression: str) -> str:
    """What he hears of a statistic of one column."""
    running = Running(wards.sites, job_of(wards, expression))
    try:
        running.shares()
    except StateError as error:
        return str(error)
    finally:
        for site in wards.sites:
            site.execution.forget(running.job.spec.job_id)
    return "answered"


def search(wards: Wards, expression: str, questions: int) -> tuple[int, set[str]]:
    """The lowest M for which the branch has a row, as far as the answers tell one from none."""
    low, high, heard = 0, 1_000_000, set[str]()
    without = said(wards, expression.format(0))
    for _ in range(questions):
        middle = (low + high) // 2
        now = said(wards, expression.format(middle))
        heard.add(now)
        low, high = (middle + 1, high) if now == without else (low, middle)
    return low, heard


def test_a_binary_search_by_refusals(wards: Wards, monkeypatch: pytest.MonkeyPatch) -> None:
    """With groups that may be empty 20 questions give the pay to a unit."""

    def one_by_one(names: object, counts: list[int | None], threshold: int) -> None:
        if any(count is not None and 0 < count < threshold for count in counts):
            raise StateError("too_few_rows", "few")

    with monkeypatch.context() as without:
        without.setattr(dataset, "check_groups", one_by_one)
        without.setattr(dataset, "is_built", lambda _: False)
        found, heard = search(wards, BUILT[0], 20)
        assert (found, len(heard)) == (PAY, 2)
    texts = set[str]()
    for expression in BUILT:
        found, heard = search(wards, expression, 4)
        assert found > 900_000  # every answer was the same
        texts |= heard
    assert len(texts) == 1
    assert texts.pop().startswith(
        "expected enough rows at every node behind each branch, term, level and column of the "
        "statement, none of them made up by a few, got too few at one node or more; see"
    )


def denied(wards: Wards, job: Job) -> list[Denial]:
    site = wards.sites[0]
    ruling = site.decide(job.proposal())
    site.execution.forget(job.spec.job_id)
    assert ruling.envelope is not None
    return list(parse_decision(ruling.envelope.payload, signer=site.node.identity).denials)


def test_refusals_are_limited(wards: Wards, federation: Federation) -> None:
    """Also over a restart, in a dry run, and for a query of the same table."""
    site = wards.sites[0]
    site.refusals_a_day = 2
    site.restart()
    for most in (1, 2):
        assert said(wards, BUILT[0].format(most)) != "answered"
    site.restart()
    organisation = wards.li.identity.organisation
    for changes in ({}, {"dry_run": True}):
        (denial,) = denied(wards, job_of(wards, "age", **changes))
        assert denial.reason_code == "refusals"
        assert denial.message == (
            f"expected fewer than 2 jobs of `{organisation}` over `heart` in 24 h "
            "in which too few rows were refused or held back, got 2"
        )
        assert re.match(r"ask again after 20\d\d-\d\d-\d\d \d\d:\d\d UTC, or ask", denial.remedy)
        assert (denial.observed, denial.allowed) == ("2", "fewer than 2 in 24 h")
    with pytest.raises(Denied):
        wards.ask("SELECT COUNT(*) AS n FROM heart")


def test_cells_held_back_by_the_guard_are_counted(wards: Wards) -> None:
    site = wards.sites[0]
    site.refusals_a_day = 1
    site.restart()
    (row,) = wards.ask("SELECT COUNT(*) AS n FROM heart")
    assert row["n"] == 181
    wards.ask("SELECT COUNT(*) AS n FROM heart WHERE age < 101")
    with pytest.raises(Denied, match="expected fewer than 1 jobs"):
        wards.ask("SELECT COUNT(*) AS n FROM heart")


def test_the_count_of_a_day(wards: Wards, tmp_path: Path) -> None:
    """A job counts once, and for a day; 0 is no limit; a damaged file stops the node."""
    clock, site = ManualClock(), wards.sites[0]
    opened = site.accept(job_of(wards, "age"))
    spec, asked = opened.opened.spec, opened.asked
    store = Refusals(tmp_path / "store", "a", clock, most=1)
    assert store.denials(spec, asked) == ()
    store.add(spec, asked)
    store.add(spec, asked)
    store.close()
    store = Refusals(tmp_path / "store", "a", clock, most=1)
    (denial,) = store.denials(spec, asked)
    assert denial.observed == "1"
    unlimited = Refusals(tmp_path / "store", "a", clock, most=0)
    assert unlimited.denials(spec, asked) == ()
    unlimited.close()
    clock.advance(DAY_MS)
    assert store.denials(spec, asked) == ()
    store.close()


@pytest.mark.parametrize("fault", ["no database", "cut off", "a folder"])
def test_a_damaged_count_stops_the_node(tmp_path: Path, fault: str) -> None:
    file = tmp_path / "refusals.sqlite"
    match fault:
        case "no database":
            file.write_bytes(b"no database at all" * 100)
        case "cut off":
            Refusals(tmp_path, "a", ManualClock(), most=1).close()
            file.write_bytes(file.read_bytes()[:5000])
        case _:
            file.mkdir()
    with pytest.raises(StateError, match="count of refusals in") as caught:
        Refusals(tmp_path, "a", ManualClock(), most=1)
    assert caught.value.code == "state"
    assert caught.value.remedy == "move the file away: refusals are then counted anew"


def test_a_stranger_is_not_told_who_asked(federation: Federation, wards: Wards) -> None:
    """He hears that the nodes come too near to those of an earlier answer, not to which."""
    four = Wards(
        federation, wards.li, wards.sites[0].folder, [table(n) for n in range(4)], COLUMNS,
        world="four",
    )  # fmt: skip
    sql = "SELECT COUNT(*) AS n FROM heart WHERE age >= 45"
    four.ask(sql)
    with pytest.raises(Denied, match="got a set that differs by 1"):
        four.ask(sql, over=four.sites[:3])
    four.li = federation.member(Role.USER, "spy")
    with pytest.raises(Denied) as caught:
        four.ask(sql, over=four.sites[:3])
    (denial,) = caught.value.denials
    four.close()
    assert denial.reason_code == "participant_set"
    assert denial.message == (
        "expected participants that differ by 3 nodes or more from those of an earlier answer over "
        "the same rows, got a set that comes too near"
    )
    assert (denial.allowed, denial.remedy) == ("", "ask all nodes, or 3 fewer")
