"""What operators can ask over HTTP."""

from __future__ import annotations

import socket
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from epp.datastore.fleet import Fleet
from epp.datastore.objects import POOL_GROUP, Objective, PoolRef, Rewrite, RewriteRule, Target
from epp.datastore.policies import Policies
from epp.datastore.pool import Listed, Pool
from epp.datastore.receipts import Keeping, Receipts
from epp.domain import Receipt
from epp.edge.admin import PAGES, admin_app, metrics_app, serve
from epp.telemetry import Telemetry
from tests.make import fleet, load, pool


async def told(over: Fleet | Pool, state: dict[str, Any] | None = None, **more: Any) -> Any:
    """What `/debug/pools` says."""
    of = over if isinstance(over, Fleet) else fleet(over)
    async with TestClient(TestServer(admin_app(of, Receipts(), state or {}, **more))) as client:
        return await (await client.get("/debug/pools")).json()


async def test_the_metrics_port_serves_metrics_and_nothing_else() -> None:
    over = pool("a", "b")
    over.endpoints[0].load = load(waiting=3)
    over.endpoints[1].reachable = False
    async with TestClient(TestServer(metrics_app(Telemetry(fleet(over))))) as client:
        text = await (await client.get("/metrics")).text()
        other = await client.get("/debug/pools")

    assert 'llm_d_epp_ready_endpoints{name="default"} 1.0' in text
    assert 'onehop_endpoint_reachable{model_server_endpoint="10.0.0.1:8000",name="default"} 0.0' in text
    assert 'llm_d_epp_per_endpoint_queue_size{model_server_endpoint="10.0.0.0:8000",name="default"} 3.0' in text
    assert other.status == 404


async def reached(runner: web.AppRunner, *hosts: str) -> list[int]:
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as http:
        return [(await http.get(f"http://{host}:{port}/metrics")).status for host in hosts]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
