"""Which run may follow which, as every party derives it from the signed job."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yumen_core.errors import PeerError
from yumen_core.jobs.answer import AnswerShape
from yumen_core.jobs.runs import Runs, RunShape

ANSWER = AnswerShape(1, 1, ((40, False),))
SHAPES = (
    RunShape("first", 1, ANSWER, flags=2, settles=True),
    RunShape("newton", 3, ANSWER, flags=2, settles=True),
    RunShape("curve", 2, ANSWER, flags=1),
)
RUNS = Runs(SHAPES)
NAMES = ["first", "newton", "curve"]


def accepted(names: list[str]) -> bool:
    earlier: list[str] = []
    for name in names:
        try:
            RUNS.next(earlier, name)
        except PeerError:
            return False
        earlier.append(name)
    return True


@given(st.lists(st.sampled_from(NAMES), max_size=8))
def test_runs_are_the_ones_that_the_job_names(names: list[str]) -> None:
    places = [NAMES.index(name) for name in names]
    allowed = (
        (not names or names[0] == "first")
        and places == sorted(places)
        and all(names.count(shape.name) <= shape.at_most for shape in SHAPES)
    )
    assert accepted(names) == allowed


@pytest.mark.parametrize(
    ("earlier", "name", "message"),
    [
        ([], "newton", "expected the job's first round `first`, got `newton`"),
        (["first"], "other", "expected a round that the job names, got `other`"),
        (["first", "curve"], "newton", "expected a round after `curve`, got `newton`"),
        (["first"], "first", "expected at most 1 runs of `first`, got one more"),
        (["first", "newton", "newton", "newton"], "newton",
         "expected at most 3 runs of `newton`, got one more"),
    ],
)  # fmt: skip
def test_what_a_refusal_says(earlier: list[str], name: str, message: str) -> None:
    with pytest.raises(PeerError) as caught:
        RUNS.next(earlier, name)
    assert caught.value.message == message


def test_a_settled_round_has_its_support_step_once() -> None:
    newton, curve = SHAPES[1], SHAPES[2]
    assert newton.needs_support(["first"])
    assert not newton.needs_support(["first", "newton"])
    assert curve.needs_support(["first", "curve"])


def test_the_most_secure_sums_of_a_job() -> None:
    assert RUNS.most == 6
