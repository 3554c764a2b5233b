"""Keys that nobody declared: which values of a column enough rows of enough nodes share (ADR 16).

A node puts each key that has the threshold of its rows into one of `buckets` cells, by a hash with
the round's salt, and contributes the key's bytes where it is the only one of the node's there. A
cell is told where enough nodes have the same key in it; its sums are then the key's bytes times the
number of nodes. Which rows, how many, and which nodes is told to no requester.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from yumen_core.disclosure import DisclosureRules
from yumen_core.statistics import arguments as read
from yumen_core.statistics.kinds import Arguments, Inputs, Local, Rule, Totals, Variables
from yumen_core.statistics.layout import Layout, Reals, count
from yumen_core.statistics.rows import Rows

PIECE_BYTES, PIECES = 5, 12
MAX_KEY_BYTES = PIECE_BYTES * PIECES
AGREEMENT_BITS = 48
"""Bits of a key's hash that the nodes compare before they tell it. With a bucket of 12 bits they
are too many for a requester to search a salt under which two given keys look alike."""
MAX_BUCKETS = 4096
MAX_KNOWN = 3 * MAX_BUCKETS
SALT_BYTES = 16
NOTHING_KNOWN = -1.0
_CHECK_BYTES = 5
_LEFT_OUT = ("Cc", "Cf", "Cs")


@dataclass(frozen=True)
class Mark:
    """What a key's hash says: its bucket, its agreement bits, and its check of 40 bits."""

    bucket: int
    bits: int
    check: int


def mark_of(key: str, salt: str, buckets: int) -> Mark:
    """From SHA-256 of the salt, a zero byte and the key's UTF-8."""
    digest = hashlib.sha256(salt.encode() + b"\0" + key.encode()).digest()
    return Mark(
        int.from_bytes(digest[:8]) % buckets,
        int.from_bytes(digest[8 : 8 + AGREEMENT_BITS // 8]),
        int.from_bytes(digest[-_CHECK_BYTES:]),
    )


def may_be_told(key: str) -> bool:
    """Whether a key fits the pieces and could be written in a statement: 60 bytes at most, and no
    control or format character, as a declared domain."""
    return (
        len(key) <= MAX_KEY_BYTES
        and not any(unicodedata.category(character) in _LEFT_OUT for character in key)
        and len(key.encode()) <= MAX_KEY_BYTES
        and unicodedata.is_normalized("NFC", key)
    )


class Keys:
    """`variable` is read as text; `buckets` from 16 to MAX_BUCKETS; `salt` 32 hexadecimal digits;
    `known` how many checks of keys the input `known`, float64[known], can hold (NOTHING_KNOWN for
    none): a node leaves such keys out, so that those that shared a bucket with them come apart.

    One support for a cell's rows and one for each agreement bit. Values: the pieces of 5 bytes, big
    end first and filled with zeros, then the check.
    """

    name = "keys"
    rule: Rule = Rule.AGREE

    def layout(self, arguments: Arguments, variables: Variables) -> Layout:
        read.only(arguments, "buckets", "known", "salt", "variable")
        name = read.text(arguments, "variable")
        found = variables.get(name)
        if found is None or not found.textual:
            raise read.bad(f"expected `{name}` to be a column of keys read as text")
        salt = read.text(arguments, "salt")
        if len(salt) != 2 * SALT_BYTES or not set(salt) <= set("0123456789abcdef"):
            raise read.bad(f"expected `salt` as {2 * SALT_BYTES} hexadecimal digits")
        buckets = read.whole(arguments, "buckets", 16, MAX_BUCKETS)
        known = read.whole(arguments, "known", 0, MAX_KNOWN)
        return Layout(
            buckets,
            ("rows", *(f"bit {at}" for at in range(AGREEMENT_BITS))),
            tuple(count() for _ in range(PIECES + 1)),
            {"known": (known,)} if known else {},
        )

    def compute(
        self, rows: Rows, arguments: Arguments, inputs: Inputs, rules: DisclosureRules
    ) -> Local:
        name, salt = read.text(arguments, "variable"), read.text(arguments, "salt")
        buckets = read.whole(arguments, "buckets", 16, MAX_BUCKETS)
        counted = rows.kept(
            ("keys", name, rules.threshold), lambda: _enough(rows, name, rules.threshold)
        )
        known = set(inputs["known"].tolist()) if "known" in inputs else set()
        supports = np.zeros((buckets, 1 + AGREEMENT_BITS), dtype=np.int64)
        values = np.zeros((buckets, PIECES + 1), dtype=np.float64)
        for key, mark in _alone(counted, salt, buckets, known).items():
            supports[mark.bucket] = counted[key] * np.array(_bits(mark), dtype=np.int64)
            values[mark.bucket] = [*_pieces(key), mark.check]
        return Local(supports, values)


def told_keys(totals: Totals, salt: str) -> list[str]:
    """The keys that a round told, in the buckets' order. A cell in which the nodes had different
    keys, against all odds or by a node's lie, is no key: the bytes do not fit their hash."""
    found: list[str] = []
    for bucket in np.flatnonzero(totals.nodes[:, 0] > 0).tolist():
        key = _key_of(totals.values[bucket], int(totals.nodes[bucket, 0]))
        if key is None:
            continue
        mark = mark_of(key, salt, len(totals.nodes))
        check = int(totals.values[bucket, PIECES]) == mark.check * int(totals.nodes[bucket, 0])
        if mark.bucket == bucket and check and may_be_told(key):
            found.append(key)
    return found


def known_input(keys: list[str], salt: str, buckets: int, known: int) -> dict[str, Reals]:
    """The input that leaves `keys` out of a round with that salt; the rest of them if too many."""
    checks = [mark_of(key, salt, buckets).check for key in keys[:known]]
    padded: npt.NDArray[np.float64] = np.full(known, NOTHING_KNOWN)
    padded[: len(checks)] = checks
    return {"known": padded}


def _enough(rows: Rows, name: str, threshold: int) -> dict[str, int]:
    """The rows of each key that may be told and has the threshold of them."""
    counts = Counter(key for key in rows.texts[name] if key is not None)
    return {key: n for key, n in counts.items() if n >= threshold and may_be_told(key)}


def _alone(
    counted: Mapping[str, int], salt: str, buckets: int, known: set[float]
) -> dict[str, Mark]:
    """The keys, without the known ones, that are alone in their bucket."""
    marks = {key: mark_of(key, salt, buckets) for key in counted}
    marks = {key: mark for key, mark in marks.items() if float(mark.check) not in known}
    shared = Counter(mark.bucket for mark in marks.values())
    return {key: mark for key, mark in marks.items() if shared[mark.bucket] == 1}


def _bits(mark: Mark) -> list[int]:
    """1 for support 0, then the agreement bits."""
    return [1, *((mark.bits >> at) & 1 for at in range(AGREEMENT_BITS))]


def _pieces(key: str) -> list[int]:
    data = key.encode().ljust(MAX_KEY_BYTES, b"\0")
    return [
        int.from_bytes(data[at : at + PIECE_BYTES]) for at in range(0, MAX_KEY_BYTES, PIECE_BYTES)
    ]


def _key_of(values: Reals, nodes: int) -> str | None:
    """The key whose pieces, `nodes` times, are the cell's sums; None where there is none."""
    data = b""
    for total in values[:PIECES].tolist():
        piece, rest = divmod(int(total), nodes)
        if rest or piece >= 1 << (8 * PIECE_BYTES):
            return None
        data += piece.to_bytes(PIECE_BYTES)
    try:
        return data.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return None
