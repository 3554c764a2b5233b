"""One mapper from errors to gRPC and back, so that an error reads the same on both sides.

The status code comes from the catalogue, the details are the sentence a person reads, and the
trailing metadata key `yumen-error-bin` carries the parts as canonical JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import grpc

from yumen_core import canonical
from yumen_core.errors import CATALOGUE, CallError, Denied, PeerError, StateError, YumenError
from yumen_core.policy.denial import Denial

METADATA_KEY = "yumen-error-bin"
MAX_METADATA_BYTES = 6_000  # gRPC's default metadata limit is 8 KiB for all keys together
_KINDS: dict[str, type[YumenError]] = {
    kind.__name__: kind for kind in (CallError, PeerError, StateError)
}


def status_of(error: YumenError) -> grpc.StatusCode:
    return grpc.StatusCode[error.kind.grpc]


def to_metadata(error: YumenError) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata for `error`; denials that would not fit are left out from the end."""
    denials = list(error.denials) if isinstance(error, Denied) else []
    while True:
        body = canonical.encode(
            {
                "kind": type(error).__name__,
                "code": error.code,
                "message": error.message,
                "node": error.node,
                "remedy": error.remedy,
                "denials": [d.to_json() for d in denials],
            }
        )
        if len(body) <= MAX_METADATA_BYTES or not denials:
            return ((METADATA_KEY, body[:MAX_METADATA_BYTES]),)
        denials.pop()


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: YumenError) -> None:
    """End the call with `error`. Does not return."""
    await context.abort(status_of(error), str(error)[:1000], to_metadata(error))


def from_rpc_error(error: grpc.RpcError, *, what: str) -> YumenError:
    """The error that the other side raised, or one that says why it could not be reached.

    `what` names the other side for a person, such as "the coordinator at 127.0.0.1:7401".
    """
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return PeerError("unreachable", f"could not reach {what}")
    for key, value in _pairs(error.trailing_metadata()):
        if key == METADATA_KEY and isinstance(value, bytes):
            rebuilt = _parse(value)
            if rebuilt is not None:
                return rebuilt
    return _from_status(error.code(), what)


def _pairs(metadata: object) -> Iterable[tuple[str, object]]:
    return metadata if isinstance(metadata, Iterable) else ()


def _parse(value: bytes) -> YumenError | None:
    try:
        body = json.loads(value)
        denials = tuple(
            Denial(**{**d, "policy_digest": bytes.fromhex(d["policy_digest"])})
            for d in body["denials"]
        )
        if body["code"] not in CATALOGUE:
            return None
        if body["kind"] == "Denied" and denials:
            return Denied(body["message"], denials, code=body["code"])
        kind = _KINDS.get(body["kind"], PeerError)
        return kind(body["code"], body["message"], node=body["node"] or None, remedy=body["remedy"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _from_status(code: grpc.StatusCode, what: str) -> YumenError:
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return PeerError(
                "unreachable",
                f"could not reach {what}, or its certificate is not of this federation",
            )
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return PeerError("deadline", f"expected an answer of {what} in time, got none")
        case grpc.StatusCode.CANCELLED:
            return PeerError("cancelled", f"the call to {what} was cancelled")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return PeerError("payload_too_large", f"the message was too large for {what}")
        case _:
            return PeerError("failed", f"{what} ended the call with {code.name.lower()}")
