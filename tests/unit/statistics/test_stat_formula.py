"""A formula's design is formulaic's and patsy's on the same rows; its text is never run."""

from __future__ import annotations

import time

import formulaic
import numpy as np
import pandas as pd
import patsy
import pytest
from builders.in_process import HELD, InProcess, schema_of
from hypothesis import given, settings
from hypothesis import strategies as st
from yumen.statistics.formula import Levels, Model, parse_formula
from yumen.statistics.table import Table
from yumen_core.errors import CallError
from yumen_core.sql import Column, ColumnType, TableSchema, parse_rows, read_rows, rows_sql
from yumen_core.statistics.design import Design, Factor, design_matrix, parse_design
from yumen_core.statistics.rows import Rows, Variable

N = 60
FUNCTIONS = {
    name: getattr(np, name) for name in ("log", "log2", "log10", "log1p", "exp", "sqrt", "abs")
}


def _frame() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "y": rng.normal(size=N),
            "x": rng.normal(size=N) + 10,
            "z": rng.normal(size=N) + 10,
            "a": rng.choice(["p", "q", "r"], N),
            "b": rng.choice(["u", "v"], N),
            "k": rng.integers(1, 4, N),
            "t": rng.random(N) < 0.5,
            "年龄": rng.random(N) + 1,
            "my age": rng.random(N) + 1,
        }
    )


FRAME = _frame()
SOURCE = InProcess([FRAME], schema_of(FRAME))
TABLE = Table(SOURCE)


def _matrix(formula: str, table: Table = TABLE) -> tuple[Model, Design, np.ndarray]:
    """The model, the design as a node reads it, and its matrix over all rows."""
    model = parse_formula(table, formula)
    plan = parse_rows(table.rows(model.variables), {"t": SOURCE.schema})
    variables = {v.name: Variable(v.name, v.numeric, v.levels) for v in plan.variables}
    design = parse_design(model.design.to_json(), variables)
    assert dict(design.levels) == dict(model.design.levels)
    fetched = SOURCE._databases[0].execute(rows_sql(plan, HELD)).fetchnumpy()
    rows = Rows(N, *read_rows(plan, fetched))
    return model, design, design_matrix(design, rows, np.ones(N, dtype=np.bool_))


FACTORS = st.sampled_from(["x", "z", "a", "b", "C(k, levels=[1, 2, 3])", "np.log(x)", "`my age`"])
TERMS = st.lists(FACTORS, min_size=1, max_size=3, unique=True).map(":".join)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(TERMS, min_size=1, max_size=5, unique_by=lambda term: frozenset(term.split(":"))),
    st.sampled_from(["", "0 + ", "1 + "]),
)
def test_a_design_has_the_names_order_and_numbers_of_formulaic(
    terms: list[str], intercept: str
) -> None:
    formula = f"y ~ {intercept}{' + '.join(terms)}"
    expected = formulaic.model_matrix(formula, FRAME).rhs
    _, design, matrix = _matrix(formula)
    assert list(design.names) == list(expected.columns)
    np.testing.assert_allclose(matrix, expected.to_numpy(float), rtol=1e-12)


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x * a * b",
        "y ~ (a + b + x)**2",
        "y ~ x / a",
        "y ~ a * b - a",
        "y ~ x + a - 1",
        "y ~ log(x) + log2(x) + log10(x) + log1p(x) + np.exp(z) + sqrt(z)",
        "y ~ I(x ** 2) + I(x * z - 3) + I(x / z) + I(-x) + {z + 1}",
        "y ~ 年龄 * a + np.log(`my age`) + `年龄`:z",
        "log(y + 20) ~ x",
        "y ~ 1",
    ],
)
def test_what_a_formula_may_say_is_what_formulaic_makes_of_it(formula: str) -> None:
    expected = formulaic.model_matrix(formula, FRAME, context=FUNCTIONS).rhs
    _, design, matrix = _matrix(formula)
    assert list(design.names) == list(expected.columns)
    np.testing.assert_allclose(matrix, expected.to_numpy(float), rtol=1e-12)


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ t",
        "y ~ 0 + t",
        "y ~ t * a",
        "y ~ I(x > 10)",
        "y ~ I((x > 9) & (z < 11)) + I(a == 'p')",
        'y ~ C(a, Treatment("q")) + x',
        "y ~ C(a, Treatment(reference='r')):x",
        "y ~ C(k, levels=[3, 1, 2])",
        "y ~ C(b):t",
        "y ~ Q('my age')",
        "I(x > 10) ~ z",
    ],
)
def test_booleans_and_references_have_the_names_and_numbers_of_patsy(formula: str) -> None:
    held = patsy.dmatrices(formula, FRAME)[1]
    _, design, matrix = _matrix(formula)
    assert list(design.names) == held.design_info.column_names
    np.testing.assert_allclose(matrix, np.asarray(held), rtol=1e-12)


