"""Opening a log: bring it to the state that its guard attests, or refuse.

What a crash can leave behind, in the order in which an append works (design, section 8):

    record not whole              the batch was never acknowledged: dropped
    record whole, guard before    never acknowledged and never signed: dropped
    guard written                 redone: tiles, then checkpoint
    tiles written, not synced     redone, whatever a power cut left of them
"""

from __future__ import annotations

from yumen_core.errors import PeerError, StateError
from yumen_core.log.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from yumen_core.log.edge import Edge
from yumen_core.log.guard import Guard
from yumen_core.log.merkle import EMPTY_ROOT, tree_root
from yumen_core.log.note import Signer, Verifier, split_note
from yumen_core.log.reader import Reader
from yumen_core.log.redo import Batch, Redo
from yumen_core.log.store import CHECKPOINT, MAX_VKEY_BYTES, VKEY, LogStore


def recover(store: LogStore, guard: Guard, signer: Signer) -> Edge:
    """Bring the log and its guard to one durable state; returns its right edge.

    Reads the right edge and the redo file, never all entries. Nothing is written before every
    check has passed. Raises `OSError`, and `StateError`: `log_fork` where the log is behind its
    guard or beside it, `log_corrupt` where a file is damaged, `state` for another log's key or
    guard.
    """
    # 1. The key is the one the log was begun with.
    _check_vkey(store, signer.verifier)
    # 2. What the files state: a base that is synced, batches after it, claims about both.
    redo = store.read_redo()
    signed = _signed_checkpoint(store, signer.verifier)
    kept_apart = _load_guard(guard, signer.name)
    claims = [claim for claim in (kept_apart, signed) if claim is not None]
    base = _base(store, redo, signed)
    # 3. The tiles at the right edge give the base's root.
    reader = Reader(store.storage, store.directory, base.size)
    edge = _edge(reader, base)
    # 4. A log without its guard cannot show that it is the newest.
    if kept_apart is None and (base.size or base.batches or (signed and signed.size)):
        raise StateError("log_fork", f"the guard `{guard.path}` of a log with entries is missing")
    # 5. The redo file reaches every size that was attested, with the same root.
    target = max([base.size, *(claim.size for claim in claims)])
    batches, roots = _replay(edge, base.batches, target)
    _check_claims(claims, roots, reader)
    # 6. Redo, in the order of an append.
    _write(store, guard, signer, edge, batches, create=kept_apart is None)
    return edge


def _check_vkey(store: LogStore, verifier: Verifier) -> None:
    data = store.read_optional(VKEY, MAX_VKEY_BYTES)
    if data is not None and data != f"{verifier.text}\n".encode():
        raise StateError(
            "state",
            f"the log `{store.directory}` was begun with another key than `{verifier.text}`",
            remedy="use the key that the log was begun with",
        )


def _signed_checkpoint(store: LogStore, verifier: Verifier) -> Checkpoint | None:
    """The checkpoint on disk; None where there is none or a power cut left part of it."""
    data = store.read_optional(CHECKPOINT)
    if data is None:
        return None
    try:
        split_note(data)
    except PeerError:
        return None
    try:
        return open_checkpoint(data, verifier)
    except PeerError as error:
        raise StateError("log_corrupt", f"`{CHECKPOINT}`: {error.message}") from None


def _load_guard(guard: Guard, origin: str) -> Checkpoint | None:
    state = guard.load()
    if state is not None and state.origin != origin:
        raise StateError(
            "state",
            f"the guard `{guard.path}` belongs to the log `{state.origin}`, not to `{origin}`",
            remedy="give each log a guard of its own",
        )
    return state


def _base(store: LogStore, redo: Redo | None, signed: Checkpoint | None) -> Redo:
    if redo is not None:
        return redo
    if signed is not None:
        return Redo(signed.size, signed.root, [])
    if store.storage.names(store.directory / "tile"):
        raise StateError(
            "log_corrupt", f"the log `{store.directory}` has tiles and no checkpoint to check them"
        )
    return Redo(0, EMPTY_ROOT, [])


def _edge(reader: Reader, base: Redo) -> Edge:
    edge = reader.edge()
    if edge.root() != base.root:
        raise StateError(
            "log_corrupt",
            f"the tiles at the right edge do not give the root signed at size `{base.size}`",
        )
    return edge


def _replay(edge: Edge, batches: list[Batch], target: int) -> tuple[list[Batch], dict[int, bytes]]:
    """The batches up to `target` entries, and the root after each; `edge` stays as it is."""
    trial = edge.copy()
    roots = {trial.size: trial.root()}
    kept: list[Batch] = []
    for batch in batches:
        if trial.size + len(batch.entries) > target:
            break
        trial.grow(batch.entries)
        roots[trial.size] = trial.root()
        kept.append(batch)
    if trial.size < target:
        raise StateError(
            "log_fork",
            f"the log holds `{trial.size}` entries and `{target}` were signed: "
            "it was restored from a backup or cut short",
        )
    return kept, roots


def _check_claims(claims: list[Checkpoint], roots: dict[int, bytes], reader: Reader) -> None:
    for claim in claims:
        if claim.size < reader.size:
            root: bytes | None = tree_root(claim.size, reader.node)
        else:
            root = roots.get(claim.size)
        if root != claim.root:
            raise StateError(
                "log_fork", f"the log's root at size `{claim.size}` is not the one that was signed"
            )


def _write(
    store: LogStore,
    guard: Guard,
    signer: Signer,
    edge: Edge,
    batches: list[Batch],
    *,
    create: bool,
) -> None:
    if store.read_optional(VKEY, MAX_VKEY_BYTES) is None:
        store.write_durable(VKEY, f"{signer.verifier.text}\n".encode())
    for batch in batches:
        store.write_tiles(edge.grow(batch.entries))
    state = Checkpoint(signer.name, edge.size, edge.root())
    if create:
        guard.create(state)
    else:
        guard.store(state)
    store.publish(sign_checkpoint(state, signer))
    store.settle(edge.size, edge.root())
