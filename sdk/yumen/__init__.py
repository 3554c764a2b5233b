"""Ask a federation of institutions for aggregates over data that never leaves them.

    import yumen

    with yumen.connect("coordinator.example:7401", identity="~/.config/yumen") as fed:
        print(fed.datasets())
        result = fed.query("SELECT sex, COUNT(*) AS patients FROM heart GROUP BY sex",
                           purpose="research")
        print(result.to_pandas())

Errors: `CallError` for a question that cannot be asked, `Denied` with every denial for one that was
refused, `PeerError` for another party that failed or lied, `StateError` for this machine's files;
all are `YumenError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yumen_core import __version__
from yumen_core.errors import CallError, Denied, PeerError, StateError, YumenError
from yumen_core.policy.denial import Denial
from yumen_core.privacy import DP

from yumen.datasets import Datasets
from yumen.federation import Federation, connect
from yumen.jobs import Jobs, JobSummary
from yumen.local import LocalFederation, local_federation
from yumen.report import CheckReport, NodeDecision
from yumen.result import Exclusion, HeldBack, Result
from yumen.statistics.methods import FederatedTable
from yumen.statistics.noisy_table import NoisyTable

__all__ = [
    "DP",
    "CallError",
    "CheckReport",
    "Datasets",
    "Denial",
    "Denied",
    "Exclusion",
    "FederatedTable",
    "Federation",
    "HeldBack",
    "JobSummary",
    "Jobs",
    "LocalFederation",
    "NodeDecision",
    "NoisyTable",
    "PeerError",
    "Result",
    "StateError",
    "YumenError",
    "__version__",
    "connect",
    "local_federation",
    "models",
]

if TYPE_CHECKING:
    from yumen import models
else:

    def __getattr__(name: str) -> Any:
        """`yumen.models` when it is first named: a query needs none of what it loads."""
        if name == "models":
            import importlib

            return importlib.import_module("yumen.models")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
