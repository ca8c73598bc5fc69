"""Mode standalone as it runs: the chart's configuration on a real Envoy, before a real OneHop and simulated pods."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import STDOUT, Popen, run
from typing import Any

import aiohttp
import pytest

from benchmarks.simulator.fleet import ReplicaSpec, SimulatedFleet
from epp.cli.envoy import find_envoy
from epp.cli.quickstart import CONFIG, MODELS
from epp.cli.stack import Stack, StackPlan, end, free_ports
from tests.e2e.client import Site, chat

from .chart import Object, container, needs_helm, pod, render, values

pytestmark = needs_helm


class ChartStack(Stack):
    """A stack whose Envoy is the chart's."""

    def __init__(self, plan: StackPlan, fleet: SimulatedFleet, standalone: Object) -> None:
        super().__init__(plan, fleet)
        (self.status_port,) = free_ports(1)
        rows = [{"name": r.name, "address": r.address, "port": r.port} for r in fleet.replicas]
        self._given = {"standalone": standalone | {"listenerPort": self.port}}
        self.rendered = self._render(rows)

    def _render(self, endpoints: list[Object]) -> dict[str, Object]:
        return render({"mode": "standalone", "discovery": {"endpoints": endpoints}} | self._given)

    def list_endpoints(self, endpoints: list[Object]) -> None:
        """The mounted ConfigMap with another list, replaced in one step as kubelets do it."""
        rendered = self._render(endpoints)
        folder = self.plan.folder / "etc"
        revision = folder / f"..{len(list(folder.iterdir()))}"
        revision.mkdir()
        for name, text in rendered["ConfigMap/shop-onehop-envoy"]["data"].items():
            (revision / name).write_text(self._here(text))
            if not (folder / name).is_symlink():
                (folder / name).symlink_to(f"..data/{name}")
        (folder / "..new").symlink_to(revision.name)
        (folder / "..new").rename(folder / "..data")

    def start_envoy(self) -> None:
        (self.plan.folder / "etc").mkdir()
        rows = [{"name": r.name, "address": r.address, "port": r.port} for r in self.fleet.replicas]
        self.list_endpoints(rows)
        (sidecar,) = pod(self.rendered)["initContainers"]
        config = str(self.plan.folder / "etc" / "envoy.yaml")
        arguments = [a.replace("/etc/envoy/envoy.yaml", config) for a in sidecar["args"]]
        with (self.plan.folder / "envoy.out").open("wb") as output:
            self.envoy = Popen([find_envoy(), *arguments], stdout=output, stderr=STDOUT)

    def _here(self, text: str) -> str:
        """The ports of a pod as ports that are free on this machine."""
        ports = {9002: self.grpc_port, 19000: self.envoy_admin_port, 19001: self.status_port}
        for port, here in ports.items():
            text = text.replace(f"port_value: {port}}}", f"port_value: {here}}}")
        return text.replace("/etc/envoy", str(self.plan.folder / "etc")).replace(
            "address: 0.0.0.0", "address: 127.0.0.1"
        )


