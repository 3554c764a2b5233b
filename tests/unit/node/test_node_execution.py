"""The two rounds at the nodes, over real keys: what is carried out, once, and what is refused."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.federation import (
    TABLE,
    Federation,
    Job,
    certificate_of,
    heart_plan,
    job_for,
    key_pair,
)
from builders.site import AGE, Site, added, opened
from yumen_core.errors import PeerError, StateError
from yumen_core.identity import SignedEnvelope
from yumen_core.identity.envelope import PayloadType
from yumen_core.identity.membership import Membership
from yumen_core.jobs.answer import Totals, encode_answer, payload_slots
from yumen_core.jobs.rounds import sum_binding, support_binding, support_digest
from yumen_core.log import Act
from yumen_core.rpc.v1 import job_pb2
from yumen_core.securesum import SLOTS, Adder, T, seal_flags, support
from yumen_core.securesum.bfv import encrypt
from yumen_core.securesum.ciphertext import HEADER_BYTES, header
from yumen_core.securesum.contribution import contribute, total_slots
from yumen_core.securesum.masks import net_flag_mask
from yumen_core.securesum.public_key import Q
from yumen_node.gate import AcceptedJob

Ask = Callable[..., Job]
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

    def read(self, raw: bytes, shares: Sequence[SignedEnvelope]) -> Totals:
        payloads = {name_of(share): share.payload for share in shares}
        return opened(self.job, PLAN, raw, self.names, payloads)


def name_of(share: SignedEnvelope) -> str:
    return job_pb2.SupportShare.FromString(share.payload).node


@pytest.fixture
def run(sites: list[Site], ask: Ask) -> Running:
    """Three hospitals, a job that needs all of them."""
    return Running(sites[:3], ask(sites[:3]))


def hospitals(
    federation: Federation, folder: Path, counts: Sequence[tuple[int, int]]
) -> list[Site]:
    """Sites with so many women and men in their tables."""
    nodes = federation.nodes(len(counts))
    return [
        Site(node, folder / f"counted{i}", counts=pair)
        for i, (node, pair) in enumerate(zip(nodes, counts, strict=True))
    ]


def whole(sites: list[Site], li: Membership) -> Totals:
    """A job over all of `sites` from proposal to answer."""
    made = Running(sites, job_for(li, [site.published() for site in sites], min_nodes=3))
    shares = made.shares()
    return made.read(added(PLAN, [made.part(site, shares) for site in sites]), shares)


# What passes ------------------------------------------------------------------------------------


def test_three_nodes_answer_and_only_the_total_is_read(run: Running) -> None:
    shares = run.shares()
    parts = [run.part(site, shares) for site in run.sites]
    found = run.read(added(PLAN, parts), shares)
    assert found == Totals(nodes=[[3], [3]], values=[[90, 90 * AGE], [120, 120 * AGE]])
    assert all(site.rows.asked == 1 for site in run.sites)  # counted once for both rounds


COUNTS: list[tuple[str, list[tuple[int, int]], list[tuple[int, int]]]] = [
    ("all over the threshold", [(10, 10)] * 3, [(3, 30), (3, 30)]),
    ("one row short at one of three", [(9, 10), (10, 10), (10, 10)], [(0, 0), (3, 30)]),
    ("one row short at one of four", [(9, 10), *[(10, 10)] * 3], [(3, 30), (4, 40)]),
    ("two of four", [(9, 10), (50, 9), (50, 9), (9, 30)], [(0, 0), (0, 0)]),
    ("a group of 3 patients", [(3, 100)] * 3, [(0, 0), (3, 300)]),
    ("empty tables", [(0, 0)] * 3, [(0, 0), (0, 0)]),
]


@pytest.mark.parametrize(("counts", "cells"), [c[1:] for c in COUNTS], ids=[c[0] for c in COUNTS])
def test_a_cell_goes_out_where_three_nodes_stand_behind_it(
    federation: Federation,
    li: Membership,
    tmp_path: Path,
    counts: list[tuple[int, int]],
    cells: list[tuple[int, int]],
) -> None:
    sites = hospitals(federation, tmp_path, counts)
    found = whole(sites, li)
    assert [
        (nodes[0], rows) for nodes, (rows, _) in zip(found.nodes, found.values, strict=True)
    ] == cells
    assert [years for _, years in found.values] == [rows * AGE for _, rows in cells]
    for site in sites:
        released = sum(
            nodes > 0 and count >= 10
            for (nodes, _), count in zip(cells, site.rows.counts, strict=True)
        )
        assert site.log.entries[-1].detail["cells_released"] == released
        site.state.close()


def test_the_strictest_tables_minimum_counts(
    federation: Federation, li: Membership, tmp_path: Path
) -> None:
    nodes = [*federation.nodes(3), federation.node("zurich", replace(TABLE, min_nodes=4))]
    sites = [
        Site(node, tmp_path / f"strict{i}", counts=(30, 9 if i == 0 else 30))
        for i, node in enumerate(nodes)
    ]
    made = Running(sites, job_for(li, [site.published() for site in sites]))
    shares = made.shares()
    found = made.read(added(PLAN, [made.part(site, shares) for site in sites]), shares)
    assert found.nodes == [[4], [0]]
    for site in sites:
        site.state.close()


def test_log_then_store_then_answer(run: Running) -> None:
    site = run.sites[0]
    shares = run.shares()
    run.part(site, shares)
    assert site.happened[2:] == [
        ("log", Act.SUPPORT),
        ("part", "support"),
        ("log", Act.CONTRIBUTION),
        ("part", "sum"),
    ]


def test_what_cannot_be_logged_does_not_leave(
    run: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object, **__: object) -> int:
        raise StateError("log_closed", "the log is closed")

    site, shares = run.sites[0], run.shares()
    monkeypatch.setattr(site.log, "record", closed)
    with pytest.raises(StateError, match="the log is closed"):
        run.part(site, shares)
    assert site.state.part(run.job.spec.job_id, "sum") is None


def test_asked_again_it_sends_the_same_bytes_also_after_a_restart(run: Running) -> None:
    site = run.sites[0]
    shares = run.shares()
    part = run.part(site, shares)
    assert run.share(site) == shares[0]
    assert run.part(site, shares) == part
    # Even where the coordinator now shows other shares: what was sent is all there is to send.
    assert run.part(site, shares[:1]) == part
    site.restart()
    run.accepted[site.uri] = site.accept(run.job)
    assert run.share(site) == shares[0]
    assert run.part(site, shares) == part
    assert site.log.acts == [Act.DECISION, Act.SUPPORT, Act.CONTRIBUTION]


# The participant set ----------------------------------------------------------------------------


def refused(step: Callable[[], object]) -> str:
    with pytest.raises(PeerError) as caught:
        step()
    assert caught.value.code == "round"
    return caught.value.message


NOT_NAMED = "expected participants that the job names, got others"
OTHER_SET = "expected the participant set of the job's first round, got another set"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (lambda s: [s[0], s[1], "spiffe://gansu.example/org/z/node/heart"], NOT_NAMED),
        (lambda s: [s[1], s[0], s[2]], NOT_NAMED),
        (lambda s: [s[0], s[0], s[1], s[2]], NOT_NAMED),
        (lambda s: [s[0], s[1], s[2], ""], NOT_NAMED),
        (lambda s: s[1:], "expected `{0}` among the participants, got a set without"),
        (lambda s: [], "expected `{0}` among the participants, got a set without"),
        (lambda s: s[:2], "expected 3 participants at least, got 2"),
        (lambda s: s[:1], "expected 3 participants at least, got 1"),
    ],
    ids=["not signed for", "unsorted", "twice", "empty name", "without me", "none", "two", "one"],
)
def test_a_set_that_the_job_does_not_allow(
    sites: list[Site], ask: Ask, names: Callable[[list[str]], list[str]], message: str
) -> None:
    made = Running(sites, ask(min_nodes=3))
    site = sites[0]
    found = refused(lambda: made.share(site, names(made.names)))
    assert found == message.format(site.uri)
    assert site.state.part(made.job.spec.job_id, "support") is None
    known = site.state.job(made.job.spec.job_id)
    assert known is not None
    assert known.participants is None  # a refused set is not fixed


def test_a_set_smaller_than_the_requester_signed_for(sites: list[Site], ask: Ask) -> None:
    made = Running(sites, ask(min_nodes=4))
    assert refused(lambda: made.share(sites[0], made.names[:3])) == (
        "expected 4 participants at least, got 3"
    )


def test_the_set_does_not_change_between_rounds(sites: list[Site], ask: Ask) -> None:
    """The sum over four and the sum over three would give the fourth node's share."""
    made = Running(sites, ask(min_nodes=3))
    shares = made.shares()
    assert refused(lambda: made.part(sites[0], shares[:3], made.names[:3])) == OTHER_SET
    assert refused(lambda: made.share(sites[0], made.names[:3])) == OTHER_SET
    made.part(sites[0], shares)
    assert refused(lambda: made.part(sites[0], shares[:3], made.names[:3])) == OTHER_SET


