"""Aggregates of pairs: any partition of the rows gives what one database gives, or better."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sql_tables import Row, answer, natural_table
from yumen_core.errors import CallError
from yumen_core.sql import Column, ColumnType, TableSchema, parse
from yumen_core.sql.plan import Behind

FUNCTIONS = ["CORR", "COVAR_SAMP", "COVAR_POP", "REGR_SLOPE", "REGR_INTERCEPT", "REGR_R2"]
NOT_NULL, NOT_ZERO = Behind.NOT_NULL, Behind.NOT_ZERO


def number(name: str, kind: ColumnType, most: object, **more: object) -> Column:
    bound = Decimal(str(most))
    return Column(name, kind, lower=-bound, upper=bound, **more)  # type: ignore[arg-type]


SCHEMA = TableSchema(
    "t",
    (
        Column("k", ColumnType.INTEGER, domain=(1, 2)),
        number("i", ColumnType.INTEGER, 1000),
        number("j", ColumnType.INTEGER, 1000, nullable=False),
        number("d", ColumnType.DECIMAL, "99.99", scale=2),
        number("f", ColumnType.FLOAT, 10_000_000),
        number("g", ColumnType.FLOAT, 10_000_000),
        number("big", ColumnType.INTEGER, 2**43),
        number("w", ColumnType.FLOAT, 100, nullable=False),
    ),
)
NAMES = [column.name for column in SCHEMA.columns]
SMALL = st.integers(-6, 6)
EIGHTHS = SMALL.map(lambda n: n / 8)


def optional(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.one_of(st.none(), strategy, strategy, strategy)


ROWS: st.SearchStrategy[Row] = st.tuples(
    optional(st.sampled_from([1, 2])),
    optional(SMALL),
    SMALL,
    optional(st.decimals("-9.99", "9.99", places=2)),
    optional(EIGHTHS),
    optional(EIGHTHS),
    optional(SMALL),
    EIGHTHS,
)
ARGUMENTS = [
    *("i", "j", "d", "f", "g", "w", "i * 2 + j", "f - j"),
    "CASE WHEN i > 0 THEN j ELSE 1 END",
    "CASE WHEN f > 0 THEN 1 END",
]


def pooled(sql: str, rows: Sequence[Row]) -> list[tuple[object, ...]]:
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        natural_table(connection, SCHEMA, rows)
        return connection.execute(sql).fetchall()


def close(ours: object, theirs: object) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    a, b = float(str(ours)), float(str(theirs))
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) or (a != a and b != b)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    nodes=st.lists(st.lists(ROWS, max_size=5), min_size=3, max_size=3),
    y=st.sampled_from(ARGUMENTS),
    x=st.sampled_from(ARGUMENTS),
    grouped=st.booleans(),
)
def test_any_partition_gives_what_one_database_gives(
    nodes: list[list[Row]], y: str, x: str, grouped: bool
) -> None:
    asked = [f"{name}({y}, {x})" for name in FUNCTIONS]
    asked += [f"{name}({y})" for name in ("VAR_POP", "STDDEV_POP", "VARIANCE", "STDDEV", "AVG")]
    named = ", ".join(f"{text} AS m{at}" for at, text in enumerate(asked))
    sql = f"SELECT {named} FROM t" + (" GROUP BY k ORDER BY k" if grouped else "")
    rows = [row for node in nodes for row in node]
    found = answer(parse(sql, {"t": SCHEMA}), nodes, SCHEMA)
    theirs = pooled(sql, rows)
    for ours, behind, wanted in zip(
        found.table.to_pylist(), found.nodes.to_pylist(), theirs, strict=bool(rows)
    ):
        for (name, value), other, text in zip(ours.items(), wanted, asked, strict=False):
            if behind[name] == 0:
                # No row of the pair, where DuckDB gives NULL; or none in a branch of a CASE.
                assert value is None
                assert other is None or "CASE" in y + x
            else:
                assert close(value, other), (text, value, other)


def pair_row(**values: object) -> Row:
    return tuple({"j": 0, "w": 0.0, **values}.get(name) for name in NAMES)


def exact(y: Sequence[object], x: Sequence[object]) -> dict[str, float]:
    ys, xs = ([Fraction(str(v)) if isinstance(v, Decimal) else Fraction(v) for v in side]  # type: ignore[call-overload]
              for side in (y, x))  # fmt: skip
    n = len(ys)
    my, mx = sum(ys) / n, sum(xs) / n
    joint = sum((a - my) * (b - mx) for a, b in zip(ys, xs, strict=True))
    vy, vx = sum((a - my) ** 2 for a in ys), sum((b - mx) ** 2 for b in xs)
    return {
        "CORR": math.copysign(math.sqrt(joint**2 / (vx * vy)), joint),
        "COVAR_SAMP": float(joint / (n - 1)),
        "COVAR_POP": float(joint / n),
        "REGR_SLOPE": float(joint / vx),
        "REGR_INTERCEPT": float(my - joint / vx * mx),
        "REGR_R2": float(joint**2 / (vx * vy)),
    }


def wave(i: int) -> float:
    return math.sin(i) + 0.3 * math.cos(i * i)


FAR: list[tuple[str, str, str, Callable[[int], object], Callable[[int], object]]] = [
    ("both far", "f", "g", lambda i: 1e6 + 1e-3 * math.sin(i), lambda i: 2e6 - 1e-3 * wave(i)),
    ("one far", "f", "g", lambda i: 5e6 + 1e-2 * math.sin(i), lambda i: wave(i)),
    ("opposite", "f", "g", lambda i: 1e6 + 1e-3 * wave(i), lambda i: -1e6 - 1e-3 * wave(i)),
    ("far integers", "big", "f", lambda i: 2**42 + i % 17, lambda i: 3e6 + i % 17 + wave(i)),
    ("far integers behind", "f", "big", lambda i: wave(i) + i % 5, lambda i: -(2**42) + i % 5),
    ("integers", "big", "j", lambda i: 2**42 + (7 * i) % 101, lambda i: i % 101),
    ("decimals", "d", "f", lambda i: Decimal(9000 + i % 9) / 100, lambda i: 4e6 + i % 9 + wave(i)),
    ("near", "f", "w", lambda i: 3 * math.sin(i) + wave(i), lambda i: 40 * math.sin(i)),
]  # fmt: skip


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(("y", "x", "of_y", "of_x"), [f[1:] for f in FAR], ids=[f[0] for f in FAR])
def test_nothing_is_lost_far_from_zero(
    y: str, x: str, of_y: Callable[[int], object], of_x: Callable[[int], object], grouped: bool
) -> None:
    rows = [pair_row(k=1, **{y: of_y(i), x: of_x(i)}) for i in range(1500)]
    # Rows without the one or the other, and a cell elsewhere, change nothing.
    if x not in "jw":
        rows += [pair_row(k=1, **{name: 1}) for name in (y, x)] * 7
    rows += [pair_row(k=2, f=1.0, g=2.0, big=3, d=1)] * (9 if grouped else 0)
    named = ", ".join(f"{name}({y}, {x}) AS {name}" for name in FUNCTIONS)
    sql = f"SELECT {named} FROM t" + (" GROUP BY k ORDER BY k" if grouped else "")
    found = answer(parse(sql, {"t": SCHEMA}), [rows[0::3], rows[1::3], rows[2::3]], SCHEMA)
    pairs = [(of_y(i), of_x(i)) for i in range(1500)]
    wanted = exact([a for a, _ in pairs], [b for _, b in pairs])
    first = found.table.to_pylist()[0]
    for name, value in wanted.items():
        assert first[name] == pytest.approx(value, rel=1e-9, abs=0), name


EDGES = [
    ("no pair", [(None, 1.0), (2.0, None)]),
    ("one pair", [(1.0, 2.0)]),
    ("x constant", [(1.0, 2.5), (2.0, 2.5), (4.0, 2.5)]),
    ("y constant", [(2.5, 1.0), (2.5, 2.0), (2.5, 4.0)]),
    ("both constant", [(2.5, 1.5), (2.5, 1.5)]),
    ("a line", [(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)]),
    ("falling", [(3.0, 2.0), (2.0, 4.0), (1.0, 6.0)]),
]


@pytest.mark.parametrize("pairs", [edge[1] for edge in EDGES], ids=[edge[0] for edge in EDGES])
def test_where_a_statistic_has_no_value(pairs: list[tuple[float | None, float | None]]) -> None:
    rows = [pair_row(f=y, g=x) for y, x in pairs]
    sql = "SELECT " + ", ".join(f"{name}(f, g) AS {name}" for name in FUNCTIONS) + " FROM t"
    found = answer(parse(sql, {"t": SCHEMA}), [rows, [], []], SCHEMA).table.to_pylist()[0]
    for name, value, wanted in zip(FUNCTIONS, found.values(), pooled(sql, rows)[0], strict=False):
        assert close(value, wanted), (name, value, wanted)


@pytest.mark.parametrize(
    ("asked", "parts"),
    [
        # The rows where the product is not 0: x may be a flag that the requester picks rows with.
        ("CORR(f, g)", [(), (("(f * g)", NOT_ZERO),)]),
        ("CORR(g, f)", [(), (("(f * g)", NOT_ZERO),)]),
        ("CORR(f + 2e7, g + 2e7)", [(), (("((f + 20000000.0) * (g + 20000000.0))", NOT_NULL),)]),
        ("COVAR_POP(j + 2000, w + 200)", [()]),
        # AVG(f) and the pair sum f over other rows, so that they have other supports.
        ("CORR(f, g), AVG(f)", [(), (("f", NOT_NULL),), (("(f * g)", NOT_ZERO),)]),
        # With j never NULL the sum of f is one quantity, under the stricter support.
        ("CORR(f, j), AVG(f)", [(), (("f", NOT_NULL), ("(f * j)", NOT_ZERO))]),
    ],
)
def test_supports_of_pairs(asked: str, parts: list[tuple[tuple[str, Behind], ...]]) -> None:
    from yumen_core.sql.describe import name_of

    plan = parse(f"SELECT {asked} FROM t", {"t": SCHEMA})
    found = [
        tuple((name_of(plan.arguments[at], (), ()), behind) for at, behind in support.parts)
        for support in plan.layout.support_parts
    ]
    assert found == parts
    quantities = [(v.kind, v.argument, v.other) for v in plan.layout.values]
    assert len(quantities) == len(set(quantities))


def test_what_a_pair_sums() -> None:
    both = parse("SELECT CORR(i, d), CORR(d, i), COVAR_POP(i, d) FROM t", {"t": SCHEMA})
    assert [v.kind.value for v in both.layout.values] == [
        *("count", "sum", "sum", "sum", "squares", "squares")
    ]
    assert both.aggregates == {"corr", "covar_pop"}
    assert both.columns == {"i", "d"}
    assert both.describe() == (
        "CORR(i, d), CORR(d, i), COVAR_POP(i, d) of table t (1 cells of 6 summed values)"
    )
    least = parse("SELECT COVAR_POP(j, w) FROM t", {"t": SCHEMA})
    assert [v.kind.value for v in least.layout.values] == ["rows", "sum", "sum", "products"]
    assert parse("SELECT CORR(d, i) FROM t", {"t": SCHEMA}).digest != both.digest


@pytest.mark.parametrize(
    ("asked", "code", "message"),
    [
        ("CORR(i)", "sql_syntax", "is not where the grammar allows it"),
        ("CORR(i, *)", "sql_unsupported", "CORR takes two expressions, y before x"),
        ("CORR(i, NULL)", "sql_unsupported", "an aggregate of NULL has no value"),
        ("CORR(i, k > 1)", "sql_type", "`k > 1` at line 1, column 16 cannot be used here: CORR"),
        ("CORR(big * 9, i)", "sql_type", "`big * 9` at line 1, column 13 cannot be summed"),
        ("COVAR_POP(big, big * 9)", "sql_type", "the sum of products may need more than 38 digits"),
        ("SUM(i, j)", "sql_syntax", ""),
        ("MEDIAN(i)", "sql_unsupported", "there is no function MEDIAN"),
        ("REGR_COUNT(i, j)", "sql_unsupported", "there is no function REGR_COUNT"),
    ],
)
def test_pairs_that_are_refused(asked: str, code: str, message: str) -> None:
    with pytest.raises(CallError) as caught:
        parse(f"SELECT {asked} FROM t", {"t": SCHEMA})
    assert caught.value.code == code
    assert message in caught.value.message
