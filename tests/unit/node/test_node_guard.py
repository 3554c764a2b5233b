"""The differencing guard from decision to sum, over real keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from builders.federation import TABLE, Federation, job_for
from builders.running import PLAN, Running, hospitals
from builders.site import Site, added
from yumen_core.errors import StateError
from yumen_core.identity.membership import Membership
from yumen_core.log import Act
from yumen_core.privacy import Privacy

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


def test_the_log_tells_how_many_records_there_are(sites: list[Site], li: Membership) -> None:
    """The same job again adds none, and tells of the last."""
    for _ in range(2):
        answered(sites, li)
        entry = sites[0].log.entries[-1]
        recorded = sites[0].released.recorded
        assert (entry.act, entry.detail["guard"]) == (Act.CONTRIBUTION, 1)
        assert (recorded.number, recorded.digest) == (1, entry.digests["guard"])
    for site in sites:
        site.rows.counts = (50, 60)
        site.restart()
    answered(sites, li)
    assert sites[0].log.entries[-1].detail["guard"] == 2


def test_a_private_job_neither_asks_the_guard_nor_tells_it(
    federation: Federation, li: Membership, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that no plain job would get, over one node less; then the plain job as if it had not
    been."""
    table = replace(TABLE, micro_rho=1_000_000, project_micro_rho=1_000_000)
    nodes = [replace(node, table=table) for node in federation.nodes(4)]
    made = [Site(node, tmp_path / f"paid{at}", counts=(30, 40)) for at, node in enumerate(nodes)]
    assert answered(made, li) == [(4, 120), (4, 160)]
    for site in made:
        site.rows.counts = (29, 40)
        site.restart()
        site.rows.row_sets = None  # type: ignore[assignment, method-assign]
    published = [site.published() for site in made[:3]]
    running = Running(made[:3], job_for(li, published, min_nodes=3, privacy=Privacy(10_000)))
    shares = [running.share(site) for site in made[:3]]
    assert all(running.part(site, shares) for site in made[:3])
    entry = made[0].log.entries[-1]
    assert entry.act is Act.CONTRIBUTION
    assert "guard" not in entry.detail | entry.digests
    assert made[0].released.recorded.number == 1
    for site in made:
        site.rows = type(site.rows)(30, 40)
        site.restart()
    assert answered(made, li) == [(4, 120), (4, 160)]
    for site in made:
        site.close()


def test_the_same_cell_with_another_node_behind_it(sites: list[Site], li: Membership) -> None:
    """All four were asked both times; a sum of three and one of four would tell the fourth's."""
    sites[3].rows.counts = (5, 40)
    assert answered(sites, li) == [(3, 90), (4, 160)]
    sites[3].rows.counts = (30, 40)
    sites[3].restart()
    made = Running(sites, job_for(li, [site.published() for site in sites], min_nodes=3))
    shares = made.shares()
    for site in sites[:3]:
        with pytest.raises(StateError, match="differ enough from each") as caught:
            made.part(site, shares)
        assert caught.value.code == "near_release"
    assert made.part(sites[3], shares)  # nothing of its women had left, and alone it tells nothing
