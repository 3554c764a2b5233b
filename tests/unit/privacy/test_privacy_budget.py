"""Costs in millionths of rho, and what people read them as."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yumen_core.errors import CallError
from yumen_core.privacy import Privacy, epsilon_of, rho_of
from yumen_core.privacy.budget import MAX_MICRO_RHO


def test_by_hand() -> None:
    # rho + 2 sqrt(rho ln 1e6), Bun and Steinke, proposition 1.3
    assert epsilon_of(1_000_000) == pytest.approx(1 + 2 * math.sqrt(math.log(1e6)))
    assert epsilon_of(500_000, "1e-5") == pytest.approx(0.5 + 2 * math.sqrt(0.5 * math.log(1e5)))


@given(
    epsilon=st.floats(0.02, 200),
    delta=st.sampled_from(["1e-1", "1e-3", "1e-6", "1e-12", "1e-20"]),
)
def test_a_cost_is_the_largest_that_keeps_its_epsilon(epsilon: float, delta: str) -> None:
    cost = rho_of(epsilon, delta)
    assert epsilon_of(cost, delta) <= epsilon * (1 + 1e-12)
    assert epsilon_of(cost + 1, delta) > epsilon * (1 - 1e-12)


@given(costs=st.lists(st.integers(1, 10**6), min_size=2, max_size=5))
def test_costs_add_up_and_epsilons_do_not(costs: list[int]) -> None:
    assert epsilon_of(sum(costs)) < sum(map(epsilon_of, costs))


@pytest.mark.parametrize("epsilon", [0, -1, math.inf, math.nan, "1", None])
def test_what_is_no_epsilon(epsilon: object) -> None:
    with pytest.raises(CallError) as caught:
        rho_of(epsilon)  # type: ignore[arg-type]
    assert caught.value.message == f"expected an epsilon above zero, got `{epsilon}`"


def test_an_epsilon_too_small_to_count() -> None:
    with pytest.raises(CallError) as caught:
        rho_of(1e-3)
    assert caught.value.message == "expected an epsilon that noise can give, got `0.001`"


@pytest.mark.parametrize("delta", ["0", "1e-6 ", "1e-06", "1e-21", "0.01", "", 1e-6])
def test_what_is_no_delta(delta: object) -> None:
    with pytest.raises(CallError) as caught:
        Privacy(1000, delta)  # type: ignore[arg-type]
    assert caught.value.message == f"expected a delta such as `1e-6`, got `{delta}`"


@pytest.mark.parametrize("micro_rho", [0, -1, MAX_MICRO_RHO + 1])
def test_a_cost_out_of_range(micro_rho: int) -> None:
    with pytest.raises(CallError) as caught:
        Privacy(micro_rho)
    assert f"got {micro_rho}" in caught.value.message


def test_from_an_epsilon() -> None:
    asked = Privacy.of_epsilon(1.0)
    assert (asked.micro_rho, asked.delta) == (17_468, "1e-6")
    assert asked.epsilon == pytest.approx(1.0, rel=1e-4)
