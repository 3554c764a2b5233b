"""What a party has in force, and the log entry of each change of it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

from yumen_core import canonical
from yumen_core.errors import StateError
from yumen_core.identity.envelope import SignedEnvelope
from yumen_core.identity.files import make_private_directory, read_file, replace_file
from yumen_core.identity.names import Identity
from yumen_core.log.entry import Act, Value
from yumen_core.policy.changes import bundle_changes
from yumen_core.policy.engine import PolicyBundle, saved_path

FILE = "policies-in-force.json"
FOLDER = "policies"
MAX_LISTED = 100


class ActLog(Protocol):
    """The part of a log that this needs."""

    def record(
        self,
        act: Act,
        *,
        subject: dict[str, str],
        digests: dict[str, bytes],
        detail: dict[str, Value],
    ) -> int: ...


@dataclass(frozen=True)
class InForce:
    """The digest of the bundle in force and of the one before, empty where there was none.

    `used` are the digests (SHA-256, hex) of all statements that ever counted: each serves once.
    """

    digest: bytes
    previous: bytes
    used: tuple[str, ...] = ()


def read_in_force(folder: Path) -> InForce | None:
    """What was activated last. Raises `StateError` (`state`) where the file is damaged."""
    file = folder / FILE
    if not file.exists():
        return None
    try:
        found = json.loads(read_file(file))
        used = tuple(str(one) for one in found["used"])
        kept = InForce(bytes.fromhex(found["digest"]), bytes.fromhex(found["previous"]), used)
    except (ValueError, TypeError, KeyError):
        raise _damaged(file) from None
    if len(kept.digest) != 32 or len(kept.previous) not in (0, 32):
        raise _damaged(file)
    return kept


def put_in_force(
    bundle: PolicyBundle,
    *,
    party: Identity,
    log: ActLog,
    log_folder: Path,
    state: Path,
    signers: Sequence[Identity] = (),
    signed: Sequence[SignedEnvelope] = (),
) -> bool:
    """Keep `bundle` beside the log and log its activation where it is another than before.

    Whether there was anything to activate. The entry names who is behind it, `signers` with their
    statements, or else the operator who started the party, and what differs from the last bundle.
    Kept first, logged next, put in force last: a crash between repeats the entry.
    """
    kept = log_folder / FOLDER
    bundle.save(kept)
    before = read_in_force(state)
    if before is not None and before.digest == bundle.digest:
        return False
    previous = b"" if before is None else before.digest
    digests = {"policies": bundle.digest}
    if previous:
        digests["previous"] = previous
    detail: dict[str, Value] = {
        "by": [one.uri for one in signers] or ["operator"],
        "engine": _engine(),
        "signed": [_text(envelope) for envelope in signed],
        **_changes(bundle, kept, previous),
    }
    log.record(Act.POLICY_ACTIVATED, subject={"party": party.uri}, digests=digests, detail=detail)
    make_private_directory(state)
    used = [] if before is None else list(before.used)
    used += [hashlib.sha256(envelope.payload).hexdigest() for envelope in signed]
    document = canonical.encode(
        {"digest": bundle.digest.hex(), "previous": previous.hex(), "used": used}
    )
    replace_file(state / FILE, document)
    return True


def _changes(bundle: PolicyBundle, kept: Path, previous: bytes) -> dict[str, Value]:
    """Ids of policies that came, went or say something else, at most 100 of each."""
    try:
        old = PolicyBundle.load_saved(saved_path(kept, previous)) if previous else None
    except StateError:
        return {"compared": False}  # the copy of the earlier bundle is gone or damaged
    found = bundle_changes(old, bundle)
    return {
        "compared": True,
        "added": list(found.added[:MAX_LISTED]),
        "removed": list(found.removed[:MAX_LISTED]),
        "changed": list(found.changed[:MAX_LISTED]),
        "purposes_added": list(found.purposes_added[:MAX_LISTED]),
        "purposes_removed": list(found.purposes_removed[:MAX_LISTED]),
    }


def _engine() -> str:
    try:
        return f"cedarpy {version('cedarpy')}"
    except PackageNotFoundError:
        return "cedarpy"


def _text(envelope: SignedEnvelope) -> str:
    return base64.b64encode(envelope.to_proto().SerializeToString()).decode()


def _damaged(file: Path) -> StateError:
    return StateError("state", f"`{file}` is not a record of the policies in force")
