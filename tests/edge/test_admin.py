"""What operators can ask over HTTP."""

from __future__ import annotations

import json

import pytest
from aiohttp.test_utils import TestClient, TestServer

from epp.datastore.receipts import Receipts
from epp.domain import Receipt
from epp.edge.admin import admin_app, metrics_app
from epp.telemetry import Telemetry
from tests.make import load, pool


async def test_the_metrics_port_serves_metrics_and_nothing_else() -> None:
    over = pool("a", "b")
    over.endpoints[0].load = load(waiting=3)
    over.endpoints[1].reachable = False
    async with TestClient(TestServer(metrics_app(Telemetry(over)))) as client:
        text = await (await client.get("/metrics")).text()
        other = await client.get("/debug/pools")

    assert 'llm_d_epp_ready_endpoints{name="default"} 1.0' in text
    assert 'onehop_endpoint_reachable{model_server_endpoint="10.0.0.1:8000",name="default"} 0.0' in text
    assert 'llm_d_epp_per_endpoint_queue_size{model_server_endpoint="10.0.0.0:8000",name="default"} 3.0' in text
    assert other.status == 404


async def test_pools_show_endpoints_and_conditions() -> None:
    over = pool("a", models={"a": ["m"]})
    over.endpoints[0].inflight_requests = 2
    async with TestClient(TestServer(admin_app(over, Receipts(), {"discovery": lambda: "bad file"}))) as client:
        told = json.loads(await (await client.get("/debug/pools")).read())

    (endpoint,) = told["pools"][0]["endpoints"]
    assert (endpoint["name"], endpoint["models"], endpoint["inflight_requests"]) == ("a", ["m"], 2)
    assert told["conditions"] == {"discovery": "bad file"}


async def test_decisions_are_listed_newest_first_and_found_by_id() -> None:
    receipts = Receipts(kept_max=2)
    for name in ("old", "middle", "new"):
        receipts.add(Receipt(id=name, request_id="r", time=0.0, path="/v1", asked_model=None))
    async with TestClient(TestServer(admin_app(pool("a"), receipts, {}))) as client:
        listed = await (await client.get("/debug/decisions?count=5")).json()
        found = await (await client.get("/debug/decisions/new")).json()
        gone = await client.get("/debug/decisions/old")

    assert [d["id"] for d in listed["decisions"]] == ["new", "middle"]
    assert found["request_id"] == "r"
    assert gone.status == 404


@pytest.mark.parametrize("path", ["/debug/pools", "/debug/decisions/x", "/elsewhere"])
@pytest.mark.parametrize(
    "sent",
    [None, "", "Bearer", "Bearer wrong", "bearer s3cret", "Basic s3cret", "Bearer s3cretx", "Bearer s3cr\u00e9t"],
)
async def test_without_the_token_nothing_is_told(path: str, sent: str | None) -> None:
    headers = {} if sent is None else {"authorization": sent}
    async with TestClient(TestServer(admin_app(pool("a"), Receipts(), {}, "s3cret"))) as client:
        answer = await client.get(path, headers=headers)
        told = await answer.json()

    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert told == {"error": "the admin address asks for its token: Authorization: Bearer TOKEN"}


async def test_with_the_token_everything_is_told() -> None:
    headers = {"authorization": "Bearer s3cret"}
    async with TestClient(TestServer(admin_app(pool("a"), Receipts(), {}, "s3cret"))) as client:
        answer = await client.get("/debug/pools", headers=headers)
        missing = await client.get("/elsewhere", headers=headers)

    assert (answer.status, missing.status) == (200, 404)
