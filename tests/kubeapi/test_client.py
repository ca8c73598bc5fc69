"""The client, against an API server on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

import pytest

from epp.edge.kube.client import ApiError, Kube, KubeLimits, Object, Resource, lines
from tests.edge.until import PATIENCE_S, until
from tests.kubeapi.server import EXPIRED, ApiServer, Drop, End, Hang, Refuse, Say, Slow, Stall

PODS = Resource("", "v1", "pods", "Pod")
POOLS = Resource("inference.networking.k8s.io", "v1", "inferencepools", "InferencePool")
OLD_POOLS = Resource("inference.networking.x-k8s.io", "v1alpha2", "inferencepools", "InferencePool")

Connect = Callable[..., Kube]


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer(PODS, POOLS) as server:
        yield server


@pytest.fixture
async def connect(api: ApiServer) -> AsyncIterator[Connect]:
    opened: list[Kube] = []

    def one(**limits: float) -> Kube:
        opened.append(api.connect(KubeLimits(**limits)))  # type: ignore[arg-type]  # each test names fields it knows
        return opened[-1]

    yield one
    for kube in opened:
        await kube.close()


def fill(api: ApiServer, count: int, labels: dict[str, str] | None = None) -> None:
    for number in range(count):
        api.put(PODS, "llm", f"pod-{number:03}", {"metadata": {"labels": labels or {}}})


async def refused(call: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        async with asyncio.timeout(PATIENCE_S):
            await call  # type: ignore[misc]  # any awaitable
    return caught.value


async def take(kube: Kube, count: int, version: str, labels: str = "") -> list[tuple[str, str]]:
    """The first events of a watch that are none of our own making, as (kind, name)."""
    taken: list[tuple[str, str]] = []
    async with asyncio.timeout(PATIENCE_S), aclosing(kube.watch(PODS, "llm", labels, version)) as events:
        async for kind, item in events:
            if kind != "OPENED":
                taken.append((kind, item["metadata"].get("name", "")))
            if len(taken) == count:
                break
    return taken


async def collect(watch: AsyncGenerator[tuple[str, Object]], kinds: list[str]) -> None:
    async with aclosing(watch) as events:
        async for kind, _ in events:
            kinds.append(kind)


@pytest.mark.parametrize("limit", [0, 1, 3, 7, 8])
async def test_a_list_is_whole_however_it_is_paged(api: ApiServer, connect: Connect, limit: int) -> None:
    fill(api, 7)
    listing = await connect().list(PODS, "llm", limit=limit)

    assert [item["metadata"]["name"] for item in listing.items] == [f"pod-{n:03}" for n in range(7)]
    assert listing.resource_version == str(api.store.version)


async def test_a_list_of_none_is_empty(connect: Connect) -> None:
    assert (await connect().list(PODS, "llm")).items == []


async def test_labels_and_namespaces_select(api: ApiServer, connect: Connect) -> None:
    fill(api, 2, {"app": "vllm"})
    api.put(PODS, "llm", "other", {})
    api.put(PODS, "elsewhere", "far", {"metadata": {"labels": {"app": "vllm"}}})
    kube = connect()

    assert len((await kube.list(PODS, "llm", "app=vllm")).items) == 2
    assert len((await kube.list(PODS, None, "app=vllm")).items) == 3


async def test_objects_can_be_created_read_replaced_and_deleted(api: ApiServer, connect: Connect) -> None:
    kube = connect()
    created = await kube.create(PODS, "llm", {"metadata": {"name": "a"}, "spec": 1})
    replaced = await kube.replace(PODS, "llm", "a", created | {"spec": 2})
    late = await refused(kube.replace(PODS, "llm", "a", created | {"spec": 3}))
    read = await kube.get(PODS, "llm", "a")
    twice = await refused(kube.create(PODS, "llm", {"metadata": {"name": "a"}}))
    await kube.delete(PODS, "llm", "a")
    gone = await refused(kube.get(PODS, "llm", "a"))

    assert read["spec"] == 2 == replaced["spec"]
    assert (late.status, late.reason) == (409, "Conflict")
    assert (twice.status, twice.reason) == (409, "AlreadyExists")
    assert gone.status == 404
    assert not api.store.objects


async def test_a_patch_changes_what_it_names_only(api: ApiServer, connect: Connect) -> None:
    kube = connect()
    api.put(PODS, "llm", "a", {"spec": {"x": 1, "y": 2, "z": 3}})
    patched = await kube.patch(PODS, "llm", "a", {"spec": {"x": 7, "y": None}})

    assert patched["spec"] == {"x": 7, "z": 3}
    assert (await refused(kube.patch(PODS, "llm", "b", {}))).status == 404


async def test_an_odd_name_stays_one_part_of_the_path(api: ApiServer, connect: Connect) -> None:
    error = await refused(connect().get(PODS, "llm", "../../secrets?x=/y"))

    assert error.status == 404
    assert api.asked == [("get", "pods")]


async def test_versions_of_a_group_and_what_they_have(api: ApiServer, connect: Connect) -> None:
    api.resources.add(OLD_POOLS)
    kube = connect()

    assert await kube.versions(POOLS.group) == {"v1": {"inferencepools"}}
    assert await kube.versions(OLD_POOLS.group) == {"v1alpha2": {"inferencepools"}}
    assert await kube.versions("llm-d.ai") == {}


async def test_a_watch_tells_what_happened_since(api: ApiServer, connect: Connect) -> None:
    kube = connect()
    api.put(PODS, "llm", "a", {})
    version = str(api.store.version)
    api.put(PODS, "llm", "b", {})
    api.put(PODS, "llm", "a", {"spec": 1})
    api.remove(PODS, "llm", "b")

    assert await take(kube, 3, version) == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]


async def test_an_object_that_no_longer_matches_is_deleted_to_the_watcher(api: ApiServer, connect: Connect) -> None:
    version = str(api.store.version)
    fill(api, 1, {"app": "vllm"})
    fill(api, 1)

    assert await take(connect(), 2, version, "app=vllm") == [("ADDED", "pod-000"), ("DELETED", "pod-000")]


async def test_a_bookmark_names_the_version_only(api: ApiServer, connect: Connect) -> None:
    waiting = asyncio.create_task(take(connect(), 1, str(api.store.version)))
    await until(lambda: api.watching)
    api.bookmark()

    assert await waiting == [("BOOKMARK", "")]


async def test_a_closed_watch_closes_its_connection(api: ApiServer, connect: Connect) -> None:
    version = str(api.store.version)
    fill(api, 1)
    await take(connect(), 1, version)

    await until(lambda: not api.watching)


async def test_a_watch_ends_quietly_when_the_server_ends_it(api: ApiServer, connect: Connect) -> None:
    version = str(api.store.version)
    fill(api, 2)
    api.misbehave("watch", End(after=1))

    assert await take(connect(), 9, version) == [("ADDED", "pod-000")]


@pytest.mark.parametrize("half_line", [False, True])
async def test_a_watch_that_is_cut_off_says_so_after_what_was_whole(
    api: ApiServer, connect: Connect, half_line: bool
) -> None:
    version = str(api.store.version)
    fill(api, 2)
    api.misbehave("watch", Drop(after=1, half_line=half_line))
    taken: list[str] = []
    error = await refused(collect(connect().watch(PODS, "llm", "", version), taken))

    assert taken == ["OPENED", "ADDED"]
    assert error.reason == "ConnectionLost"
    assert not error.is_away


async def test_a_watch_that_falls_silent_ends(api: ApiServer, connect: Connect) -> None:
    version = str(api.store.version)
    fill(api, 2)
    api.misbehave("watch", Stall(after=1))
    error = await refused(take(connect(silence_s=0.1), 2, version))

    assert error.reason == "Timeout"
    assert not error.is_away


async def test_a_server_that_answers_nothing_is_away(api: ApiServer, connect: Connect) -> None:
    api.misbehave("watch", Hang())
    api.misbehave("list", Hang())
    kube = connect(silence_s=0.1, request_s=0.1)
    watching = await refused(take(kube, 1, "1"))
    listing = await refused(kube.list(PODS, "llm"))

    assert watching.is_away
    assert listing.status == 0


async def test_the_server_is_asked_to_end_a_watch_and_for_bookmarks(api: ApiServer, connect: Connect) -> None:
    version = str(api.store.version)
    fill(api, 1)
    await take(connect(watch_s=17.0), 1, version)

    assert api.queries[-1]["timeoutSeconds"] == "17"
    assert api.queries[-1]["allowWatchBookmarks"] == "true"


async def test_a_version_that_is_too_old_or_too_new_is_expired(api: ApiServer, connect: Connect) -> None:
    kube = connect()
    fill(api, 1)
    future = str(api.store.version + 1)
    too_new = await refused(take(kube, 1, future))
    api.misbehave("watch", EXPIRED)
    as_event = await refused(take(kube, 1, str(api.store.version)))
    api.misbehave("watch", Refuse(410, "Expired"))
    as_status = await refused(take(kube, 1, str(api.store.version)))

    assert (as_event.status, as_status.status, too_new.status) == (410, 410, 504)
    assert as_event.is_expired
    assert as_status.is_expired
    assert too_new.is_expired
    assert not ApiError(504, "Timeout", "a gateway's").is_expired


async def test_a_page_that_expired_says_so(api: ApiServer, connect: Connect) -> None:
    fill(api, 3)
    api.misbehave("page", Refuse(410, "Expired"))
    error = await refused(connect().list(PODS, "llm", limit=2))

    assert error.is_expired


async def test_a_slow_page_is_waited_for(api: ApiServer, connect: Connect) -> None:
    fill(api, 3)
    slow = Slow()
    api.misbehave("list", slow)
    listing = asyncio.create_task(connect().list(PODS, "llm"))
    await until(lambda: api.asked)
    slow.until.set()

    assert len((await listing).items) == 3


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"type":"ADDED"}',
        b'{"type":1,"object":{}}',
        b'{"type":"ADDED","object":7}',
        b"",
        b"<html>gateway</html>",
    ],
)
async def test_what_is_no_event_ends_the_watch(api: ApiServer, connect: Connect, line: bytes) -> None:
    api.misbehave("watch", Say(line))
    error = await refused(take(connect(), 1, str(api.store.version)))

    assert (error.status, error.reason) == (0, "BadAnswer")


async def test_an_error_event_without_sense_is_an_error_all_the_same(api: ApiServer, connect: Connect) -> None:
    api.misbehave("watch", Say(b'{"type":"ERROR","object":[1]}'))
    error = await refused(take(connect(), 1, str(api.store.version)))

    assert error.reason == "Error"


@pytest.mark.parametrize("body", ["", "{}", "[]", '{"metadata":{}}', '{"metadata":{"resourceVersion":"1"},"items":3}'])
async def test_what_is_no_list_is_told_as_such(api: ApiServer, connect: Connect, body: str) -> None:
    api.misbehave("list", Refuse(200, body=body))
    error = await refused(connect().list(PODS, "llm"))

    assert (error.status, error.reason) == (0, "BadAnswer")


async def test_a_proxys_page_of_its_own_is_quoted(api: ApiServer, connect: Connect) -> None:
    api.misbehave("list", Refuse(503, body="upstream connect error"))
    error = await refused(connect().list(PODS, "llm"))

    assert str(error) == "503 Error: upstream connect error"


async def test_a_redirect_is_not_followed(api: ApiServer, connect: Connect) -> None:
    api.misbehave("list", Refuse(302))

    assert (await refused(connect().list(PODS, "llm"))).status == 302


async def test_nothing_is_read_beyond_its_bound(api: ApiServer, connect: Connect) -> None:
    version = str(api.store.version)
    api.put(PODS, "llm", "large", {"spec": "x" * 100_000})
    kube = connect(page_bytes_max=50_000, line_bytes_max=50_000)

    assert (await refused(kube.list(PODS, "llm"))).reason == "TooLarge"
    assert (await refused(kube.get(PODS, "llm", "large"))).reason == "TooLarge"
    assert (await refused(take(kube, 1, version))).reason == "TooLarge"


async def test_a_line_of_many_chunks_is_one_event(api: ApiServer, connect: Connect) -> None:
    version = str(api.store.version)
    api.put(PODS, "llm", "large", {"spec": "x" * 3_000_000})
    api.put(PODS, "llm", "small", {})

    assert await take(connect(), 2, version) == [("ADDED", "large"), ("ADDED", "small")]


async def test_nobody_listening_is_away(api: ApiServer, connect: Connect) -> None:
    await api.stop()
    error = await refused(connect().list(PODS, "llm"))

    assert error.is_away
    assert "NoConnection" in str(error)


async def test_a_connection_cut_before_the_answer_is_away(api: ApiServer, connect: Connect) -> None:
    api.misbehave("list", Drop())

    assert (await refused(connect().list(PODS, "llm"))).is_away


async def test_more_watches_at_once_than_a_usual_connection_pool(api: ApiServer, connect: Connect) -> None:
    kube = connect()
    watches = [asyncio.create_task(take(kube, 1, str(api.store.version))) for _ in range(150)]
    await until(lambda: api.watching == 150)
    fill(api, 1)

    assert await asyncio.gather(*watches) == [[("ADDED", "pod-000")]] * 150


@pytest.mark.parametrize("size", range(1, 12))
async def test_lines_are_whole_however_they_come_in_pieces(size: int) -> None:
    text = b"one\ntwo\n\nfour\nhalf"

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(text), size):
            yield text[start : start + size]

    assert [line async for line in lines(pieces(), 5)] == [b"one", b"two", b"", b"four"]
