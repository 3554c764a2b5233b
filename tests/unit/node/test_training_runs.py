"""A training's runs at true nodes over true keys: work done once, sums read, sets that shrink."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.federation import HEART, Federation, job_for, key_pair, policies
from builders.running import name_of
from builders.site import Site
from builders.trainings import SQL, TENSORS, training
from yumen_core.errors import PeerError, StateError
from yumen_core.identity import SignedEnvelope
from yumen_core.identity.envelope import PayloadType
from yumen_core.identity.membership import Membership
from yumen_core.jobs.inputs import seal_apart
from yumen_core.jobs.rounds import sum_binding, support_digest
from yumen_core.jobs.runs import runs_of_training
from yumen_core.jobs.spec import spec_digest
from yumen_core.rpc.chunks import split
from yumen_core.rpc.v1 import job_pb2, link_pb2, training_pb2
from yumen_core.securesum import Adder
from yumen_core.securesum.contribution import open_sum
from yumen_core.sql import parse_columns
from yumen_core.training.models.inputs import Number, Target
from yumen_core.training.models.ready import ReadyModel
from yumen_core.training.records import Action, Arrays, Metrics, Record, Records, to_proto
from yumen_core.training.shape import UpdateShape, UpdateTotals

MODEL = ReadyModel("logistic", (Number("age"),), Target("sex", ("female", "male")))
PERMIT = policies("true", '[Yumen::Action::"train"]')
WHOLE_SET = "expected the whole set of a run whose sum this node has its share in, got fewer"


class Play:
    """A training that all sites have accepted, driven as coordinator and requester would."""

    def __init__(self, sites: Sequence[Site], li: Membership, **asked: Any) -> None:
        self.sites, self.li = list(sites), li
        self.job = job_for(
            li,
            [site.published() for site in sites],
            training=training(program=MODEL),
            sql=SQL,
            plan_digest=parse_columns(SQL, {"heart": HEART}).digest,
            min_nodes=3,
            **asked,
        )
        self.digest = spec_digest(self.job.envelope.payload)
        self.names = sorted(site.uri for site in sites)
        self.accepted = {site.uri: site.accept(self.job) for site in sites}

    def input(
        self, run: int, value: float = 1.0, action: Action = Action.TRAIN
    ) -> tuple[SignedEnvelope, bytes]:
        content: Records = {
            "arrays": Arrays({"w": np.full((2, 3), value, np.float32), "b": np.array(value)})
        }
        plain = training_pb2.TrainingInput(records=to_proto(content)).SerializeToString()
        payload, sealed = seal_apart(
            plain,
            job_id=self.job.spec.job_id,
            spec_digest=self.digest,
            run=run,
            round_name=action.value,
            secret=self.job.secret,
        )
        return self.li.sign(payload, PayloadType.ROUND_INPUT), sealed

    def bring(self, site: Site, sealed: bytes) -> None:
        for chunk in split(sealed):
            site.execution.receive(self.accepted[site.uri], chunk)

    def share(
        self, site: Site, run: int, inputs: SignedEnvelope, names: Sequence[str] | None = None
    ) -> SignedEnvelope:
        request = self._request(job_pb2.ROUND_SUPPORT, run, inputs, names)
        return asyncio.run(site.execution.support(self.accepted[site.uri], request))

    def part(
        self,
        site: Site,
        run: int,
        inputs: SignedEnvelope,
        shares: Sequence[SignedEnvelope],
        names: Sequence[str] | None = None,
    ) -> bytes:
        request = self._request(job_pb2.ROUND_SUM, run, inputs, names)
        request.supports.extend(share.to_proto() for share in shares)
        return asyncio.run(site.execution.contribution(self.accepted[site.uri], request))

    def run(
        self, run: int, value: float = 1.0, action: Action = Action.TRAIN, sites: Any = None
    ) -> UpdateTotals:
        """One whole run, and what the requester reads of it."""
        sites = self.sites if sites is None else sites
        names = sorted(site.uri for site in sites)
        inputs, sealed = self.input(run, value, action)
        for site in sites:
            self.bring(site, sealed)
        shares = [self.share(site, run, inputs, names) for site in sites]
        parts = [self.part(site, run, inputs, shares, names) for site in sites]
        shape = runs_of_training(self.job.spec).next((), action.value).answer
        assert isinstance(shape, UpdateShape)
        adder = Adder(key_pair().public, shape.slots)
        for part in parts:
            adder.add(part)
        sums = open_sum(
            adder.result(),
            keypair=key_pair(),
            job_secret=self.job.secret,
            binding=sum_binding(
                self.job.spec.job_id,
                names,
                support_digest({name_of(s): s.payload for s in shares}),
                run=run,
                inputs=_sha(inputs.payload),
            ),
            payload_slots=shape.payload_slots,
            contributions=len(names),
        )
        return shape.decode(sums, len(names))

    def _request(
        self, step: Any, run: int, inputs: SignedEnvelope, names: Sequence[str] | None
    ) -> link_pb2.RoundRequest:
        message = job_pb2.RoundInput.FromString(inputs.payload)
        return link_pb2.RoundRequest(
            job_id=self.job.spec.job_id,
            round=step,
            participants=self.names if names is None else names,
            run=run,
            name=message.round,
            input=inputs.to_proto(),
        )


def _sha(raw: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(raw).digest()


def moves(by: float, examples: int) -> Callable[[Action, Records], dict[str, Record]]:
    """Local work that adds `by` to every value it was sent."""

    def work(action: Action, asked: Records) -> dict[str, Record]:
        sent = asked["arrays"]
        assert isinstance(sent, Arrays)
        found: dict[str, Record] = {"metrics": Metrics({"num-examples": examples, "loss": by})}
        if action is Action.TRAIN:
            found["arrays"] = Arrays(
                {t.name: (sent.tensors[t.name] + by).astype(t.dtype) for t in TENSORS}
            )
        return found

    return work


@pytest.fixture
def four(federation: Federation, tmp_path: Path) -> Iterator[list[Site]]:
    made = [
        Site(node, tmp_path / f"site{i}", bundle=PERMIT)
        for i, node in enumerate(federation.nodes(4))
    ]
    for i, site in enumerate(made):
        site.work.answer = moves(float(i + 1), 10 * (i + 1))
    yield made
    for site in made:
        site.close()


def refusal(step: Callable[[], object], code: str = "round") -> str:
    with pytest.raises(PeerError) as caught:
        step()
    assert caught.value.code == code
    return caught.value.message


def test_runs_in_any_order_give_their_weighted_means(four: list[Site], li: Membership) -> None:
    play = Play(four, li)
    mean = (1 * 10 + 2 * 20 + 3 * 30 + 4 * 40) / 100
    for run, action in enumerate([Action.EVALUATE, Action.TRAIN, Action.EVALUATE]):
        found = play.run(run, float(run), action)
        assert (found.nodes, found.examples, found.clipped) == (4, 100, 0)
        assert found.metrics["loss"] == mean
        if action is Action.TRAIN:
            assert np.allclose(found.changes["w"], mean, atol=1e-3)
            assert found.changes["b"].shape == ()
        else:
            assert found.changes == {}
    assert [site.rows.asked for site in four] == [1] * 4  # rows are written once a job
    assert four[0].work.asked == [Action.EVALUATE, Action.TRAIN, Action.EVALUATE]


def test_a_node_without_rows_enough_counts_for_nothing(four: list[Site], li: Membership) -> None:
    four[0].rows.counts = (4, 5)
    found = Play(four, li).run(0)
    assert (found.nodes, found.examples) == (3, 90)
    assert four[0].work.asked == []
    assert found.metrics["loss"] == (2 * 20 + 3 * 30 + 4 * 40) / 90


def test_a_node_whose_rows_come_near_an_earlier_training_counts_for_nothing(
    four: list[Site], li: Membership
) -> None:
    """Told from a node with too few rows by nobody; its worker is not asked, nothing is recorded,
    and the rows it had before are trained on again."""
    Play(four, li).run(0)
    for site in four:
        site.work.asked.clear()
    four[0].rows.counts = (29, 41)
    play = Play(four, li)
    found = play.run(0)
    assert (found.nodes, found.examples) == (3, 90)
    assert [len(site.work.asked) for site in four] == [0, 1, 1, 1]
    four[0].rows.counts = (30, 40)
    assert not four[0].released.is_near(
        four[0].released.guarded(play.job.spec, play.accepted[four[0].uri].asked),
        four[0].rows.row_sets(None, timeout_s=1.0).rows.union(frozenset({0})),
        tuple(play.names),
    )


def test_too_few_nodes_with_rows(four: list[Site], li: Membership) -> None:
    play = Play(four, li)
    for site in four[:2]:
        site.rows.counts = (0, 0)
    with pytest.raises(StateError) as caught:
        play.run(0)
    assert (caught.value.code, caught.value.message) == (
        "too_few_rows",
        "expected 3 nodes with an update from 10 rows or more, got fewer",
    )


def test_a_lost_node_costs_no_work_twice(four: list[Site], li: Membership) -> None:
    """The run that lost it had no sum; the next one has the same content and a smaller set."""
    play = Play(four, li)
    inputs, sealed = play.input(0)
    for site in four[:3]:
        play.bring(site, sealed)
        play.share(site, 0, inputs)
    found = play.run(1, sites=four[:3])
    assert (found.nodes, found.examples) == (3, 60)
    assert [site.work.asked for site in four[:3]] == [[Action.TRAIN]] * 3
    # The one that was lost is not taken back in.
    again, sealed = play.input(2)
    message = "expected the participant set of the job's last run, got another set"
    assert refusal(lambda: play.share(four[0], 2, again)) == message


def test_no_smaller_set_after_a_share_in_the_sum(four: list[Site], li: Membership) -> None:
    play = Play(four, li)
    inputs, sealed = play.input(0)
    for site in four:
        play.bring(site, sealed)
    shares = [play.share(site, 0, inputs) for site in four]
    part = play.part(four[0], 0, inputs, shares)
    after, sealed = play.input(1)
    fewer = play.names[:3]
    for site in four[:1]:
        play.bring(site, sealed)
        assert refusal(lambda site=site: play.share(site, 1, after, fewer)) == WHOLE_SET
        site.restart()
        site.work.answer = moves(1.0, 10)
        play.accepted[site.uri] = site.accept(play.job)
        assert refusal(lambda site=site: play.share(site, 1, after, fewer)) == WHOLE_SET
    assert play.part(four[0], 0, inputs, shares) == part  # the same bytes, without the input


def test_an_input_that_is_not_here_or_another(four: list[Site], li: Membership) -> None:
    play, site = Play(four, li), four[0]
    inputs, sealed = play.input(0)
    missing = "expected the input of the run before it, got none"
    assert refusal(lambda: play.share(site, 0, inputs), "input_missing") == missing
    play.bring(site, sealed[:-1])
    assert refusal(lambda: play.share(site, 0, inputs), "input_missing") == missing
    _, other = play.input(0)
    play.bring(site, other)
    assert refusal(lambda: play.share(site, 0, inputs), "input_missing") == missing
    assert site.state.runs(play.job.spec.job_id) == {}
    play.bring(site, sealed)
    play.share(site, 0, inputs)


@pytest.mark.parametrize("moved", ["run", "round"])
def test_an_input_of_another_run(four: list[Site], li: Membership, moved: str) -> None:
    play, site = Play(four, li), four[0]
    inputs, sealed = play.input(0)
    play.bring(site, sealed)
    request = play._request(job_pb2.ROUND_SUPPORT, 0, inputs, None)
    if moved == "run":
        request.run = 1
    else:
        request.name = "evaluate"
    assert refusal(
        lambda: asyncio.run(site.execution.support(play.accepted[site.uri], request))
    ) == ("expected an input of this run and round, got another's")


def test_a_ready_model_that_fails_at_a_node_counts_for_nothing(
    four: list[Site], li: Membership
) -> None:
    """Nobody learns why, or a requester could ask for single rows by what makes it fail."""
    play, site = Play(four, li), four[0]
    site.work.answer = lambda action, asked: {"metrics": Metrics({"num-examples": 0.5})}
    found = play.run(0)
    assert (found.nodes, found.examples) == (3, 90)


def test_an_answer_from_fewer_rows_than_the_threshold_counts_for_nothing(
    four: list[Site], li: Membership
) -> None:
    play = Play(four, li)
    four[0].work.answer = moves(1.0, 9)
    found = play.run(0)
    assert (found.nodes, found.examples) == (3, 90)


def test_a_change_longer_than_the_nodes_limit_is_clipped(four: list[Site], li: Membership) -> None:
    for site in four:
        site.work.answer = moves(1e6, 10)
    found = Play(four, li).run(0)
    assert (found.clipped, found.nodes) == (4, 4)
    norm = np.sqrt(sum(float(np.sum(np.square(c))) for c in found.changes.values()))
    assert norm == pytest.approx(100.0, rel=1e-3)  # the sites' own limit
