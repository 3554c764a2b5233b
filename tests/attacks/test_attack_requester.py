"""A hostile requester: enrolled, allowed to ask, and after one person or one node.

Each attack is one function of a federation. It is carried out against nodes without the defence,
where it gives the secret, and against nodes as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.federation import HEART, Federation, job_for, policies
from builders.running import PLAN, Running, hospitals
from builders.site import Site, added
from builders.trainings import SQL, training
from builders.wards import Wards
from yumen_core.disclosure.rules import local_flags
from yumen_core.disclosure.rules import released as cell_by_cell
from yumen_core.errors import Denied
from yumen_core.identity.membership import Membership
from yumen_core.jobs.answer import AnswerShape
from yumen_core.jobs.runs import runs_of_query
from yumen_core.privacy import Privacy
from yumen_core.rpc.v1 import job_pb2
from yumen_core.sql import parse_columns
from yumen_core.training.models.inputs import Number, Target
from yumen_core.training.models.ready import ReadyModel
from yumen_node import computing, guard
from yumen_node.noise import draw
from yumen_node.released import ReleasedSets

Attack = Callable[[Wards], int | None]
COLUMNS = [
    {"name": "ward", "type": "text", "domain": ["a", "b", "c"], "nullable": False},
    {"name": "age", "type": "integer", "bounds": {"lower": 0, "upper": 120}, "nullable": False},
    {"name": "pay", "type": "integer", "bounds": {"lower": 0, "upper": 10**6}, "nullable": False},
]
NODES = 3
MODEL = ReadyModel("logistic", (Number("age"),), Target("sex", ("female", "male")))
PAY = 700_000
"""What the person of every attack earns: alone at his age, 101, and only at the first node."""


def table(node: int) -> list[dict[str, object]]:
    """40 patients, 2 of them in ward c; pay between 1,000 and 1,039."""
    wards = ["a"] * 19 + ["b"] * 19 + ["c"] * 2
    rows: list[dict[str, object]] = [
        {"ward": ward, "age": 30 + at, "pay": 1_000 + at} for at, ward in enumerate(wards)
    ]
    return rows


def with_person(node: int) -> list[dict[str, object]]:
    """As `table`, and the person at the first node, whose pay no longer stands out there."""
    rich = [{"ward": "a", "age": 40 + at, "pay": 600_000 + at} for at in range(30)]
    return [*table(node), *rich, *([{"ward": "a", "age": 101, "pay": PAY}] if node == 0 else [])]


Make = Callable[..., Wards]


@pytest.fixture
def wards(federation: Federation, li: Membership, tmp_path: Path) -> Iterator[Make]:
    made: list[Wards] = []

    def make(rows: Callable[[int], list[dict[str, object]]] = table, **settings: object) -> Wards:
        tables = [rows(node) for node in range(NODES)]
        one = Wards(
            federation, li, tmp_path, tables, COLUMNS, world=f"world{len(made)}", **settings
        )
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> Callable[[Attack, Wards], int | None]:
    """Carries an attack out against nodes that compare nothing with what was released before."""

    def attempt(attack: Attack, victims: Wards) -> int | None:
        with monkeypatch.context() as without:
            without.setattr(ReleasedSets, "denials", lambda *_: ())
            without.setattr(ReleasedSets, "check_participants", lambda *_: None)
            without.setattr(ReleasedSets, "is_near", lambda *_, **__: False)
            without.setattr(guard, "too_close", lambda *_: False)
            return attack(victims)

    return attempt


def number(rows: Sequence[Mapping[str, Any]], name: str) -> int | None:
    """The one number of an answer, None where it was held back."""
    if not rows or rows[0][name] is None:
        return None
    return int(rows[0][name])


def difference(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first - second


# One question ---------------------------------------------------------------------------------


def test_a_tiny_group(wards: Make) -> None:
    """He asks for a group of two patients a node: with a threshold of one he would have it."""
    sql = "SELECT ward, COUNT(*) AS n FROM heart GROUP BY ward"

    def attack(victims: Wards) -> int | None:
        return number([row for row in victims.ask(sql) if row["ward"] == "c"], "n")

    assert attack(wards()) is None
    lowest = {"threshold": 3, "dominance": "off", "p_percent": "off"}
    three = wards(lambda node: [*table(node), table(node)[-1]], disclosure=lowest)
    assert attack(three) == 9


def test_the_complement_through_rollup(wards: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """He asks for all wards and their total in one statement, and subtracts the wards that he sees
    from the total. Where each cell is decided for itself the rest is ward c."""
    sql = "SELECT ward, COUNT(*) AS n FROM heart GROUP BY ROLLUP(ward)"

    def attack(victims: Wards) -> int | None:
        found = {row["ward"]: row["n"] for row in victims.ask(sql)}
        assert "c" not in found
        assert found, "something is still told"
        return found[None] - found["a"] - found["b"] if len(found) == 3 else None

    with monkeypatch.context() as without:

        def each_for_itself(totals: Any, flags: Any, margins: Any, **rules: Any) -> Any:
            width = totals.shape[1] // 3
            return cell_by_cell(totals[:, :width], flags[:, :width], rules["min_nodes"])

        def own(supports: Any, rules: Any, margins: Any) -> Any:
            return np.hstack([local_flags(supports, rules)] * 3)

        without.setattr(computing, "margin_keep", each_for_itself)
        without.setattr(computing, "margin_flags", own)
        assert attack(wards()) == 2 * NODES
    assert attack(wards()) is None


def test_having_tells_nothing_of_a_withheld_group(wards: Make) -> None:
    """He asks only for groups under ten rows, by HAVING: it is applied to what was released, so
    that a group which is not there is not told from one that HAVING left out."""
    asked = wards().ask
    thin = "SELECT ward, COUNT(*) AS n FROM heart GROUP BY ward HAVING COUNT(*) < 10"
    assert asked(thin) == []
    many = "SELECT ward, COUNT(*) AS n FROM heart GROUP BY ward HAVING COUNT(*) > 10"
    assert {row["ward"] for row in asked(many)} == {"a", "b"}


def test_an_outlier_in_a_sum(wards: Make) -> None:
    """He asks for the pay of a group in which one earns nearly all: the sum is that one's pay, to
    one part in fifty. Without dominance rules the node gives it."""

    def dominated(node: int) -> list[dict[str, object]]:
        return [{"ward": "a", "age": 50, "pay": 1000}] * 12 + [
            {"ward": "a", "age": 50, "pay": PAY + node}
        ]

    def attack(victims: Wards) -> int | None:
        return number(victims.ask("SELECT SUM(pay) AS s FROM heart"), "s")

    total = attack(wards(dominated, disclosure={"dominance": "off", "p_percent": "off"}))
    assert total is not None
    assert abs(total / NODES / PAY - 1) < 0.02
    as_declared = wards(dominated)
    assert attack(as_declared) is None
    assert number(as_declared.ask("SELECT COUNT(*) AS n FROM heart"), "n") == 13 * NODES


# Several questions ----------------------------------------------------------------------------


def test_a_tracker(wards: Make, unguarded: Callable[[Attack, Wards], int | None]) -> None:
    """He knows that one person is 101, and asks for the pay of ward a with and without that age:
    two predicates, each true of many, which differ by that person."""

    def attack(victims: Wards) -> int | None:
        all_ages = victims.ask("SELECT SUM(pay) AS s FROM heart WHERE ward = 'a'")
        others = victims.ask("SELECT SUM(pay) AS s FROM heart WHERE ward = 'a' AND age < 101")
        return difference(number(all_ages, "s"), number(others, "s"))

    assert unguarded(attack, wards(with_person)) == PAY
    assert attack(wards(with_person)) is None


def test_a_tracker_the_other_way_round(
    wards: Make, unguarded: Callable[[Attack, Wards], int | None]
) -> None:
    """The same, the smaller set first, and another column asked of it the second time."""

    def attack(victims: Wards) -> int | None:
        others = victims.ask("SELECT COUNT(*) AS n FROM heart WHERE NOT (age = 101)")
        everyone = victims.ask("SELECT COUNT(*) AS n, SUM(pay) AS s FROM heart")
        return difference(number(everyone, "n"), number(others, "n"))

    assert unguarded(attack, wards(with_person)) == 1
    assert attack(wards(with_person)) is None


WITHOUT_HIM = [
    "SUM(CASE WHEN age < 101 THEN pay ELSE 0 END)",
    "SUM(CASE WHEN age < 101 THEN pay END)",
    "SUM(CASE WHEN NOT (age = 101) THEN pay ELSE 0 END)",
    "SUM(pay * (CASE WHEN age < 101 THEN 1 ELSE 0 END))",
]


@pytest.mark.parametrize("sum_", WITHOUT_HIM)
@pytest.mark.parametrize("at_once", [True, False], ids=["one question", "two"])
def test_a_tracker_inside_a_sum(
    wards: Make, unguarded: Callable[[Attack, Wards], int | None], sum_: str, at_once: bool
) -> None:
    """The predicate stands in a CASE, so that both sums are over the same cell."""

    def attack(victims: Wards) -> int | None:
        if at_once:
            found = victims.ask(f"SELECT SUM(pay) AS s, {sum_} AS t FROM heart")
            return difference(number(found, "s"), number(found, "t"))
        first = victims.ask("SELECT SUM(pay) AS s FROM heart")
        second = victims.ask(f"SELECT {sum_} AS t FROM heart")
        return difference(number(first, "s"), number(second, "t"))

    assert unguarded(attack, wards(with_person)) == PAY
    assert attack(wards(with_person)) is None


def test_a_count_inside_a_sum(
    wards: Make, unguarded: Callable[[Attack, Wards], int | None]
) -> None:
    """Whether anybody of 101 is there, by the count of all others."""
    sql = "SELECT COUNT(*) AS n, COUNT(CASE WHEN age < 101 THEN 1 END) AS m FROM heart"

    def attack(victims: Wards) -> int | None:
        found = victims.ask(sql)
        return difference(number(found, "n"), number(found, "m"))

    assert unguarded(attack, wards(with_person)) == 1
    assert attack(wards(with_person)) is None


def test_differencing_by_rows_across_a_restart(
    wards: Make, unguarded: Callable[[Attack, Wards], int | None]
) -> None:
    """He waits until the nodes have started again: what was released is on their disks."""

    def attack(victims: Wards) -> int | None:
        first = victims.ask("SELECT SUM(pay) AS s FROM heart WHERE age >= 30")
        for site in victims.sites:
            site.released.close()
            site.ledger.close()
            site.restart()
        second = victims.ask("SELECT SUM(pay) AS s FROM heart WHERE age >= 30 AND age <= 100")
        return difference(number(first, "s"), number(second, "s"))

    assert unguarded(attack, wards(with_person)) == PAY
    assert attack(wards(with_person)) is None


def test_union_of_parts_and_total(
    wards: Make, unguarded: Callable[[Attack, Wards], int | None]
) -> None:
    """He asks for the parts by one question and for the total by another, each safe alone, and
    subtracts: the pay of ward c, whose cell was held back."""

    def attack(victims: Wards) -> int | None:
        parts = victims.ask("SELECT ward, SUM(pay) AS s FROM heart GROUP BY ward")
        assert {row["ward"] for row in parts} == {"a", "b"}
        whole = victims.ask("SELECT SUM(pay) AS s FROM heart")
        return difference(number(whole, "s"), sum(row["s"] for row in parts))

    assert unguarded(attack, wards()) == NODES * (1_038 + 1_039)
    assert attack(wards()) is None


def test_a_system_of_equations_is_not_held(wards: Make) -> None:
    """A limit, not a promise. Three sets of which no two are near: the old with the person, the
    young and the person, and everyone. The guard compares pairs, so it sees nothing; the sum of the
    first two less the third is the person's pay. A table that gives noise only holds it."""

    def attack(victims: Wards, **terms: Any) -> int | None:
        old = victims.ask("SELECT SUM(pay) AS s FROM heart WHERE age >= 45", **terms)
        young = victims.ask("SELECT SUM(pay) AS s FROM heart WHERE age < 45 OR age = 101", **terms)
        everyone = victims.ask("SELECT SUM(pay) AS s FROM heart", **terms)
        found = [number(rows, "s") for rows in (old, young, everyone)]
        return None if None in found else found[0] + found[1] - found[2]  # type: ignore[operator]

    def spread(node: int) -> list[dict[str, object]]:
        more = [{"ward": "b", "age": 60 + at % 30, "pay": 500_000 + at} for at in range(40)]
        return [*with_person(node), *more]

    assert attack(wards(spread)) == PAY
    private = wards(spread, privacy={"required": True, "epsilon": 3})
    with pytest.raises(Denied) as refused:
        attack(private)
    assert refused.value.denials[0].reason_code == "privacy_required"
    noisy = attack(private, privacy=Privacy.of_epsilon(1.0))
    assert noisy is not None
    deviation = noise_of(private, "SELECT SUM(pay) AS s FROM heart", Privacy.of_epsilon(1.0))
    assert deviation * math.sqrt(3) > 5 * PAY


