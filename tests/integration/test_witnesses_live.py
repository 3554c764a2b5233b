"""Real nodes cosign each other's log and the coordinator's; a log restored from a backup is
noticed by those who cosigned it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from builders.asker import Asker
from builders.live import Live
from builders.tables import declared, patients
from yumen.receipt import result_digest
from yumen_cli.main import main
from yumen_core.errors import CallError, PeerError
from yumen_core.log import Act, Entry, Verifier
from yumen_core.log.cosign import WitnessVerifier, open_cosigned
from yumen_node.operators import this_person

SQL = "SELECT sex, COUNT(*) AS n FROM heart GROUP BY sex"
FAST = {"cosign_interval_s": 0.2}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("witnesses")
    nodes = {name: [declared(root / "given" / name, "heart", patients(30, 40))] for name in "abc"}
    with Live(root, nodes, settings=FAST, node_settings=FAST) as running:
        yield running


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def cosigned(live: Live, li: Asker, name: str) -> tuple[int, int]:
    """The size of a party's cosigned checkpoint and how many good cosignatures it has."""
    log = live.directory(name) / "log"
    if not (log / "checkpoint.cosigned").exists():
        return 0, 0
    described = [signed.descriptor for signed, _ in li.client.catalogue()]
    witnesses = [WitnessVerifier.parse(one.witness_key) for one in described]
    key = Verifier.parse((log / "log.vkey").read_text().strip())
    note = (log / "checkpoint.cosigned").read_bytes()
    checkpoint, times = open_cosigned(note, key, witnesses)
    return checkpoint.size, len(times)


def by_two(live: Live, li: Asker, name: str) -> bool:
    return cosigned(live, li, name)[1] >= 2


def refusals(live: Live, name: str) -> list[Entry]:
    found = [entry for entry in live.entries(name) if entry.act is Act.WITNESS]
    return [entry for entry in found if entry.detail["what"] == "refusal"]


def test_every_log_is_cosigned_by_two_others(live: Live, li: Asker) -> None:
    li.fed.query(SQL, purpose="research")
    for name in ("a", "b", "c", "coordinator"):
        until(partial(by_two, live, li, name), f"{name} is not cosigned")
    assert all(refusals(live, name) == [] for name in "abc")


def test_receipts_verify_without_any_connection(
    live: Live, li: Asker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = li.fed.query(SQL, purpose="research")
    described = li.fed.table("heart", purpose="research").describe(["age"])
    authority = live.root / "user-li" / "authority.pem"
    for result, what in ((found, "query"), (described, "statistic")):
        file = li.fed.save_receipt(result, tmp_path / f"{what}.json")
        assert main(["receipt", "verify", str(file), "--authority", str(authority), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        (job,) = told["jobs"]
        assert (job["operation"], job["purpose"], job["min_nodes"]) == (what, "research", 3)
        assert [part["node"] for part in job["participants"]] == list(found.participants)
        assert told["requester"] == li.me.uri
        assert told["word_of_the_requester"]["result"] == vars(result_digest(result))
        for part in job["participants"]:
            name = part["node"].rsplit("/", 1)[-1]
            entry = live.entries(name)[part["log_index"]]
            assert (entry.act, entry.subject["job"]) == (Act.DECISION, job["job"])
    with pytest.raises(CallError, match="which exists"):
        li.fed.save_receipt(found, tmp_path / "query.json")


def operators(live: Live, name: str) -> list[tuple[object, str]]:
    found = [entry for entry in live.entries(name) if entry.act is Act.OPERATOR]
    return [(entry.detail["what"], entry.subject["operator"]) for entry in found]


def test_what_an_operator_looks_at_is_in_the_log(live: Live, li: Asker) -> None:
    """Of a node that runs soon, of one that is down at its next start."""
    who = this_person()[0]
    assert main(["node", "approvals", str(live.directory("a"))]) == 0
    until(lambda: operators(live, "a") == [("view_approvals", who)], "the view is not in the log")
    live.kill("a")
    assert main(["audit", "show", str(live.directory("a") / "log")]) == 0
    assert main(["node", "quality", str(live.directory("a"))]) == 0
    live.start_again("a")
    live.wait_connected(li.client, "a")
    assert [what for what, _ in operators(live, "a")] == [
        "view_approvals", "view_log", "view_quality"
    ]  # fmt: skip


def test_a_log_restored_from_a_backup_is_noticed(live: Live, li: Asker, tmp_path: Path) -> None:
    """With its guard: nothing at the node itself tells that it is an old one."""
    li.fed.query(SQL, purpose="research")  # in which the nodes meet
    until(lambda: cosigned(live, li, "a")[1] == 2, "the log of a is not cosigned")
    live.kill("a")
    for folder in ("log", "secrets"):
        shutil.copytree(live.directory("a") / folder, tmp_path / folder)
    live.start_again("a")
    live.wait_connected(li.client, "a")
    li.fed.query(SQL, purpose="research")
    size, _ = cosigned(live, li, "a")
    until(lambda: cosigned(live, li, "a")[0] > size, "the log of a has not grown")
    live.kill("a")
    for folder in ("log", "secrets"):
        shutil.rmtree(live.directory("a") / folder)
        shutil.copytree(tmp_path / folder, live.directory("a") / folder)
    live.start_again("a")
    live.wait_connected(li.client, "a")
    for _ in range(3):
        try:
            li.fed.query(SQL, purpose="research")
        except PeerError:
            time.sleep(0.2)
    until(lambda: bool(refusals(live, "b")), "b has not noticed the fork")
    assert refusals(live, "b")[0].detail["code"] == "log_fork"
    evidence = live.directory("b") / "log" / "evidence"
    assert len(list(evidence.glob("*.checkpoint"))) >= 2
    told = [entry for entry in live.entries("a") if entry.act is Act.WITNESS]
    assert any(entry.detail["what"] == "refused" for entry in told)
