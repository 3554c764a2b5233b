"""Hostile participants and coordinators, end to end over true keys: what nobody reads."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from builders.federation import (
    Federation,
    job_for,
    key_pair,
)
from builders.running import PLAN, Running, hospitals, name_of, signed
from builders.site import AGE, Site, added
from yumen_core.errors import PeerError
from yumen_core.identity import SignedEnvelope
from yumen_core.identity.membership import Membership
from yumen_core.jobs.answer import AnswerShape
from yumen_core.jobs.rounds import sum_binding, support_binding, support_digest
from yumen_core.rpc.v1 import job_pb2
from yumen_core.securesum import SLOTS, Adder, SealedFlags, T, seal_flags
from yumen_core.securesum.bfv import encrypt
from yumen_core.securesum.ciphertext import HEADER_BYTES, header
from yumen_core.securesum.contribution import contribute
from yumen_core.securesum.public_key import Q
from yumen_node.gate import AcceptedJob

COUNT = "expected slots that count {} contributions, got masks that do not cancel or slots that were changed on the way"  # noqa: E501
CHANGED = (
    "expected the sum of the nodes' contributions, got slots that passed their headroom "
    "or were changed on the way"
)


class Colluder:
    """A participant with true keys that does not run our code."""

    def __init__(self, site: Site, made: Running) -> None:
        self.site = site
        self.made = made
        self.accepted: AcceptedJob = made.accepted[site.uri]
        self.names = made.names

    def share(
        self, flags: Sequence[int], *, otherwise: dict[str, Sequence[int]] | None = None
    ) -> SignedEnvelope:
        """A signed share with these flags, whatever was shown to others before; `otherwise` seals
        other flags to some peers."""
        made = self._sealed(flags)
        sealed = dict(made.sealed)
        for peer, theirs in (otherwise or {}).items():
            sealed[peer] = self._sealed(theirs).sealed[peer]
        return signed(
            self.site,
            job_pb2.SupportShare(
                job_id=self.accepted.job_id,
                spec_digest=self.accepted.opened.digest,
                node=self.site.uri,
                participants_digest=support_binding(self.accepted.job_id, self.names),
                commitment=made.commitment,
                sealed=sealed,
            ),
        )

    def _sealed(self, flags: Sequence[int]) -> SealedFlags:
        return seal_flags(
            np.array(flags, dtype=np.uint8),
            mask_key=self.site.node.mask,
            own_name=self.site.uri,
            peers=self.accepted.mask_keys(self.names, but=self.site.uri),
            binding=support_binding(self.accepted.job_id, self.names),
        )

    def part(self, shares: Sequence[SignedEnvelope]) -> bytes:
        """A contribution of nothing, bound to these shares."""
        digest = support_digest({name_of(share): share.payload for share in shares})
        empty = np.zeros((PLAN.layout.cells, PLAN.layout.supports), dtype=bool)
        nothing = [[0] * len(PLAN.layout.values)] * PLAN.layout.cells
        return contribute(
            AnswerShape.of_plan(PLAN).encode(empty, nothing),
            public=key_pair().public,
            mask_key=self.site.node.mask,
            own_name=self.site.uri,
            peers=self.accepted.mask_keys(self.names, but=self.site.uri),
            job_secret=self.accepted.secret,
            binding=sum_binding(self.accepted.job_id, self.names, digest),
        )


@pytest.fixture
def thin(federation: Federation, li: Membership, tmp_path: Path) -> Running:
    """Two honest hospitals with women enough, and a third that has none and colludes."""
    sites = hospitals(federation, tmp_path, [(30, 40), (50, 60), (0, 40)])
    return Running(sites, job_for(li, [site.published() for site in sites]))


def test_without_equivocation_the_round_of_the_hostile_node_opens(thin: Running) -> None:
    """The control of the test below: one share for all, and the sum is read."""
    first, second, third = thin.sites
    hostile = Colluder(third, thin)
    shares = [thin.share(first), thin.share(second), hostile.share([1, 1])]
    parts = [thin.part(first, shares), thin.part(second, shares), hostile.part(shares)]
    found = thin.read(added(PLAN, parts), shares)
    assert found.values == [[80, 80 * AGE], [100, 100 * AGE]]


def test_two_shares_of_one_node_leave_a_sum_that_nobody_reads(thin: Running) -> None:
    """A colluding node flags the women to the first hospital and not to the second.

    The first then sees three nodes behind the cell and puts its women in; the second sees two and
    puts in zeros. If their sum were read, its women would be the first hospital's alone. Each
    hospital's masks and tags are bound to the shares it saw, so they do not cancel, whichever
    shares the colluding node binds its own part to and whichever the requester tries.
    """
    first, second, third = thin.sites
    hostile = Colluder(third, thin)
    honest = [thin.share(first), thin.share(second)]
    shown_first = [*honest, hostile.share([1, 1])]
    shown_second = [*honest, hostile.share([0, 1])]
    one = thin.part(first, shown_first)
    two = thin.part(second, shown_second)
    assert first.log.entries[-1].detail["cells_released"] == 2
    assert second.log.entries[-1].detail["cells_released"] == 1
    for bound_to in (shown_first, shown_second):
        raw = added(PLAN, [one, two, hostile.part(bound_to)])
        for believed in (shown_first, shown_second):
            with pytest.raises(PeerError) as caught:
                thin.read(raw, believed)
            assert (caught.value.code, caught.value.message) == ("headroom", COUNT.format(3))
    # Nor can both be asked again with the same shares: what was sent is all there is to send.
    assert thin.part(second, shown_first) == two


def test_the_same_flags_sealed_twice_are_two_shares(thin: Running) -> None:
    """The digest is of the bytes: a second share splits the nodes even where it says the same."""
    first, second, third = thin.sites
    hostile = Colluder(third, thin)
    honest = [thin.share(first), thin.share(second)]
    shown_first = [*honest, hostile.share([1, 1])]
    shown_second = [*honest, hostile.share([1, 1])]
    parts = [thin.part(first, shown_first), thin.part(second, shown_second)]
    raw = added(PLAN, [*parts, hostile.part(shown_first)])
    with pytest.raises(PeerError, match="masks that do not cancel"):
        thin.read(raw, shown_first)


def test_one_share_that_says_one_thing_to_each(thin: Running) -> None:
    """The commitment is under the signature, so one share has one set of flags."""
    first, second, third = thin.sites
    hostile = Colluder(third, thin)
    split = hostile.share([1, 1], otherwise={second.uri: [0, 1]})
    shares = [thin.share(first), thin.share(second), split]
    thin.part(first, shares)
    with pytest.raises(PeerError) as caught:
        thin.part(second, shares)
    assert (caught.value.code, caught.value.message) == (
        "sealed",
        f"expected the flags that `{third.uri}` committed to, got other flags",
    )


def test_a_colluding_node_counts_once(
    federation: Federation, li: Membership, tmp_path: Path
) -> None:
    """One hospital has women enough, one colludes, and three must stand behind: held back."""
    sites = hospitals(federation, tmp_path, [(30, 9), (5, 60), (5, 40), (0, 50)])
    made = Running(sites, job_for(li, [site.published() for site in sites], min_nodes=3))
    hostile = Colluder(sites[3], made)
    shares = [*(made.share(site) for site in sites[:3]), hostile.share([1, 1])]
    parts = [*(made.part(site, shares) for site in sites[:3]), hostile.part(shares)]
    found = made.read(added(PLAN, parts), shares)
    assert [nodes for nodes, *_ in found.nodes] == [0, 2]
    assert found.values[0][0] == 0


def test_as_many_colluding_nodes_as_are_missing_can_stand_in(
    federation: Federation, li: Membership, tmp_path: Path
) -> None:
    """A limit, not a promise: two of four nodes collude, and one hospital's women are read.

    What it keeps to itself is what its own threshold holds back, whatever the others say.
    """
    sites = hospitals(federation, tmp_path, [(30, 9), (5, 60), (0, 0), (0, 0)])
    made = Running(sites, job_for(li, [site.published() for site in sites], min_nodes=3))
    hostile = [Colluder(site, made) for site in sites[2:]]
    shares = [*(made.share(site) for site in sites[:2]), *(h.share([1, 1]) for h in hostile)]
    parts = [*(made.part(site, shares) for site in sites[:2]), *(h.part(shares) for h in hostile)]
    found = made.read(added(PLAN, parts), shares)
    assert found.values[0][0] == 30
    assert found.values[1][0] == 60


def test_one_honest_nodes_part_shows_nothing_even_to_all_the_others(thin: Running) -> None:
    """Requester, coordinator and one node together: the mask between the two honest stays on."""
    first, second, third = thin.sites
    hostile = Colluder(third, thin)
    shares = [thin.share(first), thin.share(second), hostile.share([1, 1])]
    part = thin.part(first, shares)
    slots = key_pair().decrypt(part, AnswerShape.of_plan(PLAN).slots)
    assert int(slots[0]) != 1  # the count itself, which everyone knows, is masked
    thin.part(second, shares)
    assert len(np.unique(slots)) == slots.size


def test_a_participant_left_out_of_the_sum(run: Running) -> None:
    shares = run.shares()
    parts = [run.part(site, shares) for site in run.sites]
    with pytest.raises(PeerError) as caught:
        run.read(added(PLAN, parts[:2]), shares)
    assert (caught.value.code, caught.value.message) == (
        "headroom",
        "expected 3 contributions, got 2",
    )


@pytest.mark.parametrize("drop", [0, 2])
def test_a_part_in_anothers_place(run: Running, drop: int) -> None:
    shares = run.shares()
    parts = [run.part(site, shares) for site in run.sites]
    parts[drop] = parts[1]
    with pytest.raises(PeerError) as caught:
        run.read(added(PLAN, parts), shares)
    assert (caught.value.code, caught.value.message) == ("headroom", COUNT.format(3))


def with_more(raw: bytes, more: dict[int, int]) -> bytes:
    """`raw` after a coordinator has added an encryption of its own: `more` maps slot to number."""
    slots = np.zeros(AnswerShape.of_plan(PLAN).slots, dtype=np.uint64)
    for slot, number in more.items():
        slots[slot] = number % T
    own = encrypt(slots, key_pair().public)
    total = (body(raw) + body(own)) % np.uint64(Q)
    return header(key_pair().public, slots.size, 3) + total.astype("<u8").tobytes()


def body(raw: bytes) -> np.ndarray:
    return np.frombuffer(raw, dtype="<u8", offset=HEADER_BYTES).astype(np.uint64)


def test_a_coordinator_adds_one_to_a_slot(run: Running) -> None:
    """The key is public, so anyone can add; the tag shows it, as the tag's key is not."""
    shares = run.shares()
    raw = added(PLAN, [run.part(site, shares) for site in run.sites])
    run.read(with_more(raw, {}), shares)  # the control: adding nothing changes nothing
    payload = AnswerShape.of_plan(PLAN).payload_slots
    for more in ({1: 1}, {payload: -1}, {1: 1, 2: -1}, {payload + 1: 1}, {payload + 2: 1}):
        with pytest.raises(PeerError) as caught:
            run.read(with_more(raw, more), shares)
        assert (caught.value.code, caught.value.message) == ("headroom", CHANGED)