def test_columns_of_assign_are_read_as_what_they_stand_for() -> None:
    table = TABLE.assign(old="CASE WHEN x > 10 THEN 'yes' ELSE 'no' END", double="2 * x")
    model, design, matrix = _matrix("y ~ old + log(double)", table)
    assert design.names == ("Intercept", "old[T.no]", "log(double)")
    np.testing.assert_array_equal(matrix[:, 1], FRAME["x"] <= 10)
    np.testing.assert_allclose(matrix[:, 2], np.log(2 * FRAME["x"]))
    assert model.levels == {"old": Levels("old", ("yes", "no"), "yes")}


def test_levels_that_are_left_out_make_the_row_missing() -> None:
    table = TABLE
    model = parse_formula(table, "y ~ C(a, levels=['r', 'p'])")
    (name,) = set(model.variables) - {"y"}
    assert name == "a among r, p"
    sql = model.variables[name]
    assert sql == "CASE WHEN \"a\" = 'r' THEN 'r' WHEN \"a\" = 'p' THEN 'p' END"
    assert model.design.levels == {name: ("r", "p")}


def test_the_response_is_a_number_of_each_row() -> None:
    assert parse_formula(TABLE, "t ~ x").response == Factor("t")
    assert parse_formula(TABLE, "np.log(x) ~ z").response == Factor("x", "log")
    model = parse_formula(TABLE, 'I(a == "p") ~ x')
    assert model.response == Factor("a == 'p'")
    assert model.response_name == 'I(a == "p")'
    assert model.variables["a == 'p'"] == "(\"a\" = 'p')"


def test_a_formula_without_a_left_side_has_no_response() -> None:
    model = parse_formula(TABLE, "x + a", response=False)
    assert model.response is None
    assert model.design.without_intercept().names == ("x", "a[T.q]", "a[T.r]")


DECLARED = Table(
    InProcess(
        [],
        TableSchema(
            "t",
            (
                Column("y", ColumnType.FLOAT),
                Column("k", ColumnType.INTEGER, domain=(1, 2, 3)),
                Column("note", ColumnType.TEXT),
            ),
        ),
    )
)


def test_an_integer_with_a_domain_is_a_number_unless_the_formula_says_otherwise() -> None:
    assert parse_formula(DECLARED, "y ~ k").design.names == ("Intercept", "k")
    model = parse_formula(DECLARED, "y ~ C(k, Treatment(2))")
    assert model.design.names == (
        "Intercept",
        "C(k, Treatment(2))[T.1]",
        "C(k, Treatment(2))[T.3]",
    )
    assert model.levels == {"C(k, Treatment(2))": Levels("k", (1, 2, 3), 2)}


def test_text_without_a_domain_needs_its_levels_written() -> None:
    with pytest.raises(CallError) as caught:
        parse_formula(DECLARED, "y ~ note")
    assert str(caught.value) == (
        "expected a number, or text with a declared domain in the term `note`, got text whose "
        "values are not known beforehand; write C(note, levels=[...]) or I(note == ...)"
    )
    model = parse_formula(DECLARED, "y ~ C(note, levels=['low', 'high'])")
    assert model.design.names[1] == "C(note, levels=['low', 'high'])[T.high]"


def test_text_cannot_leave_its_literal_or_its_name() -> None:
    model = parse_formula(TABLE, 'y ~ I(a == "p\' OR 1=1 --")')
    assert model.variables['a == "p\' OR 1=1 --"'] == "(\"a\" = 'p'' OR 1=1 --')"
    with pytest.raises(CallError, match=r"expected a column of table `t`"):
        parse_formula(TABLE, 'y ~ `x" FROM t; --`')


