"""A hostile node, alone and with the requester and the coordinator: it has true keys and its share
of everything that is sent to it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from builders.federation import Job, job_for, key_pair
from builders.running import PLAN, Running, name_of
from builders.site import AGE, Site, added
from yumen_core.errors import PeerError
from yumen_core.identity.envelope import PayloadType
from yumen_core.identity.membership import Membership
from yumen_core.jobs.answer import AnswerShape
from yumen_core.jobs.book import open_descriptor
from yumen_core.jobs.rounds import sum_binding, support_binding, support_digest
from yumen_core.rpc.v1 import job_pb2
from yumen_core.securesum import Adder
from yumen_core.securesum.bfv import BfvKeyPair
from yumen_core.securesum.masks import add_net_mask
from yumen_core.securesum.support import open_flags

ANSWER = AnswerShape.of_plan(PLAN)


def test_lie_about_keys(sites: list[Site], li: Membership) -> None:
    """It signs a descriptor in another node's name, with its own keys in it, to be sent what is
    sealed to the other. It may publish keys of others as its own: what is sealed to those it cannot
    open, and no other node can answer in its place."""
    hostile, victim = sites[0].node, sites[1].node
    stolen = replace(victim.descriptor(), mask_key=hostile.mask.public_bytes)
    forged = hostile.membership.sign(stolen.to_bytes(), PayloadType.NODE_DESCRIPTOR)
    with pytest.raises(PeerError) as caught:
        open_descriptor(forged, li)
    assert caught.value.code in ("descriptor", "identity")
    assert victim.uri in caught.value.message or hostile.uri in caught.value.message
    own, _ = victim.signed()
    assert open_descriptor(own, li).descriptor.node == victim.identity


def test_read_anothers_flags(run: Running) -> None:
    """It gets every share, with the flags sealed to each of the others: its keys open its own."""
    first, second, hostile = run.sites
    envelope = run.share(first)
    share = job_pb2.SupportShare.FromString(envelope.payload)

    def read(sealed_to: Site, by: Site, calls_itself: str) -> np.ndarray:
        return open_flags(
            share.sealed[sealed_to.uri],
            commitment=share.commitment,
            sender=first.uri,
            sender_key=first.node.mask.public_bytes,
            mask_key=by.node.mask,
            own_name=calls_itself,
            binding=support_binding(run.job.spec.job_id, run.names),
            length=PLAN.layout.cells * PLAN.layout.flags,
        )

    assert read(second, second, second.uri).tolist() == [1, 1]
    assert read(hostile, hostile, hostile.uri).tolist() == [1, 1]
    for name in (second.uri, hostile.uri, first.uri):
        with pytest.raises(PeerError) as caught:
            read(second, hostile, name)
        assert caught.value.code == "sealed"
        assert "bytes that do not open" in caught.value.message


def test_look_at_anothers_ciphertext(run: Running) -> None:
    """It has the bytes that another node sends: they are under the requester's key, and a key of
    its own reads noise. What the requester's key reads of them is masked besides."""
    shares = run.shares()
    raw = run.part(run.sites[0], shares)
    plain = ANSWER.encode(
        np.ones((PLAN.layout.cells, PLAN.layout.supports), dtype=bool),
        [[count, count * AGE] for count in run.sites[0].rows.counts],
    )
    with pytest.raises(PeerError):
        BfvKeyPair.generate().decrypt(raw, ANSWER.slots)
    masked = key_pair().decrypt(raw, ANSWER.slots)
    assert not np.any(masked[1 : 1 + plain.size] == plain)


def test_contribute_twice(run: Running) -> None:
    """It sends its part twice, to weigh double: the sum counts its contributions, and the tag does
    not hold. Once each, the sum is read."""
    shares = run.shares()
    parts = [run.part(site, shares) for site in run.sites]
    total = sum(site.rows.counts[0] for site in run.sites)
    assert run.read(added(PLAN, parts), shares).values[0] == [total, total * AGE]
    with pytest.raises(PeerError) as twice:
        run.read(added(PLAN, [*parts, parts[2]]), shares)
    assert twice.value.message == "expected 3 contributions, got 4"
    with pytest.raises(PeerError) as instead:
        run.read(added(PLAN, [parts[0], parts[2], parts[2]]), shares)
    assert "masks that do not cancel" in instead.value.message


def unmasked(
    run: Running, victims: Sequence[Site], colluders: Sequence[Site], shares: Sequence[object]
) -> np.ndarray:
    """What the requester's key and the mask keys of `colluders` leave of the sum of the parts of
    `victims`: the count, then the payload."""
    sent = [share for share in run.shares() if share in shares]
    bound = sum_binding(
        run.job.spec.job_id,
        run.names,
        support_digest({name_of(share): share.payload for share in sent}),
    )
    adder = Adder(key_pair().public, ANSWER.slots)
    for victim in victims:
        adder.add(run.part(victim, sent))
    slots = key_pair().decrypt(adder.result(), ANSWER.slots).copy()
    for colluder in colluders:
        others = [site for site in (*victims, *colluders) if site is not colluder]
        peers = {site.uri: site.node.mask.public_bytes for site in others}
        add_net_mask(slots, colluder.node.mask, colluder.uri, peers, binding=bound)
    return slots[: 1 + ANSWER.payload_slots]


@pytest.fixture
def all_four(sites: list[Site], ask: Callable[..., Job], li: Membership) -> Running:
    for at, site in enumerate(sites):
        site.rows.counts = (30 + at, 50 + 7 * at)
    return Running(sites, job_for(li, [site.published() for site in sites]))


def truth(site: Site) -> np.ndarray:
    everything = np.ones((PLAN.layout.cells, PLAN.layout.supports), dtype=bool)
    payload = ANSWER.encode(everything, [[n, n * AGE] for n in site.rows.counts])
    return np.concatenate([np.array([1], dtype=np.uint64), payload])


def test_requester_coordinator_and_all_but_two_nodes(all_four: Running) -> None:
    """They have every message, the requester's keys and the masks of two of four nodes. One part of
    the other two stays hidden by the mask these share; their sum is theirs, as of any query."""
    first, second, *hostile = all_four.sites
    shares = all_four.shares()
    hidden = unmasked(all_four, [first], hostile, shares)
    assert not np.any(hidden == truth(first))
    both = unmasked(all_four, [first, second], hostile, shares)
    assert both.tolist() == (truth(first) + truth(second)).tolist()


def test_all_but_one_is_not_held(all_four: Running) -> None:
    """A limit, not a promise: three of four nodes with the requester read the fourth's part."""
    first, *hostile = all_four.sites
    assert unmasked(all_four, [first], hostile, all_four.shares()).tolist() == (
        truth(first).tolist()
    )
