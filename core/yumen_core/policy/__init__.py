"""Policies: what may be asked, decided by Cedar, closed by default.

Deciding needs the extra `node` or `coordinator`. A data scientist's process has denials to show and
no policy to decide, so all but `Denial` is imported when it is first named.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from yumen_core.policy.denial import Denial

if TYPE_CHECKING:
    from yumen_core.policy.engine import PolicyBundle, PolicyDecision, reviews_missing
    from yumen_core.policy.facts import facts_text, logged_facts, request_of
    from yumen_core.policy.files import install_policies
    from yumen_core.policy.purposes import Purpose, Purposes
    from yumen_core.policy.request import PolicyRequest

__all__ = [
    "Denial",
    "PolicyBundle",
    "PolicyDecision",
    "PolicyRequest",
    "Purpose",
    "Purposes",
    "facts_text",
    "install_policies",
    "logged_facts",
    "request_of",
    "reviews_missing",
]

_HOMES = {
    "PolicyBundle": "engine",
    "PolicyDecision": "engine",
    "PolicyRequest": "request",
    "Purpose": "purposes",
    "Purposes": "purposes",
    "facts_text": "facts",
    "install_policies": "files",
    "logged_facts": "facts",
    "request_of": "facts",
    "reviews_missing": "engine",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
