"""The test API server itself: what the other tests of this folder rest on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kube import api, objects
from tests.kube.api import CRDS, Api, Said, established
from tests.kube.cluster import Cluster

SERVED = {
    ("inferencepools.inference.networking.k8s.io", "v1"),
    ("inferencepools.inference.networking.x-k8s.io", "v1alpha2"),
    ("inferenceobjectives.llm-d.ai", "v1alpha2"),
    ("inferencemodelrewrites.llm-d.ai", "v1alpha2"),
    ("inferenceobjectives.inference.networking.x-k8s.io", "v1alpha2"),
    ("inferencemodelrewrites.inference.networking.x-k8s.io", "v1alpha2"),
    ("httproutes.gateway.networking.k8s.io", "v1"),
    ("gateways.gateway.networking.k8s.io", "v1"),
    ("envoyfilters.networking.istio.io", "v1alpha3"),
    ("destinationrules.networking.istio.io", "v1"),
    ("servicemonitors.monitoring.coreos.com", "v1"),
    ("podmonitors.monitoring.coreos.com", "v1"),
    ("prometheusrules.monitoring.coreos.com", "v1"),
}


async def test_every_definition_is_in_use(admin: Api) -> None:
    found = (await admin.list(CRDS))["items"]

    assert all(established(each) for each in found)
    served = {(d["metadata"]["name"], v["name"]) for d in found for v in d["spec"]["versions"] if v["served"]}
    assert served >= SERVED


@pytest.mark.parametrize(
    ("spoiled", "because"),
    [
        (objects.pool("p", *range(8000, 8009)), "spec.targetPorts: Too many"),
        (objects.pool("p", 8000, 8000), "port number must be unique"),
        (objects.pool("p", 0), "spec.targetPorts[0].number: Invalid value"),
        (objects.pool("p", selector={"matchLabels": {}}), "spec.selector.matchLabels"),
        (objects.pool("p", endpointPickerRef={"name": "epp"}), "port is required"),
        (
            objects.pool("p", endpointPickerRef={"name": "epp", "port": {"number": 1}, "failureMode": "Open"}),
            "failureMode",
        ),
        (objects.pool("p", targetPort=8000), 'unknown field "spec.targetPort"'),
        (objects.old_pool("p", 65536), "spec.targetPortNumber"),
        (objects.rewrite("r", "p", "a"), "spec.rules[0].targets"),
    ],
    ids=["nine-ports", "twins", "port-zero", "no-labels", "no-port", "bad-mode", "typo", "old-port", "no-target"],
)
async def test_the_server_refuses_a_bad_object(
    admin: Api, namespace: str, spoiled: dict[str, Any], because: str
) -> None:
    with pytest.raises(Said) as said:
        await admin.create(spoiled, namespace, fieldValidation="Strict")

    assert said.value.status in {400, 422}
    assert because in said.value.message


async def test_what_was_stored_outlives_a_killed_server(cluster: Cluster, admin: Api, namespace: str) -> None:
    stored = await admin.create(objects.pool("kept"), namespace)
    cluster.kill_api()
    await cluster.start_api()

    assert await admin.get(objects.pool("kept"), namespace) == stored


async def test_a_service_account_may_do_what_its_role_says_and_no_more(
    cluster: Cluster, admin: Api, namespace: str
) -> None:
    await admin.account("reader", namespace, [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}])

    async with api.bearer(cluster, await admin.token(namespace, "reader")) as reader:
        pods = f"/api/v1/namespaces/{namespace}/pods"
        assert (await reader.list(pods))["items"] == []
        for method, path in (
            ("POST", pods),
            ("GET", "/api/v1/pods"),
            ("GET", f"/api/v1/namespaces/{namespace}/secrets"),
        ):
            with pytest.raises(Said) as said:
                await reader.ask(method, path, objects.pod("p") if method == "POST" else None)

            assert said.value.status == 403, path
