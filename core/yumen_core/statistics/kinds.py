"""Kinds of rounds: the contract between a signed round, a node's rows and the released totals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from yumen_core.canonical import Json
from yumen_core.disclosure import DisclosureRules
from yumen_core.statistics.layout import Counts, Layout, Reals
from yumen_core.statistics.rows import Rows, Variable

Arguments = Mapping[str, Json]
Inputs = Mapping[str, Reals]
Variables = Mapping[str, Variable]


class Rule(StrEnum):
    """What nodes do with the supports of a round.

    `withhold`: a value is left out where its support has too few rows at a node, or too few nodes
    behind it (as in a query). The requester sees how many nodes stand behind each support.

    `require`: every support must have no rows or enough rows at every node, and enough rows at the
    minimum of nodes; otherwise nothing leaves and the job fails, naming the support. Supports do
    not depend on the inputs, so they are settled the first time a round runs.

    `partition`: the cells are the nodes of complete binary trees, in heap order (the root is 0, the
    children of i are 2i+1 and 2i+2), one tree after another. Released are the leaves of the finest
    partition in which every leaf is safe (`disclosure.rounds.partition_keep`); they are exact.

    `splits`: the cells are splits of binary trees (`disclosure.rounds.split_keep`), and the values
    are rows below each. Released are splits of the finest safe partition, exact, and safe against
    subtraction between rounds whose inputs choose other trees.

    `agree`: support 0 has a cell's rows; the others have the same rows or none, as the bits of what
    a node has there are 1 or 0. A cell is released as under `withhold`, and only where all nodes
    with rows enough have the same bits (`disclosure.rounds.agree_keep`).
    """

    WITHHOLD = "withhold"
    REQUIRE = "require"
    PARTITION = "partition"
    SPLITS = "splits"
    AGREE = "agree"


@dataclass(frozen=True)
class Local:
    """What one node computed: rows behind each support, int64[cells, supports], and the values,
    float64[cells, values], none of it released yet."""

    supports: Counts
    values: Reals


@dataclass(frozen=True)
class Totals:
    """What the requester has of a round: how many nodes stand behind each support, int64[cells,
    supports] (0: withheld, or no leaf of a partition), and the released totals, float64[cells,
    values], each 0 where nothing was released. With privacy, `deviations` has the standard
    deviation of the noise in each of a cell's values."""

    nodes: Counts
    values: Reals
    deviations: tuple[float, ...] = ()


class RoundKind(Protocol):
    """One kind of round. Implementations are stateless.

    A kind may have `once = True`: it runs once in a job, and in one round; and `remembers = True`:
    what it may tell depends on earlier runs, so a node that has let go of them refuses another.
    One with `only_private = True` runs with privacy only; see `statistics.private`.
    """

    name: str
    rule: Rule

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        """The shape, from what is signed alone. Raises `CallError` (`statistic`) for arguments
        that this kind does not take: every party calls it before anything is computed."""

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        """One node's part. The inputs have the layout's shapes and finite values; all else about
        them is the requester's word. Raises `StateError` (`too_few_rows`, `data_values`) where
        this node refuses the round as a whole, without telling a number."""