def test_the_set_does_not_change_over_a_restart(sites: list[Site], ask: Ask) -> None:
    made, site = Running(sites, ask(min_nodes=3)), sites[0]
    made.share(site)
    site.restart()
    made.accepted[site.uri] = site.accept(made.job)
    assert refused(lambda: made.share(site, made.names[:3])) == OTHER_SET


def test_an_ended_job_has_no_more_rounds(run: Running) -> None:
    site, shares = run.sites[0], run.shares()
    run.part(site, shares)
    site.execution.forget(run.job.spec.job_id)
    ended = "expected a round of an open job, got one of another"
    assert refused(lambda: run.share(site)) == ended
    assert refused(lambda: run.part(site, shares)) == ended
    site.restart()
    assert refused(lambda: run.part(site, shares)) == ended


def test_a_table_that_is_no_longer_there(run: Running) -> None:
    site = run.sites[0]
    site.execution._datasets = {}
    with pytest.raises(StateError, match="expected table `heart`, got none"):
        run.share(site)


# The support shares -----------------------------------------------------------------------------

ANOTHER = "expected one support share a participant for this job and set, got another"


def signed(site: Site, share: job_pb2.SupportShare) -> SignedEnvelope:
    return site.node.membership.sign(share.SerializeToString(), PayloadType.SUPPORT)