def test_repeated_noise_averaging(wards: Make) -> None:
    """He asks one count again and again, to average the noise away. The mean of many such noises
    is nothing; the budget ends long before, and the mean he has by then is no better than one
    answer for all of the budget."""
    victims = wards(with_person, privacy={"epsilon": 0.5})
    sql = "SELECT COUNT(*) AS n FROM heart"
    whole, each = Privacy.of_epsilon(0.5), Privacy.of_epsilon(0.18)
    answers: list[int] = []

    def ask_until_refused() -> None:
        for _ in range(100):
            found = number(victims.ask(sql, privacy=each), "n")
            assert found is not None
            answers.append(found)

    with pytest.raises(Denied) as refused:
        ask_until_refused()
    assert refused.value.denials[0].reason_code == "budget_exhausted"
    assert len(answers) == whole.micro_rho // each.micro_rho >= 7
    of_mean = noise_of(victims, sql, each) / math.sqrt(len(answers))
    assert of_mean >= 0.99 * noise_of(victims, sql, whole)
    assert of_mean > 10, "one person is one"
    true = sum(len(with_person(node)) for node in range(NODES))
    assert abs(np.mean(answers) - true) < 8 * of_mean
    answer = runs_of_query(victims.plan(sql), each).first.answer
    assert isinstance(answer, AnswerShape)
    assert answer.noise is not None
    many = draw(answer.noise.noises[0], 200_000)
    assert abs(np.mean(many)) < 0.5, "without an end the mean would tell a person"


