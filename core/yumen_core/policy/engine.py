"""A policy bundle: files that were checked, put in force together, and named by one digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path

import cedarpy

from yumen_core.canonical import digest
from yumen_core.errors import StateError
from yumen_core.identity.names import Role
from yumen_core.policy.counterfactual import reviewer_numbers
from yumen_core.policy.denial import Denial
from yumen_core.policy.evaluator import Evaluator, Verdict
from yumen_core.policy.lint import MAX_FILE_CHARS, first_and_count, lint
from yumen_core.policy.purposes import MAX_REGISTER_BYTES, Purposes
from yumen_core.policy.remedy import explain
from yumen_core.policy.request import CODE, PolicyRequest
from yumen_core.policy.syntax import ParsedPolicy, parse

SCHEMA_FILE = "yumen.cedarschema"
BUILTIN_FILE = "builtin.cedar"
REGISTER_FILE = "purposes.yaml"


@dataclass(frozen=True)
class PolicyDecision:
    """The bundle's word on one request.

    `policy_ids` are the policies that decided; `denials` is empty exactly where `allowed`;
    `digest` names the bundle (SHA-256, 32 bytes). `errors` is for the operator's log only.
    """

    allowed: bool
    policy_ids: tuple[str, ...]
    denials: tuple[Denial, ...]
    digest: bytes
    errors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Callers may look at either field; the two must never tell different things.
        if self.allowed == bool(self.denials) or (self.allowed and self.errors):
            raise ValueError("a decision either allows or has denials")


class PolicyBundle:
    """Policies in force: the given files and the built-in forbids. Immutable; share it freely.

    A bundle without permits denies everything. Made by `from_text`, `load` or `load_directory`,
    which raise `StateError` ("policy_invalid") with the file, the policy and the reason.
    """

    def __init__(
        self,
        policies: Sequence[ParsedPolicy],
        evaluator: Evaluator,
        purposes: Purposes,
        name: bytes,
    ) -> None:
        self._policies = {policy.id: policy for policy in policies}
        self._evaluator = evaluator
        self._numbers = frozenset[int]().union(*(policy.numbers for policy in policies))
        self.purposes = purposes
        self.digest = name

    @classmethod
    def from_text(
        cls, texts: Mapping[str, str], *, purposes: Purposes | None = None
    ) -> PolicyBundle:
        """Check and join policy texts by file name; without `purposes` none is registered."""
        register = Purposes() if purposes is None else purposes
        if BUILTIN_FILE in texts:
            raise _invalid(
                f"policy file `{BUILTIN_FILE}`: the name is that of the built-in policies"
            )
        # Sorted, so that the order in which files are found does not matter.
        ordered = {BUILTIN_FILE: _packaged(BUILTIN_FILE)}
        ordered |= {file: texts[file] for file in sorted(texts)}
        findings = lint(ordered, _schema())
        if findings:
            raise _invalid(first_and_count(findings))
        policies = [policy for file, text in ordered.items() for policy in parse(text, file)]
        joined = "\n".join(ordered.values())
        evaluator = Evaluator(joined, [policy.id for policy in policies], _schema())
        return cls(policies, evaluator, register, _bundle_digest(ordered, register))

    @classmethod
    def load(cls, files: Sequence[Path], *, purposes: Path | None = None) -> PolicyBundle:
        """Read and check policy files (UTF-8) and the register of purposes."""
        texts: dict[str, str] = {}
        for file in files:
            if file.name in texts:
                raise _invalid(f"policy file `{file.name}`: two files have this name")
            texts[file.name] = _read(file, MAX_FILE_CHARS * 4)
        if purposes is None:
            return cls.from_text(texts)
        text = _read(purposes, MAX_REGISTER_BYTES)
        return cls.from_text(texts, purposes=Purposes.from_text(text, file=purposes.name))

    @classmethod
    def load_directory(cls, directory: Path) -> PolicyBundle:
        """Every `*.cedar` of `directory`, with its `purposes.yaml` where there is one.

        A `yumen.cedarschema` beside them must equal the built-in one: another would be ignored.
        """
        if not directory.is_dir():
            raise _invalid(f"policy directory `{directory}` does not exist")
        schema = directory / SCHEMA_FILE
        if schema.exists() and _read(schema, MAX_FILE_CHARS * 4) != _packaged(SCHEMA_FILE):
            raise _invalid(f"policy file `{SCHEMA_FILE}`: differs from the schema of this software")
        register = directory / REGISTER_FILE
        found = sorted(directory.glob("*.cedar"))
        return cls.load(found, purposes=register if register.exists() else None)

    @property
    def policies(self) -> tuple[ParsedPolicy, ...]:
        return tuple(self._policies.values())

    def decide(self, request: PolicyRequest) -> PolicyDecision:
        """Decide `request`; a refusal explains itself by up to 200 further evaluations."""
        verdict = self._evaluate(request)
        denials: tuple[Denial, ...] = ()
        if not verdict.allowed:
            denials = explain(
                request,
                verdict,
                evaluate=self._evaluate,
                policies=self._policies,
                purposes=self.purposes,
                numbers=self._numbers,
                policy_digest=self.digest,
            )
        ids = verdict.determining
        return PolicyDecision(verdict.allowed, ids, denials, self.digest, verdict.errors)

    def reviewers_needed(self, request: PolicyRequest) -> int | None:
        """How many must have approved the code for `request` to pass, where that is all it lacks.

        None where it passes as it is, where no number of reviewers would make it pass, and at the
        coordinator, where nobody reviews.
        """
        here = request.program == CODE and request.decider.role is Role.NODE
        if not here or self._evaluate(request).allowed:
            return None
        for number in reviewer_numbers(request, self._numbers):
            if self._evaluate(replace(request, code_reviewers=number)).allowed:
                return number
        return None

    def _evaluate(self, request: PolicyRequest) -> Verdict:
        registered = request.purpose in self.purposes
        return self._evaluator.evaluate(request, purpose_registered=registered)


def reviews_missing(policies: PolicyBundle, request: PolicyRequest) -> bool:
    """Whether a refused training of code would pass once more people had approved the code."""
    return policies.reviewers_needed(request) is not None


def _bundle_digest(texts: Mapping[str, str], purposes: Purposes) -> bytes:
    return digest(
        {
            "format": "yumen-policy-bundle-v1",
            "schema": _packaged(SCHEMA_FILE),
            "files": [[file, texts[file]] for file in sorted(texts)],
            "purposes": [[purpose.name, purpose.meaning] for purpose in purposes],
        }
    )


@cache
def _schema() -> cedarpy.Schema:
    return cedarpy.Schema.from_str(_packaged(SCHEMA_FILE))


@cache
def _packaged(file: str) -> str:
    return package_files("yumen_core.policy").joinpath(file).read_text(encoding="utf-8")


def _read(file: Path, max_bytes: int) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise _invalid(f"policy file `{file.name}`: expected at most {max_bytes} bytes")
        return data.decode()
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise _invalid(f"policy file `{file.name}`: {reason.lower()}") from error
    except UnicodeDecodeError as error:
        raise _invalid(f"policy file `{file.name}`: expected UTF-8 text") from error


def _invalid(message: str) -> StateError:
    return StateError("policy_invalid", message)
