"""What the demo found, as one value: the screens draw it, `--json` prints it, the exit code is
`holds`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yumen_cli import documents
from yumen_cli.demo.compare import Comparison
from yumen_cli.demo.truth import Truth

if TYPE_CHECKING:
    from yumen.datasets import Datasets
    from yumen.report import CheckReport
    from yumen.result import Result
    from yumen_core.errors import Denied


@dataclass(frozen=True)
class Answer:
    """One question: the decrypted result, the pooled truth, and the two compared."""

    result: Result
    truth: Truth
    comparison: Comparison


@dataclass(frozen=True)
class Refusal:
    """A job that asks for a forbidden purpose: what came back, and that the remedy works."""

    purpose: str
    error: Denied | None
    remedied: CheckReport


@dataclass(frozen=True)
class Attack:
    """A message an attacker sent: what he did, and the refusal's code and words (empty: let in)."""

    name: str
    what: str
    code: str
    message: str
    expected_code: str

    @property
    def holds(self) -> bool:
        return self.code == self.expected_code


@dataclass(frozen=True)
class VerifiedLog:
    """One party's log; `problem` is empty where it is whole."""

    party: str
    entries: int
    root: str
    key: str
    problem: str = ""


@dataclass
class DemoReport:
    """Filled step by step, in the order of the demo."""

    processes: int = 0
    ready_s: float = 0.0
    elapsed_s: float = 0.0
    catalogue: Datasets | None = None
    answers: list[Answer] = field(default_factory=list)
    refusal: Refusal | None = None
    attacks: list[Attack] = field(default_factory=list)
    logs: list[VerifiedLog] = field(default_factory=list)

    @property
    def ciphertext_bytes(self) -> int:
        return sum(answer.result.ciphertext_bytes for answer in self.answers)

    @property
    def ciphertexts(self) -> int:
        return sum(answer.result.ciphertexts for answer in self.answers)

    def faults(self) -> list[str]:
        """What does not hold, in words; empty where everything does."""
        found = [
            f"{answer.comparison.question.title}: {fault}"
            for answer in self.answers
            for fault in answer.comparison.faults
        ]
        if not self.answers:
            found.append("expected encrypted answers, got none")
        if not self.catalogue or len(self.catalogue["heart"].nodes) != 4:
            found.append("expected four hospitals in the catalogue")
        found += self._refusal_faults()
        found += [
            f"{attack.name}: expected a refusal `{attack.expected_code}`, got `{attack.code}`"
            for attack in self.attacks
            if not attack.holds
        ]
        found += [f"log of {log.party}: {log.problem}" for log in self.logs if log.problem]
        if len(self.attacks) != 2 or len(self.logs) != 5:
            found.append("expected two attacks and five logs")
        return found

    @property
    def holds(self) -> bool:
        return not self.faults()

    def document(self) -> dict[str, object]:
        """The whole demo as one JSON document."""
        return {
            "holds": self.holds,
            "faults": self.faults(),
            "elapsed_s": round(self.elapsed_s, 3),
            "ready_s": round(self.ready_s, 3),
            "processes": self.processes,
            "catalogue": None if self.catalogue is None else documents.datasets(self.catalogue),
            "answers": [_answer(answer) for answer in self.answers],
            "coordinator_saw": {
                "ciphertexts": self.ciphertexts,
                "ciphertext_bytes": self.ciphertext_bytes,
            },
            "denied": None if self.refusal is None else _refusal(self.refusal),
            "attacks": [
                {
                    "name": attack.name,
                    "what": attack.what,
                    "refused": attack.holds,
                    "code": attack.code,
                    "message": attack.message,
                }
                for attack in self.attacks
            ],
            "logs": [
                {
                    "party": log.party,
                    "entries": log.entries,
                    "root": log.root,
                    "key": log.key,
                    "whole": not log.problem,
                    "problem": log.problem,
                }
                for log in self.logs
            ],
        }

    def _refusal_faults(self) -> list[str]:
        if self.refusal is None or self.refusal.error is None:
            return ["expected a denial of the forbidden purpose, got none"]
        denials = self.refusal.error.denials
        found = []
        if not any("/node/" in denial.node for denial in denials):
            found.append("expected a denial by a node, got none")
        if not all(denial.message and denial.remedy for denial in denials):
            found.append("expected a reason and a remedy in each denial")
        if not self.refusal.remedied.allowed:
            found.append("expected the remedied job to pass")
        return found


def _answer(answer: Answer) -> dict[str, object]:
    comparison = answer.comparison
    return {
        "question": comparison.question.title,
        **documents.result(answer.result),
        "truth": [
            {"group": line.group, "answer": line.answer, "truth": line.truth, "nodes": line.nodes}
            for line in comparison.lines
        ],
        "largest_relative_difference": comparison.difference,
        "equal": not comparison.faults,
        "held_back_cells": [
            {
                "hospital": cell.hospital,
                "group": cell.group,
                "measure": cell.measure,
                "reason": cell.reason,
            }
            for cell in answer.truth.held_cells
        ],
        "held_back_values": [
            {"group": cell.group, "measure": cell.measure, "reason": cell.reason}
            for cell in answer.truth.held_values
        ],
    }


def _refusal(refusal: Refusal) -> dict[str, object]:
    denials = refusal.error.denials if refusal.error is not None else ()
    return {
        "purpose": refusal.purpose,
        "message": "" if refusal.error is None else refusal.error.message,
        "denials": [denial.to_json() for denial in denials],
        "remedied": documents.check(refusal.remedied),
    }