def noise_of(victims: Wards, sql: str, privacy: Privacy) -> float:
    """The deviation of the noise in the answer's last value, in the value's own unit."""
    answer = runs_of_query(victims.plan(sql), privacy).first.answer
    assert isinstance(answer, AnswerShape)
    assert answer.noise is not None
    return answer.noise.noises[-1].deviation(NODES)


# Node by node ---------------------------------------------------------------------------------


def test_differencing_by_participant_sets(
    wards: Make,
    unguarded: Callable[[Attack, Wards], int | None],
    federation: Federation,
    li: Membership,
    tmp_path: Path,
) -> None:
    """He asks all four nodes, then the same of three, and subtracts: the fourth's pay."""
    at = iter(range(2))

    def four() -> Wards:
        return Wards(
            federation,
            li,
            tmp_path,
            [table(node) for node in range(4)],
            COLUMNS,
            world=f"four{next(at)}",
        )

    sql = "SELECT SUM(pay) AS s FROM heart WHERE ward <> 'c'"

    def attack(victims: Wards) -> int | None:
        everyone = number(victims.ask(sql), "s")
        return difference(everyone, number(victims.ask(sql, over=victims.sites[:3]), "s"))

    assert unguarded(attack, four()) == sum(1_000 + row for row in range(38))
    with pytest.raises(Denied) as refused:
        attack(four())
    assert refused.value.denials[0].reason_code == "participant_set"
    assert "ask the same nodes as before" in refused.value.denials[0].remedy


