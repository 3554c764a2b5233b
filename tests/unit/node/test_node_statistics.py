"""A statistic's runs at a node: those the job names, in order, each once, each with its input."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from builders.federation import key_pair, policies
from builders.running import name_of
from builders.site import AGE, Site
from builders.statistics import statistic_job, weighed, weighed_statistic
from pyroaring import BitMap
from yumen_core.disclosure.row_set import RowSet
from yumen_core.errors import PeerError, StateError
from yumen_core.identity import SignedEnvelope
from yumen_core.identity.envelope import PayloadType
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Role
from yumen_core.jobs.answer import AnswerShape
from yumen_core.jobs.decision import parse_decision
from yumen_core.jobs.inputs import NO_INPUT, read_stored_input, seal_input
from yumen_core.jobs.rounds import sum_binding, support_digest
from yumen_core.jobs.spec import spec_digest
from yumen_core.log import Act
from yumen_core.rpc.v1 import job_pb2, link_pb2
from yumen_core.securesum import Adder
from yumen_core.securesum.contribution import open_sum
from yumen_core.sql import RowsPlan
from yumen_core.sql.row_parts import JUST_ROWS, RowPart
from yumen_core.statistics.kinds import Rule
from yumen_core.statistics.layout import from_integers
from yumen_core.statistics.rows import Rows
from yumen_node.datasets.cell_sets import CellSets, PlanSets
from yumen_node.datasets.declaration import DisclosureDeclaration

__all__ = ["weighed"]

pytestmark = pytest.mark.usefixtures("weighed")


class Table:
    """So many patients of one age; counts how often its rows were read."""

    disclosure = DisclosureDeclaration()

    def __init__(self, count: int) -> None:
        self.count = count
        self.read = 0

    def row_sets(self, plan: RowsPlan, *, timeout_s: float) -> PlanSets:
        held = CellSets({0: RowSet(BitMap(range(self.count)))})
        return PlanSets((RowPart(0, 0, None, JUST_ROWS),), ("heart",), (held,))

    def rows(self, plan: RowsPlan, *, threshold: int, timeout_s: float) -> Rows:
        self.read += 1
        ages = np.full(self.count, float(AGE))
        return Rows(self.count, {"age": ages}, {"sex": np.zeros(self.count, np.int32)})


class Play:
    """A statistic that all sites have accepted, driven as a coordinator would."""

    def __init__(self, sites: Sequence[Site], li: Membership, *rules: Rule, **more: int) -> None:
        self.sites, self.li = list(sites), li
        statistic = weighed_statistic(*rules, at_most=more.pop("at_most", 3))
        self.job = statistic_job(li, [site.published() for site in sites], statistic)
        self.names = sorted(site.uri for site in sites)
        self.accepted = {site.uri: site.accept(self.job) for site in sites}

    def input(self, run: int, name: str, weight: float = 2.0) -> SignedEnvelope | None:
        if run == 0:
            return None
        payload = seal_input(
            {"weight": np.array([weight])},
            job_id=self.job.spec.job_id,
            spec_digest=spec_digest(self.job.envelope.payload),
            run=run,
            round_name=name,
            secret=self.job.secret,
        )
        return self.li.sign(payload, PayloadType.ROUND_INPUT)

    def request(self, run: int, name: str, inputs: SignedEnvelope | None) -> link_pb2.RoundRequest:
        request = link_pb2.RoundRequest(
            job_id=self.job.spec.job_id, participants=self.names, run=run, name=name
        )
        if inputs is not None:
            request.input.CopyFrom(inputs.to_proto())
        return request

    def share(
        self, site: Site, run: int, name: str, inputs: SignedEnvelope | None
    ) -> SignedEnvelope:
        request = self.request(run, name, inputs)
        request.round = job_pb2.ROUND_SUPPORT
        return asyncio.run(site.execution.support(self.accepted[site.uri], request))

    def part(
        self,
        site: Site,
        run: int,
        name: str,
        inputs: SignedEnvelope | None,
        shares: Sequence[SignedEnvelope] = (),
    ) -> bytes:
        request = self.request(run, name, inputs)
        request.round = job_pb2.ROUND_SUM
        request.supports.extend(share.to_proto() for share in shares)
        return asyncio.run(site.execution.contribution(self.accepted[site.uri], request))

    def run(
        self, run: int, name: str, weight: float = 2.0, *, supported: bool = True
    ) -> tuple[list[bytes], list[SignedEnvelope], SignedEnvelope | None]:
        """Everyone's part of one run."""
        inputs = self.input(run, name, weight)
        shares = [self.share(site, run, name, inputs) for site in self.sites] if supported else []
        return [self.part(site, run, name, inputs, shares) for site in self.sites], shares, inputs

    def read(
        self,
        run: int,
        parts: Sequence[bytes],
        shares: Sequence[SignedEnvelope],
        inputs: SignedEnvelope | None,
    ) -> list[float]:
        """What the requester reads: rows, and the weighted sum of ages."""
        rounds = self.accepted[self.names[0]].asked.rounds
        answer = AnswerShape.of_layout(rounds[0].layout)
        adder = Adder(key_pair().public, answer.slots)
        for part in parts:
            adder.add(part)
        digest = NO_INPUT if inputs is None else read_stored_input(inputs.payload).digest
        supports = support_digest({name_of(s): s.payload for s in shares}) if shares else b""
        sums = open_sum(
            adder.result(),
            keypair=key_pair(),
            job_secret=self.job.secret,
            binding=sum_binding(self.job.spec.job_id, self.names, supports, run=run, inputs=digest),
            payload_slots=answer.payload_slots,
            contributions=len(self.names),
        )
        totals = answer.decode(sums, len(self.names))
        found: list[float] = from_integers(rounds[0].layout, totals.values)[0].tolist()
        return found


