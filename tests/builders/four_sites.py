"""Fixtures: four hospitals, a requester, and the jobs he asks of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from yumen_core.identity import Role
from yumen_core.identity.membership import Membership

from builders.federation import Federation, Job, job_for
from builders.running import Running
from builders.site import Site


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation(tmp_path / "members")


@pytest.fixture
def li(federation: Federation) -> Membership:
    return federation.member(Role.USER, "li")


@pytest.fixture
def sites(federation: Federation, tmp_path: Path) -> Iterator[list[Site]]:
    """Four hospitals that accept everything the built-in rules accept."""
    made = [Site(node, tmp_path / f"site{i}") for i, node in enumerate(federation.nodes(4))]
    yield made
    for site in made:
        site.close()


@pytest.fixture
def ask(li: Membership, sites: list[Site]) -> Callable[..., Job]:
    """A job of li's over all sites, or over those given."""

    def made(over: list[Site] | None = None, **changes: Any) -> Job:
        return job_for(li, [site.published() for site in over or sites], **changes)

    return made


@pytest.fixture
def run(sites: list[Site], ask: Callable[..., Job]) -> Running:
    """Three hospitals, a job that needs all of them."""
    return Running(sites[:3], ask(sites[:3]))
