"""Which strategies are refused, and in which words."""

from __future__ import annotations

import logging
from typing import Any

import flwr.server.strategy as older
import flwr.serverapp.strategy as newer
import pytest
from builders.training_rounds import LocalRounds, linear_node, linear_start
from flwr.common import ndarrays_to_parameters
from yumen.training import train
from yumen.training.strategies import check_strategy
from yumen_core.errors import CallError

COMPARES = "which compares the single updates with one another"
ORDERS = "which orders the single updates value by value"
TREES = "which joins the single trees of the nodes"
CLIPS = "which clips each single update at the server"
ONE_BY_ONE = "which counts the nodes whose update was clipped, one by one"
LOSSES = "which weighs each update by its node's own loss"
IN_TURN = "which asks one node after the other and takes its model as it is"


class Robust(newer.MultiKrum):
    """What a user derives from a refused class is refused."""


class Steady(newer.FedAdam):
    """What a user derives from a mean passes."""


def _dp(kind: Any, **named: Any) -> Any:
    return kind(newer.FedAvg(), noise_multiplier=0.1, num_sampled_clients=30, **named)


def _parameters() -> Any:
    return ndarrays_to_parameters(list(linear_start().values()))


REFUSED = [
    (newer.Krum(num_malicious_nodes=0), COMPARES),
    (newer.MultiKrum(num_malicious_nodes=0), COMPARES),
    (Robust(num_malicious_nodes=0), COMPARES),
    (newer.Bulyan(num_malicious_nodes=0), COMPARES),
    (newer.FedMedian(), ORDERS),
    (newer.FedTrimmedAvg(), ORDERS),
    (newer.FedXgbBagging(), TREES),
    (newer.FedXgbCyclic(), IN_TURN),
    (newer.QFedAvg(client_learning_rate=0.1), LOSSES),
    (_dp(newer.DifferentialPrivacyServerSideFixedClipping, clipping_norm=1.0), CLIPS),
    (_dp(newer.DifferentialPrivacyServerSideAdaptiveClipping), CLIPS),
    (_dp(newer.DifferentialPrivacyClientSideAdaptiveClipping), ONE_BY_ONE),
    (older.Krum(), COMPARES),
    (older.Bulyan(), COMPARES),
    (older.FedMedian(), ORDERS),
    (older.FedTrimmedAvg(), ORDERS),
    (older.FedXgbBagging(), TREES),
    (older.FedXgbCyclic(), IN_TURN),
    (older.FedXgbNnAvg(), TREES),
    (older.QFedAvg(), LOSSES),
    (older.DifferentialPrivacyServerSideFixedClipping(older.FedAvg(), 1.0, 1.0, 3), CLIPS),
    (older.DifferentialPrivacyServerSideAdaptiveClipping(older.FedAvg(), 0.1, 30), CLIPS),
    (older.DifferentialPrivacyClientSideAdaptiveClipping(older.FedAvg(), 0.1, 30), ONE_BY_ONE),
    (older.FedAvgAndroid(), "which reads each node's parameters in a format of its own"),
]
PASSED = [
    newer.FedAvg(),
    newer.FedProx(proximal_mu=0.1),
    newer.FedAvgM(),
    newer.FedAdam(),
    newer.FedYogi(),
    newer.FedAdagrad(),
    Steady(),
    newer.FedAvg(fraction_evaluate=0.0),
    _dp(newer.DifferentialPrivacyClientSideFixedClipping, clipping_norm=1.0),
    older.FedAvg(),
    older.FedProx(proximal_mu=0.1),
    older.FedAvgM(),
    older.FedAdam(initial_parameters=_parameters()),
    older.FedYogi(initial_parameters=_parameters()),
    older.FedAdagrad(initial_parameters=_parameters()),
]


@pytest.mark.parametrize(("strategy", "reason"), REFUSED, ids=lambda v: type(v).__qualname__)
def test_a_strategy_that_needs_single_updates_is_refused(strategy: Any, reason: str) -> None:
    with pytest.raises(CallError) as caught:
        check_strategy(strategy, nodes=5)
    name = type(strategy).__name__
    assert caught.value.code == "strategy"
    assert caught.value.message == (
        f"expected a strategy that needs the mean alone, got `{name}`, {reason}, and no party sees "
        "one node's"
    )
    assert caught.value.remedy


