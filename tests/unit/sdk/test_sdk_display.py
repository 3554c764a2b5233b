from __future__ import annotations

from datetime import datetime
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from yumen.display import (
    Grid,
    counted,
    format_bytes,
    format_moments,
    format_numbers,
    html,
    plain,
    safe,
    short_name,
    shortened,
)


def test_columns_align_by_the_width_of_characters() -> None:
    shown = plain(Grid(("省份", "n"), (("甘肃", "12"), ("x", "3")), (False, True)), width=80)
    assert shown.splitlines() == ["省份   n", "────  ──", "甘肃  12", "x      3"]


def test_columns_that_do_not_fit_continue_beside_the_first() -> None:
    grid = Grid(("key", "one", "two"), (("k", "1" * 10, "2" * 10),))
    first, second = plain(grid, width=20).split("\n\n")
    assert first.splitlines()[0] == "key  one"
    assert second.splitlines()[2] == "k    2222222222"


def test_one_column_wider_than_the_terminal_is_still_shown() -> None:
    assert "long-enough" in plain(Grid(("name",), (("long-enough",),)), width=5)


def test_notes_wrap_with_an_indent() -> None:
    shown = plain(Grid(("a",), (), notes=("  one two three", "", "four")), width=10)
    assert shown.splitlines()[2:] == ["  one two", "    three", "", "four"]


def test_long_cells_and_long_tables_are_cut() -> None:
    grid = Grid(("text", "row"), tuple(("x" * 100, str(i)) for i in range(200)))
    lines = plain(grid, width=100).splitlines()
    assert lines[2].startswith("x" * 47 + "…")
    assert len(lines) == 2 + 40 + 1 + 10
    assert lines[-1].endswith("199")


@given(st.lists(st.lists(st.text(max_size=60), min_size=3, max_size=3), max_size=5))
def test_no_text_breaks_the_grid(rows: list[list[str]]) -> None:
    grid = Grid(("a", "b", "c"), tuple(tuple(row) for row in rows), title="t")
    lines = plain(grid, width=1000).split("\n")
    assert len(lines) == 3 + len(rows)
    assert all(cell_len(line) <= cell_len(lines[2]) for line in lines[3:])


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)


@given(st.lists(st.text(max_size=40), max_size=5))
def test_no_text_becomes_markup(texts: list[str]) -> None:
    grid = Grid(("<b>",), tuple((text,) for text in texts), notes=("<i>",), title="</div><p>")
    tags = _Tags()
    tags.feed(html(grid))
    expected = ["div", "div", "strong", "table", "thead", "tr", "th", "tbody"]
    expected += ["tr", "td"] * len(texts) + ["div"]
    assert tags.seen == expected


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([246.5821, 51.7], ["246.582", "51.700"]),
        ([51.7, 56.25], ["51.70", "56.25"]),
        ([0.553645123, None], ["0.55365", "null"]),
        ([0.0, 0.0], ["0.0", "0.0"]),
        ([1.0, 2.0], ["1.0", "2.0"]),
        ([None, None], ["null", "null"]),
        ([], []),
        ([123456789.5], ["123456790"]),
        ([1e15, 1.0], ["1.00000e+15", "1.00000e+00"]),
        ([1e-7], ["1.00000e-07"]),
        ([-3.5, 12.25], ["-3.50", "12.25"]),
        ([float("nan"), 1.5], ["nan", "1.50000"]),
    ],
)
def test_floats_of_a_column_share_their_decimals(
    values: list[float | None], texts: list[str]
) -> None:
    assert format_numbers(values) == texts


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("spiffe://h.example/org/lzu/node/east", "lzu/east"),
        ("spiffe://h.example/org/lzu/node/lzu", "lzu"),
        ("not an identity", "not an identity"),
        ("\x1b" + "x" * 200, "\\x1b" + "x" * 79),
    ],
)
def test_short_names(uri: str, name: str) -> None:
    assert short_name(uri) == name


def test_identities_in_a_sentence_are_shortened() -> None:
    said = "refused (at spiffe://h.example/org/lzu/node/east, spiffe://h.example/org/b/node/b)"
    assert shortened(said) == "refused (at lzu/east, b)"


@given(st.text())
def test_safe_text_is_one_line_and_stays_when_made_safe_again(text: str) -> None:
    shown = safe(text)
    assert len(shown.splitlines()) <= 1
    assert safe(shown) == shown


def test_counts_and_sizes_in_words() -> None:
    assert counted(1, "node") == "1 node"
    assert counted(1_200, "node accepts", "nodes accept") == "1,200 nodes accept"
    assert [format_bytes(n) for n in (12, 65_700, 2_500_000)] == ["12 bytes", "65.7 kB", "2.5 MB"]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([datetime(2020, 1, 31), None], ["2020-01-31", "null"]),
        ([datetime(2020, 1, 31), datetime(1, 1, 1, 8)], ["2020-01-31 00:00", "0001-01-01 08:00"]),
        ([datetime(2020, 1, 31, 8, 0, 5)], ["2020-01-31 08:00:05"]),
        ([datetime(2020, 1, 31, 8, 0, 0, 5)], ["2020-01-31 08:00:00.000005"]),
        ([None], ["null"]),
        ([], []),
    ],
)
def test_timestamps_of_a_column_share_their_precision(
    values: list[datetime | None], texts: list[str]
) -> None:
    assert format_moments(values) == texts
