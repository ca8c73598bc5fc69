"""`onehop doctor` over a real API server: what it finds, and what it does without rights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from epp.__main__ import main
from tests.doctor.site import Tree, running, site
from tests.kube.api import Api

NAMESPACES = ("llm", "gateways", "istio-system")
READ = ["get", "list"]


def whole(objects: dict[str, Tree]) -> None:
    """What a server asks for beyond what the doctor looks at."""
    running(objects)
    del objects["crds"]
    objects["istiod"]["metadata"]["labels"] = {"app": "istiod"}
    objects["class"]["metadata"]["name"] = objects["gateway"]["spec"]["gatewayClassName"] = "istio"
    objects["gateway"]["spec"]["listeners"] = [{"name": "http", "protocol": "HTTP", "port": 80}]
    objects["binding"]["roleRef"]["apiGroup"] = "rbac.authorization.k8s.io"
    for tree in objects.values():
        if tree["kind"] == "Deployment":
            tree["spec"]["selector"] = {"matchLabels": tree["spec"]["template"]["metadata"]["labels"]}


@pytest.fixture
async def applied(admin: Api) -> Api:
    """The sound site, with its pods ready."""
    for name in NAMESPACES:
        await admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    for item in site(whole):
        status = item.pop("status", None)
        await admin.apply(item)
        if status:
            await admin.patch(item, {"status": status}, part="status")
    return admin


@pytest.fixture
def examined(kubeconfig: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    async def ask(*words: str, token: str | None = None) -> tuple[int, dict[str, Any]]:
        path = kubeconfig(token)
        code = await asyncio.to_thread(main, ["doctor", "--json", f"--kubeconfig={path}", *words])
        told = json.loads(capsys.readouterr().out)
        return code, {row["check"]: row for row in told["results"]}

    return ask


def bad(results: dict[str, Any]) -> dict[str, str]:
    return {name: row["level"] for name, row in results.items() if row["level"] in ("warning", "problem")}


async def test_a_sound_site_passes_and_one_that_loses_its_rule_does_not(
    applied: Api, examined: Callable[..., Any]
) -> None:
    sound = await examined("--namespace=llm")
    await applied.delete(next(item for item in site() if item["kind"] == "DestinationRule"))
    spoiled = await examined("--namespace=llm")

    assert (sound[0], bad(sound[1])) == (0, {})
    assert sum(row["level"] == "ok" for row in sound[1].values()) == 18
    assert (spoiled[0], bad(spoiled[1])) == (1, {"picker-tls": "problem"})


async def test_who_may_read_one_namespace_hears_of_that_one(applied: Api, examined: Callable[..., Any]) -> None:
    groups = ["", "apps", "gateway.networking.k8s.io", "inference.networking.k8s.io", "rbac.authorization.k8s.io"]
    groups += ["llm-d.ai", "inference.networking.x-k8s.io"]
    rules = [{"apiGroups": groups, "resources": ["*"], "verbs": READ}]
    await applied.account("reader", "llm", rules)
    token = await applied.token("llm", "reader")
    code, results = await examined("--namespace=llm", token=token)

    assert (code, bad(results)) == (0, {})
    assert results["pool-pods"]["level"] == results["picker-service"]["level"] == "ok"
    assert results["picker-tls"]["reason"].startswith("DestinationRule: may not be read: ")
