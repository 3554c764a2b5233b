"""The demo from start to end, in the order of its screens."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from yumen_core.errors import Denied

from yumen_cli.demo import attacks, hospitals, logs, truth
from yumen_cli.demo.compare import compare
from yumen_cli.demo.questions import DENIED_PURPOSE, PURPOSE, QUESTIONS
from yumen_cli.demo.report import Answer, DemoReport, Refusal
from yumen_cli.demo.screens import Screen

if TYPE_CHECKING:
    from yumen import Federation
    from yumen._stack import Stack, StackSetup


def run_demo(data: Path | None, *, quiet: bool) -> DemoReport:
    """Start the federation, do everything, stop it, verify its logs.

    `data` is the folder of the CSV files, the checkout's if None; with `quiet` nothing is drawn.
    Raises `YumenError` where a step cannot be done at all; what was done and does not hold stands
    in the report.
    """
    from yumen._stack import Stack

    begun = time.monotonic()
    files = hospitals.find(data)
    report = DemoReport()
    screen = Screen(quiet=quiet)
    screen.opening()
    with tempfile.TemporaryDirectory(prefix="yumen-demo-") as folder:
        root = Path(folder)
        with screen.working("starting six processes ..."):
            stack = Stack.start(root, _setup(files, root), on_step=screen.step)
        try:
            report.processes = len(stack.children)
            report.ready_s = time.monotonic() - begun
            keys = _ask_and_attack(stack, files, report, screen)
        finally:
            stack.stop()
        screen.heading(6, "The logs of all five, recomputed entry by entry")
        report.logs = logs.verify_all(stack, keys)
        screen.logs(report.logs)
    report.elapsed_s = time.monotonic() - begun
    screen.closing(report)
    return report


def _setup(files: hospitals.Files, root: Path) -> StackSetup:
    from yumen._stack import NodeSetup, StackSetup

    declarations = root / "declarations"
    declarations.mkdir()
    nodes = tuple(
        NodeSetup(
            organisation=one.organisation,
            name=one.name,
            tables=(hospitals.declare(one, declarations / f"{one.name}.yaml"),),
            policies=(one.policy,),
            purposes=files.purposes,
        )
        for one in files.hospitals
    )
    return StackSetup(
        federation=hospitals.FEDERATION,
        nodes=nodes,
        coordinator_policies=(files.federation_policy,),
        purposes=files.purposes,
        organisation="university",
        requester="li",
    )


def _ask_and_attack(
    stack: Stack, files: hospitals.Files, report: DemoReport, screen: Screen
) -> dict[str, str]:
    """Every step that needs the running federation. Returns the nodes' log keys."""
    import yumen

    federation = yumen.connect(stack.coordinator_address, identity=stack.user_directory)
    try:
        screen.heading(1, "The catalogue")
        report.catalogue = federation.datasets()
        screen.catalogue(report.catalogue)
        screen.heading(2, "Encrypted answers, and beside them the truth over the pooled files")
        _ask(federation, files, report, screen)
        screen.heading(3, "What did not leave a hospital, and what the coordinator saw")
        screen.held_back(report.answers)
        screen.coordinator_saw(report)
        screen.heading(4, f"A job for another purpose: {DENIED_PURPOSE}")
        report.refusal = _ask_forbidden(federation)
        screen.refusal(report.refusal)
        screen.heading(5, "Two attacks on the coordinator")
        report.attacks = attacks.attack(stack.coordinator_address, stack.user_directory)
        screen.attacks(report.attacks)
        return logs.published_keys(stack.coordinator_address, stack.user_directory)
    finally:
        federation.close()


def _ask(
    federation: Federation, files: hospitals.Files, report: DemoReport, screen: Screen
) -> None:
    frames = truth.read({one.name: one.data for one in files.hospitals})
    let_go = truth.LetGo()
    for question in QUESTIONS:
        # The SDK shows its own progress; two moving lines would fight for the terminal.
        result = federation.query(question.sql, purpose=PURPOSE)
        expected = truth.compute(question, frames, let_go)
        answer = Answer(result, expected, compare(question, result, expected))
        report.answers.append(answer)
        screen.answer(answer)


def _ask_forbidden(federation: Federation) -> Refusal:
    sql = QUESTIONS[1].sql
    error: Denied | None = None
    try:
        federation.query(sql, purpose=DENIED_PURPOSE)
    except Denied as denied:
        error = denied
    return Refusal(DENIED_PURPOSE, error, federation.check(sql, purpose=PURPOSE))
