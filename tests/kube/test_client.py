"""Our client against a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from epp.edge.kube import client, config
from epp.edge.kube.client import ApiError, Kube, Resource, connect
from tests.kube import objects
from tests.kube.api import Api, Said
from tests.kube.cluster import Cluster

PODS = Resource("", "v1", "pods", "Pod")
POOLS = Resource("inference.networking.k8s.io", "v1", "inferencepools", "InferencePool")
OLD_POOLS = Resource("inference.networking.x-k8s.io", "v1alpha2", "inferencepools", "InferencePool")
Event = tuple[str, str]


async def events(kube: Kube, what: tuple[Resource, str, str], version: str, count: int) -> list[Event]:
    """The first changes after a version, by their kind and name; `what` is a resource, namespace and labels."""
    seen: list[Event] = []
    async with asyncio.timeout(30), aclosing(kube.watch(*what, version)) as watching:
        async for kind, item in watching:
            if kind not in {"OPENED", "BOOKMARK"}:
                seen.append((kind, item["metadata"]["name"]))
                if len(seen) == count:
                    break
    return seen


async def test_the_namespace_is_that_of_the_kubeconfig(kube: Kube, namespace: str) -> None:
    assert kube.namespace == namespace


@pytest.mark.parametrize("limit", [1, 10, 24, 25, 26, 0])
async def test_a_list_is_whole_whatever_the_length_of_its_pages(
    kube: Kube, admin: Api, namespace: str, limit: int
) -> None:
    made = [await admin.create(objects.pod(f"p-{n}", app="a"), namespace) for n in range(25)]
    await admin.create(objects.pod("other", app="b"), namespace)

    listing = await kube.list(PODS, namespace, "app=a", limit=limit)

    assert {item["metadata"]["uid"] for item in listing.items} == {item["metadata"]["uid"] for item in made}
    assert int(listing.resource_version) >= int(made[-1]["metadata"]["resourceVersion"])


async def test_all_namespaces_are_listed_where_none_is_named(kube: Kube, admin: Api, namespace: str) -> None:
    await admin.create(objects.pool("here"), namespace)
    await admin.create(objects.pool("there"), "default")
    try:
        found = {(i["metadata"]["namespace"], i["metadata"]["name"]) for i in (await kube.list(POOLS, None)).items}
    finally:
        await admin.delete(objects.pool("there"))

    assert found >= {(namespace, "here"), ("default", "there")}


async def test_a_watch_tells_what_happened_since_the_list_in_order(kube: Kube, admin: Api, namespace: str) -> None:
    await admin.create(objects.pool("before"), namespace)
    listing = await kube.list(POOLS, namespace)
    await admin.create(objects.pool("a"), namespace)
    await admin.patch(objects.pool("a"), {"spec": {"targetPorts": [{"number": 8001}]}}, namespace)
    await admin.delete(objects.pool("before"), namespace)
    await admin.delete(objects.pool("a"), namespace)

    seen = await events(kube, (POOLS, namespace, ""), listing.resource_version, 4)

    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "before"), ("DELETED", "a")]


async def test_an_object_that_loses_its_label_leaves_a_watch_by_label(kube: Kube, admin: Api, namespace: str) -> None:
    version = (await kube.list(PODS, namespace)).resource_version
    await admin.create(objects.pod("p", app="a"), namespace)
    await admin.create(objects.pod("stranger", app="b"), namespace)
    await admin.patch(objects.pod("p"), {"metadata": {"labels": {"app": "b"}}}, namespace)
    await admin.patch(objects.pod("stranger"), {"metadata": {"labels": {"app": "a"}}}, namespace)

    seen = await events(kube, (PODS, namespace, "app=a"), version, 3)

    assert seen == [("ADDED", "p"), ("DELETED", "p"), ("ADDED", "stranger")]


async def test_every_line_of_a_long_watch_arrives(kube: Kube, admin: Api, namespace: str) -> None:
    version = (await kube.list(PODS, namespace)).resource_version
    names = [f"p-{n}" for n in range(300)]
    big = {"metadata": {"annotations": {"note": "x" * 50_000}}}  # so that lines do not end where chunks do

    async def storm() -> None:
        for name in names:
            await admin.create(objects.pod(name) | {"metadata": {"name": name} | big["metadata"]}, namespace)

    storming = asyncio.create_task(storm())
    seen = await events(kube, (PODS, namespace, ""), version, len(names))
    await storming

    assert seen == [("ADDED", name) for name in names]


async def test_an_object_is_made_read_replaced_and_deleted(kube: Kube, admin: Api, namespace: str) -> None:
    made = await kube.create(POOLS, namespace, objects.pool("p", 8000))
    made["spec"]["targetPorts"] = [{"number": 9000}]
    replaced = await kube.replace(POOLS, namespace, "p", made)

    assert replaced["spec"]["targetPorts"] == [{"number": 9000}]
    assert await kube.get(POOLS, namespace, "p") == replaced == await admin.get(objects.pool("p"), namespace)
    await kube.delete(POOLS, namespace, "p")
    with pytest.raises(Said, match="404"):
        await admin.get(objects.pool("p"), namespace)


async def test_refusals_say_why(kube: Kube, namespace: str) -> None:
    stale = await kube.create(POOLS, namespace, objects.pool("p"))
    fresh = stale | {"spec": stale["spec"] | {"targetPorts": [{"number": 9000}]}}
    await kube.replace(POOLS, namespace, "p", fresh)
    refused = {
        (409, "Conflict"): kube.replace(POOLS, namespace, "p", stale),
        (409, "AlreadyExists"): kube.create(POOLS, namespace, objects.pool("p")),
        (404, "NotFound"): kube.get(POOLS, namespace, "nobody"),
        (422, "Invalid"): kube.create(POOLS, namespace, objects.pool("q", 0)),
    }
    for (status, reason), asking in refused.items():
        with pytest.raises(ApiError) as error:
            await asking

        assert (error.value.status, error.value.reason) == (status, reason)
        assert error.value.message


async def test_the_versions_of_a_group_are_those_that_the_server_has(kube: Kube) -> None:
    assert await kube.versions("inference.networking.k8s.io") == {"v1": {"inferencepools"}}
    assert (await kube.versions("inference.networking.x-k8s.io"))["v1alpha2"] == {
        "inferencepools",
        "inferenceobjectives",
        "inferencemodelrewrites",
    }
    assert await kube.versions("nobody.example.com") == {}


async def test_a_list_of_the_old_pools_says_of_each_which_version_it_is(kube: Kube, admin: Api, namespace: str) -> None:
    await admin.create(objects.old_pool("p"), namespace)

    (found,) = (await kube.list(OLD_POOLS, namespace)).items
    assert found["apiVersion"] == "inference.networking.x-k8s.io/v1alpha2"


async def test_a_version_that_the_server_forgot_is_expired(
    cluster: Cluster, kube: Kube, admin: Api, namespace: str
) -> None:
    version = (await kube.list(PODS, namespace)).resource_version
    for n in range(3):
        await admin.create(objects.pod(f"p-{n}"), namespace)
    cluster.kill_api()
    await cluster.forget_history()
    await cluster.start_api()

    with pytest.raises(ApiError) as error:
        await events(kube, (PODS, namespace, ""), version, 1)
    assert error.value.is_expired
    assert error.value.status == 410


async def test_a_list_whose_pages_expire_is_told_as_such_and_can_be_had_in_one_piece(
    cluster: Cluster, kube: Kube, admin: Api, namespace: str
) -> None:
    for n in range(6):
        await admin.create(objects.pod(f"p-{n}"), namespace)
    async with aclosing(kube.pages(PODS, namespace, limit=2)) as pages:
        await anext(pages)
        await admin.delete(objects.pod("p-0"), namespace)
        cluster.kill_api()  # and with it the snapshots that it would go on from
        await cluster.forget_history()
        await cluster.start_api()
        with pytest.raises(ApiError) as error:
            await anext(pages)

    assert error.value.is_expired, error.value
    assert len((await kube.list(PODS, namespace, limit=0)).items) == 5


async def test_a_server_that_is_away_is_no_answer_and_is_found_again(
    cluster: Cluster, kube: Kube, namespace: str
) -> None:
    await kube.list(PODS, namespace)
    cluster.kill_api()
    with pytest.raises(ApiError) as error:
        await kube.list(PODS, namespace)
    await cluster.start_api()

    assert error.value.status == 0
    assert error.value.is_away or error.value.reason == "ConnectionLost"
    assert (await kube.list(PODS, namespace)).items == []


@pytest.mark.parametrize("gracefully", [True, False])
async def test_a_watch_ends_with_its_server(cluster: Cluster, kube: Kube, namespace: str, gracefully: bool) -> None:
    version = (await kube.list(PODS, namespace)).resource_version
    async with asyncio.timeout(60), aclosing(kube.watch(PODS, namespace, "", version)) as watching:
        assert (await anext(watching))[0] == "OPENED"
        rest = asyncio.create_task(to_its_end(watching))
        if gracefully:
            await cluster.finish_api()
        else:
            cluster.kill_api()
        assert await rest <= {"BOOKMARK", "broken off"}
    await cluster.start_api()


async def to_its_end(watching: AsyncIterator[tuple[str, object]]) -> set[str]:
    """What came, and whether it broke off."""
    kinds = set()
    try:
        async for kind, _ in watching:
            kinds.add(kind)
    except ApiError as error:
        if error.status != 0:
            raise
        kinds.add("broken off")
    return kinds


async def test_a_watch_lasts_as_long_as_it_was_asked_to_and_ends_without_an_error(
    kubeconfig: Callable[..., Path], namespace: str
) -> None:
    kube = connect(kubeconfig(), client.KubeLimits(watch_s=1.0))
    version = (await kube.list(PODS, namespace)).resource_version
    async with asyncio.timeout(30), aclosing(kube.watch(PODS, namespace, "", version)) as watching:
        seen = [kind async for kind, _ in watching]
    await kube.close()

    assert seen[0] == "OPENED"
    assert set(seen[1:]) <= {"BOOKMARK"}


async def test_a_request_that_is_cancelled_in_its_handshake_ends_its_connection(
    kubeconfig: Callable[..., Path], namespace: str
) -> None:
    reached, ended = asyncio.Event(), asyncio.Event()

    async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        reached.set()
        await reader.read()
        ended.set()
        writer.close()

    async with await asyncio.start_server(never_answers, "127.0.0.1", 0) as server:
        kube = connect(kubeconfig(port=server.sockets[0].getsockname()[1]))
        listing = asyncio.create_task(kube.list(PODS, namespace))
        await reached.wait()
        listing.cancel()
        await asyncio.wait([listing])
        await kube.close()

        async with asyncio.timeout(10):
            await ended.wait()


async def test_a_token_that_nobody_issued_is_refused(kubeconfig: Callable[..., Path], namespace: str) -> None:
    kube = connect(kubeconfig("not-a-token"))
    with pytest.raises(ApiError) as error:
        await kube.list(PODS, namespace)
    await kube.close()

    assert error.value.status == 401


async def test_a_pod_finds_its_server_and_reads_its_token_again_when_it_is_renewed(
    cluster: Cluster, admin: Api, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kubelet gives a pod: three files of which the token changes, and two variables."""
    monkeypatch.setattr(config, "SERVICE_ACCOUNT", tmp_path)
    host, _, port = cluster.url.removeprefix("https://").partition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    (tmp_path / "ca.crt").write_bytes(cluster.authority.read_bytes())
    (tmp_path / "namespace").write_text(namespace)
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    await admin.account("ours", namespace, rules)
    (tmp_path / "token").write_text(await admin.token(namespace, "ours"))

    kube = connect(None)
    assert kube.namespace == namespace
    assert (await kube.list(PODS, namespace)).items == []
    # Another account of the same name, so that the old token is worth nothing.
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "ours"}}
    await admin.delete(account, namespace)
    await admin.create(account, namespace)
    (tmp_path / "token").write_text(await admin.token(namespace, "ours"))

    assert await eventually_lists(kube, namespace)
    await kube.close()


