"""Plans: supports, layouts, digests; and how released sums become a table."""

from __future__ import annotations

import dataclasses
import math
from decimal import Decimal
from fractions import Fraction

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sql_tables import PEOPLE, Row, answer, node_cells
from yumen_core.errors import CallError, StateError
from yumen_core.sql import Column, ColumnType, Plan, TableSchema, finish, local_cells, parse
from yumen_core.sql.interval import Interval
from yumen_core.sql.like import LikePattern
from yumen_core.sql.plan import Behind

CATALOGUE = {"people": PEOPLE}
NOT_NULL, NOT_ZERO = Behind.NOT_NULL, Behind.NOT_ZERO


def plan_of(select: str, rest: str = "") -> Plan:
    return parse(f"SELECT {select} FROM people {rest}", CATALOGUE)


def parts(plan: Plan) -> list[tuple[tuple[int, Behind], ...]]:
    return [support.parts for support in plan.layout.support_parts]


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ("COUNT(*)", [()]),
        ("COUNT(age), SUM(age)", [()]),
        ("AVG(chol)", [(), ((0, NOT_NULL),)]),
        ("COUNT(CASE WHEN smoker THEN 1 END)", [(), ((0, NOT_NULL),)]),
        ("SUM(CASE WHEN smoker THEN 1 ELSE 0 END)", [(), ((0, NOT_ZERO),)]),
        ("SUM(age * 1)", [(), ((0, NOT_ZERO),)]),
        ("SUM(age + 1)", [()]),
        ("SUM(chol * 0 + 1)", [(), ((0, NOT_NULL),)]),
        ("AVG(weight * 2)", [(), ((0, NOT_NULL),)]),
        # one support for what one output combines, a stricter one than either
        ("SUM(chol) / SUM(bmi)", [(), ((0, NOT_NULL), (1, NOT_NULL))]),
        ("SUM(chol), SUM(bmi)", [(), ((0, NOT_NULL),), ((1, NOT_NULL),)]),
        # COUNT of a summed expression follows the sum's stricter support
        ("COUNT(chol * 2), SUM(chol * 2)", [(), ((0, NOT_ZERO),)]),
        # AND and CASE do not combine
        ("CASE WHEN SUM(chol) > 1 AND SUM(bmi) > 1 THEN COUNT(*) END",
         [(), ((0, NOT_NULL),), ((1, NOT_NULL),)]),
    ],
)  # fmt: skip
def test_supports(select: str, expected: list[tuple[tuple[int, Behind], ...]]) -> None:
    assert parts(plan_of(select)) == expected


def test_no_quantity_has_two_supports() -> None:
    plan = plan_of(
        "COUNT(*), COUNT(chol), AVG(chol), STDDEV(chol), SUM(chol), SUM(chol) / SUM(bmi)"
    )
    quantities = [(value.kind, value.argument) for value in plan.layout.values]
    assert len(quantities) == len(set(quantities))


@pytest.mark.parametrize(
    ("select", "bits"),
    [
        ("COUNT(*)", [(40, False)]),
        ("SUM(age)", [(47, False)]),
        ("SUM(chol)", [(51, True)]),
        ("SUM(cost)", [(64, False)]),
        ("AVG(bmi)", [(40, False), (160, True)]),
        ("VAR_SAMP(bmi)", [(40, False), (160, True), (160, False)]),
        # 0 and 1 only: the sum is the sum of squares
        ("STDDEV(CASE WHEN smoker THEN 1 ELSE 0 END)", [(40, False), (40, False)]),
    ],
)
def test_values_have_the_bits_their_bounds_need(select: str, bits: list[tuple[int, bool]]) -> None:
    layout = plan_of(select).layout
    assert [(value.bits, value.signed) for value in layout.values] == bits
    for value in layout.values:
        if value.kind == "sum" and value.bits < 160:
            assert value.bits <= 40 + 24 + value.signed


