"""The differencing guard from decision to sum, over real keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from builders.federation import Federation, job_for
from builders.running import PLAN, Running, hospitals
from builders.site import Site, added
from yumen_core.errors import StateError
from yumen_core.identity.membership import Membership

FOUR = [(30, 40)] * 4


@pytest.fixture
def sites(federation: Federation, tmp_path: Path) -> Iterator[list[Site]]:
    made = hospitals(federation, tmp_path, FOUR)
    yield made
    for site in made:
        site.close()


def answered(sites: Sequence[Site], li: Membership) -> list[tuple[int, int]]:
    """Nodes and rows of women and of men, of a job over all of `sites`."""
    made = Running(sites, job_for(li, [site.published() for site in sites], min_nodes=3))
    shares = made.shares()
    found = made.read(added(PLAN, [made.part(site, shares) for site in sites]), shares)
    return [(n[0], rows) for n, (rows, _) in zip(found.nodes, found.values, strict=True)]


@pytest.mark.parametrize(
    ("women", "cells"),
    [
        (30, [(4, 120), (4, 160)]),
        (29, [(0, 0), (4, 160)]),
        (21, [(0, 0), (4, 160)]),
        (20, [(4, 80), (4, 160)]),
        (39, [(0, 0), (4, 160)]),
        (40, [(4, 160), (4, 160)]),
    ],
)
def test_a_cell_that_differs_by_fewer_rows_than_the_threshold_gets_nothing(
    sites: list[Site], li: Membership, women: int, cells: list[tuple[int, int]]
) -> None:
    assert answered(sites, li) == [(4, 120), (4, 160)]
    for site in sites:
        site.rows.counts = (women, 40)
        site.restart()
    assert answered(sites, li) == cells


def test_the_whole_of_a_grouping_is_compared_too(sites: list[Site], li: Membership) -> None:
    """Women were too few; all the rest and everybody would tell of them."""
    for site in sites:
        site.rows.counts = (5, 40)
    assert answered(sites, li) == [(0, 0), (4, 160)]
    for site in sites:
        site.rows.counts = (0, 45)
    assert answered(sites, li) == [(0, 0), (0, 0)]


def test_all_nodes_and_then_all_but_one(sites: list[Site], li: Membership) -> None:
    answered(sites, li)
    job = job_for(li, [site.published() for site in sites[:3]], min_nodes=3)
    assert all(site.decide(job.proposal()).job is None for site in sites[:3])
    assert answered(sites, li) == [(4, 120), (4, 160)]


def test_a_node_that_drops_out_before_the_support_step(sites: list[Site], li: Membership) -> None:
    answered(sites, li)
    made = Running(sites, job_for(li, [site.published() for site in sites], min_nodes=3))
    left = sorted(site.uri for site in sites[:3])
    with pytest.raises(StateError, match="got a set that differs by 1") as caught:
        made.share(sites[0], left)
    assert caught.value.code == "participant_set"
