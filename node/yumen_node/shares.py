"""Reading the support shares of all participants, as the coordinator carried them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from yumen_core.errors import PeerError
from yumen_core.identity.envelope import SignedEnvelope
from yumen_core.identity.membership import Membership
from yumen_core.jobs.rounds import support_digest
from yumen_core.jobs.supports import open_share
from yumen_core.rpc.v1 import envelope_pb2, job_pb2
from yumen_core.securesum.masks import MaskKey
from yumen_core.securesum.support import Flags, open_flags

from yumen_node.gate import AcceptedJob


@dataclass(frozen=True)
class Supports:
    """What the shares say: flags `by_node`, this node's `own` and the `totals` over all, each
    uint8[cells, flags], and the digest of all shares that the sum is bound to."""

    own: Flags
    totals: Flags
    digest: bytes
    by_node: Mapping[str, Flags]


def open_supports(
    messages: Sequence[envelope_pb2.Envelope],
    *,
    job: AcceptedJob,
    participants: Sequence[str],
    binding: bytes,
    shape: tuple[int, int],
    membership: Membership,
    mask_key: MaskKey,
    sent: bytes | None,
) -> Supports:
    """Verify and open every participant's share; `sent` is the envelope this node sent itself,
    `binding` is `rounds.support_binding`'s, and `shape` is (cells, flags of a cell).

    1. Each share is signed by its node, for this job, run and participant set, and there is
       exactly one of each participant.
    2. This node's own is the one it sent.
    3. The flags in each open for this node and are the ones its signer committed to.

    Raises `PeerError` (`round`, `sealed`, `signature`).
    """
    me = membership.identity.uri
    shares, payloads = _verified(messages, job, participants, binding, membership)
    if sent is None or payloads[me] != envelope_pb2.Envelope.FromString(sent).payload:
        raise PeerError("round", "expected this node's own support share, got another")
    keys = {**job.mask_keys(participants, but=me), me: mask_key.public_bytes}
    flags = {
        node: open_flags(
            share.sealed[me],
            commitment=share.commitment,
            sender=node,
            sender_key=keys[node],
            mask_key=mask_key,
            own_name=me,
            binding=binding,
            length=shape[0] * shape[1],
        ).reshape(shape)
        for node, share in shares.items()
    }
    totals: Flags = np.stack(list(flags.values())).sum(axis=0, dtype=np.uint8)
    return Supports(own=flags[me], totals=totals, digest=support_digest(payloads), by_node=flags)


def _verified(
    messages: Iterable[envelope_pb2.Envelope],
    job: AcceptedJob,
    participants: Sequence[str],
    binding: bytes,
    membership: Membership,
) -> tuple[Mapping[str, job_pb2.SupportShare], Mapping[str, bytes]]:
    """Step 1: the shares and their signed payloads, by participant."""
    shares: dict[str, job_pb2.SupportShare] = {}
    payloads: dict[str, bytes] = {}
    for message in list(messages)[: len(participants) + 1]:
        share = open_share(
            SignedEnvelope.from_proto(message),
            job_id=job.job_id,
            spec_digest=job.opened.digest,
            participants=participants,
            binding=binding,
            membership=membership,
        )
        if share.node in shares:
            raise PeerError(
                "round",
                "expected one support share a participant for this job, run and set, got another",
                node=share.node,
            )
        shares[share.node], payloads[share.node] = share.message, share.payload
    if sorted(shares) != list(participants):
        raise PeerError(
            "round",
            f"expected the support shares of {len(participants)} participants, got {len(shares)}",
        )
    return shares, payloads
