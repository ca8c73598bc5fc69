"""What tests ask the API server themselves: a client that shares nothing with the one under test.

Objects are the plain dictionaries of the API; where an object lives follows from its `apiVersion` and `kind`, as the
server's own discovery says.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.kube.cluster import Cluster

Object = dict[str, Any]
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"  # all JSON is YAML
AT_ONCE_MAX = 32  # requests in flight, as a busy controller has them
ESTABLISHED_SECONDS_MAX = 60.0
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class Said(Exception):
    """What the server said instead of doing what was asked."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Api:
    """Requests of one user."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._paths: dict[str, dict[str, tuple[str, bool]]] = {}
        self.warnings: list[str] = []  # what the server warned of, in the order it did

    async def ask(
        self, method: str, path: str, body: Object | None = None, *, kind: str = "application/json", **query: str
    ) -> Object:
        """The answer's object; Said for a refusal."""
        headers = {"Content-Type": kind}
        async with self._http.request(method, path, json=body, params=query, headers=headers) as reply:
            self.warnings += reply.headers.getall("Warning", [])
            text = await reply.text()
            if reply.content_type != "application/json":  # of a path that it does not know
                raise Said(reply.status, text.strip())
            answer: Object = json.loads(text)
            if reply.status >= 300:
                raise Said(reply.status, answer.get("message", text))
            return answer

    async def path(self, item: Object, namespace: str = "default") -> str:
        """Where objects like this one live; its own namespace comes first, and cluster-wide kinds have none."""
        version, kind = item["apiVersion"], item["kind"]
        prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if kind not in self._paths.get(version, {}):
            found = await self.ask("GET", prefix)
            self._paths[version] = {
                each["kind"]: (each["name"], each["namespaced"])
                for each in found["resources"]
                if "/" not in each["name"]
            }
        if kind not in self._paths[version]:
            raise Said(404, f"no kind {kind} in {version}")
        plural, namespaced = self._paths[version][kind]
        inside = f"/namespaces/{item['metadata'].get('namespace') or namespace}" if namespaced else ""
        return f"{prefix}{inside}/{plural}"

    async def create(self, item: Object, namespace: str = "default", **query: str) -> Object:
        return await self.ask("POST", await self.path(item, namespace), item, **query)

    async def get(self, item: Object, namespace: str = "default") -> Object:
        """As it is now."""
        return await self.ask("GET", f"{await self.path(item, namespace)}/{item['metadata']['name']}")

    async def patch(self, item: Object, change: Object, namespace: str = "default", part: str = "") -> Object:
        """`change` merged into it, or into its part `status`."""
        path = f"{await self.path(item, namespace)}/{item['metadata']['name']}" + (part and f"/{part}")
        return await self.ask("PATCH", path, change, kind=MERGE)

    async def delete(self, item: Object, namespace: str = "default", **query: str) -> None:
        await self.ask("DELETE", f"{await self.path(item, namespace)}/{item['metadata']['name']}", **query)

    async def apply(self, item: Object, namespace: str = "default", **query: str) -> Object:
        """Created, or made to be like this."""
        path = f"{await self.path(item, namespace)}/{item['metadata']['name']}"
        return await self.ask("PATCH", path, item, kind=APPLY, fieldManager="tests", force="true", **query)

    async def list(self, path: str, **query: str) -> Object:
        """Everything there is now, in one answer."""
        return await self.ask("GET", path, **query)

    async def define(self, definitions: Sequence[Object]) -> None:
        """CustomResourceDefinitions, in use when this returns."""
        names = [each["metadata"]["name"] for each in definitions]
        await asyncio.gather(*(self.apply(each) for each in definitions))
        async with asyncio.timeout(ESTABLISHED_SECONDS_MAX):
            while not all(established(each) for each in (await self.list(CRDS))["items"]):
                await asyncio.sleep(0.1)
        known = {each["metadata"]["name"] for each in (await self.list(CRDS))["items"]}
        assert known.issuperset(names), known

    async def account(self, name: str, namespace: str, rules: list[Object]) -> None:
        """A ServiceAccount that may do this in its namespace, and nothing else."""
        rbac = "rbac.authorization.k8s.io"
        named: Object = {"apiVersion": f"{rbac}/v1", "metadata": {"name": name}}
        subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
        role = {"apiGroup": rbac, "kind": "Role", "name": name}
        await self.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}, namespace)
        await self.create(named | {"kind": "Role", "rules": rules}, namespace)
        await self.create(named | {"kind": "RoleBinding", "subjects": [subject], "roleRef": role}, namespace)

    async def token(self, namespace: str, account: str) -> str:
        """A token of a ServiceAccount, as the kubelet would ask for one."""
        wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        token: str = (await self.ask("POST", path, wanted))["status"]["token"]
        return token


@asynccontextmanager
async def admin(cluster: Cluster) -> AsyncIterator[Api]:
    """One who may do everything."""
    connector = aiohttp.TCPConnector(ssl=cluster.tls(), limit=AT_ONCE_MAX)
    async with aiohttp.ClientSession(cluster.url, connector=connector) as http:
        yield Api(http)


def established(definition: Object) -> bool:
    """Whether objects of this kind can be stored."""
    conditions = definition.get("status", {}).get("conditions") or []  # null at first
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


@asynccontextmanager
async def bearer(cluster: Cluster, token: str) -> AsyncIterator[Api]:
    """Whom the token names."""
    tls = ssl.create_default_context(cafile=str(cluster.authority))
    connector = aiohttp.TCPConnector(ssl=tls, limit=AT_ONCE_MAX)
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(cluster.url, connector=connector, headers=headers) as http:
        yield Api(http)