def test_training_over_two_sets(federation: Federation, li: Membership, tmp_path: Path) -> None:
    """He counts over four nodes and trains over three of them, or over as many as four again: the
    sums of both are over the same rows, whatever they compute."""
    both = policies("true", '[Yumen::Action::"query", Yumen::Action::"train"]')
    four = [
        Site(node, tmp_path / f"trained{at}", bundle=both)
        for at, node in enumerate(federation.nodes(4))
    ]
    made = Running(four, job_for(li, [site.published() for site in four]))
    shares = made.shares()
    for site in four:
        made.part(site, shares)

    def ruled(over: Sequence[Site]) -> tuple[str, ...]:
        job = job_for(
            li,
            [site.published() for site in over],
            training=training(program=MODEL),
            sql=SQL,
            plan_digest=parse_columns(SQL, {"heart": HEART}).digest,
        )
        envelope = four[0].decide(job.proposal()).envelope
        assert envelope is not None
        found = job_pb2.Decision.FromString(envelope.payload)
        return tuple(denial.reason_code for denial in found.denials)

    assert ruled(four[:3]) == ("participant_set",)
    assert ruled(four) == ()
    for site in four:
        site.close()


def test_a_cell_with_one_node_behind_it(
    federation: Federation, li: Membership, tmp_path: Path
) -> None:
    """He is a node too and subtracts his own share of a cell where only two have rows enough."""
    made_sites = hospitals(federation, tmp_path, [(30, 40), (50, 60), (0, 40)])
    assert (30 + 50) - 30 == 50
    made = Running(made_sites, job_for(li, [site.published() for site in made_sites]))
    shares = made.shares()
    found = made.read(added(PLAN, [made.part(s, shares) for s in made_sites]), shares)
    assert found.values[0] == [0, 0]
    assert found.values[1][0] == 140
