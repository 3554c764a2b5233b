"""Every kind of round this version knows. A job that names another is refused by every party."""

from __future__ import annotations

from collections.abc import Mapping

from yumen_core.errors import CallError
from yumen_core.statistics.bounded_moments import BoundedMoments
from yumen_core.statistics.clusters import Clusters
from yumen_core.statistics.counts_by import CountsBy
from yumen_core.statistics.cox_grid import CoxGrid
from yumen_core.statistics.glm import DesignMoments, GlmStep
from yumen_core.statistics.histogram import Bins
from yumen_core.statistics.keys import Keys
from yumen_core.statistics.kinds import RoundKind
from yumen_core.statistics.life_table import LifeTable, LogrankNodes
from yumen_core.statistics.moments import Moments
from yumen_core.statistics.moments_by import MomentsBy
from yumen_core.statistics.pair_moments import PairMoments
from yumen_core.statistics.robust import Robust
from yumen_core.statistics.score_tree import ScoreTrees
from yumen_core.statistics.survival import Concordance, CovariateMoments, CoxNodes
from yumen_core.statistics.trees import Trees

_ALL: tuple[RoundKind, ...] = (
    Clusters(),
    Moments(),
    CountsBy(),
    MomentsBy(),
    BoundedMoments(),
    PairMoments(),
    CoxNodes(),
    CoxGrid(),
    Concordance(),
    CovariateMoments(),
    LifeTable(),
    LogrankNodes(),
    DesignMoments(),
    GlmStep(),
    Robust(),
    Trees(),
    Bins(),
    ScoreTrees(),
    Keys(),
)
KINDS: Mapping[str, RoundKind] = {kind.name: kind for kind in _ALL}


def kind_of(name: str) -> RoundKind:
    """The kind of that name. Raises `CallError` (`statistic`)."""
    found = KINDS.get(name)
    if found is None:
        raise CallError("statistic", f"expected a kind of round that is known, got `{name[:40]}`")
    return found
