"""The life of a job under events in any order, at any time, with restarts between them."""

from builders.jobs import EXPIRES, LIMITS, NODES, denial, new_job, new_training
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from yumen_core.jobs.machine import (
    UNDECIDED,
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
    Refused,
    Release,
    Round,
    RoundDone,
    StartRound,
    State,
    Step,
    Tick,
    advance,
    restarted,
)

nodes = st.sampled_from((*NODES, "stranger"))


class AnyOrder(RuleBasedStateMachine):
    """Events in any order, at any time, with restarts between them."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 0
        self.job = new_job()
        self.effects: tuple[Effect, ...] = ()
        self.ended: Job | None = None
        self.fixed: tuple[str, ...] = ()
        self.accepted: set[str] = set()
        self.supported: set[str] = set()

    @initialize(min_nodes=st.integers(3, 4), stage=st.integers(0, 3))
    def begin(self, min_nodes: int, stage: int) -> None:
        """Some runs begin later in a job's life, so that many see its end."""
        self.job = new_job(min_nodes)
        if stage > 0:
            self.feed(Admitted())
        if stage > 1:
            self.all_accept()
        if stage > 2:
            for node in NODES:
                self.part(node, Round.SUPPORT)

    def feed(self, event: Event) -> None:
        before = self.job
        self.job, self.effects = advance(before, event, now_ms=self.now_ms, limits=LIMITS)
        if self.job == before:
            assert self.effects == ()
        for effect in self.effects:
            self.check(effect)
        assert (Finish() in self.effects) == (self.job.state.ended and not before.state.ended)

    def check(self, effect: Effect) -> None:
        if isinstance(effect, Propose):
            assert set(effect.nodes) <= set(NODES)
        if not isinstance(effect, StartRound):
            return
        assert effect.participants == self.job.participants == effect.nodes
        if effect.round is Round.SUM:
            assert self.supported >= set(effect.participants)

    @rule()
    def admit(self) -> None:
        self.feed(Admitted())

    @rule(node=nodes)
    def accept(self, node: str) -> None:
        if self.job.state is State.DECIDING and self.job.steps.get(node) is Step.ASKED:
            self.accepted.add(node)
        self.feed(NodeAccepted(node))

    @precondition(lambda self: self.job.state is State.DECIDING)
    @rule()
    def all_accept(self) -> None:
        for node in NODES:
            self.accept(node)

    @rule(node=nodes)
    def deny(self, node: str) -> None:
        self.feed(NodeDenied(node, (denial(node),)))

    @rule(node=nodes, round_=st.sampled_from(Round))
    def part(self, node: str, round_: Round) -> None:
        if round_ is Round.SUPPORT and self.job.round is Round.SUPPORT:
            self.supported.add(node)
        self.feed(RoundDone(node, round_))

    @precondition(lambda self: self.job.round is not None)
    @rule(but=nodes)
    def nearly_all_parts(self, but: str) -> None:
        round_ = self.job.round
        assert round_ is not None
        for node in self.job.participants:
            if node != but:
                self.part(node, round_)

    @rule(
        event=st.one_of(
            st.builds(NodeAbsent, nodes),
            st.builds(NodeFailed, nodes, st.just("no")),
            st.builds(Cancelled, st.just("li")),
            st.just(Refused((denial("hub"),))),
        ),
        chance=st.integers(0, 5),
    )
    def misfortune(self, event: Event, chance: int) -> None:
        """Rare, as most of these end the job."""
        if chance == 0:
            self.feed(event)

    @rule(ms=st.sampled_from((0, 1, 5, 14, 15, 60, 119, 120)))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms
        self.feed(Tick())

    @rule()
    def restart(self) -> None:
        self.job = restarted(self.job, now_ms=self.now_ms, limits=LIMITS)
        self.supported.clear()  # what had arrived was in memory only

    @invariant()
    def an_ended_job_never_changes(self) -> None:
        if self.ended is not None:
            assert self.job is self.ended
        elif self.job.state.ended:
            self.ended = self.job

    @invariant()
    def participants_are_fixed_once(self) -> None:
        if self.fixed:
            assert self.job.participants == self.fixed
        elif self.job.participants:
            self.fixed = self.job.participants
            assert len(self.fixed) >= self.job.min_nodes
            assert set(self.fixed) <= self.accepted
        assert self.job.state is not State.SUCCEEDED or self.fixed

    @invariant()
    def an_end_says_why(self) -> None:
        if self.job.state.ended and self.job.state is not State.SUCCEEDED:
            assert self.job.reason

    @invariant()
    def time_ends_it(self) -> None:
        """Ticks at its deadlines alone bring the job to an end, by its expiry at the latest."""
        job, now_ms = self.job, self.now_ms
        for _ in range(4):
            if job.state.ended:
                return
            # A job that is not admitted yet has no deadline but its expiry.
            due_ms = min(job.deadline_ms or EXPIRES, EXPIRES)
            now_ms = max(now_ms, due_ms)
            job, _ = advance(job, Tick(), now_ms=now_ms, limits=LIMITS)
        raise AssertionError(f"still {job.state} after every deadline")