def test_what_a_plan_says_of_itself() -> None:
    plan = plan_of(
        "sex, CASE WHEN age < 40 THEN 'young' END AS band, AVG(chol), COUNT(*)",
        "WHERE smoker AND \"城市\" = '兰州' GROUP BY sex, band",
    )
    assert plan.table == "people"
    assert plan.grouped
    assert plan.columns == {"sex", "age", "chol", "smoker", "城市"}
    assert (plan.group_by, plan.group_bands) == ({"sex"}, {"age"})
    assert plan.filters == {"smoker", "城市"}
    assert plan.aggregates == {"avg", "count"}
    assert plan.layout.cells == 4
    assert plan.describe() == (
        "sex, CASE WHEN (age < 40) THEN 'young' ELSE NULL END, AVG(chol), COUNT(*) of table people "
        "where (smoker AND (城市 = '兰州')) by sex, CASE WHEN (age < 40) THEN 'young' "
        "ELSE NULL END (4 cells of 3 summed values)"
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.limit = 3  # type: ignore[misc]


def test_the_digest_follows_meaning_not_spelling() -> None:
    plan = plan_of("AVG(chol) AS m", "WHERE age > 40")
    same = parse(
        'select /* x */ avg( q."CHOL" ) as m from People q where (q.age) > 40 -- y', CATALOGUE
    )
    assert same.digest == plan.digest
    assert len(plan.digest) == 32
    others = [
        plan_of("AVG(chol) AS n", "WHERE age > 40"),
        plan_of("AVG(chol) AS m", "WHERE age > 41"),
        plan_of("AVG(chol) AS m", "WHERE age >= 40"),
        plan_of("AVG(chol) AS m", "WHERE age > 40 LIMIT 1"),
        plan_of("AVG(chol) AS m", "WHERE age > 40 HAVING COUNT(*) > 1"),
        plan_of("AVG(chol) AS m", "WHERE age > 40 ORDER BY m"),
        plan_of("AVG(chol) AS m", "WHERE age > 40.0"),
    ]
    table = TableSchema("people", (*PEOPLE.columns, Column("new", ColumnType.TEXT)))
    others.append(parse("SELECT AVG(chol) AS m FROM people WHERE age > 40", {"people": table}))
    assert len({plan.digest, *(other.digest for other in others)}) == len(others) + 1


def person(**values: object) -> Row:
    defaults: dict[str, object] = {"sex": "male", "age": 50}
    return tuple({**defaults, **values}.get(column.name) for column in PEOPLE.columns)


def test_a_rare_subgroup_has_its_own_support() -> None:
    plan = plan_of("COUNT(*), SUM(CASE WHEN stage = 2 THEN 1 ELSE 0 END)")
    cells = node_cells(plan, [person(stage=2)] * 3 + [person(stage=1)] * 40)
    assert cells.supports.tolist() == [[43, 3]]
    assert cells.values == [[43, 3]]


def test_a_joint_support_is_the_least_of_its_parts() -> None:
    plan = plan_of("SUM(chol) / SUM(bmi)")
    cells = node_cells(plan, [person(chol=1)] * 5 + [person(bmi=1.0)] * 3)
    assert cells.supports.tolist() == [[8, 3]]


def test_what_is_held_back_is_null_and_counted() -> None:
    plan = plan_of(
        "sex, COUNT(*) AS n, AVG(chol) AS m, 100.0 * SUM(chol) / COUNT(*) AS r", "GROUP BY sex"
    )
    assert [value.kind.value for value in plan.layout.values] == ["rows", "count", "sum"]
    found = finish(plan, [[4, 3], [3, 0]], [[100, 60, 120], [50, 0, 0]])
    assert found.table.to_pylist() == [
        # the ratio would set three nodes' sum against four nodes' rows
        {"sex": "female", "n": 100, "m": 2.0, "r": None, "_nodes": 4},
        {"sex": "male", "n": 50, "m": None, "r": None, "_nodes": 3},
    ]
    assert found.nodes.to_pylist() == [
        {"sex": 4, "n": 4, "m": 3, "r": 0, "_nodes": 4},
        {"sex": 3, "n": 3, "m": 0, "r": 0, "_nodes": 3},
    ]
    assert found.held_back == {"m": 1, "r": 2}
    assert found.empty_cells == 0
    found = finish(plan, [[4, 4], [0, 0]], [[100, 100, 120], [0, 0, 0]])
    assert found.table.to_pylist()[0]["r"] == 120.0
    assert (found.table.num_rows, found.empty_cells) == (1, 1)


def test_nothing_released_is_a_table_without_rows() -> None:
    found = finish(plan_of("COUNT(*) AS n, SUM(cost) AS s, AVG(bmi) AS m"), [[0, 0, 0]], [[0] * 4])
    assert found.table.num_rows == 0
    assert found.table.schema == pa.schema(
        [
            ("n", pa.int64()),
            ("s", pa.decimal128(38, 2)),
            ("m", pa.float64()),
            ("_nodes", pa.int64()),
        ]
    )


@pytest.mark.parametrize(
    ("nodes", "totals"), [([], []), ([[3]], [[1]]), ([[3, 3]], [[1]]), ([[3, 3]] * 2, [[1, 2]] * 2)]
)
def test_other_shapes_are_refused(nodes: list[list[int]], totals: list[list[int]]) -> None:
    with pytest.raises(CallError, match=r"expected (node counts|totals) for 1 cells of 2"):
        finish(plan_of("AVG(chol)"), nodes, totals)


def test_types_of_outputs() -> None:
    plan = plan_of(
        "sex, smoker, stage, COUNT(*) AS n, SUM(chol) AS i, SUM(cost) AS d, SUM(bmi) AS f, "
        "AVG(age) AS a, 2 * SUM(cost) + 0.125 AS e, SUM(age) > 1 AS b, SUM(chol) * SUM(chol) AS q",
        "GROUP BY 1, 2, 3",
    )
    row = person(smoker=True, stage=1, chol=600, cost=Decimal("1.25"), bmi=0.5)
    table = answer(plan, [[row] * 20] * 3).table
    big = 600 * 60
    assert [str(field.type) for field in table.schema] == [
        "string", "bool", "int64", "int64", "int64", "decimal128(38, 2)", "double", "double",
        "decimal128(38, 3)", "bool", "int64", "int64",
    ]  # fmt: skip
    assert table.to_pylist() == [
        {
            "sex": "male",
            "smoker": True,
            "stage": 1,
            "n": 60,
            "i": big,
            "d": Decimal("75.00"),
            "f": 30.0,
            "a": 50.0,
            "e": Decimal("150.125"),
            "b": True,
            "q": big**2,
            "_nodes": 3,
        }
    ]


def test_an_integer_beyond_64_bits_is_a_decimal() -> None:
    plan = plan_of("SUM(chol) * SUM(chol) AS q, SUM(chol) AS s")
    found = finish(plan, [[3, 3]], [[2**40]]).table
    assert str(found.schema.field("q").type) == "decimal128(38, 0)"
    assert found["q"].to_pylist() == [Decimal(2**80)]
    with pytest.raises(CallError) as caught:
        finish(plan, [[3, 3]], [[2**64]])
    assert caught.value.message == "output `q` needs more than 38 digits"


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ("COUNT(*) / 0", math.inf),
        ("-COUNT(*) / 0", -math.inf),
        ("NULL = COUNT(*)", None),
        ("NULL IS NULL AND COUNT(*) > 0", True),
        ("COUNT(*) IN (1, NULL)", None),
        ("COUNT(*) IN (2, NULL)", True),
        ("NOT (COUNT(*) > 5 OR NULL)", None),
        ("COUNT(*) BETWEEN 1.5 AND 2", True),
        ("CASE COUNT(*) WHEN 1 THEN 'one' WHEN 2 THEN 'two' END", "two"),
        ("CASE WHEN NULL THEN 1 ELSE 2.5 END + COUNT(*) * 0", Decimal("2.5")),
        ("ABS(COUNT(*) - 3.5)", Decimal("1.5")),
        ("VAR_SAMP(age) * 1.0", 0.0),
    ],
)
def test_outputs_follow_sql(select: str, expected: object) -> None:
    plan = plan_of(f"{select} AS x")
    found = answer(plan, [[person()], [person()], []]).table["x"].to_pylist()
    assert found == [expected]
    theirs = duckdb.sql(f"SELECT {select} FROM (VALUES (50), (50)) t(age)").fetchall()
    assert theirs == [(expected,)]


