"""Merkle tree hashes and proofs of RFC 6962, section 2.1, over SHA-256. Pure: no I/O.

Hashes are 32 bytes. A complete subtree is named by its height h and index i: it covers the
entries [i * 2^h, (i + 1) * 2^h). Functions that make proofs ask a `NodeSource` for such hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from hmac import compare_digest

from yumen_core.errors import CallError, PeerError

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

# A path has at most one hash for each level on either side of a 63-bit index.
MAX_PROOF_HASHES = 128

NodeSource = Callable[[int, int], bytes]


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry): 32 bytes."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right): 32 bytes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The complete subtrees along the right edge of a growing tree: at most log2(size) + 1."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[tuple[int, bytes]] = []

    def push(self, value: bytes, height: int = 0) -> list[tuple[int, bytes]]:
        """Append one complete subtree of 2^height entries.

        Returns the complete nodes this makes, (height, hash), lowest first, `value` included.
        Raises `CallError` where the subtree would not start at a multiple of its width.
        """
        if self.size & ((1 << height) - 1):
            raise CallError(
                "argument", f"a subtree of height `{height}` cannot follow `{self.size}` entries"
            )
        made = [(height, value)]
        self.size += 1 << height
        peaks = self._peaks
        while peaks and peaks[-1][0] == height:
            value = node_hash(peaks.pop()[1], value)
            height += 1
            made.append((height, value))
        peaks.append((height, value))
        return made

    def root(self) -> bytes:
        """The tree's root: 32 bytes; SHA-256 of nothing for the empty tree."""
        if not self._peaks:
            return EMPTY_ROOT
        value = self._peaks[-1][1]
        for _, peak in reversed(self._peaks[:-1]):
            value = node_hash(peak, value)
        return value

    def copy(self) -> Frontier:
        twin = Frontier()
        twin.size = self.size
        twin._peaks = list(self._peaks)
        return twin


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """The root over the given leaf hashes, in order."""
    frontier = Frontier()
    for value in leaf_hashes:
        frontier.push(value)
    return frontier.root()


def nodes_of(leaf_hashes: Sequence[bytes]) -> NodeSource:
    """A `NodeSource` over leaf hashes held in memory."""

    def node(height: int, index: int) -> bytes:
        start = index << height
        return root_of(leaf_hashes[start : start + (1 << height)])

    return node


def range_hash(start: int, end: int, node: NodeSource) -> bytes:
    """MTH(D[start:end]) for a range that a split of the tree makes; 0 <= start < end."""
    width = end - start
    if width & (width - 1) == 0:
        height = width.bit_length() - 1
        return node(height, start >> height)
    middle = start + _split(width)
    return node_hash(range_hash(start, middle, node), range_hash(middle, end, node))


def tree_root(size: int, node: NodeSource) -> bytes:
    """The root of the first `size` entries."""
    return range_hash(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: NodeSource) -> list[bytes]:
    """PATH(index, D[size]) of RFC 6962, section 2.1.1, from the leaf upwards.

    Raises `CallError` unless 0 <= index < size.
    """
    if not 0 <= index < size:
        raise CallError("argument", f"entry `{index}` is not in a log of {size} entries")
    start, end = 0, size
    path: list[bytes] = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(range_hash(middle, end, node))
            end = middle
        else:
            path.append(range_hash(start, middle, node))
            start = middle
    return path[::-1]


