"""A node's log on disk with one entry of every kind that an auditor asks about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yumen_core.clock import ManualClock
from yumen_core.identity.names import Identity
from yumen_core.jobs.admission import decision_detail
from yumen_core.log import Act, Signer, TileLog
from yumen_core.log.cosign import WitnessSigner, add_cosignatures
from yumen_core.log.cosigning import COSIGNED
from yumen_core.log.note import split_note
from yumen_core.policy import PolicyBundle, PolicyRequest
from yumen_core.policy.denial import Denial
from yumen_core.secret import Secret

from builders.federation import FEDERATION, policies

NODE = f"spiffe://{FEDERATION}/org/cleveland/node/heart"
LI = f"spiffe://{FEDERATION}/org/lzu/user/li"
WANG = f"spiffe://{FEDERATION}/org/bank/user/wang"
BEGIN_MS = 1_793_491_200_000  # 2026-11-01
DAY_MS = 86_400_000
SIGNER = Signer(f"{FEDERATION}/cleveland", Secret(bytes(range(32))))
WITNESSES = tuple(
    WitnessSigner(f"{FEDERATION}/{name}", Secret(bytes([at] * 32)))
    for at, name in enumerate(("hungary", "zurich"), start=1)
)


@dataclass(frozen=True)
class Audited:
    """`log` is the folder; `key` its verifier key; entries are one day apart, from the first of
    November 2026."""

    log: Path
    key: str
    bundle: PolicyBundle

    def cosign(self, *witnesses: WitnessSigner) -> None:
        """Write the present checkpoint with these cosignatures."""
        note = (self.log / "checkpoint").read_bytes()
        lines = [witness.cosign(split_note(note)[0], 1_793_500_000) for witness in witnesses]
        (self.log / COSIGNED).write_bytes(add_cosignatures(note, lines))


def request(**changes: object) -> PolicyRequest:
    """What a gate puts to its policies for a query over the table `heart`."""
    facts: dict[str, object] = {
        "requester": Identity.parse(LI),
        "decider": Identity.parse(NODE),
        "table": "heart",
        "table_grade": "general",
        "purpose": "research",
        "columns": {"sex": "general"},
        "aggregates": frozenset({"count"}),
        "participants": 3,
        "min_nodes": 3,
        "threshold": 10,
        "suite": "bfv",
        "now_ms": BEGIN_MS,
        "expires_at_ms": BEGIN_MS + 600_000,
    }
    return PolicyRequest(**{**facts, **changes})  # type: ignore[arg-type]


def audited(root: Path) -> Audited:
    """The log: 0 tables, 1 policies, 2 an accepted job, 3 and 4 denied ones, 5 a refusal, 6 to 8
    budgets, 9 a contribution, 10 an operator's view, 11 a decision without facts, 12 a release."""
    bundle = policies('context.purpose == "research"')
    bundle.save(root / "log" / "policies")
    clock = ManualClock(BEGIN_MS)
    with TileLog.open(
        root / "log", SIGNER, origin=SIGNER.name, guard=root / "guard", clock=clock
    ) as log:
        for act, subject, detail in _acts(bundle):
            digests = {"policies": bundle.digest, "spec": b"s" * 32} if act is Act.DECISION else {}
            log.record(act, subject=subject, digests=digests, detail=detail)
            clock.advance(DAY_MS)
    return Audited(root / "log", SIGNER.verifier.text, bundle)


def denial(code: str, node: str = NODE) -> Denial:
    return Denial(
        node, code, "expected research, got pricing", "purpose", "pricing", "research", ""
    )


def _acts(bundle: PolicyBundle) -> list[tuple[Act, dict[str, str], dict[str, object]]]:
    def decided(who: str, job: str, purpose: str, table: str = "heart") -> dict[str, str]:
        return {"requester": who, "job": job, "purpose": purpose, "table": table}

    asked, priced = request(), request(purpose="pricing", requester=Identity.parse(WANG))
    denials = bundle.decide(priced).denials
    assert len(denials) == 1, denials
    moved = {"table": "heart", "project": "lzu/research", "job": "job-1"}
    limits = {
        "move": "limits",
        "micro_rho": 5_000_000,
        "project_micro_rho": 2_000_000,
        "micro_rho_before": 0,
        "project_micro_rho_before": 0,
    }
    spent = {"move": "spent", "micro_rho": 400_000, "left": 4_600_000, "project_left": 1_600_000}
    return [
        (Act.TABLE_PUBLISHED, {"node": NODE, "table": "heart"}, {"grade": "general"}),
        (Act.POLICY_ACTIVATED, {"party": NODE}, {"by": [LI], "signed": ["..."]}),
        (
            Act.DECISION,
            decided(LI, "job-1", "research"),
            decision_detail("SELECT 1", (), dry_run=False, requests=[asked]),
        ),
        (
            Act.DECISION,
            decided(WANG, "job-2", "pricing"),
            decision_detail("SELECT 2", denials, dry_run=False, requests=[priced]),
        ),
        (
            Act.DECISION,
            decided(WANG, "job-3", "pricing", "wells"),
            decision_detail("SELECT 3", (denial("too_few_nodes"),), dry_run=False),
        ),
        (
            Act.REFUSAL,
            {"job": "job-4"},
            {"accepted": False, "code": "signature", "message": '=cmd("x")] \\ "q"\nnext'},
        ),
        (Act.BUDGET, {"table": "heart"}, limits),
        (Act.BUDGET, moved, {**spent, "move": "reserved"}),
        (Act.BUDGET, moved, spent),
        (Act.CONTRIBUTION, {"job": "job-1"}, {"run": 0}),
        (
            Act.OPERATOR,
            {"operator": LI, "job": "job-5"},
            {"what": "viewed", "reason": "-2+3"},
        ),
        (
            Act.DECISION,
            decided(LI, "job-6", "research"),
            {"sql": "SELECT 6", "accepted": True, "denials": []},
        ),
        (
            Act.RELEASE,
            {"job": "job-1", "requester": LI},
            {"state": "succeeded", "reason": "", "participants": [NODE]},
        ),
    ]
