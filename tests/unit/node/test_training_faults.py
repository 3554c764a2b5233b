"""What a job is told of a fault, and what it is never told."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from yumen_core.rpc.v1 import training_pb2
from yumen_core.training.records import Action
from yumen_node.training.faults import Ended, absent_error, fault_error
from yumen_node.training.limits import TrainingLimits

LIMITS = TrainingLimits()


def said(kind: str, subject: str = "", action: Action | None = Action.TRAIN) -> str:
    fault = training_pb2.SandboxFault(kind=kind, subject=subject)
    return fault_error(fault, action).message


TRAIN, QUERY, EVALUATE = Action.TRAIN, Action.QUERY, Action.EVALUATE


@pytest.mark.parametrize(
    ("kind", "subject", "action", "does", "got"),
    [
        ("missing_module", "sklearn", None, "be loaded", "a fault"),
        ("import", "", None, "be loaded", "an error in its import"),
        ("no_handler", "", None, "be loaded", "no ClientApp where its project file says"),
        ("no_handler", "", QUERY, "answer `query`", "no handler of it"),
        ("exception", "", TRAIN, "answer `train`", "an error raised in it"),
        ("exception", "MemoryError", TRAIN, "answer `train`", "an error raised in it"),
        ("exception", "row 42", TRAIN, "answer `train`", "an error raised in it"),
        (
            *("reply", "", EVALUATE, "answer `evaluate`"),
            "something else than records of arrays and numbers",
        ),
        ("row 42", "", TRAIN, "answer `train`", "a fault"),
    ],
)
def test_words(kind: str, subject: str, action: Action | None, does: str, got: str) -> None:
    assert said(kind, subject, action) == f"expected the app to {does}, got {got}"


def test_a_missing_package_is_named() -> None:
    error = absent_error("sklearn")
    assert error.message == "expected the package `sklearn` at this node, got none"
    assert error.code == "training"


KINDS = ["import", "missing_module", "no_handler", "exception", "reply"]


@given(st.sampled_from(KINDS) | st.text(max_size=40), st.text(max_size=40))
def test_the_subject_is_never_said(kind: str, subject: str) -> None:
    for action in (None, TRAIN):
        assert said(kind, subject, action) == said(kind, "", action)


@pytest.mark.parametrize("why", list(Ended))
def test_every_end_has_a_sentence(why: Ended) -> None:
    error = why.error(LIMITS)
    assert error.message.startswith("expected ")
    assert error.code == ("deadline" if why is Ended.DEADLINE else "training")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (0, Ended.DIED),
        (1, Ended.DIED),
        (-signal.SIGXCPU, Ended.CPU),
        (128 + signal.SIGXCPU, Ended.CPU),
        (-signal.SIGSYS, Ended.FORBIDDEN),
        (128 + signal.SIGSYS, Ended.FORBIDDEN),
        (137, Ended.DIED),
    ],
)
def test_ends_by_exit_status(code: int, why: Ended) -> None:
    assert Ended.of_status(code) is why


class TestLimits:
    def test_sizes(self) -> None:
        limits = TrainingLimits(memory="3GB", disk="10MB")
        assert (limits.memory_bytes, limits.disk_bytes) == (3 << 30, 10 << 20)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"memory": "2"},
            {"memory": "0GB"},
            {"disk": "1TB"},
            {"cpu_s": 0},
            {"wall_s": 0},
            {"processes": 1},
            {"parallel": 0},
            {"network": True},
        ],
    )
    def test_wrong_ones_are_refused(self, wrong: dict[str, object]) -> None:
        with pytest.raises(ValidationError):
            TrainingLimits.model_validate(wrong)
