"""The digest of a result in a receipt, and where a receipt cannot be had."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from builders.in_process import InProcess, schema_of, split
from builders.receipts import Made, made
from yumen.evidence import MAX_NODES, EvidenceBook
from yumen.receipt import job_ids, result_digest, save_receipt
from yumen.result import Result
from yumen.statistics.methods import FederatedTable
from yumen.statistics.released import Released
from yumen.training import TrainingResult
from yumen_core import canonical
from yumen_core.audit.proven import verify_receipt
from yumen_core.errors import CallError


def table(**columns: Any) -> Result:
    return Result(pa.table(columns), job_id="job", sql="", purpose="", participants=())


def test_a_tables_digest_is_of_all_its_digits() -> None:
    found = result_digest(
        table(
            a=pa.array([1, None]),
            b=pa.array([0.1, float("nan")]),
            c=pa.array([Decimal("1.50"), None]),
            d=pa.array([datetime.date(2026, 11, 23), None]),
            e=pa.array(["x", ""]),
            f=pa.array([True, False]),
        )
    )
    form = {
        "columns": ["a", "b", "c", "d", "e", "f"],
        "rows": [
            ["1", "0.1", "1.50", "2026-11-23", "x", "true"],
            [None, "nan", None, None, "", "false"],
        ],
        "nodes": None,
    }
    assert (found.what, found.form) == ("query", "table+nodes")
    assert found.sha256 == canonical.digest(form).hex()


def test_the_nodes_behind_each_value_are_in_the_digest() -> None:
    def on(nodes: int) -> str:
        values, behind = pa.table({"a": [1.0]}), pa.table({"a": [nodes]})
        made = Result(values, job_id="j", sql="", purpose="", participants=(), measure_nodes=behind)
        return result_digest(made).sha256

    assert on(3) != on(4)


@pytest.mark.parametrize(
    "other",
    [
        table(a=pa.array([1.0, 2.0000000000000004])),
        table(a=pa.array([2.0, 1.0])),
        table(b=pa.array([1.0, 2.0])),
        table(a=pa.array([1.0, 2.0, None])),
    ],
)
def test_another_table_has_another_digest(other: Result) -> None:
    assert result_digest(other) != result_digest(table(a=pa.array([1.0, 2.0])))


def test_a_trainings_digest_is_of_its_arrays() -> None:
    def digest(values: np.ndarray[Any, Any], name: str = "w") -> str:
        return result_digest(TrainingResult({name: values}, reports=())).sha256

    base = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert digest(base) == digest(base.copy(order="F"))
    assert digest(base) == digest(base.astype(">f4"))
    others = [base.astype(np.float64), base.reshape(3, 2), base + 1]
    assert digest(base) not in [digest(other) for other in others]
    assert digest(base) != digest(base, "v")


def test_a_statistics_digest_is_of_what_it_shows() -> None:
    frame = pd.DataFrame({"age": np.arange(90) % 41, "sex": ["f", "m", "f"] * 30})
    source = InProcess(split(frame, 3), schema_of(frame))
    one, two = (FederatedTable(source).describe(["age"]) for _ in range(2))
    assert isinstance(one, Released)
    assert result_digest(one) == result_digest(two)
    assert result_digest(one).what == "statistic"
    assert job_ids(two) == two.provenance.job_ids
    older = frame.assign(age=frame["age"] + 1)
    other = FederatedTable(InProcess(split(older, 3), schema_of(older))).describe(["age"])
    assert result_digest(other) != result_digest(one)


def test_only_results_have_receipts() -> None:
    with pytest.raises(CallError, match="expected a result of this library, got a dict"):
        job_ids({})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("receipts"))


def client(one: Made) -> Any:
    return SimpleNamespace(evidence=EvidenceBook(), membership=one.li)


def result_of(one: Made, job_id: str = "") -> Result:
    return Result(
        pa.table({"n": [1]}),
        job_id=job_id or one.job.spec.job_id,
        sql="",
        purpose="",
        participants=(),
    )


def test_saved_and_verified(one: Made, tmp_path: Path) -> None:
    connection = client(one)
    connection.evidence.keep(one.job.spec.job_id, one.evidence)
    file = save_receipt(connection, result_of(one), tmp_path / "r.json", overwrite=False)
    proven = verify_receipt(file.read_bytes(), one.federation.authority.anchor)
    assert proven.result == result_digest(result_of(one))
    with pytest.raises(CallError, match="which exists"):
        save_receipt(connection, result_of(one), file, overwrite=False)
    save_receipt(connection, result_of(one), file, overwrite=True)


def test_no_evidence_no_receipt(one: Made, tmp_path: Path) -> None:
    with pytest.raises(CallError, match="expected a result of this connection, got one of job `x`"):
        save_receipt(client(one), result_of(one, "x"), tmp_path / "r.json", overwrite=False)
    none = TrainingResult({}, reports=())
    with pytest.raises(CallError, match="a receipt is of 1 to 64 jobs, got 0"):
        save_receipt(client(one), none, tmp_path / "r.json", overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_the_oldest_evidence_goes_first(one: Made) -> None:
    book = EvidenceBook()
    kept = MAX_NODES // 4
    for number in range(kept + 2):
        book.keep(str(number), one.evidence)
    book.keep(str(kept), one.evidence)  # once more
    with pytest.raises(CallError):
        book.of("1")
    assert book.of("2") is one.evidence
