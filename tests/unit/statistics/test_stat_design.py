"""A signed design: what a node checks of it, its matrix, and the rows behind its levels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yumen_core.canonical import Json
from yumen_core.errors import CallError, StateError
from yumen_core.statistics.design import (
    Design,
    Factor,
    design_matrix,
    factor_bounds,
    level_counts,
    level_supports,
    parse_design,
    usable_design,
)
from yumen_core.statistics.rows import Rows, Variable

VARIABLES = {
    "x": Variable("x", True),
    "chol": Variable("chol", True),
    "a": Variable("a", False, ("p", "q", "r")),
    "b": Variable("b", True, (False, True)),
}
ROWS = Rows(
    6,
    {
        "x": np.array([1.0, 2, 3, 4, 5, 6]),
        "chol": np.array([1.0, 10, 0, 100, 10, 1]),
        "b": np.array([0.0, 1, 1, 0, 0, 1]),
    },
    {
        "a": np.array([0, 1, 1, 2, 2, 2], dtype=np.int32),
        "b": np.array([0, 1, 1, 0, 0, 1], dtype=np.int32),
    },
)
ALL = np.ones(6, dtype=np.bool_)


def _x(variable: str, function: str = "identity", level: int | None = None) -> Json:
    return [variable, function, level]


def _design(*columns: Json) -> Design:
    return parse_design(list(columns), VARIABLES)


def test_a_column_is_the_product_of_its_factors() -> None:
    design = _design(
        ["Intercept", []],
        ["log10(x)", [_x("x", "log10")]],
        ["x:a[q]", [_x("x"), _x("a", level=1)]],
        ["b", [_x("b")]],
    )
    chosen = np.array([True, True, False, True, True, True])
    matrix = design_matrix(design, ROWS, chosen)
    expected = [
        [1, 0, 0, 0],
        [1, np.log10(2), 2, 1],
        [1, np.log10(4), 0, 0],
        [1, np.log10(5), 0, 0],
        [1, np.log10(6), 0, 1],
    ]
    np.testing.assert_allclose(matrix, expected)
    assert matrix.flags.f_contiguous
    assert design.has_intercept
    assert design.variables == ("x", "a", "b")
    assert not design.without_intercept().has_intercept


@pytest.mark.parametrize(
    ("function", "name"), [("log", "log(chol)"), ("log10", "log10(chol)"), ("exp", "exp(chol)")]
)
def test_rows_of_a_column_that_is_not_finite_count_as_missing(function: str, name: str) -> None:
    chol = np.array([1.0, 2.0, *[0.0 if function != "exp" else 1e4] * 3])
    rows = Rows(5, {"chol": chol}, {})
    design = _design(["Intercept", []], [name, [_x("chol", function)]])
    every = np.ones(5, dtype=np.bool_)
    kept, matrix = usable_design(design, rows, every, 4)
    assert kept.tolist() == [True, True, False, False, False]
    np.testing.assert_array_equal(matrix[:, 1], getattr(np, function)(chol[:2]))
    with pytest.raises(StateError) as caught:
        usable_design(design, rows, every, 3)
    assert caught.value.code == "data_values"
    assert caught.value.message == (
        f"expected numbers within 1e+13 of 0 in `{name}`, got others in the table's threshold of "
        "rows or more"
    )


def test_a_product_beyond_the_range_of_sums_counts_as_missing() -> None:
    far = np.array([1e12, 1.0])
    rows = Rows(2, {"x": far, "chol": far}, {})
    design = _design(["x", [_x("x")]], ["x:chol", [_x("x"), _x("chol")]])
    kept, _ = usable_design(design, rows, np.ones(2, dtype=np.bool_), 2)
    assert kept.tolist() == [False, True]


@pytest.mark.parametrize(
    ("function", "bounds", "expected"),
    [
        ("identity", (-3.0, 5.0), (-3.0, 5.0)),
        ("sqrt", (4.0, 9.0), (2.0, 3.0)),
        ("log", (0.0, 1.0), (-np.inf, 0.0)),
        ("log", (-2.0, 1.0), (-np.inf, 0.0)),
        ("exp", (0.0, 1e4), (1.0, np.inf)),
        ("log", (None, None), (None, None)),
    ],
)
def test_bounds_of_a_factor(
    function: str, bounds: tuple[float | None, float | None], expected: tuple[float | None, ...]
) -> None:
    variables = {"x": Variable("x", True, None, *bounds)}
    assert factor_bounds(Factor("x", function), variables) == expected


def test_each_level_and_the_reference_is_a_support() -> None:
    design = _design(
        ["Intercept", []], ["a[T.q]", [_x("a", level=1)]], ["a[T.r]", [_x("a", level=2)]]
    )
    assert level_supports(design) == ("a[q]", "a[r]", "a[p]")
    assert level_counts(design, ROWS, ALL).tolist() == [2, 3, 1]


def test_levels_that_no_column_uses_are_counted_together() -> None:
    design = _design(["Intercept", []], ["a[T.q]", [_x("a", level=1), _x("x")]])
    assert level_supports(design) == ("a[q]", "a[other levels]")
    assert level_counts(design, ROWS, ALL).tolist() == [2, 4]


def test_a_product_of_levels_is_counted_by_its_cells() -> None:
    design = _design(
        ["Intercept", []],
        ["a[T.q]", [_x("a", level=1)]],
        ["b", [_x("b", level=1)]],
        ["a[T.q]:b", [_x("a", level=1), _x("b", level=1)]],
    )
    assert level_supports(design) == (
        "a[q]:b[True]",
        "a[q]:b[False]",
        "a[other levels]:b[True]",
        "a[other levels]:b[False]",
    )
    assert level_counts(design, ROWS, ALL).tolist() == [2, 0, 1, 3]


def test_a_design_of_numbers_has_no_levels_to_count() -> None:
    design = _design(["Intercept", []], ["x", [_x("x")]])
    assert level_supports(design) == ()
    assert level_counts(design, ROWS, ALL).tolist() == []


@given(st.lists(st.booleans(), min_size=6, max_size=6))
def test_the_counts_of_a_set_of_levels_add_up_to_the_chosen_rows(marks: list[bool]) -> None:
    design = _design(["a[q]:b", [_x("a", level=1), _x("b", level=1)]], ["x", [_x("x")]])
    chosen = np.array(marks)
    assert level_counts(design, ROWS, chosen).sum() == chosen.sum()


BAD: list[tuple[Json, str]] = [
    (None, "expected a design of 1 to 200 columns"),
    ([], "expected a design of 1 to 200 columns"),
    ([["x", [["x", "identity", None]]]] * 201, "expected a design of 1 to 200 columns"),
    (["x"], "expected a column of a design as its name and its factors"),
    ([["", []]], "expected a column's name of 1 to 400 characters"),
    ([["n" * 401, []]], "expected a column's name of 1 to 400 characters"),
    ([["x", [["x", "identity", None]] * 7]], "expected at most 6 factors in `x`"),
    ([["x", [["z", "identity", None]]]], "expected a variable of the statement, got `z`"),
    ([["x", [["a", "identity", None]]]], "expected `a` to be a number, got levels"),
    ([["x", [["x", "identity", 0]]]], "expected `x` to have a declared domain"),
    ([["x", [["a", "identity", 3]]]], "expected a level of `a` from 0 to 2, got `3`"),
    ([["x", [["a", "identity", -1]]]], "expected a level of `a` from 0 to 2, got `-1`"),
    ([["x", [["a", "log", 1]]]], "expected factors of `x` as a variable, a function and a level"),
    ([["x", [["a", "identity", True]]]], "expected factors of `x` as a variable, a function"),
    ([["x", [["x", "__class__", None]]]], "expected a function among identity, log, log2"),
    ([["x", []], ["x", [["x", "log", None]]]], "expected columns of a design with distinct names"),
    ([["x", []], ["z", []]], "expected each product of factors once in a design, got one twice"),
]


@pytest.mark.parametrize(("json", "message"), BAD)
def test_a_design_that_is_not_well_formed_is_refused(json: Json, message: str) -> None:
    with pytest.raises(CallError) as caught:
        parse_design(json, VARIABLES)
    assert caught.value.code == "statistic"
    assert message in caught.value.message


def test_too_many_combinations_of_levels_are_refused() -> None:
    many = {f"v{at}": Variable(f"v{at}", False, tuple(range(20))) for at in range(3)}
    columns: list[Json] = [
        [f"c{at}", [_x("v0", level=at), _x("v1", level=at), _x("v2", level=at)]] for at in range(20)
    ]
    with pytest.raises(CallError, match="expected at most 2000 combinations of levels"):
        parse_design(columns, many)
