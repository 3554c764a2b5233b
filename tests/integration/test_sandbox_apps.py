"""Apps and ready models at work in the real sandbox, and apps that cannot work."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders.apps import bundle_of
from flwr.app import Message, RecordDict
from flwr.common import FitIns, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.compat.common.recorddict_compat import fitins_to_recorddict, recorddict_to_fitres
from flwr.supercore.task_identity import TaskIdentity
from yumen_core.canonical import Json
from yumen_core.errors import StateError
from yumen_core.training import models
from yumen_core.training.models import Number, ReadyModel, Target
from yumen_core.training.records import Action, Arrays, Config, Metrics, Record
from yumen_node.training import sandbox
from yumen_node.training.flower import from_flower, to_flower
from yumen_node.training.launching import Program
from yumen_node.training.limits import TrainingLimits
from yumen_node.training.probe import probe
from yumen_node.training.trainer import Trainer

LIMITS = TrainingLimits(memory="1GB", disk="16MB", threads=1)
WEIGHTS = {"arrays": Arrays({"w": np.arange(6, dtype=np.float32).reshape(2, 3)})}
MODEL = ReadyModel("linear", (Number("a"),), Target("b"))


def _refused() -> str:
    try:
        probe()
    except StateError as fault:
        return str(fault)
    return ""


REFUSED = _refused()
needs_sandbox = pytest.mark.skipif(bool(REFUSED), reason=f"no sandbox here: {REFUSED}")


class Site:
    def __init__(self, folder: Path) -> None:
        self.records: list[tuple[str, str, dict[str, Json]]] = []
        self.rows = folder / "rows.parquet"
        pq.write_table(pa.table({"a": [1.0, 2.0, 3.0], "b": [2.0, 4.0, 6.0]}), self.rows)
        self.trainer = Trainer(LIMITS, folder / "t", lambda *entry: self.records.append(entry))

    def ask(
        self,
        program: Program,
        records: Mapping[str, Record],
        action: Action = Action.TRAIN,
        job: str = "job",
        run_config: Mapping[str, float] | None = None,
    ) -> dict[str, Record]:
        step = self.trainer.step(
            *(job, program, self.rows, action, records), timeout_s=60, run_config=run_config
        )
        return asyncio.run(step)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.trainer.close()


def tensor(answer: Mapping[str, Record], key: str = "arrays", name: str = "w") -> np.ndarray:
    record = answer[key]
    assert isinstance(record, Arrays)
    return record.tensors[name]


@needs_sandbox
class TestApps:
    def test_an_app_reads_its_rows_and_keeps_its_state(self, site: Site) -> None:
        first = site.ask(bundle_of("good"), WEIGHTS)
        assert tensor(first).tolist() == [[0.5, 1.5, 2.5], [3.5, 4.5, 5.5]]
        assert tensor(first).dtype == np.float32
        assert first["metrics"] == Metrics({"num-examples": 3, "asked": 1, "loss": 0.25})
        second = site.ask(bundle_of("good"), WEIGHTS)
        assert second["metrics"] == Metrics({"num-examples": 3, "asked": 2, "loss": 0.25})
        evaluated = site.ask(bundle_of("good"), {}, Action.EVALUATE)
        assert evaluated["metrics"] == Metrics({"num-examples": 3, "accuracy": 0.75})
        assert site.records == []

    def test_the_jobs_config_reaches_it(self, site: Site) -> None:
        answer = site.ask(bundle_of("good"), WEIGHTS, run_config={"rate": 2.0})
        assert tensor(answer).tolist() == [[2, 3, 4], [5, 6, 7]]

    def test_two_jobs_have_a_state_each(self, site: Site) -> None:
        for job in ("one", "two"):
            answer = site.ask(bundle_of("good"), WEIGHTS, job=job)
            metrics = answer["metrics"]
            assert isinstance(metrics, Metrics)
            assert metrics.scalars["asked"] == 1

    def test_an_app_of_the_older_form_gets_the_strategys_own_records(self, site: Site) -> None:
        weights = [np.arange(6, dtype=np.float32).reshape(2, 3)]
        asked = fitins_to_recorddict(
            FitIns(ndarrays_to_parameters(weights), {"step": 2.0}), keep_input=True
        )
        answer = site.ask(bundle_of("legacy"), from_flower(asked))
        result = recorddict_to_fitres(to_flower(answer), keep_input=True)
        (changed,) = parameters_to_ndarrays(result.parameters)
        assert changed.tolist() == [[2, 3, 4], [5, 6, 7]]
        assert (result.num_examples, result.metrics) == (7, {"loss": 0.5})

    def test_an_older_app_answers_no_query(self, site: Site) -> None:
        with pytest.raises(StateError, match="expected the app to answer `query`, got no handler"):
            site.ask(bundle_of("legacy"), WEIGHTS, Action.QUERY)


@needs_sandbox
class TestBroken:
    @pytest.mark.parametrize(
        ("app", "message"),
        [
            ("bad_import", "expected the app to be loaded, got an error in its import"),
            (
                "missing_package",
                "expected the package `package_that_nobody_has` at this node, got none",
            ),
            (
                "not_an_app",
                "expected the app to be loaded, got no ClientApp where its project file says",
            ),
        ],
    )
    def test_an_app_that_does_not_load(self, site: Site, app: str, message: str) -> None:
        for _ in range(2):
            with pytest.raises(StateError) as caught:
                site.ask(bundle_of(app), WEIGHTS)
            assert caught.value.message == message
            assert caught.value.code == "training"

    def test_an_action_without_a_handler(self, site: Site) -> None:
        with pytest.raises(StateError, match="expected the app to answer `query`, got no handler"):
            site.ask(bundle_of("good"), WEIGHTS, Action.QUERY)


class TestReadyModels:
    def check(self, site: Site) -> None:
        base = models.initial(MODEL)
        answer = site.ask(MODEL, {"arrays": Arrays(base), "config": Config({})})
        record = answer["arrays"]
        assert isinstance(record, Arrays)
        assert list(record.tensors) == list(base)
        assert any(np.any(record.tensors[name] != base[name]) for name in base)
        metrics = answer["metrics"]
        assert isinstance(metrics, Metrics)
        assert metrics.scalars["num-examples"] == 3

    @needs_sandbox
    def test_one_is_trained_in_the_sandbox(self, site: Site) -> None:
        self.check(site)
        assert site.records == []

    def test_one_is_trained_where_no_sandbox_stands(
        self, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sandbox, "_BINARY", "no-such-program")
        self.check(site)
        with pytest.raises(StateError) as caught:
            site.ask(bundle_of("good"), WEIGHTS, job="other")
        assert str(caught.value) == (
            "expected the program `bwrap`, got none; install the package `bubblewrap`"
        )


class TestProbe:
    def test_a_refusing_bubblewrap_is_quoted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake = tmp_path / "bwrap"
        fake.write_text("#!/bin/sh\necho 'bwrap: uid map: Permission denied' >&2\nexit 1")
        fake.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        with pytest.raises(StateError) as caught:
            probe()
        assert caught.value.code == "sandbox"
        assert "got `bwrap: uid map: Permission denied`" in str(caught.value)

    @pytest.mark.parametrize(
        ("switch", "value", "remedy"),
        [
            ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
            ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
            ("kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor profile for bwrap"),
        ],
    )
    def test_a_switch_of_the_kernel_is_named(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        switch: str,
        value: str,
        remedy: str,
    ) -> None:
        file = tmp_path / switch
        file.parent.mkdir(parents=True)
        file.write_text(f"{value}\n")
        monkeypatch.setattr(sandbox, "_PROC", tmp_path)
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        fault = sandbox.refused("bwrap: no permissions")
        assert f"got `{switch.replace('/', '.')}` at {value}" in fault.message
        assert remedy in fault.remedy


def test_records_pass_through_flowers_form() -> None:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    records: dict[str, Record] = {
        "a": Arrays({"w": np.ones((2, 2), np.float16), "n": np.array([True, False])}),
        "m": Metrics({"x": 1, "y": [0.5, 1.5]}),
        "c": Config({"t": "text", "b": b"\x00", "f": True, "l": ["a", "b"]}),
    }
    message = Message(to_flower(records), 2, "train")
    assert isinstance(message.content, RecordDict)
    back = from_flower(message.content)
    assert list(back) == ["a", "m", "c"]
    assert tensor(back, "a").dtype == np.float16
    assert tensor(back, "a", "n").tolist() == [True, False]
    assert (back["m"], back["c"]) == (records["m"], records["c"])
