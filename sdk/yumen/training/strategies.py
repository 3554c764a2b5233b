"""Which strategies of Flower can run on means, and why the others cannot. Loads Flower.

A strategy passes where its result follows from the weighted mean of the updates: FedAvg, FedProx,
FedAvgM, FedAdam, FedYogi, FedAdagrad, and what users derive from them. Classes are looked up by
name along the method resolution order, so that the older `flwr.server.strategy` family, whose
classes bear the same names, falls under the same table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flwr.server.strategy import Strategy as LegacyStrategy
from flwr.serverapp.strategy import Strategy
from yumen_core.errors import CallError

from yumen.training.aggregate import DEFAULT_WEIGHT

_MEAN = "use FedAvg, FedProx, FedAvgM, FedAdam, FedYogi or FedAdagrad, which take the mean"
_CLIP = "set clip_norm on the training: each node clips its own update before it is summed"
_COMPARES = "compares the single updates with one another"
_ORDERS = "orders the single updates value by value"
_TREES = "joins the single trees of the nodes"
_LOSSES = "weighs each update by its node's own loss"
_CLIPS = "clips each single update at the server"

# Class name: what it needs that nobody has here, and what would pass.
_REFUSED: dict[str, tuple[str, str]] = {
    "Krum": (_COMPARES, _MEAN),
    "MultiKrum": (_COMPARES, _MEAN),
    "Bulyan": (_COMPARES, _MEAN),
    "FedMedian": (_ORDERS, _MEAN),
    "FedTrimmedAvg": (_ORDERS, _MEAN),
    "FedXgbBagging": (_TREES, "train a model of arrays: `yumen.models` has some for tables"),
    "FedXgbCyclic": (
        "asks one node after the other and takes its model as it is",
        "train a model of arrays: `yumen.models` has some for tables",
    ),
    "FedXgbNnAvg": (_TREES, "train a model of arrays: `yumen.models` has some for tables"),
    "QFedAvg": (_LOSSES, _MEAN),
    "DifferentialPrivacyServerSideFixedClipping": (_CLIPS, _CLIP),
    "DifferentialPrivacyServerSideAdaptiveClipping": (_CLIPS, _CLIP),
    "DifferentialPrivacyClientSideAdaptiveClipping": (
        "counts the nodes whose update was clipped, one by one",
        _CLIP,
    ),
    "DPFedAvgFixed": (_CLIPS, _CLIP),
    "DPFedAvgAdaptive": (_CLIPS, _CLIP),
    "FedAvgAndroid": (
        "reads each node's parameters in a format of its own",
        "use FedAvg, whose arrays are numpy's",
    ),
}
_FLOWER = "flwr."


@dataclass(frozen=True)
class _Share:
    """The attributes of one kind of round: the fraction of the nodes, and the fewest."""

    fraction: str
    fewest: str


_SHARES = (
    _Share("fraction_train", "min_train_nodes"),
    _Share("fraction_evaluate", "min_evaluate_nodes"),
    _Share("fraction_fit", "min_fit_clients"),
    _Share("fraction_evaluate", "min_evaluate_clients"),
)
_FEWEST = (
    *("min_train_nodes", "min_evaluate_nodes", "min_available_nodes"),
    *("min_fit_clients", "min_evaluate_clients", "min_available_clients"),
)


def check_strategy(
    strategy: object, *, nodes: int | None = None, weight: str = DEFAULT_WEIGHT
) -> None:
    """Refuse what cannot run on means. Nothing on the strategy is changed.

    1. It is a strategy of Flower, no class of it in the table of refusals, and neither is one that
    it wraps. 2. It weighs by `weight`. 3. It asks all nodes: no fraction between 0 and 1. 4. It
    does not wait for more than `nodes`, where that is given.
    Raises `CallError` (`strategy`) with the reason and what would pass.
    """
    if not isinstance(strategy, Strategy | LegacyStrategy):
        raise CallError(
            "strategy",
            f"expected a strategy of Flower, got `{_class_name(strategy)}`",
            remedy="use one of flwr.serverapp.strategy, such as FedAvg()",
        )
    for part in _with_wrapped(strategy):
        _check_class(part)
        _check_weight(part, weight)
        _check_share(part, nodes)


def check_message_strategy(strategy: object) -> None:
    """Raise `CallError` (`strategy`) for one of the older family, which only an app can use."""
    if isinstance(strategy, LegacyStrategy):
        name = type(strategy).__name__
        raise CallError(
            "strategy",
            f"expected a strategy of flwr.serverapp.strategy, got `{name}` of the older "
            "flwr.server.strategy",
            remedy=f"import {name} from flwr.serverapp.strategy",
        )


def _with_wrapped(strategy: object) -> Iterator[object]:
    """The strategy, and what it wraps, from the outside in."""
    seen: set[int] = set()
    current: object | None = strategy
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        inner = getattr(current, "strategy", None)
        current = inner if isinstance(inner, Strategy | LegacyStrategy) else None


def _check_class(strategy: object) -> None:
    for kind in type(strategy).__mro__:
        if kind.__module__.startswith(_FLOWER) and kind.__name__ in _REFUSED:
            reason, remedy = _REFUSED[kind.__name__]
            raise CallError(
                "strategy",
                f"expected a strategy that needs the mean alone, got `{_class_name(strategy)}`, "
                f"which {reason}, and no party sees one node's",
                remedy=remedy,
            )
    if getattr(strategy, "accountant", None) is not None:
        raise CallError(
            "strategy",
            f"expected a strategy without an accountant, got `{_class_name(strategy)}` with one, "
            "which checks each node's weight",
            remedy="leave the accountant out",
        )


def _check_weight(strategy: object, weight: str) -> None:
    given = getattr(strategy, "weighted_by_key", weight)
    if given != weight:
        raise CallError(
            "strategy",
            f"expected weighted_by_key `{weight}`, got `{given}`",
            remedy=f'let the client app answer "{weight}", and leave weighted_by_key out',
        )


def _check_share(strategy: object, nodes: int | None) -> None:
    for share in _SHARES:
        fraction = getattr(strategy, share.fraction, None)
        if not isinstance(fraction, int | float) or fraction in (0.0, 1.0):
            continue
        if not hasattr(strategy, share.fewest):
            continue
        zero = " (or 0.0 for none)" if share.fraction == "fraction_evaluate" else ""
        raise CallError(
            "strategy",
            f"expected {share.fraction}=1.0{zero}, got `{fraction}`: a round asks all nodes, since "
            "the difference of two subsets would be one node's update",
            remedy=f"set {share.fraction}=1.0, of an app with --run-config where it reads it there",
        )
    for name in _FEWEST:
        fewest = getattr(strategy, name, None)
        if nodes is not None and isinstance(fewest, int) and fewest > nodes:
            raise CallError(
                "strategy",
                f"expected {name} of at most {nodes}, the nodes that take part, got `{fewest}`",
                remedy=f"set {name}={nodes}, or choose more nodes",
            )


def _class_name(strategy: object) -> str:
    return type(strategy).__name__
