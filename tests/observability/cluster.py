"""The stack with its endpoints in a cluster: an API server (simulated), with objectives, a rewrite and a Lease.

Real: Envoy, OneHop and its requests. Simulated: the API server and the model servers, which are its pods.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from epp.cli.stack import Stack, running
from epp.edge.kube.client import Resource
from epp.edge.members import PODS
from tests.e2e.client import Site, chat
from tests.e2e.conftest import plan
from tests.edge.test_cluster import OBJECTIVES, POOLS, REWRITES, of_pool, pod, pool
from tests.kubeapi.server import ApiServer
from tests.observability.prometheus import Prometheus
from tests.observability.run import LONG

LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
EVENTS = Resource("", "v1", "events", "Event")
NEW_EVENTS = Resource("events.k8s.io", "v1", "events", "Event")
MODEL, OLD_NAME = "llama3-8b", "gpt-4"
FLAGS = ("--pool-name=engines", "--ha-enable-leader-election", "--evict-sheddable", "--model-label=model")
LOW, HIGH = "batch", "urgent"
FILL, PATIENCE = 40, 12


@asynccontextmanager
async def clustered(folder: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    async with ApiServer(POOLS, PODS, OBJECTIVES, REWRITES, LEASES, EVENTS, NEW_EVENTS) as api:
        config = api.kubeconfig(folder, {})
        rule = {"matches": [{"model": {"value": OLD_NAME}}], "targets": [{"modelRewrite": MODEL}]}
        api.put(REWRITES, "llm", "renamed", of_pool("engines", rules=[rule]))
        for name, priority in ((LOW, -5), (HIGH, 5)):
            api.put(OBJECTIVES, "llm", name, of_pool("engines", priority=priority))

        def source(stack: Stack) -> str:
            replicas = stack.fleet.replicas
            api.put(POOLS, "llm", "engines", pool("engines", *(r.port for r in replicas)))
            for replica in replicas:
                made: Any = pod("engines", replica.address, model=MODEL)
                made["metadata"]["annotations"] = {"llm-d.ai/active-ports": str(replica.port)}
                api.put(PODS, "llm", replica.name, made)
            return f"--kubeconfig={config}"

        patch.setattr(Stack, "source", source)
        patch.setenv("NAMESPACE", "llm")
        made = plan(
            folder,
            models={MODEL: (MODEL,)},
            replicas=2,
            semantic_config=None,
            wiring="duplex",
            time_factor=1.0,
            serve_flags=[*FLAGS],
        )
        async with running(made) as stack, aiohttp.ClientSession() as http:
            yield Site(stack, http)


async def drive(site: Site, prometheus: Prometheus) -> None:
    """A rewrite, then batches that fill the endpoints, and urgent requests for which some of them are cut off."""
    for _ in range(3):
        await site.post(chat(OLD_NAME))
    asks = [ask(site, LOW, n, 4000) for n in range(FILL)]
    batches = asyncio.gather(*asks, return_exceptions=True)
    for turn in range(PATIENCE):
        await asyncio.sleep(1.0)
        await asyncio.gather(*(ask(site, HIGH, 1000 * turn + n, 8) for n in range(8)), return_exceptions=True)
        if await prometheus.now("llm_d_epp_flow_control_revocations_total > 0"):
            break
    batches.cancel()
    await prometheus.until("onehop_leader == 1")


async def ask(site: Site, objective: str, number: int, tokens: int) -> None:
    request = {**chat(MODEL, f"{number} {LONG}"), "max_tokens": tokens, "stream": True}
    await site.post(request, **{"x-gateway-inference-objective": objective})
