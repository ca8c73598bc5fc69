"""Simulated replicas over real sockets, as a client sees them."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import uvloop

from benchmarks.simulator.fleet import FleetError, ReplicaSpec, SimulatedFleet, SimulatedReplica
from benchmarks.simulator.member import DRAIN_SECONDS_MAX

FAST = 0.02


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


@pytest.fixture
async def fleet() -> AsyncIterator[SimulatedFleet]:
    specs = [
        ReplicaSpec("a", models=("llama3-8b", "auto"), adapters=("law", "code")),
        ReplicaSpec("b", models=("phi4-mini",), context_tokens_max=1000),
    ]
    async with SimulatedFleet(specs, time_factor=FAST) as fleet:
        yield fleet


def ask(text: str = "hello", **extra: object) -> dict[str, object]:
    return {"model": "llama3-8b", "messages": [{"role": "user", "content": text}], "max_tokens": 20, **extra}


async def post(http: aiohttp.ClientSession, replica: SimulatedReplica, body: object, **extra: Any) -> tuple[int, Any]:
    async with http.post(f"{replica.url}/v1/chat/completions", json=body, **extra) as response:
        return response.status, await response.json()


async def events(response: aiohttp.ClientResponse) -> list[Any]:
    lines = [line.strip().removeprefix(b"data: ") async for line in response.content if line.strip()]
    assert lines.pop() == b"[DONE]"
    return [json.loads(line) for line in lines]


async def metrics(http: aiohttp.ClientSession, replica: SimulatedReplica) -> dict[str, float]:
    async with http.get(f"{replica.url}/metrics") as response:
        lines = (await response.text()).splitlines()
    values = (line.rsplit(" ", 1) for line in lines if not line.startswith("#") and "_bucket" not in line)
    return {name.partition("{")[0]: float(value) for name, value in values}


async def idle(replica: SimulatedReplica) -> None:
    while replica.in_flight:
        await asyncio.sleep(0.001)


async def test_a_chat_answer_has_the_shape_of_openai(fleet: SimulatedFleet, http: aiohttp.ClientSession) -> None:
    status, answer = await post(http, fleet["a"], ask(model="auto"))

    assert status == 200
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "auto", "the name that was asked for"
    (choice,) = answer["choices"]
    assert choice["message"]["content"].startswith("Simulated answer of llama3-8b: ")
    assert choice["finish_reason"] in ("stop", "length")
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 0 < usage["completion_tokens"] <= 20
    assert len(choice["message"]["content"]) == 4 * usage["completion_tokens"]


async def test_a_stream_brings_one_token_a_chunk_and_usage_when_asked(
    fleet: SimulatedFleet, http: aiohttp.ClientSession
) -> None:
    body = ask(stream=True, stream_options={"include_usage": True}, ignore_eos=True)
    async with http.post(f"{fleet['a'].url}/v1/chat/completions", json=body) as response:
        assert response.content_type == "text/event-stream"
        assert response.headers["x-simulated-replica"] == "a"
        role, *chunks, usage = await events(response)

    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert len(chunks) == 20
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk["model"] for chunk in chunks} == {"llama3-8b"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert usage["usage"]["completion_tokens"] == 20


async def test_streams_carry_no_usage_unless_asked(fleet: SimulatedFleet, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{fleet['a'].url}/v1/chat/completions", json=ask(stream=True)) as response:
        chunks = await events(response)

    assert all("usage" not in chunk for chunk in chunks)


async def test_completions_answer_text(fleet: SimulatedFleet, http: aiohttp.ClientSession) -> None:
    body = {"prompt": "once", "max_tokens": 5}
    async with http.post(f"{fleet['a'].url}/v1/completions", json=body) as response:
        answer = await response.json()
    async with http.post(f"{fleet['a'].url}/v1/completions", json={**body, "stream": True}) as response:
        chunks = await events(response)

    assert answer["object"] == "text_completion"
    assert answer["model"] == "llama3-8b"
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == answer["choices"][0]["text"]


async def test_a_router_may_ask_for_the_tokens_of_a_prompt(fleet: SimulatedFleet, http: aiohttp.ClientSession) -> None:
    replica = fleet.replicas[0]
    asked = {"model": "llama3-8b", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    _, answer = await post(http, replica, asked)
    async with http.post(f"{replica.url}/tokenize", json=asked) as response:
        told = await response.json()
    async with http.post(f"{replica.url}/tokenize", json={"prompt": [7, 8, 9]}) as response:
        numbers = await response.json()
    async with http.post(f"{replica.url}/tokenize", data=b'{"messages": 3}') as response:
        refused = response.status

    assert told["count"] == len(told["tokens"]) == answer["usage"]["prompt_tokens"]
    assert numbers["tokens"] == [7, 8, 9]
    assert refused == 400


async def test_models_name_aliases_and_adapters(fleet: SimulatedFleet, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{fleet['a'].url}/v1/models") as response:
        listed = await response.json()

    assert listed["object"] == "list"
    assert {card["id"]: card["parent"] for card in listed["data"]} == {
        "llama3-8b": None,
        "auto": None,
        "law": "llama3-8b",
        "code": "llama3-8b",
    }


async def test_an_adapter_answers_and_shows_in_the_metrics(fleet: SimulatedFleet, http: aiohttp.ClientSession) -> None:
    status, answer = await post(http, fleet["a"], ask(model="law"))

    assert status == 200
    assert answer["model"] == "law"
    assert "vllm:lora_requests_info" in await metrics(http, fleet["a"])
    assert "vllm:lora_requests_info" not in await metrics(http, fleet["b"])


async def test_an_unknown_model_is_vllms_404(fleet: SimulatedFleet, http: aiohttp.ClientSession) -> None:
    status, answer = await post(http, fleet["b"], ask(model="gpt"))

    error = {"message": "The model `gpt` does not exist.", "type": "NotFoundError", "param": "model", "code": 404}
    assert (status, answer) == (404, {"error": error})


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b'{"model": "llama3-8b"}', b'{"messages": [], "max_tokens": -1}'])
async def test_bad_bodies_are_400(fleet: SimulatedFleet, http: aiohttp.ClientSession, body: bytes) -> None:
    async with http.post(f"{fleet['a'].url}/v1/chat/completions", data=body) as response:
        answer = await response.json()

    assert response.status == answer["error"]["code"] == 400


async def test_a_prompt_beyond_the_context_is_400_and_says_the_limit(
    fleet: SimulatedFleet, http: aiohttp.ClientSession
) -> None:
    status, answer = await post(http, fleet["b"], ask("x" * 5000, model="phi4-mini"))

    assert status == 400
    assert "maximum context length is 1000 tokens" in answer["error"]["message"]


async def test_a_megabyte_is_read_and_more_than_32_mebibytes_are_not(http: aiohttp.ClientSession) -> None:
    async with SimulatedFleet([ReplicaSpec("a", models=("llama3-8b",))], time_factor=1e-4) as fleet:
        status, answer = await send(http, fleet["a"], ask("x" * 2**20, max_tokens=2))
        assert status == 200
        assert answer["usage"]["prompt_tokens"] > 2**18

        status, answer = await send(http, fleet["a"], ask("x" * 32 * 2**20))
        assert status == answer["error"]["code"] == 413


async def send(http: aiohttp.ClientSession, replica: SimulatedReplica, body: object) -> tuple[int, Any]:
    """Post a large body, as a file."""
    file = io.BytesIO(json.dumps(body).encode())
    async with http.post(f"{replica.url}/v1/chat/completions", data=file) as response:
        return response.status, await response.json()


async def test_a_second_turn_reports_cached_tokens_of_prompt_and_answer(
    fleet: SimulatedFleet, http: aiohttp.ClientSession
) -> None:
    turns = [{"role": "user", "content": "tell me " * 100}]
    _, first = await post(http, fleet["a"], ask(messages=turns, max_tokens=100, ignore_eos=True))
    turns += [first["choices"][0]["message"], {"role": "user", "content": "go on"}]

    _, second = await post(http, fleet["a"], ask(messages=turns))
    _, salted = await post(http, fleet["a"], ask(messages=turns, cache_salt="mine"))

    assert first["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    known = first["usage"]["prompt_tokens"] + 99
    assert known - 16 < cached <= known
    assert salted["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


async def test_metrics_count_what_was_done(fleet: SimulatedFleet, http: aiohttp.ClientSession) -> None:
    answers = [(await post(http, fleet["a"], ask("same words " * 20, ignore_eos=True)))[1] for _ in range(3)]

    seen = await metrics(http, fleet["a"])
    usages = [answer["usage"] for answer in answers]
    assert seen["vllm:prompt_tokens_total"] == sum(usage["prompt_tokens"] for usage in usages)
    assert seen["vllm:generation_tokens_total"] == 60
    assert seen["vllm:prefix_cache_hits_total"] == sum(u["prompt_tokens_details"]["cached_tokens"] for u in usages) > 0
    assert seen["vllm:e2e_request_latency_seconds_count"] == 3
    assert seen["vllm:inter_token_latency_seconds_count"] == 57
    assert seen["vllm:num_requests_running"] == seen["vllm:kv_cache_usage_perc"] == 0
    assert (await metrics(http, fleet["b"]))["vllm:prompt_tokens_total"] == 0


async def test_load_shows_while_it_lasts(http: aiohttp.ClientSession) -> None:
    spec = ReplicaSpec("a", models=("llama3-8b",), sequences_max=2)
    async with SimulatedFleet([spec], time_factor=FAST) as fleet:
        body = ask(max_tokens=10_000, ignore_eos=True)
        asked = [asyncio.create_task(post(http, fleet["a"], body)) for _ in range(5)]
        while (seen := await metrics(http, fleet["a"]))["vllm:num_requests_waiting"] < 3:
            await asyncio.sleep(0.001)

        assert seen["vllm:num_requests_running"] == 2
        assert seen["vllm:kv_cache_usage_perc"] > 0
        assert fleet["a"].in_flight == fleet["a"].requests_seen == 5
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        await idle(fleet["a"])
        assert fleet["a"].driver.replica.stats.aborted == 5
        assert (await metrics(http, fleet["a"]))["vllm:num_requests_running"] == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_aborts_its_request(
    fleet: SimulatedFleet, http: aiohttp.ClientSession, stream: bool
) -> None:
    replica = fleet["a"]
    body = json.dumps(ask(max_tokens=100_000, ignore_eos=True, stream=stream)).encode()
    _, writer = await asyncio.open_connection(replica.address, replica.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    while not replica.in_flight or not replica.driver.replica.stats.ttft.count:
        await asyncio.sleep(0.001)
    writer.transport.abort()

    await idle(replica)

    assert replica.driver.replica.in_flight == 0
    assert replica.driver.replica.stats.aborted == 1
    assert replica.driver.replica.scheduler.cache.pool.usage == 0


async def test_a_reader_that_does_not_read_holds_nobody_else_up(
    fleet: SimulatedFleet, http: aiohttp.ClientSession
) -> None:
    replica = fleet["a"]
    body = json.dumps(ask(max_tokens=50_000, ignore_eos=True, stream=True)).encode()
    _, lazy = await asyncio.open_connection(replica.address, replica.port, limit=1024)
    lazy.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    status, _ = await post(http, replica, ask())

    assert status == 200
    lazy.transport.abort()
    await idle(replica)


async def test_a_failure_can_be_asked_for(fleet: SimulatedFleet, http: aiohttp.ClientSession) -> None:
    status, answer = await post(http, fleet["a"], ask(), headers={"x-simulate-status": "503"})
    bad, _ = await post(http, fleet["a"], ask(), headers={"x-simulate-status": "soon"})

    assert (status, answer["error"]["code"], bad) == (503, 503, 400)
    assert fleet["a"].requests_seen == 2
    assert fleet["a"].driver.replica.stats.finished == 0


async def test_a_killed_replica_drops_its_streams_and_comes_back_cold_on_its_port(
    fleet: SimulatedFleet, http: aiohttp.ClientSession
) -> None:
    replica = fleet["a"]
    port = replica.port
    await post(http, replica, ask("warm " * 100))
    body = ask(max_tokens=100_000, ignore_eos=True, stream=True)
    async with http.post(f"{replica.url}/v1/chat/completions", json=body) as response:
        await response.content.readline()
        await fleet.kill("a")
        with pytest.raises(aiohttp.ClientError):
            await response.read()
    with pytest.raises(aiohttp.ClientConnectorError):
        await post(http, replica, ask())
    assert not replica.up
    assert replica.in_flight == 0

    await fleet.start("a")
    status, answer = await post(http, replica, ask("warm " * 100))

    assert (status, replica.port) == (200, port)
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert replica.requests_seen == 3


def test_a_killed_replica_drops_its_streams_on_uvloop_too() -> None:
    async def scene() -> None:
        async with (
            SimulatedFleet([ReplicaSpec("a", models=("llama3-8b",))]) as fleet,
            aiohttp.ClientSession() as http,
            http.post(f"{fleet['a'].url}/v1/chat/completions", json=ask(stream=True, ignore_eos=True)) as response,
        ):
            await response.content.readline()
            await fleet.kill("a")
            with pytest.raises(aiohttp.ClientError):
                await response.read()

    uvloop.run(asyncio.wait_for(scene(), DRAIN_SECONDS_MAX))


async def test_a_stopped_replica_ends_its_answers_first(fleet: SimulatedFleet, http: aiohttp.ClientSession) -> None:
    replica = fleet["a"]
    async with http.post(
        f"{replica.url}/v1/chat/completions", json=ask(max_tokens=200, ignore_eos=True, stream=True)
    ) as response:
        stopping = asyncio.create_task(fleet.stop("a"))
        chunks = await events(response)
        await stopping

    assert len(chunks) == 201
    with pytest.raises(aiohttp.ClientConnectorError):
        await post(http, replica, ask())


async def test_killing_twice_and_stopping_what_is_down_is_harmless(fleet: SimulatedFleet) -> None:
    await fleet.kill("a")
    await fleet.kill("a")
    await fleet.stop("a")


async def test_a_slow_replica_stays_slow_over_a_restart(fleet: SimulatedFleet, http: aiohttp.ClientSession) -> None:
    slow, normal = fleet["a"], fleet["b"]
    slow.slowdown = 50.0
    await fleet.kill("a")
    await fleet.start("a")

    await post(http, slow, ask(ignore_eos=True))
    await post(http, normal, ask(model="phi4-mini", ignore_eos=True))

    assert slow.driver.replica.stats.itl.sum > 50 * normal.driver.replica.stats.itl.sum


async def test_health_is_200(fleet: SimulatedFleet, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{fleet['b'].url}/health") as response:
        assert response.status == 200


async def test_many_streams_at_once_all_end_whole(fleet: SimulatedFleet, http: aiohttp.ClientSession) -> None:
    async def one(i: int) -> int:
        body = ask(f"question {i}", max_tokens=30, ignore_eos=True, stream=True)
        async with http.post(f"{fleet['a'].url}/v1/chat/completions", json=body) as response:
            return len(await events(response))

    assert await asyncio.gather(*(one(i) for i in range(300))) == [31] * 300
    assert fleet["a"].driver.replica.stats.generation_tokens == 300 * 30


async def test_a_taken_port_is_named_and_nothing_stays_up(fleet: SimulatedFleet) -> None:
    taken = fleet["a"].port
    specs = [ReplicaSpec("x", models=("m",)), ReplicaSpec("y", models=("m",), port=taken)]
    second = SimulatedFleet(specs)

    with pytest.raises(FleetError, match=f"replica y: cannot listen on 127.0.0.1:{taken}: the port is taken"):
        await second.__aenter__()

    assert not any(replica.up for replica in second.replicas)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"gpu": "tpu"}, "no time constants for gpu 'tpu'"),
        ({"profile": "gpt"}, "no time constants for model 'gpt'"),
        ({"models": ()}, "models must name at least one model"),
        ({"models": ('a"b',)}, "is not a name"),
        ({"port": 70000}, "port must be from 0 to 65535"),
        ({"kv_tokens": 100, "context_tokens_max": 200}, "context_tokens_max must be"),
        ({"output_tokens_median": 0}, "output_tokens_median must be at least 1"),
    ],
)
def test_a_bad_spec_says_what_is_wrong(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        ReplicaSpec(**{"name": "a", "models": ("m",), **changes})


def test_two_replicas_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        SimulatedFleet([ReplicaSpec("a", models=("m",)), ReplicaSpec("a", models=("n",))])
