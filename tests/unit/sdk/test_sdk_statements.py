"""Which way a statement goes, and that no job is spent on one that is refused all the same."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yumen.statements
from builders.in_process import InProcess, split
from yumen.result import Result
from yumen.session import Terms
from yumen.statements import answer
from yumen_core.errors import CallError
from yumen_core.sql import Column, ColumnType, TableSchema, parse

SCHEMA = TableSchema("t", (Column("k", ColumnType.TEXT), Column("free", ColumnType.FLOAT)))
TERMS = Terms("research")


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> InProcess:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"k": rng.choice(["a", "b"], 300), "free": rng.random(300)})
    held = InProcess(split(frame, 3), SCHEMA, threshold=10)
    monkeypatch.setattr(yumen.statements, "FederationSource", lambda *_: held)
    return held


def session_of(source: InProcess) -> SimpleNamespace:
    """What `answer` asks of a session, over the rows in this process."""
    node = SimpleNamespace(descriptor=SimpleNamespace(tables={"t": SimpleNamespace(schema=SCHEMA)}))

    def query(sql: str, _: Terms) -> Result:
        parse(sql, {"t": SCHEMA})  # a federation refuses it before there is a job
        return source.query(sql)

    return SimpleNamespace(
        query=query,
        ask=lambda sql, _: parse(sql, {"t": SCHEMA}),
        client=SimpleNamespace(catalogue=lambda: [(node, True)]),
    )


@pytest.mark.parametrize(
    ("sql", "jobs", "notes"),
    [
        ("SELECT COUNT(*) FROM t", 1, 0),
        ("SELECT MEDIAN(free) FROM t", 1, 2),
        ("SELECT k, COUNT(*) FROM t GROUP BY k", 2, 2),
        ("SELECT k, MEDIAN(free) FROM t GROUP BY k", 2, 4),
    ],
)
def test_as_many_jobs_as_the_statement_needs(
    source: InProcess, sql: str, jobs: int, notes: int
) -> None:
    result = answer(session_of(source), sql, TERMS)  # type: ignore[arg-type]
    assert len(source.jobs) == jobs
    assert len(result.notes) == notes
    assert result.job_id == f"job-{jobs}"
    if jobs == 2:
        assert {row["k"] for row in result} == {"a", "b"}
        assert "2 values of k found by job job-1" in repr(result)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT k, SUM(free) FROM t GROUP BY k", "cannot be summed: column `free` has no"),
        ("SELECT k, MEDIAN(free), SUM(free) FROM t GROUP BY k", "beside a quantile SELECT takes"),
        ("SELECT k, COUNT(*) FROM t GROUP BY k, free", "expected a column|has no declared domain"),
        ("SELECT free, COUNT(*) FROM t GROUP BY free", "column `free` has no declared domain"),
        ("SELECT k FROM t GROUP BY k", "not supported without an aggregate"),
    ],
)
def test_no_job_is_spent_on_a_statement_that_is_refused(
    source: InProcess, sql: str, message: str
) -> None:
    with pytest.raises(CallError, match=message):
        answer(session_of(source), sql, TERMS)  # type: ignore[arg-type]
    assert source.jobs == []
