"""Requests through a real Envoy, in the one-hop wiring and in full duplex."""

from __future__ import annotations

import json

import pytest

from tests.e2e.client import Site, chat

pytestmark = pytest.mark.asyncio(loop_scope="module")
MATH = "What is 2+2 * (5-1)?"


async def test_auto_goes_to_the_model_of_its_category(site: Site) -> None:
    answer = await site.post(chat("auto", MATH))

    assert answer.status == 200
    assert site.replica_of(answer) == "phi4-mini"
    assert answer.json["model"] == "phi4-mini"
    assert answer.headers["x-vsr-selected-model"] == "phi4-mini"
    assert answer.headers["x-vsr-selected-decision"] == "math_decision"
    assert answer.headers["x-vsr-selected-category"] == "math"
    assert answer.headers["x-onehop-classification"] == "full"


@pytest.mark.parametrize("alias", ["auto", "MoM", "vllm-sr/auto"])
async def test_every_alias_is_classified(site: Site, alias: str) -> None:
    answer = await site.post(chat(alias, "Who was the first emperor of Rome?"))

    assert (answer.status, site.replica_of(answer)) == (200, "llama3-8b")
    assert answer.headers["x-vsr-selected-category"] == "history"


@pytest.mark.parametrize("model", ["llama3-8b", "phi4-mini"])
async def test_an_explicit_model_bypasses_classification(site: Site, model: str) -> None:
    answer = await site.post(chat(model, MATH))

    assert (answer.status, site.replica_of(answer)) == (200, model)
    assert "x-vsr-selected-category" not in answer.headers
    assert answer.headers["x-onehop-classification"] == "skipped"


async def test_the_receipt_tells_what_was_served(site: Site) -> None:
    answer = await site.post(chat("phi4-mini"))
    receipt = await site.receipt(answer)

    assert receipt["picked"] == receipt["served"]
    assert len(receipt["endpoints"]) == 3
    assert receipt["picked"] in site.stack.pools()["phi4-mini"]


async def test_an_unknown_model_is_a_404_that_names_the_models(site: Site) -> None:
    answer = await site.post(chat("gpt-9"))

    assert answer.status == 404
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["error"]["code"] == "model_not_found"
    assert "llama3-8b" in answer.json["error"]["message"]


@pytest.mark.parametrize("body", [b"no json", b'{"model": "auto"', b'{"model": "llama3-8b"}', b"", b"\xff\xfe"])
async def test_a_bad_body_is_a_400_in_openais_shape(site: Site, body: bytes) -> None:
    answer = await site.post(body)

    assert answer.status == 400
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert answer.json["error"]["code"] in {"bad_request", "model_missing"}


@pytest.mark.parametrize("size", [1, 62_000, 62_001, 1 << 20])
async def test_bodies_arrive_whole_with_a_new_model(site: Site, size: int) -> None:
    answer = await site.post(chat("auto", MATH + " x" * (size // 2), max_tokens=1))

    assert answer.status == 200
    assert answer.json["usage"]["prompt_tokens"] >= size // 5


async def test_a_body_over_the_limit_is_a_413(site: Site) -> None:
    answer = await site.post(chat("auto", "x" * (21 << 20)))

    assert answer.status == 413
    assert answer.json["error"]["code"] == "body_too_large"


async def test_a_stream_comes_through_event_by_event(site: Site) -> None:
    url = f"{site.stack.url}/v1/chat/completions"
    async with site.http.post(url, json=chat("auto", MATH, stream=True, max_tokens=200, ignore_eos=True)) as answer:
        first = await answer.content.readline()
        still_running = await site.in_flight()
        rest = (await answer.read()).decode()
    events = [line[6:] for line in rest.splitlines() if line.startswith("data: ")]

    assert answer.headers["x-vsr-selected-model"] == "phi4-mini"
    assert first.startswith(b"data: {")
    assert still_running == 1
    assert events[-1] == "[DONE]"
    assert sum("content" in json.loads(e)["choices"][0]["delta"] for e in events[:-1]) >= 190


async def test_models_are_the_union_and_the_aliases(site: Site) -> None:
    async with site.http.get(f"{site.stack.url}/v1/models") as answer:
        names = [m["id"] for m in (await answer.json())["data"]]

    assert {"llama3-8b", "phi4-mini", "auto", "MoM", "vllm-sr/auto"} == set(names)
    assert len(names) == len(set(names))


async def test_a_client_that_leaves_is_forgotten_everywhere(site: Site) -> None:
    url = f"{site.stack.url}/v1/chat/completions"
    answer = await site.http.post(url, json=chat("llama3-8b", stream=True, max_tokens=4000, ignore_eos=True))
    await answer.content.readline()
    during = await site.in_flight()
    answer.close()
    await site.idle()

    async def working() -> int:
        return sum(replica.in_flight for replica in site.stack.fleet.replicas)

    assert during == 1
    await site.until(working, lambda count: count == 0)  # Envoy tells us and the replica at about the same time


async def test_the_clients_own_decision_headers_decide_nothing(site: Site) -> None:
    elsewhere = site.stack.pools()["llama3-8b"][0]
    lies = {"x-selected-model": "llama3-8b", "x-gateway-destination-endpoint": elsewhere}
    answer = await site.post(chat("phi4-mini"), **lies)

    assert (answer.status, site.replica_of(answer)) == (200, "phi4-mini")


async def test_metrics_count_what_happened(site: Site) -> None:
    await site.post(chat("phi4-mini"))
    async with site.http.get(f"http://127.0.0.1:{site.stack.metrics_port}/metrics") as answer:
        text = await answer.text()

    labels = 'fairness_id="default-flow",model_name="phi4-mini",priority="0",target_model_name="phi4-mini"'
    assert f"llm_d_epp_request_total{{{labels}}}" in text
    assert 'llm_d_epp_ready_endpoints{name="default"} 6.0' in text
