"""Private trainings at a node: what its gate lets in, what it pays, and whose noise is whose."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yumen_core
from builders.federation import HEART, TABLE, Federation, job_for, policies
from builders.site import Site
from builders.trainings import CODE, SQL, training
from test_training_runs import MODEL, Play, moves, refusal
from yumen_core.identity.membership import Membership
from yumen_core.jobs.decision import parse_decision
from yumen_core.policy.denial import Denial
from yumen_core.privacy import Privacy
from yumen_core.sql import parse_columns
from yumen_core.training.privacy import JobNoise, noise_plan
from yumen_core.training.records import Action, Record

COST = Privacy(100_000)
PERMIT = policies("true", '[Yumen::Action::"train"]')
PAYS = replace(TABLE, micro_rho=250_000, project_micro_rho=250_000)


def sites_of(federation: Federation, folder: Path, table: Any) -> list[Site]:
    nodes = [replace(node, table=table) for node in federation.nodes(3)]
    made = [Site(node, folder / f"site{i}", bundle=PERMIT) for i, node in enumerate(nodes)]
    for i, site in enumerate(made):
        site.work.answer = moves(float(i + 1), 10 * (i + 1))
    return made


@pytest.fixture
def three(federation: Federation, tmp_path: Path) -> Iterator[list[Site]]:
    made = sites_of(federation, tmp_path, PAYS)
    yield made
    for site in made:
        site.close()


def noises(site: Site) -> list[JobNoise]:
    """What the site's work is given from now on, step by step."""
    found: list[JobNoise] = []
    inner = site.work.step

    async def step(*args: Any, noise: JobNoise | None = None, **rest: Any) -> dict[str, Record]:
        assert noise is not None
        found.append(noise)
        return await inner(*args, **rest)

    site.work.step = step  # type: ignore[method-assign]
    return found


def denials(sites: list[Site], li: Membership, program: Any) -> tuple[Denial, ...]:
    """What the first node says to a private training, however it was made."""
    job = job_for(
        li,
        [site.published() for site in sites],
        training=training(program=program),
        sql=SQL,
        plan_digest=parse_columns(SQL, {"heart": HEART}).digest,
        privacy=COST,
    )
    ruling = sites[0].decide(job.proposal())
    assert ruling.job is None
    assert ruling.envelope is not None
    full = sites[0].node.table.project_micro_rho
    assert sites[0].ledger.left(job.spec).get("heart", 0) == full
    said = parse_decision(ruling.envelope.payload, signer=sites[0].node.identity)
    return said.denials


def test_code_of_a_requester_is_refused_whoever_signs_for_it(
    three: list[Site], li: Membership
) -> None:
    (refused,) = denials(three, li, CODE)
    assert refused.message.startswith("expected a model of `yumen.models` with `privacy`")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (TABLE, "expected a table with a privacy budget, got `heart`, which has none"),
        (
            replace(TABLE, micro_rho=250_000, project_micro_rho=99_999),
            "expected a cost that the privacy budget of `heart` pays for, got more than the "
            "project has left",
        ),
    ],
)
def test_a_budget_that_does_not_pay(
    federation: Federation, li: Membership, tmp_path: Path, table: Any, message: str
) -> None:
    made = sites_of(federation, tmp_path, table)
    (refused,) = denials(made, li, MODEL)
    assert (refused.reason_code, refused.message) == ("budget_exhausted", message)
    for site in made:
        site.close()


def test_a_training_pays_once_and_for_all_its_runs(three: list[Site], li: Membership) -> None:
    play = Play(three, li, privacy=COST)
    site, spec = three[0], play.job.spec
    assert site.ledger.left(spec) == {"heart": 150_000}
    play.run(0)
    play.run(1, 2.0)
    play.run(2, 2.0, Action.EVALUATE)
    site.execution.forget(spec.job_id)
    assert site.ledger.left(spec) == {"heart": 150_000}


