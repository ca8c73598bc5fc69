"""A busy model through the director: the profile predicts from the ledger, the request goes where it waits less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from random import Random

import pytest

from epp.datastore.pool import Lease
from epp.director import Director
from epp.domain import Candidate, Choice, Cost, Endpoint, Exclusion, Limits, SpillReason
from epp.leaving import Leaving, outlook_of
from epp.outcome import Answered, Routed
from epp.picking import Picking
from epp.protocol.messages import Decide
from epp.scheduling.framework import Picker, Producer, Profile, Query
from epp.scheduling.spill import Spill, SpillRules
from epp.telemetry import Telemetry
from tests.make import POST, FixedChooser, chat, director, fleet, pool

TWO: dict[str, Sequence[str]] = {"a": ["big"], "b": ["small"]}
SECONDS_A_TOKEN = 0.01
AUTO = chat("auto")


@dataclass(slots=True)
class LedgerForecast(Producer):
    """Predicts from what the ledger has: work outstanding, and so many seconds for each token of the own prompt."""

    type = "ledger-forecast"

    def produce(self, query: Query, endpoints: Sequence[Endpoint]) -> None:
        tokens = query.request.prompt_tokens
        query.cost = Cost(tokens, tokens, tokens * SECONDS_A_TOKEN)

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        assert query.cost is not None
        query.cost = replace(query.cost, ttft_s=self.first_token_s(query, endpoint))

    def wait_s(self, query: Query, endpoint: Endpoint) -> float | None:
        return endpoint.outstanding_s(query.now)

    def first_token_s(self, query: Query, endpoint: Endpoint) -> float | None:
        return endpoint.outstanding_s(query.now) + query.request.prompt_tokens * SECONDS_A_TOKEN


class LeastWork(Picker):
    """The endpoint with the least work."""

    type = "least-work"

    def pick(self, query: Query, totals: Sequence[float]) -> int:
        return 0


class Scene:
    """A director over two models of one endpoint each."""

    def __init__(self, *candidates: Candidate, forecast: bool = True, **rules: float) -> None:
        self.now = 0.0
        self.pool = pool("a", "b", "c", models=TWO)
        self.big, self.small, self.spare = self.pool.endpoints
        self.spare.models = {"gone": "gone"}
        profile = Profile("test", producers=[LedgerForecast()] if forecast else [], picker=LeastWork())
        chooser = FixedChooser()
        chooser.choice = Choice(candidates or (Candidate("big"), Candidate("small", 0.05)), reason="test")
        spill = Spill(SpillRules(**{"wait_s": 1.0, "share_max": 1.0, **rules}))
        rng = Random(1)
        picking = Picking(self.pool, profile, rng, leaving=Leaving(spill, outlook_of(profile)))
        self.telemetry = Telemetry(fleet(self.pool))
        parts = {"picking": picking, "telemetry": self.telemetry, "rng": rng, "now": lambda: self.now}
        self.director: Director = director(self.pool, chooser, profile=profile, **parts)

    def load(self, endpoint: Endpoint, seconds: float) -> None:
        self.pool.lease(endpoint, Cost(1, 1, seconds))

    async def ask(self, body: bytes = AUTO, headers: Mapping[str, str] | None = None) -> Routed:
        there = await self.director.decide(Decide({**POST, **(headers or {})}, body, None))
        assert isinstance(there, Routed), there
        return there


async def test_a_long_wait_sends_the_request_to_the_next_model_and_the_receipt_says_why() -> None:
    scene = Scene()
    scene.load(scene.big, 4.0)
    there = await scene.ask()
    spill = there.receipt.spill

    assert there.receipt.model == "small"
    assert there.route.body == chat("small")
    assert spill is not None
    assert (spill.origin, spill.to, spill.reason, spill.wait_s) == ("big", "small", SpillReason.WAIT, 4.0)
    assert (spill.ttft_to_s or 9.0) < (spill.ttft_s or 0.0)


async def test_what_was_predicted_is_in_the_receipt_and_compared_with_what_came() -> None:
    scene = Scene()
    scene.load(scene.big, 0.5)
    there = await scene.ask(chat("auto", stream=True))
    predicted = there.receipt.predicted_ttft_s or 0.0
    there.receipt.first_answer_s = (there.receipt.decided_s or 0.0) + 2 * predicted
    scene.director.answered(there)
    named = {"target_model_name": "big"}

    assert predicted == 0.5 + there.receipt.prompt_tokens * SECONDS_A_TOKEN
    assert scene.telemetry.registry.get_sample_value("onehop_ttft_ratio_sum", named) == pytest.approx(2.0)


async def test_spills_are_counted() -> None:
    scene = Scene()
    scene.load(scene.big, 4.0)
    await scene.ask()
    labels = {"from": "big", "to": "small", "reason": "wait"}

    assert scene.telemetry.registry.get_sample_value("onehop_spill_total", labels) == 1


async def test_a_short_wait_stays_and_there_is_nothing_to_say() -> None:
    scene = Scene()
    scene.load(scene.big, 0.9)
    there = await scene.ask()

    assert (there.receipt.model, there.receipt.spill) == ("big", None)


async def test_without_a_forecast_only_a_model_without_endpoints_is_left() -> None:
    scene = Scene(forecast=False)
    scene.load(scene.big, 100.0)
    assert (await scene.ask()).receipt.model == "big"

    scene.big.reachable = False
    there = await scene.ask(headers={"x-request-id": "r-2"})
    assert there.receipt.model == "small"
    assert there.receipt.spill is not None
    assert there.receipt.spill.reason is SpillReason.NO_ENDPOINT
    assert there.receipt.excluded == {"big": Exclusion.NO_ENDPOINT}


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (Candidate("small", 0.2), SpillReason.HELD_NO_OTHER),
        (Candidate("nowhere", 0.05), SpillReason.HELD_NO_OTHER),
    ],
)
async def test_a_model_too_weak_or_not_there_is_no_alternative(second: Candidate, reason: SpillReason) -> None:
    scene = Scene(Candidate("big"), second)
    scene.load(scene.big, 4.0)
    there = await scene.ask()

    assert there.receipt.model == "big"
    assert there.receipt.spill is not None
    assert (there.receipt.spill.to, there.receipt.spill.reason) == (None, reason)


async def test_never_degrade_waits_for_its_model() -> None:
    scene = Scene()
    scene.load(scene.big, 4.0)
    there = await scene.ask(headers={"x-onehop-never-degrade": "true"})

    assert (there.receipt.model, there.receipt.spill) == ("big", None)
    assert there.receipt.excluded == {"small": Exclusion.NEVER_DEGRADE}
    assert "x-onehop-never-degrade" in there.route.remove_headers


async def test_never_degrade_tries_its_model_even_where_nobody_seems_to_be_there() -> None:
    scene = Scene()
    scene.big.reachable = False
    there = await scene.ask(headers={"x-onehop-never-degrade": "true"})

    assert (there.receipt.model, there.receipt.spill) == ("big", None)
    assert there.receipt.excluded == {"small": Exclusion.NEVER_DEGRADE}


async def test_a_request_does_not_spill_to_what_cannot_take_it() -> None:
    scene = Scene(Candidate("big"), Candidate("small", 0.05, None, Limits(tools=False)))
    scene.load(scene.big, 4.0)
    there = await scene.ask(chat("auto", tools=[{"type": "function"}]))

    assert there.receipt.model == "big"
    assert there.receipt.excluded == {"small": Exclusion.TOOLS}


async def test_an_explicit_model_is_never_left() -> None:
    scene = Scene()
    scene.load(scene.big, 100.0)

    assert (await scene.ask(chat("big"))).receipt.model == "big"


async def test_a_repetition_of_a_request_stays_where_the_first_went() -> None:
    scene = Scene()
    scene.load(scene.big, 4.0)
    first = await scene.ask()
    scene.load(scene.small, 50.0)
    again = await scene.ask()

    assert (first.receipt.model, again.receipt.model) == ("small", "small")
    assert scene.small.inflight_requests == 2, "one for the load, one for both streams"


async def test_a_retry_stays_with_its_model_while_that_has_an_endpoint() -> None:
    scene = Scene()
    scene.load(scene.big, 4.0)
    scene.spare.models = {"small": "small"}
    first = await scene.ask()
    again = await scene.ask(headers={"x-retry-attempt": "1"})

    assert (first.receipt.model, again.receipt.model) == ("small", "small")
    assert first.receipt.picked != again.receipt.picked


async def test_the_next_turn_of_a_conversation_that_was_sent_away_stays_away() -> None:
    scene = Scene()
    scene.load(scene.big, 4.0)
    first = await scene.ask(headers={"x-request-id": "1"})
    body = (
        b'{"model":"auto","messages":[{"role": "user", "content": "hello"},'
        b'{"role":"assistant","content":"hi"},{"role":"user","content":"and now?"}]}'
    )
    there = await scene.ask(body, {"x-request-id": "2"})

    assert first.receipt.model == "small"
    assert there.receipt.model == "small"
    assert there.receipt.spill is not None
    assert there.receipt.spill.reason is SpillReason.SESSION


async def test_a_request_that_nobody_can_take_is_a_400_with_a_receipt() -> None:
    scene = Scene(Candidate("big", 0.0, None, Limits(context_tokens=10)))
    refused = await scene.director.decide(Decide(POST, chat("auto", "word " * 100), None))
    assert isinstance(refused, Answered)

    assert refused.immediate.status == 400
    assert b'"code":"context_length_exceeded"' in refused.immediate.body
    assert refused.receipt.excluded == {"big": Exclusion.CONTEXT_LENGTH}


async def rush(seed: int, **rules: float) -> list[tuple[float, str | None, float]]:
    """When each request came, who answered, how long it waited: a minute at a tenth of what `big` can do, one at one
    and a half times that, two at a tenth. Each prompt takes a second there and as long at the other, in turn.
    """
    scene, rng = Scene(**rules), Random(seed)
    prompt = "x" * 350
    free: dict[Endpoint, float] = {}
    over: list[tuple[float, int, Lease]] = []
    seen = []
    while scene.now < 240.0:
        scene.now += rng.expovariate(1.5 if 60.0 <= scene.now < 120.0 else 0.1)
        while over and over[0][0] <= scene.now:
            at, _, lease = heappop(over)
            lease.close(at)
        ask = {"x-request-id": f"{len(seen)}", "x-session-id": f"{len(seen)}"}
        there = await scene.ask(chat("auto", prompt), ask)
        assert there.lease is not None
        endpoint = there.lease.endpoint
        begins = max(scene.now, free.get(endpoint, 0.0))
        free[endpoint] = begins + there.receipt.prompt_tokens * SECONDS_A_TOKEN
        heappush(over, (free[endpoint], len(seen), there.lease))
        seen.append((scene.now, there.receipt.model, begins - scene.now))
    return seen


@pytest.mark.parametrize("seed", range(5))
async def test_a_rush_is_carried_by_two_models_and_quality_is_back_after_it(seed: int) -> None:
    alone, shared = await rush(seed, wait_s=0.0), await rush(seed, share_max=0.5)
    during = [model for at, model, _ in shared if 60.0 <= at < 120.0]
    calm = [model for at, model, _ in shared if not 60.0 <= at < 150.0]

    assert {model for _, model, _ in alone} == {"big"}
    assert max(wait for _, _, wait in shared) < max(wait for _, _, wait in alone) / 2
    assert 0.1 < during.count("small") / len(during) <= 0.55
    assert calm.count("small") <= 0.1 * len(calm)