def edited(site: Site, share: SignedEnvelope, **changes: Any) -> SignedEnvelope:
    """A share with other fields, signed by its own node."""
    message = job_pb2.SupportShare.FromString(share.payload)
    for name, value in changes.items():
        setattr(message, name, value)
    return signed(site, message)


def test_a_sum_before_the_supports(run: Running) -> None:
    assert refused(lambda: run.part(run.sites[0], [])) == (
        "expected the support shares of 3 participants, got 0"
    )


def test_a_share_is_missing(run: Running) -> None:
    shares = run.shares()
    assert refused(lambda: run.part(run.sites[0], shares[:2])) == (
        "expected the support shares of 3 participants, got 2"
    )


@pytest.mark.parametrize("twice", [0, 1])
def test_a_share_twice(run: Running, twice: int) -> None:
    shares = run.shares()
    assert refused(lambda: run.part(run.sites[0], [*shares, shares[twice]])) == ANOTHER
    doubled = [shares[0], shares[twice], shares[1]]
    assert refused(lambda: run.part(run.sites[0], doubled)) == ANOTHER


def test_a_share_of_a_node_outside_the_set(sites: list[Site], ask: Ask) -> None:
    made = Running(sites, ask(min_nodes=3))
    names = made.names[:3]
    shares = [made.share(site, names) for site in sites[:3]]
    bound = support_binding(made.job.spec.job_id, names)
    outsider = signed(
        sites[3],
        job_pb2.SupportShare(
            job_id=made.job.spec.job_id,
            spec_digest=made.accepted[sites[3].uri].opened.digest,
            node=sites[3].uri,
            participants_digest=bound,
            sealed=b"x" * 30,
        ),
    )
    assert refused(lambda: made.part(sites[0], [*shares, outsider], names)) == (
        "expected the support shares of 3 participants, got 4"
    )


