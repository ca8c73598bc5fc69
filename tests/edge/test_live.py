"""The live page's stream, its files and the prompt to try, over HTTP and without a browser."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from epp.cli import pools_table
from epp.datastore.overview import BRIEFLY_MAX
from epp.datastore.receipts import Receipts
from epp.edge.admin import More, admin_app
from epp.edge.live import Live
from epp.edge.trial import AT_ONCE_MAX, BODY_BYTES_MAX, WAITING_MAX
from tests.datastore.test_receipts import receipt
from tests.edge.until import until
from tests.make import fleet, load, pool

QUICK_S = 0.01
JSON = {"content-type": "application/json"}


async def one(answer: aiohttp.ClientResponse) -> Any:
    """The next state of a stream."""
    async with asyncio.timeout(5):
        while True:
            line = await answer.content.readline()
            assert line, "the stream has ended"
            if line.startswith(b"data: "):
                return json.loads(line[6:])


def client_of(live: Live) -> TestClient[web.Request, web.Application]:
    app = web.Application()
    app.router.add_get("/live", live.handle)
    app.on_shutdown.append(live.close)
    return TestClient(TestServer(app))


async def test_nothing_is_made_while_nobody_listens() -> None:
    live = Live(lambda: {"n": 1}, every_s=QUICK_S)
    async with client_of(live) as client:
        await asyncio.sleep(5 * QUICK_S)
        before = live.made
        answer = await client.get("/live")
        told = [await one(answer), await one(answer)]
        answer.close()
        await until(lambda: live.listeners == 0)
        after = live.made
        await asyncio.sleep(5 * QUICK_S)

    assert before == 0
    assert told == [{"n": 1}, {"n": 1}]
    assert live.made == after


async def test_all_who_listen_share_one_making_and_too_many_are_sent_away() -> None:
    live = Live(lambda: {}, every_s=QUICK_S, listeners_max=3)
    async with client_of(live) as client:
        answers = [await client.get("/live") for _ in range(3)]
        refused = await client.get("/live")
        said = await refused.json()
        for answer in answers:
            await one(answer)
        again, began = live.made, asyncio.get_running_loop().time()
        await asyncio.sleep(10 * QUICK_S)
        made, passed_s = live.made - again, asyncio.get_running_loop().time() - began
        answers[0].close()
        await until(lambda: live.listeners == 2)
        let_in = await client.get("/live")

    assert (refused.status, said["error"]) == (503, "3 listen already, and no more may")
    assert 1 <= made <= passed_s / QUICK_S + 1
    assert let_in.status == 200


async def test_a_listener_who_takes_nothing_is_dropped_and_the_others_are_not() -> None:
    live = Live(lambda: {"much": "x" * 400_000}, every_s=QUICK_S, patience_s=1.0)
    async with client_of(live) as client:
        port = client.server.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await writer.drain()
        await until(lambda: live.listeners == 1)
        good = await client.get("/live")
        async with asyncio.timeout(20):
            while live.listeners == 2:
                await one(good)
        left = live.listeners
        still = await one(good)
        writer.close()
        del reader

    assert left == 1
    assert still["much"]


async def test_the_end_of_the_process_does_not_wait_for_who_listens() -> None:
    live = Live(lambda: {}, every_s=60.0)
    client = client_of(live)
    await client.start_server()
    await one(await client.get("/live"))
    async with asyncio.timeout(5):
        await client.close()

    assert live.listeners == 0


async def test_a_defect_ends_the_streams_and_names_its_kind_only(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Any:
        raise KeyError("a prompt")

    async with client_of(Live(broken, every_s=QUICK_S)) as client:
        answer = await client.get("/live")
        async with asyncio.timeout(5):
            rest = await answer.read()

    assert (rest, "KeyError" in caplog.text, "a prompt" in caplog.text) == (b"", True, False)


async def test_the_page_and_inspect_are_told_the_same() -> None:
    over = pool("a", "b", models={"a": ["m"], "b": ["m"]})
    over.endpoints[0].load = load(waiting=3, kv_usage=0.5)
    over.endpoints[0].inflight_requests = 7
    over.endpoints[1].reachable = False
    state = {"scrape": lambda: {"b": {"/metrics": "refused"}}, "semantic": lambda: "bad file"}
    app = admin_app(fleet(over), Receipts(), state, now=lambda: 1.0, more=More(configuration=lambda: ["files"]))
    async with TestClient(TestServer(app)) as client:
        pools = await (await client.get("/debug/pools")).json()
        live = await one(await client.get("/live"))

    for key in ("conditions", "configuration", "all"):
        assert live[key] == pools[key]
    for seen, shown in zip(live["pools"][0]["endpoints"], pools["pools"][0]["endpoints"], strict=True):
        assert seen.items() <= shown.items()
        assert shown.keys() - seen.keys() == {"load", "series"}
    assert pools_table.lines({**pools, **live}) == pools_table.lines(pools)


async def test_of_many_endpoints_the_troubled_ones_are_shown_first() -> None:
    over = pool(*(f"e{n}" for n in range(BRIEFLY_MAX + 50)))
    over.endpoints[-1].reachable = False
    async with TestClient(TestServer(admin_app(fleet(over), Receipts(), {}))) as client:
        (shown,) = (await one(await client.get("/live")))["pools"]

    assert (len(shown["endpoints"]), shown["left_out"]) == (BRIEFLY_MAX, 50)
    assert shown["endpoints"][0]["name"] == f"e{BRIEFLY_MAX + 49}"


async def test_a_row_of_the_page_is_of_the_receipt_that_explain_shows() -> None:
    receipts = Receipts()
    receipts.add(receipt("7", 1.0, model="m", picked="x:1", tenant="t"))
    async with TestClient(TestServer(admin_app(fleet(pool()), receipts, {}, now=lambda: 2.0))) as client:
        (row,) = (await one(await client.get("/live")))["moment"]["rows"]
        whole = await (await client.get("/debug/decisions/7")).json()

    assert {key: whole[key] for key in row if key != "spilled"} == {k: v for k, v in row.items() if k != "spilled"}


async def test_the_files_run_no_code_but_our_own() -> None:
    async with TestClient(TestServer(admin_app(fleet(pool()), Receipts(), {}))) as client:
        page = await client.get("/")
        text = await page.text()
        named = [part.split('"')[1] for part in text.split("src=")[1:] + text.split("href=")[1:]]
        found = {name: await client.get(f"/{name}") for name in named if not name.startswith("#")}
        missing = await client.get("/page/..%2Fadmin.py")

    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "onclick" not in text
    assert "style=" not in text
    assert {each.status for each in found.values()} == {200}
    assert {each.headers["content-security-policy"] for each in found.values()} == {policy}
    assert missing.status == 404


async def test_with_a_token_the_files_are_open_and_everything_of_the_process_is_not() -> None:
    app = admin_app(fleet(pool()), Receipts(), {}, "s3cret", more=More(rehearse=nothing))
    async with TestClient(TestServer(app)) as client:
        open_ones = [(await client.get(path)).status for path in ("/", "/page/page.js")]
        shut = [(await client.get(path)).status for path in ("/live", "/debug/pools", "/debug/decisions")]
        tried = (await client.post("/debug/try", json={})).status
        known = await client.get("/live", headers={"authorization": "Bearer s3cret"})

    assert (open_ones, shut, tried, known.status) == ([200, 200], [401, 401, 401], 401, 200)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "127.0.0.1:9091"}, 200),
        ({"host": "localhost:8080"}, 200),
        ({"host": "[::1]:9091"}, 200),
        ({"host": "rebound.example:9091"}, 403),
        ({"host": "127.0.0.1.example"}, 403),
        ({"host": "localhost", "sec-fetch-site": "cross-site"}, 403),
        ({"host": "localhost", "sec-fetch-site": "same-site"}, 403),
        ({"host": "localhost", "sec-fetch-site": "same-origin"}, 200),
    ],
)
async def test_a_page_of_another_site_does_not_get_at_us(headers: Mapping[str, str], status: int) -> None:
    async with TestClient(TestServer(admin_app(fleet(pool()), Receipts(), {}))) as client:
        assert (await client.get("/debug/pools", headers=headers)).status == status


async def nothing(body: bytes, named: str | None) -> dict[str, Any] | None:
    return {"pool": named, "bytes": len(body)} if named != "gone" else None


def trying(rehearse: Any = nothing) -> TestClient[web.Request, web.Application]:
    return TestClient(TestServer(admin_app(fleet(pool()), Receipts(), {}, more=More(rehearse=rehearse))))


async def test_a_prompt_to_try_is_json_bounded_and_for_a_port_there_is() -> None:
    async with trying() as client:
        good = await (await client.post("/debug/try?pool=a", json={})).json()
        statuses = [
            (await client.post("/debug/try?pool=gone", json={})).status,
            (await client.post("/debug/try", data=b"{}", headers={"content-type": "text/plain"})).status,
            (await client.post("/debug/try", data=io.BytesIO(b"x" * BODY_BYTES_MAX + b"x"), headers=JSON)).status,
            (await client.get("/debug/try")).status,
        ]

    assert good == {"pool": "a", "bytes": 2}
    assert statuses == [404, 415, 413, 405]


async def test_too_many_tries_are_told_so() -> None:
    held = asyncio.Event()

    async def slow(body: bytes, named: str | None) -> dict[str, Any]:
        await held.wait()
        return {}

    async with trying(slow) as client:
        asks = [asyncio.ensure_future(client.post("/debug/try", json={})) for _ in range(WAITING_MAX + 3)]
        await until(lambda: sum(ask.done() for ask in asks) == 3)
        held.set()
        statuses = sorted([(await ask).status for ask in asks])

    assert statuses == [200] * WAITING_MAX + [429] * 3
    assert AT_ONCE_MAX < WAITING_MAX


async def test_a_defect_in_a_try_tells_nobody_what_was_tried(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(body: bytes, named: str | None) -> dict[str, Any]:
        raise ValueError(body.decode())

    with caplog.at_level(logging.DEBUG):
        async with trying(broken) as client:
            answer = await client.post("/debug/try", json={"secret": "canary"})
            said = await answer.text()

    assert (answer.status, said) == (500, '{"error":"unexpected ValueError"}')
    assert "canary" not in caplog.text
