from __future__ import annotations

from dataclasses import replace

import pytest
from yumen.report import CheckReport, NodeDecision, denial_lines
from yumen.result import Exclusion
from yumen_core.errors import Denied, PeerError
from yumen_core.policy.denial import Denial

A, B, C, D = (f"spiffe://h.example/org/{n}/node/{n}" for n in "abcd")
COORDINATOR = "spiffe://h.example/org/local/coordinator/main"


def denial(node: str) -> Denial:
    return Denial(
        node=node,
        reason_code="purpose_forbidden",
        message="the purpose `pricing` is not permitted",
        subject="purpose",
        observed="pricing",
        allowed="research",
        remedy="ask with purpose `research`",
    )


def yes(*nodes: str) -> tuple[NodeDecision, ...]:
    return tuple(NodeDecision(node, True) for node in nodes)


def no(*nodes: str) -> tuple[NodeDecision, ...]:
    return tuple(NodeDecision(node, False, (denial(node),)) for node in nodes)


def report(decisions: tuple[NodeDecision, ...], *, needed: int = 3, out: str = "") -> CheckReport:
    excluded = (Exclusion(out, "not connected"),) if out else ()
    return CheckReport(decisions, excluded, "SELECT COUNT(*) FROM heart", "pricing", needed)


@pytest.mark.parametrize(
    ("decisions", "needed", "allowed"),
    [
        (yes(A, B, C), 3, True),
        (yes(A, B, C) + no(D), 3, True),
        (yes(A, B, C) + no(D), 4, False),
        (yes(A, B), 3, False),
        ((), 3, False),
        (yes(COORDINATOR, A, B), 3, False),
        (yes(COORDINATOR, A, B, C), 3, True),
        (no(COORDINATOR) + yes(A, B, C), 3, False),
    ],
)
def test_enough_nodes_and_no_veto(
    decisions: tuple[NodeDecision, ...], needed: int, allowed: bool
) -> None:
    assert report(decisions, needed=needed).allowed is allowed


def test_a_refusal_is_raised_with_every_denial() -> None:
    with pytest.raises(Denied) as caught:
        report(yes(A) + no(B, C)).raise_if_denied()
    assert caught.value.message == "expected 3 nodes to accept the job, got 1"
    assert [d.node for d in caught.value.denials] == [B, C]
    assert caught.value.remedy == "ask with purpose `research`"


def test_missing_nodes_are_no_refusal() -> None:
    with pytest.raises(PeerError) as caught:
        report(yes(A, B), out=C).raise_if_denied()
    assert caught.value.code == "insufficient_nodes"
    assert caught.value.message == (
        "expected 3 nodes to accept the job, got 2; without an answer: c"
    )


def test_an_allowed_job_raises_nothing() -> None:
    report(yes(A, B, C)).raise_if_denied()


def test_a_report_is_no_yes_or_no() -> None:
    with pytest.raises(TypeError, match=r"ask `\.allowed`"):
        bool(report(yes(A, B, C)))


def test_text_names_each_party_and_what_would_pass() -> None:
    assert repr(report(yes(COORDINATOR, A) + no(B), out=C)).splitlines() == [
        "The job would not run for the purpose pricing: 1 node accepts, 3 needed",
        "party            decision",
        "───────────────  ────────────────────────",
        "the coordinator  accepts",
        "a                accepts",
        "b                refuses",
        "c                no answer: not connected",
        "",
        "b refuses: the purpose `pricing` is not permitted",
        "  what to do: ask with purpose `research`",
        "  would pass: purpose research",
    ]


def test_html_is_escaped() -> None:
    hostile = NodeDecision(A, False, (Denial(A, "x", "<b>", "<b>", "<b>", "<b>", "<b>"),))
    page = report((hostile,), out="<b>")._repr_html_()
    assert "<b>" not in page
    assert page.count("&lt;b&gt;") == 5


def test_what_would_pass_names_its_subject_once() -> None:
    code = replace(denial(A), subject="code", allowed="code that its reviewers approve")
    assert denial_lines(code)[-1] == "  would pass: code that its reviewers approve"
    assert denial_lines(denial(A))[-1] == "  would pass: purpose research"
