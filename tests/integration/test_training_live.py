"""Training over real processes: suites, apps, what goes wrong in them, and what nobody may see."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yumen
from builders.asker import Asker
from builders.live import Live
from builders.memory import occurs_in_files, occurs_in_memory
from builders.tables import declared, patients
from flwr.serverapp.strategy import FedAdam, FedAvg, FedMedian
from yumen import models
from yumen.training.result import TrainingResult
from yumen_core.errors import CallError, Denied, PeerError, YumenError
from yumen_core.identity import Role
from yumen_core.jobs.machine import State
from yumen_core.log import Act
from yumen_core.privacy import Privacy
from yumen_node.approvals import approve_folder

APP = Path(__file__).parents[1] / "builders" / "probe_app"
ROWS = {"a": (30, 40), "b": (30, 40), "c": (60, 20)}
AT_C = 80
BUDGET = {"epsilon": 20, "project_epsilon": 10}
PERMIT = """
@id("members")
@reason_code("member")
@remedy("ask with an identity of this federation")
permit (principal, action in [Yumen::Action::"query", Yumen::Action::"train"], resource)
when { principal.federation == "gansu.example" };
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("training")
    nodes = {
        name: [declared(root / "given" / name, "heart", patients(*rows), privacy=BUDGET)]
        for name, rows in ROWS.items()
    }
    policies = dict.fromkeys(("coordinator", *ROWS), PERMIT)
    with Live(root, nodes, policies=policies) as running:
        for name in ROWS:
            approve_folder(running.directory(name), APP, "a probe of the tests")
        yield running


