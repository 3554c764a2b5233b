from collections.abc import Iterator

import pytest
from builders.asker import Asker
from builders.live import Live
from yumen_core.identity import Role


@pytest.fixture(scope="module")
def li(live: Live) -> Iterator[Asker]:
    """A requester at the federation that the module runs as `live`."""
    asker = Asker(live.address, live.member(Role.USER, "li"))
    yield asker
    asker.close()
