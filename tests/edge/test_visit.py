"""One visit to one endpoint, on real sockets: what is learned, what is kept, when it counts as unreachable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from epp.domain import Endpoint, Load
from epp.edge.visit import ScrapeLimits, Visitor

from .model_server import ModelServer

LIMITS = ScrapeLimits(
    models_interval_s=10.0, connect_timeout_s=5.0, timeout_s=5.0, metrics_bytes_max=100_000, models_bytes_max=10_000
)
IMPATIENT = ScrapeLimits(timeout_s=0.3)
BOTH = {"llama3-8b": "llama3-8b", "sql": "llama3-8b"}


class Desk:
    """A model server, the endpoint for it, and a clock that is moved by hand."""

    def __init__(self, server: ModelServer) -> None:
        self.server = server
        self.endpoint = Endpoint("default/a", server.address)
        self.now = 100.0
        self.visitor: Visitor

    async def visits(self, count: int, limits: ScrapeLimits = LIMITS) -> None:
        if not hasattr(self, "visitor"):
            self.visitor = Visitor(self.endpoint, lambda: self.now, limits)
        for _ in range(count):
            await self.visitor.visit()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with ModelServer() as server:
        made = Desk(server)
        yield made
        if hasattr(made, "visitor"):
            made.visitor.close()


async def test_load_and_models_are_learned(desk: Desk) -> None:
    await desk.visits(1)

    assert desk.endpoint.load == Load(at=100.0, waiting=3.0, running=1.0)
    assert desk.endpoint.models == BOTH
    assert desk.visitor.errors == {}


async def test_models_are_asked_for_at_their_own_pace(desk: Desk) -> None:
    await desk.visits(3)
    desk.now += 10.0
    await desk.visits(1)

    assert desk.server.asked == {"/metrics": 4, "/v1/models": 2}


async def test_one_connection_serves_many_visits(desk: Desk) -> None:
    await desk.visits(5)

    assert len(desk.server.connections) == 1


async def test_a_refused_connection_is_unreachable_at_once_and_what_was_known_stays(desk: Desk) -> None:
    await desk.visits(1)
    await desk.server.stop()
    await desk.visits(1)

    assert not desk.endpoint.reachable
    assert desk.visitor.errors == {"/metrics": "connection refused"}
    assert desk.endpoint.load == Load(at=100.0, waiting=3.0, running=1.0)
    assert desk.endpoint.models == BOTH


async def test_a_server_that_is_back_is_reachable_and_asked_for_its_models_again(desk: Desk) -> None:
    await desk.visits(1)
    await desk.server.stop()
    await desk.visits(2)
    await desk.server.start()
    desk.server.bodies["/v1/models"] = b'{"data":[{"id":"other"}]}'
    await desk.visits(1)

    assert desk.endpoint.reachable
    assert desk.endpoint.models == {"other": "other"}
    assert desk.visitor.errors == {}
    assert desk.visitor.cadence.failures == 0


async def test_a_connection_closed_without_an_answer_is_unreachable() -> None:
    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    endpoint = Endpoint("default/a", f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server:
        visitor = Visitor(endpoint, lambda: 0.0, LIMITS)
        await visitor.visit()
        visitor.close()

    assert not endpoint.reachable
    assert visitor.errors["/metrics"] in ("connection closed without an answer", "connection reset by peer")


async def test_only_the_second_timeout_in_a_row_makes_unreachable(desk: Desk) -> None:
    desk.server.answering.clear()
    await desk.visits(1, IMPATIENT)
    after_one = desk.endpoint.reachable
    await desk.visits(1, IMPATIENT)

    assert after_one
    assert not desk.endpoint.reachable
    assert desk.visitor.errors == {"/metrics": "no answer in time"}


async def test_an_answer_between_two_timeouts_starts_the_count_again(desk: Desk) -> None:
    desk.server.answering.clear()
    await desk.visits(1, IMPATIENT)
    desk.server.answering.set()
    await desk.visits(1, IMPATIENT)
    desk.server.answering.clear()
    await desk.visits(1, IMPATIENT)

    assert desk.endpoint.reachable


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (503, b"", "HTTP 503"),
        (302, b"", "HTTP 302"),
        (200, b"", "the answer is empty"),
        (200, b"<html>", "the answer is a web page, not metrics; is this the port of a model server?"),
        (200, b"x" * 100_001, "the answer is larger than 100000 bytes"),
    ],
)
async def test_a_bad_answer_keeps_the_last_load_and_the_endpoint_reachable(
    desk: Desk, status: int, body: bytes, why: str
) -> None:
    await desk.visits(1)
    desk.server.statuses["/metrics"] = status
    desk.server.bodies["/metrics"] = body
    desk.now += 1.0
    await desk.visits(1)

    assert desk.endpoint.load == Load(at=100.0, waiting=3.0, running=1.0)
    assert desk.endpoint.reachable
    assert desk.visitor.errors == {"/metrics": why}


async def test_what_is_not_http_is_a_bad_answer() -> None:
    async def talk_ssh(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Bytes left unread would turn the close into a reset.
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk_ssh, "127.0.0.1", 0)
    endpoint = Endpoint("default/a", f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server:
        visitor = Visitor(endpoint, lambda: 0.0, LIMITS)
        await visitor.visit()
        visitor.close()

    assert endpoint.reachable
    assert visitor.errors["/metrics"].startswith("not HTTP as we know it")


async def test_an_endless_answer_is_cut_off_at_its_bound(desk: Desk) -> None:
    desk.server.endless.add("/metrics")
    await desk.visits(1)

    assert desk.visitor.errors == {"/metrics": "the answer is larger than 100000 bytes"}
    async with asyncio.timeout(20):
        await desk.server.cut_off.wait()


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (404, b"", "HTTP 404"),
        (200, b"<html>", "not a model list: JSON is malformed: invalid character (byte 0)"),
        (200, b" " * 10_001, "the answer is larger than 10000 bytes"),
    ],
)
async def test_without_a_model_list_the_models_stay_as_they_were(
    desk: Desk, status: int, body: bytes, why: str
) -> None:
    good = desk.server.bodies["/v1/models"]
    desk.server.statuses["/v1/models"], desk.server.bodies["/v1/models"] = status, body
    await desk.visits(1)
    never_known = desk.endpoint.models
    desk.server.statuses["/v1/models"], desk.server.bodies["/v1/models"] = 200, good
    desk.now += 10.0
    await desk.visits(1)
    desk.server.statuses["/v1/models"], desk.server.bodies["/v1/models"] = status, body
    desk.now += 10.0
    await desk.visits(1)

    assert never_known is None
    assert desk.endpoint.models == BOTH
    assert desk.endpoint.reachable
    assert desk.visitor.errors == {"/v1/models": why}


async def test_trouble_is_logged_when_it_changes_and_when_it_ends(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="epp.edge.visit")
    desk.server.statuses["/metrics"] = 503
    await desk.visits(3)
    desk.server.statuses["/metrics"] = 500
    await desk.visits(3)
    desk.server.statuses["/metrics"] = 200
    await desk.visits(3)

    messages = [record.getMessage().partition(" /metrics: ")[2] for record in caplog.records]
    assert [message for message in messages if message] == ["HTTP 503", "HTTP 500", "well again"]


async def test_a_surprise_in_one_answer_is_a_reason_and_not_the_end(caplog: pytest.LogCaptureFixture) -> None:
    def mistaken(_: Endpoint) -> None:
        raise ZeroDivisionError

    async with ModelServer() as server:
        endpoint = Endpoint("default/a", server.address)
        visitor = Visitor(endpoint, lambda: 200.0, LIMITS, on_probe=mistaken)
        await visitor.visit()
        errors = dict(visitor.errors)
        await visitor.visit()
        visitor.close()

    assert errors == {"/metrics": "unexpected ZeroDivisionError"}
    assert [record.levelname for record in caplog.records if record.exc_info] == ["ERROR"]
    assert endpoint.load == Load(at=200.0, waiting=3.0, running=1.0)
    assert visitor.errors == {}
