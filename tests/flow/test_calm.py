"""The short way through the gate lets in whom the long way lets in, and teaches the reckoner the same."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.domain import Endpoint, Load
from epp.flow.own import OwnRule
from epp.scheduling.reckoner import Meets, Reckoner
from tests.flow.site import NOW, Site

SHARES = st.sampled_from([0.0, 0.3, 0.84, 0.9, 0.95, 0.98, 0.995, 1.0])
LOADS = st.none() | st.builds(
    Load,
    at=st.sampled_from([NOW, NOW - 1.0, NOW - 3.0]),
    waiting=st.sampled_from([0.0, 1.0, 30.0, 60.0]),
    running=st.sampled_from([0.0, 4.0, 40.0]),
    kv_usage=SHARES,
    block_size=st.just(16),
    num_blocks=st.sampled_from([100, 10_000]),
)
PACES = st.sampled_from([0.0, 0.03, 0.069, 0.07, 0.071, 0.08, 0.1, 0.2])
WORK = st.sampled_from([0.0, 0.1, 0.34, 0.35, 0.36, 0.39, 0.41, 0.79, 0.8, 0.81, 0.99, 1.0, 1.01, 3.0])
ENDPOINTS = st.lists(st.tuples(WORK, st.booleans(), LOADS, PACES, st.sampled_from([True] * 9 + [False])), max_size=5)


class LongWay(Reckoner):
    """Never sure that all is calm."""

    def calm(self, endpoints: Sequence[Endpoint], tokens: float, now: float, most: Meets) -> bool:
        return False


def sites(count: int) -> tuple[Site, Site]:
    """The same twice, one of which goes the long way."""
    short, long = Site(count), Site(count)
    long.rule = OwnRule(long.rule.settings, LongWay())
    return short, long


@given(
    ENDPOINTS,
    st.sampled_from([-1, 0, 1]),
    st.sampled_from([b"x" * 400, b"x" * 40_000]),
    st.sampled_from([0.0, 1.0, 1.9, 5.0]),
    st.none() | st.sampled_from([0.05, 0.5]),
)
def test_whom_the_short_way_lets_in_the_long_way_does_too(
    found: list[tuple[float, bool, Load | None, float, bool]],
    priority: int,
    prompt: bytes,
    waited_s: float,
    slo_s: float | None,
) -> None:
    rooms, learned = [], []
    for site in sites(1 + len(found)):
        for place, (work_s, critical, load, pace_s, reachable) in enumerate(found):
            if work_s:
                site.busy(place, work_s, critical=critical)
            endpoint = site.endpoints[place]
            endpoint.load, endpoint.reachable = load, reachable
            reckoner = site.rule.reckoning
            assert isinstance(reckoner, Reckoner)
            reckoner.speed(endpoint).pace_s = pace_s
        ticket = site.ticket(priority, prompt, arrived=NOW - waited_s, slo_s=slo_s)
        room = site.rule.room(ticket, site.endpoints, NOW)
        rooms.append(None if room is None else [e.name for e in room])
        learned.append([(s.others, s.held, s.waiting, s.ratio) for s in map(reckoner_of(site).speed, site.endpoints)])

    assert rooms[0] == rooms[1]
    assert learned[0] == learned[1]


def reckoner_of(site: Site) -> Reckoner:
    assert isinstance(site.rule.reckoning, Reckoner)
    return site.rule.reckoning


@pytest.mark.parametrize("count", [1, 5])
def test_a_pool_with_little_to_do_is_calm(count: int) -> None:
    """Else the short way would be right, and never taken."""
    site = Site(count)
    for place in range(count):
        site.busy(place, 0.2, waiting=1.0, running=3.0, kv_usage=0.5, block_size=16, num_blocks=10_000)

    assert reckoner_of(site).calm(site.endpoints, 100.0, NOW, (0.4, 0.4, 0.07))
    site.busy(count - 1, 0.3)
    assert not reckoner_of(site).calm(site.endpoints, 100.0, NOW, (0.4, 0.4, 0.07))


def test_a_sample_is_looked_at_once_by_whoever_asks_first() -> None:
    """Else an endpoint without requests, of which the short way asks nothing more, would learn late."""
    site = Site(2)
    reckoner = reckoner_of(site)
    site.endpoints[0].load = Load(NOW, waiting=0.0, running=8.0)
    assert reckoner.calm(site.endpoints, 1.0, NOW, (1.0, 1.0, 1.0))
    assert reckoner.speed(site.endpoints[0]).others == 8.0
    site.endpoints[0].load = Load(NOW, waiting=0.0, running=4.0)
    assert reckoner.calm(site.endpoints, 1.0, NOW, (1.0, 1.0, 1.0))

    assert reckoner.speed(site.endpoints[0]).others == 6.0
    assert reckoner.calm(site.endpoints, 1.0, NOW, (1.0, 1.0, 1.0))
    assert reckoner.speed(site.endpoints[0]).others == 6.0