def test_shares_for_another_job_set_or_node(run: Running, ask: Ask) -> None:
    site, other = run.sites[:2]
    shares = run.shares()
    foreign = Running(run.sites, ask(run.sites)).shares()[1]
    for bad in (
        foreign,
        edited(other, shares[1], job_id=foreign_id(foreign)),
        edited(other, shares[1], spec_digest=b"d" * 32),
        edited(other, shares[1], participants_digest=b"d" * 32),
        edited(other, shares[1], node=run.sites[2].uri),
        edited(other, shares[1], node=""),
    ):
        assert refused(lambda bad=bad: run.part(site, [shares[0], bad, shares[2]])) == ANOTHER
    assert site.state.part(run.job.spec.job_id, "sum") is None


def foreign_id(share: SignedEnvelope) -> str:
    return job_pb2.SupportShare.FromString(share.payload).job_id


def test_my_own_share_is_not_the_one_i_sent(run: Running) -> None:
    site = run.sites[0]
    shares = run.shares()
    mine = edited(site, shares[0], sealed=bytes(30))
    assert refused(lambda: run.part(site, [mine, *shares[1:]])) == (
        "expected this node's own support share, got another"
    )


def test_i_never_sent_a_share(run: Running) -> None:
    site = run.sites[0]
    shares = [run.share(other) for other in run.sites[1:]]
    mine = edited(site, shares[0], node=site.uri)
    assert refused(lambda: run.part(site, [mine, *shares])) == (
        "expected this node's own support share, got another"
    )


def test_a_forged_share(run: Running, li: Membership) -> None:
    shares = run.shares()
    unsigned = replace(shares[1], signature=shares[2].signature)
    with pytest.raises(PeerError, match="the signature does not match"):
        run.part(run.sites[0], [shares[0], unsigned, shares[2]])
    by_li = li.sign(shares[1].payload, PayloadType.SUPPORT)
    with pytest.raises(PeerError, match="expected a signer with role node"):
        run.part(run.sites[0], [shares[0], by_li, shares[2]])
    other_type = run.sites[1].node.membership.sign(shares[1].payload, PayloadType.DECISION)
    with pytest.raises(PeerError, match="expected a statement of type"):
        run.part(run.sites[0], [shares[0], other_type, shares[2]])


def test_a_share_of_a_node_revoked_between_the_rounds(run: Running, federation: Federation) -> None:
    shares = run.shares()
    revoked = federation.revoke(run.sites[1].node.membership)
    assert certificate_of(run.sites[1].node.membership)
    run.sites[0].node.membership.learn(revoked)
    with pytest.raises(PeerError, match="is revoked"):
        run.part(run.sites[0], shares)


@pytest.mark.parametrize("sealed", [b"", b"x" * 30, b"x" * 31])
def test_flags_that_do_not_open(run: Running, sealed: bytes) -> None:
    shares = run.shares()
    bad = edited(run.sites[1], shares[1], sealed=sealed)
    with pytest.raises(PeerError) as caught:
        run.part(run.sites[0], [shares[0], bad, shares[2]])
    assert caught.value.code == "sealed"