def tables(sites: Sequence[Site], *counts: int) -> list[Table]:
    made = [Table(count) for count in counts]
    for site, table in zip(sites, made, strict=True):
        site.execution._computing._datasets = {"heart": table}  # type: ignore[dict-item]
    return made


def refused(step: object) -> str:
    with pytest.raises(PeerError) as caught:
        step()  # type: ignore[operator]
    assert caught.value.code == "round"
    return caught.value.message


@pytest.fixture
def three(sites: list[Site]) -> list[Site]:
    chosen = sites[:3]
    tables(chosen, 20, 30, 40)
    return chosen


def test_runs_with_inputs_give_their_sums(three: list[Site], li: Membership) -> None:
    play = Play(three, li, Rule.WITHHOLD)
    held = tables(three, 20, 30, 40)
    parts, shares, inputs = play.run(0, "withhold")
    assert play.read(0, parts, shares, inputs) == [90, 90 * AGE]
    parts, shares, inputs = play.run(1, "withhold", weight=-0.5)
    assert play.read(1, parts, shares, inputs) == [90, -45 * AGE]
    assert [table.read for table in held] == [1, 1, 1]  # rows are read once a job


def test_a_settled_round_goes_on_without_a_support_step(three: list[Site], li: Membership) -> None:
    play = Play(three, li, Rule.REQUIRE)
    parts, shares, inputs = play.run(0, "require")
    assert play.read(0, parts, shares, inputs) == [90, 90 * AGE]
    parts, shares, inputs = play.run(1, "require", weight=3.0, supported=False)
    assert play.read(1, parts, shares, inputs) == [90, 270 * AGE]
    inputs = play.input(2, "require")
    assert refused(lambda: play.share(three[0], 2, "require", inputs)) == (
        "expected a run that is settled to go on with its sum"
    )


def test_a_required_support_that_is_too_small_stops_the_job_before_anything_leaves(
    three: list[Site], li: Membership
) -> None:
    play = Play(three, li, Rule.REQUIRE)
    tables(three, 20, 30, 2)
    shares = [play.share(site, 0, "require", None) for site in three]
    for site in three:
        with pytest.raises(StateError) as caught:
            play.part(site, 0, "require", None, shares)
        assert caught.value.code == "too_few_rows"
        assert caught.value.message == (
            "expected no or not too few rows of `rows` at each node, some at 3 nodes and the "
            "table's threshold at 2, got fewer"
        )
        assert site.state.part(play.job.spec.job_id, 0, "sum") is None


def test_a_later_run_cannot_be_had_without_the_settled_sum(
    three: list[Site], li: Membership
) -> None:
    """Requester and coordinator together skip the sum in which the supports are judged."""
    play = Play(three, li, Rule.REQUIRE)
    tables(three, 20, 30, 2)
    for site in three:
        play.share(site, 0, "require", None)
    inputs = play.input(1, "require")
    for site in three:
        assert refused(lambda site=site: play.part(site, 1, "require", inputs)) == (
            "expected a run after the sum of the run before"
        )


@pytest.mark.parametrize(
    ("run", "name", "message"),
    [
        (0, "partition", "expected the job's first round `withhold`, got `partition`"),
        (0, "other", "expected a round that the job names, got `other`"),
        (1, "withhold", "expected run 0, got run 1"),
        (7, "withhold", "expected run 0, got run 7"),
    ],
)
def test_the_first_run_is_the_one_that_the_job_names(
    three: list[Site], li: Membership, run: int, name: str, message: str
) -> None:
    play = Play(three, li, Rule.WITHHOLD, Rule.PARTITION)
    inputs = play.input(run, name)
    assert refused(lambda: play.share(three[0], run, name, inputs)) == message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("other", "expected a round that the job names, got `other`"),
        ("withhold", "expected at most 1 runs of `withhold`, got one more"),
    ],
)
def test_a_run_that_the_job_did_not_name_is_refused(
    three: list[Site], li: Membership, name: str, message: str
) -> None:
    play = Play(three, li, Rule.WITHHOLD, Rule.PARTITION, at_most=1)
    play.run(0, "withhold")
    inputs = play.input(1, name)
    for site in three:
        assert refused(lambda site=site: play.share(site, 1, name, inputs)) == message
    known = three[0].state.runs(play.job.spec.job_id)
    assert [run.round for run in known.values()] == ["withhold"]


