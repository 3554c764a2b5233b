"""What a requester sends the nodes between the runs of a job: sealed and signed.

Of a statistic these are a few arrays, in the signed message itself. Of a training it is a model,
which travels apart in pieces: the signed message then holds the digest of the sealed bytes.

The job's secret is known to the requester and the job's nodes, so the coordinator carries what it
cannot read; the requester's signature says that no node made it up. Every party masks its sum under
the digest of the input it saw (`rounds.sum_binding`), so that nodes which were shown different
inputs have a sum that nobody can read.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError

from yumen_core.errors import CallError, PeerError
from yumen_core.identity.envelope import PayloadType, SignedEnvelope, open_envelope
from yumen_core.identity.membership import Membership
from yumen_core.identity.names import Identity, Role
from yumen_core.rpc.v1 import job_pb2
from yumen_core.secret import Secret
from yumen_core.securesum.keystream import derive
from yumen_core.statistics.kinds import Inputs
from yumen_core.statistics.layout import Reals

MAX_INPUT_BYTES = 4 << 20
MAX_APART_BYTES = 576 << 20
"""Of a training's sealed input: 64 million values of 8 bytes, and what goes with them."""
MAX_ARRAYS = 32
_NONCE_BYTES = 12
_OVERHEAD_BYTES = _NONCE_BYTES + 16
_LABEL = b"yumen/v1/round-input"
NO_INPUT = b""
"""The digest that stands for the input of a run which has none."""


@dataclass(frozen=True)
class SignedInput:
    """An input whose signature and frame hold; what is in it is sealed still. `digest` is of the
    signed payload. Where the sealed bytes travel apart, `apart` is their digest and `size` their
    number, and `sealed` is empty."""

    run: int
    round: str
    sealed: bytes
    digest: bytes
    apart: bytes = b""
    size: int = 0


def seal_input(
    arrays: Inputs, *, job_id: str, spec_digest: bytes, run: int, round_name: str, secret: Secret
) -> bytes:
    """The payload to sign for one run. Raises `CallError` (`statistic`) for values that are not
    finite or more than `MAX_INPUT_BYTES`."""
    message = job_pb2.Arrays()
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name], dtype="<f8")
        if not np.isfinite(values).all():
            raise CallError(
                "statistic", f"expected finite inputs, got `{name}` with one that is not"
            )
        message.arrays.add(name=name, shape=values.shape, values=values.tobytes())
    plain = message.SerializeToString(deterministic=True)
    if len(plain) > MAX_INPUT_BYTES:
        raise CallError(
            "statistic", f"expected inputs of at most {MAX_INPUT_BYTES} bytes, got {len(plain)}"
        )
    sealed = _seal(plain, job_id, spec_digest, run, round_name, secret)
    return job_pb2.RoundInput(
        job_id=job_id, spec_digest=spec_digest, run=run, round=round_name, sealed=sealed
    ).SerializeToString(deterministic=True)


def seal_apart(
    plain: bytes, *, job_id: str, spec_digest: bytes, run: int, round_name: str, secret: Secret
) -> tuple[bytes, bytes]:
    """The payload to sign for one run of a training, and the sealed bytes that it names.

    Raises `CallError` (`payload_too_large`) for more than `MAX_APART_BYTES`.
    """
    if len(plain) > MAX_APART_BYTES - _OVERHEAD_BYTES:
        raise CallError(
            "payload_too_large",
            f"expected a model of at most {MAX_APART_BYTES >> 20} MiB, got {len(plain)} bytes",
            remedy="train a smaller model, or a part of it",
        )
    sealed = _seal(plain, job_id, spec_digest, run, round_name, secret)
    payload = job_pb2.RoundInput(
        job_id=job_id,
        spec_digest=spec_digest,
        run=run,
        round=round_name,
        sealed_digest=hashlib.sha256(sealed).digest(),
        sealed_bytes=len(sealed),
    ).SerializeToString(deterministic=True)
    return payload, sealed


def open_apart(
    signed: SignedInput, sealed: bytes, *, job_id: str, spec_digest: bytes, secret: Secret
) -> bytes:
    """What is in the sealed bytes of a training's input.

    1. They are the ones whose digest the requester signed. 2. They open for this job, run and
    round. Raises `PeerError` (`sealed`).
    """
    found = hashlib.sha256(sealed).digest()
    if not signed.apart or not hmac.compare_digest(found, signed.apart):
        raise PeerError("sealed", "expected the input that the requester signed, got other bytes")
    return _unseal(sealed, signed, job_id, spec_digest, secret)


