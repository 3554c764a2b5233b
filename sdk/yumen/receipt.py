"""Receipts of results: the digest of a result, and the signed file."""

from __future__ import annotations

import datetime
import hashlib
import os
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from yumen_core import canonical
from yumen_core.audit.receipt import MAX_FILE_BYTES, MAX_JOBS, Receipt, ResultDigest, receipt_file
from yumen_core.canonical import Json
from yumen_core.errors import CallError
from yumen_core.identity.envelope import PayloadType
from yumen_core.identity.files import replace_file

from yumen.result import Result
from yumen.statistics.released import Released
from yumen.training.result import TrainingResult

if TYPE_CHECKING:
    import pandas as pd

    from yumen.coordinator import CoordinatorClient

Answer = Result | Released | TrainingResult


def save_receipt(
    client: CoordinatorClient, result: Answer, path: str | os.PathLike[str], *, overwrite: bool
) -> Path:
    """See `Federation.save_receipt`."""
    target = Path(path).expanduser()
    if target.exists() and not overwrite:
        raise CallError(
            "argument",
            f"expected a path without a file, got `{target}`, which exists",
            remedy="choose another path, or set overwrite=True",
        )
    jobs = job_ids(result)
    if not 1 <= len(jobs) <= MAX_JOBS:
        raise CallError("argument", f"a receipt is of 1 to {MAX_JOBS} jobs, got {len(jobs)}")
    receipt = Receipt(
        tuple(client.evidence.of(job) for job in jobs),
        result_digest(result),
        client.membership.clock.now_ms(),
    )
    data = receipt_file(client.membership.sign(receipt.to_bytes(), PayloadType.RECEIPT))
    if len(data) > MAX_FILE_BYTES:
        raise CallError("argument", f"a receipt has at most {MAX_FILE_BYTES} bytes: too many nodes")
    replace_file(target, data)
    return target


def job_ids(result: Answer) -> tuple[str, ...]:
    """The jobs that `result` comes from. Raises `CallError` (`argument`) for anything else."""
    match result:
        case Result():
            return (result.job_id,)
        case Released():
            return result.provenance.job_ids
        case TrainingResult():
            return result.job_ids
    raise CallError("argument", f"expected a result of this library, got a {type(result).__name__}")


def result_digest(result: Answer) -> ResultDigest:
    """The SHA-256 by which a receipt names a result, the same wherever it is computed.

    A query's (`table+nodes`): canonical JSON of `columns`, of `rows` of texts (numbers with all
    their digits, times in ISO 8601) and of `nodes`, the number of nodes behind each value of each
    row, null where they are not told. A statistic's (`shown+values`): of the texts of the `tables`
    that it prints, and of the `values` of its frame with all their digits. A
    training's (`arrays`): of each array's name, type, shape, and SHA-256 of its bytes in order.
    """
    form: dict[str, Json]
    match result:
        case Result():
            table = result.to_arrow()
            columns = [column.to_pylist() for column in table.columns]
            rows = [[_text(value) for value in row] for row in zip(*columns, strict=True)]
            form = {
                "columns": list(table.column_names),
                "rows": rows,
                "nodes": _nodes_of(result),
            }
            return ResultDigest("query", "table+nodes", canonical.digest(form).hex())
        case Released():
            shown: Sequence[Json] = [
                {"headers": list(grid.headers), "rows": [list(row) for row in grid.rows]}
                for grid in result.grids()
            ]
            form = {"tables": shown, "values": _values(result.to_pandas())}
            return ResultDigest("statistic", "shown+values", canonical.digest(form).hex())
        case TrainingResult():
            form = {
                name: [values.dtype.newbyteorder("<").str, list(values.shape), _digest(values)]
                for name, values in result.arrays.items()
            }
            return ResultDigest("training", "arrays", canonical.digest(form).hex())


def _nodes_of(result: Result) -> Json:
    """Row by row, the nodes behind each value; null where the answer does not tell."""
    if result.measure_nodes is None:
        return None
    columns = [column.to_pylist() for column in result.measure_nodes.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def _values(frame: pd.DataFrame) -> Json:
    """A statistic's frame: `columns`, and `rows` of which the first cell is the row's name."""
    rows = [
        [_number(name), *(_number(value) for value in row)]
        for name, row in zip(frame.index, frame.itertuples(index=False, name=None), strict=True)
    ]
    return {"columns": [_number(name) for name in frame.columns], "rows": rows}


def _number(value: object) -> Json:
    """A cell of a frame, with all its digits; of several parts, each."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, tuple | list | np.ndarray):
        return [_number(part) for part in value]
    try:
        return _text(value)
    except CallError:
        return str(value)


def _digest(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
    ordered = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
    return hashlib.sha256(ordered.tobytes()).hexdigest()


def _text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, int | str | Decimal):
        return str(value)
    raise CallError("argument", f"expected values of a table, got a {type(value).__name__}")