def test_the_variance_of_one_row_is_null() -> None:
    table = answer(
        plan_of("VAR_SAMP(age) AS v, STDDEV(bmi) AS s"), [[person(bmi=1.0)], [], []]
    ).table
    assert table.to_pylist() == [{"v": None, "s": None, "_nodes": 3}]


ORDERED = [
    ("ORDER BY stage", [-3, 0, 1, 2, None]),
    ("ORDER BY stage DESC", [2, 1, 0, -3, None]),
    ("ORDER BY stage NULLS FIRST", [None, -3, 0, 1, 2]),
    ("ORDER BY 1 DESC NULLS FIRST", [None, 2, 1, 0, -3]),
    ("ORDER BY n DESC, stage LIMIT 2", [None, 2]),
    ("ORDER BY COUNT(*) DESC, stage LIMIT 2 OFFSET 1", [2, 1]),
    ("HAVING COUNT(*) > 2 ORDER BY n", [1, 2, None]),
    ("HAVING n > 2 AND stage > 1 ORDER BY n", [2]),
    ("HAVING AVG(chol) > 0", []),
    ("LIMIT 0", []),
    ("", [0, 1, 2, -3, None]),
]


@pytest.mark.parametrize(("rest", "expected"), ORDERED)
def test_having_order_and_limit(rest: str, expected: list[int | None]) -> None:
    plan = plan_of("stage, COUNT(*) AS n", f"GROUP BY stage {rest}")
    rows = [
        person(stage=stage)
        for stage, count in [(-3, 1), (0, 2), (1, 3), (2, 4), (None, 5)]
        for _ in range(count)
    ]
    assert answer(plan, [rows, [], []]).table["stage"].to_pylist() == expected


