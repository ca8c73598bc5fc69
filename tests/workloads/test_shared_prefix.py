"""The shared-prefix workload against what it is for: prompts that one cache does not hold, and all together do."""

from __future__ import annotations

from random import Random

import pytest

from benchmarks.sim.fleet import FleetSpec
from benchmarks.workloads.shared_prefix import SharedPrefix


def test_system_prompts_are_more_than_one_cache_holds_and_all_prompts_less_than_the_fleet_does() -> None:
    load = SharedPrefix()
    fleet = FleetSpec.of(load.shape, None, None, 8)
    held = [fleet.profile(kind).kv_tokens for kind in fleet.replicas]
    questions = load.groups * load.users * load.question_tokens

    assert load.groups * load.system_tokens > 2 * max(held)
    assert load.groups * load.system_tokens + questions < 0.8 * sum(held)


def test_it_brings_the_fleet_that_it_was_published_for_unless_the_command_names_one() -> None:
    shape = SharedPrefix().shape

    assert FleetSpec.of(shape, None, None, 4).describe()["gpus"] == {"h100x2": 4}
    assert FleetSpec.of(shape, None, None, 4).model == "qwen3-32b"
    assert FleetSpec.of(shape, "llama3-8b", None, 8).describe() == FleetSpec.parse("llama3-8b", "h100", 8).describe()
    assert FleetSpec.of(shape, None, "l4", 8).model == "llama3-8b"


@pytest.mark.parametrize("round_", [0, 1])
def test_every_prompt_is_asked_once_in_each_round(round_: int) -> None:
    load = SharedPrefix()
    number = load.groups * load.users
    asked = load.arrivals(10.0, Random(0))[round_ * number : (round_ + 1) * number]

    assert len({arrival.ask.blocks for arrival in asked}) == number
    assert int(len(load.arrivals(10.0, Random(0))) * load.shape.warm_up) == number