async def test_every_address_is_also_every_one_of_ipv6_as_on_the_grpc_ports() -> None:
    runner = await serve(metrics_app(Telemetry(fleet(pool("a")))), "0.0.0.0", 0)
    try:
        assert await reached(runner, "127.0.0.1", "[::1]") == [200, 200]
        with pytest.raises(OSError, match=f"cannot listen on 0.0.0.0:{runner.addresses[0][1]}"):
            await serve(metrics_app(Telemetry(fleet(pool("a")))), "0.0.0.0", runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def test_without_ipv6_every_address_is_every_one_of_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.has_dualstack_ipv6", lambda: False)
    runner = await serve(metrics_app(Telemetry(fleet(pool("a")))), "0.0.0.0", 0)
    try:
        assert await reached(runner, "127.0.0.1") == [200]
    finally:
        await runner.cleanup()


async def test_pools_show_endpoints_and_conditions() -> None:
    over = pool("a", models={"a": ["m"]})
    over.endpoints[0].inflight_requests = 2
    shown = await told(over, {"discovery": lambda: "bad file"})

    (endpoint,) = shown["pools"][0]["endpoints"]
    assert (endpoint["name"], endpoint["models"], endpoint["inflight_requests"]) == ("a", ["m"], 2)
    assert shown["conditions"] == {"discovery": "bad file"}


async def test_an_endpoint_shows_its_load_and_how_old_it_is() -> None:
    over = pool("a", "b")
    over.endpoints[0].load = load(at=10.0, waiting=3, running=2, kv_usage=0.5)
    heard, silent = (await told(over, now=lambda: 12.5))["pools"][0]["endpoints"]

    assert [heard[key] for key in ("waiting", "running", "kv_usage", "age_s")] == [3, 2, 0.5, 2.5]
    assert heard["load"]["waiting"] == 3
    assert [silent[key] for key in ("waiting", "running", "kv_usage", "age_s", "load")] == [None] * 5


async def test_an_endpoint_shows_where_its_models_are_known_from() -> None:
    over = Pool()
    over.relist(
        [Listed("said", "10.0.0.1:1", declared={"m": "m"}), Listed("heard", "10.0.0.2:1"), Listed("new", "h:1")]
    )
    over.endpoints[1].models = {"m": "m", "m-lora": "m"}
    said, heard, new = (await told(over))["pools"][0]["endpoints"]

    assert (said["models"], said["models_from"]) == (["m"], "declared")
    assert (heard["models"], heard["models_from"], heard["adapters"]) == (["m", "m-lora"], "server", {"m-lora": "m"})
    assert (new["models"], new["models_from"]) == (None, None)


async def test_prompt_blocks_are_shown_where_someone_counts_them() -> None:
    over = pool("a")
    (counted,) = (await told(over, prefix=lambda endpoint: len(endpoint.name) + 6))["pools"][0]["endpoints"]
    (uncounted,) = (await told(over))["pools"][0]["endpoints"]

    assert (counted["prefix_blocks"], uncounted["prefix_blocks"]) == (7, None)


async def test_an_endpoint_that_is_left_out_says_why() -> None:
    over = pool("a", "b", "c", models={"a": ["m"], "b": ["m"], "c": ["m"]})
    over.endpoints[1].reachable = over.endpoints[2].reachable = False
    scrape = {"b": {"/metrics": "connection refused", "/v1/models": "connection refused"}, "gone": {"/metrics": "x"}}
    shown = (await told(over, {"scrape": lambda: scrape}))["pools"][0]

    assert [e["ejected"] for e in shown["endpoints"]] == [None, "connection refused", "it does not answer"]
    assert shown["endpoints"][1]["troubles"] == scrape["b"]
    assert shown["conditions"] == ["2 of 3 endpoints do not answer and get no requests"]


async def test_where_no_endpoint_answers_none_is_left_out() -> None:
    over = pool("a", "b")
    for endpoint in over.endpoints:
        endpoint.reachable = False
    shown = (await told(over, {"scrape": lambda: {"a": {"/metrics": "refused"}}}))["pools"][0]["endpoints"]

    assert [(e["reachable"], e["ejected"]) for e in shown] == [(False, None)] * 2
    assert shown[0]["troubles"] == {"/metrics": "refused"}


@pytest.mark.parametrize(
    ("names", "reachable", "said"),
    [
        ((), True, "it has no endpoint"),
        (("a", "b"), False, "no endpoint answers us; all of them are tried all the same"),
        (("a", "b"), True, "2 of 2 endpoints: nobody has said which models"),
    ],
)
async def test_a_pool_says_in_words_what_is_wrong_with_it(names: tuple[str, ...], reachable: bool, said: str) -> None:
    over = Pool()
    over.relist(Listed(name, f"{name}:1") for name in names)
    for endpoint in over.endpoints:
        endpoint.reachable = reachable

    assert (await told(over))["pools"][0]["conditions"][0].startswith(said)


async def test_a_pool_shows_objectives_rewrites_and_conflicts_in_words() -> None:
    ref = PoolRef(POOL_GROUP, "chat")
    rule = RewriteRule(("gpt",), (Target("llama"),))
    over = Fleet(home="shop")
    over.pool("shop/chat").policies = Policies(
        ["shop/chat"],
        [Objective("shop", "urgent", ref, 10), Objective("shop", "batch", ref, -1)],
        [
            Rewrite("shop", "old", "2026-01-01", "1", ref, (rule,)),
            Rewrite(
                "shop", "new", "2026-01-02", "2", ref, (rule, RewriteRule((), (Target("phi", 3), Target("llama", 1))))
            ),
        ],
    )
    over.relist("shop/chat", [Listed("a", "a:1")])
    shown = await told(over)
    (chat,) = shown["pools"]

    assert (chat["key"], chat["name"]) == ("shop/chat", "chat")
    assert chat["objectives"] == {"batch": -1, "urgent": 10}
    assert chat["rewrites"] == [
        {"model": "gpt", "rewrite": "shop/old", "rule": 0, "targets": {"llama": 1.0}},
        {"model": None, "rewrite": "shop/new", "rule": 1, "targets": {"phi": 0.75, "llama": 0.25}},
    ]
    assert len(chat["conflicts"]) == 1
    assert chat["conflicts"][0].startswith(
        "InferenceModelRewrite shop/new: the model `gpt` is rewritten by more than one"
    )
    assert shown["all"] == {"endpoints": 1, "objectives": {}, "rewrites": [], "conflicts": []}


async def test_an_endpoint_of_two_pools_is_shown_in_both_with_one_ledger() -> None:
    over = Fleet()
    for key in ("x", "y"):
        over.relist(key, [Listed("a", "a:1")])
    over.all.lease(over.all.endpoints[0], 100)
    shown = await told(over)

    assert [p["endpoints"][0]["inflight_tokens"] for p in shown["pools"]] == [100, 100]
    assert shown["all"]["endpoints"] == 1


async def test_the_index_lists_every_page_there_is() -> None:
    async with TestClient(TestServer(admin_app(fleet(pool("a")), Receipts(), {}))) as client:
        listed = (await (await client.get("/debug")).json())["onehop"]
        plain = [await client.get(path) for path in listed if "{" not in path]

    assert listed == {path: what for path, what in PAGES.items() if path != "/debug/try"}  # nobody here can try one
    assert [answer.status for answer in plain] == [200, 200, 200, 200]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/debugging", 404),
        ("GET", "/debug/pool", 404),
        ("POST", "/debug/pools", 405),
        ("DELETE", "/debug/decisions", 405),
    ],
)
async def test_a_wrong_path_or_method_is_told_in_json(method: str, path: str, status: int) -> None:
    async with TestClient(TestServer(admin_app(fleet(pool("a")), Receipts(), {}))) as client:
        answer = await client.request(method, path)
        said = await answer.json()

    assert answer.status == status
    assert list(said) == ["error"]
    assert answer.headers.get("allow") == (None if status == 404 else "GET, HEAD")


