"""`onehop serve` against an API server: readiness, ports of pools, two filters, leaders, events."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as envoy
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as envoy_grpc

from epp.cli.stack import free_ports
from epp.edge.kube.client import Resource
from epp.edge.members import PODS
from tests.cli.test_serve import NOT_SERVING, PLAIN, SERVING, Running, connected, running
from tests.edge.test_cluster import OBJECTIVES, POOLS, REWRITES, of_pool, pod, pool
from tests.edge.until import until
from tests.kubeapi.server import ApiServer
from tests.make import chat

LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
EVENTS = Resource("", "v1", "events", "Event")
NEW_EVENTS = Resource("events.k8s.io", "v1", "events", "Event")
DESTINATION = "x-gateway-destination-endpoint"
LLAMA, PHI = "127.0.0.21:9", "127.0.0.22:9"  # nobody answers there: what they serve is told by their labels


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer(POOLS, PODS, OBJECTIVES, REWRITES, LEASES, EVENTS, NEW_EVENTS) as server:
        for name, model in (("llama", "llama3-8b"), ("phi", "phi4-mini")):
            server.put(POOLS, "llm", name, pool(name, 9))
            ip = {"llama": LLAMA, "phi": PHI}[name].partition(":")[0]
            server.put(PODS, "llm", name, pod(name, ip, model=model, tier="gpu"))
        yield server


@contextlib.asynccontextmanager
async def serving(api: ApiServer, tmp_path: Path, *flags: str, ready: int | None = SERVING) -> AsyncIterator[Running]:
    await asyncio.to_thread(tmp_path.mkdir, exist_ok=True)
    config = api.kubeconfig(tmp_path, {})
    flags = (PLAIN, "--model-label=model", "--drain-notice=0s", *flags)
    async with running(tmp_path, *flags, source=f"--kubeconfig={config}", ready=ready, NAMESPACE="") as onehop:
        yield onehop


async def asked(port: int, model: str, *, buffered: bool = False, **more: str) -> Any:
    """What one request for a model is answered at its body: the common response, or the answer of our own."""
    async with connected(port) as channel:
        call = envoy_grpc.ExternalProcessorStub(channel).Process()  # type: ignore[no-untyped-call]  # generated
        head = envoy.ProcessingRequest()
        mode = 2 if buffered else 4
        head.protocol_config.request_body_mode, head.protocol_config.response_body_mode = mode, 0 if buffered else 4
        given = {":method": "POST", ":path": "/v1/chat/completions", "x-request-id": "r-1", **more}
        for key, value in given.items():
            head.request_headers.headers.headers.add(key=key, raw_value=value.encode())
        await call.write(head)
        if buffered:
            await call.read()
        body = envoy.ProcessingRequest()
        body.request_body.body, body.request_body.end_of_stream = chat(model), True
        await call.write(body)
        reply = await call.read()
        await call.done_writing()
        if reply.HasField("immediate_response"):
            return reply.immediate_response
        return (reply.request_body if buffered else reply.request_headers).response


async def models_of(port: int) -> list[str]:
    """What `GET /v1/models` says there, without the aliases that are always the same."""
    async with connected(port) as channel:
        call = envoy_grpc.ExternalProcessorStub(channel).Process()  # type: ignore[no-untyped-call]  # generated
        head = envoy.ProcessingRequest()
        head.request_headers.end_of_stream = True
        for key, value in {":method": b"GET", ":path": b"/v1/models"}.items():
            head.request_headers.headers.headers.add(key=key, raw_value=value)
        await call.write(head)
        listed = json.loads((await call.read()).immediate_response.body)
        await call.done_writing()
    return sorted({model["id"] for model in listed["data"]} - {"MoM", "vllm-sr/auto"})


def set_headers(common: Any) -> dict[str, str]:
    return {o.header.key: o.header.raw_value.decode() for o in common.header_mutation.set_headers}


async def conditions(onehop: Running) -> Any:
    async with aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{onehop.admin_port}/debug/pools"
        return (await (await http.get(url)).json())["conditions"]


@pytest.mark.usefixtures("workers")
async def test_it_is_ready_with_its_pool_and_not_without(api: ApiServer, tmp_path: Path) -> None:
    api.remove(POOLS, "llm", "llama")
    async with serving(api, tmp_path, "--pool-name=llama", ready=NOT_SERVING) as onehop:
        await until(lambda: ("watch", "inferencepools") in api.asked)
        refused = await asked(onehop.grpc_port, "llama3-8b")
        before = await onehop.health(), await onehop.health("liveness")
        api.put(POOLS, "llm", "llama", pool("llama", 9))
        await onehop.until(SERVING)
        there = set_headers(await asked(onehop.grpc_port, "llama3-8b"))
        api.remove(POOLS, "llm", "llama")
        await onehop.until(NOT_SERVING)

    assert before == (NOT_SERVING, SERVING)
    assert refused.status.code == 503
    assert there[DESTINATION] == LLAMA


@pytest.mark.usefixtures("workers")
async def test_each_port_decides_over_its_pools(api: ApiServer, tmp_path: Path) -> None:
    llama, phi = free_ports(2)
    async with serving(api, tmp_path, f"--pool=llama={llama}", f"--pool=llm/phi={phi}") as onehop:
        both = [set_headers(await asked(onehop.grpc_port, m))[DESTINATION] for m in ("llama3-8b", "phi4-mini")]
        own = set_headers(await asked(phi, "phi4-mini"))[DESTINATION]
        foreign = await asked(llama, "phi4-mini")

        models = await models_of(llama), await models_of(onehop.grpc_port)

    assert models == (["auto", "llama3-8b"], ["auto", "llama3-8b", "phi4-mini"])
    assert both == [LLAMA, PHI]
    assert own == PHI
    assert (foreign.status.code, json.loads(foreign.body)["error"]["code"]) == (404, "model_not_found")


@pytest.mark.usefixtures("workers")
async def test_the_guides_two_filters_agree_across_processes(api: ApiServer, tmp_path: Path) -> None:
    semantic, phi = free_ports(2)
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    flags = (f"--decision-key-file={key}", "--default-model=phi4-mini")
    front = serving(api, tmp_path / "front", "--pool=llama", "--pool=phi", f"--semantic-port={semantic}", *flags)
    pickers = serving(api, tmp_path / "pickers", f"--pool=phi={phi}", *flags)
    async with front, pickers as picker:
        chosen = await asked(semantic, "auto", buffered=True)
        told = set_headers(chosen)
        carried = {name: told[name] for name in ("x-selected-model", "x-onehop-decision")}
        picked = set_headers(await asked(phi, json.loads(chosen.body_mutation.body)["model"], **carried))
        forged = await asked(phi, "phi4-mini", **{"x-selected-model": "phi4-mini"})
        async with aiohttp.ClientSession() as http:
            found = await (await http.get(f"http://127.0.0.1:{picker.admin_port}/debug/decisions")).json()

    assert (told["x-selected-model"], DESTINATION in told) == ("phi4-mini", False)
    assert chosen.clear_route_cache
    assert picked[DESTINATION] == PHI
    assert json.loads(forged.body)["error"]["code"] == "decision_missing"
    assert [d["asked_model"] for d in found["decisions"]] == ["phi4-mini", "auto"]


@pytest.mark.usefixtures("workers")
async def test_of_two_replicas_one_leads_and_the_other_takes_over(api: ApiServer, tmp_path: Path) -> None:
    flags = ("--pool-name=llama", "--ha-enable-leader-election")
    async with serving(api, tmp_path / "a", *flags) as first:
        lease = api.store.select(LEASES, "llm", "")[0]["metadata"]["name"]
        async with serving(api, tmp_path / "b", *flags, ready=NOT_SERVING) as second:
            await until(lambda: api.asked.count(("watch", "pods")) == 2)
            follower = await second.health(), await second.health("liveness")
            first.process.send_signal(signal.SIGTERM)
            await second.until(SERVING)
            there = set_headers(await asked(second.grpc_port, "llama3-8b"))

    assert lease == "epp-llm-llama.llm-d.ai"
    assert follower == (NOT_SERVING, SERVING)
    assert there[DESTINATION] == LLAMA


@pytest.mark.parametrize("there", [True, False])
async def test_the_lease_is_given_back_however_soon_the_end_comes(api: ApiServer, tmp_path: Path, there: bool) -> None:
    if not there:
        api.remove(POOLS, "llm", "llama")  # so it waits, and leads, and is never ready
    flags = ("--pool-name=llama", "--ha-enable-leader-election")
    async with serving(api, tmp_path, *flags, ready=SERVING if there else NOT_SERVING) as onehop:
        await until(lambda: api.store.select(LEASES, "llm", ""))
        onehop.process.send_signal(signal.SIGTERM)
        code = await onehop.ended()

    assert code == 0
    assert api.store.select(LEASES, "llm", "")[0]["spec"]["holderIdentity"] == ""


@pytest.mark.usefixtures("workers")
async def test_a_conflict_is_an_event_and_a_condition(api: ApiServer, tmp_path: Path) -> None:
    rules = [{"matches": [{"model": {"value": "gpt-4"}}], "targets": [{"modelRewrite": "llama3-8b"}]}]
    for name in ("older", "second"):
        api.put(REWRITES, "llm", name, of_pool("llama", rules=rules))

    def events() -> list[dict[str, Any]]:
        return [*api.store.select(EVENTS, "llm", ""), *api.store.select(NEW_EVENTS, "llm", "")]

    async with serving(api, tmp_path, "--pool-name=llama") as onehop:
        await until(events)
        there = set_headers(await asked(onehop.grpc_port, "gpt-4"))
        said = await conditions(onehop)
        (event,) = events()

    assert (there[DESTINATION], there["x-selected-model"]) == (LLAMA, "llama3-8b")
    assert (event.get("involvedObject") or event["regarding"])["name"] == "second"
    assert "older rule 0 decides" in said["conflicts"][0]


async def test_missing_rights_cost_a_feature_only(api: ApiServer, tmp_path: Path) -> None:
    api.denied |= {OBJECTIVES, REWRITES, EVENTS, NEW_EVENTS}
    async with serving(api, tmp_path, "--pool-name=llama") as onehop:
        there = set_headers(await asked(onehop.grpc_port, "llama3-8b"))
        async with asyncio.timeout(20):
            while not (said := await conditions(onehop))["inferenceobjectives"]:
                await asyncio.sleep(0.05)

    assert there[DESTINATION] == LLAMA
    assert "grant list and watch" in json.dumps(said["inferenceobjectives"])


async def test_pods_by_label_need_no_pool(api: ApiServer, tmp_path: Path) -> None:
    api.resources = {PODS}
    flags = ("--endpoint-selector=tier=gpu", "--endpoint-target-ports=9")
    async with serving(api, tmp_path, *flags) as onehop:
        there = [set_headers(await asked(onehop.grpc_port, m))[DESTINATION] for m in ("llama3-8b", "phi4-mini")]

    assert there == [LLAMA, PHI]
