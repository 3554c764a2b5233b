"""From one node's computed round to what it may contribute. Pure."""

from __future__ import annotations

import numpy as np

from yumen_core.disclosure import DisclosureRules, local_flags, released
from yumen_core.disclosure.cover import cover_lines
from yumen_core.disclosure.rounds import (
    agree_keep,
    partition_keep,
    require_keep,
    split_keep,
    whole_flags,
)
from yumen_core.disclosure.rules import Flags, Keep
from yumen_core.statistics.kinds import Local, Rule
from yumen_core.statistics.layout import Counts, Layout, Reals


def flags_width(rule: Rule, layout: Layout) -> int:
    """How many flags a node has for each cell."""
    return len(layout.supports) * (1 if rule in (Rule.WITHHOLD, Rule.AGREE) else 3)


def round_flags(rule: Rule, supports: Counts, rules: DisclosureRules) -> Flags:
    """One node's flags, uint8[cells, flags_width]."""
    if rule in (Rule.WITHHOLD, Rule.AGREE):
        return local_flags(supports, rules)
    return whole_flags(supports, rules)


def round_keep(
    rule: Rule, layout: Layout, totals: Flags, own: Flags, *, participants: int, min_nodes: int
) -> Keep:
    """What this node contributes, bool[cells, supports], from the flags that all participants
    counted. Raises `StateError` (`too_few_rows`) under `require`."""
    if rule is Rule.WITHHOLD:
        return released(totals, own, min_nodes)
    if rule is Rule.AGREE:
        return agree_keep(totals, own, min_nodes)
    if rule is Rule.REQUIRE:
        return require_keep(
            totals, participants=participants, min_nodes=min_nodes, names=layout.supports
        )
    if rule is Rule.SPLITS:
        return split_keep(
            totals, own, participants=participants, min_nodes=min_nodes, trees=layout.trees
        )
    keep = partition_keep(
        totals,
        participants=participants,
        min_nodes=min_nodes,
        trees=layout.trees,
        end_supports=layout.end_supports,
    )
    return cover_lines(keep, totals, layout.lines, min_nodes=min_nodes) if layout.lines else keep


def withheld(layout: Layout, local: Local, keep: Keep) -> Reals:
    """The values that leave: 0 in place of each whose support is not kept."""
    allowed = keep[:, [value.support for value in layout.values]]
    return np.where(allowed, local.values, 0.0)
