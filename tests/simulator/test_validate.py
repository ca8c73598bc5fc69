"""The replica model against published measurements: no further off than `benchmarks/results/replica.md` says."""

from __future__ import annotations

from statistics import median

import pytest

from benchmarks.simulator import validate
from benchmarks.simulator.profiles import StepCost


def off(points: list[validate.Point]) -> float:
    return median(abs(point.error) for point in points)


def ours() -> list[validate.Point]:
    return [point for point in validate.steps() if " by " not in point.of]


def test_steps_are_within_the_stated_error_of_kernels_timed_under_vllm() -> None:
    points = ours()
    groups = {point.of for point in points}

    assert len(points) == 98
    assert off(points) < 0.11
    assert all(off([point for point in points if point.of == group]) < 0.19 for group in groups)
    assert max(abs(point.error) for point in points) < 0.33


def test_closed_loops_take_as_long_as_they_took_on_real_servers() -> None:
    loops = validate.curves([2])
    tokens = [validate.Point(loop.of, loop.at, loop.tpot, 1e3 * loop.apart.tpot_s) for loop in loops]
    waits = [validate.Point(loop.of, loop.at, loop.ttft, 1e3 * loop.apart.ttft_s) for loop in loops if loop.queues]

    assert len(loops) == 30
    assert off(tokens) < 0.05
    assert max(abs(point.error) for point in tokens) < 0.15
    assert len(waits) == 3
    assert max(abs(point.error) for point in waits) < 0.10


@pytest.mark.parametrize("part", ["weights_ms", "matmul_token_ms", "context_token_ms"])
def test_a_wrong_constant_is_noticed(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = StepCost.seconds

    def wrong(cost: StepCost, **step: float) -> float:
        object.__setattr__(cost, part, 1.5 * getattr(cost, part))
        try:
            return right(cost, **step)  # type: ignore[arg-type]  # as it was called
        finally:
            object.__setattr__(cost, part, getattr(cost, part) / 1.5)

    monkeypatch.setattr(StepCost, "seconds", wrong)
    points = ours()
    groups = {point.of for point in points}

    assert max(off([point for point in points if point.of == group]) for group in groups) > 0.19
