"""The scraper over a pool of model servers on real sockets: whom it visits, when, and that it lets go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from epp.datastore.pool import Listed, Pool
from epp.edge.scrape import Scraper, pace
from epp.edge.visit import ScrapeLimits

from .model_server import METRICS, ModelServer
from .until import running, until

BRISK_S = 0.02


@asynccontextmanager
async def scraping(
    pool: Pool, limits: ScrapeLimits | None = None, interval_s: float = BRISK_S
) -> AsyncIterator[Scraper]:
    """A running scraper; at the end it is cancelled, and nothing of it may be left."""
    now = asyncio.get_running_loop().time
    scraper = Scraper(pool, now=now, interval_s=interval_s, limits=limits, rng=Random(1))
    async with running(scraper.run()):
        yield scraper
    assert not [name for name in _names() if name.startswith("scrape ")]


def listed(*servers: ModelServer) -> list[Listed]:
    return [Listed(f"default/{server.port}", server.address) for server in servers]


async def test_every_endpoint_is_followed_and_samples_stay_fresh() -> None:
    pool = Pool()
    async with ModelServer() as one, ModelServer() as two, scraping(pool) as scraper:
        two.bodies["/metrics"] = METRICS % 5
        pool.relist(listed(one, two))
        await until(lambda: scraper.settled)
        first = [endpoint.load for endpoint in pool.endpoints]
        await until(lambda: all(e.load is not was for e, was in zip(pool.endpoints, first, strict=True)))

        assert [load.waiting for load in first if load] == [3.0, 5.0]
        assert all(e.load and was and e.load.at > was.at for e, was in zip(pool.endpoints, first, strict=True))
        assert pool.models() == {"llama3-8b": "llama3-8b", "sql": "llama3-8b"}
        assert scraper.errors == {}


async def test_a_pool_that_was_never_visited_is_not_settled() -> None:
    pool = Pool()
    async with ModelServer() as server, scraping(pool, ScrapeLimits(follow_s=1000.0)) as scraper:
        empty = scraper.settled
        pool.relist(listed(server))

        assert empty
        assert not scraper.settled


async def test_wake_spares_new_endpoints_the_wait() -> None:
    pool = Pool()
    async with ModelServer() as server, scraping(pool, ScrapeLimits(follow_s=1000.0)) as scraper:
        await asyncio.sleep(0.01)
        pool.relist(listed(server))
        scraper.wake()

        await until(lambda: scraper.settled)


async def test_endpoints_that_leave_are_left_alone_and_those_that_stay_keep_their_state() -> None:
    pool = Pool()
    async with ModelServer() as stays, ModelServer() as leaves, scraping(pool) as scraper:
        pool.relist(listed(stays, leaves))
        await until(lambda: scraper.settled)
        kept = pool.endpoints[0]
        pool.relist(listed(stays))
        scraper.wake()
        await until(lambda: f"scrape default/{leaves.port}" not in _names())
        asked, visited = leaves.asked.total(), stays.asked["/metrics"]
        await until(lambda: stays.asked["/metrics"] >= visited + 5)

        assert leaves.asked.total() == asked
        assert pool.endpoints == (kept,)
        assert stays.asked["/v1/models"] == 1


async def test_an_endpoint_that_leaves_in_the_middle_of_a_visit_is_let_go() -> None:
    pool = Pool()
    async with ModelServer() as server, scraping(pool) as scraper:
        server.answering.clear()
        pool.relist(listed(server))
        await until(lambda: server.asked["/metrics"])
        pool.relist([])
        scraper.wake()

        await until(lambda: f"scrape default/{server.port}" not in _names())
        server.answering.set()


async def test_a_cancelled_scraper_closes_its_connections_also_in_the_middle_of_a_visit() -> None:
    pool = Pool()
    async with ModelServer() as idle, ModelServer() as busy:
        busy.answering.clear()
        async with scraping(pool):
            pool.relist(listed(idle, busy))
            await until(lambda: idle.asked["/v1/models"] and busy.asked["/metrics"])

        await until(lambda: not idle.open_connections and not busy.open_connections)
        busy.answering.set()


async def test_a_killed_server_is_noticed_and_so_is_its_return() -> None:
    pool = Pool()
    async with ModelServer() as server, ModelServer() as other, scraping(pool) as scraper:
        pool.relist(listed(server, other))
        # The models, which are asked for last, too: what fails next is then a question for the numbers.
        await until(lambda: scraper.settled and pool.endpoints[0].models)
        endpoint = pool.endpoints[0]
        await server.stop()
        await until(lambda: not endpoint.reachable)
        errors = {name: dict(reasons) for name, reasons in scraper.errors.items()}
        await server.start()
        await until(lambda: endpoint.reachable and not scraper.errors)

        assert errors == {endpoint.name: {"/metrics": "connection refused"}}
        assert pool.endpoints[1].reachable


async def test_silent_servers_do_not_hold_up_the_others() -> None:
    pool = Pool()
    limits = ScrapeLimits(timeout_s=1000.0, concurrency_max=4)
    async with ModelServer() as good, ModelServer() as silent, scraping(pool, limits):
        silent.answering.clear()
        pool.relist([*(Listed(f"default/s{i}", silent.address) for i in range(3)), *listed(good)])
        await until(lambda: silent.asked.total() == 3)
        visited = good.asked["/metrics"]

        await until(lambda: good.asked["/metrics"] >= visited + 5)
        silent.answering.set()


async def test_no_more_visits_at_once_than_allowed() -> None:
    pool = Pool()
    limits = ScrapeLimits(timeout_s=1000.0, concurrency_max=2)
    async with ModelServer() as server, scraping(pool, limits) as scraper:
        server.answering.clear()
        pool.relist([Listed(f"default/{i}", server.address) for i in range(10)])
        await until(lambda: server.asked.total() == 2)
        await asyncio.sleep(0.05)
        at_once = server.asked.total()
        server.answering.set()
        await until(lambda: scraper.settled)

        assert at_once == 2


def test_very_many_endpoints_are_visited_less_often_each_and_not_more_often_in_all() -> None:
    limits = ScrapeLimits(visits_per_s_max=1000)

    assert [pace(0.5, count, limits) for count in (0, 1, 500, 5000)] == [0.5, 0.5, 0.5, 5.0]
    assert pace(30.0, 5000, limits) == 30.0


def _names() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks()}
