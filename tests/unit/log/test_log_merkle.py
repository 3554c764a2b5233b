"""RFC 6962 hashes and proofs, against known answers and the RFC's recursive definitions."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yumen_core.errors import CallError, PeerError
from yumen_core.log import merkle

# The entries and roots of the Certificate Transparency reference implementation's tests.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
HASHES = [merkle.leaf_hash(leaf) for leaf in LEAVES]
SIZES = st.integers(1, 200)


def split(count: int) -> int:
    k = 1
    while k * 2 < count:
        k *= 2
    return k


def naive_root(d: list[bytes]) -> bytes:
    if not d:
        return hashlib.sha256().digest()
    if len(d) == 1:
        return hashlib.sha256(b"\x00" + d[0]).digest()
    k = split(len(d))
    return hashlib.sha256(b"\x01" + naive_root(d[:k]) + naive_root(d[k:])).digest()


def naive_path(m: int, d: list[bytes]) -> list[bytes]:
    if len(d) == 1:
        return []
    k = split(len(d))
    if m < k:
        return [*naive_path(m, d[:k]), naive_root(d[k:])]
    return [*naive_path(m - k, d[k:]), naive_root(d[:k])]


def naive_subproof(m: int, d: list[bytes], whole: bool) -> list[bytes]:
    if m == len(d):
        return [] if whole else [naive_root(d)]
    k = split(len(d))
    if m <= k:
        return [*naive_subproof(m, d[:k], whole), naive_root(d[k:])]
    return [*naive_subproof(m - k, d[k:], False), naive_root(d[:k])]


def entries(count: int) -> list[bytes]:
    return [number.to_bytes(2, "big") for number in range(count)]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_known_ones(size: int) -> None:
    assert merkle.root_of(HASHES[:size]).hex() == ROOTS[size]
    assert merkle.tree_root(size, merkle.nodes_of(HASHES)).hex() == ROOTS[size]
    assert naive_root(LEAVES[:size]).hex() == ROOTS[size]


def test_a_known_inclusion_proof() -> None:
    path = merkle.inclusion_proof(5, 8, merkle.nodes_of(HASHES))
    assert [value.hex()[:8] for value in path] == ["bc1a0643", "ca854ea1", "d37ee418"]


@given(SIZES, st.data())
def test_inclusion_proofs_are_the_rfcs(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    d = entries(size)
    hashes = [merkle.leaf_hash(one) for one in d]
    path = merkle.inclusion_proof(index, size, merkle.nodes_of(hashes))
    assert path == naive_path(index, d)
    merkle.verify_inclusion(hashes[index], index, size, path, naive_root(d))


@given(SIZES, st.data())
def test_consistency_proofs_are_the_rfcs(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size))
    d = entries(size)
    hashes = [merkle.leaf_hash(one) for one in d]
    proof = merkle.consistency_proof(old, size, merkle.nodes_of(hashes))
    assert proof == naive_subproof(old, d, True)
    merkle.verify_consistency(old, naive_root(d[:old]), size, naive_root(d), proof)


@given(SIZES, st.data())
def test_a_changed_inclusion_proof_is_refused(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    d = entries(size)
    hashes = [merkle.leaf_hash(one) for one in d]
    root = naive_root(d)
    path = naive_path(index, d)
    other = bytes(32)
    bad = [
        (merkle.leaf_hash(b"other"), index, path, root),
        (hashes[index], index, path, other),
        (hashes[index], index, [*path, other], root),
        *((hashes[index], wrong, path, root) for wrong in range(size) if wrong != index),
    ]
    for at in range(len(path)):
        bad.append((hashes[index], index, [*path[:at], other, *path[at + 1 :]], root))
        bad.append((hashes[index], index, path[:at] + path[at + 1 :], root))
    for leaf, where, proof, top in bad:
        with pytest.raises(PeerError) as caught:
            merkle.verify_inclusion(leaf, where, size, proof, top)
        assert caught.value.code == "log_corrupt"


@given(SIZES, st.data())
def test_a_changed_consistency_proof_is_refused(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size))
    d = entries(size)
    old_root, root, other = naive_root(d[:old]), naive_root(d), bytes(32)
    proof = naive_subproof(old, d, True)
    bad = [(other, root, proof), (old_root, other, proof), (old_root, root, [*proof, other])]
    for at in range(len(proof)):
        bad.append((old_root, root, [*proof[:at], other, *proof[at + 1 :]]))
        bad.append((old_root, root, proof[:at] + proof[at + 1 :]))
    for first, second, path in bad:
        with pytest.raises(PeerError):
            merkle.verify_consistency(old, first, size, second, path)


def test_the_empty_tree_is_a_prefix_of_every_tree() -> None:
    root = naive_root(LEAVES)
    assert merkle.consistency_proof(0, 8, merkle.nodes_of(HASHES)) == []
    merkle.verify_consistency(0, merkle.EMPTY_ROOT, 8, root, [])
    with pytest.raises(PeerError, match="two roots differ at size `0`"):
        merkle.verify_consistency(0, root, 8, root, [])


def test_equal_sizes_need_equal_roots() -> None:
    root = naive_root(LEAVES)
    merkle.verify_consistency(8, root, 8, root, [])
    with pytest.raises(PeerError, match="two roots differ at size `8`"):
        merkle.verify_consistency(8, bytes(32), 8, root, [])


BAD_INCLUSION = [
    (0, 0, 0, 32, "entry `0` is not in a log of 0 entries"),
    (8, 8, 3, 32, "entry `8` is not in a log of 8 entries"),
    (-1, 8, 3, 32, "entry `-1` is not in a log of 8 entries"),
    (1, 8, 3, 31, "a hash has 32 bytes, got `31`"),
    (1, 8, 200, 32, "a proof has at most 128 hashes, got `200`"),
    (1, 8, 2, 32, "the inclusion proof is too short"),
    (1, 8, 4, 32, "the inclusion proof is too long"),
    (1, 8, 3, 32, "the inclusion proof of entry `1` does not lead to the root"),
]


@pytest.mark.parametrize(("index", "size", "count", "length", "message"), BAD_INCLUSION)
def test_bad_inclusion(index: int, size: int, count: int, length: int, message: str) -> None:
    with pytest.raises(PeerError) as caught:
        merkle.verify_inclusion(bytes(32), index, size, [bytes(length)] * count, bytes(32))
    assert caught.value.message == message


BAD_CONSISTENCY = [
    (9, 8, 0, "a log of 8 entries cannot extend one of `9`"),
    (-1, 8, 0, "a log of 8 entries cannot extend one of `-1`"),
    (8, 8, 1, "the consistency proof is too long"),
    (3, 8, 0, "the consistency proof is too short"),
    (3, 8, 2, "the consistency proof is too short"),
    (3, 8, 9, "the consistency proof is too long"),
    (4, 8, 1, "the consistency proof does not lead to the root at size `8`"),
    (3, 8, 4, "the consistency proof does not lead to the root at size `3`"),
]


@pytest.mark.parametrize(("old", "size", "count", "message"), BAD_CONSISTENCY)
def test_bad_consistency(old: int, size: int, count: int, message: str) -> None:
    with pytest.raises(PeerError) as caught:
        merkle.verify_consistency(old, bytes(32), size, bytes(32), [bytes(32)] * count)
    assert caught.value.message == message


def test_wrong_calls() -> None:
    node = merkle.nodes_of(HASHES)
    with pytest.raises(CallError, match="entry `8` is not in a log of 8 entries"):
        merkle.inclusion_proof(8, 8, node)
    with pytest.raises(CallError, match="size `9` is not within a log of 8 entries"):
        merkle.consistency_proof(9, 8, node)
    frontier = merkle.Frontier()
    frontier.push(bytes(32))
    with pytest.raises(CallError, match="a subtree of height `1` cannot follow `1` entries"):
        frontier.push(bytes(32), 1)
