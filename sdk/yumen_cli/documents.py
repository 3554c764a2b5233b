"""What the client commands print with `--json`, built from the SDK's objects."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from yumen_core.sql import NODES_COLUMN
from yumen_core.sql.schema import bound_text

from yumen_cli.failures import short_name
from yumen_cli.terminal import aligned

if TYPE_CHECKING:
    from yumen.datasets import Dataset, Datasets
    from yumen.jobs import Jobs, JobSummary
    from yumen.preview import Preview
    from yumen.report import CheckReport
    from yumen.result import Result
    from yumen_core.sql.schema import Column


def datasets(found: Datasets) -> dict[str, object]:
    """`{"datasets": [{"name", "meaning", "columns", "nodes", "conflicts"}]}`."""
    return {"datasets": [_dataset(one) for one in found]}


def check(report: CheckReport) -> dict[str, object]:
    """The decision of each party that answered, and who did not."""
    return {
        "allowed": report.allowed,
        "sql": report.sql,
        "purpose": report.purpose,
        "nodes_needed": report.nodes_needed,
        "decisions": [
            {
                "party": decision.node,
                "accepted": decision.accepted,
                "denials": [denial.to_json() for denial in decision.denials],
                "budgets": [
                    {
                        "table": left.table,
                        "project": left.project,
                        "micro_rho": left.micro_rho,
                        "project_micro_rho": left.project_micro_rho,
                    }
                    for left in decision.budgets
                ],
            }
            for decision in report.decisions
        ],
        "excluded": [{"node": one.node, "reason": one.reason} for one in report.excluded],
        "cost_micro_rho": None if report.privacy is None else report.privacy.micro_rho,
        **({} if report.preview is None else _foreseen(report.preview)),
    }


def _foreseen(found: Preview) -> dict[str, object]:
    return {
        "leaves": list(found.leaves),
        "secure_sums_at_most": found.rounds,
        "ciphertext_bytes_each_node": found.node_bytes,
        "ciphertext_bytes_total": found.total_bytes,
    }


def result(answer: Result) -> dict[str, object]:
    """The released rows, the nodes behind each value, and what was held back."""
    return {
        "job_id": answer.job_id,
        "sql": answer.sql,
        "purpose": answer.purpose,
        "columns": answer.columns,
        "rows": answer.to_arrow().to_pylist(),
        "nodes_behind": (
            None if answer.measure_nodes is None else answer.measure_nodes.to_pylist()
        ),
        "participants": list(answer.participants),
        "excluded": [{"node": one.node, "reason": one.reason} for one in answer.excluded],
        "held_back": [{"column": one.column, "rows": one.rows} for one in answer.held_back],
        "empty_cells": answer.empty_cells,
        "ciphertext_bytes": answer.ciphertext_bytes,
        "ciphertexts": answer.ciphertexts,
        "elapsed_s": round(answer.elapsed_s, 4),
        "notes": list(answer.notes),
        "privacy": (
            None
            if answer.privacy is None
            else {"micro_rho": answer.privacy.micro_rho, "delta": answer.privacy.delta}
        ),
        "errors": None if answer.errors is None else answer.errors.to_pylist(),
    }


def result_csv(answer: Result) -> str:
    """The released rows as CSV with a header; a value held back is an empty field. A column with
    noise has another behind the rows' own, `NAME_error`: half of its 95 % interval."""
    from pyarrow import csv

    table = answer.to_arrow()
    if answer.errors is not None:
        for name in answer.errors.column_names:
            if name != NODES_COLUMN:
                table = table.append_column(f"{name}_error", answer.errors[name])
    stream = io.BytesIO()
    csv.write_csv(table, stream)
    return stream.getvalue().decode()


def remarks(answer: Result) -> Iterator[str]:
    """What a reader of the rows alone would miss: who is out, and what was held back."""
    for out in answer.excluded:
        yield f"out: {short_name(out.node)} ({out.reason})"
    for held in answer.held_back:
        yield f"held back: {held.column} in {held.rows} rows"
    if answer.empty_cells:
        yield f"groups without a row: {answer.empty_cells}"
    yield from answer.privacy_notes()
    yield from answer.notes


def jobs(found: Jobs) -> dict[str, object]:
    """`{"jobs": [...]}`, the newest first."""
    return {"jobs": [job(one) for one in found]}


def status(address: str, found: Datasets, latest: Jobs) -> dict[str, object]:
    """A coordinator's nodes and its latest jobs as the caller may see them."""
    nodes: dict[str, dict[str, object]] = {}
    for dataset in found:
        for node in dataset.nodes:
            entry = nodes.setdefault(node.node, {"connected": node.connected, "tables": []})
            tables = entry["tables"]
            if isinstance(tables, list):
                tables.append(dataset.name)
    return {
        "coordinator": address,
        "nodes": [{"node": node, **fields} for node, fields in sorted(nodes.items())],
        **jobs(latest),
    }


def status_text(address: str, found: Datasets, latest: Jobs) -> str:
    """The same for a person."""
    document = status(address, found, latest)
    rows = []
    nodes = document["nodes"]
    for node in nodes if isinstance(nodes, list) else []:
        state = "connected" if node["connected"] else "not connected"
        rows.append((short_name(node["node"]), state, ", ".join(node["tables"])))
    table = aligned(("node", "state", "tables"), rows) if rows else "no node has enrolled yet"
    return f"coordinator at {address}\n\n{table}\n\n{latest}"


def column(one: Column) -> dict[str, object]:
    """A published column; bounds as decimal or ISO 8601 text, so that they stay exact."""
    return {
        "name": one.name,
        "type": one.type.value,
        "scale": one.scale,
        "unit": one.unit,
        "meaning": one.meaning,
        "domain": None if one.domain is None else list(one.domain),
        "lower": None if one.lower is None else bound_text(one.lower),
        "upper": None if one.upper is None else bound_text(one.upper),
        "grade": one.grade.value,
        "nullable": one.nullable,
    }


def _dataset(one: Dataset) -> dict[str, object]:
    return {
        "name": one.name,
        "meaning": one.meaning,
        "columns": [column(each) for each in one.columns],
        "key": list(one.key),
        "nodes": [
            {
                "node": node.node,
                "connected": node.connected,
                "threshold": node.threshold,
                "min_nodes": node.min_nodes,
                "grade": node.grade,
            }
            for node in one.nodes
        ],
        "conflicts": one.conflicts,
    }


def job(one: JobSummary) -> dict[str, object]:
    """One job: what was asked, where it stands and why."""
    return {
        "job_id": one.job_id,
        "state": one.state.value,
        "reason": one.reason,
        "requester": one.requester,
        "purpose": one.purpose,
        "table": one.table,
        "sql": one.sql,
        "nodes": [{"node": node, "step": step} for node, step in one.nodes],
        "denials": [denial.to_json() for denial in one.denials],
        "submitted_at": one.submitted_at,
        "updated_at": one.updated_at,
    }
