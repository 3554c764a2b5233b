"""`yumen receipt`: what stands behind a result, verified without any connection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yumen_cli.options import AsJson
from yumen_cli.plain import command, group
from yumen_cli.terminal import clean, emit, say, utc

if TYPE_CHECKING:
    from yumen_core.audit.proven import Proven, ProvenJob
    from yumen_core.identity.certificates import TrustAnchor

app = group("Receipts: what stands behind a result, verified from a file.")

_UNCHECKED = (
    "that the result has this digest, and is of the sum of just these participants",
    "when the receipt was made, and why others are out where they signed no refusal",
    "not checked: whether a certificate was revoked at that time",
    "not checked: whether the logs are still the same (`yumen audit verify` of each log tells)",
)


@command(app, "verify", example="yumen receipt verify result.receipt.json --authority ca.pem")
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The receipt.")],
    authority: Annotated[
        Path,
        typer.Option(
            metavar="PEM",
            help="The certificate of the federation's authority, got from elsewhere.",
            show_default=False,
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Verify a receipt and say what it proves, and what is only its maker's word."""
    from yumen_core.audit.proven import verify_receipt
    from yumen_core.audit.receipt import MAX_FILE_BYTES
    from yumen_core.identity.certificates import MAX_CERTIFICATE_BYTES, TrustAnchor, der_from_pem
    from yumen_core.identity.files import read_file

    anchor = TrustAnchor.read(der_from_pem(read_file(authority, max_bytes=MAX_CERTIFICATE_BYTES)))
    proven = verify_receipt(read_file(file, max_bytes=MAX_FILE_BYTES), anchor)
    if as_json:
        emit(_document(proven, anchor.federation))
        return
    say("\n".join(clean(line) for line in _lines(proven, anchor)))


def _lines(proven: Proven, anchor: TrustAnchor) -> list[str]:
    lines = [
        f"the receipt holds, under the authority of {anchor.federation}",
        f"  SHA-256 of its certificate: {anchor.fingerprint.hex()}",
        "proven by signatures and logs:",
        f"  requester   {proven.requester}",
    ]
    for job in proven.jobs:
        lines += _job_lines(job)
    result = proven.result
    lines += [
        "the requester's word:",
        f"  result      {result.what}, SHA-256 of its form `{result.form}`: {result.sha256}",
        f"  made        {utc(proven.made_at_ms)}",
        *(
            f"  out         {out.node}: {out.reason or 'no reason given'}"
            for job in proven.jobs
            for out in job.excluded
            if not out.denied
        ),
        "not proven:",
        *(f"  {line}" for line in _UNCHECKED),
    ]
    return lines


def _job_lines(job: ProvenJob) -> list[str]:
    spec = job.spec
    cost = "none"
    if spec.privacy is not None:
        cost = f"{spec.privacy.micro_rho} millionths of rho, read at delta {spec.privacy.delta}"
    lines = [
        f"  job         {spec.job_id}, a {spec.operation}",
        f"  signed      SHA-256 {job.spec_digest.hex()}",
        f"  asked       {spec.method or spec.sql}",
        f"  purpose     {spec.purpose}; project {spec.charged_project}",
        f"  tables      {', '.join(spec.tables)}",
        f"  privacy     {cost}",
        f"  minimum     {spec.min_nodes} nodes; took part: {len(job.participants)}",
        f"  accepted by {job.coordinator} at {utc(job.accepted_at_ms)}",
    ]
    for one in job.participants:
        rules = "; ".join(
            f"{name}: {rows} rows, {nodes} nodes" for name, (rows, nodes) in one.rules.items()
        )
        lines += [
            f"  accepted by {one.node} at {utc(one.decided_at_ms)}",
            f"              entry {one.log_index} of its log, policies {one.policies.hex()}",
            f"              at least {rules}",
        ]
    lines += [
        f"  refused by  {out.node}: {', '.join(out.denied)}" for out in job.excluded if out.denied
    ]
    return lines


def _document(proven: Proven, federation: str) -> dict[str, object]:
    return {
        "federation": federation,
        "requester": proven.requester,
        "jobs": [
            {
                "job": job.spec.job_id,
                "spec_digest": job.spec_digest,
                "operation": job.spec.operation,
                "sql": job.spec.sql,
                "method": job.spec.method,
                "purpose": job.spec.purpose,
                "project": job.spec.charged_project,
                "tables": list(job.spec.tables),
                "micro_rho": 0 if job.spec.privacy is None else job.spec.privacy.micro_rho,
                "delta": "" if job.spec.privacy is None else job.spec.privacy.delta,
                "min_nodes": job.spec.min_nodes,
                "coordinator": job.coordinator,
                "accepted_at": utc(job.accepted_at_ms),
                "participants": [
                    {
                        "node": one.node,
                        "decided_at": utc(one.decided_at_ms),
                        "log_index": one.log_index,
                        "policies": one.policies,
                        "rules": {
                            name: {"threshold": rows, "min_nodes": nodes}
                            for name, (rows, nodes) in one.rules.items()
                        },
                    }
                    for one in job.participants
                ],
                "denied": {out.node: list(out.denied) for out in job.excluded if out.denied},
            }
            for job in proven.jobs
        ],
        "word_of_the_requester": {
            "result": vars(proven.result),
            "made_at": utc(proven.made_at_ms),
            "out": {
                out.node: out.reason
                for job in proven.jobs
                for out in job.excluded
                if not out.denied
            },
        },
        "not_proven": list(_UNCHECKED),
    }
