"""The informer, against an API server that behaves badly on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from epp.edge.kube import client, informer
from epp.edge.kube.client import KubeLimits, Resource
from epp.edge.kube.course import Pauses
from tests.edge.until import until
from tests.kubeapi.server import EXPIRED, FAR, ApiServer, Drop, End, Fault, Hang, Refuse, Say, Slow, Stall
from tests.kubeapi.view import PODS, Value, following

POOLS = Resource("inference.networking.k8s.io", "v1", "inferencepools", "InferencePool")
A, B = ("llm", "a"), ("llm", "b")


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer(PODS) as server:
        server.put(PODS, "llm", "a", {"spec": 1})
        server.put(PODS, "llm", "b", {"spec": 1})
        yield server


async def test_it_learns_all_there_is_and_follows_each_change(api: ApiServer) -> None:
    async with following(api) as view:
        first = list(view.told)
        api.put(PODS, "llm", "a", {"spec": 2})
        api.remove(PODS, "llm", "b")
        api.put(PODS, "llm", "c", {"spec": 3})
        await until(lambda: len(view.told) == 5)

    assert sorted(first, key=lambda change: change[0]) == [(A, None, Value(1)), (B, None, Value(1))]
    assert view.told[2:] == [(A, Value(1), Value(2)), (B, Value(1), None), (("llm", "c"), None, Value(3))]
    assert view.equals(api)
    assert view.synced == 1
    assert view.informer.condition is None


async def test_an_empty_list_is_a_synced_one(api: ApiServer) -> None:
    api.resources.add(POOLS)
    async with following(api, POOLS) as view:
        assert (view.synced, view.informer.available, view.informer.settled) == (1, True, True)


async def test_a_change_that_the_caller_does_not_keep_is_none(api: ApiServer) -> None:
    async with following(api) as view:
        kept = view.informer.objects[A]
        api.put(PODS, "llm", "a", {"spec": 1, "status": "heartbeat"})
        api.put(PODS, "llm", "b", {"spec": 2})
        await until(lambda: view.informer.objects[B] == Value(2))

    assert view.informer.objects[A] is kept
    assert len(view.told) == 3


async def test_a_relist_tells_exactly_the_difference_and_keeps_the_rest(api: ApiServer) -> None:
    api.put(PODS, "llm", "c", {"spec": 1})
    async with following(api) as view:
        before, kept = len(view.told), view.informer.objects[A]
        await api.stop()
        api.put(PODS, "llm", "b", {"spec": 2})
        api.remove(PODS, "llm", "c")
        api.put(PODS, "llm", "d", {"spec": 4})
        api.compact()
        await api.start()
        await until(lambda: view.equals(api))

    assert set(view.told[before:]) == {
        (B, Value(1), Value(2)),
        (("llm", "c"), Value(1), None),
        (("llm", "d"), None, Value(4)),
    }
    assert view.informer.objects[A] is kept
    assert view.synced == 1


@pytest.mark.parametrize(
    "fault",
    [
        Drop(),
        Drop(after=1),
        Drop(after=1, half_line=True),
        End(),
        End(after=1),
        Stall(after=1),
        Say(b"{"),
        Say(b'{"type":"ADDED","object":{}}'),
        Say(b'{"type":"ADDED","object":{"metadata":{"name":"x"}}}', after=1),
        Say(b'{"type":"BOOKMARK","object":{"metadata":null}}'),
        EXPIRED,
        Refuse(410, "Expired"),
        Refuse(500),
        Refuse(429, "TooManyRequests"),
        Refuse(401, "Unauthorized"),
        Refuse(403, "Forbidden"),
        Refuse(404, body="404 page not found"),
        Refuse(200, body="<html>"),
        Hang(),
    ],
    ids=repr,
)
async def test_a_watch_in_trouble_loses_nothing(api: ApiServer, fault: Fault) -> None:
    async with following(api, limits=KubeLimits(silence_s=0.2)) as view:
        api.misbehave("watch", fault)
        for spec in range(2, 7):
            api.put(PODS, "llm", "a", {"spec": spec})
            api.put(PODS, "llm", f"new-{spec}", {"spec": spec})
        api.remove(PODS, "llm", "b")
        await until(lambda: view.equals(api) and not api._faults["watch"] and view.informer.condition is None)

        api.put(PODS, "llm", "a", {"spec": "last"})
        await until(lambda: view.equals(api))


@pytest.mark.parametrize(
    "fault", [Drop(after=1), Drop(after=1, half_line=True), End(after=1), Stall(after=1), Say(b"{", after=1)], ids=repr
)
async def test_a_lost_watch_goes_on_where_it_was_without_a_relist(api: ApiServer, fault: Fault) -> None:
    async with following(api) as view:
        patient = view.kube.limits
        view.kube.limits = KubeLimits(silence_s=1.0)
        api.misbehave("watch", fault)
        await until(lambda: not api._faults["watch"] and api.watching)
        view.kube.limits = patient
        api.put(PODS, "llm", "a", {"spec": 2})
        api.put(PODS, "llm", "a", {"spec": 3})
        await until(lambda: view.equals(api))

    assert [verb for verb, _ in api.asked].count("list") == 1


@pytest.mark.parametrize("fault", [EXPIRED, Refuse(410, "Expired")], ids=repr)
async def test_a_version_that_is_gone_is_relisted(api: ApiServer, fault: Fault) -> None:
    async with following(api) as view:
        api.misbehave("watch", fault)
        await until(lambda: [verb for verb, _ in api.asked].count("list") == 2)
        api.put(PODS, "llm", "a", {"spec": 2})
        await until(lambda: view.equals(api))


async def test_a_bookmark_is_where_the_next_watch_begins(api: ApiServer) -> None:
    async with following(api) as view:
        api.put(PODS, "elsewhere", "x", {})
        api.bookmark()
        marked = str(api.store.version)
        await until(lambda: view.informer._course.version == marked)
        api.compact()
        api.cut()
        await until(lambda: [verb for verb, _ in api.asked].count("watch") == 2)
        api.put(PODS, "llm", "a", {"spec": 2})
        await until(lambda: view.equals(api))

    assert api.queries[-1]["resourceVersion"] == marked
    assert [verb for verb, _ in api.asked] == ["list", "watch", "watch"]


@pytest.mark.parametrize(
    "fault", [Refuse(500), Refuse(410, "Expired"), Drop(), Refuse(200, body="{"), Hang()], ids=repr
)
@pytest.mark.parametrize("verb", ["list", "page"])
async def test_a_list_that_breaks_off_changes_nothing_and_is_asked_for_again(
    api: ApiServer, fault: Fault, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("epp.edge.kube.course.PAGE_OBJECTS", 2)
    for number in range(5):
        api.put(PODS, "llm", f"more-{number}", {})
    async with following(api, limits=KubeLimits(request_s=0.2)) as view:
        known, told = dict(view.known), len(view.told)
        api.put(PODS, "elsewhere", "x", {})
        api.misbehave(verb, fault)
        api.compact()
        api.cut()
        await until(lambda: not api._faults[verb])
        await until(lambda: view.informer.condition is None and view.equals(api))

    assert view.known == known
    assert len(view.told) == told


async def test_pages_of_one_list_are_of_one_moment(api: ApiServer) -> None:
    for number in range(client.PAGE_OBJECTS):
        api.put(PODS, "llm", f"more-{number}", {})
    slow = Slow()
    api.misbehave("page", slow)
    async with following(api, wait=False) as view:
        await until(lambda: ("page", "pods") in api.asked)
        api.remove(PODS, "llm", "more-7")
        early = bool(view.informer.objects)
        slow.until.set()
        await until(lambda: view.equals(api))

    assert not early
    assert view.told[-1] == (("llm", "more-7"), Value(None), None)
    assert view.synced == 1


@pytest.mark.parametrize(
    ("status", "words"), [(403, "grant list and watch"), (404, "install the CRD")], ids=["forbidden", "absent"]
)
async def test_what_we_may_not_see_or_what_is_not_there_is_a_feature_that_is_off(
    api: ApiServer, status: int, words: str
) -> None:
    if status == 403:
        api.resources.add(POOLS)
        api.denied.add(POOLS)
    async with following(api, POOLS, wait=False) as view:
        await until(lambda: view.informer.available is False)
        off = view.informer.condition, view.informer.synced, view.informer.settled
        api.resources.add(POOLS)
        api.denied.clear()
        api.put(POOLS, "llm", "pool", {})
        await until(lambda: view.informer.available and view.informer.condition is None)

    assert off[0] is not None
    assert words in off[0]
    assert "inferencepools (inference.networking.k8s.io/v1)" in off[0]
    assert off[1:] == (False, True)
    assert view.equals(api)
    assert view.synced == 1


async def test_rights_that_are_taken_away_leave_what_is_known(api: ApiServer) -> None:
    async with following(api) as view:
        api.denied.add(PODS)
        api.cut()
        await until(lambda: view.informer.available is False)
        known = dict(view.informer.objects)
        api.denied.clear()
        await until(lambda: view.informer.available and view.informer.condition is None)

    assert known == {A: Value(1), B: Value(1)}
    assert len(view.told) == 2


async def test_an_outage_is_told_and_over_when_it_is_over(api: ApiServer) -> None:
    async with following(api) as view:
        await api.stop()
        await until(lambda: view.informer.condition)
        said = view.informer.condition or ""
        await api.start()
        await until(lambda: view.informer.condition is None)

    assert "pods (v1) in namespace llm" in said
    assert "the 2 known stay in use: NoConnection: connection refused" in said
    assert view.informer.available
    assert len(view.told) == 2


@pytest.mark.parametrize("versions", [-FAR, FAR])
async def test_a_server_restored_from_a_backup_is_believed(api: ApiServer, versions: int) -> None:
    backup = api.backup()
    async with following(api) as view:
        api.put(PODS, "llm", "c", {})
        api.put(PODS, "llm", "a", {"spec": 2})
        await until(lambda: view.equals(api))
        await api.restart(backup, versions=versions)
        await until(lambda: view.equals(api))
        api.put(PODS, "llm", "a", {"spec": 3})
        await until(lambda: view.equals(api))

    assert ("llm", "c") not in view.informer.objects


async def test_an_object_nobody_understands_is_left_out_and_shown(api: ApiServer) -> None:
    api.put(PODS, "llm", "bad-0", {"spec": "bad"})
    async with following(api) as view:
        api.put(PODS, "llm", "bad-1", {"spec": "bad"})
        api.put(PODS, "llm", "a", {"spec": "bad"})
        await until(lambda: len(view.informer.left_out) == 3)
        three = view.informer.condition
        api.put(PODS, "llm", "bad-0", {"spec": 1})
        api.remove(PODS, "llm", "bad-1")
        await until(lambda: len(view.informer.left_out) == 1)
        one = view.informer.condition
        exact = view.equals(api)
        api.remove(PODS, "llm", "a")
        await until(lambda: view.informer.condition is None)

    assert three is not None
    assert three.startswith("3 of pods (v1) left out")
    assert "llm/a: spec: nobody understands this" in three
    assert one is not None
    assert one.startswith("1 of pods (v1) left out")
    assert exact
    assert view.equals(api)
    assert (A, Value(1), None) in view.told


async def test_only_the_first_of_many_left_out_are_named(api: ApiServer) -> None:
    for number in range(informer.LEFT_OUT_SHOWN_MAX + 1):
        api.put(PODS, "llm", f"bad-{number}", {"spec": "bad"})
    async with following(api) as view:
        said = view.informer.condition or ""

    assert f"llm/bad-{informer.LEFT_OUT_SHOWN_MAX - 1}" in said
    assert f"llm/bad-{informer.LEFT_OUT_SHOWN_MAX}" not in said


async def test_a_pod_that_loses_its_label_leaves(api: ApiServer) -> None:
    api.put(PODS, "llm", "x", {"metadata": {"labels": {"app": "vllm"}}})
    async with following(api, labels="app=vllm") as view:
        only = set(view.informer.objects)
        api.put(PODS, "llm", "x", {"metadata": {"labels": {}}})
        await until(lambda: view.equals(api, "app=vllm"))

    assert only == {("llm", "x")}
    assert not view.informer.objects


async def test_others_run_while_a_large_page_is_read(api: ApiServer) -> None:
    for number in range(400):
        api.put(PODS, "llm", f"more-{number}", {})
    turns = 0
    counts: list[int] = []

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    async with following(api, wait=False) as view:
        reading = view.informer.decode
        view.informer.decode = lambda item: (counts.append(turns), reading(item))[1]  # type: ignore[func-returns-value]
        await until(lambda: view.informer.synced)
    other.cancel()

    longest = max(len([c for c in counts if c == turn]) for turn in set(counts))
    assert len(counts) == 402
    assert longest <= informer.READ_AT_ONCE_MAX
    assert all(before <= after for before, after in pairwise(counts))


async def test_a_server_that_ends_every_watch_at_once_is_not_hammered(api: ApiServer) -> None:
    pauses = Pauses(first_s=0.05, longest_s=1000.0, proven_s=1000.0)
    api.misbehave("watch", *[End()] * 1000)
    async with following(api, pauses=pauses, wait=False):
        await asyncio.sleep(0.5)  # the more time the machine takes, the fewer watches there are

    assert [verb for verb, _ in api.asked].count("watch") <= 6


async def test_cancelling_closes_the_watch(api: ApiServer) -> None:
    async with following(api):
        open_ones = api.watching

    await until(lambda: not api.watching)
    assert open_ones == 1
