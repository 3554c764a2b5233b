"""The life of a job: a table of what may happen to one, then every order of events."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from builders.jobs import EXPIRES, LIMITS, NODES, denial, new_job
from yumen_core.jobs.machine import (
    Admitted,
    Cancelled,
    Effect,
    Event,
    Finish,
    Job,
    NodeAbsent,
    NodeAccepted,
    NodeDenied,
    NodeFailed,
    Propose,
    Refused,
    Round,
    RoundDone,
    StartRound,
    State,
    Step,
    Tick,
    advance,
    fail,
    restarted,
)
from yumen_core.policy.denial import Denial


def play(
    events: Sequence[Event | tuple[int, Event]], *, min_nodes: int = 3
) -> tuple[Job, list[Effect]]:
    """The job after `events`, each at its own time (0 where none is given), and all effects."""
    job, seen = new_job(min_nodes), []
    for item in events:
        now_ms, event = item if isinstance(item, tuple) else (0, item)
        job, effects = advance(job, event, now_ms=now_ms, limits=LIMITS)
        seen += effects
    return job, seen


def accepted(*nodes: str) -> list[Event]:
    return [NodeAccepted(node) for node in nodes]


def done(round_: Round, *nodes: str) -> list[Event]:
    return [RoundDone(node, round_) for node in nodes]


RUNNING: list[Event] = [Admitted(), *accepted(*NODES)]
SUMMING: list[Event] = [*RUNNING, *done(Round.SUPPORT, *NODES)]
ALL = StartRound(Round.SUPPORT, NODES, NODES)
ALL_SUM = StartRound(Round.SUM, NODES, NODES)
ASK = Propose(NODES)
NO = "expected another purpose, got `pricing`"

# name, events, state, reason, effects, minimum of nodes
SCENARIOS: list[tuple[str, list, State, str, list[Effect], int]] = [
    ("nothing yet", [], State.SUBMITTED, "", [], 3),
    ("refused here", [Refused((denial("hub"),))], State.DENIED, f"{NO} (at hub)", [Finish()], 3),
    (
        "many refusals are cut to three",
        [Refused(tuple(denial(n, f"no {n}") for n in NODES))],
        State.DENIED,
        "no a (at a); no b (at b); no c (at c)",
        [Finish()],
        3,
    ),
    ("admitted", [Admitted()], State.DECIDING, "", [ASK], 3),
    ("admitted twice", [Admitted(), Admitted()], State.DECIDING, "", [ASK], 3),
    ("refused too late", [Admitted(), Refused(())], State.DECIDING, "", [ASK], 3),
    ("an answer before it is asked", accepted("a"), State.SUBMITTED, "", [], 3),
    (
        "a stranger's answer",
        [Admitted(), *accepted("x", "a")],
        State.DECIDING,
        "",
        [ASK],
        3,
    ),
    ("all accept", RUNNING, State.RUNNING, "", [ASK, ALL], 4),
    (
        "one denies, three are enough",
        [Admitted(), NodeDenied("b", (denial("b"),)), *accepted("a", "c", "d")],
        State.RUNNING,
        "",
        [ASK, StartRound(Round.SUPPORT, ("a", "c", "d"), ("a", "c", "d"))],
        3,
    ),
    (
        "one denies, all are needed",
        [Admitted(), NodeDenied("b", (denial("b"),)), *accepted("a", "c", "d")],
        State.DENIED,
        f"{NO} (at b)",
        [ASK, Finish()],
        4,
    ),
    (
        "one is away, all are needed",
        [Admitted(), NodeAbsent("b"), *accepted("a", "c", "d")],
        State.INSUFFICIENT_NODES,
        "expected 4 nodes to take part, got 3; not reached: b",
        [ASK, Finish()],
        4,
    ),
    (
        "silent until the deadline, three are enough",
        [Admitted(), *accepted("a", "b", "c"), (15, Tick())],
        State.RUNNING,
        "",
        [ASK, StartRound(Round.SUPPORT, ("a", "b", "c"), ("a", "b", "c"))],
        3,
    ),
    (
        "silent until the deadline, too few",
        [Admitted(), *accepted("a", "b"), (15, Tick())],
        State.INSUFFICIENT_NODES,
        "expected 3 nodes to take part, got 2; no decision in time: c, d",
        [ASK, Finish()],
        3,
    ),
    (
        "one denies, one is away, one is silent: each is named for what it did",
        [
            *(Admitted(), NodeDenied("a", (denial("a"),)), NodeAbsent("b"), NodeAccepted("c")),
            (15, Tick()),
        ],
        State.INSUFFICIENT_NODES,
        "expected 3 nodes to take part, got 1; "
        "not reached: b; no decision in time: d; denied by: a",
        [ASK, Finish()],
        3,
    ),
    (
        "not yet the deadline",
        [Admitted(), *accepted("a", "b", "c"), (14, Tick())],
        State.DECIDING,
        "",
        [ASK],
        3,
    ),
    (
        "a second word does not count",
        [Admitted(), *accepted("a"), NodeDenied("a", (denial("a"),)), *accepted("b", "c", "d")],
        State.RUNNING,
        "",
        [ASK, ALL],
        4,
    ),
    ("three supports of four", [*RUNNING, *done(Round.SUPPORT, *"abc")], State.RUNNING, "",
     [ASK, ALL], 3),
    ("all supports", SUMMING, State.RUNNING, "", [ASK, ALL, ALL_SUM], 3),
    (
        "one node supports four times",
        [*RUNNING, *done(Round.SUPPORT, *"aaaa")],
        State.RUNNING,
        "",
        [ASK, ALL],
        3,
    ),
    (
        "a contribution before all supports",
        [*RUNNING, *done(Round.SUPPORT, *"abc"), *done(Round.SUM, *NODES)],
        State.RUNNING,
        "",
        [ASK, ALL],
        3,
    ),
    (
        "a late support in the sum",
        [*SUMMING, *done(Round.SUPPORT, "a"), *done(Round.SUM, *"bcd")],
        State.RUNNING,
        "",
        [ASK, ALL, ALL_SUM],
        3,
    ),
    (
        "done",
        [*SUMMING, *done(Round.SUM, *NODES)],
        State.SUCCEEDED,
        "",
        [ASK, ALL, ALL_SUM, Finish()],
        3,
    ),
    (
        "done, then everything else",
        [*SUMMING, *done(Round.SUM, *NODES), Cancelled("li"), NodeAbsent("a"), (EXPIRES, Tick())],
        State.SUCCEEDED,
        "",
        [ASK, ALL, ALL_SUM, Finish()],
        3,
    ),
    (
        "lost in the support round",
        [*RUNNING, *done(Round.SUPPORT, "b"), NodeAbsent("b")],
        State.NODE_LOST,
        "its connection was lost and did not come back (at b)",
        [ASK, ALL, Finish()],
        3,
    ),
    (
        "lost in the sum",
        [*SUMMING, *done(Round.SUM, "a"), NodeAbsent("b")],
        State.NODE_LOST,
        "its connection was lost and did not come back (at b)",
        [ASK, ALL, ALL_SUM, Finish()],
        3,
    ),
    (
        "lost after its contribution",
        [*SUMMING, *done(Round.SUM, "a"), NodeAbsent("a"), *done(Round.SUM, *"bcd")],
        State.SUCCEEDED,
        "",
        [ASK, ALL, ALL_SUM, Finish()],
        3,
    ),
    (
        "one that was never in is lost",
        [Admitted(), NodeAbsent("d"), *accepted("a", "b", "c"), NodeAbsent("d")],
        State.RUNNING,
        "",
        [ASK, StartRound(Round.SUPPORT, ("a", "b", "c"), ("a", "b", "c"))],
        3,
    ),
    (
        "late in the support round",
        [*RUNNING, *done(Round.SUPPORT, "a", "c"), (120, Tick())],
        State.NODE_LOST,
        "its part of the round did not come in time (at b, d)",
        [ASK, ALL, Finish()],
        3,
    ),
    (
        "late in the sum",
        [*SUMMING, *done(Round.SUM, "a", "b", "c"), (120, Tick())],
        State.NODE_LOST,
        "its part of the round did not come in time (at d)",
        [ASK, ALL, ALL_SUM, Finish()],
        3,
    ),
    (
        "a node cannot go on",
        [*RUNNING, NodeFailed("c", "expected a table `heart`, got none")],
        State.FAILED,
        "expected a table `heart`, got none (at c)",
        [ASK, ALL, Finish()],
        3,
    ),
    (
        "the rows of a node refuse, and nobody hears whose",
        [*RUNNING, NodeFailed("c", "expected enough rows", "too_few_rows")],
        State.FAILED,
        "expected enough rows",
        [ASK, ALL, Finish()],
        3,
    ),
    (
        "a node cannot even decide, three are enough",
        [Admitted(), NodeFailed("d", "expected fewer open jobs"), *accepted("a", "b", "c")],
        State.RUNNING,
        "",
        [ASK, StartRound(Round.SUPPORT, ("a", "b", "c"), ("a", "b", "c"))],
        3,
    ),
    (
        "a node cannot even decide, all are needed",
        [Admitted(), NodeFailed("d", "expected fewer open jobs"), *accepted("a", "b", "c")],
        State.DENIED,
        "expected fewer open jobs (at d)",
        [ASK, Finish()],
        4,
    ),
    (
        "a node that has said yes and then cannot decide again",
        [Admitted(), *accepted("a"), NodeFailed("a", "no"), *accepted("b", "c", "d")],
        State.RUNNING,
        "",
        [ASK, ALL],
        4,
    ),
    (
        "an endless word of a node is cut",
        [*RUNNING, NodeFailed("c", "x" * 100_000)],
        State.FAILED,
        f"{'x' * 500} (at c)",
        [ASK, ALL, Finish()],
        3,
    ),
    (
        "an endless refusal is cut",
        [Admitted(), NodeDenied("b", (denial("b", "x" * 100_000),)), *accepted("a", "c", "d")],
        State.DENIED,
        f"{'x' * 500} (at b)",
        [ASK, Finish()],
        4,
    ),
    (
        "a node that is not in cannot fail it",
        [Admitted(), NodeAbsent("d"), *accepted("a", "b", "c"), NodeFailed("d", "no")],
        State.RUNNING,
        "",
        [ASK, StartRound(Round.SUPPORT, ("a", "b", "c"), ("a", "b", "c"))],
        3,
    ),
    ("cancelled", [Cancelled("li")], State.CANCELLED, "cancelled by `li`", [Finish()], 3),
    (
        "expired before it was admitted",
        [(EXPIRES, Tick())],
        State.EXPIRED,
        "the job's own time was over before it ended",
        [Finish()],
        3,
    ),
    (
        "expired while it ran",
        [*RUNNING, (EXPIRES, Tick())],
        State.EXPIRED,
        "the job's own time was over before it ended",
        [ASK, ALL, Finish()],
        3,
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("events", "state", "reason", "effects", "min_nodes"),
    [scenario[1:] for scenario in SCENARIOS],
    ids=[scenario[0] for scenario in SCENARIOS],
)
def test_scenario(
    events: list, state: State, reason: str, effects: list[Effect], min_nodes: int
) -> None:
    job, seen = play(events, min_nodes=min_nodes)
    assert (job.state, job.reason) == (state, reason)
    assert seen == effects


def test_a_round_decided_by_the_deadline_has_a_deadline_of_its_own() -> None:
    job, _ = play([Admitted(), *accepted("a", "b", "c"), (15, Tick())])
    assert job.deadline_ms == 15 + LIMITS.round_ms


def test_no_deadline_passes_the_expiry() -> None:
    job, _ = play([(EXPIRES - 1, Admitted())])
    assert job.deadline_ms == EXPIRES
    for node in NODES:
        job, _ = advance(job, NodeAccepted(node), now_ms=EXPIRES - 1, limits=LIMITS)
    assert (job.state, job.deadline_ms) == (State.RUNNING, EXPIRES)


def test_denials_are_kept_for_the_requester() -> None:
    first, second = denial("a"), denial("b", "no rows")
    job, _ = play([Admitted(), NodeDenied("a", (first,)), NodeDenied("b", (second,))])
    assert job.denials == (first, second)
    assert job.at(Step.DENIED) == ("a", "b")


def test_a_restart_takes_a_running_job_back_to_its_first_round() -> None:
    job, _ = play([*SUMMING, *done(Round.SUM, "a", "b")])
    again = restarted(job, now_ms=500, limits=LIMITS)
    assert (again.state, again.round, again.participants) == (State.RUNNING, Round.SUPPORT, NODES)
    assert again.at(Step.ACCEPTED) == NODES
    assert again.deadline_ms == 620


def test_a_restart_leaves_answers_alone_and_gives_the_others_time() -> None:
    job, _ = play([Admitted(), *accepted("a"), NodeDenied("b", (denial("b"),))])
    again = restarted(job, now_ms=500, limits=LIMITS)
    assert again == replace(job, deadline_ms=515)


def test_a_job_whose_admission_a_restart_cut_off_ends() -> None:
    job = restarted(new_job(), now_ms=500, limits=LIMITS)
    job, effects = advance(job, Tick(), now_ms=514, limits=LIMITS)
    assert (job.state, effects) == (State.SUBMITTED, ())
    job, effects = advance(job, Tick(), now_ms=515, limits=LIMITS)
    assert (job.state, effects) == (State.FAILED, (Finish(),))
    assert job.reason == "the coordinator stopped before it had decided on the job"


def test_a_restart_does_not_change_an_ended_job() -> None:
    job, _ = play([Cancelled("li")])
    assert restarted(job, now_ms=500, limits=LIMITS) is job


def test_a_fault_found_after_the_last_event() -> None:
    job = fail(new_job(), "the sum failed")
    assert (job.state, job.reason) == (State.FAILED, "the sum failed")


def test_what_is_open_and_what_has_ended() -> None:
    still_open = {state for state in State if not state.ended}
    assert still_open == {
        State.SUBMITTED,
        State.DECIDING,
        State.AWAITING_APPROVAL,
        State.RUNNING,
    }


def test_refused_for_want_of_budget_alone() -> None:
    spent = Denial("", "budget_exhausted", "no budget", "privacy", "", "", "ask for less")
    purpose = denial("b")
    for last, state in ((spent, State.BUDGET_EXHAUSTED), (purpose, State.DENIED)):
        job, _ = advance(new_job(), Admitted(), now_ms=0, limits=LIMITS)
        for node, why in (("a", spent), ("b", last)):
            said = NodeDenied(node, (replace(why, node=node),))
            job, _ = advance(job, said, now_ms=0, limits=LIMITS)
        for node in ("c", "d"):
            job, _ = advance(job, NodeAccepted(node), now_ms=0, limits=LIMITS)
        assert job.state is state
        assert "no budget (at a)" in job.reason


def test_no_step_tells_whose_rows_refused() -> None:
    refusal = NodeFailed("c", "expected enough rows", "data_values")
    job, _ = play([*RUNNING, RoundDone("a", Round.SUPPORT), refusal], min_nodes=3)
    assert job.code == "data_values"
    assert set(job.steps.values()) == {Step.ACCEPTED}