async def eventually_lists(kube: Kube, namespace: str) -> bool:
    """Whether it may, after the server's own caches had their time."""
    async with asyncio.timeout(60):
        while True:
            try:
                await kube.list(PODS, namespace)
            except ApiError as error:
                assert error.status == 401  # noqa: PT017  anything else is not what we wait out
                await asyncio.sleep(0.2)
            else:
                return True


async def test_what_we_may_not_do_is_forbidden_and_what_we_may_is_not(
    kubeconfig: Callable[..., Path], admin: Api, namespace: str
) -> None:
    await admin.account(
        "limited",
        namespace,
        [{"apiGroups": [POOLS.group], "resources": [POOLS.plural], "verbs": ["get", "list", "watch"]}],
    )
    await admin.create(objects.pool("p"), namespace)
    kube = connect(kubeconfig(await admin.token(namespace, "limited")))
    version = (await kube.list(POOLS, namespace)).resource_version
    await kube.get(POOLS, namespace, "p")
    await admin.delete(objects.pool("p"), namespace)

    assert await events(kube, (POOLS, namespace, ""), version, 1) == [("DELETED", "p")]
    for forbidden in (
        kube.list(PODS, namespace),
        kube.list(POOLS, None),
        events(kube, (PODS, namespace, ""), version, 1),
        kube.create(POOLS, namespace, objects.pool("q")),
        kube.delete(POOLS, namespace, "p"),
    ):
        with pytest.raises(ApiError) as error:
            await forbidden
        assert (error.value.status, error.value.reason) == (403, "Forbidden")
        assert error.value.is_denied
    await kube.close()