@pytest.mark.parametrize(
    "group", ["1", "band", "CASE WHEN age < 50 THEN 'a' WHEN age > 60 THEN 'b' END"]
)
def test_bands_by_ordinal_alias_and_expression(group: str) -> None:
    plan = plan_of(
        "CASE WHEN age < 50 THEN 'a' WHEN age > 60 THEN 'b' END AS band, COUNT(*) AS n",
        f"GROUP BY {group} ORDER BY band",
    )
    rows = [person(age=age) for age in (10, 55, 70, 71)]
    assert answer(plan, [rows, rows, rows]).table.to_pydict() == {
        "band": ["a", "b", None],
        "n": [3, 6, 3],
        "_nodes": [3, 3, 3],
    }


def test_output_names_stay_distinct() -> None:
    plan = plan_of("COUNT(*), COUNT(*), SUM(age) AS x, SUM(chol) AS X")
    assert [output.name for output in plan.outputs] == ["COUNT(*)", "COUNT(*)_1", "x", "X_1"]


def test_a_key_outside_its_domain_is_skipped() -> None:
    plan = plan_of("sex, COUNT(*)", "GROUP BY sex")
    assert local_cells(plan, [(0, 5), (7, 9), (None, 2)]).values == [[5], [0]]


@pytest.mark.parametrize("total", [-1, 2**47])
def test_a_sum_beyond_its_bounds_is_not_sent(total: int) -> None:
    plan = plan_of("SUM(age)")
    with pytest.raises(StateError) as caught:
        local_cells(plan, [(1, total)])
    assert caught.value.message == "a sum is beyond what the table's bounds allow"


@pytest.mark.parametrize("total", [math.nan, math.inf])
def test_a_sum_that_is_not_finite_is_not_sent(total: float) -> None:
    with pytest.raises(StateError, match="the database gave a sum that is not finite"):
        local_cells(plan_of("SUM(bmi)"), [(1, 1, total)])


INTERVALS = st.tuples(st.integers(-50, 50), st.integers(-50, 50)).map(
    lambda ends: Interval(Fraction(min(ends)), Fraction(max(ends)))
)


@given(INTERVALS, INTERVALS, st.data())
def test_intervals_hold_every_result(a: Interval, b: Interval, data: st.DataObject) -> None:
    x = Fraction(data.draw(st.integers(int(a.low), int(a.high))))
    y = Fraction(data.draw(st.integers(int(b.low), int(b.high))))
    results = [(a + b, x + y), (a - b, x - y), (a * b, x * y), (-a, -x), (abs(a), abs(x))]
    results += [(a.hull(b), x), (a.hull(b), y)]
    if b.contains_zero:
        with pytest.raises(ZeroDivisionError):
            a / b
    else:
        results.append((a / b, x / y))
    for interval, value in results:
        assert interval.low <= value <= interval.high
        assert abs(value) <= interval.magnitude


@given(st.text("ab%_中", max_size=8), st.text("ab%_中\n", max_size=8))
def test_like_is_duckdbs(pattern: str, text: str) -> None:
    wanted = duckdb.execute("SELECT ? LIKE ?", [text, pattern]).fetchone()
    assert wanted == (LikePattern(pattern).matches(text),)


def test_like_is_not_stalled_by_a_pattern() -> None:
    assert not LikePattern("%a" * 100 + "b").matches("a" * 256)