AnyOrder.TestCase.settings = settings(max_examples=200, stateful_step_count=20, deadline=None)
test_any_order = AnyOrder.TestCase


class TrainingInAnyOrder(RuleBasedStateMachine):
    """The same of a training, whose set may shrink, under requesters who go on as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 0
        self.job = new_training()
        self.ended: Job | None = None
        self.accepted: set[str] = set()
        self.shares: dict[str, tuple[int, tuple[str, ...]]] = {}
        self.summed: dict[int, tuple[str, ...]] = {}

    @initialize(min_nodes=st.integers(2, 4), stage=st.integers(0, 3))
    def begin(self, min_nodes: int, stage: int) -> None:
        self.job = new_training(min_nodes, round_ms=100 if stage % 2 else 0)
        if stage > 0:
            self.feed(Admitted())
        if stage > 1:
            self.all_decide()
        if stage > 2:
            self.next_run("train", True)

    def feed(self, event: Event) -> None:
        before = self.job
        self.job, effects = advance(before, event, now_ms=self.now_ms, limits=LIMITS)
        assert (Finish() in effects) == (self.job.state.ended and not before.state.ended)
        assert len(effects) <= 1  # so no effect can speak of a state that another has left
        if before.participants:
            assert set(self.job.participants) <= set(before.participants)  # never grows
        shrunk = before.participants and self.job.participants != before.participants
        assert bool(shrunk) == any(isinstance(effect, Drop) for effect in effects)
        if shrunk:
            self.check_drop(before, effects)
        for effect in effects:
            self.check(before, effect)

    def check_drop(self, before: Job, effects: tuple[Effect, ...]) -> None:
        assert before.round is Round.SUPPORT  # nobody was asked for the sum of this run
        lost = set(before.participants) - set(self.job.participants)
        assert effects == (Drop(self.job.lost),)
        assert set(self.job.lost) == lost
        assert len(self.job.participants) >= self.job.min_nodes
        assert self.job.round is Round.INPUT

    def check(self, before: Job, effect: Effect) -> None:
        run = (self.job.run, self.job.participants)
        match effect:
            case StartRound(Round.SUPPORT, participants, nodes):
                assert isinstance(before.round, Round)
                assert participants == nodes == self.job.participants
                assert self.job.run == len(before.runs)  # each run begins once
            case StartRound(Round.SUM, participants, nodes):
                assert participants == nodes == before.participants
                assert all(self.shares.get(node) == run for node in participants)
                # Also over restarts a run is summed over one set.
                assert self.summed.setdefault(self.job.run, participants) == participants
            case StartRound():
                raise AssertionError("an input is not asked of nodes")
            case Release():
                assert self.summed[self.job.run] == self.job.participants
                assert set(self.job.at(Step.CONTRIBUTED)) >= set(self.job.participants)

    @rule()
    def admit(self) -> None:
        self.feed(Admitted())

    @rule(node=nodes, kind=st.sampled_from([NodeAccepted, NodeAwaits, NodeAccepted]))
    def answer(self, node: str, kind: type[NodeAccepted] | type[NodeAwaits]) -> None:
        open_step = self.job.steps.get(node) in (Step.ASKED, Step.AWAITING)
        if kind is NodeAccepted and open_step and self.job.state in UNDECIDED:
            self.accepted.add(node)
        self.feed(kind(node))

    @precondition(lambda self: self.job.state in UNDECIDED)
    @rule()
    def all_decide(self) -> None:
        for node in NODES:
            self.answer(node, NodeAccepted)

    @rule(node=nodes)
    def deny(self, node: str) -> None:
        self.feed(NodeDenied(node, (denial(node),)))

    @rule(name=st.sampled_from(["train", "evaluate"]), support=st.just(True))
    def next_run(self, name: str, support: bool) -> None:
        self.feed(NextRun(name, support))

    @rule(node=nodes, round_=st.sampled_from(Round))
    def part(self, node: str, round_: Round) -> None:
        if round_ is Round.SUPPORT and self.job.round is Round.SUPPORT:
            self.shares[node] = (self.job.run, self.job.participants)
        self.feed(RoundDone(node, round_))

    @precondition(lambda self: self.job.round in (Round.SUPPORT, Round.SUM))
    @rule(but=nodes)
    def nearly_all_parts(self, but: str) -> None:
        round_ = self.job.round
        assert round_ is not None
        for node in self.job.participants:
            if node != but:
                self.part(node, round_)

    @rule(node=nodes)
    def lose(self, node: str) -> None:
        self.feed(NodeAbsent(node))

    @rule(
        event=st.one_of(
            st.builds(NodeFailed, nodes, st.just("no")),
            st.builds(Cancelled, st.just("li")),
            st.just(Completed()),
        ),
        chance=st.integers(0, 9),
    )
    def end(self, event: Event, chance: int) -> None:
        if chance == 0:
            self.feed(event)

    @rule(ms=st.sampled_from((0, 1, 15, 99, 100, 120)))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms
        self.feed(Tick())

    @rule()
    def restart(self) -> None:
        before = self.job
        self.job = restarted(before, now_ms=self.now_ms, limits=LIMITS)
        assert self.job.participants == before.participants
        assert self.job.runs == before.runs
        self.shares.clear()  # in memory only

    @invariant()
    def an_ended_job_never_changes(self) -> None:
        if self.ended is not None:
            assert self.job is self.ended
        elif self.job.state.ended:
            self.ended = self.job

    @invariant()
    def participants_said_yes_and_are_enough(self) -> None:
        assert set(self.job.participants) <= self.accepted
        if self.job.participants:
            assert len(self.job.participants) >= self.job.min_nodes
            assert self.job.participants == tuple(sorted(self.job.participants))

    @invariant()
    def a_lost_node_is_out(self) -> None:
        if not self.job.state.ended:
            assert not set(self.job.at(Step.LOST)) & set(self.job.participants)
            assert set(self.job.lost) <= set(self.job.at(Step.LOST))

    @invariant()
    def time_ends_it(self) -> None:
        job, now_ms = self.job, self.now_ms
        for _ in range(5):
            if job.state.ended:
                return
            now_ms = max(now_ms, min(job.deadline_ms or EXPIRES, EXPIRES))
            job, _ = advance(job, Tick(), now_ms=now_ms, limits=LIMITS)
        raise AssertionError(f"still {job.state} after every deadline")


TrainingInAnyOrder.TestCase.settings = settings(
    max_examples=200, stateful_step_count=25, deadline=None
)
test_trainings_in_any_order = TrainingInAnyOrder.TestCase
