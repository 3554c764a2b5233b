"""What a private training signs, and what a resumed one pays."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.serverapp.strategy import FedAdam, FedAvg
from yumen import models
from yumen.session import Terms
from yumen.training import Journal
from yumen.training.federated import TrainingRequest, _plain, _request, evaluates, terms_of
from yumen.training.plain import from_plain, plain_json
from yumen.training.rounds import FederatedRounds, TrainingTerms
from yumen_core.errors import CallError
from yumen_core.privacy import Privacy
from yumen_core.training.privacy import noise_plan
from yumen_core.training.records import Action
from yumen_core.training.spec import TensorShape

MODEL = models.logistic(["age"], "sex")
COST = 100_000
LAYOUT = (TensorShape("weight", "float32", (1, 1)), TensorShape("bias", "float32", (1,)))
TRAIN, EVALUATE = Action.TRAIN, Action.EVALUATE


def asked(rounds: int = 10, **terms: Any) -> TrainingRequest:
    kept = {"privacy": Privacy(COST), "project": "p", **terms}
    return TrainingRequest(
        Terms("research", **kept), "heart", None, None, "stream", MODEL, rounds=rounds
    )


def runs(terms: TrainingTerms, *, nodes: int = 4, min_nodes: int = 4) -> dict[Action, int]:
    """What a job over so many nodes names, as it is signed."""
    session: Any = SimpleNamespace(
        ask=lambda *_, **__: SimpleNamespace(
            schemas={"heart": None},
            plan=SimpleNamespace(table="heart"),
            nodes=[
                SimpleNamespace(descriptor=SimpleNamespace(node=SimpleNamespace(uri=str(n))))
                for n in range(nodes)
            ],
            min_nodes=min_nodes,
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yumen.training.rounds.check_model", lambda *_: None)
        return dict(FederatedRounds(session, terms)._spec(LAYOUT, "").runs)


@pytest.mark.parametrize(
    ("done", "left", "cost"),
    [
        ({}, {TRAIN: 10, EVALUATE: 10}, COST),
        ({TRAIN: 4, EVALUATE: 4}, {TRAIN: 6, EVALUATE: 6}, 60_000),
        ({TRAIN: 5, EVALUATE: 4}, {TRAIN: 5, EVALUATE: 6}, 60_000),
        ({TRAIN: 10, EVALUATE: 9}, {EVALUATE: 1}, 10_000),
        ({TRAIN: 10, EVALUATE: 10}, {TRAIN: 1}, 10_000),  # nothing will be asked
    ],
)
def test_a_resumed_training_pays_for_what_is_left(
    done: dict[Action, int], left: dict[Action, int], cost: int
) -> None:
    terms = terms_of(asked(), None, done=done)
    assert runs(terms) == left
    assert terms.terms.privacy == Privacy(cost)


def test_without_evaluation_nothing_is_paid_for_it() -> None:
    strategies = [FedAvg(fraction_evaluate=0.0), FedAdam()]
    assert [evaluates(strategy) for strategy in strategies] == [False, True]
    terms = terms_of(asked(), None, evaluates=False)
    assert runs(terms) == {TRAIN: 10}
    assert runs(terms_of(asked(), None, done={TRAIN: 7}, evaluates=False)) == {TRAIN: 3}


def test_a_node_that_may_be_lost_is_a_run_more() -> None:
    assert runs(terms_of(asked(), None), min_nodes=3) == {TRAIN: 11, EVALUATE: 11}
    plain = terms_of(asked(privacy=None), None, done={TRAIN: 4})
    assert runs(plain) == {TRAIN: 18, EVALUATE: 18}


def test_the_rounds_left_have_no_less_noise_than_before() -> None:
    """A share of the cost for a share of the rounds: the whole costs what was asked, not more."""
    whole, half = terms_of(asked(), None), terms_of(asked(), None, done={TRAIN: 5, EVALUATE: 5})
    found = []
    for terms in (whole, half):
        spec = SimpleNamespace(
            program=MODEL, runs=runs(terms), metrics=MODEL.metric_names, weight="num-examples"
        )
        assert terms.terms.privacy is not None
        found.append(noise_plan(spec, terms.terms.privacy))  # type: ignore[arg-type]
    assert found[1].train == pytest.approx(found[0].train, rel=1e-5)
    assert found[1].count > found[0].count


def test_a_cost_too_small_is_told_before_anyone_is_asked() -> None:
    with pytest.raises(CallError) as caught:
        runs(terms_of(asked(privacy=Privacy(1)), None))
    assert caught.value.message == (
        "expected a privacy cost that a training can divide, got 1 millionths of rho"
    )


@pytest.mark.parametrize("privacy", [1.0, {"epsilon": 1}, "1"])
def test_a_cost_of_another_type_is_refused(privacy: Any) -> None:
    with pytest.raises(CallError) as caught:
        Terms("research", privacy=privacy)
    assert caught.value.message == f"expected a privacy cost, got `{privacy}`"
    assert caught.value.remedy == "give privacy=yumen.DP(epsilon=1.0)"


def test_what_was_asked_and_paid_is_kept(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "t", _plain(asked()))
    journal.add_jobs(["a", "b"])
    journal.add_cost("a", 70)
    journal.add_cost("b", 30)
    opened = Journal.open(tmp_path / "t")
    assert opened.costs == {"a": 70, "b": 30}
    document: Any = from_plain(opened.asked)
    document.pop("bundle", None)
    assert _request(document).terms == asked().terms
    older: Any = from_plain(plain_json(_plain(asked(privacy=None))))
    del older["privacy"], older["project"]  # of a journal from before there were any
    assert _request(older).terms.privacy is None