Start = Callable[..., AbstractAsyncContextManager[Site]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts the pod of mode standalone with some of its values."""

    @asynccontextmanager
    async def starting(**standalone: Any) -> AsyncIterator[Site]:
        plan = StackPlan(MODELS, 2, tmp_path, CONFIG, serve_flags=["--classify-deadline=5s"])
        names = [(model, n) for model in MODELS for n in range(plan.replicas)]
        specs = [ReplicaSpec(f"{m}-{n}", MODELS[m], f"127.0.0.{31 + i}", 0) for i, (m, n) in enumerate(names)]
        async with AsyncExitStack() as closing:
            fleet = await closing.enter_async_context(SimulatedFleet(specs, time_factor=0.05))
            stack = ChartStack(plan, fleet, standalone)
            http = await closing.enter_async_context(aiohttp.ClientSession())
            site = Site(stack, http)
            stack.start_envoy()  # first, as in the pod
            closing.push_async_callback(end, stack.envoy)
            await site.until(partial(status_of, stack, http), lambda status: status == 200)
            stack.start_onehop()
            closing.push_async_callback(end, stack.onehop)
            await stack.onehop_ready(http)
            await stack.envoy_ready(http)
            yield site

    return starting


async def status_of(stack: ChartStack, http: aiohttp.ClientSession) -> int | None:
    """What the kubelet's startup probe gets; None while nobody listens."""
    try:
        async with http.get(f"http://127.0.0.1:{stack.status_port}/ready") as answer:
            return answer.status
    except aiohttp.ClientConnectionError:
        return None


def envoys() -> list[str]:
    """The installed Envoy, and those of the matrix where they are installed."""
    folders = os.environ.get("ONEHOP_ENVOYS", "").split()
    return [find_envoy(), *(f"{folder}/bin/envoy" for folder in folders)]


@pytest.mark.parametrize("source", ["pods", "file", "config-map"])
@pytest.mark.parametrize("fail_open", [True, False])
def test_every_envoy_accepts_the_configuration(tmp_path: Path, source: str, fail_open: bool) -> None:
    discovery: Object = {
        "pods": values("ci/standalone-values.yaml")["discovery"],
        "file": {"endpoints": [{"name": "a", "address": "192.0.2.1", "port": 8000}]},
        "config-map": {"existingConfigMap": "mine"},
    }[source]
    rendered = render({"mode": "standalone", "discovery": discovery, "standalone": {"failOpen": fail_open}})
    for name, text in rendered["ConfigMap/shop-onehop-envoy"]["data"].items():
        (tmp_path / name).write_text(text.replace("/etc/envoy", str(tmp_path)))

    for envoy in envoys():
        command = [envoy, "--mode", "validate", "--config-path", str(tmp_path / "envoy.yaml")]
        ran = run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 0, (envoy, ran.stderr)


async def test_requests_go_to_the_endpoint_that_onehop_chose_whatever_the_client_says(start: Start) -> None:
    async with start() as site:
        for model in ["auto", *MODELS] * 3:
            answer = await site.post(chat(model), **{"x-gateway-destination-endpoint": "127.0.0.1:1"})
            receipt = await site.receipt(answer)
            (chosen,) = [r for r in site.stack.fleet.replicas if f"{r.address}:{r.port}" == receipt["picked"]]

            assert answer.status == 200
            assert answer.headers["x-simulated-replica"] == chosen.name
            assert receipt["served"] == receipt["picked"]
        await site.idle()


async def test_without_onehop_any_endpoint_of_the_list_answers(start: Start) -> None:
    async with start() as site:
        await end(site.stack.onehop)
        answered = {(await site.post(chat("whatever"))).status for _ in range(4)}

        assert answered == {404}, "a pod's own answer to a model it does not serve"
        assert isinstance(site.stack, ChartStack)
        one = site.stack.fleet.replicas[-1]
        site.stack.list_endpoints([{"name": "only", "address": one.address, "port": one.port}])
        served = chat(next(reversed(MODELS)))
        await site.until(lambda: in_a_row(site, served), lambda names: names == {one.name})


async def in_a_row(site: Site, request: Object) -> set[str]:
    """Who answers some requests."""
    answers = [await site.post(request) for _ in range(6)]
    return {answer.headers.get("x-simulated-replica", "") for answer in answers}


async def test_failing_closed_nothing_passes_onehop_by(start: Start) -> None:
    async with start(failOpen=False) as site:
        model = next(iter(MODELS))
        before = await site.post(chat(model))
        await end(site.stack.onehop)
        after = await site.post(chat(model))

        assert before.status == 200
        assert after.status >= 500


async def test_pre_stop_has_clients_connect_anew_and_goes_on_answering(start: Start) -> None:
    async with start() as site:
        model = next(iter(MODELS))
        before = await site.post(chat(model))
        assert isinstance(site.stack, ChartStack)
        interpreter, flag, script = container(site.stack.rendered)["lifecycle"]["preStop"]["exec"]["command"]
        here = script.replace(":19000", f":{site.stack.envoy_admin_port}").replace("time.sleep(5)", "time.sleep(0)")
        ran = await asyncio.to_thread(run, [interpreter, flag, here], capture_output=True, timeout=20, check=False)
        after = await site.post(chat(model))

        assert ran.returncode == 0, ran.stderr
        assert (before.status, after.status) == (200, 200)
        assert "connection" not in before.headers
        assert after.headers["connection"] == "close"


async def test_only_health_and_metrics_leave_the_admin_pages(start: Start) -> None:
    async with start() as site:
        assert isinstance(site.stack, ChartStack)
        url = f"http://127.0.0.1:{site.stack.status_port}"
        found = {}
        for path in ("/ready", "/stats/prometheus", "/stats", "/config_dump", "/quitquitquit"):
            async with site.http.get(url + path) as answer:
                found[path] = answer.status

        assert found == {
            "/ready": 200,
            "/stats/prometheus": 200,
            "/stats": 404,
            "/config_dump": 404,
            "/quitquitquit": 404,
        }