@pytest.mark.parametrize("strategy", PASSED, ids=lambda s: type(s).__qualname__)
def test_a_mean_passes_and_is_left_as_it_was(strategy: Any) -> None:
    before = dict(vars(strategy))
    check_strategy(strategy, nodes=3)
    assert vars(strategy) == before


def test_every_class_of_flower_is_either_refused_or_passed() -> None:
    covered = {type(s).__name__ for s, _ in REFUSED} | {type(s).__name__ for s in PASSED}
    # Deprecated or bases without a use of their own.
    aside = {"Strategy", "FedOpt", "DPFedAvgFixed", "DPFedAvgAdaptive", "FaultTolerantFedAvg"}
    for family in (newer, older):
        names = {
            name
            for name in family.__all__
            if isinstance(getattr(family, name), type) and name != "Result"
        }
        assert names - covered <= aside


def test_what_a_wrapper_holds_is_checked() -> None:
    strategy = newer.DifferentialPrivacyClientSideFixedClipping(newer.FedMedian(), 1.0, 1.0, 3)
    with pytest.raises(CallError, match="got `FedMedian`"):
        check_strategy(strategy)


@pytest.mark.parametrize(
    ("strategy", "message", "remedy"),
    [
        (
            newer.FedAvg(fraction_train=0.5),
            "expected fraction_train=1.0, got `0.5`: a round asks all nodes, since the difference "
            "of two subsets would be one node's update",
            "set fraction_train=1.0, of an app with --run-config where it reads it there",
        ),
        (
            newer.FedAvg(fraction_evaluate=0.5),
            "expected fraction_evaluate=1.0 (or 0.0 for none), got `0.5`: a round asks all nodes, "
            "since the difference of two subsets would be one node's update",
            "set fraction_evaluate=1.0, of an app with --run-config where it reads it there",
        ),
        (
            older.FedAvg(fraction_fit=0.1),
            "expected fraction_fit=1.0, got `0.1`: a round asks all nodes, since the difference of "
            "two subsets would be one node's update",
            "set fraction_fit=1.0, of an app with --run-config where it reads it there",
        ),
        (
            newer.FedAvg(min_train_nodes=9, min_available_nodes=9),
            "expected min_train_nodes of at most 4, the nodes that take part, got `9`",
            "set min_train_nodes=4, or choose more nodes",
        ),
        (
            newer.FedAvg(weighted_by_key="rows"),
            "expected weighted_by_key `num-examples`, got `rows`",
            'let the client app answer "num-examples", and leave weighted_by_key out',
        ),
        (
            "FedAvg",
            "expected a strategy of Flower, got `str`",
            "use one of flwr.serverapp.strategy, such as FedAvg()",
        ),
        (
            newer.FedAvg,
            "expected a strategy of Flower, got `ABCMeta`",
            "use one of flwr.serverapp.strategy, such as FedAvg()",
        ),
    ],
    ids=["train", "evaluate", "fit", "fewest", "weight", "text", "class"],
)
def test_terms_of_a_strategy_that_cannot_be(strategy: Any, message: str, remedy: str) -> None:
    with pytest.raises(CallError) as caught:
        check_strategy(strategy, nodes=4)
    assert (caught.value.code, caught.value.message) == ("strategy", message)
    assert caught.value.remedy == remedy


def test_refused_before_any_job() -> None:
    def no_job() -> LocalRounds:
        raise AssertionError("the job was begun")

    for strategy in (newer.FedMedian(), newer.FedAvg(fraction_train=0.9)):
        with pytest.raises(CallError):
            train(no_job, strategy, rounds=1, initial=linear_start())
    with pytest.raises(CallError) as caught:
        train(no_job, older.FedAvg(), rounds=1, initial=linear_start())  # type: ignore[arg-type]
    assert caught.value.message == (
        "expected a strategy of flwr.serverapp.strategy, got `FedAvg` of the older "
        "flwr.server.strategy"
    )


def test_flowers_log_is_quiet_for_the_training_and_then_as_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("flwr")
    before = logger.level
    root = logging.getLogger().level
    rounds = LocalRounds({name: linear_node(i, 20) for i, name in enumerate("abc")})
    train(lambda: rounds, newer.FedAvg(), rounds=1, initial=linear_start())
    assert [r for r in caplog.records if r.name == "flwr" and r.levelno < logging.WARNING] == []
    assert (logger.level, logging.getLogger().level) == (before, root)
