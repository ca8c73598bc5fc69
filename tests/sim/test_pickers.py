"""Several pickers before one fleet: everything still ends once, and what they share is seen by all of them."""

from __future__ import annotations

import pytest

from benchmarks.sim import runs
from benchmarks.sim.gates import flow_of
from benchmarks.sim.pickers import SHARINGS, Crew, Sharing
from benchmarks.sim.summary import Slo
from tests.sim import make
from tests.sim.test_world import check


@pytest.mark.parametrize("sharing", SHARINGS)
def test_every_arrival_ends_once_whatever_is_shared(sharing: Sharing) -> None:
    crew, mix = Crew(3, sharing), (0.2, 0.5, 0.3)
    world = make.world(make.arrivals(rate=300, requests=600), "default", mix=mix, flow=flow_of(Slo()), crew=crew)
    world.loop.after_each = lambda: check(world)
    flights = world.run()

    ended = make.ends(flights)
    assert ended["done"] + ended["shed"] == 600
    assert all(e.inflight_requests == e.inflight_tokens == 0 for p in world.pickers for e in p.pool.endpoints)
    pools, profiles = ({id(getattr(p, part)) for p in world.pickers} for part in ("pool", "profile"))
    assert (len(pools), len(profiles)) == {"nothing": (3, 3), "ledger": (1, 3), "memories": (1, 1)}[sharing]


def test_requests_are_dealt_over_all() -> None:
    world = make.world(make.arrivals(), "default", crew=Crew(3))
    taken = [0, 0, 0]

    def look() -> None:
        for n, picker in enumerate(world.pickers):
            taken[n] = max(taken[n], sum(e.inflight_requests for e in picker.pool.endpoints))

    world.loop.after_each = look
    world.run()

    assert min(taken) > 0


def test_those_that_see_only_their_own_requests_spread_them_worse() -> None:
    """Between two looks at the replicas, each of many sends to the one that all of them think is idle."""
    ttft = {}
    for crew in (Crew(), Crew(8, "nothing"), Crew(8, "ledger")):
        found = runs.run(make.job(rate=120.0, requests=900, scrape_s=2.0, crew=crew))
        ttft[crew.count, crew.sharing] = found.summary["ttft_mean"]

    assert ttft[8, "nothing"] > 1.1 * ttft[1, "nothing"]
    assert ttft[8, "ledger"] < ttft[8, "nothing"]
