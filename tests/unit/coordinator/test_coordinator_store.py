"""The contract of the coordinator's store: each method, each id once, all of it after a restart."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError
from yumen_coordinator.store import Store, StoredJob
from yumen_core.errors import PeerError
from yumen_core.jobs.machine import Job, Round, State, Step
from yumen_core.policy.denial import Denial

NODES = ("spiffe://f/org/a/node/1", "spiffe://f/org/b/node/1", "spiffe://f/org/兰/node/1")
LI, WANG = "spiffe://f/org/lzu/user/li", "spiffe://f/org/lzu/user/wang"
DENIAL = Denial(NODES[0], "purpose", "目的 `x`", "purpose", "x", "y", "ask", "id", bytes(range(32)))


def job(name: str = "job-1", **changes: object) -> Job:
    base = Job(name, 3, dict.fromkeys(NODES, Step.ASKED), expires_at_ms=1_790_000_600_000)
    return replace(base, **changes)  # type: ignore[arg-type]


def stored(
    name: str = "job-1", requester: str = LI, at_ms: int = 5, **changes: object
) -> StoredJob:
    return StoredJob(job(name, **changes), requester, b"envelope", b"key", at_ms, at_ms)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/new/folder/coordinator.sqlite"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    made = Store(url)
    yield made
    made.close()


def refused(name: str) -> str:
    return f"expected a new job id, got `{name}`, which was used before"


def test_a_job_comes_back_as_it_was(store: Store) -> None:
    one = stored()
    store.add(one)
    assert store.get("job-1") == replace(one, public_key=b"")  # not needed, and large
    assert list(store.open_jobs()) == [one]
    assert store.get("job-2") is None


def test_a_new_state_replaces_the_old(store: Store) -> None:
    store.add(stored())
    changed = job(
        state=State.RUNNING,
        round=Round.SUM,
        participants=NODES,
        deadline_ms=77,
        reason="为什么",
        denials=(DENIAL, replace(DENIAL, policy_digest=b"")),
        steps={NODES[0]: Step.SUPPORTED, NODES[1]: Step.LOST, NODES[2]: Step.CONTRIBUTED},
    )
    store.save(changed, now_ms=9)
    found = store.get("job-1")
    assert found == replace(stored(), job=changed, updated_at_ms=9, public_key=b"")


def test_a_state_of_no_job_is_not_stored(store: Store) -> None:
    with pytest.raises(KeyError):
        store.save(job(), now_ms=9, decisions={NODES[0]: b"yes"})
    assert store.decisions("job-1") == {}
    assert store.get("job-1") is None


@given(
    state=st.sampled_from(State),
    round_=st.none() | st.sampled_from(Round),
    steps=st.fixed_dictionaries({node: st.sampled_from(Step) for node in NODES}),
    reason=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
@settings(max_examples=25, deadline=None)
def test_every_state_round_trips(
    tmp_path_factory: pytest.TempPathFactory,
    state: State,
    round_: Round | None,
    steps: dict[str, Step],
    reason: str,
) -> None:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('any')}/c.sqlite")
    one = stored(state=state, round=round_, steps=steps, reason=reason)
    store.add(one)
    found = store.get("job-1")
    store.close()
    assert found == replace(one, public_key=b"")
    assert found is not None
    assert type(found.job.state) is State
    assert all(type(step) is Step for step in found.job.steps.values())


# Each id once -----------------------------------------------------------------------------------


def test_an_id_is_used_once(store: Store) -> None:
    assert not store.was_seen("job-1")
    store.add(stored())
    store.mark_seen("dry")
    assert store.was_seen("job-1")
    assert store.was_seen("dry")
    for again in (
        lambda: store.add(stored(requester=WANG)),
        lambda: store.mark_seen("job-1"),
    ):
        with pytest.raises(PeerError) as caught:
            again()
        assert (caught.value.code, caught.value.message) == ("replay", refused("job-1"))
    for again in (lambda: store.add(stored("dry")), lambda: store.mark_seen("dry")):
        with pytest.raises(PeerError) as caught:
            again()
        assert (caught.value.code, caught.value.message) == ("replay", refused("dry"))
    assert store.get("job-1") == replace(stored(), public_key=b"")
    assert store.get("dry") is None


def test_an_id_stays_used_after_its_result_is_dropped(store: Store) -> None:
    store.add(stored())
    store.save_result(job(state=State.SUCCEEDED), b"outcome", b"sum", now_ms=10)
    store.drop_results_before(11)
    assert store.result("job-1") is None
    with pytest.raises(PeerError, match="which was used before"):
        store.add(stored())


# Decisions, results, descriptors ----------------------------------------------------------------


def test_the_first_decision_of_a_node_stays(store: Store) -> None:
    store.add(stored())
    store.add(stored("job-2"))
    store.save(job(), now_ms=9, decisions={NODES[0]: b"yes"})
    store.save(job(), now_ms=9, decisions={NODES[0]: b"no", NODES[1]: b"no"})
    store.save(job(), now_ms=9)
    store.save(job("job-2"), now_ms=9, decisions={NODES[0]: b"other"})
    assert store.decisions("job-1") == {NODES[0]: b"yes", NODES[1]: b"no"}
    assert store.decisions("job-3") == {}


def test_a_result_and_its_state_are_stored_together(store: Store) -> None:
    store.add(stored())
    done = job(state=State.SUCCEEDED)
    store.save_result(done, b"outcome", b"sum", now_ms=10)
    found = store.get("job-1")
    assert store.result("job-1") == (b"outcome", b"sum")
    assert found is not None
    assert (found.job, found.updated_at_ms) == (done, 10)


def test_a_second_result_changes_nothing(store: Store) -> None:
    store.add(stored())
    store.save_result(job(state=State.SUCCEEDED), b"outcome", b"sum", now_ms=10)
    with pytest.raises(IntegrityError):
        store.save_result(job(state=State.FAILED), b"other", b"", now_ms=11)
    found = store.get("job-1")
    assert found is not None
    assert (found.job.state, found.updated_at_ms) == (State.SUCCEEDED, 10)
    assert store.result("job-1") == (b"outcome", b"sum")


def test_a_result_of_no_job_is_not_stored(store: Store) -> None:
    with pytest.raises(KeyError):
        store.save_result(job(), b"outcome", b"sum", now_ms=10)
    assert store.result("job-1") is None


def test_old_results_are_dropped_and_their_jobs_stay(store: Store) -> None:
    for i in range(3):
        store.add(stored(f"job-{i}"))
        store.save_result(job(f"job-{i}", state=State.SUCCEEDED), b"o", b"s", now_ms=10 + i)
    store.drop_results_before(12)
    assert [store.result(f"job-{i}") for i in range(3)] == [None, None, (b"o", b"s")]
    assert all(store.get(f"job-{i}") for i in range(3))


def test_the_newest_descriptor_of_each_node(store: Store) -> None:
    store.save_descriptor(NODES[0], b"old")
    store.save_descriptor(NODES[1], b"other")
    store.save_descriptor(NODES[0], b"new")
    assert store.descriptors() == {NODES[0]: b"new", NODES[1]: b"other"}


# Lists ------------------------------------------------------------------------------------------


def test_open_jobs_are_those_that_have_not_ended_oldest_first(store: Store) -> None:
    for i, state in enumerate(State):
        store.add(stored(f"job-{99 - i}", state=state))
    found = [one.job.state for one in store.open_jobs()]
    assert found == [state for state in reversed(State) if not state.ended]


def test_recent_jobs_newest_first(store: Store) -> None:
    for i, requester in enumerate((LI, WANG, LI, LI)):
        store.add(stored(f"job-{i}", requester, at_ms=100 + i // 2))
    names = lambda found: [one.job.job_id for one in found]  # noqa: E731
    assert names(store.recent(requester=None, limit=9)) == ["job-3", "job-2", "job-1", "job-0"]
    assert names(store.recent(requester=LI, limit=9)) == ["job-3", "job-2", "job-0"]
    assert names(store.recent(requester=LI, limit=2)) == ["job-3", "job-2"]
    assert names(store.recent(requester="nobody", limit=9)) == []


def test_all_of_it_outlives_the_process(store: Store, url: str) -> None:
    store.add(stored())
    store.add(stored("job-2"))
    store.save(job(), now_ms=5, decisions={NODES[0]: b"yes"})
    store.save_result(job("job-2", state=State.SUCCEEDED), b"outcome", b"sum", now_ms=10)
    store.mark_seen("dry")
    store.save_descriptor(NODES[0], b"descriptor")
    again = Store(url)  # the first is not closed: its process was killed
    assert [one.job.job_id for one in again.open_jobs()] == ["job-1"]
    assert again.get("job-1") == replace(stored(), public_key=b"")
    assert again.decisions("job-1") == {NODES[0]: b"yes"}
    assert again.result("job-2") == (b"outcome", b"sum")
    assert again.descriptors() == {NODES[0]: b"descriptor"}
    for name in ("job-1", "job-2", "dry"):
        assert again.was_seen(name)
        with pytest.raises(PeerError, match=refused(name)):
            again.mark_seen(name)
    again.close()
