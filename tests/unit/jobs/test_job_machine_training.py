"""The life of a training: runs in any order, nodes that are lost, people who review its code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import pytest
from builders.jobs import EXPIRES, LIMITS, NODES, denial, new_training
from yumen_core.jobs.machine import (
    Admitted,
    Cancelled,
    Completed,
    Drop,
    Effect,
    Event,
    Finish,
    Job,
    NextRun,
    NodeAbsent,
    NodeAccepted,
    NodeAwaits,
    NodeDenied,
    NodeFailed,
    Propose,
    Release,
    Round,
    RoundDone,
    StartRound,
    State,
    Step,
    Tick,
    Wait,
    advance,
    restarted,
)

Timed = Event | tuple[int, Event]
TRAIN, EVALUATE = NextRun("train", True), NextRun("evaluate", True)
LATE = "its part of the round did not come in time"
GONE = "its connection was lost and did not come back"


def play(
    events: Sequence[Timed], *, min_nodes: int = 3, job: Job | None = None
) -> tuple[Job, list[Effect]]:
    """The job after `events`, each at its own time (0 where none is given), and all effects."""
    seen: list[Effect] = []
    job = job or new_training(min_nodes)
    for item in events:
        now_ms, event = item if isinstance(item, tuple) else (0, item)
        job, effects = advance(job, event, now_ms=now_ms, limits=LIMITS)
        seen += effects
    return job, seen


def accepted(*nodes: str) -> list[Event]:
    return [NodeAccepted(node) for node in nodes]


def awaits(*nodes: str) -> list[Event]:
    return [NodeAwaits(node) for node in nodes]


def denied(*nodes: str) -> list[Event]:
    return [NodeDenied(node, (denial(node),)) for node in nodes]


def done(round_: Round, *nodes: str) -> list[Event]:
    return [RoundDone(node, round_) for node in nodes]


def start(round_: Round, *nodes: str) -> StartRound:
    return StartRound(round_, nodes, nodes)


def run(event: NextRun, *nodes: str) -> list[Event]:
    return [event, *done(Round.SUPPORT, *nodes), *done(Round.SUM, *nodes)]


READY: list[Event] = [Admitted(), *accepted(*NODES)]
SUPPORTING: list[Event] = [*READY, TRAIN]
SUMMING: list[Event] = [*SUPPORTING, *done(Round.SUPPORT, *NODES)]
ASK = Propose(NODES)
SUPPORT, SUM = start(Round.SUPPORT, *NODES), start(Round.SUM, *NODES)
BEGUN: list[Effect] = [ASK, Wait(), SUPPORT]


# The whole life -----------------------------------------------------------------------------------


def test_a_training_from_its_submission_to_its_end() -> None:
    job, effects = play(
        [*READY, *run(TRAIN, *NODES), *run(EVALUATE, *NODES), *run(TRAIN, *NODES), Completed()]
    )
    assert (job.state, job.reason, job.runs) == (
        State.SUCCEEDED,
        "",
        ("train", "evaluate", "train"),
    )
    assert (job.run, job.lost, job.participants) == (2, (), NODES)
    assert effects == [ASK, Wait(), *[SUPPORT, SUM, Release()] * 3, Finish()]


def test_it_waits_for_its_first_input() -> None:
    job, effects = play(READY)
    assert (job.state, job.round, job.runs, job.run) == (State.RUNNING, Round.INPUT, (), 0)
    assert job.begins_with_input
    assert effects == [ASK, Wait()]
    assert job.at(Step.ACCEPTED) == NODES


def test_a_node_has_no_part_in_an_input() -> None:
    job, _ = play(READY)
    for node in NODES:
        job, effects = advance(job, RoundDone(node, Round.INPUT), now_ms=0, limits=LIMITS)
        assert (effects, job.round, job.runs) == ((), Round.INPUT, ())
        assert job.at(Step.ACCEPTED) == NODES


def test_it_may_end_without_a_run() -> None:
    assert play([*READY, Completed()])[0].state is State.SUCCEEDED


@pytest.mark.parametrize(
    "events", [[], [Admitted()], SUPPORTING, SUMMING, [Admitted(), *awaits(*NODES)]]
)
def test_an_input_or_an_end_that_is_not_due_changes_nothing(events: list[Event]) -> None:
    job, _ = play(events)
    for event in (TRAIN, Completed()):
        assert advance(job, event, now_ms=0, limits=LIMITS) == (job, ())


@pytest.mark.parametrize("round_", Round)
def test_a_part_of_a_step_that_is_not_the_present_changes_nothing(round_: Round) -> None:
    for events in (READY, SUPPORTING, SUMMING):
        job, _ = play(events)
        if job.round is not round_:
            assert advance(job, RoundDone("a", round_), now_ms=0, limits=LIMITS) == (job, ())


@pytest.mark.parametrize(("own_ms", "limit_ms"), [(0, 120), (30, 30), (500, 500)])
def test_the_jobs_own_limit_of_a_round(own_ms: int, limit_ms: int) -> None:
    job = new_training(round_ms=own_ms)
    events: list[Timed] = [(7, event) for event in SUMMING]
    for upto in (len(READY), len(SUPPORTING), len(SUMMING)):
        found, _ = play(events[:upto], job=job)
        assert found.deadline_ms == 7 + limit_ms
        assert play([(6 + limit_ms, Tick())], job=found)[0] == found
        assert play([(7 + limit_ms, Tick())], job=found)[0] != found


# name, events, state, reason, effects, minimum of nodes
SCENARIOS: list[tuple[str, Sequence[Timed], State, str, list[Effect], int]] = [
    (
        "no input in time",
        [*READY, (120, Tick())],
        State.EXPIRED,
        "the requester sent no further round in time",
        [ASK, Wait(), Finish()],
        3,
    ),
    (
        "no further input in time",
        [*READY, *run(TRAIN, *NODES), (120, Tick())],
        State.EXPIRED,
        "the requester sent no further round in time",
        [*BEGUN, SUM, Release(), Finish()],
        3,
    ),
    (
        "lost in the support step",
        [*SUPPORTING, *done(Round.SUPPORT, *"abc"), NodeAbsent("d")],
        State.RUNNING,
        "",
        [*BEGUN, Drop(("d",))],
        3,
    ),
    (
        "lost in the support step after its share",
        [*SUPPORTING, *done(Round.SUPPORT, "d"), NodeAbsent("d")],
        State.RUNNING,
        "",
        [*BEGUN, Drop(("d",))],
        3,
    ),
    (
        "late in the support step",
        [*SUPPORTING, *done(Round.SUPPORT, *"abc"), (120, Tick())],
        State.RUNNING,
        "",
        [*BEGUN, Drop(("d",))],
        3,
    ),
    (
        "lost in the support step, too few are left",
        [*SUPPORTING, *done(Round.SUPPORT, *"abc"), NodeAbsent("d")],
        State.NODE_LOST,
        f"{GONE} (at d)",
        [*BEGUN, Finish()],
        4,
    ),
    (
        "late in the support step, too few are left",
        [*SUPPORTING, *done(Round.SUPPORT, *"ab"), (120, Tick())],
        State.NODE_LOST,
        f"{LATE} (at c, d)",
        [*BEGUN, Finish()],
        3,
    ),
    (
        "one after the other until too few are left",
        [*SUPPORTING, NodeAbsent("d"), TRAIN, NodeAbsent("a")],
        State.NODE_LOST,
        f"{GONE} (at a)",
        [*BEGUN, Drop(("d",)), start(Round.SUPPORT, *"abc"), Finish()],
        3,
    ),
    (
        "lost in the sum, before its part",
        [*SUMMING, *done(Round.SUM, *"abc"), NodeAbsent("d")],
        State.RUNNING,
        "",
        [*BEGUN, SUM],
        3,
    ),
    (
        "lost in the sum, back in time",
        [*SUMMING, *done(Round.SUM, *"abc"), NodeAbsent("d"), *done(Round.SUM, "d")],
        State.RUNNING,
        "",
        [*BEGUN, SUM, Release()],
        3,
    ),
    (
        "lost in the sum, not back in time",
        [*SUMMING, *done(Round.SUM, *"abc"), NodeAbsent("d"), (119, Tick()), (120, Tick())],
        State.NODE_LOST,
        f"{LATE} (at d)",
        [*BEGUN, SUM, Finish()],
        3,
    ),
    (
        "lost in the sum after its part",
        [*SUMMING, *done(Round.SUM, "d"), NodeAbsent("d"), *done(Round.SUM, *"abc")],
        State.RUNNING,
        "",
        [*BEGUN, SUM, Release()],
        3,
    ),
    (
        "lost between two runs",
        [*READY, *run(TRAIN, *NODES), NodeAbsent("d")],
        State.RUNNING,
        "",
        [*BEGUN, SUM, Release()],
        3,
    ),
    (
        "a node that is not in is lost",
        [*SUPPORTING, NodeAbsent("d"), NodeAbsent("d"), NodeAbsent("x")],
        State.RUNNING,
        "",
        [*BEGUN, Drop(("d",))],
        3,
    ),
    (
        "a node fails",
        [*SUPPORTING, NodeFailed("c", "no memory", "training")],
        State.FAILED,
        "no memory (at c)",
        [*BEGUN, Finish()],
        3,
    ),
    (
        "a node fails that was dropped",
        [*SUPPORTING, NodeAbsent("d"), NodeFailed("d", "no memory")],
        State.RUNNING,
        "",
        [*BEGUN, Drop(("d",))],
        3,
    ),
    (
        "cancelled while a sum runs",
        [*SUMMING, Cancelled("li")],
        State.CANCELLED,
        "cancelled by `li`",
        [*BEGUN, SUM, Finish()],
        3,
    ),
    (
        "expired while it waits for a review",
        [Admitted(), *awaits(*NODES), (EXPIRES, Tick())],
        State.EXPIRED,
        "the job's own time was over before it ended",
        [ASK, Wait(), Finish()],
        3,
    ),
    (
        "all wait for a review",
        [Admitted(), *awaits(*NODES)],
        State.AWAITING_APPROVAL,
        "",
        [ASK, Wait()],
        3,
    ),
    (
        "who is silent is not waited for, who reviews is",
        [Admitted(), *accepted("a"), *awaits("b", "c"), (15, Tick())],
        State.AWAITING_APPROVAL,
        "",
        [ASK, Wait()],
        3,
    ),
    (
        "too few even with those who review",
        [Admitted(), *accepted("a"), *awaits("b"), *denied("c", "d")],
        State.DENIED,
        f"{denial('c').message} (at c); {denial('d').message} (at d)",
        [ASK, Finish()],
        3,
    ),
    (
        "no review in time, enough without it",
        [Admitted(), *accepted(*"abc"), *awaits("d"), (399, Tick()), (400, Tick())],
        State.RUNNING,
        "",
        [ASK, Wait(), Wait()],
        3,
    ),
    (
        "no review in time, too few without it",
        [Admitted(), *accepted(*"ab"), *awaits(*"cd"), (400, Tick())],
        State.INSUFFICIENT_NODES,
        "expected 3 nodes to take part, got 2; code not reviewed in time: c, d",
        [ASK, Wait(), Finish()],
        3,
    ),
    (
        "a node fails while its people review",
        [Admitted(), *accepted(*"abc"), *awaits("d"), NodeFailed("d", "the store is damaged")],
        State.RUNNING,
        "",
        [ASK, Wait(), Wait()],
        3,
    ),
    (
        "late ones answer while others review",
        [Admitted(), *awaits(*"ab"), *accepted("c"), (15, Tick()), *accepted(*"dab")],
        State.RUNNING,
        "",
        [ASK, Wait(), Wait()],
        3,
    ),
]


@pytest.mark.parametrize(
    ("events", "state", "reason", "effects", "min_nodes"),
    [scenario[1:] for scenario in SCENARIOS],
    ids=[scenario[0] for scenario in SCENARIOS],
)
def test_scenario(
    events: Sequence[Timed], state: State, reason: str, effects: list[Effect], min_nodes: int
) -> None:
    job, seen = play(events, min_nodes=min_nodes)
    assert (job.state, job.reason, seen) == (state, reason, effects)


# Lost nodes ---------------------------------------------------------------------------------------


def test_a_drop_leaves_a_job_that_waits_for_its_next_run() -> None:
    job, _ = play([*SUPPORTING, *done(Round.SUPPORT, *"ab"), (50, NodeAbsent("d"))])
    assert (job.round, job.participants, job.lost) == (Round.INPUT, ("a", "b", "c"), ("d",))
    assert (job.steps["d"], job.deadline_ms, job.runs) == (Step.LOST, 170, ("train",))
    after, effects = play([TRAIN], job=job)
    assert effects == [start(Round.SUPPORT, *"abc")]
    assert (after.lost, after.run, after.at(Step.ACCEPTED)) == ((), 1, ("a", "b", "c"))


def test_shares_of_the_larger_set_do_not_count_for_the_smaller() -> None:
    events = [*SUPPORTING, *done(Round.SUPPORT, *"abc"), NodeAbsent("d"), TRAIN]
    job, effects = play([*events, *done(Round.SUPPORT, *"ab")])
    assert (job.round, effects[-1]) == (Round.SUPPORT, start(Round.SUPPORT, *"abc"))
    job, effects = play(done(Round.SUPPORT, "c", "d"), job=job)
    assert (job.round, effects) == (Round.SUM, [start(Round.SUM, *"abc")])


def test_several_are_lost_at_one_deadline() -> None:
    nodes = tuple("abcdef")
    events: list[Timed] = [Admitted(), *accepted(*nodes), TRAIN, *done(Round.SUPPORT, *"bdf")]
    job, effects = play([*events, (120, Tick())], job=new_training(3, nodes))
    assert effects[-1] == Drop(("a", "c", "e"))
    assert (job.participants, job.lost) == (("b", "d", "f"), ("a", "c", "e"))


def test_a_query_and_a_statistic_end_with_a_lost_node() -> None:
    for interactive in (False, True):
        job = replace(new_training(), training=False, interactive=interactive, runs=("first",))
        found, effects = play([*READY, NodeAbsent("d")], job=job)
        assert (found.state, effects[-1]) == (State.NODE_LOST, Finish())


# Reviews ------------------------------------------------------------------------------------------

ANSWERS: dict[str, list[Event]] = {
    "a": accepted("a"),
    "b": [NodeAwaits("b"), NodeAccepted("b")],
    "c": [NodeAwaits("c"), NodeAwaits("c"), NodeAccepted("c")],
    "d": [NodeAwaits("d"), *denied("d")],
}


@pytest.mark.parametrize("order", list(permutations(NODES)), ids="".join)
@pytest.mark.parametrize("by_node", [True, False], ids=["node by node", "word by word"])
def test_answers_in_any_order_come_to_the_same_set(order: tuple[str, ...], by_node: bool) -> None:
    events = [event for node in order for event in ANSWERS[node]]
    if not by_node:
        longest = max(len(words) for words in ANSWERS.values())
        events = [
            ANSWERS[node][at] for at in range(longest) for node in order if at < len(ANSWERS[node])
        ]
    job, effects = play([Admitted(), *events])
    assert (job.state, job.round, job.participants) == (
        State.RUNNING,
        Round.INPUT,
        ("a", "b", "c"),
    )
    assert job.steps["d"] is Step.DENIED
    assert [e for e in effects if not isinstance(e, Wait)] == [ASK]


def test_the_deadline_of_reviews_begins_with_the_wait_and_is_not_put_off() -> None:
    events: list[Timed] = [Admitted(), (10, NodeAccepted("a")), *[(10, e) for e in awaits(*"bcd")]]
    job, _ = play(events)
    assert job.deadline_ms == 410
    for event in (NodeAwaits("b"), NodeAccepted("b"), Tick(), NodeAbsent("c")):
        job, _ = play([(300, event)], job=job)
        assert (job.state, job.deadline_ms) == (State.AWAITING_APPROVAL, 410)


def test_a_node_whose_people_review_may_be_away() -> None:
    job, _ = play([Admitted(), *accepted(*"abc"), *awaits("d")])
    assert play([NodeAbsent("d")], job=job)[0] == job
    # One that said yes may be away too; it is looked for when the run begins.
    assert play([NodeAbsent("a")], job=job)[0] == job


def test_a_word_too_late() -> None:
    job, _ = play([Admitted(), *accepted(*"abc"), *awaits("d"), (400, Tick())])
    assert job.participants == ("a", "b", "c")
    for event in (NodeAccepted("d"), NodeAwaits("d"), *denied("d")):
        assert play([(401, event)], job=job)[0] == job


# Restarts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "round_", "deadline_ms"),
    [
        ([], None, 65),
        ([Admitted()], None, 65),
        (READY, Round.INPUT, 170),
        (SUPPORTING, Round.SUPPORT, 170),
        ([*SUPPORTING, *done(Round.SUPPORT, *"abc")], Round.SUPPORT, 170),
        (SUMMING, Round.SUPPORT, 170),
        ([*SUMMING, *done(Round.SUM, *"ab")], Round.SUPPORT, 170),
        ([*READY, *run(TRAIN, *NODES)], Round.SUPPORT, 170),
        ([*SUPPORTING, NodeAbsent("d")], Round.INPUT, 170),
    ],
    ids=[
        *("submitted", "deciding", "before the first run", "supports", "some supports"),
        *("sum", "some of the sum", "between two runs", "after a drop"),
    ],
)
def test_a_restart(events: list[Event], round_: Round | None, deadline_ms: int) -> None:
    before, _ = play(events)
    job = restarted(before, now_ms=50, limits=LIMITS)
    assert (job.state, job.round, job.deadline_ms) == (before.state, round_, deadline_ms)
    assert (job.participants, job.runs, job.lost) == (
        before.participants,
        before.runs,
        before.lost,
    )
    if round_ is Round.SUPPORT:
        assert job.at(Step.ACCEPTED) == job.participants
    else:
        assert job.steps == before.steps


def test_a_restart_does_not_put_off_the_deadline_of_reviews() -> None:
    before, _ = play([Admitted(), *awaits(*NODES)])
    assert restarted(before, now_ms=399, limits=LIMITS) == before


def test_a_restart_ends_no_later_than_the_job() -> None:
    job = restarted(play(SUPPORTING)[0], now_ms=EXPIRES - 1, limits=LIMITS)
    assert job.deadline_ms == EXPIRES


def test_a_restarted_run_goes_on_to_the_same_end() -> None:
    job = restarted(play(SUMMING)[0], now_ms=0, limits=LIMITS)
    job, effects = play([*done(Round.SUPPORT, *NODES), *done(Round.SUM, *NODES)], job=job)
    assert (effects, job.round, job.runs) == ([SUM, Release()], Round.INPUT, ("train",))
