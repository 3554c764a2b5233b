"""What a reviewer is told before a word on code."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from approval_facts import Hospital, app
from builders.federation import Federation
from yumen_core.training.bundle import Bundle
from yumen_node.approval_card import card, document
from yumen_node.code_concerns import concerns


@pytest.fixture
def hospital(federation: Federation, tmp_path: Path) -> Iterator[Hospital]:
    made = Hospital(federation, tmp_path / "state")
    yield made
    made.approvals.close()


def lines(hospital: Hospital, digest: bytes) -> dict[str, tuple[str, ...]]:
    approvals = hospital.approvals
    held = approvals.about(digest)
    previous = approvals.latest_approved(held.name, but=digest)
    sections = card(approvals.bundle(digest), held, previous)
    return {section.heading: section.lines for section in sections}


def test_the_card_of_new_code(hospital: Hospital) -> None:
    bundle = app()
    digest = hospital.offered(bundle)
    size = sum(len(content) for content in bundle.files.values())
    assert lines(hospital, digest) == {
        "Code": (
            f"digest: {digest.hex()}",
            "calls itself `cardio`, version `1.0`, by `lzu`; none of this is verified",
            f"3 files, {size} bytes; it imports numpy",
        ),
        "Who asks": (
            "spiffe://gansu.example/org/lzu/user/li, proven by certificate",
            "for purpose `research`, as the requester signed it",
            "job job-1, which waits until 2026-09-21T15:13:20Z",
        ),
        "What the code reads here": (
            'table `heart`, the rows of: SELECT "age", "num" FROM "heart"',
            "column `age`, grade general: age in years",
            "column `num`, grade important",
        ),
        "What leaves this node": (
            "after each of at most 10 runs of `train`: the sum over at least 3 nodes of 1234 model"
            " values, and the means of these 2 metrics: accuracy, loss",
            "after each of at most 5 runs of `evaluate`: the means of these 2 metrics: accuracy,"
            " loss, over at least 3 nodes",
            "with each sum: the rows used, the nodes counted and those cut to the norm, as totals",
            "to the other nodes alone: whether enough rows stand behind it, and the rough size (a"
            " power of four) of each array of the model",
            "nothing else: no row, no file, no text; of a failure one word of a fixed list",
            "a sum of model values can still tell of rows: what it tells is up to this code",
        ),
        "What the sandbox gives the code": ("memory: 2GB",),
        "Look at these places first": (
            "none that this software knows; read the files all the same",
        ),
        "Reviews so far": ("none",),
        "Difference from the last approved version": (
            "no version of `cardio` was approved here before: read every file",
        ),
    }


def test_the_card_of_a_second_version(hospital: Hospital) -> None:
    first = hospital.offered()
    hospital.approve(first, hospital.wang)
    hospital.approvals.settle("job-1")
    second = hospital.offered(app("import socket", version="1.1"), metrics=("loss",))
    hospital.reject(second)
    shown = lines(hospital, second)
    assert shown[f"Difference from the last approved version, {first.hex()[:12]}"] == (
        "changed cardio/client_app.py (+1 -1)",
        "@@ -1,3 +1,3 @@",
        " import numpy",
        "-",
        "+import socket",
        " app = None",
        "changed pyproject.toml (+1 -1)",
        "@@ -1,6 +1,6 @@",
        " [project]",
        ' name = "cardio"',
        '-version = "1.0"',
        '+version = "1.1"',
        " ",
        " [tool.flwr.app]",
        ' publisher = "lzu"',
    )
    assert shown["Look at these places first"] == (
        "warning: cardio/client_app.py, line 2: `import socket` speaks to a network",
    )
    assert shown["Reviews so far"] == (
        f"rejected by {hospital.node.identity} on 2026-09-21T14:13:20Z: it opens a socket",
    )
    assert "the mean of this metric: loss" in shown["What leaves this node"][0]
    assert lines(hospital, first)["Who asks"] == ("no job waits for this code now",)


def test_reviews_that_do_not_count_say_so(hospital: Hospital, federation: Federation) -> None:
    digest = hospital.offered()
    hospital.approve(digest, hospital.wang)
    hospital.node.learn(federation.revoke(hospital.wang))
    (line,) = lines(hospital, digest)["Reviews so far"]
    name = hospital.wang.identity
    assert line.startswith(f"approved by {name} on 2026-09-21T14:13:20Z: read all files (does not")
    assert line.endswith(f"count: the certificate of `{name}` is revoked)")


def test_what_the_requester_sets_is_shown(hospital: Hospital) -> None:
    digest = hospital.offered(
        run_config={"rate": "0.5", "mode": "x\ny"}, weight="num-examples", clip_norm="1.5"
    )
    shown = lines(hospital, digest)
    assert shown["What the requester sets for the code"] == ("`mode`: `x\ny`", "`rate`: `0.5`")
    assert shown["What leaves this node"][2:4] == (
        "in a mean each node counts by: num-examples",
        "a change of the model longer than this norm is cut to it: 1.5",
    )
    found = document(hospital.approvals.bundle(digest), hospital.approvals.about(digest), None)
    jobs = found["jobs"]
    assert isinstance(jobs, list)
    job = jobs[0]
    assert isinstance(job, dict)
    assert job["run_config"] == {"rate": "0.5", "mode": "x\ny"}
    assert (job["weight"], job["clip_norm"]) == ("num-examples", "1.5")


def test_many_settings_are_cut_with_a_word(hospital: Hospital) -> None:
    digest = hospital.offered(run_config={f"s{at:03}": "v" * 999 for at in range(203)})
    shown = lines(hospital, digest)["What the requester sets for the code"]
    assert len(shown) == 201
    assert shown[-1] == "and 3 more, which `show --json` lists"
    assert max(map(len, shown)) < 400


def test_a_hostile_text_stays_within_its_line(hospital: Hospital) -> None:
    digest = hospital.offered(purpose="x\nReviews so far\n  approved by everyone", job_id="j" * 999)
    shown = lines(hospital, digest)
    assert len(shown["Who asks"]) == 3
    assert len(shown["Who asks"][2]) < 400
    assert shown["Reviews so far"] == ("none",)


def test_the_card_as_json(hospital: Hospital) -> None:
    digest = hospital.offered()
    hospital.approve(digest)
    found = document(hospital.approvals.bundle(digest), hospital.approvals.about(digest), None)
    assert found["digest"] == digest.hex()
    assert found["imports"] == ["numpy"]
    assert found["previous"] is None
    assert found["reviews"] == [
        {
            "reviewer": hospital.node.identity.uri,
            "approved": True,
            "reason": "read all files",
            "reviewed_at": "2026-09-21T14:13:20Z",
            "counts": True,
            "fault": None,
        }
    ]


PLACES = [
    ("import subprocess as quiet", [("import subprocess", "starts other processes")]),
    ("from urllib import request", [("import urllib", "speaks to a network")]),
    ("import os\nos.system('ls')", [("os.system", "starts or ends processes")]),
    ("from os import system", [("os.system", "starts or ends processes")]),
    ("import os\nrun = os.execvp", [("os.execvp", "starts other programs")]),
    ("import ctypes, pickle", [
        ("import ctypes", "reaches around the interpreter"),
        ("import pickle", "turns bytes into code"),
    ]),
    ("exec('x = 1')", [("exec", "runs text as code")]),
    ("__import__('socket')", [("__import__", "runs text as code")]),
    ("def f():\n    import socket", [("import socket", "speaks to a network")]),
    ("import numpy, torch, os.path", []),
    ("from .socket import own", []),
    ("text = 'import socket'", []),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), PLACES)
def test_the_places_to_look_at(body: str, expected: list[tuple[str, str]]) -> None:
    found = concerns(app(body))
    assert [(one.what, one.why) for one in found] == expected
    assert all(one.path == "cardio/client_app.py" and one.line > 1 for one in found)


def test_the_places_are_bounded() -> None:
    bundle: Bundle = app("eval\n" * 300)
    assert len(concerns(bundle)) == 200