@pytest.fixture(scope="module")
def li(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        asker = Asker(live.address, live.member(Role.USER, "li"))
        live.wait_connected(asker.client, *ROWS)
        yield asker
        asker.close()


def probe(
    li: Asker, *, suite: str = "stream", timeout_s: int = 20, **settings: object
) -> TrainingResult:
    return li.fed.run(
        APP,
        table="heart",
        columns=["sex"],
        purpose="research",
        suite=suite,
        run_config={name.replace("_", "-"): value for name, value in settings.items()},
        round_timeout_s=timeout_s,
    )


@pytest.fixture(scope="module")
def endless(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The probe that never returns, whatever a requester sets."""
    folder = tmp_path_factory.mktemp("endless") / "app"
    shutil.copytree(APP, folder)
    settings = folder / "pyproject.toml"
    settings.write_text(settings.read_text().replace('mode = "good"', 'mode = "forever"'))
    for name in ROWS:
        approve_folder(live.directory(name), folder, "a probe of the tests")
    return folder


@pytest.mark.parametrize("suite", ["stream", "bfv"])
def test_a_ready_model(li: Asker, suite: str) -> None:
    """The women are 50 and the men 40, so that a straight line finds both."""
    model = models.linear(
        [models.Category("sex", ["f", "m"], drop_first=True)],
        "age",
        center=45,
        scale=5,
        learning_rate=0.5,
        epochs=5,
    )
    result = li.fed.train(
        model, FedAvg(), table="heart", purpose="research", rounds=12, suite=suite
    )
    mean = {name: float(values.ravel()[0]) for name, values in result.arrays.items()}
    assert 45 + 5 * mean["bias"] == pytest.approx(50, abs=0.05)
    assert 45 + 5 * (mean["bias"] + mean["weight"]) == pytest.approx(40, abs=0.05)
    assert result.metrics["examples"].tolist() == [220] * 12
    assert result.metrics["evaluate_eval_mse"].iloc[-1] < 0.01


def test_an_app_as_it_is(live: Live, li: Asker) -> None:
    result = probe(li)
    np.testing.assert_allclose(result.arrays["values"], np.full(4, 3.0), atol=1e-4)
    assert result.metrics["evaluate_eval_loss"].tolist() == pytest.approx([1, 2, 3], abs=1e-4)
    assert result.metrics["train_train_loss"].tolist() == pytest.approx([1, 1 / 2, 1 / 3])
    assert li.fed.jobs(limit=1)[0].state is State.SUCCEEDED
    decisions = [
        entry.detail
        for entry in live.entries("a")
        if entry.act is Act.DECISION and entry.subject["job"] == result.job_ids[0]
    ]
    assert [list(detail["reviewers"]) for detail in decisions] == [  # type: ignore[arg-type]
        ["spiffe://gansu.example/org/a/node/a"]
    ]


BAD_APPS = [
    ("raise", "expected the app to answer `train`, got an error raised in it"),
    ("shape", "expected `values` as float32 of the shape (4,), got another type or shape"),
    ("nan", "expected finite values in `values`, got some that are not"),
    ("metric", "expected a finite metric `train_loss`, got one that is not"),
    ("exit", "expected the app to answer, got the end of its process"),
]


@pytest.mark.parametrize(("mode", "message"), BAD_APPS, ids=[mode for mode, _ in BAD_APPS])
def test_an_app_that_fails_at_one_node(li: Asker, mode: str, message: str) -> None:
    with pytest.raises(PeerError) as caught:
        probe(li, mode=mode, at_rows=AT_C, from_round=2)
    assert caught.value.code == "training"
    assert caught.value.message.startswith(message)
    assert "spiffe://gansu.example/org/c/node/c" in caught.value.message
    assert "a row says" not in str(caught.value)
    kept = caught.value.__notes__[0]
    assert kept.startswith("1 finished round kept: fed.resume(")


def test_an_app_that_never_returns(li: Asker) -> None:
    with pytest.raises(YumenError) as caught:
        probe(li, mode="forever", at_rows=AT_C, timeout_s=4)
    assert caught.value.code in {"deadline", "node_lost"}


def test_one_huge_update_is_clipped(li: Asker) -> None:
    result = probe(li, mode="huge", at_rows=AT_C, num_server_rounds=1)
    assert np.isfinite(result.arrays["values"]).all()
    assert float(np.abs(result.arrays["values"]).max()) <= 1e6 * 80 / 220 * 1.001
    assert "1 node" in "\n".join(result.notes) or result.metrics["clipped"].tolist() == [1]


def test_what_resumes_goes_on(li: Asker) -> None:
    """The strategy remembers its moments, so that a resumed training ends where another does."""
    zeros = {"values": np.zeros(4, dtype=np.float32)}
    asked = {"table": "heart", "columns": ["sex"], "purpose": "research", "rounds": 4}
    whole = li.fed.train(APP, FedAdam(eta=0.1), initial=zeros, **asked)  # type: ignore[arg-type]
    stopped = li.fed.start_training(APP, FedAdam(eta=0.1), initial=zeros, **asked)
    with stopped as run:
        for report in run:
            if report.round == 2:
                break
    job = li.fed.jobs(limit=1)[0].job_id
    resumed = li.fed.resume(job)
    np.testing.assert_array_equal(resumed.arrays["values"], whole.arrays["values"])
    assert resumed.job_ids[0] == job
    assert len(resumed.job_ids) == 2


SEX = models.logistic([models.Number("age", 45, 5)], "sex", classes=["m", "f"], learning_rate=1.0)


def train_private(li: Asker, epsilon: float, **settings: object) -> TrainingResult:
    asked = {"table": "heart", "purpose": "research", "rounds": 2, **settings}
    strategy = asked.pop("strategy", None) or FedAvg()
    return li.fed.train(SEX, strategy, privacy=yumen.DP(epsilon), **asked)  # type: ignore[arg-type]


def charges(live: Live, name: str, job: str) -> list[tuple[object, object]]:
    return [
        (entry.detail["move"], entry.detail["micro_rho"])
        for entry in live.entries(name)
        if entry.act is Act.BUDGET and entry.subject.get("job") == job
    ]


class Stops(FedAvg):
    """Ends the training between the last round's training and its evaluation."""

    def configure_evaluate(self, server_round: int, *rest: object) -> object:  # type: ignore[override]
        if server_round == 2:
            raise RuntimeError("stopped here")
        return super().configure_evaluate(server_round, *rest)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_private_training_pays_once_and_again_for_what_is_left(live: Live, li: Asker) -> None:
    """The women are 50 and the men 40: the weight of the age is far above the noise."""
    cost = yumen.DP(6).micro_rho
    with pytest.raises(RuntimeError, match="stopped here"):
        train_private(li, 6, strategy=Stops())
    first = li.fed.jobs(limit=1)[0].job_id
    for name in ROWS:
        assert charges(live, name, first) == [("reserved", cost), ("spent", cost)]

    result = li.fed.resume(first, strategy=FedAvg())
    assert [report.replayed for report in result.reports] == [True] * 3 + [False]
    assert result.job_ids[0] == first
    for name in ROWS:
        paid = [charges(live, name, job)[-1] for job in result.job_ids]
        assert paid == [("spent", cost), ("spent", cost // 2)]
    assert float(result.arrays["weight"].ravel()[0]) > 0.1
    assert result.privacy == Privacy(cost + cost // 2)
    said = f"noise added: epsilon 7.497 at delta 1e-6, {cost + cost // 2:,} millionths of rho"
    assert said in repr(result)
    assert "train_train_loss" not in result.metrics.columns
    assert "evaluate_eval_acc" in result.metrics.columns

    asked = {"table": "heart", "purpose": "research", "rounds": 2}
    report = li.fed.check_training(SEX, FedAvg(), privacy=yumen.DP(8), **asked)
    assert not report.allowed
    with pytest.raises(Denied) as caught:
        train_private(li, 8)
    refusals = [d for d in caught.value.denials if d.reason_code == "budget_exhausted"]
    assert len(refusals) == 3
    most = float(refusals[0].remedy.removeprefix("ask with epsilon=").partition(",")[0])
    assert 3 < most < 8
    assert li.fed.check_training(SEX, FedAvg(), privacy=yumen.DP(most), **asked).allowed
    assert not li.fed.check_training(SEX, privacy=yumen.DP(most + 0.01), **asked).allowed


def test_code_of_a_requester_is_never_private(li: Asker) -> None:
    before = li.fed.jobs(limit=1)[0].job_id
    with pytest.raises(CallError) as caught:
        li.fed.train(
            APP,
            FedAvg(),
            table="heart",
            columns=["sex"],
            purpose="research",
            rounds=1,
            initial={"values": np.zeros(4, dtype=np.float32)},
            privacy=yumen.DP(1),
        )
    assert caught.value.code == "training"
    assert "no reader of code can show that it clips each row" in str(caught.value)
    assert li.fed.jobs(limit=1)[0].job_id == before


def test_a_strategy_that_needs_single_updates_asks_nothing(li: Asker) -> None:
    before = li.fed.jobs(limit=1)[0].job_id
    with pytest.raises(CallError) as caught:
        li.fed.train(
            models.linear(["age"], "age2"),
            FedMedian(),
            table="heart",
            purpose="research",
            rounds=1,
        )
    assert caught.value.code == "strategy"
    assert li.fed.jobs(limit=1)[0].job_id == before


def test_two_trainings_at_once_both_go_on(li: Asker) -> None:
    found: dict[str, TrainingResult] = {}

    def train(suite: str) -> None:
        model = models.linear([models.Category("sex", ["f", "m"])], "age")
        found[suite] = li.fed.train(
            model, FedAvg(), table="heart", purpose="research", rounds=4, suite=suite
        )

    threads = [threading.Thread(target=train, args=(suite,)) for suite in ("stream", "bfv")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    stream, bfv = found["stream"].arrays, found["bfv"].arrays
    np.testing.assert_allclose(stream["weight"], bfv["weight"], atol=1e-4)


def test_what_is_cancelled_frees_the_nodes(li: Asker, endless: Path) -> None:
    """Two workers compute at once at a node: two endless ones would keep every other out."""
    asked = {"table": "heart", "columns": ["sex"], "purpose": "research", "rounds": 1}
    zeros = {"values": np.zeros(4, dtype=np.float32)}
    runs = [
        li.fed.start_training(endless, FedAvg(), initial=zeros, round_timeout_s=600, **asked)
        for _ in range(2)
    ]
    deadline = time.monotonic() + 30
    while sum(job.state is State.RUNNING for job in li.fed.jobs(limit=2)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(3)  # the workers have started
    for run in runs:
        run.cancel()
    started = time.monotonic()
    assert probe(li, num_server_rounds=1).metrics["nodes"].tolist() == [3]
    assert time.monotonic() - started < 20


def test_the_coordinator_holds_no_weight(live: Live, li: Asker) -> None:
    first = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    asked = {"table": "heart", "columns": ["sex"], "purpose": "research", "rounds": 3}
    coordinator = live._children["coordinator"].pid
    seen = {"memory": False, "here": False}
    with li.fed.start_training(APP, FedAvg(), initial={"values": first}, **asked) as run:
        for report in run:
            needles = [(first + np.float32(added))[300:304].tobytes() for added in range(4)]
            seen["memory"] |= any(occurs_in_memory(coordinator, needle) for needle in needles[:1])
            assert report.examples == 220
        result = run.result()
    # The means are quantised: look for what was computed exactly, and for the result itself.
    needles = [first[300:304].tobytes(), result.arrays["values"][300:304].tobytes()]
    for needle in needles:
        assert not occurs_in_memory(coordinator, needle)
        assert not occurs_in_files(live.directory("coordinator"), needle)
    assert not seen["memory"]
    # The search finds what is there: this process holds the model.
    assert occurs_in_memory(os.getpid(), needles[0])
