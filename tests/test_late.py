"""Counting many together says what counting each says, soon enough and without end to what waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.domain import Receipt
from epp.telemetry import Telemetry
from epp.telemetry.late import TOGETHER, Late
from epp.telemetry.series import Distribution
from tests.make import fleet, pool

BOUNDS = (0.0, 0.5, 1.0, 2.0)


@given(st.lists(st.sampled_from(BOUNDS) | st.floats(-1.0, 3.0), max_size=40), st.floats(0.0, 3.0))
def test_many_values_fall_into_the_buckets_of_each(values: list[float], before: float) -> None:
    one_by_one, together = Distribution(BOUNDS), Distribution(BOUNDS)
    for distribution in (one_by_one, together):
        distribution.observe(before)
    for value in values:
        one_by_one.observe(value)
    together.observe_all([*values])

    assert together.counts == one_by_one.counts
    assert together.sum == pytest.approx(one_by_one.sum)


def test_what_waits_is_counted_in_its_order_before_it_grows() -> None:
    counted: list[list[int]] = []
    late = Late(counted.append)
    for number in range(2 * TOGETHER + 1):
        late.add(number)
    before = [*counted]
    late.settle()
    late.settle()

    assert before == [[*range(TOGETHER)], [*range(TOGETHER, 2 * TOGETHER)]]
    assert counted == [*before, [2 * TOGETHER]]


def test_a_request_that_ends_at_once_is_in_flight_before_it_is_over() -> None:
    telemetry = Telemetry(fleet(pool("a")))
    telemetry.ended(Receipt("none", "r", 0.0, "/v1", "m", outcome="bad_request"))  # so the ends are counted sooner
    for number in range(3 * TOGETHER):
        receipt = Receipt(f"{number}", "r", 0.0, "/v1", "m", picked="10.0.0.1:8000", model="m", outcome="completed")
        telemetry.decided(receipt)
        telemetry.ended(receipt)
        running = sum(one.value for one in telemetry._request.running._series.values())
        assert running == len(telemetry._inflight._open)
    telemetry.settle()

    assert not telemetry._inflight._open
    assert telemetry._request.routed.by("priority")["0"].value == 3 * TOGETHER
    assert telemetry._request.running.by("priority")["0"].value == 0
