import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yumen_core.clock import ManualClock
from yumen_core.errors import PeerError
from yumen_core.jobs.job_id import check_job_id, new_job_id


@given(st.integers(0, (1 << 48) - 1))
def test_an_id_is_a_uuid7_that_holds_its_time(now_ms: int) -> None:
    text = check_job_id(new_job_id(ManualClock(now_ms)))
    made = uuid.UUID(text)
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == now_ms


def test_ids_sort_by_time_and_differ_within_it() -> None:
    clock = ManualClock()
    first = [new_job_id(clock) for _ in range(50)]
    clock.advance(1)
    second = [new_job_id(clock) for _ in range(50)]
    assert len({*first, *second}) == 100
    assert max(first) < min(second)


GOOD = "01980d2c-7000-7abc-8def-0123456789ab"


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD.upper(),
        GOOD.replace("-", ""),
        GOOD + "\n",
        " " + GOOD,
        f"{{{GOOD}}}",
        GOOD.replace("7abc", "4abc"),
        GOOD.replace("8def", "cdef"),
        GOOD.replace("0", "٠"),
        "x" * 10_000,
    ],
)
def test_other_texts_are_no_ids(text: str) -> None:
    with pytest.raises(PeerError) as caught:
        check_job_id(text)
    assert caught.value.message == f"expected a job id that is a UUIDv7, got `{text[:64]}`"
