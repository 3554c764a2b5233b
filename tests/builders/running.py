"""A job that sites have accepted, and what is said in its rounds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from yumen_core.errors import PeerError
from yumen_core.identity import SignedEnvelope
from yumen_core.identity.envelope import PayloadType
from yumen_core.jobs.answer import SumTotals
from yumen_core.rpc.v1 import job_pb2

from builders.federation import (
    Federation,
    Job,
    heart_plan,
)
from builders.site import Site, opened

PLAN = heart_plan()


class Running:
    """A job that all `sites` have accepted."""

    def __init__(self, sites: Sequence[Site], job: Job) -> None:
        self.sites = list(sites)
        self.job = job
        self.names = sorted(site.uri for site in sites)
        self.accepted = {site.uri: site.accept(job) for site in sites}

    def share(self, site: Site, names: Sequence[str] | None = None) -> SignedEnvelope:
        return site.support(self.accepted[site.uri], self.names if names is None else names)

    def shares(self) -> list[SignedEnvelope]:
        return [self.share(site) for site in self.sites]

    def part(
        self,
        site: Site,
        shares: Sequence[SignedEnvelope],
        names: Sequence[str] | None = None,
    ) -> bytes:
        names = self.names if names is None else names
        return site.contribute(self.accepted[site.uri], names, shares)

    def read(self, raw: bytes, shares: Sequence[SignedEnvelope]) -> SumTotals:
        payloads = {name_of(share): share.payload for share in shares}
        return opened(self.job, PLAN, raw, self.names, payloads)


def name_of(share: SignedEnvelope) -> str:
    return job_pb2.SupportShare.FromString(share.payload).node


def hospitals(
    federation: Federation, folder: Path, counts: Sequence[tuple[int, int]]
) -> list[Site]:
    """Sites with so many women and men in their tables."""
    nodes = federation.nodes(len(counts))
    return [
        Site(node, folder / f"counted{i}", counts=pair)
        for i, (node, pair) in enumerate(zip(nodes, counts, strict=True))
    ]


def refused(step: Callable[[], object]) -> str:
    with pytest.raises(PeerError) as caught:
        step()
    assert caught.value.code == "round"
    return caught.value.message


def signed(site: Site, share: job_pb2.SupportShare) -> SignedEnvelope:
    return site.node.membership.sign(share.SerializeToString(), PayloadType.SUPPORT)


def edited(site: Site, share: SignedEnvelope, **changes: Any) -> SignedEnvelope:
    """A share with other fields, signed by its own node."""
    message = job_pb2.SupportShare.FromString(share.payload)
    for name, value in changes.items():
        if name == "sealed":
            message.sealed.clear()
            message.sealed.update(value)
        else:
            setattr(message, name, value)
    return signed(site, message)
