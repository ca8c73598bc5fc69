"""Our own gate and spills decided again: the same by the same bounds, more or fewer by others."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

from epp.datastore.policies import Policies
from epp.domain import Candidate, Choice, Load, Request
from epp.flow.build import Place, own_gate
from epp.flow.settings import FlowSettings
from epp.leaving import Leaving, outlook_of
from epp.outcome import Answered, Routed
from epp.replay.again import Outcome, again
from epp.replay.rules import Rules
from epp.scheduling.default import default_profile, reckoner_of
from epp.scheduling.spill import Spill, SpillRules
from tests import make
from tests.replay.record import Recording

SETTINGS = FlowSettings(slo_ttft_s=2.0)
LONG = "what there is to know of it " * 8000  # 56,000 tokens: two seconds of prefill and more
ALIKE = 0.03


class Models:
    """Two models that may both answer, the first a little better."""

    aliases = frozenset({"auto"})
    guards = closed = False

    async def choose(self, request: Request) -> Choice:
        return Choice((Candidate("big"), Candidate("small", margin=0.05)), "either")

    async def check(self, request: Request, model: str | None) -> Choice:
        return Choice((Candidate(model),))


def gated(settings: FlowSettings = SETTINGS, spill: SpillRules | None = None, models: Any = None) -> Recording:
    profile = default_profile()
    found = Recording(profile, Models() if models else None, models)
    if spill is not None:
        found.picking.leaving = Leaving(Spill(spill), outlook_of(profile))
    place = Place(found.pool, found.picking.eligible, lambda: found.now)
    reckoner = reckoner_of(profile)
    assert reckoner is not None
    found.director._gate = own_gate(place, settings, reckoner)
    return found


def policies(priority: int) -> Policies:
    made_up: Any = Policies()
    made_up.priority = lambda name: priority
    return made_up  # type: ignore[no-any-return]


async def rush(found: Recording, count: int, model: str = "m", seed: int = 5) -> list[Routed | Answered]:
    """More than there is room for: long prompts of every class, each a while after the other, none of which ends."""
    dice, done = Random(seed), []
    for number in range(count):
        found.now += dice.random() * 0.3
        if number % 5 == 0:
            for endpoint in found.pool.endpoints:
                endpoint.load = Load(found.now, 0.0, float(endpoint.inflight_requests), 0.3)
        found.pool.policies = policies(dice.choice((-1, 0, 1)))
        text = f"{number} " + LONG[: dice.choice((400, 40_000, 200_000))]
        asking = asyncio.ensure_future(found.ask(make.chat(model, text), **{"x-llm-d-inference-objective": "some"}))
        for _ in range(20):
            await asyncio.sleep(0)
        if asking.done():
            done.append(asking.result())
        else:
            asking.cancel()
    return done


async def waiting(found: Recording) -> None:
    """Endpoints that are full, and three that wait until something ends."""
    full = [await found.ask(make.chat("m", f"{n} " + LONG)) for n in range(3)]
    later = [asyncio.ensure_future(found.ask(make.chat("m", f"late {n} " + LONG))) for n in range(3)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert not any(one.done() for one in later)
    found.now += 8.0
    for one in full:
        assert isinstance(one, Routed)
        one.receipt.status, one.receipt.outcome, one.receipt.ended_s = 200, "completed", found.now - one.receipt.time
        found.director.ended(one)
    await asyncio.gather(*later)


def rules(settings: FlowSettings = SETTINGS, spill: SpillRules | None = None) -> Rules:
    return Rules(default_profile, None, settings, spill)


def refused(outcomes: list[Outcome]) -> int:
    return sum(outcome.fate.startswith("refused") for outcome in outcomes)


def spilled(outcomes: list[Outcome]) -> int:
    return sum(bool(outcome.spill) for outcome in outcomes)


async def test_by_the_same_bounds_nearly_all_are_let_in_and_refused_as_they_were() -> None:
    settings = replace(SETTINGS, slo_ttft_s=1.0)
    found = gated(settings)
    await rush(found, 300)
    outcomes = again(found.recorded, rules(settings), None)
    changed = [o for o in outcomes if "fate" in o.changes]

    assert sum(o.recorded.fate.startswith("refused") for o in outcomes) > 20
    assert sum(o.recorded.fate == "goes" for o in outcomes) > 20
    assert len(changed) <= ALIKE * len(outcomes), [(o.recorded.fate, o.fate) for o in changed]


async def test_a_shorter_slo_refuses_more_and_a_longer_one_fewer() -> None:
    found = gated(replace(SETTINGS, slo_ttft_s=1.0))
    await rush(found, 300)
    then = sum(each.fate.startswith("refused") for each in found.recorded)
    short = again(found.recorded, rules(replace(SETTINGS, slo_ttft_s=0.3, slo_own_factor=1.0)), None)
    long = again(found.recorded, rules(replace(SETTINGS, slo_ttft_s=60.0)), None)

    assert refused(short) > then > refused(long)
    assert {o.fate for o in long} >= {"goes", "waits"}


async def test_what_a_request_named_itself_stays_whatever_the_flag_says() -> None:
    found = gated()
    await rush(found, 40)
    found.now += 0.1
    await found.ask(make.chat("m", "short"), **{"x-llm-d-slo-ttft-ms": "60000"})
    last = found.recorded[-1]

    assert last.slo_s == 60.0


async def test_without_room_in_the_queue_who_would_wait_is_refused() -> None:
    found = gated(replace(SETTINGS, slo_ttft_s=60.0))
    await waiting(found)
    wide, narrow = (rules(replace(SETTINGS, slo_ttft_s=60.0, requests_max=most)) for most in (100, 1))

    assert {o.fate for o in again(found.recorded, wide, None)} == {"goes", "waits"}
    assert "refused: queue_full" in {o.fate for o in again(found.recorded, narrow, None)}


async def test_who_waited_longer_than_a_shorter_slo_bears_is_refused() -> None:
    found = gated(replace(SETTINGS, slo_ttft_s=60.0))
    await waiting(found)
    same, short = (rules(replace(SETTINGS, slo_ttft_s=slo)) for slo in (60.0, 4.0))

    assert [o.changes for o in again(found.recorded, same, None) if "fate" in o.changes] == []
    assert {o.fate for o in again(found.recorded, short, None) if o.recorded.fate == "waits"} & {
        "refused: queue_timeout",
        "refused: wait_too_long",
    }


MODELS = {"a": ["big"], "b": ["big", "small"], "c": ["small"]}


async def test_another_spill_bound_sends_more_or_fewer_away() -> None:
    bound = SpillRules(wait_s=1.0, share_max=0.5, margin_max=0.1)
    found = gated(replace(SETTINGS, slo_ttft_s=30.0), bound, MODELS)
    await rush(found, 150, "auto")
    settings = replace(SETTINGS, slo_ttft_s=30.0)
    then = sum(bool(each.spill) for each in found.recorded)
    same = again(found.recorded, rules(settings, bound), None)
    never = again(found.recorded, rules(settings, replace(bound, wait_s=0.0)), None)
    sooner = again(found.recorded, rules(settings, replace(bound, wait_s=0.1, share_max=1.0)), None)

    assert then > 5
    assert spilled(never) == 0
    assert {o.model for o in never if o.recorded.spill} <= {"big"}
    assert abs(spilled(same) - then) <= 0.15 * len(same)
    assert spilled(sooner) > spilled(same)
    assert any("spill" in o.changes for o in never)


async def test_quality_is_given_up_as_far_as_the_margin_says() -> None:
    found = gated(replace(SETTINGS, slo_ttft_s=30.0), SpillRules(1.0, 0.5, 0.1), MODELS)
    await rush(found, 100, "auto")

    strict = rules(replace(SETTINGS, slo_ttft_s=30.0), SpillRules(1.0, 0.5, 0.01))
    assert spilled(again(found.recorded, strict, None)) == 0
