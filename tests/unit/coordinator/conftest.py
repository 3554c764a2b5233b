import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from builders.federation import Federation, Job, Node, job_for
from builders.hub import Hub
from yumen_core.identity import Role
from yumen_core.identity.membership import Membership

Play = Callable[..., None]


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return Federation(Path(tmp_path_factory.mktemp("members")))


@pytest.fixture(scope="module")
def nodes(federation: Federation) -> list[Node]:
    return federation.nodes(4)


@pytest.fixture(scope="module")
def li(federation: Federation) -> Membership:
    return federation.member(Role.USER, "li")


@pytest.fixture
def play(federation: Federation, nodes: list[Node], li: Membership, tmp_path: Path) -> Play:
    """Run a scenario with a hub that knows four nodes, and a job over them that needs three."""

    def run(
        scenario: Callable[[Hub, Job, list[str]], Coroutine[Any, Any, None]],
        *,
        min_nodes: int = 3,
        **settings: Any,
    ) -> None:
        published = [(node, *node.signed()) for node in nodes]
        job = job_for(li, published, min_nodes=min_nodes)

        async def whole() -> None:
            hub = Hub(tmp_path, federation.clock, published, **settings)
            try:
                await scenario(hub, job, sorted(hub.nodes))
            finally:
                hub.close()

        asyncio.run(whole())

    return run