CENTRED = (
    "leave it out: columns are centred and scaled internally; for curves write I(x ** 2), "
    "or make columns with `table.assign`"
)
BAD = [
    (
        "y ~ poly(x, 2)",
        f"expected columns as they are in the term `poly(x, 2)`, got `poly`; {CENTRED}",
    ),
    (
        "y ~ scale(x)",
        f"expected columns as they are in the term `scale(x)`, got `scale`; {CENTRED}",
    ),
    (
        "y ~ np.sin(x)",
        "expected C, I or one of log, log2, log10, log1p, exp, sqrt in the term `np.sin(x)`, "
        "got `np.sin`; make the column with `table.assign(name='SQL expression')`",
    ),
    (
        "y ~ __import__('os').system('true')",
        "expected a formula such as `y ~ a + b`, got `y ~ __import__('os').system('true')`",
    ),
    ("y ~ x.real", "expected a column of table `t`, got `x.real` in the term `x.real`"),
    (
        "y ~ I(x.real)",
        "expected arithmetic or conditions of columns in the term `I(x.real)`, got `x.real`",
    ),
    ("y ~ x[0]", "expected arithmetic or conditions of columns in the term `x[0]`, got `x[0]`"),
    ("y ~ I((lambda: 1)())", "expected arithmetic or conditions of columns in the term"),
    ("y ~ agee", "expected a column of table `t`, got `agee`; near it: `my age` in the term"),
    ("y ~ x + x", "expected each term once in the term `x`, got one twice"),
    ("y ~ a:b + x + b:a", "expected each term once in the term `a:b`, got one twice"),
    ("y ~ x + I(x)", "expected each column once in the term `I(x)`, got the same as `x`"),
    ("y ~ 2:x", "expected columns in the term `2`, got a literal"),
    ("y ~ 'p'", "string literals are not valid in formulae"),
    ("y ~ x | z", "expected the operators + - * / : ** in a formula, got `|`"),
    ("y ~ .", "expected the operators + - * / : ** in a formula, got `.`"),
    ("x + z", "expected one `~` as in `y ~ a + b` in a formula, got `x + z`"),
    ("y ~ x ~ z", "expected one `~` as in `y ~ a + b` in a formula, got `y ~ x ~ z`"),
    ("~ x", "expected one response left of `~`, got 0"),
    ("y + x ~ z", "expected one response left of `~`, got 2"),
    ("y:x ~ z", "expected one column as the response in the term `y:x`, got a product"),
    (
        "a ~ x",
        "expected a number or a condition as the response in the term `a`, got levels; "
        'write I(a == "r")',
    ),
    (
        "C(k) ~ x",
        "expected a number or a condition as the response in the term `C(k)`, got levels; write k",
    ),
    (
        "y ~ C(k)",
        "expected levels that are known beforehand in the term `C(k)`, got a column without a "
        "declared domain; write C(k, levels=[...]) with the levels to use",
    ),
    ("y ~ C(a, Sum)", 'expected `C(x)` or `C(x, Treatment("level"))` in the term `C(a, Sum)`'),
    ("y ~ C(a, Treatment('s'))", "expected a reference among `p`, `q`, `r` in the term"),
    ("y ~ log(a)", "expected a number for `log` in the term `log(a)`, got levels"),
    ("y ~ log(x, 2)", "expected one argument of `log` in the term `log(x, 2)`, got another number"),
    ("y ~ I(a + 1)", 'in the term `I(a + 1)`: `"a"` at line 1, column 9 cannot be used here'),
    ("y ~ I(x ** 9)", "expected a power from 1 to 6 in the term `I(x ** 9)`, got `9`"),
    ("y ~ I(x <> 1)", "write conditions as in I(a == 1), and names with spaces in `backticks`"),
    ("y ~ 0", "expected a formula with 1 to 200 columns, got 0"),
    ("", "expected a formula of 1 to 10000 characters"),
]


@pytest.mark.parametrize(("formula", "message"), BAD)
def test_what_cannot_be_asked_is_refused_by_name(formula: str, message: str) -> None:
    with pytest.raises(CallError) as caught:
        parse_formula(TABLE, formula)
    assert caught.value.code == "formula"
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ (x + z + a + b)**9",
        "y ~ (x + z)**99999999",
        "y ~ " + "*".join(f"I(x+{at})" for at in range(400)),
        "y ~ " + " + ".join(["x"] * 2400),
        "y ~ log(" + "-" * 9000 + "x)",
        "y ~ I(" + "(" * 4900 + "x" + ")" * 4900 + ")",
        "y ~ I(" + "(" * 100 + "x" + "**6)" * 100 + ")",
        "y ~ " + "x" * 10_000,
        "y ~ C(a):C(b):C(t):" + ":".join(f"I(x > {at})" for at in range(8)),
    ],
)
def test_a_hostile_formula_is_refused_soon(formula: str) -> None:
    start = time.perf_counter()
    with pytest.raises(CallError):
        parse_formula(TABLE, formula)
    assert time.perf_counter() - start < 5