@pytest.mark.parametrize("count", ["0", "-5", "many", "", "99999999999999"])
async def test_a_count_that_is_none_is_refused(count: str) -> None:
    async with TestClient(TestServer(admin_app(fleet(pool("a")), Receipts(), {}))) as client:
        answer = await client.get("/debug/decisions", params={"count": count})
        said = await answer.json()

    assert answer.status == 400
    assert said == {"error": "count is a whole number from 1 to 200"}


async def test_decisions_are_listed_newest_first_and_found_by_id() -> None:
    receipts = Receipts(keeping=Keeping(3))
    for name in ("old", "middle", "new"):
        receipts.add(Receipt(id=name, request_id="r", time=0.0, path="/v1", asked_model=None))
    async with TestClient(TestServer(admin_app(fleet(pool("a")), receipts, {}))) as client:
        listed = await (await client.get("/debug/decisions?count=5")).json()
        found = await (await client.get("/debug/decisions/new")).json()
        gone = await client.get("/debug/decisions/old")

    assert [d["id"] for d in listed["decisions"]] == ["new", "middle"]
    assert found["request_id"] == "r"
    assert gone.status == 404


@pytest.mark.parametrize("path", ["/debug", "/debug/pools", "/debug/decisions/x", "/elsewhere"])
@pytest.mark.parametrize(
    "sent",
    [None, "", "Bearer", "Bearer wrong", "bearer s3cret", "Basic s3cret", "Bearer s3cretx", "Bearer s3cr\u00e9t"],
)
async def test_without_the_token_nothing_is_told(path: str, sent: str | None) -> None:
    headers = {} if sent is None else {"authorization": sent}
    async with TestClient(TestServer(admin_app(fleet(pool("a")), Receipts(), {}, "s3cret"))) as client:
        answer = await client.get(path, headers=headers)
        said = await answer.json()

    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert said == {"error": "the admin address asks for its token: Authorization: Bearer TOKEN"}


async def test_with_the_token_everything_is_told() -> None:
    headers = {"authorization": "Bearer s3cret"}
    async with TestClient(TestServer(admin_app(fleet(pool("a")), Receipts(), {}, "s3cret"))) as client:
        answer = await client.get("/debug/pools", headers=headers)
        missing = await client.get("/elsewhere", headers=headers)

    assert (answer.status, missing.status) == (200, 404)


async def test_decisions_are_shown_by_tenant_and_pool() -> None:
    receipts = Receipts()
    for name, tenant, over in (("1", "team-a", "llama"), ("2", "team-b", "llama"), ("3", "team-a", "phi")):
        receipts.add(Receipt(name, name, 0.0, "/", None, pool=over, tenant=tenant))
    async with TestClient(TestServer(admin_app(fleet(pool("a")), receipts, {}))) as client:

        async def ids(query: str) -> list[str]:
            listed = await (await client.get(f"/debug/decisions?{query}")).json()
            return [decision["id"] for decision in listed["decisions"]]

        assert await ids("tenant=team-a") == ["3", "1"]
        assert await ids("tenant=team-a&pool=llama") == ["1"]
        assert await ids("pool=llama&count=1") == ["2"]
        assert await ids("tenant=nobody") == []
