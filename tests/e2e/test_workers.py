"""Several worker processes behind a real Envoy: one state, and a worker's death costs its own streams alone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from epp.cli.quickstart import CONFIG
from tests.e2e.client import Answer, Site, chat
from tests.e2e.conftest import Start

REQUESTS, STREAMS = "llm_d_epp_request_total", "llm_d_epp_extproc_streams_total"
IN_FLIGHT = "llm_d_epp_extproc_streams_inflight"
SUM = "What is 2+2 * (5-1) +"
AT_ONCE = 24  # as many as clients that are connected since `both_serve`: fewer may all be at one of Envoy's threads
TWO = ["--workers=2", "--classify-deadline=5s", "--drain-timeout=30s"]


async def crew(site: Site) -> list[dict[str, Any]]:
    async with site.http.get(f"{site.stack.admin_url}/debug/pools") as answer:
        workers: list[dict[str, Any]] = (await answer.json())["conditions"]["crew"]["workers"]
        return workers


async def metric(site: Site, name: str) -> float:
    """The sum of a metric's series, as Prometheus would scrape it."""
    async with site.http.get(f"http://127.0.0.1:{site.stack.metrics_port}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


async def both_serve(site: Site) -> list[dict[str, Any]]:
    """Both carry a connection: Envoy has two threads, each with its own, and both must have had a request.

    More at once than clients that are still connected: those may all be at one thread.
    """

    async def asked() -> list[dict[str, Any]]:
        await asyncio.gather(*(site.post(chat("llama3-8b", f"warm {n}")) for n in range(AT_ONCE)))
        return await crew(site)

    found: list[dict[str, Any]] = await site.until(asked, lambda now: [w["carrying"] for w in now] == [1, 1])
    return found


async def test_both_workers_carry_streams_and_their_sums_are_right(start: Start) -> None:
    async with start(serve_flags=TWO) as site:
        before = await both_serve(site)
        requests = await metric(site, REQUESTS)
        await site.until(lambda: metric(site, STREAMS), lambda now: now == requests)  # one stream each, in this wiring
        answers = await asyncio.gather(*(site.post(chat("llama3-8b", f"question {n}")) for n in range(60)))
        await site.idle()
        after = await crew(site)
        receipts = [await site.receipt(answer) for answer in answers[:10]]
        decided = [b["decisions"] - a["decisions"] for a, b in zip(before, after, strict=True)]

        assert {answer.status for answer in answers} == {200}
        assert sum(decided) == 60
        assert min(decided) > 0
        assert await metric(site, REQUESTS) == requests + 60
        await site.until(lambda: metric(site, STREAMS), lambda now: now == requests + 60)
        await site.until(lambda: metric(site, IN_FLIGHT), lambda now: now == 0)
        assert await metric(site, "onehop_connections") == 2 + 1  # and who asks the port for health
        assert all(r["picked"] == r["served"] and r["outcome"] == "completed" for r in receipts)


async def test_a_worker_that_is_killed_under_load_costs_the_streams_it_held_and_is_replaced(start: Start) -> None:
    """Envoy ends a request whose stream broke by its failure mode, here with a 500; one that is answered goes on."""
    async with start(serve_flags=TWO, wiring="duplex") as site:
        first, second = await both_serve(site)
        slow = chat("llama3-8b", stream=True, max_tokens=3_000, ignore_eos=True)
        before = await metric(site, REQUESTS)
        asked = [asyncio.create_task(_whole(site, {**slow, "user": str(n)})) for n in range(AT_ONCE)]
        await site.until(site.in_flight, lambda count: count == AT_ONCE)
        counted = await site.until(lambda: crew(site), lambda now: sum(w["streams"] for w in now) == AT_ONCE)
        held = {w["pid"]: w["streams"] for w in counted}
        os.kill(first["pid"], signal.SIGKILL)
        whole = await asyncio.gather(*asked)
        await site.idle()
        during = await metric(site, REQUESTS) - before
        again = await site.until(lambda: crew(site), lambda now: len(now) == 2)
        await both_serve(site)  # a connection has made way for the new one
        warm = await metric(site, REQUESTS)
        later = await asyncio.gather(*(site.post(chat("llama3-8b", f"after {n}")) for n in range(20)))

        assert whole.count(False) == held[first["pid"]]
        assert held[first["pid"]] > 0
        assert held[second["pid"]] > 0
        assert [w["pid"] for w in again if w["number"] == second["number"]] == [second["pid"]]
        assert first["pid"] not in [w["pid"] for w in again]
        assert {answer.status for answer in later} == {200}
        assert during == AT_ONCE
        assert await metric(site, REQUESTS) == warm + 20
        await site.until(lambda: metric(site, "llm_d_epp_request_running"), lambda now: now == 0)
        await site.until(lambda: metric(site, IN_FLIGHT), lambda now: now == 0)


async def test_a_worker_that_hangs_is_ended_and_replaced(start: Start) -> None:
    """Its sockets stay open, so nothing but silence tells."""
    async with start(serve_flags=TWO, wiring="duplex") as site:
        first, second = await both_serve(site)
        os.kill(first["pid"], signal.SIGSTOP)
        again = await site.until(lambda: crew(site), lambda now: first["pid"] not in [w["pid"] for w in now])
        after = await site.until(lambda: crew(site), lambda now: len(now) == 2)
        await both_serve(site)
        answers = await asyncio.gather(*(site.post(chat("llama3-8b", f"after {n}")) for n in range(20)))
        log = (site.stack.plan.folder / "onehop.log").read_text()

        assert {answer.status for answer in answers} == {200}
        assert [w["pid"] for w in again] == [second["pid"]]
        assert second["pid"] in [w["pid"] for w in after]
        assert not _runs(first["pid"])
        assert await metric(site, "onehop_worker_restarts_total") == 1
        assert len([line for line in log.splitlines() if "said nothing for 10 s" in line]) == 1
        await site.until(lambda: metric(site, IN_FLIGHT), lambda now: now == 0)


async def _whole(site: Site, data: dict[str, Any]) -> bool:
    """Whether the answer came to its end."""
    try:
        answer = await site.post(data)
    except aiohttp.ClientError:
        return False
    return answer.status == 200 and answer.body.rstrip().endswith(b"[DONE]")


async def test_sigterm_drains_every_worker_without_a_failed_request(start: Start) -> None:
    async with start(serve_flags=[*TWO, "--drain-notice=1s"], keepalive_s=0.2) as site:
        await both_serve(site)
        slow = [chat("llama3-8b", f"{n}", max_tokens=2_000, ignore_eos=True) for n in range(20)]
        asked = [asyncio.create_task(site.post(data)) for data in slow]
        await site.until(site.in_flight, lambda count: count == 20)
        onehop = site.stack.onehop
        assert onehop is not None
        pids = [w["pid"] for w in await crew(site)]
        onehop.terminate()
        answers: list[Answer] = await asyncio.gather(*asked)
        code = await asyncio.to_thread(onehop.wait, 20)

        assert Counter(answer.status for answer in answers) == {200: 20}
        assert code == 0
        assert not any(_runs(pid) for pid in pids)


async def test_a_file_that_changes_counts_for_the_streams_of_both_workers(start: Start) -> None:
    async with start(serve_flags=TWO) as site:
        await both_serve(site)
        file = site.stack.plan.folder / "endpoints.json"
        listed = json.loads(file.read_text())
        (kept,) = [e for e in listed["endpoints"] if e["name"].endswith("llama3-8b-1")]
        others = [e for e in listed["endpoints"] if "phi4" in e["name"]]
        file.write_text(json.dumps({**listed, "endpoints": [kept, *others]}))
        await site.until(site.endpoints, lambda found: len(found) == 4)
        answers = await asyncio.gather(*(site.post(chat("llama3-8b", f"question {n}")) for n in range(30)))

        assert {answer.status for answer in answers} == {200}
        assert {answer.headers["x-simulated-replica"] for answer in answers} == {"llama3-8b-1"}


async def test_a_semantic_file_that_changes_counts_for_the_streams_of_both_workers(
    start: Start, tmp_path: Path
) -> None:
    file = tmp_path / "semantic.yaml"
    file.write_text(CONFIG.read_text())
    async with start(serve_flags=TWO, semantic_config=file) as site:
        await both_serve(site)
        first = await asyncio.gather(*(site.post(chat("auto", f"{SUM} {n}?")) for n in range(12)))
        file.write_text(CONFIG.read_text().replace("phi4-mini}]", "llama3-8b}]"))

        async def asked() -> Answer:
            return await site.post(chat("auto", f"{SUM} 0?"))

        await site.until(asked, lambda answer: site.replica_of(answer) == "llama3-8b")
        before = await crew(site)
        second: list[Answer] = []

        async def by_each() -> list[int]:
            second.extend(await asyncio.gather(*(site.post(chat("auto", f"{SUM} {n}?")) for n in range(AT_ONCE))))
            return [b["decisions"] - a["decisions"] for a, b in zip(before, await crew(site), strict=True)]

        await site.until(by_each, lambda decided: min(decided) > 0)

        assert {(answer.status, site.replica_of(answer)) for answer in first} == {(200, "phi4-mini")}
        assert {(answer.status, site.replica_of(answer)) for answer in second} == {(200, "llama3-8b")}
        assert await metric(site, "onehop_reload_total") == 1


async def test_workers_end_when_the_process_that_decides_is_killed(start: Start) -> None:
    async with start(serve_flags=TWO) as site:
        pids = [w["pid"] for w in await both_serve(site)]
        assert site.stack.onehop is not None
        site.stack.onehop.kill()

        async def alive() -> list[int]:
            return [pid for pid in pids if _runs(pid)]

        assert await site.until(alive, lambda left: not left) == []


def _runs(pid: int) -> bool:
    """A zombie that nobody waits for does not."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
