"""The two rounds at the nodes, over real keys: what is carried out, once, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from builders.federation import (
    TABLE,
    Federation,
    Job,
    certificate_of,
    job_for,
)
from builders.running import PLAN, Running, edited, hospitals, refused, signed
from builders.site import AGE, Site, added
from yumen_core.errors import PeerError, StateError
from yumen_core.identity import SignedEnvelope
from yumen_core.identity.envelope import PayloadType
from yumen_core.identity.membership import Membership
from yumen_core.jobs.answer import SumTotals
from yumen_core.jobs.rounds import support_binding
from yumen_core.log import Act
from yumen_core.rpc.v1 import job_pb2

Ask = Callable[..., Job]


def whole(sites: list[Site], li: Membership) -> SumTotals:
    """A job over all of `sites` from proposal to answer."""
    made = Running(sites, job_for(li, [site.published() for site in sites], min_nodes=3))
    shares = made.shares()
    return made.read(added(PLAN, [made.part(site, shares) for site in sites]), shares)


# What passes ------------------------------------------------------------------------------------


def test_three_nodes_answer_and_only_the_total_is_read(run: Running) -> None:
    shares = run.shares()
    parts = [run.part(site, shares) for site in run.sites]
    found = run.read(added(PLAN, parts), shares)
    assert found == SumTotals(nodes=[[3], [3]], values=[[90, 90 * AGE], [120, 120 * AGE]])
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
        site.close()


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
        site.close()


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
    assert site.state.part(run.job.spec.job_id, 0, "sum") is None


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


NOT_NAMED = "expected participants that the job names, got others"
OTHER_SET = "expected the participant set of the job's last run, got another set"


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
    assert site.state.part(made.job.spec.job_id, 0, "support") is None
    assert site.state.runs(made.job.spec.job_id) == {}  # a refused set is not fixed


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
    site.execution._computing._datasets = {}
    with pytest.raises(StateError, match="expected table `heart`, got none"):
        run.share(site)


# The support shares -----------------------------------------------------------------------------

ANOTHER = "expected one support share a participant for this job, run and set, got another"


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
            commitment=bytes(32),
            sealed=dict.fromkeys(names, b"x" * 30),
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
        edited(other, shares[1], sealed={}),
        edited(other, shares[1], sealed=dict.fromkeys([*run.names, "nobody"], b"x")),
    ):
        assert refused(lambda bad=bad: run.part(site, [shares[0], bad, shares[2]])) == ANOTHER
    assert site.state.part(run.job.spec.job_id, 0, "sum") is None


def foreign_id(share: SignedEnvelope) -> str:
    return job_pb2.SupportShare.FromString(share.payload).job_id


def test_my_own_share_is_not_the_one_i_sent(run: Running) -> None:
    site = run.sites[0]
    shares = run.shares()
    mine = edited(site, shares[0], commitment=bytes(32))
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
    bad = edited(run.sites[1], shares[1], sealed=dict.fromkeys(run.names, sealed))
    with pytest.raises(PeerError) as caught:
        run.part(run.sites[0], [shares[0], bad, shares[2]])
    assert caught.value.code == "sealed"


@pytest.mark.parametrize("counts", [(9, 40), (30, 9)])
def test_rows_that_went_between_the_rounds(run: Running, counts: tuple[int, int]) -> None:
    """Withheld now, a cell that the others release would have too few nodes behind it."""
    site, shares = run.sites[0], run.shares()
    site.rows.counts = counts
    site.restart()
    with pytest.raises(StateError, match="expected the rows of the support round"):
        run.part(site, shares)
    assert site.state.part(run.job.spec.job_id, 0, "sum") is None
