"""How often the scraper asks whom, in virtual time against servers that are only imagined."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from itertools import pairwise
from random import Random

from epp.datastore.pool import Listed, Pool
from epp.domain import Endpoint
from epp.edge.fetch import NoAnswer, Patience
from epp.edge.scrape import Scraper
from epp.edge.visit import ScrapeLimits
from tests.edge.until import running
from tests.kubeapi import virtual

INTERVAL_S = 0.1
LIMITS = ScrapeLimits(models_interval_s=1e9, follow_s=1.0)


class Imagined:
    """A model server: how busy it is, how slow; when it was asked, and by how many at once at most."""

    def __init__(self) -> None:
        self.waiting = 0
        self.tokens = 0
        self.took_s = 0.0
        self.down = False
        self.lost = False
        self.at: list[float] = []
        self.open = 0
        self.most_open = 0

    async def get(self, path: str, bytes_max: int) -> bytes:
        if path == "/v1/models":
            return b'{"data":[{"id":"m"}]}'
        self.at.append(asyncio.get_running_loop().time())
        self.lost = False
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await asyncio.sleep(self.took_s)
        finally:
            self.open -= 1
        if self.down:
            raise NoAnswer("connection refused")
        return (
            f"vllm:num_requests_waiting {self.waiting}\nvllm:num_requests_running 0\nvllm:kv_cache_usage_perc 0\n"
            f"vllm:prompt_tokens_total {self.tokens}\n"
        ).encode()

    def close(self) -> None:
        pass

    def visits(self, since: float) -> list[float]:
        return [at for at in self.at if at >= since]


Story = Callable[[Imagined, Endpoint], Awaitable[None]]


def play(story: Story, interval_s: float = INTERVAL_S, seed: int = 1) -> Imagined:
    """Tells the story of one server while it is scraped."""
    server = Imagined()

    def dial(address: str, patience: Patience, tls: ssl.SSLContext | None) -> Imagined:
        return server

    async def main() -> None:
        pool = Pool()
        pool.relist([Listed("a", "10.0.0.1:8000")])
        now = asyncio.get_running_loop().time
        scraper = Scraper(pool, now=now, interval_s=interval_s, limits=LIMITS, rng=Random(seed), dial=dial)
        async with running(scraper.run()):
            await story(server, pool.endpoints[0])

    virtual.run(main())
    assert server.most_open <= 1
    return server


def gaps(times: list[float]) -> list[float]:
    return [round(after - before, 6) for before, after in pairwise(times)]


def test_a_busy_endpoint_is_read_at_the_interval() -> None:
    async def story(server: Imagined, _: Endpoint) -> None:
        server.waiting = 3
        await asyncio.sleep(10.0)

    found = gaps(play(story).at)[1:]
    assert 90 <= len(found) <= 110
    assert 0.09 <= min(found) <= max(found) <= 0.11


def test_one_that_works_for_others_is_busy_too() -> None:
    async def story(server: Imagined, _: Endpoint) -> None:
        for _ in range(1000):
            server.tokens += 1
            await asyncio.sleep(0.01)

    assert max(gaps(play(story).at)[1:]) <= 0.11


def test_an_idle_endpoint_is_read_less_and_less_and_never_too_late_for_its_sample() -> None:
    async def story(server: Imagined, _: Endpoint) -> None:
        await asyncio.sleep(60.0)

    server = play(story)
    found = gaps(server.at)
    assert sorted(found[1:6]) == found[1:6]
    assert len(server.visits(30.0)) <= 30 / 1.3
    assert max(found) < 1.5 * 1.1 + INTERVAL_S < 2.0


def test_a_request_to_an_idle_endpoint_has_it_read_within_an_interval_and_then_at_the_interval() -> None:
    async def story(server: Imagined, endpoint: Endpoint) -> None:
        await asyncio.sleep(30.01)
        endpoint.inflight_requests = 1
        await asyncio.sleep(5.0)
        endpoint.inflight_requests = 0
        await asyncio.sleep(30.0)

    server = play(story)
    first, *rest = server.visits(30.01)
    assert first - 30.01 <= INTERVAL_S + 1e-9
    assert len([at for at in rest if at < 35.0]) >= 45
    assert len(server.visits(50.0)) <= 15 / 1.3 + 1


def test_a_closed_connection_has_an_idle_endpoint_read_within_an_interval() -> None:
    async def story(server: Imagined, _: Endpoint) -> None:
        await asyncio.sleep(30.01)
        server.lost = True
        await asyncio.sleep(1.0)

    assert play(story).visits(30.01)[0] - 30.01 <= INTERVAL_S + 1e-9


def test_a_server_that_is_slow_to_tell_spends_no_more_than_a_tenth_of_its_time_on_it() -> None:
    async def story(server: Imagined, _: Endpoint) -> None:
        server.waiting, server.took_s = 9, 0.2
        await asyncio.sleep(100.0)

    server = play(story)
    asked = server.visits(20.0)
    assert 80 / 2.4 <= len(asked) <= 80 / 1.8
    assert len(asked) * 0.2 / 80 <= 0.11


def test_one_late_answer_is_no_slow_server() -> None:
    async def story(server: Imagined, _: Endpoint) -> None:
        server.waiting = 9
        await asyncio.sleep(5.0)
        server.took_s = 0.4
        await asyncio.sleep(0.11)
        server.took_s = 0.0
        await asyncio.sleep(5.0)

    assert max(gaps(play(story).at)) <= 1.8


def test_a_server_that_fails_is_asked_less_often_and_one_that_is_back_is_found_soon() -> None:
    async def story(server: Imagined, endpoint: Endpoint) -> None:
        server.waiting = 1
        await asyncio.sleep(1.0)
        server.down = True
        await asyncio.sleep(20.0)
        assert not endpoint.reachable
        server.down = False
        await asyncio.sleep(2.3)
        assert endpoint.reachable

    server = play(story)
    assert len([at for at in server.visits(5.0) if at < 20.0]) <= 15 / 1.7


def test_an_interval_longer_than_every_bound_is_kept() -> None:
    async def story(server: Imagined, _: Endpoint) -> None:
        await asyncio.sleep(300.0)

    found = gaps(play(story, interval_s=15.0).at)[1:]
    assert 13.5 <= min(found) <= max(found) <= 16.5


def test_endpoints_that_start_together_spread_over_the_interval_and_drift_apart() -> None:
    servers: dict[str, Imagined] = {}

    def dial(address: str, patience: Patience, tls: ssl.SSLContext | None) -> Imagined:
        servers[address] = Imagined()
        servers[address].waiting = 1
        return servers[address]

    async def main() -> None:
        pool = Pool()
        pool.relist([Listed(f"e{n}", f"10.0.0.{n}:8000") for n in range(100)])
        now = asyncio.get_running_loop().time
        scraper = Scraper(pool, now=now, interval_s=INTERVAL_S, limits=LIMITS, rng=Random(1), dial=dial)
        async with running(scraper.run()):
            await asyncio.sleep(5.0)

    virtual.run(main())
    second = sorted(server.at[1] for server in servers.values())
    assert max(gaps([0.0, *second, INTERVAL_S])) < INTERVAL_S / 10
    assert {round(server.at[0], 3) for server in servers.values()} == {0.0}
