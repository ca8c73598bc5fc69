"""What a visit finds out about whose numbers these are, how it asks for the few it needs, and who hears of it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry, Gauge, Histogram, start_http_server

from epp.datastore import engines
from epp.datastore.engines import Engines, custom
from epp.domain import Endpoint, Probe
from epp.edge.visit import OWN_PORT, ScrapeLimits, Source, Visitor, narrowing

from .model_server import ModelServer

VLLM = (
    b'vllm:num_requests_waiting{engine="0"} 3\nvllm:num_requests_running{engine="0"} 1\n'
    b'vllm:kv_cache_usage_perc{engine="0"} 0.5\n'
)
WITHOUT_KV = VLLM.replace(b"kv_cache", b"some_cache")
SGLANG = b"sglang:num_queue_reqs 8\nsglang:num_running_reqs 2\nsglang:token_usage 0.25\n"
LIMITS = ScrapeLimits(connect_timeout_s=10.0, timeout_s=10.0)


class Desk:
    """A visitor of one server, what it told of, and a clock that is moved by hand."""

    def __init__(self, address: str, source: Source = OWN_PORT, **labels: str) -> None:
        self.endpoint = Endpoint("default/a", address, labels)
        self.now = 100.0
        self.told: list[Probe | None] = []
        self.visitor = Visitor(
            self.endpoint, lambda: self.now, LIMITS, source=source, on_probe=lambda e: self.told.append(e.probe)
        )

    async def visits(self, count: int = 1) -> None:
        for _ in range(count):
            await self.visitor.visit()
            self.now += 1.0

    @property
    def waiting(self) -> float | None:
        return self.endpoint.load.waiting if self.endpoint.load else None


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as made:
        made.bodies["/metrics"] = VLLM
        yield made


async def test_the_first_visit_finds_out_what_there_is_and_says_so_once(
    server: ModelServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.bodies["/metrics"] = WITHOUT_KV
    desk = Desk(server.address)
    await desk.visits(5)
    desk.visitor.close()

    probe = desk.endpoint.probe
    assert desk.told == [probe]
    assert probe is not None
    assert probe.engine == "vllm"
    assert probe.found == {"waiting": "vllm:num_requests_waiting", "running": "vllm:num_requests_running"}
    assert probe.missing["kv_usage"] == "vllm:kv_cache_usage_perc or vllm:gpu_cache_usage_perc"
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == [
        f"endpoint default/a ({server.address}): vllm without "
        "kv_usage (vllm:kv_cache_usage_perc or vllm:gpu_cache_usage_perc)"
    ]


async def test_a_server_that_becomes_another_is_found_out_at_once_and_one_that_tells_more_within_the_interval(
    server: ModelServer,
) -> None:
    desk = Desk(server.address)
    await desk.visits(3)
    server.bodies["/metrics"] = SGLANG
    await desk.visits(1)
    changed = desk.endpoint.probe
    server.bodies["/metrics"] = SGLANG + b"sglang:prompt_tokens_total 7\n"
    desk.now += LIMITS.probe_interval_s
    await desk.visits(1)
    desk.visitor.close()

    assert changed is not None
    assert (changed.engine, desk.waiting) == ("sglang", 8)
    assert desk.endpoint.probe is not None
    assert "prompt_tokens" in desk.endpoint.probe.found.keys() - changed.found.keys()
    assert len(desk.told) == 3


async def test_a_label_says_where_an_engine_tells_its_numbers(server: ModelServer) -> None:
    server.bodies = {"/prometheus/metrics": b"trtllm_num_requests_waiting 4\n", "/v1/models": b"{}"}
    desk = Desk(server.address, **{engines.ENGINE_LABELS[0]: "trtllm-serve"})
    await desk.visits(2)
    desk.visitor.close()

    assert desk.waiting == 4
    assert server.asked["/metrics"] == 0


@pytest.mark.parametrize("at_metrics", [None, b"[]", b"<html>", b"# TYPE up gauge\nup 1\n"])
async def test_without_a_label_the_other_places_are_tried_until_one_is_right(
    server: ModelServer, at_metrics: bytes | None
) -> None:
    server.bodies = {"/prometheus/metrics": b"trtllm_num_requests_waiting 4\n", "/v1/models": b"{}"}
    if at_metrics is not None:
        server.bodies["/metrics"] = at_metrics
    desk = Desk(server.address)
    await desk.visits(5)
    desk.visitor.close()

    assert desk.waiting == 4
    assert (server.asked["/metrics"], server.asked["/prometheus/metrics"]) == (1, 5)
    assert "/metrics" not in desk.visitor.errors


async def test_a_server_that_tells_nothing_we_know_is_a_probe_without_an_engine(server: ModelServer) -> None:
    server.bodies["/metrics"] = b"# TYPE up gauge\nup 1\n"
    desk = Desk(server.address)
    await desk.visits(3)
    desk.visitor.close()

    assert desk.told == [Probe(None)]
    assert desk.endpoint.load is None


async def test_a_server_that_does_not_answer_is_no_probe(server: ModelServer) -> None:
    await server.stop()
    desk = Desk(server.address)
    await desk.visits(1)

    assert desk.endpoint.probe is None


async def test_configured_engines_paths_and_ports_are_used(server: ModelServer) -> None:
    async with ModelServer() as elsewhere:
        elsewhere.bodies = {"/numbers": b'queue{kind="a"} 5\nqueue{kind="b"} 50\n'}
        known = Engines.of([custom("mine", queued="queue{kind=a}")], default="mine")
        desk = Desk(server.address, Source(known, "/numbers", elsewhere.port))
        await desk.visits(2)
        desk.visitor.close()

    assert desk.waiting == 5
    assert desk.endpoint.models is not None
    assert (server.asked["/metrics"], elsewhere.asked["/numbers"], elsewhere.asked["/v1/models"]) == (0, 2, 0)


@pytest.mark.parametrize(("field", "value"), [("path", "metrics"), ("port", 0), ("port", 65536)])
def test_a_wrong_source_is_refused_by_its_field(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{field} must"):
        Source(**{field: value})  # type: ignore[arg-type]  # one of them at a time


@contextmanager
def real_exporter() -> Iterator[tuple[str, Gauge]]:
    """The client library that vLLM uses, with its own server."""
    registry = CollectorRegistry()
    waiting = Gauge("vllm:num_requests_waiting", "Waiting.", ["engine"], registry=registry)
    Gauge("vllm:num_requests_running", "Running.", ["engine"], registry=registry).labels("0").set(2)
    Gauge("vllm:kv_cache_usage_perc", "Usage.", ["engine"], registry=registry).labels("0").set(0.5)
    long = Histogram("vllm:e2e_request_latency_seconds", "Long.", ["engine"], registry=registry)
    for engine in range(200):
        long.labels(str(engine)).observe(1.0)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        yield f"127.0.0.1:{server.server_port}", waiting
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_a_real_exporter_is_asked_for_what_is_needed_and_says_the_same_in_a_hundredth_of_the_bytes() -> None:
    with real_exporter() as (address, waiting):
        desk = Desk(address)
        waiting.labels("0").set(1)
        await desk.visits(1)
        first = desk.endpoint.load
        waiting.labels("0").set(7)
        waiting.labels("1").set(2)
        await desk.visits(1)
        numbers = desk.visitor._numbers
        few = await numbers.get("/metrics" + narrowing(engines.VLLM), 1 << 20)
        everything = await numbers.get("/metrics", 1 << 20)
        desk.visitor.close()

    assert first is not None
    assert first.waiting == 1
    assert desk.endpoint.load is not None
    assert (desk.waiting, desk.endpoint.load.running, desk.endpoint.load.kv_usage) == (9, 2, 0.5)
    assert len(everything) > 100 * len(few) > 0


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 200), (b"no", 400), (b"vllm:num_requests_waiting 3\n", 200), (SGLANG, 200)]
)
async def test_a_server_that_does_not_understand_the_question_is_asked_for_everything_from_then_on(
    server: ModelServer, body: bytes, status: int
) -> None:
    server.with_query = body, status
    desk = Desk(server.address)
    await desk.visits(4)
    desk.visitor.close()

    assert desk.waiting == 3
    assert desk.visitor.errors == {}
    assert len(desk.told) == 1
    assert (server.asked["/metrics"], server.queries) == (5, 1)


async def test_after_an_outage_it_is_asked_the_short_way_again(server: ModelServer) -> None:
    server.with_query = b"", 200
    desk = Desk(server.address)
    await desk.visits(3)
    await server.stop()
    await desk.visits(1)
    server.with_query = None
    await server.start()
    before = server.queries
    await desk.visits(3)
    desk.visitor.close()

    assert server.queries == before + 2
