"""Health over real connections: what probes, gateways and client libraries ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from epp.edge.health import HEALTH_NAMES, Health
from epp.edge.methods import Server
from tests.edge.transports import TRANSPORTS, listen

State = health_pb2.HealthCheckResponse
FOLLOWING = [name for name in HEALTH_NAMES if name != "liveness"]


@dataclass
class Asked:
    health: Health
    server: Server
    stub: Any

    async def check(self, name: str) -> int:
        answer = await self.stub.Check(health_pb2.HealthCheckRequest(service=name))
        return int(answer.status)

    async def all(self) -> dict[str, int]:
        answer = await self.stub.List(health_pb2.HealthListRequest())  # type: ignore[attr-defined]  # old stubs
        return {name: state.status for name, state in answer.statuses.items()}

    def watch(self, name: str) -> Any:
        return self.stub.Watch(health_pb2.HealthCheckRequest(service=name))


@pytest.fixture(params=TRANSPORTS)
async def asked(request: pytest.FixtureRequest) -> AsyncIterator[Asked]:
    health = Health()
    server = listen(request.param, health.methods())
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield Asked(health, server, health_pb2_grpc.HealthStub(channel))
    await server.stop(0)


def test_the_names_are_those_that_gateways_and_charts_ask_for() -> None:
    ext_proc = "envoy.service.ext_proc.v3.ExternalProcessor"

    assert set(HEALTH_NAMES) == {"", "inference-extension", "liveness", "readiness", ext_proc}


@pytest.mark.parametrize("name", FOLLOWING)
async def test_a_name_follows_readiness(asked: Asked, name: str) -> None:
    told = [await asked.check(name)]
    for ready in (True, False):
        asked.health.set(ready=ready)
        told.append(await asked.check(name))

    assert told == [State.NOT_SERVING, State.SERVING, State.NOT_SERVING]


async def test_liveness_is_serving_before_during_and_after(asked: Asked) -> None:
    told = [await asked.check("liveness")]
    for ready in (True, False):
        asked.health.set(ready=ready)
        told.append(await asked.check("liveness"))

    assert told == [State.SERVING] * 3


async def test_list_tells_every_name(asked: Asked) -> None:
    before = await asked.all()
    asked.health.set(ready=True)
    after = await asked.all()

    assert before == dict.fromkeys(FOLLOWING, State.NOT_SERVING) | {"liveness": State.SERVING}
    assert after == dict.fromkeys(HEALTH_NAMES, State.SERVING)


async def test_check_of_an_unknown_name_is_not_found(asked: Asked) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await asked.check("nobody")

    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    assert "nobody" in str(unknown.value.details())


@pytest.mark.parametrize("name", FOLLOWING)
async def test_watch_tells_the_state_and_each_change_once(asked: Asked, name: str) -> None:
    watch = asked.watch(name)
    told = [(await watch.read()).status]
    asked.health.set(ready=False)  # no change
    for ready in (True, False):
        asked.health.set(ready=ready)
        told.append((await watch.read()).status)
    watch.cancel()

    assert told == [State.NOT_SERVING, State.SERVING, State.NOT_SERVING]


async def test_watch_of_an_unknown_name_says_so_and_stays_open(asked: Asked) -> None:
    watch = asked.watch("nobody")
    first = (await watch.read()).status
    asked.health.set(ready=True)
    still_open = not watch.done()
    asked.health.close()

    assert first == State.SERVICE_UNKNOWN
    assert still_open
    assert await watch.read() is grpc.aio.EOF


async def test_open_watches_do_not_hold_up_a_server_that_stops(asked: Asked) -> None:
    watch = asked.watch("readiness")
    await watch.read()
    asked.health.close()
    await asked.server.stop(60)  # returns long before

    assert await watch.code() is grpc.StatusCode.OK
