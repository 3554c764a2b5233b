"""Policies that do not validate keep a party from starting; one that fails in use denies."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest
from builders.asker import Asker
from builders.live import PERMIT, Live, node_uri
from builders.tables import declared, patients
from yumen_core.errors import Denied, StateError
from yumen_core.identity import Role
from yumen_core.log import Act
from yumen_node.service import init_node

SQL = "SELECT sex, COUNT(*) AS n FROM heart GROUP BY sex"
OVERFLOWS = """
@id("overflows")
@reason_code("never_seen")
@remedy("ask for less")
forbid (principal, action, resource)
when { context.participants * 9223372036854775807 * 9 == 1 };
"""
# The lint refuses arithmetic because it can fail in use. What follows if it had a gap?
WITHOUT_LINT = (
    *(sys.executable, "-P", "-c"),
    "import yumen_core.policy.engine as engine\n"
    "engine.lint = lambda texts, schema: ()\n"
    "import runpy\n"
    "runpy.run_module('yumen_cli', run_name='__main__', alter_sys=True)",
)
# Rows that four nodes have answered for are never answered for by three of them.
OF_THREE = SQL.replace("heart", "apart")
TABLES = ("heart", "apart")
INVALID = [
    (PERMIT.replace("principal.federation", "principal.country"), "`country`"),
    (OVERFLOWS, "policy `overflows`"),
    (PERMIT.replace("members", "mem\u202ebers"), "policy file `own.cedar`"),
]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("policy")
    nodes = {
        name: [declared(root / "given" / name, table, patients(30, 40)) for table in TABLES]
        for name in "abcd"
    }
    with Live(root, nodes, programs={"d": WITHOUT_LINT}) as running:
        yield running


@pytest.mark.parametrize(
    ("party", "texts"),
    [("a", INVALID), pytest.param("coordinator", INVALID[1:2], marks=pytest.mark.slow)],
)
def test_a_policy_that_does_not_validate_stops_the_start(
    live: Live, li: Asker, party: str, texts: list[tuple[str, str]]
) -> None:
    """And leaves everything as it was: with the old file the party starts and answers."""
    file = live.directory(party) / "policies" / "own.cedar"
    good = file.read_text(encoding="utf-8")
    live.kill(party)
    for text, words in texts:
        file.write_text(text, encoding="utf-8")
        child = live.spawn(party)
        with pytest.raises(StateError) as caught:
            child.events_until_ready(30)
        assert child.wait_stopped(time.monotonic() + 30)
        assert child._process.returncode == 2
        assert caught.value.code == "policy_invalid"
        assert words in caught.value.message
        assert "Traceback" not in live.log_text(party)
    file.write_text(good, encoding="utf-8")
    live.start_again(party)
    li.reach()
    live.wait_connected(li.client, "a", "b", "c", "d")
    result = li.fed.query(SQL, purpose="research")
    assert {row["sex"]: row["n"] for row in result} == {"f": 120, "m": 160}


def test_a_policy_that_does_not_validate_stops_the_enrolment(live: Live) -> None:
    """Before the token is spent: the operator corrects the file and enrols with the same one."""
    file = live.root / "given" / "bad.cedar"
    file.write_text(OVERFLOWS, encoding="utf-8")
    token = live.token(Role.NODE, "new")
    table = live.root / "given" / "a" / "heart.yaml"
    folder = live.root / "new"
    with pytest.raises(StateError) as caught:
        init_node(folder, coordinator=live.address, token=token, tables=[table], policies=[file])
    assert caught.value.code == "policy_invalid"
    assert not folder.exists()
    file.write_text(PERMIT, encoding="utf-8")
    made = init_node(folder, coordinator=live.address, token=token, tables=[table], policies=[file])
    assert made.uri == node_uri("new")


def test_a_policy_that_fails_in_use_denies(live: Live, li: Asker) -> None:
    """Cedar skips a forbid that fails, and the permit alone would allow: the node must not."""
    file = live.directory("d") / "policies" / "own.cedar"
    good = file.read_text(encoding="utf-8")
    file.write_text(good + OVERFLOWS, encoding="utf-8")
    live.kill("d")
    live.start_again("d")
    live.wait_connected(li.client, "a", "b", "c", "d")
    before = _acts(live, "d", Act.CONTRIBUTION)
    with pytest.raises(Denied) as caught:
        li.fed.query(SQL, purpose="research")
    (denial,) = caught.value.denials
    assert (denial.node, denial.reason_code) == (node_uri("d"), "policy_error")
    result = li.fed.query(OF_THREE, purpose="research", min_nodes=3)
    assert {row["sex"]: (row["n"], row["_nodes"]) for row in result} == {
        "f": (90, 3),
        "m": (120, 3),
    }
    (out,) = result.excluded
    assert (out.node, out.reason) == (node_uri("d"), denial.message)
    assert "a policy failed while deciding on job" in live.log_text("d")
    decisions = [entry for entry in live.entries("d") if entry.act is Act.DECISION]
    assert [entry.detail["accepted"] for entry in decisions[-2:]] == [False, False]
    assert _acts(live, "d", Act.CONTRIBUTION) == before


def _acts(live: Live, name: str, act: Act) -> int:
    return sum(entry.act is act for entry in live.entries(name))
