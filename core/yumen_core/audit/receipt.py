"""A receipt: what stands behind a result, in one file that verifies without any connection. Pure.

    {"receipt": {...}, "certificate": base64, "signature": base64}

`receipt` is what the requester signs, as canonical JSON. Everything in it that is not signed by
somebody else as well is his word only: the digest of the result, that its sum is over just these
participants, and why others are out.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from yumen_core import canonical
from yumen_core.canonical import Json
from yumen_core.errors import PeerError, YumenError
from yumen_core.identity.envelope import PayloadType, SignedEnvelope
from yumen_core.log.proof import LogProof

VERSION = 2
MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_JOBS = 64
_FIELDS = {"v", "made_at_ms", "jobs", "result"}
_Part = TypeVar("_Part")


class _OtherVersion(PeerError):
    """A receipt of another version."""


@dataclass(frozen=True)
class Said:
    """A party's signed decision, and the proof that it stands in that party's log."""

    decision: SignedEnvelope
    proof: LogProof


@dataclass(frozen=True)
class Out:
    """A node that the job names and that took no part; `decision` where it signed one."""

    reason: str
    decision: SignedEnvelope | None = None


@dataclass(frozen=True)
class JobEvidence:
    """What others signed of one job. Nodes by their SPIFFE ids; `descriptors` are those that the
    job pins, of every node that it names."""

    job: SignedEnvelope
    coordinator_descriptor: SignedEnvelope
    coordinator: Said
    descriptors: Mapping[str, SignedEnvelope]
    participants: Mapping[str, Said]
    excluded: Mapping[str, Out]

    def to_json(self) -> dict[str, Json]:
        return {
            "job": _envelope_json(self.job),
            "coordinator_descriptor": _envelope_json(self.coordinator_descriptor),
            "coordinator": _said_json(self.coordinator),
            "descriptors": {n: _envelope_json(e) for n, e in self.descriptors.items()},
            "participants": {n: _said_json(s) for n, s in self.participants.items()},
            "excluded": {
                n: {
                    "reason": out.reason,
                    "decision": None if out.decision is None else _envelope_json(out.decision),
                }
                for n, out in self.excluded.items()
            },
        }


@dataclass(frozen=True)
class ResultDigest:
    """SHA-256 of a result in the form named `form`, in hexadecimal; `what` is query, statistic or
    training."""

    what: str
    form: str
    sha256: str


@dataclass(frozen=True)
class Receipt:
    """A receipt as it was read, not yet believed. `made_at_ms` is since the Unix epoch."""

    jobs: tuple[JobEvidence, ...]
    result: ResultDigest
    made_at_ms: int

    def to_bytes(self) -> bytes:
        """The payload to sign."""
        result = self.result
        return canonical.encode(
            {
                "v": VERSION,
                "made_at_ms": self.made_at_ms,
                "jobs": [evidence.to_json() for evidence in self.jobs],
                "result": {"what": result.what, "form": result.form, "sha256": result.sha256},
            }
        )


def receipt_file(envelope: SignedEnvelope) -> bytes:
    """The file of a signed receipt, for people to read too."""
    document = {
        "receipt": json.loads(envelope.payload),
        "certificate": _text(envelope.certificate),
        "signature": _text(envelope.signature),
    }
    return json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"


def read_receipt(data: bytes) -> tuple[Receipt, SignedEnvelope]:
    """A file's receipt and what its requester signed; no signature is verified here.

    Raises `PeerError` (`audit`) for another form: unknown or missing fields, one named twice.
    """
    if len(data) > MAX_FILE_BYTES:
        raise _other_form(f"expected a receipt of {MAX_FILE_BYTES} bytes at most, got more")
    try:
        document = canonical.parse(data.decode(), max_chars=MAX_FILE_BYTES, pairs=_once)
        body, certificate, signature = _fields(document, "receipt", "certificate", "signature")
        if not isinstance(body, dict):
            raise ValueError
        version = body.get("v")
        if type(version) is int and version != VERSION:
            raise _OtherVersion(
                "audit",
                f"expected a receipt of version {VERSION}, got version {version}",
                remedy="verify it with the release that made it, or ask for a new one",
            )
        if type(version) is not int or set(body) != _FIELDS:
            raise ValueError
        made_at_ms, jobs = body["made_at_ms"], body["jobs"]
        what, form, sha256 = (_str(v) for v in _fields(body["result"], "what", "form", "sha256"))
        if type(made_at_ms) is not int or not isinstance(jobs, list):
            raise ValueError
        if not 1 <= len(jobs) <= MAX_JOBS or len(bytes.fromhex(sha256)) != 32:
            raise ValueError
        result = ResultDigest(what, form, sha256)
        receipt = Receipt(tuple(_evidence(job) for job in jobs), result, made_at_ms)
        payload = canonical.encode(body)
        envelope = SignedEnvelope(
            payload, PayloadType.RECEIPT, _bytes(signature), _bytes(certificate)
        )
    except _OtherVersion:
        raise
    except (ValueError, TypeError, KeyError, RecursionError, YumenError):
        raise _other_form(f"expected a receipt of version {VERSION}, got another form") from None
    return receipt, envelope


def _evidence(value: object) -> JobEvidence:
    job, descriptor, coordinator, descriptors, participants, excluded = _fields(
        value,
        "job",
        "coordinator_descriptor",
        "coordinator",
        "descriptors",
        "participants",
        "excluded",
    )
    return JobEvidence(
        _envelope(job, PayloadType.JOB_SPEC),
        _envelope(descriptor, PayloadType.COORDINATOR_DESCRIPTOR),
        _said(coordinator),
        _by_node(descriptors, lambda one: _envelope(one, PayloadType.NODE_DESCRIPTOR)),
        _by_node(participants, _said),
        _by_node(excluded, _out),
    )


def _by_node(value: object, read: Callable[[object], _Part]) -> dict[str, _Part]:
    if not isinstance(value, dict):
        raise TypeError
    return {str(node): read(one) for node, one in value.items()}


def _said(value: object) -> Said:
    decision, proof = _fields(value, "decision", "proof")
    if not isinstance(proof, dict):
        raise TypeError
    return Said(_envelope(decision, PayloadType.DECISION), LogProof.from_json(proof))


def _out(value: object) -> Out:
    reason, decision = _fields(value, "reason", "decision")
    signed = None if decision is None else _envelope(decision, PayloadType.DECISION)
    return Out(_str(reason), signed)


def _said_json(said: Said) -> Json:
    return {"decision": _envelope_json(said.decision), "proof": said.proof.to_json()}


def _envelope_json(envelope: SignedEnvelope) -> Json:
    """Without its type, which its place tells."""
    return {
        "payload": _text(envelope.payload),
        "signature": _text(envelope.signature),
        "certificate": _text(envelope.certificate),
    }


def _envelope(value: object, kind: PayloadType) -> SignedEnvelope:
    payload, signature, certificate = _fields(value, "payload", "signature", "certificate")
    return SignedEnvelope(_bytes(payload), kind, _bytes(signature), _bytes(certificate))


def _fields(value: object, *names: str) -> list[object]:
    if not isinstance(value, dict) or set(value) != set(names):
        raise TypeError
    return [value[name] for name in names]


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """A name that stands twice would be read otherwise by others."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(value: object) -> bytes:
    data = base64.b64decode(_str(value), validate=True)
    if _text(data) != value:  # one spelling for the same bytes
        raise ValueError
    return data


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _other_form(message: str) -> PeerError:
    return PeerError("audit", message, remedy="ask whoever made the receipt for the file again")