def test_a_coordinator_adds_to_the_count(run: Running) -> None:
    shares = run.shares()
    raw = added(PLAN, [run.part(site, shares) for site in run.sites])
    with pytest.raises(PeerError) as caught:
        run.read(with_more(raw, {0: 1}), shares)
    assert (caught.value.code, caught.value.message) == ("headroom", COUNT.format(3))


def test_a_coordinator_adds_to_a_coefficient(run: Running) -> None:
    """A multiple of Q / T is a plaintext: it spreads over all slots."""
    shares = run.shares()
    raw = added(PLAN, [run.part(site, shares) for site in run.sites])
    numbers = body(raw).copy()
    numbers[0] = (int(numbers[0]) + Q // T * 12_345) % Q
    with pytest.raises(PeerError) as caught:
        run.read(raw[:HEADER_BYTES] + numbers.astype("<u8").tobytes(), shares)
    assert caught.value.code == "headroom"


def test_a_coordinator_adds_a_whole_contribution_of_its_own(run: Running) -> None:
    shares = run.shares()
    adder = Adder(key_pair().public, AnswerShape.of_plan(PLAN).slots)
    for site in run.sites:
        adder.add(run.part(site, shares))
    adder.add(encrypt(np.zeros(SLOTS, dtype=np.uint64)[: AnswerShape.of_plan(PLAN).slots],
                      key_pair().public))  # fmt: skip
    with pytest.raises(PeerError, match="expected 3 contributions, got 4"):
        run.read(adder.result(), shares)
