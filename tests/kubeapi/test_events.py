"""Kubernetes Events: counted instead of repeated, bounded in every way, and never a burden to who notes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from epp.edge.kube import events
from epp.edge.kube.client import ApiError, Kube, Object, Resource
from epp.edge.kube.events import EVENTS, Allowance, ObjectRef, Recorder
from tests.edge.until import running, until
from tests.kubeapi import virtual
from tests.kubeapi.server import ApiServer, Drop, Refuse, Unheard
from tests.kubeapi.view import PODS

POOLS = Resource("inference.networking.k8s.io", "v1", "inferencepools", "InferencePool")
POOL = ObjectRef(POOLS, "llm", "llama", "uid-7")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Board(Kube):
    """Events in memory, on virtual time; `errors` are raised one by one, before anything is done."""

    latency_s = 0.0

    def __init__(self) -> None:
        super().__init__(httpx2.AsyncClient(), "llm")
        self.events: dict[str, Object] = {}
        self.errors: list[ApiError] = []
        self.requests: list[tuple[float, str]] = []

    async def create(self, resource: Resource, namespace: str | None, body: Object) -> Object:
        await self._asked("create")
        self.events[body["metadata"]["name"]] = dict(body)
        return body

    async def patch(self, resource: Resource, namespace: str | None, name: str, changes: Object) -> Object:
        await self._asked("patch")
        if name not in self.events:
            raise ApiError(404, "NotFound", "")
        self.events[name] |= changes
        return self.events[name]

    async def _asked(self, verb: str) -> None:
        self.requests.append((asyncio.get_running_loop().time(), verb))
        await asyncio.sleep(self.latency_s)
        if self.errors:
            raise self.errors.pop(0)

    @property
    def verbs(self) -> list[str]:
        return [verb for _, verb in self.requests]

    @property
    def counts(self) -> dict[str, int]:
        return {event["message"]: event["count"] for event in self.events.values()}


def on_virtual_time(story: Callable[[Recorder, Board], Coroutine[Any, Any, None]]) -> None:
    async def told() -> None:
        loop = asyncio.get_running_loop()
        board = Board()
        recorder = Recorder(board, now=loop.time, wall=lambda: BEGIN + timedelta(seconds=loop.time()))
        try:
            async with running(recorder.run()):
                await story(recorder, board)
        finally:
            await board.close()

    virtual.run(told())


def test_an_event_is_what_kubectl_describe_looks_for() -> None:
    async def story(recorder: Recorder, board: Board) -> None:
        recorder.note(POOL, "RewriteConflict", "two rewrites", "Warning")
        await asyncio.sleep(1.0)
        (name,) = board.events
        event = board.events[name]

        assert name.startswith("llama.")
        assert event["metadata"] == {"name": name, "namespace": "llm"}
        assert event["involvedObject"] == {
            "apiVersion": "inference.networking.k8s.io/v1",
            "kind": "InferencePool",
            "namespace": "llm",
            "name": "llama",
            "uid": "uid-7",
        }
        assert (event["type"], event["reason"], event["message"]) == ("Warning", "RewriteConflict", "two rewrites")
        assert (event["count"], event["source"]) == (1, {"component": "onehop"})
        assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-01-01T00:00:00Z"

    on_virtual_time(story)


def test_what_is_noted_again_is_counted() -> None:
    async def story(recorder: Recorder, board: Board) -> None:
        for _ in range(3):
            recorder.note(POOL, "Why", "again")
        await asyncio.sleep(60.0)
        recorder.note(POOL, "Why", "again")
        await asyncio.sleep(1.0)
        (event,) = board.events.values()

        assert board.verbs == ["create", "patch"]
        assert event["count"] == 4
        assert event["firstTimestamp"] == "2026-01-01T00:00:00Z"
        assert event["lastTimestamp"] == "2026-01-01T00:01:00Z"

    on_virtual_time(story)


@pytest.mark.parametrize(
    ("regarding", "reason", "message", "kind"),
    [
        (ObjectRef(POOLS, "llm", "phi", "uid-8"), "Why", "what", "Warning"),
        (POOL, "Other", "what", "Warning"),
        (POOL, "Why", "else", "Warning"),
        (POOL, "Why", "what", "Normal"),
    ],
)
def test_what_differs_is_an_event_of_its_own(regarding: ObjectRef, reason: str, message: str, kind: Any) -> None:
    async def story(recorder: Recorder, board: Board) -> None:
        recorder.note(POOL, "Why", "what", "Warning")
        recorder.note(regarding, reason, message, kind)
        await asyncio.sleep(1.0)

        assert len(board.events) == 2

    on_virtual_time(story)


def test_an_event_that_the_server_forgot_is_written_anew() -> None:
    async def story(recorder: Recorder, board: Board) -> None:
        recorder.note(POOL, "Why", "what")
        await asyncio.sleep(1.0)
        board.events.clear()
        recorder.note(POOL, "Why", "what")
        await asyncio.sleep(1.0)

        assert board.verbs == ["create", "patch", "create"]
        assert board.counts == {"what": 1}

    on_virtual_time(story)


def test_a_flood_is_written_slowly_and_counted_meanwhile() -> None:
    async def story(recorder: Recorder, board: Board) -> None:
        for _ in range(10):
            for number in range(events.BURST_MAX + 5):
                recorder.note(POOL, "Why", f"number {number}")
        await asyncio.sleep(0.0)
        await asyncio.sleep(events.ONE_EACH_S * 5.5)
        times = [at for at, _ in board.requests]

        assert times[: events.BURST_MAX] == [0.0] * events.BURST_MAX
        assert times[events.BURST_MAX :] == pytest.approx([events.ONE_EACH_S * n for n in range(1, 6)])
        assert set(board.counts.values()) == {10}

        before = len(board.requests)
        for _ in range(1000):
            recorder.note(POOL, "Why", "number 0")
            recorder.note(POOL, "Why", "number 1")
            await asyncio.sleep(0.1)
        assert len(board.requests) - before <= 100 / events.ONE_EACH_S + 1
        await asyncio.sleep(100.0)
        assert board.counts["number 0"] == 1010

    on_virtual_time(story)


def test_no_more_wait_than_there_is_room_for() -> None:
    async def story(recorder: Recorder, board: Board) -> None:
        for number in range(events.WAITING_MAX + 7):
            recorder.note(POOL, "Why", f"number {number}")
        recorder.note(POOL, "Why", "number 0")

        assert recorder.dropped == 7
        await asyncio.sleep(events.WAITING_MAX * events.ONE_EACH_S)
        assert len(board.events) == events.WAITING_MAX
        assert board.counts["number 0"] == 2

    on_virtual_time(story)


def test_no_more_is_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KNOWN_MAX", 2)

    async def story(recorder: Recorder, board: Board) -> None:
        for number in range(3):
            recorder.note(POOL, "Why", f"number {number}")
        await asyncio.sleep(1.0)
        recorder.note(POOL, "Why", "number 2")
        recorder.note(POOL, "Why", "number 0")
        await asyncio.sleep(1.0)

        assert board.verbs == ["create"] * 3 + ["patch", "create"]

    on_virtual_time(story)


def test_a_server_in_trouble_is_asked_again_and_nothing_is_lost() -> None:
    async def story(recorder: Recorder, board: Board) -> None:
        board.errors = [ApiError(0, "NoConnection", "refused"), ApiError(503, "Busy", "later")]
        recorder.note(POOL, "Why", "first")
        recorder.note(POOL, "Why", "second")
        await asyncio.sleep(0.5)
        said = recorder.condition
        recorder.note(POOL, "Why", "first")
        await asyncio.sleep(60.0)

        assert said == "Events cannot be written in namespace llm: NoConnection: refused"
        assert recorder.condition is None
        assert board.counts == {"first": 2, "second": 1}
        assert list(board.counts) == ["first", "second"]
        assert [at for at, _ in board.requests] == [0.0, 1.0, 3.0, 3.0]

    on_virtual_time(story)


def test_what_is_noted_while_a_try_is_under_way_counts_with_it() -> None:
    async def story(recorder: Recorder, board: Board) -> None:
        board.latency_s = 1.0
        board.errors = [ApiError(503, "Busy", "later")]
        recorder.note(POOL, "Why", "what")
        await asyncio.sleep(0.5)
        recorder.note(POOL, "Why", "what")
        await asyncio.sleep(60.0)
        (event,) = board.events.values()

        assert event["count"] == 2
        assert event["lastTimestamp"] == "2026-01-01T00:00:00Z"
        assert board.verbs == ["create", "create"]

    on_virtual_time(story)


def test_pauses_double_up_to_their_bound_and_begin_anew_after_a_success() -> None:
    async def story(recorder: Recorder, board: Board) -> None:
        board.errors = [ApiError(503, "Busy", "later")] * (events.TRIES_MAX + 2)
        recorder.note(POOL, "Why", "dropped in the end")
        recorder.note(POOL, "Why", "written in the end")
        await asyncio.sleep(100.0)
        board.errors = [ApiError(503, "Busy", "later")]
        recorder.note(POOL, "Why", "written soon")
        await asyncio.sleep(10.0)

        assert [at for at, _ in board.requests] == [0, 1, 3, 7, 15, 15, 31, 61, 100, 101]
        assert board.counts == {"written in the end": 1, "written soon": 1}

    on_virtual_time(story)


def test_a_count_that_could_not_be_written_is_not_lost() -> None:
    async def story(recorder: Recorder, board: Board) -> None:
        recorder.note(POOL, "Why", "what")
        await asyncio.sleep(1.0)
        board.errors = [ApiError(503, "Busy", "later")]
        recorder.note(POOL, "Why", "what")
        await asyncio.sleep(60.0)

        assert board.verbs == ["create", "patch", "patch"]
        assert board.counts == {"what": 2}

    on_virtual_time(story)


def test_tries_have_an_end() -> None:
    async def story(recorder: Recorder, board: Board) -> None:
        board.errors = [ApiError(500, "InternalError", "")] * events.TRIES_MAX
        recorder.note(POOL, "Why", "first")
        recorder.note(POOL, "Why", "second")
        await asyncio.sleep(1000.0)

        assert board.counts == {"second": 1}
        assert recorder.dropped == 1
        assert len(board.requests) == events.TRIES_MAX + 1

    on_virtual_time(story)


def test_what_the_server_finds_invalid_is_dropped_and_the_next_written() -> None:
    async def story(recorder: Recorder, board: Board) -> None:
        board.errors = [ApiError(422, "Invalid", "reason: too long")]
        recorder.note(POOL, "Why" * 100, "first")
        recorder.note(POOL, "Why", "second")
        await asyncio.sleep(1.0)

        assert board.counts == {"second": 1}
        assert recorder.dropped == 1

    on_virtual_time(story)


def test_missing_rights_say_what_to_grant_and_are_tried_again_later() -> None:
    async def story(recorder: Recorder, board: Board) -> None:
        board.errors = [ApiError(403, "Forbidden", "no")]
        recorder.note(POOL, "Why", "first")
        recorder.note(POOL, "Why", "second")
        await asyncio.sleep(events.DENIED_PAUSE_S - 1.0)
        during = len(board.requests), recorder.condition
        await asyncio.sleep(2.0)

        assert during == (1, "we may not write Events in namespace llm: grant create and patch on them")
        assert recorder.condition is None
        assert board.counts == {"second": 1}

    on_virtual_time(story)


def test_long_names_and_messages_are_cut_to_what_is_allowed() -> None:
    async def story(recorder: Recorder, board: Board) -> None:
        name = "a" * 235 + "-" + "b" * 17
        recorder.note(ObjectRef(PODS, "llm", name), "Why", "x" * 5000)
        await asyncio.sleep(1.0)
        (event,) = board.events.values()

        assert event["metadata"]["name"].startswith("a" * 235 + ".")
        assert len(event["metadata"]["name"]) <= 253
        assert event["involvedObject"]["name"] == name
        assert "uid" not in event["involvedObject"]
        assert len(event["message"]) == events.MESSAGE_LENGTH_MAX

    on_virtual_time(story)


def test_an_allowance_fills_up_to_its_bound() -> None:
    allowance = Allowance(at=0.0)
    at_once = [allowance.take(0.0) for _ in range(events.BURST_MAX)]
    next_one = allowance.take(0.0)
    much_later = [allowance.take(1e9) for _ in range(events.BURST_MAX + 1)]

    assert at_once == [0.0] * events.BURST_MAX
    assert next_one == events.ONE_EACH_S
    assert much_later == [0.0] * events.BURST_MAX + [events.ONE_EACH_S]


@asynccontextmanager
async def recording(api: ApiServer) -> AsyncIterator[Recorder]:
    kube = api.connect()
    recorder = Recorder(kube)
    try:
        async with running(recorder.run()):
            yield recorder
    finally:
        await kube.close()


async def test_over_real_sockets_events_are_created_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PAUSE_S", 0.01)
    async with ApiServer(EVENTS) as api, recording(api) as recorder:
        api.misbehave("create", Drop(), Refuse(500))
        recorder.note(POOL, "Why", "what")
        await until(lambda: api.store.objects)
        recorder.note(POOL, "Why", "what")
        await until(lambda: ("patch", "events") in api.asked and recorder.condition is None)
        await until(lambda: [event["count"] for event in api.store.objects.values()] == [2])


async def test_over_real_sockets_an_answer_that_got_lost_makes_no_second_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "PAUSE_S", 0.01)
    async with ApiServer(EVENTS) as api, recording(api) as recorder:
        api.misbehave("create", Unheard())
        recorder.note(POOL, "Why", "what")
        await until(lambda: recorder.condition)
        recorder.note(POOL, "Why", "what")
        await until(lambda: [event["count"] for event in api.store.objects.values()] == [2])
        await until(lambda: recorder.condition is None)


async def test_over_real_sockets_missing_rights_are_a_condition() -> None:
    async with ApiServer(EVENTS) as api, recording(api) as recorder:
        api.denied.add(EVENTS)
        recorder.note(POOL, "Why", "what")
        await until(lambda: recorder.condition)

    assert "grant create and patch" in (recorder.condition or "")


def test_a_server_that_is_away_holds_nobody_up() -> None:
    async def story(recorder: Recorder, board: Board) -> None:
        board.errors = [ApiError(0, "NoConnection", "")] * 10_000
        for number in range(10_000):
            recorder.note(POOL, "Why", f"number {number % 300}")
            await asyncio.sleep(0.1)

        assert len(recorder._waiting) <= events.WAITING_MAX + 1
        assert recorder.dropped > 0

    on_virtual_time(story)
