"""Tenants on a shared Gateway: one namespace, one host, one OneHop each, and a rate before the picker."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.guide.charts import Json, objects, rendered
from tests.guide.istio import Mesh, NotAccepted
from tests.guide.site import Site, chat
from tests.guide.wiring import running_wiring
from tests.helm.chart import needs_helm

pytestmark = [pytest.mark.asyncio(loop_scope="module"), needs_helm]
MATH = "What is 2+2 * (5-1)?"
BLUE, GREEN = "blue.example.com", "green.example.com"
OF_BLUE, OF_GREEN = "blue-adapter", "green-adapter"  # names that the servers of one tenant have, and nobody else's


def cluster() -> list[Json]:
    """Everything of both tenants."""
    found = [*objects("tenants/gateway.yaml"), *objects("tenants/rate-limit.yaml"), *objects("tenants/access.yaml")]
    for team in ("blue", "green"):
        hosts = f"httpRoute.hostnames={{{team}.example.com}}"
        found += rendered("tenants/values", f"team-{team}", "--set", hosts)
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("tenants")
    namespaces = ("team-blue", "team-green")
    more = dict(zip(namespaces, (OF_BLUE, OF_GREEN), strict=True))
    async with running_wiring(folder, cluster(), "tenants/tenants-gateway", namespaces, each=2, more=more) as started:
        yield started


async def test_the_fairness_id_is_the_host_whatever_the_client_says(site: Site) -> None:
    lies = {"x_llm_d_inference_fairness_id": GREEN, "x_gateway_inference_fairness_id": GREEN, "x_tenant": GREEN}
    answer = await site.ask(chat("phi4-mini"), host=BLUE, **lies)
    receipt = await site.receipt(answer)

    assert answer.status == 200
    assert receipt["tenant"] == BLUE
    assert await fairness_ids(site, "team-blue") == {BLUE}


async def test_a_tenant_sees_its_own_models_only(site: Site) -> None:
    names = {}
    for host in (BLUE, GREEN):
        async with site.http.get(f"{site.url}/v1/models", headers={"host": host}) as answer:
            names[host] = {one["id"] for one in (await answer.json())["data"]}
            assert answer.status == 200
    known = [{e["address"] for e in pool["endpoints"]} for o in site.onehops for pool in (await site.pools(o))["pools"]]

    everybodys = {"llama3-8b", "phi4-mini", "auto"}
    assert {host: found - {"MoM", "vllm-sr/auto"} for host, found in names.items()} == {
        BLUE: {*everybodys, OF_BLUE},
        GREEN: {*everybodys, OF_GREEN},
    }
    assert not set.intersection(*known)
    refused = await site.ask(chat(OF_GREEN), host=BLUE)
    assert (refused.status, refused.json["error"]["code"]) == (404, "model_not_found")
    assert OF_BLUE in refused.json["error"]["message"]
    assert OF_GREEN not in refused.json["error"]["message"].partition("these do")[2]
    assert (await site.ask(chat("auto"), host="red.example.com")).status == 404


async def test_the_tenant_over_its_rate_gets_429_and_the_other_passes(site: Site) -> None:
    """The last one to ask: it uses up what green may ask in a minute, of which one request is gone."""
    green = [await site.ask(chat("auto", MATH), host=GREEN) for _ in range(6)]
    blue = [await site.ask(chat("auto", MATH), host=BLUE) for _ in range(7)]
    refused = green[-1]

    assert [a.status for a in green] == [200] * 4 + [429] * 2
    assert [a.status for a in blue] == [200] * 7
    assert refused.headers["content-type"] == "application/json"
    assert refused.headers["retry-after"] == refused.headers["x-ratelimit-reset"] == "12"
    assert refused.json["error"]["code"] == "rate_limit_exceeded"
    assert "x-onehop-receipt" not in refused.headers
    assert {a.headers["x-replica"].partition("/")[0] for a in blue} == {"team-blue"}
    assert {a.headers["x-replica"].partition("/")[0] for a in green[:4]} == {"team-green"}


async def fairness_ids(site: Site, team: str) -> set[str]:
    (onehop,) = [one for one in site.onehops if one.name.startswith(team)]
    async with site.http.get(onehop.metrics_url) as answer:
        text = await answer.text()
    return set(re.findall(r'^llm_d_epp_request_total\{.*?fairness_id="([^"]*)"', text, re.MULTILINE))


async def test_a_tenant_cannot_attach_a_route_to_the_host_of_another() -> None:
    found = cluster()
    for one in found:
        if one["kind"] == "HTTPRoute" and one["metadata"]["namespace"] == "team-green":
            one["spec"]["hostnames"] = [BLUE]

    with pytest.raises(NotAccepted, match="no listener for its hosts is open to namespace team-green"):
        Mesh(found, [], {}).bootstrap("tenants/tenants-gateway", 8080, 9901)
