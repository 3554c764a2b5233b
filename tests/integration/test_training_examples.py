"""The training examples as a user runs them, and Flower's kinds of apps over a federation."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yumen
from builders.flower_examples.iris import COLUMNS, SCHEMA, iris
from yumen.federation import Federation

EXAMPLES = Path(__file__).parents[2] / "examples"
APPS = Path(__file__).parents[1] / "builders" / "flower_examples"
NAMES = ("pytorch_iris", "sklearn_iris", "legacy_iris")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)  # where apps save their models


@pytest.fixture(scope="module")
def fed() -> Iterator[Federation]:
    approve = [APPS / name for name in NAMES]
    with yumen.local_federation(iris(), table="iris", schema=SCHEMA, approve=approve) as running:
        yield running


@pytest.mark.parametrize(
    ("app", "suite", "accuracy"),
    [
        pytest.param("pytorch_iris", "stream", "evaluate_eval_acc", marks=pytest.mark.slow),
        ("sklearn_iris", "bfv", "evaluate_accuracy"),
        pytest.param("legacy_iris", "stream", "evaluate_accuracy", marks=pytest.mark.slow),
    ],
)
def test_an_app_of_flowers_kind(fed: Federation, app: str, suite: str, accuracy: str) -> None:
    """A PyTorch app and a scikit-learn app of messages, and one of NumPyClient and `server_fn`."""
    result = fed.run(APPS / app, table="iris", columns=COLUMNS, purpose="research", suite=suite)
    assert result.metrics[accuracy].iloc[-1] > 0.8
    assert result.metrics["nodes"].tolist() == [3] * len(result.metrics)


def printed(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    path = EXAMPLES / script
    monkeypatch.delitem(sys.modules, "data", raising=False)
    monkeypatch.syspath_prepend(str(path.parent))
    names = runpy.run_path(str(path))
    capsys.readouterr()
    names["main"]()
    return capsys.readouterr().out


def right(out: str, label: str) -> int:
    line = next(line for line in out.splitlines() if line.startswith(label))
    return int(line.removeprefix(label).split()[0])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_hospitals_train_is_as_good_as_pooled_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed("hospitals/train.py", monkeypatch, capsys)
    assert "486 training rows, 254 test rows" in out
    federated, pooled = right(out, "four hospitals"), right(out, "pooled rows, 50 steps")
    assert federated / 254 >= 0.785
    assert abs(federated - pooled) <= 1  # one patient


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_digits_is_as_good_as_pooled_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed("digits/train.py", monkeypatch, capsys)
    assert "1341 training rows, 456 test rows" in out
    apart, pooled = (
        float(line.split()[-1].removesuffix("%"))
        for line in out.splitlines()
        if line.startswith(("five offices", "pooled rows"))
    )
    assert pooled > 97
    assert abs(apart - pooled) <= 1  # point