def open_signed_input(
    envelope: SignedEnvelope,
    *,
    job_id: str,
    spec_digest: bytes,
    requester: Identity,
    membership: Membership,
) -> SignedInput:
    """Verify that the job's requester signed this input for this job.

    1. A user signed it (`open_envelope`). 2. That user is the job's requester. 3. It names the job
    and the signed job's digest. Raises `PeerError` (`round` and what `open_envelope` raises).
    """
    opened = open_envelope(
        envelope,
        expected_type=PayloadType.ROUND_INPUT,
        anchor=membership.anchor,
        revocations=membership.revocations,
        now_ms=membership.clock.now_ms(),
        max_bytes=MAX_INPUT_BYTES + (1 << 12),
        role=Role.USER,
    )
    message = _message(opened.payload)
    if (
        opened.identity != requester
        or message.job_id != job_id
        or message.spec_digest != spec_digest
    ):
        raise PeerError(
            "round", "expected an input of the job's requester for this job, got another"
        )
    return _signed(message, opened.payload)


def read_stored_input(payload: bytes) -> SignedInput:
    """Read an input that `open_signed_input` accepted before it was stored."""
    return _signed(_message(payload), payload)


def open_input(
    signed: SignedInput,
    *,
    job_id: str,
    spec_digest: bytes,
    secret: Secret,
    shapes: Mapping[str, tuple[int, ...]],
) -> Inputs:
    """The arrays of an input, float64 and finite, each of the shape that the round has.

    Raises `PeerError` (`sealed`, `round`).
    """
    plain = _unseal(signed.sealed, signed, job_id, spec_digest, secret)
    try:
        message = job_pb2.Arrays.FromString(plain)
    except DecodeError:
        raise _unsealable() from None
    if len(message.arrays) > MAX_ARRAYS or sorted(a.name for a in message.arrays) != sorted(shapes):
        raise PeerError("round", f"expected the inputs {', '.join(sorted(shapes))}, got others")
    return {array.name: _array(array, shapes[array.name]) for array in message.arrays}


def _message(payload: bytes) -> job_pb2.RoundInput:
    try:
        return job_pb2.RoundInput.FromString(payload)
    except DecodeError:
        raise PeerError("round", "expected a round's input, got other bytes") from None


def _signed(message: job_pb2.RoundInput, payload: bytes) -> SignedInput:
    digest = hashlib.sha256(payload).digest()
    apart = message.sealed_digest
    if apart and (
        len(apart) != 32
        or message.sealed
        or not _OVERHEAD_BYTES <= message.sealed_bytes <= MAX_APART_BYTES
    ):
        raise PeerError(
            "round",
            f"expected an input of at most {MAX_APART_BYTES} bytes, named by its SHA-256",
        )
    size = message.sealed_bytes
    return SignedInput(message.run, message.round, message.sealed, digest, apart, size)


def _array(message: job_pb2.Array, shape: tuple[int, ...]) -> Reals:
    size = int(np.prod(shape, dtype=np.int64))
    if tuple(message.shape) != shape or len(message.values) != 8 * size:
        raise PeerError(
            "round", f"expected the input `{message.name}` of the shape {shape}, got another"
        )
    values = np.frombuffer(message.values, dtype="<f8").reshape(shape)
    if not np.isfinite(values).all():
        raise PeerError("round", f"expected finite values in the input `{message.name}`")
    return values


def _seal(
    plain: bytes, job_id: str, spec_digest: bytes, run: int, round_name: str, secret: Secret
) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + _cipher(secret, job_id, run).encrypt(
        nonce, plain, _frame(spec_digest, run, round_name)
    )


def _unseal(
    sealed: bytes, signed: SignedInput, job_id: str, spec_digest: bytes, secret: Secret
) -> bytes:
    view = memoryview(sealed)
    try:
        return _cipher(secret, job_id, signed.run).decrypt(
            sealed[:_NONCE_BYTES],
            view[_NONCE_BYTES:],
            _frame(spec_digest, signed.run, signed.round),
        )
    except (InvalidTag, ValueError):
        raise _unsealable() from None


def _unsealable() -> PeerError:
    return PeerError("sealed", "expected an input sealed for this run, got other bytes")


def _cipher(secret: Secret, job_id: str, run: int) -> AESGCM:
    return AESGCM(derive(secret.reveal(), _LABEL, job_id.encode(), run.to_bytes(4, "big")))


def _frame(spec_digest: bytes, run: int, round_name: str) -> bytes:
    return spec_digest + run.to_bytes(4, "big") + round_name.encode()