def test_rounds_do_not_go_back(three: list[Site], li: Membership) -> None:
    play = Play(three, li, Rule.WITHHOLD, Rule.PARTITION)
    play.run(0, "withhold")
    play.run(1, "partition")
    inputs = play.input(2, "withhold")
    assert refused(lambda: play.share(three[0], 2, "withhold", inputs)) == (
        "expected a round after `partition`, got `withhold`"
    )
    assert refused(lambda: play.part(three[0], 0, "withhold", None)) == (
        "expected run 2, got run 0"
    )


def test_one_run_has_one_input(three: list[Site], li: Membership) -> None:
    """Two inputs in one run would give a difference of two sums under one set of masks."""
    play = Play(three, li, Rule.WITHHOLD)
    play.run(0, "withhold")
    first, second = play.input(1, "withhold", 2.0), play.input(1, "withhold", 3.0)
    share = play.share(three[0], 1, "withhold", first)
    assert play.share(three[0], 1, "withhold", first) == share
    assert refused(lambda: play.share(three[0], 1, "withhold", second)) == (
        "expected the run's first input, got another"
    )


def test_nodes_that_were_shown_two_inputs_have_a_sum_that_nobody_reads(
    three: list[Site], li: Membership
) -> None:
    play = Play(three, li, Rule.REQUIRE)
    play.run(0, "require")
    first, second = play.input(1, "require", 2.0), play.input(1, "require", 3.0)
    parts = [
        play.part(site, 1, "require", shown)
        for site, shown in zip(three, (first, first, second), strict=True)
    ]
    with pytest.raises(PeerError) as caught:
        play.read(1, parts, [], first)
    assert caught.value.code == "headroom"


def test_inputs_of_others_are_refused(
    three: list[Site], li: Membership, federation: object
) -> None:
    play = Play(three, li, Rule.WITHHOLD)
    play.run(0, "withhold")
    good = play.input(1, "withhold")
    assert good is not None
    wang = federation.member(Role.USER, "wang")  # type: ignore[attr-defined]
    forged = wang.sign(good.payload, PayloadType.ROUND_INPUT)
    assert refused(lambda: play.share(three[0], 1, "withhold", forged)) == (
        "expected an input of the job's requester for this job, got another"
    )
    moved = play.input(2, "withhold")
    assert refused(lambda: play.share(three[0], 1, "withhold", moved)) == (
        "expected an input of this run and round, got another's"
    )
    with pytest.raises(PeerError):
        play.share(three[0], 1, "withhold", None)


def test_a_node_started_again_between_runs_carries_on(three: list[Site], li: Membership) -> None:
    play = Play(three, li, Rule.REQUIRE)
    parts, *_ = play.run(0, "require")
    site = three[1]
    site.restart()
    tables(three, 20, 30, 40)
    play.accepted[site.uri] = site.accept(play.job)
    assert play.part(site, 0, "require", None) == parts[1]
    parts, shares, inputs = play.run(1, "require", supported=False)
    assert play.read(1, parts, shares, inputs) == [90, 180 * AGE]


def test_each_run_is_in_the_log_with_its_round(three: list[Site], li: Membership) -> None:
    play = Play(three, li, Rule.REQUIRE)
    play.run(0, "require")
    play.run(1, "require", supported=False)
    said = [
        (entry.act, entry.detail["run"], entry.detail["round"])
        for entry in three[0].log.entries
        if entry.act in (Act.SUPPORT, Act.CONTRIBUTION)
    ]
    assert said == [
        (Act.SUPPORT, 0, "require"),
        (Act.CONTRIBUTION, 0, "require"),
        (Act.CONTRIBUTION, 1, "require"),
    ]


def test_a_policy_that_permits_queries_permits_no_statistic(
    sites: list[Site], li: Membership
) -> None:
    site = sites[0]
    site.bundle = policies(actions='[Yumen::Action::"query"]')
    site.restart()
    job = statistic_job(li, [s.published() for s in sites[:3]], weighed_statistic(Rule.WITHHOLD))
    ruling = site.decide(job.proposal())
    assert ruling.job is None
    decision = parse_decision(ruling.envelope.payload, signer=site.node.identity)
    assert [(d.reason_code, d.subject, d.allowed) for d in decision.denials] == [
        ("no_permit", "operation", "query")
    ]
