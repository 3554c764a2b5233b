from __future__ import annotations

import io
from datetime import datetime

import pytest
from yumen.jobs import Jobs, JobSummary, state_of
from yumen.progress import JobProgress, describe
from yumen_core.errors import PeerError
from yumen_core.jobs.machine import State, Step
from yumen_core.rpc.v1 import job_pb2

NODES = [f"spiffe://h.example/org/{n}/node/{n}" for n in ("a", "b", "c")]


def status(state: int, *steps: str, reason: str = "", sql: str = "SELECT 1") -> job_pb2.JobStatus:
    return job_pb2.JobStatus(
        job_id="0199b2f4-1111-7abc-8def-000000000001",
        state=state,  # type: ignore[arg-type]
        reason=reason,
        requester="spiffe://h.example/org/lzu/user/li",
        purpose="research",
        table="heart",
        sql=sql,
        nodes=[job_pb2.NodeProgress(node=n, step=s) for n, s in zip(NODES, steps, strict=False)],
        submitted_at_ms=1_790_000_000_123,
        updated_at_ms=1_790_000_001_000,
    )


def test_every_state_on_the_wire_has_its_name() -> None:
    numbers = set(job_pb2.JobState.values()) - {job_pb2.JOB_STATE_UNSPECIFIED}
    assert {state_of(status(number)) for number in numbers} == set(State)


@pytest.mark.parametrize("number", [0, 99])
def test_an_unknown_state_is_refused(number: int) -> None:
    with pytest.raises(PeerError, match="expected a job state that this version knows"):
        JobSummary.from_status(status(number))


def test_a_time_out_of_range_is_refused() -> None:
    late = status(5)
    late.updated_at_ms = 2**62
    with pytest.raises(PeerError, match=f"expected a time in milliseconds, got {2**62}"):
        JobSummary.from_status(late)


def test_a_summary_reads_the_status() -> None:
    sent = status(6, "denied", "accepted", "accepted", reason="no")
    sent.denials.add(node=NODES[0], reason_code="purpose_forbidden", remedy="ask otherwise")
    summary = JobSummary.from_status(sent)
    assert summary.state is State.DENIED
    assert summary.nodes[0] == (NODES[0], "denied")
    assert summary.steps == "1 denied, 2 accepted"
    assert summary.denials[0].remedy == "ask otherwise"
    assert summary.submitted_at.isoformat() == "2026-09-21T14:13:20.123000+00:00"


def test_the_list_shows_why_a_job_ended_or_what_it_asked() -> None:
    jobs = Jobs(
        JobSummary.from_status(s)
        for s in (
            status(9, "lost", "contributed", reason=f"its connection was lost (at {NODES[0]})"),
            status(5, sql="SELECT COUNT(*)\n  FROM heart"),
        )
    )
    assert len(jobs) == 2
    assert jobs[0].state is State.NODE_LOST
    assert [job.state for job in jobs[1:]] == [State.SUCCEEDED]
    shown = repr(jobs)
    assert "its connection was lost (at a)" in shown
    assert "SELECT COUNT(*) FROM heart" in shown
    assert "2026-09-21 14:13:20" in shown
    assert repr(Jobs([])) == "no job yet"


def test_each_part_of_a_split_list_begins_with_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = repr(Jobs([JobSummary.from_status(status(5, "contributed", sql="x " * 40))]))
    parts = shown.split("\n\n")
    assert len(parts) > 1
    for part in parts:
        assert part.startswith("job ")
        assert part.splitlines()[2].startswith("0199b2f4-1111-7abc-8def-000000000001")


def test_the_list_is_escaped_in_html() -> None:
    page = Jobs([JobSummary.from_status(status(5, sql="<script>alert(1)</script>"))])._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (status(1), "sent"),
        (status(2, "asked", "accepted", "denied"), "nodes decide, 1 of 3 accepted, 1 refused"),
        (
            status(4, "supported", "contributed", "contributed"),
            "nodes compute, 3 of 3 accepted, 2 of 3 contributed",
        ),
        (status(5, "contributed", "contributed", "contributed"), "done"),
        (status(7, "accepted", "absent"), "insufficient nodes"),
    ],
)
def test_progress_in_words(sent: job_pb2.JobStatus, words: str) -> None:
    assert describe(sent) == words
    assert {node.step for node in sent.nodes} <= set(Step)


def test_who_waits_for_approval_until_when_comes_first() -> None:
    sent = status(job_pb2.JOB_STATE_AWAITING_APPROVAL, "awaiting", "accepted", "awaiting")
    sent.deadline_ms = 1_790_000_000_000
    until = datetime.fromtimestamp(1_790_000_000).strftime("%Y-%m-%d %H:%M")
    assert describe(sent) == f"waits until {until} for approval at 2 nodes: a, c"
    sent.method = "train"
    assert JobSummary.from_status(sent).runs == 0
    sent.round = "train"
    assert JobSummary.from_status(sent).runs == 1


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_without_obeying_its_text() -> None:
    screen = _Terminal()
    with JobProgress("query [bold]\x1b[2J", stream=screen) as progress:
        progress.update(status(4, "supported", "contributed", "contributed"))
    shown = screen.getvalue()
    assert "2 of 3 contributed" in shown
    assert "[bold]" in shown
    assert "\x1b[2J" not in shown


def test_progress_is_silent_elsewhere() -> None:
    pipe = io.StringIO()
    with JobProgress("query", stream=pipe) as progress:
        progress.update(status(4, "supported"))
        progress.say("decrypting")
    assert pipe.getvalue() == ""
