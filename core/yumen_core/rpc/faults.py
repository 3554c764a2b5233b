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
# gRPC drops a call's end at random where all its metadata passes 8 KiB.
MAX_METADATA_BYTES = 6_000
MAX_DETAILS_BYTES = 500  # travels percent-encoded, up to three times as long
_MAX_TEXT_CHARS = 2_000
_KINDS: dict[str, type[YumenError]] = {
    kind.__name__: kind for kind in (CallError, PeerError, StateError)
}


def status_of(error: YumenError) -> grpc.StatusCode:
    return grpc.StatusCode[error.kind.grpc]


def to_metadata(error: YumenError) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata for `error`.

    What would not fit is left out: denials from the end, then the ends of texts.
    """
    denials = list(error.denials) if isinstance(error, Denied) else []
    longest = _MAX_TEXT_CHARS
    while True:
        body = canonical.encode(
            {
                "kind": type(error).__name__,
                "code": error.code,
                "message": error.message[:longest],
                "node": error.node and error.node[:longest],
                "remedy": error.remedy[:longest],
                "denials": [d.to_json() for d in denials],
            }
        )
        if len(body) <= MAX_METADATA_BYTES:
            return ((METADATA_KEY, body),)
        if denials:
            denials.pop()
        else:
            longest //= 2


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: YumenError) -> None:
    """End the call with `error`. Does not return."""
    await context.abort(status_of(error), details_of(error), to_metadata(error))


def details_of(error: YumenError) -> str:
    """The sentence for readers without the metadata, cut to `MAX_DETAILS_BYTES` of UTF-8."""
    return str(error).encode()[:MAX_DETAILS_BYTES].decode(errors="ignore")


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
    """The error in metadata that a peer made; `None` where it is anything else."""
    try:
        body = json.loads(value)
        texts = [body["kind"], body["code"], body["message"], body["remedy"], body["node"] or ""]
        texts += [text for denial in body["denials"] for text in denial.values()]
        if not all(isinstance(text, str) for text in texts) or body["code"] not in CATALOGUE:
            return None
        denials = tuple(
            Denial(**{**d, "policy_digest": bytes.fromhex(d["policy_digest"])})
            for d in body["denials"]
        )
        if body["kind"] == "Denied" and denials:
            return Denied(body["message"], denials, code=body["code"])
        kind = _KINDS.get(body["kind"], PeerError)
        return kind(body["code"], body["message"], node=body["node"] or None, remedy=body["remedy"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
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
