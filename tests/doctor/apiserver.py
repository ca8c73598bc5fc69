"""The part of an API server that a survey asks: what there is, and lists, some of them forbidden."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml
from aiohttp import web

from tests.doctor.site import Tree

PLURALS = {
    "InferencePool": "inferencepools",
    "HTTPRoute": "httproutes",
    "GatewayClass": "gatewayclasses",
    "Gateway": "gateways",
    "EnvoyFilter": "envoyfilters",
    "DestinationRule": "destinationrules",
    "Service": "services",
    "Pod": "pods",
    "Deployment": "deployments",
    "Role": "roles",
    "RoleBinding": "rolebindings",
}
BUILT_IN = {"rbac.authorization.k8s.io/v1": ["roles", "rolebindings", "clusterroles", "clusterrolebindings"]}


class ApiServer:
    """Serves these objects. `forbidden` are plurals, or `namespace/plural`, or `*/plural` for the whole cluster."""

    def __init__(self, objects: Iterable[Tree], forbidden: Iterable[str] = ()) -> None:
        self.objects = list(objects)
        self.forbidden = set(forbidden)
        self.asked: list[str] = []
        self.app = web.Application()
        self.app.router.add_get("/{path:.*}", self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.match_info["path"].split("/")
        self.asked.append(request.path)
        kind, *rest = path
        group, rest = ("", rest[1:]) if kind == "api" else (rest[0], rest[1:])
        if group and len(rest) < 2:
            return self._discovery(group, rest)
        version = f"{group}/{rest[0]}" if group else "v1"
        rest = rest[1:] if group else rest
        namespace = rest[1] if rest[0] == "namespaces" else None
        return self._list(version, namespace, rest[-1], request.query.get("labelSelector", ""))

    def _discovery(self, group: str, rest: list[str]) -> web.Response:
        served = dict(BUILT_IN)
        for item in self.objects:
            if item["kind"] == "CustomResourceDefinition":
                for version in item["spec"]["versions"]:
                    key = f"{item['spec']['group']}/{version['name']}"
                    served[key] = [*served.get(key, []), item["spec"]["names"]["plural"]]
            elif item["kind"] in PLURALS:
                served.setdefault(item["apiVersion"], []).append(PLURALS[item["kind"]])
        found = [key for key in served if key.partition("/")[0] == group]
        if group in self.forbidden:
            return refusal(403, f"{group} is forbidden")
        if not found:
            return refusal(404, "the server could not find the requested resource")
        if rest:
            return web.json_response({"resources": [{"name": plural} for plural in served[f"{group}/{rest[0]}"]]})
        versions = [{"groupVersion": key, "version": key.partition("/")[2]} for key in found]
        return web.json_response({"versions": versions})

    def _list(self, version: str, namespace: str | None, plural: str, labels: str) -> web.Response:
        if {plural, f"{namespace or '*'}/{plural}"} & self.forbidden:
            return refusal(403, f"{plural} is forbidden in {namespace or 'the cluster'}")
        key, _, value = labels.partition("=")
        found = [
            {part: each for part, each in item.items() if part not in ("kind", "apiVersion")}
            for item in self.objects
            if (PLURALS.get(item["kind"]), item["apiVersion"]) == (plural, version)
            and namespace in (None, item["metadata"].get("namespace"))
            and (not labels or item["metadata"].get("labels", {}).get(key) == value)
        ]
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": found})


def refusal(status: int, message: str) -> web.Response:
    body = {
        "kind": "Status",
        "code": status,
        "reason": "Forbidden" if status == 403 else "NotFound",
        "message": message,
    }
    return web.json_response(body, status=status)


def kubeconfig(folder: Path, server: str, namespace: str = "llm") -> Path:
    """A file that leads there."""
    path = folder / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": namespace}}],
        "clusters": [{"name": "here", "cluster": {"server": server}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
    }
    path.write_text(yaml.safe_dump(content))
    return path
