"""Keys that nobody declared: what is found is the pooled truth, and thin keys touch nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from builders.in_process import InProcess
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen.key_query import KeyStatement, find_keys, undeclared_key
from yumen_core.disclosure import DisclosureRules, local_flags
from yumen_core.disclosure.rounds import agree_keep
from yumen_core.errors import CallError, PeerError
from yumen_core.sql import Column, ColumnType, TableSchema, parse_rows
from yumen_core.sql.rows import KEY_TEXT
from yumen_core.statistics.counts_by import CountsBy
from yumen_core.statistics.keys import (
    AGREEMENT_BITS,
    MAX_BUCKETS,
    MAX_KNOWN,
    PIECES,
    Keys,
    known_input,
    mark_of,
    may_be_told,
    told_keys,
)
from yumen_core.statistics.kinds import Local, Totals
from yumen_core.statistics.rows import Rows, Variable

SALT = "00" * 16
SCHEMA = TableSchema("t", (Column("k", ColumnType.TEXT), Column("n", ColumnType.INTEGER)))
VARIABLES = {KEY_TEXT: Variable(KEY_TEXT, False, textual=True), "x": Variable("x", True)}
NAMES = ["兰州", "敦煌", "O'Brien", "", "a", "A", " a", "é" * 30, "x" * 60, "ÿ", "7", "0"]
RULES = DisclosureRules(threshold=10)
SALTS = [f"{at:032x}" for at in range(3)]


def arguments(buckets: int = 64, known: int = 0, salt: str = SALT) -> dict[str, object]:
    return {"buckets": buckets, "known": known, "salt": salt, "variable": KEY_TEXT}


def computed(keys: Sequence[str | None], known: Sequence[str] = (), *, buckets: int = 64) -> Local:
    rows = Rows(len(keys), {}, {}, {KEY_TEXT: keys})
    inputs = known_input(list(known), SALT, buckets, 8) if known else {}
    asked = arguments(buckets, 8 if known else 0)
    return Keys().compute(rows, asked, inputs, RULES)  # type: ignore[arg-type]


def told(nodes: Sequence[Sequence[str | None]], *, buckets: int = 64) -> list[str]:
    parts = [computed(keys, buckets=buckets) for keys in nodes]
    flags = [local_flags(part.supports, RULES) for part in parts]
    totals = np.asarray(np.sum(flags, axis=0, dtype=np.uint8))
    keep = [agree_keep(totals, own, 3) for own in flags]
    values = sum(np.where(k[:, :1], p.values, 0.0) for k, p in zip(keep, parts, strict=True))
    nodes_behind = np.asarray(np.sum(keep, axis=0, dtype=np.int64))
    return told_keys(Totals(nodes_behind, np.asarray(values)), SALT)


def sharing_a_bucket(buckets: int, *, bits_differ: bool = True) -> tuple[str, str]:
    first = mark_of("key 0", SALT, buckets)
    for at in range(1, 2_000_000):
        mark = mark_of(f"key {at}", SALT, buckets)
        if mark.bucket == first.bucket and (mark.bits != first.bits) is bits_differ:
            return "key 0", f"key {at}"
    raise AssertionError


def statement(column: str = "k") -> KeyStatement:
    found = undeclared_key(f"SELECT {column}, COUNT(*) FROM t GROUP BY {column}", [SCHEMA])
    assert found is not None
    return found


@settings(max_examples=8, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 25)), max_size=8),
        min_size=4,
        max_size=4,
    ),
    st.sampled_from(["k", "n"]),
)
def test_found_are_the_keys_with_rows_enough_at_enough_nodes(
    nodes: list[list[tuple[str, int]]], column: str
) -> None:
    frames = []
    for held in nodes:
        keys = [name for name, count in held for _ in range(count)]
        number = [NAMES.index(key) - 4 for key in keys]
        frames.append(pd.DataFrame({"k": [*keys, None], "n": [*number, None]}, dtype=object))
    counts = [Counter(frame[column]) for frame in frames]
    truth = {
        str(key)
        for key in set().union(*counts) - {None}
        if sum(own[key] >= 10 for own in counts) >= 3
    }
    source = InProcess(frames, SCHEMA, threshold=10)
    with patch("yumen.key_query.secrets.token_hex", side_effect=SALTS):
        if not truth:
            with pytest.raises(PeerError, match=r"a value of `[kn]` with rows enough at enough"):
                find_keys(source, statement(column), buckets=256)
            return
        found = find_keys(source, statement(column), buckets=256)
    assert set(found.keys) == truth
    assert found.provenance.rounds == 3
    if column == "n":
        assert [int(key) for key in found.keys] == sorted(int(key) for key in truth)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(NAMES[:6]), max_size=9), st.lists(st.text(max_size=4), max_size=9))
def test_a_thin_key_changes_nothing_that_a_node_says(thin: list[str], other: list[str]) -> None:
    stays = ["stays"] * 10 + ["stays too"] * 30
    without, with_thin = computed(stays), computed([*stays, *thin, None])
    instead = computed([*stays, *other[:9]])
    for part in (with_thin, instead):
        assert np.array_equal(part.supports, without.supports)
        assert np.array_equal(part.values, without.values)


def test_values_are_whole_numbers_of_forty_bits() -> None:
    values = computed([name for name in NAMES for _ in range(10)], buckets=MAX_BUCKETS).values
    assert np.array_equal(values, np.floor(values))
    assert (values < 2**40).all()
    assert (values >= 0).all()


def test_keys_of_one_node_that_share_a_bucket_are_silent_until_one_is_known() -> None:
    first, second = sharing_a_bucket(64)
    both = [first] * 10 + [second] * 10
    assert not computed(both).supports.any()
    assert not computed(both).values.any()
    apart = computed(both, [second])
    assert np.array_equal(apart.values, computed([first] * 10).values)
    assert not computed(both, [first, second]).values.any()


def test_keys_that_share_a_bucket_are_found_in_a_later_run() -> None:
    salts = [f"{at:032x}" for at in range(100_000)]
    first, second = "left", "right"

    def apart(salt: str) -> bool:
        return mark_of(first, salt, 16).bucket != mark_of(second, salt, 16).bucket

    given_out = [
        next(salt for salt in salts if not apart(salt)),
        next(salt for salt in salts if apart(salt)),
        salts[0],
    ]
    frame = pd.DataFrame({"k": [first] * 12 + [second] * 12, "n": [1] * 24})
    source = InProcess([frame] * 3, SCHEMA, threshold=10)
    with patch("yumen.key_query.secrets.token_hex", side_effect=given_out):
        assert find_keys(source, statement(), buckets=16).keys == (first, second)


def test_nodes_with_different_keys_in_a_bucket_tell_neither() -> None:
    first, second = sharing_a_bucket(64)
    agreeing = [[first] * 10] * 3
    assert told(agreeing) == [first]
    assert told([*agreeing, [second] * 9]) == [first]
    assert told([*agreeing, [second] * 10]) == []


def test_two_nodes_are_not_enough() -> None:
    assert told([["a"] * 50, ["a"] * 50, ["a"] * 9]) == []
    assert told([["a"] * 50, ["a"] * 50, ["a"] * 10]) == ["a"]


@pytest.mark.parametrize(
    ("key", "fits"),
    [
        ("x" * 60, True),
        ("x" * 61, False),
        ("城" * 20, True),
        ("城" * 20 + "x", False),
        ("", True),
        (" ", True),
        ("a\tb", False),
        ("a\0", False),
        ("a\u202eb", False),
        ("\ud800", False),
        ("e\u0301", False),
    ],
)
def test_keys_that_may_be_told(key: str, fits: bool) -> None:
    assert may_be_told(key) is fits
    assert told([[key] * 10] * 3) == ([key] if fits else [])


@pytest.mark.parametrize("change", ["check", "piece", "node", "bucket"])
def test_totals_that_are_no_key_are_left_out(change: str) -> None:
    mark = mark_of("key", SALT, 64)
    part = computed(["key"] * 10)
    nodes = np.zeros((64, 1 + AGREEMENT_BITS), dtype=np.int64)
    nodes[mark.bucket] = 3
    values = 3 * part.values
    assert told_keys(Totals(nodes, values), SALT) == ["key"]
    if change == "check":
        values[mark.bucket, PIECES] += 3
    elif change == "piece":
        values[mark.bucket, 0] += 1
    elif change == "node":
        nodes[mark.bucket] = 4
    else:
        nodes, values = np.roll(nodes, 1, axis=0), np.roll(values, 1, axis=0)
    assert told_keys(Totals(nodes, values), SALT) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"buckets": 15}, "expected `buckets` from 16 to 4096, got `15`"),
        ({"buckets": MAX_BUCKETS + 1}, "expected `buckets` from 16 to 4096, got `4097`"),
        ({"buckets": True}, "expected `buckets` from 16 to 4096, got `True`"),
        ({"known": -1}, "expected `known` from 0 to 12288, got `-1`"),
        ({"known": MAX_KNOWN + 1}, "expected `known` from 0 to 12288, got `12289`"),
        ({"salt": "00"}, "expected `salt` as 32 hexadecimal digits"),
        ({"salt": "zz" * 16}, "expected `salt` as 32 hexadecimal digits"),
        ({"salt": 7}, "expected `salt` to be text, got `7`"),
        ({"variable": "x"}, "expected `x` to be a column of keys read as text"),
        ({"variable": "gone"}, "expected `gone` to be a column of keys read as text"),
        ({"threshold": 1}, "expected the arguments buckets, known, salt, variable"),
    ],
)
def test_arguments_are_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(CallError) as caught:
        Keys().layout({**arguments(), **changed}, VARIABLES)  # type: ignore[dict-item]
    assert caught.value.message.startswith(message)


def test_hostile_inputs_only_leave_keys_out() -> None:
    keys = ["a"] * 10 + ["b"] * 10
    rows = Rows(len(keys), {}, {}, {KEY_TEXT: keys})
    whole = computed(keys).values
    for value in (np.inf, -np.inf, np.nan, -1.0, 0.5, 2.0**60):
        part = Keys().compute(
            rows,
            arguments(known=8),  # type: ignore[arg-type]
            {"known": np.full(8, value)},
            RULES,
        )
        assert np.array_equal(part.values, whole)


@pytest.mark.parametrize(
    ("selected", "message"),
    [
        (
            f"CASE WHEN n > 1 THEN 'a' END AS \"{KEY_TEXT}\"",
            "expected `key of each row` to be a column of texts or",
        ),
        (f'n > 1 AS "{KEY_TEXT}"', "expected `key of each row` to be a column of texts or"),
        ('k AS "another name"', "`another name` cannot be used in a statistic: column `k` has no"),
    ],
)
def test_undeclared_text_is_read_as_a_key_only(selected: str, message: str) -> None:
    with pytest.raises(CallError) as caught:
        parse_rows(f"SELECT {selected} FROM t", {"t": SCHEMA})
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize("column", ["k", "n"])
def test_a_key_is_a_group_to_policies_and_nothing_to_other_kinds(column: str) -> None:
    plan = parse_rows(f'SELECT {column} AS "{KEY_TEXT}" FROM t WHERE n > 1', {"t": SCHEMA})
    assert plan.group_by == {column}
    assert plan.filters == {"n"}
    variable = Variable.of(plan.variables[0])
    assert (variable.numeric, variable.levels, variable.low) == (False, None, None)
    with pytest.raises(CallError, match="to have a declared domain, got values not known"):
        CountsBy().layout({"tables": [[KEY_TEXT, 2, "", 1]]}, {KEY_TEXT: variable})