def consistency_proof(old_size: int, size: int, node: NodeSource) -> list[bytes]:
    """PROOF(old_size, D[size]) of RFC 6962, section 2.1.2; empty for 0 and for equal sizes.

    Raises `CallError` unless 0 <= old_size <= size.
    """
    if not 0 <= old_size <= size:
        raise CallError("argument", f"size `{old_size}` is not within a log of {size} entries")
    if old_size in (0, size):
        return []
    start, end = 0, size
    path: list[bytes] = []
    while end != old_size:
        middle = start + _split(end - start)
        if old_size <= middle:
            path.append(range_hash(middle, end, node))
            end = middle
        else:
            path.append(range_hash(start, middle, node))
            start = middle
    if start:
        path.append(range_hash(start, end, node))
    return path[::-1]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that the leaf hash stands at `index` of the tree (`size`, `root`).

    Follows RFC 9162, section 2.1.3.2. Raises `PeerError` (log_corrupt).
    """
    # 1. The numbers and lengths are possible.
    if not 0 <= index < size:
        raise _refused(f"entry `{index}` is not in a log of {size} entries")
    _check_hashes(proof, leaf, root)
    # 2. Fold the path upwards; `last` is the index of the rightmost node on the level.
    at, last, value = index, size - 1, leaf
    for other in proof:
        if last == 0:
            raise _refused("the inclusion proof is too long")
        if at & 1 or at == last:
            value = node_hash(other, value)
            at, last = _climb_edge(at, last)
        else:
            value = node_hash(value, other)
        at, last = at >> 1, last >> 1
    # 3. The path ended at the root, and it is the root that was signed.
    if last != 0:
        raise _refused("the inclusion proof is too short")
    if not compare_digest(value, root):
        raise _refused(f"the inclusion proof of entry `{index}` does not lead to the root")


def verify_consistency(
    old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree (`old_size`, `old_root`) is a prefix of (`size`, `root`).

    Follows RFC 9162, section 2.1.4.2, with two cases it leaves out: the empty tree is a prefix of
    every tree, and equal sizes need equal roots; both have an empty proof. Raises `PeerError`
    (log_corrupt).
    """
    # 1. The numbers and lengths are possible.
    if not 0 <= old_size <= size:
        raise _refused(f"a log of {size} entries cannot extend one of `{old_size}`")
    _check_hashes(proof, old_root, root)
    if old_size in (0, size):
        expected = EMPTY_ROOT if old_size == 0 else root
        if proof:
            raise _refused("the consistency proof is too long")
        if not compare_digest(old_root, expected):
            raise _refused(f"two roots differ at size `{old_size}`")
        return
    # 2. Start at the largest complete subtree that ends where the old tree ends.
    path = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    if not path:
        raise _refused("the consistency proof is too short")
    at, last = old_size - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    # 3. Fold both roots upwards.
    old_value = value = path[0]
    for other in path[1:]:
        if last == 0:
            raise _refused("the consistency proof is too long")
        if at & 1 or at == last:
            old_value, value = node_hash(other, old_value), node_hash(other, value)
            at, last = _climb_edge(at, last)
        else:
            value = node_hash(value, other)
        at, last = at >> 1, last >> 1
    # 4. The path ended at the root, and both roots are as stated.
    if last != 0:
        raise _refused("the consistency proof is too short")
    if not compare_digest(old_value, old_root):
        raise _refused(f"the consistency proof does not lead to the root at size `{old_size}`")
    if not compare_digest(value, root):
        raise _refused(f"the consistency proof does not lead to the root at size `{size}`")


def _split(width: int) -> int:
    """The largest power of two smaller than `width` (RFC 6962's k); width > 1."""
    return 1 << ((width - 1).bit_length() - 1)


def _climb_edge(at: int, last: int) -> tuple[int, int]:
    """Skip the levels on which the node is a left child without a sibling."""
    while at and not at & 1:
        at, last = at >> 1, last >> 1
    return at, last


def _check_hashes(proof: Sequence[bytes], *others: bytes) -> None:
    if len(proof) > MAX_PROOF_HASHES:
        raise _refused(f"a proof has at most {MAX_PROOF_HASHES} hashes, got `{len(proof)}`")
    for value in (*proof, *others):
        if len(value) != HASH_BYTES:
            raise _refused(f"a hash has {HASH_BYTES} bytes, got `{len(value)}`")


def _refused(message: str) -> PeerError:
    return PeerError("log_corrupt", message, remedy="do not trust this log; call the auditor")
