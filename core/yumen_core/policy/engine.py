"""A policy bundle: files that were checked, put in force together, and named by one digest."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path

import cedarpy

from yumen_core import canonical
from yumen_core.errors import StateError
from yumen_core.identity.files import make_private_directory, replace_file
from yumen_core.identity.names import Role
from yumen_core.policy.counterfactual import reviewer_numbers
from yumen_core.policy.denial import Denial
from yumen_core.policy.evaluator import Evaluator, Verdict
from yumen_core.policy.facts import request_of
from yumen_core.policy.lint import MAX_FILE_CHARS, Finding, first_and_count, lint
from yumen_core.policy.purposes import MAX_REGISTER_BYTES, Purpose, Purposes
from yumen_core.policy.remedy import explain
from yumen_core.policy.request import CODE, PolicyRequest
from yumen_core.policy.syntax import ParsedPolicy, parse

SCHEMA_FILE = "yumen.cedarschema"
BUILTIN_FILE = "builtin.cedar"
REGISTER_FILE = "purposes.yaml"
MAX_SAVED_BYTES = 128 * 1024 * 1024  # more than 64 files of the longest text, escaped


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
        document: bytes,
    ) -> None:
        self._policies = {policy.id: policy for policy in policies}
        self._evaluator = evaluator
        self._numbers = frozenset[int]().union(*(policy.numbers for policy in policies))
        self._document = document
        self.purposes = purposes
        self.digest = hashlib.sha256(document).digest()

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
        ordered = _with_builtin(texts)
        findings = lint(ordered, _schema())
        if findings:
            raise _invalid(first_and_count(findings))
        return cls._joined(ordered, register, _packaged(SCHEMA_FILE))

    @classmethod
    def _joined(
        cls, texts: Mapping[str, str], purposes: Purposes, schema_text: str
    ) -> PolicyBundle:
        """The bundle of files that were checked, in this order; the schema is not parsed twice."""
        policies = [policy for file, text in texts.items() for policy in parse(text, file)]
        schema = _schema()
        if schema_text != _packaged(SCHEMA_FILE):
            schema = cedarpy.Schema.from_str(schema_text)
        evaluator = Evaluator("\n".join(texts.values()), [p.id for p in policies], schema)
        return cls(policies, evaluator, purposes, _document(texts, purposes, schema_text))

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

    @classmethod
    def load_saved(cls, path: Path) -> PolicyBundle:
        """A bundle as `save` wrote it, to decide again what it decided then.

        Schema and built-in policies are those of its time, not of this software. The file's SHA-256
        must be the digest that its name spells, so a log entry that carries the digest vouches for
        it. It is not put to `lint` again, whose rules may have grown: never activate it.

        Raises `StateError` ("policy_invalid") where the bytes are not those that the name says.
        """
        data = _read_bytes(path, MAX_SAVED_BYTES)
        if not hmac.compare_digest(hashlib.sha256(data).hexdigest(), path.stem):
            raise _invalid(f"saved policies `{path.name}`: the bytes are not what the name says")
        try:
            saved = json.loads(data)
            texts = {str(file): str(text) for file, text in saved["files"]}
            register = Purposes(tuple(Purpose(*entry) for entry in saved["purposes"]))
            # The built-in policies come first again: the engine numbers policies in this order.
            ordered = {BUILTIN_FILE: texts.pop(BUILTIN_FILE)} | texts
            bundle = cls._joined(ordered, register, saved["schema"])
        except (ValueError, TypeError, KeyError, RecursionError):
            raise _invalid(f"saved policies `{path.name}`: expected a policy bundle") from None
        if not hmac.compare_digest(bundle.digest.hex(), path.stem):
            raise _invalid(f"saved policies `{path.name}`: expected a bundle in canonical form")
        return bundle

    def save(self, folder: Path) -> Path:
        """Write all that decides, canonical JSON, to `folder/<digest in hex>.json`, once.

        Policy files with the built-in ones, schema and register: `sha256sum` of the file gives the
        digest that decisions carry. `folder` is made where it is missing. Raises `StateError`.
        """
        target = saved_path(folder, self.digest)
        if not target.exists() or target.read_bytes() != self._document:
            make_private_directory(folder)
            replace_file(target, self._document)
        return target

    @property
    def files(self) -> dict[str, str]:
        """The texts by file name, the built-in ones among them."""
        return dict(json.loads(self._document)["files"])

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

    def decide_facts(self, facts: str) -> PolicyDecision:
        """Decide again from a text of a log entry's `facts` (see `yumen_core.policy.facts`).

        Raises `PeerError` ("log_corrupt") where the text is no facts in canonical form.
        """
        return self.decide(request_of(facts))

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

    def holds(self, policy: str, request: PolicyRequest) -> bool:
        """Whether `policy`, a permit's text, would match `request` under this bundle's register."""
        alone = Evaluator(policy, ["clause"], _schema())
        registered = request.purpose in self.purposes
        return alone.evaluate(request, purpose_registered=registered).allowed

    def _evaluate(self, request: PolicyRequest) -> Verdict:
        registered = request.purpose in self.purposes
        return self._evaluator.evaluate(request, purpose_registered=registered)


def reviews_missing(policies: PolicyBundle, request: PolicyRequest) -> bool:
    """Whether a refused training of code would pass once more people had approved the code."""
    return policies.reviewers_needed(request) is not None


def policy_findings(files: Sequence[Path]) -> tuple[Finding, ...]:
    """Why these policy files may not be put in force, everything at once; empty where they may.

    Raises `StateError` ("policy_invalid") where a file cannot be read.
    """
    texts = {file.name: _read(file, MAX_FILE_CHARS * 4) for file in files}
    return lint(_with_builtin(texts), _schema())


def _with_builtin(texts: Mapping[str, str]) -> dict[str, str]:
    # Sorted, so that the order in which files are found does not matter.
    return {BUILTIN_FILE: _packaged(BUILTIN_FILE)} | {file: texts[file] for file in sorted(texts)}


def saved_path(folder: Path, digest: bytes) -> Path:
    """Where `PolicyBundle.save` puts the bundle of this digest."""
    return folder / f"{digest.hex()}.json"


def _document(texts: Mapping[str, str], purposes: Purposes, schema_text: str) -> bytes:
    """What a bundle is named by: the canonical JSON of all that decides."""
    return canonical.encode(
        {
            "format": "yumen-policy-bundle-v1",
            "schema": schema_text,
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
        return _read_bytes(file, max_bytes).decode()
    except UnicodeDecodeError as error:
        raise _invalid(f"policy file `{file.name}`: expected UTF-8 text") from error


def _read_bytes(file: Path, max_bytes: int) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(max_bytes + 1)
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise _invalid(f"policy file `{file.name}`: {reason.lower()}") from error
    if len(data) > max_bytes:
        raise _invalid(f"policy file `{file.name}`: expected at most {max_bytes} bytes")
    return data


def _invalid(message: str) -> StateError:
    return StateError("policy_invalid", message)
