"""Every kind of round this version knows. A job that names another is refused by every party."""

from __future__ import annotations

from collections.abc import Mapping

from yumen_core.errors import CallError
from yumen_core.statistics.kinds import RoundKind

_ALL: tuple[RoundKind, ...] = ()
KINDS: Mapping[str, RoundKind] = {kind.name: kind for kind in _ALL}


def kind_of(name: str) -> RoundKind:
    """The kind of that name. Raises `CallError` (`statistic`)."""
    found = KINDS.get(name)
    if found is None:
        raise CallError("statistic", f"expected a kind of round that is known, got `{name[:40]}`")
    return found
