"""What makes a request leave its model at the gate: the same bounds as for a wait that is predicted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

import pytest

from epp.director import Director
from epp.domain import Candidate, Choice, Cost, Exclusion, SpillReason
from epp.leaving import Leaving, outlook_of
from epp.outcome import Routed
from epp.picking import Picking
from epp.protocol.messages import Decide
from epp.scheduling.default import default_profile
from epp.scheduling.framework import Profile, Query
from epp.scheduling.plugins.max_score import MaxScorePicker
from epp.scheduling.spill import Spill, SpillRules
from tests.flow import make
from tests.kubeapi import virtual
from tests.make import POST, FixedChooser, chat, director, pool, request

TWO: dict[str, Sequence[str]] = {"a": ["big"], "b": ["small"]}
BIG, NEAR, FAR = Candidate("big"), Candidate("small", 0.1), Candidate("small", 1.0)


class Gated:
    """A director behind a gate that lets one request at a time to an endpoint, over two models of one endpoint."""

    def __init__(self, *candidates: Candidate, share_max: float = 1.0, wait_s: float = 1.0) -> None:
        self.pool = pool("a", "b", models=TWO)
        self.big, self.small = self.pool.endpoints
        profile, rng = Profile("test", picker=MaxScorePicker()), Random(1)
        chooser = FixedChooser()
        chooser.choice = Choice(candidates, reason="test")
        leaving = Leaving(Spill(SpillRules(wait_s, share_max, 0.1)))
        self.director: Director = director(
            self.pool,
            chooser,
            profile=profile,
            picking=Picking(self.pool, profile, rng, leaving=leaving),
            rng=rng,
            now=self.now,
            gate=make.gate(self.pool, self.now),
        )
        self.asked = 0

    @staticmethod
    def now() -> float:
        return asyncio.get_running_loop().time()

    async def ask(self) -> Routed:
        self.asked += 1
        headers = {**POST, "x-request-id": f"r-{self.asked}", "x-session-id": f"s-{self.asked}"}
        there = await self.director.decide(Decide(headers, chat("auto"), None))
        assert isinstance(there, Routed), there
        return there

    async def ask_later(self) -> asyncio.Task[Routed]:
        """A request that had every chance to get through at once."""
        task = asyncio.create_task(self.ask())
        await asyncio.sleep(0.01)
        return task


def test_a_model_without_room_is_left_for_one_that_is_good_enough() -> None:
    async def main() -> None:
        gated = Gated(BIG, NEAR)
        first, second = await gated.ask(), await gated.ask()

        assert (first.receipt.model, first.receipt.spill) == ("big", None)
        assert second.receipt.model == "small"
        assert second.receipt.excluded == {"big": Exclusion.NO_ROOM}
        assert second.receipt.spill is not None
        assert second.receipt.spill.reason is SpillReason.NO_ROOM

    virtual.run(main())


@pytest.mark.parametrize(
    "gated",
    [
        lambda: Gated(BIG, FAR),
        lambda: Gated(BIG, NEAR, wait_s=0.0),
        lambda: Gated(BIG, NEAR, share_max=0.0),
    ],
)
def test_beyond_the_bounds_it_waits_for_its_own_model(gated: type[Gated]) -> None:
    async def main() -> None:
        scene = gated()
        first = await scene.ask()
        waiting = await scene.ask_later()
        assert not waiting.done()
        assert first.lease is not None
        first.lease.close()
        second = await waiting

        assert (second.receipt.model, second.receipt.spill) == ("big", None)
        assert scene.small.inflight_requests == 0

    virtual.run(main())


def test_a_model_nobody_serves_is_not_waited_for() -> None:
    async def main() -> None:
        scene = Gated(Candidate("gone"), FAR)
        there = await scene.ask()

        assert there.receipt.model == "small"
        assert there.receipt.spill is not None
        assert there.receipt.spill.reason is SpillReason.NO_ENDPOINT

    virtual.run(main())


def test_of_many_that_wait_together_no_more_than_the_share_may_leave() -> None:
    async def main() -> None:
        scene = Gated(BIG, NEAR, share_max=0.5)
        tasks = [await scene.ask_later() for _ in range(20)]
        models = []
        while tasks:
            done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            tasks = list(pending)
            for task in done:
                there = task.result()
                models.append(there.receipt.model)
                assert there.lease is not None
                there.lease.close()
                await asyncio.sleep(0.01)

        assert len(models) == 20
        assert 5 <= models.count("small") <= 10

    virtual.run(main())


def test_those_who_wait_count_for_as_long_as_they_do_and_no_longer() -> None:
    spill = Spill(SpillRules(share_max=0.5))
    leaving = Leaving(spill)
    for _ in range(4):
        spill.asked("big", 0.0)
    with (
        leaving.waiting((BIG, NEAR), 0.0) as first,
        leaving.waiting((BIG, NEAR), 0.0) as second,
        leaving.waiting((BIG, NEAR), 0.0) as third,
    ):
        pass
    with pytest.raises(asyncio.CancelledError), leaving.waiting((BIG, NEAR), 0.0):
        raise asyncio.CancelledError
    with leaving.waiting((BIG, NEAR), 0.0) as later:
        spill.sent("big", "small", None, 0.0)
    spill.sent("big", "small", None, 0.0)
    with leaving.waiting((BIG, NEAR), 0.0) as after:
        pass

    assert (first, second, third) == ([BIG, NEAR], [BIG, NEAR], [BIG])
    assert (later, after) == ([BIG, NEAR], [BIG])


def test_the_default_profile_predicts_waits_and_first_tokens_less_what_is_cached() -> None:
    pods = pool("a")
    (pod,) = pods.endpoints
    pods.lease(pod, Cost(1000, 1000, 2.0))
    outlook = outlook_of(default_profile())
    assert outlook is not None
    cold = Query(request(prompt_tokens=50_000), BIG, 0.5, Random(1))
    warm = Query(request(prompt_tokens=50_000), BIG, 0.5, Random(1), cached={pod: 49_000})

    assert outlook.wait_s(cold, pod) == outlook.wait_s(warm, pod) == 1.5
    assert (outlook.first_token_s(cold, pod) or 0.0) > 2.0
    assert 1.5 < (outlook.first_token_s(warm, pod) or 0.0) < 2.0
    assert outlook_of(Profile("test", picker=MaxScorePicker())) is None
