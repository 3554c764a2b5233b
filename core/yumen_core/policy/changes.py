"""What differs between two bundles: by meaning, so that layout and comments do not count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from yumen_core.policy.engine import PolicyBundle


@dataclass(frozen=True)
class BundleChanges:
    """Ids of policies, and names of purposes, in order; a new meaning of a purpose is both."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    purposes_added: tuple[str, ...]
    purposes_removed: tuple[str, ...]

    def __bool__(self) -> bool:
        lists = (self.added, self.removed, self.changed)
        return any((*lists, self.purposes_added, self.purposes_removed))


def bundle_changes(old: PolicyBundle | None, new: PolicyBundle) -> BundleChanges:
    """How `new` differs from `old`; without an old one, all of it is added.

    A policy is changed where its syntax tree is another: effect, scope, conditions or annotations.
    """
    before: dict[str, Mapping[str, Any]] = {}
    registered: set[tuple[str, str]] = set()
    if old is not None:
        before = {policy.id: policy.tree for policy in old.policies}
        registered = {(purpose.name, purpose.meaning) for purpose in old.purposes}
    after = {policy.id: policy.tree for policy in new.policies}
    registers = {(purpose.name, purpose.meaning) for purpose in new.purposes}
    return BundleChanges(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(sorted(i for i in after.keys() & before.keys() if after[i] != before[i])),
        purposes_added=tuple(sorted(name for name, _ in registers - registered)),
        purposes_removed=tuple(sorted(name for name, _ in registered - registers)),
    )
