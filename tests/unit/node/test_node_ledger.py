"""The ledger of privacy budgets: what is taken, spent and given back, also across a kill."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from yumen_core.errors import StateError
from yumen_core.jobs.descriptor import PublishedTable
from yumen_core.log.entry import Act, Entry
from yumen_core.privacy import Privacy
from yumen_node.ledger import Ledger


class Log:
    origin = "log"

    def __init__(self) -> None:
        self.moves: list[tuple[str, int]] = []
        self.held: list[bytes] = []
        self.read = 0

    def record(self, act: Act, *, subject: Any, detail: Any) -> int:
        assert act == "budget"
        self.moves.append((detail["move"], detail["micro_rho"]))
        self.held.append(Entry(0, act, subject, {}, detail).encode())
        return self.size

    @property
    def size(self) -> int:
        return len(self.held)

    def entries(self, start: int, end: int) -> list[bytes]:
        self.read = end - start
        return self.held[start:end]


TABLE = PublishedTable(
    schema=None, meaning="", grade="general", threshold=10, min_nodes=3,  # type: ignore[arg-type]
    micro_rho=1000, project_micro_rho=600,
)  # fmt: skip


def job(job_id: str, cost: int | None, project: str = "p") -> Any:
    privacy = None if cost is None else Privacy(cost)
    return SimpleNamespace(
        job_id=job_id, tables={"t": b""}, privacy=privacy, charged_project=f"org/{project}"
    )


def opened(
    folder: Path, table: PublishedTable = TABLE, log: Log | None = None
) -> tuple[Ledger, Log]:
    log = log or Log()
    ledger = Ledger(folder, {"t": table}, log, "node")  # type: ignore[arg-type]
    ledger.compare()
    ledger.begin()
    return ledger, log


@pytest.mark.parametrize(
    ("moves", "killed", "left"),
    [
        ((), False, 600),
        (("reserve",), False, 200),
        (("reserve",), True, 200),  # nobody knows what had left
        (("reserve", "end"), False, 600),
        (("reserve", "end"), True, 600),
        (("reserve", "commit"), False, 200),
        (("reserve", "commit", "end"), False, 200),
        (("reserve", "commit", "end"), True, 200),
        (("reserve", "killed", "end"), False, 200),
        (("reserve", "reserve"), False, 200),
        (("reserve", "killed", "reserve"), False, 200),
        (("commit", "end"), False, 600),
    ],
)
def test_what_is_left(tmp_path: Path, moves: tuple[str, ...], killed: bool, left: int) -> None:
    ledger, _ = opened(tmp_path)
    one = job("one", 400)
    for move in (*moves, *(["killed"] if killed else [])):
        if move == "killed":  # what was not closed must be there as well
            ledger, _ = opened(tmp_path)
        else:
            getattr(ledger, move)(one if move == "reserve" else "one")
    assert ledger.left(job("two", 1)) == {"t": left}


def test_two_jobs_cannot_take_the_same(tmp_path: Path) -> None:
    ledger, _ = opened(tmp_path)
    assert ledger.denials(job("one", 400)) == ledger.denials(job("two", 400)) == ()
    ledger.reserve(job("one", 400))
    (denial,) = ledger.denials(job("two", 400))
    assert denial.reason_code == "budget_exhausted"
    with pytest.raises(ValueError, match="does not pay"):
        ledger.reserve(job("two", 400))
    assert ledger.left(job("two", 1)) == {"t": 200}


def test_the_remedy_passes_and_the_table_bounds_all_projects(tmp_path: Path) -> None:
    ledger, _ = opened(tmp_path)
    ledger.reserve(job("one", 600, "p"))
    (denial,) = ledger.denials(job("two", 500, "q"))
    epsilon = float(denial.remedy.split("epsilon=")[1].split(",")[0])
    assert ledger.denials(job("two", Privacy.of_epsilon(epsilon).micro_rho, "q")) == ()
    (budget,) = ledger.budgets(job("two", 1, "q"))
    assert (budget.micro_rho, budget.project_micro_rho) == (400, 600)


def test_a_changed_limit_is_told_and_never_below_zero(tmp_path: Path) -> None:
    ledger, log = opened(tmp_path)
    ledger.reserve(job("one", 600))
    assert log.moves == [("limits", 1000), ("reserved", 600)]
    ledger, log = opened(tmp_path, replace(TABLE, micro_rho=100, project_micro_rho=100))
    assert log.moves == [("spent", 600), ("limits", 100)]
    (denial,) = ledger.denials(job("two", 1))
    assert denial.remedy == "nothing is left: ask the institution for more"
    assert ledger.left(job("two", 1)) == {"t": 0}


def test_demands(tmp_path: Path) -> None:
    ledger, _ = opened(tmp_path, replace(TABLE, private_only=True))
    assert [d.reason_code for d in ledger.denials(job("one", None))] == ["privacy_required"]
    ledger, _ = opened(tmp_path, replace(TABLE, micro_rho=0, project_micro_rho=0))
    (denial,) = ledger.denials(job("one", 1))
    assert denial.message == "expected a table with a privacy budget, got `t`, which has none"
    assert ledger.denials(job("one", None)) == ()


def test_an_older_ledger_does_not_refill_a_budget(tmp_path: Path) -> None:
    ledger, log = opened(tmp_path / "now")
    ledger.reserve(job("one", 100))
    ledger.commit("one")
    ledger.close()
    shutil.copytree(tmp_path / "now", tmp_path / "backup")
    ledger, log = opened(tmp_path / "now", log=log)
    ledger.reserve(job("two", 100))
    ledger.reserve(job("three", 100))
    ledger.end("three")
    ledger.close()
    for folder, fewer in (("backup", 1), ("lost", 2)):
        ledger = Ledger(tmp_path / folder, {"t": TABLE}, log, "node")  # type: ignore[arg-type]
        with pytest.raises(StateError) as refused:
            ledger.compare()
        assert refused.value.message == (
            "expected every cost that the log tells of in `budgets.sqlite`, "
            f"got {fewer} fewer: the file is an older copy, or was lost"
        )
        assert "put the latest `budgets.sqlite` back" in str(refused.value.remedy)
    ledger, log = opened(tmp_path / "now", log=log)
    assert ledger.left(job("four", 1)) == {"t": 400}
    ledger.close()
    opened(tmp_path / "now", log=log)
    assert log.read < log.size  # what was compared at an earlier start is not read again


@pytest.mark.parametrize("move", ["reserve", "commit", "end"])
def test_a_log_that_fails_leaves_no_ledger_that_says_less(tmp_path: Path, move: str) -> None:
    ledger, log = opened(tmp_path)
    one = job("one", 100)
    if move != "reserve":
        ledger.reserve(one)

    def fail(*_: object, **__: object) -> int:
        raise StateError("log_closed", "the disk is full")

    log.record = fail  # type: ignore[method-assign]
    with pytest.raises(StateError, match="the disk is full"):
        getattr(ledger, move)(one if move == "reserve" else "one")
    ledger.close()
    del log.record
    ledger, log = opened(tmp_path, log=log)
    assert ledger.left(job("two", 1)) == {"t": 500}