# Hostile parties --------------------------------------------------------------------------------

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

    def share(self, flags: Sequence[int]) -> SignedEnvelope:
        """A signed share with these flags, whatever was shown to others before.

        Our own code seals flags of 0 and 1 only; the rest is added to the mask.
        """
        bound = support_binding(self.accepted.job_id, self.names)
        more = np.array(flags, dtype=np.uint8)

        def hostile_mask(*args: Any, **kwargs: Any) -> np.ndarray:
            return net_flag_mask(*args, **kwargs) + more

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(support, "net_flag_mask", hostile_mask)
            sealed = seal_flags(
                np.zeros_like(more),
                mask_key=self.site.node.mask,
                own_name=self.site.uri,
                peers=self.accepted.mask_keys(self.names, but=self.site.uri),
                job_secret=self.accepted.secret,
                binding=bound,
            )
        return signed(
            self.site,
            job_pb2.SupportShare(
                job_id=self.accepted.job_id,
                spec_digest=self.accepted.opened.digest,
                node=self.site.uri,
                participants_digest=bound,
                sealed=sealed,
            ),
        )

    def part(self, shares: Sequence[SignedEnvelope]) -> bytes:
        """A contribution of nothing, bound to these shares."""
        digest = support_digest({name_of(share): share.payload for share in shares})
        empty = np.zeros((PLAN.layout.cells, PLAN.layout.supports), dtype=bool)
        nothing = [[0] * len(PLAN.layout.values)] * PLAN.layout.cells
        return contribute(
            encode_answer(PLAN, empty, nothing),
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


def test_a_share_that_takes_from_a_count(thin: Running) -> None:
    """Flags are summed mod 256, so a hostile one can count down: to less than I put in myself."""
    first, second, third = thin.sites
    shares = [thin.share(first), thin.share(second), Colluder(third, thin).share([254, 0])]
    assert refused(lambda: thin.part(first, shares)) == (
        "expected totals that count this node's flags, got a share that hides them"
    )


def test_a_share_that_counts_beyond_all_nodes(thin: Running) -> None:
    first, second, third = thin.sites
    shares = [thin.share(first), thin.share(second), Colluder(third, thin).share([2, 1])]
    assert refused(lambda: thin.part(first, shares)) == (
        "expected at most 3 nodes behind a cell, got masks that do not cancel"
    )


def test_a_colluding_node_can_stand_in_for_others(
    federation: Federation, li: Membership, tmp_path: Path
) -> None:
    """A limit, not a promise: flags are masked, so nobody sees that one node's flag is a 2.

    One hospital alone has women enough; the count it sees says three. What it keeps to itself is
    what its own threshold holds back, whatever the others say.
    """
    sites = hospitals(federation, tmp_path, [(30, 9), (5, 60), (5, 40), (0, 0)])
    made = Running(sites, job_for(li, [site.published() for site in sites], min_nodes=3))
    hostile = Colluder(sites[3], made)
    shares = [*(made.share(site) for site in sites[:3]), hostile.share([2, 1])]
    parts = [*(made.part(site, shares) for site in sites[:3]), hostile.part(shares)]
    found = made.read(added(PLAN, parts), shares)
    assert found.nodes == [[1], [2]]
    assert [rows for rows, _ in found.values] == [30, 100]


def test_one_honest_nodes_part_shows_nothing_even_to_all_the_others(thin: Running) -> None:
    """Requester, coordinator and one node together: the mask between the two honest stays on."""
    first, second, third = thin.sites
    hostile = Colluder(third, thin)
    shares = [thin.share(first), thin.share(second), hostile.share([1, 1])]
    part = thin.part(first, shares)
    slots = key_pair().decrypt(part, total_slots(payload_slots(PLAN)))
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
    slots = np.zeros(total_slots(payload_slots(PLAN)), dtype=np.uint64)
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
    payload = payload_slots(PLAN)
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
    adder = Adder(key_pair().public, total_slots(payload_slots(PLAN)))
    for site in run.sites:
        adder.add(run.part(site, shares))
    adder.add(encrypt(np.zeros(SLOTS, dtype=np.uint64)[: total_slots(payload_slots(PLAN))],
                      key_pair().public))  # fmt: skip
    with pytest.raises(PeerError, match="expected 3 contributions, got 4"):
        run.read(adder.result(), shares)