def test_a_share_alone_has_a_price(three: list[Site], li: Membership) -> None:
    """Whether an update came of the noisy numbers is told before the first contribution."""
    play = Play(three, li, privacy=COST)
    inputs, sealed = play.input(0)
    play.bring(three[0], sealed)
    play.share(three[0], 0, inputs)
    for site in three:
        site.execution.forget(play.job.spec.job_id)
    assert [site.ledger.left(play.job.spec)["heart"] for site in three] == [
        150_000,
        250_000,
        250_000,
    ]


def test_no_more_contents_than_runs_that_were_paid_for(three: list[Site], li: Membership) -> None:
    play, site = Play(three, li, privacy=COST), three[0]
    inputs, sealed = play.input(0)
    play.bring(site, sealed)
    play.share(site, 0, inputs)
    other, sealed = play.input(0, 9.0)
    play.bring(site, sealed)
    assert refusal(lambda: play.share(site, 0, other)) == (
        "expected the run's first input, got another"
    )
    site.restart()
    play.accepted[site.uri] = site.accept(play.job)
    play.bring(site, sealed)
    assert refusal(lambda: play.share(site, 0, other)) == (
        "expected the run's first input, got another"
    )
    for run in range(1, 5):  # runs that end without a sum count too
        inputs, sealed = play.input(run, float(run))
        play.bring(site, sealed)
        play.share(site, run, inputs)
    inputs, sealed = play.input(5, 5.0)
    play.bring(site, sealed)
    assert refusal(lambda: play.share(site, 5, inputs)) == (
        "expected at most 5 runs of `train`, got one more"
    )
    assert len(site.work.asked) == 5


def test_a_restart_keeps_the_key_of_a_jobs_noise(three: list[Site], li: Membership) -> None:
    play, site = Play(three, li, privacy=COST), three[0]
    seen = noises(site)
    inputs, sealed = play.input(0)
    play.bring(site, sealed)
    play.share(site, 0, inputs)
    site.restart()
    play.accepted[site.uri] = site.accept(play.job)
    inputs, sealed = play.input(1, 2.0)
    play.bring(site, sealed)
    play.share(site, 1, inputs)
    first, second = seen
    assert first.key.reveal() == second.key.reveal()
    assert first.plan == second.plan == noise_plan(training(program=MODEL), COST)

    other = Play(three, li, privacy=COST)
    inputs, sealed = other.input(0)
    other.bring(site, sealed)
    other.share(site, 0, inputs)
    assert seen[2].key.reveal() != first.key.reveal()
    folder = site.folder / "training-noise"
    assert len(list(folder.iterdir())) == 2
    site.execution.forget(play.job.spec.job_id)
    site.execution.forget(other.job.spec.job_id)
    assert not list(folder.iterdir())


def test_rows_below_the_threshold_answer_as_others(
    federation: Federation, li: Membership, tmp_path: Path
) -> None:
    """The noisy count decides, not the true one: nobody learns which node has few rows."""
    made = sites_of(federation, tmp_path, PAYS)
    for site in made:
        site.rows.counts = (1, 1)
    totals = Play(made, li, privacy=COST).run(0)
    assert totals.nodes == 3
    assert np.isfinite(totals.changes["w"]).all()
    for site in made:
        site.close()


def test_only_private_work_loads_opacus() -> None:
    """It takes seconds: no party loads it, and no worker but that of a private training."""
    root = Path(yumen_core.__file__).parents[2]
    alone = root / "core" / "yumen_core" / "training" / "models" / "private.py"
    loads = {"opacus": [], "yumen_core.training.models.private": []}  # type: ignore[var-annotated]
    for room in ("core", "coordinator", "node", "sdk"):
        for file in (root / room).rglob("*.py"):
            for line in ast.parse(file.read_bytes()).body:
                names = [line.module or ""] if isinstance(line, ast.ImportFrom) else []
                if isinstance(line, ast.Import):
                    names = [alias.name for alias in line.names]
                for name, files in loads.items():
                    if any(f"{found}.".startswith(f"{name}.") for found in names):
                        files.append(file)
    assert loads == {"opacus": [alone], "yumen_core.training.models.private": []}
